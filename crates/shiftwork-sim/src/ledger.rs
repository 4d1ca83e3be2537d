//! State on the far side, which invariants read: what was really charged, sent or stored.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::world::Fence;

/// State that belongs to the world: it outlives every process, and invariants read it. Cheap to clone.
///
/// Change it in what is given to [`Dependency::call`](crate::Dependency::call): then it changes when the effect happens.
///
/// A killed process changes nothing more, however it tries. Its destructors run, and its blocking work comes to an end; what they do to a
/// ledger they do to a copy of it, which they alone see. So it is with a process that has ended by itself, and with what is left of
/// all of them at the end of the world. Threads that the program started itself are not known to the world: what they do is done.
///
/// ```
/// use std::collections::BTreeMap;
/// use shiftwork_sim::Ledger;
///
/// let charges: Ledger<BTreeMap<&str, u32>> = Ledger::default();
/// charges.with(|charges| *charges.entry("order 17").or_default() += 1);
/// assert_eq!(charges.lock()["order 17"], 1);
/// ```
pub struct Ledger<T> {
    entries: Arc<Mutex<Entries<T>>>,
    copy: fn(&T) -> T,
}

struct Entries<T> {
    /// What everybody sees.
    real: T,
    /// What a process that is over has made of them since. One is kept, since one process is buried at a time.
    apart: Option<(Fence, T)>,
}

impl<T: Clone> Ledger<T> {
    /// A ledger that begins like this.
    pub fn new(entries: T) -> Self {
        Self { entries: Arc::new(Mutex::new(Entries { real: entries, apart: None })), copy: T::clone }
    }
}

impl<T> Ledger<T> {
    /// Reads or changes it. A panic of `act` leaves it as far as `act` came, for the others to go on with.
    ///
    /// It must not be called from inside of itself. If blocking work is killed in the middle of `act`, what `act` does after that is done.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.lock())
    }

    /// The entries, to read or change until the guard is dropped: for what is shorter without a closure.
    ///
    /// Nothing else of the world can look at them meanwhile, and the world's thread would wait for itself: a guard must be dropped before
    /// the next `await`, and before the ledger is asked again.
    pub fn lock(&self) -> LedgerGuard<'_, T> {
        LedgerGuard { entries: self.entries.lock().unwrap_or_else(PoisonError::into_inner), copy: self.copy }
    }
}

impl<T: Clone + Default> Default for Ledger<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Ledger<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), copy: self.copy }
    }
}

impl<T: fmt::Debug> fmt::Debug for Ledger<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&*self.lock()).finish()
    }
}

/// The entries of a [`Ledger`], which nobody else sees until this is dropped.
#[must_use = "nobody else sees the ledger until this is dropped"]
pub struct LedgerGuard<'a, T> {
    entries: MutexGuard<'a, Entries<T>>,
    copy: fn(&T) -> T,
}

impl<T> Deref for LedgerGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Entries { real, apart } = &*self.entries;
        match apart {
            Some((fence, apart)) if Fence::up_here().as_ref() == Some(fence) => apart,
            _ => real,
        }
    }
}

impl<T> DerefMut for LedgerGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        let copy = self.copy;
        let Entries { real, apart } = &mut *self.entries;
        let Some(fence) = Fence::up_here() else { return real };
        let known = apart.take().filter(|(of, _)| *of == fence);
        let (_, apart) = apart.insert(known.unwrap_or_else(|| (fence, copy(real))));
        apart
    }
}

impl<T: fmt::Debug> fmt::Debug for LedgerGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of the process behind this fence.
    fn behind<R: Send>(fence: &Fence, act: impl FnOnce() -> R + Send) -> R {
        let enter = || {
            Fence::enter(Some(fence.clone()));
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    #[test]
    fn in_every_build_a_process_changes_a_ledger_until_it_is_over() {
        let (ledger, fence) = (Ledger::new(vec![1, 2]), Fence::default());
        behind(&fence, || ledger.lock().push(3));
        assert_eq!(*ledger.lock(), [1, 2, 3]);
        fence.raise();
        let left = behind(&fence, || {
            // As a destructor that gives everything back would do it: it comes to an end.
            while ledger.with(Vec::pop).is_some() {}
            ledger.lock().push(17);
            ledger.with(|entries| entries.clone())
        });
        assert_eq!(left, [17], "it sees what it has done itself");
        assert_eq!(*ledger.lock(), [1, 2, 3]);
        let next = Fence::default();
        assert_eq!(behind(&next, || ledger.with(|entries| entries.clone())), [1, 2, 3]);
        next.raise();
        assert_eq!(behind(&next, || ledger.with(|entries| entries.clone())), [1, 2, 3], "each has a copy of its own");
    }

    #[test]
    fn in_every_build_a_guard_from_before_the_end_changes_nothing_after_it() {
        let (ledger, fence) = (Ledger::new(0), Fence::default());
        behind(&fence, || {
            let mut entry = ledger.lock();
            *entry += 1;
            fence.raise();
            *entry += 10;
            assert_eq!(*entry, 11);
        });
        assert_eq!(*ledger.lock(), 1);
    }

    #[test]
    fn in_every_build_what_is_asked_from_outside_sees_and_changes_what_is_real() {
        let (ledger, fence) = (Ledger::new(1), Fence::default());
        fence.raise();
        behind(&fence, || {
            *ledger.lock() = 2;
            Fence::outside(|| *ledger.lock() += 10);
            assert_eq!(*ledger.lock(), 2);
        });
        assert_eq!(*ledger.lock(), 11);
    }
}
