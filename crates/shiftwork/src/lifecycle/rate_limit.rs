//! How often a worker's cycles may begin.
//!
//! [`RateLimit`] is the policy, [`Meter`] the state of one worker's limit, over all of its lanes and lives. Nothing here waits;
//! the lanes ask through `pace.rs`. Rule C12 of `docs/lifecycle.md`.
//!
//! 1. What is counted is the beginning of a cycle, and nothing before it: a lane may have waited for its input for an hour.
//! 2. A lane that asks a queue for work has a *place* first, which nobody else has: what it gets can begin at once, and no
//!    lease waits for the limit.
//! 3. There are as many places as cycles could begin now. One that is given up is there for the next lane.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    config::{
        form::{Count, Time},
        section::section,
    },
    retry::millis,
};

/// How many cycles of a worker may begin in a time, over all of its lanes; what fails and is tried again counts again.
///
/// Cycles begin at least `per / cycles` apart, but for a burst after a quiet time. No more than `burst + time × cycles / per` of
/// them begin within any time. [`Default`] is 10 a second and a burst of 1, which means evenly spaced: a service that counts
/// by the second refuses the eleventh call of the first second, and with a burst of 10 that would be made.
///
/// It is a promise of one worker in one process: two processes begin twice as many. It is kept through the worker's restarts,
/// and begins anew with the process.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Context, Failure, Host, QueueSourceExt, RateLimit, queue::MemoryQueue};
///
/// # let call = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
/// let host = Host::builder()
///     .worker("calls", MemoryQueue::<u32>::new().source(), call)
///     .concurrency(8)
///     .rate_limit(RateLimit::of(100, Duration::from_secs(60)).burst(5));
/// assert_eq!(RateLimit::of(100, Duration::from_secs(60)).burst(5).at_most(Duration::from_secs(6)), 15);
/// # let _ = host;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "RateLimitConfig", into = "RateLimitConfig")]
pub struct RateLimit {
    cycles: u32,
    per_ms: u64,
    burst: u32,
}

section! {
    /// A [`RateLimit`] as it is written in a file. What is left out stays as it is.
    pub struct RateLimitConfig {
        /// How many cycles may begin in the time.
        pub cycles: Option<u32> = Count::from(1),
        /// The time.
        pub per: Option<Duration> = Time::from_millis(1),
        /// How many may begin at once after a quiet time.
        pub burst: Option<u32> = Count::from(1),
    }
}

impl RateLimitConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: RateLimit) -> RateLimit {
        let Self { cycles, per, burst } = *self;
        RateLimit {
            cycles: cycles.unwrap_or(base.cycles).max(1),
            per_ms: per.map_or(base.per_ms, millis).max(1),
            burst: burst.unwrap_or(base.burst).max(1),
        }
    }
}

impl From<RateLimitConfig> for RateLimit {
    fn from(config: RateLimitConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<RateLimit> for RateLimitConfig {
    fn from(limit: RateLimit) -> Self {
        let RateLimit { cycles, per_ms, burst } = limit;
        Self { cycles: Some(cycles), per: Some(Duration::from_millis(per_ms)), burst: Some(burst) }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { cycles: 10, per_ms: 1_000, burst: 1 }
    }
}

impl RateLimit {
    /// So many cycles in this time, evenly spaced; at least 1, and 1 ms.
    #[must_use]
    pub fn of(cycles: u32, per: Duration) -> Self {
        Self { cycles: cycles.max(1), per_ms: millis(per).max(1), ..Self::default() }
    }

    /// How many may begin at once after a quiet time; at least 1.
    #[must_use]
    pub fn burst(mut self, cycles: u32) -> Self {
        self.burst = cycles.max(1);
        self
    }

    /// How many cycles may begin at most within this time, both ends included.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> u64 {
        let spaced = time.as_nanos().saturating_mul(u128::from(self.cycles)) / (u128::from(self.per_ms) * 1_000_000);
        u64::try_from(spaced).unwrap_or(u64::MAX).saturating_add(self.burst.into())
    }

    /// The space between two cycles, rounded up, so that what is counted never comes to more.
    fn interval(&self) -> Duration {
        let nanos = (u128::from(self.per_ms) * 1_000_000).div_ceil(u128::from(self.cycles.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The state of one worker's limit, kept as a time: when a full burst could begin again.
#[derive(Debug)]
pub(crate) struct Meter {
    burst: u32,
    interval: Duration,
    /// `None` before the first cycle.
    full_at: Option<Instant>,
    /// How many lanes have a place.
    places: u32,
}

/// What a lane is told that asks for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// It has one: [`Meter::begin`] or [`Meter::give_up`].
    Go,
    /// There is none before this time.
    Until(Instant),
    /// There is none before somebody else has used or given up his.
    Wait,
}

impl Meter {
    /// Nothing has begun yet.
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { burst: limit.burst, interval: limit.interval(), full_at: None, places: 0 }
    }

    /// Asks for a place.
    pub(crate) fn ask(&mut self, now: Instant) -> Asking {
        let asking = self.room(now);
        self.places += u32::from(asking == Asking::Go);
        asking
    }

    /// What a lane would be told that asked now.
    fn room(&self, now: Instant) -> Asking {
        let Some(behind) = self.burst.checked_sub(self.places.saturating_add(1)) else { return Asking::Wait };
        let room_at = self.full_at.and_then(|full_at| full_at.checked_sub(self.interval.saturating_mul(behind)));
        match room_at {
            Some(time) if now < time => Asking::Until(time),
            Some(_) | None => Asking::Go,
        }
    }

    /// The cycle of a lane that has a place begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.places = self.places.saturating_sub(1);
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        // Beyond the clock's end it is never full again.
        self.full_at = from.checked_add(self.interval).or(self.full_at);
    }

    /// How long a lane that asked now would have to wait for room.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        match self.room(now) {
            Asking::Until(time) => time.saturating_duration_since(now),
            Asking::Go | Asking::Wait => Duration::ZERO,
        }
    }

    /// In what time a whole burst may begin anew.
    pub(crate) fn refill(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    /// Nobody has a place any more. What has begun has.
    pub(crate) fn begin_life(&mut self) {
        self.places = 0;
    }

    /// Nothing comes of a place.
    pub(crate) fn give_up(&mut self) {
        self.places = self.places.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn meter(cycles: u32, burst: u32) -> (Meter, Instant) {
        (Meter::new(RateLimit::of(cycles, SECOND).burst(burst)), Instant::now())
    }

    #[test]
    fn cycles_are_spaced_once_the_burst_is_used_up() {
        let (mut meter, now) = meter(2, 3);
        for _ in 0..3 {
            assert_eq!(meter.ask(now), Asking::Go);
            meter.begin(now);
        }
        let next = now + SECOND / 2;
        assert_eq!(meter.ask(now), Asking::Until(next));
        assert_eq!(meter.ask(next), Asking::Go);
        meter.begin(next);
        assert_eq!(meter.ask(next), Asking::Until(next + SECOND / 2));
        // A quiet time later there is a whole burst again, and no more.
        let later = now + 60 * SECOND;
        let went = (0..9).filter(|_| meter.ask(later) == Asking::Go).count();
        assert_eq!(went, 3);
    }

    #[test]
    fn a_place_that_is_not_used_keeps_others_out_only_while_it_is_held() {
        let (mut meter, now) = meter(1, 1);
        assert_eq!(meter.ask(now), Asking::Go);
        assert_eq!(meter.ask(now + 60 * SECOND), Asking::Wait, "whatever the time");
        meter.give_up();
        assert_eq!(meter.ask(now), Asking::Go);
    }

    #[test]
    fn how_long_an_input_was_waited_for_does_not_count() {
        let (mut meter, now) = meter(1, 2);
        assert_eq!((meter.ask(now), meter.ask(now)), (Asking::Go, Asking::Go));
        let later = now + 60 * SECOND;
        meter.begin(later);
        meter.begin(later);
        assert_eq!(meter.ask(later), Asking::Until(later + SECOND));
    }

    proptest! {
        #[test]
        fn no_time_has_more_beginnings_than_the_limit_says(
            cycles in 1u32..50, per_ms in 1u64..5_000, burst in 1u32..20,
            steps in prop::collection::vec((0u64..500, 0u8..4), 1..200),
        ) {
            let limit = RateLimit::of(cycles, Duration::from_millis(per_ms)).burst(burst);
            let mut meter = Meter::new(limit);
            let (mut now, mut held, mut began) = (Instant::now(), 0u32, Vec::new());
            for (passes_ms, what) in steps {
                now += Duration::from_millis(passes_ms);
                match what {
                    0 | 1 => held += u32::from(meter.ask(now) == Asking::Go),
                    2 if held > 0 => {
                        held -= 1;
                        meter.begin(now);
                        began.push(now);
                    }
                    3 if held > 0 => {
                        held -= 1;
                        meter.give_up();
                    }
                    _ => {}
                }
            }
            for (first, since) in began.iter().enumerate() {
                for (last, until) in began.iter().enumerate().skip(first) {
                    prop_assert!((last - first + 1) as u64 <= limit.at_most(*until - *since));
                }
            }
        }
    }
}
