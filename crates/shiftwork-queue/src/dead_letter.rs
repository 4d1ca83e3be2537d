//! What was moved aside for a person to review.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeliveryId, FailureRecord, Undecodable};

/// Why a delivery gets no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterCause {
    /// The cycle said that the input is bad.
    Invalid,
    /// The stored payload could not be decoded.
    Undecodable,
    /// Every attempt that the retry policy allows has failed.
    Exhausted,
    /// Too many leases lapsed without a settlement: it most likely kills its process.
    CrashLoop,
}

impl DeadLetterCause {
    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterCause::Invalid => "invalid",
            DeadLetterCause::Undecodable => "undecodable",
            DeadLetterCause::Exhausted => "exhausted",
            DeadLetterCause::CrashLoop => "crash_loop",
        }
    }
}

impl fmt::Display for DeadLetterCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A delivery that was moved aside, with its cause and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<T> {
    /// The delivery's id; it keeps it when it is requeued.
    pub id: DeliveryId,
    /// The message, or why it could not be read.
    pub payload: Result<T, Undecodable>,
    /// Why it is here.
    pub cause: DeadLetterCause,
    /// The failed attempts, oldest first. A backend may keep only the newest ones.
    pub history: Vec<FailureRecord>,
    /// How many leases of it lapsed.
    pub crashes: u32,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When it was moved aside.
    pub dead_at: Timestamp,
}
