//! The state that the nodes, their dependencies and the driver share.
//!
//! A world runs on one thread, so the lock is never contended; it is there because worker code must be `Send`.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use shiftwork::{
    Signal,
    event::Event,
    queue::{DeliveryId, Timestamp},
};
use tokio::{
    runtime::RuntimeMetrics,
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    Fence, Gate, Options,
    clock::{Time, WorldClock, wall_at},
    deadlines::Collisions,
    real_time::{RealTime, SlowPoll},
    recorder::Recorder,
    strikes::{Asks, AtPoll, PlannedFault, Visit},
    survey::{Place, Sight},
    tasks::Tasks,
};
#[cfg(tokio_unstable)]
use super::{
    blocking,
    real_time::Reading,
    recorder::{POLLS_IN_AN_INSTANT_MAX, RECORDS_IN_AN_INSTANT_MAX},
};
use crate::{
    FaultName, Plan, Record, Timeline, Violation, What,
    interpose::{self, parking},
    order::Scheduler,
    record::{NodeId, SiteId},
    rules::{Sometimes, user::UserRules},
    watchdog::Pulse,
};

/// How long a poll may block its thread: rule L3. Others on the thread notice so much.
const POLL_MAX: Duration = Duration::from_millis(10);

pub(crate) struct Shared {
    /// The clock of every thread of the world.
    pub(super) clock: Arc<WorldClock>,
    state: Mutex<State>,
    queues: Mutex<Vec<Held>>,
    /// Whether each poll of a call matters: one may panic there or be dropped, or is noted.
    pub(crate) calls_are_watched: bool,
    /// The same of each await point of a cycle.
    pub(super) cycles_are_watched: bool,
    /// Whether polls are measured in real time.
    measures_polls: bool,
    /// What a watchdog sees of polls, if there is one.
    pub(super) pulse: OnceLock<Arc<Pulse>>,
    pub(super) scheduler: Mutex<Scheduler>,
    /// Rung when the driver must look: a crash was asked for, a process has ended, or the world cannot go on.
    pub(crate) bell: Notify,
}

/// What a queue still has work to do for, and whether it is leased.
type Held = Box<dyn Fn() -> Vec<(DeliveryId, bool)> + Send>;

pub(crate) struct State {
    time: Time,
    pub(super) faults: Vec<PlannedFault>,
    heal_at: Duration,
    pub(super) sites: Vec<Site>,
    nodes: Vec<NodeState>,
    /// Whose code runs; `None` for the world's own.
    running: Option<NodeId>,
    /// How long the running node stays down after the crash that was asked for from inside of it.
    pub(crate) crash: Option<Duration>,
    /// What comes after so many polls more.
    pub(super) at_poll: Vec<AtPoll>,
    /// How far the wall clocks of all nodes have been stepped.
    stepped_ms: i64,
    /// How long a poll may block its thread.
    poll_max: Duration,
    /// What is being waited for, if faults are put there.
    pub(super) collisions: Option<Collisions>,
    /// The places that the world came by, if it is surveyed.
    pub(super) survey: Option<Vec<Sight>>,
    recorder: Recorder,
    /// What the poll at hand takes in real time, if somebody wants to know.
    real_time: RealTime,
}

/// What is known of a node from outside of its process.
struct NodeState {
    name: Arc<str>,
    /// Where the hosts of its process take their signals from: each hears all of them.
    signals: Vec<mpsc::UnboundedSender<Signal>>,
    tasks: Tasks,
    /// What its runtime tells of its blocking threads, while it runs.
    metrics: Option<RuntimeMetrics>,
    gate: Option<Arc<Gate>>,
    /// Up when its process is gone while its memory is not yet: nothing it tries happens.
    fence: Fence,
    /// How far its wall clock is from those of the others.
    skew_ms: i64,
}

pub(super) struct Site {
    name: Arc<str>,
    pub(super) chance: fastrand::Rng,
    calls: u64,
}

impl Shared {
    pub(super) fn new(plan: &Plan, options: &Options, survey: bool, clock: Arc<WorldClock>) -> Self {
        let plans = |kinds: [FaultName; 2]| plan.faults.iter().any(|fault| kinds.contains(&fault.kind.kind()));
        Self {
            clock: clock.clone(),
            state: Mutex::new(State {
                time: Time::new(clock),
                faults: plan.faults.iter().map(PlannedFault::new).collect(),
                heal_at: options.horizon.unwrap_or(Duration::from_secs(60)),
                sites: Vec::new(),
                nodes: Vec::new(),
                running: None,
                crash: None,
                at_poll: Vec::new(),
                stepped_ms: 0,
                poll_max: POLL_MAX,
                collisions: Collisions::of(plan),
                survey: survey.then(Vec::new),
                recorder: Recorder::new(plan, options.timeline),
                real_time: RealTime::of(options.poll_max_real),
            }),
            queues: Mutex::new(Vec::new()),
            calls_are_watched: survey || plans([FaultName::PanicAtPoll, FaultName::DropAtPoll]),
            cycles_are_watched: survey || plans([FaultName::PanicInCycle, FaultName::CancelInCycle]),
            measures_polls: options.poll_max_real.is_some(),
            pulse: OnceLock::new(),
            scheduler: Mutex::new(Scheduler::new(&plan.order, plan.seed)),
            bell: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall time where this is called: by the clock of the node that runs, or by the world's.
    pub(crate) fn wall_time(&self) -> Timestamp {
        let state = self.lock();
        wall_at(state.now(), state.wall_offset_ms(state.running))
    }

    pub(crate) fn record(&self, what: What) {
        let mut state = self.lock();
        let at = state.now();
        state.record(at, what);
    }

    /// A host event, with the time that the host gave it.
    pub(crate) fn host_event(&self, at: Instant, event: &Event) {
        let mut state = self.lock();
        if state.is_fenced() {
            return;
        }
        let at = state.time.at(at);
        state.record(at, What::Host(event.clone()));
    }

    /// The task that is being polled, for one who looks from another thread.
    pub(crate) fn polled_task(&self) -> Option<String> {
        let mut state = self.state.try_lock().ok()?;
        state.running_node().map(|node| node.tasks.describe(node.tasks.current))
    }

    pub(super) fn add_node(&self, name: &str) -> NodeId {
        let mut state = self.lock();
        let id = NodeId(u16::try_from(state.nodes.len()).unwrap_or(u16::MAX));
        state.nodes.push(NodeState {
            name: name.into(),
            signals: Vec::new(),
            tasks: Tasks::default(),
            metrics: None,
            gate: None,
            fence: Fence::default(),
            skew_ms: 0,
        });
        let offset = state.stepped_ms;
        state.recorder.rules.add_node(offset);
        id
    }

    pub(super) fn add_site(&self, name: &str, seed: u64) -> SiteId {
        let mut state = self.lock();
        let taken = state.sites.iter().any(|site| *site.name == *name);
        assert!(!taken, "the world has a site {name:?} already: clone the handle of that one");
        let id = SiteId(u16::try_from(state.sites.len()).unwrap_or(u16::MAX));
        state.sites.push(Site { name: name.into(), chance: fastrand::Rng::with_seed(seed), calls: 0 });
        for fault in &mut state.faults {
            if fault.kind.site() == Some(name) {
                fault.site = Some(id);
            }
        }
        id
    }

    /// A queue of the world, by what it still holds.
    pub(crate) fn watch_queue(&self, held: Held) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    }

    /// What the queues still have work to do for, and whether it is leased.
    pub(super) fn held(&self) -> Vec<(DeliveryId, bool)> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().flat_map(|held| held()).collect()
    }

    /// Lets go of what refers back to the world.
    pub(super) fn take_apart(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.lock().recorder.user_rules.clear();
    }

    /// What blocks its thread does so for this time: the clock goes on, and nothing else does, as when it sleeps.
    pub(crate) fn block(&self, by: Duration) {
        self.clock.skip_to(self.clock.now().saturating_add(by));
    }

    /// Adds an invariant of the scenario.
    pub(super) fn add_rule(&self, add: impl FnOnce(&mut UserRules)) {
        add(&mut self.lock().recorder.user_rules);
    }
}

/// What tokio tells of its tasks.
#[cfg(tokio_unstable)]
impl Shared {
    pub(super) fn poll_begins(&self, task: &tokio::runtime::TaskMeta<'_>) {
        if let Some(pulse) = self.pulse.get() {
            pulse.beat();
        }
        let mut state = self.lock();
        let state = &mut *state;
        let now = state.time.now();
        let Some(node) = state.running else { return };
        let tasks = &mut state.nodes[usize::from(node.0)].tasks;
        let number = tasks.number(task.id(), Some(task.spawned_at()));
        (tasks.current, tasks.began_at, tasks.held_up) = (number, now, Duration::ZERO);
        let poll = crate::record::Poll { at: now, node, task: number, spawned_at: task.spawned_at() };
        if state.recorder.polled(poll) {
            let task = tasks.describe(number);
            state.violate(Violation {
                rule: crate::RuleName::Rule(shiftwork::Rule::L2),
                at: now,
                expected: format!(
                    "fewer than {POLLS_IN_AN_INSTANT_MAX} polls and {RECORDS_IN_AN_INSTANT_MAX} events without time passing"
                ),
                happened: format!("there were as many, and {task} is polled again"),
            });
            self.bell.notify_one();
        }
    }

    /// Nothing of the world's own comes any more before a poll: from here on it is measured.
    pub(super) fn real_time_begins(&self) {
        if self.measures_polls {
            self.lock().real_time.poll_begins();
        }
    }

    /// A poll has ended, and nothing of the world's own has come yet.
    fn real_time_ended(&self) {
        if self.measures_polls {
            let now = interpose::real_time();
            self.lock().poll_took(now);
        }
    }

    pub(super) fn poll_ended(&self) {
        self.real_time_ended();
        if let Some(pulse) = self.pulse.get() {
            pulse.beat();
        }
        let mut state = self.lock();
        let (now, poll_max) = (state.now(), state.poll_max);
        let Some(node) = state.running_node() else { return };
        let number = node.tasks.current;
        let blocked = now.saturating_sub(node.tasks.began_at);
        // What a fault has added is not the task's.
        let own = blocked.saturating_sub(node.tasks.held_up);
        let (began, too_long) = (node.tasks.began_at, (own >= poll_max).then(|| node.tasks.describe(number)));
        let metrics = node.metrics.as_ref().filter(|metrics| metrics.num_blocking_threads() > 0);
        let blocking = metrics.cloned().zip(node.gate.clone());
        if !blocked.is_zero() {
            state.recorder.rules.blocked(began, now);
        }
        if let Some(task) = too_long {
            state.violate(Violation {
                rule: crate::RuleName::Rule(shiftwork::Rule::L3),
                at: now,
                expected: format!("a poll blocks its thread for less than {poll_max:?}"),
                happened: format!("a poll of {task} blocked it for {blocked:?}"),
            });
            self.bell.notify_one();
        }
        // Nothing strikes in what is left of a process that is over.
        if !state.is_fenced() {
            state.note(Place::Polled);
        }
        if let Some(node) = state.running_node() {
            node.tasks.current = 0;
        }
        if state.strike_at_poll() {
            self.bell.notify_one();
        }
        drop(state);
        if let Some((metrics, gate)) = blocking
            && let Some(time) = blocking::let_work(&metrics, &gate, now)
        {
            parking::lower_limit(time);
        }
    }

    pub(super) fn task_spawned(&self, task: &tokio::runtime::TaskMeta<'_>) {
        let mut state = self.lock();
        let Some(id) = state.running else { return };
        let tasks = &mut state.nodes[usize::from(id.0)].tasks;
        let (by, number) = (tasks.current, tasks.number(task.id(), Some(task.spawned_at())));
        if by != 0 {
            state.recorder.rules.spawned(id, number, by);
        }
    }

    pub(super) fn task_ended(&self, task: tokio::task::Id) {
        if let Some(node) = self.lock().running_node() {
            node.tasks.ended(task);
        }
    }
}

impl State {
    /// World time.
    pub(crate) fn now(&self) -> Duration {
        self.time.now()
    }

    /// The instant of the running node's clock at which world time is `time`.
    pub(crate) fn instant_of(&self, time: Duration) -> Instant {
        self.time.instant_of(time)
    }

    pub(super) fn time(&mut self) -> &mut Time {
        &mut self.time
    }

    /// Time passes while no node runs; what a scenario demands by a time before `next` is judged.
    pub(super) fn pass_to(&mut self, next: Duration) {
        self.recorder.time_passes(next);
        self.time.skip_to(next);
    }

    /// Right after the next time by which a scenario demands something.
    pub(super) fn judged_at(&self) -> Option<Duration> {
        self.recorder.user_rules.deadline().map(|deadline| deadline.saturating_add(Duration::from_nanos(1)))
    }

    pub(super) fn node_name(&self, node: NodeId) -> &str {
        &self.nodes[usize::from(node.0)].name
    }

    pub(super) fn running(&self) -> Option<NodeId> {
        self.running
    }

    fn running_node(&mut self) -> Option<&mut NodeState> {
        self.running.map(|id| &mut self.nodes[usize::from(id.0)])
    }

    /// From here on this node's code runs, or the world's own.
    pub(super) fn switch_to(&mut self, node: Option<NodeId>) {
        self.running = node;
        Fence::enter(self.running_node().map(|node| node.fence.clone()));
        let offset = self.wall_offset_ms(node);
        self.time.set_wall_offset_ms(offset);
    }

    /// How far a node's wall clock is from that of the world's beginning.
    pub(super) fn wall_offset_ms(&self, node: Option<NodeId>) -> i64 {
        let skew = node.map_or(0, |id| self.nodes[usize::from(id.0)].skew_ms);
        self.stepped_ms.saturating_add(skew)
    }

    /// The process of the node that runs begins.
    pub(super) fn boot(&mut self) {
        self.crash = None;
        if let Some(node) = self.running_node() {
            node.signals.clear();
            node.tasks = Tasks::default();
            node.fence = Fence::default();
            Fence::enter(Some(node.fence.clone()));
        }
    }

    /// The process of the node that runs is killed from inside of it, and down for so long. It is dead from here on, and dropped when the
    /// driver has its turn.
    pub(super) fn kill(&mut self, down: Duration) {
        self.crash = Some(down);
        if let Some(node) = self.running_node() {
            node.fence.raise();
        }
    }

    /// The process of the node that runs is over: from here on it does nothing that could be seen outside of it.
    pub(super) fn fence(&mut self) {
        self.crash = None;
        if let Some(node) = self.running_node() {
            node.fence.raise();
            node.signals.clear();
            (node.metrics, node.gate) = (None, None);
            node.tasks.current = 0;
        }
    }

    /// Whether the running node's process is gone, or is about to be.
    pub(crate) fn is_fenced(&self) -> bool {
        self.running.is_some_and(|id| self.nodes[usize::from(id.0)].fence.is_up())
    }

    /// The fence around the process of the node that runs.
    pub(super) fn fence_of_running_node(&mut self) -> Fence {
        self.running_node().map(|node| node.fence.clone()).unwrap_or_default()
    }

    /// The runtime of the node that runs has begun.
    pub(super) fn watch_runtime(&mut self, metrics: RuntimeMetrics, gate: Arc<Gate>) {
        if let Some(node) = self.running_node() {
            (node.metrics, node.gate) = (Some(metrics), Some(gate));
        }
    }

    /// How long a poll may block its thread.
    pub(super) fn set_poll_max(&mut self, poll_max: Duration) {
        self.poll_max = poll_max;
    }

    /// The workers of this name catch panics of their own.
    pub(super) fn catches_panics(&mut self, worker: &str) {
        self.recorder.rules.catches_panics(worker);
    }

    /// A host of the node that runs hears its signals from here on.
    pub(super) fn listen(&mut self, signals: mpsc::UnboundedSender<Signal>) {
        if let Some(node) = self.running_node() {
            node.signals.push(signals);
        }
    }

    /// Whether a node's process has a handler for a signal. It has one for as long as it lives, also when nobody listens to that
    /// any more.
    pub(super) fn signal(&self, node: NodeId, signal: Signal) -> bool {
        let handlers = &self.nodes[usize::from(node.0)].signals;
        for handler in handlers {
            let _nobody_listens = handler.send(signal);
        }
        !handlers.is_empty()
    }

    /// A node's process is about to end: what comes after so many of its polls does not come any more.
    pub(super) fn forget_polls(&mut self, node: NodeId) {
        self.at_poll.retain(|planned| planned.node != node);
    }

    /// A poll has ended at `now` on the machine's clocks: kept if it took too long.
    #[cfg(tokio_unstable)]
    fn poll_took(&mut self, now: Reading) {
        let Some(Reading { real, cpu }) = self.real_time.poll_ended(now) else { return };
        let Some(node) = self.running_node() else { return };
        let tasks = &node.tasks;
        let (node, task, at) = (node.name.clone(), tasks.describe(tasks.current), tasks.began_at);
        self.real_time.found(SlowPoll { node, task, at, real, cpu });
    }

    pub(crate) fn record(&mut self, at: Duration, what: What) {
        let own_work = self.real_time.own_work_begins();
        let (node, task) = (self.running, self.running_node().map_or(0, |node| node.tasks.current));
        // What is said in a poll that has blocked its thread for a while is late by that.
        if let Some(began) = self.blocking_since(at) {
            self.recorder.rules.blocked(began, at);
        }
        let record = Record { at, node, task, what };
        if self.collisions.is_some() {
            let offset = self.wall_offset_ms(node);
            if let Some(collisions) = &mut self.collisions {
                collisions.on(&record, offset);
            }
        }
        self.recorder.record(&record);
        self.recorder.keep(record);
        if self.has_violations() {
            // No later instant says more, and how many there would be depends on what the world has in store.
            parking::lower_limit(Duration::ZERO);
        } else if let Some(judged) = self.judged_at() {
            parking::lower_limit(judged);
        }
        self.real_time.own_work_ended(own_work);
    }

    /// Code of a node has run since then outside of any poll. If it has blocked the thread, everybody is late by that.
    pub(super) fn has_kept_waiting(&mut self, since: Duration) {
        let now = self.now();
        if since < now {
            self.recorder.rules.blocked(since, now);
        }
    }

    /// Since when a task is being polled, if time has passed in that.
    fn blocking_since(&self, now: Duration) -> Option<Duration> {
        let tasks = &self.nodes[usize::from(self.running?.0)].tasks;
        (tasks.current != 0 && tasks.began_at < now).then_some(tasks.began_at)
    }

    /// Whether a fault may hold up the poll at hand: there is one, somebody sees how long it lasts, and nothing has held it up yet. Twice
    /// what rule L3 allows is more than it allows.
    pub(super) fn may_block(&self) -> bool {
        interpose::IN_FORCE && self.task_of_running_node() != 0 && self.blocking_since(self.now()).is_none()
    }

    /// A fault holds up the poll at hand for so long. Where that alone is less than rule L3 allows, it is not held against the task.
    pub(super) fn holds_up(&mut self, by: Duration) {
        if let Some(node) = self.running_node().filter(|_| by < POLL_MAX) {
            node.tasks.held_up += by;
        }
    }

    /// The task that is being polled; 0 outside of all.
    #[cfg(tokio_unstable)]
    pub(super) fn current_task(&mut self) -> u32 {
        self.running_node().map_or(0, |node| node.tasks.current)
    }

    /// The same, for what notes where the world is.
    pub(super) fn task_of_running_node(&self) -> u32 {
        self.running.map_or(0, |id| self.nodes[usize::from(id.0)].tasks.current)
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.recorder.count
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        self.recorder.violate(violation);
    }

    pub(super) fn has_violations(&self) -> bool {
        !self.recorder.violations.is_empty()
    }

    /// A panic of the rules themselves, if there was one.
    pub(super) fn take_panic(&mut self) -> Option<Box<dyn Any + Send>> {
        self.recorder.panicked.take()
    }

    /// The rules that can only be told when the world is over.
    pub(super) fn check_end(&mut self, held: &[(DeliveryId, bool)], complete: bool) {
        let at = self.now();
        let held = held.iter().map(|(id, _)| *id).collect();
        let violations = &mut self.recorder.violations;
        self.recorder.rules.check_end(at, &held, &mut |violation| violations.push(violation));
        let complete = complete && violations.is_empty();
        self.recorder.user_rules.end(at, complete, &mut |violation| violations.push(violation));
    }

    pub(super) fn finish(&mut self) -> Finished {
        Finished {
            fingerprint: self.recorder.fingerprint(),
            records: self.recorder.count,
            violations: std::mem::take(&mut self.recorder.violations),
            timeline: Timeline {
                records: self.recorder.timeline.take().unwrap_or_default(),
                polls: std::mem::take(&mut self.recorder.polls),
                nodes: self.nodes.iter().map(|node| node.name.clone()).collect(),
                sites: self.sites.iter().map(|site| site.name.clone()).collect(),
                faults: self.faults.iter().map(|fault| fault.kind.to_string()).collect(),
            },
            struck: self.faults.iter().map(|fault| fault.struck).collect(),
            transitions: self.recorder.rules.transitions(),
            coverage: self.recorder.rules.coverage(),
            sometimes: self.recorder.user_rules.reached(),
            survey: self.survey.take().unwrap_or_default(),
            slow_polls: self.real_time.take_found(),
        }
    }

    pub(super) fn heal(&mut self) {
        self.at_poll.clear();
        for fault in &mut self.faults {
            fault.until = Some(fault.until.map_or(self.heal_at, |until| until.min(self.heal_at)));
        }
    }

    pub(crate) fn heal_at(&self) -> Duration {
        self.heal_at
    }

    /// When something is over that begins now and takes so long: like every fault when the world heals, at the latest.
    pub(super) fn over_when_healed(&self, takes: Duration) -> Duration {
        let now = self.now();
        let over = now.saturating_add(takes);
        if now < self.heal_at { over.min(self.heal_at) } else { over }
    }

    /// The world begins with its wall clock this far from the usual one.
    pub(super) fn begin_wall_at(&mut self, offset_ms: i64) {
        self.stepped_ms = offset_ms;
        self.time.set_wall_offset_ms(offset_ms);
    }

    /// The wall clock of a node steps, or that of all; a step of no length is none.
    pub(super) fn step_clock(&mut self, fault: usize, node: Option<NodeId>, by_ms: i64) {
        let at = self.now();
        let stepped = match node {
            Some(id) => &mut self.nodes[usize::from(id.0)].skew_ms,
            None => &mut self.stepped_ms,
        };
        let steps_to = stepped.saturating_add(by_ms);
        if steps_to == *stepped {
            return;
        }
        *stepped = steps_to;
        for id in (0..).map(NodeId).take(self.nodes.len()).filter(|id| node.is_none_or(|node| node == *id)) {
            let offset = self.wall_offset_ms(Some(id));
            self.recorder.rules.clock_stepped(at, id, offset);
        }
        self.strike(fault);
    }

    /// A lease was given or renewed, for so long from now on.
    pub(crate) fn leased(&mut self, delivery: DeliveryId, lasts: Duration) {
        let now = self.now();
        if let Some(collisions) = &mut self.collisions {
            collisions.leased(now, delivery, lasts);
        }
    }

    pub(crate) fn visit(&mut self, site: SiteId) -> Visit {
        // A call that leaves no record counts too: a loop over one may be as hot.
        let now = self.now();
        self.recorder.happens(now);
        self.note(Place::CallBegins(site));
        let state = &mut self.sites[usize::from(site.0)];
        state.calls += 1;
        Visit { site, call: state.calls, asks: Asks::Code }
    }

    pub(crate) fn chance(&mut self, site: SiteId) -> &mut fastrand::Rng {
        &mut self.sites[usize::from(site.0)].chance
    }

    pub(crate) fn site_name(&self, site: SiteId) -> Arc<str> {
        self.sites[usize::from(site.0)].name.clone()
    }
}

/// What is left when a world is over.
pub(super) struct Finished {
    pub(super) fingerprint: u64,
    pub(super) records: u64,
    pub(super) violations: Vec<Violation>,
    pub(super) timeline: Timeline,
    pub(super) struck: Vec<bool>,
    pub(super) transitions: crate::rules::Transitions,
    pub(super) coverage: crate::rules::Coverage,
    pub(super) sometimes: Vec<Sometimes>,
    pub(super) survey: Vec<Sight>,
    pub(super) slow_polls: Vec<SlowPoll>,
}
