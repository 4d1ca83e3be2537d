//! The reports of all shards as one: `merge A.json B.json …`.
//!
//! The sum of the shards of a campaign is the report of the whole one, byte for byte, if its worlds are deterministic and no shard was cut
//! short, its second run included: worlds are put back into their order, and hashes over them are taken anew.

use std::collections::{BTreeMap, BTreeSet};

use shiftwork_sim::rules::Transitions;

use crate::{
    Verdict,
    determinism::PARTINGS_MAX,
    json::{FailureRow, InjectionRow, Report, ScenarioRow, SecondRunResult, SeedsRow, ShardRow, WorldRow, hex},
    report::{Ended, hash_of_runs},
};

/// One report of all.
///
/// # Errors
///
/// With one line, when there is none, when two are of different campaigns (scenarios, search, seeds, profile, what there is to try), when two
/// ran the same world (they are not shards of one campaign), or when one of its shards is not among them.
pub fn merge(reports: impl IntoIterator<Item = Report>) -> Result<Report, String> {
    let mut reports: Vec<Report> = reports.into_iter().collect();
    // What comes of it does not depend on the order in which they were named.
    reports.sort_by_key(|report| report.shard.map(|shard| shard.number));
    let mut reports = reports.into_iter();
    let mut whole = reports.next().ok_or("there is no report to merge")?;
    let mut shards = vec![whole.shard];
    for report in reports {
        shards.push(report.shard);
        add(&mut whole, report)?;
    }
    for row in &mut whole.scenarios {
        put_in_order(row)?;
    }
    whole.shard = sum_of(&shards)?;
    let scenarios: Vec<String> = whole.scenarios.iter().map(|row| row.name.clone()).collect();
    let place = |world: &WorldRow| {
        let scenario = scenarios.iter().position(|name| *name == world.scenario);
        // An exhaustive campaign runs one scenario after the other, another one all of them in turn.
        let first = world.number.and(scenario);
        let made = world.profile.is_some() || world.number.is_some();
        (made, world.plan_file.clone().filter(|_| !made), first, world.number.unwrap_or(world.seed), scenario)
    };
    whole.crashes.sort_by_key(|crash| place(&crash.world));
    whole.slow.sort_by_key(|slow| place(&slow.world));
    if let Some(determinism) = &mut whole.determinism {
        determinism.partings.sort_by_key(|parting| place(&parting.world));
        // The first few of all are among the first few of each.
        determinism.partings.truncate(PARTINGS_MAX);
    }
    whole.stale.sort_by(|one, other| one.file.cmp(&other.file));
    whole.stale.dedup_by(|one, other| one.file == other.file);
    Ok(whole)
}

/// The text of several files of reports as that of one.
///
/// # Errors
///
/// As [`merge`], or when one of them is not a report; each comes with its name.
pub fn merge_texts<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Report, String> {
    let read = |(name, text)| Report::from_json(text).map_err(|reason| format!("{name}: {reason}"));
    let reports: Result<Vec<_>, _> = files.into_iter().map(read).collect();
    merge(reports?)
}

/// What the reports are a part of: all of it, if every shard is there. Reports that do not say what they are cannot be asked.
fn sum_of(shards: &[Option<ShardRow>]) -> Result<Option<ShardRow>, String> {
    let Some(shards) = shards.iter().copied().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some(of) = shards.first().map(|shard| shard.of) else { return Ok(None) };
    if let Some(other) = shards.iter().find(|shard| shard.of != of) {
        return Err(not_one_campaign(&format!("one has {of} shards, another {}", other.of)));
    }
    let there: BTreeSet<u64> = shards.iter().map(|shard| shard.number).collect();
    let missing: Vec<String> =
        (1..=of).filter(|number| !there.contains(number)).map(|it| format!("{it}/{of}")).collect();
    if missing.is_empty() {
        return Ok(Some(ShardRow { number: 1, of: 1 }));
    }
    Err(format!("the reports are not the whole campaign: there is none of shard {}", missing.join(", ")))
}

/// Refuses reports that differ in what all shards of a campaign have in common.
fn of_one_campaign(one: &Report, other: &Report) -> Result<(), String> {
    let names = |report: &Report| report.scenarios.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    let (ours, theirs) = (names(one), names(other));
    if ours != theirs {
        let (ours, theirs) = (ours.join(", "), theirs.join(", "));
        return Err(not_one_campaign(&format!("the scenarios of one are {ours}; of another, {theirs}")));
    }
    if one.search != other.search {
        let word = |search: &Option<String>| search.clone().unwrap_or_else(|| "not known".to_owned());
        let (ours, theirs) = (word(&one.search), word(&other.search));
        return Err(not_one_campaign(&format!("the search of one is {ours}; of another, {theirs}")));
    }
    if one.seeds != other.seeds {
        let (ours, theirs) = (seed_words(one.seeds), seed_words(other.seeds));
        return Err(not_one_campaign(&format!("one was run with {ours}, another with {theirs}")));
    }
    if (&one.profile, one.mix) != (&other.profile, other.mix) {
        let (ours, theirs) = (profile_words(one), profile_words(other));
        return Err(not_one_campaign(&format!("one was run with {ours}, another with {theirs}")));
    }
    for (row, more) in one.scenarios.iter().zip(&other.scenarios) {
        if row.injections != more.injections {
            let (name, ours, theirs) = (&row.name, injection_words(row.injections), injection_words(more.injections));
            return Err(not_one_campaign(&format!("of {name} one tries {ours}; another, {theirs}")));
        }
    }
    Ok(())
}

fn not_one_campaign(why: &str) -> String {
    format!("the reports are not of one campaign: {why}")
}

/// The options that choose these seeds.
fn seed_words(seeds: Option<SeedsRow>) -> String {
    match seeds {
        None => "seeds that it does not tell".to_owned(),
        Some(SeedsRow { first, count: None }) => format!("--first-seed {first}"),
        Some(SeedsRow { first, count: Some(count) }) => format!("--first-seed {first} --seeds {count}"),
    }
}

/// The option that chooses this profile, and what is in its file if it has one: a file may have been changed between two shards.
fn profile_words(report: &Report) -> String {
    match (&report.profile, &report.mix) {
        (None, _) => "no --profile".to_owned(),
        (Some(profile), None) => format!("--profile {profile}"),
        (Some(profile), Some(mix)) => {
            format!("--profile {profile} ({})", serde_json::to_string(mix).unwrap_or_default())
        }
    }
}

fn injection_words(injections: Option<InjectionRow>) -> String {
    let Some(InjectionRow { points, points_left_out, worlds, pairs }) = injections else { return "nothing".to_owned() };
    format!("{points} points of which {points_left_out} are left out, in {worlds} worlds of which {pairs} are pairs")
}

fn add(whole: &mut Report, part: Report) -> Result<(), String> {
    of_one_campaign(whole, &part)?;
    let verdict = verdict(&whole.verdict)?.max(verdict(&part.verdict)?);
    (whole.verdict, whole.exit_code) = (verdict.as_str().to_owned(), verdict.code());
    whole.ended = ended(&whole.ended)?.max(ended(&part.ended)?).as_str().to_owned();
    whole.control.task_order &= part.control.task_order;
    whole.control.entropy &= part.control.entropy;
    whole.control.time &= part.control.time;
    for (row, more) in whole.scenarios.iter_mut().zip(part.scenarios) {
        add_row(row, more);
    }
    whole.crashes.extend(part.crashes);
    whole.slow.extend(part.slow);
    whole.stale.extend(part.stale);
    whole.determinism = match (whole.determinism.take(), part.determinism) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    };
    Ok(())
}

fn add_row(row: &mut ScenarioRow, more: ScenarioRow) {
    row.worlds += more.worlds;
    row.virtual_time_ms += more.virtual_time_ms;
    for (kind, count) in more.faults {
        let sum = row.faults.entry(kind).or_default();
        sum.planned += count.planned;
        sum.struck += count.struck;
    }
    for (moment, kinds) in more.coverage {
        let sum: &mut BTreeMap<String, u64> = row.coverage.entry(moment).or_default();
        for (kind, worlds) in kinds {
            *sum.entry(kind).or_default() += worlds;
        }
    }
    for (sight, worlds) in more.sometimes {
        *row.sometimes.entry(sight).or_default() += worlds;
    }
    row.transitions.extend(more.transitions);
    row.fingerprints.extend(more.fingerprints);
    row.replays.extend(more.replays);
    row.failures.extend(more.failures);
}

/// Puts everything into the order in which one process would have met it.
fn put_in_order(row: &mut ScenarioRow) -> Result<(), String> {
    let known = Transitions::in_order().map(|(from, to)| format!("{from}->{to}"));
    let seen: BTreeSet<String> = row.transitions.drain(..).collect();
    row.transitions = known.filter(|name| seen.contains(name)).collect();
    row.fingerprints.sort();
    row.replays.sort_by(|one, other| one.file.cmp(&other.file));
    row.failures.sort_by_key(|failure: &FailureRow| {
        let made = failure.profile.is_some() || failure.number.is_some();
        (made, failure.plan_file.clone().filter(|_| !made), failure.number.unwrap_or(failure.seed))
    });
    if let Some(pair) = row.fingerprints.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!(
            "seed {} of {} is in two reports: they are not shards of one campaign",
            pair[0].0, row.name
        ));
    }
    if let Some(pair) = row.replays.windows(2).find(|pair| pair[0].file == pair[1].file) {
        return Err(format!("{} is replayed in two reports: they are not shards of one campaign", pair[0].file));
    }
    let number = |text: &str| {
        u64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not a fingerprint of 16 hexadecimal digits"))
    };
    let mut runs = Vec::new();
    for replay in &row.replays {
        runs.push((replay.seed, number(&replay.fingerprint)?));
    }
    for (seed, fingerprint) in &row.fingerprints {
        runs.push((*seed, number(fingerprint)?));
    }
    row.fingerprint = hex(hash_of_runs(runs));
    Ok(())
}

fn both(mut one: SecondRunResult, other: SecondRunResult) -> SecondRunResult {
    one.worlds += other.worlds;
    one.differed += other.differed;
    one.partings.extend(other.partings);
    one.problem = match (one.problem.take(), other.problem) {
        (Some(one), Some(other)) if one != other => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    };
    one
}

fn verdict(word: &str) -> Result<Verdict, String> {
    let known = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word);
    known.ok_or_else(|| format!("there is no verdict {word:?}"))
}

fn ended(word: &str) -> Result<Ended, String> {
    let known = Ended::ALL.into_iter().find(|ended| ended.as_str() == word);
    known.ok_or_else(|| format!("no campaign ends {word:?}"))
}
