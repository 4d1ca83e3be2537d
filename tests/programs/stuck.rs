//! A real process that does not end by itself once it is told to: for the tests of who ends it.
//!
//! Its argument says what it is stuck in. Like the other programs it prints each event of its host as a word on a line, a
//! straggler and a blocked cycle with their worker.

use std::{io::Write, time::Duration};

use shiftwork::{Context, Continuous, Event, Failure, Host, HostReport, ServiceContext, StopBudget, Watchdog};
use tokio::{runtime::Builder, time::Instant};

fn main() -> HostReport {
    let stuck = std::env::args().nth(1).unwrap_or_default();
    let millis = Duration::from_millis;
    let budget = StopBudget::default().drain(millis(300)).cancel(millis(100)).close(millis(200));
    let watchdog = Watchdog::default().blocked_after(millis(200)).grace(millis(400));
    let watchdog = if stuck == "kept" { watchdog.keep_process() } else { watchdog };
    let host = Host::builder().stop_budget(budget).watchdog(watchdog).listener(|_: Instant, event: &Event| say(event));
    // One thread, which is also the host's.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(async {
        match &*stuck {
            "cycle" => host.worker("spins", Continuous::new(), spins).run_until_signal().await,
            _ => host.service("leaves", leaves).run_until_signal().await,
        }
    });
    // Waits for what is on a blocking thread, as `#[tokio::main]` does before it returns.
    drop(runtime);
    report
}

/// Never comes to an await point.
async fn spins((): (), _: Context) -> Result<(), Failure> {
    loop {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Ends well, and leaves work behind on a blocking thread that never does.
async fn leaves(cx: ServiceContext) -> Result<(), Failure> {
    drop(tokio::task::spawn_blocking(|| {
        loop {
            std::thread::park();
        }
    }));
    cx.stopped().await;
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have one worker, or none")]
fn say(event: &Event) {
    let mut out = std::io::stdout().lock();
    // A test that has gone away does not matter to the worker.
    let _ = match event {
        Event::Straggler { worker, cycle, doing, .. } => {
            writeln!(out, "straggler: worker {}, cycle {cycle}, {}", worker.0, doing.as_str())
        }
        Event::CycleBlocked { worker, cycle, .. } => writeln!(out, "cycle_blocked: worker {}, cycle {cycle}", worker.0),
        other => writeln!(out, "{}", other.name()),
    };
    let _ = out.flush();
}
