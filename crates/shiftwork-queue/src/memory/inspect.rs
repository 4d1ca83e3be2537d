//! What a look into the queue shows: [`Entry`], one for each unsettled delivery.
//!
//! [`MemoryQueue::snapshot`](super::MemoryQueue::snapshot) makes them.

use jiff::Timestamp;

use crate::{DeliveryId, Lease};

/// One unsettled delivery, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which delivery.
    pub id: DeliveryId,
    /// Where it is.
    pub stage: Stage,
    /// Which attempt it is at, or will be at when it is claimed, from 1.
    pub attempt: u32,
    /// How many lapsed leases were counted, which is when the delivery was claimed again.
    pub crashes: u32,
}

/// Where an unsettled delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting and due.
    Ready,
    /// Waiting for its time.
    Delayed {
        /// When it will be due.
        until: Timestamp,
    },
    /// Waiting behind another one of its ordering key.
    Behind,
    /// Claimed and not settled, whether or not the lease has lapsed.
    Leased {
        /// The current claim's lease. It has lapsed if its end is not after the time of the snapshot.
        lease: Lease,
    },
}
