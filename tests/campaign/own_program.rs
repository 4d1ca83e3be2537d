//! A campaign of somebody's own: a workspace outside of this one, with an xtask of five lines around `shiftwork_chaos::main`.
//!
//! It is written into a temporary folder and built as its owner would build it, without a network. What it compiles is kept between
//! runs, so that only the first one is slow.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::text;

/// What is built there is kept here.
const TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/own-program");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The manifests, with the crates of this workspace by their paths.
fn manifests(folder: &Path) {
    let root = root();
    let path = |name: &str| format!("{name} = {{ path = {:?} }}", root.join("crates").join(name));
    fs::create_dir_all(folder.join("xtask/src")).unwrap();
    fs::create_dir_all(folder.join(".cargo")).unwrap();
    fs::write(folder.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\"]\n").unwrap();
    let dependencies = ["shiftwork", "shiftwork-sim", "shiftwork-chaos"].map(path).join("\n");
    let manifest = format!(
        "[package]\nname = \"xtask\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n"
    );
    fs::write(folder.join("xtask/Cargo.toml"), manifest).unwrap();
    fs::write(folder.join(".cargo/config.toml"), CONFIG).unwrap();
    // The versions that are on this machine.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// The flag as `docs/simulation.md` says it.
const CONFIG: &str = r#"[alias]
xtask = "run --quiet --package xtask --"

[target.'cfg(all())']
rustflags = ["--cfg", "tokio_unstable"]
"#;

const MAIN: &str = r#"//! `cargo xtask`: a campaign over the scenarios of this workspace.

mod counter;

fn main() -> std::process::ExitCode {
    shiftwork_chaos::main(vec![Box::new(counter::Counter)])
}
"#;

/// A worker that counts before it knows: when the reply is lost it counts again.
const COUNTER: &str = r#"//! Counts visitors, and has a planted bug: a lost reply is counted twice.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use shiftwork::{Context, Failure, Schedule, Tick};
use shiftwork_sim::{Scenario, Surface, World, secs};

pub struct Counter;

impl Scenario for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn about(&self) -> &'static str {
        "counts a visitor a second"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["store".to_owned()], queues: Vec::new(), horizon: secs(30) }
    }

    fn build(&self, world: &mut World) {
        let store = world.dependency("store");
        let counted = Arc::new(AtomicU64::new(0));
        let visitors = Arc::new(AtomicU64::new(0));
        let (total, seen) = (counted.clone(), visitors.clone());
        world.node("counter", move |node| {
            let (store, total, seen) = (store.clone(), total.clone(), seen.clone());
            let count = move |_: Tick, cx: Context| {
                let (store, total, seen) = (store.clone(), total.clone(), seen.clone());
                async move {
                    if cx.attempt() == 1 {
                        seen.fetch_add(1, Relaxed);
                    }
                    store.call(async { total.fetch_add(1, Relaxed) }).await?;
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("count", Schedule::every(secs(1)), count).run_until_signal()
        });
        world.always("nobody is counted twice", move |_| {
            let (total, seen) = (counted.load(Relaxed), visitors.load(Relaxed));
            if total <= seen { Ok(()) } else { Err(format!("{total} were counted of {seen}")) }
        });
    }
}
"#;

fn xtask(folder: &Path, arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["--offline", "xtask"]).args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", TARGET);
    // What is set for this workspace is not meant for that one.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(variable);
    }
    command.output().unwrap()
}

#[test]
fn an_xtask_of_five_lines_finds_the_bug_of_its_owner_and_replays_it() {
    let folder = tempfile::tempdir().unwrap();
    manifests(folder.path());
    fs::write(folder.path().join("xtask/src/main.rs"), MAIN).unwrap();
    fs::write(folder.path().join("xtask/src/counter.rs"), COUNTER).unwrap();

    let list = xtask(folder.path(), &["--list"]);
    assert_eq!(list.status.code(), Some(0), "{}", text(&list));
    assert!(text(&list).contains("counter: counts a visitor a second"), "{}", text(&list));

    let found = xtask(folder.path(), &["--seeds", "300", "--max-failures", "1"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found));
    assert!(text(&found).contains("broken rule: nobody is counted twice"), "{}", text(&found));
    assert!(!text(&found).contains("is not held"), "its configuration holds everything: {}", text(&found));

    let printed = text(&found);
    // The line as it is printed, from behind `cargo xtask`.
    let line = printed.lines().find_map(|line| line.split("cargo xtask ").nth(1)).unwrap();
    assert!(line.contains("--plan"), "{line}");
    let replayed = xtask(folder.path(), &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
}
