//! What happens when a runtime has nothing to do until its next timer.
//!
//! A runtime with a time driver alone parks in a wait with a timeout, and so says when its next timer is due. Up to a limit
//! that its world has set, time jumps there and the runtime goes on without ever having left its loop. From the limit on
//! something else in the world comes first: then the time is noted, and the runtime must be left.

use std::{cell::Cell, time::Duration};

use super::clock::sleep_until;
use crate::world::{IsOver, WorldClock};

/// What this thread's runtime may do, and what it said when it parked.
struct Parking {
    /// The runtime is about to park, or parks: a timed wait is its own.
    parks: Cell<bool>,
    /// Time may jump to what lies before this.
    limit: Cell<Duration>,
    /// When the next timer is due that time may not jump to.
    due: Cell<Option<Duration>>,
}

thread_local! {
    static PARKING: Parking =
        const { Parking { parks: Cell::new(false), limit: Cell::new(Duration::ZERO), due: Cell::new(None) } };
}

/// Until the next call, time may jump to what lies before `limit`.
pub(crate) fn set_limit(limit: Duration) {
    PARKING.with(|parking| {
        parking.limit.set(limit);
        parking.due.set(None);
    });
}

/// Until the next call of [`set_limit`], time may jump only to what also lies before this.
pub(crate) fn lower_limit(limit: Duration) {
    PARKING.with(|parking| parking.limit.set(parking.limit.get().min(limit)));
}

/// A runtime of this thread is about to park.
pub(crate) fn begins() {
    PARKING.with(|parking| parking.parks.set(true));
}

/// It parks no longer. Whether it must be left, because its next timer lies beyond the limit.
pub(crate) fn ends() -> bool {
    PARKING.with(|parking| {
        parking.parks.set(false);
        parking.due.get().is_some()
    })
}

/// When the runtime's next timer is due, if that is why it was left.
pub(crate) fn due() -> Option<Duration> {
    PARKING.with(|parking| parking.due.get())
}

/// A timed wait of this thread, which may be over before. Whether it is; if not, the runtime that parks here is to be left.
pub(super) fn wait_until(world: &WorldClock, until: Duration, is_over: Option<IsOver>) -> bool {
    PARKING.with(|parking| {
        let passes = !(parking.parks.get() && until >= parking.limit.get());
        if passes {
            sleep_until(world, until, is_over);
        } else {
            parking.due.set(Some(until));
        }
        passes
    })
}
