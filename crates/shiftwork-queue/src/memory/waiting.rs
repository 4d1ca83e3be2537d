//! The deliveries that wait, in the order in which they are to be claimed (rule 5 of the contract).
//!
//! Nothing moves here when time passes: each priority has one line ordered by due time, so what is due at some time is
//! the front part of the line, whatever time was asked before. A separate set of delayed messages was rejected because it
//! would have to be undone when the clock goes back.
//!
//! Leases are none of its business: a claimed delivery is not here.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
};

use jiff::Timestamp;

use crate::{DeliveryId, Priority};

/// A place in the line of one priority. Ids grow with every push, so they are the push order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) due: Timestamp,
    pub(super) id: DeliveryId,
}

/// A place among all deliveries; the least one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: Reverse<Priority>,
    pub(super) place: Place,
}

const NORMAL: Reverse<Priority> = Reverse(Priority(0));

/// Everything that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The line of priority 0, which most messages have: it is found without a search, and keeps its memory when empty.
    normal: Line,
    /// The other lines, none of them empty.
    others: BTreeMap<Reverse<Priority>, Line>,
}

impl Waiting {
    pub(super) fn insert(&mut self, rank: Rank, now: Timestamp) {
        let line =
            if rank.priority == NORMAL { &mut self.normal } else { self.others.entry(rank.priority).or_default() };
        line.insert(rank.place, now);
    }

    /// The one to claim first at `now`.
    pub(super) fn first(&self, now: Timestamp) -> Option<Rank> {
        let normal = self.normal.first(now).map(|place| Rank { priority: NORMAL, place });
        if self.others.is_empty() {
            return normal;
        }
        let other =
            self.others.iter().find_map(|(priority, line)| Some(Rank { priority: *priority, place: line.first(now)? }));
        normal.into_iter().chain(other).min()
    }

    /// As [`insert`](Self::insert), of one of the usual priority whose id is higher than that of all others.
    #[inline]
    pub(super) fn insert_newest(&mut self, place: Place, now: Timestamp) {
        if place.due <= now && self.normal.in_order.back().is_none_or(|last| last.due <= place.due) {
            self.normal.in_order.push_back(place);
        } else {
            self.normal.odd.insert(place);
        }
    }

    /// The one to claim first at `now`, where all that wait came in order, which is nearly always. Nothing says what is first otherwise.
    #[inline]
    pub(super) fn first_in_order(&self, now: Timestamp) -> Option<DeliveryId> {
        if !self.others.is_empty() || !self.normal.odd.is_empty() {
            return None;
        }
        self.normal.in_order.front().filter(|place| place.due <= now).map(|place| place.id)
    }

    /// Takes out what [`first_in_order`](Self::first_in_order) has returned.
    #[inline]
    pub(super) fn remove_first_in_order(&mut self) {
        self.normal.in_order.pop_front();
    }

    /// Takes out what [`first`](Self::first) has returned.
    pub(super) fn remove_first(&mut self, rank: Rank) {
        if rank.priority == NORMAL {
            self.normal.remove_first(rank.place);
            return;
        }
        let line = self.others.get_mut(&rank.priority).expect("a claimed delivery has a line");
        line.remove_first(rank.place);
        if line.is_empty() {
            self.others.remove(&rank.priority);
        }
    }

    /// The earliest due time after `now`.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.others.is_empty() {
            return self.normal.next_due(now);
        }
        self.lines().filter_map(|line| line.next_due(now)).min()
    }

    /// How many are due at `now`.
    pub(super) fn ready(&self, now: Timestamp) -> usize {
        self.lines().map(|line| line.ready(now)).sum()
    }

    /// Since when the one that has waited longest has been due at `now`, whatever its priority.
    pub(super) fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.lines().filter_map(|line| line.first(now)).map(|place| place.due).min()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        std::iter::once(&self.normal).chain(self.others.values())
    }
}

/// What waits at one priority. Both parts are ordered; which part a place is in does not show.
#[derive(Debug, Default)]
struct Line {
    /// Places that came in order and were due when they came.
    in_order: VecDeque<Place>,
    /// All others: delayed, retried, returned, or pushed while the clock was behind.
    odd: BTreeSet<Place>,
}

impl Line {
    /// A delayed place goes to the odd ones even if it is the last, for everything after it would not be in order.
    fn insert(&mut self, place: Place, now: Timestamp) {
        if place.due <= now && self.in_order.back().is_none_or(|last| *last < place) {
            self.in_order.push_back(place);
        } else {
            self.odd.insert(place);
        }
    }

    fn first(&self, now: Timestamp) -> Option<Place> {
        let first = match (self.in_order.front(), self.odd.first()) {
            (Some(in_order), Some(odd)) => in_order.min(odd),
            (Some(place), None) | (None, Some(place)) => place,
            (None, None) => return None,
        };
        (first.due <= now).then_some(*first)
    }

    fn remove_first(&mut self, place: Place) {
        let removed =
            if self.in_order.front() == Some(&place) { self.in_order.pop_front() } else { self.odd.pop_first() };
        assert_eq!(removed, Some(place), "only the first place of a line is removed");
    }

    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let in_order = self.in_order.get(self.due_in_order(now));
        if self.odd.is_empty() {
            return in_order.map(|place| place.due);
        }
        let odd = self.odd.range(after(now)).next();
        in_order.into_iter().chain(odd).map(|place| place.due).min()
    }

    fn ready(&self, now: Timestamp) -> usize {
        self.due_in_order(now) + (self.odd.len() - self.odd.range(after(now)).count())
    }

    /// How many of those in order are due. All of them, unless the clock went back.
    fn due_in_order(&self, now: Timestamp) -> usize {
        match self.in_order.back() {
            Some(last) if last.due > now => self.in_order.partition_point(|place| place.due <= now),
            Some(_) | None => self.in_order.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.odd.is_empty()
    }
}

/// The places that are due after `now`.
fn after(now: Timestamp) -> (Bound<Place>, Bound<Place>) {
    (Bound::Excluded(Place { due: now, id: DeliveryId(u64::MAX) }), Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn rank(priority: i16, due: i64, id: u64) -> Rank {
        Rank { priority: Reverse(Priority(priority)), place: Place { due: second(due), id: DeliveryId(id) } }
    }

    fn waiting(now: i64, ranks: &[Rank]) -> Waiting {
        let mut waiting = Waiting::default();
        for rank in ranks {
            waiting.insert(*rank, second(now));
        }
        waiting
    }

    fn drain(waiting: &mut Waiting, now: i64) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Some(rank) = waiting.first(second(now)) {
            waiting.remove_first(rank);
            ids.push(rank.place.id.0);
        }
        ids
    }

    #[test]
    fn the_usual_messages_stay_out_of_the_ordered_set() {
        let waiting = waiting(5, &[rank(0, 3, 1), rank(0, 3, 2), rank(0, 5, 3)]);
        assert_eq!((waiting.normal.in_order.len(), waiting.normal.odd.len()), (3, 0));
    }

    #[test]
    fn a_delayed_message_does_not_push_later_ones_out_of_order() {
        let waiting = waiting(5, &[rank(0, 9, 1), rank(0, 5, 2)]);
        assert_eq!((waiting.normal.in_order.len(), waiting.normal.odd.len()), (1, 1));
    }

    #[test]
    fn both_parts_of_a_line_are_merged() {
        let mut waiting = waiting(5, &[rank(0, 2, 1), rank(0, 4, 2), rank(0, 3, 3), rank(0, 1, 4)]);
        assert_eq!(drain(&mut waiting, 5), [4, 1, 3, 2]);
    }

    #[test]
    fn a_high_priority_that_is_not_due_hides_nothing() {
        let mut waiting = waiting(5, &[rank(7, 9, 1), rank(0, 5, 2), rank(-7, 5, 3)]);
        assert_eq!(drain(&mut waiting, 5), [2, 3]);
    }

    #[test]
    fn when_the_clock_goes_back_a_delivery_is_not_due_any_more() {
        let mut waiting = waiting(5, &[rank(0, 3, 1), rank(0, 5, 2)]);
        assert_eq!(waiting.ready(second(4)), 1);
        assert_eq!(waiting.next_due(second(4)), Some(second(5)));
        assert_eq!(drain(&mut waiting, 4), [1]);
    }

    #[test]
    fn the_next_due_time_is_the_earliest_of_all_lines() {
        let waiting = waiting(5, &[rank(0, 5, 1), rank(0, 9, 2), rank(3, 8, 3), rank(-3, 7, 4)]);
        assert_eq!(waiting.next_due(second(5)), Some(second(7)));
    }

    #[test]
    fn the_oldest_is_the_one_that_was_due_first_in_any_line() {
        let waiting = waiting(5, &[rank(7, 4, 1), rank(0, 3, 2), rank(-7, 9, 3)]);
        assert_eq!(waiting.oldest_due(second(5)), Some(second(3)));
        assert_eq!(waiting.oldest_due(second(2)), None, "nothing is due yet");
    }

    #[test]
    fn an_emptied_line_is_removed() {
        let mut waiting = waiting(5, &[rank(1, 5, 1)]);
        drain(&mut waiting, 5);
        assert!(waiting.others.is_empty());
    }
}
