//! Restarts, of one worker or of a group: who goes down, in which order, and when all come up again.
//!
//! A worker that is not in a group is a group of its own.
//!
//! 1. While members go down, one closes only after every member that comes after it and goes down too, whatever for, is down;
//!    the one that faulted closes at once.
//! 2. Nobody starts before everybody is down whom a fault of it would take down, and the delay is over.
//! 3. Then one starts when every member that it comes after is at work again, or has ended. So who went down for another's
//!    fault starts after that one, for which rule 2 holds.

use std::time::Duration;

use super::{Action, Lifecycle, Then, WorkerPlan, WorkerState};
use crate::{
    event::{WorkerId, WorkerPhase},
    lifecycle::{RestartStrategy, fault::Reaction},
};

impl WorkerState {
    /// Whether it is on its way down: with its group, to its own end, or because somebody asked it to end alone.
    fn goes_down(&self) -> bool {
        match self.phase {
            WorkerPhase::Starting | WorkerPhase::Ready | WorkerPhase::Running => self.then.is_some(),
            WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting | WorkerPhase::Closing => true,
            WorkerPhase::Pending
            | WorkerPhase::Restarting
            | WorkerPhase::Stopped
            | WorkerPhase::Failed
            | WorkerPhase::Aborted
            | WorkerPhase::NeverStarted => false,
        }
    }
}

/// For each worker, which of the others it comes after, directly or not; nothing for one that is in no group, which nobody asks.
///
/// Walked once: there are more paths than anybody could walk again and again where each comes after all before it.
pub(super) fn all_before(plans: &[WorkerPlan]) -> Vec<Box<[bool]>> {
    let of = |plan: &WorkerPlan| -> Box<[bool]> {
        if plan.group.is_none() {
            return Box::default();
        }
        let mut before = vec![false; plans.len()];
        let mut left = plan.after.clone();
        while let Some(id) = left.pop() {
            if !std::mem::replace(&mut before[id.index()], true) {
                left.extend(&plans[id.index()].after);
            }
        }
        before.into_boxed_slice()
    };
    plans.iter().map(of).collect()
}

impl Lifecycle {
    /// The members that a fault of `id` takes down with it, itself included.
    pub(super) fn affected(&self, id: WorkerId) -> Vec<WorkerId> {
        let Some(member) = self.workers[id.index()].plan.group else { return vec![id] };
        let in_group = |other: &WorkerId| {
            self.workers[other.index()].plan.group.is_some_and(|it| it.group == member.group) || *other == id
        };
        self.ids()
            .filter(in_group)
            .filter(|other| match member.strategy {
                RestartStrategy::OneForOne => *other == id,
                RestartStrategy::RestForOne => *other == id || self.comes_after(*other, id),
                RestartStrategy::OneForAll => true,
            })
            .collect()
    }

    /// Whether the member `later` comes after `earlier`, directly or not.
    fn comes_after(&self, later: WorkerId, earlier: WorkerId) -> bool {
        self.workers[later.index()].before.get(earlier.index()).is_some_and(|before| *before)
    }

    /// Members of the group of `id` but itself.
    fn others(&self, id: WorkerId) -> impl Iterator<Item = WorkerId> + '_ {
        let group = self.workers[id.index()].plan.group.map(|member| member.group);
        self.ids().filter(move |other| {
            let of_other = self.workers[other.index()].plan.group.map(|member| member.group);
            *other != id && group.is_some() && of_other == group
        })
    }

    /// What follows from a fault of `id` that is not part of a restart already.
    pub(super) fn react(&mut self, id: WorkerId, now: Duration) -> Reaction {
        let worker = &mut self.workers[id.index()];
        let policy = worker.plan.on_fault;
        match worker.plan.group {
            Some(member) => self.group_restarts[member.group].react(policy, now),
            None => worker.recent_restarts.react(policy, now),
        }
    }

    /// Lets everybody whom the fault of `id` affects go down, and says what is to follow.
    pub(super) fn take_down(&mut self, id: WorkerId, then: Then, now: Duration, actions: &mut Vec<Action>) {
        for other in self.affected(id) {
            let worker = self.worker(other);
            let goes = match worker.phase {
                WorkerPhase::Starting | WorkerPhase::Ready | WorkerPhase::Running | WorkerPhase::Restarting => true,
                // Going down already: by itself, which is none of our business, or for this.
                WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting | WorkerPhase::Closing => {
                    other == id || worker.then.is_some()
                }
                WorkerPhase::Pending
                | WorkerPhase::Stopped
                | WorkerPhase::Failed
                | WorkerPhase::Aborted
                | WorkerPhase::NeverStarted => false,
            };
            if !goes || worker.alone.is_some() {
                continue;
            }
            // What was to end is not started again by another one's fault, and what is down waits no shorter than it has said.
            worker.then = Some(match (worker.then, then) {
                (Some(Then::End), _) | (_, Then::End) => Then::End,
                (Some(Then::Restart { delay: said }), Then::Restart { delay })
                    if worker.phase == WorkerPhase::Restarting =>
                {
                    let left = worker.deadline.map_or(said, |due| due.saturating_sub(now));
                    Then::Restart { delay: delay.max(left) }
                }
                (_, then @ Then::Restart { .. }) => then,
            });
            if worker.phase == WorkerPhase::Starting && other != id {
                // Its start hook is dropped; what it says then is not its fault.
                actions.push(Action::Abort(other));
            }
            if worker.phase == WorkerPhase::Restarting {
                worker.deadline = None;
                worker.released = false;
                if then == Then::End {
                    self.end_down(other, actions);
                }
            }
        }
    }

    /// A worker that is down is not started again after all.
    pub(super) fn end_down(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        self.end(id, self.last_if_down(id), actions);
    }

    /// How a worker ends that is not started again: a fault of its own was not dealt with.
    pub(super) fn last_if_down(&self, id: WorkerId) -> WorkerPhase {
        if self.workers[id.index()].cause.is_some() { WorkerPhase::Failed } else { WorkerPhase::Stopped }
    }

    /// Takes every step of a restart that the state allows by itself.
    pub(super) fn advance_restarts(&mut self, now: Duration, actions: &mut Vec<Action>) {
        loop {
            let next = self.ids().find(|id| {
                let worker = &self.workers[id.index()];
                worker.phase == WorkerPhase::Running
                    && worker.then.is_some()
                    && self.are_down(self.affected(*id).into_iter().filter(|other| self.comes_after(*other, *id)))
            });
            match next {
                Some(id) => self.close_intake(id, now, actions),
                None => break,
            }
        }
        for id in self.ids() {
            let worker = &self.workers[id.index()];
            let waits = worker.phase == WorkerPhase::Restarting && worker.deadline.is_none() && !worker.released;
            let (true, Some(Then::Restart { delay })) = (waits, worker.then) else { continue };
            if self.are_down(self.affected(id)) {
                self.worker(id).deadline = Some(now.saturating_add(delay));
            }
        }
        for id in self.ids() {
            let worker = &self.workers[id.index()];
            if worker.phase != WorkerPhase::Restarting || !worker.released {
                continue;
            }
            let before_it_are_up = self.others(id).filter(|other| self.comes_after(id, *other)).all(|other| {
                let other = &self.workers[other.index()];
                (other.phase == WorkerPhase::Running && !other.goes_down()) || other.phase.is_terminal()
            });
            if before_it_are_up {
                let worker = self.worker(id);
                worker.released = false;
                worker.then = None;
                self.begin_start(id, now, actions);
            }
        }
    }

    /// Whether none of them is still on its way down.
    fn are_down(&self, workers: impl IntoIterator<Item = WorkerId>) -> bool {
        workers.into_iter().all(|id| !self.workers[id.index()].goes_down())
    }
}
