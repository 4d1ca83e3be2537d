//! The clockwork: boots, faults, signals, healing, the last stop.
//!
//! At each instant the driver takes the steps that are due, starts the processes whose time has come, and lets every node run
//! that has something to do, in the order of the nodes, until none has. Then time jumps to the next thing that can happen anywhere. A
//! node that lives alone runs on by itself up to the next step, without a visit to the driver at each of its timers; but
//! not where faults are put at deadlines, or were (`plan/timing.rs`).
//!
//! A world has four acts. Until the horizon, faults strike and an exited node is started again. Then everything heals, and
//! the world must finish its work (L1). Then a last SIGTERM must end every node within its budget. Then the rules that can
//! only be told at the end are checked.

use std::{panic::resume_unwind, time::Duration};

use shiftwork::{HostReport, Rule, Signal};

use super::{
    Node, Options, Outcome, RECOVERY, RESTART_AFTER, World,
    agenda::{Agenda, Step},
    deadlines::{Put, Waits},
    life::{Exit, Life},
    machine::{Machine, Machinery},
    outcome::{NodeReport, Stats},
};
use crate::{
    Plan, RuleName, Violation, What, interpose,
    plan::{Driven, Timing},
    record::{NodeId, QueueOperation},
    rules::user,
};

/// How often a healed world looks whether its work is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the last stop may take before the driver gives up. The rule about the budget (T3) speaks long before.
const LAST_STOP: Duration = Duration::from_secs(3_600);

/// How often a node may be started in one world. One that exits as soon as it is started, for ever, must end somewhere.
const BOOTS_MAX: u32 = 1_000;

struct Driver<'a> {
    world: World,
    plan: &'a Plan,
    once: bool,
    /// No node runs on by itself to another instant.
    by_instants: bool,
    agenda: Agenda,
    nodes: Vec<Machine>,
    reports: Vec<NodeReport>,
    /// The last SIGTERM is out: the next exit of a node is its end.
    stopping: bool,
    over: bool,
    ended_at: Option<Duration>,
}

/// How one life of a node ended.
enum Ended {
    /// By itself.
    Exited(Exit),
    /// By a signal that nobody listened to.
    KilledBySignal,
    /// By a fault.
    Crashed { down: Duration },
}

pub(super) fn drive(mut world: World, plan: &Plan, options: Options) -> Outcome {
    let heal_at = world.shared.lock().heal_at();
    let mut agenda = Agenda::default();
    for (index, fault) in plan.faults.iter().enumerate() {
        let at = Duration::from_millis(fault.at_ms);
        let driven = fault.kind.driven();
        // A date is said as the world begins, and its change does not wait for anything.
        let is_date = driven == Some(Driven::DstChange);
        if plan.timing == Timing::AtDeadlines && !at.is_zero() && !is_date {
            if at < heal_at {
                // It is not in force before it is known when it begins.
                world.shared.lock().faults[index].begins_at(Duration::MAX);
                agenda.add(at, Step::Aim(index));
            }
            continue;
        }
        match driven {
            // The first polls of all count too, and the agenda's first steps meet processes that have begun.
            Some(Driven::AtPoll { polls, deed }) if at.is_zero() => {
                let named = |node: &&Machine| fault.kind.node().is_none_or(|name| *node.name == *name);
                if let Some(node) = world.nodes.iter().find(named) {
                    world.shared.lock().wait_for_poll(node.id, index, polls, deed);
                }
            }
            Some(_) if at < heal_at => agenda.add(at, Step::Fault(index)),
            Some(_) | None => {}
        }
    }
    for arrival in std::mem::take(&mut world.arrivals) {
        agenda.add(arrival.at, Step::Arrival(arrival));
    }
    for (at, node, signal) in std::mem::take(&mut world.orders) {
        agenda.add(at, Step::Order(node, signal));
    }
    agenda.add(heal_at, Step::Heal);
    let nodes = std::mem::take(&mut world.nodes);
    assert!(!nodes.is_empty(), "the scenario made no node: call `World::node` in its build");
    let mut driver = Driver {
        world,
        plan,
        once: options.once,
        // Elsewhere time passes inside of the runtime alone.
        by_instants: interpose::IN_FORCE && plan.timing.goes_by_instants(),
        agenda,
        nodes,
        reports: Vec::new(),
        stopping: false,
        over: false,
        ended_at: None,
    };
    driver.run();
    driver.finish()
}

impl Driver<'_> {
    fn run(&mut self) {
        // What the plan has for the very beginning meets processes that have begun.
        let mut begun = false;
        loop {
            let done = self.nodes.iter().all(|node| matches!(node.state, Machinery::Gone));
            if done || self.over || self.world.shared.lock().has_violations() {
                return;
            }
            let now = self.now();
            if begun && let Some(step) = self.agenda.take_due(now) {
                self.take(step);
            } else if let Some(index) = self.nodes.iter().position(|node| node.must_boot(now)) {
                self.boot(index);
            } else if let Some(index) = self.nodes.iter().position(|node| node.is_ready(now)) {
                self.let_run(index, now);
            } else if !begun {
                begun = true;
            } else {
                let next = self.nodes.iter().filter_map(Machine::next_at).chain(self.agenda.next_at()).min();
                // There is always a step to come, or the world is over.
                let Some(next) = next else { return };
                self.world.shared.lock().pass_to(next);
                if self.now() == now {
                    // It lies behind the end of the clock, which is centuries away.
                    return;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.world.shared.lock().now()
    }

    /// Starts a node's process.
    fn boot(&mut self, index: usize) {
        let shared = self.world.shared.clone();
        let machine = &mut self.nodes[index];
        if machine.boots == BOOTS_MAX {
            let expected = format!("the node stays up some time in its first {BOOTS_MAX} lives");
            self.violate(Rule::L1, expected, "it exited each time".into());
            return;
        }
        if !std::mem::replace(&mut machine.delayed, true) {
            let mut state = shared.lock();
            let delay = state.start_delay(machine.id);
            if !delay.is_zero() {
                machine.state = Machinery::Down { until: state.over_when_healed(delay) };
                return;
            }
        }
        machine.delayed = false;
        machine.boots += 1;
        let boot = machine.boots;
        let node = Node::new(shared.clone(), machine.id, machine.name.clone(), self.world.seed, boot);
        let now = {
            let mut state = shared.lock();
            state.switch_to(Some(machine.id));
            state.boot();
            let now = state.now();
            state.record(now, What::Booted { boot });
            now
        };
        let life = Life::begin(node, &machine.program, now).expect("a runtime without I/O can always be built");
        machine.state = Machinery::Up(life);
        let mut state = shared.lock();
        state.has_kept_waiting(now);
        state.switch_to(None);
    }

    /// Lets a node run until it has nothing left to do, or something else in the world comes first.
    fn let_run(&mut self, index: usize, now: Duration) {
        let others_live = self.nodes.iter().enumerate().any(|(other, node)| other != index && node.is_live());
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        let limit = if others_live || self.by_instants {
            now
        } else {
            let next = others.filter_map(|(_, node)| node.next_at()).chain(self.agenda.next_at());
            let judged = self.world.shared.lock().judged_at();
            next.chain(judged).min().unwrap_or(Duration::MAX)
        };
        let shared = self.world.shared.clone();
        let machine = &mut self.nodes[index];
        let Machinery::Up(life) = &mut machine.state else { return };
        shared.lock().switch_to(Some(machine.id));
        life.run(limit);
        let crash = shared.lock().crash.take();
        let ended = match crash {
            Some(down) => Some(Ended::Crashed { down }),
            None => life.exit().map(Ended::Exited),
        };
        match ended {
            Some(ended) => self.end_life(index, ended),
            None => shared.lock().switch_to(None),
        }
    }

    /// The process of a node is over.
    fn end_life(&mut self, index: usize, ended: Ended) {
        let shared = self.world.shared.clone();
        let machine = &mut self.nodes[index];
        let Machinery::Up(mut life) = std::mem::replace(&mut machine.state, Machinery::Gone) else { return };
        let (id, name) = (machine.id, machine.name.clone());
        (machine.paused_until, machine.killed_when_resumed) = (None, false);
        {
            let mut state = shared.lock();
            state.switch_to(Some(id));
            state.forget_polls(id);
        }
        let back_in = match ended {
            Ended::Crashed { down } => {
                shared.record(What::Crashed);
                Some(down)
            }
            Ended::KilledBySignal => {
                self.exited(&mut life, None);
                self.restart_after_exit(index)
            }
            Ended::Exited(Exit::Report(report)) => {
                self.exited(&mut life, Some(&report));
                self.reports.push(NodeReport { node: name, report });
                self.restart_after_exit(index)
            }
            Ended::Exited(Exit::Panicked(said)) => {
                let happened = format!("it panicked, and said: {said}");
                self.violate(Rule::V1, "the node's program ends with a report".into(), happened);
                self.exited(&mut life, None);
                self.restart_after_exit(index)
            }
        };
        shared.lock().fence();
        life.bury();
        shared.lock().switch_to(None);
        if let Some(back_in) = back_in {
            // Like every fault, a crash is over when the world heals.
            let until = shared.lock().over_when_healed(back_in);
            self.nodes[index].state = Machinery::Down { until };
        }
    }

    /// What is recorded when a process has ended by itself.
    fn exited(&mut self, life: &mut Life, report: Option<&HostReport>) {
        // One that was killed has no turn more, not even to be counted.
        let tasks_left = report.map_or(0, |_| life.tasks_left());
        let held = self.world.shared.held();
        let mut state = self.world.shared.lock();
        let now = state.now();
        if report.is_some() {
            for (delivery, _) in held.into_iter().filter(|(_, leased)| *leased) {
                state.record(now, What::Queue(QueueOperation::StillLeased(delivery)));
            }
        }
        state.record(now, What::Exited { exit: report.map(|report| report.exit), tasks_left });
        self.ended_at = Some(now);
    }

    /// After which time a node that has exited is started again, if it is.
    fn restart_after_exit(&self, index: usize) -> Option<Duration> {
        let last = self.once || self.nodes[index].told_last;
        (!last).then_some(RESTART_AFTER)
    }

    /// Takes one step of the agenda.
    fn take(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Fault(fault) => self.begin(fault, now),
            Step::Aim(fault) => self.aim(fault, false),
            Step::Follow(fault) => self.aim(fault, true),
            Step::Aimed(fault) => {
                let waits = self.waits();
                self.world.shared.lock().put_end_at_deadline(fault, &waits);
                self.begin(fault, now);
            }
            Step::Resume(id) => self.resume(id, now),
            Step::Arrival(arrival) => {
                (arrival.act)();
                self.world.shared.record(What::Arrived { what: arrival.what });
            }
            Step::Order(id, signal) => {
                let index = usize::from(id.0);
                // After the last SIGTERM nobody is deployed any more.
                if matches!(self.nodes[index].state, Machinery::Up(_)) && !self.stopping {
                    self.signal(index, signal);
                }
            }
            Step::Heal => {
                self.world.shared.lock().heal();
                self.world.shared.record(What::Healed);
                if self.once {
                    // A script in which nothing ends the node would go on for ever.
                    self.agenda.add(now + LAST_STOP, Step::GiveUp);
                } else {
                    self.agenda.add(now, Step::Look { until: now + RECOVERY });
                }
            }
            Step::Look { until } => self.look(now, until),
            Step::LastStop => self.last_stop(now),
            Step::GiveUp => {
                let expected =
                    if self.stopping { "the host ends after its last SIGTERM" } else { "the script ends the node" };
                self.violate(Rule::T3, expected.into(), format!("it still runs {LAST_STOP:?} later"));
                self.over = true;
            }
        }
    }

    /// The time of a fault has come: it strikes, unless it would change nothing.
    fn begin(&mut self, fault: usize, now: Duration) {
        if !self.is_idle_pause(fault, now) {
            self.strike(fault, now);
        }
    }

    /// Whether a fault is a pause that is over at once, or before the one in which its node stands still already.
    fn is_idle_pause(&self, fault: usize, now: Duration) -> bool {
        let (driven, heal_at) = {
            let state = self.world.shared.lock();
            (state.faults[fault].kind.driven(), state.heal_at())
        };
        let Some(Driven::Pause { lasts }) = driven else { return false };
        let standing = self.target(fault).and_then(|index| self.nodes[index].paused_until);
        (now + lasts).min(heal_at) <= standing.unwrap_or(now)
    }

    /// Puts a fault at a deadline.
    fn aim(&mut self, fault: usize, follows: bool) {
        let waits = self.waits();
        let put = self.world.shared.lock().put_at_deadline(fault, follows, &waits);
        match put {
            Put::At(at) => self.agenda.add(at, Step::Aimed(fault)),
            Put::Follow(at) => self.agenda.add(at, Step::Follow(fault)),
        }
    }

    /// What is waited for as far as the driver knows.
    fn waits(&self) -> Waits {
        let timers = self.nodes.iter().map(Machine::next_timer).collect();
        Waits { timers, surroundings: self.agenda.surroundings().collect() }
    }

    /// The node that a fault names; the first if it names none, and no place if there is no such node.
    fn target(&self, fault: usize) -> Option<usize> {
        match self.plan.faults[fault].kind.node() {
            Some(name) => self.nodes.iter().position(|node| *node.name == *name),
            None => Some(0),
        }
    }

    /// A fault of a process, or of its clock, begins.
    fn strike(&mut self, fault: usize, now: Duration) {
        let Some(driven) = self.world.shared.lock().faults[fault].kind.driven() else { return };
        match driven {
            Driven::Crash { down } => {
                if let Some(index) = self.strike_process(fault) {
                    self.end_life(index, Ended::Crashed { down });
                }
            }
            Driven::AtPoll { polls, deed } => {
                // It strikes when so many polls have been, be they the first of a process that is still to begin.
                if let Some(index) = self.target(fault) {
                    self.world.shared.lock().wait_for_poll(self.nodes[index].id, fault, polls, deed);
                }
            }
            Driven::Pause { lasts } => {
                if let Some(index) = self.strike_process(fault) {
                    // Like every fault, it is over when the world heals.
                    let heal_at = self.world.shared.lock().heal_at();
                    self.pause(index, (now + lasts).min(heal_at));
                }
            }
            Driven::Signal(signal) => {
                if let Some(index) = self.strike_process(fault) {
                    self.signal(index, signal);
                }
            }
            Driven::ClockStep { by_ms } => self.clock_steps(fault, by_ms),
            Driven::DstChange => self.clocks_change(fault),
            Driven::Downtime { wall_ms } => self.downtime(fault, wall_ms),
        }
    }

    /// The process that a fault names is struck by it. Which that is, if it is there: signals and crashes of another find nobody.
    fn strike_process(&self, fault: usize) -> Option<usize> {
        let index = self.target(fault)?;
        let Machine { id, state: Machinery::Up(_), .. } = &self.nodes[index] else { return None };
        let mut state = self.world.shared.lock();
        state.switch_to(Some(*id));
        state.strike(fault);
        state.switch_to(None);
        Some(index)
    }

    /// The wall clock of the node that a fault names steps, or that of every node, whether processes live or not.
    fn clock_steps(&self, fault: usize, by_ms: i64) {
        let target = self.target(fault).map(|index| self.nodes[index].id);
        match (self.plan.faults[fault].kind.node(), target) {
            (None, _) => self.world.shared.lock().step_clock(fault, None, by_ms),
            (Some(_), Some(id)) => self.world.shared.lock().step_clock(fault, Some(id), by_ms),
            (Some(_), None) => {}
        }
    }

    /// The clocks of a zone change, if it is the change that the world has its date by: somebody may notice who lives, and whose clock has
    /// not been stepped over it, or away from it.
    fn clocks_change(&self, fault: usize) {
        let Some(date) = self.world.date.filter(|date| date.fault == fault) else { return };
        let mut state = self.world.shared.lock();
        let notices = |node: &Machine| {
            matches!(node.state, Machinery::Up(_)) && state.wall_offset_ms(Some(node.id)) == date.offset_ms
        };
        if self.nodes.iter().any(notices) {
            state.strike(fault);
        }
    }

    /// Every process is killed; by the time that they are started again, the wall clocks of all nodes have gone on by so much.
    fn downtime(&mut self, fault: usize, wall_ms: u64) {
        let nobody_is_up = self.nodes.iter().all(|node| !matches!(node.state, Machinery::Up(_)));
        if nobody_is_up && wall_ms == 0 {
            return;
        }
        // Before: workers are struck where they stand.
        self.world.shared.lock().strike(fault);
        for index in 0..self.nodes.len() {
            // One that is down comes back in its own time, and finds what the others find.
            if matches!(self.nodes[index].state, Machinery::Up(_)) {
                self.end_life(index, Ended::Crashed { down: RESTART_AFTER });
            }
        }
        let by_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
        self.world.shared.lock().step_clock(fault, None, by_ms);
    }

    /// A node stands still.
    fn pause(&mut self, index: usize, until: Duration) {
        let machine = &mut self.nodes[index];
        if machine.paused_until.is_none_or(|other| other < until) {
            let standing = machine.paused_until.replace(until).is_some();
            let id = machine.id;
            if !standing {
                self.record_of(id, What::Paused);
            }
            self.agenda.add(until, Step::Resume(id));
        }
    }

    /// A node goes on; its timers may be long overdue.
    fn resume(&mut self, id: NodeId, now: Duration) {
        let machine = &mut self.nodes[usize::from(id.0)];
        if machine.paused_until.is_some_and(|until| until <= now) {
            machine.paused_until = None;
            let killed = std::mem::take(&mut machine.killed_when_resumed);
            self.record_of(id, What::Resumed);
            if killed {
                self.end_life(usize::from(id.0), Ended::KilledBySignal);
            }
        }
    }

    fn record_of(&self, id: NodeId, what: What) {
        let mut state = self.world.shared.lock();
        state.switch_to(Some(id));
        let now = state.now();
        state.record(now, what);
        state.switch_to(None);
    }

    /// A signal reaches a process, or kills it when nobody listens.
    fn signal(&mut self, index: usize, signal: Signal) {
        let id = self.nodes[index].id;
        self.record_of(id, What::Signalled(signal));
        let heard = self.world.shared.lock().signal(id, signal);
        if !heard && self.nodes[index].paused_until.is_some() {
            self.nodes[index].killed_when_resumed = true;
        } else if !heard {
            self.end_life(index, Ended::KilledBySignal);
        }
    }

    /// Looks whether the work of a healed world is done.
    fn look(&mut self, now: Duration, until: Duration) {
        let done = self.world.done.as_mut().is_none_or(|done| done());
        if done {
            self.world.shared.record(What::Recovered);
            self.agenda.add(now, Step::LastStop);
        } else if now >= until {
            self.violate(
                Rule::L1,
                format!("all work done within {RECOVERY:?} after the last fault"),
                "some of it is still to be done".into(),
            );
        } else {
            self.agenda.add(now + LOOK_EVERY, Step::Look { until });
        }
    }

    /// A last SIGTERM for every node that has not had it; those that are down get it when they are up.
    fn last_stop(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.agenda.add(now + LAST_STOP, Step::GiveUp);
        }
        for index in 0..self.nodes.len() {
            match self.nodes[index].state {
                Machinery::Up(_) if !self.nodes[index].told_last => {
                    self.nodes[index].told_last = true;
                    self.signal(index, Signal::Terminate);
                }
                Machinery::Down { until } => self.agenda.add(until + Duration::from_millis(1), Step::LastStop),
                Machinery::Up(_) | Machinery::Gone => {}
            }
        }
    }

    fn violate(&mut self, rule: Rule, expected: String, happened: String) {
        let mut state = self.world.shared.lock();
        let at = state.now();
        state.violate(Violation { rule: RuleName::Rule(rule), at, expected, happened });
    }

    fn finish(mut self) -> Outcome {
        let shared = self.world.shared.clone();
        // Nodes that still live when the world is over: nobody looks at what they leave.
        for machine in &mut self.nodes {
            if let Machinery::Up(life) = std::mem::replace(&mut machine.state, Machinery::Gone) {
                let mut state = shared.lock();
                state.switch_to(Some(machine.id));
                state.fence();
                drop(state);
                life.bury();
                shared.lock().switch_to(None);
            }
        }
        let panicked = shared.lock().take_panic();
        if let Some(panic) = panicked {
            // Programs and invariants hold the world's state, which holds them.
            shared.take_apart();
            resume_unwind(panic);
        }
        let now = self.now();
        let held = shared.held();
        shared.lock().check_end(&held, !self.once);
        // The work of a world that was stopped in the middle is not expected to be complete.
        let complete = !self.once && !shared.lock().has_violations();
        for (name, check) in &mut self.world.at_end {
            if complete && let Err(happened) = user::ask(check).and_then(|said| said) {
                shared.lock().violate(Violation::of_scenario(name, now, happened));
            }
        }
        let finished = shared.lock().finish();
        let stats = Stats {
            virtual_time: now,
            boots: self.nodes.iter().map(|node| node.boots).sum(),
            records: finished.records,
            struck: finished.struck,
            transitions: finished.transitions,
            coverage: finished.coverage,
            sometimes: finished.sometimes,
        };
        // Programs and invariants hold the world's state, which holds them: taken apart, nothing of a world is left behind.
        shared.take_apart();
        let mut plan = shared.lock().plan_as_it_was(self.plan);
        if let Some(tape) = shared.order_taken() {
            plan.order = tape;
        }
        Outcome {
            plan,
            fingerprint: finished.fingerprint,
            violations: finished.violations,
            reports: self.reports,
            stats,
            ended_at: self.ended_at.unwrap_or(now),
            timeline: finished.timeline,
            survey: finished.survey,
            slow_polls: finished.slow_polls,
        }
    }
}
