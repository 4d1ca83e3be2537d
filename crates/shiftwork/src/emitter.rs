//! Where events go: the log, the metrics, the counts of the report, and whoever listens.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::{
    Environment, FailureKind,
    event::{Declaration, Event, Listener, Settle, WorkerId},
    log::Log,
    report::CycleCounts,
};

/// Tells every listener of every event. Those that are always there are called directly; the others dynamically.
pub(crate) struct Emitter {
    log: Log,
    #[cfg(feature = "metrics")]
    metrics: crate::metrics::Metrics,
    tallies: Box<[Tally]>,
    listeners: Box<[Arc<dyn Listener>]>,
}

impl Emitter {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics ask for the time"))]
    pub(crate) fn new(
        workers: &[Declaration],
        listeners: Vec<Arc<dyn Listener>>,
        environment: &Arc<dyn Environment>,
    ) -> Self {
        Self {
            log: Log::new(workers),
            #[cfg(feature = "metrics")]
            metrics: crate::metrics::Metrics::new(workers, environment.clone()),
            tallies: workers.iter().map(|_| Tally::default()).collect(),
            listeners: listeners.into(),
        }
    }

    #[inline]
    pub(crate) fn emit(&self, at: Instant, event: &Event) {
        self.count(event);
        #[cfg(feature = "metrics")]
        self.metrics.on(event);
        self.log.on(at, event);
        for listener in &self.listeners {
            listener.on(at, event);
        }
    }

    /// Whether somebody keeps metrics, for what is asked for them alone.
    pub(crate) fn keeps_metrics(&self) -> bool {
        #[cfg(feature = "metrics")]
        return self.metrics.is_recorded();
        #[cfg(not(feature = "metrics"))]
        false
    }

    pub(crate) fn counts(&self, worker: WorkerId) -> CycleCounts {
        self.tallies[worker.index()].counts()
    }

    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the events of cycles are counted")]
    fn count(&self, event: &Event) {
        match event {
            Event::CycleStarted { worker, .. } => add(&self.tallies[worker.index()].started),
            Event::CycleEnded { worker, failure, .. } => {
                let tally = &self.tallies[worker.index()];
                add(match failure.as_ref().map(|cause| cause.kind) {
                    None => &tally.succeeded,
                    Some(FailureKind::Interrupted) => &tally.interrupted,
                    Some(FailureKind::Snoozed) => &tally.snoozed,
                    Some(FailureKind::Discarded) => &tally.discarded,
                    Some(
                        FailureKind::Transient
                        | FailureKind::Invalid
                        | FailureKind::Fatal
                        | FailureKind::Panic
                        | FailureKind::Timeout,
                    ) => &tally.failed,
                });
            }
            Event::Settled { worker, settle, .. } | Event::SettledUnrun { worker, settle, .. } => match settle {
                Settle::Retry { .. } => add(&self.tallies[worker.index()].retried),
                Settle::DeadLetter { .. } => add(&self.tallies[worker.index()].dead_lettered),
                Settle::Ack | Settle::Return | Settle::Snooze { .. } | Settle::Discard => {}
            },
            Event::SettleFailed { worker, .. } => add(&self.tallies[worker.index()].unsettled),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    interrupted: AtomicU64,
    snoozed: AtomicU64,
    discarded: AtomicU64,
    retried: AtomicU64,
    dead_lettered: AtomicU64,
    unsettled: AtomicU64,
}

impl Tally {
    fn counts(&self) -> CycleCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CycleCounts {
            started: get(&self.started),
            succeeded: get(&self.succeeded),
            failed: get(&self.failed),
            interrupted: get(&self.interrupted),
            snoozed: get(&self.snoozed),
            discarded: get(&self.discarded),
            retried: get(&self.retried),
            dead_lettered: get(&self.dead_lettered),
            unsettled: get(&self.unsettled),
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
