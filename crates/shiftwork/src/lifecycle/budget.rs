//! How long each part of a stop may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    config::{form::Time, section::section},
    retry::millis,
};

/// The time that a stop may take, part by part.
///
/// [`Default`] is no delay before the drain, 20 s to drain, 3 s between `cancelled()` and the abort, 2 s for settlements
/// and stop hooks: 25 s in all, so that the host is done before Kubernetes' default grace period of 30 s ends in a SIGKILL
/// (`terminationGracePeriodSeconds`, Kubernetes API reference, Pod v1).
///
/// ```
/// use std::time::Duration;
/// use shiftwork::StopBudget;
///
/// let budget = StopBudget::default().drain(Duration::from_secs(60));
/// assert_eq!(budget.total(), Duration::from_secs(65));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "StopConfig", into = "StopConfig")]
pub struct StopBudget {
    before_drain_ms: u64,
    drain_ms: u64,
    cancel_ms: u64,
    close_ms: u64,
}

section! {
    /// A [`StopBudget`] as it is written in a file. What is left out stays as it is.
    pub struct StopConfig {
        /// How long a host that runs goes on as before, and only says that it is not ready any more.
        pub before_drain: Option<Duration> = Time::from_millis(0),
        /// How long cycles in flight may go on by themselves.
        pub drain: Option<Duration> = Time::from_millis(0),
        /// How long they have to end once they are asked to.
        pub cancel: Option<Duration> = Time::from_millis(0),
        /// How long the rest may take: to return what was interrupted, and the stop hooks.
        pub close: Option<Duration> = Time::from_millis(0),
    }
}

impl StopConfig {
    /// Lays what is written over a budget.
    pub(crate) fn over(&self, base: StopBudget) -> StopBudget {
        let Self { before_drain, drain, cancel, close } = *self;
        StopBudget {
            before_drain_ms: before_drain.map_or(base.before_drain_ms, millis),
            drain_ms: drain.map_or(base.drain_ms, millis),
            cancel_ms: cancel.map_or(base.cancel_ms, millis),
            close_ms: close.map_or(base.close_ms, millis),
        }
    }
}

impl From<StopConfig> for StopBudget {
    fn from(config: StopConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<StopBudget> for StopConfig {
    fn from(budget: StopBudget) -> Self {
        let StopBudget { before_drain_ms, drain_ms, cancel_ms, close_ms } = budget;
        Self {
            before_drain: Some(Duration::from_millis(before_drain_ms)),
            drain: Some(Duration::from_millis(drain_ms)),
            cancel: Some(Duration::from_millis(cancel_ms)),
            close: Some(Duration::from_millis(close_ms)),
        }
    }
}

impl Default for StopBudget {
    fn default() -> Self {
        Self { before_drain_ms: 0, drain_ms: 20_000, cancel_ms: 3_000, close_ms: 2_000 }
    }
}

impl StopBudget {
    /// How long a host that runs goes on as before once it was asked to stop, and only says that it is not ready any more
    /// ([`crate::Health::Stopping`]), so that whoever sends it requests notices first; none by default. A load balancer needs as long
    /// as it takes to fail its readiness probes. A second signal, a SIGQUIT and a host whose workers have all ended do not wait.
    #[must_use]
    pub fn before_drain(mut self, time: Duration) -> Self {
        self.before_drain_ms = millis(time);
        self
    }

    /// How long cycles in flight may go on by themselves once no more work is taken in.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain_ms = millis(time);
        self
    }

    /// How long they have to end once [`crate::Context::cancelled`] has completed.
    #[must_use]
    pub fn cancel(mut self, time: Duration) -> Self {
        self.cancel_ms = millis(time);
        self
    }

    /// How long the rest may take: to return what was interrupted, and the stop hooks. A hook may also use what is left of the
    /// time to drain.
    #[must_use]
    pub fn close(mut self, time: Duration) -> Self {
        self.close_ms = millis(time);
        self
    }

    /// From the request to stop to the end, at the very most.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.delay().saturating_add(self.drain_to_end())
    }

    /// What is left of it once the intake closes.
    pub(crate) fn drain_to_end(&self) -> Duration {
        Duration::from_millis(self.drain_ms.saturating_add(self.cancel_ms).saturating_add(self.close_ms))
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.before_drain_ms)
    }

    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    pub(crate) fn close_time(&self) -> Duration {
        Duration::from_millis(self.close_ms)
    }

    pub(crate) fn cancel_time(&self) -> Duration {
        Duration::from_millis(self.cancel_ms)
    }
}
