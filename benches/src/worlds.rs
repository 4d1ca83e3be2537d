//! Whole worlds: ten seconds in which three workers run a hundred cycles each, with the rules of the lifecycle checked
//! on every event.
//!
//! A cycle waits, in one of two ways: a sleep of its own, or a call to a dependency of the world, which is two sleeps
//! (there and back) and three records. Beside it stands what nobody can be faster than on tokio: a paused runtime with
//! nothing in it but three loops that wait as often, without a host, rules, a fingerprint or a thread for each world. And
//! beside that the loops of somebody who would also like to stop them, and to hear of a panic. What the simulator itself
//! costs is told by the same host on such a runtime, as a test runs it that nobody simulates.

use std::{sync::Arc, time::Duration};

use shiftwork::{Context, Failure, Host, HostBuilder, HostReport, Schedule, Signal, Tick, Worker};
use shiftwork_sim::{
    Dependency, Fault, Outcome, Plan,
    dependency::Latency,
    millis, secs,
    world::{self, Options},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    clock,
    guard::{Counts, guarded, work},
    paused,
};

const WORKERS: [&str; 3] = ["first", "second", "third"];
const CYCLES: u64 = 100;
const PERIOD: Duration = millis(100);
/// How long a cycle waits: the two halves of a call, in the whole milliseconds that timers resolve.
const THERE: Duration = millis(2);
const BACK: Duration = millis(3);
/// After the last cycle, before what would be the next.
const STOP_MS: u64 = 9_950;

/// What a cycle waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// A sleep of its own.
    Sleep,
    /// A call to a dependency.
    Call,
}

/// Worlds with every rule on, each with a seed of its own.
///
/// # Panics
///
/// When a rule broke or a cycle is missing.
#[must_use]
pub fn on_shiftwork(waits: Waits, worlds: u64) -> Duration {
    let began = clock::now();
    for seed in 0..worlds {
        let outcome = run(waits, seed);
        outcome.assert_rules_kept();
        assert_ran(outcome.report().expect("the host has ended"));
    }
    began.elapsed()
}

/// That every cycle was run.
fn assert_ran(report: &HostReport) {
    let succeeded = report.workers.iter().map(|worker| worker.cycles.succeeded);
    assert_eq!(succeeded.sum::<u64>(), CYCLES * WORKERS.len() as u64);
}

/// One world.
pub fn run(waits: Waits, seed: u64) -> Outcome {
    let mut plan = Plan::quiet("benchmark", seed);
    plan.faults.push(Fault::new(STOP_MS, Signal::Terminate.into()));
    let options = Options { once: true, horizon: Some(secs(60)), ..Options::default() };
    world::run(&plan, options, |world| {
        let called = match waits {
            Waits::Sleep => None,
            Waits::Call => Some(world.dependency_with("called", Latency::constant(THERE + BACK))),
        };
        world.node("node", move |node| host(node.host(), waits, called.as_ref()).run_until_signal());
    })
}

/// One of the three workers.
struct Beat {
    waits: Waits,
    called: Option<Dependency>,
}

impl Worker for Beat {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        match &self.called {
            None => wait(self.waits).await,
            Some(called) => called.call(async {}).await?,
        }
        Ok(())
    }
}

fn host(host: HostBuilder, waits: Waits, called: Option<&Dependency>) -> HostBuilder {
    WORKERS.into_iter().fold(host, |host, name| {
        host.worker(name, Schedule::every(PERIOD), Beat { waits, called: called.cloned() }).host()
    })
}

/// The same host on a bare runtime of its own for each world, told to stop when that of the worlds is.
///
/// # Panics
///
/// When a cycle is missing.
#[must_use]
pub fn unsimulated(waits: Waits, worlds: u64) -> Duration {
    let began = clock::now();
    for _ in 0..worlds {
        let run = async { host(Host::builder(), waits, None).run_until(sleep(Duration::from_millis(STOP_MS))).await };
        assert_ran(&paused().block_on(run));
    }
    began.elapsed()
}

/// The loops alone, on a runtime of their own for each world.
///
/// # Panics
///
/// When a loop panics.
#[must_use]
pub fn by_hand(waits: Waits, worlds: u64) -> Duration {
    let began = clock::now();
    for _ in 0..worlds {
        paused().block_on(beats(waits));
    }
    began.elapsed()
}

/// The three loops, to their end, on the runtime that runs.
///
/// # Panics
///
/// When a loop panics.
pub async fn beats(waits: Waits) {
    for task in WORKERS.map(|_| tokio::spawn(beat(waits))) {
        task.await.expect("the loop does not panic");
    }
}

async fn beat(waits: Waits) {
    let mut interval = tokio::time::interval(PERIOD);
    for _ in 0..CYCLES {
        interval.tick().await;
        wait(waits).await;
    }
}

async fn wait(waits: Waits) {
    match waits {
        Waits::Sleep => sleep(THERE + BACK).await,
        Waits::Call => {
            sleep(THERE).await;
            sleep(BACK).await;
        }
    }
}

/// The loops as they pass a review, on a runtime of their own for each world: what every loop by hand here has around its
/// work, and an order to stop, which comes when that of the worlds does.
///
/// # Panics
///
/// When a cycle is missing.
#[must_use]
pub fn by_careful_hand(waits: Waits, worlds: u64) -> Duration {
    let began = clock::now();
    for _ in 0..worlds {
        let counts = Arc::new(Counts::default());
        paused().block_on(async {
            let (stop, stopped) = watch::channel(false);
            let tasks = WORKERS.map(|name| tokio::spawn(careful_beat(name, waits, stopped.clone(), counts.clone())));
            sleep(Duration::from_millis(STOP_MS)).await;
            stop.send_replace(true);
            for task in tasks {
                task.await.expect("panics are caught in the loop");
            }
        });
        assert_eq!(counts.succeeded(), CYCLES * WORKERS.len() as u64);
    }
    began.elapsed()
}

async fn careful_beat(name: &'static str, waits: Waits, mut stopped: watch::Receiver<bool>, counts: Arc<Counts>) {
    let mut interval = tokio::time::interval(PERIOD);
    for tick in 1_u64.. {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            _ = interval.tick() => {}
        }
        let span = tracing::info_span!("cycle", worker = name, tick);
        let cycle = async {
            wait(waits).await;
            work(tick).await
        };
        guarded(cycle, span, &counts).await;
    }
}
