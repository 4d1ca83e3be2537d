//! The visits for programs. The fields are the columns of the table.

use serde::Serialize;
use shiftwork_sim::Plan;

use crate::visit::Visit;

/// The version of what is written; it changes when a field changes its meaning or goes.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'v> {
    version: u32,
    exhibits: Vec<Row<'v>>,
}

#[derive(Serialize)]
struct Row<'v> {
    name: &'static str,
    about: &'static str,
    area: &'static str,
    expected_rule: &'static str,
    needs_two_faults: bool,
    /// The rule that broke first; null when the bug was missed.
    rule: Option<&'v str>,
    worlds: Option<u64>,
    faults_found: Option<usize>,
    shrink_worlds: Option<u32>,
    /// The shrunk plan.
    plan: Option<&'v Plan>,
    /// What is wrong; empty when all is well.
    complaints: Vec<String>,
}

/// All visits as JSON.
pub fn of(visits: &[Visit<'_>]) -> String {
    let exhibits = visits
        .iter()
        .map(|visit| {
            let catch = visit.catch.as_ref();
            Row {
                name: visit.exhibit.name,
                about: visit.exhibit.about,
                area: visit.exhibit.area.as_str(),
                expected_rule: visit.exhibit.rule,
                needs_two_faults: visit.exhibit.needs_two_faults,
                rule: catch.map(|catch| catch.rule.name()),
                worlds: catch.map(|catch| catch.worlds),
                faults_found: catch.map(|catch| catch.faults_found),
                shrink_worlds: catch.map(|catch| catch.shrink_worlds),
                plan: catch.map(|catch| &catch.plan),
                complaints: visit.complaints.iter().map(ToString::to_string).collect(),
            }
        })
        .collect();
    let document = Document { version: VERSION, exhibits };
    serde_json::to_string_pretty(&document).expect("plain data becomes JSON")
}
