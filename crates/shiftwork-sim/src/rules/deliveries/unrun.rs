//! What becomes of a delivery that no cycle runs for (Q1, Q5, C4 and C7). That it is escalated when it is given up is judged with the
//! cycles.

use shiftwork::{
    Rule,
    event::{Settle, WorkerId},
    queue::{DeadLetterCause, DeliveryId},
};

use super::{DeliveryRules, Limits, Verdicts};
use crate::record::{NodeId, Settled};

/// Rules Q1 and C4: it is given back, or moved aside, and what no cycle has said is not said of it. Whatever store it is in.
pub(super) fn is_put_back_or_aside(delivery: DeliveryId, settle: Settle, verdicts: &mut Verdicts<'_>) {
    verdicts.demand(
        Rule::Q1,
        match settle {
            Settle::Return | Settle::DeadLetter { .. } => true,
            Settle::Ack | Settle::Retry { .. } | Settle::Snooze { .. } | Settle::Discard => false,
        },
        || format!("delivery {delivery}, for which no cycle has run, is returned or moved aside"),
        || format!("it was settled: {}", settle.as_str()),
    );
    verdicts.demand(
        Rule::C4,
        !matches!(settle, Settle::DeadLetter { cause: DeadLetterCause::Invalid, .. }),
        || format!("that delivery {delivery} is bad input, a cycle has said"),
        || "none has run".to_owned(),
    );
}

impl DeliveryRules {
    /// Rules Q5 and C7: if it is moved aside, that is for what its claim says of it.
    pub(super) fn moved_aside_unrun(
        &self,
        (node, worker): (NodeId, WorkerId),
        delivery: DeliveryId,
        settle: Settle,
        verdicts: &mut Verdicts<'_>,
    ) {
        let Settle::DeadLetter { cause, pause: _ } = settle else { return };
        // What is dead is not claimed again, so that the last claim is the one that was settled. If it was put back meanwhile,
        // nothing is known of it.
        let claim = self.deliveries.get(&delivery).map(|tracked| &tracked.claim);
        let claim = claim.filter(|claim| claim.settled == Some((node, Settled::DeadLettered)));
        let (Some(claim), Some(limits)) = (claim, self.limits(node, worker)) else { return };
        let Limits { attempts_max, crashes_max } = limits;
        let is_crash_loop = claim.crashes >= crashes_max;
        verdicts.demand(
            Rule::Q5,
            // What cannot be decoded is that, whatever else it is, and nobody here has seen it.
            cause == DeadLetterCause::Undecodable || (cause == DeadLetterCause::CrashLoop) == is_crash_loop,
            || format!("delivery {delivery} is a crash loop from {crashes_max} lapsed leases on"),
            || format!("after {} it was moved aside: {cause}", claim.crashes),
        );
        verdicts.demand(
            Rule::C7,
            cause != DeadLetterCause::Exhausted || claim.attempt > attempts_max,
            || format!("delivery {delivery} is exhausted when more than {attempts_max} attempts would have to be made"),
            || format!("it was when attempt {} was to begin", claim.attempt),
        );
    }
}
