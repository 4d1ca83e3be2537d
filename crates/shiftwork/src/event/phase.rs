//! Where a worker stands.

use std::fmt;

/// Where a worker stands. `docs/lifecycle.md` has the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerPhase {
    /// Waits for the workers that it comes after.
    Pending,
    /// Its start hook runs.
    Starting,
    /// Started; waits until the whole host is.
    Ready,
    /// Takes in work.
    Running,
    /// Faulted, and waits to be started again.
    Restarting,
    /// Takes in no more; what is in flight may finish.
    Draining,
    /// What is in flight was asked to stop.
    Cancelling,
    /// What is in flight is dropped and returned.
    Aborting,
    /// Its stop hook runs.
    Closing,
    /// Ended well.
    Stopped,
    /// Ended by a fault.
    Failed,
    /// Ended with work that had to be interrupted.
    Aborted,
    /// Ended before its body ever ran.
    NeverStarted,
}

impl WorkerPhase {
    /// Every phase, in order.
    pub const ALL: [WorkerPhase; 13] = [
        WorkerPhase::Pending,
        WorkerPhase::Starting,
        WorkerPhase::Ready,
        WorkerPhase::Running,
        WorkerPhase::Restarting,
        WorkerPhase::Draining,
        WorkerPhase::Cancelling,
        WorkerPhase::Aborting,
        WorkerPhase::Closing,
        WorkerPhase::Stopped,
        WorkerPhase::Failed,
        WorkerPhase::Aborted,
        WorkerPhase::NeverStarted,
    ];

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            WorkerPhase::Stopped | WorkerPhase::Failed | WorkerPhase::Aborted | WorkerPhase::NeverStarted => true,
            WorkerPhase::Pending
            | WorkerPhase::Starting
            | WorkerPhase::Ready
            | WorkerPhase::Running
            | WorkerPhase::Restarting
            | WorkerPhase::Draining
            | WorkerPhase::Cancelling
            | WorkerPhase::Aborting
            | WorkerPhase::Closing => false,
        }
    }

    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerPhase::Pending => "pending",
            WorkerPhase::Starting => "starting",
            WorkerPhase::Ready => "ready",
            WorkerPhase::Running => "running",
            WorkerPhase::Restarting => "restarting",
            WorkerPhase::Draining => "draining",
            WorkerPhase::Cancelling => "cancelling",
            WorkerPhase::Aborting => "aborting",
            WorkerPhase::Closing => "closing",
            WorkerPhase::Stopped => "stopped",
            WorkerPhase::Failed => "failed",
            WorkerPhase::Aborted => "aborted",
            WorkerPhase::NeverStarted => "never_started",
        }
    }
}

impl fmt::Display for WorkerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
