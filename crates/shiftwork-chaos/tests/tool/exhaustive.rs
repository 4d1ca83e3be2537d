//! Exhaustive campaigns: everything is tried, whoever does it.

use std::fs;

use serde_json::Value;
use shiftwork_chaos::Tool;
use shiftwork_sim::Plan;
use tempfile::TempDir;

use crate::{Run, chaos, merge, scenarios::Fickle, setup};

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

    // Neither a seed nor the options of its campaign bring such a world back alone: its plan does.
    let file = crash["plan_file"].as_str().unwrap();
    assert!(file.contains("/.chaos/canary-unbuildable-crash-1-x0"), "{file}");
    let line = format!("again, with the place of the panic: cargo xtask chaos --plan {file} -v");
    assert!(run.err.contains(&line), "{}", run.err);
    let again = chaos(folder.path(), &["--plan", file]);
    assert_eq!(again.code, 70, "{}{}", again.out, again.err);
    assert!(again.out.contains(": no world for seed 1"), "{}", again.out);
}

#[test]
fn a_world_that_breaks_a_rule_only_once_is_saved_as_it_was_found() {
    let folder = setup();
    let tool = Tool::new(vec![Box::new(Fickle::after(30))]);
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (save, report, junit) = (at(".chaos"), at("report.json"), at("junit.xml"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["canary-fickle", "--exhaustive", "--worlds-max", "60", "--jobs", "1", "--save", &save];
    let files = ["--json", &report, "--junit", &junit];
    let code = tool.run([&args[..], &files[..]].concat(), &mut out, &mut err);
    let out = String::from_utf8(out).unwrap();
    assert_eq!(code, 4, "{out}{}", String::from_utf8_lossy(&err));
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let failure = &report["scenarios"][0]["failures"][0];
    let (file, number) = (failure["plan_file"].as_str().unwrap(), failure["number"].as_u64().unwrap());
    assert!(file.contains(&format!("/.chaos/canary-fickle-nobody-was-first-once-0-x{number}")), "{file}");
    assert_eq!(fs::read_dir(&save).unwrap().count(), 1, "nothing else is saved");
    let plan = Plan::from_json(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(plan, serde_json::from_value::<Plan>(failure["plan"].clone()).unwrap());
    assert_eq!(failure["faults_found"], plan.faults.len());
    let line = format!("cargo xtask chaos --plan {file}\n");
    assert!(out.contains(&format!("as it was found: {line}")) && !out.contains("replay:"), "{out}");
    assert!(fs::read_to_string(junit).unwrap().contains(line.trim()));
}

#[test]
fn crashes_of_shards_are_in_the_order_of_the_whole_campaign_wherever_their_plans_are() {
    let folder = setup();
    for (part, file, number) in [("1/2", "DIR/1.json", 10), ("2/2", "DIR/2.json", 2)] {
        let run = exhaustive(&folder, "canary-unbuildable", &["--first-seed", "1", "--shard", part]);
        let mut report = json(&run);
        report["crashes"][0]["number"] = number.into();
        report["crashes"][0]["plan_file"] = format!("canary-unbuildable-crash-1-x{number}.json").into();
        fs::write(file.replace("DIR", &folder.path().to_string_lossy()), report.to_string()).unwrap();
    }
    let merged = merge(&folder, &["DIR/1.json", "DIR/2.json"]);
    assert_eq!(merged.code, 70, "{}", merged.err);
    let crashes = json(&merged)["crashes"].clone();
    assert_eq!((&crashes[0]["number"], &crashes[1]["number"]), (&2.into(), &10.into()));
}
