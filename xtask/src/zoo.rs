//! `cargo xtask zoo [WORD…]`: the bug zoo in `tests/zoo`. Every planted bug must be found, and every corrected twin must pass.
//!
//! All arguments are the zoo's own, `--help` included. It runs under the `chaos` profile, like a campaign.

use std::ffi::OsString;

use crate::cargo::{Cargo, Outcome, hand_over};

const RUN: [&str; 8] = ["run", "--quiet", "--profile", "chaos", "--package", "shiftwork-tests", "--bin", "zoo"];

/// Becomes the zoo.
pub(crate) fn run(cargo: &Cargo, args: &[OsString]) -> Outcome {
    let args: Vec<OsString> = [OsString::from("--")].iter().chain(args).cloned().collect();
    hand_over(cargo.command(&RUN, args))
}
