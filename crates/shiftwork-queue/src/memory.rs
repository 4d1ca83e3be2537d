//! The queue in memory: the model that every backend is held against, and a real queue for work that may be lost with
//! its process.
//!
//! This file is the shared handle: it locks, asks the state, unlocks, and tells the listeners. What happens is decided
//! in `memory/state.rs`, which is synchronous and knows neither lock nor future.
//!
//! Four things hold here:
//!
//! 1. No payload is dropped under the lock, so a payload whose `Drop` uses the queue does not deadlock. Its `Clone` does
//!    run under the lock, and must not use the queue.
//! 2. A payload whose `Clone` panics loses nothing: each delivery is cloned before anything about it is changed, so the
//!    state is whole at every point where a panic can leave it, and a poisoned lock is simply used again.
//! 3. Listeners are told after the lock is released, so that they do not wake only to wait for it.
//! 4. A payload that is done is dropped last, when everybody has been told. A settlement is answered whatever it panics with then.

mod changes;
mod inspect;
mod leases;
mod record;
mod records;
mod state;
mod waiting;

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem::{forget, needs_drop},
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use jiff::Timestamp;

use self::{
    changes::Changes,
    record::Record,
    state::{Settled, State, places},
};
pub use self::{
    inspect::{Entry, Stage},
    record::HISTORY_MAX,
};
use crate::{
    Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, Message, Pushed, Queue, QueueError, Settlement, Undecodable,
};

/// A queue in memory. It keeps every rule of [`contract`](crate::contract) except that its content ends with its process.
///
/// Clones are handles to the same queue. Payloads are cloned for each delivery, because a delivery may be handed out
/// again; put a large payload in an [`Arc`].
///
/// What a backend may choose, this one chooses so:
///
/// - A message without [`not_before`](Message::not_before) is due at the time of its push. One whose `not_before` is
///   already over keeps that time, so it goes before what became due later.
/// - A lapsed lease is noticed by [`claim`](Queue::claim) alone. It counts as a crash when the delivery is claimed again;
///   until then its holder can renew or settle it.
/// - Time may go backwards between calls. Each call goes by the time it is given, and by no other call's.
/// - The time that `claim` returns is never later than the next due time or lease end, and may be earlier after a lease
///   was settled or renewed. Leases that the same call granted are among those it considers.
/// - [`changed`](Queue::changed) also completes for a message or retry that is not due yet: whoever waits for the next
///   due time has to learn of an earlier one.
/// - A delivery keeps its newest [`HISTORY_MAX`] failures.
/// - A payload that panics as it is dropped, since its delivery is acknowledged, takes nothing back of the settlement: that is stored, and
///   its answer says so. The process's panic hook hears of the panic, and nobody else.
///
/// ```
/// use std::{collections::VecDeque, time::Duration};
///
/// use shiftwork_queue::{Claim, MemoryQueue, Message, Queue, Settlement, Timestamp};
///
/// # tokio_test::block_on(async {
/// let queue = MemoryQueue::new();
/// let now = Timestamp::UNIX_EPOCH;
/// queue.push_one(Message::new("charge order 17"), now).await?;
///
/// let mut claimed = VecDeque::new();
/// queue.claim(Claim { max: 10, lease: Duration::from_secs(30), now }, &mut claimed).await?;
/// let delivery = claimed.pop_front().expect("one message is due");
/// assert_eq!(delivery.payload, Ok("charge order 17"));
///
/// queue.settle(delivery.lease, Settlement::Ack, now).await?;
/// assert_eq!(queue.depth(now).await?.unsettled(), 0);
/// # Ok::<(), shiftwork_queue::QueueError>(())
/// # }).unwrap();
/// ```
pub struct MemoryQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Changes,
    /// Told when a bounded queue has got room.
    room: Changes,
    bounded: bool,
}

impl<T> MemoryQueue<T> {
    /// An empty queue that holds any number of messages.
    #[must_use]
    pub fn new() -> Self {
        Self::with_state(State::new(None))
    }

    /// An empty queue that refuses a push when it would hold more than `capacity` unsettled deliveries;
    /// [`push_when_room`](Self::push_when_room) waits instead, and [`try_push`](Self::try_push) gives the messages back.
    ///
    /// Dead letters take no room. [`requeue`](Queue::requeue) and [`push_undecodable`](Self::push_undecodable) are not
    /// refused: the one is a person's decision, the other a test's.
    #[must_use]
    pub fn bounded(capacity: usize) -> Self {
        Self::with_state(State::new(Some(capacity)))
    }

    /// Adds a delivery that cannot be decoded, due at once, as a damaged row of a database would be.
    pub fn push_undecodable(&self, reason: impl Into<String>, now: Timestamp) -> DeliveryId {
        let record = Record::undecodable(Undecodable::new(reason), now);
        let id = self.lock().add(record, now);
        self.notify();
        id
    }

    /// Every unsettled delivery as it is at `now`, in the order of their ids. Dead letters are not among them.
    ///
    /// It costs time and memory in proportion to the queue: it is for tests, and for a person who looks.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Vec<Entry> {
        self.lock().snapshot(now)
    }

    /// [`push`](Queue::push) at once, which gives the messages back if a bounded queue has no room for all of them.
    ///
    /// # Errors
    ///
    /// [`Full`], with the messages; nothing was added.
    pub fn try_push(&self, messages: Vec<Message<T>>, now: Timestamp) -> Result<Vec<Pushed>, Full<T>> {
        let mut pushed = Vec::with_capacity(messages.len());
        let mut refused = Vec::new();
        {
            let mut state = self.lock();
            if let Err(capacity) = state.check_room(&messages) {
                return Err(Full { messages, capacity });
            }
            for message in messages {
                pushed.push(match state.push(message, now) {
                    Ok(id) => Pushed::Added(id),
                    Err((message, id)) => {
                        refused.push(message);
                        Pushed::Duplicate(id)
                    }
                });
            }
        }
        if refused.len() < pushed.len() {
            self.notify();
        }
        Ok(pushed)
    }

    /// [`push`](Queue::push), once a bounded queue has room for all of the messages: whoever produces faster than is
    /// worked off is slowed down to that. `now` is asked for the time of each try.
    ///
    /// Whoever waits is woken together when room comes, in no order; many messages at once may wait for long beside others
    /// who push few.
    ///
    /// ```
    /// use shiftwork_queue::{MemoryQueue, Message, Timestamp};
    ///
    /// # tokio_test::block_on(async {
    /// let queue = MemoryQueue::bounded(100);
    /// queue.push_when_room(vec![Message::new("charge order 17")], Timestamp::now).await?;
    /// # Ok::<(), shiftwork_queue::QueueError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::is_full`] when even an empty queue would have no room.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the messages; nothing was added.
    pub async fn push_when_room(
        &self,
        mut messages: Vec<Message<T>>,
        now: impl Fn() -> Timestamp,
    ) -> Result<Vec<Pushed>, QueueError> {
        loop {
            // Before the try, so that room that comes in between is not missed.
            let room = self.shared.room.listen();
            match self.try_push(messages, now()) {
                Ok(pushed) => return Ok(pushed),
                Err(full) if places(&full.messages, |_| true) > full.capacity => return Err(full.into()),
                Err(full) => messages = full.messages,
            }
            room.await;
        }
    }

    fn with_state(state: State<T>) -> Self {
        let bounded = state.capacity().is_some();
        let shared =
            Shared { state: Mutex::new(state), changed: Changes::default(), room: Changes::default(), bounded };
        Self { shared: Arc::new(shared) }
    }

    /// Tells of a settlement. What is done is dropped here, for the lock is released.
    fn has_settled(&self, settled: Settled<T>) {
        match settled {
            Settled::Done(payload, next) => {
                self.left(next);
                let_go(payload);
            }
            Settled::Aside(next) => self.left(next),
            Settled::Waiting => self.notify(),
        }
    }

    /// A delivery has left the queue. Whether another one may be claimed instead.
    fn left(&self, next: bool) {
        if self.shared.bounded {
            self.shared.room.tell();
        }
        if next {
            self.notify();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.shared.changed.tell();
    }
}

impl<T: Clone + Send + 'static> Queue<T> for MemoryQueue<T> {
    async fn push(&self, messages: Vec<Message<T>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
        Ok(self.try_push(messages, now)?)
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn moves its message once more")]
    fn push_one(&self, message: Message<T>, now: Timestamp) -> impl Future<Output = Result<Pushed, QueueError>> + Send {
        async move {
            let pushed = {
                let mut state = self.lock();
                if let Err(capacity) = state.check_room(slice::from_ref(&message)) {
                    return Err(QueueError::full(capacity));
                }
                state.push(message, now)
            };
            // A refused message is dropped out here, for the lock is released.
            match pushed {
                Ok(id) => {
                    self.notify();
                    Ok(Pushed::Added(id))
                }
                Err((_refused, id)) => Ok(Pushed::Duplicate(id)),
            }
        }
    }

    fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<Option<Timestamp>, QueueError>> + Send {
        poll_fn(move |_| {
            let mut state = self.lock();
            state.claim(claim, claimed);
            Poll::Ready(Ok(state.next_due(claim.now)))
        })
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        let mut state = self.lock();
        Ok(leases.iter().copied().filter(|lease| !state.renew(*lease, until)).collect())
    }

    async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
        let settled = self.lock().settle(lease, settlement, now)?;
        self.has_settled(settled);
        Ok(())
    }

    /// Under one lock. A payload that panics as it is cloned is for the next claim to tell: the settlement is made.
    fn ack_and_claim(
        &self,
        lease: Lease,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        poll_fn(move |_| {
            let (payload, next, panic) = {
                let mut state = self.lock();
                let Some((payload, next)) = state.ack(lease, claim.now) else {
                    return Poll::Ready(Err(QueueError::lease_lost(lease)));
                };
                let claims = AssertUnwindSafe(|| state.claim(claim, claimed));
                let panic = if claim.max > 0 { catch_unwind(claims).err() } else { None };
                (payload, next, panic)
            };
            self.left(next);
            let_go(payload);
            if let Some(panic) = panic {
                pass_over(panic);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Under one lock, and with one word to the listeners.
    async fn settle_many(&self, settlements: Vec<(Lease, Settlement)>, now: Timestamp) -> Vec<Result<(), QueueError>> {
        let mut left = Vec::with_capacity(settlements.len());
        let (mut room, mut claimable) = (false, false);
        let answers = {
            let mut state = self.lock();
            let settle = |(lease, settlement)| {
                match state.settle(lease, settlement, now)? {
                    Settled::Done(content, next) => {
                        left.push(content);
                        (room, claimable) = (true, claimable || next);
                    }
                    Settled::Aside(next) => (room, claimable) = (true, claimable || next),
                    Settled::Waiting => claimable = true,
                }
                Ok(())
            };
            settlements.into_iter().map(settle).collect()
        };
        if room {
            self.left(claimable);
        } else if claimable {
            self.notify();
        }
        // The lock is released: a payload may use the queue as it is dropped.
        left.into_iter().for_each(let_go);
        answers
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.changed.listen()
    }

    async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
        Ok(self.lock().depth(now))
    }

    async fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Result<Vec<DeadLetter<T>>, QueueError> {
        Ok(self.lock().dead_letters(after, limit))
    }

    async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
        let found = self.lock().requeue(id, now);
        if found {
            self.notify();
        }
        Ok(found)
    }

    async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
        let discarded = self.lock().discard(id);
        Ok(discarded.is_some())
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        // They are dropped when the lock is released.
        let pruned = self.lock().prune(before, limit);
        Ok(pruned.len())
    }
}

/// Drops the payload of what is done, and passes over its panic: the settlement is made.
fn let_go<T>(payload: Result<T, Undecodable>) {
    // Most have nothing that could panic, and are dropped with that.
    if needs_drop::<T>()
        && let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        pass_over(panic);
    }
}

/// Is done with a panic of a payload. What that carries may panic as it is dropped, too.
fn pass_over(panic: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        forget(another);
    }
}

/// A bounded queue had no room for these messages.
pub struct Full<T> {
    /// The messages, none of which was added.
    pub messages: Vec<Message<T>>,
    /// How many unsettled deliveries the queue holds at most.
    pub capacity: usize,
}

impl<T> From<Full<T>> for QueueError {
    fn from(full: Full<T>) -> Self {
        QueueError::full(full.capacity)
    }
}

/// Shows how many, never a payload.
impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Full").field("messages", &self.messages.len()).field("capacity", &self.capacity).finish()
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the queue is full: it holds {} messages at most", self.capacity)
    }
}

impl<T> std::error::Error for Full<T> {}

impl<T> Clone for MemoryQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Default for MemoryQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows counts, never a payload: a queue ends up in logs.
impl<T> fmt::Debug for MemoryQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryQueue")
            .field("capacity", &state.capacity())
            .field("unsettled", &state.unsettled())
            .field("dead", &state.dead())
            .finish()
    }
}
