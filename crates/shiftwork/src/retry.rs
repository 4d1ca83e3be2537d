//! When a failed attempt is tried again: the arithmetic of backoff, as pure functions.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::{
    form::{Count, OrNone, Time},
    section::section,
};

/// Exponential backoff with jitter, capped in attempts and, if asked for, in total time.
///
/// The delay before attempt *n + 1* is `initial × factorⁿ⁻¹`, at most `max`, spread by `jitter` to either side.
/// [`Default`] is 5 attempts, from 1 s, doubling, at most 5 minutes, ± 20 %: the whole series takes about
/// 15 s, long enough for a restart of the other side, short enough that a person sees the dead letter the same minute.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::Retry;
///
/// let retry = Retry::exponential().initial(Duration::from_secs(2)).attempts_max(4).jitter_percent(0);
/// assert_eq!(retry.delay(1, 0.5), Duration::from_secs(2));
/// assert_eq!(retry.delay(3, 0.5), Duration::from_secs(8));
/// assert!(retry.allows(3) && !retry.allows(4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "RetryConfig", into = "RetryConfig")]
pub struct Retry {
    attempts_max: u32,
    initial_ms: u64,
    factor: u32,
    max_ms: u64,
    jitter_percent: u8,
    asked_max_ms: Option<u64>,
    total_max_ms: Option<u64>,
}

section! {
    /// A [`Retry`] as it is written in a file. What is left out stays as it is.
    pub struct RetryConfig {
        /// How many attempts there are in all, the first one included.
        pub attempts_max: Option<u32> = Count::from(1),
        /// The delay after the first failure.
        pub initial: Option<Duration> = Time::from_millis(1),
        /// What each further delay is multiplied by.
        pub factor: Option<u32> = Count::from(1),
        /// The longest delay of the backoff, before jitter. What a failure asks for may be longer.
        pub max: Option<Duration> = Time::from_millis(1),
        /// How far a delay is spread to either side, in percent of it.
        pub jitter_percent: Option<u8> = Count::between(0, 100),
        /// The longest delay that [`Failure::retry_after`](crate::Failure::retry_after) may ask for; what asks for more waits so
        /// long.
        pub asked_max: Option<Option<Duration>> = OrNone(Time::from_millis(1)),
        /// How long there may be attempts at one input.
        pub total_max: Option<Option<Duration>> = OrNone(Time::from_millis(1)),
    }
}

impl RetryConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: Retry) -> Retry {
        let Self { attempts_max, initial, factor, max, jitter_percent, asked_max, total_max } = *self;
        Retry {
            attempts_max: attempts_max.unwrap_or(base.attempts_max).max(1),
            initial_ms: initial.map_or(base.initial_ms, millis).max(1),
            factor: factor.unwrap_or(base.factor).max(1),
            max_ms: max.map_or(base.max_ms, millis).max(1),
            jitter_percent: jitter_percent.unwrap_or(base.jitter_percent).min(100),
            asked_max_ms: asked_max.map_or(base.asked_max_ms, |asked| asked.map(|asked| millis(asked).max(1))),
            total_max_ms: total_max.map_or(base.total_max_ms, |total| total.map(|total| millis(total).max(1))),
        }
    }
}

impl From<RetryConfig> for Retry {
    fn from(config: RetryConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<Retry> for RetryConfig {
    fn from(retry: Retry) -> Self {
        let Retry { attempts_max, initial_ms, factor, max_ms, jitter_percent, asked_max_ms, total_max_ms } = retry;
        Self {
            attempts_max: Some(attempts_max),
            initial: Some(Duration::from_millis(initial_ms)),
            factor: Some(factor),
            max: Some(Duration::from_millis(max_ms)),
            jitter_percent: Some(jitter_percent),
            asked_max: Some(asked_max_ms.map(Duration::from_millis)),
            total_max: Some(total_max_ms.map(Duration::from_millis)),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            initial_ms: 1_000,
            factor: 2,
            max_ms: 300_000,
            jitter_percent: 20,
            asked_max_ms: Some(3_600_000),
            total_max_ms: None,
        }
    }
}

impl Retry {
    /// The default policy, to be changed by the methods below.
    #[must_use]
    pub fn exponential() -> Self {
        Self::default()
    }

    /// No second attempt.
    #[must_use]
    pub fn never() -> Self {
        Self::default().attempts_max(1)
    }

    /// How many attempts there are in all, the first one included; at least 1.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts.max(1);
        self
    }

    /// The delay after the first failure, in whole milliseconds; at least 1 ms, so that no policy is a hot loop.
    #[must_use]
    pub fn initial(mut self, delay: Duration) -> Self {
        self.initial_ms = millis(delay).max(1);
        self
    }

    /// What each further delay is multiplied by; at least 1.
    #[must_use]
    pub fn factor(mut self, factor: u32) -> Self {
        self.factor = factor.max(1);
        self
    }

    /// The longest delay, before jitter.
    #[must_use]
    pub fn max(mut self, delay: Duration) -> Self {
        self.max_ms = millis(delay).max(1);
        self
    }

    /// How far a delay is spread to either side, in percent of it; at most 100. Jitter keeps a thousand workers
    /// that failed together from coming back together.
    #[must_use]
    pub fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent.min(100);
        self
    }

    /// How long a failure may ask its retry to wait ([`Failure::retry_after`](crate::Failure::retry_after)), in whole
    /// milliseconds; 1 hour by default. At least 1 ms.
    ///
    /// What asks for more waits so long, and may ask again. A wait comes out of somebody's header most often, and a wrong one
    /// would park the lane of a schedule for good. The backoff is not cut, and neither is what a cycle says by itself
    /// ([`Failure::snooze`](crate::Failure::snooze)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use shiftwork::Retry;
    ///
    /// let retry = Retry::exponential().asked_max(Duration::from_secs(600));
    /// assert_eq!(retry.grants(Duration::from_secs(30)), Duration::from_secs(30));
    /// assert_eq!(retry.grants(Duration::from_secs(86_400)), Duration::from_secs(600));
    /// ```
    #[must_use]
    pub fn asked_max(mut self, delay: Duration) -> Self {
        self.asked_max_ms = Some(millis(delay).max(1));
        self
    }

    /// Lets a failure ask its retry to wait for as long as it likes.
    #[must_use]
    pub fn no_asked_max(mut self) -> Self {
        self.asked_max_ms = None;
        self
    }

    /// How long a failure may ask its retry to wait; `None` is without limit.
    #[must_use]
    pub fn asked(&self) -> Option<Duration> {
        self.asked_max_ms.map(Duration::from_millis)
    }

    /// How long a retry waits for a failure that asked for `delay`, if the backoff is not longer.
    #[must_use]
    pub fn grants(&self, delay: Duration) -> Duration {
        self.asked().map_or(delay, |longest| delay.min(longest))
    }

    /// How long there may be attempts at one input, in whole milliseconds; without limit by default. At least 1 ms.
    ///
    /// An attempt that would begin later than this is not made: the input is exhausted, whatever attempts are left. The
    /// first attempt is always made, and one that was promised is made however late its turn comes. The time counts from
    /// the first attempt for a tick or a continuous input (the last one, if it was snoozed at that), and from the first claim of a
    /// delivery, whichever process made it: what it waited for its turn before does not count, and a requeue from the dead letters begins anew.
    #[must_use]
    pub fn total_max(mut self, time: Duration) -> Self {
        self.total_max_ms = Some(millis(time).max(1));
        self
    }

    /// How long there may be attempts at one input; `None` is without limit.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        self.total_max_ms.map(Duration::from_millis)
    }

    /// Whether an attempt may begin at an input this long after its time began to count.
    #[must_use]
    pub fn allows_after(&self, elapsed: Duration) -> bool {
        self.total().is_none_or(|total| elapsed <= total)
    }

    /// Whether another attempt may follow attempt number `attempt` (from 1).
    #[must_use]
    pub fn allows(&self, attempt: u32) -> bool {
        attempt < self.attempts_max
    }

    /// The number of attempts in all.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts_max
    }

    /// The delay after attempt number `attempt` (from 1) failed. `chance` is a draw from 0 to 1: 0.5 is the middle of
    /// the jitter.
    #[must_use]
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let (low, high) = self.bounds(attempt);
        low + (high - low).mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The shortest and the longest delay that jitter allows after attempt number `attempt`.
    #[must_use]
    pub fn bounds(&self, attempt: u32) -> (Duration, Duration) {
        let growth = u64::from(self.factor).saturating_pow(attempt.saturating_sub(1));
        let middle = self.initial_ms.saturating_mul(growth).min(self.max_ms).max(1);
        let middle = Duration::from_millis(middle);
        let spread = middle * u32::from(self.jitter_percent) / 100;
        ((middle - spread).max(Duration::from_millis(1)), middle + spread)
    }
}

/// Policies keep whole milliseconds, which is what timers resolve.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `time` and `delay` later; as far away as makes no difference where the clock does not reach that far.
pub(crate) fn later(time: Instant, delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    time.checked_add(delay).unwrap_or_else(|| time + FAR)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_stays_in_its_bounds_and_never_shrinks_with_attempts(
            initial in 0u64..10_000, factor in 0u32..10, max in 0u64..1_000_000, jitter in 0u8..=255,
            attempt in 1u32..200, chance in 0.0f64..=1.0,
        ) {
            let retry = Retry::exponential()
                .initial(Duration::from_millis(initial))
                .factor(factor)
                .max(Duration::from_millis(max))
                .jitter_percent(jitter);
            let delay = retry.delay(attempt, chance);
            let (low, high) = retry.bounds(attempt);
            prop_assert!(low <= delay && delay <= high);
            prop_assert!(delay >= Duration::from_millis(1), "a hot loop");
            prop_assert!(high <= Duration::from_millis(max.max(1)) * 2);
            prop_assert!(retry.bounds(attempt + 1).0 >= low);
        }
    }

    #[test]
    fn the_default_series_takes_about_fifteen_seconds() {
        let retry = Retry::default();
        let total: Duration = (1..retry.attempts()).map(|attempt| retry.delay(attempt, 0.5)).sum();
        assert_eq!(total, Duration::from_secs(15));
    }

    #[test]
    fn a_written_policy_is_checked_and_its_error_names_the_key_and_what_is_accepted() {
        let read = |json: &str| serde_json::from_str::<Retry>(json).map_err(|error| error.to_string());
        let refusal = |json: &str| read(json).unwrap_err().split(" at line").next().unwrap_or_default().to_owned();
        assert_eq!(read(r#"{"attempts_max": 9}"#), Ok(Retry::default().attempts_max(9)));
        let percent = "jitter_percent is 200; accepted is a whole number from 0 to 100";
        assert_eq!(refusal(r#"{"jitter_percent": 200}"#), percent);
        assert_eq!(refusal(r#"{"factor": 0}"#), "factor is 0; accepted is a whole number from 1 to 4294967295");
        assert!(
            refusal(r#"{"total_max": "0s"}"#).starts_with("total_max is \"0s\"; accepted is a time of at least 1ms")
        );
        assert!(
            refusal(r#"{"asked_max": "0s"}"#).starts_with("asked_max is \"0s\"; accepted is a time of at least 1ms")
        );
        assert_eq!(read(r#"{"asked_max": "none"}"#), Ok(Retry::default().no_asked_max()));
        let cut = Retry::default().asked_max(Duration::from_secs(90));
        assert_eq!(read(r#"{"asked_max": "1m 30s"}"#), Ok(cut));
        assert_eq!(read(&serde_json::to_string(&cut.no_asked_max()).unwrap()), Ok(cut.no_asked_max()));
        let limited = Retry::default().total_max(Duration::from_secs(60));
        assert_eq!(read(r#"{"total_max": "1m"}"#), Ok(limited));
        assert_eq!(read(&serde_json::to_string(&limited).unwrap()), Ok(limited));
        assert_eq!(read(&serde_json::to_string(&Retry::default()).unwrap()), Ok(Retry::default()));
        assert!(
            refusal(r#"{"tries": 3}"#).starts_with("tries does not exist; accepted here are attempts_max, initial")
        );
    }

    #[test]
    fn the_last_attempt_allows_no_other() {
        assert!(!Retry::never().allows(1));
        assert!(Retry::default().allows(4) && !Retry::default().allows(5));
    }
}
