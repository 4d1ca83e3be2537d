//! C and D: how cycles follow from policies and schedules.

mod beginnings;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use shiftwork::{
    FailureKind, Missed, Overlap, Rule, TickPolicy,
    event::{CycleId, Declaration, Event, Settle, SourceKind, WorkerId, WorkerPhase},
    queue::{DeadLetterCause, DeliveryId, Timestamp},
};

use self::beginnings::Batch;
use super::{Verdicts, superseded::cancels_previous};
use crate::world::wall_at;

/// What a timer of whole milliseconds may be late.
const TIMER: Duration = Duration::from_millis(2);

/// How long a worker may take to its end when nothing of it is in flight, and what other tasks may block its thread meanwhile.
const IDLE: Duration = Duration::from_millis(150);

/// How many failed probes in a row are not counted as attempts at their deliveries (rule B1).
const PROBES_SPARED: u32 = 4;

/// How far the wall clock must step back before its ticks come due again.
const REWIND: Duration = Duration::from_secs(3 * 3600);

#[derive(Default)]
pub(super) struct CycleRules {
    workers: Vec<Worker>,
    /// How far the wall clock has been stepped in all.
    stepped_ms: i64,
    /// The latest wall time before a step.
    wall_max: Option<Timestamp>,
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
    escalations_due: i64,
    /// The cycle that its breaker probes with.
    probe: Option<CycleId>,
    /// Its breaker has paused it since the last tick.
    paused: bool,
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
    /// Since when its retry budget counts, how many cycles have succeeded since, and when each retry is due.
    opened_at: Duration,
    succeeded: u64,
    retries_due: Vec<Duration>,
    /// The tasks whose last cycle put its input off: the same input is next.
    put_off: BTreeSet<u32>,
    /// The batches that begin, run or end.
    batches: Vec<Batch>,
    /// When its last cycles began; those of a batch count once.
    began: VecDeque<Duration>,
    /// Since when its rate limit is said to hold it back.
    limited_since: Option<Duration>,
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
    panic_injected: bool,
}

struct Ended {
    at: Duration,
    /// How far the wall clock has stepped forward since: the time of a retry was worked out by the clock before.
    stepped_forward: Duration,
    task: u32,
    /// A probe of the breaker, with a delivery.
    probe: bool,
    /// What follows if it failed: it is not counted as an attempt.
    spared: bool,
    cycle: CycleId,
    attempt: u32,
    failure: Option<FailureKind>,
}

#[derive(Clone, Copy)]
struct Next {
    attempt: u32,
    not_before: Duration,
}

/// What is known of a schedule's ticks so far.
#[derive(Default)]
struct ScheduleView {
    /// The number of the last tick, and when it was due.
    last: Option<(u64, Timestamp)>,
    /// When tick number 1 was due, for a fixed rate.
    first: Option<Duration>,
    /// When the last tick was done with.
    settled_at: Option<Duration>,
    /// How many ticks were said to be missed since the last one.
    missed: u64,
    /// How many ticks were said whose cycle has not begun.
    announced: u32,
    /// The wall clock has stepped since the last tick.
    stepped: bool,
    /// It has stepped back so far that ticks come due again.
    rewound: bool,
}

/// A tick, as it was said.
struct TickSaid {
    number: u64,
    due: Timestamp,
    missed: u64,
    late: Duration,
}

impl CycleRules {
    pub(super) fn boot(&mut self) {
        self.workers.clear();
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

    pub(super) fn panic_injected(&mut self, task: u32) {
        for worker in &mut self.workers {
            // The call of a batch panics, whatever was said of its inputs before.
            for batch in worker.batches.iter_mut().filter(|batch| batch.task == task && batch.over.is_none()) {
                batch.panic_injected = true;
            }
            if worker.declared.batch.is_some() {
                continue;
            }
            for running in worker.running.iter_mut().filter(|running| running.task == task) {
                running.panic_injected = true;
            }
        }
    }

    /// Rule C8: nothing that began is left unsaid when the host has ended.
    pub(super) fn exited(&mut self, abandoned: bool, verdicts: &mut Verdicts<'_>) {
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
                abandoned || worker.escalations_due == 0,
                || format!("every input that {name} gives up is escalated"),
                || format!("{} were not", worker.escalations_due),
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
                let worker = self.worker(*worker);
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
                    panic_injected: false,
                };
                self.worker(*worker).started(running, verdicts);
            }
            Event::CycleEnded { worker, cycle, failure, took } => {
                let failure = failure.as_ref().map(|cause| cause.kind);
                self.worker(*worker).ended(*cycle, failure, *took, verdicts);
            }
            Event::Settled { worker, cycle, delivery, settle } => {
                self.worker(*worker).settled(*cycle, *delivery, *settle, verdicts);
            }
            Event::SettledUnrun { worker, settle, .. } => {
                self.worker(*worker).escalations_due += i64::from(gives_up(*settle));
            }
            Event::LeaseGivenUp { worker, delivery, .. } => self.worker(*worker).given_up(*delivery, verdicts),
            Event::RateLimitReached { worker, .. } => self.worker(*worker).limit_reached(verdicts),
            Event::RateLimitEased { worker, after } => self.worker(*worker).limit_eased(*after, verdicts),
            Event::BreakerOpened { worker, .. } => self.worker(*worker).paused = true,
            Event::WorkerPaused { worker } => self.worker(*worker).is_held(true, verdicts),
            Event::WorkerCancelled { worker } | Event::WorkerAborted { worker } => {
                self.worker(*worker).step_of_stop(true, verdicts);
            }
            Event::WorkerAbandoned { worker, phase } => {
                // One that closes waits for its stop hook, of which no event speaks.
                let of_cycles =
                    matches!(phase, WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting);
                let worker = self.worker(*worker);
                worker.step_of_stop(of_cycles, verdicts);
                // Nobody asks the lanes of a worker that is left behind.
                worker.limited_since = None;
            }
            Event::Straggler { worker, cycle, age, .. } => self.worker(*worker).straggler(*cycle, *age, verdicts),
            Event::WorkerStopped { worker, .. } => {
                self.worker(*worker).all_named("its worker ended", verdicts);
                self.worker(*worker).limit_forgotten(verdicts);
            }
            Event::WorkerResumed { worker } => self.worker(*worker).is_held(false, verdicts),
            Event::WorkerTriggered { worker } => self.worker(*worker).is_triggered(verdicts),
            Event::BreakerClosed { worker, .. } => self.worker(*worker).spared = 0,
            Event::BreakerProbing { worker, cycle } => self.worker(*worker).probe = Some(*cycle),
            Event::SettleFailed { worker, cycle, settle, .. } => {
                let worker = self.worker(*worker);
                // It is escalated all the same: whether the store did it after all, nobody knows.
                worker.escalations_due += i64::from(gives_up(*settle));
                worker.unsettled.retain(|ended| Some(ended.cycle) != *cycle);
            }
            Event::Escalated { worker, .. } => self.worker(*worker).escalations_due -= 1,
            _ => {}
        }
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.workers[id.0 as usize]
    }
}

/// Whether a person is to be told of what was settled like this.
fn gives_up(settle: Settle) -> bool {
    match settle {
        Settle::DeadLetter { cause, .. } => matches!(cause, DeadLetterCause::Exhausted | DeadLetterCause::CrashLoop),
        Settle::Ack | Settle::Retry { .. } | Settle::Return | Settle::Snooze { .. } | Settle::Discard => false,
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
            escalations_due: 0,
            probe: None,
            paused: false,
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
            began: VecDeque::new(),
            limited_since: None,
        }
    }

    /// Its first life, or a new one: the schedule and the attempts begin anew.
    fn begin_life(&mut self, at: Duration) {
        (self.probe, self.spared) = (None, 0);
        self.intake = Intake::Open;
        self.next = Next { attempt: 1, not_before: Duration::ZERO };
        self.schedule = ScheduleView::default();
        self.triggered_at = None;
        self.put_off.clear();
        self.batches.clear();
        (self.opened_at, self.succeeded) = (at, 0);
        self.retries_due.clear();
    }

    /// Whether cycles follow one another, so that the next attempt is known.
    fn is_serial(&self) -> bool {
        self.declared.concurrency == 1 && self.declared.source != SourceKind::Queue
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
        // Whoever triggered it does not want to wait for the retry.
        let hurried = at < not_before && self.triggered_at.take().is_some();
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

    /// Rule T8: what is said to be in flight is.
    fn straggler(&mut self, cycle: CycleId, age: Duration, verdicts: &mut Verdicts<'_>) {
        self.unnamed.retain(|unnamed| *unnamed != cycle);
        let at = verdicts.at;
        let began = self.running.iter().find(|running| running.cycle == cycle).map(|running| running.began);
        let settles = self.unsettled.iter().any(|ended| ended.cycle == cycle);
        verdicts.demand(
            Rule::T8,
            settles || began.is_some_and(|began| began + age == at),
            || format!("a straggler of {} is in flight, and as old as is said", self.declared.name),
            || format!("cycle {cycle} is said to be {age:?} old, and began at {began:?}"),
        );
    }

    /// Rule T8: nothing in flight goes unnamed.
    fn all_named(&mut self, then: &str, verdicts: &mut Verdicts<'_>) {
        verdicts.demand(
            Rule::T8,
            self.unnamed.is_empty(),
            || format!("every cycle of {} that a step of the stop finds in flight is named", self.declared.name),
            || format!("cycle {} was not when {then}", self.unnamed[0]),
        );
        self.unnamed.clear();
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

    /// Rule B1: whether a probe that ended so spends no attempt. Each fifth that fails in a row does.
    fn spares(&mut self, failure: Option<FailureKind>) -> bool {
        if !matches!(failure, Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)) {
            return false;
        }
        let spares = self.spared < PROBES_SPARED;
        self.spared = if spares { self.spared + 1 } else { 0 };
        spares
    }

    /// Rule T8: a step of a stop is taken because of something that is in flight, which is named next. A queue may be being
    /// asked, of which no event speaks, and a source of the user's own may do anything.
    fn step_of_stop(&mut self, of_cycles: bool, verdicts: &mut Verdicts<'_>) {
        let known = !matches!(self.declared.source, SourceKind::Queue | SourceKind::Other);
        let busy = !(self.running.is_empty() && self.unsettled.is_empty());
        let idle = verdicts.at.saturating_sub(self.idle_since);
        verdicts.demand(
            Rule::T8,
            busy || !(known && of_cycles) || idle <= IDLE + verdicts.stood_still_since(self.idle_since),
            || format!("{} is at its end when nothing of it is in flight any more", self.declared.name),
            || format!("nothing was for {idle:?}, and it was waited for"),
        );
        self.unnamed = self.running.iter().map(|running| running.cycle).collect();
    }

    /// Rule P3: a tick is served that was asked for.
    fn triggered_tick(&mut self, number: u64, missed: u64, verdicts: &mut Verdicts<'_>) {
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
        self.schedule.announced += 1;
    }

    /// Rules D1 and D3 to D5: a tick is served.
    fn tick(&mut self, said: &TickSaid, wall: Timestamp, verdicts: &mut Verdicts<'_>) {
        let (at, name, serial) = (verdicts.at, &self.declared.name, self.declared.concurrency == 1);
        let TickSaid { number, due, missed, late } = *said;
        let view = &mut self.schedule;
        // A tick that its breaker has kept waiting is late, but never early; and so is one of a process that stood still.
        let stood_still = !verdicts.stood_still_since(view.settled_at.unwrap_or_default()).is_zero();
        let paused = std::mem::take(&mut self.paused) || stood_still;
        let timer = TIMER + verdicts.blocked_since(view.settled_at.unwrap_or_default());
        let last = view.last.map_or(0, |(number, _)| number);
        verdicts.demand(
            Rule::D3,
            number == last + missed + 1 && missed == view.missed,
            || format!("the tick of {name} after number {last}, of which {} were missed, is counted", view.missed),
            || format!("it has number {number}, after {missed} that were missed"),
        );
        match self.declared.source {
            SourceKind::FixedRate { period, policy } => {
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
            SourceKind::FixedDelay { delay, jitter } => {
                if let Some(settled_at) = view.settled_at {
                    let due = settled_at + delay;
                    verdicts.demand(
                        Rule::D4,
                        due <= at && (paused || at <= due + jitter.min(delay) + timer),
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
        view.announced += 1;
        view.stepped = false;
        view.rewound = false;
        if cancels_previous(self.declared.source) {
            // Whatever was to be tried again of the one before is over.
            self.next = Next { attempt: 1, not_before: Duration::ZERO };
            self.put_off.clear();
        }
    }

    fn ended(&mut self, cycle: CycleId, failure: Option<FailureKind>, took: Duration, verdicts: &mut Verdicts<'_>) {
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
            !running.panic_injected || failure == Some(FailureKind::Panic),
            || format!("cycle {cycle} of {name} panicked, and is said to have"),
            || match failure {
                Some(kind) => format!("it is said to have failed: {kind}"),
                None => "it is said to have succeeded".to_owned(),
            },
        );
        if let Some(timeout) = self.declared.cycle_timeout {
            verdicts.demand(
                Rule::C6,
                took <= timeout + TIMER + verdicts.held_up_since(verdicts.at.saturating_sub(took)),
                || format!("a cycle of {name} runs at most {timeout:?}"),
                || format!("cycle {cycle} ran {took:?}"),
            );
        }
        self.timed_out_in_time(cycle, failure, took, verdicts);
        if matches!(self.declared.source, SourceKind::Service { .. }) {
            // What follows is its fault policy's affair (F3): it has no input that could be settled.
            return;
        }
        let probe = running.delivery.is_some() && self.probe == Some(cycle);
        let spared = probe && self.spares(failure);
        self.unsettled.push(Ended {
            at: verdicts.at,
            stepped_forward: Duration::ZERO,
            task: running.task,
            probe,
            spared,
            cycle,
            attempt: running.attempt,
            failure,
        });
    }

    /// Rules C6 and C11: a cycle is said to have timed out only when one of its limits had passed.
    fn timed_out_in_time(
        &self,
        cycle: CycleId,
        failure: Option<FailureKind>,
        took: Duration,
        verdicts: &mut Verdicts<'_>,
    ) {
        let Declaration { name, cycle_timeout, progress_timeout, .. } = &self.declared;
        let least = cycle_timeout.iter().chain(progress_timeout).min();
        verdicts.demand(
            if progress_timeout.is_some() { Rule::C11 } else { Rule::C6 },
            failure != Some(FailureKind::Timeout) || least.is_some_and(|least| took >= *least),
            || format!("a cycle of {name} is cancelled for its time after {least:?} at the earliest"),
            || format!("cycle {cycle} was after {took:?}"),
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

    fn settled(&mut self, cycle: CycleId, delivery: Option<DeliveryId>, settle: Settle, verdicts: &mut Verdicts<'_>) {
        let name = &self.declared.name;
        let Some(index) = self.unsettled.iter().position(|ended| ended.cycle == cycle) else {
            verdicts.demand(
                Rule::Q1,
                false,
                || format!("a cycle of {name} is settled after it has ended"),
                || format!("cycle {cycle} was settled ({}) before", settle.as_str()),
            );
            return;
        };
        let ended = self.unsettled.swap_remove(index);
        self.idle_since = verdicts.at;
        if matches!(settle, Settle::Snooze { .. }) {
            self.put_off.insert(ended.task);
        } else {
            self.put_off.remove(&ended.task);
        }
        let (rule, follows) = self.follows(&ended, settle);
        verdicts.demand(
            rule,
            follows,
            || format!("what is done about cycle {cycle} of {name} follows from how it ended"),
            || {
                let how = ended.failure.map_or_else(|| "succeeded".to_owned(), |kind| format!("failed: {kind}"));
                format!("attempt {} {how}, and was settled: {}", ended.attempt, settle.as_str())
            },
        );
        let at = verdicts.at;
        let next = match settle {
            Settle::Retry { delay } => {
                self.retries_within_budget(ended.at + delay, verdicts);
                let (low, _) = self.declared.retry.bounds(ended.attempt);
                verdicts.demand(
                    Rule::C3,
                    delay >= low,
                    || format!("{} waits at least {low:?} after attempt {}", self.declared.name, ended.attempt),
                    || format!("it waits {delay:?}"),
                );
                // From the end of the cycle: a store that needed several tries does not add to the delay.
                Next { attempt: ended.attempt + 1, not_before: ended.at + delay }
            }
            Settle::DeadLetter { cause: _, pause } => {
                self.escalations_due += i64::from(gives_up(settle));
                let pause = if self.declared.source == SourceKind::Continuous { pause } else { Duration::ZERO };
                Next { attempt: 1, not_before: at + pause }
            }
            // Once more, not before its time.
            Settle::Snooze { delay } => Next { attempt: ended.attempt, not_before: ended.at + delay },
            Settle::Ack | Settle::Return | Settle::Discard => Next { attempt: 1, not_before: at },
        };
        match delivery {
            Some(delivery) if matches!(settle, Settle::Retry { .. } | Settle::Snooze { .. }) => {
                self.not_before.insert(delivery, next.not_before.saturating_sub(ended.stepped_forward));
            }
            Some(_) => {}
            None => self.next = next,
        }
        if cancels_previous(self.declared.source) || !matches!(settle, Settle::Retry { .. } | Settle::Snooze { .. }) {
            self.schedule.settled_at = Some(at);
        }
    }

    /// Rule B2: as many retries are due by then as time and successes allow.
    fn retries_within_budget(&mut self, due: Duration, verdicts: &mut Verdicts<'_>) {
        let Some(budget) = self.declared.retry_budget else { return };
        self.retries_due.push(due);
        let so_far = self.retries_due.iter().filter(|other| **other <= due).count() as u64;
        let at_most = budget.at_most(due.saturating_sub(self.opened_at), self.succeeded);
        verdicts.demand(
            Rule::B2,
            so_far <= at_most,
            || format!("at most {at_most} retries of {} are due by {due:?}", self.declared.name),
            || format!("there are {so_far}"),
        );
    }

    /// Which rule says what follows from a cycle's end, and whether it was kept.
    fn follows(&self, ended: &Ended, settle: Settle) -> (Rule, bool) {
        let last = ended.attempt >= self.declared.retry.attempts();
        let again = match settle {
            Settle::Retry { delay } | Settle::DeadLetter { pause: delay, .. } => delay,
            Settle::Ack | Settle::Return | Settle::Snooze { .. } | Settle::Discard => Duration::ZERO,
        };
        // How long a delivery is known is its queue's to say; for the others the first attempt was seen. What a budget adds
        // to a delay does not count.
        let known = self.is_serial() && self.declared.retry_budget.is_none();
        let over = known.then(|| {
            !self.declared.retry.allows_after(ended.at.saturating_sub(self.first_began).saturating_add(again))
        });
        let exhausted = matches!(settle, Settle::DeadLetter { cause: DeadLetterCause::Exhausted, .. });
        match ended.failure {
            None => (Rule::Q1, settle == Settle::Ack),
            Some(FailureKind::Interrupted) => (Rule::T4, matches!(settle, Settle::Return | Settle::Snooze { .. })),
            Some(FailureKind::Snoozed) => (Rule::C10, matches!(settle, Settle::Snooze { .. })),
            Some(FailureKind::Discarded) => (Rule::C10, settle == Settle::Discard),
            Some(FailureKind::Invalid) => {
                (Rule::C4, matches!(settle, Settle::DeadLetter { cause: DeadLetterCause::Invalid, .. }))
            }
            // Which inputs of a batch its probe spares, is its own affair.
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)
                if ended.probe && self.declared.batch.is_some() && matches!(settle, Settle::Snooze { .. }) =>
            {
                (Rule::B1, true)
            }
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)
                if ended.probe
                    && self.declared.batch.is_none()
                    && ended.spared != matches!(settle, Settle::Snooze { .. }) =>
            {
                (Rule::B1, false)
            }
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout) if ended.spared => {
                (Rule::B1, true)
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout) if last => {
                (Rule::C7, exhausted)
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout)
                if self.declared.retry.total().is_some() =>
            {
                let over = over.unwrap_or(exhausted);
                (Rule::C2, if over { exhausted } else { matches!(settle, Settle::Retry { .. }) })
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout) => {
                (Rule::C2, matches!(settle, Settle::Retry { .. }))
            }
        }
    }
}

/// How long after it could start a tick of a fixed rate starts at the latest.
fn latest(policy: TickPolicy, period: Duration, timer: Duration) -> Option<Duration> {
    let grace = if policy.missed == Missed::Skip { Duration::from_secs(1).min(period / 2) } else { Duration::ZERO };
    grace.checked_add(policy.jitter.min(period))?.checked_add(timer)
}
