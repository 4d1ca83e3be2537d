//! `cargo xtask`: the one door to the development tasks of this workspace.
//!
//! This file only dispatches; each command has a file, and the work itself lives in the crates. A command needs nothing
//! installed but cargo: it starts other cargo commands and passes on how they ended.

mod bench;
mod cargo;
mod chaos;
mod ci;
mod test;
mod zoo;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::cargo::Cargo;

/// The development tasks of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a chaos campaign over the scenarios in tests/ (`--help` lists its options, `--list` the scenarios)
    #[command(disable_help_flag = true)]
    Chaos(PassedOn),
    /// Hunt every planted bug in tests/zoo and try every corrected twin (`--help` lists its options)
    #[command(disable_help_flag = true)]
    Zoo(PassedOn),
    /// Run every test, doc tests included (with cargo-nextest if it is installed)
    Test(PassedOn),
    /// Run the benchmarks
    Bench(PassedOn),
    /// Run what has to pass before a change is merged: fmt, clippy, test, the stable build, rustdoc, a short campaign
    Ci,
}

/// Arguments that a command hands on as they are.
#[derive(Args)]
struct PassedOn {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(keep_double_dash(std::env::args_os()));
    let cargo = Cargo::from_environment();
    let outcome = match cli.command {
        Command::Chaos(passed_on) => chaos::run(&cargo, &passed_on.args),
        Command::Zoo(passed_on) => zoo::run(&cargo, &passed_on.args),
        Command::Test(passed_on) => test::run(&cargo, &passed_on.args),
        Command::Bench(passed_on) => bench::run(&cargo, &passed_on.args),
        Command::Ci => ci::run(&cargo),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// Doubles a `--` that directly follows the command. clap takes the first one for itself, and `cargo xtask bench --
/// --quick` means the benchmark's own `--quick`, not cargo's.
fn keep_double_dash(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(2).is_some_and(|arg| arg == "--") {
        args.insert(2, "--".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches the child of `cargo xtask LINE`.
    fn passed_on(line: &str) -> Vec<OsString> {
        let words = ["xtask"].into_iter().chain(line.split(' ')).map(OsString::from);
        let cli = Cli::try_parse_from(keep_double_dash(words)).unwrap_or_else(|error| panic!("{line}: {error}"));
        match cli.command {
            Command::Chaos(passed_on)
            | Command::Zoo(passed_on)
            | Command::Test(passed_on)
            | Command::Bench(passed_on) => passed_on.args,
            Command::Ci => Vec::new(),
        }
    }

    #[test]
    fn arguments_reach_the_child_unchanged() {
        for args in [
            "--help",
            "-h",
            "--seeds 40 --verify-determinism",
            "outbox --seed 7",
            "outbox -- --list",
            "-- --nocapture",
            "--release -- --nocapture",
        ] {
            let expected: Vec<OsString> = args.split(' ').map(OsString::from).collect();
            assert_eq!(passed_on(&format!("chaos {args}")), expected);
        }
        assert_eq!(passed_on("test backoff -- --nocapture"), ["backoff", "--", "--nocapture"]);
        assert_eq!(passed_on("bench -- --quick"), ["--", "--quick"]);
        assert!(passed_on("ci").is_empty());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
