//! What became of a worker's cycles, in numbers, as its report has them.
//!
//! Each lane counts its own: it alone writes its tally, so that a count is a load and a store, not an atomic addition. Others
//! read them at any time. A restarted worker goes on with the tallies that no lane has any more.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    FailureKind,
    event::{Event, Settle},
    report::CycleCounts,
};

/// The tallies of one worker.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<Vec<Arc<Tally>>>);

/// The counts of one lane, in a cache line that no other lane writes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Tally {
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

impl Tallies {
    /// One for each lane of a life that begins.
    pub(crate) fn take(&self, lanes: usize) -> Vec<Arc<Tally>> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asking for it alone, and not for the count of references, makes what its last lane has written visible.
        let free = tallies.iter_mut().filter_map(|tally| Arc::get_mut(tally).is_some().then(|| tally.clone()));
        let mut taken: Vec<_> = free.take(lanes).collect();
        while taken.len() < lanes {
            let tally = Arc::<Tally>::default();
            tallies.push(tally.clone());
            taken.push(tally);
        }
        taken
    }

    /// All of them together.
    pub(crate) fn counts(&self) -> CycleCounts {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&Tally) -> &AtomicU64| tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum();
        CycleCounts {
            started: sum(|tally| &tally.started),
            succeeded: sum(|tally| &tally.succeeded),
            failed: sum(|tally| &tally.failed),
            interrupted: sum(|tally| &tally.interrupted),
            snoozed: sum(|tally| &tally.snoozed),
            discarded: sum(|tally| &tally.discarded),
            retried: sum(|tally| &tally.retried),
            dead_lettered: sum(|tally| &tally.dead_lettered),
            unsettled: sum(|tally| &tally.unsettled),
        }
    }
}

impl Tally {
    /// A cycle of the lane has begun.
    #[inline]
    pub(crate) fn cycle_started(&self) {
        add_one(&self.started);
    }

    /// A cycle of the lane has succeeded.
    #[inline]
    pub(crate) fn cycle_succeeded(&self) {
        add_one(&self.succeeded);
    }

    /// Counts what the tally's lane says. Only that lane may.
    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the events of cycles are counted")]
    pub(crate) fn count(&self, event: &Event) {
        let count = match event {
            Event::CycleStarted { .. } => &self.started,
            Event::CycleEnded { failure, .. } => match failure.as_ref().map(|cause| cause.kind) {
                None => &self.succeeded,
                Some(FailureKind::Interrupted) => &self.interrupted,
                Some(FailureKind::Snoozed) => &self.snoozed,
                Some(FailureKind::Discarded) => &self.discarded,
                Some(
                    FailureKind::Transient
                    | FailureKind::Invalid
                    | FailureKind::Fatal
                    | FailureKind::Panic
                    | FailureKind::Timeout,
                ) => &self.failed,
            },
            Event::Settled { settle, .. } | Event::SettledUnrun { settle, .. } => match settle {
                Settle::Retry { .. } => &self.retried,
                Settle::DeadLetter { .. } => &self.dead_lettered,
                Settle::Ack | Settle::Return | Settle::Snooze { .. } | Settle::Discard => return,
            },
            Event::SettleFailed { .. } => &self.unsettled,
            _ => return,
        };
        add_one(count);
    }
}

/// Of a count that one lane alone writes.
#[inline]
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CycleId, WorkerId};

    fn started() -> Event {
        Event::CycleStarted { worker: WorkerId(0), cycle: CycleId(1), attempt: 1, delivery: None }
    }

    #[test]
    fn lanes_that_live_together_have_a_tally_each() {
        let tallies = Tallies::default();
        let taken = tallies.take(2);
        let [one, other] = &taken[..] else { panic!("as many as were asked for") };
        one.count(&started());
        other.count(&started());
        assert_eq!(one.started.load(Ordering::Relaxed), 1);
        assert_eq!(tallies.counts().started, 2);
    }

    #[test]
    fn a_lane_that_begins_anew_goes_on_counting_where_an_ended_one_stopped() {
        let tallies = Tallies::default();
        tallies.take(1)[0].count(&started());
        tallies.take(1)[0].count(&started());
        assert_eq!(tallies.counts().started, 2);
        assert_eq!(tallies.0.lock().unwrap().len(), 1);
    }
}
