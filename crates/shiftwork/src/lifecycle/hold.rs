//! Whether a worker's rate limit holds it back, as it is said: once when it begins to, and once when it no longer does.
//!
//! [`super::rate_limit`] decides who may begin, one lane at a time; a worker at its limit has a lane that waits between any two
//! cycles, and to say each such wait would say nothing. This file makes a state of them. Nothing here waits; `pace.rs` does.
//!
//! 1. A lane that waits for room has something to do, as far as anybody can know: it has its input; or, where the queue is only
//!    asked once there is room, the last cycle to begin had not long waited for its own.
//! 2. It no longer holds once no lane has waited for [`QUIET`]. So there are no more than two events in that time.

use std::time::Duration;

use tokio::time::Instant;

/// For how long no lane waits before the limit is said not to hold any more. A lane that has got its place asks its queue and
/// runs its cycle before it waits again; a worker whose cycles take longer than this is not held back while they run.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// The state of one worker.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// How many lanes wait for room.
    waiting: u32,
    /// When the last of them went on.
    quiet_since: Option<Instant>,
    /// The last cycle began soon after there was room for it.
    in_demand: bool,
    /// Since when it is said to hold.
    said: Option<Instant>,
}

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// It holds the worker back.
    Reached,
    /// It has done so for this long, and no longer does.
    Eased(Duration),
    /// Nothing before this time.
    NotBefore(Instant),
    /// Nothing before a lane waits.
    Nothing,
}

impl Hold {
    /// A lane begins to wait for room.
    pub(crate) fn waits(&mut self) {
        self.waiting += 1;
    }

    /// It no longer does, whatever for.
    pub(crate) fn goes_on(&mut self, now: Instant) {
        self.waiting = self.waiting.saturating_sub(1);
        self.quiet_since = Some(now);
    }

    /// A cycle begins, so long after its lane got a place. In `refill` the limit would have let a whole burst begin.
    pub(crate) fn begins(&mut self, unused: Duration, refill: Duration) {
        self.in_demand = unused < refill;
    }

    /// What there is to say now; it is taken to be said.
    pub(crate) fn look(&mut self, now: Instant) -> Say {
        match self.said {
            None if self.waiting > 0 && self.in_demand => {
                self.said = Some(now);
                Say::Reached
            }
            None => Say::Nothing,
            // Whoever goes on meanwhile does so later than now.
            Some(_) if self.waiting > 0 => Say::NotBefore(now + QUIET),
            Some(since) => {
                let over_at = self.quiet_since.unwrap_or(since) + QUIET;
                if now < over_at {
                    return Say::NotBefore(over_at);
                }
                self.said = None;
                Say::Eased(now.saturating_duration_since(since))
            }
        }
    }

    /// A life ends, and with it whoever waits: for how long it held, if that was said and nothing since.
    pub(crate) fn end_life(&mut self, now: Instant) -> Option<Duration> {
        self.waiting = 0;
        self.said.take().map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFILL: Duration = Duration::from_millis(100);

    /// A worker whose cycles begin as soon as they may.
    fn in_demand() -> (Hold, Instant) {
        let mut hold = Hold::default();
        hold.begins(Duration::ZERO, REFILL);
        (hold, Instant::now())
    }

    #[test]
    fn a_worker_at_its_limit_says_so_once() {
        let (mut hold, mut now) = in_demand();
        hold.waits();
        assert_eq!(hold.look(now), Say::Reached);
        for _ in 0..50 {
            assert_eq!(hold.look(now), Say::NotBefore(now + QUIET));
            now += REFILL;
            hold.goes_on(now);
            hold.begins(Duration::ZERO, REFILL);
            hold.waits();
        }
    }

    #[test]
    fn it_is_over_once_nobody_has_waited_for_a_while() {
        let (mut hold, start) = in_demand();
        hold.waits();
        assert_eq!(hold.look(start), Say::Reached);
        let free = start + 3 * QUIET;
        hold.goes_on(free);
        assert_eq!(hold.look(free), Say::NotBefore(free + QUIET));
        assert_eq!(hold.look(free + QUIET), Say::Eased(4 * QUIET));
        assert_eq!(hold.look(free + QUIET), Say::Nothing);
    }

    #[test]
    fn a_lane_that_waits_before_it_finds_its_queue_empty_is_not_held_back() {
        let (mut hold, now) = in_demand();
        // Its place was there for a while before there was anything to do.
        hold.begins(REFILL, REFILL);
        hold.waits();
        assert_eq!(hold.look(now), Say::Nothing);
        hold.goes_on(now);
        hold.begins(REFILL / 2, REFILL);
        assert_eq!(hold.look(now), Say::Nothing, "nobody waits");
        hold.waits();
        assert_eq!(hold.look(now), Say::Reached);
    }

    #[test]
    fn the_end_of_a_life_is_the_end_of_the_hold() {
        let (mut hold, now) = in_demand();
        assert_eq!(hold.end_life(now), None);
        hold.waits();
        assert_eq!(hold.look(now), Say::Reached);
        assert_eq!(hold.end_life(now + QUIET), Some(QUIET));
        assert_eq!(hold.look(now + QUIET), Say::Nothing);
        // A restart begins with the room that the life before has left.
        hold.waits();
        assert_eq!(hold.look(now + QUIET), Say::Reached);
    }
}
