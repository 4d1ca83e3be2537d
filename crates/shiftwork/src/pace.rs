//! How the lanes of a worker share its rate limit.
//!
//! [`crate::lifecycle::rate_limit`] decides; this file keeps its state for the lanes and does the waiting.

use std::sync::{Mutex, PoisonError};

use tokio::{sync::Notify, time::Instant};

use crate::{
    event::SourceKind,
    lifecycle::rate_limit::{Asking, Meter, RateLimit},
    source::LaneContext,
};

/// One worker's rate limit.
pub(crate) struct Pace {
    meter: Mutex<Meter>,
    bell: Notify,
    /// Whether a lane needs a place before it asks its source. What a queue offers is leased and must not wait. Another source
    /// waits in each lane for itself, for a retry for instance, and would keep the place from those that have something to do.
    before_offer: bool,
}

impl Pace {
    pub(crate) fn new(limit: RateLimit, source: SourceKind) -> Self {
        let before_offer = match source {
            SourceKind::Queue | SourceKind::Other => true,
            SourceKind::Continuous
            | SourceKind::FixedRate { .. }
            | SourceKind::FixedDelay { .. }
            | SourceKind::Cron { .. }
            | SourceKind::Once { .. }
            | SourceKind::Service { .. } => false,
        };
        Self { meter: Mutex::new(Meter::new(limit)), bell: Notify::new(), before_offer }
    }

    /// Waits for a place before the source is asked, where that is the time for it. Whether the lane may ask.
    pub(crate) async fn before_offer(&self, cx: &LaneContext) -> bool {
        !self.before_offer || self.place(cx).await
    }

    /// Nothing came of asking.
    pub(crate) fn no_offer(&self) {
        if self.before_offer {
            self.give_up();
        }
    }

    /// Waits for a place once there is an offer, where that is the time for it. Whether its cycle may begin.
    pub(crate) async fn after_offer(&self, cx: &LaneContext) -> bool {
        self.before_offer || self.place(cx).await
    }

    /// The cycle of a lane that has a place begins.
    pub(crate) fn begin(&self) {
        self.change(|meter| meter.begin(Instant::now()));
    }

    /// It does not begin.
    pub(crate) fn give_up(&self) {
        self.change(Meter::give_up);
    }

    /// A life of the worker begins: the lanes of the one before have no places any more.
    pub(crate) fn begin_life(&self) {
        self.change(Meter::begin_life);
    }

    /// Waits for a place. `false` once intake has closed.
    async fn place(&self, cx: &LaneContext) -> bool {
        loop {
            if cx.is_closed() {
                return false;
            }
            // Made before the question, so that no change is missed.
            let changed = self.bell.notified();
            let asking = self.meter.lock().unwrap_or_else(PoisonError::into_inner).ask(Instant::now());
            match asking {
                Asking::Go => return true,
                Asking::Until(time) => tokio::select! {
                    biased;
                    () = cx.closed() => {}
                    () = changed => {}
                    () = tokio::time::sleep_until(time) => {}
                },
                Asking::Wait => tokio::select! {
                    biased;
                    () = cx.closed() => {}
                    () = changed => {}
                },
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Meter)) {
        change(&mut self.meter.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_waiters();
    }
}
