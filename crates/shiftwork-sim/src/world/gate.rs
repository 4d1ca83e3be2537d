//! The gate that lets one blocking thread of a runtime work at a time, and only while the world's own thread waits for it.
//!
//! Without it a piece of blocking work could end in the middle of the poll that began it, or after it, as the machine pleases. A
//! blocking thread stands outside until it begins, while it sleeps, and while it waits for another thread. The world's thread calls one in
//! at a time: sleepers whose time has come first, in the order of these times, then those whose wait is over, then those that begin,
//! which take up work in the order in which it was given. What holds:
//!
//! 1. At most one thread is inside.
//! 2. Who is outside does nothing until it is called in. What it waits for is looked at from here: a wait is over when its word has
//!    changed, as the kernel would find it too.
//! 3. Once the gate is open it stays so: then everybody goes on as the machine pleases, and nobody sleeps.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::interpose;

/// How often it is looked whether a thread that works is done, with a turn for other threads in between: about a minute's worth.
pub(crate) const LOOKS_AT_WORK_MAX: u32 = 60_000_000;

/// See the page of this file.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Somebody was called in, or the gate is open.
    called: Condvar,
}

struct State {
    /// The threads that have come to the gate, in the order in which they did.
    threads: BTreeMap<u64, Standing>,
    /// How many threads have begun.
    begun: u64,
    /// How many sleeps and waits have begun.
    waits: u64,
    open: bool,
}

/// Where one thread stands.
enum Standing {
    /// It works.
    Inside,
    /// It waits to be called in.
    Ready,
    /// It sleeps, or waits.
    Waits(Wait),
}

/// A sleep of a blocking thread, or a wait.
struct Wait {
    /// When it ends by itself.
    until: Option<Duration>,
    nth: u64,
    /// What ends it before that: there is nothing left to wait for.
    is_over: Option<IsOver>,
}

impl Wait {
    /// Whether something else than time has ended it.
    fn is_over(&self) -> bool {
        self.is_over.as_ref().is_some_and(|is_over| is_over())
    }
}

/// Whether there is nothing left to wait for.
pub(crate) type IsOver = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// What the world's thread sees at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Somebody is inside.
    Busy,
    /// Somebody was called in just now.
    Called,
    /// Nobody is, and nobody can be called in.
    Quiet {
        /// How many threads have come to the gate: each sleeps on, or waits for what has not happened.
        threads: usize,
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
        let state = State { threads: BTreeMap::new(), begun: 0, waits: 0, open };
        Self { state: Mutex::new(state), called: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A wait for this lock is nobody's business.
        interpose::unheld(|| self.state.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.lock().threads.remove(&NUMBER.get());
    }

    /// A blocking thread waits until that time, if it is said, or `is_over`, and goes on when it is called in. `false` at once if the
    /// gate is open: nobody would call it in.
    pub(crate) fn wait_until(&self, until: Option<Duration>, is_over: Option<IsOver>) -> bool {
        interpose::unheld(|| {
            let mut state = self.lock();
            let waits = !state.open;
            state.waits += 1;
            let nth = state.waits;
            self.wait(state, Standing::Waits(Wait { until, nth, is_over }));
            waits
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
    pub(crate) fn look(&self, now: Duration) -> Seen {
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
            return Seen::Called;
        }
        // Nobody is ready, or would have been called in.
        Seen::Quiet { threads: state.threads.len() }
    }

    /// When the first of those that sleep has slept enough.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        let state = self.lock();
        if state.open { None } else { state.waiting().filter_map(|(_, wait)| wait.until).min() }
    }

    /// Whether something else than time has ended a wait.
    pub(super) fn has_woken(&self) -> bool {
        let state = self.lock();
        !state.open && state.waiting().any(|(_, wait)| wait.is_over())
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Opens it for good.
    pub(super) fn open(&self) {
        self.lock().open = true;
        self.called.notify_all();
    }
}

impl State {
    /// Who sleeps or waits.
    fn waiting(&self) -> impl Iterator<Item = (u64, &Wait)> {
        self.threads.iter().filter_map(|(number, standing)| match standing {
            Standing::Waits(wait) => Some((*number, wait)),
            Standing::Inside | Standing::Ready => None,
        })
    }

    /// Who is to be called in.
    fn next(&self, now: Duration) -> Option<u64> {
        let over = self.waiting().filter(|(_, wait)| wait.until.is_some_and(|until| until <= now) || wait.is_over());
        let first = over.min_by_key(|(_, wait)| (wait.until.unwrap_or(Duration::MAX), wait.nth));
        let ready = || self.threads.iter().find(|(_, standing)| matches!(standing, Standing::Ready));
        first.map(|(number, _)| number).or_else(|| ready().map(|(number, _)| *number))
    }
}
