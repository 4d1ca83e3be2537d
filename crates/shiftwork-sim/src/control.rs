//! What is held to make a world reproducible, and what is not.
//!
//! | source of chance | held by | where |
//! | --- | --- | --- |
//! | waiting and timeouts | tokio's paused clock | everywhere |
//! | wall time, signals, jitter of the core | the world's environment | everywhere |
//! | tokio's `select!` and `join!` order | `Builder::rng_seed` | with `--cfg tokio_unstable` |
//! | order of task polls, in the fingerprint | tokio's poll hooks | with `--cfg tokio_unstable` |
//! | keys of hash maps, `rand`, `uuid` | `getrandom` answered from the seed, a fresh thread for each world | Linux, feature `interpose` |
//! | `fastrand`'s global generator | seeded for each world | everywhere |
//! | addresses, thread ids, files, the environment | nothing: the fingerprint finds them | |
//! | `std::time::Instant`, `SystemTime` of user code | nothing yet: ask tokio's clock and the context | |

/// How much of a program's chance is under control in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// tokio's own choices follow the seed, and the fingerprint has the order of task polls.
    pub task_order: bool,
    /// Hash maps and `rand` follow the seed.
    pub entropy: bool,
}

/// What this build holds.
#[must_use]
pub const fn in_force() -> Control {
    Control { task_order: cfg!(tokio_unstable), entropy: cfg!(all(target_os = "linux", feature = "interpose")) }
}

impl Control {
    /// One line for each thing that is not held; empty when all is.
    #[must_use]
    pub fn warnings(self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.task_order {
            warnings.push("`select!` order is not held: build with `--cfg tokio_unstable` (a set RUSTFLAGS overrides .cargo/config.toml)");
        }
        if !self.entropy {
            warnings.push("hash map order is not held: it needs Linux and the feature `interpose`");
        }
        warnings
    }
}

/// Everything that is held for one thread, until it is dropped.
pub(crate) struct Held {
    #[cfg(all(target_os = "linux", feature = "interpose"))]
    _entropy: crate::interpose::Held,
}

/// Holds this thread's chance for a world with `seed`.
pub(crate) fn hold(seed: u64) -> Held {
    fastrand::seed(seed);
    Held {
        #[cfg(all(target_os = "linux", feature = "interpose"))]
        _entropy: crate::interpose::hold(seed),
    }
}
