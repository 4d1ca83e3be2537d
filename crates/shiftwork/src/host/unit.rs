//! The life of one worker's tasks: start hook, lanes and source, stop hook. That of a service is in `host/body.rs`.
//!
//! The unit does what its level says and tells the host what happened; when anything is due is not its business.

use std::{
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::Policy;
use crate::{
    BatchWorker, Batches, Context, Environment, Failure, HostHandle, Source, Worker,
    alarm::Alarm,
    config::{ConfigError, WorkerConfig},
    context::LaneShared,
    control::{AttemptControl, Control, Level},
    cycle::{Around, Limits, RunCycle, panicked},
    emitter::Emitter,
    event::{Hook, SourceKind, WorkerId},
    gate::Gate,
    in_flight::InFlight,
    lane::{BatchRun, LaneEnd, LaneRun, Looked},
    lifecycle::{decide::Input, retry_budget::Account},
    pace::Pace,
    source::{BatchLane, CycleCounter, LaneContext, SourceContext, TIMER},
};

/// What a unit needs from its host.
pub(super) struct Surroundings {
    pub(super) id: WorkerId,
    pub(super) name: Arc<str>,
    pub(super) control: Arc<Control>,
    pub(super) environment: Arc<dyn Environment>,
    /// There is one if somebody asked for it, or may.
    pub(super) host: Option<HostHandle>,
    pub(super) emitter: Arc<Emitter>,
    /// What every worker has in flight.
    pub(super) in_flight: Arc<[InFlight]>,
    pub(super) inbox: Inbox,
    pub(super) seed: u64,
}

/// Where one life of a worker tells its host what happened.
#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) sender: mpsc::UnboundedSender<(WorkerId, u32, Input)>,
    pub(super) worker: WorkerId,
    /// Which life, from 1: what an earlier one still says is not heard.
    pub(super) life: u32,
}

impl Inbox {
    /// A host that has left hears nothing.
    pub(super) fn tell(&self, input: Input) {
        drop(self.sender.send((self.worker, self.life, input)));
    }
}

pub(super) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A worker whose source may still be configured. The one place where its types are erased: once for each worker, not for
/// each cycle.
pub(super) trait Draft: Send {
    fn kind(&self) -> SourceKind;

    fn lanes_max(&self) -> usize;

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError>;

    fn check(&self) -> Result<(), ConfigError>;

    fn describe(&self, config: &mut WorkerConfig);

    fn finish(self: Box<Self>, policy: Policy) -> Launch;
}

pub(super) struct Parts<S, W, C> {
    source: S,
    worker: W,
    cycles: PhantomData<fn() -> C>,
}

impl<S, W> Parts<S, W, Singly> {
    pub(super) fn singly(source: S, worker: W) -> Self {
        Self { source, worker, cycles: PhantomData }
    }
}

impl<S, W> Parts<S, W, InBatches> {
    pub(super) fn in_batches(source: S, worker: W) -> Self {
        Self { source, worker, cycles: PhantomData }
    }
}

/// How the cycles of a worker run: where its hooks are, and what its lanes have to do with each other.
pub(super) trait Cycles<S: Source, W>: 'static {
    fn start(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send;

    fn stop(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Lets the lanes run, each task until its end.
    fn spawn(lanes: Vec<LaneRun<S::Lane, W>>, batch: Option<Batches>, tasks: &mut JoinSet<LaneEnd>);
}

/// Each lane for itself.
pub(super) struct Singly;

impl<S: Source, W: Worker<Input = S::Input>> Cycles<S, W> for Singly {
    fn start(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send {
        worker.start()
    }

    fn stop(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send {
        worker.stop()
    }

    fn spawn(lanes: Vec<LaneRun<S::Lane, W>>, _: Option<Batches>, tasks: &mut JoinSet<LaneEnd>) {
        for lane in lanes {
            tasks.spawn(lane.run().in_current_span());
        }
    }
}

/// As many lanes together as a batch may have inputs.
pub(super) struct InBatches;

impl<S: Source<Lane: BatchLane>, W: BatchWorker<Input = S::Input>> Cycles<S, W> for InBatches {
    fn start(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send {
        worker.start()
    }

    fn stop(worker: &W) -> impl Future<Output = Result<(), Failure>> + Send {
        worker.stop()
    }

    fn spawn(lanes: Vec<LaneRun<S::Lane, W>>, batch: Option<Batches>, tasks: &mut JoinSet<LaneEnd>) {
        let batches = batch.unwrap_or_default();
        let mut lanes = lanes.into_iter();
        loop {
            let together: Vec<_> = lanes.by_ref().take(batches.size()).collect();
            if together.is_empty() {
                break;
            }
            tasks.spawn(BatchRun::new(together, batches).run().in_current_span());
        }
    }
}

impl<S: Source, W: Send + Sync + 'static, C: Cycles<S, W>> Draft for Parts<S, W, C> {
    fn kind(&self) -> SourceKind {
        self.source.kind()
    }

    fn lanes_max(&self) -> usize {
        self.source.lanes_max().max(1)
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        self.source.configure(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.source.check()
    }

    fn describe(&self, config: &mut WorkerConfig) {
        self.source.describe(config);
    }

    fn finish(self: Box<Self>, policy: Policy) -> Launch {
        let (source, worker) = (Arc::new(self.source), Arc::new(self.worker));
        // Beyond its lives: a restart is no reason to call more often.
        let pace = policy.rate_limit.map(|limit| Arc::new(Pace::new(limit, source.kind())));
        Launch::new(policy, move |policy, surroundings| {
            let (source, worker, pace) = (source.clone(), worker.clone(), pace.clone());
            let life: Running = Box::pin(run::<S, W, C>(source, worker, pace, policy, surroundings));
            life
        })
    }
}

/// A worker, ready to be launched.
pub(crate) struct Launch {
    policy: Policy,
    launch: Box<dyn Fn(Policy, Surroundings) -> Running + Send>,
}

impl Launch {
    pub(super) fn new(policy: Policy, launch: impl Fn(Policy, Surroundings) -> Running + Send + 'static) -> Self {
        Self { policy, launch: Box::new(launch) }
    }

    /// One life of the worker.
    pub(super) fn run(&self, surroundings: Surroundings) -> Running {
        (self.launch)(self.policy.clone(), surroundings)
    }
}

async fn run<S: Source, W: Send + Sync + 'static, C: Cycles<S, W>>(
    source: Arc<S>,
    worker: Arc<W>,
    pace: Option<Arc<Pace>>,
    policy: Policy,
    unit: Surroundings,
) {
    let tell = |input| unit.inbox.tell(input);
    let id = unit.id;
    let control = unit.control.clone();

    let span = tracing::info_span!("start", worker = &*unit.name);
    let attempt = AttemptControl::new(control.clone());
    let mut alarm = Alarm::of(&control);
    let seat = unit.in_flight[id.index()].seat(0);
    seat.begin_hook(Hook::Start, Instant::now());
    let around = Around { control: &attempt, span: &span, seat: Some(&seat), alarm: &mut alarm, awaits: None };
    let started = RunCycle::new(pin!(Some(async { C::start(&worker).await })), Limits::default(), around).await;
    seat.end();
    if let Err(failure) = started {
        tell(Input::StartFailed(id, failure.cause()));
        return;
    }
    if control.is_at_least(Level::Leave) {
        // It blocked its thread past its time, and counts as failed. What a stop hook would close may be another life's by now.
        return;
    }
    tell(Input::Started(id));

    control.reached(Level::Open).await;
    if !control.is_at_least(Level::Drain) {
        let interrupted = run_lanes::<S, W, C>(source, worker.clone(), pace, policy, &unit).await;
        tell(Input::LanesEnded { worker: id, interrupted });
    } else {
        tell(Input::LanesEnded { worker: id, interrupted: false });
    }

    if control.is_at_least(Level::Leave) {
        return;
    }
    // The stop hook has a budget, which the host keeps, but no level interrupts it.
    let span = tracing::info_span!("stop", worker = &*unit.name);
    let attempt = AttemptControl::new(Arc::new(Control::new()));
    let mut alarm = Alarm::of(&attempt.worker);
    seat.begin_hook(Hook::Stop, Instant::now());
    let around = Around { control: &attempt, span: &span, seat: Some(&seat), alarm: &mut alarm, awaits: None };
    let stopped = RunCycle::new(pin!(Some(async { C::stop(&worker).await })), Limits::default(), around).await;
    seat.end();
    tell(Input::Closed(id, stopped.err().map(|failure| failure.cause())));
}

/// Runs every lane to its end, with the source's upkeep beside them. Whether a cycle had to be dropped.
async fn run_lanes<S: Source, W: Send + Sync + 'static, C: Cycles<S, W>>(
    source: Arc<S>,
    worker: Arc<W>,
    pace: Option<Arc<Pace>>,
    policy: Policy,
    unit: &Surroundings,
) -> bool {
    let id = unit.id;
    let tallies = unit.emitter.tallies(id, policy.lanes());
    let seats = unit.in_flight[id.index()].seats();
    let watches_awaits = unit.environment.watches_awaits();
    let shared: Vec<_> = tallies
        .into_iter()
        .zip(seats.iter())
        .map(|(tally, seat)| {
            Arc::new(LaneShared {
                name: unit.name.clone(),
                control: AttemptControl::new(unit.control.clone()),
                tally,
                successes: AtomicU64::new(0),
                environment: unit.environment.clone(),
                watches_awaits,
                attempts_max: policy.retry.attempts(),
                seat: seat.clone(),
            })
        })
        .collect();
    let cx = Arc::new(SourceContext {
        worker: id,
        // No lane has this number.
        seed: stream(unit.seed, &unit.name, usize::MAX),
        lanes: shared.clone().into(),
        emitter: unit.emitter.clone(),
        cycle_timeout: policy.cycle_timeout,
        progress_timeout: policy.progress_timeout,
    });
    let cycles = Arc::new(CycleCounter::new(shared.len()));
    // The source may be the program's own. A panic of it is a fault here as it is in a lane, and the stop hook follows all the same.
    let made = catch_unwind(AssertUnwindSafe(|| {
        source.begin();
        let make = |index| {
            let cx = LaneContext::new(cx.clone(), index);
            let lane = source.lane(&cx);
            (cx, lane)
        };
        (0..shared.len()).map(make).collect::<Vec<_>>()
    }));
    let made = match made {
        Ok(made) => made,
        Err(panic) => {
            unit.inbox.tell(Input::Faulted(id, panicked(panic).cause()));
            return false;
        }
    };
    let account = policy.retry_budget.map(|budget| Arc::new(Mutex::new(Account::new(budget, Instant::now()))));
    if let Some(pace) = &pace {
        pace.begin_life();
    }
    let gate = policy.breaker.map(|breaker| Arc::new(Gate::new(breaker, source.kind())));
    let mut runs = Vec::with_capacity(shared.len());
    for (index, (shared, (cx, lane))) in shared.into_iter().zip(made).enumerate() {
        let (inbox, now) = (unit.inbox.clone(), Instant::now());
        runs.push(LaneRun {
            id,
            lane,
            worker: worker.clone(),
            policy: policy.clone(),
            gate: gate.clone(),
            pace: pace.clone(),
            account: account.clone(),
            cycles: cycles.clone(),
            cx,
            context: Context::new(shared.clone()),
            looked: Looked { at: now, since: shared.seat.since_origin(now) },
            shared,
            alarm: Alarm::of(&unit.control),
            prompt: matches!(source.kind(), SourceKind::Continuous | SourceKind::Queue),
            first_began: now,
            chance: fastrand::Rng::with_seed(stream(unit.seed, &unit.name, index)),
            fault: Box::new(move |cause| inbox.tell(Input::Faulted(id, cause))),
            faulted: false,
        });
    }
    let mut lanes = JoinSet::new();
    C::spawn(runs, policy.batch, &mut lanes);

    // The cycle's panics are caught, and those of an offer; one that ends a task here is that of the source's upkeep or of a lane around
    // both, and a fault of the worker.
    let panicked = |error: JoinError| {
        if let Ok(panic) = error.try_into_panic() {
            unit.inbox.tell(Input::Faulted(id, panicked(panic).cause()));
        }
    };
    let keep_up = || {
        let (source, cx) = (source.clone(), cx.clone());
        async move { source.maintain(&cx).await }.in_current_span()
    };
    let mut upkeep = JoinSet::new();
    upkeep.spawn(keep_up());
    let mut kept_up_since = Instant::now();
    let mut telling = JoinSet::new();
    if let Some(pace) = pace.clone() {
        let cx = cx.clone();
        telling.spawn(async move { pace.tell(&cx).await }.in_current_span());
    }
    let mut interrupted = false;
    loop {
        tokio::select! {
            biased;
            ended = lanes.join_next() => match ended {
                Some(Ok(end)) => interrupted |= end.interrupted,
                Some(Err(error)) => {
                    interrupted = true;
                    panicked(error);
                }
                None => break,
            },
            Some(Err(error)) = upkeep.join_next() => {
                panicked(error);
                // What drains now keeps its leases. One that panics at once would do so again and again.
                if kept_up_since.elapsed() >= TIMER {
                    kept_up_since = Instant::now();
                    upkeep.spawn(keep_up());
                }
            }
        }
    }
    upkeep.abort_all();
    while let Some(ended) = upkeep.join_next().await {
        // It may have panicked as the last lane ended.
        if let Err(error) = ended {
            panicked(error);
        }
    }
    telling.shutdown().await;
    if let Some(pace) = &pace {
        pace.end_life(&cx);
    }
    interrupted
}

/// A random stream of its own for each lane, so that a draw in one does not shift another's.
fn stream(seed: u64, worker: &str, lane: usize) -> u64 {
    // FNV-1a, whose constants are from its authors' page (isthe.com/chongo/tech/comp/fnv), over the seed as well: folded in
    // only at the start, one seed's worker "a" would draw like the next seed's worker "b".
    let lane = (lane as u64).to_le_bytes();
    let bytes = worker.bytes().chain(lane).chain(seed.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How long the host waits for tasks that it dropped to be gone. A task that blocks its thread is not waited for.
pub(super) const REAP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_of_every_worker_draws_from_its_own_stream() {
        let streams = [stream(1, "a", 0), stream(1, "a", 1), stream(1, "b", 0), stream(2, "b", 0), stream(2, "a", 0)];
        for (index, one) in streams.iter().enumerate() {
            assert!(!streams[..index].contains(one));
        }
    }
}
