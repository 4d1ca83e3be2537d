//! The tasks of one life of a node, numbered as they were spawned.

use std::{panic::Location, time::Duration};

use tokio::task::Id;

/// The tasks of one life of a node.
#[derive(Default)]
pub(super) struct Tasks {
    spawned: u32,
    alive: Vec<Task>,
    /// The number of the one that is being polled; 0 outside of all.
    pub(super) current: u32,
    /// When that began.
    pub(super) began_at: Duration,
    /// For how long a fault has held it up that leaves it within what rule L3 allows.
    pub(super) held_up: Duration,
}

struct Task {
    id: Id,
    number: u32,
    spawned_at: Option<&'static Location<'static>>,
}

impl Tasks {
    #[cfg(tokio_unstable)]
    /// The number of a task, which is new if it was not known.
    pub(super) fn number(&mut self, id: Id, spawned_at: Option<&'static Location<'static>>) -> u32 {
        if let Some(task) = self.alive.iter().find(|task| task.id == id) {
            return task.number;
        }
        self.spawned += 1;
        self.alive.push(Task { id, number: self.spawned, spawned_at });
        self.spawned
    }

    #[cfg(tokio_unstable)]
    pub(super) fn ended(&mut self, id: Id) {
        if let Some(index) = self.alive.iter().position(|task| task.id == id) {
            self.alive.swap_remove(index);
        }
    }

    /// A task as a person can find it: its number, and where in the code it was spawned.
    pub(super) fn describe(&self, number: u32) -> String {
        let task = self.alive.iter().find(|task| task.number == number);
        match task.and_then(|task| task.spawned_at) {
            Some(place) => format!("task {number} (spawned at {place})"),
            None => format!("task {number}"),
        }
    }
}
