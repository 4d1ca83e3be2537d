//! Why a queue operation did not happen.

use std::{error, fmt};

use crate::Lease;

/// Why a queue operation did not happen. Ask it with the `is_` methods; its text fits "could not claim: {…}".
#[derive(Debug)]
pub struct QueueError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    LeaseLost(Lease),
    Full { capacity: usize },
    Unavailable(Box<dyn error::Error + Send + Sync>),
}

impl QueueError {
    /// The delivery has another claim by now, or is settled.
    #[must_use]
    pub fn lease_lost(lease: Lease) -> Self {
        Self { kind: Kind::LeaseLost(lease) }
    }

    /// A bounded queue has no room.
    #[must_use]
    pub fn full(capacity: usize) -> Self {
        Self { kind: Kind::Full { capacity } }
    }

    /// The store did not answer, or answered with a failure of its own. Whether the operation happened is not known.
    pub fn unavailable(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Unavailable(source.into()) }
    }

    /// Whether the lease's token is no longer the current one. Trying again cannot help.
    #[must_use]
    pub fn is_lease_lost(&self) -> bool {
        matches!(self.kind, Kind::LeaseLost(_))
    }

    /// Whether a bounded queue had no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind, Kind::Full { .. })
    }

    /// Whether the store is at fault, so that the same call may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable(_))
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::LeaseLost(lease) => write!(
                f,
                "the lease of delivery {} (token {}) is lost: it was settled, or claimed by somebody else",
                lease.delivery, lease.token.0
            ),
            Kind::Full { capacity } => write!(f, "the queue is full: it holds {capacity} messages at most"),
            // Why is its source's to say.
            Kind::Unavailable(_) => f.write_str("the store is unavailable"),
        }
    }
}

impl error::Error for QueueError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.kind {
            Kind::Unavailable(source) => Some(&**source),
            Kind::LeaseLost(_) | Kind::Full { .. } => None,
        }
    }
}
