//! What a host says when it has stopped: a verdict for each worker, and an exit code that cannot lie.

use std::{
    fmt,
    process::{ExitCode, Termination},
    sync::Arc,
    time::Duration,
};

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
        ExitCode::from(self.exit.code())
    }
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

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.phase)?;
        if let Some(phase) = self.abandoned {
            write!(f, " (abandoned while {phase})")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, " ({cause})")?;
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
