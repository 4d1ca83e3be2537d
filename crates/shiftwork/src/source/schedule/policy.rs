//! What becomes of the ticks of a schedule that cannot be served when they are due.

use std::time::Duration;

/// What becomes of ticks that could not be served when they were due: a cycle or its retries ran too long, the process stood
/// still, or the wall clock stepped over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Missed {
    /// The newest is served, late; the others are counted. The default: most cycles look at the state of things, and looking
    /// twice in a row finds nothing new.
    #[default]
    Merge,
    /// None is served; the next tick is one that is still to come. A tick that is late by up to a second, or by half the
    /// time to the next if that is less, is not missed.
    Skip,
    /// Each is served, one right after the other, but no more than the `max` newest; at least one, at most 10,000. For
    /// cycles that work through the time between one tick and the next.
    CatchUp {
        /// How many at most.
        max: u32,
    },
}

/// What becomes of a tick that comes due while a cycle, or the wait for its retry, is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overlap {
    /// It waits until that is done, and is then late: [`Missed`] says what becomes of it. With [`Missed::Merge`] one tick
    /// waits at most. The default.
    #[default]
    Wait,
    /// It is missed, and counted.
    Skip,
    /// It runs beside it, up to the worker's concurrency; a tick that finds every lane at work waits. With the default
    /// concurrency of 1 that is the same as [`Overlap::Wait`].
    Allow,
    /// It ends that: the cycle at work is asked to end ([`crate::Context::cancelled`]), has 3 s, or half of the time to the
    /// tick after if that is less, and is then dropped at its next await point; the wait for a retry is simply over. The cycle
    /// is interrupted: that is no failure, and it is not tried again, because the new tick takes its place.
    ///
    /// For a fixed rate or a cron schedule whose cycles look at the state of things: what the newest sees is all that counts.
    /// Nothing is ended while the worker is paused, while it drains, and while ticks are owed by [`Missed::CatchUp`].
    CancelPrevious,
}

/// What becomes of a schedule's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TickPolicy {
    /// Those that could not be served when they were due.
    pub missed: Missed,
    /// Those that come due while a cycle is at work.
    pub overlap: Overlap,
    /// By how much each may be put off, at random.
    pub jitter: Duration,
}
