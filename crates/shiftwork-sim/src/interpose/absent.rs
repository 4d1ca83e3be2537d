//! Where chance and time cannot be held at the C library's level: nothing is.
//!
//! The same names as in `interpose.rs`, so that the rest of the crate need not know the platform.

use std::sync::Arc;

use crate::world::{Gate, WorldClock};

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
