//! C and D: how cycles follow from policies and schedules. What begins, runs and ends is kept here; what is asked of it by theme below.

mod beginnings;
mod escalations;
mod interruptions;
mod settlements;
mod stragglers;
mod ticks;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shiftwork::{
    Cause, FailureKind, Rule,
    event::{CycleId, Declaration, Event, SourceKind, WorkerId, WorkerPhase},
    queue::{DeliveryId, Timestamp},
};

use self::{
    beginnings::{Batch, Beginnings},
    escalations::GivenUp,
    settlements::{Ended, Next},
    ticks::{ScheduleView, TickSaid},
};
use super::Verdicts;
use crate::world::wall_at;

/// What a timer of whole milliseconds may be late.
const TIMER: Duration = Duration::from_millis(2);

/// How far the wall clock must step back before its ticks come due again.
const REWIND: Duration = Duration::from_secs(3 * 3600);

#[derive(Default)]
pub(super) struct CycleRules {
    workers: Vec<Worker>,
    /// How far the wall clock has been stepped in all.
    stepped_ms: i64,
    /// The latest wall time before a step.
    wall_max: Option<Timestamp>,
    /// The tasks in which a panic was injected, and which have not been polled since.
    panicked: BTreeSet<u32>,
}

struct Worker {
    declared: Declaration,
    intake: Intake,
    running: Vec<Running>,
    /// Ended, but what follows is not done yet.
    unsettled: Vec<Ended>,
    /// For a worker with one lane and no queue: which attempt comes next, and not before when.
    next: Next,
    /// The same for each delivery that waits for a retry.
    not_before: BTreeMap<DeliveryId, Duration>,
    schedule: ScheduleView,
    /// What was given up and is to be escalated.
    given_up: Vec<GivenUp>,
    /// The cycle that its breaker probes with.
    probe: Option<CycleId>,
    /// Its breaker, or somebody, has paused it since the last tick.
    paused: bool,
    /// Its breaker is open.
    breaker_open: bool,
    /// When the first attempt at the present input began.
    first_began: Duration,
    /// Cycles in flight at the last step of a stop that were not named yet.
    unnamed: Vec<CycleId>,
    /// Since when nothing of it has been in flight, from when its intake closed.
    idle_since: Duration,
    /// Probes with a delivery that failed in a row and were not counted as attempts.
    spared: u32,
    /// It is paused by whoever has a handle.
    held: bool,
    /// When it was triggered, if that is not served yet.
    triggered_at: Option<Duration>,
    /// Since when its life has been open and its retry budget counts, how many cycles have succeeded since, and when each retry is due.
    opened_at: Duration,
    succeeded: u64,
    retries_due: Vec<Duration>,
    /// The tasks whose last cycle put its input off: the same input is next.
    put_off: BTreeSet<u32>,
    /// The batches that begin, run or end.
    batches: Vec<Batch>,
    /// How its cycles began, as far as its rate limit goes.
    began: Option<Beginnings>,
    /// Since when its rate limit is said to hold it back.
    limited_since: Option<Duration>,
    /// This life of it was left behind.
    abandoned: bool,
    /// When what it had in flight was dropped, in this life.
    dropped_at: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Intake {
    NotYet,
    Open,
    Closed,
}

struct Running {
    cycle: CycleId,
    began: Duration,
    task: u32,
    attempt: u32,
    delivery: Option<DeliveryId>,
    panicked: Option<Panicked>,
    /// A fault has said that its time is up, whatever its limits are.
    time_is_up: bool,
    /// It was asked to end: by the stop of its worker, for its lease, or for the next tick.
    asked_to_end: bool,
}

/// A panic that was injected into a cycle, or into the call of a batch.
#[derive(Debug, Clone, Copy)]
struct Panicked {
    at: Duration,
    task: u32,
}

impl Panicked {
    /// Whether whoever ends now has panicked. One that goes on after it has caught it itself.
    fn ends_it(self, at: Duration) -> bool {
        // Where tasks are told apart, a poll of this one would have taken it back. Elsewhere time tells: a panic takes
        // none.
        self.task != 0 || self.at == at
    }
}

impl CycleRules {
    pub(super) fn boot(&mut self) {
        self.workers.clear();
        self.panicked.clear();
    }

    /// How far the wall clock is from the usual one when the world begins.
    pub(super) fn clock_begins(&mut self, offset_ms: i64) {
        self.stepped_ms = offset_ms;
    }

    pub(super) fn clock_stepped(&mut self, at: Duration, stepped_ms: i64) {
        let (before, after) = (wall_at(at, self.stepped_ms), wall_at(at, stepped_ms));
        let wall_max = self.wall_max.map_or(before, |max| max.max(before));
        self.wall_max = Some(wall_max);
        let forward =
            u64::try_from(stepped_ms.saturating_sub(self.stepped_ms)).map_or(Duration::ZERO, Duration::from_millis);
        self.stepped_ms = stepped_ms;
        let rewound = after.checked_add(REWIND).is_ok_and(|after| after < wall_max);
        for worker in &mut self.workers {
            worker.schedule.stepped = true;
            worker.schedule.rewound |= rewound;
            // A delivery waits in its queue for a wall time, which comes so much sooner.
            for not_before in worker.not_before.values_mut() {
                *not_before = not_before.saturating_sub(forward);
            }
            for ended in &mut worker.unsettled {
                ended.stepped_forward += forward;
            }
        }
    }

    /// A fault has panicked in this task. Without tokio's hooks nobody knows in which (it is 0 then), unless one alone is at
    /// work. It is not held against workers that are said to catch panics.
    pub(super) fn panic_injected(&mut self, at: Duration, task: u32, catching: &BTreeSet<String>) {
        let at_work = self.workers.iter().flat_map(|worker| {
            let batches = worker.batches.iter().filter(|batch| batch.over.is_none()).count();
            std::iter::repeat_n((), if worker.declared.batch.is_some() { batches } else { worker.running.len() })
        });
        if task == 0 && at_work.count() != 1 {
            return;
        }
        let panicked = Some(Panicked { at, task });
        self.panicked.extend((task != 0).then_some(task));
        for worker in self.workers.iter_mut().filter(|worker| !catching.contains(&*worker.declared.name)) {
            // The call of a batch panics, whatever was said of its inputs before.
            for batch in worker.batches.iter_mut().filter(|batch| batch.task == task && batch.over.is_none()) {
                batch.panicked = panicked;
            }
            if worker.declared.batch.is_some() {
                continue;
            }
            for running in worker.running.iter_mut().filter(|running| running.task == task) {
                running.panicked = panicked;
            }
        }
    }

    /// A task is polled. A panic that nobody has caught in it would have ended its cycle in the poll before.
    #[inline]
    pub(super) fn polled(&mut self, task: u32) {
        let has_panicked = !self.panicked.is_empty() && self.panicked.remove(&task);
        if has_panicked {
            self.goes_on(task);
        }
    }

    /// Who is at work in this task has caught its panic.
    #[cold]
    fn goes_on(&mut self, task: u32) {
        for worker in &mut self.workers {
            for batch in worker.batches.iter_mut().filter(|batch| batch.task == task) {
                batch.panicked = None;
            }
            for running in worker.running.iter_mut().filter(|running| running.task == task) {
                running.panicked = None;
            }
        }
    }

    /// A fault has said that the time of a cycle is up, or that of the batch that begins with it.
    pub(super) fn time_is_up(&mut self, worker: WorkerId, cycle: CycleId) {
        if let Some(worker) = self.workers.get_mut(worker.0 as usize) {
            worker.time_is_up(cycle);
        }
    }

    /// Rule C8: nothing that began is left unsaid when the host has ended.
    pub(super) fn host_stopped(&mut self, abandoned: bool, verdicts: &mut Verdicts<'_>) {
        for worker in &self.workers {
            let name = &worker.declared.name;
            verdicts.demand(
                Rule::C8,
                abandoned || worker.running.is_empty(),
                || format!("every cycle of {name} has ended when its host has"),
                || format!("cycle {} has not", worker.running[0].cycle),
            );
            verdicts.demand(
                Rule::C8,
                abandoned || worker.unsettled.is_empty(),
                || format!("it is said what became of every cycle of {name}"),
                || format!("nothing was said of cycle {}", worker.unsettled[0].cycle),
            );
            verdicts.demand(
                Rule::C7,
                abandoned || worker.given_up.is_empty(),
                || format!("every input that {name} gives up is escalated"),
                || format!("{} were not", worker.given_up.len()),
            );
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "events of the host's life are another file's")]
    pub(super) fn on(&mut self, task: u32, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => {
                self.workers = workers.iter().cloned().map(Worker::new).collect();
            }
            Event::IntakeOpened { worker } => self.worker(*worker).begin_life(verdicts.at),
            Event::IntakeClosed { worker, .. } => {
                let wall = wall_at(verdicts.at, self.stepped_ms);
                let worker = self.worker(*worker);
                worker.is_not_silent(wall, verdicts);
                worker.intake = Intake::Closed;
                worker.idle_since = verdicts.at;
            }
            Event::TicksMissed { worker, count } => self.worker(*worker).schedule.missed += *count,
            Event::TickDue { worker, number, missed, triggered: true, .. } => {
                self.worker(*worker).triggered_tick(*number, *missed, verdicts);
            }
            Event::TickDue { worker, number, due, missed, late, triggered: false } => {
                let wall = wall_at(verdicts.at, self.stepped_ms);
                let said = TickSaid { number: *number, due: *due, missed: *missed, late: *late };
                self.worker(*worker).tick(&said, wall, verdicts);
            }
            Event::BatchStarted { worker, first, cycles } => {
                self.worker(*worker).batch_started(task, *first, *cycles, verdicts);
            }
            Event::BatchEnded { worker, first, failure, .. } => {
                self.worker(*worker).batch_ended(*first, failure.as_ref().map(|cause| cause.kind), verdicts);
            }
            Event::CycleStarted { worker, cycle, attempt, delivery } => {
                let running = Running {
                    cycle: *cycle,
                    began: verdicts.at,
                    task,
                    attempt: *attempt,
                    delivery: *delivery,
                    panicked: None,
                    time_is_up: false,
                    asked_to_end: false,
                };
                self.worker(*worker).started(running, verdicts);
            }
            Event::CycleEnded { worker, cycle, failure, took } => {
                self.worker(*worker).ended(*cycle, failure.as_ref(), *took, verdicts);
            }
            Event::Settled { worker, cycle, delivery, settle } => {
                self.worker(*worker).settled(*cycle, *delivery, *settle, verdicts);
            }
            Event::SettledUnrun { worker, settle, .. } => {
                self.worker(*worker).owes_escalation_unrun(None, *settle);
            }
            Event::LeaseGivenUp { worker, delivery, .. } => self.worker(*worker).given_up(*delivery, verdicts),
            Event::LeaseLost { worker, delivery, .. } => self.worker(*worker).loses_lease(*delivery),
            Event::CycleSuperseded { worker, cycle, .. } => self.worker(*worker).is_asked_to_end(*cycle),
            Event::RateLimitReached { worker, .. } => self.worker(*worker).limit_reached(verdicts),
            Event::RateLimitEased { worker, after } => self.worker(*worker).limit_eased(*after, verdicts),
            Event::BreakerOpened { worker, .. } => {
                let worker = self.worker(*worker);
                (worker.paused, worker.breaker_open) = (true, true);
            }
            Event::WorkerPaused { worker } => self.worker(*worker).is_held(true, verdicts),
            Event::WorkerCancelled { worker } => {
                let worker = self.worker(*worker);
                worker.step_of_stop(true, verdicts);
                worker.all_are_asked_to_end();
            }
            Event::WorkerAborted { worker } => {
                let worker = self.worker(*worker);
                worker.step_of_stop(true, verdicts);
                worker.all_are_dropped(verdicts.at);
            }
            Event::WorkerAbandoned { worker, phase } => {
                // One that closes waits for its stop hook, of which no event speaks.
                let of_cycles =
                    matches!(phase, WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting);
                let worker = self.worker(*worker);
                worker.step_of_stop(of_cycles, verdicts);
                worker.left_once_dropped(verdicts);
                // Nobody asks the lanes of a worker that is left behind.
                worker.limited_since = None;
                worker.abandoned = true;
            }
            Event::Straggler { worker, cycle, age, .. } => self.worker(*worker).straggler(*cycle, *age, verdicts),
            Event::WorkerRestarting { worker, .. } => self.worker(*worker).all_named("its life was over", verdicts),
            Event::WorkerStopped { worker, .. } => {
                self.worker(*worker).all_named("its worker ended", verdicts);
                self.worker(*worker).limit_forgotten(verdicts);
            }
            Event::WorkerResumed { worker } => self.worker(*worker).is_held(false, verdicts),
            Event::WorkerTriggered { worker } => self.worker(*worker).is_triggered(verdicts),
            Event::BreakerClosed { worker, .. } => {
                let worker = self.worker(*worker);
                (worker.spared, worker.breaker_open) = (0, false);
            }
            Event::BreakerProbing { worker, cycle } => self.worker(*worker).probe = Some(*cycle),
            Event::SettleFailed { worker, cycle, settle, .. } => self.worker(*worker).not_settled(*cycle, *settle),
            Event::Escalated { worker, cycle, attempts, cause } => {
                self.worker(*worker).escalated(*cycle, *attempts, cause, verdicts);
            }
            _ => {}
        }
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.workers[id.0 as usize]
    }
}

impl Worker {
    fn new(declared: Declaration) -> Self {
        Self {
            declared,
            intake: Intake::NotYet,
            running: Vec::new(),
            unsettled: Vec::new(),
            next: Next { attempt: 1, not_before: Duration::ZERO },
            not_before: BTreeMap::new(),
            schedule: ScheduleView::default(),
            given_up: Vec::new(),
            probe: None,
            paused: false,
            breaker_open: false,
            first_began: Duration::ZERO,
            unnamed: Vec::new(),
            idle_since: Duration::ZERO,
            spared: 0,
            held: false,
            triggered_at: None,
            opened_at: Duration::ZERO,
            succeeded: 0,
            retries_due: Vec::new(),
            put_off: BTreeSet::new(),
            batches: Vec::new(),
            began: None,
            limited_since: None,
            abandoned: false,
            dropped_at: None,
        }
    }

    /// What a life that was left behind had in flight is not said to be settled any more, and its cycles had the numbers that the next ones
    /// will have. Not before those begin: in the instant in which it is left behind, some of it may still come to its end.
    fn forget_what_was_left(&mut self) {
        if std::mem::take(&mut self.abandoned) {
            self.running.clear();
            self.unsettled.clear();
            self.unnamed.clear();
            self.given_up.clear();
        }
    }

    /// Its first life, or a new one: the schedule and the attempts begin anew.
    fn begin_life(&mut self, at: Duration) {
        self.forget_what_was_left();
        (self.probe, self.spared, self.breaker_open) = (None, 0, false);
        (self.intake, self.dropped_at) = (Intake::Open, None);
        self.next = Next { attempt: 1, not_before: Duration::ZERO };
        self.schedule = ScheduleView::default();
        self.triggered_at = None;
        self.put_off.clear();
        self.batches.clear();
        (self.opened_at, self.succeeded) = (at, 0);
        self.retries_due.clear();
    }

    /// Whether cycles follow one another, so that the next attempt is known. What a source of the program's own offers next is its affair.
    fn is_serial(&self) -> bool {
        self.declared.concurrency == 1 && !matches!(self.declared.source, SourceKind::Queue | SourceKind::Other)
    }

    fn started(&mut self, started: Running, verdicts: &mut Verdicts<'_>) {
        self.started_in_batch(started.cycle, started.task, verdicts);
        if self.declared.batch.is_none() {
            self.begins_in_time(started.cycle, verdicts);
        }
        let (name, cycle, attempt) = (&self.declared.name, started.cycle, started.attempt);
        verdicts.demand(
            if self.intake == Intake::Closed { Rule::T1 } else { Rule::S2 },
            self.intake == Intake::Open,
            || format!("a cycle of {name} starts only while its intake is open"),
            || {
                let when = if self.intake == Intake::Closed { "after it was closed" } else { "before it was opened" };
                format!("cycle {cycle} started {when}")
            },
        );
        verdicts.demand(
            Rule::P1,
            !self.held,
            || format!("no cycle of {name} starts while it is paused"),
            || format!("cycle {cycle} did"),
        );
        let scheduled = matches!(
            self.declared.source,
            SourceKind::FixedRate { .. }
                | SourceKind::FixedDelay { .. }
                | SourceKind::Cron { .. }
                | SourceKind::Once { .. }
        );
        let limit = self.declared.concurrency;
        verdicts.demand(
            if scheduled { Rule::D2 } else { Rule::C9 },
            self.running.len() < limit,
            || format!("at most {limit} cycles of {name} run side by side"),
            || format!("cycle {cycle} was one more"),
        );
        let attempts = self.declared.retry.attempts();
        verdicts.demand(
            Rule::C2,
            (1..=attempts).contains(&attempt),
            || format!("{name} makes at most {attempts} attempts"),
            || format!("cycle {cycle} is attempt {attempt}"),
        );
        let not_before = match started.delivery {
            Some(delivery) => self.not_before.remove(&delivery).unwrap_or_default(),
            None if self.is_serial() => {
                let expected = self.next.attempt;
                verdicts.demand(
                    Rule::C2,
                    attempt == expected,
                    || format!("the next cycle of {name} is attempt {expected}"),
                    || format!("cycle {cycle} is attempt {attempt}"),
                );
                self.next.not_before
            }
            None => Duration::ZERO,
        };
        let at = verdicts.at;
        // Whoever triggered it does not want to wait for the retry; a delivery's is the queue's, and comes when it is due.
        let hurried = at < not_before && started.delivery.is_none() && self.triggered_at.take().is_some();
        verdicts.demand(
            Rule::C3,
            at >= not_before || hurried,
            || format!("{name} tries again at {not_before:?}, as its retry policy says"),
            || format!("cycle {cycle} started at {at:?}"),
        );
        if attempt == 1 {
            self.first_began = at;
        }
        if scheduled && attempt == 1 && !self.put_off.remove(&started.task) {
            verdicts.demand(
                Rule::D3,
                self.schedule.announced > 0,
                || format!("a tick of {name} is said before its first cycle begins"),
                || format!("cycle {cycle} has none"),
            );
            self.schedule.announced = self.schedule.announced.saturating_sub(1);
        }
        self.running.push(started);
    }

    /// Rule P1: a pause and its end are said when they are so, and once.
    fn is_held(&mut self, held: bool, verdicts: &mut Verdicts<'_>) {
        verdicts.demand(
            Rule::P1,
            self.held != held,
            || format!("{} is said to be paused when it was not, and to go on when it was", self.declared.name),
            || if held { "it was paused already".to_owned() } else { "it was not".to_owned() },
        );
        self.held = held;
        self.paused |= held;
    }

    /// Rule P3: only who could begin a cycle is triggered.
    fn is_triggered(&mut self, verdicts: &mut Verdicts<'_>) {
        verdicts.demand(
            Rule::P3,
            self.intake == Intake::Open && !self.held,
            || format!("{} is triggered while it runs and is not paused", self.declared.name),
            || if self.held { "it was paused".to_owned() } else { "its intake was not open".to_owned() },
        );
        self.triggered_at = Some(verdicts.at);
    }

    fn ended(&mut self, cycle: CycleId, cause: Option<&Cause>, took: Duration, verdicts: &mut Verdicts<'_>) {
        let failure = cause.map(|cause| cause.kind);
        let Some(index) = self.running.iter().position(|running| running.cycle == cycle) else {
            verdicts.demand(
                Rule::C8,
                false,
                || format!("a cycle of {} that ends had started", self.declared.name),
                || format!("cycle {cycle} had not"),
            );
            return;
        };
        self.all_named("it ended", verdicts);
        self.ended_in_batch(cycle, verdicts);
        let running = self.running.swap_remove(index);
        let name = &self.declared.name;
        self.succeeded += u64::from(failure.is_none());
        self.idle_since = verdicts.at;
        verdicts.demand(
            Rule::C5,
            failure == Some(FailureKind::Panic) || running.panicked.is_none_or(|it| !it.ends_it(verdicts.at)),
            || format!("cycle {cycle} of {name} panicked, and is said to have"),
            || match failure {
                Some(kind) => format!("it is said to have failed: {kind}"),
                None => "it is said to have succeeded".to_owned(),
            },
        );
        // What was said of an input of a batch stands, however its call ended (Q9).
        verdicts.demand(
            Rule::C6,
            !running.time_is_up
                || self.declared.batch.is_some()
                || matches!(failure, Some(FailureKind::Timeout | FailureKind::Interrupted)),
            || format!("the time of cycle {cycle} of {name} was up, and it is said to have timed out"),
            || match failure {
                Some(kind) => format!("it is said to have failed: {kind}"),
                None => "it is said to have succeeded".to_owned(),
            },
        );
        if let Some(timeout) = self.declared.cycle_timeout {
            verdicts.demand(
                Rule::C6,
                took <= timeout.saturating_add(TIMER + verdicts.held_up_since(verdicts.at.saturating_sub(took))),
                || format!("a cycle of {name} runs at most {timeout:?}"),
                || format!("cycle {cycle} ran {took:?}"),
            );
        }
        self.timed_out_in_time(&running, failure, took, verdicts);
        self.ends_as_asked(&running, failure, verdicts);
        self.ends_once_dropped(cycle, verdicts);
        if matches!(self.declared.source, SourceKind::Service { .. }) {
            // What follows is its fault policy's affair (F3): it has no input that could be settled.
            return;
        }
        let probe = running.delivery.is_some() && self.probe == Some(cycle);
        let spared = probe && self.spares(failure);
        let unasked = self.ends_unasked(&running);
        self.unsettled.push(Ended {
            at: verdicts.at,
            stepped_forward: Duration::ZERO,
            task: running.task,
            probe,
            spared,
            cycle,
            attempt: running.attempt,
            cause: cause.cloned(),
            unasked,
        });
    }

    /// Rules C6 and C11: a cycle is said to have timed out only when one of its limits had passed, or a fault said so.
    fn timed_out_in_time(
        &self,
        running: &Running,
        failure: Option<FailureKind>,
        took: Duration,
        verdicts: &mut Verdicts<'_>,
    ) {
        let Declaration { name, cycle_timeout, progress_timeout, .. } = &self.declared;
        let least = cycle_timeout.iter().chain(progress_timeout).min();
        verdicts.demand(
            if progress_timeout.is_some() { Rule::C11 } else { Rule::C6 },
            failure != Some(FailureKind::Timeout) || running.time_is_up || least.is_some_and(|least| took >= *least),
            || format!("a cycle of {name} is cancelled for its time after {least:?} at the earliest"),
            || format!("cycle {} was after {took:?}", running.cycle),
        );
    }

    /// Rule Q8: a lease is given up only of a cycle that should have ended.
    fn given_up(&self, delivery: DeliveryId, verdicts: &mut Verdicts<'_>) {
        let Declaration { name, cycle_timeout, progress_timeout, .. } = &self.declared;
        let least = cycle_timeout.iter().chain(progress_timeout).min();
        let running = self.running.iter().find(|running| running.delivery == Some(delivery));
        let age = running.map(|running| verdicts.at.saturating_sub(running.began));
        verdicts.demand(
            Rule::Q8,
            age.zip(least).is_some_and(|(age, least)| age >= *least),
            || format!("a lease of {name} is given up once its cycle has run for {least:?} at least"),
            || format!("that of delivery {delivery} was after {age:?}"),
        );
    }
}
