//! The order in which the tasks of a world go on: between tokio's hook before each poll, or a task that takes its turns by itself, and
//! [`Scheduler`], which decides.

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

    /// A process begins: the number of its life in the world; `None` when tokio's own order is not touched.
    pub(super) fn life_begins(&self) -> Option<u32> {
        self.scheduler().life_begins()
    }

    /// A task begins that takes its turns by itself: its number in its life.
    pub(super) fn turns_begin(&self, life: u32) -> u32 {
        self.scheduler().task_begins(life)
    }

    /// The poll of a task that is about to begin, or has, is cut short, if that is what the order says.
    pub(super) fn cut_short(&self, life: u32, task: u32) {
        let now = self.lock().now();
        let units = self.scheduler().poll_begins(life, task, now);
        if let Some(units) = units {
            crate::order::leave(units);
        }
    }

    /// The same for the task that tokio is about to poll.
    #[cfg(tokio_unstable)]
    pub(super) fn cut_current_short(&self, life: u32) {
        let task = self.lock().current_task();
        self.cut_short(life, task);
    }
}
