//! Where everything that happens in a world is written down: the fingerprint, the rules, the timeline.

use std::{
    any::Any,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{
    Plan, Record, Violation,
    record::Poll,
    rules::{Rulebook, kind_index, user::UserRules},
    streams::StableHasher,
};

/// How often a world's tasks may be polled without time passing before it is called a hot loop: rule L2.
pub(super) const POLLS_IN_AN_INSTANT_MAX: u64 = 100_000;

/// How much may happen in the nodes of a world without time passing before it is called a hot loop: rule L2. A task that
/// never waits does a lot in one poll.
pub(super) const RECORDS_IN_AN_INSTANT_MAX: u64 = 200_000;

/// How many violations are kept. The first one is what counts; a few more help to understand it.
const VIOLATIONS_MAX: usize = 8;

pub(super) struct Recorder {
    hash: StableHasher,
    pub(super) count: u64,
    last_at: Duration,
    in_this_instant: u64,
    polls_in_this_instant: u64,
    pub(super) rules: Rulebook,
    pub(super) user_rules: UserRules,
    pub(super) violations: Vec<Violation>,
    /// A panic of the rules themselves. It happened in the middle of somebody's work, who must not get it: the driver does.
    pub(super) panicked: Option<Box<dyn Any + Send>>,
    pub(super) timeline: Option<Vec<Record>>,
    /// The polls, if there is a timeline.
    pub(super) polls: Vec<Poll>,
}

impl Recorder {
    pub(super) fn new(plan: &Plan, timeline: bool) -> Self {
        let mut hash = StableHasher::new(plan.seed);
        plan.scenario.hash(&mut hash);
        Self {
            hash,
            count: 0,
            last_at: Duration::ZERO,
            in_this_instant: 0,
            polls_in_this_instant: 0,
            rules: Rulebook::of_kinds(plan.faults.iter().map(|fault| kind_index(&fault.kind)).collect()),
            user_rules: UserRules::default(),
            violations: Vec::new(),
            panicked: None,
            timeline: timeline.then(Vec::new),
            polls: Vec::new(),
        }
    }

    /// Counts what happens at one instant.
    pub(super) fn happens(&mut self, at: Duration) {
        self.look(at);
        self.in_this_instant += 1;
    }

    fn look(&mut self, at: Duration) {
        if at != self.last_at {
            self.last_at = at;
            self.in_this_instant = 0;
            self.polls_in_this_instant = 0;
        }
    }

    /// Counts a poll of a task, which is part of the fingerprint. Whether a loop has become hot.
    #[cfg(tokio_unstable)]
    pub(super) fn polled(&mut self, poll: Poll) -> bool {
        self.hash.write_u64(u64::from(poll.node.0) << 32 | u64::from(poll.task));
        if self.timeline.is_some() {
            self.polls.push(poll);
        }
        self.rules.polled(poll.node, poll.task);
        self.look(poll.at);
        self.polls_in_this_instant += 1;
        let hot =
            self.polls_in_this_instant >= POLLS_IN_AN_INSTANT_MAX || self.in_this_instant >= RECORDS_IN_AN_INSTANT_MAX;
        if hot {
            self.in_this_instant = 0;
            self.polls_in_this_instant = 0;
        }
        hot
    }

    pub(super) fn record(&mut self, record: &Record) {
        let Record { at, node, task, what } = record;
        let place = node.map_or(u64::MAX, |node| u64::from(node.0)) << 32 | u64::from(*task);
        self.hash.write_u64(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.hash.write_u64(place);
        what.hash(&mut self.hash);
        self.count += 1;
        if node.is_some() {
            self.happens(*at);
        } else {
            // No loop does what no process does: a queue is filled before the first of them begins.
            self.look(*at);
        }
        let violations = &mut self.violations;
        let judge = || self.rules.on(record, &mut |violation| note(violations, violation));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(judge)) {
            self.panicked.get_or_insert(panic);
        }
        self.user_rules.on(record, &mut |violation| note(violations, violation));
    }

    /// Keeps a record, if there is a timeline.
    pub(super) fn keep(&mut self, record: Record) {
        if let Some(timeline) = &mut self.timeline {
            timeline.push(record);
        }
    }

    /// Nothing happens any more before `next`.
    pub(super) fn time_passes(&mut self, next: Duration) {
        let violations = &mut self.violations;
        self.user_rules.time_passes(next, &mut |violation| note(violations, violation));
    }

    pub(super) fn violate(&mut self, violation: Violation) {
        note(&mut self.violations, violation);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }
}

fn note(violations: &mut Vec<Violation>, violation: Violation) {
    if violations.len() < VIOLATIONS_MAX {
        violations.push(violation);
    }
}

#[cfg(all(test, tokio_unstable))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::{What, record::NodeId};

    #[test]
    fn l2_what_no_process_does_makes_no_loop_hot() {
        let check = |node: Option<NodeId>, is_hot: bool| {
            let mut recorder = Recorder::new(&Plan::quiet("synthetic", 1), false);
            let record = Record { at: Duration::ZERO, node, task: 0, what: What::Arrived { what: "a page".into() } };
            for _ in 0..RECORDS_IN_AN_INSTANT_MAX {
                recorder.record(&record);
            }
            let poll = Poll { at: Duration::ZERO, node: NodeId(0), task: 1, spawned_at: Location::caller() };
            assert_eq!(recorder.polled(poll), is_hot, "{node:?}");
        };
        check(None, false);
        check(Some(NodeId(0)), true);
    }
}
