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
//! 5. A host that stops starts nobody again: what was to follow a fault is taken back as the stop begins, and a fault in it asks no
//!    policy.
//! 6. Once the host is `Stopped`, every worker is terminal and nothing changes any more.

use std::time::Duration;

use shiftwork_queue::FailureKind;

use super::{
    RestartStrategy, StopBudget,
    fault::{OnFault, Reaction, Restarts},
};
use crate::{
    Cause,
    environment::Signal,
    event::{Event, StopReason, WorkerId, WorkerPhase},
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
    /// Let its life do nothing more, should its start hook return after all.
    Leave(WorkerId),
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
    /// Nothing: its group is given up, or it was asked to end.
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

/// The stop of one worker while its host runs (rule T10).
#[derive(Debug, Clone, Copy)]
struct StopAlone {
    /// The end of the time to drain, for what may use the rest of it.
    drain_until: Duration,
    /// When it is over, whatever the worker does.
    end: Duration,
}

#[derive(Debug)]
struct WorkerState {
    plan: WorkerPlan,
    /// Of each worker, whether this one comes after it, directly or not; empty if it is in no group.
    before: Box<[bool]>,
    phase: WorkerPhase,
    /// When the machine acts on it by itself.
    deadline: Option<Duration>,
    /// Whether its intake was ever opened.
    ran: bool,
    /// Whether it was opened in this life.
    opened: bool,
    /// No cycle of it begins, in this life and those that follow.
    paused: bool,
    /// Whether cycles in flight had to be dropped.
    interrupted: bool,
    cause: Option<Cause>,
    abandoned: Option<WorkerPhase>,
    stop_failure: Option<Cause>,
    recent_restarts: Restarts,
    restarts: u32,
    /// Set while it goes down, or is down, by a fault of its own or of its group; never while the host stops.
    then: Option<Then>,
    /// It is down, and its delay is over: it starts when its group lets it.
    released: bool,
    /// It was asked to end by itself, and no fault of anybody's starts it again.
    alone: Option<StopAlone>,
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
        let before = groups::all_before(&plans);
        let workers = plans
            .into_iter()
            .zip(before)
            .map(|(plan, before)| WorkerState {
                plan,
                before,
                phase: WorkerPhase::Pending,
                deadline: None,
                ran: false,
                opened: false,
                paused: false,
                interrupted: false,
                cause: None,
                abandoned: None,
                stop_failure: None,
                recent_restarts: Restarts::default(),
                restarts: 0,
                then: None,
                released: false,
                alone: None,
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

    /// A worker cannot go on, or what it runs in has panicked.
    fn faulted(&mut self, id: WorkerId, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        let (host, worker) = (self.host, self.worker(id));
        let starts = worker.phase == WorkerPhase::Starting;
        if host == HostPhase::Starting || (starts && !worker.ran) {
            // Whatever its policy: a host runs once every worker is ready, and this one will not be.
            self.start_failed(id, cause, now, actions);
        } else if starts {
            // Nothing more will be heard of this start. What an earlier life failed with is not what it fails with now.
            worker.cause = None;
            self.fault(id, cause, now, actions);
            self.over(id, WorkerPhase::Failed, actions);
        } else {
            self.fault(id, cause, now, actions);
        }
    }

    /// The fault of a worker whose host runs, or did: once in a life it is said, and its policy asked. What it still runs comes to its end.
    fn fault(&mut self, id: WorkerId, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        let worker = self.worker(id);
        let lives =
            !worker.phase.is_terminal() && !matches!(worker.phase, WorkerPhase::Pending | WorkerPhase::Restarting);
        if !lives || worker.cause.is_some() {
            return;
        }
        worker.cause = Some(cause.clone());
        actions.push(Action::Emit(Event::WorkerFaulted { worker: id, cause }));
        // One that goes down already is dealt with, and so is everybody once the host stops.
        if self.host == HostPhase::Running && self.worker(id).then.is_none() {
            match self.react(id, now) {
                Reaction::StopHost => self.stop(StopReason::WorkerFault(id), now, actions),
                Reaction::Degrade => self.take_down(id, Then::End, now, actions),
                Reaction::Restart { delay } => self.take_down(id, Then::Restart { delay }, now, actions),
            }
        }
        if self.worker(id).phase == WorkerPhase::Running {
            self.close_intake(id, now, actions);
        }
    }

    fn lanes_ended(&mut self, id: WorkerId, interrupted: bool, now: Duration) {
        let until = self.close_until(id, now);
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
    fn close_until(&self, id: WorkerId, now: Duration) -> Duration {
        let own = now.saturating_add(self.budget.close_time());
        let of_host = self.stopping.map(|stopping| (stopping.drain_until, stopping.end));
        let alone = self.workers[id.index()].alone.map(|alone| (alone.drain_until, alone.end));
        match of_host.or(alone) {
            Some((drain_until, end)) => own.max(drain_until).min(end),
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
        let worker = self.worker(id);
        match worker.then {
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
                actions.extend([Action::Abort(id), Action::Leave(id)]);
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
}

mod groups;
mod start;
mod steer;
mod stop;
#[cfg(test)]
mod tests;
