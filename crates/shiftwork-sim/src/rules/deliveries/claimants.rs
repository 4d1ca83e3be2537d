//! Which workers claim from the queues of the world.
//!
//! A worker may have a store of its own. Nobody sees what that does, and its deliveries may have the numbers of the world's. An event names
//! the delivery, and not its store. But lanes claim in the tasks in which their cycles run, and of a claim from a queue of the world it is
//! known in which task it was made. An implementation of a queue may pass a claim on in a task that it spawns where it is asked: so what a task
//! has spawned claims for it, too.
//!
//! 1. A worker that has a delivery in a task that has claimed from a queue of the world claims from those, whether they have given it out
//!    or not.
//! 2. A worker that has one in another task, and of a number that no queue of the world has ever given out, has a store of its own.
//! 3. Of any other worker it is not known yet: a lane may have claimed for it, and come later. It is not judged, and what it may have
//!    begun is held against nobody.
//!
//! Where tasks are not told apart, which is without `--cfg tokio_unstable`, all of them are task 0. Then a number that was never given out
//! says first that a store is the worker's own, and every other worker of a node that has claimed claims from the world's queues.

use std::collections::{BTreeMap, BTreeSet};

use shiftwork::event::WorkerId;

/// The workers of one node that have deliveries.
#[derive(Default)]
pub(super) struct Claimants {
    /// The tasks that have claimed from a queue of the world, and those that have spawned one that has.
    tasks: BTreeSet<u32>,
    /// By which task each was spawned, if by one.
    spawned_by: BTreeMap<u32, u32>,
    stores: BTreeMap<WorkerId, Store>,
}

/// What a worker claims from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// Queues of the world.
    World,
    /// A store of its own.
    Own,
}

impl Claimants {
    /// A host begins, and numbers its workers from 0.
    pub(super) fn host_starts(&mut self) {
        self.stores.clear();
    }

    /// A task has spawned this one.
    #[cfg(tokio_unstable)]
    pub(super) fn spawned(&mut self, task: u32, by: u32) {
        self.spawned_by.insert(task, by);
    }

    /// This task has claimed from a queue of the world, and learned of it.
    pub(super) fn has_claimed(&mut self, task: u32) {
        self.tasks.insert(task);
        self.tasks.extend(self.spawned_by.get(&task));
    }

    /// What a worker claims from, if that is known when this task of it has something to say of a delivery.
    pub(super) fn store_of(
        &mut self,
        worker: WorkerId,
        task: u32,
        was_given_out: impl FnOnce() -> bool,
    ) -> Option<Store> {
        let known = self.stores.get(&worker).copied();
        if known.is_some() {
            return known;
        }
        let has_claimed = self.tasks.contains(&task);
        let is_known_by_its_task = has_claimed && task != 0;
        let has_its_own = !(is_known_by_its_task || was_given_out());
        let store = if has_its_own {
            Store::Own
        } else if has_claimed {
            Store::World
        } else {
            return None;
        };
        self.stores.insert(worker, store);
        Some(store)
    }
}
