//! Where plans come from, and the shrinking of those that failed.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `explore/generate.rs`, `explore/mix.rs` | plans from seeds, and what they are made of |
//! | `explore/exhaustive.rs` | every fault at every point of a base world |
//! | `explore/guided.rs` | plans out of those that reached something new |
//! | `explore/points.rs`, `explore/inject.rs` | which points there are, and what is tried at each |
//! | `explore/shrink.rs` | the smallest plan that breaks the same rule, or crashes in the same way |

mod exhaustive;
mod generate;
mod guided;
mod inject;
mod mix;
mod points;
mod shrink;

use std::time::Duration;

pub use exhaustive::{Exhaustive, Injections, WORLDS_MAX_DEFAULT};
pub use generate::generate;
pub use guided::{Guide, Proposal, Reached};
pub use mix::{FaultMix, FaultMixError, Profile};
use proptest::strategy::ValueTree as _;
pub use shrink::{Crash, Ending, Part, Progress, Shrunk, ShrunkCrash, Without, shrink, shrink_crash};

use crate::{
    Fault, Order, Outcome, Plan, Scenario,
    plan::{self, Timing},
    world,
};

/// A plan as it was generated.
pub struct Candidate {
    scenario: &'static str,
    seed: u64,
    tree: Box<dyn proptest::strategy::ValueTree<Value = Vec<Fault>>>,
}

impl Candidate {
    /// The plan as it stands.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut faults = self.tree.current();
        faults.sort_by_key(|fault| fault.at_ms);
        let order = Order::of_seed(self.seed);
        let timing = Timing::of_seed(self.seed);
        Plan { version: plan::VERSION, scenario: self.scenario.to_owned(), seed: self.seed, faults, order, timing }
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Candidate").field(&self.plan()).finish()
    }
}

/// Runs one world of a scenario: until its horizon, its recovery and its last stop, or until a rule breaks. `timeline` is whether to
/// keep every record, which a campaign does only for a failure that it shows.
///
/// ```
/// use shiftwork::{Context, Failure, Schedule, Tick};
/// use shiftwork_sim::{Scenario, Surface, World, explore, secs};
///
/// struct Clock;
///
/// impl Scenario for Clock {
///     fn name(&self) -> &'static str {
///         "clock"
///     }
///
///     fn about(&self) -> &'static str {
///         "ticks, whatever happens"
///     }
///
///     fn surface(&self) -> Surface {
///         Surface { dependencies: Vec::new(), queues: Vec::new(), horizon: secs(60) }
///     }
///
///     fn build(&self, world: &mut World) {
///         world.node("clock", |node| {
///             let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
///             node.host().worker("tick", Schedule::every(secs(5)), tick).run_until_signal()
///         });
///     }
/// }
///
/// for seed in 0..20 {
///     let plan = explore::generate(&Clock, explore::Profile::Harsh, seed).plan();
///     let outcome = explore::run_plan(&Clock, &plan, false);
///     outcome.assert_rules_kept();
///     // The same plan is the same world.
///     assert_eq!(explore::run_plan(&Clock, &plan, false).fingerprint, outcome.fingerprint);
/// }
/// ```
///
/// # Panics
///
/// When the scenario's `build` panics.
pub fn run_plan(scenario: &dyn Scenario, plan: &Plan, timeline: bool) -> Outcome {
    run_plan_measured(scenario, plan, timeline, None)
}

/// The same, with each poll of a task measured in real time if `poll_max_real` says from how long on one is told
/// ([`Outcome::slow_polls`]). What the world comes to is the same.
///
/// # Panics
///
/// As [`run_plan`].
pub fn run_plan_measured(
    scenario: &dyn Scenario,
    plan: &Plan,
    timeline: bool,
    poll_max_real: Option<Duration>,
) -> Outcome {
    let horizon = Some(scenario.surface().horizon);
    let options = world::Options { timeline, once: false, horizon, poll_max_real };
    world::run(plan, options, |world| scenario.build(world))
}
