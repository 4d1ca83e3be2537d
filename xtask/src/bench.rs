//! `cargo xtask bench [ARGS…]`: the benchmarks of `benches/`.
//!
//! A name before `--` picks a benchmark, what follows `--` is for the benchmark program. One row of the table of ratios needs a
//! program that is built apart (`benches/madsim`); where that cannot be, the row is left out and it is said why.

use std::{ffi::OsString, path::PathBuf};

use crate::cargo::{Cargo, Outcome, hand_over, run as run_to_its_end};

/// Where the table of ratios looks for the program with madsim's worlds.
const MADSIM: &str = "SHIFTWORK_BENCH_MADSIM";

/// Becomes the benchmarks.
pub(crate) fn run(cargo: &Cargo, args: &[OsString]) -> Outcome {
    let mut benchmarks = cargo.command(&["bench", "--package", "shiftwork-benches"], args);
    if measures_ratios(args) {
        match worlds_on_madsim(cargo) {
            Ok(program) => drop(benchmarks.env(MADSIM, program)),
            Err(_) => eprintln!("xtask: benches/madsim could not be built, so there is no row for madsim"),
        }
    }
    hand_over(benchmarks)
}

/// Whether the table of ratios is among what these arguments ask for, to be measured.
fn measures_ratios(args: &[OsString]) -> bool {
    let of_cargo = || args.iter().take_while(|arg| *arg != "--");
    let named = of_cargo().any(|arg| arg == "--bench");
    let only_built = of_cargo().any(|arg| arg == "--no-run" || arg == "--help" || arg == "--list");
    !only_built && (!named || of_cargo().any(|arg| arg == "ratios"))
}

/// Builds the program, in a workspace and a target folder of its own.
fn worlds_on_madsim(cargo: &Cargo) -> Result<PathBuf, std::process::ExitCode> {
    let folder = Cargo::workspace_root().join("benches").join("madsim");
    let mut build = cargo.command_in(&folder, &["build", "--release", "--quiet", "--locked"], &["--cfg", "madsim"]);
    build.env_remove("CARGO_TARGET_DIR").arg("--target-dir").arg(folder.join("target"));
    run_to_its_end(build)?;
    let name = format!("worlds-on-madsim{}", std::env::consts::EXE_SUFFIX);
    Ok(folder.join("target").join("release").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(args: &[&str]) -> bool {
        measures_ratios(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn madsim_is_built_for_the_table_of_ratios_alone() {
        assert!(measures(&[]));
        assert!(measures(&["--bench", "ratios"]));
        assert!(!measures(&["--bench", "cycle"]));
        assert!(!measures(&["--no-run"]));
        assert!(!measures(&["--bench", "cycle", "--", "ratios"]), "what follows is for the benchmark");
    }
}
