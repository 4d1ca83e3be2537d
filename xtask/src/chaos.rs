//! `cargo xtask chaos [ARGS…]`: a campaign over the scenarios in `tests/`.
//!
//! All arguments are the campaign's own, `--help` included. It runs under the `chaos` profile: optimised, with the
//! program's assertions on.

use std::ffi::OsString;

use crate::cargo::{Cargo, Outcome, hand_over, run as run_to_its_end};

const RUN: [&str; 8] = ["run", "--quiet", "--profile", "chaos", "--package", "shiftwork-tests", "--bin", "chaos"];

/// Becomes the campaign.
pub(crate) fn run(cargo: &Cargo, args: &[OsString]) -> Outcome {
    hand_over(cargo.command(&RUN, campaign_arguments(args)))
}

/// The campaign as one step of several: returns when it has ended.
pub(crate) fn run_as_step(cargo: &Cargo, args: &[OsString]) -> Outcome {
    run_to_its_end(cargo.command(&RUN, campaign_arguments(args)))
}

/// Everything after `--` is for the program, not for cargo.
fn campaign_arguments(args: &[OsString]) -> Vec<OsString> {
    [OsString::from("--")].iter().chain(args).cloned().collect()
}
