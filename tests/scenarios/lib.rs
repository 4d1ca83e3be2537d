//! The scenarios of this workspace: small, whole applications whose worker code is what a service would ship, run in
//! worlds of faults.
//!
//! | scenario | what it is |
//! | --- | --- |
//! | [`email`] | a scheduled worker that sends what waits in an outbox |
//! | [`orders`] | a queue worker that charges each order of a file exactly once |
//! | [`clean_up`] | a nightly worker that deletes by retention rules, while the clocks change |
//! | [`sync`] | a worker for each direction that keeps two systems in step |
//! | [`fleet`] | three nodes with clocks of their own on one queue |
//! | [`deploy`] | a fleet that is replaced node by node under load, twice |
//! | [`cache`] | prices that are refreshed from a slow origin, and withheld when they are too old |
//! | [`import`] | a batch worker that writes rows, many with one statement |
//! | [`office`] | bookings, while people pause, trigger and end workers from a console |
//! | [`canary`] | a planted bug, which proves that the alarm works |
//! | [`incident`] | what the tests run both as a real process and in a world |
//!
//! The inputs are files in `data/`: a thousand orders, some of them malformed, huge or duplicate, and an outbox's mails.

pub mod cache;
pub mod canary;
pub mod clean_up;
mod declared;
pub mod deploy;
pub mod email;
pub mod fleet;
pub mod import;
pub mod incident;
pub mod office;
pub mod orders;
pub mod sync;

use shiftwork_sim::Scenario;

/// Every scenario, as the chaos tool lists them. Those whose name begins with `canary` run only when they are named.
#[must_use]
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(email::Email),
        Box::new(orders::Orders),
        Box::new(clean_up::CleanUpAtNight),
        Box::new(sync::TwoWaySync),
        Box::new(fleet::Fleet),
        Box::new(deploy::RollingDeploy),
        Box::new(cache::CacheRefresh),
        Box::new(import::ImportRows),
        Box::new(office::SteeredOffice),
        Box::new(canary::Canary),
    ]
}

/// The snippets of the pages, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/simulation.md")]
struct SimulationGuide;

/// The snippets of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;

/// The snippets of the page on configuration.
#[cfg(doctest)]
#[doc = include_str!("../../docs/configuration.md")]
struct Configuration;

/// The snippets of the page on campaigns.
#[cfg(doctest)]
#[doc = include_str!("../../docs/chaos.md")]
struct ChaosGuide;

/// The snippets of the readme.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use shiftwork_chaos::{Campaign, Seeds, Verdict, corpus::Corpus};
    use shiftwork_sim::explore::{self, Profile};

    use super::*;

    /// What `cargo mutants` runs (`.cargo/mutants.toml`): the corpus and many worlds, up to the first failure. What a scenario
    /// wants to see sometimes is a demand here: a mistake that lets nothing of it happen breaks no rule.
    #[test]
    #[ignore = "more worlds than the suite has time for; `cargo mutants` asks for it"]
    fn a_campaign_for_mutants() {
        let scenarios = all();
        let honest = scenarios.iter().map(|scenario| &**scenario).filter(|it| !it.name().starts_with("canary"));
        let mut campaign = Campaign::over(honest);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        campaign.corpus = Corpus::read(&folder, &scenarios).expect("the corpus is there");
        campaign.seeds = Seeds::Counted { first: 0, count: 300 };
        (campaign.failures_max, campaign.shrink_worlds_max) = (1, 1);
        let report = campaign.run();
        assert_eq!(report.verdict(), Verdict::Kept, "{:?}", report.failures.first().map(|it| it.outcome.to_string()));
        for scenario in &report.scenarios {
            let unseen: Vec<&str> = scenario.never_reached().collect();
            assert!(unseen.is_empty(), "{}: {unseen:?}", scenario.name);
        }
    }

    /// How many worlds there may be until each was seen: a fifth of what a campaign runs by default.
    const WORLDS_MAX: u64 = 200;

    /// What a scenario wants to see sometimes and did not see in so many worlds.
    fn unseen(scenario: &dyn Scenario, worlds_max: u64) -> Vec<String> {
        let mut sights = BTreeMap::new();
        for seed in 0..worlds_max {
            let plan = explore::generate(scenario, Profile::Hostile, seed).plan();
            let outcome = explore::run_plan(scenario, &plan, false);
            outcome.assert_rules_kept();
            for sight in outcome.stats.sometimes {
                *sights.entry(sight.name).or_default() |= sight.reached;
            }
            if sights.values().all(|reached| *reached) {
                return Vec::new();
            }
        }
        sights.into_iter().filter(|(_, reached)| !reached).map(|(name, _)| name).collect()
    }

    #[test]
    fn what_a_scenario_wants_to_see_sometimes_is_seen_in_its_first_worlds() {
        for scenario in all().iter().filter(|scenario| !scenario.name().starts_with("canary")) {
            let unseen = unseen(&**scenario, WORLDS_MAX);
            assert!(unseen.is_empty(), "{}: {unseen:?}", scenario.name());
        }
    }
}
