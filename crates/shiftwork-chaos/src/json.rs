//! The report for programs: `--json FILE`.
//!
//! One object, in the fields of [`Report`] and in their order. It holds nothing that a clock or the number of threads decides, so that two runs of
//! the same campaign write the same bytes. Fingerprints are 16 hexadecimal digits; seeds are numbers up to 2⁶⁴ − 1, which some readers
//! of JSON round.

use std::collections::BTreeMap;

use serde::Serialize;
use shiftwork_sim::{Plan, control::Control};

use crate::{
    CampaignReport, Failure,
    determinism::{Determinism, Parting, Place},
    failure::profile_name,
    report::{Origin, ScenarioReport, ToolCrash},
};

/// The version of this format. It grows when a field goes away or changes its meaning, not when one is added.
pub const VERSION: u32 = 1;

/// A whole campaign.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// `kept`, `interrupted`, `liveness_lost`, `rule_broken`, `determinism_lost` or `tool_crashed`.
    pub verdict: &'static str,
    /// The exit code of that verdict.
    pub exit_code: u8,
    /// Why it ended: `complete`, `time_over`, `failures_max` or `interrupted`.
    pub ended: &'static str,
    /// How much of the programs' chance was held.
    pub control: ControlInForce,
    /// In the order in which the program lists them.
    pub scenarios: Vec<ScenarioRow>,
    /// Worlds in which the tool itself crashed.
    pub crashes: Vec<Crash>,
    /// Saved plans that could not be replayed any more.
    pub stale: Vec<StalePlan>,
    /// What the second run of every world came to; `null` if there was none.
    pub determinism: Option<SecondRunResult>,
}

/// How much of the programs' chance was held.
#[derive(Debug, Clone, Serialize)]
pub struct ControlInForce {
    /// tokio's own choices followed the seed.
    pub task_order: bool,
    /// Hash maps and `rand` followed the seed.
    pub entropy: bool,
    /// The standard library's clocks are the world's.
    pub time: bool,
}

/// One scenario.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioRow {
    /// Its name.
    pub name: &'static str,
    /// How many of its worlds ran to their end.
    pub worlds: u64,
    /// The world time of all of them together.
    pub virtual_time_ms: u64,
    /// What went wrong, by kind.
    pub faults: BTreeMap<&'static str, FaultRow>,
    /// The transitions that were seen, as `pending->starting`, in the order of the phases.
    pub transitions: Vec<String>,
    /// One hash over the seeds and fingerprints of all its worlds, in their order.
    pub fingerprint: String,
    /// Seed and fingerprint of each world that was generated, in the order of seeds.
    pub fingerprints: Vec<(u64, String)>,
    /// File and fingerprint of each plan that was replayed, in the order of files.
    pub replays: Vec<(String, String)>,
    /// The rules that broke.
    pub failures: Vec<FailureRow>,
}

/// The faults of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct FaultRow {
    /// How many the plans had.
    pub planned: u64,
    /// How many of them had an effect.
    pub struck: u64,
}

/// A rule that broke.
#[derive(Debug, Clone, Serialize)]
pub struct FailureRow {
    /// The world's seed.
    pub seed: u64,
    /// Its profile; `null` for a plan from a file.
    pub profile: Option<&'static str>,
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
    /// The smallest plan that was found to break the rule.
    pub plan: Plan,
    /// Where that plan is kept; `null` if it is not.
    pub plan_file: Option<String>,
}

/// A world in which the tool itself crashed.
#[derive(Debug, Clone, Serialize)]
pub struct Crash {
    /// Whose world.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Its profile; `null` for a plan from a file.
    pub profile: Option<&'static str>,
    /// What the panic said.
    pub message: String,
}

/// A saved plan that could not be replayed any more.
#[derive(Debug, Clone, Serialize)]
pub struct StalePlan {
    /// The file.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// What the second run of every world came to.
#[derive(Debug, Clone, Serialize)]
pub struct SecondRunResult {
    /// How many worlds were compared.
    pub worlds: u64,
    /// How many of them differed.
    pub differed: u64,
    /// The first few that did.
    pub partings: Vec<PartingRow>,
    /// Why some could not be compared.
    pub problem: Option<String>,
}

/// A world that ran twice and differed.
#[derive(Debug, Clone, Serialize)]
pub struct PartingRow {
    /// Whose world.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// The fingerprint of the first run.
    pub first: String,
    /// The fingerprint of the second run.
    pub second: String,
    /// The number of the first record at which two runs parted, from 1; `null` when that could not be found.
    pub record: Option<usize>,
}

impl Report {
    /// What `report` says.
    #[must_use]
    pub fn of(report: &CampaignReport) -> Self {
        let verdict = report.verdict();
        let Control { task_order, entropy, time } = report.control;
        Self {
            version: VERSION,
            verdict: verdict.as_str(),
            exit_code: verdict.code(),
            ended: report.ended.as_str(),
            control: ControlInForce { task_order, entropy, time },
            scenarios: report.scenarios.iter().map(|row| scenario_row(report, row)).collect(),
            crashes: report.crashes.iter().map(crash).collect(),
            stale: report
                .stale
                .iter()
                .map(|stale| StalePlan {
                    file: stale.file.to_string_lossy().into_owned(),
                    reason: stale.reason.clone(),
                })
                .collect(),
            determinism: report.determinism.as_ref().map(second_run),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}

fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn whole_ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn profile(origin: &Origin) -> Option<&'static str> {
    match origin {
        Origin::Generated(profile) => Some(profile_name(*profile)),
        Origin::Saved(_) => None,
    }
}

fn scenario_row(report: &CampaignReport, row: &ScenarioReport) -> ScenarioRow {
    let mut fingerprints = Vec::new();
    let mut replays = Vec::new();
    for (origin, seed, fingerprint) in &row.runs {
        match origin {
            Origin::Generated(_) => fingerprints.push((*seed, hex(*fingerprint))),
            Origin::Saved(file) => replays.push((file.to_string_lossy().into_owned(), hex(*fingerprint))),
        }
    }
    ScenarioRow {
        name: row.name,
        worlds: row.worlds,
        virtual_time_ms: whole_ms(row.virtual_time),
        faults: row
            .faults
            .by_kind()
            .map(|(name, count)| (name, FaultRow { planned: count.planned, struck: count.struck }))
            .collect(),
        transitions: row.transitions.pairs().into_iter().map(|(from, to)| format!("{from}->{to}")).collect(),
        fingerprint: hex(row.fingerprint()),
        fingerprints,
        replays,
        failures: report.failures_of(row.name).map(failure_row).collect(),
    }
}

fn failure_row(failure: &Failure) -> FailureRow {
    FailureRow {
        seed: failure.seed,
        profile: profile(&failure.origin),
        rule: failure.rule().name().to_owned(),
        liveness: failure.rule().is_liveness(),
        at_ms: whole_ms(failure.violation.at),
        expected: failure.violation.expected.clone(),
        happened: failure.violation.happened.clone(),
        reproduced: failure.reproduced,
        faults_found: failure.faults_found,
        shrink_worlds: failure.shrink_worlds,
        plan: failure.outcome.plan.clone(),
        plan_file: failure.plan_file.as_ref().map(|file| file.to_string_lossy().into_owned()),
    }
}

fn crash(crash: &ToolCrash) -> Crash {
    Crash {
        scenario: crash.scenario,
        seed: crash.seed,
        profile: profile(&crash.origin),
        message: crash.message.clone(),
    }
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
        Place::TaskOrder | Place::NotAgain | Place::Unknown(_) => None,
    };
    PartingRow {
        scenario: parting.scenario,
        seed: parting.seed,
        first: hex(parting.first),
        second: hex(parting.second),
        record,
    }
}
