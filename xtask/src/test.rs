//! `cargo xtask test [ARGS…]`: every test, with nothing to install.
//!
//! cargo-nextest runs them if it is there, since it runs the tests of all binaries side by side and names the slow ones;
//! it does not know doc tests, so cargo runs those after it. Without it, `cargo test` runs everything. Both build the
//! examples.

use std::ffi::OsString;

use crate::cargo::{Cargo, Outcome, run as run_to_its_end};

/// Runs the tests, and stops at the first part that fails.
pub(crate) fn run(cargo: &Cargo, args: &[OsString]) -> Outcome {
    if cargo.has("nextest") {
        run_to_its_end(cargo.command(&["nextest", "run", "--workspace"], args))?;
        run_to_its_end(cargo.command(&["test", "--doc", "--workspace"], NONE))
    } else {
        run_to_its_end(cargo.command(&["test", "--workspace"], args))
    }
}

/// The arguments belong to the test runner; nextest's mean nothing to rustdoc.
const NONE: [&str; 0] = [];
