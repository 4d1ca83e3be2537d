//! The state machine of a host and its workers.
//!
//! [`Lifecycle::decide`] takes one [`Input`] and the time, and appends what is to be done to a list of [`Action`]s. It
//! is total: an input that does not fit the state (a worker that reports after it was given up) changes nothing.
//! Time is the time since the host began, so that the machine needs no clock and no runtime.
//!
//! What holds between two calls:
//! 1. A worker is `Starting` or later only if every worker that it comes after was `Ready` when it began.
//! 2. Workers are `Running` only if all of them had become `Ready`.
//! 3. While the host is stopping, a worker leaves `Running` only when every worker that comes after it is terminal, unless
//!    the worker itself faulted or everything is being aborted.
//!    A worker that is restarted leaves it alone and comes back to it alone, or with its group (`decide/groups.rs`).
//! 4. Every phase of a stop has a deadline, and none lies after the host's own. The order of invariant 3 yields to the budget:
//!    when the time to drain is over, every intake is closed, so that there is always time left to return what is in flight.
//! 5. Once the host is `Stopped`, every worker is terminal and nothing changes any more.

use std::time::Duration;

use shiftwork_queue::FailureKind;

use super::{
    RestartStrategy, StopBudget,
    fault::{OnFault, Reaction, Restarts},
};
use crate::{
    Cause,
    environment::Signal,
    event::{Event, NextSignal, StopReason, WorkerId, WorkerPhase},
    report::ExitStatus,
};

/// What can wake the machine.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The host begins.
    Begin,
    /// A start hook returned well.
    Started(WorkerId),
    /// A start hook failed.
    StartFailed(WorkerId, Cause),
    /// A worker cannot go on; its cycles in flight still run.
    Faulted(WorkerId, Cause),
    /// No cycle of a worker runs or will run; its stop hook is next.
    LanesEnded {
        worker: WorkerId,
        /// Whether a cycle in flight had to be dropped.
        interrupted: bool,
    },
    /// A worker's stop hook is done: there is nothing left of it.
    Closed(WorkerId, Option<Cause>),
    /// A signal arrived.
    Signal(Signal),
    /// The program asks for a stop.
    StopAsked,
    /// The program asks for a worker's pause.
    PauseAsked(WorkerId),
    /// The program asks for the end of it.
    ResumeAsked(WorkerId),
    /// The program asks for a worker's next cycle now.
    TriggerAsked(WorkerId),
    /// The program asks for the end of one worker.
    StopWorkerAsked(WorkerId),
    /// The time that [`Lifecycle::deadline`] named has come.
    DeadlinePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the listeners.
    Emit(Event),
    /// Run a worker's start hook: its first life, or a new one.
    Start(WorkerId),
    /// Let a worker take in work.
    OpenIntake(WorkerId),
    /// Let a worker take in no more. A worker that is only ready goes straight to its stop hook.
    CloseIntake(WorkerId),
    /// Let it begin no cycle for now.
    Pause(WorkerId),
    /// Let it begin cycles again.
    Resume(WorkerId),
    /// Let it wait no longer for its next cycle.
    Trigger(WorkerId),
    /// Complete `cancelled()` in its cycles.
    Cancel(WorkerId),
    /// Drop what it runs: the start hook, or the cycles in flight.
    Abort(WorkerId),
    /// Wait for it no longer.
    Abandon(WorkerId),
}

/// What the machine needs to know of a worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerPlan {
    pub(crate) after: Vec<WorkerId>,
    pub(crate) start_timeout: Duration,
    /// Its own time to drain, within the host's.
    pub(crate) drain: Option<Duration>,
    pub(crate) on_fault: OnFault,
    pub(crate) group: Option<Member>,
}

/// A worker's place in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// Which group, counted from 0.
    pub(crate) group: usize,
    pub(crate) strategy: RestartStrategy,
}

/// What follows when what is left of a life is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Another life, after this delay.
    Restart { delay: Duration },
    /// Nothing: its group is given up.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostPhase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

/// What became of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) phase: WorkerPhase,
    pub(crate) cause: Option<Cause>,
    pub(crate) abandoned: Option<WorkerPhase>,
    pub(crate) stop_failure: Option<Cause>,
    pub(crate) restarts: u32,
}

#[derive(Debug)]
struct WorkerState {
    plan: WorkerPlan,
    phase: WorkerPhase,
    /// When the machine acts on it by itself.
    deadline: Option<Duration>,
    /// Whether its intake was ever opened.
    ran: bool,
    /// No cycle of it begins, in this life and those that follow.
    paused: bool,
    /// Whether cycles in flight had to be dropped.
    interrupted: bool,
    cause: Option<Cause>,
    abandoned: Option<WorkerPhase>,
    stop_failure: Option<Cause>,
    recent_restarts: Restarts,
    restarts: u32,
    /// Set while it goes down, or is down, by a fault of its own or of its group.
    then: Option<Then>,
    /// It is down, and its delay is over: it starts when its group lets it.
    released: bool,
    /// It was asked to end by itself, and no fault of anybody's starts it again.
    asked_to_end: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stopping {
    reason: StopReason,
    since: Duration,
    /// Until when intake stays open, if that is not over.
    open_until: Option<Duration>,
    drain_until: Duration,
    end: Duration,
    /// A second signal, or SIGQUIT: nothing drains any more.
    aborting: bool,
    /// A signal, not a budget, interrupted what was in flight.
    forced: bool,
}

/// The state machine. The module page has its rules.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    host: HostPhase,
    budget: StopBudget,
    stopping: Option<Stopping>,
    workers: Vec<WorkerState>,
    /// The restarts of each group that still count.
    group_restarts: Vec<Restarts>,
}

impl Lifecycle {
    pub(crate) fn new(plans: Vec<WorkerPlan>, budget: StopBudget) -> Self {
        let groups = plans.iter().filter_map(|plan| plan.group).map(|member| member.group + 1).max().unwrap_or(0);
        let workers = plans
            .into_iter()
            .map(|plan| WorkerState {
                plan,
                phase: WorkerPhase::Pending,
                deadline: None,
                ran: false,
                paused: false,
                interrupted: false,
                cause: None,
                abandoned: None,
                stop_failure: None,
                recent_restarts: Restarts::default(),
                restarts: 0,
                then: None,
                released: false,
                asked_to_end: false,
            })
            .collect();
        let group_restarts = std::iter::repeat_with(Restarts::default).take(groups).collect();
        Self { host: HostPhase::Starting, budget, stopping: None, workers, group_restarts }
    }

    /// What follows from `input` at `now`.
    pub(crate) fn decide(&mut self, now: Duration, input: Input, actions: &mut Vec<Action>) {
        if self.host == HostPhase::Stopped {
            return;
        }
        match input {
            Input::Begin => {}
            Input::Started(id) => self.started(id, now, actions),
            Input::StartFailed(id, cause) => self.start_failed(id, cause, now, actions),
            Input::Faulted(id, cause) => self.faulted(id, cause, now, actions),
            Input::LanesEnded { worker, interrupted } => self.lanes_ended(worker, interrupted, now),
            Input::Closed(id, failure) => self.closed(id, failure, actions),
            Input::Signal(signal) => self.signal(signal, now, actions),
            Input::StopAsked => self.stop(StopReason::Asked, now, actions),
            Input::PauseAsked(id) => self.pause(id, actions),
            Input::ResumeAsked(id) => self.resume(id, actions),
            Input::TriggerAsked(id) => self.trigger(id, actions),
            Input::StopWorkerAsked(id) => self.stop_worker(id, now, actions),
            Input::DeadlinePassed => {}
        }
        self.pass_deadlines(now, actions);
        self.advance(now, actions);
    }

    /// When the machine wants to be woken with [`Input::DeadlinePassed`], if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let workers = self.workers.iter().filter_map(|worker| worker.deadline);
        let stopping = self.stopping.map(|stopping| stopping.open_until.unwrap_or(stopping.end).min(stopping.end));
        workers.chain(stopping).min()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.host == HostPhase::Stopped
    }

    /// Why the host stops, and since when.
    pub(crate) fn stopping(&self) -> Option<(StopReason, Duration)> {
        self.stopping.map(|stopping| (stopping.reason, stopping.since))
    }

    pub(crate) fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.workers.iter().map(|worker| Verdict {
            phase: worker.phase,
            cause: worker.cause.clone(),
            abandoned: worker.abandoned,
            stop_failure: worker.stop_failure.clone(),
            restarts: worker.restarts,
        })
    }

    /// Rule V2: the worst thing that happened.
    pub(crate) fn exit(&self) -> ExitStatus {
        let reason = match self.stopping.map(|stopping| stopping.reason) {
            Some(StopReason::StartFailure(_) | StopReason::Unable) => ExitStatus::StartFailure,
            Some(StopReason::WorkerFault(_)) => ExitStatus::WorkerFault,
            Some(StopReason::Signal(_) | StopReason::Asked | StopReason::Completed) | None => ExitStatus::Clean,
        };
        let forced = self.stopping.is_some_and(|stopping| stopping.forced);
        let interrupted = if forced { ExitStatus::Forced } else { ExitStatus::DrainTimedOut };
        let workers = self.workers.iter().map(|worker| {
            let left = worker.phase == WorkerPhase::Aborted || worker.abandoned.is_some();
            match (worker.phase == WorkerPhase::Failed, worker.ran) {
                (true, true) => ExitStatus::WorkerFault,
                (true, false) => ExitStatus::StartFailure,
                (false, _) if left => interrupted,
                (false, _) => ExitStatus::Clean,
            }
        });
        workers.chain([reason]).max().unwrap_or(ExitStatus::Clean)
    }

    fn worker(&mut self, id: WorkerId) -> &mut WorkerState {
        &mut self.workers[id.index()]
    }

    fn ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        // The builder admits no more workers than a `u32` can count.
        (0..u32::try_from(self.workers.len()).unwrap_or(u32::MAX)).map(WorkerId)
    }

    fn started(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
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
        self.worker(id).phase = WorkerPhase::Running;
        self.worker(id).ran = true;
        actions.push(Action::Emit(Event::IntakeOpened { worker: id }));
        actions.push(Action::OpenIntake(id));
    }

    /// A start hook failed. Or a service ended that had said it is ready, before its intake was open (rule S8); by then the
    /// machine may have opened it.
    fn start_failed(&mut self, id: WorkerId, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        let (host, worker) = (self.host, self.worker(id));
        let opened = match worker.phase {
            WorkerPhase::Starting | WorkerPhase::Ready => false,
            WorkerPhase::Closing if !worker.ran => false,
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
            self.faulted(id, cause, now, actions);
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
        if worker.asked_to_end {
            self.end_down(id, actions);
            return;
        }
        if worker.then.is_some() {
            // Interrupted because its group goes down.
            self.over(id, WorkerPhase::Stopped, actions);
            return;
        }
        if host == HostPhase::Running {
            worker.cause = None;
            self.faulted(id, cause, now, actions);
            self.over(id, WorkerPhase::Failed, actions);
            return;
        }
        worker.cause = Some(cause.clone());
        actions.push(Action::Emit(Event::WorkerStartFailed { worker: id, cause }));
        self.end(id, WorkerPhase::Failed, actions);
        self.stop(StopReason::StartFailure(id), now, actions);
    }

    fn faulted(&mut self, id: WorkerId, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        let lives =
            !worker.phase.is_terminal() && !matches!(worker.phase, WorkerPhase::Pending | WorkerPhase::Restarting);
        if !lives || worker.cause.is_some() {
            return;
        }
        worker.cause = Some(cause.clone());
        actions.push(Action::Emit(Event::WorkerFaulted { worker: id, cause }));
        // One that goes down already is dealt with.
        if self.worker(id).then.is_none() {
            match self.react(id, now) {
                Reaction::StopHost => self.stop(StopReason::WorkerFault(id), now, actions),
                Reaction::Degrade => self.take_down(id, Then::End, actions),
                Reaction::Restart { delay } => self.take_down(id, Then::Restart { delay }, actions),
            }
        }
        if self.worker(id).phase == WorkerPhase::Running {
            self.close_intake(id, now, actions);
        }
    }

    fn lanes_ended(&mut self, id: WorkerId, interrupted: bool, now: Duration) {
        let until = self.close_until(now);
        let worker = self.worker(id);
        if matches!(
            worker.phase,
            WorkerPhase::Running | WorkerPhase::Draining | WorkerPhase::Cancelling | WorkerPhase::Aborting
        ) {
            worker.phase = WorkerPhase::Closing;
            worker.interrupted = interrupted;
            worker.deadline = Some(until);
        }
    }

    /// By when a stop hook that begins now must be done: it may use what others leave of the time to drain, so that a hook
    /// that hangs keeps those that it comes after waiting no longer than that.
    fn close_until(&self, now: Duration) -> Duration {
        let own = now.saturating_add(self.budget.close_time());
        match self.stopping {
            Some(stopping) => own.max(stopping.drain_until).min(stopping.end),
            None => now.saturating_add(self.budget.drain_time()).max(own),
        }
    }

    fn closed(&mut self, id: WorkerId, failure: Option<Cause>, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        if !matches!(worker.phase, WorkerPhase::Ready | WorkerPhase::Closing) {
            return;
        }
        worker.stop_failure.clone_from(&failure);
        if let Some(cause) = failure {
            actions.push(Action::Emit(Event::StopHookFailed { worker: id, cause }));
        }
        let worker = self.worker(id);
        let phase = match (worker.cause.is_some(), worker.interrupted, worker.ran) {
            (true, _, _) => WorkerPhase::Failed,
            (false, _, false) => WorkerPhase::NeverStarted,
            (false, true, true) => WorkerPhase::Aborted,
            (false, false, true) => WorkerPhase::Stopped,
        };
        self.over(id, phase, actions);
    }

    /// Nothing is left of a worker's life: another one follows, or this was the last, and ended in `last`.
    fn over(&mut self, id: WorkerId, last: WorkerPhase, actions: &mut Vec<Action>) {
        let running = self.host == HostPhase::Running;
        let worker = self.worker(id);
        match worker.then.filter(|_| running) {
            Some(Then::Restart { delay }) => {
                worker.restarts = worker.restarts.saturating_add(1);
                worker.phase = WorkerPhase::Restarting;
                // Set once nobody of its group is left whom it must wait for.
                worker.deadline = None;
                worker.abandoned = None;
                let restarts = worker.restarts;
                actions.push(Action::Emit(Event::WorkerRestarting { worker: id, restarts, delay }));
            }
            Some(Then::End) | None => self.end(id, last, actions),
        }
    }

    fn signal(&mut self, signal: Signal, now: Duration, actions: &mut Vec<Action>) {
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

    /// Rule P1: at once, whatever the phase; a worker that has not run yet opens paused.
    fn pause(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let stopping = self.stopping.is_some();
        let worker = self.worker(id);
        if stopping || worker.paused || worker.phase.is_terminal() {
            return;
        }
        worker.paused = true;
        actions.push(Action::Pause(id));
        actions.push(Action::Emit(Event::WorkerPaused { worker: id }));
    }

    fn resume(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let stopping = self.stopping.is_some();
        let worker = self.worker(id);
        if stopping || !worker.paused || worker.phase.is_terminal() {
            return;
        }
        worker.paused = false;
        // Said first: a cycle may begin as soon as it is done.
        actions.push(Action::Emit(Event::WorkerResumed { worker: id }));
        actions.push(Action::Resume(id));
    }

    fn trigger(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        if worker.paused || worker.phase != WorkerPhase::Running {
            return;
        }
        actions.push(Action::Emit(Event::WorkerTriggered { worker: id }));
        actions.push(Action::Trigger(id));
    }

    /// Rule T10: drained as in a stop, alone and for good. Whatever it does is the end of it.
    fn stop_worker(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let running = self.host == HostPhase::Running;
        let worker = self.worker(id);
        if !running || worker.asked_to_end || worker.phase.is_terminal() {
            return;
        }
        worker.asked_to_end = true;
        worker.then = Some(Then::End);
        let phase = worker.phase;
        actions.push(Action::Emit(Event::WorkerStopAsked { worker: id }));
        match phase {
            WorkerPhase::Starting => actions.push(Action::Abort(id)),
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

    fn force(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.forced = true;
        }
    }

    /// Begins to stop, once.
    fn stop(&mut self, reason: StopReason, now: Duration, actions: &mut Vec<Action>) {
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
    fn close_intake(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let close_until = self.close_until(now);
        let host_until = self.stopping.map(|stopping| stopping.drain_until);
        let host_until = host_until.unwrap_or_else(|| now.saturating_add(self.budget.drain_time()));
        let worker = self.worker(id);
        let own = worker.plan.drain.map_or(host_until, |drain| now.saturating_add(drain));
        let until = own.min(host_until);
        if worker.phase == WorkerPhase::Running {
            worker.phase = WorkerPhase::Draining;
            worker.deadline = Some(until);
            let drain = until.saturating_sub(now);
            actions.push(Action::Emit(Event::IntakeClosed { worker: id, drain }));
        } else {
            worker.phase = WorkerPhase::Closing;
            worker.deadline = Some(close_until);
        }
        actions.push(Action::CloseIntake(id));
    }

    fn abort(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let end = self.stopping.map(|stopping| stopping.end);
        let end = end.unwrap_or_else(|| now.saturating_add(self.budget.close_time()));
        let worker = self.worker(id);
        if matches!(worker.phase, WorkerPhase::Draining | WorkerPhase::Cancelling) {
            worker.phase = WorkerPhase::Aborting;
            worker.deadline = Some(end);
            actions.push(Action::Emit(Event::WorkerAborted { worker: id }));
            actions.push(Action::Abort(id));
        }
    }

    fn end(&mut self, id: WorkerId, phase: WorkerPhase, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        worker.phase = phase;
        worker.deadline = None;
        actions.push(Action::Emit(Event::WorkerStopped { worker: id, phase }));
    }

    fn pass_deadlines(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.open_until = stopping.open_until.filter(|until| *until > now);
        }
        let host_is_over = self.stopping.is_some_and(|stopping| stopping.end <= now);
        for id in self.ids() {
            // One deadline may bring the next one with it: a turn that comes too late to drain begins with the cancel.
            while !self.worker(id).phase.is_terminal() {
                if host_is_over {
                    self.abandon(id, actions);
                } else if self.worker(id).deadline.is_some_and(|deadline| deadline <= now) {
                    self.pass_deadline(id, now, actions);
                } else {
                    break;
                }
            }
        }
    }

    fn pass_deadline(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let cancel = self.budget.cancel_time();
        match self.worker(id).phase {
            WorkerPhase::Starting => {
                actions.push(Action::Abort(id));
                let limit = self.worker(id).plan.start_timeout;
                let message = format!("the start hook did not return within {limit:?}").into();
                self.start_failed(id, Cause { kind: FailureKind::Timeout, message }, now, actions);
            }
            WorkerPhase::Ready | WorkerPhase::Running => self.close_intake(id, now, actions),
            WorkerPhase::Draining => {
                let last = self.stopping.map(|stopping| stopping.drain_until.saturating_add(cancel));
                let worker = self.worker(id);
                worker.phase = WorkerPhase::Cancelling;
                let until = now.saturating_add(cancel);
                worker.deadline = Some(last.map_or(until, |last| until.min(last)));
                actions.push(Action::Emit(Event::WorkerCancelled { worker: id }));
                actions.push(Action::Cancel(id));
            }
            WorkerPhase::Cancelling => self.abort(id, now, actions),
            WorkerPhase::Restarting => {
                let worker = self.worker(id);
                worker.deadline = None;
                worker.released = true;
            }
            WorkerPhase::Aborting | WorkerPhase::Closing => self.abandon(id, actions),
            WorkerPhase::Pending
            | WorkerPhase::Stopped
            | WorkerPhase::Failed
            | WorkerPhase::Aborted
            | WorkerPhase::NeverStarted => self.worker(id).deadline = None,
        }
    }

    fn abandon(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
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

    /// Takes every step that the state allows by itself.
    fn advance(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.host == HostPhase::Starting {
            self.advance_start(now, actions);
        }
        if self.host == HostPhase::Running {
            self.advance_restarts(now, actions);
        }
        if self.host == HostPhase::Running && self.workers.iter().all(|worker| worker.phase.is_terminal()) {
            self.stop(StopReason::Completed, now, actions);
        }
        if self.host == HostPhase::Stopping {
            self.advance_stop(now, actions);
        }
    }

    fn begin_start(&mut self, id: WorkerId, now: Duration, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        worker.phase = WorkerPhase::Starting;
        worker.deadline = Some(now.saturating_add(worker.plan.start_timeout));
        actions.push(Action::Emit(Event::WorkerStarting { worker: id }));
        actions.push(Action::Start(id));
        if self.worker(id).paused {
            actions.push(Action::Pause(id));
        }
    }

    fn advance_start(&mut self, now: Duration, actions: &mut Vec<Action>) {
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

    fn advance_stop(&mut self, now: Duration, actions: &mut Vec<Action>) {
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

mod groups;
#[cfg(test)]
mod tests;
