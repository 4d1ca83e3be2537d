//! How long calls take when nothing is wrong.

use std::time::Duration;

use crate::plan::whole_ms;

/// How often a long tail may double: enough for any worst case that a test can wait for.
const DOUBLINGS_MAX: u32 = 32;

/// How long the calls of a dependency take when nothing is wrong, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    shape: Shape,
    low_ms: u64,
    high_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Uniform,
    LongTail,
}

impl Latency {
    /// No time at all: something inside the process.
    #[must_use]
    pub fn none() -> Self {
        Self { shape: Shape::Uniform, low_ms: 0, high_ms: 0 }
    }

    /// Always the same.
    #[must_use]
    pub fn constant(latency: Duration) -> Self {
        Self::uniform(latency, latency)
    }

    /// Anything from `low` to `high`, equally likely.
    #[must_use]
    pub fn uniform(low: Duration, high: Duration) -> Self {
        let low_ms = whole_ms(low);
        Self { shape: Shape::Uniform, low_ms, high_ms: whole_ms(high).max(low_ms) }
    }

    /// Mostly `typical`, now and then much longer, up to `worst`: three calls in four take from once to twice `typical`,
    /// and twice as long is four times as rare, which is about how the latencies of a loaded server are spread. One call
    /// in a thousand takes thirty times as long as `typical`.
    #[must_use]
    pub fn long_tail(typical: Duration, worst: Duration) -> Self {
        let low_ms = whole_ms(typical).max(1);
        Self { shape: Shape::LongTail, low_ms, high_ms: whole_ms(worst).max(low_ms) }
    }

    /// The latency of one call. What is always the same draws nothing.
    pub(crate) fn draw(self, chance: &mut fastrand::Rng) -> Duration {
        let Self { shape, low_ms, high_ms } = self;
        let ms = match shape {
            Shape::Uniform if low_ms == high_ms => low_ms,
            Shape::Uniform => chance.u64(low_ms..=high_ms),
            // Whole numbers only: a power of a float may differ between machines, and a plan must replay on all.
            Shape::LongTail => {
                let doublings = (0..DOUBLINGS_MAX).take_while(|_| chance.u8(0..4) == 0).count();
                let base = (0..doublings).fold(low_ms, |ms, _| ms.saturating_mul(2));
                base.saturating_add(chance.u64(0..base.max(1))).min(high_ms)
            }
        };
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(latency: Latency) -> Vec<u64> {
        let mut chance = fastrand::Rng::with_seed(7);
        let mut times: Vec<_> = (0..10_000).map(|_| whole_ms(latency.draw(&mut chance))).collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn a_long_tail_is_mostly_typical_and_sometimes_very_long() {
        let times = drawn(Latency::long_tail(Duration::from_millis(10), Duration::from_secs(2)));
        assert_eq!(times[0], 10);
        assert!((17..20).contains(&times[7_000]), "seven in ten are below {}", times[7_000]);
        assert!((200..800).contains(&times[9_990]), "one in a thousand is above {}", times[9_990]);
        assert!(times[9_999] <= 2_000);
    }

    #[test]
    fn a_uniform_latency_reaches_both_of_its_ends_and_no_further() {
        let times = drawn(Latency::uniform(Duration::from_millis(5), Duration::from_millis(9)));
        assert_eq!((times[0], times[9_999]), (5, 9));
    }
}
