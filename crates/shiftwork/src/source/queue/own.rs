//! What a worker does when it claims a delivery that one of its own lanes still works on.
//!
//! It happens when a lease has lapsed and nobody else was there to take the delivery: the process stood still, the wall clock
//! stepped over the lease, renewals failed for too long, or the store forgot the lease. The cycle under the older claim is lost already, and would learn of
//! it with the next renewal, a third of a lease later; until then two cycles would be at work on one delivery. Here the worker
//! knows at once. Rule Q11 of `docs/lifecycle.md`.
//!
//! The older cycle does not go on under the newer claim: its user has been told the older token, and whatever checks tokens
//! would refuse it once the newer one was seen.
//!
//! What is claimed for the first time is not looked up, for that would cost each delivery a look at all lanes. So one thing is found with
//! the next renewal only (rule Q6): the answer to a first claim comes later than its lease lasts, another lane has claimed the
//! delivery again by then, and the wall clock was stepped back meanwhile, so that the lease does not seem to be over. The older claim's
//! settlement is refused.

use std::{sync::Arc, time::Duration};

use shiftwork_queue::{Lease, Queue};
use tokio::time::Instant;

use super::{RENEWALS, Shared, lease::Held, lease::Slot};
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
    /// Interrupts the cycles of this worker that still work on what these leases are for, under older claims, and waits until they
    /// have ended; no longer than a third of a lease for all of them together, since one that blocks its thread cannot be ended, and
    /// nobody renews these leases meanwhile. `false` if intake closed before that, or if one of them is no longer the newest claim: the answer to
    /// it came so late that another lane has claimed again.
    pub(super) async fn take_from_own(&self, leases: &[Lease], cx: &LaneContext) -> bool {
        let slots: Vec<Arc<Slot>> = self.slots().clone();
        let claimed = |held: &Held| leases.iter().find(|lease| held.lease.delivery == lease.delivery);
        let until = source::later(Instant::now(), self.options.lease / RENEWALS);
        let mut running = Vec::new();
        for (lane, slot) in slots.iter().enumerate() {
            let Some((held, lease)) = slot.held().and_then(|held| Some((held, claimed(&held)?))) else { continue };
            let Held { attempt, lease: Lease { delivery, token, .. } } = held;
            if token > lease.token {
                return false;
            }
            if token < lease.token && slot.is_running(attempt) {
                cx.source.lanes[lane].control.lose_lease(attempt, || {
                    cx.emit(&Event::LeaseLost { worker: cx.worker(), delivery, token });
                });
                running.push((slot, attempt));
            }
        }
        loop {
            running.retain(|(slot, attempt)| slot.is_running(*attempt));
            if running.is_empty() || Instant::now() >= until {
                return true;
            }
            if cx.wait_until(Instant::now() + LOOK).await {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, atomic::AtomicU64},
    };

    use shiftwork_queue::{Claim, DeliveryId, FencingToken, MemoryQueue, Message, Settlement, Timestamp};

    use super::*;
    use crate::{
        Environment, QueueSourceExt, System,
        context::LaneShared,
        control::{AttemptControl, Control},
        emitter::Emitter,
        event::{Declaration, Listener, SourceKind, WorkerId},
        in_flight::InFlight,
        source::{BatchLane, Source, SourceContext},
    };

    /// The context of the last of so many lanes, and when each of the others was told that its lease is lost.
    fn lanes(count: usize) -> (LaneContext, Arc<Mutex<Vec<Instant>>>) {
        let heard: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let inside = heard.clone();
        let listener = move |at: Instant, event: &Event| {
            if let Event::LeaseLost { .. } = event {
                inside.lock().unwrap().push(at);
            }
        };
        let environment: Arc<dyn Environment> = Arc::new(System);
        let listeners: Vec<Arc<dyn Listener>> = vec![Arc::new(listener)];
        let emitter = Emitter::new(&[Declaration::plain("jobs", SourceKind::Queue)], listeners, &environment);
        let (control, seats) = (Arc::new(Control::new()), InFlight::new(count).seats());
        let lanes = emitter.tallies(WorkerId(0), count).into_iter().zip(seats.iter()).map(|(tally, seat)| {
            Arc::new(LaneShared {
                name: "jobs".into(),
                control: AttemptControl::new(control.clone()),
                tally,
                successes: AtomicU64::new(0),
                environment: environment.clone(),
                watches_awaits: false,
                attempts_max: 5,
                seat: seat.clone(),
            })
        });
        let source = SourceContext {
            worker: WorkerId(0),
            seed: 0,
            lanes: lanes.collect(),
            emitter: Arc::new(emitter),
            cycle_timeout: None,
            progress_timeout: None,
        };
        (LaneContext::new(Arc::new(source), count - 1), heard)
    }

    #[tokio::test(start_paused = true)]
    async fn q11_a_claim_that_is_told_late_takes_nothing_from_a_newer_one() {
        let shared = MemoryQueue::<u32>::new().source().shared();
        let (cx, heard) = lanes(2);
        let claim =
            |token| Lease { delivery: DeliveryId(7), token: FencingToken(token), expires_at: Timestamp::UNIX_EPOCH };
        let (slot, newer) = (Arc::<Slot>::default(), &cx.source.lanes[0].control);
        newer.begin();
        slot.hold(claim(3), newer.number());
        shared.slots().push(slot);
        assert!(!shared.take_from_own(&[claim(2)], &cx).await);
        assert!(heard.lock().unwrap().is_empty() && !newer.is_interrupted());
    }

    #[tokio::test(start_paused = true)]
    async fn q11_a_batch_gives_back_what_another_lane_holds_under_a_newer_claim() {
        let (cx, _) = lanes(2);
        let (queue, now) = (MemoryQueue::<u32>::new(), cx.wall_time());
        queue.push_one(Message::new(7), now).await.unwrap();
        let mut claimed = VecDeque::new();
        queue.claim(Claim { max: 1, lease: Duration::from_secs(30), now }, &mut claimed).await.unwrap();
        let first = claimed.pop_front().unwrap().lease;
        queue.settle(first, Settlement::Return, now).await.unwrap();

        // The batch is given the second claim, and the other lane has the third.
        let (source, slot, newer) = (queue.source(), Arc::<Slot>::default(), &cx.source.lanes[0].control);
        newer.begin();
        slot.hold(Lease { token: FencingToken(3), ..first }, newer.number());
        source.shared().slots().push(slot);
        let (mut lane, mut taken) = (source.lane(&cx), Vec::new());
        lane.take(1, Duration::ZERO, &mut taken, &cx).await.unwrap();
        let tokens: Vec<_> = taken.iter().map(|delivery| delivery.lease.token).collect();
        assert_eq!(tokens, [FencingToken(3)], "the second has gone back");
    }

    #[tokio::test(start_paused = true)]
    async fn q11_older_cycles_that_do_not_end_are_waited_for_together() {
        let third = Duration::from_secs(3);
        let shared = MemoryQueue::<u32>::new().source().lease(3 * third).shared();
        let (cx, heard) = lanes(4);
        let claim = |delivery: u64, token: u64| Lease {
            delivery: DeliveryId(delivery),
            token: FencingToken(token),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        for (lane, delivery) in cx.source.lanes.iter().zip(0..3) {
            // Nobody polls it: it is as if it blocked its thread.
            let slot = Slot::default();
            lane.control.begin();
            slot.hold(claim(delivery, 1), lane.control.number());
            shared.slots().push(Arc::new(slot));
        }
        let began = Instant::now();
        let newer: Vec<Lease> = (0..3).map(|delivery| claim(delivery, 2)).collect();
        assert!(shared.take_from_own(&newer, &cx).await);
        let waited = began.elapsed();
        assert!(third <= waited && waited < third + 10 * LOOK, "for {waited:?}");
        assert_eq!(*heard.lock().unwrap(), [began; 3]);
        assert!(cx.source.lanes[..3].iter().all(|lane| lane.control.is_interrupted()));
    }
}
