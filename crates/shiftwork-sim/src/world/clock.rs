//! The time of a world.
//!
//! Where the C library's clocks are held (`interpose.rs`), one [`WorldClock`] is the time of every node, of their runtimes and of
//! all other code on the world's thread, and the driver moves it. Elsewhere the world has one node, and its time is that of the
//! node's runtime, whose clock is paused: it moves by itself, inside the runtime, and [`Time`] adds up what passed in the node's lives.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use shiftwork::queue::Timestamp;
use tokio::time::Instant;

/// The wall time at which every world begins: 2026-01-01, midnight UTC.
pub(crate) const WALL_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A clock that shows what the world says.
///
/// It is read by one thread, or by a thread that the world's own waits for; atomics make that safe, and no order of its reads is
/// promised.
#[derive(Debug, Default)]
pub(crate) struct WorldClock {
    now_ns: AtomicU64,
    /// How far the wall clock of the node that runs is from that of the world's beginning.
    wall_offset_ns: AtomicI64,
}

impl WorldClock {
    /// What has passed since the world began.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    /// The same in nanoseconds.
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// How far the wall clock of the node that runs is from that of the world's beginning, in nanoseconds.
    pub(crate) fn wall_offset_ns(&self) -> i64 {
        self.wall_offset_ns.load(Ordering::Relaxed)
    }

    /// Time jumps to `time`; it never goes back.
    pub(crate) fn skip_to(&self, time: Duration) {
        self.now_ns.fetch_max(saturating_ns(time), Ordering::Relaxed);
    }

    /// The wall clock is `ms` milliseconds from that of the world's beginning.
    pub(crate) fn set_wall_offset_ms(&self, ms: i64) {
        self.wall_offset_ns.store(ms.saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

pub(crate) fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// World time, as the world's own parts ask for it.
pub(crate) enum Time {
    /// A clock that the driver moves.
    Held {
        clock: Arc<WorldClock>,
        /// What tokio's clock showed when the world began.
        origin: Instant,
        /// The instant that was last asked about, and when that is: a host says several things at one.
        last: Cell<(Instant, Duration)>,
    },
    /// The paused clock of the one node's runtime.
    Paused {
        /// What has passed in the node's earlier lives, and between them.
        before: Duration,
        /// What the runtime's clock showed when it began to count, while it runs.
        since: Option<Instant>,
    },
}

impl Time {
    /// The time of a world that begins; on the thread that holds `clock`, if it is held.
    pub(super) fn new(clock: Arc<WorldClock>) -> Self {
        if crate::interpose::IN_FORCE {
            let origin = Instant::now();
            Time::Held { clock, origin, last: Cell::new((origin, Duration::ZERO)) }
        } else {
            Time::Paused { before: Duration::ZERO, since: None }
        }
    }

    pub(crate) fn now(&self) -> Duration {
        match self {
            Time::Held { clock, .. } => clock.now(),
            Time::Paused { before, since: None } => *before,
            Time::Paused { since: Some(_), .. } => self.at(Instant::now()),
        }
    }

    /// World time at an instant of the running node's clock.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        match self {
            Time::Held { origin, last, .. } => {
                let (last_instant, at) = last.get();
                if instant == last_instant {
                    return at;
                }
                let at = instant.saturating_duration_since(*origin);
                last.set((instant, at));
                at
            }
            Time::Paused { before, since } => {
                since.map_or(*before, |since| *before + instant.saturating_duration_since(since))
            }
        }
    }

    /// The instant of the running node's clock at which world time is `time`.
    pub(crate) fn instant_of(&self, time: Duration) -> Instant {
        match self {
            Time::Held { origin, .. } => *origin + time,
            Time::Paused { before, since } => since.unwrap_or_else(Instant::now) + time.saturating_sub(*before),
        }
    }

    /// A node's runtime begins to run: from inside of it.
    pub(super) fn runtime_runs(&mut self) {
        if let Time::Paused { since, .. } = self {
            *since = Some(Instant::now());
        }
    }

    /// It runs no more: from inside of it.
    pub(super) fn runtime_rests(&mut self) {
        let now = self.now();
        if let Time::Paused { before, since } = self {
            (*before, *since) = (now, None);
        }
    }

    /// Time passes while no node runs.
    pub(super) fn skip_to(&mut self, time: Duration) {
        match self {
            Time::Held { clock, .. } => clock.skip_to(time),
            Time::Paused { before, .. } => *before = time.max(*before),
        }
    }

    /// The wall clock of the node that runs from here on is this far from that of the world's beginning.
    pub(super) fn set_wall_offset_ms(&self, ms: i64) {
        if let Time::Held { clock, .. } = self {
            clock.set_wall_offset_ms(ms);
        }
    }
}

/// The wall time at `at`, by a clock that has been stepped so far in all.
pub(crate) fn wall_at(at: Duration, stepped_ms: i64) -> Timestamp {
    // In whole seconds and the rest of one, which is several times faster than arithmetic with timestamps.
    let rest = u64::from(at.subsec_nanos()) + 1_000_000 * stepped_ms.rem_euclid(1_000).unsigned_abs();
    let whole = saturating_i64(WALL_EPOCH.as_secs() + rest / 1_000_000_000)
        .saturating_add(saturating_i64(at.as_secs()))
        .saturating_add(stepped_ms.div_euclid(1_000));
    let rest = i32::try_from(rest % 1_000_000_000).unwrap_or(0);
    let furthest = if whole < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(whole, rest).unwrap_or(furthest)
}

fn saturating_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{millis, secs};

    #[test]
    fn a_wall_clock_shows_what_has_passed_and_how_far_it_was_stepped() {
        let check = |at, stepped_ms, shown: &str| assert_eq!(wall_at(at, stepped_ms).to_string(), shown);
        check(secs(0), 0, "2026-01-01T00:00:00Z");
        check(millis(61_500), 0, "2026-01-01T00:01:01.5Z");
        check(millis(61_500), 700, "2026-01-01T00:01:02.2Z");
        check(millis(61_500), -700, "2026-01-01T00:01:00.8Z");
        check(secs(0), -1, "2025-12-31T23:59:59.999Z");
        assert_eq!(wall_at(secs(1), i64::MAX), Timestamp::MAX);
        assert_eq!(wall_at(secs(1), i64::MIN), Timestamp::MIN);
    }
}
