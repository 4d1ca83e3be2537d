//! Exhaustive campaigns: everything is tried, whoever does it.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, chaos, merge, setup};

fn exhaustive(folder: &TempDir, scenario: &str, more: &[&str]) -> Run {
    let args = [scenario, "--exhaustive", "--max-failures", "9999", "--worlds-max", "300", "--json", "-"];
    chaos(folder.path(), &[&args[..], more].concat())
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error} in {}{}", run.out, run.err))
}

#[test]
fn everything_is_tried_and_its_number_told() {
    let folder = setup();
    let run = exhaustive(&folder, "mailer", &["--pairs", "20"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let report = json(&run);
    let row = &report["scenarios"][0];
    let injections = &row["injections"];
    assert_eq!(row["worlds"], injections["worlds"]);
    assert_eq!(injections["pairs"], 20);
    assert!(injections["points"].as_u64() > injections["points_left_out"].as_u64(), "{injections}");
    let numbers = row["fingerprints"].as_array().unwrap().iter().map(|pair| pair[0].as_u64().unwrap());
    assert!(numbers.eq(0..row["worlds"].as_u64().unwrap()));
    assert!(run.err.contains("injection points"), "{}", run.err);
}

#[test]
fn a_failure_is_shrunk_saved_under_its_number_and_replayed() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-twice", "--exhaustive", "--max-failures", "1"]);
    assert_eq!(run.code, 1, "{}{}", run.out, run.err);
    assert!(run.out.contains("failure 1 of 1") && run.out.contains(", injection "), "{}", run.out);
    assert!(run.out.contains("shrunk from 1 fault to 1"), "{}", run.out);
    let saved: Vec<_> = fs::read_dir(folder.path().join(".chaos")).unwrap().map(|it| it.unwrap().file_name()).collect();
    let [file] = &saved[..] else { panic!("{saved:?}") };
    assert!(file.to_string_lossy().starts_with("canary-twice-no-mail-is-sent-twice-0-x"), "{file:?}");
    let again = chaos(folder.path(), &["--plan", &format!("DIR/.chaos/{}", file.to_string_lossy())]);
    assert_eq!(again.code, 1, "{}{}", again.out, again.err);
}

#[test]
fn threads_and_shards_change_nothing_of_what_is_found() {
    let folder = setup();
    let save = ["--save", "DIR/plans"];
    let whole = exhaustive(&folder, "canary-twice", &save);
    assert_eq!(whole.code, 1, "{}", whole.err);
    assert_eq!(exhaustive(&folder, "canary-twice", &[&save[..], &["--jobs", "1"]].concat()).out, whole.out);
    for part in ["1/2", "2/2"] {
        let run = exhaustive(&folder, "canary-twice", &[&save[..], &["--shard", part]].concat());
        fs::write(folder.path().join(format!("{}.json", &part[..1])), run.out).unwrap();
    }
    let merged = merge(&folder, &["DIR/2.json", "DIR/1.json"]);
    assert_eq!(merged.out, whole.out, "{}", merged.err);
}

#[test]
fn a_second_run_compares_what_was_tried() {
    let folder = setup();
    let run = exhaustive(&folder, "mailer", &["--verify-determinism"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let report = json(&run);
    assert_eq!(report["determinism"]["worlds"], report["scenarios"][0]["worlds"]);
    assert_eq!(report["determinism"]["differed"], 0);
}

#[test]
fn a_scenario_that_cannot_be_built_is_told_like_in_any_campaign() {
    let folder = setup();
    let run = exhaustive(&folder, "canary-unbuildable", &["--first-seed", "1"]);
    assert_eq!(run.code, 70, "{}{}", run.out, run.err);
    let crash = &json(&run)["crashes"][0];
    assert_eq!((crash["message"].as_str(), crash["number"].as_u64()), (Some("no world for seed 1"), Some(0)));
}
