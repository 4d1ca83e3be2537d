//! The smallest plan that still breaks the same rule.

use super::{Candidate, run_plan};
use crate::{Outcome, RuleName, Scenario};

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The world of the smallest plan that was found, with its timeline.
    pub outcome: Outcome,
    /// How many worlds it took.
    pub worlds: u32,
}

/// Shrinks the plan of a failure, as proptest does: leave faults out, then make them earlier, shorter and simpler, as long as the
/// same rule breaks; at most `worlds_max` worlds.
///
/// # Panics
///
/// When the scenario's `build` panics.
#[must_use]
pub fn shrink(scenario: &dyn Scenario, mut candidate: Candidate, rule: &RuleName, worlds_max: u32) -> Shrunk {
    let breaks = |candidate: &Candidate| {
        let outcome = run_plan(scenario, &candidate.plan(), false);
        outcome.violations.first().is_some_and(|violation| violation.rule == *rule)
    };
    let mut best = candidate.plan();
    let mut worlds = 0;
    let mut changed = candidate.tree.simplify();
    while changed && worlds < worlds_max {
        worlds += 1;
        changed = if breaks(&candidate) {
            best = candidate.plan();
            candidate.tree.simplify()
        } else {
            candidate.tree.complicate()
        };
    }
    Shrunk { outcome: run_plan(scenario, &best, true), worlds }
}
