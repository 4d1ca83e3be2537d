//! What a host does when a worker cannot go on: the policy, and how it counts.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Retry,
    config::{
        form::{Count, Time, Words},
        section::section,
    },
    retry::millis,
};

/// What a host does when a worker cannot go on: a fatal failure, or a source that broke.
///
/// [`Default`] is to stop the host: an orchestrator that starts the process again, from scratch and with a backoff of its own, is the
/// supervisor that most services have. A fault never exits 0, whichever it is.
///
/// ```
/// use shiftwork::{Context, Failure, Host, OnFault, QueueSourceExt, queue::MemoryQueue};
///
/// # let orders = MemoryQueue::<u32>::new();
/// # let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
/// let host = Host::builder()
///     .worker("charge", orders.clone().source(), work) // without it the process is of no use
///     .worker("thumbnails", orders.clone().source(), work)
///     .on_fault(OnFault::Degrade)
///     .worker("prices", orders.source(), work)
///     .on_fault(OnFault::restart())
///     .build();
/// assert!(host.is_ok());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// Every worker is stopped in order; the exit code is that of a fault.
    #[default]
    StopHost,
    /// The others go on without it.
    Degrade,
    /// The worker alone is drained, stopped and started again.
    Restart(Restart),
}

impl OnFault {
    /// Restarts with the default [`Restart`] policy.
    #[must_use]
    pub fn restart() -> Self {
        OnFault::Restart(Restart::default())
    }
}

/// How a worker is restarted: after a backoff, and not for ever.
///
/// [`Default`] is after 1 s, doubling, at most 30 s, and at most 5 times in 5 minutes; then the host is stopped. A worker that faults
/// once a day is restarted for ever; one that cannot start is given up after about half a minute.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{GiveUp, OnFault, Restart};
///
/// // Its other side is away for minutes now and then, and the others can do without it.
/// let restart = Restart::default()
///     .initial(Duration::from_secs(5))
///     .max(Duration::from_secs(60))
///     .intensity(10, Duration::from_secs(3600))
///     .then(GiveUp::Degrade);
/// assert_eq!(restart.delay(2), Duration::from_secs(10));
/// assert_eq!(restart.delay(9), Duration::from_secs(60));
/// let on_fault = OnFault::Restart(restart);
/// # let _ = on_fault;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "RestartConfig", into = "RestartConfig")]
pub struct Restart {
    initial_ms: u64,
    max_ms: u64,
    restarts_max: u32,
    window_ms: u64,
    then: GiveUp,
}

/// What follows when a worker was restarted too often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveUp {
    /// As [`OnFault::StopHost`].
    #[default]
    StopHost,
    /// As [`OnFault::Degrade`].
    Degrade,
}

impl GiveUp {
    const WORDS: [(&str, GiveUp); 2] = [("stop_host", GiveUp::StopHost), ("degrade", GiveUp::Degrade)];
}

section! {
    /// A [`Restart`] as it is written in a file. What is left out stays as it is.
    pub struct RestartConfig {
        /// The delay before the first restart; it doubles with each further one in the window.
        pub initial: Option<Duration> = Time::from_millis(1),
        /// The longest delay.
        pub max: Option<Duration> = Time::from_millis(1),
        /// How many restarts a window may have.
        pub restarts_max: Option<u32> = Count::from(0),
        /// How long a window is.
        pub window: Option<Duration> = Time::from_millis(1),
        /// What follows when there were more.
        pub then: Option<GiveUp> = Words(&GiveUp::WORDS),
    }
}

impl RestartConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: Restart) -> Restart {
        let Self { initial, max, restarts_max, window, then } = *self;
        Restart {
            initial_ms: initial.map_or(base.initial_ms, millis).max(1),
            max_ms: max.map_or(base.max_ms, millis).max(1),
            restarts_max: restarts_max.unwrap_or(base.restarts_max),
            window_ms: window.map_or(base.window_ms, millis).max(1),
            then: then.unwrap_or(base.then),
        }
    }
}

impl From<RestartConfig> for Restart {
    fn from(config: RestartConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<Restart> for RestartConfig {
    fn from(restart: Restart) -> Self {
        let Restart { initial_ms, max_ms, restarts_max, window_ms, then } = restart;
        Self {
            initial: Some(Duration::from_millis(initial_ms)),
            max: Some(Duration::from_millis(max_ms)),
            restarts_max: Some(restarts_max),
            window: Some(Duration::from_millis(window_ms)),
            then: Some(then),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { initial_ms: 1_000, max_ms: 30_000, restarts_max: 5, window_ms: 300_000, then: GiveUp::StopHost }
    }
}

impl Restart {
    /// The delay before the first restart; at least 1 ms. It doubles with each further one inside the window.
    #[must_use]
    pub fn initial(mut self, delay: Duration) -> Self {
        self.initial_ms = millis(delay).max(1);
        self
    }

    /// The longest delay.
    #[must_use]
    pub fn max(mut self, delay: Duration) -> Self {
        self.max_ms = millis(delay).max(1);
        self
    }

    /// At most so many restarts in any window of this length; at least 1 ms, since one without length would have room for any.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, window: Duration) -> Self {
        self.restarts_max = restarts;
        self.window_ms = millis(window).max(1);
        self
    }

    /// What follows when there were more.
    #[must_use]
    pub fn then(mut self, give_up: GiveUp) -> Self {
        self.then = give_up;
        self
    }

    /// How many restarts a window may have.
    #[must_use]
    pub fn restarts_max(&self) -> u32 {
        self.restarts_max
    }

    /// How long a window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// The delay before restart number `restart` of a window, from 1.
    #[must_use]
    pub fn delay(&self, restart: u32) -> Duration {
        let backoff = Retry::exponential().jitter_percent(0);
        let backoff = backoff.initial(Duration::from_millis(self.initial_ms)).max(Duration::from_millis(self.max_ms));
        backoff.delay(restart, 0.5)
    }
}

/// What is to be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    StopHost,
    Degrade,
    Restart { delay: Duration },
}

/// The restarts of one worker that still count.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    recent: VecDeque<Duration>,
}

impl Restarts {
    /// What follows from a fault at `now`, under `policy`. A restart is counted.
    pub(crate) fn react(&mut self, policy: OnFault, now: Duration) -> Reaction {
        let restart = match policy {
            OnFault::StopHost => return Reaction::StopHost,
            OnFault::Degrade => return Reaction::Degrade,
            OnFault::Restart(restart) => restart,
        };
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= restart.window()) {
            self.recent.pop_front();
        }
        if self.recent.len() >= restart.restarts_max as usize {
            return match restart.then {
                GiveUp::StopHost => Reaction::StopHost,
                GiveUp::Degrade => Reaction::Degrade,
            };
        }
        self.recent.push_back(now);
        let number = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        Reaction::Restart { delay: restart.delay(number) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_that_faults_once_a_day_is_restarted_for_ever() {
        let mut restarts = Restarts::default();
        for day in 0..1_000 {
            let reaction = restarts.react(OnFault::restart(), SECOND * 86_400 * day);
            assert_eq!(reaction, Reaction::Restart { delay: SECOND });
        }
    }

    #[test]
    fn a_worker_that_cannot_start_is_given_up() {
        let mut restarts = Restarts::default();
        let mut now = Duration::ZERO;
        let mut delays = Vec::new();
        while let Reaction::Restart { delay } = restarts.react(OnFault::restart(), now) {
            now += delay;
            delays.push(delay.as_secs());
        }
        assert_eq!(delays, [1, 2, 4, 8, 16]);
    }

    proptest! {
        #[test]
        fn no_window_has_more_restarts_than_the_policy_allows(
            pauses in prop::collection::vec(0u64..100_000, 1..60), max in 0u32..6, window in 1u64..200_000,
        ) {
            let window = Duration::from_millis(window);
            let policy = OnFault::Restart(Restart::default().intensity(max, window));
            let mut restarts = Restarts::default();
            let mut now = Duration::ZERO;
            let mut granted: Vec<Duration> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                if let Reaction::Restart { .. } = restarts.react(policy, now) {
                    granted.push(now);
                }
                let recent = granted.iter().filter(|at| now - **at < window).count();
                prop_assert!(recent <= max as usize);
            }
        }
    }
}
