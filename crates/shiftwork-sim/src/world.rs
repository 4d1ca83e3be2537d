//! Building and running one world.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `world.rs` | the world as a scenario sees it while it builds |
//! | `world/shared.rs` | the state that the nodes, their dependencies and the driver share |
//! | `world/deadlines.rs` | what is being waited for, and faults that are put there |
//! | `world/strikes.rs` | where faults strike the calls of a site, cycles and the starts of a process, and when |
//! | `world/survey.rs` | the places that a fault could be aimed at |
//! | `world/real_time.rs` | how long polls take on the machine's own clocks |
//! | `world/recorder.rs` | where everything that happens is written down |
//! | `world/clock.rs` | the world's time |
//! | `world/node.rs` | a node as its program sees it: its host, its environment |
//! | `world/tasks.rs` | the tasks of a node's process |
//! | `world/life.rs` | one life of a node's process: its runtime, and how it runs a stretch at a time |
//! | `world/blocking.rs` | work that a node gives to blocking threads |
//! | `world/gate.rs` | when blocking threads may work |
//! | `world/fence.rs` | what keeps a process that is over from the outside |
//! | `world/machine.rs` | a node as the driver sees it |
//! | `world/agenda.rs` | what a world has in store |
//! | `world/drive.rs` | the clockwork: boots, faults, signals, healing, the last stop |
//! | `world/order.rs`, `world/turns.rs` | the order in which its tasks go on; what of it is reached without tokio's hooks |
//! | `world/outcome.rs` | what became of it |
//!
//! # Fault model of the process
//!
//! - **Crash.** The node's runtime is dropped where it stands, as `kill -9` or a power cut ends a process. Before that the node is
//!   fenced: what its destructors try on the outside is refused, because a killed process runs no destructors. What they
//!   and its blocking work do to a [`Ledger`](crate::Ledger), they do to a copy of it.
//!   It may strike at any time, in the middle of a call, or at any await point: right after the poll of a task.
//! - **Stop at an await point.** SIGTERM, right after the poll of a task, as it may come to a process at any place of its code. With
//!   a second one right behind, every cycle is dropped where it stands.
//! - **Panic and cancellation at an await point of a cycle.** A bug in the worker's own code, behind any of its awaits; a timeout
//!   that strikes while it waits there, be it for a call, a lock, a channel or a sleep. Its host asks the world before it
//!   lets the cycle go on ([`shiftwork::Environment::at_await`]), so it is the cycle that panics or times out, and its
//!   worker's policies that decide what follows.
//! - **Pause.** The node is not run for a while, as by SIGSTOP, a long collection of garbage, or a machine that was suspended. The world
//!   goes on: its leases lapse. When it goes on, its clocks show what has passed and its timers are overdue.
//! - **Slow start.** The process takes longer until it does anything: a cold disk, a long look at its configuration.
//! - **Signal.** Delivered through the environment like a real one. A signal that comes before the host listens kills the
//!   process, as the default action of the real ones does. When nothing runs it is lost; a process that stands still gets it when
//!   it goes on.
//! - **Clock step.** The wall clock jumps, forward or back, and goes on from there, as when it is set by hand or put right
//!   after the machine was asleep. What waits does not notice: tokio's clock never steps. Nothing undoes it. With a node's name
//!   it is that node's alone, whose wall clock differs from the others' from there on.
//! - **Daylight-saving change.** The clocks of a zone go forward or back at the fault's time. No clock steps, as none does
//!   on a real machine: the world has begun at such a wall time, for all nodes, that the zone's next change falls there.
//!   It is the date of the world, and a world has one.
//! - **Downtime.** Every process is killed, as by a crash, and by the wall clocks of all nodes a long time passes until
//!   they are started again; in the world's own time it is a second. A new process cannot tell that from having been down
//!   for so long: what it finds is durable state and a wall clock, and no monotonic time crosses from one process to the
//!   next. What else would have happened meanwhile does not: arrivals come in the world's own time, and the other side of
//!   a dependency is a second older.
//! - **Exit.** Once its program has ended, a process is fenced as one that is killed. What the program has left behind
//!   is counted, and dropped where it stands.
//! - **Restart.** An orchestrator starts the process again a second after it exits, or after the crash's own time.

mod agenda;
#[cfg(tokio_unstable)]
mod blocking;
mod clock;
mod deadlines;
mod drive;
mod fence;
mod gate;
mod life;
mod machine;
mod node;
mod order;
mod outcome;
mod real_time;
mod recorder;
mod shared;
mod strikes;
mod survey;
mod tasks;
mod turns;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub(crate) use clock::{WALL_EPOCH, WorldClock, saturating_ns, wall_at};
pub(crate) use fence::Fence;
pub(crate) use gate::{Gate, IsOver, LOOKS_AT_WORK_MAX, Seen};
use machine::Machine;
pub use node::Node;
pub use outcome::{NodeReport, Outcome, Stats};
pub(crate) use real_time::Reading;
pub use real_time::SlowPoll;
pub(crate) use shared::Shared;
use shiftwork::{HostReport, Signal, queue::Timestamp};
pub(crate) use strikes::{Asks, ClaimMeets, LetPass, Meets, MeetsAtPoll, Visit};
pub(crate) use survey::{CycleAwait, Place, Sight};

use crate::{
    Dependency, Plan, Record, SimQueue, What, control,
    dependency::Latency,
    foreign::{self, Process, Verdict},
    plan::{Date, whole_ms},
    record::NodeId,
    streams::stream,
    watchdog,
};

/// How long a healed world has to do the rest of its work: rule L1.
pub const RECOVERY: Duration = Duration::from_secs(600);

/// How long after its exit the node's process is started again.
pub const RESTART_AFTER: Duration = Duration::from_secs(1);

type Program = Box<dyn Fn(Node) -> Pin<Box<dyn Future<Output = HostReport> + Send>> + Send>;
type Check = Box<dyn FnMut() -> Result<(), String> + Send>;

/// A world that is being built.
pub struct World {
    seed: u64,
    /// At which date it begins, if a fault of the plan says so.
    date: Option<Date>,
    shared: Arc<Shared>,
    nodes: Vec<Machine>,
    arrivals: Vec<Arrival>,
    /// Signals that are part of the scenario: when, to whom, and which.
    orders: Vec<(Duration, NodeId, Signal)>,
    done: Option<Box<dyn FnMut() -> bool + Send>>,
    at_end: Vec<(String, Check)>,
}

/// Something that the scenario's surroundings do at a time of their own.
struct Arrival {
    at: Duration,
    what: Arc<str>,
    act: Box<dyn FnOnce() + Send>,
}

impl World {
    fn new(plan: &Plan, options: &Options, survey: bool, clock: Arc<WorldClock>, date: Option<Date>) -> Self {
        let shared = Arc::new(Shared::new(plan, options, survey, clock));
        if let Some(Date { offset_ms, .. }) = date {
            shared.lock().begin_wall_at(offset_ms);
        }
        Self {
            seed: plan.seed,
            date,
            shared,
            nodes: Vec::new(),
            arrivals: Vec::new(),
            orders: Vec::new(),
            done: None,
            at_end: Vec::new(),
        }
    }

    /// The world's seed, for what the scenario itself draws.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// At which wall time the world begins; midnight UTC of 2026-01-01 if it is not said. For what depends on the calendar:
    /// the night on which the clocks change, the end of a month.
    ///
    /// A plan in which the clocks of a zone change ([`FaultKind::DstChange`](crate::FaultKind::DstChange)) has a date of
    /// its own, and this one is passed over then: [`World::wall_time`] says which it is.
    ///
    /// ```
    /// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{Script, secs};
    ///
    /// let outcome = Script::new().at(secs(180), Signal::Terminate).run_once(|world| {
    ///     // Two minutes before the clocks go forward in Vienna: from 02:00 to 03:00.
    ///     world.begins_at("2026-03-29T00:58:00Z".parse().expect("it is a time"));
    ///     world.node("node", |node| {
    ///         let at_night = Schedule::cron("30 2 * * *").and_then(|it| it.zone("Europe/Vienna"));
    ///         let count = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    ///         node.host().worker("nightly", at_night.expect("it is a schedule"), count).run_until_signal()
    ///     });
    /// });
    /// outcome.assert_rules_kept();
    /// // There was no 02:30 in that night.
    /// assert_eq!(outcome.report().expect("it ended").worker("nightly").expect("it was added").cycles.succeeded, 1);
    /// ```
    ///
    /// # Panics
    ///
    /// When the world has a node already.
    pub fn begins_at(&mut self, time: Timestamp) {
        assert!(self.nodes.is_empty(), "`World::begins_at` comes before the first `World::node`");
        if self.date.is_none() {
            let usual = wall_at(Duration::ZERO, 0);
            self.shared.lock().begin_wall_at(time.as_millisecond().saturating_sub(usual.as_millisecond()));
        }
    }

    /// The wall time at which the world begins, as far as that has been said: by the plan, or else by [`World::begins_at`] up to here.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.shared.wall_time()
    }

    /// A dependency whose calls take 1 to 20 ms. Its handle can be cloned, and is of the whole world: every node may have one.
    ///
    /// # Panics
    ///
    /// When there is a site of that name already, a dependency or a queue: a plan could not tell them apart.
    pub fn dependency(&mut self, name: &str) -> Dependency {
        self.dependency_with(name, Latency::uniform(Duration::from_millis(1), Duration::from_millis(20)))
    }

    /// A dependency with a latency of its own.
    ///
    /// # Panics
    ///
    /// As [`World::dependency`].
    pub fn dependency_with(&mut self, name: &str, latency: Latency) -> Dependency {
        Dependency::new(self.shared.clone(), self.shared.add_site(name, stream(self.seed, name)), latency)
    }

    /// A durable queue: it belongs to the world and survives its node. Its operations are a site of the same name.
    ///
    /// # Panics
    ///
    /// As [`World::dependency`].
    pub fn queue<T: Clone + Send + 'static>(&mut self, name: &str) -> SimQueue<T> {
        let site = self.dependency_with(name, Latency::none());
        SimQueue::new(self.shared.clone(), site)
    }

    /// A node, and what it runs each time its process is started. What the closure captures outlives the process; what it makes
    /// inside does not.
    ///
    /// A world may have several nodes. They share what the scenario gives to them: its queues, the other sides of its
    /// dependencies. Each has a process and a wall clock of its own; a plan names them to strike one.
    ///
    /// # Panics
    ///
    /// When there is a node of that name already, and for a second node where time cannot be held
    /// ([`control::Control::time`]).
    pub fn node<F, Fut>(&mut self, name: &str, program: F)
    where
        F: Fn(Node) -> Fut + Send + 'static,
        Fut: Future<Output = HostReport> + Send + 'static,
    {
        assert!(self.nodes.iter().all(|node| *node.name != *name), "the world has a node {name:?} already");
        assert!(
            self.nodes.is_empty() || control::in_force().time,
            "a world of several nodes needs time held at the level of the C library: Linux with glibc on x86-64 or \
             aarch64, not linked statically, and the feature `interpose` of shiftwork-sim"
        );
        let id = self.shared.add_node(name);
        self.nodes.push(Machine::new(id, name, Box::new(move |node| Box::pin(program(node)))));
    }

    /// A worker that does not use the runtime, as a node of its own: any future, which gets a stop signal through its
    /// [`Process`] and ends within [`foreign::BUDGET`] of it. It is called each time the process is started.
    ///
    /// ```
    /// use shiftwork::Signal;
    /// use shiftwork_sim::{Script, secs};
    ///
    /// let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
    ///     world.foreign("legacy", |process| async move {
    ///         let signals = process.signals().expect("a world refuses no handler");
    ///         loop {
    ///             tokio::select! {
    ///                 _ = signals.next() => break,
    ///                 () = tokio::time::sleep(secs(1)) => { /* one round of work */ }
    ///             }
    ///         }
    ///     });
    /// });
    /// outcome.assert_rules_kept();
    /// ```
    ///
    /// # Panics
    ///
    /// As [`World::node`].
    pub fn foreign<F, Fut>(&mut self, name: &str, program: F)
    where
        F: Fn(Process) -> Fut + Send + 'static,
        Fut: Future<Output: Verdict> + Send + 'static,
    {
        self.foreign_within(name, foreign::BUDGET, program);
    }

    /// The same, with a budget of its own for its stop: rule T3.
    ///
    /// # Panics
    ///
    /// As [`World::node`].
    pub fn foreign_within<F, Fut>(&mut self, name: &str, budget: Duration, program: F)
    where
        F: Fn(Process) -> Fut + Send + 'static,
        Fut: Future<Output: Verdict> + Send + 'static,
    {
        self.node(name, move |node| {
            let process = Process::new(node);
            let began = tokio::time::Instant::now();
            let running = program(process.clone());
            process.record(What::ForeignBegan { within: budget });
            async move {
                let verdict = running.await;
                // Its handlers have stayed until here.
                drop(process);
                foreign::report(verdict, began.elapsed())
            }
        });
    }

    /// At `time`, the nodes' surroundings do this, whether any of them runs or not: a mail arrives, a file is dropped.
    pub fn at(&mut self, time: Duration, what: &str, act: impl FnOnce() + Send + 'static) {
        // Whole milliseconds, like everything that a paused clock can wait for.
        let at = Duration::from_millis(whole_ms(time));
        self.arrivals.push(Arrival { at, what: what.into(), act: Box::new(act) });
    }

    /// At `time`, whoever runs the nodes sends this one a signal: an orchestrator that rolls out a new version, say. Like a
    /// signal of the plan it finds nobody if no process runs; unlike those it is part of what is tested, so that shrinking
    /// a plan does not take it away.
    ///
    /// # Panics
    ///
    /// When the world has no such node.
    pub fn signal_at(&mut self, time: Duration, node: &str, signal: Signal) {
        let id = self.nodes.iter().find(|it| *it.name == *node).map(|it| it.id);
        let id = id.unwrap_or_else(|| panic!("the world has no node {node:?}: call `World::node` first"));
        self.orders.push((Duration::from_millis(whole_ms(time)), id, signal));
    }

    /// How long a poll may block its thread, in the world's time; 10 ms by default. Rule L3 demands it of every task.
    pub fn poll_max(&mut self, poll_max: Duration) {
        self.shared.lock().set_poll_max(poll_max);
    }

    /// The workers of this name, on whichever node, catch panics in their own code: one that wraps the calls of its client
    /// as tower-http's `CatchPanic` does, say. Rule C5 demands of a cycle that it is said to have panicked if it ends in the
    /// poll in which a fault of the plan has panicked; of these workers it does not. A cycle that goes on after it has
    /// caught a panic, and ends later, need not be declared.
    pub fn panics_are_caught_in(&mut self, worker: &str) {
        self.shared.lock().catches_panics(worker);
    }

    /// When the scenario's work is done: rule L1 demands it of every world within [`RECOVERY`] of the time at which its faults have
    /// healed. It is asked every half a second from there on; without it, a world is done at once.
    pub fn done_when(&mut self, done: impl FnMut() -> bool + Send + 'static) {
        self.done = Some(Box::new(done));
    }

    /// An invariant of the scenario, checked on every record. It is called in the middle of the world's work and must not
    /// call back into the world. An `Err` says what happened; the world then ends, and its outcome has a violation of this name.
    ///
    /// ```
    /// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{Ledger, Script, secs};
    ///
    /// let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
    ///     let turns: Ledger<u32> = Ledger::default();
    ///     let seen = turns.clone();
    ///     world.node("node", move |node| {
    ///         let turns = turns.clone();
    ///         let turn = move |_: Tick, _: Context| {
    ///             turns.with(|turns| *turns += 1);
    ///             async { Ok::<(), Failure>(()) }
    ///         };
    ///         node.host().worker("turn", Schedule::every(secs(10)), turn).run_until_signal()
    ///     });
    ///     world.always("no more than three turns", move |_| match seen.with(|turns| *turns) {
    ///         0..=3 => Ok(()),
    ///         turns => Err(format!("there were {turns}")),
    ///     });
    /// });
    /// let violation = outcome.expect_broken("no more than three turns");
    /// assert_eq!((violation.at, &*violation.happened), (secs(30), "there were 4"));
    /// ```
    pub fn always(&mut self, name: &str, check: impl FnMut(&Record) -> Result<(), String> + Send + 'static) {
        self.shared.add_rule(|rules| rules.always(name, Box::new(check)));
    }

    /// Something that should happen in some worlds of a campaign: that it never does in any says that nothing was
    /// tested there. `sight` is asked on every record until it has said yes; like [`World::always`], it must not call back
    /// into the world. [`Stats::sometimes`] says whether it did.
    pub fn sometimes(&mut self, name: &str, sight: impl FnMut(&Record) -> bool + Send + 'static) {
        self.shared.add_rule(|rules| rules.sometimes(name, Box::new(sight)));
    }

    /// An invariant of the scenario: when `after` has seen what it looks for, `holds` must come true `within` that time, or
    /// by the end of a world that is complete. Both are asked on records, and `holds` once its time is over, so what
    /// `holds` reads should change in what is recorded (the effect of a call); like [`World::always`], they must not call
    /// back into the world.
    ///
    /// ```
    /// use shiftwork::{Context, Failure, Schedule, Tick};
    /// use shiftwork_sim::{Ledger, Record, Script, What, plan, secs};
    ///
    /// let outcome = Script::new().at(secs(25), plan::crash(secs(5))).run(|world| {
    ///     let smtp = world.dependency("smtp");
    ///     let sent: Ledger<u32> = Ledger::default();
    ///     let (crashed, seen) = (sent.clone(), sent.clone());
    ///     world.node("mailer", move |node| {
    ///         let (smtp, sent) = (smtp.clone(), sent.clone());
    ///         let send = move |_: Tick, _: Context| {
    ///             let (smtp, sent) = (smtp.clone(), sent.clone());
    ///             async move { Ok::<(), Failure>(smtp.call(async { sent.with(|sent| *sent += 1) }).await?) }
    ///         };
    ///         node.host().worker("send", Schedule::every(secs(10)), send).run_until_signal()
    ///     });
    ///     let after_a_crash = move |record: &Record| {
    ///         // Counted anew from here.
    ///         let is_crash = record.what == What::Crashed;
    ///         is_crash && crashed.with(|sent| std::mem::take(sent)) < u32::MAX
    ///     };
    ///     let one_is_sent = move || seen.with(|sent| *sent) > 0;
    ///     world.eventually("a mail is sent after a crash", secs(6), after_a_crash, one_is_sent);
    /// });
    /// outcome.assert_rules_kept();
    /// ```
    pub fn eventually(
        &mut self,
        name: &str,
        within: Duration,
        after: impl FnMut(&Record) -> bool + Send + 'static,
        holds: impl FnMut() -> bool + Send + 'static,
    ) {
        self.shared.add_rule(|rules| rules.eventually(name, within, Box::new(after), Box::new(holds)));
    }

    /// An invariant of the scenario, checked when the world is over: after it has recovered and its last stop, if no rule has broken
    /// before. A world of [`Script::run_once`](crate::Script::run_once) does not get so far, and does not ask.
    pub fn at_end(&mut self, name: &str, check: impl FnMut() -> Result<(), String> + Send + 'static) {
        self.at_end.push((name.to_owned(), Box::new(check)));
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// How a world is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether to keep every record. A campaign runs without, and again with it when a rule broke.
    pub timeline: bool,
    /// Whether the world ends when its nodes have first exited.
    pub once: bool,
    /// When faults heal; 60 s when it is not said.
    pub horizon: Option<Duration>,
    /// From how long on a poll is told as one that takes real time ([`Outcome::slow_polls`]). `None`, the default,
    /// measures nothing and costs nothing: what it finds depends on the machine, and on what else that does. It sees polls
    /// only with `--cfg tokio_unstable`.
    pub poll_max_real: Option<Duration>,
}

/// Runs one world on a thread of its own, which is what makes the keys of its hash maps its own.
///
/// # Panics
///
/// When the scenario's `build` panics or makes no node.
pub fn run(plan: &Plan, options: Options, build: impl FnOnce(&mut World) + Send) -> Outcome {
    start(plan, options, false, build)
}

/// The same, with the timeline and every place that a fault could be aimed at.
pub(crate) fn survey(plan: &Plan, horizon: Duration, build: impl FnOnce(&mut World) + Send) -> Outcome {
    let options = Options { timeline: true, horizon: Some(horizon), ..Options::default() };
    start(plan, options, true, build)
}

fn start(plan: &Plan, options: Options, survey: bool, build: impl FnOnce(&mut World) + Send) -> Outcome {
    // Before anything is held: a zone is read from the machine's database.
    let date = plan.date();
    let world = || {
        let clock = Arc::new(WorldClock::default());
        let _held = control::hold(plan.seed, clock.clone());
        let mut world = World::new(plan, &options, survey, clock, date);
        if let Some(pulse) = watchdog::watch(plan, &world.shared) {
            let _first = world.shared.pulse.set(pulse);
        }
        build(&mut world);
        drive::drive(world, plan, options)
    };
    // On a thread without a name, by which its panics are known (`panics.rs`).
    std::thread::scope(|scope| match scope.spawn(world).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
