//! Everything that the runtime says, as one typed stream.
//!
//! Log lines, the report, health and the simulator's invariants all listen to these events; there is no second
//! bookkeeping. A payload is never part of an event.

use std::{fmt, sync::Arc, time::Duration};

use shiftwork_queue::{DeliveryId, Depth, FencingToken, Timestamp};
use tokio::time::Instant;

use crate::{Cause, Signal, report::ExitStatus};

mod declaration;
mod detail;
mod phase;

pub use declaration::{Declaration, Membership, SourceKind};
pub use detail::{Doing, Hook, NextSignal, Settle, StopReason, StopStep};
pub use phase::WorkerPhase;

/// Names a worker within its host: its place in the order in which the workers were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

impl WorkerId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts the cycles of one life of a worker, from 1: a worker that is restarted begins anew. The one cycle of a service has the number of its
/// life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CycleId(pub u64);

impl fmt::Display for CycleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Everything that can happen in a host. The rules that order these events are in `docs/lifecycle.md`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The host begins to start its workers.
    HostStarting {
        /// What it runs, indexed by [`WorkerId`].
        workers: Arc<[Declaration]>,
    },
    /// A worker's start hook was called.
    WorkerStarting {
        /// Which.
        worker: WorkerId,
    },
    /// A worker's start hook returned well: it is ready, and waits for the others.
    WorkerReady {
        /// Which.
        worker: WorkerId,
    },
    /// A worker's start hook failed, panicked or ran out of time, or a service ended before its host ran.
    WorkerStartFailed {
        /// Which.
        worker: WorkerId,
        /// Why.
        cause: Cause,
    },
    /// Every worker is ready; work begins.
    HostRunning,
    /// A worker may take in work from now on.
    IntakeOpened {
        /// Which.
        worker: WorkerId,
    },
    /// Ticks of the schedule passed while they could not be served, and get no cycle of their own.
    TicksMissed {
        /// Which worker's.
        worker: WorkerId,
        /// How many.
        count: u64,
    },
    /// A tick of the schedule is served; its first cycle begins next.
    TickDue {
        /// Which worker's.
        worker: WorkerId,
        /// Which tick, from 1; those that were missed are counted.
        number: u64,
        /// When it was due. Wall time.
        due: Timestamp,
        /// How many before it were missed.
        missed: u64,
        /// How long ago it was due, on the clock that the schedule goes by.
        late: Duration,
        /// It is served because somebody asked for it, and was not due.
        triggered: bool,
    },
    /// One call of a batch worker begins. A cycle for each of its inputs begins next on this task, numbered in a row.
    BatchStarted {
        /// Which worker's.
        worker: WorkerId,
        /// The first of its cycles.
        first: CycleId,
        /// How many there are.
        cycles: u32,
    },
    /// The call of a batch ended. The ends of its cycles follow.
    BatchEnded {
        /// Which worker's.
        worker: WorkerId,
        /// The first of its cycles.
        first: CycleId,
        /// How many there were.
        cycles: u32,
        /// How the call ended, for the inputs that have no verdict of their own: `None` is success.
        failure: Option<Cause>,
        /// How long it ran.
        took: Duration,
    },
    /// A cycle begins.
    CycleStarted {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// Which attempt at its input, from 1.
        attempt: u32,
        /// The delivery that it processes, for a queue worker.
        delivery: Option<DeliveryId>,
    },
    /// The next tick is due and does not want to wait: the cycle at work is asked to end, and then dropped
    /// ([`Overlap::CancelPrevious`](crate::Overlap)).
    CycleSuperseded {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// Until it is dropped.
        grace: Duration,
    },
    /// A cycle ended.
    CycleEnded {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// How it ended: `None` is success.
        failure: Option<Cause>,
        /// How long it ran.
        took: Duration,
    },
    /// What follows from the cycle's end is done; for a delivery, it is stored.
    Settled {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// The delivery, for a queue worker.
        delivery: Option<DeliveryId>,
        /// What was done.
        settle: Settle,
    },
    /// A settlement could not be stored before its lease or its time ended, or the store's answer to it was lost. Unless it was stored
    /// all the same, the delivery comes again.
    SettleFailed {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle; `None` for what was to be settled without one.
        cycle: Option<CycleId>,
        /// The delivery; without one and without a cycle it is an input that its source was to take back.
        delivery: Option<DeliveryId>,
        /// What should have been done.
        settle: Settle,
        /// Why it was not. Where the lease is lost after a try that was not answered, it says that this was most likely stored.
        cause: Cause,
    },
    /// An input is given up, and a person should look: every attempt that the policy allows has failed, or the leases of a
    /// delivery have lapsed again and again.
    Escalated {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle was the last; `None` when the delivery was moved aside as it was claimed: it is a crash loop, or the
        /// policy allowed more attempts at the last one than it does now.
        cycle: Option<CycleId>,
        /// How many attempts have failed.
        attempts: u32,
        /// What the last one said, or how many leases have lapsed.
        cause: Cause,
    },
    /// A delivery was settled without a cycle: undecodable, a crash loop, or claimed and not begun before the stop or
    /// before a breaker opened.
    SettledUnrun {
        /// Which worker's.
        worker: WorkerId,
        /// The delivery.
        delivery: DeliveryId,
        /// What was done.
        settle: Settle,
    },
    /// The retry budget has no room for a retry that follows from a cycle: it waits longer than its backoff.
    RetryHeldBack {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// How long it waits.
        delay: Duration,
    },
    /// The rate limit holds the worker back: a lane waits for it that has something to do, or had a moment ago. Said once,
    /// however many cycles begin at the limit's pace.
    RateLimitReached {
        /// Which worker's.
        worker: WorkerId,
        /// Until the next cycle may begin.
        wait: Duration,
    },
    /// The rate limit no longer holds the worker back: no lane has waited for it for 1 s, or the worker takes in no more work.
    RateLimitEased {
        /// Which worker's.
        worker: WorkerId,
        /// How long it did, that second included.
        after: Duration,
    },
    /// A dependency seems to be down: the worker asks for no more work until a probe has succeeded.
    BreakerOpened {
        /// Which worker's.
        worker: WorkerId,
        /// How many failures in a row there were, those of probes included.
        failures: u32,
        /// Until the next probe may begin.
        probe_in: Duration,
    },
    /// The cycle that begins next on this task is a probe.
    BreakerProbing {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
    },
    /// A probe succeeded: work goes on.
    BreakerClosed {
        /// Which worker's.
        worker: WorkerId,
        /// How long it was open.
        after: Duration,
    },
    /// Somebody else has the delivery, or may soon: its cycle is interrupted.
    LeaseLost {
        /// Which worker's.
        worker: WorkerId,
        /// The delivery.
        delivery: DeliveryId,
        /// Of which claim the lease was: the worker may have claimed the delivery again since.
        token: FencingToken,
    },
    /// A cycle has not ended though its time is over, so its thread is most likely blocked: its lease is renewed no more,
    /// and somebody else will have the delivery.
    LeaseGivenUp {
        /// Which worker's.
        worker: WorkerId,
        /// The delivery.
        delivery: DeliveryId,
        /// How long its lease was renewed.
        after: Duration,
    },
    /// Leases could not be renewed this time; it is tried again while they last.
    RenewalFailed {
        /// Which worker's.
        worker: WorkerId,
        /// What the store said.
        cause: Cause,
    },
    /// The source could not be read; it is tried again after the delay.
    SourceFailed {
        /// Which worker's.
        worker: WorkerId,
        /// How many times in a row.
        consecutive: u32,
        /// Until the next try.
        delay: Duration,
        /// What the source said.
        cause: Cause,
    },
    /// The source can be read again.
    SourceRecovered {
        /// Which worker's.
        worker: WorkerId,
        /// How many tries had failed.
        failures: u32,
    },
    /// How full a queue is, once in a while and only where metrics are kept.
    QueueMeasured {
        /// Which worker's.
        worker: WorkerId,
        /// How many deliveries are in each state.
        depth: Depth,
        /// For how long the one that has waited longest has been due.
        oldest: Duration,
    },
    /// The queue could not say how full it is.
    MeasureFailed {
        /// Which worker's.
        worker: WorkerId,
        /// What the store said.
        cause: Cause,
    },
    /// A worker cannot go on.
    WorkerFaulted {
        /// Which.
        worker: WorkerId,
        /// Why.
        cause: Cause,
    },
    /// A worker that faulted, or whose group is restarted, is started again after the delay. In a group that counts from
    /// when the last of those is down that are restarted with it, and the others may have to start first.
    WorkerRestarting {
        /// Which.
        worker: WorkerId,
        /// How many times it was restarted, this time included.
        restarts: u32,
        /// Until its start hook is called, at least.
        delay: Duration,
    },
    /// A worker takes in no more work until it is resumed; cycles in flight go on.
    WorkerPaused {
        /// Which.
        worker: WorkerId,
    },
    /// A worker that was paused takes in work again.
    WorkerResumed {
        /// Which.
        worker: WorkerId,
    },
    /// A worker was asked not to wait for its next cycle.
    WorkerTriggered {
        /// Which.
        worker: WorkerId,
    },
    /// A worker was asked to end, alone and for good.
    WorkerStopAsked {
        /// Which.
        worker: WorkerId,
        /// The time by which it will have ended, whatever it does.
        within: Duration,
    },
    /// A signal arrived.
    SignalReceived {
        /// Which.
        signal: Signal,
        /// What the next one will do.
        next: NextSignal,
    },
    /// The host begins to stop.
    HostStopping {
        /// Why.
        reason: StopReason,
        /// How long intake stays open all the same.
        delay: Duration,
        /// The time by which every intake will be closed, and what is in flight asked to stop.
        drain: Duration,
        /// The time by which it will have stopped, whatever its workers do.
        within: Duration,
    },
    /// A worker takes in no more work; cycles in flight may finish.
    IntakeClosed {
        /// Which.
        worker: WorkerId,
        /// How long they may take.
        drain: Duration,
    },
    /// A worker's cycles in flight were asked to stop, through [`crate::Context::cancelled`].
    WorkerCancelled {
        /// Which.
        worker: WorkerId,
    },
    /// A worker's cycles in flight are dropped where they stand.
    WorkerAborted {
        /// Which.
        worker: WorkerId,
    },
    /// A cycle is still in flight at a step of the stop. Each of them is named after the event of the step.
    Straggler {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// Which attempt at its input it is.
        attempt: u32,
        /// The delivery that it processes, for a queue worker.
        delivery: Option<DeliveryId>,
        /// What is done about it.
        step: StopStep,
        /// What it does.
        doing: Doing,
        /// How long ago it began.
        age: Duration,
    },
    /// A poll of a cycle does not come to an end: its thread does nothing else meanwhile. Said once for each such poll.
    CycleBlocked {
        /// Which worker's.
        worker: WorkerId,
        /// Which cycle.
        cycle: CycleId,
        /// Which attempt at its input it is.
        attempt: u32,
        /// The delivery that it processes, for a queue worker.
        delivery: Option<DeliveryId>,
        /// For how long at least.
        blocked: Duration,
    },
    /// A poll of a hook does not come to an end: its thread does nothing else meanwhile. Said once for each such poll.
    HookBlocked {
        /// Which worker's.
        worker: WorkerId,
        /// Which hook.
        hook: Hook,
        /// For how long at least.
        blocked: Duration,
    },
    /// The process has not ended in time and is ended now ([`crate::Watchdog`]). Nothing follows.
    HostOverdue {
        /// The verdict, which is also the exit code.
        exit: ExitStatus,
    },
    /// A worker did not end even then (its thread is blocked, or its stop hook hangs); the host goes on without it.
    WorkerAbandoned {
        /// Which.
        worker: WorkerId,
        /// What it was doing.
        phase: WorkerPhase,
    },
    /// A worker's stop hook failed or panicked.
    StopHookFailed {
        /// Which.
        worker: WorkerId,
        /// Why.
        cause: Cause,
    },
    /// A worker has ended.
    WorkerStopped {
        /// Which.
        worker: WorkerId,
        /// Its last phase.
        phase: WorkerPhase,
    },
    /// The host has stopped, and says how.
    HostStopped {
        /// The verdict, which is also the exit code.
        exit: ExitStatus,
    },
}

impl Event {
    /// The phase that it brings a worker to, if it brings one to another.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events change no phase")]
    pub fn phase(&self) -> Option<(WorkerId, WorkerPhase)> {
        match self {
            Event::WorkerStarting { worker } => Some((*worker, WorkerPhase::Starting)),
            Event::WorkerReady { worker } => Some((*worker, WorkerPhase::Ready)),
            Event::IntakeOpened { worker } => Some((*worker, WorkerPhase::Running)),
            Event::WorkerRestarting { worker, .. } => Some((*worker, WorkerPhase::Restarting)),
            Event::IntakeClosed { worker, .. } => Some((*worker, WorkerPhase::Draining)),
            Event::WorkerCancelled { worker } => Some((*worker, WorkerPhase::Cancelling)),
            Event::WorkerAborted { worker } => Some((*worker, WorkerPhase::Aborting)),
            Event::WorkerStopped { worker, phase } => Some((*worker, *phase)),
            _ => None,
        }
    }

    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Event::HostStarting { .. } => "host_starting",
            Event::WorkerStarting { .. } => "worker_starting",
            Event::WorkerReady { .. } => "worker_ready",
            Event::WorkerStartFailed { .. } => "worker_start_failed",
            Event::HostRunning => "host_running",
            Event::IntakeOpened { .. } => "intake_opened",
            Event::TicksMissed { .. } => "ticks_missed",
            Event::TickDue { .. } => "tick_due",
            Event::BatchStarted { .. } => "batch_started",
            Event::BatchEnded { .. } => "batch_ended",
            Event::CycleStarted { .. } => "cycle_started",
            Event::CycleSuperseded { .. } => "cycle_superseded",
            Event::CycleEnded { .. } => "cycle_ended",
            Event::Settled { .. } => "settled",
            Event::SettleFailed { .. } => "settle_failed",
            Event::Escalated { .. } => "escalated",
            Event::SettledUnrun { .. } => "settled_unrun",
            Event::RetryHeldBack { .. } => "retry_held_back",
            Event::RateLimitReached { .. } => "rate_limit_reached",
            Event::RateLimitEased { .. } => "rate_limit_eased",
            Event::BreakerOpened { .. } => "breaker_opened",
            Event::BreakerProbing { .. } => "breaker_probing",
            Event::BreakerClosed { .. } => "breaker_closed",
            Event::LeaseLost { .. } => "lease_lost",
            Event::LeaseGivenUp { .. } => "lease_given_up",
            Event::RenewalFailed { .. } => "renewal_failed",
            Event::SourceFailed { .. } => "source_failed",
            Event::SourceRecovered { .. } => "source_recovered",
            Event::QueueMeasured { .. } => "queue_measured",
            Event::MeasureFailed { .. } => "measure_failed",
            Event::WorkerFaulted { .. } => "worker_faulted",
            Event::WorkerRestarting { .. } => "worker_restarting",
            Event::WorkerPaused { .. } => "worker_paused",
            Event::WorkerResumed { .. } => "worker_resumed",
            Event::WorkerTriggered { .. } => "worker_triggered",
            Event::WorkerStopAsked { .. } => "worker_stop_asked",
            Event::SignalReceived { .. } => "signal_received",
            Event::HostStopping { .. } => "host_stopping",
            Event::IntakeClosed { .. } => "intake_closed",
            Event::WorkerCancelled { .. } => "worker_cancelled",
            Event::WorkerAborted { .. } => "worker_aborted",
            Event::Straggler { .. } => "straggler",
            Event::CycleBlocked { .. } => "cycle_blocked",
            Event::HookBlocked { .. } => "hook_blocked",
            Event::HostOverdue { .. } => "host_overdue",
            Event::WorkerAbandoned { .. } => "worker_abandoned",
            Event::StopHookFailed { .. } => "stop_hook_failed",
            Event::WorkerStopped { .. } => "worker_stopped",
            Event::HostStopped { .. } => "host_stopped",
        }
    }
}

/// Something that hears every event, in order, on the task where it happened.
///
/// It runs in the middle of the runtime's own work: it must be quick and must not block. One that panics is logged as an error and told no
/// more; everybody else goes on.
/// A listener costs one dynamic call an event; a host without one makes none.
///
/// A closure will do. A type of its own hands on what takes time:
///
/// ```
/// use std::num::NonZeroU64;
///
/// use shiftwork::{Cause, Context, Continuous, Event, Failure, FailureKind, Host, Listener};
/// use tokio::{sync::mpsc, time::Instant};
///
/// /// What a cycle has failed with, for a task that may take its time with it.
/// struct Failures(mpsc::UnboundedSender<Cause>);
///
/// impl Listener for Failures {
///     fn on(&self, _: Instant, event: &Event) {
///         if let Event::CycleEnded { failure: Some(cause), .. } = event {
///             // When nobody hears of it any more, the host goes on.
///             drop(self.0.send(cause.clone()));
///         }
///     }
/// }
///
/// async fn fetch((): (), _: Context) -> Result<(), Failure> {
///     Err(Failure::invalid("no such page"))
/// }
///
/// # tokio_test::block_on(async {
/// let (sender, mut failures) = mpsc::unbounded_channel();
/// let once = Continuous::times(NonZeroU64::MIN);
/// let host = Host::builder().listener(Failures(sender)).worker("fetch", once, fetch);
/// assert!(host.run_until(std::future::pending()).await.is_clean(), "a failed cycle is no fault");
/// assert_eq!(failures.recv().await.map(|cause| cause.kind), Some(FailureKind::Invalid));
/// # });
/// ```
pub trait Listener: Send + Sync + 'static {
    /// `event` happened at `at`.
    fn on(&self, at: Instant, event: &Event);
}

impl<F: Fn(Instant, &Event) + Send + Sync + 'static> Listener for F {
    fn on(&self, at: Instant, event: &Event) {
        self(at, event);
    }
}
