//! The unsettled deliveries by their ids.
//!
//! A queue gives out its ids one after the other and is mostly worked off in that order. So the records are a ring of the
//! newest ids, found by subtraction, without a hash and without a move when it grows:
//!
//! 1. `ring[n]` is the place of the delivery `first + n`. Its front is never empty.
//! 2. `strays` has what is older than `first`: deliveries that outlived most of those around them, and the requeued. A few
//!    long-delayed messages therefore do not keep the places of all that came after them.
//!
//! A place is looked at once when it leaves the ring, so that the moves cost each push a constant.

use std::collections::{BTreeMap, VecDeque};

use super::record::{Finished, Record};
use crate::DeliveryId;

/// Below this many places the ring is as long as it likes.
const RING_MIN: usize = 64;

/// The ring gives up its older half when fewer than one in so many places is taken.
const SPARSE: usize = 4;

/// Records by delivery id.
pub(super) struct Records<T> {
    first: u64,
    ring: VecDeque<Option<Record<T>>>,
    /// How many places of the ring are taken.
    taken: usize,
    strays: BTreeMap<DeliveryId, Record<T>>,
}

impl<T> Records<T> {
    pub(super) fn new() -> Self {
        Self { first: 0, ring: VecDeque::new(), taken: 0, strays: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.taken + self.strays.len()
    }

    pub(super) fn get(&self, id: DeliveryId) -> Option<&Record<T>> {
        match self.place(id) {
            Some(place) => self.ring.get(place)?.as_ref(),
            None => self.strays.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut Record<T>> {
        match self.place(id) {
            Some(place) => self.ring.get_mut(place)?.as_mut(),
            None => self.strays.get_mut(&id),
        }
    }

    /// Adds the record of a new delivery, whose id is higher than all before, or of an older one that has none.
    #[inline]
    pub(super) fn insert(&mut self, id: DeliveryId, record: Record<T>) {
        if self.ring.is_empty() {
            self.first = self.first.max(id.0);
        }
        match self.place(id) {
            None => {
                self.strays.insert(id, record);
            }
            Some(place) => {
                // One push after the other, this is the next place.
                while self.ring.len() < place {
                    self.ring.push_back(None);
                }
                match self.ring.get_mut(place) {
                    Some(free) => *free = Some(record),
                    None => self.ring.push_back(Some(record)),
                }
                self.taken += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, id: DeliveryId) -> Option<Record<T>> {
        let Some(place) = self.place(id) else { return self.strays.remove(&id) };
        let record = self.ring.get_mut(place)?.take()?;
        self.has_left();
        Some(record)
    }

    /// Removes what is done, and returns what is left of it: only that is moved, not the whole record.
    pub(super) fn finish(&mut self, id: DeliveryId) -> Option<Finished<T>> {
        let Some(place) = self.place(id) else { return self.strays.remove(&id).map(Record::finish) };
        if place == 0 {
            // Most are done in the order in which they came.
            let left = self.ring.pop_front()??.finish();
            self.first += 1;
            self.taken -= 1;
            self.settle_down();
            return Some(left);
        }
        let left = self.ring.get_mut(place)?.take()?.finish();
        self.has_left();
        Some(left)
    }

    /// A place of the ring has become free.
    fn has_left(&mut self) {
        self.taken -= 1;
        self.settle_down();
    }

    /// Gives up the places that are of no use. Mostly there are none.
    #[inline]
    fn settle_down(&mut self) {
        if !matches!(self.ring.front(), Some(Some(_))) || self.is_sparse() {
            self.give_up_places();
        }
    }

    #[cold]
    fn give_up_places(&mut self) {
        self.begin_with_one();
        while self.is_sparse() {
            self.shorten();
        }
    }

    /// Has the ring begin with a place that is taken.
    fn begin_with_one(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first += 1;
        }
    }

    fn is_sparse(&self) -> bool {
        self.ring.len() > RING_MIN && self.taken * SPARSE < self.ring.len()
    }

    /// Each record with its id, in the order of the ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (DeliveryId, &Record<T>)> {
        let strays = self.strays.iter().map(|(id, record)| (*id, record));
        let ring = (self.first..).map(DeliveryId).zip(&self.ring);
        strays.chain(ring.filter_map(|(id, record)| Some((id, record.as_ref()?))))
    }

    /// Where in the ring an id has its place. `None` if it is older.
    fn place(&self, id: DeliveryId) -> Option<usize> {
        id.0.checked_sub(self.first).map(|place| usize::try_from(place).unwrap_or(usize::MAX))
    }

    /// Moves the older half of the ring to the strays.
    #[cold]
    fn shorten(&mut self) {
        let half = self.ring.len() / 2;
        for (id, record) in (self.first..).map(DeliveryId).zip(self.ring.drain(..half)) {
            if let Some(record) = record {
                self.strays.insert(id, record);
                self.taken -= 1;
            }
        }
        self.first += half as u64;
        self.begin_with_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::Message;

    fn record(payload: u64) -> Record<u64> {
        Record::new(Message::new(payload), Timestamp::UNIX_EPOCH)
    }

    fn payloads(records: &Records<u64>) -> Vec<(u64, u64)> {
        records.iter().map(|(id, record)| (id.0, *record.payload.as_ref().unwrap())).collect()
    }

    #[test]
    fn one_that_stays_does_not_keep_the_places_of_those_that_leave() {
        let mut records = Records::new();
        records.insert(DeliveryId(1), record(1));
        for id in 2..100_000 {
            records.insert(DeliveryId(id), record(id));
            assert!(records.remove(DeliveryId(id)).is_some());
            assert!(records.ring.len() <= RING_MIN + 1);
        }
        assert_eq!(payloads(&records), [(1, 1)]);
    }

    #[test]
    fn a_requeued_delivery_is_found_among_younger_ones() {
        let mut records = Records::new();
        for id in 1..=3 {
            records.insert(DeliveryId(id), record(id));
        }
        let oldest = records.remove(DeliveryId(1)).unwrap();
        let middle = records.remove(DeliveryId(2)).unwrap();
        records.insert(DeliveryId(1), oldest);
        records.insert(DeliveryId(2), middle);
        assert_eq!(payloads(&records), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(records.len(), 3);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push,
        Remove(u64),
        Finish(u64),
        PutBack(u64),
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// It is a map, whatever the order in which deliveries leave and come back.
        #[test]
        fn it_is_a_map(ops in prop::collection::vec(
            prop_oneof![
                4 => Just(Op::Push),
                3 => (0..400u64).prop_map(Op::Remove),
                3 => (0..400u64).prop_map(Op::Finish),
                1 => (0..400u64).prop_map(Op::PutBack),
            ],
            0..600,
        )) {
            let (mut records, mut map, mut last) = (Records::new(), BTreeMap::new(), 0);
            for op in ops {
                match op {
                    Op::Push => {
                        last += 1;
                        records.insert(DeliveryId(last), record(last));
                        map.insert(last, last);
                    }
                    Op::Remove(id) => {
                        prop_assert_eq!(records.remove(DeliveryId(id)).is_some(), map.remove(&id).is_some());
                    }
                    Op::Finish(id) => {
                        let finished = records.finish(DeliveryId(id)).map(|finished| finished.payload);
                        prop_assert_eq!(finished, map.remove(&id).map(Ok));
                    }
                    Op::PutBack(id) => {
                        if id > 0 && id <= last && !map.contains_key(&id) {
                            records.insert(DeliveryId(id), record(id));
                            map.insert(id, id);
                        }
                    }
                }
                prop_assert_eq!(records.len(), map.len());
            }
            prop_assert_eq!(payloads(&records), map.into_iter().collect::<Vec<_>>());
        }
    }
}
