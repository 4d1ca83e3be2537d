//! Workers that do not use the runtime: any future that takes a stop signal.
//!
//! A foreign worker runs in a node of its own, under the same faults as any other: crashes, signals, faulty dependencies and
//! queues. Nothing is known of what it does, so the rules that hold are those that can be seen from outside of its process: it
//! ends within its budget after its first signal (T3), it leaves no task behind (T6), it recovers once faults heal (L1), it has
//! no hot loop (L2); what it pushes to a queue of the world is not lost (Q3), and only a current claim settles (Q2). The
//! scenario's own invariants say the rest.
//!
//! **Signals go the way the program takes them.** One that comes before the program has asked for signals
//! ([`Process::signals`]) kills it, as the default action of the real ones does; from then on none does. When the
//! program's future returns, the process exits and what it had spawned is dropped where it stands.

use std::{fmt, future::Future, io, sync::Arc, time::Duration};

use shiftwork::{
    Cause, Environment, ExitStatus, Failure, HostReport, Signal, Signals, event::StopReason, queue::Timestamp,
};
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{Node, What};

/// How long after its first signal a foreign worker may take to end, unless it says otherwise: 25 s, the budget of a host,
/// which fits into the half a minute that Kubernetes gives.
pub const BUDGET: Duration = Duration::from_secs(25);

/// One life of a foreign worker's process, as its program sees it. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    node: Node,
    /// Kept for as long as the process lives: a handler that was installed is not removed again.
    signals: Arc<std::sync::OnceLock<Arc<Mutex<Signals>>>>,
}

impl Process {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, signals: Arc::default() }
    }

    /// Installs handlers for SIGTERM, SIGINT and SIGQUIT. Until this was called, a signal kills the process.
    ///
    /// # Errors
    ///
    /// Never in a world; the real one may be refused by the operating system.
    pub fn signals(&self) -> io::Result<ProcessSignals> {
        if self.signals.get().is_none() {
            let signals = self.node.signals()?;
            let _first = self.signals.set(Arc::new(Mutex::new(signals)));
        }
        match self.signals.get() {
            Some(signals) => Ok(ProcessSignals { signals: signals.clone() }),
            None => Err(io::Error::other("the handlers of the process are gone")),
        }
    }

    /// Wall time in the world, for what stores times.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.node.now()
    }

    /// A seed of this life's own, for what draws lots.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.node.seed()
    }

    /// Which life this is, from 1.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.node.boot()
    }

    /// Spawns a task, like `tokio::spawn`, whose turns are part of the order that a world explores in every build:
    /// [`Node::spawn`](crate::Node::spawn).
    ///
    /// # Panics
    ///
    /// Outside of a runtime, as `tokio::spawn` does.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.node.spawn(future)
    }

    pub(crate) fn record(&self, what: What) {
        self.node.record(what);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("boot", &self.boot()).finish_non_exhaustive()
    }
}

/// The signals of a process. Handles share them: each signal is received once, by whoever waits first.
#[derive(Debug, Clone)]
pub struct ProcessSignals {
    signals: Arc<Mutex<Signals>>,
}

impl ProcessSignals {
    /// The next signal.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn next(&self) -> Signal {
        self.signals.lock().await.next().await
    }
}

/// What a foreign worker's program returns.
pub trait Verdict {
    /// How its process ends.
    fn exit(self) -> (ExitStatus, Option<Cause>);
}

impl Verdict for () {
    fn exit(self) -> (ExitStatus, Option<Cause>) {
        (ExitStatus::Clean, None)
    }
}

impl Verdict for ExitStatus {
    fn exit(self) -> (ExitStatus, Option<Cause>) {
        (self, None)
    }
}

impl<T, E: fmt::Display> Verdict for Result<T, E> {
    fn exit(self) -> (ExitStatus, Option<Cause>) {
        match self {
            Ok(_) => (ExitStatus::Clean, None),
            Err(error) => (ExitStatus::WorkerFault, Some(Failure::fatal(error.to_string()).cause())),
        }
    }
}

/// What the world hears of a program that has returned.
pub(crate) fn report(verdict: impl Verdict, ran: Duration) -> HostReport {
    let (exit, cause) = verdict.exit();
    HostReport { exit, reason: StopReason::Completed, cause, ran, stopping: Duration::ZERO, workers: Vec::new() }
}
