//! The beginning of a worker's life: its start hook, and the opening of its intake.

use std::time::Duration;

use super::{Action, HostPhase, Lifecycle};
use crate::{
    Cause,
    event::{Event, StopReason, WorkerId, WorkerPhase},
};

impl Lifecycle {
    pub(super) fn begin_start(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        worker.phase = WorkerPhase::Starting;
        worker.interrupted = false;
        worker.opened = false;
        worker.deadline = Some(now.saturating_add(worker.plan.start_timeout));
        actions.push(Action::Emit(Event::WorkerStarting { worker: id }));
        actions.push(Action::Start(id));
        if self.worker(id).paused {
            actions.push(Action::Pause(id));
        }
    }

    pub(super) fn advance_start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for id in self.ids() {
            let after = &self.workers[id.index()].plan.after;
            let ready = after.iter().all(|id| self.workers[id.index()].phase == WorkerPhase::Ready);
            let worker = self.worker(id);
            if worker.phase == WorkerPhase::Pending && ready {
                self.begin_start(id, now, actions);
            }
        }
        if self.workers.iter().all(|worker| worker.phase == WorkerPhase::Ready) {
            self.host = HostPhase::Running;
            actions.push(Action::Emit(Event::HostRunning));
            for id in self.ids() {
                self.open_intake(id, actions);
            }
        }
    }

    pub(super) fn started(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        if self.worker(id).phase != WorkerPhase::Starting {
            return;
        }
        self.worker(id).phase = WorkerPhase::Ready;
        self.worker(id).deadline = None;
        actions.push(Action::Emit(Event::WorkerReady { worker: id }));
        if self.host == HostPhase::Stopping {
            // Asked to stop while its start hook ran, which finished before it could be dropped.
            self.close_intake(id, now, actions);
        } else if self.host == HostPhase::Running && self.worker(id).then.is_some() {
            // Its group goes down; it was ready before its start hook could be dropped.
            self.close_intake(id, now, actions);
        } else if self.host == HostPhase::Running {
            // A new life: the others are at work already.
            self.worker(id).cause = None;
            self.open_intake(id, actions);
        }
    }

    fn open_intake(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        worker.phase = WorkerPhase::Running;
        (worker.ran, worker.opened) = (true, true);
        actions.push(Action::Emit(Event::IntakeOpened { worker: id }));
        actions.push(Action::OpenIntake(id));
    }

    /// A start hook failed. Or a service ended that had said it is ready, before its intake was open (rule S8); by then the
    /// machine may have opened it.
    pub(super) fn start_failed(&mut self, id: WorkerId, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        let (host, worker) = (self.host, self.worker(id));
        let opened = match worker.phase {
            WorkerPhase::Starting | WorkerPhase::Ready => false,
            WorkerPhase::Closing if !worker.opened => false,
            WorkerPhase::Running | WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting => true,
            WorkerPhase::Pending
            | WorkerPhase::Restarting
            | WorkerPhase::Closing
            | WorkerPhase::Stopped
            | WorkerPhase::Failed
            | WorkerPhase::Aborted
            | WorkerPhase::NeverStarted => return,
        };
        if opened {
            self.fault(id, cause, now, actions);
            self.over(id, WorkerPhase::Failed, actions);
            return;
        }
        if host == HostPhase::Stopping {
            // Interrupted by the stop: what it says now is not the root cause. One that was to be restarted had failed before,
            // or others of its group had.
            if worker.ran {
                self.end_down(id, actions);
            } else {
                self.end(id, WorkerPhase::NeverStarted, actions);
            }
            return;
        }
        if worker.alone.is_some() {
            self.end_down(id, actions);
            return;
        }
        if worker.then.is_some() {
            // Interrupted because its group goes down, for good perhaps.
            self.over(id, self.last_if_down(id), actions);
            return;
        }
        if host == HostPhase::Running {
            worker.cause = None;
            self.fault(id, cause, now, actions);
            self.over(id, WorkerPhase::Failed, actions);
            return;
        }
        worker.cause = Some(cause.clone());
        actions.push(Action::Emit(Event::WorkerStartFailed { worker: id, cause }));
        self.end(id, WorkerPhase::Failed, actions);
        self.stop(StopReason::StartFailure(id), now, actions);
    }
}
