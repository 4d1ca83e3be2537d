//! A budget for the retries of a worker, so that a failing dependency does not get the load twice.
//!
//! [`RetryBudget`] is the policy, [`Account`] the state of one worker's budget. A breaker sees an outage, where everything
//! fails in a row; a dependency that fails half of the time is seen by nobody but the budget. Rule B2 of
//! `docs/lifecycle.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::{form::Count, section::section};

/// How many retries a worker makes at most: so many a second, and a share of its successes beside them.
///
/// A retry that the budget has no room for is not lost: it waits until there is room, longer than its backoff. A retry is counted when its
/// attempt fails, not when it is made: of attempts that have failed over a long time and all wait for one moment
/// ([`Failure::retry_after`](crate::Failure::retry_after)) more may be made at that moment than at once; a
/// [rate limit](crate::RateLimit) is what bounds those. [`Default`] is
/// 10 a second, 100 at once after a quiet time, and one for every five successes.
///
/// ```
/// use shiftwork::{Context, Failure, Host, QueueSourceExt, RetryBudget, queue::MemoryQueue};
///
/// # let send = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
/// let host = Host::builder()
///     .worker("mails", MemoryQueue::<u32>::new().source(), send)
///     .retry_budget(RetryBudget::per_second(2).burst(20).share_percent(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "RetryBudgetConfig", into = "RetryBudgetConfig")]
pub struct RetryBudget {
    per_second: u32,
    burst: u32,
    share_percent: u8,
}

section! {
    /// A [`RetryBudget`] as it is written in a file. What is left out stays as it is.
    pub struct RetryBudgetConfig {
        /// How many retries there may be a second whatever succeeds.
        pub per_second: Option<u32> = Count::from(1),
        /// How many there may be at once after a quiet time.
        pub burst: Option<u32> = Count::from(1),
        /// How many more there may be, in percent of the successes.
        pub share_percent: Option<u8> = Count::between(0, 100),
    }
}

impl RetryBudgetConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: RetryBudget) -> RetryBudget {
        let Self { per_second, burst, share_percent } = *self;
        RetryBudget {
            per_second: per_second.unwrap_or(base.per_second).max(1),
            burst: burst.unwrap_or(base.burst).max(1),
            share_percent: share_percent.unwrap_or(base.share_percent).min(100),
        }
    }
}

impl From<RetryBudgetConfig> for RetryBudget {
    fn from(config: RetryBudgetConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<RetryBudget> for RetryBudgetConfig {
    fn from(budget: RetryBudget) -> Self {
        let RetryBudget { per_second, burst, share_percent } = budget;
        Self { per_second: Some(per_second), burst: Some(burst), share_percent: Some(share_percent) }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { per_second: 10, burst: 100, share_percent: 20 }
    }
}

impl RetryBudget {
    /// So many retries a second whatever succeeds; at least 1. A worker that seldom runs has these alone.
    #[must_use]
    pub fn per_second(retries: u32) -> Self {
        Self { per_second: retries.max(1), ..Self::default() }
    }

    /// How many retries there may be at once after a quiet time; at least 1.
    #[must_use]
    pub fn burst(mut self, retries: u32) -> Self {
        self.burst = retries.max(1);
        self
    }

    /// How many more there may be, in percent of the successes; at most 100.
    #[must_use]
    pub fn share_percent(mut self, percent: u8) -> Self {
        self.share_percent = percent.min(100);
        self
    }

    /// How many retries may have been due at most when this much time has passed, and this many cycles have succeeded.
    #[must_use]
    pub fn at_most(&self, time: Duration, successes: u64) -> u64 {
        let by_time = time.as_millis().saturating_mul(u128::from(self.per_second)) / 1_000;
        let by_share = u128::from(successes).saturating_mul(u128::from(self.share_percent)) / 100;
        // One more for what is lost by rounding down, twice.
        u64::try_from(by_time.saturating_add(by_share)).unwrap_or(u64::MAX).saturating_add(u64::from(self.burst) + 1)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// The state of one worker's budget, kept as a time: when it would be full again if no more retries came.
#[derive(Debug)]
pub(crate) struct Account {
    budget: RetryBudget,
    full_at: Instant,
    /// The successes that are paid in.
    successes: u64,
}

impl Account {
    /// A full one.
    pub(crate) fn new(budget: RetryBudget, now: Instant) -> Self {
        Self { budget, full_at: now, successes: 0 }
    }

    /// One retry is to be made, after `successes` cycles in all that succeeded: how long it must wait at least.
    pub(crate) fn spend(&mut self, successes: u64, now: Instant) -> Duration {
        let interval = self.budget.interval();
        let new = successes.saturating_sub(self.successes);
        self.successes = self.successes.max(successes);
        let earned = interval.as_nanos().saturating_mul(u128::from(new) * u128::from(self.budget.share_percent)) / 100;
        let earned = Duration::from_nanos(u64::try_from(earned).unwrap_or(u64::MAX));
        let full_in = self.full_at.saturating_duration_since(now).saturating_sub(earned);
        // Beyond the clock's end it is full no earlier.
        self.full_at = now.checked_add(full_in.saturating_add(interval)).unwrap_or(self.full_at);
        full_in.saturating_sub(interval.saturating_mul(self.budget.burst - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_budget_has_no_room_for_waits_its_turn() {
        let now = Instant::now();
        let mut account = Account::new(RetryBudget::per_second(2).burst(3).share_percent(0), now);
        let waits: Vec<u128> = (0..6).map(|_| account.spend(0, now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 500, 1_000, 1_500]);
        assert_eq!(account.spend(0, now + Duration::from_secs(60)), Duration::ZERO, "it has filled again");
    }

    #[test]
    fn successes_pay_for_retries() {
        let now = Instant::now();
        let mut account = Account::new(RetryBudget::per_second(1).burst(1).share_percent(50), now);
        assert_eq!(account.spend(0, now), Duration::ZERO);
        assert_eq!(account.spend(0, now), Duration::from_secs(1));
        assert_eq!(account.spend(4, now), Duration::ZERO, "four successes are two retries");
        assert_eq!(account.spend(4, now), Duration::from_secs(1), "and are paid in once");
    }

    proptest! {
        #[test]
        fn no_more_retries_are_due_than_the_budget_says(
            per_second in 1u32..50, burst in 1u32..50, share in 0u8..=100,
            steps in prop::collection::vec((0u64..300, 0u64..20), 1..300),
        ) {
            let budget = RetryBudget::per_second(per_second).burst(burst).share_percent(share);
            let began = Instant::now();
            let mut account = Account::new(budget, began);
            let (mut now, mut successes, mut due) = (began, 0, Vec::new());
            for (passes_ms, more) in steps {
                now += Duration::from_millis(passes_ms);
                successes += more;
                let at = now + account.spend(successes, now);
                due.push(at);
                let so_far = due.iter().filter(|other| **other <= at).count() as u64;
                prop_assert!(so_far <= budget.at_most(at - began, successes));
            }
        }
    }
}
