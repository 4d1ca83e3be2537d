//! Background workers on tokio that start cleanly, stop gracefully and recover safely.
//!
//! A *worker* is a source, a cycle and policies: the [`Source`] says when there is work, the [`Worker`]'s cycle does one piece of
//! it, and the policies say what follows from a failure. A [`Host`] owns workers: it starts them in order, supervises
//! them, and stops them within a budget.
//!
//! ```toml
//! [dependencies]
//! # There is no release yet: a checkout beside your program, or `git = "…"` with the address that you have it from.
//! shiftwork = { path = "../shiftwork/crates/shiftwork" }
//! tokio = { version = "1.54", features = ["macros", "rt-multi-thread"] }
//! tracing-subscriber = "0.3"
//! ```
//!
//! ```
//! use std::time::Duration;
//! use shiftwork::{Context, Failure, Host, HostReport, Schedule, Tick};
//!
//! async fn clean_up(tick: Tick, cx: Context) -> Result<(), Failure> {
//!     println!("{}: tick {}", cx.worker(), tick.number);
//!     Ok(())
//! }
//!
//! # fn main() -> HostReport {
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! Host::builder()
//!     .worker("clean-up", Schedule::every(Duration::from_secs(60)), clean_up)
//!     .cycle_timeout(Duration::from_secs(30))
//! # .run_until(tokio::time::sleep(Duration::from_secs(150)))
//! # .await })
//! # }
//! # async fn real() -> HostReport {
//! # Host::builder().worker("clean-up", Schedule::every(Duration::from_secs(60)), clean_up)
//!     .run_until_signal()
//!     .await // a report for each worker, and the exit code
//! # }
//! ```
//!
//! Of tokio a host needs a runtime of either flavour with time and I/O enabled, as `#[tokio::main]` makes it; `rt` is enough for one of one
//! thread. Features: `metrics`, on by default, counts every event through the `metrics` facade; `tower` has tower services and layers.
//! The crate is for every system with threads on which tokio runs, and is tested on Linux. SIGTERM, SIGINT and SIGQUIT are heard on Unix,
//! elsewhere Ctrl-C alone. Without a `tracing` subscriber nothing is seen of a host but the last words of one that did not end clean
//! ([`HostReport`]).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`worker`], [`failure`], [`context`] | what a user writes: a cycle, why it failed, what it knows |
//! | [`batch`] | a cycle over many inputs, with a verdict for each |
//! | [`service`] | what a long-running future beside the workers knows |
//! | [`source`] | what starts cycles: continuous, schedules, queues |
//! | [`retry`], [`lifecycle`] | the decisions, as pure functions, and the numbered rules that they keep |
//! | [`config`] | the same policies as a file sets them |
//! | [`host`], [`report`] | what owns, starts, supervises and stops workers, and its verdict |
//! | [`event`] | the one stream of everything that happens; logs, metrics and counts listen to it |
//! | `tower` | tower services as workers and layers around a cycle, with the feature of that name |
//! | [`environment`] | wall time, chance and signals, and what strikes cycles at their await points: the door that a simulator can own |

// A closed enum must be thought about again when it grows.
#![warn(clippy::wildcard_enum_match_arm)]

mod alarm;
mod await_point;
pub mod batch;
mod bell;
pub mod config;
pub mod context;
mod control;
mod cycle;
mod emitter;
pub mod environment;
pub mod event;
pub mod failure;
mod gate;
pub mod host;
mod in_flight;
mod lane;
pub mod lifecycle;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod pace;
mod panics;
pub mod report;
pub mod retry;
pub mod service;
pub mod source;
mod tally;
#[cfg(feature = "tower")]
pub mod tower;
pub mod worker;

pub use await_point::{AtAwait, AwaitPoint};
pub use batch::{Batch, BatchContext, BatchWorker};
pub use config::{Config, ConfigError};
pub use context::Context;
pub use environment::{Environment, Signal, Signals, System};
pub use event::{Event, Listener};
pub use failure::{BoxError, Cause, Escalation, Failure, FailureClass, FailureKind};
pub use host::{
    BuildError, ControlError, CycleInFlight, Health, Heard, Host, HostBuilder, HostHandle, ServiceBuilder,
    Subscription, WorkerBuilder, WorkerStatus,
};
pub use lifecycle::{
    Batches, Breaker, GiveUp, Group, OnFault, RateLimit, Restart, RestartStrategy, RetryBudget, Rule, StopBudget,
    Watchdog,
};
pub use report::{ExitStatus, HostReport};
pub use retry::Retry;
pub use service::ServiceContext;
pub use shiftwork_queue as queue;
pub use source::{
    Continuous, Missed, Overlap, QueueSource, QueueSourceExt, Schedule, ScheduleError, Source, Tick, TickPolicy,
};
pub use worker::{IntoWorker, Worker};
