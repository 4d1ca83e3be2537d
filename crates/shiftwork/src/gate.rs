//! How the lanes of a worker share its breaker.
//!
//! [`crate::lifecycle::breaker`] decides; this file keeps its state for the lanes and does the waiting. A cycle that succeeds
//! while nothing is on record reads one word before it starts and once more after: the lock is for trouble.
//! Where lanes run on several threads, one that looked a moment before may start its cycle a moment after the breaker
//! opened, as with intake.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    event::SourceKind,
    lifecycle::breaker::{Admission, Asking, Breaker, Change, Consequence, Ended, Entry, Machine},
    source::LaneContext,
};

/// One worker's breaker.
pub(crate) struct Gate {
    /// How often the breaker has opened, and in [`TROUBLE`] whether there is anything on record: one word, so that a lane that
    /// finds no trouble has the count that goes with it. Written under the lock only.
    record: AtomicU64,
    machine: Mutex<Machine>,
    bell: Notify,
    /// Whether one lane asks its source for the probe while the others wait. What a queue offers is leased, so that no more than one
    /// should be. In another source each lane waits for its own, which may be long: there whoever has an offer first probes.
    one_asks: bool,
}

/// The lowest bit of [`Gate::record`].
const TROUBLE: u64 = 1;

impl Gate {
    pub(crate) fn new(breaker: Breaker, source: SourceKind) -> Self {
        Self {
            one_asks: source == SourceKind::Queue,
            record: AtomicU64::new(0),
            machine: Mutex::new(Machine::new(breaker, Instant::now())),
            bell: Notify::new(),
        }
    }

    /// Whether a lane need not look closer.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.record.load(Ordering::Relaxed) & TROUBLE == 0
    }

    /// Waits until the lane may ask its source, or until intake closes. Whether it asks for the probe: then
    /// [`Gate::give_up`] if nothing comes of it.
    pub(crate) async fn pass(&self, cx: &LaneContext) -> bool {
        loop {
            // Made before the question, so that no change is missed.
            let changed = self.bell.notified();
            let asking = self.change(|machine| machine.ask(Instant::now(), self.one_asks));
            match asking {
                Asking::Go => return false,
                Asking::ForProbe => return true,
                Asking::Until(time) => tokio::select! {
                    biased;
                    () = cx.closed() => return false,
                    () = changed => {}
                    () = tokio::time::sleep_until(time) => {}
                },
                Asking::Wait => tokio::select! {
                    biased;
                    () = cx.closed() => return false,
                    () = changed => {}
                },
            }
        }
    }

    /// Whether a lane that has passed must not ask its queue after all: the breaker has opened while it waited for something else.
    pub(crate) fn has_shut(&self) -> bool {
        self.one_asks && !self.is_quiet() && self.change(|machine| machine.is_open())
    }

    pub(crate) fn give_up(&self) {
        if self.change(|machine| machine.give_up(Instant::now())) {
            self.bell.notify_waiters();
        }
    }

    #[inline]
    pub(crate) fn admit(&self) -> Admission {
        let record = self.record.load(Ordering::Relaxed);
        if record & TROUBLE == 0 {
            return Admission::Run(Entry::Plain { openings: record >> 1 });
        }
        self.change(|machine| machine.admit(Instant::now()))
    }

    pub(crate) fn ended(&self, ended: Ended, now: Instant, chance: f64) -> Consequence {
        let consequence = self.change(|machine| machine.ended(ended, now, chance));
        match consequence.change {
            None => {}
            Some(Change::Opened { .. } | Change::Undecided | Change::Closed { .. }) => self.bell.notify_waiters(),
        }
        consequence
    }

    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine: MutexGuard<'_, Machine> = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut machine);
        let trouble = if machine.is_quiet() { 0 } else { TROUBLE };
        self.record.store((machine.openings() << 1) | trouble, Ordering::Relaxed);
        result
    }
}
