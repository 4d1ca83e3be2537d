//! A real process for the tests that send real signals: an application of [`shiftwork_tests::incident`], which the tests also run
//! in a world.
//!
//! Its arguments are the name of the incident, that of a file that it may leave as a mark, and where what it calls listens. It writes what it
//! says to its output, a line each.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{ExitCode, Termination},
};

use shiftwork::{Environment, Failure, Host, System, queue::Timestamp};
use shiftwork_tests::incident::{self, Incident, Outside};

/// The machine that the process runs on.
#[derive(Clone)]
struct Machine {
    mark: PathBuf,
    /// An address and its port.
    backend: String,
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

    fn wall_time(&self) -> Timestamp {
        System.now()
    }

    async fn call(&self) -> Result<u32, Failure> {
        let backend = self.backend.clone();
        Ok(tokio::task::spawn_blocking(move || ask(&backend)).await??)
    }
}

/// Asks in one byte, and is answered in one: how many requests have had their effect, or nothing when this one is refused.
fn ask(backend: &str) -> io::Result<u32> {
    let mut connection = TcpStream::connect(backend)?;
    connection.write_all(b"?")?;
    let mut answer = [0];
    connection.read_exact(&mut answer)?;
    match answer {
        [0] => Err(io::Error::other("the request was refused")),
        [effects] => Ok(effects.into()),
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
    let (mark, backend) = (arguments.next().unwrap_or_default().into(), arguments.next().unwrap_or_default());
    let machine = Machine { mark, backend };
    if incident == Incident::Foreign {
        let mut signals = match System.signals() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("incident: no signal can be heard: {error}");
                return ExitCode::from(2);
            }
        };
        incident::run_without_a_host(machine, signals.next()).await;
        return ExitCode::SUCCESS;
    }
    incident::run(incident, Host::builder(), machine).await.report()
}
