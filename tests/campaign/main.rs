//! The chaos program as a person runs it: the real binary, its output, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod own_program;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use shiftwork_sim::Plan;

/// Runs the program in a folder of its own.
fn chaos(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos")).args(arguments).current_dir(folder).output().unwrap()
}

/// What it wrote, both streams.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn as_many_worlds_reach_more_with_a_guide() {
    let folder = folder();
    let cells = |more: &[&str]| {
        let args = ["orders", "sync", "fleet", "--profile", "hostile", "--seeds", "600", "--json", "-"];
        let run = chaos(folder.path(), &[&args[..], more].concat());
        assert_eq!(run.status.code(), Some(0), "{}", text(&run));
        let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let scenarios = report["scenarios"].as_array().unwrap();
        let moments = scenarios.iter().flat_map(|it| it["coverage"].as_object().unwrap().values());
        moments.map(|kinds| kinds.as_object().unwrap().len()).sum::<usize>()
    };
    let (random, guided) = (cells(&[]), cells(&["--guided"]));
    assert!(guided > random, "{guided} cells with a guide, {random} without");
}

#[test]
fn a_planted_bug_is_found_shrunk_saved_and_replayed_from_the_printed_line() {
    let folder = folder();
    let found = chaos(folder.path(), &["canary", "--seeds", "50", "--max-failures", "1"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found));
    assert!(text(&found).contains("broken rule: every note is delivered"), "{}", text(&found));

    let printed = text(&found);
    let line = printed.lines().find_map(|line| line.split("cargo xtask chaos --plan ").nth(1)).unwrap();
    let plan = Plan::from_json(&std::fs::read_to_string(folder.path().join(line.trim())).unwrap()).unwrap();
    assert!(plan.faults.len() <= 2, "{plan}");

    let replayed = chaos(folder.path(), &["--plan", line.trim()]);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
    assert!(text(&replayed).contains("broken rule: every note is delivered"));
}

#[test]
fn a_short_campaign_keeps_every_rule_and_replays_the_corpus() {
    let folder = folder();
    let campaign = chaos(folder.path(), &["--seeds", "30"]);
    assert_eq!(campaign.status.code(), Some(0), "{}", text(&campaign));
    let stale = text(&campaign).contains("stale");
    assert!(!stale, "{}", text(&campaign));
}

#[test]
fn two_processes_give_the_same_fingerprints_whatever_their_jobs() {
    let folder = folder();
    for (file, jobs) in [("a.json", "1"), ("b.json", "2")] {
        let campaign = chaos(folder.path(), &["--seeds", "12", "--json", file, "--jobs", jobs, "-q"]);
        assert_eq!(campaign.status.code(), Some(0), "{}", text(&campaign));
    }
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
    assert!(read("a.json").contains("fingerprint"));
    assert_eq!(read("a.json"), read("b.json"));
}

#[test]
fn determinism_is_verified_in_another_process() {
    let folder = folder();
    let campaign = chaos(folder.path(), &["email", "--seeds", "20", "--verify-determinism"]);
    assert_eq!(campaign.status.code(), Some(0), "{}", text(&campaign));
    assert!(text(&campaign).contains("ran twice and were the same both times"), "{}", text(&campaign));
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_code_two() {
    let folder = folder();
    std::fs::write(folder.path().join("v9.json"), r#"{"version": 9}"#).unwrap();
    std::fs::write(folder.path().join("bad.json"), "nonsense").unwrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &["emial"],
            "there is no scenario \"emial\"; there are email, orders, clean-up, sync, fleet, deploy, cache, import, office, canary",
        ),
        (&["--seed", "x"], "invalid value 'x' for '--seed <S>'"),
        (&["--sedes", "3"], "unexpected argument '--sedes'"),
        (&["--plan", "v9.json"], "the plan has version 9; this program reads version 1"),
        (&["--plan", "bad.json"], "bad.json: not a plan"),
        (&["--plan", "nowhere.json"], "nowhere.json"),
    ];
    for (arguments, said) in cases {
        let output = chaos(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(said), "{arguments:?}: {}", text(&output));
    }
}

/// Runs the program with this as its standard output: its exit code, and what it wrote to standard error.
fn chaos_into(output: impl Into<Stdio>, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    run_into(output, env!("CARGO_BIN_EXE_chaos"), folder, arguments)
}

fn run_into(output: impl Into<Stdio>, program: &str, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    let run = command.args(arguments).current_dir(folder).stdout(output).output().unwrap();
    (run.status.code(), text(&run))
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_standard_output_has_no_room_for_is_a_crash_of_the_tool_and_told() {
    let folder = folder();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = chaos_into(full, folder.path(), &["email", "--seeds", "1", "--json", "-"]);
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("could not write the report to standard output: "), "{said}");
}

#[test]
fn a_reader_of_the_report_that_has_gone_away_changes_no_verdict() {
    let folder = folder();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, said) = chaos_into(writer, folder.path(), &["email", "--seeds", "1", "--json", "-"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("could not write"), "{said}");
}

#[test]
fn a_reader_of_smaller_plans_that_has_gone_away_has_seen_what_it_wanted() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("plans")).unwrap();
    for name in ["a.json", "b.json"] {
        std::fs::write(folder.path().join("plans").join(name), Plan::quiet("email", 1).to_json()).unwrap();
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, said) = chaos_into(writer, folder.path(), &["--minimize", "plans", "--to-stdout"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a.json") && !said.contains("could not write"), "{said}");
    assert!(!said.contains("b.json"), "nobody waits for the others: {said}");
}

#[test]
fn a_reader_of_the_zoos_list_that_has_gone_away_is_no_crash() {
    let folder = folder();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, said) = run_into(writer, env!("CARGO_BIN_EXE_zoo"), folder.path(), &["--list"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn an_interrupted_campaign_ends_with_its_tables_so_far() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        interrupted_campaign(signal);
    }
}

fn interrupted_campaign(signal: rustix::process::Signal) {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["email", "--time", "3600", "--json", "report.json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The file is made when the arguments have been read, which is after the handler is there.
    while !folder.path().join("report.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, signal).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{signal:?}: {}", text(&output));
    assert!(text(&output).contains("all rules were kept until it was interrupted"), "{}", text(&output));
    assert!(text(&output).contains("scenario"), "the tables are there: {}", text(&output));
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(report.contains("\"ended\": \"interrupted\""), "{report}");
}

#[test]
fn colours_follow_the_terminal_and_the_environment() {
    let folder = folder();
    let coloured = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(["email", "--seeds", "1"]).args(arguments).current_dir(folder.path());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output).contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]), "a pipe is no terminal");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1")], &["--no-color"]));
}
