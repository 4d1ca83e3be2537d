//! The whole tool, driven by its arguments, over scenarios that are known to be good or bad.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod command_line;
mod determinism;
mod exhaustive;
mod failures;
mod guided;
mod outputs;
mod reports;
mod scenarios;
mod shards;

use std::path::Path;

use shiftwork::Signal;
use shiftwork_chaos::{Tool, determinism::InProcess};
use shiftwork_sim::{Fault, Plan, secs, site};

/// What a run of the tool left behind.
struct Run {
    code: u8,
    out: String,
    err: String,
}

/// Runs the tool in `folder`, as far as files are concerned.
fn chaos(folder: &Path, args: &[&str]) -> Run {
    let save = folder.join(".chaos");
    let mut args: Vec<_> = args.iter().map(|arg| arg.replace("DIR", &folder.to_string_lossy())).collect();
    // What makes saved plans smaller saves none.
    if !args.iter().any(|arg| arg == "--save" || arg == "--minimize") {
        args.extend(["--save".to_owned(), save.to_string_lossy().into_owned()]);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // The scenarios live as long as the tests.
    let again = InProcess::new(Box::leak(scenarios::all().into_boxed_slice()));
    let code = Tool::new(scenarios::all()).second_run(again).run(args, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code, out: text(out), err: text(err) }
}

/// The plan of a world in which the canary sends a mail twice.
fn a_mail_sent_twice() -> Plan {
    let faults = vec![
        Fault::new(15_000, site("smtp").reply_lost(100).lasting(secs(10))),
        Fault::new(50_000, Signal::Terminate.into()),
    ];
    Plan { faults, ..Plan::quiet("canary-twice", 1) }
}

fn setup() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Merges reports in `folder`.
fn merge(folder: &tempfile::TempDir, files: &[&str]) -> Run {
    let mut args: Vec<_> = files.iter().map(|file| file.replace("DIR", &folder.path().to_string_lossy())).collect();
    args.insert(0, "merge".to_owned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = Tool::new(scenarios::all()).run(args, &mut out, &mut err);
    Run { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}
