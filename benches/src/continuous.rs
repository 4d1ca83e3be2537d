//! Cycles that follow each other without a pause and do nothing: what is left is what a cycle costs.

use std::{
    future::pending,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shiftwork::{
    Breaker, Context, Continuous, Failure, Host, HostBuilder, RateLimit, RetryBudget, Worker, WorkerBuilder,
};

use crate::{
    clock,
    guard::{Counts, guarded, work},
    one_thread,
};

struct Idle;

impl Worker for Idle {
    type Input = ();

    async fn cycle(&self, (): (), _: &Context) -> Result<(), Failure> {
        Ok(work(0).await?)
    }
}

/// A host with one continuous worker, from its start to its end.
///
/// # Panics
///
/// When not all of the cycles succeeded.
#[must_use]
pub fn on_shiftwork(cycles: u64) -> Duration {
    run(cycles, WorkerBuilder::host)
}

/// The same with every policy that a worker can have.
///
/// # Panics
///
/// As [`on_shiftwork`].
#[must_use]
pub fn with_every_policy(cycles: u64) -> Duration {
    run(cycles, every_policy)
}

/// Gives a worker every policy that it can have and has not by default, with nothing for any of them to do: a breaker, a limit on the
/// time without progress, a rate limit far off, a retry budget, a classification of errors, a hook for escalations.
#[must_use]
pub fn every_policy(worker: WorkerBuilder) -> HostBuilder {
    worker
        .breaker(Breaker::after(5))
        .progress_timeout(Duration::from_secs(60))
        .rate_limit(RateLimit::of(u32::MAX, Duration::from_secs(1)))
        .retry_budget(RetryBudget::per_second(10))
        .classify(|_| None)
        .on_escalation(|_| {})
        .host()
}

fn run(cycles: u64, policies: fn(WorkerBuilder) -> HostBuilder) -> Duration {
    let times = NonZeroU64::new(cycles).expect("at least one cycle is measured");
    let host = policies(Host::builder().worker("idle", Continuous::times(times), Idle));
    let runtime = one_thread();
    let began = clock::now();
    let report = runtime.block_on(host.run_until(pending()));
    let took = began.elapsed();
    assert_eq!(report.workers[0].cycles.succeeded, cycles);
    took
}

/// A task with a loop: a flag that stops it, two clock reads, a span, panics caught, and a turn for other tasks.
///
/// # Panics
///
/// When not all of the cycles succeeded.
#[must_use]
pub fn by_hand(cycles: u64) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(Counts::default());
    let runtime = one_thread();
    let began = clock::now();
    runtime
        .block_on(async { tokio::spawn(repeat(cycles, stop.clone(), counts.clone())).await })
        .expect("panics are caught in the loop");
    let took = began.elapsed();
    assert_eq!(counts.succeeded(), cycles);
    took
}

async fn repeat(cycles: u64, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    for cycle in 0..cycles {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let span = tracing::info_span!("cycle", worker = "idle", cycle);
        guarded(work(0), span, &counts).await;
        tokio::task::coop::consume_budget().await;
    }
}
