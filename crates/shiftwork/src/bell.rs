//! The bell that wakes whoever waits for something of a worker to change.
//!
//! Who waits now and then registers anew each time ([`Bell::listen`]). A lane waits again and again, in one task: it has a place at the
//! bell, and keeps that from one wait to the next ([`Place`]), so that a wait takes no lock and no count of references.
//!
//! 1. Whoever registers, or takes its place, before it looks misses no change: the bell rings after the change, so the look sees
//!    what was changed, or the ring is still to come.
//! 2. A ring empties every place and is counted under one lock: a place is taken for as long as the count is what it was then.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use tokio::sync::{Notify, futures::Notified};

/// See the page of this file.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    now_and_then: Notify,
    places: Mutex<Vec<Waker>>,
    /// Counts the rings; written under the lock of the places.
    rings: AtomicU64,
}

impl Bell {
    /// Wakes whoever waits, to look again.
    pub(crate) fn ring(&self) {
        self.now_and_then.notify_waiters();
        let taken = {
            let mut places = self.places();
            self.rings.fetch_add(1, Ordering::Release);
            mem::take(&mut *places)
        };
        taken.into_iter().for_each(Waker::wake);
    }

    /// A registration for one wait. It counts from the moment it was made.
    pub(crate) fn listen(&self) -> Notified<'_> {
        self.now_and_then.notified()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at a bell, kept from one wait to the next. It belongs to whoever holds it: one task at a time.
#[derive(Debug)]
pub(crate) struct Place {
    bell: Arc<Bell>,
    /// Whom the bell wakes, and how often it had rung when that was settled.
    taken: Option<(u64, Waker)>,
}

impl Place {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, taken: None }
    }

    /// The next ring wakes the task of `cx`.
    #[inline]
    pub(crate) fn take(&mut self, cx: &Context<'_>) {
        let rings = self.bell.rings.load(Ordering::Acquire);
        let is_taken = self.taken.as_ref().is_some_and(|(of, waker)| *of == rings && waker.will_wake(cx.waker()));
        if !is_taken {
            self.take_anew(cx.waker());
        }
    }

    #[cold]
    fn take_anew(&mut self, waker: &Waker) {
        self.leave();
        let mut places = self.bell.places();
        places.push(waker.clone());
        self.taken = Some((self.bell.rings.load(Ordering::Relaxed), waker.clone()));
    }

    fn leave(&mut self) {
        let Some((of, waker)) = self.taken.take() else { return };
        // Those of one task are as good as each other. Dropped where the lock is released: it may be the last of its task.
        let _left = {
            let mut places = self.bell.places();
            if of != self.bell.rings.load(Ordering::Relaxed) {
                // A ring has emptied it: those that are there now are others'.
                return;
            }
            let place = places.iter().position(|other| other.will_wake(&waker));
            place.map(|place| places.remove(place))
        };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task;

    use super::*;

    /// A task that waits at a place, for ever.
    fn waits(place: &mut Place) -> impl Future<Output = ()> {
        std::future::poll_fn(|cx| {
            place.take(cx);
            std::task::Poll::Pending
        })
    }

    #[test]
    fn a_ring_wakes_each_place_once_until_it_is_taken_again() {
        let bell = Arc::new(Bell::default());
        let (mut one, mut other) = (Place::new(bell.clone()), Place::new(bell.clone()));
        let (mut one, mut other) = (task::spawn(waits(&mut one)), task::spawn(waits(&mut other)));
        assert!(one.poll().is_pending() && one.poll().is_pending() && other.poll().is_pending());
        assert_eq!(bell.places().len(), 2, "who looks twice has one place");
        bell.ring();
        assert!(one.is_woken() && other.is_woken());
        assert!(one.poll().is_pending());
        bell.ring();
        assert!(one.is_woken());
        assert_eq!(bell.places().len(), 0);
    }

    #[test]
    fn a_place_goes_with_whoever_takes_it_and_is_left_when_it_is_dropped() {
        let bell = Arc::new(Bell::default());
        let mut place = Place::new(bell.clone());
        let mut first = task::spawn(());
        first.enter(|cx, _| place.take(cx));
        let mut second = task::spawn(());
        second.enter(|cx, _| place.take(cx));
        assert_eq!(bell.places().len(), 1);
        bell.ring();
        assert!(!first.is_woken() && second.is_woken());
        second.enter(|cx, _| place.take(cx));
        drop(place);
        assert_eq!(bell.places().len(), 0);
    }
}
