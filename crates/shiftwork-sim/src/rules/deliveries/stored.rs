//! What is said to be settled is stored so (Q1).
//!
//! The store does it before its worker hears of it, and by then somebody else may have claimed the delivery again. So what was stored is
//! counted for each delivery by how it was, and taken away as it is said. What is never said stays: its reply was lost, its process
//! died, or it was no host that settled it. It hides one mistake at most, and makes none up.

use shiftwork::{Rule, event::Settle, queue::DeliveryId};

use super::{DeliveryRules, Verdicts};
use crate::record::Settled;

/// How often a delivery was settled without that being said, by how it was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unsaid([u32; 4]);

impl Unsaid {
    pub(super) fn is_stored(&mut self, how: Settled) {
        let unsaid = self.of(how);
        *unsaid = unsaid.saturating_add(1);
    }

    /// It is said. Whether it was stored.
    fn is_said(&mut self, how: Settled) -> bool {
        let unsaid = self.of(how);
        let stored = *unsaid > 0;
        *unsaid = unsaid.saturating_sub(1);
        stored
    }

    fn of(&mut self, how: Settled) -> &mut u32 {
        let Self([acked, retried, dead, returned]) = self;
        match how {
            Settled::Acked => acked,
            Settled::Retried => retried,
            Settled::DeadLettered => dead,
            Settled::Returned => returned,
        }
    }
}

/// What a queue does about a delivery that is settled like this.
fn stored_as(settle: Settle) -> Settled {
    match settle {
        Settle::Ack | Settle::Discard => Settled::Acked,
        Settle::Retry { .. } => Settled::Retried,
        Settle::DeadLetter { .. } => Settled::DeadLettered,
        Settle::Return | Settle::Snooze { .. } => Settled::Returned,
    }
}

impl DeliveryRules {
    /// Rule Q1: a settlement is said once its queue has stored it, and as what. The worker that says it claims from the world's queues.
    pub(super) fn said(&mut self, delivery: DeliveryId, settle: Settle, verdicts: &mut Verdicts<'_>) {
        let Some(tracked) = self.deliveries.get_mut(&delivery).filter(|tracked| tracked.claim.token > 0) else {
            return;
        };
        verdicts.demand(
            Rule::Q1,
            tracked.unsaid.is_said(stored_as(settle)),
            || format!("what is said to be done about delivery {delivery} is stored"),
            || format!("it is said to be settled ({}), and was not", settle.as_str()),
        );
    }
}
