//! A configuration over what the code says, and what is in force in the end, as a configuration.
//!
//! Sections and policies are taken apart field by field, so that neither can grow without the other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{LANES_MAX, Policy, builder::Registration};
use crate::{
    Group, OnFault, Restart, StopBudget, Watchdog,
    config::{
        BreakerConfig, Config, ConfigError, FaultWord, HostConfig, RestartConfig, RetryConfig, WorkerConfig,
        form::written, section::Section,
    },
};

/// What of a host a file may change.
pub(super) struct Settings<'a> {
    pub(super) budget: &'a mut StopBudget,
    pub(super) watchdog: &'a mut Watchdog,
    pub(super) groups: &'a mut [(Arc<str>, Group)],
    pub(super) workers: &'a mut [Registration],
}

/// Lays each configuration over what is there, and looks at the whole.
pub(super) fn apply(configs: &[Config], settings: Settings<'_>) -> Result<(), ConfigError> {
    let Settings { budget, watchdog, groups, workers } = settings;
    let mut results = Vec::new();
    for Config { host, worker, group } in configs {
        let HostConfig { stop, watchdog: watched } = host;
        *budget = stop.over(*budget);
        *watchdog = watched.over(*watchdog);
        for (name, section) in worker {
            let configured = match workers.iter_mut().find(|it| *it.name == **name) {
                Some(it) => {
                    let of_group = refuse_of_group(it.group.as_deref(), section);
                    let mut section = section.clone();
                    if it.group.is_some() {
                        (section.on_fault, section.restart) = (None, RestartConfig::default());
                    }
                    ConfigError::all([of_group, it.policy.configure(&section), it.draft.configure(&section)])
                }
                None => Err(no_such("worker", workers.iter().map(|it| &*it.name))),
            };
            results.push(configured.map_err(|error| error.of_worker(name)));
        }
        for (name, section) in group {
            match groups.iter_mut().find(|(known, _)| **known == **name) {
                Some((_, policy)) => *policy = section.over(*policy),
                None => {
                    let error = no_such("group", groups.iter().map(|(known, _)| &**known));
                    results.push(Err(error.of_group(name)));
                }
            }
        }
    }
    // What a section said wrongly is told first: it may be what does not fit.
    ConfigError::all(results)?;
    let checked = workers.iter_mut().map(|it| {
        let lanes_max = it.draft.lanes_max();
        // Each input of a batch has a lane.
        let size = it.policy.batch.map_or(1, |batches| batches.size());
        let at_a_time = (lanes_max / size).max(1);
        it.policy.concurrency = it.policy.concurrency.min(at_a_time);
        let sections = configs.iter().filter_map(|config| config.worker.get(&*it.name));
        // The last one that says it is in force.
        let asked = sections.filter_map(|section| section.concurrency).next_back().filter(|asked| *asked > at_a_time);
        let side_by_side = match asked {
            None => Ok(()),
            Some(asked) => Err(ConfigError::new(
                "concurrency",
                format!("it is {asked}, but what starts the cycles of this worker starts {at_a_time} at a time"),
            )),
        };
        let in_batch = if size > lanes_max {
            let why = format!("it is {size}, but what starts the cycles of this worker has {lanes_max} lanes");
            Err(ConfigError::new("batch.size", why))
        } else {
            Ok(())
        };
        let checked = ConfigError::all([side_by_side, in_batch, it.policy.check(), it.draft.check()]);
        checked.map_err(|error| error.of_worker(&it.name))
    });
    let checked: Vec<_> = checked.collect();
    let groups = groups.iter().map(|(name, group)| {
        let restart = RestartConfig::from(group.restarts());
        no_longer("restart.initial", restart.initial, "restart.max", restart.max).map_err(|error| error.of_group(name))
    });
    ConfigError::all(checked.into_iter().chain(groups))
}

/// The first of these times is no longer than the second.
fn no_longer(key: &str, time: Option<Duration>, limit_key: &str, limit: Option<Duration>) -> Result<(), ConfigError> {
    match (time, limit) {
        (Some(time), Some(limit)) if time > limit => {
            let (time, limit) = (written(time), written(limit));
            Err(ConfigError::new(key, format!("it is {time}, longer than {limit_key}, which is {limit}")))
        }
        _ => Ok(()),
    }
}

fn no_such<'a>(what: &str, known: impl Iterator<Item = &'a str>) -> ConfigError {
    let names: Vec<&str> = known.collect();
    if names.is_empty() {
        return ConfigError::new("", format!("there is no {what} of this name, and no other one"));
    }
    ConfigError::new("", format!("there is no {what} of this name; there are {names:?}"))
}

/// What a fault of a member leads to is its group's affair.
fn refuse_of_group(group: Option<&str>, section: &WorkerConfig) -> Result<(), ConfigError> {
    let Some(group) = group else { return Ok(()) };
    let refuse = |key: &str, is_set: bool| {
        let why = || format!("it is restarted with the group {group:?}: accepted is the group's own restart");
        if is_set { Err(ConfigError::new(key, why())) } else { Ok(()) }
    };
    ConfigError::all([
        refuse("on_fault", section.on_fault.is_some()),
        refuse("restart", section.on_fault.is_none() && !section.restart.is_empty()),
    ])
}

/// Everything as it is set.
pub(super) fn in_force(
    budget: StopBudget,
    watchdog: Watchdog,
    groups: &[(Arc<str>, Group)],
    workers: &[Registration],
) -> Config {
    let section = |it: &Registration| {
        let mut section = it.policy.as_config();
        it.draft.describe(&mut section);
        if it.group.is_some() {
            (section.on_fault, section.restart) = (None, RestartConfig::default());
        }
        (it.name.to_string(), section)
    };
    Config {
        host: HostConfig { stop: budget.into(), watchdog: watchdog.into() },
        worker: workers.iter().map(section).collect::<BTreeMap<_, _>>(),
        group: groups.iter().map(|(name, group)| (name.to_string(), (*group).into())).collect::<BTreeMap<_, _>>(),
    }
}

impl Policy {
    /// Whether what it is set to, by the code or a file, fits together.
    fn check(&self) -> Result<(), ConfigError> {
        let RetryConfig { initial, max, .. } = self.retry.into();
        let BreakerConfig { probe_every, probe_max, .. } = self.breaker.map(Into::into).unwrap_or_default();
        let restart = match self.on_fault {
            OnFault::Restart(restart) => restart.into(),
            OnFault::StopHost | OnFault::Degrade => RestartConfig::default(),
        };
        let lanes = self.lanes();
        let side_by_side = if lanes > LANES_MAX {
            let batch = if self.batch.is_some() { ", each of batch.size" } else { "" };
            let why = format!("so many cycles{batch} would be {lanes} inputs at a time; accepted are {LANES_MAX}");
            Err(ConfigError::new("concurrency", why))
        } else {
            Ok(())
        };
        ConfigError::all([
            side_by_side,
            no_longer("retry.initial", initial, "retry.max", max),
            no_longer("breaker.probe_every", probe_every, "breaker.probe_max", probe_max),
            no_longer("restart.initial", restart.initial, "restart.max", restart.max),
        ])
    }

    /// Lays a section over it. The source's part of the section is the source's.
    fn configure(&mut self, section: &WorkerConfig) -> Result<(), ConfigError> {
        let WorkerConfig {
            concurrency,
            batch,
            cycle_timeout,
            progress_timeout,
            start_timeout,
            drain,
            crashes_max,
            on_fault,
            restart,
            retry,
            breaker,
            rate_limit,
            retry_budget,
            schedule: _,
            queue: _,
        } = section;
        self.concurrency = concurrency.unwrap_or(self.concurrency).max(1);
        let batched = match &mut self.batch {
            Some(batches) => {
                *batches = batch.over(*batches);
                Ok(())
            }
            None if batch.is_empty() => Ok(()),
            None => Err(ConfigError::new("batch", "the cycles of this worker take one input each")),
        };
        self.cycle_timeout = cycle_timeout.unwrap_or(self.cycle_timeout);
        self.progress_timeout = progress_timeout.unwrap_or(self.progress_timeout);
        self.start_timeout = start_timeout.unwrap_or(self.start_timeout);
        self.drain = drain.unwrap_or(self.drain);
        self.crashes_max = crashes_max.unwrap_or(self.crashes_max).max(1);
        self.retry = retry.over(self.retry);
        self.breaker = match breaker {
            None => self.breaker,
            Some(None) => None,
            Some(Some(section)) => Some(section.over(self.breaker.unwrap_or_default())),
        };
        self.rate_limit = match rate_limit {
            None => self.rate_limit,
            Some(None) => None,
            Some(Some(section)) => Some(section.over(self.rate_limit.unwrap_or_default())),
        };
        self.retry_budget = match retry_budget {
            None => self.retry_budget,
            Some(None) => None,
            Some(Some(section)) => Some(section.over(self.retry_budget.unwrap_or_default())),
        };
        let reacts = react(self.on_fault, *on_fault, restart).map(|reaction| self.on_fault = reaction);
        ConfigError::all([batched, reacts])
    }

    /// It as a section that says everything.
    fn as_config(&self) -> WorkerConfig {
        let Self {
            concurrency,
            batch,
            retry,
            breaker,
            rate_limit,
            retry_budget,
            cycle_timeout,
            progress_timeout,
            start_timeout,
            drain,
            crashes_max,
            on_fault,
            // Code is not written in a file.
            classify: _,
            on_escalation: _,
            handshake: _,
        } = self;
        let (on_fault, restart) = match *on_fault {
            OnFault::StopHost => (FaultWord::StopHost, RestartConfig::default()),
            OnFault::Degrade => (FaultWord::Degrade, RestartConfig::default()),
            OnFault::Restart(restart) => (FaultWord::Restart, restart.into()),
        };
        WorkerConfig {
            concurrency: Some(*concurrency),
            batch: batch.map(Into::into).unwrap_or_default(),
            cycle_timeout: Some(*cycle_timeout),
            progress_timeout: Some(*progress_timeout),
            start_timeout: Some(*start_timeout),
            drain: Some(*drain),
            crashes_max: Some(*crashes_max),
            on_fault: Some(on_fault),
            restart,
            retry: (*retry).into(),
            breaker: Some(breaker.map(Into::into)),
            rate_limit: Some(rate_limit.map(Into::into)),
            retry_budget: Some(retry_budget.map(Into::into)),
            // The source adds its own.
            ..WorkerConfig::default()
        }
    }
}

/// What a fault leads to, as the section says.
fn react(base: OnFault, word: Option<FaultWord>, restart: &RestartConfig) -> Result<OnFault, ConfigError> {
    let said = match (word, base) {
        (None, base) => base,
        (Some(FaultWord::StopHost), _) => OnFault::StopHost,
        (Some(FaultWord::Degrade), _) => OnFault::Degrade,
        (Some(FaultWord::Restart), OnFault::Restart(restart)) => OnFault::Restart(restart),
        (Some(FaultWord::Restart), OnFault::StopHost | OnFault::Degrade) => OnFault::Restart(Restart::default()),
    };
    match said {
        OnFault::Restart(base) => Ok(OnFault::Restart(restart.over(base))),
        OnFault::StopHost | OnFault::Degrade if restart.is_empty() => Ok(said),
        OnFault::StopHost | OnFault::Degrade => Err(ConfigError::new(
            "restart",
            "on_fault does not restart this worker; accepted with this section is on_fault = \"restart\"",
        )),
    }
}
