//! What a cycle knows about itself and its surroundings.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use shiftwork_queue::{DeliveryId, FencingToken, Timestamp};
use tokio::time::Instant;

use crate::{
    Retry,
    control::{AttemptControl, Control, Level},
    environment::{Environment, System},
    event::CycleId,
    in_flight::{InFlight, Seat},
    tally::Tally,
};

/// A cycle's view of its surroundings. Cheap to clone: one reference count.
///
/// A cycle of many steps says that it gets on, and looks whether it should. What is left of its work it must be able to find again:
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Context, Failure, Host, Schedule, Tick};
///
/// async fn import(_: Tick, cx: Context) -> Result<(), Failure> {
///     for page in pages_left().await? {
///         if cx.stopping() {
///             // Between two steps. Its attempt is not spent, and the pages that are left are found again.
///             return Err(Failure::interrupted(format!("stopped before page {page}")));
///         }
///         tokio::select! {
///             imported = import_page(page) => imported?,
///             // In the middle of one, when the time to drain is over: a moment to put things in order.
///             () = cx.cancelled() => return Err(Failure::interrupted(format!("stopped in page {page}"))),
///         }
///         cx.progress();
///     }
///     Ok(())
/// }
/// # async fn pages_left() -> Result<std::ops::Range<u32>, std::io::Error> {
/// #     Ok(0..1_000)
/// # }
/// # async fn import_page(_: u32) -> Result<(), std::io::Error> {
/// #     Ok(())
/// # }
///
/// let host = Host::builder()
///     .worker("import", Schedule::every(Duration::from_secs(3600)), import)
///     .no_cycle_timeout() // it may take hours
///     .progress_timeout(Duration::from_secs(60)) // but no page takes a minute
///     .build();
/// assert!(host.is_ok());
/// ```
#[derive(Clone)]
pub struct Context {
    lane: Arc<LaneShared>,
    /// The number of its attempt in its lane: a clone may outlive that.
    number: u64,
    cycle: CycleId,
    attempt: u32,
    /// What is processed, and under which claim.
    claim: Option<(DeliveryId, FencingToken)>,
    deadline: Option<Instant>,
}

/// What the cycles of one lane have in common.
pub(crate) struct LaneShared {
    pub(crate) name: Arc<str>,
    pub(crate) control: AttemptControl,
    /// What became of its cycles.
    pub(crate) tally: Arc<Tally>,
    /// How many cycles of this life have succeeded, where a retry budget asks. Written by the lane alone.
    pub(crate) successes: AtomicU64,
    pub(crate) environment: Arc<dyn Environment>,
    /// Whether the environment is asked at the await points of its cycles.
    pub(crate) watches_awaits: bool,
    /// How many attempts its worker's retry policy allows.
    pub(crate) attempts_max: u32,
    /// Where others see what the lane has in flight.
    pub(crate) seat: Arc<Seat>,
}

impl LaneShared {
    /// That of no host, for a cycle that is called by hand.
    pub(crate) fn detached(worker: &str) -> Arc<Self> {
        let control = AttemptControl::new(Arc::new(Control::new()));
        control.begin();
        Arc::new(Self {
            name: worker.into(),
            control,
            tally: Arc::default(),
            successes: AtomicU64::new(0),
            environment: Arc::new(System),
            watches_awaits: false,
            attempts_max: Retry::default().attempts(),
            seat: InFlight::new(1).seat(0),
        })
    }
}

impl Context {
    /// A context that belongs to no host, for the unit test of a cycle. It needs no runtime.
    ///
    /// It is that of the first cycle and the first attempt of a worker of this name, with the default retry policy, no delivery and no
    /// timeout. Nobody ever asks it to stop, nobody sees its progress, and the wall time is the machine's.
    ///
    /// What the runtime makes of a cycle, when it is stopped, fails or hangs, is tested in a world of `shiftwork-sim`.
    ///
    /// ```
    /// use shiftwork::{Context, Failure};
    ///
    /// async fn charge(cents: u64, cx: Context) -> Result<(), Failure> {
    ///     if cents == 0 {
    ///         return Err(Failure::invalid("nothing to charge"));
    ///     }
    ///     println!("{}: charging {cents}", cx.worker());
    ///     Ok(())
    /// }
    ///
    /// # tokio_test::block_on(async {
    /// let cx = Context::detached("charge");
    /// assert!(charge(100, cx.clone()).await.is_ok());
    /// assert!(charge(0, cx).await.unwrap_err().is_invalid());
    /// # });
    /// ```
    #[must_use]
    pub fn detached(worker: &str) -> Self {
        let mut cx = Self::new(LaneShared::detached(worker));
        cx.turn(CycleId(1), 1, None, None);
        cx
    }

    /// That of the cycles of a lane, before the first of them.
    pub(crate) fn new(lane: Arc<LaneShared>) -> Self {
        Self { lane, number: 0, cycle: CycleId(0), attempt: 0, claim: None, deadline: None }
    }

    /// Turns to the next cycle. A clone that an earlier cycle keeps is still that one's.
    pub(crate) fn turn(
        &mut self,
        cycle: CycleId,
        attempt: u32,
        claim: Option<(DeliveryId, FencingToken)>,
        deadline: Option<Instant>,
    ) {
        self.number = self.lane.control.number();
        (self.cycle, self.attempt, self.claim, self.deadline) = (cycle, attempt, claim, deadline);
    }

    /// The worker's name.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.lane.name
    }

    /// Which of the worker's cycles this is.
    #[must_use]
    pub fn cycle(&self) -> CycleId {
        self.cycle
    }

    /// Which attempt at its input this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it is the last attempt that [`Retry::attempts_max`](crate::Retry::attempts_max) allows: with its failure the input is
    /// given up, so that this is the moment to do without what has failed so far, or to tell whoever waits for it.
    ///
    /// Where [`Retry::total_max`](crate::Retry::total_max) is set, an input may be given up before, after an attempt of which nobody could
    /// know that it would be the last. And the last one may be made again: one that is interrupted or snoozed is not spent, nor is a probe
    /// of the breaker.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.lane.attempts_max
    }

    /// The delivery that is processed, for a queue worker: a name for it in logs and in the dead letters, the same over all attempts.
    ///
    /// It is no idempotency key. It is unique within one durable queue: another queue has the same numbers, a
    /// [`MemoryQueue`](crate::queue::MemoryQueue) begins at 1 with each process, and work that its producer pushed twice has two of them.
    /// The key by which the other side knows what it has done already is in the input, such as the order's number.
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryId> {
        self.claim.map(|(delivery, _)| delivery)
    }

    /// The fencing token of the claim under which the delivery is processed, for a queue worker. It grows with every claim
    /// of the delivery: a store that keeps the highest token it has seen for a delivery of one durable queue, and refuses a write
    /// with a lower one, is safe from a process that stood still and does not know that it has lost its lease.
    ///
    /// Deliveries and tokens of a [`MemoryQueue`](crate::queue::MemoryQueue) begin anew with each process: what a store remembers of
    /// them would refuse the writes of the next one.
    #[must_use]
    pub fn fencing_token(&self) -> Option<FencingToken> {
        self.claim.map(|(_, token)| token)
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

    /// Says that the cycle gets on: one relaxed atomic operation, cheap enough for an inner loop.
    ///
    /// It matters where the worker has a [`progress_timeout`](crate::WorkerBuilder::progress_timeout): a cycle that says
    /// nothing for so long is cancelled, and its lease renewed no more. Said after the cycle's end, by what it has left running, it
    /// does nothing.
    pub fn progress(&self) {
        if self.lane.control.number() == self.number {
            self.lane.control.progress();
        }
    }

    /// Whether the worker was asked to stop. A cycle with many steps looks here before each of them, and returns
    /// [`Failure::interrupted`](crate::Failure::interrupted) when it is set and there is work left: a delivery is given back, and its
    /// attempt is not spent.
    ///
    /// `Ok` says that the input is done, and a delivery is acknowledged: what was left of it is lost. It is right only where the next
    /// cycle finds by itself what is left, as one does that works off a table.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.lane.control.worker.is_at_least(Level::Drain)
    }

    /// Completes when this attempt should end *now*: the time to drain is over, its lease is lost, or the next tick of its
    /// schedule is due and does not wait ([`Overlap::CancelPrevious`](crate::Overlap)). Shortly after, its future is dropped
    /// where it stands. In what the cycle has left running it completes, too, once its worker has gone on to the next and anything
    /// of this happens there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be dropped and asked again.
    pub async fn cancelled(&self) {
        self.lane.control.cancelled(self.number).await;
    }

    /// The wall time, from the host's environment.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.lane.environment.now()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.lane.name)
            .field("cycle", &self.cycle)
            .field("attempt", &self.attempt)
            .field("delivery", &self.delivery())
            .field("deadline", &self.deadline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, task};

    use super::*;

    #[test]
    fn a_detached_context_is_that_of_a_first_cycle_which_nobody_asks_to_end() {
        let cx = Context::detached("charge");
        cx.progress();
        assert_eq!((cx.worker(), cx.cycle(), cx.attempt()), ("charge", CycleId(1), 1));
        assert_eq!((cx.delivery(), cx.deadline()), (None, None));
        assert!(!cx.stopping() && !cx.is_last_attempt());
        assert_pending!(task::spawn(cx.cancelled()).poll());
    }
}
