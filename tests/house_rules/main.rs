//! The house rules, as a test.
//!
//! What a reviewer would otherwise have to say again and again, said once by a machine, with file, line and what to do
//! instead. `rules` is the table of what a file may not contain, `arrows` says which crate may know which, `source` reads
//! the repository. What the compiler's lints can see is a lint (`Cargo.toml`, `clippy.toml`) and not here; the overlap on
//! clocks and sleeps is meant, since lints stop at code that is not compiled on this machine.
//!
//! To add a rule, add a row to [`rules::RULES`] with a sample that breaks it and one that keeps it.

mod arrows;
mod rules;
mod source;

use std::path::Path;

use rules::RULES;
use source::Source;

#[test]
fn every_file_keeps_the_house_rules() {
    let findings: Vec<String> =
        repository().iter().flat_map(|source| RULES.iter().flat_map(|rule| rule.findings(source))).collect();
    assert!(findings.is_empty(), "{} house rules broken:\n\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn the_walk_reaches_every_corner() {
    let sources = repository();
    for path in [
        ".ci/run",
        "Cargo.toml",
        "CONTRIBUTING.md",
        "crates/shiftwork/src/lib.rs",
        "xtask/src/main.rs",
        "benches/src/lib.rs",
    ]
    .into_iter()
    .chain(["tests/house_rules/main.rs"])
    {
        assert!(sources.iter().any(|source| source.path == path), "{path} was not read");
    }
}

#[test]
fn every_rule_can_fail() {
    for rule in &RULES {
        assert!(!rule.broken.is_empty() && !rule.kept.is_empty(), "`{}` needs a sample of each sort", rule.name);
        for (path, text) in rule.broken {
            assert_ne!(rule.findings(&Source::new(*path, *text)), [""; 0], "`{}` let pass:\n{text}", rule.name);
        }
        for (path, text) in rule.kept {
            assert_eq!(rule.findings(&Source::new(*path, *text)), [""; 0], "`{}` stopped:\n{text}", rule.name);
        }
    }
}

#[test]
fn a_finding_names_the_place_and_the_replacement() {
    let rule = RULES.iter().find(|rule| rule.name == "no blocking sleep").expect("the rule exists");
    let source =
        Source::new("crates/shiftwork/src/idle.rs", "//! Idles.\n\nfn idle() {\n    std::thread::sleep(SECOND);\n}\n");
    assert_eq!(
        rule.findings(&source),
        ["crates/shiftwork/src/idle.rs:4: no blocking sleep: `std::thread::sleep(SECOND);`\n    instead: \
          `tokio::time::sleep`, which leaves the thread to others and jumps under a paused clock"]
    );
}

#[test]
fn every_exception_is_still_of_use() {
    for rule in &RULES {
        for exception in rule.exceptions {
            assert!(
                root().join(exception.under).exists(),
                "`{}` makes an exception for {}, which is gone: remove the exception",
                rule.name,
                exception.under
            );
            assert!(!exception.because.is_empty(), "`{}` does not say why {} is excepted", rule.name, exception.under);
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let broken = arrows::broken(&arrows::packages(&root()));
    assert!(broken.is_empty(), "the arrows between the crates are broken:\n\n{}\n", broken.join("\n"));
}

/// Everything people write in this repository.
fn repository() -> Vec<Source> {
    source::walk(&root())
}

/// The folder of the workspace's `Cargo.toml`.
fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the workspace").to_owned()
}
