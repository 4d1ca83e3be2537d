//! What is printed and written: tables for people, JSON for programs.

use std::{fs, time::Duration};

use shiftwork_chaos::{Campaign, Seeds, Verdict, report::Ended};
use shiftwork_sim::{Scenario, rules::Transitions};

use crate::{a_mail_sent_twice, chaos, scenarios::Mailer, setup};

/// The numbers of a table differ from machine to machine; its shape does not.
fn shape(text: &str, folder: &std::path::Path) -> String {
    let text = text.replace(&*folder.to_string_lossy(), "DIR");
    let mut shape = String::new();
    for line in text.lines() {
        let mut cells: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let number = word.chars().next().is_some_and(|c| c.is_ascii_digit());
            let unit = matches!(word, "s" | "min" | "h" | "d");
            cells.push(match (number, unit) {
                (true, _) => "#".to_owned(),
                (_, true) => "unit".to_owned(),
                _ => word.to_owned(),
            });
        }
        shape.push_str(&cells.join(" "));
        shape.push('\n');
    }
    shape
}

#[test]
fn the_tables_have_each_scenario_and_all_of_them_together() {
    let folder = setup();
    let run = chaos(
        folder.path(),
        &["mailer", "canary-unbuildable", "--seeds", "40", "--profile", "hostile", "--max-failures", "99"],
    );
    let tables: Vec<_> = run.out.split("\n\n").take(2).collect();
    insta::assert_snapshot!(shape(&tables.join("\n\n"), folder.path()));
}

#[test]
fn a_failure_is_a_report_of_its_own() {
    let folder = setup();
    fs::write(folder.path().join("plan.json"), a_mail_sent_twice().to_json()).unwrap();
    let run = chaos(folder.path(), &["--plan", "DIR/plan.json", "-q"]);
    let mut text = shape(&run.out, folder.path());
    // What a record says is the simulator's own matter.
    let events = text.find("… #").unwrap_or_else(|| panic!("no timeline in {text}"));
    let replay = text.find("replay:").unwrap();
    text.replace_range(events..replay, "(the timeline)\n");
    insta::assert_snapshot!(text);
}

#[test]
fn quiet_is_silent_when_nothing_is_wrong() {
    let folder = setup();
    let run = chaos(folder.path(), &["mailer", "--seeds", "3", "-q", "--verify-determinism"]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
}

#[test]
fn verbose_lists_every_transition() {
    let folder = setup();
    let run = chaos(folder.path(), &["mailer", "--seeds", "3", "-v"]);
    assert!(run.out.contains("transitions seen:     pending->starting"), "{}", run.out);
    assert!(run.out.contains("transitions not seen: "), "{}", run.out);
    assert!(run.out.contains("  struck while in_cycle: ") && run.out.contains("  struck while down: "), "{}", run.out);
}

#[test]
fn the_json_report_does_not_depend_on_the_number_of_threads() {
    let folder = setup();
    let json = |jobs: &str| {
        let args =
            ["mailer", "canary-twice", "canary-unbuildable", "--max-failures", "6", "--json", "-", "--jobs", jobs];
        let run = chaos(folder.path(), &args);
        assert_eq!(run.code, 70, "{}", run.err);
        assert!(run.err.contains("scenario"), "the tables go elsewhere: {}", run.err);
        run.out
    };
    let one = json("1");
    assert_eq!(one, json("2"));
    assert_eq!(one, json("5"));

    let report: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(report["version"], 2);
    assert_eq!(report["ended"], "failures_max");
    assert_eq!(report["exit_code"], 70);
    let mailer = &report["scenarios"][0];
    assert_eq!(mailer["name"], "mailer");
    assert_eq!(mailer["fingerprints"].as_array().unwrap().len() as u64, mailer["worlds"].as_u64().unwrap());
    assert!(mailer["transitions"].as_array().unwrap().contains(&"pending->starting".into()));
    assert!(mailer["faults"]["outage"]["planned"].as_u64() >= mailer["faults"]["outage"]["struck"].as_u64());
    let found = report["scenarios"].as_array().unwrap().iter().map(|it| it["failures"].as_array().unwrap().len());
    assert_eq!(found.sum::<usize>() + report["crashes"].as_array().unwrap().len(), 6);
}

#[test]
fn the_json_report_goes_to_a_file_as_well() {
    let folder = setup();
    let run = chaos(folder.path(), &["mailer", "--seeds", "3", "--json", "DIR/report.json"]);
    assert_eq!(run.code, 0);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["verdict"], &report["ended"]), (&"kept".into(), &"complete".into()));
    assert_eq!(report["scenarios"][0]["worlds"], 3);
}

#[test]
fn injected_faults_strike() {
    let folder = setup();
    let run = chaos(folder.path(), &["mailer", "--seeds", "200", "--profile", "hostile", "--json", "-"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    for (kind, count) in report["scenarios"][0]["faults"].as_object().unwrap() {
        let [planned, struck] = ["planned", "struck"].map(|field| count[field].as_u64().unwrap());
        // A scenario without a queue is planned none of its faults; this one never drops a call half-way, and has no worker that
        // the plan can make stubborn.
        let cannot = ["effect_after_drop", "ignore_cancel"].contains(&kind.as_str());
        assert!(planned == 0 || struck > 0 || cannot, "no {kind} ever had an effect");
    }
}

#[test]
fn a_campaign_ends_when_its_time_is_over() {
    let mut campaign = Campaign::over([&Mailer as &dyn Scenario]);
    campaign.seeds = Seeds::Timed { first: 7, time: Duration::from_millis(50) };
    let report = campaign.run();
    assert_eq!((report.ended, report.verdict()), (Ended::TimeOver, Verdict::Kept));
    let seeds: Vec<_> = report.scenarios[0].runs.iter().map(|(_, seed, _)| *seed).collect();
    assert_eq!(seeds, Vec::from_iter(7..7 + seeds.len() as u64));
}

#[test]
fn only_transitions_that_the_lifecycle_has_are_ever_seen() {
    let report = Campaign::over([&Mailer as &dyn Scenario]).run();
    let seen = report.scenarios[0].transitions.pairs();
    let unknown: Vec<_> = seen.iter().filter(|pair| !Transitions::POSSIBLE.contains(pair)).collect();
    assert!(!seen.is_empty() && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn what_is_never_reached_is_told_to_people_and_to_programs() {
    let folder = setup();
    let args = ["canary-sights", "--seeds", "30", "--report", "DIR/page", "--json", "DIR/report.json"];
    let run = chaos(folder.path(), &args);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert_eq!(run.out.matches("never reached").count(), 1, "{}", run.out);
    assert!(run.out.contains("never reached in 30 worlds of canary-sights: a mail <comes back>"), "{}", run.out);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    let sights = &report["scenarios"][0]["sometimes"];
    assert_eq!((&sights["a process starts"], &sights["a mail <comes back>"]), (&30.into(), &0.into()));
    let killed = sights["a process is killed"].as_u64().unwrap();
    assert!((1..30).contains(&killed), "{killed}: gentle worlds kill nobody");
    let page = fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    assert!(page.contains("<li>canary-sights: a mail &lt;comes back&gt;</li>"), "it is escaped");
    assert!(page.contains("<td>2 of 3</td>"), "in the table");
}

#[cfg(tokio_unstable)]
#[test]
fn polls_that_take_real_time_are_told_when_they_are_asked_for_and_only_then() {
    let folder = setup();
    let of_real_time = |more: &[&str]| {
        let args = ["canary-dawdles", "--seed", "0", "--profile", "gentle", "--json", "DIR/report.json"];
        let run = chaos(folder.path(), &[&args[..], more].concat());
        let json = fs::read_to_string(folder.path().join("report.json")).unwrap();
        (run, serde_json::from_str::<serde_json::Value>(&json).unwrap())
    };
    let (run, report) = of_real_time(&["--poll-max-real", "20"]);
    assert_eq!(run.code, 6, "{}{}", run.out, run.err);
    assert!(run.out.contains("slow polls in canary-dawdles, seed 0, gentle:"), "{}", run.out);
    assert_eq!(report["verdict"], "poll_too_slow");
    let slow = &report["slow"][0];
    assert_eq!((&slow["scenario"], &slow["seed"]), (&"canary-dawdles".into(), &0.into()));
    let poll = &slow["polls"][0];
    assert!(poll["real_ms"].as_u64() >= Some(20), "{poll}");
    assert!(poll["task"].as_str().unwrap().contains("spawned at "), "{poll}");

    let (run, without) = of_real_time(&[]);
    assert_eq!((run.code, &without["slow"]), (0, &serde_json::json!([])), "{}{}", run.out, run.err);
    assert_eq!(without["scenarios"], report["scenarios"], "nothing else is another");
}
