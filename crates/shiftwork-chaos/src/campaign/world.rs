//! One world: run, counted, its failure shrunk, crashes of the tool caught.

use std::{
    any::Any,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::AtomicBool,
    time::Duration,
};

use shiftwork_sim::{
    Outcome, Plan,
    explore::{self, Reached},
    rules::{Coverage, Sometimes, Transitions},
    world::SlowPoll,
};

use super::order::{Source, WorldToRun};
use crate::{
    Failure,
    failure::{CrashedAgain, Meanwhile},
    report::{FaultCounts, Origin},
    stopwatch::Stopwatch,
};

/// What a thread hands back.
pub(crate) struct WorldDone {
    pub(crate) row: usize,
    pub(crate) origin: Origin,
    pub(crate) seed: u64,
    /// In real time, without what shrinking took.
    pub(crate) took: Duration,
    /// The plan in whose world the tool crashed, as it was before that ran, if it did and nothing else brings that plan back: one that is made
    /// out of others, or is smaller than what was found.
    pub(crate) made: Option<Plan>,
    /// What it came to, or how the tool crashed.
    pub(crate) ran: Result<Ran, String>,
}

/// What is counted of a world that ran to its end.
pub(crate) struct Ran {
    pub(crate) fingerprint: u64,
    pub(crate) virtual_time: Duration,
    pub(crate) transitions: Transitions,
    pub(crate) coverage: Coverage,
    pub(crate) faults: FaultCounts,
    pub(crate) sometimes: Vec<Sometimes>,
    /// Polls that took too long in real time, if that was measured.
    pub(crate) slow_polls: Vec<SlowPoll>,
    pub(crate) failure: Option<Box<Failure>>,
    /// How the tool crashed in a world that came of the failure; the rule broke all the same.
    pub(crate) crash: Option<String>,
    /// The plan as it was before the world ran, and what its world reached.
    pub(crate) plan: Plan,
    pub(crate) reached: Reached,
}

/// How the worlds of a campaign are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'c> {
    /// In how many worlds more a failure is shrunk at most.
    pub(crate) shrink_worlds_max: u32,
    /// From how long on a poll is told that takes real time. What shrinks a failure, or runs a world again, measures none.
    pub(crate) poll_max_real: Option<Duration>,
    /// Once this is true, no failure is made any smaller.
    pub(crate) stop: &'c AtomicBool,
}

/// Runs a world, and shrinks its failure; `tell` hears of that, and of each world that it takes, and may end it.
pub(crate) fn run(world: &WorldToRun<'_>, how: How<'_>, tell: &dyn Fn(Meanwhile) -> ControlFlow<()>) -> WorldDone {
    let mut took = Duration::ZERO;
    // A scenario that panics while it builds must not take the other worlds with it.
    let ran = guarded(|| {
        let stopwatch = Stopwatch::start();
        let plan = plan(world);
        let outcome = explore::run_plan_measured(world.scenario, &plan, false, how.poll_max_real);
        took = stopwatch.elapsed();
        (plan, outcome)
    });
    let mut smaller = None;
    let ran = ran.map(|(plan, outcome)| {
        let shrunk = outcome.violations.first().map(|violation| {
            let origin = world.origin.clone();
            Failure::shrunk(world.scenario, origin, &outcome, violation, how, tell)
        });
        let (failure, crash) = shrunk.unzip();
        let crash = crash.flatten().map(|CrashedAgain { message, plan }| {
            smaller = plan;
            message
        });
        Ran { failure: failure.map(Box::new), crash, ..count(plan, &outcome) }
    });
    let crashed = !matches!(&ran, Ok(Ran { crash: None, .. }));
    let made = smaller.or_else(|| world.made().filter(|_| crashed).cloned());
    WorldDone { row: world.row, origin: world.origin.clone(), seed: world.seed(), took, made, ran }
}

/// Runs worlds where a panic of the scenario is caught and told. Nothing that it touched is used again.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message_of(&*panic))
}

/// The fingerprint of a world that is run again, and every record of it if `timeline` is asked for.
pub(crate) fn run_again(world: &WorldToRun<'_>, timeline: bool) -> Result<Outcome, String> {
    guarded(|| explore::run_plan(world.scenario, &plan(world), timeline))
}

fn plan(world: &WorldToRun<'_>) -> Plan {
    match &world.source {
        Source::Generated { seed, profile } => explore::generate(world.scenario, profile.mix(), *seed).plan(),
        Source::Saved(plan) => plan.clone().into_owned(),
    }
}

fn count(plan: Plan, outcome: &Outcome) -> Ran {
    let mut faults = FaultCounts::default();
    for (fault, struck) in outcome.plan.faults.iter().zip(&outcome.stats.struck) {
        faults.count(&fault.kind, *struck);
    }
    Ran {
        fingerprint: outcome.fingerprint,
        virtual_time: outcome.stats.virtual_time,
        transitions: outcome.stats.transitions,
        coverage: outcome.stats.coverage,
        faults,
        sometimes: outcome.stats.sometimes.clone(),
        slow_polls: outcome.slow_polls.clone(),
        failure: None,
        crash: None,
        // With the times that came of it; what is made of it meets them again.
        plan: Plan { faults: outcome.plan.faults.clone(), timing: outcome.plan.timing, ..plan },
        reached: Reached::by(&outcome.stats),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
