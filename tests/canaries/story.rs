//! How a story is told: record after record, with the stretches that most stories have in common.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use shiftwork::{
    Cause, Context, Continuous, ExitStatus, Failure, FailureKind, Host, Signal,
    event::{CycleId, Declaration, Event, NextSignal, Settle, SourceKind, StopReason, WorkerId, WorkerPhase},
    queue::DeliveryId,
};
use shiftwork_sim::{
    QueueOperation, Record, Violation, What,
    record::{NodeId, Settled},
    rules::Judge,
    secs,
};
use tokio::time::Instant;

/// The first worker of a host, and the second.
pub(crate) const A: WorkerId = WorkerId(0);
pub(crate) const B: WorkerId = WorkerId(1);

/// The delivery that most stories of queues are about.
pub(crate) const PARCEL: DeliveryId = DeliveryId(1);

/// A worker with the defaults, as a host declares it.
pub(crate) fn worker(name: &str) -> Declaration {
    static PLAIN: OnceLock<Declaration> = OnceLock::new();
    let plain = PLAIN.get_or_init(|| {
        let declared: Arc<Mutex<Option<Declaration>>> = Arc::default();
        let heard = declared.clone();
        let idle = |(): (), _: Context| async { Ok::<(), Failure>(()) };
        let host = Host::builder()
            .listener(move |_: Instant, event: &Event| {
                if let Event::HostStarting { workers } = event {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = workers.first().cloned();
                }
            })
            .worker("plain", Continuous::new(), idle)
            .run_until(std::future::ready(()));
        assert!(tokio_test::block_on(host).is_clean());
        let declared = declared.lock().unwrap_or_else(PoisonError::into_inner).take();
        declared.expect("a host says first what it runs")
    });
    Declaration { name: name.into(), ..plain.clone() }
}

/// The same for a worker of a queue, without a breaker.
pub(crate) fn of_queue(name: &str) -> Declaration {
    Declaration { source: SourceKind::Queue, ..worker(name) }
}

/// What somebody failed with.
pub(crate) fn cause(kind: FailureKind) -> Cause {
    Cause { kind, message: "so it is told".into() }
}

/// One story: what happened so far, and what the rules made of it.
pub(crate) struct Story {
    judge: Judge,
    at: Duration,
    node: NodeId,
    task: u32,
    workers: usize,
    /// What the queues hold when it is over.
    held: BTreeSet<DeliveryId>,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            judge: Judge::of_nodes(2),
            at: Duration::ZERO,
            node: NodeId(0),
            task: 1,
            workers: 0,
            held: BTreeSet::new(),
        }
    }
}

impl Story {
    /// What follows happens then.
    pub(crate) fn at(&mut self, at: Duration) -> &mut Self {
        assert!(self.at <= at, "a story goes on in time");
        self.at = at;
        self
    }

    /// What follows happens in this node, and its task.
    pub(crate) fn inside(&mut self, node: u16, task: u32) -> &mut Self {
        (self.node, self.task) = (NodeId(node), task);
        self
    }

    pub(crate) fn happens(&mut self, what: What) -> &mut Self {
        self.judge.hear(&Record { at: self.at, node: Some(self.node), task: self.task, what });
        self
    }

    /// The wall clock of the node steps: it is this far ahead of the time that has passed.
    pub(crate) fn clock_steps(&mut self, ahead_ms: i64) -> &mut Self {
        self.judge.clock_stepped(self.at, self.node, ahead_ms);
        self
    }

    pub(crate) fn tells(&mut self, event: Event) -> &mut Self {
        self.happens(What::Host(event))
    }

    pub(crate) fn queue(&mut self, operation: QueueOperation) -> &mut Self {
        self.happens(What::Queue(operation))
    }

    /// A process begins, and in it a host with these workers.
    pub(crate) fn begins(&mut self, workers: &[Declaration]) -> &mut Self {
        self.workers = workers.len();
        self.happens(What::Booted { boot: 1 }).tells(Event::HostStarting { workers: workers.into() })
    }

    fn ids(&self) -> impl DoubleEndedIterator<Item = WorkerId> + use<> {
        (0..u32::try_from(self.workers).unwrap()).map(WorkerId)
    }

    /// The same, and every worker is at work.
    pub(crate) fn runs(&mut self, workers: &[Declaration]) -> &mut Self {
        self.begins(workers);
        for worker in self.ids() {
            self.starts(worker);
        }
        self.opens()
    }

    /// A worker starts, and is ready at once.
    pub(crate) fn starts(&mut self, worker: WorkerId) -> &mut Self {
        self.tells(Event::WorkerStarting { worker }).tells(Event::WorkerReady { worker })
    }

    /// Every worker is ready: the host runs.
    pub(crate) fn opens(&mut self) -> &mut Self {
        self.tells(Event::HostRunning);
        for worker in self.ids() {
            self.tells(Event::IntakeOpened { worker });
        }
        self
    }

    pub(crate) fn cycle_starts(&mut self, worker: WorkerId, cycle: u64, attempt: u32) -> &mut Self {
        self.tells(Event::CycleStarted { worker, cycle: CycleId(cycle), attempt, delivery: None })
    }

    pub(crate) fn cycle_ends(
        &mut self,
        worker: WorkerId,
        cycle: u64,
        failure: Option<FailureKind>,
        took: Duration,
    ) -> &mut Self {
        self.tells(Event::CycleEnded { worker, cycle: CycleId(cycle), failure: failure.map(cause), took })
    }

    pub(crate) fn settles(&mut self, worker: WorkerId, cycle: u64, settle: Settle) -> &mut Self {
        self.tells(Event::Settled { worker, cycle: CycleId(cycle), delivery: None, settle })
    }

    /// A cycle, from its start to its settlement, in no time.
    pub(crate) fn cycle(
        &mut self,
        worker: WorkerId,
        (cycle, attempt): (u64, u32),
        failure: Option<FailureKind>,
        settle: Settle,
    ) -> &mut Self {
        self.cycle_starts(worker, cycle, attempt)
            .cycle_ends(worker, cycle, failure, Duration::ZERO)
            .settles(worker, cycle, settle)
    }

    /// A delivery is claimed for the first time, with token 1.
    pub(crate) fn claimed(&mut self) -> &mut Self {
        self.queue(QueueOperation::Pushed(PARCEL)).claimed_again(1)
    }

    pub(crate) fn claimed_again(&mut self, token: u64) -> &mut Self {
        let (delivery, crashes) = (PARCEL, u32::try_from(token - 1).unwrap());
        self.queue(QueueOperation::Claimed { delivery, token, attempt: 1, crashes, told: true })
    }

    /// A cycle with the delivery begins, as its first attempt.
    pub(crate) fn packing_starts(&mut self, cycle: u64) -> &mut Self {
        self.tells(Event::CycleStarted { worker: A, cycle: CycleId(cycle), attempt: 1, delivery: Some(PARCEL) })
    }

    /// What becomes of it is stored.
    pub(crate) fn stored(&mut self, token: u64, how: Settled) -> &mut Self {
        self.queue(QueueOperation::Settled { delivery: PARCEL, token, how })
    }

    /// And said.
    pub(crate) fn packing_settles(&mut self, cycle: u64, settle: Settle) -> &mut Self {
        self.tells(Event::Settled { worker: A, cycle: CycleId(cycle), delivery: Some(PARCEL), settle })
    }

    /// The delivery is in its queue at the end.
    pub(crate) fn holds_the_parcel(&mut self) -> &mut Self {
        self.held.insert(PARCEL);
        self
    }

    /// A first SIGTERM, and the host begins to stop.
    pub(crate) fn is_told_to_stop(&mut self) -> &mut Self {
        let signal = Signal::Terminate;
        self.tells(Event::SignalReceived { signal, next: NextSignal::Abort }).begins_to_stop(StopReason::Signal(signal))
    }

    /// The host begins to stop, and has the time that it has by default.
    pub(crate) fn begins_to_stop(&mut self, reason: StopReason) -> &mut Self {
        self.tells(Event::HostStopping { reason, delay: Duration::ZERO, drain: secs(20), within: secs(25) })
    }

    pub(crate) fn closes(&mut self, worker: WorkerId) -> &mut Self {
        self.tells(Event::IntakeClosed { worker, drain: secs(20) })
    }

    pub(crate) fn ends(&mut self, worker: WorkerId, phase: WorkerPhase) -> &mut Self {
        self.tells(Event::WorkerStopped { worker, phase })
    }

    /// The host has stopped, and its process exits.
    pub(crate) fn exits(&mut self, exit: ExitStatus) -> &mut Self {
        self.tells(Event::HostStopped { exit }).happens(What::Exited { exit: Some(exit), tasks_left: 0 })
    }

    /// Everything ends as it should: the last worker first.
    pub(crate) fn stops(&mut self) -> &mut Self {
        self.is_told_to_stop();
        for worker in self.ids().rev() {
            self.closes(worker).ends(worker, WorkerPhase::Stopped);
        }
        self.exits(ExitStatus::Clean)
    }

    /// It is over. The rules that have broken.
    pub(crate) fn end(mut self) -> Vec<Violation> {
        self.judge.end(self.at, &self.held);
        self.judge.violations().to_vec()
    }
}
