//! Batches: how many inputs one cycle takes, and what its end means for each of them.
//!
//! [`Batches`] is the policy. What follows for one input is still [`super::settle`]'s; this file says only what that is to be
//! told. Rules Q9 and Q10 of `docs/lifecycle.md`.
//!
//! 1. A batch that fails as a whole says nothing of which input is to blame. No input is moved aside or dropped for what was
//!    said of all (rule Q10).
//! 2. Whether an input runs alone is read off the input itself, its failures and lapsed leases, and is so known to whichever
//!    process has it next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shiftwork_queue::FailureKind;

use super::breaker::counts;
use crate::{
    config::{
        form::{Count, Time},
        section::section,
    },
    retry::millis,
};

/// How many inputs one cycle of a batch worker takes, and how long it waits for them.
///
/// [`Default`] is up to 100, and no wait: a batch is what is there when the worker has nothing to do, so that batches are
/// small while there is little to do, and grow with the backlog.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::Batches;
///
/// // Wait for a moment, where a call is dear and nobody is in a hurry.
/// let batches = Batches::of(500).linger(Duration::from_millis(200));
/// assert_eq!(batches.size(), 500);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "BatchesConfig", into = "BatchesConfig")]
pub struct Batches {
    size: usize,
    linger_ms: u64,
}

/// The most that a batch may hold: each of its inputs has a lease to renew and a settlement to store.
const SIZE_MAX: usize = 1_000;

section! {
    /// [`Batches`] as they are written in a file. What is left out stays as it is.
    pub struct BatchesConfig {
        /// How many inputs one cycle takes at most.
        pub size: Option<usize> = Count::between(1, 1_000),
        /// How long a batch that has its first input waits for more.
        pub linger: Option<Duration> = Time::from_millis(0),
    }
}

impl BatchesConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: Batches) -> Batches {
        let Self { size, linger } = *self;
        Batches { size: size.unwrap_or(base.size).clamp(1, SIZE_MAX), linger_ms: linger.map_or(base.linger_ms, millis) }
    }
}

impl From<BatchesConfig> for Batches {
    fn from(config: BatchesConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<Batches> for BatchesConfig {
    fn from(batches: Batches) -> Self {
        let Batches { size, linger_ms } = batches;
        Self { size: Some(size), linger: Some(Duration::from_millis(linger_ms)) }
    }
}

impl Default for Batches {
    fn default() -> Self {
        Self { size: 100, linger_ms: 0 }
    }
}

impl Batches {
    /// Up to this many inputs; from 1 to 1,000.
    #[must_use]
    pub fn of(size: usize) -> Self {
        Self { size: size.clamp(1, SIZE_MAX), ..Self::default() }
    }

    /// How long a batch that has its first input, and is not full, waits for more; in whole milliseconds. A queue's batch
    /// waits no longer than a third of its lease, when that is due to be renewed.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger_ms = millis(linger);
        self
    }

    /// How many inputs one cycle takes at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How long it waits for more than the first of them.
    #[must_use]
    pub fn lingers(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }
}

/// Rule Q10: whether an input runs in a batch of its own. It has failed before, or its process has died under it: if it is
/// what sets that off, it sets it off for nobody else.
pub(crate) fn runs_alone(attempt: u32, crashes: u32) -> bool {
    attempt > 1 || crashes > 0
}

/// Rule Q10: what the failure of a whole batch is for an input of which nothing else was said.
pub(crate) fn shared(kind: FailureKind, size: usize) -> FailureKind {
    match kind {
        // One of them, and nobody knows which. Alone, each will have its own verdict.
        FailureKind::Invalid | FailureKind::Discarded if size > 1 => FailureKind::Transient,
        FailureKind::Transient
        | FailureKind::Invalid
        | FailureKind::Fatal
        | FailureKind::Panic
        | FailureKind::Timeout
        | FailureKind::Interrupted
        | FailureKind::Snoozed
        | FailureKind::Discarded => kind,
    }
}

/// Rule B1: a batch counts as one cycle, because it most likely was one call. It succeeded if one of its inputs did: then the
/// dependency is up. Otherwise it failed as the first of those that speak of a dependency, or as the first.
pub(crate) fn as_one(failures: impl Iterator<Item = Option<FailureKind>>) -> Option<FailureKind> {
    let mut said: Option<FailureKind> = None;
    for failure in failures {
        let kind = failure?;
        if said.is_none_or(|said| !counts(said) && counts(kind)) {
            said = Some(kind);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_or_crashed_before_runs_alone() {
        assert!(!runs_alone(1, 0));
        assert!(runs_alone(2, 0) && runs_alone(1, 1));
    }

    #[test]
    fn what_is_said_of_all_moves_nobody_aside_unless_there_is_but_one() {
        for kind in FailureKind::ALL {
            assert_eq!(shared(kind, 1), kind);
            let aside = matches!(kind, FailureKind::Invalid | FailureKind::Discarded);
            assert_eq!(shared(kind, 2), if aside { FailureKind::Transient } else { kind });
        }
    }

    #[test]
    fn a_batch_counts_as_one_and_as_a_success_if_any_of_it_was() {
        let kinds = |kinds: &[Option<FailureKind>]| as_one(kinds.iter().copied());
        let (bad, down) = (Some(FailureKind::Invalid), Some(FailureKind::Timeout));
        assert_eq!(kinds(&[bad, down, bad]), down);
        assert_eq!(kinds(&[bad, bad]), bad);
        assert_eq!(kinds(&[down, None, down]), None);
    }

    #[test]
    fn a_size_is_what_can_be_kept_alive() {
        assert_eq!((Batches::of(0).size(), Batches::of(usize::MAX).size()), (1, SIZE_MAX));
    }
}
