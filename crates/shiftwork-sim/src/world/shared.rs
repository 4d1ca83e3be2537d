//! The state that the node, its dependencies and the driver share.
//!
//! A world runs on one thread, so the lock is never contended; it is there because worker code must be `Send`.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shiftwork::{
    Signal,
    event::Event,
    queue::{DeliveryId, Timestamp},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    Options,
    strikes::{CrashAtPoll, PlannedFault, Visit},
};
use crate::{
    Plan, Record, RuleName, Timeline, Violation, What,
    record::SiteId,
    rules::{Invariant, Rulebook, UserRule, kind_index},
    streams::StableHasher,
};

/// How often a world's tasks may be polled without time passing before it is called a hot loop: rule L2.
const POLLS_IN_AN_INSTANT_MAX: u64 = 100_000;

/// How much may happen in a world without time passing before it is called a hot loop: rule L2. A task that never
/// waits does a lot in one poll.
const RECORDS_IN_AN_INSTANT_MAX: u64 = 200_000;

/// How often it is looked whether time has passed: a look at the clock costs more than the rest of a poll's bookkeeping.
const LOOK_EVERY_POLLS: u64 = 1_000;

/// The wall time at which every world begins: 2026-01-01, midnight UTC.
const WALL_EPOCH_SECONDS: i64 = 1_767_225_600;

/// How many violations are kept. The first one is what counts; a few more help to understand it.
const VIOLATIONS_MAX: usize = 8;

pub(crate) struct Shared {
    state: Mutex<State>,
    queues: Mutex<Vec<Held>>,
    /// Rung when the driver must look: a crash was asked for, or the world cannot go on.
    pub(crate) bell: Notify,
}

/// What a queue still has work to do for, and whether it is leased.
type Held = Box<dyn Fn() -> Vec<(DeliveryId, bool)> + Send>;

pub(crate) struct State {
    clock: Clock,
    pub(super) faults: Vec<PlannedFault>,
    heal_at: Duration,
    pub(super) sites: Vec<Site>,
    /// Whether the node's process is gone while its memory is not yet: nothing it tries happens.
    pub(crate) fenced: bool,
    /// How long the node stays down after the crash that was asked for from inside of it.
    pub(crate) crash: Option<Duration>,
    /// The crash that comes after so many polls more, and its fault.
    pub(super) crash_at_poll: Option<CrashAtPoll>,
    /// Where the running host takes its signals from.
    pub(crate) signals: Option<mpsc::UnboundedSender<Signal>>,
    pub(crate) tasks: Tasks,
    recorder: Recorder,
}

/// World time: what has passed in earlier lives of the node, and the paused clock of this one.
struct Clock {
    before: Duration,
    since: Option<Instant>,
    /// How far the wall clock has been stepped, in all.
    stepped_ms: i64,
}

pub(super) struct Site {
    name: Arc<str>,
    pub(super) chance: fastrand::Rng,
    calls: u64,
}

struct Recorder {
    hash: StableHasher,
    count: u64,
    last_at: Duration,
    in_this_instant: u64,
    rules: Rulebook,
    user_rules: Vec<UserRule>,
    violations: Vec<Violation>,
    timeline: Option<Vec<Record>>,
}

impl Recorder {
    /// Counts what happens at one instant.
    fn happens(&mut self, at: Duration) {
        if at == self.last_at {
            self.in_this_instant += 1;
        } else {
            self.last_at = at;
            self.in_this_instant = 0;
        }
    }
}

/// The tasks of this life of the node, numbered as they were spawned.
#[derive(Default)]
pub(crate) struct Tasks {
    spawned: u32,
    alive: Vec<(tokio::task::Id, u32)>,
    pub(crate) current: u32,
    polls: u64,
    polls_in_this_instant: u64,
    instant: Duration,
}

impl Shared {
    pub(super) fn new(plan: &Plan, options: &Options) -> Self {
        let mut hash = StableHasher::new(plan.seed);
        plan.scenario.hash(&mut hash);
        let heal_at = options.horizon.unwrap_or(Duration::from_secs(60));
        Self {
            state: Mutex::new(State {
                clock: Clock { before: Duration::ZERO, since: None, stepped_ms: 0 },
                faults: plan.faults.iter().map(PlannedFault::new).collect(),
                heal_at,
                sites: Vec::new(),
                fenced: false,
                crash: None,
                crash_at_poll: None,
                signals: None,
                tasks: Tasks::default(),
                recorder: Recorder {
                    hash,
                    count: 0,
                    last_at: Duration::ZERO,
                    in_this_instant: 0,
                    rules: Rulebook::of_kinds(plan.faults.iter().map(|fault| kind_index(&fault.kind)).collect()),
                    user_rules: Vec::new(),
                    violations: Vec::new(),
                    timeline: options.timeline.then(Vec::new),
                },
            }),
            queues: Mutex::new(Vec::new()),
            bell: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall time in the world.
    pub(crate) fn wall_time(&self) -> Timestamp {
        let state = self.lock();
        wall_at(state.now(), state.clock.stepped_ms)
    }

    pub(crate) fn record(&self, what: What) {
        let mut state = self.lock();
        let at = state.now();
        state.record(at, what);
    }

    /// A host event, with the time that the host gave it.
    pub(crate) fn host_event(&self, at: Instant, event: &Event) {
        let mut state = self.lock();
        if state.fenced {
            return;
        }
        let at = state.clock.at(at);
        state.record(at, What::Host(event.clone()));
    }

    pub(super) fn add_site(&self, name: &str, seed: u64) -> SiteId {
        let mut state = self.lock();
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

    pub(super) fn add_invariant(&self, name: &str, check: Invariant) {
        self.lock().recorder.user_rules.push(UserRule { name: name.to_owned(), check });
    }

    pub(super) fn poll_begins(&self, task: tokio::task::Id) {
        let mut state = self.lock();
        let number = state.tasks.number(task);
        state.tasks.current = number;
        state.recorder.hash.write_u32(number);
        state.tasks.polls += 1;
        let hot = state.recorder.in_this_instant >= RECORDS_IN_AN_INSTANT_MAX;
        if !hot && !state.tasks.polls.is_multiple_of(LOOK_EVERY_POLLS) {
            return;
        }
        let now = state.now();
        if now == state.tasks.instant {
            state.tasks.polls_in_this_instant += LOOK_EVERY_POLLS;
        } else {
            state.tasks.instant = now;
            state.tasks.polls_in_this_instant = 0;
        }
        if hot || state.tasks.polls_in_this_instant >= POLLS_IN_AN_INSTANT_MAX {
            state.recorder.in_this_instant = 0;
            state.tasks.polls_in_this_instant = 0;
            state.violate(Violation {
                rule: RuleName::Rule(shiftwork::Rule::L2),
                at: now,
                expected: format!(
                    "fewer than {POLLS_IN_AN_INSTANT_MAX} polls and {RECORDS_IN_AN_INSTANT_MAX} events without time passing"
                ),
                happened: format!("there were as many, and task {number} is polled again"),
            });
            drop(state);
            self.bell.notify_one();
        }
    }

    pub(super) fn poll_ended(&self) {
        let mut state = self.lock();
        state.tasks.current = 0;
        if state.poll_kills() {
            drop(state);
            self.bell.notify_one();
        }
    }

    pub(super) fn task_spawned(&self, task: tokio::task::Id) {
        let mut state = self.lock();
        state.tasks.number(task);
    }

    pub(super) fn task_ended(&self, task: tokio::task::Id) {
        self.lock().tasks.alive.retain(|(id, _)| *id != task);
    }
}

impl Tasks {
    fn number(&mut self, task: tokio::task::Id) -> u32 {
        if let Some((_, number)) = self.alive.iter().find(|(id, _)| *id == task) {
            return *number;
        }
        self.spawned += 1;
        self.alive.push((task, self.spawned));
        self.spawned
    }
}

/// The wall time at `at`, when the wall clock has been stepped so far in all.
pub(crate) fn wall_at(at: Duration, stepped_ms: i64) -> Timestamp {
    let epoch = Timestamp::from_second(WALL_EPOCH_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
    let by = Duration::from_millis(stepped_ms.unsigned_abs());
    let unstepped = epoch.checked_add(at).unwrap_or(Timestamp::MAX);
    if stepped_ms < 0 {
        unstepped.checked_sub(by).unwrap_or(Timestamp::MIN)
    } else {
        unstepped.checked_add(by).unwrap_or(Timestamp::MAX)
    }
}

impl Clock {
    fn at(&self, instant: Instant) -> Duration {
        self.since.map_or(self.before, |since| self.before + instant.saturating_duration_since(since))
    }
}

impl State {
    /// World time. Only inside the node's runtime is it more than what has passed before.
    pub(crate) fn now(&self) -> Duration {
        match self.clock.since {
            Some(_) => self.clock.at(Instant::now()),
            None => self.clock.before,
        }
    }

    /// The instant of the running life's clock at which world time is `time`.
    pub(crate) fn instant_of(&self, time: Duration) -> Instant {
        let since = self.clock.since.unwrap_or_else(Instant::now);
        since + time.saturating_sub(self.clock.before)
    }

    /// The node's clock begins to tick.
    pub(super) fn boot(&mut self) {
        self.clock.since = Some(Instant::now());
        self.fenced = false;
        self.crash = None;
        self.crash_at_poll = None;
        self.signals = None;
        self.tasks = Tasks::default();
    }

    /// The node's clock stops.
    pub(super) fn halt(&mut self) {
        self.clock.before = self.now();
        self.clock.since = None;
        self.tasks.current = 0;
    }

    /// Time passes while no node runs.
    pub(super) fn skip_to(&mut self, time: Duration) {
        self.clock.before = self.clock.before.max(time);
    }

    pub(crate) fn record(&mut self, at: Duration, what: What) {
        let record = Record { at, task: self.tasks.current, what };
        let recorder = &mut self.recorder;
        at.as_nanos().hash(&mut recorder.hash);
        record.task.hash(&mut recorder.hash);
        record.what.hash(&mut recorder.hash);
        recorder.count += 1;
        recorder.happens(at);
        let violations = &mut recorder.violations;
        recorder.rules.on(&record, &mut |violation| {
            if violations.len() < VIOLATIONS_MAX {
                violations.push(violation);
            }
        });
        for rule in &mut recorder.user_rules {
            if let Err(happened) = (rule.check)(&record)
                && violations.len() < VIOLATIONS_MAX
            {
                violations.push(Violation::of_scenario(&rule.name, at, happened));
            }
        }
        if let Some(timeline) = &mut recorder.timeline {
            timeline.push(record);
        }
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        if self.recorder.violations.len() < VIOLATIONS_MAX {
            self.recorder.violations.push(violation);
        }
    }

    pub(super) fn has_violations(&self) -> bool {
        !self.recorder.violations.is_empty()
    }

    /// The rules that can only be told when the world is over.
    pub(super) fn check_end(&mut self, held: &[(DeliveryId, bool)]) {
        let at = self.now();
        let held = held.iter().map(|(id, _)| *id).collect();
        let violations = &mut self.recorder.violations;
        self.recorder.rules.check_end(at, &held, &mut |violation| violations.push(violation));
    }

    pub(super) fn finish(&mut self) -> Finished {
        let names = self.sites.iter().map(|site| site.name.clone()).collect();
        let faults = self.faults.iter().map(|fault| fault.kind.to_string()).collect();
        Finished {
            fingerprint: self.recorder.hash.finish(),
            records: self.recorder.count,
            violations: std::mem::take(&mut self.recorder.violations),
            timeline: Timeline { records: self.recorder.timeline.take().unwrap_or_default(), sites: names, faults },
            struck: self.faults.iter().map(|fault| fault.struck).collect(),
            transitions: self.recorder.rules.transitions(),
            coverage: self.recorder.rules.coverage(),
        }
    }

    pub(super) fn heal(&mut self) {
        self.crash_at_poll = None;
        for fault in &mut self.faults {
            fault.until = Some(fault.until.map_or(self.heal_at, |until| until.min(self.heal_at)));
        }
    }

    pub(crate) fn heal_at(&self) -> Duration {
        self.heal_at
    }

    /// The wall clock steps.
    pub(super) fn step_clock(&mut self, fault: usize, by_ms: i64) {
        self.clock.stepped_ms = self.clock.stepped_ms.saturating_add(by_ms);
        let at = self.now();
        self.recorder.rules.clock_stepped(at, self.clock.stepped_ms);
        self.strike(fault);
    }

    pub(crate) fn visit(&mut self, site: SiteId) -> Visit {
        // A call that leaves no record counts too: a loop over one may be as hot.
        let now = self.now();
        self.recorder.happens(now);
        let state = &mut self.sites[usize::from(site.0)];
        state.calls += 1;
        Visit { site, call: state.calls }
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
}
