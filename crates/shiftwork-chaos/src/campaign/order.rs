//! Which world is which: plans to replay first, then seeds, round robin over the scenarios, or the injections of one scenario after
//! the other.
//!
//! A world is named by its number, and everything about it follows from the number. So a thread needs nothing but a counter,
//! and a second run can ask for the same worlds in another order.

use std::borrow::Cow;

use shiftwork_sim::{Plan, Scenario, explore::Injections};

use super::{Campaign, Search, Seeds, profile_of, search};
use crate::{
    CampaignProfile,
    determinism::WorldSpec,
    profile::OwnProfile,
    report::{InjectionCounts, Origin},
};

/// The worlds of a campaign, numbered from 0.
pub(crate) struct Order<'c> {
    campaign: &'c Campaign<'c>,
    scenarios: Vec<&'c dyn Scenario>,
    /// What there is to try in each of the campaign's scenarios, if that is what it does.
    injections: Option<Vec<Injections>>,
}

/// One world that is to be run.
pub(crate) struct WorldToRun<'c> {
    /// Which row of the table it counts in.
    pub(crate) row: usize,
    pub(crate) scenario: &'c dyn Scenario,
    /// Which of the campaign's scenarios that is; `None` if a saved plan brought it.
    pub(crate) scenario_index: Option<usize>,
    pub(crate) origin: Origin,
    pub(crate) source: Source<'c>,
}

/// Where its plan comes from.
pub(crate) enum Source<'c> {
    Generated { seed: u64, profile: CampaignProfile },
    Saved(Cow<'c, Plan>),
}

impl<'c> Order<'c> {
    pub(crate) fn of(campaign: &'c Campaign<'c>) -> Self {
        let mut scenarios: Vec<&dyn Scenario> = Vec::new();
        let replayed = campaign.corpus.replays.iter().map(|replay| replay.scenario);
        for scenario in campaign.scenarios.iter().copied().chain(replayed) {
            if !scenarios.iter().any(|other| other.name() == scenario.name()) {
                scenarios.push(scenario);
            }
        }
        let injections = match campaign.search {
            Search::Random | Search::Guided => None,
            Search::Exhaustive(what) => {
                Some(campaign.scenarios.iter().map(|scenario| search::injections(*scenario, what)).collect())
            }
        };
        Self { campaign, scenarios, injections }
    }

    /// The rows of the table.
    pub(crate) fn scenarios(&self) -> impl Iterator<Item = &'c dyn Scenario> {
        self.scenarios.iter().copied()
    }

    /// What is tried in a scenario, if everything is.
    pub(crate) fn injection_counts(&self, scenario: &dyn Scenario) -> Option<InjectionCounts> {
        let index = self.index(scenario)?;
        self.injections.as_ref()?.get(index).map(|it| InjectionCounts {
            points: it.points(),
            points_left_out: it.points_left_out(),
            worlds: it.worlds(),
            pairs: it.pairs(),
        })
    }

    /// How many worlds there are; `None` when the clock decides.
    pub(crate) fn count(&self) -> Option<u64> {
        let shard = self.campaign.shard;
        let replays = self.replays();
        if let Some(injections) = &self.injections {
            return Some(replays + shard.share(injections.iter().map(Injections::worlds).sum()));
        }
        let scenarios = self.campaign.scenarios.len() as u64;
        match self.campaign.seeds {
            Seeds::Counted { count, .. } => Some(replays.saturating_add(shard.share(count).saturating_mul(scenarios))),
            Seeds::Timed { .. } if scenarios == 0 => Some(replays),
            Seeds::Timed { .. } => None,
        }
    }

    /// How many plans are replayed here.
    pub(crate) fn replays(&self) -> u64 {
        self.campaign.shard.share(self.campaign.corpus.replays.len() as u64)
    }

    pub(crate) fn world(&self, number: u64) -> WorldToRun<'c> {
        let shard = self.campaign.shard;
        let replay =
            usize::try_from(shard.place(number)).ok().and_then(|index| self.campaign.corpus.replays.get(index));
        if let Some(replay) = replay {
            return WorldToRun {
                row: self.row(replay.scenario),
                scenario: replay.scenario,
                scenario_index: self.index(replay.scenario),
                origin: Origin::Saved(replay.file.clone()),
                source: Source::Saved(Cow::Borrowed(&replay.plan)),
            };
        }
        let scenarios = &self.campaign.scenarios;
        let turn = number - self.replays();
        if let Some(injections) = &self.injections {
            return self.injected(injections, shard.place(turn));
        }
        let count = scenarios.len() as u64;
        let index = usize::try_from(turn % count).unwrap_or(0);
        let (Seeds::Counted { first, .. } | Seeds::Timed { first, .. }) = self.campaign.seeds;
        // Seeds are only names: after the last one comes the first.
        let seed = first.wrapping_add(shard.place(turn / count));
        let profile = self.campaign.profile.clone().unwrap_or_else(|| profile_of(seed).into());
        WorldToRun {
            row: self.row(scenarios[index]),
            scenario: scenarios[index],
            scenario_index: Some(index),
            origin: Origin::Generated(profile.clone()),
            source: Source::Generated { seed, profile },
        }
    }

    /// The world of this number among all injections of all scenarios, one scenario after the other.
    fn injected(&self, injections: &[Injections], mut number: u64) -> WorldToRun<'c> {
        let mut index = 0;
        while injections.get(index).is_some_and(|of_scenario| number >= of_scenario.worlds()) {
            number -= injections[index].worlds();
            index += 1;
        }
        let scenario = self.campaign.scenarios[index.min(self.campaign.scenarios.len() - 1)];
        let plan = injections.get(index).and_then(|of_scenario| of_scenario.plan(number));
        let plan = plan.unwrap_or_else(|| Plan::quiet(scenario.name(), 0));
        WorldToRun {
            row: self.row(scenario),
            scenario,
            scenario_index: Some(index),
            origin: Origin::Injected { number },
            source: Source::Saved(Cow::Owned(plan)),
        }
    }

    fn index(&self, scenario: &dyn Scenario) -> Option<usize> {
        self.campaign.scenarios.iter().position(|other| other.name() == scenario.name())
    }

    fn row(&self, scenario: &dyn Scenario) -> usize {
        self.scenarios.iter().position(|other| other.name() == scenario.name()).unwrap_or(0)
    }
}

impl WorldToRun<'_> {
    pub(crate) fn seed(&self) -> u64 {
        match &self.source {
            Source::Generated { seed, .. } => *seed,
            Source::Saved(plan) => plan.seed,
        }
    }

    /// Its plan, if that was made in this campaign: neither a seed nor a file brings it back.
    pub(crate) fn made(&self) -> Option<&Plan> {
        match (&self.origin, &self.source) {
            (Origin::Injected { .. } | Origin::Changed { .. }, Source::Saved(plan)) => Some(&**plan),
            (Origin::Generated(_) | Origin::Saved(_), _) | (_, Source::Generated { .. }) => None,
        }
    }

    /// The world, for another process.
    pub(crate) fn spec(&self) -> WorldSpec {
        let scenario = self.scenario.name().to_owned();
        match &self.source {
            Source::Generated { seed, profile: CampaignProfile::Known(profile) } => {
                WorldSpec::Generated { scenario, seed: *seed, profile: *profile }
            }
            Source::Generated { seed, profile: CampaignProfile::Own(own) } => {
                WorldSpec::GeneratedByOwn { scenario, seed: *seed, profile: OwnProfile::clone(own) }
            }
            Source::Saved(plan) => WorldSpec::Saved(plan.clone().into_owned()),
        }
    }
}
