//! S, T and V: how a host starts, stops and reports.

use std::{sync::Arc, time::Duration};

use shiftwork::{
    ExitStatus, FailureKind, OnFault, Rule, Signal,
    event::{Declaration, Event, Membership, NextSignal, SourceKind, StopReason, WorkerId, WorkerPhase},
};

use self::faults::Follows;
use super::Verdicts;

mod end;
mod faults;
mod groups;

/// How much later than its limit a start hook may be given up: what a poll may block (L3), and what a timer rounds up.
const START_SLACK: Duration = Duration::from_millis(12);

/// How long a host may take to let go of its tasks after the budget of its stop, and what a timer rounds up.
const SLACK: Duration = Duration::from_millis(150);

#[derive(Default)]
pub(super) struct LifeRules {
    workers: Vec<Worker>,
    names: Option<Arc<[Declaration]>>,
    running: bool,
    stopping: Option<Stopping>,
    signals: u32,
    /// A worker was abandoned, in whichever of its lives.
    left_behind: bool,
    /// Nothing is expected to happen in order any more.
    disorderly: bool,
    /// Since when a signal has everything aborted.
    aborting: Option<Duration>,
    /// When a signal found that to be so already.
    left_at_once: Option<Duration>,
    /// The worker that was first said not to have started.
    start_failed: Option<WorkerId>,
    /// Whose fault is to stop the host, and when it was said.
    owes_stop: Option<(WorkerId, Duration)>,
    /// As what this host has ended.
    ended: Option<ExitStatus>,
    /// As what each host of the process has.
    ends: Vec<ExitStatus>,
}

struct Stopping {
    at: Duration,
    delay: Duration,
    drain: Duration,
    within: Duration,
}

#[derive(Default)]
struct Worker {
    after: Vec<WorkerId>,
    start_timeout: Duration,
    /// Since when its start hook runs.
    starting_since: Option<Duration>,
    /// Its source is one of the runtime's own, which fault only fatally or in a panic.
    known_source: bool,
    /// Its start hook was called.
    begun: bool,
    ready: bool,
    start_failed: bool,
    opened: bool,
    /// Its intake is open now.
    open: bool,
    faulted: bool,
    /// When it faulted while its intake was open, if it still is.
    owes_close: Option<Duration>,
    /// It is a service, and whether it runs to completion.
    service: Option<bool>,
    /// It says itself when it is ready.
    handshake: bool,
    /// A service has failed, which must be a fault.
    owes_fault: bool,
    /// A service that was asked to stop was interrupted, which must be none.
    interrupted: bool,
    abandoned: bool,
    /// It was asked to end, alone and for good: when, and how long that may take.
    stop_asked: Option<(Duration, Duration)>,
    stopped: Option<WorkerPhase>,
    stopped_at: Duration,
    on_fault: OnFault,
    /// When the next life may begin, once everybody is down whom it must wait for.
    restart_at: Option<Duration>,
    /// Since when it has been at work in this life.
    up_at: Duration,
    group: Option<Membership>,
    standing: Standing,
    /// Its intake had closed with its group before the host began to stop.
    went_down: bool,
    /// Its faults that are answered by a restart: when each was said, which is when its policy was asked. Its old life may take a while to
    /// be gone, and only then is the restart said.
    granted: Vec<Duration>,
    /// What is to become of it, once a fault of its own or of its group takes it down.
    follows: Option<Follows>,
}

/// Where a member of a group is in the restart of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Up,
    /// It has to go down.
    Going,
    Down,
    Coming,
}

impl LifeRules {
    pub(super) fn boot(&mut self) {
        *self = Self::default();
    }

    pub(super) fn has_abandoned(&self) -> bool {
        self.left_behind
    }

    fn name(&self, id: WorkerId) -> Arc<str> {
        self.names.as_ref().map_or_else(|| id.0.to_string().into(), |names| names[id.0 as usize].name.clone())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "events of cycles are another file's")]
    pub(super) fn on(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => self.host_begins(workers),
            Event::WorkerStarting { worker } => {
                let after = &self.workers[worker.0 as usize].after;
                let early = after.iter().find(|id| !self.workers[id.0 as usize].ready);
                verdicts.demand(
                    Rule::S1,
                    early.is_none(),
                    || format!("{} starts after every worker that it comes after is ready", self.name(*worker)),
                    || format!("{} was not ready", early.map(|id| self.name(*id)).unwrap_or_default()),
                );
                self.starts_again(*worker, verdicts);
                self.restarted(*worker, verdicts);
                let worker = &mut self.workers[worker.0 as usize];
                (worker.begun, worker.starting_since) = (true, Some(verdicts.at));
                worker.interrupted = false;
            }
            Event::WorkerReady { worker } => {
                self.ready_at_once(*worker, verdicts);
                self.start_hook_ended(*worker, verdicts);
                self.workers[worker.0 as usize].ready = true;
            }
            Event::WorkerStartFailed { worker, .. } => {
                self.start_hook_ended(*worker, verdicts);
                self.did_not_start(*worker, verdicts);
            }
            Event::HostRunning => self.running = true,
            Event::IntakeOpened { worker } => {
                let unready = self.workers.iter().position(|worker| !worker.ready);
                verdicts.demand(
                    Rule::S2,
                    unready.is_none(),
                    || format!("the intake of {} opens once every worker is ready", self.name(*worker)),
                    || "a worker was not ready".to_owned(),
                );
                let opened = &mut self.workers[worker.0 as usize];
                (opened.opened, opened.open, opened.up_at) = (true, true, verdicts.at);
                opened.standing = Standing::Up;
                opened.went_down = false;
                // Restarted: the fault was dealt with.
                opened.faulted = false;
            }
            Event::WorkerFaulted { worker, cause } => {
                self.faults(*worker, cause.kind, verdicts);
                let faulted = &mut self.workers[worker.0 as usize];
                faulted.faulted = true;
                faulted.owes_fault = false;
                faulted.owes_close = faulted.open.then_some(verdicts.at);
                self.goes_down(*worker, verdicts.at);
            }
            Event::CycleEnded { worker, failure, .. } => {
                self.service_ended(*worker, failure.as_ref().map(|cause| cause.kind), verdicts);
            }
            Event::IntakeClosed { worker, .. } => {
                let stopping = self.stopping.is_some();
                let closed = &mut self.workers[worker.0 as usize];
                closed.open = false;
                closed.went_down = closed.standing == Standing::Going && !stopping;
                self.intake_closed(*worker, verdicts);
            }
            Event::WorkerRestarting { worker, delay, .. } => self.restarting(*worker, *delay, verdicts),
            Event::SignalReceived { signal, next } => self.signal(*signal, *next, verdicts),
            Event::HostStopping { reason, delay, drain, within } => {
                let at = verdicts.at;
                for id in (0..).map(WorkerId).take(self.workers.len()) {
                    self.ends_alone_in_time(id, verdicts);
                    self.is_not_left_down(id, verdicts);
                }
                self.stopping = Some(Stopping { at, delay: *delay, drain: *drain, within: *within });
                self.disorderly |= matches!(reason, StopReason::Signal(Signal::Quit));
                self.stops_for(*reason, verdicts);
                self.stops_for_a_fault(*reason, verdicts);
            }
            Event::WorkerStopAsked { worker, within } => self.stop_asked(*worker, *within, verdicts),
            Event::WorkerAbandoned { worker, phase } => {
                self.left_at_work(*worker, *phase, verdicts);
                self.workers[worker.0 as usize].abandoned = true;
                self.left_behind = true;
            }
            Event::WorkerStopped { worker, phase } => self.worker_stopped(*worker, *phase, verdicts),
            Event::HostStopped { exit } => self.host_ends(*exit, verdicts),
            _ => {}
        }
    }

    /// A host of the process begins, perhaps after another one. Nothing of that is held against it, but that it left something behind.
    fn host_begins(&mut self, declared: &Arc<[Declaration]>) {
        let workers = declared.iter().map(|it| {
            let service = if let SourceKind::Service { completes } = it.source { Some(completes) } else { None };
            Worker {
                after: it.after.clone(),
                group: it.group.clone(),
                start_timeout: it.start_timeout,
                known_source: service.is_none() && it.source != SourceKind::Other,
                on_fault: it.on_fault,
                service,
                handshake: it.handshake,
                ..Worker::default()
            }
        });
        *self = Self {
            workers: workers.collect(),
            names: Some(declared.clone()),
            left_behind: self.left_behind,
            ends: std::mem::take(&mut self.ends),
            ..Self::default()
        };
    }

    /// Rule S3: a start hook has ended, well or not, or is waited for no longer.
    fn start_hook_ended(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let worker = &mut self.workers[id.0 as usize];
        let Some(since) = worker.starting_since.take() else { return };
        let (took, limit) = (verdicts.at.saturating_sub(since), worker.start_timeout);
        verdicts.demand(
            Rule::S3,
            took <= limit.saturating_add(verdicts.held_up_since(since)).saturating_add(START_SLACK),
            || format!("the start hook of {} is waited for no longer than {limit:?}", self.name(id)),
            || format!("it was for {took:?}"),
        );
    }

    /// Rule S7: a service without a handshake has nothing to wait for.
    fn ready_at_once(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let Some(since) = worker.starting_since.filter(|_| worker.service.is_some() && !worker.handshake) else {
            return;
        };
        let took = verdicts.at.saturating_sub(since);
        verdicts.demand(
            Rule::S7,
            took <= verdicts.held_up_since(since),
            || format!("{}, a service without a handshake, is ready at once", self.name(id)),
            || format!("it was after {took:?}"),
        );
    }

    /// Rule S5: the first failed start begins the stop. What is said afterwards is a consequence, and not said at all.
    fn did_not_start(&mut self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        verdicts.demand(
            Rule::S5,
            self.stopping.is_none() && self.start_failed.is_none(),
            || format!("{} is not said to have failed: a stop had interrupted its start", self.name(id)),
            || "it was".to_owned(),
        );
        self.workers[id.0 as usize].start_failed = true;
        self.start_failed.get_or_insert(id);
    }

    /// Rule S5: a host whose start has failed stops for that, and says who it was.
    fn stops_for(&mut self, reason: StopReason, verdicts: &mut Verdicts<'_>) {
        let named = match reason {
            StopReason::StartFailure(id) => Some(id),
            StopReason::Signal(_)
            | StopReason::Asked
            | StopReason::WorkerFault(_)
            | StopReason::Completed
            | StopReason::Unable => None,
        };
        let name = |id: Option<WorkerId>| id.map_or_else(|| "nobody".into(), |id| self.name(id));
        verdicts.demand(
            Rule::S5,
            named == self.start_failed,
            || format!("the stop is laid to the first that did not start: {}", name(self.start_failed)),
            || format!("it is laid to {}", name(named)),
        );
    }

    /// Rule C1: what a cycle fails with is no fault, unless it calls itself fatal.
    fn faults(&mut self, id: WorkerId, kind: FailureKind, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let at_work = worker.known_source && worker.starting_since.is_none();
        verdicts.demand(
            Rule::C1,
            !at_work || matches!(kind, FailureKind::Fatal | FailureKind::Panic),
            || format!("{} faults only by what is fatal, or by a panic around its cycles", self.name(id)),
            || format!("it faulted by a failure of the kind {kind}"),
        );
        verdicts.demand(
            Rule::F3,
            !worker.interrupted || kind != FailureKind::Interrupted,
            || format!("{} was interrupted once it was asked to stop, which is no fault", self.name(id)),
            || "it faulted by that".to_owned(),
        );
        self.start_hook_ended(id, verdicts);
    }

    /// Rule F3: a service that ends unasked has failed, and what it failed with is a fault.
    fn service_ended(&mut self, id: WorkerId, failure: Option<FailureKind>, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let Some(completes) = worker.service else { return };
        verdicts.demand(
            Rule::F3,
            failure.is_some() || completes || !worker.open,
            || format!("{} ends well only once it was asked to stop", self.name(id)),
            || "it ended well before".to_owned(),
        );
        let worker = &mut self.workers[id.0 as usize];
        worker.owes_fault = failure.is_some_and(|kind| kind != FailureKind::Interrupted || worker.open);
        worker.interrupted = failure == Some(FailureKind::Interrupted) && !worker.open;
    }

    /// Rule T10: one worker is asked to end while its host runs, and once.
    fn stop_asked(&mut self, id: WorkerId, within: Duration, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        verdicts.demand(
            Rule::T10,
            self.running && self.stopping.is_none() && worker.stopped.is_none() && worker.stop_asked.is_none(),
            || format!("{} is asked to end by itself once, while it lives and its host runs", self.name(id)),
            || "it was asked for nothing".to_owned(),
        );
        self.is_not_left_down(id, verdicts);
        self.workers[id.0 as usize].stop_asked = Some((verdicts.at, within));
    }

    /// Rule T10: it has ended within its time; from when the host stops, that is T3's.
    fn ends_alone_in_time(&self, id: WorkerId, verdicts: &mut Verdicts<'_>) {
        let worker = &self.workers[id.0 as usize];
        let Some((asked, within)) = worker.stop_asked else { return };
        if worker.stopped.is_some() || self.stopping.is_some() {
            return;
        }
        let took = verdicts.at.saturating_sub(asked);
        verdicts.demand(
            Rule::T10,
            took <= within.saturating_add(verdicts.held_up_since(asked)).saturating_add(SLACK),
            || format!("{} ends within {within:?} after it was asked to, alone", self.name(id)),
            || format!("it took {took:?}"),
        );
    }

    /// Rule T5: what a signal does depends on what was so before it, and each says what the next one will do.
    fn signal(&mut self, signal: Signal, next: NextSignal, verdicts: &mut Verdicts<'_>) {
        self.signals += 1;
        let drains = self.signals == 1 && self.stopping.is_none() && signal != Signal::Quit;
        let promised = if drains { NextSignal::Abort } else { NextSignal::Leave };
        verdicts.demand(
            Rule::T5,
            next == promised,
            || format!("signal {} says that the next one will {promised:?}", self.signals),
            || format!("it says {next:?}"),
        );
        if drains {
            return;
        }
        self.disorderly = true;
        match self.aborting {
            None => self.aborting = Some(verdicts.at),
            Some(_) => self.left_at_once = self.left_at_once.or(Some(verdicts.at)),
        }
    }

    fn worker_stopped(&mut self, id: WorkerId, phase: WorkerPhase, verdicts: &mut Verdicts<'_>) {
        self.ends_alone_in_time(id, verdicts);
        self.is_not_given_up(id, phase, verdicts);
        // Interrupted, it was waited for until the end of the budget, which is T3's.
        self.workers[id.0 as usize].starting_since = None;
        let worker = &self.workers[id.0 as usize];
        let rule = if self.running { Rule::T2 } else { Rule::S4 };
        let dependent = self.workers.iter().position(|it| it.after.contains(&id) && it.stopped.is_none());
        // A worker that ended by itself, by its own fault, or down for its group's, waits for nobody; nor does a stop that is aborted.
        let down = worker.went_down || matches!(worker.standing, Standing::Down | Standing::Coming);
        // One that waits to begin has nothing to stop: it ends when the stop begins, like those that wait for it.
        let waited = !worker.begun;
        // Nobody closed its intake: it had come to its own end, and waited for its stop hook when the stop began.
        let by_itself = worker.open && !worker.abandoned;
        let orderly = self.stopping.is_some()
            && !(self.disorderly || worker.faulted || worker.start_failed || worker.stop_asked.is_some())
            && !(down || waited || by_itself);
        // The order yields to the budget: when the time to drain is over, all are closed.
        let over =
            self.stopping.as_ref().is_some_and(|stopping| verdicts.at >= stopping.at.saturating_add(stopping.drain));
        verdicts.demand(
            rule,
            !orderly || over || dependent.is_none(),
            || format!("{} stops after every worker that comes after it", self.name(id)),
            || {
                let other = dependent.and_then(|index| u32::try_from(index).ok()).map(WorkerId);
                format!("{} had not stopped", other.map(|id| self.name(id)).unwrap_or_default())
            },
        );
        verdicts.demand(
            Rule::V1,
            worker.stopped.is_none() && phase.is_terminal(),
            || format!("{} ends once, in a last phase", self.name(id)),
            || format!("it ended as {phase}"),
        );
        verdicts.demand(
            Rule::F3,
            !worker.owes_fault || worker.abandoned,
            || format!("{} has faulted, because it failed", self.name(id)),
            || format!("it ended as {phase} without a fault"),
        );
        verdicts.demand(
            Rule::S8,
            phase != WorkerPhase::Failed || worker.opened || worker.start_failed,
            || format!("{}, which failed before its host ran, is said not to have started", self.name(id)),
            || "nothing was said".to_owned(),
        );
        verdicts.demand(
            Rule::C1,
            phase != WorkerPhase::Failed || worker.faulted || !worker.opened,
            || format!("{} ends as failed only after a fault", self.name(id)),
            || "it had none".to_owned(),
        );
        let never = phase == WorkerPhase::NeverStarted;
        // One that failed before it ran, and did not say so, is S8's.
        let never_ran = !worker.opened && !worker.start_failed && phase != WorkerPhase::Failed;
        verdicts.demand(
            Rule::S6,
            never == never_ran,
            || format!("{} is reported as never started exactly if it never ran", self.name(id)),
            || format!("it ended as {phase}"),
        );
        self.workers[id.0 as usize].stopped = Some(phase);
        self.workers[id.0 as usize].stopped_at = verdicts.at;
        self.workers[id.0 as usize].standing = Standing::Up;
        self.begin_to_wait(verdicts.at);
    }
}
