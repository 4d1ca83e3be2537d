//! D6: a tick that does not wait ends the cycle before it.
//!
//! When ticks are due is another file's; here they are what the cycle at work must not outlast.

use std::{sync::Arc, time::Duration};

use shiftwork::{
    Missed, Overlap, Rule, TickPolicy,
    event::{CycleId, Declaration, Event, SourceKind, WorkerId},
};

use super::Verdicts;

/// What a timer of whole milliseconds may be late.
const TIMER: Duration = Duration::from_millis(2);

/// The most that a cycle has once it is asked to end.
const GRACE_MAX: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct SupersedeRules {
    /// Whether any worker's ticks end cycles. Where none does, only the claim that one did is looked at.
    matters: bool,
    workers: Vec<Worker>,
}

struct Worker {
    name: Arc<str>,
    /// Whether its ticks do not wait.
    cancels: bool,
    /// For a fixed rate whose ticks are not owed one by one.
    rate: Option<Rate>,
    /// For a calendar whose ticks are not owed one by one: by how much they may be put off.
    calendar: Option<Duration>,
    /// The cycle that began last, and when.
    began: Option<(CycleId, Duration)>,
    /// The cycle that was asked to end, when, and by when it must have.
    asked: Option<(CycleId, Duration, Duration)>,
    /// A tick has ended the one before: no cycle begins but its own.
    taken_over: bool,
    /// No intake was closed, no pause begun and no breaker opened since the cycle began.
    undisturbed: bool,
    /// The wall clock has stepped since the last tick but one: the next may have come due before.
    stepped: [bool; 2],
    open: bool,
    held: bool,
    /// When the tick after the last one that was served or missed is due.
    next_due: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Rate {
    period: Duration,
    jitter: Duration,
}

/// How the ticks of a schedule that goes on meet each other, and how far they are apart where that is always the same.
fn policy_and_period(source: SourceKind) -> (Option<TickPolicy>, Option<Duration>) {
    match source {
        SourceKind::FixedRate { period, policy, .. } => (Some(policy), Some(period)),
        SourceKind::Cron { policy } => (Some(policy), None),
        SourceKind::Continuous
        | SourceKind::FixedDelay { .. }
        | SourceKind::Once { .. }
        | SourceKind::Queue
        | SourceKind::Service { .. }
        | SourceKind::Other
        // A kind that this version does not know has no rule here.
        | _ => (None, None),
    }
}

/// Whether a worker's ticks end the cycle before.
pub(super) fn cancels_previous(source: SourceKind) -> bool {
    policy_and_period(source).0.is_some_and(|policy| policy.overlap == Overlap::CancelPrevious)
}

impl Worker {
    fn new(declared: &Declaration) -> Self {
        let (policy, period) = policy_and_period(declared.source);
        let cancels = cancels_previous(declared.source);
        // Where ticks are owed, each has its turn.
        let jitter = policy.filter(|_| cancels).and_then(|TickPolicy { missed, overlap: _, jitter }| match missed {
            Missed::Merge | Missed::Skip => Some(jitter),
            Missed::CatchUp { .. } => None,
        });
        let rate = period.zip(jitter).map(|(period, jitter)| Rate { period, jitter: jitter.min(period) });
        Self {
            name: declared.name.clone(),
            cancels,
            rate,
            calendar: jitter.filter(|_| period.is_none()),
            began: None,
            asked: None,
            taken_over: false,
            undisturbed: false,
            stepped: [false; 2],
            open: false,
            held: false,
            next_due: None,
        }
    }

    /// When the tick after the last one does not wait any longer, where that is known.
    fn due(&self) -> Option<(Duration, Duration)> {
        let Rate { period, jitter } = self.rate.filter(|_| self.undisturbed)?;
        let due = self.next_due?.saturating_add(jitter);
        Some((due, GRACE_MAX.min(period / 2)))
    }

    fn started(&mut self, cycle: CycleId, attempt: u32, verdicts: &mut Verdicts<'_>) {
        let (at, name) = (verdicts.at, &self.name);
        verdicts.demand(
            Rule::D6,
            !self.taken_over,
            || format!("what {name} begins after a tick has ended the one before is that tick"),
            || format!("cycle {cycle} began"),
        );
        let since = self.began.map_or(at, |(_, began)| began);
        let held_up = verdicts.held_up_since(since);
        let in_time = |(due, _)| at <= due + TIMER + held_up;
        verdicts.demand(
            Rule::D6,
            attempt == 1 || self.due().is_none_or(in_time),
            || format!("a tick of {name} that has come due is not kept waiting by a retry of the one before"),
            || format!("cycle {cycle} began as attempt {attempt}"),
        );
        self.began = Some((cycle, at));
        self.undisturbed = self.open && !self.held;
    }

    /// A tick of the calendar is served, which nobody knows to be due before.
    fn tick_due(&mut self, late: Duration, verdicts: &mut Verdicts<'_>) {
        let Some(jitter) = self.calendar.filter(|_| self.undisturbed && self.stepped == [false; 2]) else { return };
        let Some((cycle, began)) = self.began else { return };
        let latest = jitter.saturating_add(GRACE_MAX + TIMER + verdicts.held_up_since(began));
        let name = &self.name;
        verdicts.demand(
            Rule::D6,
            late <= latest,
            || format!("a tick of {name} is served within {GRACE_MAX:?} of when it is due, whatever is at work"),
            || format!("it is {late:?} late, after cycle {cycle}"),
        );
    }

    fn superseded(&mut self, cycle: CycleId, grace: Duration, verdicts: &mut Verdicts<'_>) {
        let (at, name) = (verdicts.at, &self.name);
        verdicts.demand(
            Rule::D6,
            self.cancels && self.open && !self.held,
            || format!("cycles of {name} are ended only for a tick that will be served"),
            || format!("cycle {cycle} was asked to end"),
        );
        verdicts.demand(
            Rule::D6,
            self.began.is_some_and(|(began, _)| began == cycle) && grace <= GRACE_MAX,
            || format!("the cycle of {name} at work is asked to end, and has at most {GRACE_MAX:?}"),
            || format!("cycle {cycle} has {grace:?}; the one that began last is {:?}", self.began),
        );
        let is_due = self.rate.is_none() || self.next_due.is_some_and(|due| due <= at);
        verdicts.demand(
            Rule::D6,
            is_due,
            || format!("no cycle of {name} is ended before the next tick is due"),
            || format!("cycle {cycle} was asked to end, and the tick is due at {:?}", self.next_due),
        );
        self.asked = Some((cycle, at, at.saturating_add(grace)));
        self.taken_over = true;
    }

    fn ended(&mut self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        let (at, name) = (verdicts.at, &self.name);
        if let Some((_, asked, by)) = self.asked.take_if(|(asked, _, _)| *asked == cycle) {
            verdicts.demand(
                Rule::D6,
                at <= by + TIMER + verdicts.held_up_since(asked),
                || format!("a cycle of {name} that was asked to end has ended by {by:?}"),
                || format!("cycle {cycle} ended at {at:?}"),
            );
        }
        let since = self.began.map_or(at, |(_, began)| began);
        let held_up = verdicts.held_up_since(since);
        let in_time =
            |(due, grace): (Duration, Duration)| at <= due.saturating_add(grace).saturating_add(TIMER + held_up);
        verdicts.demand(
            Rule::D6,
            self.due().is_none_or(in_time),
            || format!("no cycle of {name} goes on for long once the next tick is due, at {:?}", self.next_due),
            || format!("cycle {cycle} ended at {at:?}"),
        );
    }
}

impl SupersedeRules {
    pub(super) fn boot(&mut self) {
        self.workers.clear();
    }

    #[inline]
    pub(super) fn on(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        if self.matters || matches!(event, Event::HostStarting { .. } | Event::CycleSuperseded { .. }) {
            self.look(event, verdicts);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what schedules do matters here")]
    fn look(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => {
                self.workers = workers.iter().map(Worker::new).collect();
                self.matters = self.workers.iter().any(|worker| worker.cancels);
            }
            Event::IntakeOpened { worker } => {
                let worker = self.worker(*worker);
                (worker.open, worker.taken_over, worker.next_due) = (true, false, None);
                (worker.asked, worker.began) = (None, None);
            }
            Event::IntakeClosed { worker, .. } => {
                let worker = self.worker(*worker);
                (worker.open, worker.undisturbed) = (false, false);
            }
            Event::WorkerPaused { worker } => {
                let worker = self.worker(*worker);
                (worker.held, worker.undisturbed) = (true, false);
            }
            Event::WorkerResumed { worker } => self.worker(*worker).held = false,
            Event::BreakerOpened { worker, .. } => self.worker(*worker).undisturbed = false,
            Event::TickDue { worker, late, triggered, .. } => {
                let worker = self.worker(*worker);
                worker.taken_over = false;
                if !*triggered {
                    worker.tick_due(*late, verdicts);
                }
                worker.stepped = [false, worker.stepped[0]];
                if let (Some(Rate { period, .. }), false) = (worker.rate, *triggered) {
                    worker.next_due = Some(verdicts.at.saturating_sub(*late).saturating_add(period));
                }
            }
            Event::TicksMissed { worker, count } => {
                let worker = self.worker(*worker);
                let missed = u32::try_from(*count).unwrap_or(u32::MAX);
                let period = worker.rate.map_or(Duration::ZERO, |rate| rate.period);
                worker.next_due = worker.next_due.map(|due| due.saturating_add(period.saturating_mul(missed)));
            }
            Event::CycleStarted { worker, cycle, attempt, .. } => {
                self.worker(*worker).started(*cycle, *attempt, verdicts);
            }
            Event::CycleSuperseded { worker, cycle, grace } => {
                self.worker(*worker).superseded(*cycle, *grace, verdicts);
            }
            Event::CycleEnded { worker, cycle, .. } => self.worker(*worker).ended(*cycle, verdicts),
            _ => {}
        }
    }

    pub(super) fn clock_stepped(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.stepped[0] = true);
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.workers[id.0 as usize]
    }
}
