//! The stop of the host, signal by signal and phase by phase.

use std::time::Duration;

use super::{Action, HostPhase, Lifecycle, Stopping};
use crate::{
    environment::Signal,
    event::{Event, NextSignal, StopReason, WorkerId, WorkerPhase},
};

impl Lifecycle {
    pub(super) fn signal(&mut self, signal: Signal, now: Duration, actions: &mut Vec<Action>) {
        let aborting = self.stopping.map(|stopping| stopping.aborting);
        let quit = signal == Signal::Quit;
        let next = match aborting {
            None if !quit => NextSignal::Abort,
            None | Some(_) => NextSignal::Leave,
        };
        actions.push(Action::Emit(Event::SignalReceived { signal, next }));
        match aborting {
            None => {
                self.stop(StopReason::Signal(signal), now, actions);
                if quit {
                    self.force();
                    self.abort_all(now, actions);
                }
            }
            Some(false) => {
                self.force();
                self.abort_all(now, actions);
            }
            Some(true) => {
                self.force();
                if let Some(stopping) = &mut self.stopping {
                    stopping.end = stopping.end.min(now);
                }
            }
        }
    }

    fn force(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.forced = true;
        }
    }

    /// Begins to stop, once. Nobody is started again from here on.
    pub(super) fn stop(&mut self, reason: StopReason, now: Duration, actions: &mut Vec<Action>) {
        if self.stopping.is_some() {
            return;
        }
        // Rule T7: nobody has sent anything to a host that did not run, and nobody will to one that has nothing left.
        let waits = match reason {
            StopReason::Signal(Signal::Terminate | Signal::Interrupt)
            | StopReason::Asked
            | StopReason::WorkerFault(_) => self.host == HostPhase::Running,
            StopReason::Signal(Signal::Quit)
            | StopReason::StartFailure(_)
            | StopReason::Completed
            | StopReason::Unable => false,
        };
        let delay = if waits { self.budget.delay() } else { Duration::ZERO };
        let drain = delay.saturating_add(self.budget.drain_time());
        let within = self.budget.total().saturating_sub(self.budget.delay().saturating_sub(delay));
        let (end, drain_until) = (now.saturating_add(within), now.saturating_add(drain));
        let open_until = (!delay.is_zero()).then(|| now.saturating_add(delay));
        self.host = HostPhase::Stopping;
        self.stopping =
            Some(Stopping { reason, since: now, open_until, drain_until, end, aborting: false, forced: false });
        actions.push(Action::Emit(Event::HostStopping { reason, delay, drain, within }));
        for id in self.ids() {
            // What was to follow its fault does so no more.
            self.worker(id).then = None;
            match self.worker(id).phase {
                WorkerPhase::Pending => self.end(id, WorkerPhase::NeverStarted, actions),
                WorkerPhase::Restarting => self.end_down(id, actions),
                WorkerPhase::Starting => {
                    self.worker(id).deadline = Some(end);
                    actions.push(Action::Abort(id));
                }
                // Their turn comes when those after them are done, or with this deadline.
                WorkerPhase::Ready | WorkerPhase::Running => self.worker(id).deadline = Some(drain_until),
                WorkerPhase::Draining
                | WorkerPhase::Cancelling
                | WorkerPhase::Aborting
                | WorkerPhase::Closing
                | WorkerPhase::Stopped
                | WorkerPhase::Failed
                | WorkerPhase::Aborted
                | WorkerPhase::NeverStarted => {}
            }
        }
    }

    /// Nothing drains any more, whatever the order.
    fn abort_all(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.aborting = true;
            stopping.open_until = None;
        }
        for id in self.ids() {
            if matches!(self.worker(id).phase, WorkerPhase::Ready | WorkerPhase::Running) {
                self.close_intake(id, now, actions);
            }
            self.abort(id, now, actions);
        }
    }

    /// Invariant 3 is checked by the callers.
    pub(super) fn close_intake(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let close_until = self.close_until(id, now);
        let host_until = self.stopping.map(|stopping| stopping.drain_until);
        let host_until = host_until.unwrap_or_else(|| now.saturating_add(self.budget.drain_time()));
        let worker = self.worker(id);
        let own = worker.plan.drain.map_or(host_until, |drain| now.saturating_add(drain));
        let until = own.min(host_until);
        // Before it is said: on another thread a cycle may begin until then.
        actions.push(Action::CloseIntake(id));
        if worker.phase == WorkerPhase::Running {
            worker.phase = WorkerPhase::Draining;
            worker.deadline = Some(until);
            let drain = until.saturating_sub(now);
            actions.push(Action::Emit(Event::IntakeClosed { worker: id, drain }));
        } else {
            worker.phase = WorkerPhase::Closing;
            worker.deadline = Some(close_until);
        }
    }

    pub(super) fn abort(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let of_host = self.stopping.map(|stopping| stopping.end);
        let close_time = self.budget.close_time();
        let worker = self.worker(id);
        let end = of_host.or(worker.alone.map(|alone| alone.end));
        let end = end.unwrap_or_else(|| now.saturating_add(close_time));
        if matches!(worker.phase, WorkerPhase::Draining | WorkerPhase::Cancelling) {
            worker.phase = WorkerPhase::Aborting;
            worker.deadline = Some(end);
            actions.push(Action::Emit(Event::WorkerAborted { worker: id }));
            actions.push(Action::Abort(id));
        }
    }

    pub(super) fn abandon(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        let phase = worker.phase;
        worker.abandoned = Some(phase);
        actions.push(Action::Emit(Event::WorkerAbandoned { worker: id, phase }));
        actions.push(Action::Abandon(id));
        let last = match (worker.cause.is_some(), worker.ran) {
            (true, _) => WorkerPhase::Failed,
            (false, true) => WorkerPhase::Aborted,
            (false, false) => WorkerPhase::NeverStarted,
        };
        self.over(id, last, actions);
    }

    pub(super) fn advance_stop(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.stopping.is_some_and(|stopping| stopping.open_until.is_none()) {
            self.close_in_turn(now, actions);
        }
        if self.workers.iter().all(|worker| worker.phase.is_terminal()) {
            self.host = HostPhase::Stopped;
            actions.push(Action::Emit(Event::HostStopped { exit: self.exit() }));
        }
    }

    fn close_in_turn(&mut self, now: Duration, actions: &mut Vec<Action>) {
        loop {
            let next = self.ids().find(|id| {
                let phase = self.workers[id.index()].phase;
                let in_turn =
                    self.workers.iter().all(|other| !other.plan.after.contains(id) || other.phase.is_terminal());
                matches!(phase, WorkerPhase::Ready | WorkerPhase::Running) && in_turn
            });
            match next {
                Some(id) => self.close_intake(id, now, actions),
                None => break,
            }
        }
    }
}
