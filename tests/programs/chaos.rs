//! What `cargo xtask chaos` runs: a campaign over the scenarios of this workspace.

use std::process::ExitCode;

fn main() -> ExitCode {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    shiftwork_chaos::Tool::new(shiftwork_tests::all()).corpus(corpus).main()
}
