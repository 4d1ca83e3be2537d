//! Arguments: what is refused, in which words; help and lists.

use std::fs;

use shiftwork_sim::Plan;

use crate::{chaos, setup};

/// A command line that must be refused, with `words` in the message.
fn refused(args: &[&str], words: &[&str]) {
    let folder = setup();
    let run = chaos(folder.path(), args);
    assert_eq!(run.code, 2, "{args:?}: {}{}", run.out, run.err);
    for word in words {
        assert!(run.err.contains(word), "{args:?} said nothing of {word:?}: {}", run.err);
    }
}

#[test]
fn an_unknown_scenario_is_refused_with_the_known_ones_named() {
    for args in [&["mialer"][..], &["mialer", "--list"]] {
        refused(args, &["\"mialer\"", "mailer, canary-twice, canary-stuck"]);
    }
}

#[test]
fn a_bad_argument_is_refused_with_what_is_accepted() {
    refused(&["--profile", "wild"], &["wild", "gentle, harsh, hostile"]);
    refused(&["--sedes", "5"], &["--sedes", "--seeds"]);
    refused(&["--seeds", "many"], &["many", "--seeds"]);
    refused(&["--seed", "-1"], &["-1"]);
    refused(&["--jobs", "0"], &["--jobs"]);
    refused(&["--poll-max-real", "0"], &["--poll-max-real"]);
    refused(&["--seeds", "0"], &["--seeds 0", "at least 1"]);
    refused(&["--seed", "1", "--seeds", "5"], &["--seed", "cannot be used with"]);
    refused(&["--plan", "x", "mailer"], &["--plan", "cannot be used with"]);
    refused(&["--exhaustive", "--seeds", "5"], &["--exhaustive", "cannot be used with"]);
    refused(&["--pairs", "5"], &["--exhaustive"]);
    refused(&["--guided", "--verify-determinism"], &["--guided", "cannot be used with"]);
    refused(&["-q", "-v"], &["--quiet", "cannot be used with"]);
    refused(&["--json", "DIR/no/such/folder/x.json", "--seeds", "1"], &["--json", "no/such/folder"]);
}

#[test]
fn a_profile_that_cannot_be_used_is_refused_with_the_file_and_the_field() {
    let folder = setup();
    let check = |content: &str, words: &[&str]| {
        fs::write(folder.path().join("mix.json"), content).unwrap();
        let run = chaos(folder.path(), &["mailer", "--profile", "DIR/mix.json"]);
        assert_eq!(run.code, 2, "{content}");
        assert!(run.err.contains("mix.json") && words.iter().all(|word| run.err.contains(word)), "{}", run.err);
    };
    check("gibberish", &["cannot use --profile", "not a profile"]);
    check(r#"{"weights": {"gremlin": 1}}"#, &["weights", "`gremlin`, expected one of `slow`"]);
    check(r#"{"faults_max": 70000, "weights": {"hang": 1}}"#, &["faults_max", "70000", "from 0 to 65535"]);
    check(r#"{"faults": 3, "weights": {"hang": 1}}"#, &["`faults`", "`faults_max`"]);
    refused(&["--plan", "x", "--profile", "DIR/mix.json"], &["--profile", "cannot be used with"]);
    refused(&["--exhaustive", "--profile", "DIR/mix.json"], &["--profile", "cannot be used with"]);
}

#[test]
fn a_plan_that_cannot_be_replayed_is_refused() {
    let folder = setup();
    let check = |content: &str, words: &[&str]| {
        fs::write(folder.path().join("plan.json"), content).unwrap();
        let run = chaos(folder.path(), &["--plan", "DIR/plan.json"]);
        assert_eq!(run.code, 2);
        assert!(run.err.contains("plan.json") && words.iter().all(|word| run.err.contains(word)), "{}", run.err);
    };
    check("gibberish", &["not a plan"]);
    let plan = Plan::quiet("mailer", 1).to_json();
    check(&plan.replace("\"version\": 1", "\"version\": 7"), &["version 7", "version 1"]);
    check(&plan.replace("mailer", "fax"), &["\"fax\"", "mailer, canary-twice"]);
    refused(&["--plan", "DIR/missing.json"], &["missing.json", "No such file"]);
    refused(&["--corpus", "DIR/missing"], &["--corpus", "missing", "No such file"]);
}

#[test]
fn a_folder_in_which_no_plan_can_be_saved_is_refused_before_a_world_runs() {
    let folder = setup();
    fs::write(folder.path().join("taken"), "a file").unwrap();
    for save in ["DIR/taken", "DIR/taken/plans"] {
        let run = chaos(folder.path(), &["canary-stuck", "--seeds", "1", "--save", save]);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{save}: {}", run.err);
        assert!(run.err.contains("cannot write --save") && run.err.contains("taken"), "{save}: {}", run.err);
    }
    // One that is not there is made when there is a plan, and not before.
    let kept = chaos(folder.path(), &["mailer", "--seeds", "1", "--save", "DIR/new/plans"]);
    assert_eq!(kept.code, 0, "{}{}", kept.out, kept.err);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the try");
    assert_eq!(chaos(folder.path(), &["canary-stuck", "--seeds", "1", "--save", "DIR/new/plans"]).code, 3);
    assert_eq!(fs::read_dir(folder.path().join("new/plans")).unwrap().count(), 1);
}

#[test]
fn a_canary_runs_only_when_it_is_named() {
    let folder = setup();
    let run = chaos(folder.path(), &["--seeds", "3"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("mailer") && !run.out.contains("canary"), "{}", run.out);
}

#[test]
fn the_program_may_be_called_by_its_name() {
    let folder = setup();
    let [with, without] = [&["chaos", "--list"][..], &["--list"]].map(|args| chaos(folder.path(), args));
    assert_eq!((with.code, with.out), (without.code, without.out));
    // Once, and no other.
    refused(&["chaos", "chaos"], &["there is no scenario \"chaos\""]);
}

#[test]
fn the_list_tells_what_faults_may_strike() {
    let folder = setup();
    let run = chaos(folder.path(), &["--list"]);
    assert_eq!(run.code, 0);
    insta::assert_snapshot!(run.out);
}

#[test]
fn the_help_documents_exit_codes() {
    let folder = setup();
    let run = chaos(folder.path(), &["--help"]);
    assert_eq!(run.code, 0);
    assert!(run.out.contains("Usage: cargo xtask chaos"), "{}", run.out);
    assert!(run.out.contains("70   the tool itself crashed"), "{}", run.out);
    assert!(!run.out.contains("--fingerprints"), "{}", run.out);
}
