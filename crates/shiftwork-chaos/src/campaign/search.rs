//! How a campaign comes by the plans of its worlds.

use shiftwork_sim::{
    Scenario,
    explore::{Exhaustive, Injections},
};

/// How a campaign looks for worlds that break a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// A plan from each seed.
    #[default]
    Random,
    /// Every fault at every injection point of a base world. The campaign's seeds and profile play no part in it.
    Exhaustive(Exhaustive),
    /// A plan for each seed, made from the seed or out of plans whose worlds were the first to reach something. Each shard learns from its own
    /// worlds alone.
    Guided,
}

/// Surveys a scenario. One that cannot be surveyed, because its `build` panics, has its base worlds alone: they are run where a panic
/// is caught and told.
pub(crate) fn injections(scenario: &dyn Scenario, what: Exhaustive) -> Injections {
    let surveyed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Injections::of(scenario, what)));
    surveyed.unwrap_or_else(|_| Injections::of_bases(scenario, what))
}
