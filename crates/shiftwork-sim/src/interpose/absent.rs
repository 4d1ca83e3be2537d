//! Where chance and time cannot be held at the C library's level: nothing is.
//!
//! The same names as in `interpose.rs`, so that the rest of the crate need not know the platform.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::world::{Gate, Reading, WorldClock};

pub(crate) const IN_FORCE: bool = false;

pub(crate) struct Held;

pub(crate) fn hold(_seed: u64, _clock: Arc<WorldClock>) -> Held {
    Held
}

pub(crate) fn hold_blocking(_seed: u64, _clock: Arc<WorldClock>, _gate: Arc<Gate>) -> Held {
    Held
}

pub(crate) fn unheld<T>(work: impl FnOnce() -> T) -> T {
    work()
}

pub(crate) fn aside<T>(_seed: u64, work: impl FnOnce() -> T) -> T {
    work()
}

/// What the machine's own clock shows: nobody holds it.
#[expect(clippy::disallowed_methods, reason = "polls are measured in real time")]
pub(crate) fn real_time() -> Reading {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    Reading { real: FIRST.get_or_init(Instant::now).elapsed(), cpu: None }
}

pub(crate) mod gates {
    use std::sync::Arc;

    use crate::world::Gate;

    pub(crate) fn add(_gate: &Arc<Gate>) {}
}

pub(crate) mod parking {
    use std::time::Duration;

    pub(crate) fn set_limit(_limit: Duration) {}

    pub(crate) fn lower_limit(_limit: Duration) {}

    pub(crate) fn begins() {}

    pub(crate) fn ends() -> bool {
        false
    }

    pub(crate) fn due() -> Option<Duration> {
        None
    }
}
