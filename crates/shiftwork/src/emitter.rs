//! Where events go: the log, the metrics, and whoever listens.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    Environment,
    event::{Declaration, Event, Listener, WorkerId},
    log::Log,
    report::CycleCounts,
    tally::{Tallies, Tally},
};

/// Tells every listener of every event. Those that are always there are called directly; the others dynamically.
pub(crate) struct Emitter {
    log: Log,
    #[cfg(feature = "metrics")]
    metrics: crate::metrics::Metrics,
    tallies: Box<[Tallies]>,
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
            tallies: workers.iter().map(|_| Tallies::default()).collect(),
            listeners: listeners.into(),
        }
    }

    #[inline]
    pub(crate) fn emit(&self, at: Instant, event: &Event) {
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

    /// The tally of a lane of this worker that begins. Whoever emits its events counts them there.
    pub(crate) fn tally(&self, worker: WorkerId) -> Arc<Tally> {
        self.tallies[worker.index()].take()
    }

    pub(crate) fn counts(&self, worker: WorkerId) -> CycleCounts {
        self.tallies[worker.index()].counts()
    }
}
