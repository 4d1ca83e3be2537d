//! What follows from how a cycle ended (C2 to C4, C7, C10, B1, B2, Q1 and T4).

use std::time::Duration;

use shiftwork::{
    Cause, FailureKind, Rule,
    event::{CycleId, Settle, SourceKind},
    queue::{DeadLetterCause, DeliveryId},
};

use super::{Verdicts, Worker};
use crate::rules::superseded::cancels_previous;

/// How many failed probes in a row are not counted as attempts at their deliveries (rule B1).
const PROBES_SPARED: u32 = 4;

pub(super) struct Ended {
    pub(super) at: Duration,
    /// How far the wall clock has stepped forward since: the time of a retry was worked out by the clock before.
    pub(super) stepped_forward: Duration,
    pub(super) task: u32,
    /// A probe of the breaker, with a delivery.
    pub(super) probe: bool,
    /// What follows if it failed: it is not counted as an attempt.
    pub(super) spared: bool,
    pub(super) cycle: CycleId,
    pub(super) attempt: u32,
    /// What it failed with, if it did.
    pub(super) cause: Option<Cause>,
    /// Nobody had asked it to end, as far as is known.
    pub(super) unasked: bool,
}

impl Ended {
    fn failure(&self) -> Option<FailureKind> {
        self.cause.as_ref().map(|cause| cause.kind)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) attempt: u32,
    pub(super) not_before: Duration,
}

impl Worker {
    pub(super) fn settled(
        &mut self,
        cycle: CycleId,
        delivery: Option<DeliveryId>,
        settle: Settle,
        verdicts: &mut Verdicts<'_>,
    ) {
        let name = &self.declared.name;
        let Some(index) = self.unsettled.iter().position(|ended| ended.cycle == cycle) else {
            verdicts.demand(
                Rule::Q1,
                false,
                || format!("a cycle of {name} is settled after it has ended"),
                || format!("cycle {cycle} was settled ({}) before", settle.as_str()),
            );
            return;
        };
        let ended = self.unsettled.swap_remove(index);
        self.idle_since = verdicts.at;
        if matches!(settle, Settle::Snooze { .. }) {
            self.put_off.insert(ended.task);
        } else {
            self.put_off.remove(&ended.task);
        }
        let (rule, follows) = self.follows(&ended, settle);
        verdicts.demand(
            rule,
            follows,
            || format!("what is done about cycle {cycle} of {name} follows from how it ended"),
            || {
                let how = ended.failure().map_or_else(|| "succeeded".to_owned(), |kind| format!("failed: {kind}"));
                format!("attempt {} {how}, and was settled: {}", ended.attempt, settle.as_str())
            },
        );
        let at = verdicts.at;
        let next = match settle {
            Settle::Retry { delay } => {
                self.retries_within_budget(ended.at.saturating_add(delay), verdicts);
                let (low, high) = self.declared.retry.bounds(ended.attempt);
                verdicts.demand(
                    Rule::C3,
                    delay >= low,
                    || format!("{} waits at least {low:?} after attempt {}", self.declared.name, ended.attempt),
                    || format!("it waits {delay:?}"),
                );
                // Nobody else knows what the failure asked for, but it is granted no more than this. A budget may add to it.
                let asked = self.declared.retry.asked().filter(|_| self.declared.retry_budget.is_none());
                let longest = asked.map_or(Duration::MAX, |asked| asked.max(high));
                verdicts.demand(
                    Rule::C3,
                    delay <= longest,
                    || format!("{} waits at most {longest:?} after attempt {}", self.declared.name, ended.attempt),
                    || format!("it waits {delay:?}"),
                );
                // From the end of the cycle: a store that needed several tries does not add to the delay.
                Next { attempt: ended.attempt + 1, not_before: ended.at.saturating_add(delay) }
            }
            Settle::DeadLetter { cause: _, pause } => {
                self.owes_escalation(&ended, settle);
                let pause = if self.declared.source == SourceKind::Continuous { pause } else { Duration::ZERO };
                Next { attempt: 1, not_before: at.saturating_add(pause) }
            }
            // Once more, not before its time.
            Settle::Snooze { delay } => Next { attempt: ended.attempt, not_before: ended.at.saturating_add(delay) },
            // The same input is next, and has lost no attempt.
            Settle::Return if self.declared.source == SourceKind::Continuous => {
                Next { attempt: ended.attempt, not_before: at }
            }
            Settle::Ack | Settle::Return | Settle::Discard => Next { attempt: 1, not_before: at },
        };
        match delivery {
            Some(delivery) if matches!(settle, Settle::Retry { .. } | Settle::Snooze { .. }) => {
                self.not_before.insert(delivery, next.not_before.saturating_sub(ended.stepped_forward));
            }
            Some(_) => {}
            None => self.next = next,
        }
        if cancels_previous(self.declared.source) || !matches!(settle, Settle::Retry { .. } | Settle::Snooze { .. }) {
            self.schedule.settled_at = Some(at);
        }
    }

    /// What was to be done about a cycle, or about a delivery that none ran for, could not be stored.
    pub(super) fn not_settled(&mut self, cycle: Option<CycleId>, settle: Settle) {
        match self.unsettled.iter().position(|ended| Some(ended.cycle) == cycle) {
            Some(index) => {
                let ended = self.unsettled.swap_remove(index);
                self.owes_escalation(&ended, settle);
            }
            None => self.owes_escalation_unrun(cycle, settle),
        }
    }

    /// Rule B1: whether a probe that ended so spends no attempt. Each fifth that fails in a row does.
    pub(super) fn spares(&mut self, failure: Option<FailureKind>) -> bool {
        if !matches!(failure, Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)) {
            return false;
        }
        let spares = self.spared < PROBES_SPARED;
        self.spared = if spares { self.spared + 1 } else { 0 };
        spares
    }

    /// Rule B2: as many retries are due by then as time and successes allow.
    fn retries_within_budget(&mut self, due: Duration, verdicts: &mut Verdicts<'_>) {
        let Some(budget) = self.declared.retry_budget else { return };
        self.retries_due.push(due);
        let so_far = self.retries_due.iter().filter(|other| **other <= due).count() as u64;
        let at_most = budget.at_most(due.saturating_sub(self.opened_at), self.succeeded);
        verdicts.demand(
            Rule::B2,
            so_far <= at_most,
            || format!("at most {at_most} retries of {} are due by {due:?}", self.declared.name),
            || format!("there are {so_far}"),
        );
    }

    /// Which rule says what follows from a cycle's end, and whether it was kept.
    fn follows(&self, ended: &Ended, settle: Settle) -> (Rule, bool) {
        let last = ended.attempt >= self.declared.retry.attempts();
        let again = match settle {
            Settle::Retry { delay } | Settle::DeadLetter { pause: delay, .. } => delay,
            Settle::Ack | Settle::Return | Settle::Snooze { .. } | Settle::Discard => Duration::ZERO,
        };
        // How long a delivery is known is its queue's to say; for the others the first attempt was seen. What a budget adds
        // to a delay does not count.
        let known = self.is_serial() && self.declared.retry_budget.is_none();
        let over = known.then(|| {
            !self.declared.retry.allows_after(ended.at.saturating_sub(self.first_began).saturating_add(again))
        });
        let exhausted = matches!(settle, Settle::DeadLetter { cause: DeadLetterCause::Exhausted, .. });
        match ended.failure() {
            None => (Rule::Q1, settle == Settle::Ack),
            Some(FailureKind::Interrupted) => {
                (Rule::T4, matches!(settle, Settle::Snooze { .. }) || (settle == Settle::Return && !ended.unasked))
            }
            Some(FailureKind::Snoozed) => (Rule::C10, matches!(settle, Settle::Snooze { .. })),
            Some(FailureKind::Discarded) => (Rule::C10, settle == Settle::Discard),
            Some(FailureKind::Invalid) => {
                (Rule::C4, matches!(settle, Settle::DeadLetter { cause: DeadLetterCause::Invalid, .. }))
            }
            // Which inputs of a batch its probe spares, is its own affair.
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)
                if ended.probe && self.declared.batch.is_some() && matches!(settle, Settle::Snooze { .. }) =>
            {
                (Rule::B1, true)
            }
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout)
                if ended.probe
                    && self.declared.batch.is_none()
                    && ended.spared != matches!(settle, Settle::Snooze { .. }) =>
            {
                (Rule::B1, false)
            }
            Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout) if ended.spared => {
                (Rule::B1, true)
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout) if last => {
                (Rule::C7, exhausted)
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout)
                if self.declared.retry.total().is_some() =>
            {
                let over = over.unwrap_or(exhausted);
                (Rule::C2, if over { exhausted } else { matches!(settle, Settle::Retry { .. }) })
            }
            Some(FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout) => {
                (Rule::C2, matches!(settle, Settle::Retry { .. }))
            }
        }
    }
}
