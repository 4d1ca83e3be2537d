//! The source that starts a cycle for each delivery of a queue, and keeps its lease alive meanwhile.
//!
//! The lanes of a worker share one claimer. A lane that finds the buffer empty takes the claimer's lock and claims once for
//! every lane that waits; the others find their delivery in the buffer. There is no task for claiming that could fall
//! behind, and nothing is claimed that no lane is waiting for.
//!
//! 1. A claim that was started is awaited: it is never dropped by a stop, so that no row stays locked (rule Q4).
//! 2. What is in the buffer when intake closes is returned, not run (rule T1).
//! 3. Renewal runs beside the lanes until the last settlement is stored, through the drain as well. A renewal that failed is
//!    tried again while the lease lasts; only a lease that the queue calls lost interrupts its cycle (rule Q6).
//! 4. A settlement that could not be stored is tried again while its lease lasts.

mod config;

use std::{
    collections::VecDeque,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use config::QueueConfig;
use shiftwork_queue::{
    Claim, DeadLetterCause, Delivery, FailureKind, FailureRecord, Lease, Queue, QueueError, Settlement, Timestamp,
};
use tokio::time::Instant;

use super::{Lane, LaneContext, Offer, Source, SourceContext};
use crate::{
    BoxError, Failure, Retry,
    config::{ConfigError, WorkerConfig},
    event::{Event, Settle, SourceKind},
};

/// The shortest lease that can be renewed at a third of its time.
const LEASE_MIN: Duration = Duration::from_millis(3);

/// What tokio's timers resolve.
const POLL_MIN: Duration = Duration::from_millis(1);

/// Starts a cycle for each delivery of a queue.
pub struct QueueSource<Q, T> {
    queue: Arc<Q>,
    options: Options,
    /// What the lanes of this life of the worker share.
    life: Mutex<Arc<Shared<Q, T>>>,
}

/// Makes a queue a source.
pub trait QueueSourceExt<T: Send + 'static>: Queue<T> + Sized {
    /// This queue as a source of cycles, with the default lease and poll interval.
    fn source(self) -> QueueSource<Self, T> {
        QueueSource::new(self)
    }
}

impl<T: Send + 'static, Q: Queue<T>> QueueSourceExt<T> for Q {}

#[derive(Debug, Clone, Copy)]
struct Options {
    lease: Duration,
    poll: Duration,
    outage: Retry,
}

struct Shared<Q, T> {
    queue: Arc<Q>,
    options: Options,
    claimer: tokio::sync::Mutex<Claimer<T>>,
    /// How many lanes wait for a delivery.
    waiting: AtomicUsize,
    /// What each lane holds.
    leases: Mutex<Vec<Option<Held>>>,
    payload: PhantomData<fn() -> T>,
}

/// A lease that is renewed.
#[derive(Debug, Clone, Copy)]
struct Held {
    lease: Lease,
    /// Its cycle is over and the settlement on its way: a store that calls it lost may mean just that.
    settling: bool,
}

struct Claimer<T> {
    buffer: VecDeque<Delivery<T>>,
    /// How many claims have failed in a row.
    failures: u32,
}

impl<T: Send + 'static, Q: Queue<T>> QueueSource<Q, T> {
    /// A source with a lease of 30 s and a poll interval of 1 s.
    ///
    /// The lease is renewed at a third of its time, so that two renewals may fail before it lapses; 30 s is how long a
    /// delivery waits after its process was killed. The queue's own notification wakes the source at once; the poll
    /// interval is the safety net for a notification that got lost.
    pub fn new(queue: Q) -> Self {
        let options = Options {
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            outage: Retry::exponential().initial(Duration::from_millis(100)).max(Duration::from_secs(30)),
        };
        let queue = Arc::new(queue);
        let life = Mutex::new(Arc::new(Shared::new(queue.clone(), options)));
        Self { queue, options, life }
    }

    /// How long a claim may go without renewal before somebody else may take the delivery; at least 3 ms.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|options| options.lease = lease.max(LEASE_MIN))
    }

    /// How often an empty queue is asked without having notified; at least 1 ms.
    #[must_use]
    pub fn poll_interval(self, poll: Duration) -> Self {
        self.with(|options| options.poll = poll.max(POLL_MIN))
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        self.change(change);
        self
    }

    fn change(&mut self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options);
        self.begin();
    }

    fn shared(&self) -> Arc<Shared<Q, T>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<Q, T> Shared<Q, T> {
    fn new(queue: Arc<Q>, options: Options) -> Self {
        Self {
            queue,
            options,
            claimer: tokio::sync::Mutex::new(Claimer { buffer: VecDeque::new(), failures: 0 }),
            waiting: AtomicUsize::new(0),
            leases: Mutex::new(Vec::new()),
            payload: PhantomData,
        }
    }

    fn hold(&self, lane: usize, held: Option<Held>) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.len() <= lane {
            leases.resize(lane + 1, None);
        }
        leases[lane] = held;
    }

    fn held(&self, lane: usize) -> Option<Held> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(lane).copied().flatten()
    }
}

impl<Q, T> std::fmt::Debug for QueueSource<Q, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueSource").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T: Send + 'static, Q: Queue<T>> Source for QueueSource<Q, T> {
    type Input = T;
    type Lane = QueueLane<Q, T>;

    fn kind(&self) -> SourceKind {
        SourceKind::Queue
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        self.configured(&config.queue);
        config.refuse_schedule()
    }

    fn describe(&self, config: &mut WorkerConfig) {
        config.queue = self.as_config();
    }

    /// What an earlier life had claimed is its own affair: this one renews none of it, and counts on none of its lanes.
    fn begin(&self) {
        let shared = Shared::new(self.queue.clone(), self.options);
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(shared);
    }

    fn lane(&self, _: &LaneContext) -> QueueLane<Q, T> {
        QueueLane { shared: self.shared(), current: None }
    }

    async fn maintain(&self, cx: &SourceContext) {
        self.shared().renew_for_ever(cx).await;
    }
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    async fn renew_for_ever(&self, cx: &SourceContext) {
        let interval = (self.options.lease / 3).max(Duration::from_millis(1));
        let mut consecutive = 0u32;
        loop {
            // After a failure the next try comes sooner, so that several fit into what is left of the lease.
            let pause = if consecutive == 0 { interval } else { interval / 4 };
            tokio::time::sleep(pause).await;
            let held: Vec<(usize, Lease)> = {
                let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                leases.iter().enumerate().filter_map(|(lane, held)| Some((lane, (*held)?.lease))).collect()
            };
            if held.is_empty() {
                continue;
            }
            let leases: Vec<Lease> = held.iter().map(|(_, lease)| *lease).collect();
            let until = later(cx.wall_time(), self.options.lease);
            match self.queue.renew(&leases, until).await {
                Ok(lost) => {
                    consecutive = 0;
                    let mut current = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                    for (lane, lease) in held {
                        // The lane may have settled, and claimed another one, while the renewal was under way.
                        let Some(live) = current[lane].as_mut().filter(|live| same_claim(&live.lease, &lease)) else {
                            continue;
                        };
                        if live.settling {
                            live.lease.expires_at = until;
                        } else if lost.iter().any(|lost| same_claim(lost, &lease)) {
                            let delivery = lease.delivery;
                            cx.emit(&Event::LeaseLost { worker: cx.worker, delivery });
                            cx.lanes[lane].control.lose_lease();
                        } else {
                            live.lease.expires_at = until;
                        }
                    }
                }
                Err(error) => {
                    consecutive += 1;
                    let cause = Failure::transient(error).cause();
                    cx.emit(&Event::RenewalFailed { worker: cx.worker, cause });
                }
            }
        }
    }
}

fn same_claim(left: &Lease, right: &Lease) -> bool {
    left.delivery == right.delivery && left.token == right.token
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// One lane of a [`QueueSource`].
pub struct QueueLane<Q, T> {
    shared: Arc<Shared<Q, T>>,
    current: Option<Current>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    lease: Lease,
    attempt: u32,
}

impl<Q, T> std::fmt::Debug for QueueLane<Q, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueLane").field("current", &self.current).finish_non_exhaustive()
    }
}

impl<T: Send + 'static, Q: Queue<T>> Lane for QueueLane<Q, T> {
    type Input = T;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<T>>, Failure> {
        loop {
            let Some(delivery) = self.shared.take(cx).await else { return Ok(None) };
            if let Some(offer) = self.accept(delivery, cx).await {
                return Ok(Some(offer));
            }
        }
    }

    async fn settle(&mut self, settle: Settle, failure: Option<&Failure>, cx: &LaneContext) -> Result<(), BoxError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let now = cx.wall_time();
        let record = || FailureRecord {
            attempt: current.attempt,
            at: now,
            kind: failure.map_or(FailureKind::Interrupted, Failure::kind),
            message: failure.map(|failure| failure.cause().message.to_string()).unwrap_or_default(),
        };
        let settlement = match settle {
            Settle::Ack => Settlement::Ack,
            Settle::Retry { delay } => Settlement::Retry { at: later(now, delay), failure: record() },
            Settle::DeadLetter { cause, .. } => Settlement::DeadLetter { cause, failure: record() },
            Settle::Return => Settlement::Return,
        };
        let held = self.shared.held(cx.index).map(|held| Held { settling: true, ..held });
        self.shared.hold(cx.index, held);
        let stored = self.shared.store(current.lease, settlement, now, cx).await;
        self.shared.hold(cx.index, None);
        stored
    }
}

impl<T: Send + 'static, Q: Queue<T>> QueueLane<Q, T> {
    /// Makes a delivery the lane's current one, unless it can be settled without a cycle.
    async fn accept(&mut self, delivery: Delivery<T>, cx: &LaneContext) -> Option<Offer<T>> {
        let Delivery { lease, attempt, crashes, pushed_at, payload } = delivery;
        self.shared.hold(cx.index, Some(Held { lease, settling: false }));
        self.current = Some(Current { lease, attempt });
        let (cause, failure) = match payload {
            // Rule Q5: it has taken its process with it too often.
            Ok(_) if crashes >= cx.source.crashes_max => (
                DeadLetterCause::CrashLoop,
                Failure::transient(format!("{crashes} leases of it lapsed without a settlement")),
            ),
            // The policy allowed more when it was tried last.
            Ok(_) if attempt > cx.source.attempts_max => {
                (DeadLetterCause::Exhausted, Failure::transient(format!("{} attempts have failed", attempt - 1)))
            }
            Ok(input) => {
                return Some(Offer { input, attempt, delivery: Some(lease.delivery), since: Some(pushed_at) });
            }
            Err(undecodable) => (DeadLetterCause::Undecodable, Failure::invalid(undecodable)),
        };
        let settle = Settle::DeadLetter { cause, pause: Duration::ZERO };
        // When it cannot be stored, the lease lapses, and the next claim of it tries again.
        let stored = self.settle(settle, Some(&failure), cx).await;
        say_unrun(lease, settle, stored, cx);
        None
    }
}

fn say_unrun(lease: Lease, settle: Settle, stored: Result<(), BoxError>, cx: &LaneContext) {
    let (worker, delivery) = (cx.worker(), lease.delivery);
    cx.emit(&match stored {
        Ok(()) => Event::SettledUnrun { worker, delivery, settle },
        Err(error) => {
            let cause = Failure::transient(error).cause();
            Event::SettleFailed { worker, cycle: None, delivery: Some(delivery), settle, cause }
        }
    });
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    /// Waits for a delivery; `None` once intake is closed and the buffer is returned.
    async fn take(&self, cx: &LaneContext) -> Option<Delivery<T>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut claimer = self.claimer.lock().await;
        let taken = self.take_locked(&mut claimer, cx).await;
        // Under the lock, so that a claim never counts a lane that already has its delivery.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        taken
    }

    async fn take_locked(&self, claimer: &mut Claimer<T>, cx: &LaneContext) -> Option<Delivery<T>> {
        // Made before the claim that it guards, so that a push between the claim and the wait is not missed.
        let mut changed = None;
        loop {
            if cx.is_closed() {
                self.return_buffer(claimer, cx).await;
                return None;
            }
            if let Some(delivery) = claimer.buffer.pop_front() {
                return Some(delivery);
            }
            match self.claim(claimer, cx).await {
                Ok(_) if !claimer.buffer.is_empty() => {}
                Ok(next_due) => {
                    if let Some(changed) = changed.take() {
                        let now = cx.wall_time();
                        // Due already when the claim came back: at once.
                        let due = next_due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
                        let poll = self.options.poll;
                        let pause = due.unwrap_or(poll).clamp(Duration::from_millis(1), poll);
                        tokio::select! {
                            biased;
                            _ = cx.wait_until_or_triggered(Instant::now() + pause) => {}
                            () = changed => {}
                        }
                    }
                    changed = Some(Box::pin(self.queue.changed()));
                }
                Err(delay) => {
                    cx.wait_until_or_triggered(Instant::now() + delay).await;
                }
            }
        }
    }

    /// One claim for every lane that waits. On failure, how long to wait.
    async fn claim(&self, claimer: &mut Claimer<T>, cx: &LaneContext) -> Result<Option<Timestamp>, Duration> {
        let max = self.waiting.load(Ordering::Relaxed).max(1);
        let claim = Claim { max, lease: self.options.lease, now: cx.wall_time() };
        match self.queue.claim(claim, &mut claimer.buffer).await {
            Ok(next_due) => {
                if claimer.failures > 0 {
                    cx.source_recovered(claimer.failures);
                    claimer.failures = 0;
                }
                Ok(next_due)
            }
            Err(error) => {
                claimer.failures = claimer.failures.saturating_add(1);
                let delay = self.options.outage.delay(claimer.failures, 0.5);
                cx.source_failed(claimer.failures, delay, error.into());
                Err(delay)
            }
        }
    }

    async fn return_buffer(&self, claimer: &mut Claimer<T>, cx: &LaneContext) {
        while let Some(delivery) = claimer.buffer.pop_front() {
            let stored = self.store(delivery.lease, Settlement::Return, cx.wall_time(), cx).await;
            say_unrun(delivery.lease, Settle::Return, stored, cx);
        }
    }

    /// Stores a settlement, trying again while the lease lasts; once only when the host is out of patience.
    async fn store(
        &self,
        lease: Lease,
        settlement: Settlement,
        mut now: Timestamp,
        cx: &LaneContext,
    ) -> Result<(), BoxError> {
        let mut tries = 0u32;
        loop {
            let error: QueueError = match self.queue.settle(lease, settlement.clone(), now).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            let delay = self.options.outage.delay(tries, 0.5);
            let expires_at = self.held(cx.index).map_or(lease.expires_at, |held| held.lease.expires_at);
            now = cx.wall_time();
            let lapsed = later(now, delay) >= expires_at;
            if error.is_lease_lost() || lapsed || cx.attempt().has_lost_lease() || cx.is_aborting() {
                return Err(error.into());
            }
            cx.wait_or_abort(delay).await;
            now = cx.wall_time();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        assert_eq!(later(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
    }
}
