//! Events as `tracing` lines: the first listener.
//!
//! What an operator acts on is a warning or an error; changes of state are infos; the two lines of each cycle are traces.
//! Field names are the same everywhere: `worker`, `cycle`, `attempt`, `delivery`, `kind`, `error`. No line has a payload.

use std::sync::Arc;

use tracing::{error, info, trace, warn};

use crate::{
    FailureKind,
    event::{Declaration, Event, NextSignal, Settle, StopReason, WorkerId},
};

pub(crate) struct Log {
    names: Box<[Arc<str>]>,
}

impl Log {
    pub(crate) fn new(workers: &[Declaration]) -> Self {
        Self { names: workers.iter().map(|worker| worker.name.clone()).collect() }
    }

    fn name(&self, worker: WorkerId) -> &str {
        &self.names[worker.index()]
    }

    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is matched in full, out of the way of the cycle path")]
    pub(crate) fn on(&self, event: &Event) {
        match event {
            Event::CycleStarted { worker, cycle, attempt, .. } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, attempt, "cycle started");
            }
            Event::CycleEnded { worker, cycle, failure: None, took } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, ?took, "cycle succeeded");
            }
            Event::Settled { settle: Settle::Ack, .. } => {}
            Event::TickDue { worker, number, due, missed, late } => {
                trace!(worker = self.name(*worker), number, %due, missed, ?late, "tick due");
            }
            other => self.on_rare(other),
        }
    }

    #[cold]
    fn on_rare(&self, event: &Event) {
        match event {
            Event::HostStarting { workers } => info!(workers = workers.len(), "host starting"),
            Event::WorkerStarting { worker } => info!(worker = self.name(*worker), "worker starting"),
            Event::WorkerReady { worker } => info!(worker = self.name(*worker), "worker ready"),
            Event::WorkerStartFailed { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = %cause.message, "worker did not start");
            }
            Event::HostRunning => info!("host running"),
            Event::IntakeOpened { worker } => info!(worker = self.name(*worker), "intake opened"),
            Event::TicksMissed { worker, count } => {
                warn!(worker = self.name(*worker), count, "ticks missed");
            }
            Event::TickDue { .. } | Event::CycleStarted { .. } | Event::CycleEnded { failure: None, .. } => {}
            Event::CycleEnded { worker, cycle, failure: Some(cause), took } => {
                let worker = self.name(*worker);
                match cause.kind {
                    FailureKind::Panic => {
                        error!(worker, cycle = cycle.0, kind = %cause.kind, error = %cause.message, ?took, "cycle panicked");
                    }
                    FailureKind::Interrupted => {
                        info!(worker, cycle = cycle.0, kind = %cause.kind, error = %cause.message, ?took, "cycle interrupted");
                    }
                    FailureKind::Transient | FailureKind::Invalid | FailureKind::Fatal | FailureKind::Timeout => {
                        warn!(worker, cycle = cycle.0, kind = %cause.kind, error = %cause.message, ?took, "cycle failed");
                    }
                }
            }
            Event::Settled { worker, cycle, delivery, settle } => {
                let delivery = delivery.map(|id| id.0);
                match settle {
                    Settle::Ack => {}
                    Settle::Retry { delay } => {
                        info!(worker = self.name(*worker), cycle = cycle.0, delivery, ?delay, "will be tried again");
                    }
                    Settle::DeadLetter { cause, .. } => {
                        warn!(worker = self.name(*worker), cycle = cycle.0, delivery, %cause, "moved aside");
                    }
                    Settle::Return => {
                        info!(worker = self.name(*worker), cycle = cycle.0, delivery, "returned, attempt not spent");
                    }
                }
            }
            Event::SettleFailed { worker, cycle, delivery, settle, cause } => {
                error!(
                    worker = self.name(*worker), cycle = cycle.map(|id| id.0), delivery = delivery.map(|id| id.0),
                    settle = settle.as_str(), error = %cause.message, "could not settle: the delivery comes again"
                );
            }
            Event::Escalated { worker, cycle, attempts, cause } => {
                error!(
                    worker = self.name(*worker), cycle = cycle.0, attempts, kind = %cause.kind, error = %cause.message,
                    "attempts exhausted"
                );
            }
            Event::SettledUnrun { worker, delivery, settle } => {
                let (worker, delivery) = (self.name(*worker), delivery.0);
                match settle {
                    Settle::DeadLetter { cause, .. } => warn!(worker, delivery, %cause, "moved aside without a cycle"),
                    Settle::Ack | Settle::Retry { .. } | Settle::Return => {
                        info!(worker, delivery, settle = settle.as_str(), "settled without a cycle");
                    }
                }
            }
            Event::BreakerOpened { worker, failures, probe_in } => {
                warn!(worker = self.name(*worker), failures, ?probe_in, "breaker opened: intake pauses");
            }
            Event::BreakerProbing { worker, cycle } => {
                trace!(worker = self.name(*worker), cycle = cycle.0, "breaker probes");
            }
            Event::BreakerClosed { worker, after } => {
                info!(worker = self.name(*worker), ?after, "breaker closed: work goes on");
            }
            Event::LeaseLost { worker, delivery } => {
                warn!(worker = self.name(*worker), delivery = delivery.0, "lease lost");
            }
            Event::RenewalFailed { worker, cause } => {
                warn!(worker = self.name(*worker), error = %cause.message, "could not renew leases");
            }
            Event::SourceFailed { worker, consecutive, delay, cause } => {
                warn!(worker = self.name(*worker), consecutive, ?delay, error = %cause.message, "could not read the source");
            }
            Event::SourceRecovered { worker, failures } => {
                info!(worker = self.name(*worker), failures, "source recovered");
            }
            Event::WorkerFaulted { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = %cause.message, "worker cannot go on");
            }
            Event::WorkerRestarting { worker, restarts, delay } => {
                warn!(worker = self.name(*worker), restarts, ?delay, "worker will be restarted");
            }
            Event::SignalReceived { signal, next } => {
                let next = match next {
                    NextSignal::Abort => "interrupt what is in flight and return it",
                    NextSignal::Leave => "leave at once, without waiting for anything",
                };
                info!(signal = signal.as_str(), "signal received; the next one will {next}");
            }
            Event::HostStopping { reason, drain: _, within } => {
                let (reason, worker) = match reason {
                    StopReason::Signal(signal) => (signal.as_str(), None),
                    StopReason::Asked => ("asked", None),
                    StopReason::StartFailure(worker) => ("start_failure", Some(self.name(*worker))),
                    StopReason::WorkerFault(worker) => ("worker_fault", Some(self.name(*worker))),
                    StopReason::Completed => ("completed", None),
                    StopReason::Unable => ("unable", None),
                };
                info!(reason, worker, ?within, "host stopping");
            }
            Event::IntakeClosed { worker, drain } => info!(worker = self.name(*worker), ?drain, "intake closed"),
            Event::WorkerCancelled { worker } => {
                warn!(worker = self.name(*worker), "drain timed out: cycles in flight were asked to stop");
            }
            Event::WorkerAborted { worker } => {
                warn!(worker = self.name(*worker), "cycles in flight are dropped and returned");
            }
            Event::WorkerAbandoned { worker, phase } => {
                error!(worker = self.name(*worker), %phase, "worker did not end: the host goes on without it");
            }
            Event::StopHookFailed { worker, cause } => {
                error!(worker = self.name(*worker), kind = %cause.kind, error = %cause.message, "stop hook failed");
            }
            Event::WorkerStopped { worker, phase } => info!(worker = self.name(*worker), %phase, "worker stopped"),
            Event::HostStopped { exit } => info!(%exit, code = exit.code(), "host stopped"),
        }
    }
}
