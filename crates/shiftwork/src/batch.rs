//! What a user writes who works on many inputs at a time: a type whose cycle takes a batch, and says of each input what
//! became of it.
//!
//! How batches are filled is the source's affair, how they run `lane/batch.rs`'s, and what follows for each input is decided
//! as for any other cycle.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    time::Duration,
};

use shiftwork_queue::{DeliveryId, FencingToken, Timestamp};
use tokio::time::Instant;

use crate::{Failure, Retry, context::LaneShared, control::Level, event::CycleId, lane::Members};

/// A worker whose cycle takes many inputs at a time, each with a verdict of its own: one bulk insert, one call with many
/// messages.
///
/// An input of which nothing was said gets what the whole cycle returns: it is done if that is `Ok`, and has failed with it
/// otherwise, as it has when the cycle panics or runs out of time. After that it comes again alone, so that one bad input does
/// not fail its siblings twice. What was said of an input stands, whatever becomes of the cycle afterwards.
///
/// ```
/// use shiftwork::{Batch, BatchContext, BatchWorker, Batches, Failure, Host, QueueSourceExt, queue::MemoryQueue};
///
/// struct Indexer;
///
/// impl BatchWorker for Indexer {
///     type Input = String;
///
///     async fn cycle(&self, batch: &mut Batch<String>, _: &BatchContext) -> Result<(), Failure> {
///         for item in batch.iter_mut() {
///             if item.input.is_empty() {
///                 item.fail(Failure::invalid("there is nothing to index"));
///             }
///         }
///         let rows: Vec<&str> = batch.iter().filter(|item| !item.has_verdict()).map(|item| &*item.input).collect();
///         println!("inserting {} rows", rows.len());
///         Ok(())
///     }
/// }
///
/// let host = Host::builder()
///     .batch_worker("index", MemoryQueue::<String>::new().source(), Batches::of(200), Indexer)
///     .build();
/// assert!(host.is_ok());
/// ```
pub trait BatchWorker: Send + Sync + 'static {
    /// One of the many that a cycle works on.
    type Input: Send + 'static;

    /// As [`Worker::start`](crate::Worker::start).
    ///
    /// # Errors
    ///
    /// A failure stops the host, which reports it as the root cause.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when its time limit ends or the host is asked to stop.
    fn start(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// One cycle, over at least one input.
    ///
    /// # Errors
    ///
    /// What it returns is the verdict on every input that has none of its own; see [`Failure`] for what follows. Of a batch
    /// with more than one input, [`Failure::invalid`] and [`Failure::discard`] are taken as transient: they are true of one of
    /// them at most, and nobody can tell of which. Say them of the item.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at an await point when the cycle's timeout ends, the lease of one of its inputs is lost, or a
    /// stop runs out of patience. What it has done by then must be harmless to do again, but for the inputs that it has
    /// given a verdict: that is stored.
    fn cycle(
        &self,
        batch: &mut Batch<Self::Input>,
        cx: &BatchContext,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// As [`Worker::stop`](crate::Worker::stop).
    ///
    /// # Errors
    ///
    /// A failure is reported and changes nothing else.
    ///
    /// # Cancel safety
    ///
    /// As [`Worker::stop`](crate::Worker::stop).
    fn stop(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }
}

/// The inputs of one cycle, as a slice of items in the order in which they came.
#[derive(Debug)]
pub struct Batch<Input> {
    items: Vec<Item<Input>>,
}

/// One input of a batch, and what is said of it.
#[derive(Debug)]
pub struct Item<Input> {
    /// What came.
    pub input: Input,
    /// Where its verdict belongs.
    pub(crate) place: usize,
    pub(crate) cycle: CycleId,
    pub(crate) attempt: u32,
    /// How many attempts its worker's retry policy allows.
    pub(crate) attempts_max: u32,
    pub(crate) claim: Option<(DeliveryId, FencingToken)>,
    pub(crate) verdict: Option<Result<(), Failure>>,
}

impl<Input> Batch<Input> {
    /// A batch that belongs to no host, for the unit test of a cycle: these inputs, each at its first attempt and nobody's delivery.
    ///
    /// ```
    /// use shiftwork::{Batch, BatchContext, BatchWorker, Failure};
    ///
    /// struct Indexer;
    ///
    /// impl BatchWorker for Indexer {
    ///     type Input = &'static str;
    ///
    ///     async fn cycle(&self, batch: &mut Batch<&'static str>, _: &BatchContext) -> Result<(), Failure> {
    ///         for item in batch.iter_mut().filter(|item| item.input.is_empty()) {
    ///             item.fail(Failure::invalid("there is nothing to index"));
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # tokio_test::block_on(async {
    /// let mut batch = Batch::of(["a text", ""]);
    /// Indexer.cycle(&mut batch, &BatchContext::detached("index")).await?;
    /// assert!(batch[0].verdict().is_none(), "it gets what the call has returned");
    /// assert!(matches!(batch[1].verdict(), Some(Err(failure)) if failure.is_invalid()));
    /// # Ok::<(), Failure>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn of(inputs: impl IntoIterator<Item = Input>) -> Self {
        let attempts_max = Retry::default().attempts();
        let item = |(place, input): (usize, Input)| Item {
            input,
            place,
            cycle: CycleId(place as u64 + 1),
            attempt: 1,
            attempts_max,
            claim: None,
            verdict: None,
        };
        Self { items: inputs.into_iter().enumerate().map(item).collect() }
    }

    pub(crate) fn with_capacity(size: usize) -> Self {
        Self { items: Vec::with_capacity(size) }
    }

    pub(crate) fn items(&mut self) -> &mut Vec<Item<Input>> {
        &mut self.items
    }
}

impl<Input> Deref for Batch<Input> {
    type Target = [Item<Input>];

    fn deref(&self) -> &[Item<Input>] {
        &self.items
    }
}

impl<Input> DerefMut for Batch<Input> {
    fn deref_mut(&mut self) -> &mut [Item<Input>] {
        &mut self.items
    }
}

impl<'a, Input> IntoIterator for &'a Batch<Input> {
    type Item = &'a Item<Input>;
    type IntoIter = std::slice::Iter<'a, Item<Input>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<'a, Input> IntoIterator for &'a mut Batch<Input> {
    type Item = &'a mut Item<Input>;
    type IntoIter = std::slice::IterMut<'a, Item<Input>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter_mut()
    }
}

impl<Input> Item<Input> {
    /// It is done, whatever becomes of the others.
    pub fn done(&mut self) {
        self.verdict = Some(Ok(()));
    }

    /// It has failed, whatever becomes of the others. Any error is a transient failure; [`Failure`] says otherwise.
    pub fn fail(&mut self, failure: impl Into<Failure>) {
        self.verdict = Some(Err(failure.into()));
    }

    /// Whether something was said of it. The last word counts.
    #[must_use]
    pub fn has_verdict(&self) -> bool {
        self.verdict.is_some()
    }

    /// What was said of it last, if anything.
    #[must_use]
    pub fn verdict(&self) -> Option<Result<(), &Failure>> {
        self.verdict.as_ref().map(|verdict| verdict.as_ref().copied())
    }

    /// Which of the worker's cycles it counts as.
    #[must_use]
    pub fn cycle(&self) -> CycleId {
        self.cycle
    }

    /// Which attempt at it this is, from 1. From the second on it is alone in its batch.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// As [`Context::is_last_attempt`](crate::Context::is_last_attempt).
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.attempts_max
    }

    /// As [`Context::delivery`](crate::Context::delivery): a name for it, and no idempotency key.
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryId> {
        self.claim.map(|(delivery, _)| delivery)
    }

    /// As [`Context::fencing_token`](crate::Context::fencing_token).
    #[must_use]
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.claim.map(|(_, token)| token)
    }
}

/// What the cycle of a batch knows of its surroundings.
#[derive(Clone)]
pub struct BatchContext {
    members: Members,
    deadline: Option<Instant>,
}

impl BatchContext {
    /// As [`Context::detached`](crate::Context::detached), for the unit test of a cycle over a batch. [`Batch::of`] has an example.
    #[must_use]
    pub fn detached(worker: &str) -> Self {
        Self::new(Members::alone(LaneShared::detached(worker)), None)
    }

    pub(crate) fn new(members: Members, deadline: Option<Instant>) -> Self {
        Self { members, deadline }
    }

    /// The worker's name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.members.first().name
    }

    /// When the cycle's timeout ends it, if it has one.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How much of its timeout is left, if it has one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Says that the cycle gets on, for all of its inputs: one relaxed atomic operation for each.
    pub fn progress(&self) {
        self.members.progress();
    }

    /// Whether the worker was asked to stop. A cycle that works through its items one by one looks here before each, and
    /// returns [`Failure::interrupted`] when it is set: what has no verdict yet is returned unspent.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.members.first().control.worker.is_at_least(Level::Drain)
    }

    /// Completes when the cycle should end *now*: the time to drain is over, or the lease of one of its inputs is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be dropped and asked again.
    pub async fn cancelled(&self) {
        self.members.cancelled().await;
    }

    /// The wall time, from the host's environment.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.members.first().environment.now()
    }
}

impl std::fmt::Debug for BatchContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchContext").field("worker", &self.worker()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, task};

    use super::*;

    #[test]
    fn what_was_said_of_an_item_last_is_its_verdict() {
        let mut batch = Batch::of([7]);
        let item = &mut batch[0];
        assert!(item.verdict().is_none());
        item.fail(Failure::invalid("seven"));
        assert!(matches!(item.verdict(), Some(Err(failure)) if failure.is_invalid()));
        item.done();
        assert!(matches!(item.verdict(), Some(Ok(()))));
    }

    #[test]
    fn nobody_asks_a_detached_batch_to_end() {
        let cx = BatchContext::detached("index");
        cx.progress();
        assert_eq!((cx.worker(), cx.deadline()), ("index", None));
        assert!(!cx.stopping());
        assert_pending!(task::spawn(cx.cancelled()).poll());
    }
}
