//! State on the far side, which invariants read: what was really charged, sent or stored.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// State that belongs to the world: it outlives every process, and invariants read it. Cheap to clone.
///
/// Change it in what is given to [`Dependency::call`](crate::Dependency::call): then it changes when the effect happens, and a
/// killed process changes nothing more.
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
    entries: Arc<Mutex<T>>,
}

impl<T> Ledger<T> {
    /// A ledger that begins like this.
    pub fn new(entries: T) -> Self {
        Self { entries: Arc::new(Mutex::new(entries)) }
    }

    /// Reads or changes it. A panic of `act` leaves it as far as `act` came, for the others to go on with.
    ///
    /// It must not be called from inside of itself.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.lock())
    }

    /// The entries, to read or change until the guard is dropped: for what is shorter without a closure.
    ///
    /// Nothing else of the world can look at them meanwhile, and the world's thread would wait for itself: a guard must be dropped before
    /// the next `await`, and before the ledger is asked again.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Ledger<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Ledger<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Ledger<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|entries| f.debug_tuple("Ledger").field(entries).finish())
    }
}
