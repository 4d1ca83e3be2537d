//! The clockwork: boots, faults, signals, healing, the last stop.
//!
//! The driver is the root future of the node's runtime. It sleeps until the next thing that the plan or the scenario's surroundings have in
//! store; the runtime does the rest. Between two lives of the node no runtime exists, and time just passes.
//!
//! A world has four acts. Until the horizon, faults strike and an exited node is started again. Then everything heals, and
//! the world must finish its work (L1). Then a last SIGTERM must end the node within its budget. Then the rules that can
//! only be told at the end are checked.

use std::{collections::VecDeque, panic::AssertUnwindSafe, time::Duration};

use shiftwork::{HostReport, Rule, Signal};
use tokio::{
    runtime::Runtime,
    task::{JoinError, JoinHandle},
};

use super::{Arrival, Node, Options, Outcome, RECOVERY, RESTART_AFTER, World, outcome::Stats};
use crate::{Plan, RuleName, Violation, What, plan::Driven, record::QueueOperation};

/// How often a healed world looks whether its work is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the last stop may take before the driver gives up. The rule about the budget (T3) speaks long before.
const LAST_STOP: Duration = Duration::from_secs(3_600);

/// How often a node may be started in one world. One that exits as soon as it is started, for ever, must end somewhere.
const BOOTS_MAX: u32 = 1_000;

/// One thing that the driver does at its time.
enum Step {
    /// The fault of this number begins; only crashes and signals need the driver's hand.
    Fault(usize),
    /// The wall clock steps, whether the node lives or not.
    SetClock {
        fault: usize,
        by_ms: i64,
    },
    Arrival(Arrival),
    Heal,
    /// Look whether the work is done; give up at the time given.
    Look {
        until: Duration,
    },
    LastStop,
    GiveUp,
}

struct Driver<'a> {
    world: World,
    plan: &'a Plan,
    once: bool,
    steps: VecDeque<(Duration, Step)>,
    reports: Vec<HostReport>,
    boots: u32,
    /// The last SIGTERM is out: the next exit is the end.
    stopping: bool,
    ended_at: Option<Duration>,
}

/// How one life of the node ended.
enum Ended {
    Exited(Option<HostReport>),
    Crashed { down: Duration },
    WorldOver,
}

pub(super) fn drive(mut world: World, plan: &Plan, options: Options) -> Outcome {
    let heal_at = world.shared.lock().heal_at();
    let mut steps: Vec<(Duration, Step)> = Vec::new();
    for (index, fault) in plan.faults.iter().enumerate() {
        let at = Duration::from_millis(fault.at_ms);
        match fault.kind.driven() {
            Some(Driven::Crash { .. } | Driven::CrashAtPoll { .. } | Driven::Signal(_)) if at < heal_at => {
                steps.push((at, Step::Fault(index)));
            }
            Some(Driven::ClockStep { by_ms }) if at < heal_at => {
                steps.push((at, Step::SetClock { fault: index, by_ms }));
            }
            Some(Driven::Crash { .. } | Driven::CrashAtPoll { .. } | Driven::Signal(_) | Driven::ClockStep { .. })
            | None => {}
        }
    }
    for arrival in std::mem::take(&mut world.arrivals) {
        steps.push((arrival.at, Step::Arrival(arrival)));
    }
    steps.push((heal_at, Step::Heal));
    // Stable: at the same time, the plan's order.
    steps.sort_by_key(|(at, _)| *at);
    let mut driver = Driver {
        world,
        plan,
        once: options.once,
        steps: steps.into(),
        reports: Vec::new(),
        boots: 0,
        stopping: false,
        ended_at: None,
    };
    driver.run();
    driver.finish()
}

impl Driver<'_> {
    fn run(&mut self) {
        loop {
            match self.live() {
                Ended::WorldOver => return,
                Ended::Crashed { down } => self.wait_down(down),
                Ended::Exited(report) => {
                    self.ended_at = Some(self.now());
                    self.reports.extend(report);
                    if self.once || self.stopping {
                        return;
                    }
                    self.wait_down(RESTART_AFTER);
                }
            }
            if self.boots == BOOTS_MAX {
                let expected = format!("the node stays up some time in its first {BOOTS_MAX} lives");
                self.violate(Rule::L1, expected, "it exited each time".into());
            }
            if self.world.shared.lock().has_violations() {
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.world.shared.lock().now()
    }

    /// One life of the node's process.
    fn live(&mut self) -> Ended {
        self.boots += 1;
        let node = Node::new(self.world.shared.clone(), self.world.seed, self.boots);
        let runtime = node.runtime().expect("a runtime without I/O can always be built");
        let ended = runtime.block_on(async {
            self.world.shared.lock().boot();
            self.world.shared.record(What::Booted { boot: self.boots });
            let Some((_, program)) = &self.world.program else {
                unreachable!("the scenario made no node: call `World::node` in its build")
            };
            let mut process = tokio::spawn(program(node));
            let ended = self.watch(&mut process).await;
            self.end_life(ended).await
        });
        self.bury(runtime);
        ended
    }

    /// What is recorded at the very end of a life, while its clock still ticks.
    async fn end_life(&mut self, ended: Ended) -> Ended {
        let shared = self.world.shared.clone();
        match &ended {
            Ended::Exited(report) => {
                // Tasks that were dropped with the host are gone at their next turn.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                let tasks_left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                let held = shared.held();
                let mut state = shared.lock();
                let now = state.now();
                if report.is_some() {
                    for (delivery, _) in held.into_iter().filter(|(_, leased)| *leased) {
                        state.record(now, What::Queue(QueueOperation::StillLeased(delivery)));
                    }
                }
                state.record(now, What::Exited { exit: report.as_ref().map(|report| report.exit), tasks_left });
            }
            Ended::Crashed { .. } => shared.record(What::Crashed),
            Ended::WorldOver => {}
        }
        let mut state = shared.lock();
        // From here on the process does nothing that could be seen outside of it.
        state.fenced = true;
        state.halt();
        ended
    }

    fn bury(&self, runtime: Runtime) {
        // A destructor of user code may panic; a process that is killed does not care.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(runtime)));
        drop(dropped);
    }

    /// Waits for the end of the process, or of the world, and does what is due meanwhile.
    async fn watch(&mut self, process: &mut JoinHandle<HostReport>) -> Ended {
        loop {
            let next = self.steps.front().map(|(at, _)| *at);
            let wake_at = {
                let state = self.world.shared.lock();
                next.map(|at| state.instant_of(at))
            };
            let shared = self.world.shared.clone();
            tokio::select! {
                biased;
                () = shared.bell.notified() => {}
                exit = &mut *process => return Ended::Exited(self.verdict(exit)),
                () = async {
                    match wake_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {
                    if let Some((_, step)) = self.steps.pop_front()
                        && let Some(ended) = self.take(step)
                    {
                        return ended;
                    }
                }
            }
            let mut state = self.world.shared.lock();
            if let Some(down) = state.crash.take() {
                return Ended::Crashed { down };
            }
            if state.has_violations() {
                return Ended::WorldOver;
            }
        }
    }

    /// The report that the node's program ended with. A panic of the program itself is a verdict that got lost.
    fn verdict(&mut self, exit: Result<HostReport, JoinError>) -> Option<HostReport> {
        match exit.map_err(JoinError::try_into_panic) {
            Ok(report) => Some(report),
            Err(Ok(panic)) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
                let happened = format!("it panicked, and said: {said}");
                self.violate(Rule::V1, "the node's program ends with a report".into(), happened);
                None
            }
            Err(Err(_)) => None,
        }
    }

    /// Does one step while the node lives.
    fn take(&mut self, step: Step) -> Option<Ended> {
        match step {
            Step::Fault(index) => match self.plan.faults[index].kind.driven() {
                Some(Driven::Crash { down }) => {
                    self.world.shared.lock().strike(index);
                    return Some(Ended::Crashed { down });
                }
                Some(Driven::CrashAtPoll { polls, down }) => {
                    self.world.shared.lock().crash_at_poll(index, polls, down);
                }
                Some(Driven::Signal(signal)) => {
                    self.world.shared.lock().strike(index);
                    return self.signal(signal);
                }
                Some(Driven::ClockStep { .. }) | None => {}
            },
            Step::LastStop => {
                self.stopping = true;
                self.plan_step(self.now() + LAST_STOP, Step::GiveUp);
                return self.signal(Signal::Terminate);
            }
            Step::GiveUp => {
                let expected =
                    if self.stopping { "the host ends after its last SIGTERM" } else { "the script ends the node" };
                self.violate(Rule::T3, expected.into(), format!("it still runs {LAST_STOP:?} later"));
                return Some(Ended::WorldOver);
            }
            surroundings @ (Step::SetClock { .. } | Step::Arrival(_) | Step::Heal | Step::Look { .. }) => {
                self.surround(surroundings);
            }
        }
        None
    }

    /// A signal reaches the process, or kills it when nobody listens.
    fn signal(&mut self, signal: Signal) -> Option<Ended> {
        self.world.shared.record(What::Signalled(signal));
        let sender = self.world.shared.lock().signals.clone();
        match sender {
            Some(sender) if sender.send(signal).is_ok() => None,
            _ => Some(Ended::Exited(None)),
        }
    }

    /// What happens whether the node lives or not.
    fn surround(&mut self, step: Step) {
        match step {
            Step::SetClock { fault, by_ms } => self.world.shared.lock().step_clock(fault, by_ms),
            Step::Arrival(arrival) => {
                (arrival.act)();
                self.world.shared.record(What::Arrived { what: arrival.what });
            }
            Step::Heal => {
                self.world.shared.lock().heal();
                self.world.shared.record(What::Healed);
                let now = self.now();
                if self.once {
                    // A script in which nothing ends the node would go on for ever.
                    self.plan_step(now + LAST_STOP, Step::GiveUp);
                } else {
                    self.plan_step(now, Step::Look { until: now + RECOVERY });
                }
            }
            Step::Look { until } => {
                let now = self.now();
                let done = self.world.done.as_mut().is_none_or(|done| done());
                if done {
                    self.world.shared.record(What::Recovered);
                    self.plan_step(now, Step::LastStop);
                } else if now >= until {
                    self.violate(
                        Rule::L1,
                        format!("all work done within {RECOVERY:?} after the last fault"),
                        "some of it is still to be done".into(),
                    );
                } else {
                    self.plan_step(now + LOOK_EVERY, Step::Look { until });
                }
            }
            Step::Fault(_) | Step::LastStop | Step::GiveUp => {}
        }
    }

    fn violate(&mut self, rule: Rule, expected: String, happened: String) {
        let mut state = self.world.shared.lock();
        let at = state.now();
        state.violate(Violation { rule: RuleName::Rule(rule), at, expected, happened });
    }

    fn plan_step(&mut self, at: Duration, step: Step) {
        let index = self.steps.partition_point(|(other, _)| *other <= at);
        self.steps.insert(index, (at, step));
    }

    /// Time passes while the process is down: its surroundings go on, signals and crashes find nobody.
    fn wait_down(&mut self, down: Duration) {
        let until = self.now() + down;
        while let Some((at, _)) = self.steps.front() {
            if *at > until {
                break;
            }
            let at = *at;
            let Some((_, step)) = self.steps.pop_front() else { break };
            self.world.shared.lock().skip_to(at);
            match step {
                Step::LastStop => {
                    // Nobody is there to be stopped; try when it is.
                    self.plan_step(until + Duration::from_millis(1), Step::LastStop);
                }
                Step::Fault(_) | Step::GiveUp => {}
                surroundings @ (Step::SetClock { .. } | Step::Arrival(_) | Step::Heal | Step::Look { .. }) => {
                    self.surround(surroundings);
                }
            }
        }
        self.world.shared.lock().skip_to(until);
    }

    fn finish(mut self) -> Outcome {
        let now = self.now();
        let held = self.world.shared.held();
        self.world.shared.lock().check_end(&held);
        // The work of a world that was stopped in the middle is not expected to be complete.
        let complete = !self.once && !self.world.shared.lock().has_violations();
        for (name, check) in &mut self.world.at_end {
            if complete && let Err(happened) = check() {
                self.world.shared.lock().violate(Violation::of_scenario(name, now, happened));
            }
        }
        let finished = self.world.shared.lock().finish();
        let stats = Stats {
            virtual_time: now,
            boots: self.boots,
            records: finished.records,
            struck: finished.struck,
            transitions: finished.transitions,
            coverage: finished.coverage,
        };
        // Program and invariants hold the world's state, which holds them: taken apart, nothing of a world is left behind.
        self.world.shared.take_apart();
        Outcome {
            plan: self.plan.clone(),
            fingerprint: finished.fingerprint,
            violations: finished.violations,
            reports: self.reports,
            stats,
            ended_at: self.ended_at.unwrap_or(now),
            timeline: finished.timeline,
        }
    }
}
