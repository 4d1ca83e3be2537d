//! What owns workers: how a host is put together, and how it is run.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `host.rs` | the host as its user sees it |
//! | `host/builder.rs` | workers and their policies, checked before anything runs; `builder/worker.rs` for those of one worker |
//! | `host/configure.rs` | a configuration over what the code says |
//! | `host/handle.rs` | a handle to a host from outside |
//! | `host/health.rs` | whether it is well, in one word |
//! | `host/shell.rs` | the loop that waits for the next event, asks [`crate::lifecycle`], and acts |
//! | `host/unit.rs` | the life of one worker's tasks |
//! | `host/watch.rs` | the thread that watches it |
//! | `host/body.rs` | the same of a service, or a job |

mod body;
mod builder;
mod configure;
mod handle;
mod health;
mod shell;
mod unit;
mod watch;

use std::{future::Future, sync::Arc};

use tokio::sync::mpsc;

pub use builder::{BuildError, HostBuilder, OfCycles, OfService, ServiceBuilder, WorkerBuilder};
pub(crate) use builder::{LANES_MAX, Policy};
pub use handle::{ControlError, CycleInFlight, Heard, HostHandle, Subscription, WorkerStatus};
pub use health::Health;

use crate::{
    Config, Environment, HostReport, Listener,
    event::Declaration,
    lifecycle::{StopBudget, Watchdog, decide::WorkerPlan},
};

/// Owns workers: starts them in order, supervises them, and stops them within a budget.
pub struct Host {
    declarations: Arc<[Declaration]>,
    plans: Vec<WorkerPlan>,
    units: Vec<unit::Launch>,
    budget: StopBudget,
    watchdog: Watchdog,
    environment: Arc<dyn Environment>,
    listeners: Vec<Arc<dyn Listener>>,
    config: Config,
    control: Option<(HostHandle, mpsc::UnboundedReceiver<handle::Command>)>,
}

impl Host {
    /// Begins to put a host together.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// What is in force: every key of the host and its workers that a file could have set, as it is set. What is not there
    /// has no limit, or is none of the worker's: a worker without a restart policy has no `restart`.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A handle to stop the host from elsewhere, to pause, resume and trigger its workers, to read where it stands, and to
    /// hear its events. A host without services that nobody has a handle to pays nothing for it.
    pub fn handle(&mut self) -> HostHandle {
        let (handle, _) = self.control.get_or_insert_with(|| HostHandle::new(&self.declarations));
        handle.clone()
    }

    /// Runs until SIGTERM, SIGINT or SIGQUIT, until every worker has run to its end, or until one cannot go on.
    ///
    /// The first SIGTERM or SIGINT drains; a second signal, or SIGQUIT, interrupts what is in flight and returns it;
    /// the one after that leaves at once. Each says in the log what the next one will do. The process is then expected to end;
    /// see [`Watchdog`] for what is done if it does not.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until_signal(self) -> HostReport {
        match self.environment.signals() {
            Ok(signals) => shell::run(self, std::future::pending(), Some(signals)).await,
            Err(error) => {
                if let Some((handle, _)) = &self.control {
                    handle.board().cannot_begin();
                }
                shell::unable(&self.declarations, &format!("could not install the signal handlers: {error}"))
            }
        }
    }

    /// Runs until `stop` completes, until every worker has run to its end, or until one cannot go on. Signals are left alone.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> HostReport {
        shell::run(self, stop, None).await
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("workers", &self.declarations)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
