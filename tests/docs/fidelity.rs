//! What the page on fidelity has in common with the code: every kind of fault is on it, and the tests that it names exist.

use std::fs;

use shiftwork_sim::FaultName;

use crate::page::{Page, bare, root};

const PAGE: &str = "docs/fidelity.md";

#[test]
fn every_kind_of_fault_is_on_the_page_in_the_order_of_the_code() {
    let table = Page::read(PAGE).table("fault");
    let written: Vec<&str> = table.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(written, FaultName::WORDS);
}

/// The rows of every table of the page that says what holds it together.
fn rows() -> Vec<Vec<String>> {
    let page = Page::read(PAGE);
    let mut rows = page.table("fault");
    rows.extend(page.tables("simulated"));
    rows
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut named = 0;
    for row in rows() {
        let held = row.last().expect("a row has cells");
        let Some((file, test)) = held.split_once(": ").filter(|(file, _)| file.starts_with('`')) else {
            assert!(held.starts_with("not held; "), "{PAGE}: {:?} is held by {held:?}", row[0]);
            continue;
        };
        let path = format!("tests/lifecycle/{}", bare(file));
        let code = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(code.contains(&format!("fn {}()", bare(test))), "{PAGE}: there is no test {test} in {path}");
        named += 1;
    }
    assert!(named > FaultName::ALL.len());
}

#[test]
fn every_twin_is_on_the_page() {
    let twins = fs::read_to_string(root().join("tests/lifecycle/twins.rs")).expect("the twins are a file");
    let page = fs::read_to_string(root().join(PAGE)).expect("there is a page on fidelity");
    let tests = twins.split("#[tokio::test]\nasync fn ").skip(1).filter_map(|rest| rest.split_once("()"));
    let mut count = 0;
    for (name, body) in tests {
        let agree = body.split("\n}\n").next().is_some_and(|body| body.contains("twins_agree("));
        assert!(!agree || page.contains(&format!("`{name}`")), "{PAGE} does not have {name}");
        count += usize::from(agree);
    }
    assert!(count > 10, "{count} twins");
}
