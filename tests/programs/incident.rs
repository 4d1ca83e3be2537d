//! A real process for the tests that send real signals: an application of [`shiftwork_tests::incident`], which the tests also run
//! in a world.
//!
//! Its arguments are the name of the incident, and of a file that it may leave as a mark. It writes what it says to its output, a
//! line each.

use std::{env, fs, io::Write, path::PathBuf, process::ExitCode, process::Termination};

use shiftwork::Host;
use shiftwork_tests::incident::{self, Incident, Outside};

/// The machine that the process runs on.
#[derive(Clone)]
struct Machine {
    mark: PathBuf,
}

impl Outside for Machine {
    fn hears(&self, line: String) {
        let mut out = std::io::stdout().lock();
        // A test that has gone away does not matter to the worker.
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }

    fn mark(&self) {
        // A mark that could not be left is missed by the test.
        let _ = fs::write(&self.mark, "");
    }

    fn is_marked(&self) -> bool {
        self.mark.exists()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let incident: Incident = match arguments.next().unwrap_or_default().parse() {
        Ok(incident) => incident,
        Err(error) => {
            eprintln!("incident: {error}");
            return ExitCode::from(2);
        }
    };
    let machine = Machine { mark: arguments.next().unwrap_or_default().into() };
    incident::run(incident, Host::builder(), machine).await.report()
}
