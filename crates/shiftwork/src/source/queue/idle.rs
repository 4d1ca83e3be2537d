//! How long a worker that has found nothing leaves its queue alone.
//!
//! 1. A time that the store names is waited for, and the poll interval where it names none, or one that is later.
//! 2. A time that is over, although nothing could be claimed, is no time to wait for: the row is locked by somebody else, say, or behind
//!    another one of its ordering key. The store is asked again after 1 ms, then after 2 ms, 4 ms and so on up to the poll interval.
//! 3. That begins anew once the store has told of a change, and once it names no such time. Where something was claimed, nobody is idle.

use std::time::Duration;

use shiftwork_queue::{Timestamp, between};

use super::TIMER;

/// A worker that has found nothing, from one claim of something to the next.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// How many claims in a row have found nothing though the time that the store named was over.
    vain: u32,
}

impl Idle {
    /// For how long the queue is not asked, if it says nothing: it has named this time in a claim that came back `now`.
    pub(super) fn pause(&mut self, next_due: Option<Timestamp>, now: Timestamp, poll: Duration) -> Duration {
        let until_due = next_due.map_or(poll, |due| between(now, due));
        if until_due.is_zero() {
            let pause = TIMER.saturating_mul(1u32 << self.vain.min(31));
            self.vain = self.vain.saturating_add(1);
            return pause.min(poll);
        }
        self.begin_anew();
        until_due.clamp(TIMER, poll)
    }

    /// The store has told of a change: what could not be claimed may be claimed now.
    pub(super) fn begin_anew(&mut self) {
        self.vain = 0;
    }
}

#[cfg(test)]
mod tests {
    use shiftwork_queue::later;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const POLL: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn in_millis(after: u64) -> Option<Timestamp> {
        Some(later(NOW, millis(after)))
    }

    #[test]
    fn a_time_that_is_named_is_waited_for_up_to_the_poll_interval() {
        let pause = |next_due| Idle::default().pause(next_due, NOW, POLL);
        assert_eq!(pause(in_millis(300)), millis(300));
        assert_eq!(pause(in_millis(5_000)), POLL);
        assert_eq!(pause(None), POLL);
        assert_eq!(pause(Some(later(NOW, Duration::from_micros(1)))), millis(1), "timers have nothing shorter");
    }

    #[test]
    fn a_time_that_is_over_is_asked_about_less_and_less_up_to_the_poll_interval() {
        let mut idle = Idle::default();
        let pauses: Vec<Duration> = (0..12).map(|_| idle.pause(in_millis(0), NOW, POLL)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000].map(millis));
    }

    #[test]
    fn a_time_that_is_over_for_ever_has_pauses_that_only_grow() {
        let mut idle = Idle::default();
        let pauses: Vec<Duration> = (0..50).map(|_| idle.pause(in_millis(0), NOW, Duration::MAX)).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
    }

    #[test]
    fn what_the_store_says_anew_begins_the_pauses_anew() {
        let after = |say: fn(&mut Idle)| {
            let mut idle = Idle::default();
            for _ in 0..5 {
                idle.pause(in_millis(0), NOW, POLL);
            }
            say(&mut idle);
            idle.pause(in_millis(0), NOW, POLL)
        };
        assert_eq!(after(|_| {}), millis(32));
        assert_eq!(after(Idle::begin_anew), millis(1));
        assert_eq!(after(|idle| assert_eq!(idle.pause(in_millis(10), NOW, POLL), millis(10))), millis(1));
        assert_eq!(after(|idle| assert_eq!(idle.pause(None, NOW, POLL), POLL)), millis(1));
    }
}
