//! What a consumer gets from a queue.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names one delivery of one queue, from its push until it is settled for good. Never reused.
///
/// For a store over SQL: the id of a row that was deleted must not come again, not even that of the newest one. The first claim of the row
/// that has it now would have the token of an old one, and a late worker would settle what is not its own. In SQLite that takes
/// `INTEGER PRIMARY KEY AUTOINCREMENT`: without the last word the highest id is given again once its row is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId(pub u64);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Grows with every claim of a delivery, so that a write of an earlier claimant can be told and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FencingToken(pub u64);

/// A time-limited, fenced right to process one attempt of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// What is leased.
    pub delivery: DeliveryId,
    /// Which claim of it this is.
    pub token: FencingToken,
    /// When somebody else may claim it, unless it is renewed before. Wall time.
    pub expires_at: Timestamp,
}

/// One delivery under its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The right to process it.
    pub lease: Lease,
    /// Which attempt this is, from 1. Failures count; crashes and returns do not.
    pub attempt: u32,
    /// How many earlier leases of it lapsed without a settlement: each most likely a process that died.
    pub crashes: u32,
    /// Since when it has been due: its push, or the time of its message, its retry, its snooze or its requeue; never before its push.
    /// A return and a lapsed lease leave it as it was, and what it waited behind another one of its ordering key is part of it.
    pub due_at: Timestamp,
    /// When it was first claimed since its push, or since it was last requeued; for a first claim, the time of that.
    pub first_claimed_at: Timestamp,
    /// The message, or why the stored bytes could not be read as one. An undecodable payload is this delivery's
    /// problem, never the claim's.
    pub payload: Result<T, Undecodable>,
}

/// A stored payload that could not be read as the queue's type.
///
/// It is one pointer: what most deliveries have none of takes no room in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Undecodable(Box<Unread>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unread {
    reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bytes: Vec<u8>,
}

impl Undecodable {
    /// One of which the decoder said this.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(Box::new(Unread { reason: reason.into(), bytes: Vec::new() }))
    }

    /// The same, with what is stored: whoever reviews the dead letter can read it by other means. No log has it.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.bytes = bytes.into();
        self
    }

    /// What the decoder said.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What is stored, where the store has kept it; empty otherwise.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// Shows how many bytes there are, never the bytes.
impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, bytes } = self;
        f.debug_struct("Unread").field("reason", reason).field("bytes", &bytes.len()).finish()
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "payload cannot be decoded: {}", self.reason())
    }
}

impl std::error::Error for Undecodable {}
