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
    record::{Content, Finished, Hold, Rare, Record},
    records::Records,
    waiting::Waiting,
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
    content: Content<T>,
    cause: DeadLetterCause,
    crashes: u32,
    pushed_at: Timestamp,
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
        if let Some(key) = message.unique_key.as_deref()
            && let Some(owner) = self.keys.get(key)
        {
            return Err((message, *owner));
        }
        let due = message.not_before.unwrap_or(now);
        Ok(self.add(Content::new(message), due, now))
    }

    /// Adds a new delivery. No record has its key, if it has one.
    pub(super) fn add(&mut self, content: Content<T>, due: Timestamp, now: Timestamp) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId(self.last_id);
        if let Some(key) = content.unique_key() {
            self.keys.insert(Arc::clone(key), id);
        }
        self.enter(id, Record::fresh(content, now, due), now);
        id
    }

    /// Puts a record at the end of its line, if it has an ordering key.
    fn enter(&mut self, id: DeliveryId, mut record: Record<T>, now: Timestamp) {
        if let Some(key) = record.content.ordering_key() {
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
    fn insert_waiting(&mut self, id: DeliveryId, record: Record<T>, now: Timestamp) {
        self.waiting.insert(record.rank(id), now);
        self.records.insert(id, record);
    }

    /// Leases what is due, and returns a time no later than the next one at which something else is.
    pub(super) fn claim(&mut self, claim: Claim, claimed: &mut VecDeque<Delivery<T>>) -> Option<Timestamp>
    where
        T: Clone,
    {
        let Claim { max, lease, now } = claim;
        self.leases.catch_up(now, &mut self.records);
        let expires_at = later(now, lease);
        for _ in 0..max {
            let waits = self.waiting.first(now);
            let first = match self.leases.first_lapsed() {
                None => waits,
                Some(lapsed) => Some(waits.map_or(lapsed, |waits| waits.min(lapsed))),
            };
            let Some(rank) = first else { break };
            let id = rank.place.id;
            let record = self.records.get_mut(id).expect("what waits has a record");
            // The only foreign code of a claim. If it panics, this delivery is still where it was.
            let payload = record.content.payload.clone();

            let held = record.hold;
            record.content.token = FencingToken(record.content.token.0 + 1);
            let lease = Lease { delivery: id, token: record.content.token, expires_at };
            if held == Hold::Lapsed {
                record.crashes = record.crashes.saturating_add(1);
            }
            let (attempt, crashes, pushed_at) = (record.attempt, record.crashes, record.pushed_at);
            let first_claimed_at = *record.first_claimed_at.get_or_insert(now);
            record.hold = self.leases.grant(id, expires_at);
            match held {
                Hold::Nobody => self.waiting.remove_first(rank),
                Hold::Lapsed => self.leases.end(held, rank, &mut self.records),
                Hold::Live(_) | Hold::Behind => unreachable!("only what waits or has lapsed is claimed"),
            }
            claimed.push_back(Delivery { lease, attempt, crashes, pushed_at, first_claimed_at, payload });
        }
        self.waiting.next_due(now).into_iter().chain(self.leases.next_end()).min()
    }

    /// Moves the end of a lease. `false` when the lease is lost.
    pub(super) fn renew(&mut self, lease: Lease, until: Timestamp) -> bool {
        let id = lease.delivery;
        let Some(record) = self.records.get(id).filter(|record| record.is_held_by(lease)) else { return false };
        let (hold, rank) = (record.hold, record.rank(id));
        self.leases.end(hold, rank, &mut self.records);
        let hold = self.leases.grant(id, until);
        self.records.get_mut(id).expect("it was there").hold = hold;
        true
    }

    /// Ends an attempt.
    pub(super) fn settle(
        &mut self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Settled<T>, QueueError> {
        let id = lease.delivery;
        let held = self.records.get(id).filter(|record| record.is_held_by(lease));
        let Some(record) = held else { return Err(QueueError::lease_lost(lease)) };
        let (hold, rank) = (record.hold, record.rank(id));
        self.leases.end(hold, rank, &mut self.records);
        match settlement {
            Settlement::Ack => {
                let Finished { payload, rare } = self.records.finish(id).expect("what was held has a record");
                let next = rare.is_some_and(|rare| self.forget(&rare, now));
                Ok(Settled::Done(payload, next))
            }
            Settlement::DeadLetter { cause, failure } => {
                let record = self.records.remove(id).expect("what was held has a record");
                let Record { mut content, pushed_at, crashes, .. } = record;
                content.remember(failure);
                let next = content.rare().is_some_and(|rare| self.forget(rare, now));
                self.dead.insert(id, Dead { content, cause, crashes, pushed_at, dead_at: now });
                Ok(Settled::Aside(next))
            }
            Settlement::Retry { at, failure } => Ok(self.wait(id, now, |record| {
                record.attempt = record.attempt.saturating_add(1);
                record.content.remember(failure);
                record.due = at;
            })),
            // It was due when it was claimed; it must not wait if the clock went back since.
            Settlement::Return => Ok(self.wait(id, now, |record| record.due = record.due.min(now))),
            Settlement::Snooze { until } => Ok(self.wait(id, now, |record| record.due = until)),
        }
    }

    /// Lets a record that has no lease any more wait for its next claim, after `change`.
    fn wait(&mut self, id: DeliveryId, now: Timestamp, change: impl FnOnce(&mut Record<T>)) -> Settled<T> {
        let record = self.records.get_mut(id).expect("what was held has a record");
        change(record);
        record.hold = Hold::Nobody;
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
        let stage = match self.leases.expires_at(record.hold, record.rank(id)) {
            Some(expires_at) => {
                Stage::Leased { lease: Lease { delivery: id, token: record.content.token, expires_at } }
            }
            None if record.hold == Hold::Behind => Stage::Behind,
            None if record.due > now => Stage::Delayed { until: record.due },
            None => Stage::Ready,
        };
        Entry { id, stage, attempt: record.attempt, crashes: record.crashes }
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
        let Dead { mut content, cause: _, crashes: _, pushed_at, dead_at: _ } = dead;
        if content.unique_key().is_some_and(|key| self.keys.contains_key(key)) {
            content.give_up_unique_key();
        }
        if let Some(key) = content.unique_key() {
            self.keys.insert(Arc::clone(key), id);
        }
        self.enter(id, Record::fresh(content, pushed_at, now), now);
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

impl<T> Record<T> {
    /// Whether `lease` is the newest claim's and not settled (rule 3 of the contract: its end does not matter).
    fn is_held_by(&self, lease: Lease) -> bool {
        !matches!(self.hold, Hold::Nobody | Hold::Behind) && self.content.token == lease.token
    }
}

impl<T: Clone> Dead<T> {
    fn letter(&self, id: DeliveryId) -> DeadLetter<T> {
        DeadLetter {
            id,
            payload: self.content.payload.clone(),
            cause: self.cause,
            history: self.content.history().to_vec(),
            crashes: self.crashes,
            pushed_at: self.pushed_at,
            dead_at: self.dead_at,
        }
    }
}

/// How much room messages take, where only keys that are new take any, and each of them once.
pub(super) fn places<T>(messages: &[Message<T>], is_new: impl Fn(&str) -> bool) -> usize {
    let keyed = messages.iter().filter_map(|message| message.unique_key.as_deref());
    let unkeyed = messages.len() - keyed.clone().count();
    unkeyed + keyed.filter(|key| is_new(key)).collect::<BTreeSet<&str>>().len()
}
