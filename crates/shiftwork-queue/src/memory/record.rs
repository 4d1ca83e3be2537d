//! What the queue remembers of one unsettled delivery.
//!
//! It changes its own counts; where it waits and when its lease ends is known to `waiting.rs` and `leases.rs`.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;

use super::waiting::{Place, Rank};
use crate::{DeliveryId, FailureRecord, FencingToken, Message, Priority, Undecodable};

/// How many failures of a delivery are kept, the newest ones: enough to see what happened, and a bound on what a
/// delivery that is retried for ever takes.
pub const HISTORY_MAX: usize = 64;

/// What a delivery is made of. It goes with the delivery through retries, the dead letters and a requeue.
pub(super) struct Content<T> {
    pub(super) payload: Result<T, Undecodable>,
    pub(super) priority: Priority,
    /// The token of the newest claim. It goes on growing after a requeue, so that no older lease fits again.
    pub(super) token: FencingToken,
    /// What most deliveries have nothing of, out of the way of those.
    rare: Option<Box<Rare>>,
}

/// What is left of a delivery that is done.
pub(super) struct Finished<T> {
    pub(super) payload: Result<T, Undecodable>,
    pub(super) rare: Option<Box<Rare>>,
}

/// The keys and the failures of a delivery.
#[derive(Default)]
pub(super) struct Rare {
    /// What it keeps others from having, while it is unsettled.
    pub(super) unique_key: Option<Arc<str>>,
    /// The line that it is in.
    pub(super) ordering_key: Option<Arc<str>>,
    history: Vec<FailureRecord>,
}

impl<T> Content<T> {
    pub(super) fn new(message: Message<T>) -> Self {
        let Message { payload, not_before: _, priority, unique_key, ordering_key } = message;
        let rare = (unique_key.is_some() || ordering_key.is_some()).then(|| {
            let (unique_key, ordering_key) = (unique_key.map(Arc::from), ordering_key.map(Arc::from));
            Box::new(Rare { unique_key, ordering_key, history: Vec::new() })
        });
        Self { payload: Ok(payload), priority, token: FencingToken(0), rare }
    }

    pub(super) fn undecodable(error: Undecodable) -> Self {
        Self { payload: Err(error), priority: Priority::default(), token: FencingToken(0), rare: None }
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

    /// Takes out what is left of it when it is done.
    pub(super) fn finish(&mut self) -> Finished<T> {
        let nothing = Err(Undecodable { reason: String::new() });
        Finished { payload: std::mem::replace(&mut self.payload, nothing), rare: self.rare.take() }
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

/// An unsettled delivery.
pub(super) struct Record<T> {
    pub(super) content: Content<T>,
    pub(super) pushed_at: Timestamp,
    pub(super) first_claimed_at: Option<Timestamp>,
    pub(super) due: Timestamp,
    pub(super) attempt: u32,
    pub(super) crashes: u32,
    pub(super) hold: Hold,
}

impl<T> Record<T> {
    /// A delivery that was never claimed, or is to look so.
    pub(super) fn fresh(content: Content<T>, pushed_at: Timestamp, due: Timestamp) -> Self {
        Self { content, pushed_at, first_claimed_at: None, due, attempt: 1, crashes: 0, hold: Hold::Nobody }
    }

    /// Its place among all deliveries, which depends on nothing that a claim changes.
    pub(super) fn rank(&self, id: DeliveryId) -> Rank {
        Rank { priority: Reverse(self.content.priority), place: Place { due: self.due, id } }
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
    fn the_oldest_failure_is_forgotten_when_there_are_too_many() {
        let mut content = Content::new(Message::new(()));
        for attempt in (1..).take(HISTORY_MAX + 2) {
            content.remember(FailureRecord {
                attempt,
                at: Timestamp::UNIX_EPOCH,
                kind: FailureKind::Transient,
                message: String::new(),
            });
        }
        assert_eq!(content.history().len(), HISTORY_MAX);
        assert_eq!(content.history()[0].attempt, 3);
    }
}
