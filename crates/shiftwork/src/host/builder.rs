//! Workers and their policies, checked before anything runs.

use std::{fmt, future::Future, sync::Arc};

use super::{Host, body, configure, shell, unit};
use crate::{
    BatchWorker, Batches, Breaker, Config, Environment, Failure, HostReport, IntoWorker, Listener, Retry,
    ServiceContext, Source, System,
    event::{Declaration, Membership, SourceKind, WorkerId},
    lifecycle::{
        Group, OnFault, StopBudget, Watchdog,
        decide::{Member, WorkerPlan},
    },
    source::BatchLane,
};

mod error;
mod policy;
mod worker;

pub use error::BuildError;
use error::Problem;
pub(crate) use policy::{LANES_MAX, Policy};
pub use worker::{OfCycles, OfService, ServiceBuilder, WorkerBuilder};

pub(super) struct Registration {
    pub(super) name: Arc<str>,
    pub(super) group: Option<String>,
    after: Vec<String>,
    pub(super) policy: Policy,
    pub(super) draft: Box<dyn unit::Draft>,
}

/// Puts a host together.
pub struct HostBuilder {
    registrations: Vec<Registration>,
    groups: Vec<(Arc<str>, Group)>,
    budget: StopBudget,
    watchdog: Watchdog,
    environment: Arc<dyn Environment>,
    listeners: Vec<Arc<dyn Listener>>,
    configs: Vec<Config>,
}

impl HostBuilder {
    pub(super) fn new() -> Self {
        Self {
            registrations: Vec::new(),
            groups: Vec::new(),
            budget: StopBudget::default(),
            watchdog: Watchdog::default(),
            environment: Arc::new(System),
            listeners: Vec::new(),
            configs: Vec::new(),
        }
    }

    /// Lays what a file says over what the code says, wherever in the chain this stands. Of several, each is laid over
    /// the ones before it. What is wrong with it is an error of [`HostBuilder::build`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.configs.push(config);
        self
    }

    /// How long a stop may take, part by part. 25 s in all by default; see [`StopBudget`].
    #[must_use]
    pub fn stop_budget(mut self, budget: StopBudget) -> Self {
        self.budget = budget;
        self
    }

    /// What is done about cycles that block their thread, and about a process that does not end; see [`Watchdog`] for the
    /// default.
    #[must_use]
    pub fn watchdog(mut self, watchdog: Watchdog) -> Self {
        self.watchdog = watchdog;
        self
    }

    /// Declares a group of workers that are restarted together; see [`Group`]. Its members say so themselves, with
    /// [`WorkerBuilder::in_group`].
    #[must_use]
    pub fn group(mut self, name: &str, group: Group) -> Self {
        self.groups.push((name.into(), group));
        self
    }

    /// Where wall time, chance and signals come from; the operating system by default.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Adds a listener to every event of the host.
    #[must_use]
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Adds a worker. What follows in the chain sets its policies, up to the next worker.
    pub fn worker<S, W, Kind>(mut self, name: &str, source: S, worker: W) -> WorkerBuilder
    where
        S: Source,
        W: IntoWorker<S::Input, Kind>,
    {
        self.of_cycles(name, None, unit::Parts::singly(source, worker.into_worker()));
        WorkerBuilder::of(self)
    }

    /// Adds a worker whose cycle takes many inputs at a time; see [`BatchWorker`]. Its concurrency is that of its batches.
    pub fn batch_worker<S, W>(mut self, name: &str, source: S, batches: Batches, worker: W) -> WorkerBuilder
    where
        S: Source<Lane: BatchLane>,
        W: BatchWorker<Input = S::Input>,
    {
        self.of_cycles(name, Some(batches), unit::Parts::in_batches(source, worker));
        WorkerBuilder::of(self)
    }

    fn of_cycles(&mut self, name: &str, batch: Option<Batches>, draft: impl unit::Draft + 'static) {
        // Only a queue has something to burn, and a backlog to burn it with.
        let breaker = (draft.kind() == SourceKind::Queue).then(Breaker::default);
        self.registrations.push(Registration {
            name: name.into(),
            group: None,
            after: Vec::new(),
            policy: Policy { batch, breaker, ..Policy::default() },
            draft: Box::new(draft),
        });
    }

    /// Adds a service: one future that runs for as long as the host does. It begins when the host runs, is asked to stop
    /// through [`ServiceContext::stopped`], and has the same budget for that as a worker's cycles. Once it is asked to, it
    /// ends well by returning `Ok`. If it returns unasked, fails or panics, that is a fault ([`OnFault`]). It is a function
    /// because it is called again when the service is restarted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use shiftwork::{Failure, Host, ServiceContext};
    ///
    /// async fn serve(cx: ServiceContext) -> Result<(), Failure> {
    ///     // An HTTP server would get `cx.stopped()` as its graceful shutdown.
    ///     cx.stopped().await;
    ///     Ok(())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let report = Host::builder().service("http", serve).run_until(tokio::time::sleep(Duration::from_millis(1))).await;
    /// assert!(report.is_clean());
    /// # });
    /// ```
    pub fn service<F, Fut>(self, name: &str, service: F) -> ServiceBuilder
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.body(name, false, service)
    }

    /// Adds a job: as [`HostBuilder::service`], but one that runs to completion. Returning `Ok` is its end, and a host
    /// whose workers have all come to their end has too. What it fails with is a fault, so that a job that did not do its
    /// work never exits 0; [`OnFault::Restart`] runs it again from its beginning, and so does the restart of its group while it runs.
    pub fn job<F, Fut>(self, name: &str, job: F) -> ServiceBuilder
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.body(name, true, job)
    }

    fn body<F, Fut>(mut self, name: &str, completes: bool, body: F) -> ServiceBuilder
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.registrations.push(Registration {
            name: name.into(),
            group: None,
            after: Vec::new(),
            policy: Policy { retry: Retry::never(), cycle_timeout: None, ..Policy::default() },
            draft: Box::new(body::Parts { body, completes }),
        });
        WorkerBuilder::of(self)
    }

    /// Checks the whole and makes it a host.
    ///
    /// # Errors
    ///
    /// When two workers or two groups have the same name, a worker is in a group that does not exist, a worker comes after
    /// one that does not exist or, by a circle, after itself, or a configuration does not fit the workers.
    pub fn build(mut self) -> Result<Host, BuildError> {
        let names: Vec<Arc<str>> = self.registrations.iter().map(|it| it.name.clone()).collect();
        let id = |index: usize| WorkerId(u32::try_from(index).unwrap_or(u32::MAX));
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(BuildError(Problem::Duplicate(name.clone())));
            }
        }
        let settings = configure::Settings {
            budget: &mut self.budget,
            watchdog: &mut self.watchdog,
            groups: &mut self.groups,
            workers: &mut self.registrations,
        };
        configure::apply(&self.configs, settings).map_err(|error| BuildError(Problem::Config(error)))?;
        let config = configure::in_force(self.budget, self.watchdog, &self.groups, &self.registrations);
        for (index, (name, _)) in self.groups.iter().enumerate() {
            if self.groups[..index].iter().any(|(other, _)| other == name) {
                return Err(BuildError(Problem::DuplicateGroup(name.clone())));
            }
        }
        let mut plans = Vec::new();
        for it in &mut self.registrations {
            let member = match &it.group {
                None => None,
                Some(wanted) => {
                    let Some(index) = self.groups.iter().position(|(name, _)| **name == **wanted) else {
                        return Err(BuildError(Problem::UnknownGroup {
                            worker: it.name.clone(),
                            group: wanted.clone(),
                            known: self.groups.into_iter().map(|(name, _)| name).collect(),
                        }));
                    };
                    let group = self.groups[index].1;
                    it.policy.on_fault = OnFault::Restart(group.restarts());
                    Some(Member { group: index, strategy: group.strategy() })
                }
            };
            let mut after = Vec::new();
            for other in &it.after {
                let Some(index) = names.iter().position(|name| **name == **other) else {
                    return Err(BuildError(Problem::Unknown {
                        worker: it.name.clone(),
                        after: other.clone(),
                        known: names,
                    }));
                };
                after.push(id(index));
            }
            plans.push(WorkerPlan {
                after,
                start_timeout: it.policy.start_timeout,
                drain: it.policy.drain,
                on_fault: it.policy.on_fault,
                group: member,
            });
        }
        if let Some(circle) = find_circle(&plans) {
            let path = circle.into_iter().map(|id| names[id.index()].clone()).collect();
            return Err(BuildError(Problem::Circle(path)));
        }
        let mut declarations = Vec::new();
        let mut units = Vec::new();
        for (it, plan) in self.registrations.into_iter().zip(&plans) {
            declarations.push(Declaration {
                name: it.name,
                after: plan.after.clone(),
                concurrency: it.policy.lanes(),
                batch: it.policy.batch,
                start_timeout: it.policy.start_timeout,
                handshake: it.policy.handshake,
                retry: it.policy.retry,
                breaker: it.policy.breaker,
                rate_limit: it.policy.rate_limit,
                retry_budget: it.policy.retry_budget,
                cycle_timeout: it.policy.cycle_timeout,
                progress_timeout: it.policy.progress_timeout,
                crashes_max: it.policy.crashes_max,
                on_fault: it.policy.on_fault,
                group: plan
                    .group
                    .map(|member| Membership { group: self.groups[member.group].0.clone(), strategy: member.strategy }),
                source: it.draft.kind(),
            });
            units.push(it.draft.finish(it.policy));
        }
        let mut host = Host {
            declarations: declarations.into(),
            plans,
            units,
            budget: self.budget,
            watchdog: self.watchdog,
            environment: self.environment,
            listeners: self.listeners,
            config,
            control: None,
        };
        if host.declarations.iter().any(|it| matches!(it.source, SourceKind::Service { .. })) {
            // Its service may ask for it.
            drop(host.handle());
        }
        Ok(host)
    }

    /// [`HostBuilder::build`] and [`Host::run_until_signal`] in one. A mistake in the build is a failed start: it is
    /// logged, and is the report.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until_signal(self) -> HostReport {
        match self.build() {
            Ok(host) => host.run_until_signal().await,
            Err(error) => shell::unable(&[], &error.to_string()),
        }
    }

    /// [`HostBuilder::build`] and [`Host::run_until`] in one. A mistake in the build is a failed start: it is logged, and is
    /// the report.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> HostReport {
        match self.build() {
            Ok(host) => host.run_until(stop).await,
            Err(error) => shell::unable(&[], &error.to_string()),
        }
    }
}

impl fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers: Vec<_> = self.registrations.iter().map(|it| &*it.name).collect();
        f.debug_struct("HostBuilder").field("workers", &workers).finish_non_exhaustive()
    }
}

/// A path from a worker over `after` back to itself.
fn find_circle(plans: &[WorkerPlan]) -> Option<Vec<WorkerId>> {
    fn visit(id: WorkerId, plans: &[WorkerPlan], path: &mut Vec<WorkerId>, done: &mut [bool]) -> Option<Vec<WorkerId>> {
        if let Some(start) = path.iter().position(|other| *other == id) {
            let mut circle = path[start..].to_vec();
            circle.push(id);
            return Some(circle);
        }
        if done[id.index()] {
            return None;
        }
        path.push(id);
        let found = plans[id.index()].after.iter().find_map(|next| visit(*next, plans, path, done));
        path.pop();
        done[id.index()] = true;
        found
    }
    let mut done = vec![false; plans.len()];
    (0..plans.len()).find_map(|index| visit(WorkerId(u32::try_from(index).ok()?), plans, &mut Vec::new(), &mut done))
}
