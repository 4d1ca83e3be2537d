//! The invariants: what must hold on every event of every world, each named after the lifecycle rule that it checks.
//!
//! The rules see what a person with a log of everything would see, and know nothing of how the runtime works. They are told
//! of each record once, in order, and keep only what they need to judge the next. Those of hosts look at each node by
//! itself; what becomes of deliveries is the whole world's affair.
//!
//! | file | rules |
//! | --- | --- |
//! | `rules/life.rs` | S, T and V: how a host starts, stops and reports |
//! | `rules/cycles.rs` | C and D: how cycles follow from policies and schedules |
//! | `rules/superseded.rs` | D6: ticks that do not wait |
//! | `rules/deliveries.rs` | Q: what becomes of every delivery |
//! | `rules/breaker.rs` | B: a dependency that is down |
//! | `rules/foreign.rs` | T3 and T6 for a worker that does not use the runtime |
//! | `rules/user.rs` | a scenario's own: always, sometimes, eventually |
//! | `rules/judge.rs` | the built-in rules over records that come from elsewhere |
//! | `rules/transitions.rs` | which transitions of the lifecycle were seen |
//! | `rules/coverage.rs` | where workers stood when faults struck |

// A closed enum must be thought about again when it grows.
#![warn(clippy::wildcard_enum_match_arm)]

mod breaker;
mod coverage;
mod cycles;
mod deliveries;
mod foreign;
mod judge;
mod life;
mod superseded;
mod transitions;
pub(crate) mod user;

use std::{collections::BTreeSet, fmt, time::Duration};

pub(crate) use coverage::Watcher;
pub use coverage::{Coverage, Moment, kind_index};
pub use judge::Judge;
use shiftwork::{Rule, queue::DeliveryId};
pub use transitions::Transitions;
pub use user::Sometimes;

use crate::{Record, What, record::NodeId};

/// The name of a rule: one of the lifecycle's, or a scenario's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleName {
    /// A rule of the lifecycle.
    Rule(Rule),
    /// An invariant of the scenario.
    Scenario(String),
}

impl RuleName {
    /// Its short name: `T1`, or what the scenario called it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            RuleName::Rule(rule) => rule.id(),
            RuleName::Scenario(name) => name,
        }
    }

    /// Whether it is about work going on again, rather than about something bad that happened.
    #[must_use]
    pub fn is_liveness(&self) -> bool {
        matches!(self, RuleName::Rule(Rule::L1 | Rule::L2))
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleName::Rule(rule) => rule.fmt(f),
            RuleName::Scenario(name) => f.write_str(name),
        }
    }
}

/// A rule that broke: what was expected, and what happened instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: RuleName,
    /// When, since the world began.
    pub at: Duration,
    /// What the rule demands here.
    pub expected: String,
    /// What happened.
    pub happened: String,
}

impl Violation {
    pub(crate) fn of_scenario(name: &str, at: Duration, happened: String) -> Self {
        Self { rule: RuleName::Scenario(name.to_owned()), at, expected: name.to_owned(), happened }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken rule: {}", self.rule)?;
        writeln!(f, "  at:       {:?}", self.at)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  happened: {}", self.happened)
    }
}

/// Where a rule says that it broke.
struct Verdicts<'a> {
    at: Duration,
    pauses: &'a Pauses,
    blocked: &'a Pauses,
    report: &'a mut dyn FnMut(Violation),
}

/// When a node stood still. A process that does nothing keeps no time limit, and no rule asks it to.
#[derive(Default)]
struct Pauses {
    over: Vec<(Duration, Duration)>,
    since: Option<Duration>,
}

impl Pauses {
    /// For how long it stood still between `from` and `to`.
    #[inline]
    fn between(&self, from: Duration, to: Duration) -> Duration {
        // Of most nodes, and asked of each of their cycles.
        let never_stood_still = self.over.is_empty() && self.since.is_none();
        if never_stood_still { Duration::ZERO } else { self.overlap(from, to) }
    }

    fn overlap(&self, from: Duration, to: Duration) -> Duration {
        let present = self.since.map(|since| (since, Duration::MAX));
        let overlap = |(began, ended): (Duration, Duration)| ended.min(to).saturating_sub(began.max(from));
        self.over.iter().copied().chain(present).map(overlap).sum()
    }
}

impl Verdicts<'_> {
    /// For how long the node has stood still since `from`.
    fn stood_still_since(&self, from: Duration) -> Duration {
        self.pauses.between(from, self.at)
    }

    /// For how long nothing could go on since `from`: the node stood still, or a poll blocked its thread. Rule L3 says how long
    /// one may; what shares the thread with it is late by as much, and to blame for nothing.
    fn held_up_since(&self, from: Duration) -> Duration {
        self.stood_still_since(from) + self.blocked_since(from)
    }

    /// For how long polls blocked the thread since `from`.
    fn blocked_since(&self, from: Duration) -> Duration {
        self.blocked.between(from, self.at)
    }

    /// Says that `rule` broke unless `holds`.
    // Asked several times on each record of a world, and broken in few worlds: what is said then stays out of the way.
    #[inline]
    fn demand(
        &mut self,
        rule: Rule,
        holds: bool,
        expected: impl FnOnce() -> String,
        happened: impl FnOnce() -> String,
    ) {
        if !holds {
            self.broke(rule, expected, happened);
        }
    }

    #[cold]
    fn broke(&mut self, rule: Rule, expected: impl FnOnce() -> String, happened: impl FnOnce() -> String) {
        (self.report)(Violation {
            rule: RuleName::Rule(rule),
            at: self.at,
            expected: expected(),
            happened: happened(),
        });
    }
}

/// Every built-in rule.
#[derive(Default)]
pub(crate) struct Rulebook {
    nodes: Vec<NodeRules>,
    /// The kind of each fault of the plan, by its place in [`crate::FaultKind::NAMES`].
    kinds: Vec<usize>,
    deliveries: deliveries::DeliveryRules,
    /// The workers that are said to catch panics of their own.
    catching: BTreeSet<String>,
}

/// The rules that look at one node.
#[derive(Default)]
struct NodeRules {
    life: life::LifeRules,
    breaker: breaker::BreakerRules,
    cycles: cycles::CycleRules,
    superseded: superseded::SupersedeRules,
    foreign: foreign::ForeignRules,
    transitions: transitions::Watcher,
    coverage: coverage::Watcher,
    pauses: Pauses,
    /// When polls blocked the thread.
    blocked: Pauses,
}

impl Rulebook {
    /// For a world with faults of these kinds, by their places in [`crate::FaultKind::NAMES`].
    pub(crate) fn of_kinds(kinds: Vec<usize>) -> Self {
        Self { kinds, ..Self::default() }
    }

    /// There is one node more, whose wall clock is this far from the usual one.
    pub(crate) fn add_node(&mut self, wall_offset_ms: i64) {
        let coverage = coverage::Watcher::of_kinds(self.kinds.clone());
        let mut node = NodeRules { coverage, ..NodeRules::default() };
        node.cycles.clock_begins(wall_offset_ms);
        self.nodes.push(node);
    }

    /// The workers of this name catch panics of their own.
    pub(crate) fn catches_panics(&mut self, worker: &str) {
        self.catching.insert(worker.to_owned());
    }

    /// A task of a node is about to be polled.
    #[cfg(tokio_unstable)]
    pub(crate) fn polled(&mut self, node: NodeId, task: u32) {
        if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
            node.cycles.polled(task);
        }
    }

    /// A task of a node has spawned another one.
    #[cfg(tokio_unstable)]
    pub(crate) fn spawned(&mut self, node: NodeId, task: u32, by: u32) {
        self.deliveries.spawned(node, task, by);
    }

    pub(crate) fn on(&mut self, record: &Record, report: &mut dyn FnMut(Violation)) {
        let Some((id, node)) = record.node.and_then(|id| Some((id, self.nodes.get_mut(usize::from(id.0))?))) else {
            // What surrounds the nodes touches the queues, and strikes all of them.
            for node in &mut self.nodes {
                node.coverage.on(record);
            }
            if let What::Queue(operation) = &record.what {
                let none = Pauses::default();
                let mut verdicts = Verdicts { at: record.at, pauses: &none, blocked: &none, report };
                self.deliveries.on_queue(None, operation, false, &mut verdicts);
            }
            return;
        };
        let NodeRules { life, breaker, cycles, superseded, foreign, transitions, coverage, pauses, blocked } = node;
        coverage.on(record);
        match &record.what {
            What::Paused => pauses.since = Some(record.at),
            What::Resumed => {
                let since = pauses.since.take();
                pauses.over.extend(since.map(|since| (since, record.at)));
            }
            // Not before: how a life ended is judged below, with the pauses that it had.
            What::Booted { .. } => (*pauses, *blocked) = Default::default(),
            What::Crashed
            | What::Exited { .. }
            | What::ForeignBegan { .. }
            | What::Host(_)
            | What::Queue(_)
            | What::PanicInjected
            | What::TimeIsUp { .. }
            | What::Signalled(_)
            | What::Struck { .. }
            | What::CallBegan { .. }
            | What::CallTookEffect { .. }
            | What::CallEnded { .. }
            | What::Arrived { .. }
            | What::Healed
            | What::Recovered => {}
        }
        let mut verdicts = Verdicts { at: record.at, pauses, blocked, report };
        match &record.what {
            What::Host(event) => {
                life.on(event, &mut verdicts);
                breaker.on(event, &mut verdicts);
                cycles.on(record.task, event, &mut verdicts);
                if matches!(event, shiftwork::event::Event::HostStopped { .. }) {
                    cycles.host_stopped(life.has_abandoned(), &mut verdicts);
                }
                superseded.on(event, &mut verdicts);
                self.deliveries.on(id, record.task, event, &mut verdicts);
                transitions.on(event);
            }
            What::Queue(operation) => {
                self.deliveries.on_queue(Some((id, record.task)), operation, life.has_abandoned(), &mut verdicts);
            }
            What::Booted { .. } => {
                life.boot();
                breaker.boot();
                cycles.boot();
                superseded.boot();
                foreign.boot();
                self.deliveries.boot(id);
                transitions.boot();
            }
            What::ForeignBegan { within } => {
                foreign.began(*within);
                self.deliveries.foreign_began(id);
            }
            What::Signalled(_) => foreign.signalled(record.at),
            What::Exited { exit: Some(exit), tasks_left } => {
                foreign.exited(*tasks_left, &mut verdicts);
                life.exited(*exit, *tasks_left, &mut verdicts);
            }
            What::PanicInjected => cycles.panic_injected(record.at, record.task, &self.catching),
            What::TimeIsUp { worker, cycle } => cycles.time_is_up(*worker, *cycle),
            What::Exited { exit: None, .. }
            | What::Crashed
            | What::Paused
            | What::Resumed
            | What::Struck { .. }
            | What::CallBegan { .. }
            | What::CallTookEffect { .. }
            | What::CallEnded { .. }
            | What::Arrived { .. }
            | What::Healed
            | What::Recovered => {}
        }
    }

    /// A poll that began at `from`, or what a node does before it is ever polled, has blocked its thread until now, and
    /// may go on to. It is the thread of all nodes.
    pub(crate) fn blocked(&mut self, from: Duration, to: Duration) {
        for node in &mut self.nodes {
            match node.blocked.over.last_mut() {
                Some((began, ended)) if *began == from => *ended = to,
                Some(_) | None => node.blocked.over.push((from, to)),
            }
        }
    }

    /// The wall clock of a node has stepped, by so much in all.
    pub(crate) fn clock_stepped(&mut self, at: Duration, node: NodeId, stepped_ms: i64) {
        if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
            node.cycles.clock_stepped(at, stepped_ms);
            node.superseded.clock_stepped();
        }
    }

    /// Rule Q3, once the world is over: what the queues still hold is what should be left.
    pub(crate) fn check_end(&mut self, at: Duration, held: &BTreeSet<DeliveryId>, report: &mut dyn FnMut(Violation)) {
        let none = Pauses::default();
        self.deliveries.check_end(held, &mut Verdicts { at, pauses: &none, blocked: &none, report });
    }

    pub(crate) fn coverage(&self) -> Coverage {
        let mut seen = Coverage::default();
        for node in &self.nodes {
            seen.merge(node.coverage.seen());
        }
        seen
    }

    pub(crate) fn transitions(&self) -> Transitions {
        let mut seen = Transitions::default();
        for node in &self.nodes {
            seen.merge(node.transitions.seen());
        }
        seen
    }
}
