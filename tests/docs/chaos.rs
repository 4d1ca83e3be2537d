//! What the page on campaigns has in common with the code: exit codes, the fields of the report, and YAML that can be read.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use shiftwork_chaos::{Campaign, CampaignReport, Verdict, json};
use shiftwork_sim::{Plan, explore};
use yaml_rust2::{Yaml, YamlLoader};

use crate::page::{Page, bare};

#[test]
fn every_exit_code_of_a_campaign_is_written() {
    let table = Page::read("docs/chaos.md").table("code");
    let written: BTreeSet<String> = table.iter().map(|row| row[0].clone()).collect();
    let codes = Verdict::ALL.map(|verdict| verdict.code().to_string()).into_iter();
    // 2 is that of a command line that cannot be used, before there is a verdict; 5 that of a world that never gives one.
    assert_eq!(written, codes.chain(["2", "5"].map(str::to_owned)).collect());
}

/// A campaign with a failure, and one more thing of each kind that a report may have.
fn report() -> Value {
    let canary = shiftwork_tests::canary::Canary;
    let mut campaign = Campaign::over([&canary as &dyn shiftwork_sim::Scenario]);
    campaign.failures_max = 1;
    campaign.shrink_worlds_max = 20;
    let report: CampaignReport = campaign.run();
    assert_eq!(report.failures.len(), 1);
    let plan: &Plan = &report.failures[0].outcome.plan;
    assert!(!explore::run_plan(&canary, plan, false).is_ok());
    serde_json::from_str(&json::Report::of(&report).to_json()).expect("a report is JSON")
}

#[test]
fn the_fields_of_the_report_are_those_that_are_written() {
    let mut fields = BTreeSet::new();
    let report = report();
    collect(&report, "", &mut fields);
    let table = Page::read("docs/chaos.md").table("field");
    let written: BTreeSet<String> = table.iter().map(|row| bare(&row[0]).to_owned()).collect();
    assert_eq!(written, fields);
    assert_eq!(report["version"], json::VERSION);
}

/// The fields of an object, and of the objects in the lists of scenarios and failures.
fn collect(object: &Value, under: &str, fields: &mut BTreeSet<String>) {
    for (name, value) in object.as_object().expect("a report is made of objects") {
        let path = format!("{under}{name}");
        if matches!(path.as_str(), "scenarios" | "scenarios[].failures") {
            collect(&value[0], &format!("{path}[]."), fields);
        }
        fields.insert(path);
    }
}

#[test]
fn the_manifests_are_yaml_and_say_what_the_tool_reads() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/chaos.md")).unwrap();
    let snippets = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let read =
        |text: &str| YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error} in {text}")).remove(0);
    let snippets: Vec<Yaml> = snippets.map(read).collect();
    let [job, matrix] = &snippets[..] else { panic!("{} snippets", snippets.len()) };
    assert_eq!((job["kind"].as_str(), job["spec"]["completionMode"].as_str()), (Some("Job"), Some("Indexed")));
    let variable = &job["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(variable["name"].as_str(), Some("JOB_COMPLETIONS"));
    let completions = job["spec"]["completions"].as_i64().unwrap();
    assert_eq!(variable["value"].as_str(), Some(&*completions.to_string()), "the pods must know how many they are");
    let campaign = &matrix["jobs"]["campaign"];
    let shards = campaign["strategy"]["matrix"]["shard"].as_vec().unwrap().len();
    let line = campaign["steps"][1]["run"].as_str().unwrap();
    assert!(line.contains(&format!("--shard ${{{{ matrix.shard }}}}/{shards}")), "{line}");
}
