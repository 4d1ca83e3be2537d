//! `cargo xtask bench [ARGS…]`: the benchmarks of `benches/`.
//!
//! A name before `--` picks a benchmark, what follows `--` is for the benchmark program.

use std::ffi::OsString;

use crate::cargo::{Cargo, Outcome, hand_over};

/// Becomes the benchmarks.
pub(crate) fn run(cargo: &Cargo, args: &[OsString]) -> Outcome {
    hand_over(cargo.command(&["bench", "--package", "shiftwork-benches"], args))
}
