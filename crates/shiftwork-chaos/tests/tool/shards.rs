//! Shards: their sum is the whole campaign.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    time::Duration,
};

use serde_json::{Value, json};
use shiftwork_chaos::{Campaign, Seeds, Tool, json::Report};
use shiftwork_sim::Scenario;

use crate::{Run, chaos, merge, scenarios, setup};

const CAMPAIGN: [&str; 9] =
    ["mailer", "canary-twice", "canary-sights", "--seeds", "120", "--max-failures", "999", "--json", "-"];

fn shard(folder: &tempfile::TempDir, name: &str, more: &[&str]) -> Run {
    let run = chaos(folder.path(), &[&CAMPAIGN[..], more].concat());
    fs::write(folder.path().join(name), &run.out).unwrap();
    run
}

/// What does not depend on the folder where plans were saved.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn the_sum_of_all_shards_is_the_whole_campaign() {
    let folder = setup();
    let whole = shard(&folder, "whole.json", &[]);
    assert_eq!(whole.code, 1, "{}", whole.err);
    let parts = ["1/3", "2/3", "3/3"];
    for part in parts {
        let run = shard(&folder, &format!("{}.json", &part[..1]), &["--shard", part]);
        let worlds = json(&run.out)["scenarios"][0]["worlds"].as_u64().unwrap();
        assert_eq!(worlds, 40, "{part} of 120");
    }
    // In any order.
    let merged = merge(&folder, &["DIR/3.json", "DIR/1.json", "DIR/2.json"]);
    assert_eq!(merged.code, 1, "{}", merged.err);
    assert!(merged.err.contains("rule_broken: 360 worlds in 3 shards"), "{}", merged.err);
    assert_eq!(merged.out, whole.out);
}

#[test]
fn shards_replay_a_corpus_between_them() {
    let folder = setup();
    let found =
        chaos(folder.path(), &["canary-twice", "--profile", "harsh", "--max-failures", "3", "--save", "DIR/corpus"]);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    fs::write(folder.path().join("corpus/stale.json"), "{\"version\": 0}").unwrap();
    let corpus = ["--corpus", "DIR/corpus"];
    let whole = shard(&folder, "whole.json", &corpus);
    for part in ["1/2", "2/2"] {
        shard(&folder, &format!("{}.json", &part[..1]), &[&corpus[..], &["--shard", part]].concat());
    }
    let merged = merge(&folder, &["DIR/1.json", "DIR/2.json"]);
    assert_eq!(merged.out, whole.out);
    assert_eq!(json(&merged.out)["stale"].as_array().unwrap().len(), 1);
}

/// A stream that takes nothing.
struct Refuses(io::ErrorKind);

impl Write for Refuses {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sum_that_there_is_no_room_for_is_a_crash_of_the_tool_and_one_that_nobody_reads_is_none() {
    let folder = setup();
    assert_eq!(chaos(folder.path(), &["mailer", "--seeds", "2", "--json", "DIR/whole.json"]).code, 0);
    let merge_into = |mut out: Refuses| {
        let args: [OsString; 2] = ["merge".into(), folder.path().join("whole.json").into()];
        let mut err = Vec::new();
        let code = Tool::new(scenarios::all()).run(args, &mut out, &mut err);
        (code, String::from_utf8(err).unwrap())
    };
    let (code, said) = merge_into(Refuses(io::ErrorKind::StorageFull));
    assert_eq!(code, 70, "{said}");
    assert!(said.contains("could not write the report to standard output: "), "{said}");
    assert_eq!(merge_into(Refuses(io::ErrorKind::BrokenPipe)), (0, "kept: 2 worlds in 1 shards\n".to_owned()));
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    let folder = setup();
    let refused = |files: &[&str], words: &[&str]| {
        let run = merge(&folder, files);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{}", run.err);
        assert!(words.iter().all(|word| run.err.contains(word)), "{}", run.err);
    };
    shard(&folder, "one.json", &["--shard", "1/8"]);
    let other = chaos(folder.path(), &["mailer", "--seeds", "2", "--json", "-"]);
    fs::write(folder.path().join("other.json"), &other.out).unwrap();
    fs::write(folder.path().join("bad.json"), "nonsense").unwrap();
    fs::write(folder.path().join("old.json"), "{\"version\": 1}").unwrap();
    refused(&[], &["no report to merge", "merge A.json"]);
    refused(&["DIR/missing.json"], &["missing.json", "No such file"]);
    refused(&["DIR/bad.json"], &["bad.json", "not a report"]);
    refused(&["DIR/old.json"], &["old.json", "version 1", "version 2"]);
    refused(&["DIR/one.json", "DIR/one.json"], &["seed 0", "two reports", "not shards of one campaign"]);
    refused(&["DIR/one.json"], &["there is none of shard 2/8, 3/8, 4/8, 5/8, 6/8, 7/8, 8/8"]);
    shard(&folder, "other_half.json", &["--shard", "2/4"]);
    refused(&["DIR/one.json", "DIR/other_half.json"], &["one has 8 shards, another 4"]);
    shard(&folder, "guided.json", &["--guided", "--shard", "2/8"]);
    refused(&["DIR/one.json", "DIR/guided.json"], &["the search of one is random; of another, guided"]);
    refused(&["DIR/one.json", "DIR/other.json"], &["mailer, canary-twice, canary-sights; of another, mailer"]);
}

#[test]
fn shards_of_different_campaigns_are_refused_with_what_differs() {
    let folder = setup();
    let part = |name: &str, args: &[&str]| {
        let run = chaos(folder.path(), &[&["mailer", "--json", "-"][..], args].concat());
        assert_eq!(run.code, 0, "{args:?}: {}", run.err);
        fs::write(folder.path().join(name), run.out).unwrap();
    };
    let refused = |one: &[&str], other: &[&str], said: &str| {
        part("1.json", &[&["--shard", "1/9"][..], one].concat());
        part("2.json", &[&["--shard", "2/9"][..], other].concat());
        let run = merge(&folder, &["DIR/1.json", "DIR/2.json"]);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{one:?} and {other:?}");
        assert!(run.err.contains("not of one campaign") && run.err.contains(said), "{said:?} is not in {}", run.err);
    };
    let seeds = ["--seeds", "4"];
    refused(&seeds, &["--seeds", "6"], "with --first-seed 0 --seeds 4, another with --first-seed 0 --seeds 6");
    refused(&seeds, &["--seeds", "4", "--first-seed", "9"], "--seeds 4, another with --first-seed 9 --seeds 4");
    refused(&seeds, &["--seeds", "4", "--profile", "harsh"], "with no --profile, another with --profile harsh");
    let mix = |name: &str, most: u16| {
        let text = format!(r#"{{"faults_max": {most}, "weights": {{"hang": 1}}}}"#);
        fs::write(folder.path().join(name), text).unwrap();
    };
    mix("calm.json", 2);
    mix("wild.json", 9);
    let [calm, wild] = ["DIR/calm.json", "DIR/wild.json"].map(|file| ["--seeds", "4", "--profile", file]);
    refused(&calm, &wild, "wild.json ({\"faults_min\":0,\"faults_max\":9,");
    part("1.json", &[&["--shard", "1/2"][..], &calm].concat());
    let changed = fs::read_to_string(folder.path().join("1.json")).unwrap();
    part("2.json", &[&["--shard", "2/2"][..], &calm].concat());
    assert_eq!(merge(&folder, &["DIR/1.json", "DIR/2.json"]).code, 0);
    fs::write(folder.path().join("1.json"), changed.replace("\"faults_max\": 2", "\"faults_max\": 3")).unwrap();
    let run = merge(&folder, &["DIR/1.json", "DIR/2.json"]);
    assert!(run.code == 2 && run.err.contains("not of one campaign"), "the file was changed: {}", run.err);
    let exhaustive = ["--exhaustive", "--worlds-max", "50"];
    let later = [&exhaustive[..], &["--first-seed", "3"]].concat();
    refused(&exhaustive, &later, "with --first-seed 0, another with --first-seed 3");
    let pairs = [&exhaustive[..], &["--pairs", "5"]].concat();
    refused(&exhaustive, &pairs, "of which 0 are pairs; another, ");
}

#[test]
fn a_report_says_which_seeds_it_has_and_how_much_went_wrong() {
    let folder = setup();
    let check = |args: &[&str], seeds: Value, profile: Value| {
        let run = chaos(folder.path(), &[&["mailer", "--json", "-"][..], args].concat());
        let report = json(&run.out);
        assert_eq!((&report["seeds"], &report["profile"]), (&seeds, &profile), "{args:?}");
    };
    check(&["--seeds", "4", "--shard", "2/2"], json!({"first": 0, "count": 4}), Value::Null);
    check(&["--seed", "7", "--profile", "harsh"], json!({"first": 7, "count": 1}), "harsh".into());
    let exhaustive = ["--exhaustive", "--worlds-max", "1", "--first-seed", "3", "--shard", "1/99"];
    check(&exhaustive, json!({"first": 3, "count": null}), Value::Null);
    let mut timed = Campaign::over([&scenarios::Mailer as &dyn Scenario]);
    timed.seeds = Seeds::Timed { first: 7, time: Duration::ZERO };
    let seeds = Report::of(&timed.run()).seeds.unwrap();
    assert_eq!((seeds.first, seeds.count), (7, None));
}

#[test]
fn worlds_that_differed_are_in_the_order_of_the_whole_campaign_and_no_more_than_it_would_have_told() {
    let folder = setup();
    let seeds_of = |report: &Value| -> Vec<u64> {
        let partings = report["determinism"]["partings"].as_array().unwrap();
        partings.iter().map(|parting| parting["seed"].as_u64().unwrap()).collect()
    };
    let mut seeds = Vec::new();
    for (part, file) in [("1/2", "1.json"), ("2/2", "2.json")] {
        let args = ["canary-chance", "--seeds", "12", "--verify-determinism", "--json", "-", "--shard", part];
        let run = chaos(folder.path(), &args);
        assert_eq!(run.code, 4, "{}", run.err);
        let mut report = json(&run.out);
        seeds.extend(seeds_of(&report));
        report["determinism"]["problem"] = format!("{part} had one").into();
        fs::write(folder.path().join(file), report.to_string()).unwrap();
    }
    assert!(seeds.len() > 5 && !seeds.is_sorted(), "{seeds:?}");
    seeds.sort_unstable();
    let merged = merge(&folder, &["DIR/2.json", "DIR/1.json"]);
    assert_eq!(merged.code, 4, "{}", merged.err);
    let merged = json(&merged.out);
    assert_eq!(seeds_of(&merged), seeds[..5]);
    assert_eq!(merged["determinism"]["worlds"], 12);
    assert_eq!(merged["determinism"]["problem"], "1/2 had one; 2/2 had one");
}
