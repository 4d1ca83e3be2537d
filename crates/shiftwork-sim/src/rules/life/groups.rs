//! C1, F2, F4, T2, T5 and T7: when an intake closes, for whose fault, and how a group goes down and comes up.

use std::{sync::Arc, time::Duration};

use shiftwork::{
    RestartStrategy, Rule,
    event::{WorkerId, WorkerPhase},
};

use super::{LifeRules, START_SLACK, Standing, Verdicts};

impl LifeRules {
    /// Whether one comes after the other, directly or not. Each is looked at once, by however many paths it is found.
    fn comes_after(&self, later: usize, earlier: usize) -> bool {
        let mut seen = vec![false; self.workers.len()];
        let mut left = vec![later];
        while let Some(index) = left.pop() {
            let before = self.workers[index].after.iter().map(|it| it.0 as usize);
            left.extend(before.filter(|it| !std::mem::replace(&mut seen[*it], true)));
        }
        seen[earlier]
    }

    /// The other members of its group that still live.
    fn others(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let group = self.workers[index].group.as_ref().map(|it| &it.group);
        self.workers.iter().enumerate().filter_map(move |(other, worker)| {
            let same = group.is_some() && worker.group.as_ref().map(|it| &it.group) == group;
            (same && other != index && worker.stopped.is_none()).then_some(other)
        })
    }

    /// Since when each member of its group that it comes after is at work, or has ended.
    pub(super) fn ready_before(&self, index: usize) -> impl Iterator<Item = Duration> + '_ {
        let group = self.workers[index].group.as_ref().map(|it| &it.group);
        self.workers.iter().enumerate().filter_map(move |(other, worker)| {
            let same = group.is_some() && worker.group.as_ref().map(|it| &it.group) == group;
            let since = if worker.stopped.is_some() { worker.stopped_at } else { worker.up_at };
            (same && other != index && self.comes_after(index, other)).then_some(since)
        })
    }

    /// Those of them that a fault of it takes down, too.
    pub(super) fn affected(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let strategy = self.workers[index].group.as_ref().map(|member| member.strategy);
        self.others(index).filter(move |other| match strategy {
            None | Some(RestartStrategy::OneForOne) => false,
            Some(RestartStrategy::RestForOne) => self.comes_after(*other, index),
            Some(RestartStrategy::OneForAll) => true,
        })
    }

    /// Rule T2: in a stop, an intake closes as soon as everybody has ended who comes after its worker.
    fn closes_in_time(&self, id: WorkerId, how: &str, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let Some(stopping) = self.stopping.as_ref().filter(|_| !self.disorderly) else { return };
        let mut dependents = self.workers.iter().filter(|other| other.after.contains(&id));
        let by_itself = worker.faulted || worker.stop_asked.is_some() || worker.standing == Standing::Going;
        if by_itself || dependents.clone().any(|other| other.stopped.is_none()) {
            return;
        }
        let begins = stopping.at.saturating_add(stopping.delay);
        let due = dependents.by_ref().map(|other| other.stopped_at).fold(begins, Duration::max);
        let late = verdicts.at.saturating_sub(due);
        verdicts.demand(
            Rule::T2,
            late <= START_SLACK + verdicts.held_up_since(due),
            || format!("the intake of {} closes once every worker that comes after it has ended", self.name(id)),
            || format!("{how} {late:?} later"),
        );
    }

    /// Rules C1, T2 and T5: an intake that is to close at once does. `how` says what became of it now.
    fn closes_at_once(&mut self, id: WorkerId, how: &str, verdicts: &mut Verdicts<'_>) {
        self.closes_in_time(id, how, verdicts);
        let owed = self.workers[id.0 as usize].owes_close.take();
        let (at, name) = (verdicts.at, self.name(id));
        verdicts.demand(
            Rule::C1,
            owed.is_none_or(|faulted| faulted == at),
            || format!("the intake of {name} closes at once when it has faulted, at {owed:?}"),
            || format!("{how} at {at:?}"),
        );
        verdicts.demand(
            Rule::T5,
            self.aborting.is_none_or(|since| since == at),
            || format!("the intake of {name} closes at once when everything is aborted, at {:?}", self.aborting),
            || format!("{how} at {at:?}"),
        );
    }

    /// The same where it never closes: a worker at work is left behind.
    pub(super) fn left_at_work(&mut self, id: WorkerId, phase: WorkerPhase, verdicts: &mut Verdicts<'_>) {
        // One that closes has come to its own end.
        if phase == WorkerPhase::Running && self.workers[id.0 as usize].open {
            self.closes_at_once(id, "it was open, and left behind,", verdicts);
        }
    }

    /// Rules C1, F2, F4, T5 and T7: an intake closes for a stop, once its delay is over, or when everything is aborted; for a fault of its
    /// own, or with its group once those after it are down.
    pub(super) fn intake_closed(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        self.closes_at_once(id, "it closed", verdicts);
        let index = id.0 as usize;
        let (at, name, worker) = (verdicts.at, self.name(id), &self.workers[index]);
        let going = worker.standing == Standing::Going;
        verdicts.demand(
            Rule::F2,
            self.stopping.is_some() || worker.faulted || going || worker.stop_asked.is_some(),
            || format!("the intake of {name} closes for a stop, for its own fault, or with its group"),
            || "it closed for neither".to_owned(),
        );
        let early = self.stopping.as_ref().filter(|it| at < it.at.saturating_add(it.delay));
        verdicts.demand(
            Rule::T7,
            early.is_none() || self.disorderly || worker.faulted || going,
            || format!("the intake of {name} stays open for the delay before the drain"),
            || format!("it closed at {at:?}"),
        );
        let late = self
            .others(index)
            .find(|other| self.comes_after(*other, index) && self.workers[*other].standing == Standing::Going);
        verdicts.demand(
            Rule::F4,
            self.stopping.is_some() || worker.faulted || worker.stop_asked.is_some() || late.is_none(),
            || format!("{name} goes down after those of its group that come after it"),
            || format!("{} was not down", self.name_of(late)),
        );
    }

    /// Rule F4: a member starts again when all are down, and after those that it comes after.
    pub(super) fn starts_again(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let index = id.0 as usize;
        if self.workers[index].standing != Standing::Down {
            return;
        }
        let name = self.name(id);
        let going = self.affected(index).find(|other| self.workers[*other].standing == Standing::Going);
        verdicts.demand(
            Rule::F4,
            going.is_none(),
            || format!("{name} starts again once all of its group are down that go down with it"),
            || format!("{} was not", self.name_of(going)),
        );
        let before = self.others(index).find(|other| {
            let standing = self.workers[*other].standing;
            self.comes_after(index, *other) && standing != Standing::Up
        });
        verdicts.demand(
            Rule::F4,
            before.is_none(),
            || format!("{name} starts again after those of its group that it comes after"),
            || format!("{} was not at work", self.name_of(before)),
        );
        self.workers[index].standing = Standing::Coming;
    }

    fn name_of(&self, index: Option<usize>) -> Arc<str> {
        let id = index.and_then(|index| u32::try_from(index).ok()).map(WorkerId);
        id.map(|id| self.name(id)).unwrap_or_default()
    }
}
