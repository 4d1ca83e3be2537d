//! What the pages in `docs/` must have in common with the code and its tests: rules, phases, exit codes, defaults and links.
//!
//! The snippets of the pages are doc tests of `tests/scenarios/lib.rs`; `page` reads a page.

mod chaos;
mod configuration;
mod defaults;
mod failures;
mod fidelity;
mod links;
mod observability;
mod page;

use std::{collections::BTreeSet, fs};

use page::{Page, bare};
use shiftwork::{ExitStatus, Rule, event::WorkerPhase};
use shiftwork_sim::rules::Transitions;

#[test]
fn the_lifecycle_has_every_rule_with_its_title_in_order_and_no_other() {
    let page = Page::read("docs/lifecycle.md");
    let written: Vec<&str> = page.headings(4).collect();
    let rules: Vec<String> = Rule::ALL.iter().map(|rule| format!("{}: {}", rule.id(), rule.title())).collect();
    assert_eq!(written, rules);
}

/// The names of the lifecycle tests.
fn lifecycle_tests() -> Vec<String> {
    let files = fs::read_dir(page::root().join("tests/lifecycle")).expect("the lifecycle tests are a folder");
    let files = files.map(|entry| entry.expect("it can be listed").path());
    let code = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let code = code.map(|path| fs::read_to_string(&path).expect("a test is text"));
    let names = |code: String| {
        let (mut names, mut is_test) = (Vec::new(), false);
        for line in code.lines() {
            // Other attributes may stand between.
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if !line.starts_with("#[") {
                let name = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test);
                names.extend(name.map(str::to_owned));
                is_test = false;
            }
        }
        names
    };
    code.flat_map(names).collect()
}

#[test]
fn every_rule_has_a_test_that_names_it() {
    let tests = lifecycle_tests();
    assert!(tests.len() > Rule::ALL.len(), "{tests:?}");
    for rule in Rule::ALL {
        let prefix = format!("{}_", rule.id().to_lowercase());
        assert!(
            tests.iter().any(|test| test.starts_with(&prefix)),
            "no test in tests/lifecycle has a name that begins with {prefix}: {rule}"
        );
    }
}

#[test]
fn every_rule_that_the_pages_cite_exists() {
    for page in Page::all() {
        for cited in page.cited_rules() {
            assert!(Rule::ALL.iter().any(|rule| rule.id() == cited), "{}: there is no rule {cited}", page.path);
        }
    }
}

#[test]
fn the_exit_codes_are_those_of_the_code_from_best_to_worst() {
    let written = Page::read("docs/lifecycle.md").table("status");
    let written: Vec<(&str, &str)> = written.iter().map(|row| (bare(&row[0]), &*row[1])).collect();
    let codes = ExitStatus::ALL.map(|status| (status.as_str(), status.code().to_string()));
    assert_eq!(written, codes.iter().map(|(name, code)| (*name, &**code)).collect::<Vec<_>>());
}

#[test]
fn the_phases_are_those_of_the_code() {
    let written = Page::read("docs/lifecycle.md").table("phase");
    let written: Vec<&str> = written.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(written, WorkerPhase::ALL.map(WorkerPhase::as_str));
}

#[test]
fn the_transitions_have_every_one_that_a_world_can_see() {
    let table = Page::read("docs/lifecycle.md").table("from");
    let written: BTreeSet<(&str, &str)> = table.iter().map(|row| (bare(&row[0]), bare(&row[1]))).collect();
    assert_eq!(written.len(), table.len(), "a transition is written twice");
    let phase = |name: &str| {
        let found = WorkerPhase::ALL.into_iter().find(|phase| phase.as_str() == name);
        found.unwrap_or_else(|| panic!("there is no phase {name:?}"))
    };
    for (from, to) in &written {
        assert!(!phase(from).is_terminal(), "nothing follows {from}, {to} neither");
        phase(to);
    }
    let closing = WorkerPhase::Closing.as_str();
    for (from, to) in Transitions::POSSIBLE {
        let (from, to) = (from.as_str(), to.as_str());
        // A worker that closes says so only by its end.
        let told =
            written.contains(&(from, to)) || written.contains(&(from, closing)) && written.contains(&(closing, to));
        assert!(told, "{from} → {to} is possible, and not written");
    }
}
