//! The worlds that are worth a picture: each failure as it was found and as it was shrunk; where nothing failed, the first world of
//! each scenario, so that there is something to look at.

use shiftwork_sim::{Plan, Scenario, explore};

use crate::{Campaign, CampaignReport, Failure, campaign::world, picture::Picture, report::Origin};

/// Of how many failures there are pictures: one after the other they rarely tell more.
const FAILURES_SHOWN_MAX: usize = 20;

/// One world that is shown.
pub(crate) struct Exhibit {
    pub(crate) scenario: &'static str,
    pub(crate) seed: u64,
    /// Which failure of the report it is; `None` for a world in which every rule was kept.
    pub(crate) failure: Option<usize>,
    /// The world as it was found, if it was shrunk since.
    pub(crate) before: Option<Picture>,
    pub(crate) after: Picture,
    /// What the picture `after` is of: `shrunk`, `run again`, `replayed`, `the first world`.
    pub(crate) after_is: &'static str,
}

/// The worlds of a campaign that are shown. One whose scenario panics as it is built again, which it did not before, is left out.
pub(crate) fn choose(campaign: &Campaign<'_>, report: &CampaignReport) -> Vec<Exhibit> {
    let failures = report.failures.iter().enumerate().take(FAILURES_SHOWN_MAX);
    let exhibits: Vec<_> = failures.map(|(index, failure)| of_failure(campaign, index, failure)).collect();
    if exhibits.is_empty() { of_first_worlds(campaign, report) } else { exhibits }
}

fn of_failure(campaign: &Campaign<'_>, index: usize, failure: &Failure) -> Exhibit {
    let scenario = scenario(campaign, failure.scenario).filter(|_| failure.found != failure.outcome.plan);
    Exhibit {
        scenario: failure.scenario,
        seed: failure.seed,
        failure: Some(index),
        before: scenario.and_then(|scenario| picture(scenario, &failure.found)),
        after: Picture::of(&failure.outcome),
        after_is: match (scenario.is_some(), failure.is_shrunk()) {
            (true, true) => "shrunk",
            (true, false) => "run again",
            (false, _) => "replayed",
        },
    }
}

fn of_first_worlds(campaign: &Campaign<'_>, report: &CampaignReport) -> Vec<Exhibit> {
    let first = |row: &crate::report::ScenarioReport| {
        let scenario = scenario(campaign, row.name)?;
        let (origin, seed, _) = row.runs.first()?;
        let plan: Plan = match origin {
            Origin::Generated(profile) => explore::generate(scenario, profile.mix(), *seed).plan(),
            // The base world, which tells more than a fault at its beginning.
            Origin::Injected { .. } => Plan::quiet(scenario.name(), *seed),
            // What it was made out of is not known any more.
            Origin::Changed { .. } => return None,
            Origin::Saved(file) => campaign.corpus.replays.iter().find(|replay| replay.file == *file)?.plan.clone(),
        };
        Some(Exhibit {
            scenario: row.name,
            seed: *seed,
            failure: None,
            before: None,
            after: picture(scenario, &plan)?,
            after_is: "the first world",
        })
    };
    report.scenarios.iter().filter_map(first).collect()
}

fn picture(scenario: &dyn Scenario, plan: &Plan) -> Option<Picture> {
    let outcome = world::guarded(|| explore::run_plan(scenario, plan, true)).ok()?;
    Some(Picture::of(&outcome))
}

fn scenario<'c>(campaign: &'c Campaign<'_>, name: &str) -> Option<&'c dyn Scenario> {
    let replayed = campaign.corpus.replays.iter().map(|replay| replay.scenario);
    campaign.scenarios.iter().copied().chain(replayed).find(|scenario| scenario.name() == name)
}
