//! What happened in a world, as one stream: the host's events and the world's own.

use std::{fmt, panic::Location, sync::Arc, time::Duration};

use shiftwork::{
    ExitStatus, Signal,
    event::{CycleId, Declaration, Event, StopReason, WorkerId},
    queue::DeliveryId,
};

use crate::plan::{Seconds, whole_ms};

/// Names a site within its world: its place in the order in which the sites were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u16);

/// Names a node within its world: its place in the order in which the nodes were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// When, since the world began.
    pub at: Duration,
    /// In which node; `None` in what surrounds them.
    pub node: Option<NodeId>,
    /// In which task, numbered in the order in which they were spawned in this life of the node; 0 is outside of all.
    pub task: u32,
    /// What.
    pub what: What,
}

/// One poll of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Poll {
    /// When it began, since the world did.
    pub at: Duration,
    /// In which node.
    pub node: NodeId,
    /// Of which task, numbered as in [`Record::task`].
    pub task: u32,
    /// Where in the code the task was spawned.
    pub spawned_at: &'static Location<'static>,
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, node, task, spawned_at } = self;
        write!(f, "at {}, task {task} of node {} (spawned at {spawned_at})", Seconds(whole_ms(*at)), node.0)
    }
}

/// Everything that can happen in a world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// A node's process was started, for the `boot`th time.
    Booted {
        /// From 1.
        boot: u32,
    },
    /// A worker that does not use the runtime began in a node's process.
    ForeignBegan {
        /// How long after its first signal it may take to end.
        within: Duration,
    },
    /// Something happened in a node's host.
    Host(Event),
    /// A node's process got a signal.
    Signalled(Signal),
    /// A node's process was killed.
    Crashed,
    /// A node's process stands still from here on.
    Paused,
    /// It goes on.
    Resumed,
    /// A node's process ended by itself.
    Exited {
        /// The host's verdict; `None` when a signal killed it before its host listened, or its program panicked.
        exit: Option<ExitStatus>,
        /// How many of its tasks were still there.
        tasks_left: usize,
    },
    /// A fault had an effect for the first time.
    Struck {
        /// Its place in the plan.
        fault: usize,
    },
    /// A panic was injected into the task that this is recorded in: into what is at work there.
    PanicInjected,
    /// A fault said that the time of a cycle is up, or that of the batch that begins with it.
    TimeIsUp {
        /// Whose cycle.
        worker: WorkerId,
        /// Which.
        cycle: CycleId,
    },
    /// A call to a dependency began.
    CallBegan {
        /// Which site.
        site: SiteId,
        /// Which call, from 1.
        call: u64,
    },
    /// A call had its effect.
    CallTookEffect {
        /// Which site.
        site: SiteId,
        /// Which call.
        call: u64,
    },
    /// A call returned.
    CallEnded {
        /// Which site.
        site: SiteId,
        /// Which call.
        call: u64,
        /// Whether the caller was told that it succeeded.
        ok: bool,
    },
    /// Something happened in a queue, whether or not the caller learned of it.
    Queue(QueueOperation),
    /// The world's own clockwork did something that the scenario scheduled.
    Arrived {
        /// What.
        what: Arc<str>,
    },
    /// Every fault is over from here on.
    Healed,
    /// The scenario's work is done.
    Recovered,
}

/// What happened in a queue. Delivery ids are unique in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueOperation {
    /// A message was stored.
    Pushed(DeliveryId),
    /// It has an ordering key, and is last in the line of that key.
    InLine {
        /// Which.
        delivery: DeliveryId,
        /// Which line.
        line: u64,
    },
    /// A dead letter is a waiting delivery again, with fresh counts.
    Requeued(DeliveryId),
    /// A dead letter was deleted.
    Discarded(DeliveryId),
    /// Old dead letters were deleted.
    Pruned {
        /// How many.
        dead_letters: usize,
    },
    /// A delivery was leased.
    Claimed {
        /// Which.
        delivery: DeliveryId,
        /// By which claim of it.
        token: u64,
        /// Which attempt it will be.
        attempt: u32,
        /// How many leases of it have lapsed.
        crashes: u32,
        /// Whether the claimant learned of it.
        told: bool,
    },
    /// A delivery was settled.
    Settled {
        /// Which.
        delivery: DeliveryId,
        /// Under which claim.
        token: u64,
        /// How.
        how: Settled,
    },
    /// A settlement under a claim that was no longer current was refused.
    Fenced {
        /// Which.
        delivery: DeliveryId,
        /// Under which claim.
        token: u64,
    },
    /// The store forgot the lease of a claim: the delivery waits, its attempt not spent.
    LeaseTaken {
        /// Of which delivery.
        delivery: DeliveryId,
        /// Of which claim.
        token: u64,
    },
    /// When a node had exited, this delivery was still leased.
    StillLeased(DeliveryId),
    /// A panic was injected into a claim, a renewal or a settlement. It is none of what is at work in the task that it is recorded in.
    Panicked,
}

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// Gone.
    Acked,
    /// Waits for its next attempt.
    Retried,
    /// Moved aside.
    DeadLettered,
    /// Waits, its attempt not spent.
    Returned,
}

/// What happened, from first to last, with the names that make it readable.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    pub(crate) records: Vec<Record>,
    pub(crate) polls: Vec<Poll>,
    pub(crate) nodes: Vec<Arc<str>>,
    pub(crate) sites: Vec<Arc<str>>,
    pub(crate) faults: Vec<String>,
}

impl Timeline {
    /// The names of the nodes, by their numbers.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|name| &**name)
    }

    /// The names of the sites, by their numbers.
    pub fn site_names(&self) -> impl Iterator<Item = &str> {
        self.sites.iter().map(|name| &**name)
    }

    /// Every record, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Every poll of a task, in order, for who asks in what two runs of a world differ. Empty without
    /// `--cfg tokio_unstable`.
    #[must_use]
    pub fn polls(&self) -> &[Poll] {
        &self.polls
    }

    /// The events of one node's host, with their times.
    pub fn events_of(&self, node: &str) -> impl Iterator<Item = (Duration, &Event)> {
        let id = self.nodes.iter().position(|name| **name == *node);
        self.records.iter().filter_map(move |record| match &record.what {
            What::Host(event) if record.node.map(|node| usize::from(node.0)) == id => Some((record.at, event)),
            _ => None,
        })
    }

    /// The name of a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &str {
        self.nodes.get(usize::from(node.0)).map_or("?", |name| name)
    }

    /// The hosts' events, with their times.
    pub fn events(&self) -> impl Iterator<Item = (Duration, &Event)> {
        self.records.iter().filter_map(|record| match &record.what {
            What::Host(event) => Some((record.at, event)),
            _ => None,
        })
    }

    /// When the first record that `matches` happened.
    pub fn time_of(&self, mut matches: impl FnMut(&What) -> bool) -> Option<Duration> {
        self.records.iter().find(|record| matches(&record.what)).map(|record| record.at)
    }

    /// The last `count` records up to `until`, a line each.
    #[must_use]
    pub fn tail(&self, until: Duration, count: usize) -> String {
        let end = self.records.partition_point(|record| record.at <= until);
        let start = end.saturating_sub(count);
        let lines = &self.records[start..end];
        let names: Vec<_> = self.nodes.iter().map(|node| self.names(node)).collect();
        let mut text = String::new();
        if start > 0 {
            text.push_str(&format!("  … {start} earlier\n"));
        }
        for record in lines {
            let names = record.node.and_then(|node| names.get(usize::from(node.0)));
            let whose = match record.node {
                Some(node) if self.nodes.len() > 1 => format!("{}: ", self.node(node)),
                Some(_) | None => String::new(),
            };
            text.push_str(&format!(
                "  {:>12}  {whose}{}\n",
                Seconds(whole_ms(record.at)).to_string(),
                self.line(record, names.map_or(&[], |names| names))
            ));
        }
        text
    }

    fn names(&self, node: &str) -> Arc<[Declaration]> {
        self.events_of(node)
            .find_map(|(_, event)| match event {
                Event::HostStarting { workers } => Some(workers.clone()),
                _ => None,
            })
            .unwrap_or_else(|| Arc::from([]))
    }

    fn site(&self, site: SiteId) -> &str {
        self.sites.get(usize::from(site.0)).map_or("?", |name| name)
    }

    fn line(&self, record: &Record, workers: &[Declaration]) -> String {
        match &record.what {
            What::Booted { boot } => format!("process started (life {boot})"),
            What::ForeignBegan { within } => format!("worker began, to end within {within:?} when it is asked"),
            What::Host(event) => describe(event, workers),
            What::Signalled(signal) => format!("{} sent", signal.as_str()),
            What::Crashed => "process killed".to_owned(),
            What::Paused => "process stands still".to_owned(),
            What::Resumed => "process goes on".to_owned(),
            What::Exited { exit: Some(exit), tasks_left } => {
                format!("process exited {}: {exit}{}", exit.code(), tasks(*tasks_left))
            }
            What::Exited { exit: None, .. } => "process ended without a verdict".to_owned(),
            What::Struck { fault } => {
                let fault = self.faults.get(*fault).map_or("?", String::as_str);
                format!("fault: {fault}")
            }
            What::PanicInjected => format!("panic injected (task {})", record.task),
            What::TimeIsUp { worker, cycle } => {
                let name = workers.get(worker.0 as usize).map_or("?", |worker| &*worker.name);
                format!("{name}: the time of cycle {cycle} is up (injected)")
            }
            What::CallBegan { site, call } => format!("{} call {call} began", self.site(*site)),
            What::CallTookEffect { site, call } => format!("{} call {call} took effect", self.site(*site)),
            What::CallEnded { site, call, ok } => {
                format!("{} call {call} {}", self.site(*site), if *ok { "succeeded" } else { "failed" })
            }
            What::Queue(operation) => operation.to_string(),
            What::Arrived { what } => format!("{what} arrived"),
            What::Healed => "all faults healed".to_owned(),
            What::Recovered => "all work done".to_owned(),
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tail(Duration::MAX, usize::MAX))
    }
}

fn tasks(left: usize) -> String {
    if left == 0 { String::new() } else { format!(", {left} tasks left behind") }
}

impl fmt::Display for QueueOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueOperation::Pushed(id) => write!(f, "delivery {id} pushed"),
            QueueOperation::InLine { delivery, line } => write!(f, "delivery {delivery} is last in line {line}"),
            QueueOperation::Requeued(id) => write!(f, "delivery {id} requeued"),
            QueueOperation::Discarded(id) => write!(f, "delivery {id} discarded"),
            QueueOperation::Pruned { dead_letters } => write!(f, "{dead_letters} old dead letters deleted"),
            QueueOperation::Claimed { delivery, token, attempt, crashes, told } => {
                write!(f, "delivery {delivery} claimed (claim {token}, attempt {attempt}, {crashes} crashes)")?;
                if *told { Ok(()) } else { f.write_str(", reply lost") }
            }
            QueueOperation::Settled { delivery, token, how } => {
                let how = match how {
                    Settled::Acked => "acked",
                    Settled::Retried => "stored for retry",
                    Settled::DeadLettered => "dead-lettered",
                    Settled::Returned => "returned",
                };
                write!(f, "delivery {delivery} {how} (claim {token})")
            }
            QueueOperation::Fenced { delivery, token } => {
                write!(f, "settlement of delivery {delivery} refused: claim {token} is not current")
            }
            QueueOperation::LeaseTaken { delivery, token } => {
                write!(f, "lease of delivery {delivery} forgotten by its store (claim {token})")
            }
            QueueOperation::StillLeased(id) => write!(f, "delivery {id} is still leased"),
            QueueOperation::Panicked => f.write_str("panic injected into a claim, a renewal or a settlement"),
        }
    }
}

/// A host event in one line.
pub(crate) fn describe(event: &Event, workers: &[Declaration]) -> String {
    let name = |id: &WorkerId| workers.get(id.0 as usize).map_or("?", |worker| &*worker.name);
    let of = |delivery: &Option<DeliveryId>| delivery.map(|id| format!(" of delivery {id}")).unwrap_or_default();
    match event {
        Event::HostStarting { workers } => format!("host starting, {} workers", workers.len()),
        Event::WorkerStarting { worker } => format!("{}: starting", name(worker)),
        Event::WorkerReady { worker } => format!("{}: ready", name(worker)),
        Event::WorkerStartFailed { worker, cause } => format!("{}: start failed, {cause}", name(worker)),
        Event::HostRunning => "host running".to_owned(),
        Event::IntakeOpened { worker } => format!("{}: intake opened", name(worker)),
        Event::TicksMissed { worker, count } => format!("{}: {count} ticks missed", name(worker)),
        Event::TickDue { worker, number, triggered: true, .. } => {
            format!("{}: tick served because of a trigger, after number {number}", name(worker))
        }
        Event::TickDue { worker, number, due, late, .. } if late.is_zero() => {
            format!("{}: tick {number}, due {due}", name(worker))
        }
        Event::TickDue { worker, number, due, late, .. } => {
            format!("{}: tick {number}, due {due}, {late:?} late", name(worker))
        }
        Event::BatchStarted { worker, first, cycles } => {
            format!("{}: batch of {cycles} started, from cycle {first} on", name(worker))
        }
        Event::BatchEnded { worker, first, cycles, failure: None, took } => {
            format!("{}: batch of {cycles} from cycle {first} on ended in {took:?}", name(worker))
        }
        Event::BatchEnded { worker, first, cycles, failure: Some(cause), took } => {
            format!("{}: batch of {cycles} from cycle {first} on failed after {took:?}, {cause}", name(worker))
        }
        Event::CycleStarted { worker, cycle, attempt, delivery } => {
            format!("{}: cycle {cycle} started, attempt {attempt}{}", name(worker), of(delivery))
        }
        Event::CycleSuperseded { worker, cycle, grace } => {
            format!("{}: cycle {cycle} asked to end within {grace:?}, the next tick is due", name(worker))
        }
        Event::CycleEnded { worker, cycle, failure: None, took } => {
            format!("{}: cycle {cycle} succeeded in {took:?}", name(worker))
        }
        Event::CycleEnded { worker, cycle, failure: Some(cause), took } => {
            format!("{}: cycle {cycle} failed after {took:?}, {cause}", name(worker))
        }
        Event::Settled { worker, cycle, delivery, settle } => {
            format!("{}: cycle {cycle}{} settled: {}", name(worker), of(delivery), settle.as_str())
        }
        Event::SettleFailed { worker, cycle, delivery, settle, cause } => {
            let cycle = cycle.map(|id| format!(" cycle {id}")).unwrap_or_default();
            format!("{}:{cycle}{} could not {}: {cause}", name(worker), of(delivery), settle.as_str())
        }
        Event::Escalated { worker, cycle, attempts, cause } => {
            let cycle = cycle.map(|id| format!(" (cycle {id})")).unwrap_or_default();
            format!("{}: escalated after {attempts} attempts{cycle}, {cause}", name(worker))
        }
        Event::SettledUnrun { worker, delivery, settle } => {
            format!("{}: delivery {delivery} settled without a cycle: {}", name(worker), settle.as_str())
        }
        Event::RetryHeldBack { worker, cycle, delay } => {
            format!("{}: retry of cycle {cycle} held back for {delay:?}", name(worker))
        }
        Event::RateLimitReached { worker, wait } => {
            format!("{}: rate limit reached, next cycle in {wait:?}", name(worker))
        }
        Event::RateLimitEased { worker, after } => {
            format!("{}: rate limit holds nothing back any more, after {after:?}", name(worker))
        }
        Event::BreakerOpened { worker, failures, probe_in } => {
            format!("{}: breaker opened after {failures} failures, next probe in {probe_in:?}", name(worker))
        }
        Event::BreakerProbing { worker, cycle } => format!("{}: cycle {cycle} is a probe", name(worker)),
        Event::BreakerClosed { worker, after } => format!("{}: breaker closed after {after:?}", name(worker)),
        Event::LeaseGivenUp { worker, delivery, after } => {
            format!("{}: lease of delivery {delivery} given up after {after:?}", name(worker))
        }
        Event::LeaseLost { worker, delivery, token } => {
            format!("{}: lease of delivery {delivery} lost (claim {})", name(worker), token.0)
        }
        Event::RenewalFailed { worker, cause } => format!("{}: renewal failed, {cause}", name(worker)),
        Event::SourceFailed { worker, consecutive, delay, cause } => {
            format!("{}: source failed ({consecutive} in a row), next try in {delay:?}, {cause}", name(worker))
        }
        Event::SourceRecovered { worker, failures } => {
            format!("{}: source recovered after {failures} failures", name(worker))
        }
        Event::QueueMeasured { worker, depth, oldest } => format!(
            "{}: queue has {} ready (the oldest for {oldest:?}), {} delayed, {} leased, {} dead",
            name(worker),
            depth.ready,
            depth.delayed,
            depth.leased,
            depth.dead
        ),
        Event::MeasureFailed { worker, cause } => format!("{}: queue not measured, {cause}", name(worker)),
        Event::WorkerFaulted { worker, cause } => format!("{}: cannot go on, {cause}", name(worker)),
        Event::WorkerRestarting { worker, restarts, delay } => {
            format!("{}: will be restarted in {delay:?} (restart {restarts})", name(worker))
        }
        Event::WorkerPaused { worker } => format!("{}: paused", name(worker)),
        Event::WorkerResumed { worker } => format!("{}: resumed", name(worker)),
        Event::WorkerTriggered { worker } => format!("{}: triggered", name(worker)),
        Event::WorkerStopAsked { worker, within } => {
            format!("{}: asked to stop, alone, within {within:?}", name(worker))
        }
        Event::SignalReceived { signal, .. } => format!("{} received", signal.as_str()),
        Event::HostStopping { reason, within, .. } => {
            let reason = match reason {
                StopReason::Signal(signal) => signal.as_str().to_owned(),
                StopReason::Asked => "asked".to_owned(),
                StopReason::StartFailure(worker) => format!("{} did not start", name(worker)),
                StopReason::WorkerFault(worker) => format!("{} faulted", name(worker)),
                StopReason::Completed => "completed".to_owned(),
                StopReason::Unable => "unable".to_owned(),
            };
            format!("host stopping within {within:?} ({reason})")
        }
        Event::IntakeClosed { worker, drain } => format!("{}: intake closed, {drain:?} to drain", name(worker)),
        Event::WorkerCancelled { worker } => format!("{}: cycles asked to stop", name(worker)),
        Event::WorkerAborted { worker } => format!("{}: cycles dropped", name(worker)),
        Event::Straggler { worker, cycle, step, doing, age, .. } => {
            format!(
                "{}: cycle {cycle} is still {}, {age:?} old, and is {}",
                name(worker),
                doing.as_str(),
                step.as_str()
            )
        }
        Event::CycleBlocked { worker, cycle, blocked, .. } => {
            format!("{}: cycle {cycle} has blocked its thread for {blocked:?}", name(worker))
        }
        Event::HookBlocked { worker, hook, blocked } => {
            format!("{}: {} hook blocks its thread for {blocked:?}", name(worker), hook.as_str())
        }
        Event::HostOverdue { exit } => format!("host overdue, the process is ended: {exit}"),
        Event::WorkerAbandoned { worker, phase } => format!("{}: abandoned while {phase}", name(worker)),
        Event::StopHookFailed { worker, cause } => format!("{}: stop hook failed, {cause}", name(worker)),
        Event::WorkerStopped { worker, phase } => format!("{}: {phase}", name(worker)),
        Event::HostStopped { exit } => format!("host stopped: {exit}"),
    }
}
