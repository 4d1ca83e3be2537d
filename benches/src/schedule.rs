//! Ticks of a schedule, on a paused clock: on a real one, both sides would only wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use shiftwork::{Context, Failure, Host, Schedule, Tick, Worker};
use tokio::sync::{Notify, watch};

use crate::{
    clock,
    guard::{Counts, guarded, work},
    paused,
};

const PERIOD: Duration = Duration::from_millis(1);

/// Counts ticks and says when it has seen the last one.
struct Ticker {
    left: AtomicU64,
    done: Arc<Notify>,
}

impl Worker for Ticker {
    type Input = Tick;

    async fn cycle(&self, tick: Tick, _: &Context) -> Result<(), Failure> {
        work(tick.number).await?;
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
        Ok(())
    }
}

/// A host with one scheduled worker.
///
/// # Panics
///
/// When not all of the cycles succeeded.
#[must_use]
pub fn on_shiftwork(ticks: u64) -> Duration {
    let done = Arc::new(Notify::new());
    let ticker = Ticker { left: AtomicU64::new(ticks), done: done.clone() };
    let host = Host::builder().worker("ticker", Schedule::every(PERIOD), ticker);
    let runtime = paused();
    let began = clock::now();
    let report = runtime.block_on(host.run_until(async { done.notified().await }));
    let took = began.elapsed();
    assert_eq!(report.workers[0].cycles.succeeded, ticks);
    took
}

/// A task with a loop that waits for the next tick or for the order to stop.
///
/// # Panics
///
/// When not all of the cycles succeeded.
#[must_use]
pub fn by_hand(ticks: u64) -> Duration {
    let counts = Arc::new(Counts::default());
    let (_stop, stopped) = watch::channel(false);
    let runtime = paused();
    let began = clock::now();
    runtime
        .block_on(async { tokio::spawn(follow(ticks, stopped, counts.clone())).await })
        .expect("panics are caught in the loop");
    let took = began.elapsed();
    assert_eq!(counts.succeeded(), ticks);
    took
}

async fn follow(ticks: u64, mut stopped: watch::Receiver<bool>, counts: Arc<Counts>) {
    let mut interval = tokio::time::interval(PERIOD);
    for tick in 0..ticks {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            _ = interval.tick() => {}
        }
        let span = tracing::info_span!("cycle", worker = "ticker", tick);
        guarded(work(tick), span, &counts).await;
    }
}
