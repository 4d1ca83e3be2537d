//! What a host says when it has stopped: a verdict for each worker, and an exit code that cannot lie.

use std::{
    fmt,
    io::{self, Write},
    process::{ExitCode, Termination},
    sync::Arc,
    time::Duration,
};

use tracing::{dispatcher, subscriber::NoSubscriber};

use crate::{
    Cause,
    event::{StopReason, WorkerPhase},
};

/// How a run of a host ended, from best to worst. [`ExitStatus::code`] is the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitStatus {
    /// Everything that was in flight finished.
    Clean,
    /// A budget ran out: work was interrupted and returned, or a stop hook was left behind.
    DrainTimedOut,
    /// A second signal interrupted the stop.
    Forced,
    /// A worker did not start.
    StartFailure,
    /// A worker could not go on.
    WorkerFault,
}

impl ExitStatus {
    /// Every status, from best to worst.
    pub const ALL: [ExitStatus; 5] = [
        ExitStatus::Clean,
        ExitStatus::DrainTimedOut,
        ExitStatus::Forced,
        ExitStatus::StartFailure,
        ExitStatus::WorkerFault,
    ];

    /// The process's exit code. The failures follow BSD's `sysexits.h` (69 unavailable, 70 software, 75 temporary);
    /// 130 is what a shell shows for a program that was interrupted.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Clean => 0,
            ExitStatus::StartFailure => 69,
            ExitStatus::WorkerFault => 70,
            ExitStatus::DrainTimedOut => 75,
            ExitStatus::Forced => 130,
        }
    }

    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ExitStatus::Clean => "clean",
            ExitStatus::DrainTimedOut => "drain_timed_out",
            ExitStatus::Forced => "forced",
            ExitStatus::StartFailure => "start_failure",
            ExitStatus::WorkerFault => "worker_fault",
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a host. Return it from `main`: it is the exit code.
///
/// As it becomes the exit code, a host that did not end clean has last words: where no `tracing` subscriber hears the log, the cause and
/// each worker that did not end well are written to the standard error.
#[derive(Debug, Clone)]
#[must_use = "the report is the verdict: return it from `main`, or ask `is_clean`"]
pub struct HostReport {
    /// The verdict.
    pub exit: ExitStatus,
    /// Why the host stopped.
    pub reason: StopReason,
    /// The root cause, when something failed: a start hook, a worker, or the host's own set-up.
    pub cause: Option<Cause>,
    /// From the first start hook to the end.
    pub ran: Duration,
    /// From the request to stop to the end.
    pub stopping: Duration,
    /// One for each worker, in the order in which they were added.
    pub workers: Vec<WorkerReport>,
}

impl HostReport {
    /// Whether everything in flight finished and nothing faulted.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.exit == ExitStatus::Clean
    }

    /// The report of the worker called `name`.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&WorkerReport> {
        self.workers.iter().find(|worker| &*worker.name == name)
    }
}

impl Termination for HostReport {
    fn report(self) -> ExitCode {
        if !self.is_clean() && nobody_hears_the_log() {
            // In one piece, and not by a macro that panics: who reads it may be gone, and the exit code has to stand.
            let words = LastWords(&self).to_string();
            let _ = io::stderr().write_all(words.as_bytes());
        }
        ExitCode::from(self.exit.code())
    }
}

/// Whether what is logged from here goes nowhere.
fn nobody_hears_the_log() -> bool {
    dispatcher::get_default(|subscriber| subscriber.is::<NoSubscriber>())
}

impl From<HostReport> for ExitCode {
    fn from(report: HostReport) -> Self {
        report.report()
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} after {:?}, stopped in {:?}", self.exit, self.ran, self.stopping)?;
        for worker in &self.workers {
            writeln!(f, "  {worker}")?;
        }
        Ok(())
    }
}

/// What is left to say of a host whose log nobody has heard: why it ended so, and who did not end well.
struct LastWords<'a>(&'a HostReport);

impl fmt::Display for LastWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostReport { exit, reason: _, cause, ran: _, stopping: _, workers } = self.0;
        match cause {
            Some(cause) => writeln!(f, "host ended with {exit}: {cause}")?,
            None => writeln!(f, "host ended with {exit}")?,
        }
        for worker in workers.iter().filter(|worker| !worker.is_well()) {
            writeln!(f, "  {worker}")?;
        }
        writeln!(f, "to see its log, install a tracing subscriber before it runs")
    }
}

/// What became of one worker.
#[derive(Debug, Clone)]
pub struct WorkerReport {
    /// Its name.
    pub name: Arc<str>,
    /// Its last phase; always a terminal one.
    pub phase: WorkerPhase,
    /// Why it failed, when it did: the root cause, not what followed.
    pub cause: Option<Cause>,
    /// What it was doing when the host gave up on it.
    pub abandoned: Option<WorkerPhase>,
    /// How many times it was restarted after a fault.
    pub restarts: u32,
    /// What its stop hook failed with, if it did.
    pub stop_failure: Option<Cause>,
    /// What its cycles came to.
    pub cycles: CycleCounts,
}

impl WorkerReport {
    /// Whether there is nothing to say of its end. One that never started for no reason of its own has come to no harm: the host's cause
    /// says why.
    fn is_well(&self) -> bool {
        let is_quiet = self.cause.is_none() && self.abandoned.is_none() && self.stop_failure.is_none();
        is_quiet && [WorkerPhase::Stopped, WorkerPhase::NeverStarted].contains(&self.phase)
    }
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.phase)?;
        if let Some(phase) = self.abandoned {
            write!(f, " (abandoned while {phase})")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, " ({cause})")?;
        }
        if let Some(cause) = &self.stop_failure {
            write!(f, " (stop hook: {cause})")?;
        }
        write!(f, ", {} cycles, {} failed", self.cycles.started, self.cycles.failed)
    }
}

/// How many cycles came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CycleCounts {
    /// Begun.
    pub started: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed, in any way but the three that follow.
    pub failed: u64,
    /// Stopped from outside.
    pub interrupted: u64,
    /// Put their input off.
    pub snoozed: u64,
    /// Found that their input need not be done any more.
    pub discarded: u64,
    /// Inputs to be tried again.
    pub retried: u64,
    /// Inputs moved aside or abandoned.
    pub dead_lettered: u64,
    /// Settlements that could not be stored, or whose answer was lost. Their deliveries come again, unless they were stored all the same.
    pub unsettled: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    fn worker(name: &str, phase: WorkerPhase) -> WorkerReport {
        WorkerReport {
            name: name.into(),
            phase,
            cause: None,
            abandoned: None,
            restarts: 0,
            stop_failure: None,
            cycles: CycleCounts::default(),
        }
    }

    fn cause(message: &str) -> Cause {
        Cause { kind: FailureKind::Fatal, message: message.into() }
    }

    fn host(exit: ExitStatus, cause: Option<Cause>, workers: Vec<WorkerReport>) -> HostReport {
        let (ran, stopping) = (Duration::from_secs(9), Duration::from_secs(1));
        HostReport { exit, reason: StopReason::Asked, cause, ran, stopping, workers }
    }

    #[test]
    fn the_last_words_of_a_host_that_never_began_are_its_cause() {
        let report = host(ExitStatus::StartFailure, Some(cause("two workers are called \"charge\"")), Vec::new());
        let expected = "host ended with start_failure: fatal: two workers are called \"charge\"\n\
                        to see its log, install a tracing subscriber before it runs\n";
        assert_eq!(LastWords(&report).to_string(), expected);
    }

    #[test]
    fn the_last_words_name_each_worker_that_did_not_end_well_and_no_other() {
        let mut workers = vec![
            worker("well", WorkerPhase::Stopped),
            worker("behind", WorkerPhase::NeverStarted),
            worker("cut-short", WorkerPhase::Aborted),
            worker("faulted", WorkerPhase::Failed),
            worker("left-open", WorkerPhase::Stopped),
            worker("hung", WorkerPhase::Aborted),
        ];
        workers[3].cause = Some(cause("no licence"));
        workers[4].stop_failure = Some(cause("the file is gone"));
        workers[5].abandoned = Some(WorkerPhase::Closing);
        let report = host(ExitStatus::DrainTimedOut, None, workers);
        let expected = "host ended with drain_timed_out\n  \
                        cut-short: aborted, 0 cycles, 0 failed\n  \
                        faulted: failed (fatal: no licence), 0 cycles, 0 failed\n  \
                        left-open: stopped (stop hook: fatal: the file is gone), 0 cycles, 0 failed\n  \
                        hung: aborted (abandoned while closing), 0 cycles, 0 failed\n\
                        to see its log, install a tracing subscriber before it runs\n";
        assert_eq!(LastWords(&report).to_string(), expected);
    }
}
