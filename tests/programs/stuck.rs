//! A real process that does not end by itself once it is told to: for the tests of who ends it.
//!
//! Its argument says what it is stuck in. Like the other programs it prints each event of its host as a word on a line, a
//! straggler, a blocked cycle and a blocked hook with their worker. Of another host it prints only that it has stopped.

use std::{io::Write, num::NonZeroU64, time::Duration};

use shiftwork::{Context, Continuous, Event, Failure, Host, HostReport, ServiceContext, StopBudget, Watchdog, Worker};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

fn main() -> HostReport {
    let stuck = std::env::args().nth(1).unwrap_or_default();
    let millis = Duration::from_millis;
    let budget = StopBudget::default().drain(millis(300)).cancel(millis(100)).close(millis(200));
    let watchdog = Watchdog::default().blocked_after(millis(200)).grace(millis(400));
    let watchdog = if stuck == "kept" { watchdog.keep_process() } else { watchdog };
    let host = Host::builder().stop_budget(budget).watchdog(watchdog).listener(|_: Instant, event: &Event| say(event));
    // One thread, which is also the host's.
    let runtime = one_thread();
    let report = runtime.block_on(async {
        match &*stuck {
            "cycle" => host.worker("spins", Continuous::new(), spins).run_until_signal().await,
            "output" => host.worker("holds", Continuous::new(), holds_the_output).run_until_signal().await,
            "start" | "stop" => {
                let hangs = Hangs { at_start: stuck == "start" };
                host.worker("hangs", Continuous::times(NonZeroU64::MIN), hangs).run_until_signal().await
            }
            "failed_start" => {
                let hangs = host.worker("hangs", Continuous::new(), Hangs { at_start: false });
                hangs.worker("fails", Continuous::new(), FailsToStart).after("hangs").run_until_signal().await
            }
            "asked" => host.service("leaves", asks).run_until_signal().await,
            "completed" => host.job("leaves", completes).run_until_signal().await,
            "beside" => tokio::join!(host.service("asks", asks_alone).run_until_signal(), run_another(LONG)).0,
            // The other host begins when this one runs, and has ended long before it stops.
            "between" => tokio::join!(host.service("leaves", leaves).run_until_signal(), run_another(millis(100))).0,
            "apart" => {
                // On a thread that nothing blocks.
                drop(std::thread::spawn(|| one_thread().block_on(run_another(LONG))));
                host.worker("spins", Continuous::new(), spins).run_until_signal().await
            }
            _ => host.service("leaves", leaves).run_until_signal().await,
        }
    });
    // Waits for what is on a blocking thread, as `#[tokio::main]` does before it returns.
    drop(runtime);
    report
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// For longer than a host has that was told to end.
const LONG: Duration = Duration::from_millis(2_500);

/// Another host of this process, which leaves signals alone.
async fn run_another(time: Duration) {
    let listener = |_: Instant, event: &Event| {
        if matches!(event, Event::HostStopped { .. }) {
            print("other_stopped");
        }
    };
    let serve = |cx: ServiceContext| async move {
        cx.stopped().await;
        Ok(())
    };
    let other = Host::builder().listener(listener).service("serves", serve);
    drop(other.run_until(tokio::time::sleep(time)).await);
}

/// Never comes to an await point.
fn spin() -> ! {
    loop {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

async fn spins((): (), _: Context) -> Result<(), Failure> {
    spin()
}

/// The same, with what the listener needs in its hands.
async fn holds_the_output((): (), _: Context) -> Result<(), Failure> {
    let _output = std::io::stdout().lock();
    spin()
}

/// One of its hooks never comes to an await point.
struct Hangs {
    at_start: bool,
}

impl Worker for Hangs {
    type Input = ();

    async fn start(&self) -> Result<(), Failure> {
        if self.at_start { spin() } else { Ok(()) }
    }

    async fn cycle(&self, (): (), _: &Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        spin()
    }
}

/// Its start hook fails.
struct FailsToStart;

impl Worker for FailsToStart {
    type Input = ();

    async fn start(&self) -> Result<(), Failure> {
        Err(Failure::transient("no database"))
    }

    async fn cycle(&self, (): (), _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

/// Leaves work behind on a blocking thread that never ends.
fn leave_work() {
    drop(tokio::task::spawn_blocking(|| {
        loop {
            std::thread::park();
        }
    }));
}

async fn leaves(cx: ServiceContext) -> Result<(), Failure> {
    leave_work();
    cx.stopped().await;
    Ok(())
}

async fn asks(cx: ServiceContext) -> Result<(), Failure> {
    cx.host().stop();
    leaves(cx).await
}

/// The same, and leaves nothing behind.
async fn asks_alone(cx: ServiceContext) -> Result<(), Failure> {
    cx.host().stop();
    cx.stopped().await;
    Ok(())
}

async fn completes(_: ServiceContext) -> Result<(), Failure> {
    leave_work();
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have one worker, or none")]
fn say(event: &Event) {
    print(&match event {
        Event::Straggler { worker, cycle, doing, .. } => {
            format!("straggler: worker {}, cycle {cycle}, {}", worker.0, doing.as_str())
        }
        Event::CycleBlocked { worker, cycle, .. } => format!("cycle_blocked: worker {}, cycle {cycle}", worker.0),
        Event::HookBlocked { worker, hook, .. } => format!("hook_blocked: worker {}, {}", worker.0, hook.as_str()),
        other => other.name().to_owned(),
    });
}

fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    // A test that has gone away does not matter to the worker.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
