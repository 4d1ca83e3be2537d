//! Jobs through memory, end to end: each is pushed, claimed, worked on and struck off, one at a time.
//!
//! All are pushed before the first is claimed, one by one, as by callers who know nothing of each other. The loop by
//! hand takes them from an unbounded channel. It keeps no job while it is worked on: what it was doing when it panicked
//! or was stopped is gone, where the queue gives it out again.

use std::{sync::Arc, time::Duration};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, Environment, Failure, Host, HostReport, QueueSourceExt, System,
    Worker,
    queue::{MemoryQueue, Message, Queue},
};
use tokio::{
    runtime::Runtime,
    sync::{Notify, mpsc, watch},
};

use crate::{
    clock,
    guard::{Counts, guarded, work},
};

/// Works jobs off and says when the last one is done, which is the one that was pushed last.
struct Clerk {
    last: u64,
    done: Arc<Notify>,
}

impl Clerk {
    fn of(jobs: u64) -> (Self, Arc<Notify>) {
        let done = Arc::new(Notify::new());
        (Self { last: jobs.saturating_sub(1), done: done.clone() }, done)
    }

    fn is_done_with(&self, job: u64) {
        if job == self.last {
            self.done.notify_one();
        }
    }
}

impl Worker for Clerk {
    type Input = u64;

    async fn cycle(&self, job: u64, _: &Context) -> Result<(), Failure> {
        work(job).await?;
        self.is_done_with(job);
        Ok(())
    }
}

/// Pushes `jobs` jobs, one by one.
///
/// # Panics
///
/// When the queue refuses one.
pub async fn push(queue: &MemoryQueue<u64>, jobs: u64) {
    for job in 0..jobs {
        queue.push_one(Message::new(job), System.now()).await.expect("the queue has no bound");
    }
}

/// A host with one worker, until it has worked off the `jobs` jobs of a queue.
pub async fn drain(queue: MemoryQueue<u64>, jobs: u64) -> HostReport {
    let (clerk, done) = Clerk::of(jobs);
    Host::builder().worker("clerk", queue.source(), clerk).run_until(async { done.notified().await }).await
}

/// A queue in memory and a host with one worker.
///
/// # Panics
///
/// When not all of the jobs succeeded.
#[must_use]
pub fn on_shiftwork(runtime: &Runtime, jobs: u64) -> Duration {
    let queue = MemoryQueue::new();
    let began = clock::now();
    let report = runtime.block_on(async {
        push(&queue, jobs).await;
        drain(queue.clone(), jobs).await
    });
    let took = began.elapsed();
    assert_eq!(report.workers[0].cycles.succeeded, jobs);
    took
}

/// How many jobs a batch has at most.
const BATCH: usize = 64;

/// Works jobs off in batches and says when the last one is done.
struct Clerks(Clerk);

impl BatchWorker for Clerks {
    type Input = u64;

    async fn cycle(&self, jobs: &mut Batch<u64>, _: &BatchContext) -> Result<(), Failure> {
        for job in jobs.iter_mut() {
            work(job.input).await?;
            job.done();
            self.0.is_done_with(job.input);
        }
        Ok(())
    }
}

/// The same queue and host, but for a worker that takes as many jobs as there are, up to 64, in one cycle, and has them settled in
/// one operation.
///
/// # Panics
///
/// When not all of the jobs succeeded.
#[must_use]
pub fn in_batches(runtime: &Runtime, jobs: u64) -> Duration {
    let queue = MemoryQueue::new();
    let began = clock::now();
    let report = runtime.block_on(async {
        push(&queue, jobs).await;
        let (clerk, done) = Clerk::of(jobs);
        let host = Host::builder().batch_worker("clerks", queue.clone().source(), Batches::of(BATCH), Clerks(clerk));
        host.run_until(async { done.notified().await }).await
    });
    let took = began.elapsed();
    assert_eq!(report.workers[0].cycles.succeeded, jobs);
    took
}

/// A channel and a task with a loop that waits for the next job or for the order to stop.
///
/// # Panics
///
/// When not all of the jobs succeeded.
#[must_use]
pub fn by_hand(runtime: &Runtime, jobs: u64) -> Duration {
    let counts = Arc::new(Counts::default());
    let (sender, receiver) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(false);
    let began = clock::now();
    runtime
        .block_on(async {
            for job in 0..jobs {
                sender.send(job).expect("the receiver is there");
            }
            drop(sender);
            tokio::spawn(serve(receiver, stopped, counts.clone())).await
        })
        .expect("panics are caught in the loop");
    let took = began.elapsed();
    assert_eq!(counts.succeeded(), jobs);
    took
}

async fn serve(mut jobs: mpsc::UnboundedReceiver<u64>, mut stopped: watch::Receiver<bool>, counts: Arc<Counts>) {
    loop {
        let job = tokio::select! {
            biased;
            _ = stopped.changed() => return,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { return };
        let span = tracing::info_span!("job", worker = "clerk", job);
        guarded(work(job), span, &counts).await;
    }
}
