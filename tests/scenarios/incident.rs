//! *Incident*: the application that the tests run both as a real process and in a world, to hold the two together.
//!
//! Its events come in one order whatever the machine's speed: "once" fails, is tried again, and runs to its end; "stuck" takes no
//! notice of anything until it is dropped.

use shiftwork::{Context, Continuous, Failure, HostBuilder, Retry, StopBudget};
use shiftwork_sim::millis;

/// Builds the application. When it is `faulty`, "once" cannot go on instead.
pub fn application(host: HostBuilder, faulty: bool) -> HostBuilder {
    let once = move |(): (), cx: Context| async move {
        match cx.attempt() {
            _ if faulty => Err(Failure::fatal("credentials were revoked")),
            1 => Err(Failure::transient("not yet")),
            _ => Ok(()),
        }
    };
    let stuck = |(): (), _: Context| std::future::pending::<Result<(), Failure>>();
    let quick = Retry::exponential().initial(millis(20)).jitter_percent(0);
    let budget = StopBudget::default().drain(millis(300)).cancel(millis(100)).close(millis(500));
    host.stop_budget(budget)
        .worker("stuck", Continuous::new(), stuck)
        .worker("once", Continuous::times(std::num::NonZeroU64::MIN), once)
        .after("stuck")
        .retry(quick)
        .host()
}
