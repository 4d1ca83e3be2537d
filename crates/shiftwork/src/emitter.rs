//! Where events go: the log, the metrics, and whoever listens.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    Cause, Environment,
    event::{Declaration, Event, Listener, WorkerId},
    log::{Callback, Log},
    panics,
    report::CycleCounts,
    tally::{Tallies, Tally},
};

/// Tells every listener of every event. Those that are always there are called directly; the others dynamically.
pub(crate) struct Emitter {
    log: Log,
    #[cfg(feature = "metrics")]
    metrics: crate::metrics::Metrics,
    tallies: Box<[Tallies]>,
    listeners: Box<[Ear]>,
    /// Whether somebody hears everything: a listener, or whoever keeps metrics.
    is_heard: bool,
}

/// A listener, until it panics.
struct Ear {
    listener: Arc<dyn Listener>,
    deaf: AtomicBool,
}

impl Ear {
    /// A panic of a listener is not one of the code that has something to say.
    fn hear(&self, at: Instant, event: &Event) {
        if self.deaf.load(Ordering::Relaxed) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.listener.on(at, event))) {
            self.deaf.store(true, Ordering::Relaxed);
            let error = panics::said(panic);
            tracing::error!(event = event.name(), error, "a listener panicked, and is told no more");
        }
    }
}

impl Emitter {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics ask for the time"))]
    pub(crate) fn new(
        workers: &[Declaration],
        listeners: Vec<Arc<dyn Listener>>,
        environment: &Arc<dyn Environment>,
    ) -> Self {
        let mut emitter = Self {
            log: Log::new(workers),
            #[cfg(feature = "metrics")]
            metrics: crate::metrics::Metrics::new(workers, environment.clone()),
            tallies: workers.iter().map(|_| Tallies::default()).collect(),
            listeners: listeners.into_iter().map(|listener| Ear { listener, deaf: AtomicBool::new(false) }).collect(),
            is_heard: false,
        };
        emitter.is_heard = !emitter.listeners.is_empty() || emitter.keeps_metrics();
        emitter
    }

    /// Whether anybody hears that a cycle of this worker began, succeeded or was acknowledged. Where nobody does, whoever
    /// says it counts it, and puts it into no words.
    #[inline]
    pub(crate) fn hears_success(&self, worker: WorkerId) -> bool {
        self.is_heard || self.log.hears_success(worker)
    }

    #[inline]
    pub(crate) fn emit(&self, at: Instant, event: &Event) {
        #[cfg(feature = "metrics")]
        self.metrics.on(event);
        self.log.on(at, event);
        for ear in &self.listeners {
            ear.hear(at, event);
        }
    }

    /// What is said next is late: its worker was left behind, and counted out.
    #[cold]
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "only metrics keep count")
    )]
    pub(crate) fn emit_late(&self, event: &Event) {
        #[cfg(feature = "metrics")]
        self.metrics.on_late(event);
    }

    /// A failure of a worker's source that is no event, since most of a row are not.
    #[cold]
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "only metrics keep count")
    )]
    pub(crate) fn source_failed_unsaid(&self, worker: WorkerId, consecutive: u32) {
        #[cfg(feature = "metrics")]
        self.metrics.source_failed(worker, consecutive);
    }

    /// A delivery was taken in hand, and had been due for so long.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "only metrics keep how long deliveries wait")
    )]
    pub(crate) fn delivery_waited(&self, worker: WorkerId, wait: Duration) {
        #[cfg(feature = "metrics")]
        self.metrics.delivery_waited(worker, wait);
    }

    /// The program's own code panicked where a lane has called it beside a cycle.
    #[cold]
    pub(crate) fn callback_panicked(&self, worker: WorkerId, callback: Callback, cause: &Cause) {
        self.log.callback_panicked(Instant::now(), worker, callback, cause);
    }

    /// Whether somebody keeps metrics, for what is asked for them alone.
    #[inline]
    pub(crate) fn keeps_metrics(&self) -> bool {
        #[cfg(feature = "metrics")]
        return self.metrics.is_recorded();
        #[cfg(not(feature = "metrics"))]
        false
    }

    /// The tallies of a life of this worker, one for each of so many lanes. Whoever emits a lane's events counts them there.
    pub(crate) fn tallies(&self, worker: WorkerId, lanes: usize) -> Vec<Arc<Tally>> {
        self.tallies[worker.index()].take(lanes)
    }

    pub(crate) fn counts(&self, worker: WorkerId) -> CycleCounts {
        self.tallies[worker.index()].counts()
    }
}
