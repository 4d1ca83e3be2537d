//! What is given up is told to a person: once, and as what it is (C7).

use std::ops::RangeInclusive;

use shiftwork::{
    Cause, Rule,
    event::{CycleId, Settle},
    queue::DeadLetterCause,
};

use super::{Verdicts, Worker, settlements::Ended};

/// An input that is given up, until that is said. Few are, and most of them are told of at once.
pub(super) struct GivenUp {
    /// The last cycle with it; `None` if it was moved aside without one.
    cycle: Option<CycleId>,
    /// How many attempts have failed.
    attempts: RangeInclusive<u32>,
    /// What the last one failed with, if there was one.
    cause: Option<Cause>,
}

/// Why an input is given up that was settled like this, if a person is to be told of it.
fn given_up(settle: Settle) -> Option<DeadLetterCause> {
    match settle {
        Settle::DeadLetter { cause: cause @ (DeadLetterCause::Exhausted | DeadLetterCause::CrashLoop), .. } => {
            Some(cause)
        }
        Settle::DeadLetter { cause: DeadLetterCause::Invalid | DeadLetterCause::Undecodable, .. }
        | Settle::Ack
        | Settle::Retry { .. }
        | Settle::Return
        | Settle::Snooze { .. }
        | Settle::Discard => None,
    }
}

impl Worker {
    /// A cycle was settled so, or should have been: whether the store did it after all, nobody knows.
    pub(super) fn owes_escalation(&mut self, ended: &Ended, settle: Settle) {
        if given_up(settle).is_some() {
            let (cycle, attempts) = (Some(ended.cycle), ended.attempt..=ended.attempt);
            self.given_up.push(GivenUp { cycle, attempts, cause: ended.cause.clone() });
        }
    }

    /// The same where nothing is known of a cycle; for a delivery there was none, and its queue knows which attempt it would have been.
    pub(super) fn owes_escalation_unrun(&mut self, cycle: Option<CycleId>, settle: Settle) {
        let least = match given_up(settle) {
            None => return,
            Some(DeadLetterCause::Exhausted) => self.declared.retry.attempts(),
            Some(DeadLetterCause::CrashLoop | DeadLetterCause::Invalid | DeadLetterCause::Undecodable) => 0,
        };
        self.given_up.push(GivenUp { cycle, attempts: least..=u32::MAX, cause: None });
    }

    /// Rule C7: what is escalated was given up, and is told of as what it is.
    pub(super) fn escalated(
        &mut self,
        cycle: Option<CycleId>,
        attempts: u32,
        cause: &Cause,
        verdicts: &mut Verdicts<'_>,
    ) {
        let name = &self.declared.name;
        let of_cycle = |it: &GivenUp| it.cycle == cycle;
        let fits = |it: &GivenUp| of_cycle(it) && it.attempts.contains(&attempts);
        // Several that no cycle ran for may be under way.
        let index = self.given_up.iter().position(fits).or_else(|| self.given_up.iter().position(of_cycle));
        let Some(index) = index else {
            verdicts.demand(
                Rule::C7,
                false,
                || format!("an input of {name} is escalated when it is given up, and once"),
                || match cycle {
                    Some(cycle) => format!("that of cycle {cycle} was not, or is escalated again"),
                    None => "one that no cycle ran for was not, or is escalated again".to_owned(),
                },
            );
            return;
        };
        let GivenUp { cycle: _, attempts: expected, cause: said } = self.given_up.swap_remove(index);
        verdicts.demand(
            Rule::C7,
            expected.contains(&attempts),
            || format!("{name} escalates an input with its attempts, of which there were {expected:?}"),
            || format!("it says {attempts}"),
        );
        verdicts.demand(
            Rule::C7,
            said.as_ref().is_none_or(|said| said == cause),
            || format!("{name} escalates an input with what its last attempt failed with: {said:?}"),
            || format!("it says {cause:?}"),
        );
    }
}
