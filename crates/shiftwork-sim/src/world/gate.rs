//! The gate that lets one blocking thread of a runtime work at a time, and only while the world's own thread waits for it.
//!
//! Without it a piece of blocking work could end in the middle of the poll that began it, or after it, as the machine pleases. A
//! blocking thread waits outside when it begins, in a wait of its own, after that, and while it sleeps. The world's thread calls
//! one in at a time: sleepers first, in the order of the times until which they sleep, then the others, which take up work in
//! the order in which it was given. What holds:
//!
//! 1. At most one thread is inside.
//! 2. Who is outside waits: for work, for another thread, until its time has come, or to be called in.
//! 3. Once the gate is open it stays so: then everybody goes on as the machine pleases, and nobody sleeps.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::interpose;

/// See the page of this file.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Somebody was called in, or the gate is open.
    called: Condvar,
}

#[derive(Debug)]
struct State {
    /// The threads that have come to the gate, in the order in which they did.
    threads: BTreeMap<u64, Standing>,
    /// How many threads have begun.
    begun: u64,
    /// How many sleeps have begun.
    slept: u64,
    open: bool,
}

/// Where one thread stands.
#[derive(Debug)]
enum Standing {
    /// It works.
    Inside,
    /// It waits in a call of its own.
    Away,
    /// It waits to be called in.
    Ready,
    /// It sleeps.
    Asleep(Sleep),
}

/// A sleep of a blocking thread.
struct Sleep {
    until: Duration,
    nth: u64,
    /// What ends it before its time: for a wait, that there is nothing left to wait for.
    is_over: Option<IsOver>,
}

/// Whether there is nothing left to wait for.
pub(crate) type IsOver = Box<dyn Fn() -> bool + Send>;

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("until", &self.until).field("nth", &self.nth).finish_non_exhaustive()
    }
}

/// What the world's thread sees at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Somebody is inside.
    Busy,
    /// Nobody is, and nobody can be called in.
    Quiet {
        /// How many threads have come to the gate.
        threads: usize,
        /// How many of them sleep.
        asleep: usize,
    },
    /// It is open.
    Open,
}

thread_local! {
    /// Which of its gate's threads this is.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

impl Gate {
    /// A gate, which is open from the first on where nobody would call threads in, or nobody would say that they wait.
    pub(super) fn new() -> Self {
        let open = !(cfg!(tokio_unstable) && interpose::IN_FORCE);
        let state = State { threads: BTreeMap::new(), begun: 0, slept: 0, open };
        Self { state: Mutex::new(state), called: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blocking thread begins, and goes on when it is called in. Its number: the order in which threads are called in for the first
    /// time, which does not depend on the machine.
    pub(super) fn thread_begins(&self) -> u64 {
        let mut state = self.lock();
        state.begun += 1;
        let number = state.begun;
        NUMBER.set(number);
        self.wait(state, Standing::Ready);
        number
    }

    /// It ends.
    pub(super) fn thread_ends(&self) {
        interpose::unheld(|| self.lock().threads.remove(&NUMBER.get()));
    }

    /// A blocking thread waits in a call of its own, and goes on when it is called in.
    pub(crate) fn around<T>(&self, wait: impl FnOnce() -> T) -> T {
        interpose::unheld(|| {
            self.lock().threads.insert(NUMBER.get(), Standing::Away);
            let result = wait();
            self.wait(self.lock(), Standing::Ready);
            result
        })
    }

    /// A blocking thread sleeps until its time has come, or `is_over`. Whether it did: nobody sleeps once the gate is open.
    pub(crate) fn sleep_until(&self, until: Duration, is_over: Option<IsOver>) -> bool {
        interpose::unheld(|| {
            let mut state = self.lock();
            let sleeps = !state.open;
            state.slept += 1;
            let nth = state.slept;
            self.wait(state, Standing::Asleep(Sleep { until, nth, is_over }));
            sleeps
        })
    }

    /// This thread stands like this until it is called in.
    fn wait(&self, mut state: MutexGuard<'_, State>, standing: Standing) {
        let me = NUMBER.get();
        state.threads.insert(me, standing);
        while !state.open && !matches!(state.threads.get(&me), Some(Standing::Inside)) {
            state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.threads.insert(me, Standing::Inside);
    }

    /// Looks who is there at `now`, and calls somebody in if nobody is.
    #[cfg(tokio_unstable)]
    pub(super) fn look(&self, now: Duration) -> Seen {
        let mut state = self.lock();
        if state.open {
            return Seen::Open;
        }
        if state.threads.values().any(|standing| matches!(standing, Standing::Inside)) {
            return Seen::Busy;
        }
        let next = state.next(now);
        if let Some(standing) = next.and_then(|number| state.threads.get_mut(&number)) {
            *standing = Standing::Inside;
            self.called.notify_all();
            return Seen::Busy;
        }
        let asleep = state.threads.values().filter(|standing| matches!(standing, Standing::Asleep(_))).count();
        Seen::Quiet { threads: state.threads.len(), asleep }
    }

    /// When the first of those that sleep has slept enough.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let state = self.lock();
        let sleeps = state.threads.values().filter_map(|standing| match standing {
            Standing::Asleep(sleep) if !state.open => Some(sleep.until),
            Standing::Asleep(_) | Standing::Inside | Standing::Away | Standing::Ready => None,
        });
        sleeps.min()
    }

    /// Opens it for good.
    pub(super) fn open(&self) {
        self.lock().open = true;
        self.called.notify_all();
    }
}

impl State {
    /// Who is to be called in.
    #[cfg(tokio_unstable)]
    fn next(&self, now: Duration) -> Option<u64> {
        let slept_enough = self.threads.iter().filter_map(|(number, standing)| match standing {
            Standing::Asleep(sleep) => {
                let is_over = sleep.until <= now || sleep.is_over.as_ref().is_some_and(|is_over| is_over());
                is_over.then_some((sleep.until, sleep.nth, *number))
            }
            Standing::Inside | Standing::Away | Standing::Ready => None,
        });
        let ready = || self.threads.iter().find(|(_, standing)| matches!(standing, Standing::Ready));
        slept_enough.min().map(|(_, _, number)| number).or_else(|| ready().map(|(number, _)| *number))
    }
}
