//! Which tick is served next: a synchronous function of the ticks accounted for so far and the time that it is.
//!
//! A [`Grid`] says when ticks are due; a [`Series`] walks along it, at any pace, and decides. It knows no task and no
//! timer. What holds:
//!
//! 1. No tick is served before it is due, and none twice.
//! 2. Every tick of the grid is served or counted as missed, in order.
//! 3. The grid is kept: when a tick is served has no influence on when another one is due.
//! 4. A clock that steps back serves nothing again, and the series waits until the clock has come as far as it was; only a
//!    step of more than [`REWIND`] is believed, and the grid taken up anew from there. So a wrong clock that was put right
//!    neither fires twice nor stops the schedule for good.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use super::{Missed, cron::Calendar};

/// How far the wall clock must step back before the ticks of that time come due again. The same three hours within
/// which cron(8) treats a step as a correction.
pub(super) const REWIND: Duration = Duration::from_secs(3 * 3600);

/// How late a tick may be before [`Missed::Skip`] calls it missed, where ticks are not closer than twice that.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How many ticks of one backlog are counted one by one, and how many of them can be caught up with.
pub(super) const BACKLOG_MAX: usize = 10_000;

/// When ticks are due, on one clock.
pub(super) trait Grid {
    /// A time of that clock.
    type Time: Copy + Ord;

    /// The ticks from `first`, which is one, to `now`.
    fn backlog(&self, first: Self::Time, now: Self::Time, keep: usize) -> Backlog<Self::Time>;

    /// The first tick after `time`.
    fn after(&self, time: Self::Time) -> Option<Self::Time>;

    /// The same for a time that is a tick.
    fn following(&self, tick: Self::Time) -> Option<Self::Time> {
        self.after(tick)
    }

    /// From one time to a later one.
    fn between(&self, from: Self::Time, to: Self::Time) -> Duration;
}

/// Ticks that have come due.
#[derive(Debug)]
pub(super) struct Backlog<Time> {
    /// The newest of them, oldest first; no more than were to be kept.
    newest: VecDeque<Time>,
    /// How many there were before those.
    dropped: u64,
    /// The first that has not come due.
    next: Option<Time>,
}

/// A fixed rate: times are since the first tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub(super) Duration);

impl Rate {
    fn steps(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.0.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    fn at(&self, step: u64) -> Duration {
        let nanos = self.0.as_nanos().saturating_mul(u128::from(step));
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
    }
}

impl Grid for Rate {
    type Time = Duration;

    fn backlog(&self, first: Duration, now: Duration, keep: usize) -> Backlog<Duration> {
        let (first, last) = (self.steps(first), self.steps(now));
        let kept = (last + 1 - first).min(keep as u64);
        Backlog {
            newest: (last + 1 - kept..=last).map(|step| self.at(step)).collect(),
            dropped: last + 1 - first - kept,
            next: Some(self.at(last + 1)),
        }
    }

    fn after(&self, time: Duration) -> Option<Duration> {
        Some(self.at(self.steps(time) + 1))
    }

    fn following(&self, tick: Duration) -> Option<Duration> {
        Some(tick.saturating_add(self.0))
    }

    fn between(&self, from: Duration, to: Duration) -> Duration {
        to.saturating_sub(from)
    }
}

/// Ticks of the wall clock.
#[derive(Debug, Clone)]
pub(super) enum Wall {
    Cron(Calendar),
    Once(Timestamp),
}

impl Grid for Wall {
    type Time = Timestamp;

    fn backlog(&self, first: Timestamp, now: Timestamp, keep: usize) -> Backlog<Timestamp> {
        let mut backlog = Backlog { newest: VecDeque::new(), dropped: 0, next: Some(first) };
        let (mut run, mut count) = (first, 0);
        while let Some(tick) = backlog.next.filter(|next| *next <= now) {
            backlog.newest.push_back(tick);
            if backlog.newest.len() > keep {
                backlog.newest.pop_front();
                backlog.dropped += 1;
            }
            if count == 0 {
                run = tick;
            }
            count += 1;
            backlog.next = if count == BACKLOG_MAX {
                // A year of seconds takes a while to count. From here on only the newest matter.
                let apart = self.between(run, tick) / u32::try_from(count).unwrap_or(u32::MAX);
                count = 0;
                self.after(self.shortly_before(now, keep, apart).max(tick))
            } else {
                self.after(tick)
            };
        }
        backlog
    }

    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Wall::Cron(calendar) => calendar.after(time),
            Wall::Once(at) => (time < *at).then_some(*at),
        }
    }

    fn between(&self, from: Timestamp, to: Timestamp) -> Duration {
        shiftwork_queue::between(from, to)
    }
}

impl Wall {
    /// A time before `now` from which `keep` ticks at least have come due, if ever so many have. Ticks that were `apart` once
    /// need not be so always: those of working hours are followed by a weekend.
    fn shortly_before(&self, now: Timestamp, keep: usize, apart: Duration) -> Timestamp {
        let few = u32::try_from(keep).unwrap_or(u32::MAX).saturating_add(1);
        let mut back = apart.max(Duration::from_secs(1)).saturating_mul(few).saturating_mul(2);
        loop {
            let Ok(from) = now.checked_sub(back) else { return Timestamp::MIN };
            let ticks = std::iter::successors(self.after(from), |tick| self.after(*tick));
            if ticks.take_while(|tick| *tick <= now).take(keep).count() == keep {
                return from;
            }
            back = back.saturating_mul(2);
        }
    }
}

/// The ticks of a grid, as far as they are accounted for.
#[derive(Debug)]
pub(super) struct Series<G: Grid> {
    grid: G,
    missed: Missed,
    /// The first tick that has not come due; `None` when there is none.
    next: Option<G::Time>,
    /// Ticks that are to be caught up with.
    owed: VecDeque<G::Time>,
    /// How many were missed since the last one that was served.
    dropped: u64,
    /// The next tick is served however late it is: one that was to be has been given up for it, or it was to end the cycle at work.
    insists: bool,
    /// The latest time that was seen.
    seen: G::Time,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<Time> {
    /// Run a cycle for the tick that was due then.
    Serve { due: Time, missed: u64, next: Option<Time> },
    /// Look again when it is that time.
    Wait { until: Time },
    /// There will be no more.
    End,
}

impl<G: Grid> Series<G> {
    /// Ticks from `next` on.
    pub(super) fn new(grid: G, missed: Missed, next: Option<G::Time>, now: G::Time) -> Self {
        Self { grid, missed, next, owed: VecDeque::new(), dropped: 0, insists: false, seen: now }
    }

    /// What is to be done at `now`, and how many ticks were found to be missed.
    pub(super) fn decide(&mut self, now: G::Time) -> (Decision<G::Time>, u64) {
        let before = self.dropped;
        self.look(now);
        if let Some(next) = self.next.filter(|next| *next <= now) {
            let (keep, all) = match self.missed {
                Missed::Merge => (1, true),
                Missed::Skip => (1, self.insists),
                Missed::CatchUp { max } => (usize::try_from(max).unwrap_or(BACKLOG_MAX).clamp(1, BACKLOG_MAX), true),
            };
            let following = self.grid.following(next);
            if following.is_none_or(|following| now < following) {
                // One alone, as of every schedule that is on time: nothing has to be counted.
                self.next = following;
                self.owe(next, all, now);
            } else {
                let mut backlog = self.grid.backlog(next, now, keep);
                self.next = backlog.next;
                self.dropped = self.dropped.saturating_add(backlog.dropped);
                // Where late ones are missed, no more than one was kept.
                backlog.newest.drain(..).for_each(|due| self.owe(due, all, now));
            }
            while self.owed.len() > keep {
                self.owed.pop_front();
                self.dropped = self.dropped.saturating_add(1);
            }
        }
        let found = self.dropped - before;
        let decision = match (self.owed.pop_front(), self.next) {
            (Some(due), next) => {
                self.insists = false;
                let following = self.owed.front().copied().or(next);
                Decision::Serve { due, missed: std::mem::take(&mut self.dropped), next: following }
            }
            (None, Some(until)) => Decision::Wait { until },
            (None, None) => Decision::End,
        };
        (decision, found)
    }

    /// A tick that has come due is to be served, unless it is late and late ones are missed.
    fn owe(&mut self, due: G::Time, all: bool, now: G::Time) {
        if all || self.is_in_time(due, now) {
            self.owed.push_back(due);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Counts what has come due before `now` as missed, whatever the policy: a cycle was at work. How many.
    pub(super) fn pass_over(&mut self, now: G::Time) -> u64 {
        self.look(now);
        let Some(next) = self.next.filter(|next| *next < now) else { return 0 };
        let backlog = self.grid.backlog(next, now, 1);
        // One that is due just now is in time.
        let last = backlog.newest.back().copied().filter(|last| *last == now);
        let passed = backlog.dropped + u64::from(last.is_none());
        self.next = last.or(backlog.next);
        self.dropped = self.dropped.saturating_add(passed);
        passed
    }

    /// Whether ticks that have come due wait behind the one that was served.
    pub(super) fn is_behind(&self) -> bool {
        !self.owed.is_empty()
    }

    /// So many ticks that were to be served are missed after all; they are counted with the next one, which is served
    /// whatever the policy if it is to be `instead`.
    pub(super) fn give_up(&mut self, count: u64, instead: bool) {
        self.dropped = self.dropped.saturating_add(count);
        self.insists |= instead;
    }

    /// What has come due by `now` is served whatever the policy: it was to end the cycle that was at work.
    pub(super) fn insist(&mut self, now: G::Time) {
        self.insists |= self.next.is_some_and(|next| next <= now);
    }

    fn look(&mut self, now: G::Time) {
        if now < self.seen && self.grid.between(now, self.seen) > REWIND {
            // A grid that has come to its end stays there: what is to run once does not run twice.
            self.next = self.next.and_then(|_| self.grid.after(now));
            self.owed.clear();
            self.seen = now;
        }
        self.seen = self.seen.max(now);
    }

    fn is_in_time(&self, due: G::Time, now: G::Time) -> bool {
        let grace = self.next.map_or(GRACE, |next| GRACE.min(self.grid.between(due, next) / 2));
        self.grid.between(due, now) <= grace
    }
}

#[cfg(test)]
mod tests;
