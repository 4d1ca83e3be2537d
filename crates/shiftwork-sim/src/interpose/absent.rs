//! Where chance and time cannot be held at the C library's level: nothing is.
//!
//! The same names as in `interpose.rs`, so that the rest of the crate need not know the platform.

use std::sync::Arc;

use crate::world::WorldClock;

pub(crate) const IN_FORCE: bool = false;

pub(crate) struct Held;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    World,
    Blocking,
}

pub(crate) fn hold(_seed: u64, _clock: Arc<WorldClock>, _thread: Thread) -> Held {
    Held
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
