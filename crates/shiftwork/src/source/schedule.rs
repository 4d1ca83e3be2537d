//! Sources that start cycles by time: a fixed rate, or a fixed delay.
//!
//! 1. A fixed rate does not drift: tick *n* is due at the first tick plus *n* periods, whatever the cycles before it took.
//! 2. Ticks do not overlap. Those that were missed while a cycle or its retries ran are merged into the next one, which
//!    says how many they were.
//! 3. Retries of a tick wait for the retry policy, not for the schedule.
//!
//! Periods are tokio time, which never steps. When a tick was due by the calendar is told in wall time.

use std::time::Duration;

use shiftwork_queue::Timestamp;
use tokio::time::Instant;

use super::{Lane, LaneContext, Offer, Source, later};
use crate::{
    BoxError, Failure,
    event::{Event, Settle, SourceKind},
};

/// Starts cycles by time.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::Schedule;
///
/// let every_minute = Schedule::every(Duration::from_secs(60)).first_after(Duration::from_secs(10));
/// let with_a_pause = Schedule::with_delay(Duration::from_secs(5));
/// # let _ = (every_minute, with_a_pause);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pace: Pace,
    first_after: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    Rate(Duration),
    Delay(Duration),
}

impl Schedule {
    /// A tick every `period`, aligned to the first one. The shortest period is 1 ms, which is what tokio's timers resolve.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self { pace: Pace::Rate(period.max(Duration::from_millis(1))), first_after: Duration::ZERO }
    }

    /// A tick `delay` after the last cycle ended; at least 1 ms.
    #[must_use]
    pub fn with_delay(delay: Duration) -> Self {
        Self { pace: Pace::Delay(delay.max(Duration::from_millis(1))), first_after: Duration::ZERO }
    }

    /// When the first tick is due after the host runs; at once by default.
    #[must_use]
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.first_after = delay;
        self
    }
}

/// One tick of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Counts the ticks that were due, missed ones included, from 1.
    pub number: u64,
    /// When it was due. Wall time.
    pub due: Timestamp,
    /// How many ticks before it were missed and are merged into it.
    pub missed: u64,
}

impl Source for Schedule {
    type Input = Tick;
    type Lane = ScheduleLane;

    fn kind(&self) -> SourceKind {
        match self.pace {
            Pace::Rate(period) => SourceKind::FixedRate { period },
            Pace::Delay(delay) => SourceKind::FixedDelay { delay },
        }
    }

    fn lanes_max(&self) -> usize {
        1
    }

    fn lane(&self, _: &LaneContext) -> ScheduleLane {
        ScheduleLane { schedule: *self, due: None, number: 0, current: None, attempt: 1 }
    }
}

#[derive(Debug)]
pub struct ScheduleLane {
    schedule: Schedule,
    /// When the next tick is due; unknown until the first call.
    due: Option<Instant>,
    number: u64,
    /// The tick that is to be tried again, and when.
    current: Option<(Tick, Instant)>,
    attempt: u32,
}

/// The ticks of a fixed rate up to `now`: which one is served, and when the one after it is due.
///
/// `due` is the oldest tick that was not served; it has come. Returns how many were missed before the one that is
/// served, when that one was due, and the next.
fn merge_missed(due: Instant, period: Duration, now: Instant) -> (u64, Instant, Instant) {
    let late = now.saturating_duration_since(due);
    if late < period {
        return (0, due, later(due, period));
    }
    let late = late.as_nanos();
    let period_nanos = period.as_nanos().max(1);
    let missed = u64::try_from(late / period_nanos).unwrap_or(u64::MAX);
    let behind = Duration::from_nanos(u64::try_from(late % period_nanos).unwrap_or(u64::MAX));
    let served = now.checked_sub(behind).unwrap_or(due);
    (missed, served, later(served, period))
}

impl Lane for ScheduleLane {
    type Input = Tick;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<Tick>>, Failure> {
        if let Some((tick, time)) = self.current {
            if cx.wait_until(time).await {
                return Ok(None);
            }
            return Ok(Some(Offer { input: tick, attempt: self.attempt, delivery: None, since: None }));
        }
        let due = self.due.unwrap_or_else(|| later(Instant::now(), self.schedule.first_after));
        self.due = Some(due);
        if cx.wait_until(due).await {
            return Ok(None);
        }
        let now = Instant::now();
        let (missed, served) = match self.schedule.pace {
            Pace::Rate(period) => {
                let (missed, served, next) = merge_missed(due, period, now);
                self.due = Some(next);
                (missed, served)
            }
            Pace::Delay(_) => (0, due),
        };
        if missed > 0 {
            cx.emit(&Event::TicksMissed { worker: cx.worker(), count: missed });
        }
        self.number = self.number.saturating_add(missed).saturating_add(1);
        let late = now.saturating_duration_since(served);
        let wall = cx.wall_time();
        let due = wall.checked_sub(late).unwrap_or(wall);
        let tick = Tick { number: self.number, due, missed };
        self.current = Some((tick, now));
        Ok(Some(Offer { input: tick, attempt: self.attempt, delivery: None, since: None }))
    }

    async fn settle(&mut self, settle: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        if let Settle::Retry { delay } = settle {
            self.attempt += 1;
            if let Some((_, time)) = &mut self.current {
                *time = later(Instant::now(), delay);
            }
            return Ok(());
        }
        self.attempt = 1;
        self.current = None;
        if let Pace::Delay(delay) = self.schedule.pace {
            self.due = Some(later(Instant::now(), delay));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_fixed_rate_never_drifts_and_merges_what_it_missed(
            period_ms in 1u64..100_000, late_ms in 0u64..10_000_000,
        ) {
            let first = Instant::now();
            let period = Duration::from_millis(period_ms);
            let now = first + Duration::from_millis(late_ms);
            let (missed, served, next) = merge_missed(first, period, now);
            prop_assert_eq!(missed, late_ms / period_ms);
            prop_assert!(served <= now && now < next);
            let since_first = (next - first).as_millis();
            prop_assert_eq!(since_first % u128::from(period_ms), 0, "the grid is kept");
        }
    }
}
