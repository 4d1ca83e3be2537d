//! T3, T5, T6, V1 and V2: how a host ends, and the process that it runs in.
//!
//! A process may work on when its host has ended, and begin another one. So a stop is over when its host says so, and only what a process
//! leaves behind is judged when that exits.

use shiftwork::{
    ExitStatus, Rule,
    event::{WorkerId, WorkerPhase},
};

use super::{LifeRules, SLACK, Verdicts};

impl LifeRules {
    /// The host has stopped.
    pub(super) fn host_ends(&mut self, exit: ExitStatus, verdicts: &mut Verdicts<'_>) {
        self.ends_in_time(verdicts);
        let silent = self.workers.iter().position(|worker| worker.stopped.is_none());
        verdicts.demand(
            Rule::V1,
            silent.is_none(),
            || "every worker has a verdict when the host has ended".to_owned(),
            || {
                let id = silent.and_then(|index| u32::try_from(index).ok()).map(WorkerId);
                format!("{} has none", id.map(|id| self.name(id)).unwrap_or_default())
            },
        );
        let expected = self.expected_exit();
        verdicts.demand(
            Rule::V2,
            exit == expected,
            || format!("the host ends as {expected}, which is the worst that happened"),
            || format!("it ended as {exit}"),
        );
        self.ended = Some(exit);
        self.ends.push(exit);
    }

    /// Rules T3 and T5: within its budget, and at once if a signal says so.
    fn ends_in_time(&self, verdicts: &mut Verdicts<'_>) {
        if let Some(stopping) = &self.stopping {
            let took = verdicts.at.saturating_sub(stopping.at);
            let within = stopping.within.saturating_add(verdicts.held_up_since(stopping.at));
            verdicts.demand(
                Rule::T3,
                took <= within.saturating_add(SLACK),
                || format!("the host ends within {within:?} after it was asked to stop"),
                || format!("it took {took:?}"),
            );
        }
        if let Some(at) = self.left_at_once {
            let took = verdicts.at.saturating_sub(at);
            verdicts.demand(
                Rule::T5,
                took <= SLACK + verdicts.held_up_since(at),
                || "a signal that finds everything being aborted ends the host at once".to_owned(),
                || format!("it took {took:?}"),
            );
        }
    }

    /// The process has exited, with the report of one of its hosts.
    pub(in crate::rules) fn exited(&self, exit: ExitStatus, tasks_left: usize, verdicts: &mut Verdicts<'_>) {
        if self.names.is_none() {
            return;
        }
        verdicts.demand(
            Rule::T6,
            tasks_left == 0 || self.has_abandoned(),
            || "no task is left when the host has ended".to_owned(),
            || format!("{tasks_left} were"),
        );
        verdicts.demand(
            Rule::V2,
            self.ended.is_some() && self.ends.contains(&exit),
            || "the process ends once its host has, and as that did".to_owned(),
            || match self.ended {
                Some(ended) => format!("it ended as {exit}, and its host as {ended}"),
                None => format!("it ended as {exit}, and its host had not ended"),
            },
        );
    }

    fn expected_exit(&self) -> ExitStatus {
        let left_work =
            self.workers.iter().any(|worker| worker.abandoned || worker.stopped == Some(WorkerPhase::Aborted));
        if self.workers.iter().any(|worker| worker.faulted) {
            ExitStatus::WorkerFault
        } else if self.start_failed.is_some() {
            ExitStatus::StartFailure
        } else if left_work && self.aborting.is_some() {
            ExitStatus::Forced
        } else if left_work {
            ExitStatus::DrainTimedOut
        } else {
            ExitStatus::Clean
        }
    }
}
