//! The report for programs: `--json FILE`.
//!
//! One object, in the fields of [`Report`] and in their order. It holds nothing that a clock or the number of threads decides, unless polls are measured in real time, so
//! that two runs of the same campaign write the same bytes. Fingerprints are 16 hexadecimal digits; seeds are numbers up to 2⁶⁴ − 1, which some readers
//! of JSON round.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use shiftwork_sim::{FaultKind, Plan, control::Control, explore::FaultMix, rules::Moment, world::SlowPoll};

use crate::{
    CampaignProfile, CampaignReport, Failure, Search, Seeds,
    determinism::{Determinism, Parting, Place},
    report::{CoverageCounts, InjectionCounts, Origin, ScenarioReport, SlowWorld, ToolCrash},
};

/// The version of this format. It grows when a field goes away or changes its meaning, not when one is added.
pub const VERSION: u32 = 2;

/// A whole campaign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// `kept`, `interrupted`, `poll_too_slow`, `liveness_lost`, `rule_broken`, `determinism_lost` or `tool_crashed`.
    pub verdict: String,
    /// The exit code of that verdict.
    pub exit_code: u8,
    /// How its worlds were chosen: `random`, `exhaustive` or `guided`. Absent in a file of before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Which seeds it has of each scenario, all shards together. Absent in a file of before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<SeedsRow>,
    /// How much went wrong: `gentle`, `harsh`, `hostile`, or the file that says it; `null` where that follows the seed.
    #[serde(default)]
    pub profile: Option<String>,
    /// What is in that file; `null` if there is none.
    #[serde(default)]
    pub mix: Option<FaultMix>,
    /// Which part of the campaign it is; 1 of 1 is all of it. Absent in a file of before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardRow>,
    /// Why it ended: `complete`, `time_over`, `failures_max` or `interrupted`.
    pub ended: String,
    /// How much of the programs' chance was held.
    pub control: ControlInForce,
    /// In the order in which the program lists them.
    pub scenarios: Vec<ScenarioRow>,
    /// Worlds in which the tool itself crashed, or did as their failure was shrunk.
    pub crashes: Vec<Crash>,
    /// Worlds in which polls took too long in real time, if that was measured. These alone are not the same at each run.
    #[serde(default)]
    pub slow: Vec<SlowRow>,
    /// Saved plans that could not be replayed any more.
    pub stale: Vec<StalePlan>,
    /// What the second run of every world came to; `null` if there was none.
    pub determinism: Option<SecondRunResult>,
}

/// Which seeds a campaign has of each scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedsRow {
    /// The first one; that of every world of an exhaustive campaign.
    pub first: u64,
    /// How many they are; `null` where the clock decides, and in an exhaustive campaign.
    pub count: Option<u64>,
}

/// A part of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// Which, from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

/// How much of the programs' chance was held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlInForce {
    /// tokio's own choices followed the seed.
    pub task_order: bool,
    /// Hash maps and `rand` followed the seed.
    pub entropy: bool,
    /// The standard library's clocks are the world's.
    pub time: bool,
}

/// One scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScenarioRow {
    /// Its name.
    pub name: String,
    /// How many of its worlds ran to their end.
    pub worlds: u64,
    /// The world time of all of them together.
    pub virtual_time_ms: u64,
    /// What went wrong, by kind.
    pub faults: BTreeMap<String, FaultRow>,
    /// The transitions that were seen, as `pending->starting`, in the order of the phases.
    pub transitions: Vec<String>,
    /// In how many worlds a fault of a kind first struck while a worker stood at a moment: counts by kind, by moment.
    pub coverage: BTreeMap<String, BTreeMap<String, u64>>,
    /// What the scenario wants to see sometimes, and in how many worlds it was seen. 0: never, so it was not tested.
    #[serde(default)]
    pub sometimes: BTreeMap<String, u64>,
    /// One hash over the seeds and fingerprints of all its worlds, in their order.
    pub fingerprint: String,
    /// Seed and fingerprint of each world that was generated, in the order of seeds; number and fingerprint of each that was tried in
    /// an exhaustive campaign.
    pub fingerprints: Vec<(u64, String)>,
    /// What an exhaustive campaign tries in it, all shards together; `null` in another campaign.
    pub injections: Option<InjectionRow>,
    /// Each plan that was replayed, in the order of files.
    pub replays: Vec<ReplayRow>,
    /// The rules that broke.
    pub failures: Vec<FailureRow>,
}

/// What an exhaustive campaign tries in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectionRow {
    /// How many injection points its base worlds have.
    pub points: u64,
    /// How many of them are left out, because others are tried that differ in nothing but their time.
    pub points_left_out: u64,
    /// How many worlds there are.
    pub worlds: u64,
    /// How many of them have two faults.
    pub pairs: u64,
}

/// A saved plan that was replayed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayRow {
    /// The file.
    pub file: String,
    /// The plan's seed.
    pub seed: u64,
    /// The world's fingerprint.
    pub fingerprint: String,
}

/// The faults of one kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FaultRow {
    /// How many the plans had.
    pub planned: u64,
    /// How many of them had an effect.
    pub struck: u64,
}

/// A rule that broke.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailureRow {
    /// The world's seed.
    pub seed: u64,
    /// Its profile; `null` for a plan that was not generated.
    pub profile: Option<String>,
    /// Its number among all that an exhaustive campaign tries, or the seed for which a guided one made its plan out of others; else
    /// `null`.
    pub number: Option<u64>,
    /// The rule's short name: `T1`, or what the scenario called it.
    pub rule: String,
    /// Whether it is one of liveness.
    pub liveness: bool,
    /// World time, in milliseconds.
    pub at_ms: u64,
    /// What the rule demands.
    pub expected: String,
    /// What happened instead.
    pub happened: String,
    /// Whether the same rule broke when the world was run again.
    pub reproduced: bool,
    /// How many faults the plan had when it was found.
    pub faults_found: usize,
    /// How many worlds shrinking took.
    pub shrink_worlds: u32,
    /// The smallest plan that was found to break the rule; as it was found, if the rule did not break again.
    pub plan: Plan,
    /// Where that plan is kept; `null` if it is not.
    pub plan_file: Option<String>,
}

/// Which world of a campaign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorldRow {
    /// Whose world.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Its profile; `null` for a plan that was not generated.
    #[serde(default)]
    pub profile: Option<String>,
    /// Its number among all that an exhaustive campaign tries, or the seed for which a guided one made its plan out of others; else
    /// `null`.
    #[serde(default)]
    pub number: Option<u64>,
    /// The file of its plan, if that was a saved one, or was saved because the tool crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_file: Option<String>,
}

/// A world in which the tool itself crashed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Crash {
    /// Which; its fields are the crash's own.
    #[serde(flatten)]
    pub world: WorldRow,
    /// What the panic said.
    pub message: String,
}

/// A world in which polls took too long in real time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlowRow {
    /// Which; its fields are the row's own.
    #[serde(flatten)]
    pub world: WorldRow,
    /// The first of these polls.
    pub polls: Vec<SlowPollRow>,
}

/// A poll that took too long in real time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlowPollRow {
    /// In the process of which node.
    pub node: String,
    /// Of which task, and where that was spawned.
    pub task: String,
    /// World time, in milliseconds.
    pub at_ms: u64,
    /// Real time, in milliseconds.
    pub real_ms: u64,
    /// How much of that its thread was on a processor; `null` where that is not known.
    pub cpu_ms: Option<u64>,
}

/// A saved plan that could not be replayed any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StalePlan {
    /// The file.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// What the second run of every world came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecondRunResult {
    /// How many worlds were compared.
    pub worlds: u64,
    /// How many of them differed.
    pub differed: u64,
    /// The first few that did, in the order of the worlds.
    pub partings: Vec<PartingRow>,
    /// Why some could not be compared.
    pub problem: Option<String>,
}

/// A world that ran twice and differed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartingRow {
    /// Which; its fields are the parting's own. Of a file of before there were these fields, only its scenario and seed are known.
    #[serde(flatten)]
    pub world: WorldRow,
    /// The fingerprint of the first run.
    pub first: String,
    /// The fingerprint of the second run.
    pub second: String,
    /// The number of the first record at which two runs parted, from 1; `null` when that could not be found.
    pub record: Option<usize>,
    /// The number of the first poll at which they did, from 1, if all records were the same; else `null`.
    pub poll: Option<usize>,
}

impl Report {
    /// What `report` says.
    #[must_use]
    pub fn of(report: &CampaignReport) -> Self {
        let verdict = report.verdict();
        let Control { task_order, entropy, time } = report.control;
        Self {
            version: VERSION,
            verdict: verdict.as_str().to_owned(),
            exit_code: verdict.code(),
            search: Some(search(report.search).to_owned()),
            seeds: Some(seeds(report)),
            profile: report.profile.as_ref().map(CampaignProfile::word),
            mix: report.profile.as_ref().and_then(CampaignProfile::own_mix),
            shard: Some(ShardRow { number: report.shard.number(), of: report.shard.of() }),
            ended: report.ended.as_str().to_owned(),
            control: ControlInForce { task_order, entropy, time },
            scenarios: report.scenarios.iter().map(|row| scenario_row(report, row)).collect(),
            crashes: report.crashes.iter().map(crash).collect(),
            slow: report.slow.iter().map(slow_row).collect(),
            stale: report
                .stale
                .iter()
                .map(|stale| StalePlan { file: file_words(&stale.file), reason: stale.reason.clone() })
                .collect(),
            determinism: report.determinism.as_ref().map(second_run),
        }
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// With one line, when it is of another version, which is told before anything else, or not a report at all.
    pub fn from_json(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let not_a_report = |error: serde_json::Error| format!("not a report: {error}");
        let Versioned { version } = serde_json::from_str(json).map_err(not_a_report)?;
        if version != VERSION {
            return Err(format!("the report has version {version}; this program reads version {VERSION}"));
        }
        serde_json::from_str(json).map_err(not_a_report)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}

fn search(search: Search) -> &'static str {
    match search {
        Search::Random => "random",
        Search::Exhaustive(_) => "exhaustive",
        Search::Guided => "guided",
    }
}

fn seeds(report: &CampaignReport) -> SeedsRow {
    match (report.search, report.seeds) {
        (Search::Exhaustive(what), _) => SeedsRow { first: what.seed, count: None },
        (Search::Random | Search::Guided, Seeds::Counted { first, count }) => SeedsRow { first, count: Some(count) },
        (Search::Random | Search::Guided, Seeds::Timed { first, .. }) => SeedsRow { first, count: None },
    }
}

pub(crate) fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn whole_ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn profile(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Generated(profile) => Some(profile.word()),
        Origin::Saved(_) | Origin::Injected { .. } | Origin::Changed { .. } => None,
    }
}

fn number(origin: &Origin) -> Option<u64> {
    match origin {
        Origin::Injected { number } | Origin::Changed { number } => Some(*number),
        Origin::Generated(_) | Origin::Saved(_) => None,
    }
}

fn scenario_row(report: &CampaignReport, row: &ScenarioReport) -> ScenarioRow {
    let mut fingerprints = Vec::new();
    let mut replays = Vec::new();
    for (origin, seed, fingerprint) in &row.runs {
        match origin {
            Origin::Generated(_) | Origin::Injected { .. } | Origin::Changed { .. } => {
                fingerprints.push((origin.key(*seed), hex(*fingerprint)));
            }
            Origin::Saved(file) => {
                replays.push(ReplayRow { file: file_words(file), seed: *seed, fingerprint: hex(*fingerprint) });
            }
        }
    }
    ScenarioRow {
        name: row.name.to_owned(),
        worlds: row.worlds,
        virtual_time_ms: whole_ms(row.virtual_time),
        faults: row
            .faults
            .by_kind()
            .map(|(name, count)| (name.to_owned(), FaultRow { planned: count.planned, struck: count.struck }))
            .collect(),
        transitions: row.transitions.pairs().into_iter().map(|(from, to)| format!("{from}->{to}")).collect(),
        coverage: coverage(&row.coverage),
        sometimes: row.sometimes.clone(),
        fingerprint: hex(row.fingerprint()),
        fingerprints,
        injections: row.injections.map(|InjectionCounts { points, points_left_out, worlds, pairs }| InjectionRow {
            points,
            points_left_out,
            worlds,
            pairs,
        }),
        replays,
        failures: report.failures_of(row.name).map(failure_row).collect(),
    }
}

fn coverage(counts: &CoverageCounts) -> BTreeMap<String, BTreeMap<String, u64>> {
    let of_moment = |moment: Moment| {
        let kinds = FaultKind::NAMES.into_iter().enumerate();
        let counted = kinds.map(|(index, kind)| (kind.to_owned(), counts.of(moment, index)));
        (moment.as_str().to_owned(), counted.filter(|(_, worlds)| *worlds > 0).collect::<BTreeMap<_, _>>())
    };
    Moment::ALL.into_iter().map(of_moment).filter(|(_, kinds)| !kinds.is_empty()).collect()
}

fn failure_row(failure: &Failure) -> FailureRow {
    FailureRow {
        seed: failure.seed,
        profile: profile(&failure.origin),
        number: number(&failure.origin),
        rule: failure.rule().name().to_owned(),
        liveness: failure.rule().is_liveness(),
        at_ms: whole_ms(failure.violation.at),
        expected: failure.violation.expected.clone(),
        happened: failure.violation.happened.clone(),
        reproduced: failure.reproduced,
        faults_found: failure.found.faults.len(),
        shrink_worlds: failure.shrink_worlds,
        plan: failure.plan().clone(),
        plan_file: failure.plan_file.as_deref().map(file_words),
    }
}

fn file_words(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}

fn world_row(scenario: &str, seed: u64, origin: &Origin) -> WorldRow {
    WorldRow {
        scenario: scenario.to_owned(),
        seed,
        profile: profile(origin),
        number: number(origin),
        plan_file: origin.file().map(file_words),
    }
}

fn crash(crash: &ToolCrash) -> Crash {
    let plan_file = crash.plan_file.as_deref().map(file_words);
    let world = WorldRow { plan_file, ..world_row(crash.scenario, crash.seed, &crash.origin) };
    Crash { world, message: crash.message.clone() }
}

fn slow_row(slow: &SlowWorld) -> SlowRow {
    let row = |poll: &SlowPoll| SlowPollRow {
        node: poll.node.to_string(),
        task: poll.task.clone(),
        at_ms: whole_ms(poll.at),
        real_ms: whole_ms(poll.real),
        cpu_ms: poll.cpu.map(whole_ms),
    };
    SlowRow { world: world_row(slow.scenario, slow.seed, &slow.origin), polls: slow.polls.iter().map(row).collect() }
}

fn second_run(determinism: &Determinism) -> SecondRunResult {
    SecondRunResult {
        worlds: determinism.worlds,
        differed: determinism.differed,
        partings: determinism.partings.iter().map(parting_row).collect(),
        problem: determinism.problem.clone(),
    }
}

fn parting_row(parting: &Parting) -> PartingRow {
    let record = match parting.place {
        Place::Record { number, .. } => Some(number),
        Place::Poll { .. } | Place::NotAgain | Place::Unknown(_) => None,
    };
    let poll = match &parting.place {
        Place::Poll { number, .. } => Some(*number),
        Place::Record { .. } | Place::NotAgain | Place::Unknown(_) => None,
    };
    PartingRow {
        world: world_row(parting.scenario, parting.seed, &parting.origin),
        first: hex(parting.first),
        second: hex(parting.second),
        record,
        poll,
    }
}
