//! Workers and their policies, checked before anything runs.

use std::{error::Error, fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use super::{Host, body, configure, shell, unit};
use crate::{
    BatchWorker, Batches, Breaker, Config, ConfigError, Environment, Escalation, Failure, FailureClass, HostReport,
    IntoWorker, Listener, RateLimit, Retry, RetryBudget, ServiceContext, Source, System,
    event::{Declaration, Membership, SourceKind, WorkerId},
    lifecycle::{
        Group, OnFault, StopBudget, Watchdog,
        decide::{Member, WorkerPlan},
    },
    source::BatchLane,
};

/// What the user makes of an error that came through `?`.
pub(crate) type Classify = Arc<dyn Fn(&(dyn Error + 'static)) -> Option<FailureClass> + Send + Sync>;

/// Whom the user tells of an exhausted input.
pub(crate) type OnEscalation = Arc<dyn Fn(&Escalation) + Send + Sync>;

/// What a worker's cycles are run by.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) concurrency: usize,
    /// How many inputs a cycle takes, if it takes many.
    pub(crate) batch: Option<Batches>,
    pub(crate) retry: Retry,
    pub(crate) classify: Option<Classify>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) retry_budget: Option<RetryBudget>,
    pub(crate) on_escalation: Option<OnEscalation>,
    pub(crate) cycle_timeout: Option<Duration>,
    pub(crate) progress_timeout: Option<Duration>,
    pub(crate) start_timeout: Duration,
    pub(crate) drain: Option<Duration>,
    pub(crate) crashes_max: u32,
    pub(crate) on_fault: OnFault,
    /// A service says itself when it is ready.
    pub(crate) handshake: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            concurrency: 1,
            batch: None,
            retry: Retry::default(),
            classify: None,
            breaker: None,
            rate_limit: None,
            retry_budget: None,
            on_escalation: None,
            cycle_timeout: Some(Duration::from_secs(300)),
            progress_timeout: None,
            start_timeout: Duration::from_secs(30),
            drain: None,
            crashes_max: 3,
            on_fault: OnFault::default(),
            handshake: false,
        }
    }
}

impl Policy {
    /// How many cycles run side by side at most: each input of a batch is one.
    pub(crate) fn lanes(&self) -> usize {
        self.concurrency.saturating_mul(self.batch.map_or(1, |batches| batches.size()))
    }
}

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
    /// work never exits 0; [`OnFault::Restart`] runs it again from its beginning.
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
        for (mut it, plan) in self.registrations.into_iter().zip(&plans) {
            it.policy.concurrency = it.policy.concurrency.min(it.draft.lanes_max());
            declarations.push(Declaration {
                name: it.name,
                after: plan.after.clone(),
                concurrency: it.policy.lanes(),
                batch: it.policy.batch,
                start_timeout: it.policy.start_timeout,
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

/// Sets the policies of the worker that was added last. `Kind` says whether it has cycles or is a service, because some
/// policies mean nothing to the other.
#[must_use = "a worker runs only when its host is built and run"]
pub struct WorkerBuilder<Kind = OfCycles> {
    host: HostBuilder,
    kind: PhantomData<fn(Kind)>,
}

/// Sets the policies of the service or job that was added last.
pub type ServiceBuilder = WorkerBuilder<OfService>;

/// Marks the builder of a worker with cycles.
#[derive(Debug)]
pub struct OfCycles(());

/// Marks the builder of a service or a job.
#[derive(Debug)]
pub struct OfService(());

impl WorkerBuilder<OfService> {
    /// The service begins while the host starts, and says itself when it is ready, with [`ServiceContext::ready`]: after it has
    /// bound its port, for example. Workers that come after it start then, and the host runs only then. It has its
    /// [`WorkerBuilder::start_timeout`] for that. Without this call it is ready at once, and begins when the host runs.
    pub fn handshake(self) -> Self {
        self.policy(|policy| policy.handshake = true)
    }
}

impl WorkerBuilder {
    /// How many cycles run side by side at most; 1 by default. A schedule always runs one. For a batch worker it is how many
    /// batches do.
    pub fn concurrency(self, cycles: usize) -> Self {
        self.policy(|policy| policy.concurrency = cycles.max(1))
    }

    /// How failed attempts are tried again; see [`Retry`] for the default.
    pub fn retry(self, retry: Retry) -> Self {
        self.policy(|policy| policy.retry = retry)
    }

    /// Looks at every error that a cycle returns through `?` and may say what kind of failure it is, so that the cycle's code
    /// need not: `None` leaves it transient. What the cycle says itself, with a constructor of [`crate::Failure`],
    /// stands. The error is the one that met the `?`; its causes are behind [`Error::source`].
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use shiftwork::{Context, Failure, FailureClass, Host, Schedule, Tick};
    ///
    /// async fn tidy(_: Tick, _: Context) -> Result<(), Failure> {
    ///     std::fs::remove_dir_all("/var/tmp/scratch")?;
    ///     Ok(())
    /// }
    ///
    /// let host = Host::builder()
    ///     .worker("tidy", Schedule::every(Duration::from_secs(60)), tidy)
    ///     .classify(|error| match error.downcast_ref::<io::Error>()?.kind() {
    ///         io::ErrorKind::PermissionDenied => Some(FailureClass::Fatal),
    ///         _ => None,
    ///     });
    /// # let _ = host;
    /// ```
    pub fn classify(
        self,
        classify: impl Fn(&(dyn Error + 'static)) -> Option<FailureClass> + Send + Sync + 'static,
    ) -> Self {
        self.policy(|policy| policy.classify = Some(Arc::new(classify)))
    }

    /// After how many failures in a row intake pauses, and how it resumes; see [`Breaker`] for the default. A queue worker
    /// has one by default; a schedule and a continuous worker do not, because they wait out their retries anyway and
    /// have no backlog that could be spent on an outage.
    pub fn breaker(self, breaker: Breaker) -> Self {
        self.policy(|policy| policy.breaker = Some(breaker))
    }

    /// How often cycles may begin, over all lanes; without limit by default. A lane waits before it asks its queue for work, so
    /// that no lease waits for the limit; a stop and a pause cut the wait short. A batch is one.
    pub fn rate_limit(self, limit: RateLimit) -> Self {
        self.policy(|policy| policy.rate_limit = Some(limit))
    }

    /// How many retries the worker makes at most; without limit by default, because what the backoff spreads is seldom too
    /// much, and the breaker sees an outage. A dependency that fails half of the time under load needs it.
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        self.policy(|policy| policy.retry_budget = Some(budget))
    }

    /// Takes in work whatever fails.
    pub fn no_breaker(self) -> Self {
        self.policy(|policy| policy.breaker = None)
    }

    /// Calls `tell` for each input whose attempts are exhausted, once it is moved aside. It runs on the worker's task: it
    /// must be quick and must not block. A panic in it is logged and goes no further. An input whose settlement
    /// could not be stored comes again, and may be told of again.
    pub fn on_escalation(self, tell: impl Fn(&Escalation) + Send + Sync + 'static) -> Self {
        self.policy(|policy| policy.on_escalation = Some(Arc::new(tell)))
    }

    /// How long one cycle may run before it is cancelled and counts as failed; 5 minutes by default, because a call that hangs
    /// for ever takes its worker with it.
    pub fn cycle_timeout(self, timeout: Duration) -> Self {
        self.policy(|policy| policy.cycle_timeout = Some(timeout))
    }

    /// Lets a cycle run for as long as it likes.
    pub fn no_cycle_timeout(self) -> Self {
        self.policy(|policy| policy.cycle_timeout = None)
    }

    /// How long a cycle may go without saying [`Context::progress`](crate::Context::progress) before it is cancelled and
    /// counts as failed; without limit by default, because only a cycle that says so can be judged by it.
    ///
    /// It is what a cycle of unknown length needs: with it and [`no_cycle_timeout`](Self::no_cycle_timeout) an import may
    /// take hours, and one that hangs is noticed within this time all the same.
    pub fn progress_timeout(self, timeout: Duration) -> Self {
        self.policy(|policy| policy.progress_timeout = Some(timeout))
    }

    /// How many lapsed leases make a delivery a crash loop; 3 by default. At least 1.
    pub fn crashes_max(self, crashes: u32) -> Self {
        self.policy(|policy| policy.crashes_max = crashes.max(1))
    }
}

impl<Kind> WorkerBuilder<Kind> {
    fn of(host: HostBuilder) -> Self {
        Self { host, kind: PhantomData }
    }

    fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        if let Some(last) = self.host.registrations.last_mut() {
            change(&mut last.policy);
        }
        self
    }

    /// How long the start hook, or the handshake of a service, may take; 30 s by default.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.policy(|policy| policy.start_timeout = timeout)
    }

    /// How long this worker's cycles may drain, within the host's [`StopBudget`]; all of it by default.
    pub fn drain(self, time: Duration) -> Self {
        self.policy(|policy| policy.drain = Some(time))
    }

    /// Makes it a member of the group called `name` ([`HostBuilder::group`]): its fault is the group's affair, whatever
    /// [`WorkerBuilder::on_fault`] says.
    pub fn in_group(mut self, name: &str) -> Self {
        if let Some(last) = self.host.registrations.last_mut() {
            last.group = Some(name.to_owned());
        }
        self
    }

    /// What the host does when this worker cannot go on; it stops by default. See [`OnFault`].
    pub fn on_fault(self, reaction: OnFault) -> Self {
        self.policy(|policy| policy.on_fault = reaction)
    }

    /// Starts this worker after the one called `name` is ready, and stops it before.
    pub fn after(mut self, name: &str) -> Self {
        if let Some(last) = self.host.registrations.last_mut() {
            last.after.push(name.to_owned());
        }
        self
    }

    /// See [`HostBuilder::config`].
    pub fn config(mut self, config: Config) -> Self {
        self.host = self.host.config(config);
        self
    }

    /// Adds another worker.
    pub fn worker<S, W, Form>(self, name: &str, source: S, worker: W) -> WorkerBuilder
    where
        S: Source,
        W: IntoWorker<S::Input, Form>,
    {
        self.host.worker(name, source, worker)
    }

    /// Adds a worker whose cycle takes many inputs at a time. See [`HostBuilder::batch_worker`].
    pub fn batch_worker<S, W>(self, name: &str, source: S, batches: Batches, worker: W) -> WorkerBuilder
    where
        S: Source<Lane: BatchLane>,
        W: BatchWorker<Input = S::Input>,
    {
        self.host.batch_worker(name, source, batches, worker)
    }

    /// Adds a service: a future that runs for as long as the host does. See [`HostBuilder::service`].
    pub fn service<F, Fut>(self, name: &str, service: F) -> ServiceBuilder
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.host.service(name, service)
    }

    /// Adds a job: a future that runs to completion. See [`HostBuilder::job`].
    pub fn job<F, Fut>(self, name: &str, job: F) -> ServiceBuilder
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.host.job(name, job)
    }

    /// Back to the host's own settings.
    #[must_use]
    pub fn host(self) -> HostBuilder {
        self.host
    }

    /// See [`HostBuilder::build`].
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::build`].
    pub fn build(self) -> Result<Host, BuildError> {
        self.host.build()
    }

    /// See [`HostBuilder::run_until_signal`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until_signal(self) -> HostReport {
        self.host.run_until_signal().await
    }

    /// See [`HostBuilder::run_until`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping it drops every worker where it stands.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> HostReport {
        self.host.run_until(stop).await
    }
}

impl<Kind> From<WorkerBuilder<Kind>> for HostBuilder {
    fn from(worker: WorkerBuilder<Kind>) -> Self {
        worker.host
    }
}

impl<Kind> fmt::Debug for WorkerBuilder<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

/// Why a host cannot be built.
#[derive(Debug)]
pub struct BuildError(Problem);

#[derive(Debug)]
enum Problem {
    Duplicate(Arc<str>),
    DuplicateGroup(Arc<str>),
    UnknownGroup { worker: Arc<str>, group: String, known: Vec<Arc<str>> },
    Unknown { worker: Arc<str>, after: String, known: Vec<Arc<str>> },
    Circle(Vec<Arc<str>>),
    Config(ConfigError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Duplicate(name) => write!(f, "two workers are called {name:?}: give one another name"),
            Problem::DuplicateGroup(name) => write!(f, "two groups are called {name:?}: give one another name"),
            Problem::UnknownGroup { worker, group, known } => {
                write!(f, "worker {worker:?} is in group {group:?}, which does not exist: there are {known:?}")
            }
            Problem::Unknown { worker, after, known } => {
                write!(f, "worker {worker:?} comes after {after:?}, which does not exist: there are {known:?}")
            }
            Problem::Config(error) => write!(f, "could not apply the configuration: {error}"),
            Problem::Circle(path) => {
                f.write_str("workers come after each other in a circle: ")?;
                for (index, name) in path.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" after ")?;
                    }
                    write!(f, "{name:?}")?;
                }
                Ok(())
            }
        }
    }
}

impl Error for BuildError {}
