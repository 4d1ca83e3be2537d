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

use shiftwork::{Context, Continuous, Failure, Host, Worker};

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
    let times = NonZeroU64::new(cycles).expect("at least one cycle is measured");
    let host = Host::builder().worker("idle", Continuous::times(times), Idle);
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
