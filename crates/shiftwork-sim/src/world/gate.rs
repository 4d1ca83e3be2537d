//! The gate that lets blocking threads work only while the world's own thread waits for them.
//!
//! Without it a piece of blocking work could end in the middle of the poll that began it, or after it, as the machine
//! pleases. A blocking thread passes the gate when it begins, and whenever it comes back from a wait for work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// See the page of this file.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicBool,
    /// How many blocking threads there are.
    threads: AtomicUsize,
    /// How many of them wait: for work, or at the gate.
    waiting: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            // Without hooks around polls nobody would open it.
            open: AtomicBool::new(!cfg!(tokio_unstable)),
            threads: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Gate {
    /// A blocking thread begins. It goes on when the gate is open.
    pub(super) fn thread_begins(&self) {
        self.threads.fetch_add(1, Ordering::SeqCst);
        self.around(|| ());
    }

    pub(super) fn thread_ends(&self) {
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// A blocking thread waits, and goes on when the gate is open.
    pub(crate) fn around<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = wait();
        while !self.open.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Whether every blocking thread waits.
    pub(super) fn all_wait(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) >= self.threads.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    pub(super) fn close(&self) {
        self.open.store(!cfg!(tokio_unstable), Ordering::SeqCst);
    }
}
