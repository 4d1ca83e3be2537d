//! What became of a world.

use std::{fmt, sync::Arc, time::Duration};

use shiftwork::{HostReport, event::Event};

use super::{Sight, SlowPoll};
use crate::{
    Plan, RuleName, Timeline, Violation,
    rules::{Coverage, Sometimes, Transitions},
};

/// What became of a world.
#[derive(Debug, Clone)]
#[must_use = "a world is run to see whether a rule broke: assert that they were kept, or look at the violations"]
pub struct Outcome {
    /// The plan that it was run with. If a strategy made up the order of tasks, that order is in it, as a tape.
    pub plan: Plan,
    /// A hash over everything that happened and the order of task polls: equal for equal worlds.
    pub fingerprint: u64,
    /// The rules that broke, the first one first.
    pub violations: Vec<Violation>,
    /// The report of each life of a node that ended by itself, in the order in which they did.
    pub reports: Vec<NodeReport>,
    /// What can be counted of it.
    pub stats: Stats,
    pub(crate) ended_at: Duration,
    /// What happened; empty unless it was asked for.
    pub timeline: Timeline,
    /// Every place that a fault could have been aimed at; empty unless it was asked for.
    pub(crate) survey: Vec<Sight>,
    /// The first polls that took too long in real time, if that was measured
    /// ([`Options::poll_max_real`](super::Options::poll_max_real)). They are about the machine too, and break no rule.
    pub slow_polls: Vec<SlowPoll>,
}

/// What one life of a node ended with.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The node's name.
    pub node: Arc<str>,
    /// Its host's report.
    pub report: HostReport,
}

/// What can be counted of a world.
#[derive(Debug, Clone)]
pub struct Stats {
    /// World time at its end.
    pub virtual_time: Duration,
    /// How many times a node was started, all nodes together.
    pub boots: u32,
    /// How many records there were.
    pub records: u64,
    /// For each fault of the plan, whether it had an effect.
    pub struck: Vec<bool>,
    /// Which lifecycle transitions were seen.
    pub transitions: Transitions,
    /// Where workers stood when faults struck.
    pub coverage: Coverage,
    /// What the scenario wants to see sometimes, and whether it was seen.
    pub sometimes: Vec<Sometimes>,
}

impl Outcome {
    /// Whether every rule was kept.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether this rule broke, and none before it: what a smaller plan must do to stand for a larger one, and a world that is run again to
    /// be the same.
    #[must_use]
    pub fn broke_first(&self, rule: &RuleName) -> bool {
        self.violations.first().is_some_and(|violation| violation.rule == *rule)
    }

    /// When a node last exited by itself; the end of the world if none ever did.
    #[must_use]
    pub fn ended_at(&self) -> Duration {
        self.ended_at
    }

    /// The report of the last life of a node that ended by itself; in a world of one node, that node's.
    #[must_use]
    pub fn report(&self) -> Option<&HostReport> {
        self.reports.last().map(|it| &it.report)
    }

    /// The reports of one node's lives that ended by themselves, the first one first.
    pub fn reports_of(&self, node: &str) -> impl Iterator<Item = &HostReport> {
        self.reports.iter().filter(move |it| *it.node == *node).map(|it| &it.report)
    }

    /// The events of one node's host, with their times, if the timeline was kept.
    pub fn events_of(&self, node: &str) -> impl Iterator<Item = (Duration, &Event)> {
        self.timeline.events_of(node)
    }

    /// The hosts' events, with their times, if the timeline was kept.
    pub fn events(&self) -> impl Iterator<Item = (Duration, &Event)> {
        self.timeline.events()
    }

    /// How many host events `matches` picks.
    pub fn count(&self, mut matches: impl FnMut(&Event) -> bool) -> usize {
        self.events().filter(|(_, event)| matches(event)).count()
    }

    /// Passes when every rule was kept, and no poll took too long in real time, if that was to be measured.
    ///
    /// # Panics
    ///
    /// With the broken rule, the plan and the last events before it, when one was not; with the polls that took too long.
    #[track_caller]
    pub fn assert_rules_kept(&self) {
        assert!(self.is_ok() && self.slow_polls.is_empty(), "{self}");
    }

    /// The first violation of the rule with this name (`T1`, or the name of a scenario's own invariant).
    ///
    /// # Panics
    ///
    /// When it was kept: for tests that plant a bug and want it found.
    #[track_caller]
    pub fn expect_broken(&self, rule: &str) -> &Violation {
        match self.violations.first() {
            Some(violation) if violation.rule.name() == rule => violation,
            _ => panic!("expected rule {rule} to be broken, but {self}"),
        }
    }
}

/// The failure as a person reads it: rule, expectation, what happened, the plan, the last events. Before that, what
/// took too long in real time.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for poll in &self.slow_polls {
            writeln!(f, "{poll}")?;
        }
        let Some(violation) = self.violations.first() else {
            return write!(f, "every rule was kept in {:?} of virtual time", self.stats.virtual_time);
        };
        writeln!(f, "{violation}")?;
        write!(f, "plan: {}", self.plan)?;
        if !self.timeline.records().is_empty() {
            writeln!(f, "the last events up to there:")?;
            f.write_str(&self.timeline.tail(violation.at, 30))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shiftwork::{Context, Failure, Schedule, Tick};

    use crate::{RuleName, Script, secs};

    #[test]
    fn only_one_rule_breaks_first() {
        let outcome = Script::new().run(|world| {
            world.node("node", |node| {
                let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host().worker("idle", Schedule::every(secs(10)), idle).run_until_signal()
            });
            world.always("nothing happens", |_| Err("something did".to_owned()));
            world.always("nothing happens twice", |_| Err("it did".to_owned()));
        });
        let broke_first = |name: &str| outcome.broke_first(&RuleName::Scenario(name.to_owned()));
        assert!(broke_first("nothing happens"), "{outcome}");
        assert!(!broke_first("nothing happens twice") && !broke_first("nobody sleeps"), "{outcome}");
    }
}
