//! What events say in one word: what became of an input, which hook, which step of a stop, and why.

use std::time::Duration;

use shiftwork_queue::DeadLetterCause;

use super::WorkerId;
use crate::Signal;

/// What is done with an input after its cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// The work is done.
    Ack,
    /// The attempt counts; another one follows.
    Retry {
        /// After this long.
        delay: Duration,
    },
    /// No further attempt: a delivery is moved aside, a tick is abandoned.
    DeadLetter {
        /// Why.
        cause: DeadLetterCause,
        /// How long a source that cannot move its input aside waits before it offers the next one.
        pause: Duration,
    },
    /// The attempt does not count; the delivery is due again at once.
    Return,
    /// The attempt does not count; the input comes again.
    Snooze {
        /// After this long.
        delay: Duration,
    },
    /// The input need not be done: it is dropped.
    Discard,
}

impl Settle {
    /// The word for it in logs, metrics and files.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Settle::Ack => "ack",
            Settle::Retry { .. } => "retry",
            Settle::DeadLetter { .. } => "dead_letter",
            Settle::Return => "return",
            Settle::Snooze { .. } => "snooze",
            Settle::Discard => "discard",
        }
    }
}

/// A step of a stop at which cycles in flight are no longer waited for as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopStep {
    /// They are asked to end.
    Cancelled,
    /// They are dropped at their next await point.
    Aborted,
    /// They are left behind.
    Abandoned,
}

impl StopStep {
    /// The word for it in logs and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StopStep::Cancelled => "cancelled",
            StopStep::Aborted => "aborted",
            StopStep::Abandoned => "abandoned",
        }
    }
}

/// A hook of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Its start hook, or what a service with a handshake does before it is ready.
    Start,
    /// Its stop hook.
    Stop,
}

impl Hook {
    /// The word for it in logs and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Start => "start",
            Hook::Stop => "stop",
        }
    }
}

/// What a cycle in flight does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doing {
    /// It waits at an await point.
    Waiting,
    /// Its code runs on a thread.
    Running,
    /// It has ended, and what follows from it is being done.
    Settling,
}

impl Doing {
    /// The word for it in logs and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Doing::Waiting => "waiting",
            Doing::Running => "running",
            Doing::Settling => "settling",
        }
    }
}

/// Why a host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A signal asked for it.
    Signal(Signal),
    /// The program asked for it.
    Asked,
    /// A worker did not start.
    StartFailure(WorkerId),
    /// A worker cannot go on.
    WorkerFault(WorkerId),
    /// Every worker has run to its end.
    Completed,
    /// It never began: it was put together wrongly, or its signal handlers were refused.
    Unable,
}

/// What the next signal would do. Each signal says so, so that nobody has to guess with a finger on Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextSignal {
    /// Interrupt what is in flight and return it.
    Abort,
    /// Leave at once, without waiting for anything.
    Leave,
}
