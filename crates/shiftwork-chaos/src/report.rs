//! What became of a campaign, as plain data. `table.rs` renders it for people, [`crate::json`] for programs.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use shiftwork_sim::{
    FaultKind, Plan, Scenario,
    control::Control,
    rules::{Coverage, Moment, Sometimes, Transitions},
    world::SlowPoll,
};

use crate::{
    CampaignProfile, Failure, Search, Seeds, Shard, Verdict,
    corpus::Stale,
    determinism::Determinism,
    failure::{again_line, replay_line},
};

/// What became of a campaign.
#[derive(Debug)]
#[must_use = "a campaign is run for its report: look at the verdict"]
pub struct CampaignReport {
    /// A row for each scenario.
    pub scenarios: Vec<ScenarioReport>,
    /// The rules that broke, in the order of the worlds.
    pub failures: Vec<Failure>,
    /// The worlds in which the tool itself crashed, or did as their failure was shrunk.
    pub crashes: Vec<ToolCrash>,
    /// The worlds in which polls took too long in real time, if that was measured, in the order of the worlds.
    pub slow: Vec<SlowWorld>,
    /// Saved plans that could not be replayed any more.
    pub stale: Vec<Stale>,
    /// What the second run of every world came to, if there was one.
    pub determinism: Option<Determinism>,
    /// How its worlds were chosen.
    pub search: Search,
    /// Which seeds of each scenario, all shards together.
    pub seeds: Seeds,
    /// How much went wrong; `None`: by the seed.
    pub profile: Option<CampaignProfile>,
    /// Which part of the campaign it is.
    pub shard: Shard,
    /// Why it ended.
    pub ended: Ended,
    /// How much of the programs' chance was held.
    pub control: Control,
    /// On how many threads it ran.
    pub jobs: NonZeroUsize,
    /// How long it took, in real time.
    pub elapsed: Duration,
}

/// What was counted of one scenario.
#[derive(Debug)]
pub struct ScenarioReport {
    /// Its name.
    pub name: &'static str,
    /// How many of its worlds ran to their end.
    pub worlds: u64,
    /// The world time of all of them together.
    pub virtual_time: Duration,
    /// What went wrong in them.
    pub faults: FaultCounts,
    /// Which transitions of the lifecycle were seen.
    pub transitions: Transitions,
    /// In how many worlds which faults struck where.
    pub coverage: CoverageCounts,
    /// What was to be tried, if the campaign tries everything.
    pub injections: Option<InjectionCounts>,
    /// What it wants to see sometimes ([`shiftwork_sim::World::sometimes`]), and in how many worlds it was seen. What was in
    /// none was not tested.
    pub sometimes: BTreeMap<String, u64>,
    /// How many of them broke a rule.
    pub failures: u64,
    /// Each world's origin, seed and fingerprint, in the order of the worlds.
    pub runs: Vec<(Origin, u64, u64)>,
    /// The real time that its worlds took, of all threads together.
    pub busy: Duration,
}

/// Where a world's plan came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From its seed, with this profile.
    Generated(CampaignProfile),
    /// From this file.
    Saved(PathBuf),
    /// It is made out of others, in a guided campaign.
    Changed {
        /// Under this seed.
        number: u64,
    },
    /// It is what is tried at an injection point of a base world.
    Injected {
        /// Its number among all that is tried in its scenario; the base worlds are the first.
        number: u64,
    },
}

impl Origin {
    /// What tells a world from others of its scenario and its origin: its number, or else its seed.
    pub(crate) fn key(&self, seed: u64) -> u64 {
        match self {
            Origin::Injected { number } | Origin::Changed { number } => *number,
            Origin::Generated(_) | Origin::Saved(_) => seed,
        }
    }

    /// The file that the plan came from, if it did.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Origin::Saved(file) => Some(file),
            Origin::Generated(_) | Origin::Injected { .. } | Origin::Changed { .. } => None,
        }
    }
}

/// What an exhaustive campaign tries in a scenario, all shards together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectionCounts {
    /// How many injection points its base worlds have.
    pub points: u64,
    /// How many of them are left out, because others are tried that differ in nothing but their time.
    pub points_left_out: u64,
    /// How many worlds there are: the base worlds, those with one fault, and pairs.
    pub worlds: u64,
    /// How many of them are pairs.
    pub pairs: u64,
}

/// A world in which the tool itself crashed, not the code under test, or as its failure was shrunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCrash {
    /// Whose world.
    pub scenario: &'static str,
    /// Where its plan came from.
    pub origin: Origin,
    /// Its seed.
    pub seed: u64,
    /// What the panic said.
    pub message: String,
    /// The plan in whose world it crashed, if that was made in this campaign: neither a seed nor a file brings it back. It is smaller than the
    /// world's own if the tool crashed as a failure was shrunk.
    pub plan: Option<Plan>,
    /// Where its plan is kept.
    pub plan_file: Option<PathBuf>,
}

impl ToolCrash {
    /// The line that runs the world again, if its plan is in a file or follows from its seed. `command` is what starts the program.
    #[must_use]
    pub fn again_line(&self, command: &str) -> Option<String> {
        if let Some(file) = &self.plan_file {
            return Some(replay_line(command, file));
        }
        match &self.origin {
            Origin::Generated(profile) => Some(again_line(command, self.scenario, self.seed, profile)),
            Origin::Saved(_) | Origin::Injected { .. } | Origin::Changed { .. } => None,
        }
    }
}

/// A world in which polls took too long in real time ([`Campaign::poll_max_real`](crate::Campaign::poll_max_real)). Whether they do again is up
/// to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowWorld {
    /// Whose world.
    pub scenario: &'static str,
    /// Where its plan came from.
    pub origin: Origin,
    /// Its seed.
    pub seed: u64,
    /// The first of these polls; never none.
    pub polls: Vec<SlowPoll>,
}

/// Why a campaign ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// Every world was run.
    Complete,
    /// The time was over.
    TimeOver,
    /// There were as many failures as were asked for.
    FailuresMax,
    /// Somebody wanted it to.
    Interrupted,
}

impl Ended {
    /// Every way, from the most complete on.
    pub const ALL: [Ended; 4] = [Ended::Complete, Ended::TimeOver, Ended::FailuresMax, Ended::Interrupted];

    /// The word for it in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Complete => "complete",
            Ended::TimeOver => "time_over",
            Ended::FailuresMax => "failures_max",
            Ended::Interrupted => "interrupted",
        }
    }
}

/// How many faults of each kind were planned, and how many had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultCounts([FaultCount; FaultKind::NAMES.len()]);

/// How many faults of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// How many the plans had.
    pub planned: u64,
    /// How many of them had an effect.
    pub struck: u64,
}

/// None of any kind.
impl Default for FaultCounts {
    fn default() -> Self {
        Self([FaultCount::default(); FaultKind::NAMES.len()])
    }
}

impl FaultCounts {
    pub(crate) fn count(&mut self, kind: &FaultKind, struck: bool) {
        let index = FaultKind::NAMES.iter().position(|name| *name == kind.name());
        if let Some(count) = index.and_then(|index| self.0.get_mut(index)) {
            count.planned += 1;
            count.struck += u64::from(struck);
        }
    }

    pub(crate) fn merge(&mut self, other: &FaultCounts) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            count.planned += more.planned;
            count.struck += more.struck;
        }
    }

    /// Each kind's name and count, in the order of [`FaultKind::NAMES`].
    pub fn by_kind(&self) -> impl Iterator<Item = (&'static str, FaultCount)> {
        FaultKind::NAMES.into_iter().zip(self.0)
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> FaultCount {
        self.0.iter().fold(FaultCount::default(), |sum, count| FaultCount {
            planned: sum.planned + count.planned,
            struck: sum.struck + count.struck,
        })
    }
}

/// In how many worlds a fault of each kind first struck while a worker stood at each moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverageCounts(Box<[[u64; FaultKind::NAMES.len()]; Moment::ALL.len()]>);

impl Default for CoverageCounts {
    fn default() -> Self {
        Self(Box::new([[0; FaultKind::NAMES.len()]; Moment::ALL.len()]))
    }
}

impl CoverageCounts {
    /// Counts one more world.
    pub(crate) fn count(&mut self, world: Coverage) {
        for (moment, kind) in world.pairs() {
            self.0[moment as usize][kind] += 1;
        }
    }

    /// Adds what another scenario counted.
    pub(crate) fn merge(&mut self, other: &CoverageCounts) {
        for (count, more) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *count += more;
        }
    }

    /// In how many worlds a fault of this kind, by its place in [`FaultKind::NAMES`], struck at this moment.
    ///
    /// # Panics
    ///
    /// When there is no kind at this place.
    #[must_use]
    pub fn of(&self, moment: Moment, kind: usize) -> u64 {
        self.0[moment as usize][kind]
    }

    /// How many pairs of a moment and a kind were reached.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.0.iter().flatten().filter(|count| **count > 0).count()
    }

    /// The highest count.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.0.iter().flatten().copied().max().unwrap_or(0)
    }
}

impl ScenarioReport {
    pub(crate) fn of(scenario: &dyn Scenario, injections: Option<InjectionCounts>) -> Self {
        Self {
            name: scenario.name(),
            worlds: 0,
            virtual_time: Duration::ZERO,
            faults: FaultCounts::default(),
            transitions: Transitions::default(),
            coverage: CoverageCounts::default(),
            injections,
            sometimes: BTreeMap::new(),
            failures: 0,
            runs: Vec::new(),
            busy: Duration::ZERO,
        }
    }

    /// Counts one more world.
    pub(crate) fn count_sometimes(&mut self, sometimes: Vec<Sometimes>) {
        for Sometimes { name, reached } in sometimes {
            *self.sometimes.entry(name).or_default() += u64::from(reached);
        }
    }

    /// What it wants to see sometimes, and did not see in any of its worlds.
    pub fn never_reached(&self) -> impl Iterator<Item = &str> {
        self.sometimes.iter().filter(|(_, worlds)| **worlds == 0).map(|(name, _)| name.as_str())
    }

    /// A hash over the seeds and fingerprints of its worlds, in their order: equal campaigns have equal ones.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        hash_of_runs(self.runs.iter().map(|(origin, seed, fingerprint)| (origin.key(*seed), *fingerprint)))
    }
}

/// One hash over seeds and fingerprints in their order.
pub(crate) fn hash_of_runs(runs: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    let words = runs.into_iter().flat_map(|(seed, fingerprint)| [seed, fingerprint]);
    hash_of(words.flat_map(u64::to_le_bytes))
}

/// FNV-1a, because it is the same in every process and version.
pub(crate) fn hash_of(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

impl CampaignReport {
    /// The worst thing that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = if self.ended == Ended::Interrupted { Verdict::Interrupted } else { Verdict::Kept };
        if !self.slow.is_empty() {
            verdict = verdict.max(Verdict::PollTooSlow);
        }
        for failure in &self.failures {
            verdict = verdict.max(failure.verdict());
        }
        if let Some(determinism) = &self.determinism {
            verdict = verdict.max(determinism.verdict());
        }
        if !self.crashes.is_empty() {
            verdict = Verdict::ToolCrashed;
        }
        verdict
    }

    /// How many worlds ran to their end.
    #[must_use]
    pub fn worlds(&self) -> u64 {
        self.scenarios.iter().map(|scenario| scenario.worlds).sum()
    }

    /// The failures of one scenario.
    pub fn failures_of<'r>(&'r self, scenario: &'r str) -> impl Iterator<Item = &'r Failure> {
        self.failures.iter().filter(move |failure| failure.scenario == scenario)
    }
}
