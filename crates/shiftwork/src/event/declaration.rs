//! What a worker was declared as.

use std::{sync::Arc, time::Duration};

use shiftwork_queue::Timestamp;

use super::WorkerId;
use crate::{
    Batches, Breaker, Retry,
    lifecycle::{OnFault, RateLimit, RestartStrategy, RetryBudget},
    source::TickPolicy,
};

/// What a worker was declared as: the promises that its events can be checked against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Declaration {
    /// Unique within the host.
    pub name: Arc<str>,
    /// The workers that must be ready before this one starts, and that stop after it.
    pub after: Vec<WorkerId>,
    /// How many cycles run side by side at most. Each input of a batch is one.
    pub concurrency: usize,
    /// How many inputs each call of a batch worker takes; `None` is a worker that takes them one by one.
    pub batch: Option<Batches>,
    /// How long its start hook, or a service's way to its handshake, may take.
    pub start_timeout: Duration,
    /// It is a service that says itself when it is ready.
    pub handshake: bool,
    /// How failed attempts are tried again.
    pub retry: Retry,
    /// After how many failures in a row intake pauses; `None` is never.
    pub breaker: Option<Breaker>,
    /// How often its cycles may begin; `None` is without limit.
    pub rate_limit: Option<RateLimit>,
    /// How many retries it makes at most; `None` is without limit.
    pub retry_budget: Option<RetryBudget>,
    /// How long a cycle may run; `None` is without limit.
    pub cycle_timeout: Option<Duration>,
    /// How long a cycle may go without a sign of progress; `None` is without limit.
    pub progress_timeout: Option<Duration>,
    /// How many lapsed leases make a delivery a crash loop.
    pub crashes_max: u32,
    /// What its fault leads to; for a member of a group, the group's restarts.
    pub on_fault: OnFault,
    /// The group that it is restarted with.
    pub group: Option<Membership>,
    /// What starts its cycles.
    pub source: SourceKind,
}

/// That a worker is a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The group's name.
    pub group: Arc<str>,
    /// Who is restarted when a member faults.
    pub strategy: RestartStrategy,
}

/// What kind of source a worker has, with what can be checked of it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// The next cycle begins as soon as the last one ends.
    Continuous,
    /// Cycles at a fixed rate, aligned to the first.
    FixedRate {
        /// From one tick to the next.
        period: Duration,
        /// From when intake opens to the first one.
        first_after: Duration,
        /// What becomes of its ticks.
        policy: TickPolicy,
    },
    /// Cycles with a pause in between.
    FixedDelay {
        /// From the end of one cycle to the next.
        delay: Duration,
        /// From when intake opens to the first one.
        first_after: Duration,
        /// By how much each may be put off.
        jitter: Duration,
    },
    /// Cycles at times of the calendar.
    Cron {
        /// What becomes of its ticks.
        policy: TickPolicy,
    },
    /// One cycle, at a time of the calendar.
    Once {
        /// When.
        at: Timestamp,
        /// How long after intake opens it is due at the earliest.
        first_after: Duration,
        /// What becomes of it.
        policy: TickPolicy,
    },
    /// Deliveries of a queue.
    Queue,
    /// None: the worker is a service or a job, whose one long run counts as a cycle.
    Service {
        /// It is a job: its return is its end.
        completes: bool,
    },
    /// A source of the user's own.
    Other,
}

#[cfg(test)]
impl Declaration {
    /// A worker that nothing is said of but its name and its source, for tests.
    pub(crate) fn plain(name: &str, source: SourceKind) -> Self {
        Self {
            name: name.into(),
            after: Vec::new(),
            concurrency: 1,
            batch: None,
            start_timeout: Duration::from_secs(30),
            handshake: false,
            retry: Retry::default(),
            breaker: None,
            rate_limit: None,
            retry_budget: None,
            cycle_timeout: None,
            progress_timeout: None,
            crashes_max: 3,
            on_fault: OnFault::default(),
            group: None,
            source,
        }
    }
}
