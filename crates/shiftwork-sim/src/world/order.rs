//! The order in which the tasks of a world go on: between tokio's hook before each poll and [`Scheduler`], which decides.

use std::sync::{MutexGuard, PoisonError};

use super::Shared;
use crate::order::{Order, Scheduler};

impl Shared {
    fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order that a strategy made up, as data; `None` if the plan had it as data, or leaves it to tokio.
    pub(super) fn order_taken(&self) -> Option<Order> {
        self.scheduler().take_order()
    }
}

#[cfg(tokio_unstable)]
impl Shared {
    /// A process begins: the number of its life in the world; `None` when tokio's own order is not touched.
    pub(super) fn life_begins(&self) -> Option<u32> {
        self.scheduler().life_begins()
    }

    /// The poll that is about to begin is cut short, if that is what the order says.
    pub(super) fn cut_short(&self, life: u32) {
        let mut state = self.lock();
        let (task, now) = (state.current_task(), state.now());
        drop(state);
        let units = self.scheduler().poll_begins(life, task, now);
        if let Some(units) = units {
            crate::order::leave(units);
        }
    }
}
