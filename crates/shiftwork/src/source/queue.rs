//! The source that starts a cycle for each delivery of a queue, and keeps its lease alive meanwhile.
//!
//! The lanes of a worker share one claimer. A lane that finds the buffer empty takes the claimer's lock and claims once for
//! every lane that waits; the others find their delivery in the buffer. There is no task for claiming that could fall
//! behind, and nothing is claimed that no lane is waiting for. A lane without others has a claimer of its own. One whose cycle
//! has succeeded, and that goes on ([`LaneContext::goes_on`]), asks for its next delivery in the operation that settles the last.
//!
//! 1. A claim that was started is awaited: it is never dropped by a stop, so that no row stays locked (rule Q4).
//! 2. What is in the buffer when intake closes is returned, not run (rule T1).
//! 3. Renewal runs beside the lanes until the last settlement is stored, through the drain as well. A renewal that failed is
//!    tried again while the lease lasts; only a lease that the queue calls lost interrupts its cycle (rule Q6). A cycle
//!    that does not end though its time is over has its lease renewed no more (rule Q8).
//! 4. A settlement that could not be stored is tried again while its lease lasts. One that then finds the lease lost was most likely
//!    stored before, by a try that was not answered, and says so ([`unanswered`]).
//!
//! What each lane holds is in a slot of its own ([`lease`]), which its lane writes and the renewal reads.

#![expect(
    clippy::manual_async_fn,
    reason = "an async fn moves its arguments once more: on the path of a delivery that is a tenth of its time"
)]

mod batch;
mod config;
mod idle;
mod lease;
mod measure;
mod own;
mod unanswered;

use std::{
    collections::VecDeque,
    marker::PhantomData,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use config::QueueConfig;
use shiftwork_queue::{
    Claim, Delivery, FailureKind, FailureRecord, Lease, Queue, QueueError, Settlement, Timestamp, later,
};
use tokio::time::Instant;

use self::{
    idle::Idle,
    lease::{Held, Slot},
    own::was_claimed_before,
};
use super::{Claimed, Lane, LaneContext, Offer, Source, SourceContext, TIMER};
use crate::{
    BoxError, Failure, Retry,
    config::{ConfigError, WorkerConfig},
    cycle::{caught, let_go},
    event::{Event, Settle, SourceKind},
    lane::noting_waits,
    lifecycle::tenure::{Bounds, Tenure, Verdict},
};

/// The shortest lease that can be renewed at a third of its time.
const LEASE_MIN: Duration = Duration::from_millis(3);

/// How often a lease is renewed in its time: two renewals may fail before it lapses.
const RENEWALS: u32 = 3;

/// How often it is tried in the time of one renewal, once one has failed.
const TRIES: u32 = 4;

/// How long a store that has failed is left alone, from the first failure on; it doubles.
const OUTAGE_PAUSE: Duration = Duration::from_millis(100);

/// How long at most, so that the end of a long outage is noticed soon.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Starts a cycle for each delivery of a queue.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{
///     Context, Failure, Host, QueueSourceExt,
///     queue::{MemoryQueue, Message, Queue, Timestamp},
/// };
///
/// async fn charge(order: u64, _: Context) -> Result<(), Failure> {
///     // A key by which the other side knows what it has done already: out of the input, so that it is the same at each attempt, and
///     // however often the order was pushed.
///     println!("charging order {order}, under the key order-{order}");
///     Ok(())
/// }
///
/// let orders = MemoryQueue::<u64>::new();
/// // So long waits a delivery whose process was killed.
/// let source = orders.clone().source().lease(Duration::from_secs(60));
/// let host = Host::builder().worker("charge", source, charge).concurrency(8).build();
/// assert!(host.is_ok());
/// # tokio_test::block_on(async {
/// // Elsewhere in the program, by who has kept a handle.
/// orders.push_one(Message::new(17), Timestamp::now()).await?;
/// # Ok::<(), shiftwork::queue::QueueError>(())
/// # }).unwrap();
/// ```
pub struct QueueSource<Q, T> {
    queue: Arc<Q>,
    options: Options,
    /// What the lanes of this life of the worker share.
    life: Mutex<Arc<Shared<Q, T>>>,
}

/// Makes a queue a source.
pub trait QueueSourceExt<T: Send + 'static>: Queue<T> + Sized {
    /// This queue as a source of cycles, with the default lease and poll interval. It takes the handle: who pushes keeps a
    /// clone, as in `queue.clone().source()`.
    fn source(self) -> QueueSource<Self, T> {
        QueueSource::new(self)
    }
}

impl<T: Send + 'static, Q: Queue<T>> QueueSourceExt<T> for Q {}

#[derive(Debug, Clone, Copy)]
struct Options {
    lease: Duration,
    poll: Duration,
    /// For how long the queue is not asked after a claim that has found nothing.
    cooldown: Duration,
    outage: Retry,
    /// How often the queue is measured; `None` is never.
    measure: Option<Duration>,
}

struct Shared<Q, T> {
    queue: Arc<Q>,
    options: Options,
    claimer: tokio::sync::Mutex<Claimer<T>>,
    /// How many lanes wait for the claimer.
    waiting: AtomicUsize,
    /// What each lane holds, in the order of the lanes.
    slots: Mutex<Vec<Arc<Slot>>>,
    /// For how long each of them has held it, as the renewal sees it. Here, for a renewal that has panicked is begun again.
    tenures: Mutex<Vec<Option<Tenure>>>,
    payload: PhantomData<fn() -> T>,
}

struct Claimer<T> {
    /// The wall time for the next claim. Here, for a time that is handed on is a copy each time.
    now: Timestamp,
    buffer: VecDeque<Delivery<T>>,
    /// How many claims have failed in a row.
    failures: u32,
    /// How many more deliveries than one the batch wants that is being filled.
    more: usize,
    /// What was claimed last had to run alone, and what follows may have to as well: batches claim one, and look.
    careful: bool,
    /// When a store that has failed while a batch was being filled is asked again, and how many triggers there were before.
    not_before: Option<(Instant, u64)>,
}

impl<T> Claimer<T> {
    fn new() -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            buffer: VecDeque::new(),
            failures: 0,
            more: 0,
            careful: false,
            not_before: None,
        }
    }
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
            cooldown: Duration::ZERO,
            outage: Retry::exponential().initial(OUTAGE_PAUSE).max(OUTAGE_PAUSE_MAX),
            measure: Some(Duration::from_secs(15)),
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
        self.with(|options| options.poll = poll.max(TIMER))
    }

    /// For how long a worker that has found nothing does not ask its queue again, whatever the queue says meanwhile; 0 s by
    /// default, so that what is pushed is claimed at once. A trigger is served all the same, and a poll interval that is shorter
    /// counts for nothing.
    ///
    /// A store that many processes share mostly tells all of them of each push, those to its other queues among them, and each time all
    /// of them claim. Some 10 to 100 ms make of that no more than one claim in that time for each worker. It costs a busy queue
    /// nothing, since a worker that finds something asks for more at once. What is pushed to a quiet one waits for so long at most, and
    /// only where a claim has just found nothing.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.with(|options| options.cooldown = cooldown)
    }

    /// How often the queue is asked how full it is, where somebody keeps metrics; 15 s by default, which is what Prometheus
    /// commonly scrapes at. At least 1 ms. A store counts its rows for each answer.
    #[must_use]
    pub fn measure_every(self, interval: Duration) -> Self {
        self.with(|options| options.measure = Some(interval.max(TIMER)))
    }

    /// Never asks the queue how full it is: its depth and age are in no metrics.
    #[must_use]
    pub fn no_measure(self) -> Self {
        self.with(|options| options.measure = None)
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
            claimer: tokio::sync::Mutex::new(Claimer::new()),
            waiting: AtomicUsize::new(0),
            slots: Mutex::new(Vec::new()),
            tenures: Mutex::new(Vec::new()),
            payload: PhantomData,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn lane(&self, cx: &LaneContext) -> QueueLane<Q, T> {
        let (shared, slot) = (self.shared(), Arc::<Slot>::default());
        shared.slots().push(slot.clone());
        let alone = (cx.source.lanes.len() == 1).then(Claimer::new);
        QueueLane { shared, slot, current: None, ahead: VecDeque::new(), alone, looked: None }
    }

    async fn maintain(&self, cx: &SourceContext) {
        let shared = self.shared();
        tokio::join!(shared.renew_for_ever(cx), shared.measure_for_ever(cx));
    }
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    async fn renew_for_ever(&self, cx: &SourceContext) {
        let interval = self.options.lease / RENEWALS;
        let bounds = Bounds { cycle: cx.cycle_timeout, progress: cx.progress_timeout, grace: interval };
        let mut consecutive = 0u32;
        loop {
            // After a failure the next try comes sooner, so that several fit into what is left of the lease.
            let pause = if consecutive == 0 { interval } else { interval / TRIES };
            tokio::time::sleep(pause).await;
            let slots = self.slots().clone();
            let now = Instant::now();
            let mut held: Vec<(usize, Held)> =
                slots.iter().enumerate().filter_map(|(lane, slot)| Some((lane, slot.held()?))).collect();
            {
                let mut tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
                tenures.resize(slots.len(), None);
                held.retain(|(lane, held)| {
                    if cx.lanes[*lane].seat.is_idle() {
                        // Its time counts from when its cycle has begun: a batch may have others to give back before.
                        tenures[*lane] = None;
                        return true;
                    }
                    let progress = cx.lanes[*lane].control.progress_count();
                    let tenure = tenures[*lane].get_or_insert_with(|| Tenure::new(held.attempt, progress, now));
                    match tenure.look(held.attempt, progress, bounds, now) {
                        Verdict::Renew => true,
                        // Its cycle has ended; the settlement has a time of its own.
                        Verdict::GiveUp(_) | Verdict::GivenUp if !slots[*lane].is_running(held.attempt) => true,
                        Verdict::GiveUp(after) => {
                            let delivery = held.lease.delivery;
                            cx.emit(&Event::LeaseGivenUp { worker: cx.worker, delivery, after });
                            false
                        }
                        Verdict::GivenUp => false,
                    }
                });
            }
            if held.is_empty() {
                continue;
            }
            let leases: Vec<Lease> = held.iter().map(|(_, held)| held.lease).collect();
            let until = later(cx.wall_time(), self.options.lease);
            // One that hangs must not end all renewal: it is given up while there is time for another.
            let renewed = tokio::time::timeout(interval, self.queue.renew(&leases, until)).await;
            let late = |_| Err(QueueError::unavailable(format!("the store did not answer within {interval:?}")));
            match renewed.unwrap_or_else(late) {
                Ok(lost) => {
                    consecutive = 0;
                    for (lane, held) in held {
                        let is_lost = lost.iter().any(|lost| same_claim(lost, &held.lease));
                        if !is_lost {
                            slots[lane].renewed(held.attempt, until);
                        } else if slots[lane].is_running(held.attempt) {
                            let Lease { delivery, token, .. } = held.lease;
                            cx.lanes[lane].control.lose_lease(held.attempt, || {
                                cx.emit(&Event::LeaseLost { worker: cx.worker, delivery, token });
                            });
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

/// One lane of a [`QueueSource`].
pub struct QueueLane<Q, T> {
    shared: Arc<Shared<Q, T>>,
    slot: Arc<Slot>,
    current: Option<Current>,
    /// What was claimed for its next offer, where it has others beside it.
    ahead: VecDeque<Delivery<T>>,
    /// The claimer of a lane that has no others beside it: it needs no lock.
    alone: Option<Claimer<T>>,
    /// The wall time at the last settlement: the next claim is mostly made at the same instant.
    looked: Option<(Instant, Timestamp)>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    claimed: Claimed,
    attempt: u32,
    /// How often the store has been asked to end it, and has not answered.
    tries: u32,
    /// Nobody works on it any more.
    is_settled: bool,
}

/// A delivery whose settlement is on its way to the store.
#[derive(Debug, Clone, Copy)]
struct Unstored {
    lease: Lease,
    /// How often the store has been asked.
    tries: u32,
    /// Until when there is use in asking again.
    until: Timestamp,
}

impl<Q, T> std::fmt::Debug for QueueLane<Q, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueLane").field("current", &self.current).finish_non_exhaustive()
    }
}

impl<T: Send + 'static, Q: Queue<T>> Lane for QueueLane<Q, T> {
    type Input = T;

    fn next(&mut self, cx: &LaneContext) -> impl Future<Output = Result<Option<Offer<T>>, Failure>> + Send {
        async move {
            let mut now = match self.looked {
                Some((instant, time)) if cx.asked_at == Some(instant) => time,
                Some(_) | None => cx.wall_time_when_asked(),
            };
            loop {
                // The store may have been longer about it than the lease lasts, and somebody else has it by now.
                if let Some(first) = self.buffer().front()
                    && (cx.is_closed() || first.lease.expires_at <= now)
                {
                    let late: Vec<_> = self.buffer().drain(..).collect();
                    self.shared.give_back(late, cx).await?;
                    now = cx.wall_time();
                }
                if self.buffer().is_empty() {
                    let mut waited = false;
                    let claimed = {
                        let claiming = pin!(self.claim(now, cx));
                        noting_waits(claiming, &mut waited).await?
                    };
                    if !claimed {
                        return Ok(None);
                    }
                    if waited {
                        // That may have been for the store.
                        now = cx.wall_time();
                        continue;
                    }
                }
                if !self.buffer().front().is_some_and(|first| was_claimed_before(first.lease)) {
                    return Ok(self.hold_first(cx));
                }
                if let Some(offer) = self.hold_again(cx).await? {
                    return Ok(Some(offer));
                }
                now = cx.wall_time();
            }
        }
    }

    /// What the store has given at this very instant: its lease has not lapsed.
    #[inline]
    fn at_hand(&mut self, cx: &LaneContext) -> Option<Offer<T>> {
        let is_at_once = matches!((self.looked, cx.asked_at), (Some((looked, _)), Some(asked)) if looked == asked);
        let first = self.buffer().front()?;
        if !is_at_once || was_claimed_before(first.lease) || cx.is_closed() {
            return None;
        }
        self.hold_first(cx)
    }

    fn claimed(&self) -> Option<&Claimed> {
        self.current.as_ref().map(|current| &current.claimed)
    }

    /// On its own, since most cycles succeed and most stores answer: nothing is kept for another try.
    fn acknowledge(&mut self, cx: &LaneContext) -> impl Future<Output = Result<(), BoxError>> + Send {
        async move {
            let Some((unstored, now)) = self.ends(cx) else { return Ok(()) };
            let Unstored { lease, tries, until } = unstored;
            let _released = Releases(&self.slot);
            if tries > 0 {
                return self.shared.store(unstored, &Settlement::Ack, now, cx).await;
            }
            let claim = Claim { max: usize::from(cx.goes_on), lease: self.shared.options.lease, now };
            // As `buffer`, beside the slot that is borrowed.
            let buffer = self.alone.as_mut().map_or(&mut self.ahead, |claimer| &mut claimer.buffer);
            match self.shared.queue.ack_and_claim(lease, claim, buffer).await {
                Ok(()) => Ok(()),
                Err(error) if self.shared.is_final(&error, until, 1, cx) => Err(error.into()),
                Err(_) => {
                    Box::pin(self.shared.store(Unstored { tries: 1, ..unstored }, &Settlement::Ack, now, cx)).await
                }
            }
        }
    }

    fn settle(
        &mut self,
        settle: Settle,
        failure: Option<&Failure>,
        cx: &LaneContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        async move {
            let Some((unstored, now)) = self.ends(cx) else { return Ok(()) };
            let _released = Releases(&self.slot);
            let Some(current) = &self.current else { return Ok(()) };
            let settlement = current.settlement(settle, failure, now);
            self.shared.store(unstored, &settlement, now, cx).await
        }
    }
}

/// Releases a slot in the end, even if the store panics: what nobody works on is renewed no more.
struct Releases<'a>(&'a Slot);

impl Drop for Releases<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Current {
    /// What the store is told.
    fn settlement(&self, settle: Settle, failure: Option<&Failure>, now: Timestamp) -> Settlement {
        let record = || FailureRecord {
            attempt: self.attempt,
            at: now,
            kind: failure.map_or(FailureKind::Interrupted, Failure::kind),
            message: failure.map(|failure| failure.cause().message.to_string()).unwrap_or_default(),
        };
        match settle {
            Settle::Ack | Settle::Discard => Settlement::Ack,
            Settle::Retry { delay } => Settlement::Retry { at: later(now, delay), failure: record() },
            Settle::DeadLetter { cause, .. } => Settlement::DeadLetter { cause, failure: record() },
            Settle::Return => Settlement::Return,
            Settle::Snooze { delay } => Settlement::Snooze { until: later(now, delay) },
        }
    }
}

impl<T: Send + 'static, Q: Queue<T>> QueueLane<Q, T> {
    /// Waits until something is in the lane's buffer; `false` once intake is closed.
    async fn claim(&mut self, now: Timestamp, cx: &LaneContext) -> Result<bool, Failure> {
        match &mut self.alone {
            Some(claimer) => {
                claimer.now = now;
                self.shared.claim_some(claimer, cx).await.map_err(|failure| *failure)
            }
            None => {
                self.ahead.extend(self.shared.take(now, cx).await?);
                Ok(!self.ahead.is_empty())
            }
        }
    }

    /// As [`QueueLane::hold_first`], once no other lane holds it under an older claim. None if that has not ended when intake closes, or one
    /// holds it under a newer claim.
    #[cold]
    async fn hold_again(&mut self, cx: &LaneContext) -> Result<Option<Offer<T>>, Failure> {
        let Some(delivery) = self.buffer().pop_front() else { return Ok(None) };
        if self.shared.take_from_own(&[delivery.lease], cx).await {
            return Ok(Some(self.hold(delivery, cx)));
        }
        self.shared.give_back([delivery], cx).await?;
        Ok(None)
    }
}

impl<Q, T> QueueLane<Q, T> {
    /// Nobody works on it any more: what is to be stored, and the wall time. None if it has been settled.
    #[inline]
    fn ends(&mut self, cx: &LaneContext) -> Option<(Unstored, Timestamp)> {
        let current = self.current.as_mut().filter(|current| !current.is_settled)?;
        current.is_settled = true;
        let now = cx.wall_time_when_asked();
        self.looked = cx.asked_at.map(|instant| (instant, now));
        self.slot.settling();
        let (lease, tries) = (current.claimed.lease, current.tries);
        // As it is known now: the lease is renewed on the way, and a store that refuses this one alone would be asked for ever.
        let until = self.slot.expires_at(lease, cx.attempt().number());
        Some((Unstored { lease, tries, until }, now))
    }

    /// What it works on.
    fn unsettled(&mut self) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| !current.is_settled)
    }

    /// What was claimed for this lane alone.
    fn buffer(&mut self) -> &mut VecDeque<Delivery<T>> {
        self.alone.as_mut().map_or(&mut self.ahead, |claimer| &mut claimer.buffer)
    }

    /// Outside of any future, whose memory it would be copied into on its way.
    fn hold_first(&mut self, cx: &LaneContext) -> Option<Offer<T>> {
        let first = self.buffer().pop_front()?;
        Some(self.hold(first, cx))
    }

    #[inline]
    fn hold(&mut self, delivery: Delivery<T>, cx: &LaneContext) -> Offer<T> {
        let Delivery { lease, attempt, crashes, due_at, first_claimed_at, payload } = delivery;
        if attempt == 1 && crashes == 0 {
            // Later ones have waited for more than a lane.
            cx.delivery_waited(due_at);
        }
        self.slot.hold(lease, cx.attempt().number());
        let claimed = Claimed { lease, crashes, first_claimed_at };
        self.current = Some(Current { claimed, attempt, tries: 0, is_settled: false });
        Offer { input: payload, attempt }
    }
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    /// Waits for a delivery; `None` once intake is closed and the buffer is returned.
    async fn take(&self, now: Timestamp, cx: &LaneContext) -> Result<Option<Delivery<T>>, Failure> {
        if let Ok(mut claimer) = self.claimer.try_lock() {
            return self.take_as(&mut claimer, now, cx).await;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut claimer = self.claimer.lock().await;
        // Under the lock, so that a claim never counts a lane that already has its delivery.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.take_as(&mut claimer, cx.wall_time(), cx).await
    }

    async fn take_as(
        &self,
        claimer: &mut Claimer<T>,
        now: Timestamp,
        cx: &LaneContext,
    ) -> Result<Option<Delivery<T>>, Failure> {
        claimer.now = now;
        Ok(if self.claim_some(claimer, cx).await.map_err(|failure| *failure)? {
            claimer.buffer.pop_front()
        } else {
            None
        })
    }

    /// Waits until something is in the buffer; `false` once intake is closed and the buffer is returned.
    fn claim_some(
        &self,
        claimer: &mut Claimer<T>,
        cx: &LaneContext,
    ) -> impl Future<Output = Result<bool, Box<Failure>>> + Send {
        async move {
            // Made before the claim that it guards, so that a push between the claim and the wait is not missed.
            let mut changed = None;
            let mut idle = Idle::default();
            loop {
                if cx.is_closed() {
                    self.return_buffer(claimer, cx).await?;
                    return Ok(false);
                }
                if !claimer.buffer.is_empty() {
                    return Ok(true);
                }
                let triggers = cx.triggers();
                match self.claim(claimer, cx).await {
                    Ok(_) if !claimer.buffer.is_empty() => continue,
                    Ok(next_due) => {
                        let asked = Instant::now();
                        if let Some(changed) = changed.take() {
                            let pause = idle.pause(next_due, cx.wall_time(), self.options.poll);
                            tokio::select! {
                                biased;
                                _ = cx.wait_until_or_triggered(super::later(asked, pause), triggers) => {}
                                () = changed => idle.begin_anew(),
                            }
                        }
                        changed = Some(Box::pin(self.queue.changed()));
                        let cooldown = self.options.cooldown;
                        if !cooldown.is_zero() {
                            cx.wait_until_or_triggered(super::later(asked, cooldown), triggers).await;
                        }
                    }
                    Err(delay) => {
                        cx.wait_until_or_triggered(super::later(Instant::now(), delay), triggers).await;
                    }
                }
                claimer.now = cx.wall_time();
            }
        }
    }

    /// One claim for every lane that waits. On failure, how long to wait.
    fn claim(
        &self,
        claimer: &mut Claimer<T>,
        cx: &LaneContext,
    ) -> impl Future<Output = Result<Option<Timestamp>, Duration>> + Send {
        async move {
            let max = if claimer.careful { 1 } else { 1 + claimer.more + self.waiting.load(Ordering::Relaxed) };
            let claim = Claim { max, lease: self.options.lease, now: claimer.now };
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
    }

    async fn return_buffer(&self, claimer: &mut Claimer<T>, cx: &LaneContext) -> Result<(), Failure> {
        self.give_back(claimer.buffer.drain(..), cx).await
    }

    /// Returns deliveries for which no cycle was begun, all of them together: while some wait for their turn, the leases of
    /// others lapse. What one of their payloads panicked with as it was dropped is for the caller to tell, once they are back.
    ///
    /// It is over when their leases are: nobody renews them, a store that fails is asked no longer than they last, and each time it comes
    /// to an answer by itself, as [`Queue`] says. One that panics is asked no more: what it has made of them nobody knows.
    async fn give_back(
        &self,
        deliveries: impl IntoIterator<Item = Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        let mut left = Vec::new();
        let dropped = let_go(deliveries.into_iter().map(|delivery| {
            left.push(delivery.lease);
            delivery.payload
        }));
        let mut tries = 0;
        while !left.is_empty() {
            if tries > 0 {
                cx.wait_or_abort(self.options.outage.delay(tries, 0.5)).await;
            }
            let settlements: Vec<_> = left.iter().map(|lease| (*lease, Settlement::Return)).collect();
            let settling = pin!(async { self.queue.settle_many(settlements, cx.wall_time()).await });
            let mut answers = match caught(settling).await {
                Ok(answers) => answers.into_iter(),
                Err(panic) => {
                    for lease in left {
                        let failure = Failure::new(FailureKind::Panic, &*panic.cause().message);
                        cx.settled_unrun(lease.delivery, Settle::Return, Err(failure));
                    }
                    return dropped.and(Err(panic));
                }
            };
            tries += 1;
            left.retain(|lease| {
                let unanswered = || Err(QueueError::unavailable("the store did not answer for each settlement"));
                let answer = answers.next().unwrap_or_else(unanswered);
                let goes_on = matches!(&answer, Err(error) if !self.is_final(error, lease.expires_at, tries, cx));
                if !goes_on {
                    let said = |error| Failure::transient(unanswered::in_the_end(error, tries - 1));
                    cx.settled_unrun(lease.delivery, Settle::Return, answer.map_err(said));
                }
                goes_on
            });
        }
        dropped
    }

    /// Stores a settlement, trying again while the lease lasts; once only when the host is out of patience. So many tries were
    /// made before, and there is time for another.
    async fn store(
        &self,
        Unstored { lease, mut tries, until }: Unstored,
        settlement: &Settlement,
        mut now: Timestamp,
        cx: &LaneContext,
    ) -> Result<(), BoxError> {
        if tries > 0 {
            cx.wait_or_abort(self.options.outage.delay(tries, 0.5)).await;
            now = cx.wall_time();
        }
        loop {
            let error: QueueError = match self.queue.settle(lease, settlement.clone(), now).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.is_final(&error, until, tries + 1, cx) {
                return Err(unanswered::in_the_end(error, tries));
            }
            tries += 1;
            cx.wait_or_abort(self.options.outage.delay(tries, 0.5)).await;
            now = cx.wall_time();
        }
    }

    /// Whether there is no use, or no time until then, for another try after so many.
    fn is_final(&self, error: &QueueError, until: Timestamp, tries: u32, cx: &LaneContext) -> bool {
        let lapsed = later(cx.wall_time(), self.options.outage.delay(tries, 0.5)) >= until;
        error.is_lease_lost() || lapsed || cx.attempt().has_lost_lease() || cx.is_aborting()
    }
}
