//! The operations that every queue backend provides, and the rules that they keep.
//!
//! 1. **At least once.** A message that was pushed is waiting, leased, dead-lettered or settled; no failure of an operation
//!    takes it out of all four, and no operation but [`Queue::discard`] and [`Queue::prune`] of a dead letter.
//! 2. **One lease.** At any time a delivery has at most one live lease. A new claim carries a higher fencing token.
//! 3. **Fenced.** [`Queue::renew`] and [`Queue::settle`] change nothing unless the delivery's current claim has the
//!    lease's token. A lease whose time is over is still good until somebody else claims: what counts is the token.
//! 4. **Counted.** Attempts that failed, leases that lapsed and returns are counted apart: `attempt` is one more than the
//!    failures on record, `crashes` is how many leases lapsed, and a return or a snooze changes neither. The time of the
//!    first claim is kept until the delivery is settled for good.
//! 5. **Order.** Among the deliveries that are due, a higher priority goes first, then the earlier due time, then the
//!    earlier push. Nothing else is fair: while there is always something due of a higher priority, a lower one waits.
//! 6. **In line.** Of the deliveries with one ordering key, only the first to be pushed is due, until it is acknowledged or
//!    moved aside. A retry, a return and a snooze keep its place; a dead letter that is requeued goes to the end of the line.
//!    The order of pushes that overlap is the store's to choose. But no two deliveries of a key are ever leased at once, and none waits
//!    behind one that is gone.
//! 7. **One by one.** What [`Queue::settle_many`] does about one delivery does not depend on the others: each has its own fencing
//!    token and its own answer. What [`Queue::ack_and_claim`] claims changes nothing of what it acknowledges.
//! 8. **Time is a parameter.** No operation reads a clock. The clocks of all that share a store must agree well within a third of the
//!    shortest lease: one that is ahead by a lease takes deliveries that are being worked on, and each time is a crash more on record. A
//!    store that has one clock for all may shift each time that it is given by the offset that it has measured, and each that it answers
//!    back.
//!
//! What runs cycles and decides how to settle is the core's part, not the queue's.
//!
//! # Over SQL
//!
//! What holds by itself in one memory under one lock, and not between transactions:
//!
//! - **Lines.** A push looks for its line while a settlement takes the first one out, and neither sees the other: the pushed one would
//!   wait behind one that is gone. And ids are given before transactions commit, so that an earlier one may appear when a later one is
//!   leased already. A lock for each ordering key settles both, taken in `push`, in `requeue` and by a settlement that takes a delivery
//!   out of its line, and held to the end of the transaction: Postgres' `pg_advisory_xact_lock`, say.
//! - **Unique keys.** A unique index over what is waiting or leased. A push whose key another transaction has inserted and not yet
//!   committed waits for that: it is a duplicate if that commits, and is added if it does not. The delivery that it met may have been
//!   settled before its id is read: then the key is free, and the push begins again.
//! - **Deadlocks.** An operation on many rows ([`Queue::renew`], [`Queue::settle_many`], a claim that follows a settlement) locks them in
//!   the order of their ids, and a push its keys in their order, whatever the order of the arguments; keys come before rows. Answers are
//!   in the order of the arguments.
//! - **Ids.** Never one twice, even once its row is gone ([`DeliveryId`]).
//!
//! # In your transaction
//!
//! Work that is to exist if and only if the data does is pushed in the data's own transaction. The trait has no operation for it, because
//! each store has transactions of its own kind: a backend adds `push_in(&mut transaction, messages, now)` beside it, which answers as
//! [`Queue::push`] does. Until the commit its ids are provisional, and name nothing if there is none; [`Queue::changed`] completes after
//! the commit and not before, or whoever it wakes finds nothing. The locks above are held until then: keep such a transaction short.
//!
//! # Times
//!
//! A [`Timestamp`] has nanoseconds and ends in the year 9999, where [`later`](crate::later) stops: a retry that is put off for ever is
//! due then. Nanoseconds in 64 bits end in the year 2262 already; a store of a smaller range puts what is beyond it at its end. One that is
//! less exact rounds a due time up, never down: no cycle begins before its input is due.

use std::{collections::VecDeque, future::Future, time::Duration};

use jiff::Timestamp;

use crate::{DeadLetter, Delivery, DeliveryId, Lease, Message, Pushed, QueueError, Settlement, between};

/// What a claim asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// How many deliveries at most; zero claims nothing.
    pub max: usize,
    /// How long each lease lasts from `now`. It should be several times the interval at which the caller renews.
    pub lease: Duration,
    /// The current wall time.
    pub now: Timestamp,
}

/// How many deliveries are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Depth {
    /// Waiting and due.
    pub ready: usize,
    /// Waiting for their time: delayed, a retry that is not due yet, or behind another one of their ordering key.
    pub delayed: usize,
    /// Claimed and not settled, whether or not their lease has lapsed.
    pub leased: usize,
    /// Moved aside for review.
    pub dead: usize,
    /// When the one of the ready that has waited longest became due. What it was delayed by before does not count, so that
    /// its age is what the workers owe.
    pub oldest_due: Option<Timestamp>,
}

impl Depth {
    /// All deliveries that still have work to do: everything but the dead letters.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.ready + self.delayed + self.leased
    }

    /// For how long at `now` the one that has waited longest has been due; zero when none is due, or when the clock has gone
    /// back.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        self.oldest_due.map_or(Duration::ZERO, |due| between(due, now))
    }
}

/// A store of messages with leases. The module page states the rules that every implementation keeps.
///
/// What works with one queue works with any:
///
/// ```
/// use shiftwork_queue::{DeadLetterCause, MemoryQueue, Queue, QueueError, Timestamp};
///
/// /// Once an outage is over: what it has used up the attempts of is tried again, and bad input waits for a person.
/// async fn requeue_exhausted<T: Send + 'static>(queue: &impl Queue<T>, now: Timestamp) -> Result<u32, QueueError> {
///     let (mut after, mut requeued) = (None, 0);
///     loop {
///         let letters = queue.dead_letters(after, 100).await?;
///         let Some(last) = letters.last() else { return Ok(requeued) };
///         after = Some(last.id);
///         for letter in letters.iter().filter(|letter| letter.cause == DeadLetterCause::Exhausted) {
///             requeued += u32::from(queue.requeue(letter.id, now).await?);
///         }
///     }
/// }
///
/// # tokio_test::block_on(async {
/// let queue = MemoryQueue::<String>::new();
/// assert_eq!(requeue_exhausted(&queue, Timestamp::UNIX_EPOCH).await?, 0);
/// # Ok::<(), QueueError>(())
/// # }).unwrap();
/// ```
///
/// And a backend of one's own begins like this, here over a table with a row for each delivery:
///
/// ```no_run
/// use std::collections::VecDeque;
///
/// use shiftwork_queue::{
///     Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, Message, Pushed, Queue, QueueError, Settlement, Timestamp,
/// };
///
/// struct Table;
///
/// impl<T: Send + 'static> Queue<T> for Table {
///     async fn push(&self, messages: Vec<Message<T>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
///         todo!("in one transaction: a row for each, or the one that has its unique key already")
///     }
///
///     async fn claim(
///         &self,
///         claim: Claim,
///         claimed: &mut VecDeque<Delivery<T>>,
///     ) -> Result<Option<Timestamp>, QueueError> {
///         todo!("the first rows that are due or whose lease has lapsed: a higher token, and a crash more if it had")
///     }
///
///     async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
///         todo!("that end where the row has the lease's token; the others are lost")
///     }
///
///     async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
///         // Each only where the row has the lease's token; where it has not, `QueueError::lease_lost`.
///         match settlement {
///             Settlement::Ack => todo!("the row is deleted"),
///             Settlement::Retry { at, failure } => todo!("a failure more, and due at that time"),
///             Settlement::DeadLetter { cause, failure } => todo!("moved aside, with its history"),
///             Settlement::Return => todo!("due now, or when it was before if that is earlier; nothing is counted"),
///             Settlement::Snooze { until } => todo!("due then; nothing is counted"),
///         }
///     }
///
///     fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
///         std::future::pending() // a store that cannot notify: whoever claims asks again after a while
///     }
///
///     async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
///         todo!("rows, counted by their state")
///     }
///
///     async fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Result<Vec<DeadLetter<T>>, QueueError> {
///         todo!("by their ids, a page at a time")
///     }
///
///     async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
///         todo!("due now, with fresh counts and its history")
///     }
///
///     async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
///         todo!("the dead letter is deleted")
///     }
///
///     async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
///         todo!("the oldest dead letters are deleted")
///     }
/// }
/// ```
///
/// # Cancel safety
///
/// A dropped future leaves open whether the operation happened; each says what that means for it. Callers let a started
/// operation finish, under a timeout of the store's own.
///
/// # Time
///
/// Each operation must come to an answer by itself, [`QueueError::is_unavailable`] if no other: a store that cannot be
/// reached has to say so within seconds, well within a third of the shortest lease. A worker that waits for a claim or a
/// settlement cannot tell a slow store from one that will never answer, and dropping the future would leave open what has
/// happened. Only a renewal is given up by its caller, after a third of the lease, since there is another one to come.
pub trait Queue<T: Send + 'static>: Send + Sync + 'static {
    /// Adds messages, all or none, and says for each whether it was added or was there already under its unique key. Of two of them
    /// with one unique key the first is added, and the second is its duplicate.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`] when the store did not answer, [`QueueError::is_full`] when a bounded queue has no
    /// room for all of them.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have added all of the messages, or none. A unique key makes it safe to push again.
    fn push(
        &self,
        messages: Vec<Message<T>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Pushed>, QueueError>> + Send;

    /// Adds one message, as [`push`](Self::push) does. A store that needs no list for it saves the caller one.
    ///
    /// # Errors
    ///
    /// Those of [`push`](Self::push).
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    fn push_one(&self, message: Message<T>, now: Timestamp) -> impl Future<Output = Result<Pushed, QueueError>> + Send {
        async move {
            let pushed = self.push(vec![message], now).await?;
            pushed.into_iter().next().ok_or_else(|| QueueError::unavailable("the store did not say what became of it"))
        }
    }

    /// Leases up to `claim.max` deliveries that are due, appends them to `claimed` in order, and returns when the next
    /// one of the others will be due (a waiting message's time, or the end of a lease that somebody may let lapse),
    /// if that is known.
    ///
    /// That time is of what can be claimed then. What is due by now and cannot be claimed, since its row is locked by another claim or
    /// it is behind another one of its ordering key, has no part in it: [`changed`](Self::changed) tells of that, or the next claim
    /// finds it. A worker that is named a time that is over asks again within milliseconds, and less and less often from there.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`]; nothing is appended then, though the store may have granted leases, which lapse.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have granted leases that nobody knows of. They lapse, and count as crashes.
    fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<Option<Timestamp>, QueueError>> + Send;

    /// Sets the end of the leases to `until`, an earlier one too, and returns those that are lost: settled, or claimed by somebody else
    /// since.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`]; then no lease is known to be renewed or lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have renewed some of them, or all. That is harmless: renew again, or let them lapse.
    fn renew(&self, leases: &[Lease], until: Timestamp) -> impl Future<Output = Result<Vec<Lease>, QueueError>> + Send;

    /// Ends the attempt as `settlement` says.
    ///
    /// [`Settlement::Return`] has the delivery due at `now`, or when it was due before if that is earlier, so that it keeps its place
    /// among the others. A retry and a snooze set the time that they say.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_lease_lost`] when the token is not the current claim's: somebody else has the delivery, and
    /// nothing was changed. [`QueueError::is_unavailable`] when the store did not answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have ended the attempt. Settling again under the same lease does no harm: it ends the
    /// attempt, or finds the lease lost.
    fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// [`settle`](Self::settle) with [`Settlement::Ack`], and then, where a store can do both in one operation, [`claim`](Self::claim): a
    /// worker whose cycle has succeeded asks for the next delivery at once, and pays the price of one operation for both. The time is that
    /// of the claim.
    ///
    /// The answer is that of the settlement. What is claimed is appended to `claimed`, and only where the settlement is stored. A store
    /// that claims nothing here is asked to by itself; the default does not.
    ///
    /// # Errors
    ///
    /// Those of [`settle`](Self::settle); nothing is appended then, though the store may have granted leases, which lapse.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe, as both of them.
    fn ack_and_claim(
        &self,
        lease: Lease,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        let _ = claimed;
        self.settle(lease, Settlement::Ack, claim.now)
    }

    /// Ends many attempts in one operation, as [`settle`](Self::settle) ends one, and answers for each, in their order. One that
    /// is stale spoils none of the others. The default settles one after the other; a store whose operations have a price of
    /// their own (a round trip, a commit) pays it once instead.
    ///
    /// No two of them may be of one claim.
    ///
    /// # Errors
    ///
    /// Each answer is one of [`settle`](Self::settle)'s. A store that does not answer at all gives
    /// [`QueueError::is_unavailable`] for each; it may have stored some of them, or all.
    ///
    /// # Cancel safety
    ///
    /// As [`settle`](Self::settle), for each of them.
    fn settle_many(
        &self,
        settlements: Vec<(Lease, Settlement)>,
        now: Timestamp,
    ) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(settlements.len());
            for (lease, settlement) in settlements {
                answers.push(self.settle(lease, settlement, now).await);
            }
            answers
        }
    }

    /// Completes when a delivery may have become claimable since the call: a push, a return, a retry, a requeue.
    /// It listens from the moment of the *call*, not of the first poll, so that a claim made in between misses nothing.
    /// It may complete for no reason, a push to another queue of the same store, say; time passing alone does not complete it.
    /// Whoever claims does so at once then, and how often at most is for its source to say.
    ///
    /// # Cancel safety
    ///
    /// Dropping it is fine.
    fn changed(&self) -> impl Future<Output = ()> + Send + 'static;

    /// How many deliveries are in each state at `now`. It is for people who look at metrics: an estimate will do where a count is dear.
    ///
    /// Where metrics are kept, each queue worker of each process asks every 15 s by default; `measure_every` and `no_measure` of the core's
    /// source say otherwise.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    fn depth(&self, now: Timestamp) -> impl Future<Output = Result<Depth, QueueError>> + Send;

    /// The dead letters after `after` (from the first when `None`), oldest id first, `limit` at most.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    fn dead_letters(
        &self,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadLetter<T>>, QueueError>> + Send;

    /// Makes a dead letter a waiting delivery again, with fresh counts and its history kept. `false` when there is no
    /// such dead letter. Its tokens go on growing, so that no older lease fits again. If its unique key was taken meanwhile, it waits
    /// without one.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have made the delivery wait. Asked again, it then says `false`.
    fn requeue(&self, id: DeliveryId, now: Timestamp) -> impl Future<Output = Result<bool, QueueError>> + Send;

    /// Deletes a dead letter for good. `false` when there is no such dead letter.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have deleted the dead letter. Asked again, it then says `false`.
    fn discard(&self, id: DeliveryId) -> impl Future<Output = Result<bool, QueueError>> + Send;

    /// Deletes for good the dead letters that were moved aside before `before`, `limit` at most, the oldest ids first, and says how
    /// many it deleted. Fewer than `limit` are all that there were. Nothing else of the queue is pruned: what is acknowledged is gone
    /// by itself, and what waits is work.
    ///
    /// No worker calls it. How long dead letters are kept is the business of whoever reviews them: a scheduled worker of one's
    /// own, most often, with a limit that the store deletes in well under a second.
    ///
    /// # Errors
    ///
    /// [`QueueError::is_unavailable`]; some of them may be deleted then, or all.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it may have deleted some of them, or all. Asked again, it deletes the rest.
    fn prune(&self, before: Timestamp, limit: usize) -> impl Future<Output = Result<usize, QueueError>> + Send;
}

/// A shared queue is a queue.
impl<T: Send + 'static, Q: Queue<T>> Queue<T> for std::sync::Arc<Q> {
    fn push(
        &self,
        messages: Vec<Message<T>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Pushed>, QueueError>> + Send {
        Q::push(self, messages, now)
    }

    fn push_one(&self, message: Message<T>, now: Timestamp) -> impl Future<Output = Result<Pushed, QueueError>> + Send {
        Q::push_one(self, message, now)
    }

    fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<Option<Timestamp>, QueueError>> + Send {
        Q::claim(self, claim, claimed)
    }

    fn renew(&self, leases: &[Lease], until: Timestamp) -> impl Future<Output = Result<Vec<Lease>, QueueError>> + Send {
        Q::renew(self, leases, until)
    }

    fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        Q::settle(self, lease, settlement, now)
    }

    fn ack_and_claim(
        &self,
        lease: Lease,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<T>>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        Q::ack_and_claim(self, lease, claim, claimed)
    }

    fn settle_many(
        &self,
        settlements: Vec<(Lease, Settlement)>,
        now: Timestamp,
    ) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send {
        Q::settle_many(self, settlements, now)
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        Q::changed(self)
    }

    fn depth(&self, now: Timestamp) -> impl Future<Output = Result<Depth, QueueError>> + Send {
        Q::depth(self, now)
    }

    fn dead_letters(
        &self,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadLetter<T>>, QueueError>> + Send {
        Q::dead_letters(self, after, limit)
    }

    fn requeue(&self, id: DeliveryId, now: Timestamp) -> impl Future<Output = Result<bool, QueueError>> + Send {
        Q::requeue(self, id, now)
    }

    fn discard(&self, id: DeliveryId) -> impl Future<Output = Result<bool, QueueError>> + Send {
        Q::discard(self, id)
    }

    fn prune(&self, before: Timestamp, limit: usize) -> impl Future<Output = Result<usize, QueueError>> + Send {
        Q::prune(self, before, limit)
    }
}
