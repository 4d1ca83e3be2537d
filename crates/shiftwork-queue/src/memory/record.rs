//! What the queue remembers of one unsettled delivery.
//!
//! It changes its own counts; where it waits and when its lease ends is known to `waiting.rs` and `leases.rs`.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;

use super::waiting::{Place, Rank};
use crate::{DeliveryId, FailureRecord, FencingToken, Message, MessageOptions, Priority, Undecodable};

/// How many failures of a delivery are kept, the newest ones: enough to see what happened, and a bound on what a
/// delivery that is retried for ever takes.
pub const HISTORY_MAX: usize = 64;

/// An unsettled delivery. A queue may be long, so that this is only what all of them have: what most have nothing of is in `rare`, and what
/// the claims have left is with the lease while there is one.
pub(super) struct Record<T> {
    pub(super) payload: Result<T, Undecodable>,
    pub(super) pushed_at: Timestamp,
    pub(super) hold: Hold,
    rare: Option<Box<Rare>>,
}

/// What a delivery has that is not simply pushed, claimed and done. It goes with the delivery through retries, the dead letters and a
/// requeue.
#[derive(Default)]
pub(super) struct Rare {
    priority: Priority,
    /// When it is due, if not since its push.
    due: Option<Timestamp>,
    /// What it keeps others from having, while it is unsettled.
    pub(super) unique_key: Option<Arc<str>>,
    /// The line that it is in.
    pub(super) ordering_key: Option<Arc<str>>,
    history: Vec<FailureRecord>,
    /// What its claims have left, while nobody has it.
    claims: Claims,
}

/// What the claims of a delivery have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claims {
    /// The token of the newest. It goes on growing after a requeue, so that no older lease fits again.
    pub(super) token: FencingToken,
    pub(super) first_claimed_at: Option<Timestamp>,
    pub(super) attempt: u32,
    pub(super) crashes: u32,
}

/// What is left of a delivery that is done.
pub(super) struct Finished<T> {
    pub(super) payload: Result<T, Undecodable>,
    pub(super) rare: Option<Box<Rare>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { token: FencingToken(0), first_claimed_at: None, attempt: 1, crashes: 0 }
    }
}

impl Rare {
    /// What these options are of one pushed `now`. None where they come to the usual ones.
    #[cold]
    fn of(options: MessageOptions, now: Timestamp) -> Option<Box<Self>> {
        let MessageOptions { not_before, priority, unique_key, ordering_key } = options;
        let due = not_before.filter(|due| *due != now);
        let is_plain =
            due.is_none() && priority == Priority::default() && unique_key.is_none() && ordering_key.is_none();
        (!is_plain).then(|| {
            let (unique_key, ordering_key) = (unique_key.map(Arc::from), ordering_key.map(Arc::from));
            Box::new(Rare { priority, due, unique_key, ordering_key, ..Rare::default() })
        })
    }
}

impl<T> Record<T> {
    pub(super) fn new(message: Message<T>, now: Timestamp) -> Self {
        let (payload, options) = message.into_options();
        let rare = options.and_then(|options| Rare::of(*options, now));
        Self { payload: Ok(payload), pushed_at: now, hold: Hold::Nobody, rare }
    }

    pub(super) fn undecodable(error: Undecodable, now: Timestamp) -> Self {
        Self { payload: Err(error), pushed_at: now, hold: Hold::Nobody, rare: None }
    }

    /// Its place among all deliveries, which depends on nothing that a claim changes.
    pub(super) fn rank(&self, id: DeliveryId) -> Rank {
        let priority = self.rare.as_ref().map_or(Priority::default(), |rare| rare.priority);
        Rank { priority: Reverse(priority), place: Place { due: self.due(), id } }
    }

    pub(super) fn due(&self) -> Timestamp {
        self.rare.as_ref().and_then(|rare| rare.due).unwrap_or(self.pushed_at)
    }

    /// Since when it could be claimed: it may be due at a time before its push.
    pub(super) fn due_at(&self) -> Timestamp {
        match self.rare.as_ref().and_then(|rare| rare.due) {
            None => self.pushed_at,
            Some(due) => due.max(self.pushed_at),
        }
    }

    pub(super) fn set_due(&mut self, due: Timestamp) {
        self.rare.get_or_insert_default().due = Some(due);
    }

    /// What its claims have left, if nobody has it.
    pub(super) fn claims(&self) -> Claims {
        self.rare.as_ref().map_or_else(Claims::default, |rare| rare.claims)
    }

    /// Nobody has it any more.
    pub(super) fn waits(&mut self, claims: Claims) {
        self.hold = Hold::Nobody;
        self.rare.get_or_insert_default().claims = claims;
    }

    /// The key that it keeps others from having, while it is unsettled.
    pub(super) fn unique_key(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.unique_key.as_ref()
    }

    /// Leaves the unique key to somebody else.
    pub(super) fn give_up_unique_key(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.unique_key = None;
        }
    }

    /// The line that it is in.
    pub(super) fn ordering_key(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.ordering_key.as_ref()
    }

    /// What it has that most have not.
    pub(super) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// What is left of it when it is done.
    pub(super) fn finish(self) -> Finished<T> {
        let Self { payload, rare, .. } = self;
        Finished { payload, rare }
    }

    /// Its failures, the oldest first.
    pub(super) fn history(&self) -> &[FailureRecord] {
        self.rare.as_ref().map_or(&[], |rare| &rare.history)
    }

    /// Keeps `failure`, and forgets the oldest one if there are too many.
    pub(super) fn remember(&mut self, failure: FailureRecord) {
        let history = &mut self.rare.get_or_insert_default().history;
        if history.len() == HISTORY_MAX {
            history.remove(0);
        }
        history.push(failure);
    }
}

/// Who has a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It waits.
    Nobody,
    /// It waits behind another one of its ordering key.
    Behind,
    /// The newest claim, under the lease at this index of the live ones.
    Live(usize),
    /// The newest claim, under a lease that has lapsed: the next claim may take it.
    Lapsed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    #[test]
    fn a_record_of_a_plain_delivery_is_a_cache_line_at_most() {
        assert!(size_of::<Option<Record<u64>>>() <= 64);
    }

    #[test]
    fn the_oldest_failure_is_forgotten_when_there_are_too_many() {
        let mut record = Record::new(Message::new(()), Timestamp::UNIX_EPOCH);
        for attempt in (1..).take(HISTORY_MAX + 2) {
            record.remember(FailureRecord {
                attempt,
                at: Timestamp::UNIX_EPOCH,
                kind: FailureKind::Transient,
                message: String::new(),
            });
        }
        assert_eq!(record.history().len(), HISTORY_MAX);
        assert_eq!(record.history()[0].attempt, 3);
    }
}
