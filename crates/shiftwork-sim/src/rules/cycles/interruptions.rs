//! What a cycle is said to have ended as that was asked to end before, and how soon one ends that is dropped (T4). What is done
//! about it then follows from that, and is judged with the settlements.

use std::time::Duration;

use shiftwork::{FailureKind, Rule, event::CycleId, queue::DeliveryId};

use super::{Intake, Running, Verdicts, Worker};
use crate::rules::superseded::cancels_previous;

/// How long after it was dropped a cycle may still run: it is at its next turn.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Whether somebody who was asked to end has most likely failed like this because of that.
pub(super) fn comes_of_being_asked(failure: Option<FailureKind>) -> bool {
    matches!(failure, Some(FailureKind::Transient | FailureKind::Timeout))
}

impl Worker {
    /// Every cycle in flight is asked to end, because its worker stops.
    pub(super) fn all_are_asked_to_end(&mut self) {
        self.running.iter_mut().for_each(|running| running.asked_to_end = true);
    }

    /// They are dropped where they stand.
    pub(super) fn all_are_dropped(&mut self, at: Duration) {
        self.all_are_asked_to_end();
        self.dropped_at = Some(at);
    }

    /// Rule T4: a cycle that was dropped with its worker's others ends at once, or would have by now. One whose poll blocks its thread is
    /// late by that, and so is one that shares a thread with it.
    pub(super) fn ends_once_dropped(&self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        let Some(dropped_at) = self.dropped_at else { return };
        let late = verdicts.at.saturating_sub(dropped_at).saturating_sub(verdicts.held_up_since(dropped_at));
        verdicts.demand(
            Rule::T4,
            late <= AT_ONCE,
            || format!("cycle {cycle} of {} ends at once when it is dropped, at {dropped_at:?}", self.declared.name),
            || format!("it ran on for {late:?}"),
        );
    }

    /// The same for those that have not ended when their worker is left behind.
    pub(super) fn left_once_dropped(&self, verdicts: &mut Verdicts<'_>) {
        // What an earlier life has left behind is judged already.
        if let Some(running) = self.running.first().filter(|_| !self.abandoned) {
            self.ends_once_dropped(running.cycle, verdicts);
        }
    }

    /// This one is, because the next tick does not wait for it.
    pub(super) fn is_asked_to_end(&mut self, cycle: CycleId) {
        if let Some(running) = self.running.iter_mut().find(|running| running.cycle == cycle) {
            running.asked_to_end = true;
        }
    }

    /// The one with this delivery is, because its lease is lost.
    pub(super) fn loses_lease(&mut self, delivery: DeliveryId) {
        let mut with_it = self.running.iter_mut().filter(|running| running.delivery == Some(delivery));
        // Of two (rule Q11) it is not known here whose the lost claim is.
        if let (Some(running), None) = (with_it.next(), with_it.next()) {
            running.asked_to_end = true;
        }
    }

    /// Whether nobody has asked a cycle to end that ends now: no stop of its worker, and no pause. Where it may be asked without a word,
    /// somebody may have: for a lease of two (rule Q11), in its batch, for a tick before it had begun, or as its worker was left behind.
    pub(super) fn ends_unasked(&self, running: &Running) -> bool {
        let is_told = self.is_serial() && self.declared.batch.is_none() && !cancels_previous(self.declared.source);
        is_told && !running.asked_to_end && !self.abandoned && self.intake == Intake::Open && !self.held
    }

    /// Rule T4: who was asked to end and then fails is said to have been interrupted. Of a batch that is true of its call: what that
    /// has said of an input stands (Q9).
    pub(super) fn ends_as_asked(&self, running: &Running, failure: Option<FailureKind>, verdicts: &mut Verdicts<'_>) {
        let judged = running.asked_to_end && self.declared.batch.is_none();
        verdicts.demand(
            Rule::T4,
            !(judged && comes_of_being_asked(failure)),
            || format!("a cycle of {} that was asked to end, and fails, was interrupted", self.declared.name),
            || format!("cycle {} is said to have failed by itself: {failure:?}", running.cycle),
        );
    }
}
