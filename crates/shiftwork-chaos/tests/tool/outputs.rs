//! The files that a campaign writes for other programs: trace, JUnit, page. What a browser makes of the page is `tests/browser`'s.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use shiftwork_sim::{Fault, Plan, plan::worker, site};

use crate::{a_mail_sent_twice, chaos, setup};

/// A failing replay, with all the files written into the folder.
fn written() -> tempfile::TempDir {
    let folder = setup();
    fs::write(folder.path().join("plan.json"), a_mail_sent_twice().to_json()).unwrap();
    let args =
        ["--plan", "DIR/plan.json", "-q", "--trace", "DIR/t.json", "--junit", "DIR/j.xml", "--report", "DIR/page"];
    let run = chaos(folder.path(), &args);
    assert_eq!((run.code, run.err.as_str()), (1, ""), "{}", run.out);
    folder
}

#[test]
fn the_trace_is_one_that_perfetto_reads() {
    let folder = written();
    let trace: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("t.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut open = BTreeSet::new();
    for event in events {
        let phase = event["ph"].as_str().unwrap();
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        match phase {
            "M" => assert!(event["args"].is_object(), "{event}"),
            "X" => assert!(
                event["ts"].as_f64() >= Some(0.0) && event["dur"].as_f64() >= Some(0.0) && event["tid"].is_u64(),
                "{event}"
            ),
            "b" => assert!(open.insert(event["id"].to_string()), "{event}"),
            "e" => assert!(open.remove(&event["id"].to_string()), "{event}"),
            "i" => assert!(event["ts"].is_f64() && ["p", "g"].contains(&event["s"].as_str().unwrap()), "{event}"),
            other => panic!("no event of the phase {other:?} is expected"),
        }
    }
    assert!(open.is_empty(), "faults that do not end: {open:?}");
    let names = |phase: &str, name: &str| -> Vec<&str> {
        let is = |event: &&Value| event["ph"] == phase && event["name"] == name;
        events.iter().filter(is).map(|event| event["args"]["name"].as_str().unwrap_or_default()).collect()
    };
    assert_eq!(names("M", "process_name"), ["canary-twice, seed 1, replayed: mailer"]);
    assert_eq!(names("M", "thread_name"), ["mailer", "send (phase)", "send"]);
    let cycles = events.iter().filter(|event| event["name"].as_str().unwrap().starts_with("cycle ")).count();
    assert!(cycles >= 4, "{cycles} cycles");
    assert_eq!(events.iter().filter(|event| event["cat"] == "broken").count(), 1);
}

#[test]
fn junit_has_the_failure_with_the_line_that_replays_it() {
    let folder = written();
    let xml = fs::read_to_string(folder.path().join("j.xml")).unwrap();
    assert!(
        xml.contains("<testsuite name=\"canary-twice\" tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\""),
        "{xml}"
    );
    assert!(xml.contains("<failure type=\"no mail is sent twice\" message=\"mail 3 was\">"), "{xml}");
    assert!(xml.contains("cargo xtask chaos --plan ") && !xml.contains('\u{1b}'), "{xml}");
    let count = |what: &str| xml.matches(what).count();
    assert_eq!(count("<testcase ") - count("/>\n"), count("</testcase>"));
}

#[test]
fn junit_tells_generated_worlds_crashes_and_stale_plans() {
    let folder = setup();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    fs::write(folder.path().join("corpus/old.json"), "{\"version\": 0}").unwrap();
    let args = ["mailer", "canary-unbuildable", "--seeds", "3", "--corpus", "DIR/corpus", "--junit", "DIR/j.xml", "-q"];
    assert_eq!(chaos(folder.path(), &args).code, 70);
    let xml = fs::read_to_string(folder.path().join("j.xml")).unwrap();
    assert!(xml.contains("classname=\"mailer\" name=\"3 generated worlds keep every rule\""), "{xml}");
    let line = "cargo xtask chaos canary-unbuildable --seed 1 --profile harsh";
    assert!(xml.contains(&format!("<error type=\"crash\" message=\"no world for seed 1\">{line}</error>")), "{xml}");
    assert!(xml.contains("<skipped message=\"the plan has version 0; this program reads version"), "{xml}");
}

#[test]
fn junit_does_not_pass_over_a_world_that_is_not_deterministic() {
    let folder = setup();
    chaos(folder.path(), &["canary-fickle", "--seeds", "3", "--junit", "DIR/j.xml", "-q"]);
    let xml = fs::read_to_string(folder.path().join("j.xml")).unwrap();
    assert!(xml.contains("this did not happen: the world is not deterministic"), "{xml}");
    assert!(!xml.contains("every rule was kept"), "{xml}");
}

#[test]
fn a_mistake_in_one_path_leaves_the_file_of_another_as_it_was() {
    let folder = setup();
    let last_night = folder.path().join("last_night.json");
    fs::write(
        &last_night,
        "what was found last night, which is longer than any report that a campaign of one world writes".repeat(999),
    )
    .unwrap();
    let before = fs::read_to_string(&last_night).unwrap();
    let run = chaos(folder.path(), &["mailer", "--json", "DIR/last_night.json", "--junit", "DIR/no/such/j.xml"]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert_eq!(fs::read_to_string(&last_night).unwrap(), before);
    assert_eq!(chaos(folder.path(), &["mailer", "--seeds", "1", "--json", "DIR/last_night.json"]).code, 0);
    let report = fs::read_to_string(&last_night).unwrap();
    serde_json::from_str::<serde_json::Value>(&report).expect("nothing is left of what was in it");
}

#[test]
fn two_outputs_in_one_file_are_refused_however_it_is_named() {
    let folder = setup();
    let check = |args: &[&str], words: &str| {
        let run = chaos(folder.path(), &[&["mailer", "--seeds", "1"][..], args].concat());
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}: {}", run.err);
        assert!(run.err.contains(words), "{args:?}: {}", run.err);
    };
    check(&["--json", "DIR/out", "--junit", "DIR/out"], "--json and --junit are both to be written to ");
    check(&["--trace", "DIR/out", "--junit", "DIR/./out"], "--trace and --junit are both");
    check(&["--json", "DIR/page/index.html", "--report", "DIR/page"], "--json");
    fs::create_dir(folder.path().join("page")).unwrap();
    check(&["--json", "DIR/page/index.html", "--report", "DIR/page"], "--json and --report are both");
    // What is thrown away may be thrown away twice.
    let run = chaos(folder.path(), &["mailer", "--seeds", "1", "--json", "/dev/null", "--junit", "/dev/null"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
}

#[test]
fn an_output_in_a_file_that_is_read_is_refused_however_it_is_named_and_leaves_it_as_it_was() {
    let folder = setup();
    for inner in ["corpus", "page"] {
        fs::create_dir(folder.path().join(inner)).unwrap();
    }
    let (plan, of_another) = (Plan::quiet("mailer", 1).to_json(), a_mail_sent_twice().to_json());
    let mix = r#"{"faults_max": 2, "weights": {"hang": 1}}"#;
    let (plan, of_another) = (&*plan, &*of_another);
    let files = [("plan.json", plan), ("page/index.html", plan), ("corpus/a.json", of_another), ("mix.json", mix)];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let check = |input: &[&str], output: &[&str], name: &str| {
        let run = chaos(folder.path(), &[input, output].concat());
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{input:?} {output:?}: {}", run.err);
        let told = format!("error: {} would be written over ", output[0]);
        let (option, file) = (format!(", which {} reads", input[0]), format!("/{name}, which"));
        assert!([told, option, file].iter().all(|words| run.err.contains(words)), "{}", run.err);
    };
    let replay = ["--plan", "DIR/plan.json"];
    check(&replay, &["--json", "DIR/plan.json"], "plan.json");
    check(&replay, &["--trace", "DIR/./plan.json"], "plan.json");
    check(&replay, &["--junit", "DIR/corpus/../plan.json"], "plan.json");
    check(&["--plan", "DIR/page/index.html"], &["--report", "DIR/page"], "page/index.html");
    // Also where the plan is of a scenario that does not run.
    check(&["--corpus", "DIR/corpus", "mailer"], &["--json", "DIR/corpus/a.json"], "corpus/a.json");
    check(&["--profile", "DIR/mix.json", "mailer"], &["--json", "DIR/mix.json"], "mix.json");
    for (name, content) in files {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), content, "{name}");
    }
    // A new file beside the plans is none of them.
    let beside = ["mailer", "--seeds", "1", "--corpus", "DIR/corpus", "--json", "DIR/corpus/report.json"];
    assert_eq!(chaos(folder.path(), &beside).code, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_there_is_no_room_for_is_a_crash_of_the_tool_and_named() {
    let folder = setup();
    for option in ["--json", "--junit", "--trace"] {
        let run = chaos(folder.path(), &["mailer", "--seeds", "1", option, "/dev/full"]);
        assert_eq!(run.code, 70, "{option}: {}", run.err);
        assert!(run.err.contains("could not write /dev/full: "), "{option}: {}", run.err);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_json_report_tells_of_a_file_that_there_is_no_room_for() {
    let folder = setup();
    let args = ["mailer", "--seeds", "1", "--junit", "/dev/full", "--json", "DIR/report.json"];
    assert_eq!(chaos(folder.path(), &args).code, 70);
    let report: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["verdict"], &report["exit_code"]), (&"tool_crashed".into(), &70.into()));
    assert_eq!(crate::merge(&folder, &["DIR/report.json"]).code, 70, "a merge passes it on");
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let folder = written();
    let page = fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    for outside in ["src=", "@import", "url(http", "fetch("] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
    assert_eq!(page.matches("<figure").count(), 1, "a plan from a file is not shrunk: one picture");
    assert!(
        page.contains("no mail is sent twice") && page.contains("--plan"),
        "it says what broke and how to replay it"
    );
}

#[test]
fn the_page_has_the_line_that_runs_a_crashed_world_again() {
    let folder = setup();
    let args = ["canary-unbuildable", "--seeds", "3", "-q", "--report", "DIR/page"];
    assert_eq!(chaos(folder.path(), &args).code, 70);
    let page = fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    let line = "<code>cargo xtask chaos canary-unbuildable --seed 1 --profile harsh -v</code>";
    assert!(page.contains("The tool crashed in canary-unbuildable, seed 1, harsh: no world for seed 1"), "{page}");
    assert!(page.contains(line), "{page}");
}

#[test]
fn a_shrunk_failure_is_shown_before_and_after() {
    let folder = setup();
    let args =
        ["canary-twice", "--profile", "harsh", "--max-failures", "1", "--seeds", "300", "-q", "--report", "DIR/page"];
    assert_eq!(chaos(folder.path(), &args).code, 1);
    let page = fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    assert!(page.contains("as it was found, ") && page.contains("<figcaption>shrunk, "), "two captions");
    assert_eq!(page.matches("<figure").count(), 2);
}

#[test]
fn a_corpus_plan_that_no_longer_fits_is_stale_and_says_what_does_not() {
    let folder = setup();
    fs::create_dir(folder.path().join("corpus")).unwrap();
    let mut plan = Plan::quiet("mailer", 1);
    plan.faults = vec![Fault::new(1, site("fax").hang())];
    fs::write(folder.path().join("corpus/gone.json"), plan.to_json()).unwrap();
    plan.faults = vec![Fault::new(1, worker("faxes").panic_in_cycle(1))];
    fs::write(folder.path().join("corpus/renamed.json"), plan.to_json()).unwrap();
    let run = chaos(folder.path(), &["mailer", "--seeds", "1", "--corpus", "DIR/corpus"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("gone.json: it strikes fax, which mailer does not have; it has smtp"), "{}", run.out);
    let renamed = "renamed.json: it strikes faxes, which mailer does not have; it has send";
    assert!(run.out.contains(renamed), "{}", run.out);
    assert!(run.out.contains("2 stale plans were not replayed"), "{}", run.out);
}
