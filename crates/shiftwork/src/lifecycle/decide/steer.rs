//! What is asked of one worker through the handle: pause, resume, trigger, stop.

use std::time::Duration;

use super::{Action, HostPhase, Lifecycle, StopAlone, Then};
use crate::event::{Event, WorkerId, WorkerPhase};

impl Lifecycle {
    /// Rule P1: at once, whatever the phase; a worker that has not run yet opens paused. In a stop, for as long as it runs on.
    pub(super) fn pause(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        if !self.is_steered(id) || self.worker(id).paused {
            return;
        }
        self.worker(id).paused = true;
        actions.push(Action::Pause(id));
        actions.push(Action::Emit(Event::WorkerPaused { worker: id }));
    }

    pub(super) fn resume(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        if !self.is_steered(id) || !self.worker(id).paused {
            return;
        }
        self.worker(id).paused = false;
        // Said first: a cycle may begin as soon as it is done.
        actions.push(Action::Emit(Event::WorkerResumed { worker: id }));
        actions.push(Action::Resume(id));
    }

    /// Whether a pause of it begins or ends: not once it can take in no more.
    fn is_steered(&mut self, id: WorkerId) -> bool {
        let stopping = self.stopping.is_some() || self.worker(id).alone.is_some();
        let phase = self.worker(id).phase;
        if stopping { phase == WorkerPhase::Running } else { !phase.is_terminal() }
    }

    pub(super) fn trigger(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        if worker.paused || worker.phase != WorkerPhase::Running {
            return;
        }
        actions.push(Action::Emit(Event::WorkerTriggered { worker: id }));
        actions.push(Action::Trigger(id));
    }

    /// Rule T10: drained as in a stop, alone and for good. Whatever it does is the end of it.
    pub(super) fn stop_worker(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let running = self.host == HostPhase::Running;
        let (drain, within) = (self.budget.drain_time(), self.budget.drain_to_end());
        let worker = self.worker(id);
        if !running || worker.alone.is_some() || worker.phase.is_terminal() {
            return;
        }
        worker.alone = Some(StopAlone { drain_until: now.saturating_add(drain), end: now.saturating_add(within) });
        worker.then = Some(Then::End);
        let phase = worker.phase;
        actions.push(Action::Emit(Event::WorkerStopAsked { worker: id, within }));
        match phase {
            WorkerPhase::Starting => {
                let end = now.saturating_add(within);
                worker.deadline = Some(worker.deadline.map_or(end, |deadline| deadline.min(end)));
                actions.push(Action::Abort(id));
            }
            WorkerPhase::Ready | WorkerPhase::Running => self.close_intake(id, now, actions),
            WorkerPhase::Restarting => self.end_down(id, actions),
            // It ends already; a fault of its own no longer starts it again.
            WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting | WorkerPhase::Closing => {}
            WorkerPhase::Pending
            | WorkerPhase::Stopped
            | WorkerPhase::Failed
            | WorkerPhase::Aborted
            | WorkerPhase::NeverStarted => {}
        }
    }
}
