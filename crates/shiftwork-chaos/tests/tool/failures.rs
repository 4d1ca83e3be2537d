//! What a campaign must notice: the alarm, the shrunk plan, its file, and the lines that replay it.

use std::{fs, path::PathBuf};

use shiftwork_sim::Plan;

use crate::{Run, chaos, setup};

/// The arguments behind the command in the line that begins with `label`.
fn printed_line(run: &Run, label: &str) -> Vec<String> {
    let line = run.out.lines().find_map(|line| line.strip_prefix(label));
    let line = line.unwrap_or_else(|| panic!("no {label:?} in {}", run.out));
    let args = line.trim().strip_prefix("cargo xtask chaos ").unwrap_or_else(|| panic!("{line}"));
    args.split(' ').map(str::to_owned).collect()
}

fn again(folder: &tempfile::TempDir, args: &[String]) -> Run {
    chaos(folder.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn saved_plans(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(folder.path().join(".chaos")) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_planted_bug_is_found_shrunk_saved_and_replayed() {
    let folder = setup();
    let found = chaos(folder.path(), &["canary-twice", "--profile", "harsh", "--seeds", "300", "--max-failures", "1"]);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    assert!(found.out.contains("broken rule: no mail is sent twice"), "{}", found.out);

    // A lost reply is what it takes, and at most one fault more, which brings a call there in time.
    let plans = saved_plans(&folder);
    assert_eq!(plans.len(), 1);
    let name = plans[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("canary-twice-no-mail-is-sent-twice-"), "{name}");
    let plan = Plan::from_json(&fs::read_to_string(&plans[0]).unwrap()).unwrap();
    assert!(plan.faults.len() <= 2, "{plan}");
    assert!(plan.faults.iter().any(|fault| fault.kind.name() == "reply_lost"), "{plan}");

    // The printed lines bring it back: shrunk, and as it was found.
    let replayed = again(&folder, &printed_line(&found, "replay:"));
    assert_eq!(replayed.code, 1, "{}{}", replayed.out, replayed.err);
    assert!(replayed.out.contains("broken rule: no mail is sent twice"), "{}", replayed.out);
    let unshrunk = again(&folder, &printed_line(&found, "as it was found:"));
    assert_eq!(unshrunk.code, 1, "{}{}", unshrunk.out, unshrunk.err);
    assert_eq!(saved_plans(&folder), plans, "the same failure is the same file");
}

#[test]
fn failures_of_liveness_alone_have_a_code_of_their_own() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-stuck", "--seeds", "5", "--max-failures", "2"]);
    assert_eq!(run.code, 3, "{}{}", run.out, run.err);
    assert!(run.out.contains("liveness lost, 2 failures: L1. 2 worlds"), "{}", run.out);
    assert_eq!(saved_plans(&folder).len(), 2);
    let both = chaos(folder.path(), &["canary-stuck", "canary-twice", "--profile", "harsh", "--max-failures", "99"]);
    assert_eq!(both.code, 1, "a broken rule is worse: {}{}", both.out, both.err);
}

#[test]
fn a_world_that_cannot_be_built_is_a_crash_of_the_tool() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-unbuildable", "--seeds", "6"]);
    assert_eq!(run.code, 70, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("the tool crashed in canary-unbuildable, seed 1, harsh: no world for seed 1"),
        "{}",
        run.out
    );
    assert!(run.out.contains("cargo xtask chaos canary-unbuildable --seed 4 --profile harsh -v"), "{}", run.out);
    // The other worlds ran all the same.
    assert!(run.out.contains("the tool crashed, in 2 worlds. 4 worlds"), "{}", run.out);
}

#[test]
fn a_corpus_is_replayed_first_and_stale_plans_are_told() {
    let folder = setup();
    let corpus = folder.path().join("corpus");
    let found =
        chaos(folder.path(), &["canary-twice", "--profile", "harsh", "--max-failures", "1", "--save", "DIR/corpus"]);
    assert_eq!(found.code, 1);
    let quiet = Plan::quiet("mailer", 1).to_json();
    fs::write(corpus.join("a-quiet.json"), &quiet).unwrap();
    fs::write(corpus.join("b-fax.json"), quiet.replace("mailer", "fax")).unwrap();
    fs::write(corpus.join("c-old.json"), quiet.replace("\"version\": 1", "\"version\": 0")).unwrap();
    fs::write(corpus.join("notes.txt"), "no plan").unwrap();

    let run = chaos(folder.path(), &["mailer", "--seeds", "2", "--corpus", "DIR/corpus"]);
    assert_eq!(run.code, 0, "plans of other scenarios are not asked for: {}{}", run.out, run.err);
    assert!(run.out.contains("3 worlds in"), "{}", run.out);
    assert!(run.out.contains("b-fax.json: the plan is for the scenario \"fax\"; there are mailer"), "{}", run.out);
    assert!(run.out.contains("c-old.json: the plan has version 0; this program reads version 1"), "{}", run.out);
    assert!(!run.out.contains("notes.txt"), "{}", run.out);

    let run = chaos(folder.path(), &["canary-twice", "--seeds", "0", "--corpus", "DIR/corpus"]);
    assert_eq!(run.code, 1, "{}{}", run.out, run.err);
    assert!(run.out.contains("failure 1 of 1: canary-twice, seed"), "{}", run.out);
    assert!(saved_plans(&folder).is_empty(), "it is saved already");
}

#[test]
fn a_replay_that_keeps_every_rule_shows_its_timeline_when_asked() {
    let folder = setup();
    fs::write(folder.path().join("plan.json"), Plan::quiet("mailer", 1).to_json()).unwrap();
    let run = chaos(folder.path(), &["--plan", "DIR/plan.json", "-v"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("all faults healed") && run.out.contains("all rules were kept. 1 world in"),
        "{}",
        run.out
    );
}
