//! What each queue operation does: a synchronous state machine, told what time it is.
//!
//! Between two calls, and wherever a payload is cloned:
//!
//! 1. Every id is in `records` or in `dead`, never in both, until its delivery is done or discarded.
//! 2. A record is in `waiting` when its hold is `Hold::Nobody`, in `lines` when it is `Hold::Behind`, and in `leases`
//!    otherwise.
//! 3. Each ordering key of a record is in `lines`, with the ids of those behind its first record, which is not there.
//! 4. `keys` holds the keys of exactly the records that have one, so no two records have the same.
//!
//! Locks, futures and listeners are the handle's part, in `memory.rs`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    inspect::{Entry, Stage},
    leases::Leases,
    record::{Claims, Finished, Hold, Rare, Record},
    records::Records,
    waiting::{Place, Rank, Waiting},
};
use crate::{
    Claim, DeadLetter, DeadLetterCause, Delivery, DeliveryId, Depth, FencingToken, Lease, Message, QueueError,
    Settlement, Undecodable, later,
};

/// A queue.
pub(super) struct State<T> {
    capacity: Option<usize>,
    last_id: u64,
    records: Records<T>,
    waiting: Waiting,
    leases: Leases,
    keys: BTreeMap<Arc<str>, DeliveryId>,
    lines: BTreeMap<Arc<str>, VecDeque<DeliveryId>>,
    dead: BTreeMap<DeliveryId, Dead<T>>,
}

/// A dead letter, with what a requeue needs.
pub(super) struct Dead<T> {
    record: Record<T>,
    claims: Claims,
    cause: DeadLetterCause,
    dead_at: Timestamp,
}

/// Where a settlement has put a delivery.
pub(super) enum Settled<T> {
    /// It is done; this is its payload, for the caller to drop. Whether another one of its ordering key has its turn.
    Done(Result<T, Undecodable>, bool),
    /// It is a dead letter; the same.
    Aside(bool),
    /// It waits for its next claim.
    Waiting,
}

impl<T> State<T> {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity,
            last_id: 0,
            records: Records::new(),
            waiting: Waiting::default(),
            leases: Leases::new(),
            keys: BTreeMap::new(),
            lines: BTreeMap::new(),
            dead: BTreeMap::new(),
        }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    pub(super) fn unsettled(&self) -> usize {
        self.records.len()
    }

    pub(super) fn dead(&self) -> usize {
        self.dead.len()
    }

    /// Whether all of `messages` can be pushed; otherwise the capacity. Duplicates take no room.
    pub(super) fn check_room(&self, messages: &[Message<T>]) -> Result<(), usize> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let room = capacity.saturating_sub(self.records.len());
        if messages.len() <= room {
            return Ok(());
        }
        if places(messages, |key| !self.keys.contains_key(key)) <= room { Ok(()) } else { Err(capacity) }
    }

    /// Adds a message, or gives it back with the delivery that owns its key. Room is not checked.
    pub(super) fn push(&mut self, message: Message<T>, now: Timestamp) -> Result<DeliveryId, (Message<T>, DeliveryId)> {
        if let Some(key) = message.options().unique_key.as_deref()
            && let Some(owner) = self.keys.get(key)
        {
            return Err((message, *owner));
        }
        Ok(self.add(Record::new(message, now), now))
    }

    /// Adds a new delivery. No record has its key, if it has one.
    pub(super) fn add(&mut self, record: Record<T>, now: Timestamp) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId(self.last_id);
        if let Some(key) = record.unique_key() {
            self.keys.insert(Arc::clone(key), id);
        }
        self.enter(id, record, now);
        id
    }

    /// Puts a record at the end of its line, if it has an ordering key.
    fn enter(&mut self, id: DeliveryId, mut record: Record<T>, now: Timestamp) {
        if let Some(key) = record.ordering_key() {
            if let Some(line) = self.lines.get_mut(key) {
                line.push_back(id);
                record.hold = Hold::Behind;
                self.records.insert(id, record);
                return;
            }
            self.lines.insert(Arc::clone(key), VecDeque::new());
        }
        self.insert_waiting(id, record, now);
    }

    /// A delivery has left the queue for good: its unique key is free, and the next one of its line has its turn. Whether
    /// there is one.
    fn forget(&mut self, rare: &Rare, now: Timestamp) -> bool {
        if let Some(key) = &rare.unique_key {
            self.keys.remove(key);
        }
        let Some(key) = &rare.ordering_key else { return false };
        let line = self.lines.get_mut(key).expect("an unsettled delivery's ordering key has a line");
        let Some(next) = line.pop_front() else {
            self.lines.remove(key);
            return false;
        };
        let record = self.records.get_mut(next).expect("what is in a line has a record");
        record.hold = Hold::Nobody;
        self.waiting.insert(record.rank(next), now);
        true
    }

    /// Puts a record that nobody holds where it waits.
    #[inline]
    fn insert_waiting(&mut self, id: DeliveryId, record: Record<T>, now: Timestamp) {
        if record.rare().is_none() {
            self.waiting.insert_newest(Place { due: record.due(), id }, now);
        } else {
            self.waiting.insert(record.rank(id), now);
        }
        self.records.insert(id, record);
    }

    /// Leases what is due.
    pub(super) fn claim(&mut self, claim: Claim, claimed: &mut VecDeque<Delivery<T>>)
    where
        T: Clone,
    {
        let Claim { max, lease, now } = claim;
        self.leases.catch_up(now, &mut self.records);
        let expires_at = later(now, lease);
        for _ in 0..max {
            let in_order = if self.leases.has_lapsed() { None } else { self.waiting.first_in_order(now) };
            let (id, rank) = match in_order {
                Some(id) => (id, None),
                None => match self.first(now) {
                    Some(rank) => (rank.place.id, Some(rank)),
                    None => break,
                },
            };
            let record = self.records.get_mut(id).expect("what waits has a record");
            // The only foreign code of a claim. If it panics, this delivery is still where it was.
            let payload = record.payload.clone();

            let mut claims = match (rank, record.hold) {
                (None, _) => {
                    self.waiting.remove_first_in_order();
                    record.claims()
                }
                (Some(rank), Hold::Nobody) => {
                    self.waiting.remove_first(rank);
                    record.claims()
                }
                (Some(rank), Hold::Lapsed) => {
                    let claims = self.leases.take_lapsed(rank);
                    Claims { crashes: claims.crashes.saturating_add(1), ..claims }
                }
                (Some(_), Hold::Live(_) | Hold::Behind) => unreachable!("only what waits or has lapsed is claimed"),
            };
            claims.token = FencingToken(claims.token.0 + 1);
            let first_claimed_at = *claims.first_claimed_at.get_or_insert(now);
            record.hold = self.leases.grant(id, expires_at, claims);
            let Claims { token, attempt, crashes, .. } = claims;
            let (lease, due_at) = (Lease { delivery: id, token, expires_at }, record.due_at());
            claimed.push_back(Delivery { lease, attempt, crashes, due_at, first_claimed_at, payload });
        }
    }

    /// What is to be claimed first, of what waits and what has lapsed.
    #[cold]
    fn first(&self, now: Timestamp) -> Option<Rank> {
        self.waiting.first(now).into_iter().chain(self.leases.first_lapsed()).min()
    }

    /// A time no later than the next one after `now` at which there is something to claim.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.waiting.next_due(now).into_iter().chain(self.leases.next_end()).min()
    }

    /// Moves the end of a lease. `false` when the lease is lost.
    pub(super) fn renew(&mut self, lease: Lease, until: Timestamp) -> bool {
        let id = lease.delivery;
        let Some(claims) = self.end(lease) else { return false };
        let hold = self.leases.grant(id, until, claims);
        self.records.get_mut(id).expect("it was there").hold = hold;
        true
    }

    /// Ends a lease if it is the newest claim's and not settled (rule 3 of the contract: its end does not matter). The record is then for
    /// the caller to put somewhere.
    #[inline]
    fn end(&mut self, lease: Lease) -> Option<Claims> {
        self.leases.end(lease.delivery, lease.token, &mut self.records)
    }

    /// Takes out what is done, for the caller to drop, and says whether another one of its ordering key has its turn. None when the lease
    /// is lost.
    #[inline]
    pub(super) fn ack(&mut self, lease: Lease, now: Timestamp) -> Option<(Result<T, Undecodable>, bool)> {
        self.end(lease)?;
        let Finished { payload, rare } = self.records.finish(lease.delivery).expect("what was held has a record");
        let next = rare.is_some_and(|rare| self.forget(&rare, now));
        Some((payload, next))
    }

    /// Ends an attempt.
    pub(super) fn settle(
        &mut self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Settled<T>, QueueError> {
        let id = lease.delivery;
        let settled = match settlement {
            Settlement::Ack => self.ack(lease, now).map(|(payload, next)| Settled::Done(payload, next)),
            Settlement::DeadLetter { cause, failure } => self.end(lease).map(|claims| {
                let mut record = self.records.remove(id).expect("what was held has a record");
                record.remember(failure);
                let next = record.rare().is_some_and(|rare| self.forget(rare, now));
                self.dead.insert(id, Dead { record, claims, cause, dead_at: now });
                Settled::Aside(next)
            }),
            Settlement::Retry { at, failure } => self.end(lease).map(|claims| {
                let claims = Claims { attempt: claims.attempt.saturating_add(1), ..claims };
                self.wait(id, claims, now, |record| {
                    record.remember(failure);
                    record.set_due(at);
                })
            }),
            // It was due when it was claimed; it must not wait if the clock went back since.
            Settlement::Return => {
                self.end(lease).map(|claims| self.wait(id, claims, now, |record| record.set_due(record.due().min(now))))
            }
            Settlement::Snooze { until } => {
                self.end(lease).map(|claims| self.wait(id, claims, now, |record| record.set_due(until)))
            }
        };
        settled.ok_or_else(|| QueueError::lease_lost(lease))
    }

    /// Lets a record that has no lease any more wait for its next claim, after `change`.
    fn wait(
        &mut self,
        id: DeliveryId,
        claims: Claims,
        now: Timestamp,
        change: impl FnOnce(&mut Record<T>),
    ) -> Settled<T> {
        let record = self.records.get_mut(id).expect("what was held has a record");
        change(record);
        record.waits(claims);
        self.waiting.insert(record.rank(id), now);
        Settled::Waiting
    }

    pub(super) fn depth(&self, now: Timestamp) -> Depth {
        let ready = self.waiting.ready(now);
        let leased = self.leases.len();
        // Those behind another one of their ordering key are among the delayed.
        let delayed = self.records.len() - leased - ready;
        Depth { ready, delayed, leased, dead: self.dead.len(), oldest_due: self.waiting.oldest_due(now) }
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<Entry> {
        self.records.iter().map(|(id, record)| self.entry(id, record, now)).collect()
    }

    fn entry(&self, id: DeliveryId, record: &Record<T>, now: Timestamp) -> Entry {
        let rank = record.rank(id);
        let claims = self.leases.claims(record.hold, rank).copied().unwrap_or_else(|| record.claims());
        let stage = match self.leases.expires_at(record.hold, rank) {
            Some(expires_at) => Stage::Leased { lease: Lease { delivery: id, token: claims.token, expires_at } },
            None if record.hold == Hold::Behind => Stage::Behind,
            None if record.due() > now => Stage::Delayed { until: record.due() },
            None => Stage::Ready,
        };
        Entry { id, stage, attempt: claims.attempt, crashes: claims.crashes }
    }

    pub(super) fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Vec<DeadLetter<T>>
    where
        T: Clone,
    {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.dead.range((after, Bound::Unbounded)).take(limit).map(|(id, dead)| dead.letter(*id)).collect()
    }

    /// Makes a dead letter wait again, without its key if another delivery took that meanwhile. `false` when there is no
    /// such dead letter.
    pub(super) fn requeue(&mut self, id: DeliveryId, now: Timestamp) -> bool {
        let Some(dead) = self.dead.remove(&id) else { return false };
        let Dead { mut record, claims, cause: _, dead_at: _ } = dead;
        if record.unique_key().is_some_and(|key| self.keys.contains_key(key)) {
            record.give_up_unique_key();
        }
        if let Some(key) = record.unique_key() {
            self.keys.insert(Arc::clone(key), id);
        }
        record.waits(Claims { token: claims.token, ..Claims::default() });
        record.set_due(now);
        self.enter(id, record, now);
        true
    }

    /// Takes out a dead letter, for the caller to drop.
    pub(super) fn discard(&mut self, id: DeliveryId) -> Option<Dead<T>> {
        self.dead.remove(&id)
    }

    /// Takes out the dead letters that were moved aside before `before`, `limit` at most, for the caller to drop.
    pub(super) fn prune(&mut self, before: Timestamp, limit: usize) -> Vec<Dead<T>> {
        let old = self.dead.extract_if(.., |_, dead| dead.dead_at < before);
        old.take(limit).map(|(_, dead)| dead).collect()
    }
}

impl<T: Clone> Dead<T> {
    fn letter(&self, id: DeliveryId) -> DeadLetter<T> {
        DeadLetter {
            id,
            payload: self.record.payload.clone(),
            cause: self.cause,
            history: self.record.history().to_vec(),
            crashes: self.claims.crashes,
            pushed_at: self.record.pushed_at,
            dead_at: self.dead_at,
        }
    }
}

/// How much room messages take, where only keys that are new take any, and each of them once.
pub(super) fn places<T>(messages: &[Message<T>], is_new: impl Fn(&str) -> bool) -> usize {
    let keyed = messages.iter().filter_map(|message| message.options().unique_key.as_deref());
    let unkeyed = messages.len() - keyed.clone().count();
    unkeyed + keyed.filter(|key| is_new(key)).collect::<BTreeSet<&str>>().len()
}
