//! Reckoning with the wall time.

use std::time::Duration;

use jiff::Timestamp;

/// `time` and `by` later; the end of the calendar if that comes before.
///
/// It is on the path of each delivery, where the general arithmetic of the calendar shows in a profile.
#[must_use]
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = i64::try_from(by.as_secs()).ok().and_then(|by| time.as_second().checked_add(by));
    // Both are below a second, so that the sum fits. What is a second or more is carried by `new` only across zero.
    let nanoseconds = time.subsec_nanosecond() + by.subsec_nanos().cast_signed();
    let (carry, nanoseconds) =
        if nanoseconds >= NANOSECONDS { (1, nanoseconds - NANOSECONDS) } else { (0, nanoseconds) };
    let seconds = seconds.and_then(|seconds| seconds.checked_add(carry));
    seconds.and_then(|seconds| Timestamp::new(seconds, nanoseconds).ok()).unwrap_or(Timestamp::MAX)
}

/// The time from `from` to `to`; none at all if the clock has gone back.
///
/// ```
/// use std::time::Duration;
/// use shiftwork_queue::{Timestamp, between, later};
///
/// let noon = Timestamp::UNIX_EPOCH;
/// let soon = later(noon, Duration::from_secs(5));
/// assert_eq!(between(noon, soon), Duration::from_secs(5));
/// assert_eq!(between(soon, noon), Duration::ZERO);
/// ```
#[must_use]
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// In a second.
const NANOSECONDS: i32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        assert_eq!(later(Timestamp::MAX, Duration::from_nanos(1)), Timestamp::MAX);
        assert_eq!(later(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_adds_as_the_calendar_does(
            seconds in -300_000_000_000i64..250_000_000_000,
            nanoseconds in -999_999_999i32..=999_999_999,
            by in (0u64..600_000_000_000, 0u32..1_000_000_000),
        ) {
            let time = Timestamp::new(seconds, nanoseconds).unwrap();
            let by = Duration::new(by.0, by.1);
            prop_assert_eq!(later(time, by), time.checked_add(by).unwrap_or(Timestamp::MAX));
        }
    }
}
