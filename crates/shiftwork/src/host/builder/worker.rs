//! The policies of one worker.

use std::{error::Error, fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use super::{BuildError, HostBuilder, Policy};
use crate::{
    BatchWorker, Batches, Breaker, Config, Escalation, Failure, FailureClass, HostReport, IntoWorker, RateLimit, Retry,
    RetryBudget, ServiceContext, Source,
    host::Host,
    lifecycle::OnFault,
    source::{BatchLane, TIMER},
};

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
    /// How many cycles run side by side at most; 1 by default. A schedule runs one, unless its ticks may overlap
    /// ([`Overlap::Allow`](crate::Overlap::Allow)). For a batch worker it is how many batches do. A host that would have more
    /// than a million inputs of one worker in hand is not built.
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

    /// Calls `tell` for each input that is given up, once it is moved aside: its attempts are exhausted, or it is a crash
    /// loop. It runs on the worker's task: it must be quick and must not block. A panic in it is logged and goes no further. An input whose settlement
    /// could not be stored comes again, and may be told of again.
    pub fn on_escalation(self, tell: impl Fn(&Escalation) + Send + Sync + 'static) -> Self {
        self.policy(|policy| policy.on_escalation = Some(Arc::new(tell)))
    }

    /// How long one cycle may run before it is cancelled and counts as failed; 5 minutes by default, because a call that hangs
    /// for ever takes its worker with it.
    pub fn cycle_timeout(self, timeout: Duration) -> Self {
        self.policy(|policy| policy.cycle_timeout = Some(timeout.max(TIMER)))
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
        self.policy(|policy| policy.progress_timeout = Some(timeout.max(TIMER)))
    }

    /// How many lapsed leases make a delivery a crash loop; 3 by default. At least 1. A lease lapses with its process, whatever
    /// ended that: where machines are taken away often, or neighbours use up the memory, long jobs need more. A crash loop is in
    /// the dead letters under that cause, and [`on_escalation`](Self::on_escalation) hears of it.
    pub fn crashes_max(self, crashes: u32) -> Self {
        self.policy(|policy| policy.crashes_max = crashes.max(1))
    }
}

impl<Kind> WorkerBuilder<Kind> {
    pub(super) fn of(host: HostBuilder) -> Self {
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
        self.policy(|policy| policy.start_timeout = timeout.max(TIMER))
    }

    /// How long this worker's cycles may drain, within the host's [`StopBudget`](crate::StopBudget); all of it by default.
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
