//! A durable queue that belongs to the world, and its fault model.
//!
//! It is the in-memory model queue behind a site, so that every fault of a dependency can strike each of its operations: the
//! store is out, slow, hangs, fails before the write or after it. Like a real client it gives up on an operation after
//! [`OPERATION_TIMEOUT`]. It survives crashes of the node, as a database does.
//!
//! Some faults are a queue's alone. They strike when the operation gets to the store:
//!
//! | fault | what the real one does |
//! | --- | --- |
//! | duplicate | a producer got no reply and pushed once more, without a unique key |
//! | malformed | a producer of another version, or a damaged row: the payload cannot be decoded |
//! | reorder | another consumer takes the oldest deliveries and gives them back: the order of the queue is a wish |
//! | late | a claim skips rows that are locked, or asks a partition that has nothing: it comes back empty |
//! | lease taken | a fail-over to a replica that had not heard of the claim, or an operator who unlocks a row |
//!
//! A stale read is not among them: claims, renewals and settlements are writes, and no store that can keep the contract lets
//! a write see an old state. A payload that is too large is refused by the producer's push, or by the worker that reads it.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shiftwork::queue::{
    Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, MemoryQueue, Message, MessageOptions, Priority, Pushed,
    Queue, QueueError, Settlement, Timestamp, between, memory::Stage,
};

use crate::{
    Dependency, What,
    record::{QueueOperation, Settled},
    world::{Asks, ClaimMeets, Shared},
};

/// How long the client of the queue waits for its store: a common statement timeout.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivery ids carry their queue's site in the upper bits, so that they are unique in the world.
const SITE_SHIFT: u32 = 48;

/// A durable queue of the world. Cheap to clone.
///
/// It is a [`Queue`] like any other: the source of a worker, or what code that does not use the runtime claims from. The methods that
/// begin with `seed` and `inspect` are the test's own: no fault strikes them, and they take no time.
///
/// ```
/// use shiftwork::{Context, Failure, QueueSourceExt};
/// use shiftwork_sim::{Script, SimQueue, plan, secs};
///
/// let outcome = Script::new().at(secs(2), plan::crash(secs(1))).run(|world| {
///     let jobs: SimQueue<u32> = world.queue("jobs");
///     jobs.seed(1..=5);
///     let left = jobs.clone();
///     world.node("node", move |node| {
///         let work = |_: u32, _: Context| async { Ok::<(), Failure>(tokio::time::sleep(secs(1)).await) };
///         node.host().worker("work", jobs.clone().source().lease(secs(5)), work).run_until_signal()
///     });
///     // What was leased when the process died comes again.
///     world.done_when(move || left.inspect_depth().unsettled() == 0);
/// });
/// outcome.assert_rules_kept();
/// assert_eq!(outcome.stats.boots, 2);
/// ```
#[derive(Clone)]
pub struct SimQueue<T> {
    shared: Arc<Shared>,
    site: Dependency,
    store: MemoryQueue<T>,
    routes: Arc<Mutex<Routes>>,
}

/// What is remembered of the messages of a queue.
#[derive(Default)]
struct Routes {
    /// The lines of ordering keys, numbered as they were first seen.
    lines: BTreeMap<String, u64>,
    /// Those of the deliveries in the store that are not the usual ones.
    of: BTreeMap<DeliveryId, Route>,
}

/// What decides when a message has its turn, beside its time.
#[derive(Clone, Default, PartialEq)]
struct Route {
    priority: Priority,
    ordering_key: Option<String>,
    /// The number of its ordering key's line, unique in the world.
    line: Option<u64>,
}

impl<T: Clone + Send + 'static> SimQueue<T> {
    pub(crate) fn new(shared: Arc<Shared>, site: Dependency) -> Self {
        let queue = Self { shared, site, store: MemoryQueue::new(), routes: Arc::default() };
        let watched = queue.clone();
        queue.shared.watch_queue(Box::new(move || watched.held()));
        queue
    }

    /// Adds messages from outside of the node, where no fault strikes, pushed at the world's present time.
    ///
    /// # Panics
    ///
    /// Never in a world: its queues are unbounded.
    pub fn seed(&self, payloads: impl IntoIterator<Item = T>) {
        self.seed_messages(payloads.into_iter().map(Message::new));
    }

    /// The same for messages with keys, priorities and times.
    ///
    /// # Panics
    ///
    /// Never in a world: its queues are unbounded.
    pub fn seed_messages(&self, messages: impl IntoIterator<Item = Message<T>>) {
        let messages: Vec<_> = messages.into_iter().collect();
        let routes = self.routes_of(&messages);
        let pushed = now_or_never(self.store.push(messages, self.shared.wall_time()));
        self.record_pushed(&pushed.expect("a world's queue is unbounded"), &routes);
    }

    /// How many deliveries are in each state, whatever the faults, as if the time had come for each of them: what waits for its time
    /// or for a retry counts as ready.
    #[must_use]
    pub fn inspect_depth(&self) -> Depth {
        now_or_never(self.store.depth(Timestamp::MAX)).expect("a world's queue is in memory")
    }

    /// Every dead letter, whatever the faults.
    #[must_use]
    pub fn inspect_dead_letters(&self) -> Vec<DeadLetter<T>> {
        let letters = now_or_never(self.store.dead_letters(None, usize::MAX));
        letters.expect("a world's queue is in memory")
    }

    /// A damaged row: a delivery whose payload cannot be decoded.
    pub fn seed_undecodable(&self, reason: &str) {
        let id = self.store.push_undecodable(reason, Timestamp::UNIX_EPOCH);
        self.record_pushed(&[Pushed::Added(id)], &[]);
    }

    /// Another process claims whatever it can get, past every fault, and is never heard of again: its leases lapse after
    /// `lease`.
    pub fn rival_claims(&self, lease: Duration) {
        let mut claimed = VecDeque::new();
        let claim = Claim { max: usize::MAX, lease, now: self.shared.wall_time() };
        let _hint = now_or_never(self.store.claim(claim, &mut claimed));
        for delivery in claimed {
            self.record_claim(delivery.lease, delivery.attempt, delivery.crashes, false);
            self.shared.lock().leased(self.outside(delivery.lease.delivery), lease);
        }
    }

    fn record_claim(&self, lease: Lease, attempt: u32, crashes: u32, told: bool) {
        let (delivery, token) = (self.outside(lease.delivery), lease.token.0);
        self.shared.record(What::Queue(QueueOperation::Claimed { delivery, token, attempt, crashes, told }));
    }

    /// What was claimed behind the first `before`, which is known outside by another number from now on.
    fn granted(&self, claimed: &mut VecDeque<Delivery<T>>, before: usize) -> Vec<Granted> {
        let mut grant = |delivery: &mut Delivery<T>| {
            let granted = (delivery.lease, delivery.attempt, delivery.crashes);
            delivery.lease.delivery = self.outside(delivery.lease.delivery);
            granted
        };
        claimed.range_mut(before..).map(&mut grant).collect()
    }

    fn record_granted<'a>(&self, granted: impl Iterator<Item = &'a Granted>, lasts: Duration, told: bool) {
        for (lease, attempt, crashes) in granted {
            self.record_claim(*lease, *attempt, *crashes, told);
            self.shared.lock().leased(self.outside(lease.delivery), lasts);
        }
    }

    fn record_settled(&self, lease: Lease, how: Settled, answer: Result<(), &QueueError>) {
        let (delivery, token) = (lease.delivery, lease.token.0);
        self.shared.record(What::Queue(match answer {
            Ok(()) => QueueOperation::Settled { delivery, token, how },
            Err(_) => QueueOperation::Fenced { delivery, token },
        }));
    }

    /// What the store does about a claim, with its faults.
    async fn claim_of_store(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        let ClaimMeets { malformed, put_off, duplicate, passes_over } =
            self.shared.lock().meets_claim(self.site.site());
        if malformed {
            let id = self.store.push_undecodable("a newer producer wrote it (injected)", claim.now);
            self.record_pushed(&[Pushed::Added(id)], &[]);
        }
        if let Some((fault, by)) = put_off.filter(|_| self.has_due(claim.now)) {
            self.shared.lock().strike(fault);
            return Ok(Some(claim.now.checked_add(by).unwrap_or(Timestamp::MAX)));
        }
        let mut aside = VecDeque::new();
        if let Some((fault, most)) = passes_over {
            // One is left to be claimed: a claim that is given nothing, and told at once that there is something, would
            // ask for ever.
            let due = self.store.depth(claim.now).await?.ready;
            let max = most.min(due.saturating_sub(1));
            self.store.claim(Claim { max, ..claim }, &mut aside).await?;
            for delivery in &aside {
                self.record_claim(delivery.lease, delivery.attempt, delivery.crashes, false);
            }
            if !aside.is_empty() {
                self.shared.lock().strike(fault);
            }
        }
        let before = claimed.len();
        let answer = self.store.claim(claim, claimed).await;
        for delivery in aside {
            let (id, token) = (self.outside(delivery.lease.delivery), delivery.lease.token.0);
            self.store.settle(delivery.lease, Settlement::Return, claim.now).await?;
            self.shared.record(What::Queue(QueueOperation::Settled { delivery: id, token, how: Settled::Returned }));
        }
        let copy = |delivery: &Delivery<T>| Some((delivery.lease.delivery, delivery.payload.as_ref().ok()?.clone()));
        let first = claimed.range(before..).find_map(copy);
        if let (Some(fault), Some((id, payload))) = (duplicate, first) {
            let route = self.routes().of.get(&id).cloned().unwrap_or_default();
            let message = Message::new(payload).priority(route.priority);
            let message = match &route.ordering_key {
                Some(key) => message.ordering_key(key.clone()),
                None => message,
            };
            let pushed = self.store.push(vec![message], claim.now).await?;
            self.shared.lock().strike(fault);
            self.record_pushed(&pushed, &[route]);
        }
        answer
    }

    /// Whether there is something to be claimed at `now`.
    fn has_due(&self, now: Timestamp) -> bool {
        self.store.snapshot(now).iter().any(|entry| match entry.stage {
            Stage::Ready => true,
            Stage::Leased { lease } => lease.expires_at <= now,
            Stage::Delayed { .. } | Stage::Behind => false,
        })
    }

    /// If the plan says so, the store forgets the first of these leases that is still held: its delivery waits again.
    fn forget_lease(&self, leases: &[Lease]) {
        let Some(fault) = self.shared.lock().forgets_lease(self.site.site()) else { return };
        let now = self.shared.wall_time();
        let held =
            leases.iter().find(|lease| now_or_never(self.store.settle(**lease, Settlement::Return, now)).is_ok());
        if let Some(lease) = held {
            self.shared.lock().strike(fault);
            let (delivery, token) = (self.outside(lease.delivery), lease.token.0);
            self.shared.record(What::Queue(QueueOperation::LeaseTaken { delivery, token }));
        }
    }

    /// What the store still has work to do for, and whether it is leased.
    fn held(&self) -> Vec<(DeliveryId, bool)> {
        let entries = self.store.snapshot(Timestamp::UNIX_EPOCH).into_iter();
        entries.map(|entry| (self.outside(entry.id), matches!(entry.stage, Stage::Leased { .. }))).collect()
    }

    /// `routes` are those of the messages, in their order.
    fn record_pushed(&self, pushed: &[Pushed], routes: &[Route]) {
        for (index, one) in pushed.iter().enumerate() {
            let Pushed::Added(id) = one else { continue };
            let delivery = self.outside(*id);
            self.shared.record(What::Queue(QueueOperation::Pushed(delivery)));
            let Some(route) = routes.get(index).filter(|route| **route != Route::default()) else { continue };
            self.routes().of.insert(*id, route.clone());
            if let Some(line) = route.line {
                self.shared.record(What::Queue(QueueOperation::InLine { delivery, line }));
            }
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes_of(&self, messages: &[Message<T>]) -> Vec<Route> {
        let mut routes = self.routes();
        let mut line = |key: &String| {
            let next = routes.lines.len() as u64 + 1;
            *routes.lines.entry(key.clone()).or_insert(next) | (u64::from(self.site.site().0) << SITE_SHIFT)
        };
        let mut route = |options: &MessageOptions| Route {
            priority: options.priority,
            ordering_key: options.ordering_key.clone(),
            line: options.ordering_key.as_ref().map(&mut line),
        };
        messages.iter().map(|message| route(message.options())).collect()
    }

    fn outside(&self, id: DeliveryId) -> DeliveryId {
        DeliveryId(id.0 | (u64::from(self.site.site().0) << SITE_SHIFT))
    }

    fn inside(&self, id: DeliveryId) -> DeliveryId {
        DeliveryId(id.0 & ((1 << SITE_SHIFT) - 1))
    }

    fn lease_inside(&self, lease: Lease) -> Lease {
        Lease { delivery: self.inside(lease.delivery), ..lease }
    }

    /// One operation through the site, and through the client's patience. The store's own answer, and whether the caller
    /// may hear it.
    async fn operate<O>(
        &self,
        asks: Asks,
        operation: impl Future<Output = Result<O, QueueError>>,
        done: impl FnOnce(&Result<O, QueueError>, bool),
    ) -> Result<O, QueueError> {
        let operation = self.site.quietly(operation, asks, OPERATION_TIMEOUT, done);
        match tokio::time::timeout(OPERATION_TIMEOUT, operation).await {
            Err(_) => Err(QueueError::unavailable("no answer from the store (injected)")),
            Ok(Err(error)) => Err(QueueError::unavailable(error)),
            Ok(Ok(answer)) => answer,
        }
    }
}

/// A lease that was granted, with its attempt and its crashes.
type Granted = (Lease, u32, u32);

/// How the rules see a settlement.
fn how(settlement: &Settlement) -> Settled {
    match settlement {
        Settlement::Ack => Settled::Acked,
        Settlement::Retry { .. } => Settled::Retried,
        Settlement::DeadLetter { .. } => Settled::DeadLettered,
        Settlement::Return | Settlement::Snooze { .. } => Settled::Returned,
    }
}

/// The model queue answers at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("the model queue never waits"),
    }
}

impl<T> std::fmt::Debug for SimQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimQueue").field("site", &self.site).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + 'static> Queue<T> for SimQueue<T> {
    async fn push(&self, messages: Vec<Message<T>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
        let routes = self.routes_of(&messages);
        let record = |answer: &Result<Vec<Pushed>, QueueError>, _| {
            if let Ok(pushed) = answer {
                self.record_pushed(pushed, &routes);
            }
        };
        let pushed = self.operate(Asks::Code, self.store.push(messages, now), record).await?;
        Ok(pushed
            .into_iter()
            .map(|one| match one {
                Pushed::Added(id) => Pushed::Added(self.outside(id)),
                Pushed::Duplicate(id) => Pushed::Duplicate(self.outside(id)),
            })
            .collect())
    }

    async fn claim(&self, claim: Claim, claimed: &mut VecDeque<Delivery<T>>) -> Result<Option<Timestamp>, QueueError> {
        let before = claimed.len();
        let granted = async {
            let next_due = self.claim_of_store(claim, claimed).await?;
            Ok((next_due, self.granted(claimed, before)))
        };
        let record = |answer: &Result<(Option<Timestamp>, Vec<Granted>), QueueError>, told| {
            self.record_granted(answer.iter().flat_map(|(_, granted)| granted), claim.lease, told);
        };
        let answer = self.operate(Asks::Lane, granted, record).await;
        if answer.is_err() {
            claimed.truncate(before);
        }
        answer.map(|(next_due, _)| next_due)
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        let leases: Vec<Lease> = leases.iter().map(|lease| self.lease_inside(*lease)).collect();
        let renewed = async {
            self.forget_lease(&leases);
            self.store.renew(&leases, until).await
        };
        let record = |answer: &Result<Vec<Lease>, QueueError>, _| {
            let Ok(lost) = answer else { return };
            let lasts = between(self.shared.wall_time(), until);
            for lease in leases.iter().filter(|lease| !lost.contains(lease)) {
                self.shared.lock().leased(self.outside(lease.delivery), lasts);
            }
        };
        let mut lost = self.operate(Asks::Lane, renewed, record).await?;
        for lease in &mut lost {
            lease.delivery = self.outside(lease.delivery);
        }
        Ok(lost)
    }

    async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
        let how = how(&settlement);
        let record = |answer: &Result<(), QueueError>, _| self.record_settled(lease, how, answer.as_ref().copied());
        let inside = self.lease_inside(lease);
        let settled = async {
            self.forget_lease(&[inside]);
            self.store.settle(inside, settlement, now).await
        };
        self.operate(Asks::Lane, settled, record).await
    }

    /// One operation, which a fault strikes as a whole: both are done, or neither.
    async fn ack_and_claim(
        &self,
        lease: Lease,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> Result<(), QueueError> {
        let (how, inside, before) = (how(&Settlement::Ack), self.lease_inside(lease), claimed.len());
        let done = async {
            self.forget_lease(&[inside]);
            let settled = self.store.settle(inside, Settlement::Ack, claim.now).await;
            // Before the claim, which may tell of the next one in its line.
            self.record_settled(lease, how, settled.as_ref().copied());
            settled?;
            if claim.max > 0 {
                // What cannot be claimed now is claimed by itself.
                let _next_due = self.claim_of_store(claim, claimed).await.ok();
            }
            Ok(self.granted(claimed, before))
        };
        let record = |answer: &Result<Vec<Granted>, QueueError>, told| {
            self.record_granted(answer.iter().flatten(), claim.lease, told);
        };
        let answer = self.operate(Asks::Lane, done, record).await;
        if answer.is_err() {
            claimed.truncate(before);
        }
        answer.map(|_| ())
    }

    /// One operation, which a fault strikes as a whole: no answer is heard for any of them, or all are.
    async fn settle_many(&self, settlements: Vec<(Lease, Settlement)>, now: Timestamp) -> Vec<Result<(), QueueError>> {
        let asked: Vec<_> = settlements.iter().map(|(lease, settlement)| (*lease, how(settlement))).collect();
        let inside: Vec<_> =
            settlements.into_iter().map(|(lease, settlement)| (self.lease_inside(lease), settlement)).collect();
        let leases: Vec<Lease> = inside.iter().map(|(lease, _)| *lease).collect();
        let settled = async {
            self.forget_lease(&leases);
            Ok(self.store.settle_many(inside, now).await)
        };
        let record = |answers: &Result<Vec<Result<(), QueueError>>, QueueError>, _| {
            for ((lease, how), answer) in asked.iter().zip(answers.iter().flatten()) {
                self.record_settled(*lease, *how, answer.as_ref().copied());
            }
        };
        match self.operate(Asks::Lane, settled, record).await {
            Ok(answers) => answers,
            Err(error) => asked.iter().map(|_| Err(QueueError::unavailable(error.to_string()))).collect(),
        }
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.store.changed()
    }

    async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
        self.operate(Asks::Code, self.store.depth(now), |_, _| {}).await
    }

    async fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Result<Vec<DeadLetter<T>>, QueueError> {
        let after = after.map(|id| self.inside(id));
        let mut letters = self.operate(Asks::Code, self.store.dead_letters(after, limit), |_, _| {}).await?;
        for letter in &mut letters {
            letter.id = self.outside(letter.id);
        }
        Ok(letters)
    }

    async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
        let record = |answer: &Result<bool, QueueError>, _| {
            if matches!(answer, Ok(true)) {
                self.shared.record(What::Queue(QueueOperation::Requeued(id)));
            }
        };
        self.operate(Asks::Code, self.store.requeue(self.inside(id), now), record).await
    }

    async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
        let record = |answer: &Result<bool, QueueError>, _| {
            if matches!(answer, Ok(true)) {
                self.shared.record(What::Queue(QueueOperation::Discarded(id)));
            }
        };
        self.operate(Asks::Code, self.store.discard(self.inside(id)), record).await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        let record = |answer: &Result<usize, QueueError>, _| {
            if let Ok(dead_letters @ 1..) = *answer {
                self.shared.record(What::Queue(QueueOperation::Pruned { dead_letters }));
            }
        };
        self.operate(Asks::Code, self.store.prune(before, limit), record).await
    }
}
