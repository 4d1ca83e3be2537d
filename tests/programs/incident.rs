//! A real process for the tests that send real signals: it prints each event of its host as a word on a line.
//!
//! The application is [`shiftwork_tests::incident`]'s, which the tests also run in a world.

use std::io::Write;

use shiftwork::{Event, Host, HostReport};
use shiftwork_tests::incident;
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> HostReport {
    let faulty = std::env::args().any(|argument| argument == "--faulty");
    let host = Host::builder().listener(|_: Instant, event: &Event| {
        let mut out = std::io::stdout().lock();
        // A test that has gone away does not matter to the worker.
        let _ = writeln!(out, "{}", event.name());
        let _ = out.flush();
    });
    incident::application(host, faulty).run_until_signal().await
}
