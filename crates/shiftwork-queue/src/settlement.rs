//! How an attempt ends, and what is written down about one that failed.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::DeadLetterCause;

/// What happens to a delivery after its cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The work is done; the delivery is gone.
    Ack,
    /// The attempt failed and counts; the delivery waits until `at`.
    Retry {
        /// Not delivered again before this time.
        at: Timestamp,
        /// What went wrong, kept with the delivery.
        failure: FailureRecord,
    },
    /// The attempt failed for good; the delivery is moved aside with its history.
    DeadLetter {
        /// Why there is no further attempt.
        cause: DeadLetterCause,
        /// What went wrong last.
        failure: FailureRecord,
    },
    /// The attempt did not run to its end through no fault of its own; it is not counted, and the delivery is due
    /// at once, at its place among the others.
    Return,
    /// As [`Settlement::Return`], but the delivery waits: its cycle put it off, or its dependency is down.
    Snooze {
        /// Not delivered again before this time.
        until: Timestamp,
    },
}

/// Why a cycle did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It may succeed when tried again.
    Transient,
    /// The input is bad; trying again cannot help.
    Invalid,
    /// The worker itself cannot go on.
    Fatal,
    /// The cycle panicked.
    Panic,
    /// The cycle ran past its time.
    Timeout,
    /// The cycle was stopped from outside: a shutdown, a lost lease.
    Interrupted,
    /// The cycle put its input off: it is too early for it.
    Snoozed,
    /// The cycle found that its input need not be done any more.
    Discarded,
}

impl FailureKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [FailureKind; 8] = [
        FailureKind::Transient,
        FailureKind::Invalid,
        FailureKind::Fatal,
        FailureKind::Panic,
        FailureKind::Timeout,
        FailureKind::Interrupted,
        FailureKind::Snoozed,
        FailureKind::Discarded,
    ];

    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Transient => "transient",
            FailureKind::Invalid => "invalid",
            FailureKind::Fatal => "fatal",
            FailureKind::Panic => "panic",
            FailureKind::Timeout => "timeout",
            FailureKind::Interrupted => "interrupted",
            FailureKind::Snoozed => "snoozed",
            FailureKind::Discarded => "discarded",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failed attempt, as it is kept with the delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When it ended. Wall time.
    pub at: Timestamp,
    /// What kind of failure.
    pub kind: FailureKind,
    /// What it said.
    pub message: String,
}
