//! What a worker does when it claims a delivery that one of its own lanes still works on.
//!
//! It happens when a lease has lapsed and nobody else was there to take the delivery: the process stood still, the wall clock
//! stepped over the lease, renewals failed for too long, or the store forgot the lease. The cycle under the older claim is lost already, and would learn of
//! it with the next renewal, a third of a lease later; until then two cycles would be at work on one delivery. Here the worker
//! knows at once. Rule Q11 of `docs/lifecycle.md`.
//!
//! The older cycle does not go on under the newer claim: its user has been told the older token, and whatever checks tokens
//! would refuse it once the newer one was seen.

use std::{sync::Arc, time::Duration};

use shiftwork_queue::{Lease, Queue};
use tokio::time::Instant;

use super::{RENEWALS, Shared, lease::Held, lease::Slot, same_claim};
use crate::{
    event::Event,
    source::{self, LaneContext},
};

/// How often the older cycle is looked at. It ends at its next turn, which is at once unless it blocks its thread.
const LOOK: Duration = Duration::from_millis(1);

/// Whether there may be an older claim: tokens grow from 1, whether a queue counts them for each delivery or for all.
pub(super) fn was_claimed_before(lease: Lease) -> bool {
    lease.token.0 > 1
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    /// Interrupts the cycle of this worker that still works on the delivery under an older claim, and waits until it has ended;
    /// no longer than a third of the lease, since one that blocks its thread cannot be ended. `false` if intake closed
    /// meanwhile.
    pub(super) async fn take_from_own(&self, lease: Lease, cx: &LaneContext) -> bool {
        let slots: Vec<Arc<Slot>> = self.slots().clone();
        let older = |slot: &Slot| {
            slot.held().filter(|held| held.lease.delivery == lease.delivery && !same_claim(&held.lease, &lease))
        };
        let until = source::later(Instant::now(), self.options.lease / RENEWALS);
        for (lane, slot) in slots.iter().enumerate() {
            let Some(Held { attempt, lease: Lease { delivery, token, .. } }) = older(slot) else { continue };
            if slot.is_running(attempt) {
                cx.source.lanes[lane].control.lose_lease(attempt, || {
                    cx.emit(&Event::LeaseLost { worker: cx.worker(), delivery, token });
                });
            }
            while slot.is_running(attempt) && Instant::now() < until {
                if cx.wait_until(Instant::now() + LOOK).await {
                    return false;
                }
            }
        }
        true
    }
}
