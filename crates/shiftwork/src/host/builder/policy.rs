//! What a worker is run by, with the defaults.

use std::{error::Error, sync::Arc, time::Duration};

use crate::{Batches, Breaker, Escalation, FailureClass, RateLimit, Retry, RetryBudget, lifecycle::OnFault};

/// How many inputs a worker may have in hand. Each has a lane, which is there from the start: more than so many is a slip of the
/// pen, and would cost all memory before anything could be said of it.
pub(crate) const LANES_MAX: usize = 1_000_000;

/// What the user makes of an error that came through `?`.
pub(crate) type Classify = Arc<dyn Fn(&(dyn Error + 'static)) -> Option<FailureClass> + Send + Sync>;

/// Whom the user tells of an exhausted input.
pub(crate) type OnEscalation = Arc<dyn Fn(&Escalation) + Send + Sync>;

/// What a worker's cycles are run by.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) concurrency: usize,
    /// How many inputs a cycle takes, if it takes many.
    pub(crate) batch: Option<Batches>,
    pub(crate) retry: Retry,
    pub(crate) classify: Option<Classify>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) retry_budget: Option<RetryBudget>,
    pub(crate) on_escalation: Option<OnEscalation>,
    pub(crate) cycle_timeout: Option<Duration>,
    pub(crate) progress_timeout: Option<Duration>,
    pub(crate) start_timeout: Duration,
    pub(crate) drain: Option<Duration>,
    pub(crate) crashes_max: u32,
    pub(crate) on_fault: OnFault,
    /// A service says itself when it is ready.
    pub(crate) handshake: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            concurrency: 1,
            batch: None,
            retry: Retry::default(),
            classify: None,
            breaker: None,
            rate_limit: None,
            retry_budget: None,
            on_escalation: None,
            cycle_timeout: Some(Duration::from_secs(300)),
            progress_timeout: None,
            start_timeout: Duration::from_secs(30),
            drain: None,
            crashes_max: 3,
            on_fault: OnFault::default(),
            handshake: false,
        }
    }
}

impl Policy {
    /// How many cycles run side by side at most: each input of a batch is one.
    pub(crate) fn lanes(&self) -> usize {
        self.concurrency.saturating_mul(self.batch.map_or(1, |batches| batches.size()))
    }

    /// Whether the time of a cycle is limited.
    pub(crate) fn limits_time(&self) -> bool {
        self.cycle_timeout.is_some() || self.progress_timeout.is_some()
    }
}
