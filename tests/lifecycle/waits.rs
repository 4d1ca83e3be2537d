//! How long deliveries wait for their worker, as its metrics tell.

use std::sync::Arc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use shiftwork::{
    Context, Environment, Failure, Host, QueueSourceExt, Signals, System,
    queue::{MemoryQueue, Message, Queue, Timestamp},
};
use shiftwork_sim::secs;
use tokio::time::Instant;

/// A wall clock that goes with tokio's, which jumps.
struct Clock {
    began: (Timestamp, Instant),
}

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        self.began.0 + self.began.1.elapsed()
    }

    fn seed(&self) -> u64 {
        1
    }

    fn signals(&self) -> std::io::Result<Signals> {
        Signals::system()
    }
}

/// For how many seconds the jobs of a worker have waited, the shortest time first. Each is due so long after its push; the worker
/// has one lane, takes 2 s for an attempt, and so many of them fail.
async fn waits(delays: &[u64], failures: u32) -> Vec<f64> {
    let recorder = DebuggingRecorder::new();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let clock = Clock { began: (System.now(), Instant::now()) };
    let (jobs, now) = (MemoryQueue::new(), clock.now());
    let messages = delays.iter().map(|delay| Message::new(*delay).not_before(now + secs(*delay)));
    jobs.push(messages.collect(), now).await.unwrap();
    let work = move |_: u64, cx: Context| async move {
        tokio::time::sleep(secs(2)).await;
        if cx.attempt() <= failures { Err(Failure::transient("not yet")) } else { Ok(()) }
    };
    let host = Host::builder().environment(Arc::new(clock)).worker("jobs", jobs.source(), work);
    let report = host.run_until(tokio::time::sleep(secs(60))).await;
    assert_eq!(report.worker("jobs").unwrap().cycles.succeeded, delays.len() as u64);
    let mut waits = Vec::new();
    for (key, _, _, value) in recorder.snapshotter().snapshot().into_vec() {
        if let ("shiftwork_queue_wait_seconds", DebugValue::Histogram(values)) = (key.key().name(), value) {
            waits.extend(values.into_iter().map(|wait| wait.into_inner().round()));
        }
    }
    waits.sort_by(f64::total_cmp);
    waits
}

#[tokio::test(start_paused = true)]
async fn a_delivery_has_waited_since_it_was_due() {
    assert_eq!(waits(&[0, 0, 0, 10], 0).await, [0.0, 0.0, 2.0, 4.0]);
}

#[tokio::test(start_paused = true)]
async fn only_the_first_attempt_has_waited_for_the_worker() {
    assert_eq!(waits(&[0], 1).await, [0.0]);
}
