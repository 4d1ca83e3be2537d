//! The settings of a host and its workers as they are written in a file: what there is to write, how it is read, and what
//! is said about mistakes.
//!
//! The code sets each policy, and a file changes it: [`Config`] is handed to [`HostBuilder::config`], and what it leaves out
//! stays as the code says. What a policy means is said where the policy is; this module only knows how it is written.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `config.rs` | the whole file, the sections of a host and of a worker |
//! | `config/section.rs` | how a section is declared, read and written; where a key stands |
//! | `config/form.rs` | what a value may look like: counts, times, words, tables |
//! | `config/error.rs` | what is wrong with a configuration |
//!
//! The section of a policy stands beside the policy. A key is one line there, one in the function that lays the section
//! over a policy, and one in the function that writes it; all three take their struct apart field by field, so that a key
//! that is not wired does not compile.
//!
//! [`HostBuilder::config`]: crate::HostBuilder::config

mod error;
pub(crate) mod form;
pub(crate) mod section;

use std::{collections::BTreeMap, time::Duration};

pub use error::ConfigError;
use form::{Count, Named, OrNone, Table, TableOrNone, Time, Words};
use section::{Place, Section, section};

use crate::host::LANES_MAX;

pub use crate::{
    lifecycle::{
        BatchesConfig, BreakerConfig, GroupConfig, ProcessWord, RateLimitConfig, RestartConfig, RetryBudgetConfig,
        StopConfig, WatchdogConfig,
    },
    retry::RetryConfig,
    source::{MissedWord, QueueConfig, ScheduleConfig},
};

section! {
    /// What a file says about a host and its workers.
    ///
    /// It is read and written through serde, from and to any format that says what its values are, as TOML, JSON and
    /// YAML do. Times have their unit, as in `"30s"`, `"1m 30s"` or `"500ms"`; a number without one is refused. So is a key
    /// that does not exist, or a value out of its range, with an error that names the key by its whole path and says what
    /// is accepted. [`Config::keys`] lists all keys. A limit that the code sets is taken away with `"none"`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use shiftwork::{Config, Context, Failure, Host, Schedule, Tick};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// async fn clean_up(_: Tick, _: Context) -> Result<(), Failure> {
    ///     Ok(())
    /// }
    ///
    /// let config: Config = toml::from_str(r#"
    ///     [host.stop]
    ///     drain = "40s"
    ///
    ///     [worker.clean-up]
    ///     cycle_timeout = "10m"
    ///     retry = { attempts_max = 2 }
    ///     schedule = { cron = "0 3 * * *", zone = "Europe/Vienna" }
    /// "#)?;
    /// let host = Host::builder()
    ///     .worker("clean-up", Schedule::every(Duration::from_secs(3600)), clean_up)
    ///     .config(config)
    ///     .build()?;
    /// assert_eq!(host.config().worker["clean-up"].schedule.zone.as_deref(), Some("Europe/Vienna"));
    ///
    /// let mistake = toml::from_str::<Config>("[worker.clean-up]\ncycle_timeout = 600").unwrap_err();
    /// assert!(mistake.message().starts_with("worker.clean-up.cycle_timeout is 600; accepted is a time"));
    /// # Ok(())
    /// # }
    /// ```
    pub struct Config {
        /// The host.
        pub host: HostConfig = Table::NEW,
        /// Each worker, by its name. A name that no worker has is an error when the host is built.
        pub worker: BTreeMap<String, WorkerConfig> = Named::NEW,
        /// Each group of workers, by its name; likewise.
        pub group: BTreeMap<String, GroupConfig> = Named::NEW,
    }
}

section! {
    /// What a file says about the host.
    pub struct HostConfig {
        /// How long a stop may take, part by part.
        pub stop: StopConfig = Table::NEW,
        /// What is done about blocked threads, and about a process that does not end.
        pub watchdog: WatchdogConfig = Table::NEW,
    }
}

section! {
    /// What a file says about one worker.
    pub struct WorkerConfig {
        /// How many cycles run side by side at most.
        pub concurrency: Option<usize> = Count::between(1, LANES_MAX as u64),
        /// How many inputs one cycle takes, where it is a batch worker.
        pub batch: BatchesConfig = Table::NEW,
        /// How long one cycle may run.
        pub cycle_timeout: Option<Option<Duration>> = OrNone(Time::from_millis(1)),
        /// How long a cycle may go without a sign of progress.
        pub progress_timeout: Option<Option<Duration>> = OrNone(Time::from_millis(1)),
        /// How long the start hook may take.
        pub start_timeout: Option<Duration> = Time::from_millis(1),
        /// How long its cycles may drain, within the host's time to drain; all of that without a limit of its own.
        pub drain: Option<Option<Duration>> = OrNone(Time::from_millis(0)),
        /// How many lapsed leases make a delivery a crash loop.
        pub crashes_max: Option<u32> = Count::from(1),
        /// What the host does when the worker cannot go on.
        pub on_fault: Option<FaultWord> = Words(&FaultWord::ALL),
        /// How it is restarted, where `on_fault` is `restart`.
        pub restart: RestartConfig = Table::NEW,
        /// How failed attempts are tried again.
        pub retry: RetryConfig = Table::NEW,
        /// After how many failures in a row intake pauses, and how it resumes.
        pub breaker: Option<Option<BreakerConfig>> = TableOrNone::NEW,
        /// How often its cycles may begin.
        pub rate_limit: Option<Option<RateLimitConfig>> = TableOrNone::NEW,
        /// How many retries it makes at most.
        pub retry_budget: Option<Option<RetryBudgetConfig>> = TableOrNone::NEW,
        /// When its ticks are due, where its source is a schedule.
        pub schedule: ScheduleConfig = Table::NEW,
        /// How deliveries are claimed, where its source is a queue.
        pub queue: QueueConfig = Table::NEW,
    }
}

/// [`OnFault`](crate::OnFault), without the details of a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultWord {
    /// Every worker is stopped.
    StopHost,
    /// The others go on without it.
    Degrade,
    /// It is started again.
    Restart,
}

impl FaultWord {
    const ALL: [(&str, FaultWord); 3] =
        [("stop_host", FaultWord::StopHost), ("degrade", FaultWord::Degrade), ("restart", FaultWord::Restart)];
}

/// A key that a file may have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// Its path, as in `worker.NAME.retry.attempts_max`.
    pub path: String,
    /// What may be written, as in ``a whole number from 1 to 4294967295``.
    pub accepts: String,
}

impl Config {
    /// Every key that there is, in the order in which [`Config`] has them.
    #[must_use]
    pub fn keys() -> Vec<Key> {
        let mut keys = Vec::new();
        Self::list(Place::ROOT, &mut keys);
        keys
    }
}

impl WorkerConfig {
    /// For a source that is no schedule.
    pub(crate) fn refuse_schedule(&self) -> Result<(), ConfigError> {
        refuse(&self.schedule, "schedule")
    }

    /// For a source that is no queue.
    pub(crate) fn refuse_queue(&self) -> Result<(), ConfigError> {
        refuse(&self.queue, "queue")
    }

    /// For a source whose inputs are no deliveries.
    pub(crate) fn refuse_what_is_of_deliveries(&self) -> Result<(), ConfigError> {
        let crashes = match self.crashes_max {
            None => Ok(()),
            Some(_) => Err(ConfigError::new("crashes_max", "only deliveries of a queue have leases that lapse")),
        };
        ConfigError::all([self.refuse_queue(), crashes])
    }
}

impl WorkerConfig {
    /// For a service or a job, which has no cycles: each key that means nothing to it.
    pub(crate) fn refuse_what_is_of_cycles(&self) -> Result<(), ConfigError> {
        let mut rest = self.clone();
        rest.leave_out_what_is_of_cycles();
        let of_cycles = self.set_keys().into_iter().filter(|key| !rest.set_keys().contains(key));
        ConfigError::all(
            of_cycles.map(|key| Err(ConfigError::new(key, "it is a service or a job, which has no cycles"))),
        )
    }

    pub(crate) fn leave_out_what_is_of_cycles(&mut self) {
        let Self {
            concurrency,
            batch,
            cycle_timeout,
            progress_timeout,
            start_timeout: _,
            drain: _,
            crashes_max,
            on_fault: _,
            restart: _,
            retry,
            breaker,
            rate_limit,
            retry_budget,
            schedule,
            queue,
        } = self;
        (*concurrency, *cycle_timeout, *progress_timeout) = (None, None, None);
        (*crashes_max, *breaker, *rate_limit, *retry_budget) = (None, None, None, None);
        (*batch, *retry, *schedule, *queue) = Default::default();
    }
}

fn refuse(section: &impl Section, name: &str) -> Result<(), ConfigError> {
    if section.is_empty() {
        return Ok(());
    }
    Err(ConfigError::new(name, format!("what starts the cycles of this worker is no {name}")))
}

#[cfg(test)]
mod tests;
