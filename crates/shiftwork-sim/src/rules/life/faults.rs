//! F1, F4 and F5: what follows from a fault, and when the next life begins.
//!
//! The fault policy is asked here once more, at each fault that is said. Who closes when, and in which order a group goes down and
//! comes up, is `groups.rs`'s.

use std::time::Duration;

use shiftwork::{
    GiveUp, OnFault, Rule,
    config::RestartConfig,
    event::{StopReason, WorkerId, WorkerPhase},
};

use super::{LifeRules, START_SLACK, Standing, Verdicts, Worker};

/// What is to become of a worker that goes down, or is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// Another life, after so long.
    Restart { delay: Duration },
    /// Its end: the policy says so, or there were too many restarts.
    End,
}

impl LifeRules {
    /// The rule that counts the restarts of a worker: its own, or its group's.
    fn restarts_by(&self, id: WorkerId) -> Rule {
        if self.workers[id.0 as usize].group.is_some() { Rule::F5 } else { Rule::F1 }
    }

    /// Those whose restarts are counted with those of a worker: itself, and its group whether or not they still live.
    fn counted_with(&self, index: usize) -> impl Iterator<Item = &Worker> {
        let group = self.workers[index].group.as_ref().map(|it| &it.group);
        self.workers.iter().enumerate().filter_map(move |(other, worker)| {
            let same = group.is_some() && worker.group.as_ref().map(|it| &it.group) == group;
            (same || other == index).then_some(worker)
        })
    }

    /// What the policy makes of a fault that is said now; `None` is that the host stops.
    fn reacts(&mut self, index: usize, at: Duration) -> Option<Follows> {
        let policy = match self.workers[index].on_fault {
            OnFault::StopHost => return None,
            OnFault::Degrade => return Some(Follows::End),
            OnFault::Restart(policy) => policy,
        };
        let granted = self.counted_with(index).flat_map(|worker| &worker.granted);
        let recent = granted.filter(|granted| at.saturating_sub(**granted) < policy.window()).count();
        if recent >= policy.restarts_max() as usize {
            return (RestartConfig::from(policy).then == Some(GiveUp::Degrade)).then_some(Follows::End);
        }
        self.workers[index].granted.push(at);
        let number = u32::try_from(recent + 1).unwrap_or(u32::MAX);
        Some(Follows::Restart { delay: policy.delay(number) })
    }

    /// A fault takes those down that the strategy says, and its policy says what follows; unless it is part of a restart already, or the
    /// last thing that is heard of a worker that was asked to end.
    pub(super) fn goes_down(&mut self, id: WorkerId, at: Duration) {
        let index = id.0 as usize;
        let worker = &self.workers[index];
        let is_down = worker.follows.is_some() || matches!(worker.standing, Standing::Going | Standing::Down);
        if worker.stop_asked.is_some() || is_down {
            return;
        }
        let grouped = worker.group.is_some();
        let affected: Vec<usize> = self.affected(index).chain([index]).collect();
        if self.stopping.is_some() {
            // Everybody goes down, in the order of the stop.
            return;
        }
        match self.reacts(index, at) {
            None => self.owes_stop = Some((id, at)),
            Some(follows) => affected.iter().for_each(|other| self.workers[*other].is_to(follows, at)),
        }
        if !grouped {
            return;
        }
        for other in affected {
            let other = &mut self.workers[other];
            if other.standing != Standing::Down {
                // Should it fault on its way down, that is part of this restart.
                other.standing = Standing::Going;
            }
        }
        self.begin_to_wait(at);
    }

    /// Rule F4: the delay of who is down begins once all are that it must wait for.
    pub(super) fn begin_to_wait(&mut self, at: Duration) {
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            let (true, None, Some(Follows::Restart { delay })) =
                (worker.standing == Standing::Down, worker.restart_at, worker.follows)
            else {
                continue;
            };
            if self.affected(index).all(|other| self.workers[other].standing != Standing::Going) {
                self.workers[index].restart_at = Some(at.saturating_add(delay));
            }
        }
    }

    /// Rules F1 and F5: the host stops for a fault exactly if the policy says so, and at once.
    pub(super) fn stops_for_a_fault(&mut self, reason: StopReason, verdicts: &mut Verdicts<'_>) {
        let named = if let StopReason::WorkerFault(id) = reason { Some(id) } else { None };
        // Who has yet to go down goes down in the order of the stop, and no longer with its group.
        for worker in self.workers.iter_mut().filter(|it| it.open && it.standing == Standing::Going) {
            worker.standing = Standing::Up;
        }
        let (owed, now) = (self.owes_stop.take(), verdicts.at);
        let Some(id) = owed.map(|(id, _)| id).or(named) else { return };
        verdicts.demand(
            self.restarts_by(id),
            owed.is_some_and(|(id, at)| named == Some(id) && at == now),
            || match owed {
                Some((id, at)) => format!("the host stops for the fault of {}, at {at:?}", self.name(id)),
                None => format!("the host goes on after the fault of {}, as its policy says", self.name(id)),
            },
            || match named {
                Some(id) => format!("it stops for that of {}, at {now:?}", self.name(id)),
                None => format!("it stops for another reason, at {now:?}"),
            },
        );
    }

    /// Rules F1 and F5: who is to be started again does not end before, unless somebody asks for its end. One whose intake nobody closed
    /// had come to its own end.
    pub(super) fn is_not_given_up(&self, id: WorkerId, phase: WorkerPhase, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let restarts = matches!(worker.follows, Some(Follows::Restart { .. }));
        let asked = self.stopping.is_some() || worker.stop_asked.is_some();
        verdicts.demand(
            self.restarts_by(id),
            !restarts || asked || worker.open,
            || format!("{} is started again, as its policy says", self.name(id)),
            || format!("it ended as {phase}"),
        );
    }

    /// Rules F1 and F5: a restart is what the policy allows, no more often than it says.
    pub(super) fn restarting(&mut self, id: WorkerId, delay: Duration, verdicts: &mut Verdicts<'_>) {
        let (at, name, rule) = (verdicts.at, self.name(id), self.restarts_by(id));
        let worker = &mut self.workers[id.0 as usize];
        let unasked = worker.group.is_some() && worker.standing != Standing::Going;
        let (follows, stop_asked) = (worker.follows, worker.stop_asked.is_some());
        worker.restart_at = None;
        worker.standing = Standing::Down;
        worker.abandoned = false;
        // One that came to its own end on its way down had nothing left to close.
        (worker.open, worker.owes_close) = (false, None);
        self.begin_to_wait(at);
        verdicts.demand(
            Rule::T10,
            !stop_asked,
            || format!("{name} was asked to end, and is not started again"),
            || "it is to be".to_owned(),
        );
        verdicts.demand(
            Rule::F4,
            !unasked,
            || format!("{name} is restarted for a fault of its own or of its group"),
            || "there was none".to_owned(),
        );
        if stop_asked || unasked {
            return;
        }
        let Some(Follows::Restart { delay: expected }) = follows else {
            let expected = || format!("{name} is not started again: its policy says so, or it was too often");
            verdicts.demand(rule, false, expected, || "it is to be".to_owned());
            return;
        };
        verdicts.demand(
            rule,
            delay == expected,
            || format!("{name} waits {expected:?} before this restart, as its policy says"),
            || format!("it waits {delay:?}"),
        );
    }

    /// The rule that says when a worker that is down starts.
    fn starts_by(&self, id: WorkerId) -> Rule {
        if self.workers[id.0 as usize].group.is_some() { Rule::F4 } else { Rule::F1 }
    }

    /// Rules F1 and F4: not before its delay is over, and not long after that and after those of its group are at work, or have ended,
    /// that it comes after.
    pub(super) fn restarted(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let (index, at, name, rule) = (id.0 as usize, verdicts.at, self.name(id), self.starts_by(id));
        let Some(due) = self.workers[index].restart_at.take() else {
            self.workers[index].follows = None;
            return;
        };
        self.workers[index].follows = None;
        verdicts.demand(rule, due <= at, || format!("{name} is restarted at {due:?}"), || format!("it was at {at:?}"));
        let ready = self.ready_before(index).fold(due, Duration::max);
        verdicts.demand(
            rule,
            at <= ready.saturating_add(START_SLACK).saturating_add(verdicts.held_up_since(ready)),
            || format!("{name} is restarted as soon as it may be, at {ready:?}"),
            || format!("it was at {at:?}"),
        );
    }

    /// The same where it is not started at all before its host stops, or somebody asks for its end. Whether a member that it comes after is
    /// at work, or on its way to its own end, no event says: so who comes after another one is not judged.
    pub(super) fn is_not_left_down(&self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let (index, at) = (id.0 as usize, verdicts.at);
        let worker = &self.workers[index];
        let waits = worker.standing == Standing::Down && worker.stopped.is_none() && self.stopping.is_none();
        let Some(due) = worker.restart_at.filter(|_| waits && self.ready_before(index).next().is_none()) else {
            return;
        };
        verdicts.demand(
            self.starts_by(id),
            at <= due.saturating_add(START_SLACK).saturating_add(verdicts.held_up_since(due)),
            || format!("{} is restarted as soon as it may be, at {due:?}", self.name(id)),
            || format!("it was not by {at:?}"),
        );
    }
}

impl Worker {
    /// A fault takes it down, and this follows: not another life for who was to end, and none sooner than was said for who is down.
    fn is_to(&mut self, follows: Follows, at: Duration) {
        if self.stop_asked.is_some() {
            return;
        }
        self.follows = Some(match (self.follows, follows) {
            (Some(Follows::End), _) | (_, Follows::End) => Follows::End,
            (Some(Follows::Restart { delay: said }), Follows::Restart { delay }) if self.standing == Standing::Down => {
                // It waits already, or will once the others are down.
                let left = self.restart_at.map_or(said, |due| due.saturating_sub(at));
                Follows::Restart { delay: delay.max(left) }
            }
            (_, restart @ Follows::Restart { .. }) => restart,
        });
        self.restart_at = None;
    }
}
