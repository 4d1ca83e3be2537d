//! The same work on what other people built: a job queue in memory, and a simulator.
//!
//! Each is used as its own documentation begins, without layers that could be left out: that is its best case.

use std::{
    ffi::OsStr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use apalis::prelude::{BoxDynError, Data, MemoryStorage, TaskSink, WorkerBuilder, WorkerContext};
use shiftwork_benches::{clock, guard, worlds};
use tokio::runtime::Runtime;

/// Jobs through apalis' queue in memory: pushed one by one, then worked off by one worker without any layer, so without spans,
/// timeouts, retries and a catch for panics.
///
/// # Panics
///
/// When the worker ends with jobs left over.
pub(crate) fn jobs_on_apalis(runtime: &Runtime, jobs: u64) -> Duration {
    async fn handle(job: u64, left: Data<Arc<AtomicU64>>, worker: WorkerContext) -> Result<(), BoxDynError> {
        guard::work(job).await.map_err(|failure| failure.to_string())?;
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            worker.stop()?;
        }
        Ok(())
    }
    let left = Arc::new(AtomicU64::new(jobs));
    let began = clock::now();
    runtime.block_on(async {
        let mut store = MemoryStorage::new();
        for job in 0..jobs {
            store.push(job).await.expect("the channel has no bound");
        }
        let worker = WorkerBuilder::new("clerk").backend(store).data(left.clone()).build(handle);
        worker.run().await.expect("nothing in it fails");
    });
    let took = began.elapsed();
    assert_eq!(left.load(Ordering::Relaxed), 0);
    took
}

/// The same loops on madsim's runtime: the processor time that a program of its own says, because madsim wants everything in its
/// process to be built for it. `cargo xtask bench` builds the program (`benches/madsim`) and says where it is.
///
/// # Panics
///
/// When the program cannot be run, or says no time.
pub(crate) fn worlds_on_madsim(program: &OsStr, count: u64) -> Duration {
    let said = Command::new(program).arg(count.to_string()).output().expect("the program is there");
    let nanos = String::from_utf8_lossy(&said.stdout).trim().parse();
    Duration::from_nanos(nanos.expect("the program says how many nanoseconds"))
}

/// Ten seconds of three loops of a hundred waits in a world of turmoil, on one of its hosts.
///
/// # Panics
///
/// When the world does not end by itself.
pub(crate) fn worlds_on_turmoil(count: u64) -> Duration {
    let began = clock::now();
    for seed in 0..count {
        let mut builder = turmoil::Builder::new();
        builder.simulation_duration(Duration::from_secs(30)).rng_seed(seed);
        let mut world = builder.build();
        world.client("node", async {
            worlds::beats(worlds::Waits::Sleep).await;
            Ok(())
        });
        world.run().expect("the loops end after ten seconds");
    }
    began.elapsed()
}
