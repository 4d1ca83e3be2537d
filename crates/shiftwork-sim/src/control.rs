//! What is held to make a world reproducible, and what is not.
//!
//! | source of chance | held by | where |
//! | --- | --- | --- |
//! | waiting and timeouts | the world's clock, or tokio's paused clock | everywhere |
//! | wall time, signals, jitter of the core | the world's environment | everywhere |
//! | `std::time::Instant`, `SystemTime`, `gettimeofday`, `time`, blocking sleeps | the C library's clocks answered by the world | Linux, feature `interpose` |
//! | keys of hash maps, `rand`, `uuid` | the C library's entropy answered from the seed, a fresh thread for each world | Linux, feature `interpose` |
//! | `fastrand`'s global generator | seeded for each world | everywhere |
//! | tokio's `select!` and `join!` order | `Builder::rng_seed` | with `--cfg tokio_unstable` |
//! | order of task polls, in the fingerprint | tokio's poll hooks | with `--cfg tokio_unstable` |
//! | order of tasks, explored | tokio's poll hooks; without them the tasks that are spawned through the world | with `--cfg tokio_unstable`; everywhere |
//! | addresses, thread ids, files, the environment, threads of the program's own | nothing: the fingerprint finds them | |
//!
//! "Linux" is Linux with glibc, on x86-64 or aarch64, in a program that is not linked statically.

use std::sync::Arc;

use crate::{interpose, world::WorldClock};

/// How much of a program's chance is under control in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// tokio's own choices follow the seed, the fingerprint has the order of task polls, and orders of all tasks are explored.
    /// Without, only those that are spawned through [`Node::spawn`](crate::Node::spawn) or
    /// [`Process::spawn`](crate::Process::spawn) are moved.
    pub task_order: bool,
    /// Hash maps and `rand` follow the seed.
    pub entropy: bool,
    /// The standard library's clocks are the world's, and a world may have several nodes.
    pub time: bool,
}

/// What this build holds.
#[must_use]
pub const fn in_force() -> Control {
    Control { task_order: cfg!(tokio_unstable), entropy: interpose::IN_FORCE, time: interpose::IN_FORCE }
}

impl Control {
    /// One line for each thing that is not held; empty when all is.
    #[must_use]
    pub fn warnings(self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.task_order {
            warnings.push("`select!` order is not held, and of the order of tasks only that of a node's program and of what it spawns through `Node::spawn` or `Process::spawn` is explored; `spawn_blocking` runs beside the tasks: build with `--cfg tokio_unstable` (a set RUSTFLAGS overrides .cargo/config.toml)");
        }
        if !self.entropy {
            warnings.push("hash map order is not held: it needs Linux and the feature `interpose`");
        }
        if !self.time {
            warnings.push("`Instant` and `SystemTime` are not held, and a world has one node: it needs Linux and the feature `interpose`");
        }
        warnings
    }
}

/// Does something that neither takes anybody else's time nor moves anybody else's draws: it draws from `seed`.
///
/// What a generator of the thread's own has drawn before is not undone: that of `rand::rng`, and the keys of hash maps, which are counted on.
pub(crate) fn aside<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    struct Back(u64);
    impl Drop for Back {
        fn drop(&mut self) {
            fastrand::seed(self.0);
        }
    }
    let _back = Back(fastrand::get_seed());
    fastrand::seed(seed);
    interpose::aside(seed, work)
}

/// Holds this thread's chance and time for a world with `seed`, until what is returned is dropped.
pub(crate) fn hold(seed: u64, clock: Arc<WorldClock>) -> interpose::Held {
    fastrand::seed(seed);
    interpose::hold(seed, clock)
}
