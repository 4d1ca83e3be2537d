//! The leases that are held: the live ones, and those that have lapsed and may be claimed by somebody else.
//!
//! 1. `live[n]` belongs to the record whose hold is `Hold::Live(n)`, and the other way round. So a lease is granted and
//!    ended without a search; whoever swaps two of them tells the record.
//! 2. No live lease ends before `earliest`. It is a bound and not the minimum: a heap would be exact, and would cost every
//!    settlement a sift. The bound costs one scan when it has passed, at most about one per lease time.
//! 3. Every lapsed lease ended at or before `caught_up`.
//!
//! What the claims of a delivery have left is kept with its lease. What a lapse means for them, and who may claim, is the state's part.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    record::{Claims, Hold},
    records::Records,
    waiting::Rank,
};
use crate::{DeliveryId, FencingToken};

/// All leases.
#[derive(Debug)]
pub(super) struct Leases {
    live: Vec<Live>,
    /// `None` when there is no live lease.
    earliest: Option<Timestamp>,
    /// The lapsed ones, in the order in which the deliveries are to be claimed.
    lapsed: BTreeMap<Rank, Lapsed>,
    caught_up: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    id: DeliveryId,
    expires_at: Timestamp,
    claims: Claims,
}

#[derive(Debug, Clone, Copy)]
struct Lapsed {
    expired_at: Timestamp,
    claims: Claims,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { live: Vec::new(), earliest: None, lapsed: BTreeMap::new(), caught_up: Timestamp::MIN }
    }

    /// Adds a live lease. The result belongs in the delivery's record.
    #[must_use]
    pub(super) fn grant(&mut self, id: DeliveryId, expires_at: Timestamp, claims: Claims) -> Hold {
        let slot = self.live.len();
        self.live.push(Live { id, expires_at, claims });
        self.earliest = Some(self.earliest.map_or(expires_at, |earliest| earliest.min(expires_at)));
        Hold::Live(slot)
    }

    /// Ends the lease of a delivery, if its newest claim has this token. What the claims have left is the caller's.
    #[inline]
    pub(super) fn end<T>(&mut self, id: DeliveryId, token: FencingToken, records: &mut Records<T>) -> Option<Claims> {
        let record = records.get(id)?;
        match record.hold {
            Hold::Nobody | Hold::Behind => None,
            Hold::Live(slot) => {
                let claims = self.live.get(slot).map(|live| live.claims).filter(|claims| claims.token == token)?;
                self.remove_live(slot, records);
                Some(claims)
            }
            Hold::Lapsed => {
                let rank = record.rank(id);
                let claims =
                    self.lapsed.get(&rank).map(|lapsed| lapsed.claims).filter(|claims| claims.token == token)?;
                self.lapsed.remove(&rank);
                Some(claims)
            }
        }
    }

    /// Takes out a lapsed lease, for another claim.
    pub(super) fn take_lapsed(&mut self, rank: Rank) -> Claims {
        self.lapsed.remove(&rank).expect("a lapsed delivery is among the lapsed").claims
    }

    /// Sorts live and lapsed leases by `now`. A lease that lapsed for a later time is live again when the clock went back.
    pub(super) fn catch_up<T>(&mut self, now: Timestamp, records: &mut Records<T>) {
        if self.has_lapsed() && now < self.caught_up {
            let revived = self.lapsed.extract_if(.., |_, lapsed| lapsed.expired_at > now).collect::<Vec<_>>();
            for (rank, Lapsed { expired_at, claims }) in revived {
                let id = rank.place.id;
                set_hold(records, id, self.grant(id, expired_at, claims));
            }
        }
        self.caught_up = now;
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.lapse(now, records);
        }
    }

    fn lapse<T>(&mut self, now: Timestamp, records: &mut Records<T>) {
        let mut slot = 0;
        while let Some(Live { id, expires_at, claims }) = self.live.get(slot).copied() {
            if expires_at > now {
                slot += 1;
                continue;
            }
            self.remove_live(slot, records);
            let record = records.get_mut(id).expect("a leased delivery has a record");
            record.hold = Hold::Lapsed;
            self.lapsed.insert(record.rank(id), Lapsed { expired_at: expires_at, claims });
        }
        self.earliest = self.live.iter().map(|live| live.expires_at).min();
    }

    /// Whether there is a lapsed delivery.
    #[inline]
    pub(super) fn has_lapsed(&self) -> bool {
        !self.lapsed.is_empty()
    }

    /// The lapsed delivery to claim first.
    pub(super) fn first_lapsed(&self) -> Option<Rank> {
        self.lapsed.first_key_value().map(|(rank, _)| *rank)
    }

    /// A time no later than the next end of a live lease.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.earliest
    }

    /// When a lease ends, or ended.
    pub(super) fn expires_at(&self, hold: Hold, rank: Rank) -> Option<Timestamp> {
        match hold {
            Hold::Nobody | Hold::Behind => None,
            Hold::Live(slot) => self.live.get(slot).map(|live| live.expires_at),
            Hold::Lapsed => self.lapsed.get(&rank).map(|lapsed| lapsed.expired_at),
        }
    }

    /// What the claims of a leased delivery have left.
    pub(super) fn claims(&self, hold: Hold, rank: Rank) -> Option<&Claims> {
        match hold {
            Hold::Nobody | Hold::Behind => None,
            Hold::Live(slot) => self.live.get(slot).map(|live| &live.claims),
            Hold::Lapsed => self.lapsed.get(&rank).map(|lapsed| &lapsed.claims),
        }
    }

    /// How many there are, live and lapsed.
    pub(super) fn len(&self) -> usize {
        self.live.len() + self.lapsed.len()
    }

    /// Fills the gap with the last lease, and tells that one's record (1).
    fn remove_live<T>(&mut self, slot: usize, records: &mut Records<T>) {
        self.live.swap_remove(slot);
        if let Some(moved) = self.live.get(slot) {
            set_hold(records, moved.id, Hold::Live(slot));
        } else if self.live.is_empty() {
            self.earliest = None;
        }
    }
}

fn set_hold<T>(records: &mut Records<T>, id: DeliveryId, hold: Hold) {
    records.get_mut(id).expect("a leased delivery has a record").hold = hold;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, memory::record::Record};

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Leases of the deliveries 0, 1, 2 … that end at these seconds.
    fn leases(ends: &[i64]) -> (Leases, Records<()>) {
        let mut leases = Leases::new();
        let mut records = Records::new();
        for (id, end) in (0..).map(DeliveryId).zip(ends) {
            let mut record = Record::new(Message::new(()), second(0));
            record.hold = leases.grant(id, second(*end), Claims::default());
            records.insert(id, record);
        }
        (leases, records)
    }

    /// Invariant 1 and 2.
    fn check(leases: &Leases, records: &Records<()>) {
        for (slot, live) in leases.live.iter().enumerate() {
            assert_eq!(records.get(live.id).unwrap().hold, Hold::Live(slot));
            assert!(leases.earliest.unwrap() <= live.expires_at);
        }
    }

    #[test]
    fn ending_a_lease_keeps_the_others_in_reach() {
        let (mut leases, mut records) = leases(&[5, 6, 7]);
        leases.end(DeliveryId(0), FencingToken(0), &mut records).unwrap();
        records.remove(DeliveryId(0)).unwrap();
        assert_eq!(leases.len(), 2);
        check(&leases, &records);
    }

    #[test]
    fn the_last_lease_takes_the_bound_with_it() {
        let (mut leases, mut records) = leases(&[5]);
        leases.end(DeliveryId(0), FencingToken(0), &mut records).unwrap();
        assert_eq!(leases.next_end(), None);
    }

    #[test]
    fn a_lease_lapses_at_its_end() {
        let (mut leases, mut records) = leases(&[5, 6, 5]);
        leases.catch_up(second(5), &mut records);
        assert_eq!(leases.lapsed.len(), 2);
        assert_eq!(leases.next_end(), Some(second(6)));
        check(&leases, &records);
    }

    #[test]
    fn a_lapsed_lease_is_live_again_when_the_clock_goes_back() {
        let (mut leases, mut records) = leases(&[5, 7]);
        leases.catch_up(second(8), &mut records);
        leases.catch_up(second(6), &mut records);
        assert_eq!(records.get(DeliveryId(0)).unwrap().hold, Hold::Lapsed);
        assert_eq!(leases.next_end(), Some(second(7)));
        check(&leases, &records);
    }
}
