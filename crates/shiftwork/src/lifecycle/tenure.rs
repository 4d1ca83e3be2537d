//! How long a lease is renewed: while its cycle may run, and no longer.
//!
//! A cycle past its time is cancelled where it waits, and settled. One that blocks its thread cannot be cancelled; if its
//! lease were renewed for ever, nobody else would ever get its delivery. Rule Q8 of `docs/lifecycle.md`.

use std::time::Duration;

use tokio::time::Instant;

/// What bounds the time of a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long a cycle may run.
    pub(crate) cycle: Option<Duration>,
    /// How long it may go without a sign of progress.
    pub(crate) progress: Option<Duration>,
    /// How much longer its end may take.
    pub(crate) grace: Duration,
}

/// What the renewal knows of the attempt that holds a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenure {
    /// The number of the attempt.
    attempt: u64,
    /// In its cycle.
    first_seen: Instant,
    /// The count of its signs of progress, and when that was last another one.
    progress: u64,
    progressed_at: Instant,
    /// It was said that the lease is given up.
    given_up: bool,
}

/// What is to be done about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Renew,
    /// It is renewed no more; it was, for so long.
    GiveUp(Duration),
    /// As before.
    GivenUp,
}

impl Tenure {
    /// A tenure that was seen for the first time.
    pub(crate) fn new(attempt: u64, progress: u64, now: Instant) -> Self {
        Self { attempt, first_seen: now, progress, progressed_at: now, given_up: false }
    }

    /// Another look, at the attempt that holds the lease now.
    pub(crate) fn look(&mut self, attempt: u64, progress: u64, bounds: Bounds, now: Instant) -> Verdict {
        if attempt != self.attempt {
            *self = Self::new(attempt, progress, now);
        }
        if progress != self.progress {
            (self.progress, self.progressed_at) = (progress, now);
        }
        let over = |since: Instant, bound: Option<Duration>| {
            bound.is_some_and(|bound| now.saturating_duration_since(since) > bound.saturating_add(bounds.grace))
        };
        if !over(self.first_seen, bounds.cycle) && !over(self.progressed_at, bounds.progress) {
            // A cycle that gets on after all has its lease again, if nobody else has it by then.
            self.given_up = false;
            return Verdict::Renew;
        }
        if std::mem::replace(&mut self.given_up, true) {
            return Verdict::GivenUp;
        }
        Verdict::GiveUp(now.saturating_duration_since(self.first_seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PLAIN: Bounds = Bounds { cycle: None, progress: None, grace: Duration::from_secs(10) };

    #[test]
    fn a_cycle_without_any_bound_keeps_its_lease() {
        let began = Instant::now();
        let mut tenure = Tenure::new(1, 0, began);
        assert_eq!(tenure.look(1, 0, PLAIN, began + 600 * MINUTE), Verdict::Renew);
    }

    #[test]
    fn a_cycle_past_its_time_loses_its_lease_after_the_grace_and_that_is_said_once() {
        let began = Instant::now();
        let bounds = Bounds { cycle: Some(MINUTE), ..PLAIN };
        let mut tenure = Tenure::new(1, 0, began);
        assert_eq!(tenure.look(1, 0, bounds, began + Duration::from_secs(70)), Verdict::Renew);
        let late = Duration::from_secs(71);
        assert_eq!(tenure.look(1, 9, bounds, began + late), Verdict::GiveUp(late), "whatever its progress");
        assert_eq!(tenure.look(1, 9, bounds, began + 2 * MINUTE), Verdict::GivenUp);
        assert_eq!(tenure.look(2, 9, bounds, began + 2 * MINUTE), Verdict::Renew, "the next attempt has its own time");
    }

    #[test]
    fn a_cycle_keeps_its_lease_while_it_makes_progress() {
        let began = Instant::now();
        let bounds = Bounds { progress: Some(MINUTE), ..PLAIN };
        let mut tenure = Tenure::new(1, 0, began);
        for minute in 1..100 {
            assert_eq!(tenure.look(1, u64::from(minute), bounds, began + minute * MINUTE), Verdict::Renew);
        }
        assert_eq!(tenure.look(1, 99, bounds, began + 100 * MINUTE), Verdict::Renew);
        assert_eq!(tenure.look(1, 99, bounds, began + 101 * MINUTE), Verdict::GiveUp(101 * MINUTE));
        assert_eq!(tenure.look(1, 100, bounds, began + 102 * MINUTE), Verdict::Renew);
    }
}
