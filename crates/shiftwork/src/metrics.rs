//! Events as metrics, through the `metrics` facade: a listener that is called directly.
//!
//! A program chooses where they go by installing a recorder before it runs its host. Every series of a worker is
//! registered when the host starts, so that each is there, at zero, before anything happens, and a cycle looks nothing up.
//!
//! 1. Without a recorder, an event costs one branch. Whether there is one is asked once, of the gauges ([`Probe`]), so a
//!    recorder that keeps no gauge at all counts as none.
//! 2. The wall clock is read only by a handle that is kept ([`Now`]).
//! 3. How long deliveries wait is no event, but told here alone: it takes a look at the wall clock for each of them, which nobody
//!    else asks for.
//!
//! Names, units and labels are a contract (`docs/observability.md`).

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, IntoF64, Label, Unit};
use shiftwork_queue::{DeadLetterCause, Depth};

use crate::{
    Environment, FailureKind,
    event::{Declaration, Event, Settle, SourceKind, WorkerId, WorkerPhase},
    source::UNREADABLE_FROM,
};

/// The metrics of one host.
pub(crate) struct Metrics {
    /// Empty if nobody keeps them.
    workers: Box<[OfWorker]>,
    /// Whether anybody keeps them.
    recorded: bool,
    environment: Arc<dyn Environment>,
}

impl Metrics {
    /// Registers every series with the recorder of this moment, if it keeps any.
    pub(crate) fn new(workers: &[Declaration], environment: Arc<dyn Environment>) -> Self {
        describe();
        let recorded = Cell::new(false);
        for declared in workers {
            in_flight(declared).increment(Probe(&recorded));
            last_success(declared).increment(Probe(&recorded));
        }
        let recorded = recorded.get();
        // Dozens of series a worker: those of a host that starts in every millisecond of a test would be most of its start.
        let kept = workers.iter().filter(|_| recorded);
        Self { workers: kept.map(OfWorker::new).collect(), recorded, environment }
    }

    /// Whether anybody keeps them, so that what is asked for them alone need not be asked.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded
    }

    fn of(&self, worker: WorkerId) -> &OfWorker {
        &self.workers[worker.index()]
    }

    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is matched in full, out of the way of the cycle path")]
    pub(crate) fn on(&self, event: &Event) {
        if !self.recorded {
            return;
        }
        match event {
            Event::CycleStarted { worker, attempt, .. } => {
                let of = self.of(*worker);
                of.in_flight.increment(1.0);
                of.attempts[attempt_index(*attempt)].increment(1);
                if *attempt > 1 {
                    of.retries.increment(1);
                }
            }
            Event::CycleEnded { worker, failure, took, .. } => {
                let of = self.of(*worker);
                of.in_flight.decrement(1.0);
                of.cycle_duration.record(*took);
                match failure {
                    None => {
                        of.succeeded.increment(1);
                        of.last_success.set(Now(&*self.environment));
                    }
                    Some(cause) => of.failed[kind_index(cause.kind)].increment(1),
                }
            }
            Event::Settled { worker, settle: Settle::Ack, .. } => self.of(*worker).settled[ACK].increment(1),
            other => self.on_rare(other),
        }
    }

    /// A cycle of a life that was left behind ends after all, though it is counted out since then.
    pub(crate) fn on_late(&self, event: &Event) {
        if let (true, Event::CycleEnded { worker, .. }) = (self.recorded, event) {
            self.of(*worker).in_flight.increment(1.0);
        }
    }

    /// A failure of a source that is no event.
    pub(crate) fn source_failed(&self, worker: WorkerId, consecutive: u32) {
        if self.recorded {
            self.of(worker).source_failed(consecutive);
        }
    }

    /// A delivery of this worker was taken in hand, and had been due for so long.
    pub(crate) fn delivery_waited(&self, worker: WorkerId, wait: Duration) {
        if let Some(queue) = self.workers.get(worker.index()).and_then(|of| of.queue.as_ref()) {
            queue.wait.record(wait);
        }
    }

    #[cold]
    fn on_rare(&self, event: &Event) {
        if let Some((worker, phase)) = event.phase() {
            self.of(worker).enter(phase);
        }
        match event {
            Event::HostStarting { .. } => self.workers.iter().for_each(OfWorker::begin),
            Event::TickDue { worker, late, .. } => {
                if let Some(lag) = &self.of(*worker).schedule_lag {
                    lag.record(*late);
                }
            }
            Event::CycleSuperseded { worker, .. } => self.of(*worker).superseded.increment(1),
            Event::TicksMissed { worker, count } => self.of(*worker).ticks_missed.increment(*count),
            Event::Settled { worker, delivery, settle, .. } => self.of(*worker).settled(*settle, delivery.is_some()),
            Event::SettledUnrun { worker, delivery: _, settle } => self.of(*worker).settled(*settle, true),
            Event::SettleFailed { worker, .. } => self.of(*worker).settle_failures.increment(1),
            Event::Escalated { worker, .. } => self.of(*worker).escalations.increment(1),
            Event::RetryHeldBack { worker, .. } => self.of(*worker).retries_held_back.increment(1),
            Event::LeaseGivenUp { worker, .. } => self.of(*worker).leases_given_up.increment(1),
            Event::LeaseLost { worker, .. } => self.of(*worker).lease_lost.increment(1),
            Event::RenewalFailed { worker, .. } => self.of(*worker).renewal_failures.increment(1),
            Event::SourceFailed { worker, consecutive, .. } => {
                let of = self.of(*worker);
                of.source_failed(*consecutive);
                if *consecutive >= UNREADABLE_FROM {
                    of.source_failing.set(1.0);
                }
            }
            Event::SourceRecovered { worker, failures } => {
                let of = self.of(*worker);
                of.source_failed(*failures);
                of.source_failures_told.store(0, Ordering::Relaxed);
                of.source_failing.set(0.0);
            }
            Event::QueueMeasured { worker, depth, oldest } => {
                let of = self.of(*worker);
                let Depth { ready, delayed, leased, dead, oldest_due: _ } = *depth;
                if let Some(queue) = &of.queue {
                    for (gauge, count) in queue.depth.iter().zip([ready, delayed, leased, dead]) {
                        // Exact up to 2⁵³ deliveries.
                        gauge.set(count as f64);
                    }
                    queue.oldest_age.set(oldest.as_secs_f64());
                }
            }
            Event::MeasureFailed { worker, .. } => {
                if let Some(queue) = &self.of(*worker).queue {
                    queue.measure_failures.increment(1);
                }
            }
            Event::WorkerFaulted { worker, .. } => self.of(*worker).faults.increment(1),
            Event::BreakerOpened { worker, .. } => self.of(*worker).breaker_open.set(1.0),
            Event::BreakerClosed { worker, .. } => self.of(*worker).breaker_open.set(0.0),
            Event::RateLimitReached { worker, .. } => self.of(*worker).rate_limited.set(1.0),
            Event::RateLimitEased { worker, .. } => self.of(*worker).rate_limited.set(0.0),
            Event::WorkerPaused { worker } => self.of(*worker).paused.set(1.0),
            Event::WorkerResumed { worker } => self.of(*worker).paused.set(0.0),
            Event::CycleBlocked { worker, .. } => self.of(*worker).blocked.increment(1),
            Event::HookBlocked { worker, .. } => self.of(*worker).hooks_blocked.increment(1),
            Event::WorkerTriggered { worker } => self.of(*worker).triggers.increment(1),
            Event::WorkerRestarting { worker, .. } => {
                self.of(*worker).restarts.increment(1);
                self.of(*worker).ended();
            }
            Event::WorkerStopped { worker, .. } => {
                let of = self.of(*worker);
                of.ended();
                of.paused.set(0.0);
            }
            Event::BatchStarted { worker, cycles, .. } => {
                if let Some(size) = &self.of(*worker).batch_size {
                    size.record(*cycles);
                }
            }
            Event::BatchEnded { .. }
            | Event::CycleStarted { .. }
            | Event::CycleEnded { .. }
            | Event::WorkerStarting { .. }
            | Event::WorkerReady { .. }
            | Event::WorkerStartFailed { .. }
            | Event::IntakeOpened { .. }
            | Event::IntakeClosed { .. }
            | Event::WorkerCancelled { .. }
            | Event::WorkerAborted { .. }
            | Event::HostRunning
            | Event::BreakerProbing { .. }
            | Event::WorkerStopAsked { .. }
            | Event::SignalReceived { .. }
            | Event::HostStopping { .. }
            | Event::Straggler { .. }
            | Event::HostOverdue { .. }
            | Event::WorkerAbandoned { .. }
            | Event::StopHookFailed { .. }
            | Event::HostStopped { .. } => {}
        }
    }
}

/// The series of one worker.
struct OfWorker {
    succeeded: Counter,
    in_flight: Gauge,
    cycle_duration: Histogram,
    /// Only for a worker that has batches.
    batch_size: Option<Histogram>,
    last_success: Gauge,
    settled: [Counter; SETTLES.len()],
    /// In the order of [`FailureKind::ALL`].
    failed: [Counter; FailureKind::ALL.len()],
    /// The last is of all attempts beyond the others.
    attempts: [Counter; ATTEMPTS.len()],
    retries: Counter,
    retries_held_back: Counter,
    dead_letters: [Counter; CAUSES.len()],
    settle_failures: Counter,
    escalations: Counter,
    ticks_missed: Counter,
    superseded: Counter,
    /// Only a schedule can be late.
    schedule_lag: Option<Histogram>,
    lease_lost: Counter,
    leases_given_up: Counter,
    renewal_failures: Counter,
    source_failures: Counter,
    /// How many of the current row of source failures are counted: each is told with its number, and a recovery with that of all.
    source_failures_told: AtomicU32,
    /// Only a queue can be measured.
    queue: Option<OfQueue>,
    faults: Counter,
    restarts: Counter,
    triggers: Counter,
    blocked: Counter,
    hooks_blocked: Counter,
    paused: Gauge,
    rate_limited: Gauge,
    breaker_open: Gauge,
    source_failing: Gauge,
    /// In the order of [`WorkerPhase::ALL`].
    phases: [Gauge; WorkerPhase::ALL.len()],
    phase: AtomicUsize,
}

/// The series of one worker's queue.
struct OfQueue {
    /// In the order of [`STATES`].
    depth: [Gauge; STATES.len()],
    oldest_age: Gauge,
    wait: Histogram,
    measure_failures: Counter,
}

fn label(declared: &Declaration) -> Label {
    Label::new("worker", declared.name.clone())
}

fn in_flight(declared: &Declaration) -> Gauge {
    metrics::gauge!(CYCLES_IN_FLIGHT, vec![label(declared)])
}

fn last_success(declared: &Declaration) -> Gauge {
    metrics::gauge!(LAST_SUCCESS, vec![label(declared)])
}

impl OfWorker {
    fn new(declared: &Declaration) -> Self {
        let worker = || label(declared);
        let counter = |metric: &'static str| metrics::counter!(metric, vec![worker()]);
        let one_of = |metric: &'static str, key: &'static str, value: &'static str| {
            metrics::counter!(metric, vec![worker(), Label::new(key, value)])
        };
        Self {
            succeeded: one_of(CYCLES, "outcome", "success"),
            in_flight: in_flight(declared),
            cycle_duration: metrics::histogram!(CYCLE_DURATION, vec![worker()]),
            batch_size: declared.batch.map(|_| metrics::histogram!(BATCH_SIZE, vec![worker()])),
            last_success: last_success(declared),
            settled: SETTLES.map(|settle| one_of(SETTLEMENTS, "settle", settle)),
            failed: FailureKind::ALL.map(|kind| one_of(CYCLES, "outcome", kind.as_str())),
            attempts: ATTEMPTS.map(|attempt| one_of(ATTEMPTS_BEGUN, "attempt", attempt)),
            retries: counter(RETRIES),
            retries_held_back: counter(RETRIES_HELD_BACK),
            dead_letters: CAUSES.map(|cause| one_of(DEAD_LETTERS, "cause", cause.as_str())),
            settle_failures: counter(SETTLE_FAILURES),
            escalations: counter(ESCALATIONS),
            ticks_missed: counter(TICKS_MISSED),
            superseded: counter(CYCLES_SUPERSEDED),
            schedule_lag: is_schedule(declared.source).then(|| metrics::histogram!(SCHEDULE_LAG, vec![worker()])),
            lease_lost: counter(LEASE_LOST),
            leases_given_up: counter(LEASES_GIVEN_UP),
            renewal_failures: counter(RENEWAL_FAILURES),
            source_failures: counter(SOURCE_FAILURES),
            source_failures_told: AtomicU32::new(0),
            queue: (declared.source == SourceKind::Queue).then(|| OfQueue {
                depth: STATES.map(|state| metrics::gauge!(QUEUE_DEPTH, vec![worker(), Label::new("state", state)])),
                oldest_age: metrics::gauge!(QUEUE_OLDEST_AGE, vec![worker()]),
                wait: metrics::histogram!(QUEUE_WAIT, vec![worker()]),
                measure_failures: counter(QUEUE_MEASURE_FAILURES),
            }),
            faults: counter(WORKER_FAULTS),
            restarts: counter(WORKER_RESTARTS),
            triggers: counter(TRIGGERS),
            blocked: counter(CYCLES_BLOCKED),
            hooks_blocked: counter(HOOKS_BLOCKED),
            paused: metrics::gauge!(WORKER_PAUSED, vec![worker()]),
            rate_limited: metrics::gauge!(RATE_LIMITED, vec![worker()]),
            breaker_open: metrics::gauge!(BREAKER_OPEN, vec![worker()]),
            source_failing: metrics::gauge!(SOURCE_FAILING, vec![worker()]),
            phases: WorkerPhase::ALL
                .map(|phase| metrics::gauge!(WORKER_PHASE, vec![worker(), Label::new("phase", phase.as_str())])),
            phase: AtomicUsize::new(0),
        }
    }

    /// A host starts. The series may be those of one before it.
    fn begin(&self) {
        self.phases.iter().for_each(|phase| phase.set(0.0));
        self.enter(WorkerPhase::Pending);
        self.paused.set(0.0);
        self.ended();
    }

    fn enter(&self, phase: WorkerPhase) {
        let next = WorkerPhase::ALL.iter().position(|it| *it == phase).unwrap_or_default();
        let last = self.phase.swap(next, Ordering::Relaxed);
        self.phases[last].set(0.0);
        self.phases[next].set(1.0);
    }

    /// A cycle of an abandoned worker does not end, and nobody says what its lanes no longer wait for.
    fn ended(&self) {
        self.in_flight.set(0.0);
        self.rate_limited.set(0.0);
        self.breaker_open.set(0.0);
        self.source_failing.set(0.0);
        self.source_failures_told.store(0, Ordering::Relaxed);
    }

    fn settled(&self, settle: Settle, is_delivery: bool) {
        self.settled[settle_index(settle)].increment(1);
        if let (Settle::DeadLetter { cause, .. }, true) = (settle, is_delivery) {
            self.dead_letters[cause_index(cause)].increment(1);
        }
    }

    fn source_failed(&self, consecutive: u32) {
        let told = self.source_failures_told.fetch_max(consecutive, Ordering::Relaxed);
        self.source_failures.increment(consecutive.saturating_sub(told).into());
    }
}

fn is_schedule(source: SourceKind) -> bool {
    match source {
        SourceKind::FixedRate { .. }
        | SourceKind::FixedDelay { .. }
        | SourceKind::Cron { .. }
        | SourceKind::Once { .. } => true,
        SourceKind::Continuous | SourceKind::Queue | SourceKind::Service { .. } | SourceKind::Other => false,
    }
}

/// Nothing, and a note when somebody keeps it.
struct Probe<'a>(&'a Cell<bool>);

impl IntoF64 for Probe<'_> {
    fn into_f64(self) -> f64 {
        self.0.set(true);
        0.0
    }
}

/// The wall time in seconds of the Unix epoch, read when somebody keeps it.
struct Now<'a>(&'a dyn Environment);

impl IntoF64 for Now<'_> {
    fn into_f64(self) -> f64 {
        self.0.now().as_duration().as_secs_f64()
    }
}

const SETTLES: [&str; 6] = ["ack", "retry", "dead_letter", "return", "snooze", "discard"];
const ACK: usize = 0;

fn settle_index(settle: Settle) -> usize {
    match settle {
        Settle::Ack => ACK,
        Settle::Retry { .. } => 1,
        Settle::DeadLetter { .. } => 2,
        Settle::Return => 3,
        Settle::Snooze { .. } => 4,
        Settle::Discard => 5,
    }
}

/// Five are what the default policy allows.
const ATTEMPTS: [&str; 6] = ["1", "2", "3", "4", "5", "more"];

fn attempt_index(attempt: u32) -> usize {
    (attempt.saturating_sub(1) as usize).min(ATTEMPTS.len() - 1)
}

/// Where a delivery of a queue can be, in the order of [`Depth`].
const STATES: [&str; 4] = ["ready", "delayed", "leased", "dead"];

fn kind_index(kind: FailureKind) -> usize {
    FailureKind::ALL.iter().position(|it| *it == kind).unwrap_or_default()
}

const CAUSES: [DeadLetterCause; 4] =
    [DeadLetterCause::Invalid, DeadLetterCause::Undecodable, DeadLetterCause::Exhausted, DeadLetterCause::CrashLoop];

fn cause_index(cause: DeadLetterCause) -> usize {
    match cause {
        DeadLetterCause::Invalid => 0,
        DeadLetterCause::Undecodable => 1,
        DeadLetterCause::Exhausted => 2,
        DeadLetterCause::CrashLoop => 3,
    }
}

const CYCLES: &str = "shiftwork_cycles_total";
const CYCLES_IN_FLIGHT: &str = "shiftwork_cycles_in_flight";
const BATCH_SIZE: &str = "shiftwork_batch_size";
const CYCLE_DURATION: &str = "shiftwork_cycle_duration_seconds";
const LAST_SUCCESS: &str = "shiftwork_last_success_timestamp_seconds";
const ATTEMPTS_BEGUN: &str = "shiftwork_attempts_total";
const RETRIES: &str = "shiftwork_retries_total";
const RETRIES_HELD_BACK: &str = "shiftwork_retries_held_back_total";
const SETTLEMENTS: &str = "shiftwork_settlements_total";
const SETTLE_FAILURES: &str = "shiftwork_settle_failures_total";
const DEAD_LETTERS: &str = "shiftwork_dead_letters_total";
const ESCALATIONS: &str = "shiftwork_escalations_total";
const TICKS_MISSED: &str = "shiftwork_ticks_missed_total";
const CYCLES_SUPERSEDED: &str = "shiftwork_cycles_superseded_total";
const SCHEDULE_LAG: &str = "shiftwork_schedule_lag_seconds";
const LEASE_LOST: &str = "shiftwork_lease_lost_total";
const LEASES_GIVEN_UP: &str = "shiftwork_leases_given_up_total";
const RENEWAL_FAILURES: &str = "shiftwork_renewal_failures_total";
const SOURCE_FAILURES: &str = "shiftwork_source_failures_total";
const QUEUE_DEPTH: &str = "shiftwork_queue_depth";
const QUEUE_OLDEST_AGE: &str = "shiftwork_queue_oldest_age_seconds";
const QUEUE_WAIT: &str = "shiftwork_queue_wait_seconds";
const QUEUE_MEASURE_FAILURES: &str = "shiftwork_queue_measure_failures_total";
const WORKER_RESTARTS: &str = "shiftwork_worker_restarts_total";
const WORKER_FAULTS: &str = "shiftwork_worker_faults_total";
const CYCLES_BLOCKED: &str = "shiftwork_cycles_blocked_total";
const HOOKS_BLOCKED: &str = "shiftwork_hooks_blocked_total";
const TRIGGERS: &str = "shiftwork_triggers_total";
const WORKER_PAUSED: &str = "shiftwork_worker_paused";
const RATE_LIMITED: &str = "shiftwork_rate_limited";
const BREAKER_OPEN: &str = "shiftwork_breaker_open";
const SOURCE_FAILING: &str = "shiftwork_source_failing";
const WORKER_PHASE: &str = "shiftwork_worker_phase";

/// Says what each metric means, in the words of `docs/observability.md`.
fn describe() {
    for (name, meaning) in [
        (CYCLES, "Cycles that ended, by outcome"),
        (ATTEMPTS_BEGUN, "Cycles begun, by which attempt at their input they were"),
        (RETRIES, "Cycles begun as a second or later attempt at their input"),
        (RETRIES_HELD_BACK, "Retries that wait longer, since the retry budget has no room"),
        (SETTLEMENTS, "Settlements done, by what was done"),
        (SETTLE_FAILURES, "Settlements that could not be stored, or whose answer was lost"),
        (DEAD_LETTERS, "Deliveries moved aside, by cause"),
        (ESCALATIONS, "Inputs given up: their attempts were exhausted, or they were crash loops"),
        (TICKS_MISSED, "Ticks of a schedule that passed while they could not be served"),
        (CYCLES_SUPERSEDED, "Cycles asked to end because the next tick was due"),
        (LEASE_LOST, "Leases lost while their cycle ran"),
        (LEASES_GIVEN_UP, "Leases renewed no more, since their cycle does not end"),
        (RENEWAL_FAILURES, "Renewals of leases that failed and were tried again"),
        (SOURCE_FAILURES, "Tries to read the source that failed"),
        (QUEUE_MEASURE_FAILURES, "Times that the queue could not say how full it is"),
        (WORKER_RESTARTS, "Restarts after a fault, the worker's own or its group's"),
        (WORKER_FAULTS, "Faults: the worker could not go on"),
        (CYCLES_BLOCKED, "Polls of cycles that blocked their thread"),
        (HOOKS_BLOCKED, "Polls of start and stop hooks that blocked their thread"),
        (TRIGGERS, "Times that somebody asked the worker not to wait"),
    ] {
        metrics::describe_counter!(name, Unit::Count, meaning);
    }
    metrics::describe_gauge!(CYCLES_IN_FLIGHT, Unit::Count, "Cycles that run now");
    metrics::describe_gauge!(
        LAST_SUCCESS,
        Unit::Seconds,
        "When a cycle last succeeded, since the Unix epoch; 0 is never"
    );
    metrics::describe_gauge!(QUEUE_DEPTH, Unit::Count, "Deliveries of the queue, by state");
    metrics::describe_gauge!(
        QUEUE_OLDEST_AGE,
        Unit::Seconds,
        "For how long the delivery that has waited longest has been due; 0 if none is"
    );
    metrics::describe_gauge!(WORKER_PAUSED, Unit::Count, "1 while the worker is paused");
    metrics::describe_gauge!(RATE_LIMITED, Unit::Count, "1 while the rate limit holds the worker back");
    metrics::describe_gauge!(BREAKER_OPEN, Unit::Count, "1 while the worker's breaker is open");
    metrics::describe_gauge!(
        SOURCE_FAILING,
        Unit::Count,
        "1 while the worker's source cannot be read, from the fourth failure in a row on"
    );
    metrics::describe_gauge!(WORKER_PHASE, Unit::Count, "1 for the phase that the worker is in, 0 for the others");
    metrics::describe_histogram!(BATCH_SIZE, Unit::Count, "How many inputs a batch had");
    metrics::describe_histogram!(CYCLE_DURATION, Unit::Seconds, "How long cycles ran");
    metrics::describe_histogram!(
        SCHEDULE_LAG,
        Unit::Seconds,
        "How long after it was due a tick was served, jitter included"
    );
    metrics::describe_histogram!(
        QUEUE_WAIT,
        Unit::Seconds,
        "For how long deliveries had been due when their first attempt was taken in hand"
    );
}

#[cfg(test)]
mod tests;
