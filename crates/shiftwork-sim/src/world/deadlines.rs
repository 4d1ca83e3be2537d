//! What is being waited for, and faults that are put there ([`Timing::AtDeadlines`](crate::plan::Timing)).
//!
//! Most deadlines follow from what is recorded and from what workers declare: the limits of a start, of a cycle and of a stop, retries,
//! ticks, probes, restarts. Queues tell of their leases, and of when those are renewed as a rule. What only the code under test
//! knows of, the driver adds: the next timer of each process, and what the scenario's surroundings will do.
//!
//! A deadline is drawn by its kind first, so that a hundred leases do not hide the one drain that ends. Each draw takes the
//! deadline itself, a millisecond before it, or a millisecond after: on which side of a limit its own time belongs is what code gets wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shiftwork::{
    event::{Declaration, Event, Settle, SourceKind, WorkerId},
    queue::DeliveryId,
};

use super::{shared::State, strikes::PlannedFault};
use crate::{
    FaultKind, Plan, QueueOperation, Record, What,
    plan::{Spread, Timing, whole_ms},
    record::NodeId,
    streams::stream,
    world::wall_at,
};

/// Timers have no finer ones.
const MS: Duration = Duration::from_millis(1);

/// How many of a hundred faults begin at a deadline. The others begin when they would have, so that not all lengths are measured
/// from one deadline to the next.
const BEGINS_PERCENT: u8 = 67;

/// The same of the ends of faults, and of what slow calls take.
const LASTS_PERCENT: u8 = 50;

/// Who waits for something, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Start(NodeId, WorkerId),
    CycleLimit(NodeId, WorkerId, u64),
    Progress(NodeId, WorkerId, u64),
    Superseded(NodeId, WorkerId),
    Retry(NodeId, WorkerId, u64),
    Tick(NodeId, WorkerId),
    Linger(NodeId, WorkerId),
    Probe(NodeId, WorkerId),
    SourceRetry(NodeId, WorkerId),
    Restart(NodeId, WorkerId),
    Drain(NodeId, WorkerId),
    Stop(NodeId),
    LeaseEnd(DeliveryId),
    Renewal(DeliveryId),
    /// The next timer of a process, or its next start.
    Timer(usize),
    /// The next timer of a process is not before then.
    FarTimer(usize),
    /// What the scenario's surroundings do.
    Surroundings(usize),
}

impl Wait {
    /// What is the same about deadlines of which one is drawn.
    fn class(self) -> u8 {
        match self {
            Wait::Start(..) => 0,
            Wait::CycleLimit(..) | Wait::Progress(..) => 1,
            Wait::Superseded(..) => 2,
            Wait::Retry(..) => 3,
            Wait::Tick(..) => 4,
            Wait::Linger(..) => 5,
            Wait::Probe(..) => 6,
            Wait::SourceRetry(..) => 7,
            Wait::Restart(..) => 8,
            Wait::Drain(..) => 9,
            Wait::Stop(..) => 10,
            Wait::LeaseEnd(..) => 11,
            Wait::Renewal(..) => 12,
            Wait::Timer(..) | Wait::FarTimer(..) => 13,
            Wait::Surroundings(..) => 14,
        }
    }

    /// Whose process must live for it to mean anything.
    fn node(self) -> Option<NodeId> {
        match self {
            Wait::Start(node, _)
            | Wait::CycleLimit(node, ..)
            | Wait::Progress(node, ..)
            | Wait::Superseded(node, _)
            | Wait::Retry(node, ..)
            | Wait::Tick(node, _)
            | Wait::Linger(node, _)
            | Wait::Probe(node, _)
            | Wait::SourceRetry(node, _)
            | Wait::Restart(node, _)
            | Wait::Drain(node, _)
            | Wait::Stop(node) => Some(node),
            // A lease outlives who holds it.
            Wait::LeaseEnd(_) | Wait::Renewal(_) | Wait::Timer(_) | Wait::FarTimer(_) | Wait::Surroundings(_) => None,
        }
    }
}

/// What the driver knows of.
pub(super) struct Waits {
    /// When each node next does something by itself.
    pub(super) timers: Vec<Option<NextTimer>>,
    /// When the scenario's surroundings do something.
    pub(super) surroundings: Vec<Duration>,
}

/// When a node next does something by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextTimer {
    /// Then.
    At(Duration),
    /// Not before: tokio keeps distant timers in rows of 64 ms and more, and looks at a row when its time begins.
    NotBefore(Duration),
}

/// What is to be done about a fault whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It begins then.
    At(Duration),
    /// It is to be put at a timer that is still far away: ask again then.
    Follow(Duration),
}

/// Which deadlines will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Any,
    /// Only those that are known to the millisecond.
    Exact,
    /// Only the next timer of a process.
    Timers,
}

impl Choice {
    fn allows(self, wait: Wait) -> bool {
        match self {
            Choice::Any => true,
            Choice::Exact => !matches!(wait, Wait::FarTimer(_)),
            Choice::Timers => matches!(wait, Wait::Timer(_) | Wait::FarTimer(_)),
        }
    }
}

/// Everything that is being waited for.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<Wait, Duration>);

impl Pending {
    /// One of those after `now` and before `until`, or a millisecond beside it; not before `now`.
    fn draw(&self, choice: Choice, now: Duration, until: Duration, chance: &mut fastrand::Rng) -> Option<Put> {
        let mut classes: BTreeMap<u8, Vec<(Wait, Duration)>> = BTreeMap::new();
        for (wait, at) in &self.0 {
            if choice.allows(*wait) && now < *at && *at < until {
                classes.entry(wait.class()).or_default().push((*wait, *at));
            }
        }
        let count = classes.len();
        let class = classes.into_values().nth(if count > 0 { chance.usize(0..count) } else { 0 })?;
        let (wait, at) = class[chance.usize(0..class.len())];
        // What a fault is put at is in whole milliseconds, like every timer.
        let at = Duration::from_millis(whole_ms(at));
        if let Wait::FarTimer(_) = wait {
            // By then the row was looked at.
            return Some(Put::Follow(at + MS));
        }
        Some(Put::At(match chance.u8(0..3) {
            0 => at.saturating_sub(MS).max(now),
            1 => at.max(now),
            _ => at + MS,
        }))
    }

    /// The same among those that are known to the millisecond.
    fn draw_exact(&self, now: Duration, until: Duration, chance: &mut fastrand::Rng) -> Option<Duration> {
        match self.draw(Choice::Exact, now, until, chance)? {
            Put::At(at) | Put::Follow(at) => Some(at),
        }
    }
}

/// Puts the faults of a world at deadlines.
pub(super) struct Collisions {
    chance: fastrand::Rng,
    pending: Pending,
    /// What the workers of each node declared.
    declared: BTreeMap<NodeId, Arc<[Declaration]>>,
}

impl Collisions {
    /// `None` if the plan's times are as they are written.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        match plan.timing {
            Timing::AsWritten | Timing::FoundAtDeadlines => None,
            Timing::AtDeadlines => Some(Self {
                chance: fastrand::Rng::with_seed(stream(plan.seed, "deadlines")),
                pending: Pending::default(),
                declared: BTreeMap::new(),
            }),
        }
    }

    /// A lease was given or renewed, for so long from now on.
    pub(super) fn leased(&mut self, now: Duration, delivery: DeliveryId, lasts: Duration) {
        self.wait(Wait::LeaseEnd(delivery), now, lasts);
        self.wait(Wait::Renewal(delivery), now, lasts / 3);
    }

    fn wait(&mut self, wait: Wait, now: Duration, by: Duration) {
        // Longer than any world.
        if let Some(at) = now.checked_add(by) {
            self.pending.0.insert(wait, at);
        }
    }

    fn over(&mut self, wait: Wait) {
        self.pending.0.remove(&wait);
    }

    fn declared(&self, node: NodeId, worker: WorkerId) -> Option<&Declaration> {
        self.declared.get(&node)?.get(worker.0 as usize)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what begins and ends no waiting says nothing here")]
    pub(super) fn on(&mut self, record: &Record, wall_offset_ms: i64) {
        let Some(node) = record.node else { return };
        let now = record.at;
        match &record.what {
            What::Booted { .. } => self.pending.0.retain(|wait, _| wait.node() != Some(node)),
            What::Queue(QueueOperation::Claimed { .. }) => {
                let Some(workers) = self.declared.get(&node).cloned() else { return };
                for (worker, id) in workers.iter().zip(0..) {
                    if let Some(batches) = worker.batch {
                        self.wait(Wait::Linger(node, WorkerId(id)), now, batches.lingers());
                    }
                }
            }
            What::Queue(QueueOperation::Settled { delivery, .. } | QueueOperation::LeaseTaken { delivery, .. }) => {
                self.over(Wait::LeaseEnd(*delivery));
                self.over(Wait::Renewal(*delivery));
            }
            What::Host(event) => self.on_event(node, now, wall_offset_ms, event),
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what begins and ends no waiting says nothing here")]
    fn on_event(&mut self, node: NodeId, now: Duration, wall_offset_ms: i64, event: &Event) {
        match event {
            Event::HostStarting { workers } => _ = self.declared.insert(node, workers.clone()),
            Event::WorkerStarting { worker } => {
                if let Some(limit) = self.declared(node, *worker).map(|it| it.start_timeout) {
                    self.wait(Wait::Start(node, *worker), now, limit);
                }
            }
            Event::WorkerReady { worker } => self.over(Wait::Start(node, *worker)),
            Event::CycleStarted { worker, cycle, .. } => {
                let Some(declared) = self.declared(node, *worker) else { return };
                let (limit, progress) = (declared.cycle_timeout, declared.progress_timeout);
                if let Some(limit) = limit {
                    self.wait(Wait::CycleLimit(node, *worker, cycle.0), now, limit);
                }
                if let Some(limit) = progress {
                    self.wait(Wait::Progress(node, *worker, cycle.0), now, limit);
                }
            }
            Event::CycleEnded { worker, cycle, .. } => {
                self.over(Wait::CycleLimit(node, *worker, cycle.0));
                self.over(Wait::Progress(node, *worker, cycle.0));
                if let Some(SourceKind::FixedDelay { delay, .. }) = self.declared(node, *worker).map(|it| it.source) {
                    self.wait(Wait::Tick(node, *worker), now, delay);
                }
            }
            Event::CycleSuperseded { worker, grace, .. } => self.wait(Wait::Superseded(node, *worker), now, *grace),
            Event::Settled { worker, cycle, settle, .. } => match settle {
                Settle::Retry { delay } | Settle::Snooze { delay } => {
                    self.wait(Wait::Retry(node, *worker, cycle.0), now, *delay);
                }
                Settle::DeadLetter { .. } | Settle::Ack | Settle::Return | Settle::Discard => {}
            },
            Event::TickDue { worker, due, .. } => {
                if let Some(SourceKind::FixedRate { period, .. }) = self.declared(node, *worker).map(|it| it.source) {
                    let late = wall_at(now, wall_offset_ms).duration_since(*due);
                    let late = Duration::try_from(late).unwrap_or_default();
                    self.wait(Wait::Tick(node, *worker), now, period.saturating_sub(late));
                }
            }
            Event::BreakerOpened { worker, probe_in, .. } => self.wait(Wait::Probe(node, *worker), now, *probe_in),
            Event::BreakerClosed { worker, .. } => self.over(Wait::Probe(node, *worker)),
            Event::SourceFailed { worker, delay, .. } => self.wait(Wait::SourceRetry(node, *worker), now, *delay),
            Event::WorkerRestarting { worker, delay, .. } => self.wait(Wait::Restart(node, *worker), now, *delay),
            Event::HostStopping { within, .. } => self.wait(Wait::Stop(node), now, *within),
            Event::IntakeClosed { worker, drain } => self.wait(Wait::Drain(node, *worker), now, *drain),
            Event::WorkerStopped { worker, .. } => self.over(Wait::Drain(node, *worker)),
            _ => {}
        }
    }

    /// By how much a call is slower that would take `usual`, so that it arrives or returns at a deadline.
    fn slowness(&mut self, now: Duration, until: Duration, usual: Duration) -> Option<Duration> {
        let at = self.pending.draw_exact(now, until, &mut self.chance)?;
        let time = at.saturating_sub(now);
        // Half of a call's time is the way there.
        let whole = if self.chance.bool() { time } else { time * 2 };
        whole.checked_sub(usual).filter(|by| *by >= MS)
    }
}

impl State {
    fn note_waits(&mut self, waits: &Waits) {
        let Some(collisions) = &mut self.collisions else { return };
        let Waits { timers, surroundings } = waits;
        let pending = &mut collisions.pending.0;
        pending.retain(|wait, _| !matches!(wait, Wait::Timer(_) | Wait::FarTimer(_) | Wait::Surroundings(_)));
        pending.extend(timers.iter().enumerate().filter_map(|(node, next)| match (*next)? {
            NextTimer::At(at) => Some((Wait::Timer(node), at)),
            NextTimer::NotBefore(at) => Some((Wait::FarTimer(node), at)),
        }));
        pending.extend(surroundings.iter().enumerate().map(|(number, at)| (Wait::Surroundings(number), *at)));
    }

    /// When a fault begins that would begin now, or that follows a timer.
    pub(super) fn put_at_deadline(&mut self, fault: usize, follows: bool, waits: &Waits) -> Put {
        self.note_waits(waits);
        let (now, until) = (self.now(), self.heal_at());
        let mut put = Put::At(now);
        if let Some(Collisions { chance, pending, declared: _ }) = &mut self.collisions
            && (follows || chance.u8(0..100) < BEGINS_PERCENT)
        {
            let choice = if follows { Choice::Timers } else { Choice::Any };
            // Right after the last deadline is too late, if the world heals then.
            let in_time = |put: &Put| matches!(put, Put::At(at) | Put::Follow(at) if *at < until);
            put = pending.draw(choice, now, until, chance).filter(in_time).unwrap_or(put);
        }
        match put {
            Put::At(at) => self.faults[fault].begins_at(at),
            Put::Follow(at) => self.faults[fault].follows_until = Some(at),
        }
        put
    }

    /// A fault begins now: how long it lasts, and what else of it is a time.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others last for some time, or happen once")]
    pub(super) fn put_end_at_deadline(&mut self, fault: usize, waits: &Waits) {
        self.note_waits(waits);
        let (now, until) = (self.now(), self.heal_at());
        let Some(Collisions { chance, pending, declared: _ }) = &mut self.collisions else { return };
        if chance.u8(0..100) >= LASTS_PERCENT {
            return;
        }
        let fault = &mut self.faults[fault];
        match &mut fault.kind {
            // Known when the first call sets out.
            FaultKind::Slow { .. } | FaultKind::Brownout { .. } => fault.slows_to_deadline = true,
            // Into the future alone: what is behind is waited for by nobody.
            FaultKind::ClockStep { by_ms, .. } if *by_ms > 0 => {
                if let Some(at) = pending.draw_exact(now, until, chance) {
                    *by_ms = i64::try_from(whole_ms(at - now)).unwrap_or(i64::MAX).max(1);
                }
            }
            _ => {
                if let Some(at) = pending.draw_exact(now, until, chance).filter(|at| *at > now) {
                    fault.lasts(at - now);
                }
            }
        }
    }

    /// The slowness of a fault is drawn by its first call, which would take `usual`.
    pub(super) fn put_call_at_deadline(&mut self, fault: usize, usual: Duration) {
        let (now, until) = (self.now(), self.heal_at());
        let Some(collisions) = &mut self.collisions else { return };
        if let Some(by) = collisions.slowness(now, until, usual) {
            slow_by(&mut self.faults[fault], by);
        }
    }

    /// The plan with the times that came of it.
    pub(super) fn plan_as_it_was(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        if self.collisions.is_some() {
            plan.timing = Timing::FoundAtDeadlines;
            for (fault, planned) in plan.faults.iter_mut().zip(&self.faults) {
                if planned.at < Duration::MAX {
                    fault.at_ms = whole_ms(planned.at);
                    fault.kind = planned.kind.clone();
                } else if let Some(until) = planned.follows_until {
                    // The world was over before it began: so it is when this plan is run.
                    fault.at_ms = whole_ms(until).saturating_add(1);
                }
                // One whose time had not come at all is as it was.
            }
        }
        plan
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other kind slows a call down")]
fn slow_by(fault: &mut PlannedFault, by: Duration) {
    match &mut fault.kind {
        FaultKind::Slow { by_ms, spread, .. } => (*by_ms, *spread) = (whole_ms(by), Spread::Constant),
        FaultKind::Brownout { by_ms, .. } => *by_ms = whole_ms(by),
        _ => {}
    }
}
