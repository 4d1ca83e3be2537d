//! What the page on failures has in common with the code: the tests that it names exist.

use std::fs;

use crate::page::{Page, bare, root};

const PAGE: &str = "docs/failures.md";

#[test]
fn every_failure_has_a_test_that_exists() {
    let table = Page::read(PAGE).table("what goes wrong elsewhere");
    assert!(!table.is_empty());
    for row in &table {
        let shown = row.last().expect("a row has cells");
        for shown in shown.split(", ") {
            let (file, test) =
                shown.split_once(": ").unwrap_or_else(|| panic!("{PAGE}: {shown:?} is no file and test"));
            let file = bare(file);
            let path = if file.contains('/') { file.to_owned() } else { format!("tests/lifecycle/{file}") };
            let code = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(code.contains(&format!("fn {}()", bare(test))), "{PAGE}: there is no test {test} in {path}");
        }
    }
}
