//! Guided campaigns: they learn, and what they learn depends on nothing but the campaign.

use serde_json::Value;

use crate::{Run, chaos, setup};

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error} in {}{}", run.out, run.err))
}

/// Seed and fingerprint of its worlds.
fn worlds(report: &Value) -> &[Value] {
    report["scenarios"][0]["fingerprints"].as_array().unwrap()
}

#[test]
fn the_first_worlds_are_those_of_the_seeds_and_then_plans_are_made_of_others() {
    let folder = setup();
    let run = |more: &[&str]| {
        let args = ["mailer", "--profile", "harsh", "--seeds", "400", "--json", "-"];
        let run = chaos(folder.path(), &[&args[..], more].concat());
        assert_eq!(run.code, 0, "{}{}", run.out, run.err);
        json(&run)
    };
    let (random, guided) = (run(&[]), run(&["--guided"]));
    let (random, guided) = (worlds(&random), worlds(&guided));
    assert_eq!((random.len(), guided.len()), (400, 400));
    let same = random.iter().zip(guided).take_while(|(random, guided)| random == guided).count();
    let different = random.iter().zip(guided).filter(|(random, guided)| random != guided).count();
    // The rest are three in four, less those whose change changes nothing.
    assert!(same >= 128 && different > 150, "the first {same} are the same, {different} differ");
}

#[test]
fn the_number_of_threads_changes_nothing_of_what_is_found() {
    let folder = setup();
    let run = |jobs: &str| {
        let args = ["mailer", "canary-twice", "--guided", "--seeds", "200", "--max-failures", "99", "--json", "-"];
        chaos(folder.path(), &[&args[..], &["--jobs", jobs]].concat())
    };
    let one = run("1");
    assert_eq!(one.code, 1, "{}", one.err);
    assert_eq!(run("5").out, one.out);
}

#[test]
fn a_failure_of_a_changed_plan_is_shrunk_and_saved_under_its_number() {
    let folder = setup();
    let args = ["canary-twice", "--guided", "--seeds", "600", "--max-failures", "20", "--json", "-"];
    let run = chaos(folder.path(), &args);
    assert_eq!(run.code, 1, "{}{}", run.out, run.err);
    let report = json(&run);
    let failures = report["scenarios"][0]["failures"].as_array().unwrap();
    let changed = failures.iter().find(|failure| failure["number"].is_u64()).expect("most plans are changed ones");
    let (number, file) = (&changed["number"], changed["plan_file"].as_str().unwrap());
    assert!(file.contains(&format!("-g{number}-")), "{file}");
    assert!(changed["plan"]["faults"].as_array().unwrap().len() <= 2, "{changed}");
    assert_eq!(chaos(folder.path(), &["--plan", file]).code, 1);
}
