//! A queue that is obviously right and slow: one list of rows, searched for everything.
//!
//! It says what the contract says, in the fewest words; how the real one keeps order or leases must not leak into it.

use std::cmp::Reverse;

use shiftwork_queue::{
    DeadLetter, DeadLetterCause, Delivery, DeliveryId, FailureRecord, FencingToken, Lease, Message, Priority, Pushed,
    Settlement, Timestamp, Undecodable,
    memory::{Entry, Stage},
};

pub(crate) struct Model {
    pub(crate) capacity: Option<usize>,
    pub(crate) rows: Vec<Row>,
    pub(crate) added: usize,
    entered: usize,
    pub(crate) acknowledged: usize,
    pub(crate) discarded: usize,
}

pub(crate) struct Row {
    id: DeliveryId,
    payload: Result<u32, Undecodable>,
    key: Option<String>,
    line: Option<String>,
    /// Its place in its line: the lowest is first.
    entered: usize,
    priority: Priority,
    pushed_at: Timestamp,
    first_claimed_at: Option<Timestamp>,
    due: Timestamp,
    attempt: u32,
    crashes: u32,
    token: u64,
    history: Vec<FailureRecord>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Waiting,
    Leased { expires_at: Timestamp },
    Dead { cause: DeadLetterCause, dead_at: Timestamp },
}

impl Row {
    fn is_dead(&self) -> bool {
        matches!(self.place, Place::Dead { .. })
    }

    fn is_claimable(&self, now: Timestamp) -> bool {
        match self.place {
            Place::Waiting => self.due <= now,
            Place::Leased { expires_at } => expires_at <= now,
            Place::Dead { .. } => false,
        }
    }

    /// When it becomes claimable, if nobody does anything.
    fn next(&self) -> Option<Timestamp> {
        match self.place {
            Place::Waiting => Some(self.due),
            Place::Leased { expires_at } => Some(expires_at),
            Place::Dead { .. } => None,
        }
    }
}

impl Model {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        Self { capacity, rows: Vec::new(), added: 0, entered: 0, acknowledged: 0, discarded: 0 }
    }

    /// Those that wait behind another one of their line.
    fn behind(&self) -> Vec<DeliveryId> {
        let alive = || self.rows.iter().filter(|row| row.line.is_some() && !row.is_dead());
        let is_behind = |row: &&Row| alive().any(|other| other.line == row.line && other.entered < row.entered);
        alive().filter(is_behind).map(|row| row.id).collect()
    }

    fn owner(&self, key: &str) -> Option<DeliveryId> {
        self.rows.iter().find(|row| !row.is_dead() && row.key.as_deref() == Some(key)).map(|row| row.id)
    }

    pub(crate) fn add(&mut self, payload: Result<u32, Undecodable>, now: Timestamp) -> &mut Row {
        self.added += 1;
        self.entered += 1;
        self.rows.push(Row {
            id: DeliveryId(u64::try_from(self.added).expect("few")),
            payload,
            key: None,
            line: None,
            entered: self.entered,
            priority: Priority(0),
            pushed_at: now,
            first_claimed_at: None,
            due: now,
            attempt: 1,
            crashes: 0,
            token: 0,
            history: Vec::new(),
            place: Place::Waiting,
        });
        self.rows.last_mut().expect("just pushed")
    }

    pub(crate) fn add_undecodable(&mut self, reason: &str, now: Timestamp) -> DeliveryId {
        self.add(Err(Undecodable::new(reason)), now).id
    }

    /// `None` when the queue is full.
    pub(crate) fn push(&mut self, messages: Vec<Message<u32>>, now: Timestamp) -> Option<Vec<Pushed>> {
        let (rows_before, added_before) = (self.rows.len(), self.added);
        let mut pushed = Vec::new();
        for message in messages {
            let (payload, options) = message.into_parts();
            if let Some(owner) = options.unique_key.as_deref().and_then(|key| self.owner(key)) {
                pushed.push(Pushed::Duplicate(owner));
                continue;
            }
            let row = self.add(Ok(payload), now);
            row.key = options.unique_key;
            row.line = options.ordering_key;
            row.priority = options.priority;
            row.due = options.not_before.unwrap_or(now);
            pushed.push(Pushed::Added(row.id));
        }
        let grew = self.added > added_before;
        if grew && self.capacity.is_some_and(|capacity| self.entries(now).len() > capacity) {
            self.rows.truncate(rows_before);
            self.added = added_before;
            return None;
        }
        Some(pushed)
    }

    pub(crate) fn claim(&mut self, max: usize, expires_at: Timestamp, now: Timestamp) -> Vec<Delivery<u32>> {
        let behind = self.behind();
        let claimable = |row: &&mut Row| row.is_claimable(now) && !behind.contains(&row.id);
        let mut due: Vec<&mut Row> = self.rows.iter_mut().filter(claimable).collect();
        due.sort_by_key(|row| (Reverse(row.priority), row.due, row.id));
        due.into_iter()
            .take(max)
            .map(|row| {
                if row.place != Place::Waiting {
                    row.crashes += 1;
                }
                row.token += 1;
                row.place = Place::Leased { expires_at };
                Delivery {
                    lease: Lease { delivery: row.id, token: FencingToken(row.token), expires_at },
                    attempt: row.attempt,
                    crashes: row.crashes,
                    due_at: row.due.max(row.pushed_at),
                    first_claimed_at: *row.first_claimed_at.get_or_insert(now),
                    payload: row.payload.clone(),
                }
            })
            .collect()
    }

    /// When the next delivery that is not claimable at `now` will be.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let behind = self.behind();
        let rows = self.rows.iter().filter(|row| !behind.contains(&row.id));
        rows.filter_map(Row::next).filter(|next| *next > now).min()
    }

    fn held(&mut self, lease: Lease) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| {
            row.id == lease.delivery && row.token == lease.token.0 && matches!(row.place, Place::Leased { .. })
        })
    }

    pub(crate) fn renew(&mut self, leases: &[Lease], until: Timestamp) -> Vec<Lease> {
        let mut lost = Vec::new();
        for lease in leases {
            match self.held(*lease) {
                Some(row) => row.place = Place::Leased { expires_at: until },
                None => lost.push(*lease),
            }
        }
        lost
    }

    /// Whether the lease was good.
    pub(crate) fn settle(&mut self, lease: Lease, settlement: Settlement, now: Timestamp) -> bool {
        let Some(row) = self.held(lease) else { return false };
        match settlement {
            Settlement::Ack => {
                self.rows.retain(|row| row.id != lease.delivery);
                self.acknowledged += 1;
            }
            Settlement::Retry { at, failure } => {
                row.attempt += 1;
                row.history.push(failure);
                row.due = at;
                row.place = Place::Waiting;
            }
            Settlement::Return => {
                row.due = row.due.min(now);
                row.place = Place::Waiting;
            }
            Settlement::Snooze { until } => {
                row.due = until;
                row.place = Place::Waiting;
            }
            Settlement::DeadLetter { cause, failure } => {
                row.history.push(failure);
                row.place = Place::Dead { cause, dead_at: now };
            }
        }
        true
    }

    pub(crate) fn requeue(&mut self, id: DeliveryId, now: Timestamp) -> bool {
        let Some(index) = self.rows.iter().position(|row| row.id == id && row.is_dead()) else { return false };
        let taken = self.rows[index].key.as_deref().is_some_and(|key| self.owner(key).is_some());
        self.entered += 1;
        let row = &mut self.rows[index];
        row.entered = self.entered;
        if taken {
            row.key = None;
        }
        (row.attempt, row.crashes, row.due, row.place) = (1, 0, now, Place::Waiting);
        row.first_claimed_at = None;
        true
    }

    pub(crate) fn discard(&mut self, id: DeliveryId) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.id != id || !row.is_dead());
        let found = self.rows.len() < before;
        self.discarded += usize::from(found);
        found
    }

    pub(crate) fn prune(&mut self, before: Timestamp, limit: usize) -> usize {
        let is_old = |row: &&Row| matches!(row.place, Place::Dead { dead_at, .. } if dead_at < before);
        let old: Vec<DeliveryId> = self.rows.iter().filter(is_old).map(|row| row.id).take(limit).collect();
        old.into_iter().filter(|id| self.discard(*id)).count()
    }

    pub(crate) fn entries(&self, now: Timestamp) -> Vec<Entry> {
        let behind = self.behind();
        let mut entries = Vec::new();
        for row in &self.rows {
            let stage = match row.place {
                Place::Waiting if behind.contains(&row.id) => Stage::Behind,
                Place::Waiting if row.due > now => Stage::Delayed { until: row.due },
                Place::Waiting => Stage::Ready,
                Place::Leased { expires_at } => {
                    Stage::Leased { lease: Lease { delivery: row.id, token: FencingToken(row.token), expires_at } }
                }
                Place::Dead { .. } => continue,
            };
            entries.push(Entry { id: row.id, stage, attempt: row.attempt, crashes: row.crashes });
        }
        entries
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter<u32>> {
        let mut letters = Vec::new();
        for row in &self.rows {
            if let Place::Dead { cause, dead_at } = row.place {
                letters.push(DeadLetter {
                    id: row.id,
                    payload: row.payload.clone(),
                    cause,
                    history: row.history.clone(),
                    crashes: row.crashes,
                    pushed_at: row.pushed_at,
                    dead_at,
                });
            }
        }
        letters
    }
}
