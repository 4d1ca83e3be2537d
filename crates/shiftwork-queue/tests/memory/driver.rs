//! The one place through which the tests drive the queue: times are seconds, results are plain values.
//!
//! Nothing here expects anything; what must be true is said by the tests.

use std::{collections::VecDeque, time::Duration};

use shiftwork_queue::{
    Claim, DeadLetter, DeadLetterCause, Delivery, DeliveryId, FailureKind, FailureRecord, Lease, MemoryQueue, Message,
    Pushed, Queue, QueueError, Settlement, Timestamp,
    memory::{Entry, Stage},
};
use tokio_test::block_on;

/// How long a lease of [`Driver::claim`] lasts.
pub(crate) const LEASE_SECONDS: i64 = 10;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

pub(crate) fn message(payload: &'static str) -> Message<&'static str> {
    Message::new(payload)
}

pub(crate) fn failure(text: &str) -> FailureRecord {
    FailureRecord { attempt: 1, at: at(0), kind: FailureKind::Transient, message: text.to_owned() }
}

pub(crate) fn retry(second: i64) -> Settlement {
    Settlement::Retry { at: at(second), failure: failure("retried") }
}

pub(crate) fn dead_letter(cause: DeadLetterCause) -> Settlement {
    Settlement::DeadLetter { cause, failure: failure("moved aside") }
}

pub(crate) struct Driver<T> {
    pub(crate) queue: MemoryQueue<T>,
}

/// An unbounded queue of words.
pub(crate) fn words() -> Driver<&'static str> {
    Driver { queue: MemoryQueue::new() }
}

impl<T: Clone + Send + 'static> Driver<T> {
    pub(crate) fn push(&self, message: Message<T>, now: i64) -> Pushed {
        self.push_all(vec![message], now).expect("there is room")[0]
    }

    pub(crate) fn push_all(&self, messages: Vec<Message<T>>, now: i64) -> Result<Vec<Pushed>, QueueError> {
        block_on(self.queue.push(messages, at(now)))
    }

    pub(crate) fn claim(&self, max: usize, now: i64) -> Vec<Delivery<T>> {
        self.claim_for(max, LEASE_SECONDS, now).0
    }

    pub(crate) fn claim_for(&self, max: usize, seconds: i64, now: i64) -> (Vec<Delivery<T>>, Option<Timestamp>) {
        let lease = Duration::from_secs(u64::try_from(seconds).expect("leases are not negative"));
        let mut claimed = VecDeque::new();
        let next =
            block_on(self.queue.claim(Claim { max, lease, now: at(now) }, &mut claimed)).expect("memory is available");
        (claimed.into(), next)
    }

    /// Claims one delivery, and gives its lease.
    pub(crate) fn lease(&self, now: i64) -> Lease {
        self.claim(1, now).pop().expect("a delivery is due").lease
    }

    /// The payloads that a claim of everything gets.
    pub(crate) fn payloads(&self, now: i64) -> Vec<T> {
        self.claim(usize::MAX, now).into_iter().map(|delivery| delivery.payload.expect("it is decodable")).collect()
    }

    /// Those of the leases that are lost.
    pub(crate) fn renew(&self, leases: &[Lease], until: i64) -> Vec<Lease> {
        block_on(self.queue.renew(leases, at(until))).expect("memory is available")
    }

    pub(crate) fn settle(&self, lease: Lease, settlement: Settlement, now: i64) -> Result<(), QueueError> {
        block_on(self.queue.settle(lease, settlement, at(now)))
    }

    /// Acknowledges one, and claims up to `max` others.
    pub(crate) fn ack_and_claim(
        &self,
        lease: Lease,
        (max, seconds): (usize, i64),
        now: i64,
    ) -> (Result<(), QueueError>, Vec<Delivery<T>>) {
        let lasts = Duration::from_secs(u64::try_from(seconds).expect("leases are not negative"));
        let (mut claimed, claim) = (VecDeque::new(), Claim { max, lease: lasts, now: at(now) });
        let settled = block_on(self.queue.ack_and_claim(lease, claim, &mut claimed));
        (settled, claimed.into())
    }

    pub(crate) fn settle_many(&self, settlements: Vec<(Lease, Settlement)>, now: i64) -> Vec<Result<(), QueueError>> {
        block_on(self.queue.settle_many(settlements, at(now)))
    }

    pub(crate) fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Vec<DeadLetter<T>> {
        block_on(self.queue.dead_letters(after, limit)).expect("memory is available")
    }

    pub(crate) fn requeue(&self, id: DeliveryId, now: i64) -> bool {
        block_on(self.queue.requeue(id, at(now))).expect("memory is available")
    }

    pub(crate) fn discard(&self, id: DeliveryId) -> bool {
        block_on(self.queue.discard(id)).expect("memory is available")
    }

    pub(crate) fn prune(&self, before: i64, limit: usize) -> usize {
        block_on(self.queue.prune(at(before), limit)).expect("memory is available")
    }

    /// Ready, delayed, leased, dead.
    pub(crate) fn depth(&self, now: i64) -> [usize; 4] {
        let depth = block_on(self.queue.depth(at(now))).expect("memory is available");
        [depth.ready, depth.delayed, depth.leased, depth.dead]
    }

    pub(crate) fn snapshot(&self, now: i64) -> Vec<Entry> {
        self.queue.snapshot(at(now))
    }

    pub(crate) fn stage(&self, id: DeliveryId, now: i64) -> Option<Stage> {
        self.snapshot(now).into_iter().find(|entry| entry.id == id).map(|entry| entry.stage)
    }

    /// Claims one delivery and moves it aside.
    pub(crate) fn bury(&self, now: i64) -> DeliveryId {
        let lease = self.lease(now);
        self.settle(lease, dead_letter(DeadLetterCause::Invalid), now).expect("the lease is good");
        lease.delivery
    }
}
