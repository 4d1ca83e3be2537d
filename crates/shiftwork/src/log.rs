//! Events as `tracing` lines: the first listener.
//!
//! What an operator acts on is a warning or an error; changes of state are infos; what follows from a cycle is debug, and
//! the two lines of each cycle are traces. What may repeat with every cycle has a [`Quota`]. Field names are the same
//! everywhere (`docs/observability.md`). No line has a payload.

mod quota;

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use quota::{Quota, WINDOW};
use shiftwork_queue::Depth;
use tokio::time::Instant;
use tracing::{Level, debug, error, info, level_filters::LevelFilter, trace, warn};

use crate::{
    Cause, FailureKind,
    event::{Declaration, Event, NextSignal, Settle, SourceKind, StopReason, WorkerId},
    failure::is_failing,
};

pub(crate) struct Log {
    workers: Box<[OfWorker]>,
    origin: Instant,
}

/// What is kept of one worker, so that its lines are news.
struct OfWorker {
    name: Arc<str>,
    /// Its run is its one cycle, which succeeds only as it ends.
    is_service: bool,
    /// One of the three below.
    health: AtomicU8,
    /// Cycles that failed since it was last said to be well; inputs that are invalid are not the worker's failure.
    failures: AtomicU64,
    /// When it was last said to be well again, in nanoseconds since the origin; 0 is never.
    recovered: AtomicU64,
    /// After how many failures in a row its breaker opens: those on top are probes that failed.
    opens_after: u32,
    /// Whether the last word on its breaker is that intake pauses.
    said_open: AtomicBool,
    /// Whether the last word on its source is that it cannot be read.
    said_unreadable: AtomicBool,
    /// Whether the last word on its rate limit is that cycles wait for it.
    said_limited: AtomicBool,
    quotas: [Quota; Sort::COUNT],
}

/// No cycle has succeeded yet.
const NEW: u8 = 0;
const HEALTHY: u8 = 1;
const FAILING: u8 = 2;

/// A sort of line that may repeat with every cycle. Those of failures come first, in the order of [`FailureKind::ALL`].
#[derive(Clone, Copy)]
enum Sort {
    Failed(FailureKind),
    TicksMissed,
    MovedAside,
    Unrun,
    Escalated,
    SettleFailed,
    LeaseLost,
    RenewalFailed,
    RetryHeldBack,
    MeasureFailed,
    Superseded,
    RateLimitReached,
    RateLimitEased,
    Blocked,
    LeaseGivenUp,
    SourceFailed,
    SourceRecovered,
    BreakerOpened,
    ProbeFailed,
    BreakerClosed,
    Classification,
    EscalationHook,
}

impl Sort {
    const COUNT: usize = FailureKind::ALL.len() + 21;

    fn index(self) -> usize {
        let rest = match self {
            Sort::Failed(kind) => return FailureKind::ALL.iter().position(|it| *it == kind).unwrap_or_default(),
            Sort::TicksMissed => 0,
            Sort::MovedAside => 1,
            Sort::Unrun => 2,
            Sort::Escalated => 3,
            Sort::SettleFailed => 4,
            Sort::LeaseLost => 5,
            Sort::RenewalFailed => 6,
            Sort::RetryHeldBack => 7,
            Sort::MeasureFailed => 8,
            Sort::Superseded => 9,
            Sort::RateLimitReached => 10,
            Sort::RateLimitEased => 11,
            Sort::Blocked => 12,
            Sort::LeaseGivenUp => 13,
            Sort::SourceFailed => 14,
            Sort::SourceRecovered => 15,
            Sort::BreakerOpened => 16,
            Sort::ProbeFailed => 17,
            Sort::BreakerClosed => 18,
            Sort::Classification => 19,
            Sort::EscalationHook => 20,
        };
        FailureKind::ALL.len() + rest
    }
}

/// The program's own code that a lane calls beside its cycles. A panic of it is no event, since nothing follows from it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callback {
    /// It says of what kind an error is.
    Classification,
    /// It is told what is given up.
    EscalationHook,
}

impl Log {
    pub(crate) fn new(workers: &[Declaration]) -> Self {
        let is_service = |worker: &Declaration| matches!(worker.source, SourceKind::Service { .. });
        let of = |worker: &Declaration| OfWorker {
            name: worker.name.clone(),
            is_service: is_service(worker),
            // A service says nothing by a first success: that is its end.
            health: AtomicU8::new(if is_service(worker) { HEALTHY } else { NEW }),
            failures: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            opens_after: worker.breaker.map_or(u32::MAX, |breaker| breaker.failures()),
            said_open: AtomicBool::new(false),
            said_unreadable: AtomicBool::new(false),
            said_limited: AtomicBool::new(false),
            quotas: Default::default(),
        };
        Self { workers: workers.iter().map(of).collect(), origin: Instant::now() }
    }

    fn name(&self, worker: WorkerId) -> &str {
        &self.workers[worker.index()].name
    }

    /// Whether a line of this sort may be written now; see [`Quota::admit`].
    fn admit(&self, worker: WorkerId, sort: Sort, at: Instant, text: impl Hash) -> Option<Option<u64>> {
        self.workers[worker.index()].quotas[sort.index()].admit(at, text)
    }

    /// Whether a line of this sort may be written that takes back what was `said`; see [`Quota::admit_answer`].
    fn admit_answer(&self, worker: WorkerId, sort: Sort, said: &AtomicBool) -> Option<Option<u64>> {
        self.workers[worker.index()].quotas[sort.index()].admit_answer(said.swap(false, Ordering::Relaxed))
    }

    /// Whether a cycle of this worker that succeeds has a line written of it: where each has one, or where it is the first
    /// that does.
    #[inline]
    pub(crate) fn hears_success(&self, worker: WorkerId) -> bool {
        Level::TRACE <= LevelFilter::current() || self.workers[worker.index()].health.load(Ordering::Relaxed) != HEALTHY
    }

    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is matched in full, out of the way of the cycle path")]
    pub(crate) fn on(&self, at: Instant, event: &Event) {
        match event {
            Event::CycleStarted { worker, cycle, attempt, .. } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, attempt, "cycle started");
            }
            Event::CycleEnded { worker, cycle, failure: None, took } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, ?took, "cycle succeeded");
                if self.workers[worker.index()].health.load(Ordering::Relaxed) != HEALTHY {
                    self.is_well(at, *worker);
                }
            }
            Event::Settled { settle: Settle::Ack, .. } => {}
            Event::TickDue { worker, number, due, missed, late, triggered } => {
                trace!(worker = self.name(*worker), number, %due, missed, ?late, triggered, "tick due");
            }
            other => self.on_rare(at, other),
        }
    }

    /// A worker is well that was not known to be: a cycle of it has succeeded, or it is a service that was started again.
    #[cold]
    fn is_well(&self, at: Instant, id: WorkerId) {
        let of = &self.workers[id.index()];
        let worker = &*of.name;
        // A worker that is well by turns says so once a minute; in between, its failures go on adding up. A service is not said to be well
        // again by its next cycle, and its restarts are few.
        let since = at.saturating_duration_since(self.origin).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX).max(1);
        let last = of.recovered.load(Ordering::Relaxed);
        let too_soon = !of.is_service && last != 0 && u128::from(now.saturating_sub(last)) < WINDOW.as_nanos();
        if too_soon || of.recovered.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let before = of.health.swap(HEALTHY, Ordering::Relaxed);
        let failures = of.failures.swap(0, Ordering::Relaxed);
        // The next failure is news.
        let of_failures = FailureKind::ALL.iter().filter(|kind| is_failing(**kind));
        let unlogged: u64 = of_failures.map(|kind| of.quotas[Sort::Failed(*kind).index()].reset()).sum();
        if failures > 0 {
            info!(worker, failures, unlogged, "worker recovered");
        } else if before == NEW {
            info!(worker, "worker healthy: its first cycle succeeded");
        }
    }

    /// A cycle failed, for a reason that may be the worker's.
    fn failed(&self, at: Instant, id: WorkerId, kind: FailureKind, message: &str) -> Option<Option<u64>> {
        let of = &self.workers[id.index()];
        if is_failing(kind) {
            of.failures.fetch_add(1, Ordering::Relaxed);
            of.health.store(FAILING, Ordering::Relaxed);
        }
        self.admit(id, Sort::Failed(kind), at, message)
    }

    /// The last word on what was left out. What is put off is no news to anybody who does not debug.
    fn say_rest(&self, id: WorkerId) {
        let of = &self.workers[id.index()];
        of.quotas[Sort::Failed(FailureKind::Snoozed).index()].reset();
        let unlogged: u64 = of.quotas.iter().map(Quota::reset).sum();
        if unlogged > 0 {
            warn!(worker = &*of.name, unlogged, "repeated lines were left out");
        }
    }

    /// A callback panicked, which it may do with every cycle that fails.
    #[cold]
    pub(crate) fn callback_panicked(&self, at: Instant, worker: WorkerId, callback: Callback, cause: &Cause) {
        let error = &*cause.message;
        match callback {
            Callback::Classification => {
                let Some(unlogged) = self.admit(worker, Sort::Classification, at, error) else { return };
                error!(worker = self.name(worker), error, unlogged, "the classification of an error panicked");
            }
            Callback::EscalationHook => {
                let Some(unlogged) = self.admit(worker, Sort::EscalationHook, at, error) else { return };
                error!(worker = self.name(worker), error, unlogged, "the escalation hook panicked");
            }
        }
    }

    #[cold]
    fn on_rare(&self, at: Instant, event: &Event) {
        match event {
            Event::HostStarting { workers } => info!(workers = workers.len(), "host starting"),
            Event::WorkerStarting { worker } => info!(worker = self.name(*worker), "worker starting"),
            Event::WorkerReady { worker } => info!(worker = self.name(*worker), "worker ready"),
            Event::WorkerStartFailed { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = &*cause.message, "worker did not start");
            }
            Event::HostRunning => info!("host running"),
            Event::IntakeOpened { worker } => {
                let of = &self.workers[worker.index()];
                info!(worker = &*of.name, "intake opened");
                // It is at work again, and no cycle will say so.
                if of.is_service && of.health.load(Ordering::Relaxed) == FAILING {
                    self.is_well(at, *worker);
                }
            }
            Event::TicksMissed { worker, count } => {
                let Some(unlogged) = self.admit(*worker, Sort::TicksMissed, at, ()) else { return };
                warn!(worker = self.name(*worker), count, unlogged, "ticks missed");
            }
            Event::TickDue { .. } | Event::CycleStarted { .. } | Event::CycleEnded { failure: None, .. } => {}
            Event::BatchStarted { worker, first, cycles } => {
                trace!(worker = self.name(*worker), first = first.0, cycles, "batch started");
            }
            // Its cycles say how they ended.
            Event::BatchEnded { worker, first, cycles, failure, took } => {
                let (worker, first) = (self.name(*worker), first.0);
                let error = failure.as_ref().map(|cause| &*cause.message);
                debug!(worker, first, cycles, error, ?took, "batch ended");
            }
            Event::CycleEnded { worker, cycle, failure: Some(cause), took } => {
                let Some(unlogged) = self.failed(at, *worker, cause.kind, &cause.message) else { return };
                let (worker, cycle, kind, error) = (self.name(*worker), cycle.0, cause.kind, &*cause.message);
                match kind {
                    FailureKind::Panic => {
                        error!(worker, cycle, %kind, error, ?took, unlogged, "cycle panicked");
                    }
                    FailureKind::Interrupted => {
                        info!(worker, cycle, %kind, error, ?took, unlogged, "cycle interrupted");
                    }
                    FailureKind::Snoozed => debug!(worker, cycle, error, ?took, unlogged, "cycle put its input off"),
                    FailureKind::Discarded => {
                        info!(worker, cycle, error, ?took, unlogged, "cycle dropped its input");
                    }
                    FailureKind::Transient | FailureKind::Invalid | FailureKind::Fatal | FailureKind::Timeout => {
                        warn!(worker, cycle, %kind, error, ?took, unlogged, "cycle failed");
                    }
                }
            }
            Event::CycleSuperseded { worker, cycle, grace } => {
                let Some(unlogged) = self.admit(*worker, Sort::Superseded, at, ()) else { return };
                let (worker, cycle) = (self.name(*worker), cycle.0);
                info!(worker, cycle, ?grace, unlogged, "the next tick is due: the cycle at work is asked to end");
            }
            Event::Settled { worker, cycle, delivery, settle } => {
                let (id, worker, cycle) = (*worker, self.name(*worker), cycle.0);
                match settle {
                    Settle::Ack => {}
                    Settle::Retry { delay } => {
                        let delivery = delivery.map(|id| id.0);
                        debug!(worker, cycle, delivery, ?delay, "will be tried again");
                    }
                    Settle::DeadLetter { cause, .. } => {
                        let Some(unlogged) = self.admit(id, Sort::MovedAside, at, (delivery, cause)) else { return };
                        match delivery.map(|id| id.0) {
                            Some(delivery) => warn!(worker, cycle, delivery, %cause, unlogged, "moved aside"),
                            None => warn!(worker, cycle, %cause, unlogged, "input given up"),
                        }
                    }
                    Settle::Return => {
                        let delivery = delivery.map(|id| id.0);
                        debug!(worker, cycle, delivery, "returned, attempt not spent");
                    }
                    Settle::Snooze { delay } => {
                        let delivery = delivery.map(|id| id.0);
                        debug!(worker, cycle, delivery, ?delay, "put off, attempt not spent");
                    }
                    // The line of its cycle says it.
                    Settle::Discard => {}
                }
            }
            Event::SettleFailed { worker, cycle, delivery, settle, cause } => {
                let Some(unlogged) = self.admit(*worker, Sort::SettleFailed, at, &cause.message) else { return };
                error!(
                    worker = self.name(*worker),
                    cycle = cycle.map(|id| id.0),
                    delivery = delivery.map(|id| id.0),
                    settle = settle.as_str(),
                    error = &*cause.message,
                    unlogged,
                    "could not settle: unless it was stored all the same, the delivery comes again"
                );
            }
            Event::Escalated { worker, cycle, attempts, cause } => {
                let Some(unlogged) = self.admit(*worker, Sort::Escalated, at, &cause.message) else { return };
                error!(
                    worker = self.name(*worker), cycle = cycle.map(|id| id.0), attempts, kind = %cause.kind,
                    error = &*cause.message, unlogged, "given up: a person should look"
                );
            }
            Event::SettledUnrun { worker, delivery, settle } => {
                let (id, worker, delivery) = (*worker, self.name(*worker), delivery.0);
                match settle {
                    Settle::DeadLetter { cause, .. } => {
                        let Some(unlogged) = self.admit(id, Sort::Unrun, at, (delivery, cause)) else { return };
                        warn!(worker, delivery, %cause, unlogged, "moved aside without a cycle");
                    }
                    Settle::Ack | Settle::Retry { .. } | Settle::Return | Settle::Snooze { .. } | Settle::Discard => {
                        debug!(worker, delivery, settle = settle.as_str(), "settled without a cycle");
                    }
                }
            }
            Event::RetryHeldBack { worker, cycle, delay } => {
                let Some(unlogged) = self.admit(*worker, Sort::RetryHeldBack, at, ()) else { return };
                let (worker, cycle) = (self.name(*worker), cycle.0);
                warn!(worker, cycle, ?delay, unlogged, "no room in the retry budget: the retry waits longer");
            }
            Event::RateLimitReached { worker, wait } => {
                let Some(unlogged) = self.admit(*worker, Sort::RateLimitReached, at, ()) else { return };
                self.workers[worker.index()].said_limited.store(true, Ordering::Relaxed);
                info!(worker = self.name(*worker), ?wait, unlogged, "rate limit reached: cycles wait for it");
            }
            Event::RateLimitEased { worker, after } => {
                let said = &self.workers[worker.index()].said_limited;
                let Some(unlogged) = self.admit_answer(*worker, Sort::RateLimitEased, said) else { return };
                info!(worker = self.name(*worker), ?after, unlogged, "rate limit holds nothing back any more");
            }
            Event::BreakerOpened { worker, failures, probe_in } => {
                let of = &self.workers[worker.index()];
                if *failures > of.opens_after {
                    let Some(unlogged) = self.admit(*worker, Sort::ProbeFailed, at, failures) else { return };
                    of.said_open.store(true, Ordering::Relaxed);
                    warn!(worker = &*of.name, failures, ?probe_in, unlogged, "probe failed: intake stays paused");
                } else {
                    // Each is news, and may be the one that lasts.
                    let Some(unlogged) = self.admit(*worker, Sort::BreakerOpened, at, at) else { return };
                    of.said_open.store(true, Ordering::Relaxed);
                    warn!(worker = &*of.name, failures, ?probe_in, unlogged, "breaker opened: intake pauses");
                }
            }
            Event::BreakerProbing { worker, cycle } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, "breaker probes");
            }
            Event::BreakerClosed { worker, after } => {
                let said = &self.workers[worker.index()].said_open;
                let Some(unlogged) = self.admit_answer(*worker, Sort::BreakerClosed, said) else { return };
                info!(worker = self.name(*worker), ?after, unlogged, "breaker closed: work goes on");
            }
            Event::LeaseGivenUp { worker, delivery, after } => {
                let Some(unlogged) = self.admit(*worker, Sort::LeaseGivenUp, at, delivery) else { return };
                let (worker, delivery) = (self.name(*worker), delivery.0);
                error!(worker, delivery, ?after, unlogged, "the cycle does not end: its lease is renewed no more");
            }
            Event::LeaseLost { worker, delivery, token } => {
                let Some(unlogged) = self.admit(*worker, Sort::LeaseLost, at, delivery) else { return };
                let (worker, delivery, claim) = (self.name(*worker), delivery.0, token.0);
                warn!(worker, delivery, claim, unlogged, "lease lost");
            }
            Event::RenewalFailed { worker, cause } => {
                let Some(unlogged) = self.admit(*worker, Sort::RenewalFailed, at, &cause.message) else { return };
                warn!(worker = self.name(*worker), error = &*cause.message, unlogged, "could not renew leases");
            }
            Event::SourceFailed { worker, consecutive, delay, cause } => {
                // How long it lasts is news, so that an outage does not fall silent.
                let text = (consecutive, &cause.message);
                let Some(unlogged) = self.admit(*worker, Sort::SourceFailed, at, text) else { return };
                self.workers[worker.index()].said_unreadable.store(true, Ordering::Relaxed);
                let (worker, error) = (self.name(*worker), &*cause.message);
                warn!(worker, consecutive, ?delay, error, unlogged, "could not read the source");
            }
            Event::SourceRecovered { worker, failures } => {
                let said = &self.workers[worker.index()].said_unreadable;
                let Some(unlogged) = self.admit_answer(*worker, Sort::SourceRecovered, said) else { return };
                info!(worker = self.name(*worker), failures, unlogged, "source recovered");
            }
            Event::QueueMeasured { worker, depth, oldest } => {
                let Depth { ready, delayed, leased, dead, oldest_due: _ } = *depth;
                trace!(worker = self.name(*worker), ready, delayed, leased, dead, ?oldest, "queue measured");
            }
            Event::MeasureFailed { worker, cause } => {
                let Some(unlogged) = self.admit(*worker, Sort::MeasureFailed, at, &cause.message) else { return };
                warn!(worker = self.name(*worker), error = &*cause.message, unlogged, "could not measure the queue");
            }
            Event::WorkerFaulted { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = &*cause.message, "worker cannot go on");
            }
            Event::WorkerRestarting { worker, restarts, delay } => {
                // Its next life has a breaker and a source of its own, of which nothing is said yet.
                let of = &self.workers[worker.index()];
                for said in [&of.said_open, &of.said_unreadable, &of.said_limited] {
                    said.store(false, Ordering::Relaxed);
                }
                warn!(worker = self.name(*worker), restarts, ?delay, "worker will be restarted");
            }
            Event::WorkerPaused { worker } => info!(worker = self.name(*worker), "worker paused"),
            Event::WorkerResumed { worker } => info!(worker = self.name(*worker), "worker resumed"),
            Event::WorkerTriggered { worker } => info!(worker = self.name(*worker), "worker triggered"),
            Event::WorkerStopAsked { worker, within } => {
                info!(worker = self.name(*worker), ?within, "worker asked to stop, alone");
            }
            Event::SignalReceived { signal, next } => {
                let next = match next {
                    NextSignal::Abort => "interrupt what is in flight and return it",
                    NextSignal::Leave => "leave at once, without waiting for anything",
                };
                info!(signal = signal.as_str(), "signal received; the next one will {next}");
            }
            Event::HostStopping { reason, delay, drain: _, within } => {
                let (reason, worker) = match reason {
                    StopReason::Signal(signal) => (signal.as_str(), None),
                    StopReason::Asked => ("asked", None),
                    StopReason::StartFailure(worker) => ("start_failure", Some(self.name(*worker))),
                    StopReason::WorkerFault(worker) => ("worker_fault", Some(self.name(*worker))),
                    StopReason::Completed => ("completed", None),
                    StopReason::Unable => ("unable", None),
                };
                info!(reason, worker, ?delay, ?within, "host stopping");
            }
            Event::IntakeClosed { worker, drain } => info!(worker = self.name(*worker), ?drain, "intake closed"),
            Event::WorkerCancelled { worker } => {
                warn!(worker = self.name(*worker), "drain timed out: cycles in flight were asked to stop");
            }
            Event::WorkerAborted { worker } => {
                warn!(worker = self.name(*worker), "cycles in flight are dropped and returned");
            }
            Event::Straggler { worker, cycle, attempt, delivery, step, doing, age } => {
                let (worker, cycle, delivery) = (self.name(*worker), cycle.0, delivery.map(|id| id.0));
                let (step, doing) = (step.as_str(), doing.as_str());
                warn!(worker, cycle, attempt, delivery, step, doing, ?age, "cycle is still in flight");
            }
            Event::CycleBlocked { worker, cycle, attempt, delivery, blocked } => {
                let Some(unlogged) = self.admit(*worker, Sort::Blocked, at, (cycle, delivery)) else { return };
                let (worker, cycle, delivery) = (self.name(*worker), cycle.0, delivery.map(|id| id.0));
                error!(worker, cycle, attempt, delivery, ?blocked, unlogged, "cycle blocks its thread");
            }
            Event::HookBlocked { worker, hook, blocked } => {
                error!(worker = self.name(*worker), hook = hook.as_str(), ?blocked, "hook blocks its thread");
            }
            Event::HostOverdue { exit } => {
                error!(%exit, code = exit.code(), "host did not end in time: the process exits");
            }
            Event::WorkerAbandoned { worker, phase } => {
                error!(worker = self.name(*worker), %phase, "worker did not end: the host goes on without it");
            }
            Event::StopHookFailed { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = &*cause.message, "stop hook failed");
            }
            Event::WorkerStopped { worker, phase } => {
                self.say_rest(*worker);
                info!(worker = self.name(*worker), %phase, "worker stopped");
            }
            Event::HostStopped { exit } => info!(%exit, code = exit.code(), "host stopped"),
        }
    }
}

#[cfg(test)]
mod tests;
