//! Where workers stood when faults struck: the matrix of moments × kinds of faults.
//!
//! A moment is finer than a phase. "Running" says little about a fault; that a process was killed after a call had had its effect
//! and before that was stored says much. What a fault did is the affair of the rules.

use std::fmt;

use shiftwork::event::{Event, Settle, WorkerId, WorkerPhase};

use crate::{FaultKind, Record, What};

/// Where a worker stood when a fault first struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// No process runs: it was killed, or has exited and waits to be started again.
    Down,
    /// The process runs, and its host does not yet: configuration is read, no signal handler exists.
    Booting,
    /// The worker waits for its start hook, or is in it.
    Starting,
    /// The worker is ready and waits for the others.
    Ready,
    /// The host stops before it ran.
    RollingBack,
    /// Intake is open and no cycle runs.
    Idle,
    /// A cycle runs.
    InCycle,
    /// A cycle runs, and a call that it made has had its effect.
    AfterEffect,
    /// A cycle has ended, and what follows from it is not yet stored.
    Settling,
    /// No cycle runs, and a failed attempt waits for its next one.
    Backoff,
    /// The breaker is open and intake pauses.
    BreakerOpen,
    /// The breaker's probe runs.
    Probing,
    /// The worker faulted and waits for its next life.
    RestartDelay,
    /// Intake is closed; cycles in flight may finish.
    Draining,
    /// Cycles in flight were asked to end.
    Cancelling,
    /// Cycles in flight are dropped.
    Aborting,
    /// Intake is closed and no cycle runs: the stop hook, or the way to it.
    Closing,
    /// The worker has ended; its process has not.
    Ended,
}

impl Moment {
    /// Every moment, in the order of a worker's life.
    pub const ALL: [Moment; 18] = [
        Moment::Down,
        Moment::Booting,
        Moment::Starting,
        Moment::Ready,
        Moment::RollingBack,
        Moment::Idle,
        Moment::InCycle,
        Moment::AfterEffect,
        Moment::Settling,
        Moment::Backoff,
        Moment::BreakerOpen,
        Moment::Probing,
        Moment::RestartDelay,
        Moment::Draining,
        Moment::Cancelling,
        Moment::Aborting,
        Moment::Closing,
        Moment::Ended,
    ];

    /// The word for it in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Moment::Down => "down",
            Moment::Booting => "booting",
            Moment::Starting => "starting",
            Moment::Ready => "ready",
            Moment::RollingBack => "rolling_back",
            Moment::Idle => "idle",
            Moment::InCycle => "in_cycle",
            Moment::AfterEffect => "after_effect",
            Moment::Settling => "settling",
            Moment::Backoff => "backoff",
            Moment::BreakerOpen => "breaker_open",
            Moment::Probing => "probing",
            Moment::RestartDelay => "restart_delay",
            Moment::Draining => "draining",
            Moment::Cancelling => "cancelling",
            Moment::Aborting => "aborting",
            Moment::Closing => "closing",
            Moment::Ended => "ended",
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which kinds of faults struck at which moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage([u64; Moment::ALL.len()]);

const _: () = assert!(FaultKind::NAMES.len() <= 64, "a moment's kinds of faults are the bits of one word");

impl Coverage {
    /// Whether a fault of this kind, by its place in [`FaultKind::NAMES`], struck at this moment.
    #[must_use]
    pub fn has(&self, moment: Moment, kind: usize) -> bool {
        self.0[moment as usize] & (1 << kind) != 0
    }

    /// Each moment with the place of a kind that struck then, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (Moment, usize)> {
        let kinds = 0..FaultKind::NAMES.len();
        Moment::ALL.into_iter().flat_map(move |moment| kinds.clone().map(move |kind| (moment, kind))).filter({
            let this = *self;
            move |(moment, kind)| this.has(*moment, *kind)
        })
    }

    /// Adds everything that `other` has.
    pub fn merge(&mut self, other: Coverage) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    fn insert(&mut self, moment: Moment, kind: usize) {
        self.0[moment as usize] |= 1 << kind;
    }
}

/// The place of a kind of fault in [`FaultKind::NAMES`].
#[must_use]
pub fn kind_index(kind: &FaultKind) -> usize {
    FaultKind::NAMES.iter().position(|name| *name == kind.name()).unwrap_or(0)
}

/// Follows where workers stand, and what strikes them there.
#[derive(Default)]
pub(crate) struct Watcher {
    /// The kind of each fault of the plan.
    kinds: Vec<usize>,
    up: bool,
    host: bool,
    was_running: bool,
    stopping: bool,
    workers: Vec<Standing>,
    cycles: Vec<Cycle>,
    seen: Coverage,
}

/// Where one worker stands.
struct Standing {
    phase: WorkerPhase,
    retry_waits: bool,
    breaker: Gate,
}

#[derive(PartialEq)]
enum Gate {
    Closed,
    Open,
    Probing,
}

/// A cycle whose outcome is not yet stored.
struct Cycle {
    worker: WorkerId,
    task: u32,
    moment: Moment,
}

impl Watcher {
    pub(super) fn of_kinds(kinds: Vec<usize>) -> Self {
        Self { kinds, ..Self::default() }
    }

    pub(super) fn seen(&self) -> Coverage {
        self.seen
    }

    /// Where everything in the process stands: for each worker, the moments as bits.
    pub(crate) fn situation(&self) -> Vec<u32> {
        if !self.host {
            return vec![1 << (if self.up { Moment::Booting } else { Moment::Down }) as u32];
        }
        let of_worker = |index: usize| {
            let worker = WorkerId(u32::try_from(index).unwrap_or(u32::MAX));
            let cycles = || self.cycles.iter().filter(|cycle| cycle.worker == worker).map(|cycle| cycle.moment);
            let moments = cycles().chain(self.standing(index, cycles().next().is_some()).into_iter().flatten());
            moments.fold(0, |bits, moment| bits | 1 << moment as u32)
        };
        (0..self.workers.len()).map(of_worker).collect()
    }

    /// Where the cycle stands that a task works on, and whose it is.
    pub(crate) fn doing(&self, task: u32) -> Option<(WorkerId, Moment)> {
        self.cycles.iter().find(|cycle| cycle.task == task).map(|cycle| (cycle.worker, cycle.moment))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other records move no worker")]
    pub(crate) fn on(&mut self, record: &Record) {
        match &record.what {
            What::Booted { .. } => {
                self.forget();
                self.up = true;
            }
            What::Crashed | What::Exited { .. } => self.forget(),
            What::Struck { fault } => self.struck(*fault),
            What::CallTookEffect { .. } => {
                let mine = |cycle: &&mut Cycle| cycle.task == record.task && cycle.moment == Moment::InCycle;
                for cycle in self.cycles.iter_mut().filter(mine) {
                    cycle.moment = Moment::AfterEffect;
                }
            }
            What::Host(event) => self.on_event(record.task, event),
            _ => {}
        }
    }

    fn forget(&mut self) {
        (self.up, self.host, self.was_running, self.stopping) = (false, false, false, false);
        self.workers.clear();
        self.cycles.clear();
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events move no worker")]
    fn on_event(&mut self, task: u32, event: &Event) {
        match event {
            Event::HostStarting { workers } => {
                self.host = true;
                let pending = || Standing { phase: WorkerPhase::Pending, retry_waits: false, breaker: Gate::Closed };
                self.workers = workers.iter().map(|_| pending()).collect();
            }
            Event::HostRunning => self.was_running = true,
            Event::HostStopping { .. } => self.stopping = true,
            Event::CycleStarted { worker, .. } => {
                self.cycles.push(Cycle { worker: *worker, task, moment: Moment::InCycle });
                self.with(*worker, |it| it.retry_waits = false);
            }
            Event::CycleEnded { worker, .. } => {
                let mine = |cycle: &&mut Cycle| cycle.task == task && cycle.worker == *worker;
                if let Some(cycle) = self.cycles.iter_mut().find(mine) {
                    cycle.moment = Moment::Settling;
                }
            }
            Event::Settled { worker, settle, .. } => {
                self.settled(*worker, task);
                if matches!(settle, Settle::Retry { .. }) {
                    self.with(*worker, |it| it.retry_waits = true);
                }
            }
            Event::SettleFailed { worker, .. } => self.settled(*worker, task),
            Event::BreakerOpened { worker, .. } => self.with(*worker, |it| it.breaker = Gate::Open),
            Event::BreakerProbing { worker, .. } => self.with(*worker, |it| it.breaker = Gate::Probing),
            Event::BreakerClosed { worker, .. } => self.with(*worker, |it| it.breaker = Gate::Closed),
            _ => {
                if let Some((worker, phase)) = event.phase() {
                    self.with(worker, |it| it.phase = phase);
                }
            }
        }
    }

    fn with(&mut self, WorkerId(index): WorkerId, change: impl FnOnce(&mut Standing)) {
        if let Some(worker) = self.workers.get_mut(index as usize) {
            change(worker);
        }
    }

    fn settled(&mut self, worker: WorkerId, task: u32) {
        let mine = |cycle: &Cycle| cycle.task == task && cycle.worker == worker;
        if let Some(index) = self.cycles.iter().position(mine) {
            self.cycles.swap_remove(index);
        }
    }

    fn struck(&mut self, fault: usize) {
        let Some(kind) = self.kinds.get(fault).copied() else { return };
        if !self.up {
            self.seen.insert(Moment::Down, kind);
        } else if !self.host {
            self.seen.insert(Moment::Booting, kind);
        }
        for index in 0..self.workers.len() {
            let worker = WorkerId(u32::try_from(index).unwrap_or(u32::MAX));
            let mut in_flight = false;
            for cycle in self.cycles.iter().filter(|cycle| cycle.worker == worker) {
                in_flight = true;
                self.seen.insert(cycle.moment, kind);
            }
            for moment in self.standing(index, in_flight).into_iter().flatten() {
                self.seen.insert(moment, kind);
            }
        }
    }

    /// Where a worker stands, apart from what its cycles do.
    fn standing(&self, index: usize, in_flight: bool) -> [Option<Moment>; 2] {
        let worker = &self.workers[index];
        let rolls_back = self.stopping && !self.was_running;
        let unless_idle = |moment| Some(if in_flight { moment } else { Moment::Closing });
        let phase = match worker.phase {
            _ if rolls_back && !worker.phase.is_terminal() => Some(Moment::RollingBack),
            WorkerPhase::Pending | WorkerPhase::Starting => Some(Moment::Starting),
            WorkerPhase::Ready => Some(Moment::Ready),
            WorkerPhase::Running if in_flight || worker.breaker != Gate::Closed => None,
            WorkerPhase::Running if worker.retry_waits => Some(Moment::Backoff),
            WorkerPhase::Running => Some(Moment::Idle),
            WorkerPhase::Restarting => Some(Moment::RestartDelay),
            WorkerPhase::Draining => unless_idle(Moment::Draining),
            WorkerPhase::Cancelling => unless_idle(Moment::Cancelling),
            WorkerPhase::Aborting => unless_idle(Moment::Aborting),
            WorkerPhase::Closing => Some(Moment::Closing),
            WorkerPhase::Stopped | WorkerPhase::Failed | WorkerPhase::Aborted | WorkerPhase::NeverStarted => {
                Some(Moment::Ended)
            }
        };
        let breaker = match worker.breaker {
            Gate::Closed => None,
            Gate::Open => Some(Moment::BreakerOpen),
            Gate::Probing => Some(Moment::Probing),
        };
        [phase, breaker]
    }
}

#[cfg(test)]
mod tests {
    use shiftwork::{Context, Failure, Schedule, Signal, Tick};

    use super::*;
    use crate::{Outcome, Script, dependency::Latency, millis, plan, secs, site};

    /// A call of 20 ms every ten seconds, from 0 s on.
    fn world(script: Script) -> Outcome {
        script.at(secs(61), Signal::Terminate).run_once(|world| {
            let smtp = world.dependency_with("smtp", Latency::constant(millis(20)));
            world.node("mailer", move |node| {
                let smtp = smtp.clone();
                let send = move |_: Tick, _: Context| {
                    let smtp = smtp.clone();
                    async move { Ok::<(), Failure>(smtp.call(async {}).await?) }
                };
                node.host().worker("send", Schedule::every(secs(10)), send).run_until_signal()
            });
        })
    }

    fn moments_of(outcome: &Outcome, name: &str) -> Vec<Moment> {
        let pairs = outcome.stats.coverage.pairs();
        pairs.filter(|(_, kind)| FaultKind::NAMES[*kind] == name).map(|(moment, _)| moment).collect()
    }

    #[test]
    fn a_fault_is_counted_where_the_worker_stood() {
        assert_eq!(moments_of(&world(Script::new().at(secs(5), plan::crash(secs(1)))), "crash"), [Moment::Idle]);
        let in_cycle = world(Script::new().at(millis(10_005), plan::crash(secs(1))));
        assert_eq!(moments_of(&in_cycle, "crash"), [Moment::InCycle]);
        let after_effect = world(Script::new().at(millis(10_015), plan::crash(secs(1))));
        assert_eq!(moments_of(&after_effect, "crash"), [Moment::AfterEffect]);
    }

    #[test]
    fn a_fault_while_the_process_is_down_and_one_in_the_backoff_are_told_apart() {
        let script = Script::new()
            .at(secs(5), plan::crash(secs(2)))
            .at(secs(6), plan::clock_forward(secs(1)))
            .at(secs(15), site("smtp").outage().lasting(secs(5)));
        let outcome = world(script.at(millis(17_500), plan::clock_forward(secs(1))));
        assert_eq!(moments_of(&outcome, "clock_step"), [Moment::Down, Moment::Backoff]);
    }

    #[test]
    fn a_fault_that_never_struck_is_nowhere() {
        let outcome = world(Script::new().at(secs(5), site("nobody").outage()));
        assert_eq!(moments_of(&outcome, "outage"), []);
        assert_eq!(outcome.stats.coverage.pairs().map(|(moment, _)| moment).collect::<Vec<_>>(), [Moment::Idle]);
    }
}
