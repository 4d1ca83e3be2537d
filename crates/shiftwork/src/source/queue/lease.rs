//! What one lane holds, as its lane writes it and the renewal of leases reads it.
//!
//! The path of a delivery must not pay for the renewal, which looks once in many seconds: a slot is a handful of atomics
//! that only its lane writes, and no lock.
//!
//! 1. `attempt` is 0 while nothing is held. A reader that finds the same attempt before and after it has read the rest
//!    has read the lease of that attempt.
//! 2. Whatever the renewal writes, it writes with the number of the attempt that it is about, so that it is never taken
//!    for something about the next one.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};

use shiftwork_queue::{DeliveryId, FencingToken, Lease, Timestamp};

/// One lane's slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    attempt: AtomicU64,
    delivery: AtomicU64,
    token: AtomicU64,
    /// The cycle is over and the settlement on its way: a store that calls the lease lost may mean just that.
    settling: AtomicBool,
    renewed_attempt: AtomicU64,
    renewed_until_ms: AtomicI64,
}

/// A lease that is to be renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// Which of its lane's attempts it is for.
    pub(super) attempt: u64,
}

impl Slot {
    /// The lane holds `lease`, for its attempt of this number.
    pub(super) fn hold(&self, lease: Lease, attempt: u64) {
        self.attempt.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.delivery.store(lease.delivery.0, Ordering::Relaxed);
        self.token.store(lease.token.0, Ordering::Relaxed);
        self.settling.store(false, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Release);
    }

    /// The lane has begun to settle.
    pub(super) fn settling(&self) {
        self.settling.store(true, Ordering::Release);
    }

    /// The lane holds nothing any more.
    pub(super) fn release(&self) {
        self.attempt.store(0, Ordering::Release);
    }

    /// What is held, if anything. The end of the lease is not known here, and no renewal asks for it.
    pub(super) fn held(&self) -> Option<Held> {
        loop {
            let attempt = self.attempt.load(Ordering::Acquire);
            if attempt == 0 {
                return None;
            }
            let delivery = DeliveryId(self.delivery.load(Ordering::Relaxed));
            let token = FencingToken(self.token.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.attempt.load(Ordering::Relaxed) == attempt {
                return Some(Held { lease: Lease { delivery, token, expires_at: Timestamp::MIN }, attempt });
            }
        }
    }

    /// Whether the cycle of this attempt is not over yet, as far as can be seen.
    pub(super) fn is_running(&self, attempt: u64) -> bool {
        !self.settling.load(Ordering::Acquire) && self.attempt.load(Ordering::Acquire) == attempt
    }

    /// The lease of this attempt was renewed.
    pub(super) fn renewed(&self, attempt: u64, until: Timestamp) {
        self.renewed_until_ms.store(until.as_millisecond(), Ordering::Relaxed);
        self.renewed_attempt.store(attempt, Ordering::Release);
    }

    /// When `lease`, which the lane holds for this attempt, ends as far as is known. For the lane itself.
    pub(super) fn expires_at(&self, lease: Lease, attempt: u64) -> Timestamp {
        if self.renewed_attempt.load(Ordering::Acquire) != attempt {
            return lease.expires_at;
        }
        let until = self.renewed_until_ms.load(Ordering::Relaxed);
        Timestamp::from_millisecond(until).unwrap_or(lease.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(delivery: u64) -> Lease {
        Lease {
            delivery: DeliveryId(delivery),
            token: FencingToken(delivery + 1),
            expires_at: Timestamp::from_second(30).unwrap(),
        }
    }

    #[test]
    fn a_renewal_is_about_the_attempt_that_it_was_made_for() {
        let slot = Slot::default();
        assert!(slot.held().is_none());
        slot.hold(lease(7), 1);
        let held = slot.held().unwrap();
        assert_eq!((held.lease.delivery, held.lease.token, held.attempt), (DeliveryId(7), FencingToken(8), 1));
        let until = Timestamp::from_second(60).unwrap();
        slot.renewed(1, until);
        assert_eq!(slot.expires_at(lease(7), 1), until);

        // The lane has gone on meanwhile.
        slot.release();
        slot.hold(lease(9), 2);
        assert_eq!(slot.expires_at(lease(9), 2), lease(9).expires_at);
        assert!(slot.is_running(2) && !slot.is_running(1));
    }

    #[test]
    fn a_lease_that_is_being_settled_is_not_lost() {
        let slot = Slot::default();
        slot.hold(lease(7), 1);
        slot.settling();
        assert!(!slot.is_running(1));
        slot.release();
        assert!(slot.held().is_none());
    }
}
