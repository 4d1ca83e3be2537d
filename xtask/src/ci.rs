//! `cargo xtask ci`: what has to pass before a change is merged.
//!
//! `.ci/run` prepares a bare machine and calls this; there is no second list of steps. The steps are ordered by cost: the
//! first three and rustdoc only check the dependencies, the tests build them once, those of the simulator once more as they are without
//! `--cfg tokio_unstable`, and the campaign under its own profile.

use std::{env, ffi::OsString, process::Command, time::Duration};

use crate::{
    cargo::{Cargo, Outcome, appended, run as run_to_its_end},
    chaos, test,
};

struct Step {
    name: &'static str,
    /// What a person types to run this step alone.
    line: &'static str,
    run: fn(&Cargo) -> Outcome,
}

const STEPS: [Step; 7] = [
    Step {
        name: "fmt",
        line: "cargo fmt --all --check",
        run: |cargo| run_to_its_end(cargo.command(&["fmt"], ["--all", "--check"])),
    },
    Step {
        name: "clippy",
        line: "cargo clippy --workspace --all-targets -- -D warnings",
        run: |cargo| {
            run_to_its_end(cargo.command(&["clippy"], ["--workspace", "--all-targets", "--", "-D", "warnings"]))
        },
    },
    Step {
        name: "features",
        line: "cargo clippy -p shiftwork --no-default-features [--features tower] -- -D warnings",
        run: |cargo| {
            let with = |features: &'static [&'static str]| {
                let arguments = ["--package", "shiftwork", "--no-default-features"].iter().chain(features);
                run_to_its_end(cargo.command(&["clippy"], arguments.chain(&["--", "-D", "warnings"])))
            };
            with(&[]).and_then(|()| with(&["--features", "tower"]))
        },
    },
    Step { name: "test", line: "cargo xtask test", run: |cargo| test::run(cargo, &[]) },
    Step {
        name: "stable",
        line: "RUSTFLAGS= CARGO_TARGET_DIR=target/without-unstable cargo test -p shiftwork-sim --lib in_every_build",
        run: |cargo| {
            let arguments = ["--package", "shiftwork-sim", "--lib", "in_every_build"];
            run_to_its_end(cargo.command_without_unstable(&["test"], arguments))
        },
    },
    Step {
        name: "rustdoc",
        line: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps",
        run: |cargo| run_to_its_end(denying_warnings(cargo.command(&["doc"], ["--workspace", "--no-deps"]))),
    },
    Step {
        name: "campaign",
        line: "cargo xtask chaos --seeds 40 --verify-determinism",
        run: |cargo| chaos::run_as_step(cargo, &["--seeds", "40", "--verify-determinism"].map(OsString::from)),
    },
];

/// Runs the steps in order and stops at the first that fails, with its exit code.
pub(crate) fn run(cargo: &Cargo) -> Outcome {
    let mut times = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        println!("── {}/{} {}: {}", index + 1, STEPS.len(), step.name, step.line);
        let (outcome, time) = timed(|| (step.run)(cargo));
        let seconds = time.as_secs_f64();
        if let Err(code) = outcome {
            println!("── {} FAILED after {seconds:.1} s; alone: {}", step.name, step.line);
            return Err(code);
        }
        println!("── {} passed in {seconds:.1} s\n", step.name);
        times.push((step.name, time));
    }
    for (name, time) in &times {
        println!("{name:>10} {:>7.1} s", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    println!("{:>10} {:>7.1} s, all passed", "ci", total.as_secs_f64());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a person waits for these steps, on a real clock")]
fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let begin = std::time::Instant::now();
    let result = body();
    (result, begin.elapsed())
}

/// Added to a set `RUSTDOCFLAGS` rather than in its place, which may hold what the machine needs.
fn denying_warnings(mut command: Command) -> Command {
    let set = env::var("RUSTDOCFLAGS").unwrap_or_default();
    command.env("RUSTDOCFLAGS", appended(&set, &["-D", "warnings"], ' '));
    command
}
