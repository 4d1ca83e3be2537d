//! What `cargo xtask chaos` runs: a campaign over the scenarios of this workspace.

use std::process::ExitCode;

fn main() -> ExitCode {
    shiftwork_chaos::main(shiftwork_tests::all())
}
