//! What a campaign must notice: the alarm, the shrunk plan, its file, and the lines that replay it.

use std::{fs, num::NonZeroUsize, path::PathBuf, sync::atomic::Ordering};

use shiftwork_chaos::{
    Campaign, Failure, Tool, Verdict, Watch,
    campaign::SHRINK_WORLDS_MAX,
    failure::{Found, Shrinking},
    json,
    report::Ended,
};
use shiftwork_sim::{Fault, Plan, Scenario, explore, millis, node, plan::dst_forward, secs, site};

use crate::{
    Run, chaos,
    scenarios::{Built, Interrupts, Twice, Undated},
    setup,
};

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

    // A caller that does not hear of the effect is what it takes, and at most one fault more, which brings a call there in time.
    let plans = saved_plans(&folder);
    assert_eq!(plans.len(), 1);
    let name = plans[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("canary-twice-no-mail-is-sent-twice-harsh-"), "{name}");
    let plan = Plan::from_json(&fs::read_to_string(&plans[0]).unwrap()).unwrap();
    assert!(plan.faults.len() <= 2, "{plan}");
    let does_not_hear = |name: &str| ["reply_lost", "panic_at_poll", "drop_at_poll"].contains(&name);
    assert!(plan.faults.iter().any(|fault| does_not_hear(fault.kind.name())), "{plan}");

    // The printed lines bring it back: shrunk, and as it was found.
    let replayed = again(&folder, &printed_line(&found, "replay:"));
    assert_eq!(replayed.code, 1, "{}{}", replayed.out, replayed.err);
    assert!(replayed.out.contains("broken rule: no mail is sent twice"), "{}", replayed.out);
    let unshrunk = again(&folder, &printed_line(&found, "as it was found:"));
    assert_eq!(unshrunk.code, 1, "{}{}", unshrunk.out, unshrunk.err);
    assert_eq!(saved_plans(&folder), plans, "the same failure is the same file");
}

#[test]
fn a_profile_of_ones_own_is_run_and_named_in_the_lines_that_bring_its_world_back() {
    let folder = setup();
    let mix = r#"{"faults_min": 2, "faults_max": 4, "weights": {"reply_lost": 3, "slow": 1}}"#;
    fs::write(folder.path().join("replies.json"), mix).unwrap();
    let args = ["canary-twice", "--profile", "DIR/replies.json", "--max-failures", "1", "--json", "DIR/report.json"];
    let found = chaos(folder.path(), &args);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    let planned = |kind: &str| report["scenarios"][0]["faults"][kind]["planned"].as_u64().unwrap();
    assert!(planned("reply_lost") + planned("slow") >= 2 && planned("outage") + planned("crash") == 0, "{report}");
    assert_eq!(report["mix"]["weights"], serde_json::json!({"reply_lost": 3, "slow": 1}));
    let file = folder.path().join("replies.json").to_string_lossy().into_owned();
    assert_eq!(report["profile"], *file);
    assert_eq!(report["scenarios"][0]["failures"][0]["profile"], *file);

    let plans = saved_plans(&folder);
    let name = plans[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("canary-twice-no-mail-is-sent-twice-replies-json-"), "{name}");
    // A plan needs no profile; the world as it was found does.
    let line = printed_line(&found, "replay:");
    assert!(!line.contains(&"--profile".to_owned()), "{line:?}");
    assert_eq!(again(&folder, &line).code, 1);
    let line = printed_line(&found, "as it was found:");
    assert_eq!(line[line.len() - 2..], ["--profile".to_owned(), file]);
    let unshrunk = again(&folder, &line);
    assert_eq!(unshrunk.code, 1, "{}{}", unshrunk.out, unshrunk.err);
    assert_eq!(saved_plans(&folder), plans, "the same failure is the same file");
}

/// Hears what is found, and how shrinking gets on.
#[derive(Default)]
struct Ear {
    found: Vec<Found>,
    heard: Vec<Shrinking>,
    failures: Vec<(u64, u32, usize)>,
}

impl Watch for Ear {
    fn found(&mut self, found: &Found) {
        self.found.push(found.clone());
    }

    fn shrinking(&mut self, shrinking: &Shrinking) {
        self.heard.push(shrinking.clone());
    }

    fn failed(&mut self, failure: &mut Failure) {
        let found = self.found.iter().find(|found| found.plan == failure.found).expect("told before it is shrunk");
        assert_eq!((found.scenario, &found.origin, &found.rule), (failure.scenario, &failure.origin, failure.rule()));
        self.failures.push((failure.seed, failure.shrink_worlds, failure.outcome.plan.faults.len()));
    }
}

#[test]
fn shrinking_is_told_world_by_world_and_changes_nothing() {
    let mut campaign = Campaign::over([&Twice as &dyn Scenario]);
    campaign.profile = Some(explore::Profile::Harsh.into());
    campaign.failures_max = 2;
    let mut ear = Ear::default();
    let watched = json::Report::of(&campaign.run_watched(&mut ear)).to_json();
    assert_eq!(watched, json::Report::of(&campaign.run()).to_json());
    assert_eq!(ear.failures.len(), 2);
    for (seed, worlds, faults) in ear.failures {
        let told: Vec<_> = ear.heard.iter().filter(|told| told.seed == seed).collect();
        assert_eq!(told.iter().map(|told| told.worlds).collect::<Vec<_>>(), Vec::from_iter(1..=worlds), "seed {seed}");
        let last = told.last().expect("it takes a world to know that there is nothing smaller");
        assert_eq!((last.scenario, last.worlds_max, last.faults), ("canary-twice", SHRINK_WORLDS_MAX, faults));
    }
}

#[test]
fn an_interruption_ends_shrinking_and_what_was_found_is_in_the_report() {
    let scenario = Interrupts::default();
    let mut campaign = Campaign::over([&scenario as &dyn Scenario]);
    campaign.profile = Some(explore::Profile::Harsh.into());
    campaign.jobs = NonZeroUsize::MIN;
    campaign.stop = scenario.stop.clone();
    let report = campaign.run();
    assert_eq!((report.ended, report.verdict()), (Ended::Interrupted, Verdict::RuleBroken));
    let [failure] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert_eq!((failure.reproduced, failure.shrink_worlds, failure.without.len()), (true, 1, 0));
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
fn a_rule_that_broke_is_told_and_its_plan_kept_though_the_tool_crashes_as_it_is_shrunk() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-brittle", "--seeds", "1"]);
    assert_eq!(run.code, 70, "{}{}", run.out, run.err);
    assert!(run.out.contains("failure 1 of 1") && run.out.contains("broken rule: all is well"), "{}", run.out);
    let told = "the tool crashed in canary-brittle, seed 0, gentle: as its failure was run again: no second world";
    assert!(run.out.contains(told), "{}", run.out);
    let of_failure = folder.path().join(".chaos/canary-brittle-all-is-well-gentle-0.json");
    let plan = Plan::from_json(&fs::read_to_string(&of_failure).unwrap()).unwrap();
    assert_eq!((plan.seed, plan.faults.len()), (0, 0), "it is made smaller all the same: {plan}");
}

#[test]
fn a_plan_that_crashes_the_tool_is_minimized_towards_the_same_crash() {
    let folder = setup();
    let mut plan = Plan { scenario: Undated.name().to_owned(), ..too_large() };
    plan.faults.push(Fault::new(45_000, dst_forward("Europe/Vienna")));
    let file = folder.path().join("plan.json");
    fs::write(&file, plan.to_json()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let path = file.to_string_lossy().into_owned();
    let code = Tool::new(vec![Box::new(Undated)]).run(["--minimize", &path], &mut out, &mut err);
    let err = String::from_utf8(err).unwrap();
    assert_eq!((code, out.len()), (70, 0), "{err}");
    let told = "plan.json crashes the tool: no world of another date: 6 faults, shrunk to 1 fault in ";
    assert!(err.contains(told), "{err}");
    assert!(err.contains("  without fault 1 it passes"), "{err}");
    let smaller = Plan::from_json(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(smaller.faults, [Fault::new(0, dst_forward("Europe/Vienna"))]);
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
fn whether_a_plan_of_a_corpus_fits_takes_one_world_at_most() {
    let folder = setup();
    let scenario = Built::default();
    let worlds = scenario.worlds.clone();
    let mut plan = Plan::quiet(scenario.name(), 1);
    plan.faults = vec![Fault::new(1_000, node("mailer").crash(secs(1)))];
    fs::create_dir(folder.path().join("corpus")).unwrap();
    fs::write(folder.path().join("corpus/plan.json"), plan.to_json()).unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (corpus, save) = (path("corpus"), path(".chaos"));
    let args = ["canary-built", "--seeds", "0", "--corpus", &corpus, "--save", &save];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = Tool::new(vec![Box::new(scenario)]).run(args, &mut out, &mut err);
    assert_eq!(code, 0, "{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert_eq!(worlds.load(Ordering::Relaxed), 2, "one to see whether it fits, and its own");
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

#[test]
fn a_timeline_is_never_in_the_way_of_a_program_that_reads() {
    let folder = setup();
    fs::write(folder.path().join("plan.json"), Plan::quiet("mailer", 1).to_json()).unwrap();
    let run = chaos(folder.path(), &["--plan", "DIR/plan.json", "-v", "--json", "-"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.err.contains("all faults healed"), "{}", run.err);
    serde_json::from_str::<serde_json::Value>(&run.out).expect("standard output is one JSON value");
}

#[test]
fn a_plan_whose_scenario_panics_is_told_and_the_others_are_made_smaller() {
    let folder = setup();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    let corpus = |name: &str| folder.path().join("corpus").join(name);
    fs::write(corpus("a.json"), Plan::quiet("canary-unbuildable", 1).to_json()).unwrap();
    fs::write(corpus("b.json"), too_large().to_json()).unwrap();
    let run = chaos(folder.path(), &["--minimize", "DIR/corpus"]);
    assert_eq!(run.code, 70, "{}", run.err);
    assert!(
        run.err.contains("a.json stays as it is: the tool crashed in its world: no world for seed 1"),
        "{}",
        run.err
    );
    let smaller = Plan::from_json(&fs::read_to_string(corpus("b.json")).unwrap()).unwrap();
    assert!(smaller.faults.len() < too_large().faults.len(), "{smaller}");
}

#[test]
fn a_plan_that_breaks_its_rule_only_once_has_lost_determinism_and_the_others_are_made_smaller() {
    let folder = setup();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    let corpus = |name: &str| folder.path().join("corpus").join(name);
    let fickle = Plan::quiet("canary-fickle", 1).to_json();
    fs::write(corpus("a.json"), &fickle).unwrap();
    fs::write(corpus("b.json"), too_large().to_json()).unwrap();
    let run = chaos(folder.path(), &["--minimize", "DIR/corpus"]);
    assert_eq!(run.code, 4, "{}", run.err);
    let told = "a.json stays as it is: it broke nobody was first once, and not when it was run again";
    assert!(run.err.contains(told), "{}", run.err);
    assert_eq!(fs::read_to_string(corpus("a.json")).unwrap(), fickle);
    let smaller = Plan::from_json(&fs::read_to_string(corpus("b.json")).unwrap()).unwrap();
    assert!(smaller.faults.len() < too_large().faults.len(), "{smaller}");
}

/// A plan that breaks a rule of `canary-twice`, with more in it than that takes.
fn too_large() -> Plan {
    let mut plan = crate::a_mail_sent_twice();
    for at_ms in [3_000, 7_000, 41_000] {
        plan.faults.push(Fault::new(at_ms, site("smtp").slow(millis(300)).lasting(millis(900))));
    }
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

#[test]
fn a_saved_plan_is_minimized_where_it_lies_and_ends_with_its_counterfactual() {
    let folder = setup();
    let file = folder.path().join("plan.json");
    fs::write(&file, too_large().to_json()).unwrap();
    let run = chaos(folder.path(), &["--minimize", "DIR/plan.json"]);
    assert_eq!((run.code, run.out.as_str()), (0, ""), "{}", run.err);
    assert!(run.err.contains("breaks no mail is sent twice: 5 faults, shrunk to 1 fault in "), "{}", run.err);
    assert!(run.err.contains("  without fault 1 it passes"), "{}", run.err);
    let plan = Plan::from_json(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(plan.faults.len(), 1, "{plan}");
    let replayed = chaos(folder.path(), &["--plan", "DIR/plan.json"]);
    assert_eq!(replayed.code, 1, "it breaks the same rule: {}", replayed.out);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_corpus_is_minimized_plan_by_plan_or_shown_smaller() {
    let folder = setup();
    fs::create_dir(folder.path().join("plans")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join("plans").join(name), text).unwrap();
    let (large, quiet) = (too_large().to_json(), Plan::quiet("mailer", 1).to_json());
    write("a.json", &large);
    write("b.json", &quiet);
    write("c.json", "{\"version\": 0}");
    let shown = chaos(folder.path(), &["--minimize", "corpus", "--corpus", "DIR/plans", "--to-stdout"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("b.json breaks no rule any more, and stays as it is"), "{}", shown.err);
    assert!(shown.err.contains("c.json is stale and stays as it is: "), "{}", shown.err);
    assert_eq!(shown.out.matches("\"scenario\"").count(), 2, "{}", shown.out);
    let read = |name: &str| fs::read_to_string(folder.path().join("plans").join(name)).unwrap();
    assert_eq!((read("a.json"), read("b.json")), (large.clone(), quiet.clone()), "files are left alone");

    let done = chaos(folder.path(), &["--minimize", "DIR/plans"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    assert!(read("a.json").len() < large.len() && shown.out.contains(read("a.json").trim()), "{}", shown.out);
    assert_eq!(read("b.json"), quiet);
}

#[test]
fn a_plan_that_no_longer_fits_is_told_before_it_is_made_smaller() {
    let folder = setup();
    let mut plan = Plan::quiet("mailer", 1);
    plan.faults = vec![Fault::new(1, site("fax").hang())];
    fs::write(folder.path().join("plan.json"), plan.to_json()).unwrap();
    let run = chaos(folder.path(), &["--minimize", "DIR/plan.json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let told = "plan.json may be stale: it strikes fax, which mailer does not have; it has smtp";
    assert!(run.err.contains(told), "{}", run.err);
}

#[test]
fn what_cannot_be_minimized_is_refused_by_name() {
    let folder = setup();
    fs::write(folder.path().join("bad.json"), "nonsense").unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["--minimize", "DIR/bad.json"], "bad.json: not a plan"),
        (&["--minimize", "DIR/nowhere.json"], "cannot minimize"),
        (&["--minimize", "DIR/bad.json", "--seeds", "3"], "--minimize"),
        (&["--minimize", "DIR/bad.json", "--exhaustive"], "cannot be used with"),
        (&["--minimize", "DIR/bad.json", "--guided"], "cannot be used with"),
        (&["--minimize", "DIR/bad.json", "--list"], "cannot be used with"),
        (&["--minimize", "DIR/bad.json", "--jobs", "2"], "cannot be used with"),
        (&["--minimize", "DIR/bad.json", "--save", "DIR"], "cannot be used with"),
        (&["--minimize", "DIR/bad.json", "--max-failures", "2"], "cannot be used with"),
        (&["--to-stdout"], "--minimize"),
    ];
    for (args, said) in cases {
        let run = chaos(folder.path(), args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}");
        assert!(run.err.contains(said), "{args:?}: {}", run.err);
    }
}
