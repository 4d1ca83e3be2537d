//! When the ticks of a schedule are served (D1, D3 to D5, and P3 for those that somebody asked for).

use std::time::Duration;

use shiftwork::{
    Missed, Overlap, Rule, TickPolicy,
    event::SourceKind,
    queue::{Timestamp, between},
};

use super::{Intake, Next, TIMER, Verdicts, Worker};
use crate::rules::superseded::cancels_previous;

/// What is known of a schedule's ticks so far.
#[derive(Default)]
pub(super) struct ScheduleView {
    /// The number of the last tick, and when it was due.
    pub(super) last: Option<(u64, Timestamp)>,
    /// When tick number 1 was due, for a fixed rate.
    pub(super) first: Option<Duration>,
    /// When the last tick was done with.
    pub(super) settled_at: Option<Duration>,
    /// How many ticks were said to be missed since the last one.
    pub(super) missed: u64,
    /// How many ticks were said whose cycle has not begun.
    pub(super) announced: usize,
    /// The wall clock has stepped since the last tick.
    pub(super) stepped: bool,
    /// It has stepped back so far that ticks come due again.
    pub(super) rewound: bool,
}

/// A tick, as it was said.
pub(super) struct TickSaid {
    pub(super) number: u64,
    pub(super) due: Timestamp,
    pub(super) missed: u64,
    pub(super) late: Duration,
}

impl Worker {
    /// Rule D3: a tick that is served gets its cycle, whatever that has to wait for: before each lane serves another one.
    fn announces(&mut self, verdicts: &mut Verdicts<'_>) {
        let view = &mut self.schedule;
        if cancels_previous(self.declared.source) {
            // This one is served instead.
            view.announced = 0;
        }
        let (name, lanes) = (&self.declared.name, self.declared.concurrency);
        verdicts.demand(
            Rule::D3,
            view.announced < lanes,
            || format!("a tick of {name} that was served gets its cycle, before each lane serves another one"),
            || format!("{} have none", view.announced),
        );
        view.announced = view.announced.saturating_add(1);
    }

    /// Rule P3: a tick is served that was asked for.
    pub(super) fn triggered_tick(&mut self, number: u64, missed: u64, verdicts: &mut Verdicts<'_>) {
        let (at, name) = (verdicts.at, &self.declared.name);
        let last = self.schedule.last.map_or(0, |(number, _)| number);
        let asked = self.triggered_at.take();
        let ready = asked.map(|asked| asked.max(self.schedule.settled_at.unwrap_or_default()));
        let serial = self.declared.concurrency == 1;
        verdicts.demand(
            Rule::P3,
            ready.is_some_and(|ready| !serial || self.paused || at <= ready + TIMER + verdicts.blocked_since(ready)),
            || format!("a tick of {name} is served at once when it is asked for"),
            || format!("one is served at {at:?}, asked for at {asked:?}"),
        );
        verdicts.demand(
            Rule::P3,
            number == last && missed == 0,
            || format!("a tick of {name} that was asked for does not count"),
            || format!("it has number {number} after {last}"),
        );
        self.announces(verdicts);
    }

    /// Rules D1 and D3 to D5: a tick is served.
    pub(super) fn tick(&mut self, said: &TickSaid, wall: Timestamp, verdicts: &mut Verdicts<'_>) {
        let (at, name, serial) = (verdicts.at, &self.declared.name, self.declared.concurrency == 1);
        let TickSaid { number, due, missed, late } = *said;
        let view = &mut self.schedule;
        // A tick that its breaker has kept waiting is late, but never early; and so is one of a process that stood still.
        let stood_still = !verdicts.stood_still_since(view.settled_at.unwrap_or_default()).is_zero();
        let blocked = verdicts.blocked_since(view.settled_at.unwrap_or_default());
        // A tick that was put off may be missed while a poll blocks, and the next one is put off in its turn.
        let stood_still = stood_still || (missed > 0 && !blocked.is_zero());
        let paused = std::mem::take(&mut self.paused) || stood_still;
        let timer = TIMER + blocked;
        let last = view.last.map_or(0, |(number, _)| number);
        verdicts.demand(
            Rule::D3,
            number == last + missed + 1 && missed == view.missed,
            || format!("the tick of {name} after number {last}, of which {} were missed, is counted", view.missed),
            || format!("it has number {number}, after {missed} that were missed"),
        );
        match self.declared.source {
            SourceKind::FixedRate { period, policy, .. } => {
                let due_at = |first: Duration, number: u64| {
                    first.saturating_add(period.saturating_mul(u32::try_from(number - 1).unwrap_or(u32::MAX)))
                };
                let on_grid = at.saturating_sub(late);
                let first = *view.first.get_or_insert_with(|| on_grid.saturating_sub(due_at(Duration::ZERO, number)));
                verdicts.demand(
                    Rule::D1,
                    on_grid == due_at(first, number),
                    || format!("tick {number} of {name} is due at {:?}", due_at(first, number)),
                    || format!("it was due at {on_grid:?}"),
                );
                let ready = due_at(first, last + 1).max(view.settled_at.unwrap_or_default());
                let latest = match latest(policy, period, timer) {
                    // It is served whatever it had to wait for the one before.
                    Some(latest) if policy.overlap == Overlap::CancelPrevious => {
                        on_grid.min(ready.saturating_add(period)).max(ready).saturating_add(latest)
                    }
                    // The first that is still to come.
                    Some(latest) if policy.overlap == Overlap::Skip || policy.missed == Missed::Skip => {
                        on_grid.min(ready.saturating_add(period)).saturating_add(latest)
                    }
                    Some(latest) => ready.saturating_add(latest),
                    None => Duration::MAX,
                };
                verdicts.demand(
                    Rule::D1,
                    !serial || paused || at <= latest,
                    || format!("the tick of {name} after number {last} starts by {latest:?}"),
                    || format!("tick {number} started at {at:?}"),
                );
            }
            SourceKind::FixedDelay { delay, jitter, .. } => {
                if let Some(settled_at) = view.settled_at {
                    let due = settled_at.saturating_add(delay);
                    verdicts.demand(
                        Rule::D4,
                        due <= at && (paused || at <= due.saturating_add(jitter.min(delay)).saturating_add(timer)),
                        || format!("the next cycle of {name} starts {delay:?} after the last, at {due:?}"),
                        || format!("tick {number} started at {at:?}"),
                    );
                }
            }
            SourceKind::Cron { policy } => {
                let before = view.last.map(|(_, due)| due);
                verdicts.demand(
                    Rule::D5,
                    view.rewound || before.is_none_or(|before| before < due),
                    || format!("no tick of {name} is served twice, and none out of order"),
                    || format!("tick {number} was due {due}, and the one before {before:?}"),
                );
                let ready = at.saturating_sub(late).max(view.settled_at.unwrap_or_default());
                let in_time = before.is_none()
                    || paused
                    || view.stepped
                    || !serial
                    || policy.overlap == Overlap::Skip
                    || at <= ready + policy.jitter + timer;
                verdicts.demand(
                    Rule::D5,
                    (view.stepped || due <= wall) && in_time,
                    || format!("tick {number} of {name}, due {due}, starts at {ready:?}"),
                    || format!("it started at {at:?}, which is {wall}"),
                );
            }
            SourceKind::Once { at: asked, .. } => {
                verdicts.demand(
                    Rule::D5,
                    number == 1 && due == asked && (view.stepped || due <= wall),
                    || format!("{name} has one tick, due {asked}"),
                    || format!("tick {number} was due {due} and started at {at:?}, which is {wall}"),
                );
            }
            SourceKind::Continuous | SourceKind::Queue | SourceKind::Service { .. } | SourceKind::Other => {}
            // A kind that this version does not know has no rule here.
            _ => {}
        }
        view.last = Some((number, due));
        view.missed = 0;
        view.stepped = false;
        view.rewound = false;
        self.announces(verdicts);
        if cancels_previous(self.declared.source) {
            // Whatever was to be tried again of the one before is over.
            self.next = Next { attempt: 1, not_before: Duration::ZERO };
            self.put_off.clear();
        }
    }

    /// Rules D1, D4 and D5: intake closes, and the tick that would be next is not late yet. So a schedule that falls silent for good is
    /// found, and one that never begins.
    ///
    /// Of a cron expression nobody knows here when its next tick is due.
    pub(super) fn is_not_silent(&self, wall: Timestamp, verdicts: &mut Verdicts<'_>) {
        if !self.waits_for_its_schedule() {
            return;
        }
        let view = &self.schedule;
        let (at, name) = (verdicts.at, &self.declared.name);
        // What was before this life has nothing to do with it.
        let settled_at = view.settled_at.unwrap_or(self.opened_at);
        let blocked = verdicts.blocked_since(settled_at);
        // As of a tick that is served: what stood still owes nothing, and what was put off may be missed while a poll blocks.
        let excused = !verdicts.stood_still_since(settled_at).is_zero() || (view.missed > 0 && !blocked.is_zero());
        let timer = TIMER + blocked;
        let begins = |first_after| self.opened_at.saturating_add(first_after);
        let (rule, by) = match self.declared.source {
            SourceKind::FixedRate { period, first_after, policy } => {
                let served = view.last.map_or(0, |(last, _)| u32::try_from(last).unwrap_or(u32::MAX));
                let first = view.first.unwrap_or_else(|| begins(first_after));
                let ready = first.saturating_add(period.saturating_mul(served)).max(settled_at);
                let Some(latest) = latest(policy, period, timer) else { return };
                // Where late ones are passed over, the first that is still to come.
                let waits = match (policy.overlap, policy.missed) {
                    (Overlap::Skip | Overlap::CancelPrevious, _) | (_, Missed::Skip) => period,
                    (Overlap::Wait | Overlap::Allow, Missed::Merge | Missed::CatchUp { .. }) => Duration::ZERO,
                };
                (Rule::D1, ready.saturating_add(waits).saturating_add(latest))
            }
            SourceKind::FixedDelay { delay, first_after, jitter } => {
                let due = view.settled_at.map_or_else(|| begins(first_after), |settled| settled.saturating_add(delay));
                (Rule::D4, due.saturating_add(jitter.min(delay)).saturating_add(timer))
            }
            // Once it was served, or passed over, there is no other. A step of the clock over its time is noticed within a minute.
            SourceKind::Once { at: asked, first_after, policy }
                if view.last.is_none() && view.missed == 0 && !view.stepped =>
            {
                let due = at.saturating_sub(between(asked, wall)).max(begins(first_after)).max(settled_at);
                (Rule::D5, due.saturating_add(policy.jitter).saturating_add(timer))
            }
            SourceKind::Once { .. }
            | SourceKind::Cron { .. }
            | SourceKind::Continuous
            | SourceKind::Queue
            | SourceKind::Service { .. }
            | SourceKind::Other => return,
            // A kind that this version does not know has no rule here.
            _ => return,
        };
        verdicts.demand(
            rule,
            excused || at <= by,
            || format!("the next tick of {name} starts by {by:?}"),
            || format!("there was none by {at:?}, when its intake closed"),
        );
    }

    /// Whether it has nothing to do but to wait for its next tick, and nobody keeps it from that.
    fn waits_for_its_schedule(&self) -> bool {
        let in_flight = !(self.running.is_empty() && self.unsettled.is_empty()) || self.schedule.announced > 0;
        // A retry, or what was put off.
        let again = self.next.attempt > 1 || !self.put_off.is_empty();
        let held_back = self.held || self.paused || self.breaker_open || self.declared.rate_limit.is_some();
        self.intake == Intake::Open
            && self.declared.concurrency == 1
            && !(in_flight || again || held_back || self.triggered_at.is_some())
    }
}

/// How long after it could start a tick of a fixed rate starts at the latest.
fn latest(policy: TickPolicy, period: Duration, timer: Duration) -> Option<Duration> {
    let grace = if policy.missed == Missed::Skip { Duration::from_secs(1).min(period / 2) } else { Duration::ZERO };
    grace.checked_add(policy.jitter.min(period))?.checked_add(timer)
}
