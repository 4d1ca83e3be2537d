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
    workers: Vec<Worker>,
}

struct Worker {
    name: Arc<str>,
    /// Whether its ticks do not wait.
    cancels: bool,
    /// For a fixed rate whose ticks are not owed one by one.
    rate: Option<Rate>,
    /// The cycle that began last, and when.
    began: Option<(CycleId, Duration)>,
    /// The cycle that was asked to end, when, and by when it must have.
    asked: Option<(CycleId, Duration, Duration)>,
    /// A tick has ended the one before: no cycle begins but its own.
    taken_over: bool,
    /// No intake was closed and no pause begun since the cycle began.
    undisturbed: bool,
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

impl Worker {
    fn new(declared: &Declaration) -> Self {
        let (policy, period) = match declared.source {
            SourceKind::FixedRate { period, policy } => (Some(policy), Some(period)),
            SourceKind::Cron { policy } => (Some(policy), None),
            SourceKind::Continuous
            | SourceKind::FixedDelay { .. }
            | SourceKind::Once { .. }
            | SourceKind::Queue
            | SourceKind::Service { .. }
            | SourceKind::Other
            // A kind that this version does not know has no rule here.
            | _ => (None, None),
        };
        let rate = |period: Duration, TickPolicy { missed, overlap: _, jitter }: TickPolicy| match missed {
            Missed::Merge | Missed::Skip => Some(Rate { period, jitter: jitter.min(period) }),
            Missed::CatchUp { .. } => None,
        };
        let cancels = policy.is_some_and(|policy| policy.overlap == Overlap::CancelPrevious);
        Self {
            name: declared.name.clone(),
            cancels,
            rate: period.zip(policy.filter(|_| cancels)).and_then(|(period, policy)| rate(period, policy)),
            began: None,
            asked: None,
            taken_over: false,
            undisturbed: false,
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
        let stood_still = verdicts.stood_still_since(since);
        let in_time = |(due, _)| at <= due + TIMER + stood_still;
        verdicts.demand(
            Rule::D6,
            attempt == 1 || self.due().is_none_or(in_time),
            || format!("a tick of {name} that has come due is not kept waiting by a retry of the one before"),
            || format!("cycle {cycle} began as attempt {attempt}"),
        );
        self.began = Some((cycle, at));
        self.undisturbed = self.open && !self.held;
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
                at <= by + TIMER + verdicts.stood_still_since(asked),
                || format!("a cycle of {name} that was asked to end has ended by {by:?}"),
                || format!("cycle {cycle} ended at {at:?}"),
            );
        }
        let since = self.began.map_or(at, |(_, began)| began);
        let stood_still = verdicts.stood_still_since(since);
        let in_time = |(due, grace)| at <= due + grace + TIMER + stood_still;
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

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what schedules do matters here")]
    pub(super) fn on(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => self.workers = workers.iter().map(Worker::new).collect(),
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
            Event::TickDue { worker, late, triggered, .. } => {
                let worker = self.worker(*worker);
                worker.taken_over = false;
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

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.workers[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use shiftwork::{OnFault, Retry, queue::Timestamp};

    use super::{super::Pauses, *};

    const WORKER: WorkerId = WorkerId(0);

    /// What the rule says of this history of a schedule of one tick in 10 s.
    fn broken(overlap: Overlap, history: &[(u64, Event)]) -> Vec<String> {
        let policy = TickPolicy { overlap, ..TickPolicy::default() };
        let declared = Declaration {
            name: "ticks".into(),
            after: Vec::new(),
            concurrency: 1,
            batch: None,
            retry: Retry::default(),
            breaker: None,
            rate_limit: None,
            retry_budget: None,
            cycle_timeout: None,
            progress_timeout: None,
            start_timeout: Duration::from_secs(30),
            crashes_max: 3,
            on_fault: OnFault::StopHost,
            group: None,
            source: SourceKind::FixedRate { period: Duration::from_secs(10), policy },
        };
        let mut rules = SupersedeRules::default();
        let mut found = Vec::new();
        let begin =
            [(0, Event::HostStarting { workers: [declared].into() }), (0, Event::IntakeOpened { worker: WORKER })];
        for (second, event) in begin.iter().chain(history) {
            let mut report = |violation: super::super::Violation| found.push(violation.happened);
            let at = Duration::from_secs(*second);
            rules.on(event, &mut Verdicts { at, pauses: &Pauses::default(), report: &mut report });
        }
        found
    }

    fn tick(number: u64) -> Event {
        let (due, late) = (Timestamp::UNIX_EPOCH, Duration::ZERO);
        Event::TickDue { worker: WORKER, number, due, missed: 0, late, triggered: false }
    }

    fn started(cycle: u64, attempt: u32) -> Event {
        Event::CycleStarted { worker: WORKER, cycle: CycleId(cycle), attempt, delivery: None }
    }

    fn superseded(cycle: u64, seconds: u64) -> Event {
        Event::CycleSuperseded { worker: WORKER, cycle: CycleId(cycle), grace: Duration::from_secs(seconds) }
    }

    fn ended(cycle: u64) -> Event {
        Event::CycleEnded { worker: WORKER, cycle: CycleId(cycle), failure: None, took: Duration::ZERO }
    }

    #[test]
    fn d6_a_cycle_that_is_ended_in_time_breaks_nothing() {
        let history = [
            (0, tick(1)),
            (0, started(1, 1)),
            (10, superseded(1, 3)),
            (13, ended(1)),
            (13, tick(2)),
            (13, started(2, 1)),
        ];
        assert_eq!(broken(Overlap::CancelPrevious, &history), [""; 0]);
    }

    #[test]
    fn d6_each_way_to_break_it_is_found() {
        let cancel = |history: &[(u64, Event)]| broken(Overlap::CancelPrevious, history);
        let begun = [(0, tick(1)), (0, started(1, 1))];
        let and = |rest: &[(u64, Event)]| cancel(&[&begun, rest].concat());
        assert_eq!(and(&[(20, ended(1))]), ["cycle 1 ended at 20s"], "nobody asked it to end");
        assert_eq!(and(&[(9, superseded(1, 3))]).len(), 1, "before its time");
        assert_eq!(and(&[(10, superseded(1, 4))]).len(), 1, "for too long");
        assert_eq!(and(&[(10, superseded(7, 3))]).len(), 1, "of a cycle that is not at work");
        assert_eq!(and(&[(10, superseded(1, 1)), (12, ended(1))]), ["cycle 1 ended at 12s"]);
        assert_eq!(and(&[(10, superseded(1, 1)), (11, ended(1)), (11, started(2, 2))])[0], "cycle 2 began");
        assert_eq!(and(&[(1, ended(1)), (12, started(2, 2))]), ["cycle 2 began as attempt 2"]);
        let paused = [(5, Event::WorkerPaused { worker: WORKER }), (10, superseded(1, 3))];
        assert_eq!(and(&paused), ["cycle 1 was asked to end"]);
        let wait = broken(Overlap::Wait, &[&begun[..], &[(10, superseded(1, 3))]].concat());
        assert_eq!(wait, ["cycle 1 was asked to end"]);
    }
}
