//! What the lanes of a worker have in flight, as others may read it at any time: for who names stragglers, for the watchdog, and for
//! whoever has a handle to the host.
//!
//! A lane writes its own seat, with plain stores and no clock of its own; a poll costs two of them. Readers may see a mixture
//! of two cycles for an instant, which is good enough for who only says what takes long.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use shiftwork_queue::DeliveryId;
use tokio::time::Instant;

use crate::event::{CycleId, Doing, Hook};

/// The seats of one worker. A life that is left behind keeps its own: what its lanes still do is not the next one's.
#[derive(Debug)]
pub(crate) struct InFlight {
    seats: RwLock<Arc<[Arc<Seat>]>>,
}

/// What one lane has in flight. A cache line of its own, so that lanes do not disturb each other.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Seat {
    origin: Instant,
    /// A count, moved on with each poll, and one of the four below.
    state: AtomicU64,
    /// 0 is none: a hook is at work, and `attempt` says which.
    cycle: AtomicU64,
    /// `u64::MAX` is none.
    delivery: AtomicU64,
    /// Since the origin, in nanoseconds.
    began: AtomicU64,
    attempt: AtomicU32,
    /// Its lane was left behind, whatever it still does.
    left: AtomicBool,
}

const IDLE: u64 = 0;
const WAITING: u64 = 1;
const POLLED: u64 = 2;
const SETTLING: u64 = 3;
const STATES: u64 = 4;
const NO_DELIVERY: u64 = u64::MAX;
const START_HOOK: u32 = 1;
const STOP_HOOK: u32 = 2;

/// A cycle that is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) cycle: CycleId,
    pub(crate) attempt: u32,
    pub(crate) delivery: Option<DeliveryId>,
    pub(crate) doing: Doing,
    pub(crate) age: Duration,
    /// It is no cycle, but this hook.
    pub(crate) hook: Option<Hook>,
}

/// As many as the clock counts: in hundreds of years it begins anew.
#[inline]
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.subsec_nanos()))
}

impl InFlight {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { seats: RwLock::new((0..lanes.max(1)).map(|_| Arc::new(Seat::empty(IDLE))).collect()) }
    }

    pub(crate) fn seats(&self) -> Arc<[Arc<Seat>]> {
        self.seats.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn seat(&self, lane: usize) -> Arc<Seat> {
        self.seats()[lane].clone()
    }

    /// Every cycle that is in flight.
    pub(crate) fn flights(&self, now: Instant) -> Vec<Flight> {
        let seats = self.seats();
        let flights = seats.iter().filter_map(|seat| seat.flight(now));
        flights.filter(|flight| flight.cycle != CycleId(0)).collect()
    }

    /// What this life has in flight is nobody's any more.
    pub(crate) fn leave(&self) {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        seats.iter().for_each(|seat| seat.left.store(true, Ordering::Relaxed));
        // What they count goes on: the watchdog knows polls by their numbers, and lanes by their places.
        let counted =
            |seat: &Arc<Seat>| (seat.state.load(Ordering::Relaxed) / STATES).wrapping_add(1).wrapping_mul(STATES);
        *seats = seats.iter().map(|seat| Arc::new(Seat::empty(counted(seat)))).collect();
    }
}

impl Seat {
    /// A seat whose lane does nothing, and has counted so far.
    fn empty(state: u64) -> Self {
        Self {
            origin: Instant::now(),
            state: AtomicU64::new(state),
            cycle: AtomicU64::new(0),
            delivery: AtomicU64::new(NO_DELIVERY),
            began: AtomicU64::new(0),
            attempt: AtomicU32::new(0),
            left: AtomicBool::new(false),
        }
    }

    pub(crate) fn begin(&self, cycle: CycleId, attempt: u32, delivery: Option<DeliveryId>, began: Instant) {
        self.begin_at(cycle, attempt, delivery, self.since_origin(began));
    }

    /// How many nanoseconds after the seat's origin this is.
    #[inline]
    pub(crate) fn since_origin(&self, time: Instant) -> u64 {
        nanoseconds(time.saturating_duration_since(self.origin))
    }

    /// As [`Seat::begin`], of a time that is known as [`Seat::since_origin`] has it.
    #[inline]
    pub(crate) fn begin_at(&self, cycle: CycleId, attempt: u32, delivery: Option<DeliveryId>, nanos: u64) {
        self.cycle.store(cycle.0, Ordering::Relaxed);
        self.attempt.store(attempt, Ordering::Relaxed);
        self.delivery.store(delivery.map_or(NO_DELIVERY, |id| id.0), Ordering::Relaxed);
        self.began.store(nanos, Ordering::Relaxed);
        self.enter(WAITING);
    }

    /// A hook begins, which is nobody's cycle.
    pub(crate) fn begin_hook(&self, hook: Hook, began: Instant) {
        let mark = match hook {
            Hook::Start => START_HOOK,
            Hook::Stop => STOP_HOOK,
        };
        self.begin(CycleId(0), mark, None, began);
    }

    pub(crate) fn poll_begins(&self) {
        self.enter(POLLED);
    }

    pub(crate) fn poll_ended(&self) {
        self.enter(WAITING);
    }

    pub(crate) fn settles(&self) {
        self.enter(SETTLING);
    }

    pub(crate) fn end(&self) {
        self.cycle.store(0, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// Whether its lane has nothing in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed) % STATES == IDLE
    }

    /// Whether its lane was left behind.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Only the lane writes, so that a load and a store are enough.
    fn enter(&self, state: u64) {
        let count = self.state.load(Ordering::Relaxed) / STATES;
        self.state.store(count.wrapping_add(1).wrapping_mul(STATES) + state, Ordering::Relaxed);
    }

    /// The poll that runs now, by a number that no other has.
    pub(crate) fn poll(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state % STATES == POLLED).then_some(state)
    }

    pub(crate) fn flight(&self, now: Instant) -> Option<Flight> {
        let doing = match self.state.load(Ordering::Relaxed) % STATES {
            WAITING => Doing::Waiting,
            POLLED => Doing::Running,
            SETTLING => Doing::Settling,
            _ => return None,
        };
        let (cycle, attempt) = (self.cycle.load(Ordering::Relaxed), self.attempt.load(Ordering::Relaxed));
        let delivery = self.delivery.load(Ordering::Relaxed);
        let began = Duration::from_nanos(self.began.load(Ordering::Relaxed));
        Some(Flight {
            cycle: CycleId(cycle),
            attempt,
            delivery: (delivery != NO_DELIVERY).then_some(DeliveryId(delivery)),
            doing,
            age: now.saturating_duration_since(self.origin).saturating_sub(began),
            hook: match attempt {
                START_HOOK if cycle == 0 => Some(Hook::Start),
                STOP_HOOK if cycle == 0 => Some(Hook::Stop),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_tells_what_its_lane_does() {
        let all = InFlight::new(2);
        let seat = all.seat(1);
        let now = Instant::now();
        assert_eq!(all.flights(now), []);
        assert!(seat.is_idle());
        seat.begin(CycleId(7), 2, Some(DeliveryId(9)), now);
        assert!(!seat.is_idle());
        let later = now + Duration::from_secs(3);
        let of = |doing| Flight {
            cycle: CycleId(7),
            attempt: 2,
            delivery: Some(DeliveryId(9)),
            doing,
            age: Duration::from_secs(3),
            hook: None,
        };
        assert_eq!(seat.flight(later), Some(of(Doing::Waiting)));
        seat.poll_begins();
        assert_eq!(seat.flight(later), Some(of(Doing::Running)));
        let poll = seat.poll().unwrap();
        seat.poll_ended();
        assert_eq!(seat.poll(), None);
        seat.poll_begins();
        assert_ne!(seat.poll(), Some(poll), "each poll has its own number");
        seat.settles();
        assert_eq!(all.flights(later), [of(Doing::Settling)]);
        assert!(!seat.is_idle());
        seat.end();
        assert_eq!(seat.flight(later), None);
        assert!(seat.is_idle());

        seat.begin_hook(Hook::Stop, now);
        seat.poll_begins();
        assert_eq!(seat.flight(later).and_then(|flight| flight.hook), Some(Hook::Stop));
        assert_eq!(all.flights(later), [], "a hook is no cycle");
    }

    #[test]
    fn a_life_that_was_left_behind_takes_no_seat_of_the_next() {
        let all = InFlight::new(1);
        let (old, now) = (all.seat(0), Instant::now());
        old.begin(CycleId(1), 1, None, now);
        all.leave();
        assert_eq!(all.flights(now), []);
        all.seat(0).begin(CycleId(1), 1, None, now);
        old.end();
        assert!(old.is_left() && !all.seat(0).is_left());
        assert_eq!(all.flights(now).len(), 1);
    }
}
