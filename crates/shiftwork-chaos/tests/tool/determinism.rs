//! `--verify-determinism`: worlds run twice, in this process and in another one.

use std::{
    env, fs,
    io::{self, Write},
    num::NonZeroUsize,
    process::Command,
    sync::atomic::AtomicBool,
};

use shiftwork_chaos::{
    Campaign, CampaignProfile, Seeds, Tool, Verdict,
    determinism::{ChildProcess, Place, Question, SecondRun, WorldSpec, answer_on_stdio},
};
use shiftwork_sim::{Plan, Scenario};

use crate::{chaos, scenarios, setup};

/// Set for the process that [`answers_for_its_parent`] is to be.
const IS_CHILD: &str = "CHAOS_TEST_IS_CHILD";

/// Not a test of its own: this test binary as the other process.
#[test]
fn answers_for_its_parent() {
    if env::var_os(IS_CHILD).is_some() {
        println!("half a line of worker code");
        print!("and another half");
        let stop = AtomicBool::new(false);
        answer_on_stdio(&scenarios::all(), NonZeroUsize::MIN, &stop, io::stdin(), &mut io::stdout()).unwrap();
    }
}

fn this_binary() -> ChildProcess {
    ChildProcess::new(|_| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "determinism::answers_for_its_parent", "--nocapture"]).env(IS_CHILD, "1");
        command
    })
}

fn campaign<'a>(scenario: &'a dyn Scenario, second_run: &'a dyn SecondRun) -> Campaign<'a> {
    let mut campaign = Campaign::over([scenario]);
    campaign.seeds = Seeds::Counted { first: 3, count: 4 };
    campaign.second_run = Some(second_run);
    campaign
}

#[test]
fn worlds_are_the_same_in_another_process() {
    let child = this_binary();
    let report = campaign(&scenarios::Twice, &child).run();
    let determinism = report.determinism.as_ref().unwrap();
    assert_eq!((determinism.worlds, determinism.differed, &determinism.problem), (4, 0, &None));
}

#[test]
fn worlds_of_a_profile_of_ones_own_are_the_same_in_another_process() {
    let folder = setup();
    let file = folder.path().join("mix.json");
    fs::write(&file, r#"{"faults_min": 3, "faults_max": 5, "weights": {"hang": 1, "reply_lost": 2}}"#).unwrap();
    let child = this_binary();
    let mut campaign = campaign(&scenarios::Mailer, &child);
    campaign.profile = Some(CampaignProfile::read(&file).unwrap());
    let report = campaign.run();
    let determinism = report.determinism.as_ref().unwrap();
    assert_eq!((determinism.worlds, determinism.differed, &determinism.problem), (4, 0, &None));
    assert!(report.scenarios[0].faults.total().planned >= 12, "three in each of four worlds");
}

#[test]
fn a_world_that_depends_on_others_is_named_with_the_record_at_which_it_parts() {
    let child = this_binary();
    // The other process has built other worlds before.
    scenarios_built();
    let report = campaign(&scenarios::Chance, &child).run();
    assert_eq!(report.verdict(), Verdict::DeterminismLost);
    let determinism = report.determinism.as_ref().unwrap();
    assert_eq!((determinism.worlds, determinism.differed), (4, 4));
    let parting = &determinism.partings[0];
    assert_eq!((parting.scenario, parting.seed), ("canary-chance", 3));
    let Place::Record { first: Some(first), second: Some(second), .. } = &parting.place else {
        panic!("{:?}", parting.place)
    };
    assert!(first.contains("this is world") && second.contains("this is world"), "{first} {second}");
}

#[test]
fn a_single_world_is_run_again_after_others_of_its_scenario() {
    let folder = setup();
    let save = folder.path().join(".chaos").to_string_lossy().into_owned();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["canary-counted", "--seed", "7", "--verify-determinism", "--save", &save];
    let code = Tool::new(scenarios::all()).second_run(this_binary()).run(args, &mut out, &mut err);
    let out = String::from_utf8(out).unwrap();
    // It is the first one here, as it would be there.
    assert_eq!(code, 4, "{out}{}", String::from_utf8_lossy(&err));
    assert!(out.contains("determinism lost: 1 of 1 worlds differed when they ran again"), "{out}");
    assert!(out.contains("the runs part at record"), "{out}");
}

#[test]
fn a_world_whose_records_are_the_same_is_named_with_the_poll_at_which_it_parts() {
    let child = this_binary();
    // The task takes more turns here than it ever will in the other process.
    for seed in 0..20 {
        let plan = Plan::quiet("canary-turns", seed);
        assert!(shiftwork_sim::explore::run_plan(&scenarios::Turns, &plan, false).is_ok());
    }
    let mut campaign = campaign(&scenarios::Turns, &child);
    // Nothing strikes in this one.
    campaign.seeds = Seeds::Counted { first: 3, count: 1 };
    let report = campaign.run();
    assert_eq!(report.verdict(), Verdict::DeterminismLost);
    let determinism = report.determinism.unwrap();
    assert_eq!((determinism.worlds, determinism.differed), (1, 1));
    let Place::Poll { number, first: Some(first), second: Some(second) } = &determinism.partings[0].place else {
        panic!("{:?}", determinism.partings[0].place)
    };
    assert!(*number > 1, "they begin alike");
    // Here the node's own task has another turn; there it runs its host, and others have theirs.
    assert!(first.starts_with("at 0.000 s, task 1 of node 0 (spawned at "), "{first}");
    assert!(second.starts_with("at 0.000 s, task 2 of node 0 (spawned at "), "{second}");
}

/// Builds more worlds here than the other process ever will.
fn scenarios_built() {
    for seed in 0..20 {
        let plan = Plan::quiet("canary-chance", seed);
        assert!(shiftwork_sim::explore::run_plan(&scenarios::Chance, &plan, false).is_ok());
    }
}

#[test]
fn a_process_that_fails_is_a_crash_of_the_tool() {
    let nobody = ChildProcess::new(|_| Command::new("/no/such/program"));
    let report = campaign(&scenarios::Mailer, &nobody).run();
    assert_eq!(report.verdict(), Verdict::ToolCrashed);
    let problem = report.determinism.unwrap().problem.unwrap();
    assert!(problem.contains("could not be started"), "{problem}");
}

/// A stream whose reader has gone away, and how often it was written to all the same.
struct Unread(u32);

impl Write for Unread {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_second_run_whose_first_run_has_gone_away_does_not_go_on() {
    let question = |seed| Question { world: WorldSpec::Saved(Plan::quiet("mailer", seed)), records: false };
    let line = |seed| serde_json::to_string(&question(seed)).unwrap() + "\n";
    let questions: String = (0..5).map(line).collect();
    let mut output = Unread(0);
    let stop = AtomicBool::new(false);
    let answered =
        answer_on_stdio(&scenarios::all(), NonZeroUsize::MIN, &stop, questions.as_bytes(), &mut output).unwrap_err();
    assert!(answered.starts_with("an answer could not be written: "), "{answered}");
    assert_eq!(output.0, 1, "it tries no other answer");
}

#[test]
fn a_record_says_in_which_node_it_was() {
    let world = WorldSpec::Saved(Plan::quiet("mailer", 1));
    let question = serde_json::to_string(&Question { world, records: true }).unwrap();
    let (mut output, stop) = (Vec::<u8>::new(), AtomicBool::new(false));
    answer_on_stdio(&scenarios::all(), NonZeroUsize::MIN, &stop, question.as_bytes(), &mut output).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let records: Vec<&str> = answer["records"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(records[0], "0ns, task 0 of mailer: Booted { boot: 1 }");
    assert!(records.iter().any(|record| record.ends_with(", around the nodes: Healed")), "{records:?}");
}

#[test]
fn lost_determinism_has_a_code_of_its_own() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-chance", "--seeds", "3", "--verify-determinism", "--junit", "DIR/j.xml"]);
    assert_eq!(run.code, 4, "{}{}", run.out, run.err);
    let xml = fs::read_to_string(folder.path().join("j.xml")).unwrap();
    assert!(xml.contains("<testsuite name=\"determinism\" tests=\"3\" failures=\"3\" errors=\"0\""), "{xml}");
    assert!(xml.contains("the same world ran twice and differed"), "{xml}");
    assert!(run.out.contains("determinism lost: 3 of 3 worlds differed when they ran again"), "{}", run.out);
    assert!(run.out.contains("the runs part at record"), "{}", run.out);
}

#[test]
fn worlds_of_saved_plans_run_twice_too() {
    let folder = setup();
    let corpus = folder.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    fs::write(corpus.join("quiet.json"), Plan::quiet("mailer", 1).to_json()).unwrap();
    let args = ["mailer", "--seeds", "2", "--corpus", "DIR/corpus", "--verify-determinism"];
    let run = chaos(folder.path(), &args);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("3 worlds ran twice and were the same both times"), "{}", run.out);
}

#[test]
fn a_failure_that_does_not_come_back_is_lost_determinism() {
    let folder = setup();
    let run = chaos(folder.path(), &["canary-fickle", "--seeds", "3", "--report", "DIR/page"]);
    assert_eq!(run.code, 4, "{}{}", run.out, run.err);
    assert!(run.out.contains("broken rule: nobody was first"), "{}", run.out);
    assert!(run.out.contains("this did not happen: the world is not deterministic"), "{}", run.out);
    let saved = fs::read_dir(folder.path().join(".chaos")).unwrap();
    assert_eq!(saved.count(), 0, "a plan that breaks nothing is not worth keeping");
    // What is told is what was found.
    assert!(!run.out.contains("shrunk from ") && !run.out.contains("without fault "), "{}", run.out);
    let page = fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    assert!(page.contains("<dt>found</dt>") && !page.contains("<dt>shrunk</dt>"), "{page}");
}
