//! The fence around a process that is over: nothing that it still does reaches the outside.
//!
//! A killed process runs no destructors. A world's does: its tasks are dropped, and what is left of its blocking work comes to an end.
//! Calls, queues and events ask the world's state whether their process is over. A ledger cannot: it is not given a world, and
//! invariants look at it while that state is locked. It asks its thread, which knows whose code it runs.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The fence around one life of a process: down while that lasts, and then up for good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fence(Arc<AtomicBool>);

thread_local! {
    /// That of the process whose code this thread runs.
    static AROUND: RefCell<Option<Fence>> = const { RefCell::new(None) };
}

impl Fence {
    /// From here on this thread runs the code of the process behind that fence, or nobody's.
    pub(crate) fn enter(fence: Option<Fence>) {
        replace(fence);
    }

    /// Does something of the world's own: no process does it.
    pub(crate) fn outside<T>(work: impl FnOnce() -> T) -> T {
        struct Back(Option<Fence>);
        impl Drop for Back {
            fn drop(&mut self) {
                replace(self.0.take());
            }
        }
        let _back = Back(replace(None));
        work()
    }

    /// The fence that this thread is behind, if it is up.
    pub(crate) fn up_here() -> Option<Fence> {
        // A thread that is about to be gone is nobody's.
        let here = AROUND.try_with(|around| around.borrow().clone().filter(Fence::is_up));
        here.ok().flatten()
    }

    /// The process is over.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the process is over.
    pub(crate) fn is_up(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Two are the same if they are around the same life.
impl PartialEq for Fence {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fence {}

/// Puts a fence around this thread; the one that was there.
fn replace(fence: Option<Fence>) -> Option<Fence> {
    AROUND.try_with(|around| around.replace(fence)).ok().flatten()
}
