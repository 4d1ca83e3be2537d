//! The machine's clocks, which time the benchmarks; reading one is itself the yardstick of the cycle's budget.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Real time, also where tokio's clock is paused.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[must_use]
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// The processor time that this process has used so far, on all of its threads, in the kernel as well.
///
/// Unlike real time it stands still while other programs have the processor.
#[must_use]
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long it takes to read the clock twice, `times` times.
#[must_use]
pub fn read_twice(times: u64) -> Duration {
    let began = now();
    for _ in 0..times {
        let first = black_box(now());
        black_box(now() - first);
    }
    began.elapsed()
}
