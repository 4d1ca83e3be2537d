//! The built-in rules over a stream of records that somebody else has.
//!
//! A world judges itself. This is for records from elsewhere: written by hand, so that a test shows that a rule can break, or
//! put down by a listener of a real host. Rules that need more than records (L1, L2 and L3, and a scenario's own) are not
//! among them.

use std::{collections::BTreeSet, time::Duration};

use shiftwork::queue::DeliveryId;

use super::{Rulebook, Violation};
use crate::{Record, record::NodeId};

/// Judges a stream of records by the lifecycle's rules.
///
/// It hears of no polls. A world that is built with `--cfg tokio_unstable` knows by the next poll of a task that an injected panic was
/// caught inside of its cycle. Here a cycle in which a panic was injected must be said to have panicked, so that rule C5 may break
/// over records of a world that has kept it.
///
/// ```
/// use shiftwork::event::{CycleId, Event, WorkerId};
/// use shiftwork_sim::{Record, What, rules::Judge, secs};
/// # use shiftwork::{Context, Continuous, Failure, Signal};
/// # let outcome = shiftwork_sim::Script::new().at(secs(1), Signal::Terminate).run_once(|world| {
/// #     world.node("node", |node| {
/// #         let idle = |(): (), _: Context| async { Ok::<(), Failure>(tokio::time::sleep(secs(60)).await) };
/// #         node.host().worker("idle", Continuous::new(), idle).run_until_signal()
/// #     });
/// # });
/// // What a world put down, and one cycle more, after everything was over.
/// let mut records = outcome.timeline.records().to_vec();
/// let exited = records.pop().expect("the process has exited");
/// let started = Event::CycleStarted { worker: WorkerId(0), cycle: CycleId(2), attempt: 1, delivery: None };
/// records.push(Record { what: What::Host(started), ..exited });
///
/// let mut judge = Judge::of_nodes(1);
/// for record in &records {
///     judge.hear(record);
/// }
/// let broken: Vec<&str> = judge.violations().iter().map(|violation| violation.rule.name()).collect();
/// assert_eq!(broken[0], "T1");
/// ```
#[derive(Default)]
pub struct Judge {
    rules: Rulebook,
    nodes: usize,
    violations: Vec<Violation>,
}

impl Judge {
    /// For records of so many nodes, numbered from 0. What other nodes do is not judged.
    #[must_use]
    pub fn of_nodes(nodes: u16) -> Self {
        let mut rules = Rulebook::default();
        (0..nodes).for_each(|_| rules.add_node(0));
        Self { rules, nodes: usize::from(nodes), violations: Vec::new() }
    }

    /// Takes in the next record. They come in the order in which they happened.
    ///
    /// # Panics
    ///
    /// When an event names a worker that its host has not declared: a host's events begin with
    /// [`Event::HostStarting`](shiftwork::Event::HostStarting).
    pub fn hear(&mut self, record: &Record) {
        let violations = &mut self.violations;
        self.rules.on(record, &mut |violation| violations.push(violation));
    }

    /// At `at`, a node's wall clock was stepped: it is now so many milliseconds ahead of the time that has passed, or behind it
    /// if less than nothing.
    pub fn clock_stepped(&mut self, at: Duration, node: NodeId, ahead_ms: i64) {
        self.rules.clock_stepped(at, node, ahead_ms);
    }

    /// Everything is over, and this is what the queues still hold that is neither done nor dead: rule Q3.
    pub fn end(&mut self, at: Duration, held: &BTreeSet<DeliveryId>) {
        let violations = &mut self.violations;
        self.rules.check_end(at, held, &mut |violation| violations.push(violation));
    }

    /// The rules that have broken so far, the first one first.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge")
            .field("nodes", &self.nodes)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}
