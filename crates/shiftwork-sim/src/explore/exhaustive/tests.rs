//! What an exhaustive campaign finds in small scenarios, and what it leaves out.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use shiftwork::{Context, Failure, QueueSourceExt, Schedule, Tick, event::Event};

use super::*;
use crate::{FaultName, Surface, World, dependency::Latency, explore::run_plan, millis, plan::Change, secs};

/// A worker that moves a sum from one account to the other every ten seconds, and another that works off a queue.
struct Bank {
    /// Whether the sum is in neither account between two await points of one instant.
    torn: bool,
    refuses: Option<FaultName>,
}

impl Scenario for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn about(&self) -> &'static str {
        "moves sums"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["ledger".into()], queues: vec!["jobs".into()], horizon: secs(60) }
    }

    fn zones(&self) -> Vec<String> {
        vec!["Europe/Vienna".into()]
    }

    fn bend(&self, mix: FaultMix) -> FaultMix {
        self.refuses.map_or(mix, |kind| mix.weight(kind, 0))
    }

    fn build(&self, world: &mut World) {
        let ledger = world.dependency_with("ledger", Latency::constant(millis(20)));
        let jobs = world.queue::<u32>("jobs");
        jobs.seed([1, 2]);
        let (from, to) = (Arc::new(AtomicU32::new(1_000)), Arc::new(AtomicU32::new(0)));
        let (torn, accounts, queue) = (self.torn, (from.clone(), to.clone()), jobs.clone());
        world.node("bank", move |node| {
            let (ledger, accounts) = (ledger.clone(), accounts.clone());
            let calling = ledger.clone();
            let transfer = move |_: Tick, _: Context| {
                let (ledger, (from, to)) = (ledger.clone(), accounts.clone());
                async move {
                    ledger.call(async {}).await?;
                    from.fetch_sub(1, Ordering::Relaxed);
                    if torn {
                        tokio::task::yield_now().await;
                    }
                    to.fetch_add(1, Ordering::Relaxed);
                    Ok::<(), Failure>(())
                }
            };
            let work = move |_: u32, _: Context| {
                let ledger = calling.clone();
                async move { Ok::<(), Failure>(ledger.call(async {}).await?) }
            };
            let host = node.host().worker("transfer", Schedule::every(secs(10)), transfer);
            host.worker("work", queue.clone().source(), work).run_until_signal()
        });
        world.done_when(move || jobs.inspect_depth().unsettled() == 0);
        world.at_end("no money is lost", move || {
            let sum = from.load(Ordering::Relaxed) + to.load(Ordering::Relaxed);
            if sum == 1_000 { Ok(()) } else { Err(format!("{sum} of 1,000 are left")) }
        });
    }
}

const SOUND: Bank = Bank { torn: false, refuses: None };

fn plans(injections: &Injections) -> Vec<Plan> {
    (0..injections.worlds()).map(|number| injections.plan(number).unwrap()).collect()
}

fn kinds(injections: &Injections) -> BTreeSet<FaultName> {
    plans(injections).iter().flat_map(|plan| &plan.faults).map(|fault| fault.kind.kind()).collect()
}

#[test]
fn every_fault_strikes_where_it_was_aimed() {
    let injections = Injections::of(&SOUND, Exhaustive::default());
    let mut strange = Vec::new();
    for plan in plans(&injections) {
        let outcome = run_plan(&SOUND, &plan, false);
        outcome.assert_rules_kept();
        let missed = outcome.stats.struck.iter().position(|struck| !struck);
        // What follows a first signal may find that the process has ended.
        let first = plan.faults.iter().position(|fault| matches!(fault.kind, FaultKind::Signal { .. }));
        strange.extend(missed.filter(|missed| first.is_none_or(|first| *missed <= first)).map(|_| plan));
    }
    // A process that is only just being started gets no signal, does not stand still and cannot be killed once more.
    strange.retain(|plan| plan.faults.last().is_some_and(|fault| fault.at_ms != 31_000));
    // A queue can forget a lease, and hand out, pass over or keep back a delivery, only if there is one.
    let needs_one =
        [FaultName::LeaseTaken, FaultName::Duplicate, FaultName::Reorder, FaultName::Late, FaultName::EffectAfterDrop];
    strange.retain(|plan| !plan.faults.iter().any(|fault| needs_one.contains(&fault.kind.kind())));
    // A poll blocks its thread only where the time is held.
    let held = crate::control::in_force().time;
    strange.retain(|plan| held || !plan.faults.iter().any(|fault| fault.kind.kind() == FaultName::Block));
    assert!(strange.is_empty(), "{} of {} missed: {}", strange.len(), injections.worlds(), strange[0]);
}

/// Two workers that call the same dependency at the same times.
struct Twins;

impl Scenario for Twins {
    fn name(&self) -> &'static str {
        "twins"
    }

    fn about(&self) -> &'static str {
        "calls twice at once"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["ledger".into()], queues: Vec::new(), horizon: secs(30) }
    }

    fn build(&self, world: &mut World) {
        let ledger = world.dependency_with("ledger", Latency::constant(millis(20)));
        world.node("node", move |node| {
            ["one", "other"]
                .into_iter()
                .fold(node.host(), |host, name| {
                    let ledger = ledger.clone();
                    let call = move |_: Tick, _: Context| {
                        let ledger = ledger.clone();
                        async move { Ok::<(), Failure>(ledger.call(async {}).await?) }
                    };
                    host.worker(name, Schedule::every(secs(10)), call).host()
                })
                .run_until_signal()
        });
    }
}

#[test]
fn each_of_two_calls_that_come_at_one_millisecond_is_struck() {
    for kind in [FaultName::Panic, FaultName::Error, FaultName::ReplyLost, FaultName::PanicAtPoll] {
        let plans = plans(&Injections::of(&Twins, Exhaustive::default()));
        let of_kind = plans.iter().filter(|plan| {
            plan.faults.iter().any(|fault| fault.kind.kind() == kind && (10_000..10_100).contains(&fault.at_ms))
        });
        let first_struck = of_kind.map(|plan| {
            let outcome = run_plan(&Twins, plan, true);
            outcome.assert_rules_kept();
            let failed = outcome.events().find_map(|(_, event)| match event {
                Event::CycleEnded { worker, failure: Some(_), .. } => Some(worker.0),
                _ => None,
            });
            failed.expect("it strikes one of them")
        });
        // Whom an error strikes first it strikes alone, or with those behind it.
        assert_eq!(first_struck.collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]), "{kind:?}");
    }
}

#[test]
fn every_kind_that_is_not_about_how_often_is_tried() {
    // A cycle that ignores a cancellation needs a stop beside it.
    let spared = [FaultName::Brownout, FaultName::Flap, FaultName::IgnoreCancel];
    let all: BTreeSet<_> = FaultName::ALL.into_iter().filter(|kind| !spared.contains(kind)).collect();
    assert_eq!(kinds(&Injections::of(&SOUND, Exhaustive::default())), all);
}

#[test]
fn what_strikes_the_whole_world_is_tried_once_at_a_time_and_a_date_a_few_times_each_way() {
    let plans = plans(&Injections::of(&SOUND, Exhaustive::default()));
    let added = |matches: fn(&FaultKind) -> bool| {
        let faults = plans.iter().flat_map(|plan| &plan.faults).filter(move |fault| matches(&fault.kind));
        faults.map(|fault| fault.at_ms).collect::<Vec<_>>()
    };
    let mut downtimes = added(|kind| matches!(kind, FaultKind::Downtime { wall_ms: 2_592_000_000 }));
    let crashes: BTreeSet<_> = added(|kind| matches!(kind, FaultKind::Crash { .. })).into_iter().collect();
    // In one of the two base worlds, or in each.
    assert_eq!(downtimes.iter().copied().collect::<BTreeSet<_>>(), crashes);
    downtimes.sort_unstable();
    assert!(downtimes.windows(3).all(|times| times[0] < times[2]), "{downtimes:?}");
    let forward = added(|kind| matches!(kind, FaultKind::DstChange { change: Change::Forward, .. }));
    let back = added(|kind| matches!(kind, FaultKind::DstChange { change: Change::Back, .. }));
    assert_eq!(forward, back);
    assert!((2..=2 * DATED_MAX).contains(&forward.len()), "{forward:?}");
}

#[test]
fn a_kind_that_the_scenario_refuses_is_not_tried() {
    let bent = Bank { torn: false, refuses: Some(FaultName::Duplicate) };
    assert!(!kinds(&Injections::of(&bent, Exhaustive::default())).contains(&FaultName::Duplicate));
}

#[cfg(tokio_unstable)]
#[test]
fn a_crash_between_two_await_points_of_one_instant_is_found() {
    let torn = Bank { torn: true, refuses: None };
    let injections = Injections::of(&torn, Exhaustive::default());
    let broken = plans(&injections).into_iter().find(|plan| !run_plan(&torn, plan, false).is_ok());
    let broken = broken.expect("some crash comes between the two");
    assert!(
        broken.faults.iter().any(|fault| fault.kind.kind() == FaultName::CrashAtPoll),
        "nothing else stops a cycle there: {broken}"
    );
}

/// A worker that carries a coin from the drawer to the bag, and has it in neither while it sleeps. All of it is in memory, so that a
/// process that ends takes its mistake with it.
struct Till;

impl Scenario for Till {
    fn name(&self) -> &'static str {
        "till"
    }

    fn about(&self) -> &'static str {
        "carries coins"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: Vec::new(), queues: Vec::new(), horizon: secs(25) }
    }

    fn build(&self, world: &mut World) {
        let missing = Arc::new(AtomicU32::new(0));
        let seen = missing.clone();
        world.node("till", move |node| {
            let (drawer, bag) = (Arc::new(AtomicU32::new(1_000)), Arc::new(AtomicU32::new(0)));
            let missing = missing.clone();
            let carry = move |_: Tick, _: Context| {
                let (drawer, bag, missing) = (drawer.clone(), bag.clone(), missing.clone());
                async move {
                    let there = drawer.load(Ordering::Relaxed) + bag.load(Ordering::Relaxed);
                    missing.fetch_add(1_000 - there, Ordering::Relaxed);
                    drawer.fetch_sub(1, Ordering::Relaxed);
                    tokio::time::sleep(secs(1)).await;
                    bag.fetch_add(1, Ordering::Relaxed);
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("carry", Schedule::every(secs(10)), carry).run_until_signal()
        });
        world.always("no coin is lost", move |_| match seen.load(Ordering::Relaxed) {
            0 => Ok(()),
            missing => Err(format!("{missing} were")),
        });
    }
}

#[test]
fn what_is_torn_by_a_bare_sleep_is_found_by_a_panic_or_a_cancellation_there_and_by_nothing_else() {
    let there = [FaultName::PanicInCycle, FaultName::CancelInCycle];
    let mut found_by = BTreeSet::new();
    for plan in plans(&Injections::of(&Till, Exhaustive::default())) {
        if run_plan(&Till, &plan, false).is_ok() {
            continue;
        }
        let kind = plan.faults.iter().map(|fault| fault.kind.kind()).find(|kind| there.contains(kind));
        found_by.insert(kind.unwrap_or_else(|| panic!("something else finds it: {plan}")));
    }
    assert_eq!(found_by, BTreeSet::from(there));
}

/// Two lanes whose cycles begin together, and call nobody.
struct Lanes;

impl Scenario for Lanes {
    fn name(&self) -> &'static str {
        "lanes"
    }

    fn about(&self) -> &'static str {
        "sleeps twice at once"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: Vec::new(), queues: Vec::new(), horizon: secs(20) }
    }

    fn build(&self, world: &mut World) {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed([1, 2]);
        world.node("node", move |node| {
            let sleep = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            node.host().worker("sleep", jobs.clone().source(), sleep).concurrency(2).run_until_signal()
        });
    }
}

#[test]
fn each_of_two_cycles_that_begin_at_one_millisecond_is_struck() {
    for kind in [FaultName::PanicInCycle, FaultName::CancelInCycle] {
        let mut struck = BTreeSet::new();
        for plan in plans(&Injections::of(&Lanes, Exhaustive::default())) {
            let [fault] = &plan.faults[..] else { continue };
            if fault.kind.kind() != kind {
                continue;
            }
            let outcome = run_plan(&Lanes, &plan, true);
            outcome.assert_rules_kept();
            struck.extend(outcome.events().find_map(|(_, event)| match event {
                Event::CycleEnded { cycle, failure: Some(_), .. } => Some(cycle.0),
                _ => None,
            }));
        }
        assert_eq!(struck, BTreeSet::from([1, 2]), "{kind}");
    }
}

#[test]
fn no_class_is_left_out_however_few_worlds_there_may_be() {
    let all = Injections::of(&SOUND, Exhaustive::default());
    let fewest = Injections::of(&SOUND, Exhaustive { worlds_max: 0, ..Exhaustive::default() });
    assert_eq!(kinds(&fewest), kinds(&all));
    // Half-way between as few as there can be and all.
    let worlds_max = fewest.worlds().midpoint(all.worlds());
    let few = Injections::of(&SOUND, Exhaustive { worlds_max, ..Exhaustive::default() });
    assert_eq!((all.points_left_out(), few.points()), (0, all.points()));
    assert!(few.points_left_out() > 0 && few.worlds() <= worlds_max + 2, "{} worlds", few.worlds());
    assert_eq!(kinds(&few), kinds(&all));
    assert!(fewest.worlds() <= few.worlds());
}

#[test]
fn pairs_are_different_ones_close_to_one_another_and_as_many_as_were_asked_for() {
    let what = Exhaustive { pairs: 300, ..Exhaustive::default() };
    let injections = Injections::of(&SOUND, what);
    assert_eq!(injections.pairs(), 300);
    let distinct: BTreeSet<_> = injections.pairs.iter().copied().collect();
    assert_eq!(distinct.len(), 300);
    for (one, other) in &injections.pairs {
        let (one, other) = (&injections.singles[*one], &injections.singles[*other]);
        assert_eq!(one.base, other.base);
        assert!((one.at_ms..=one.at_ms + PAIR_WITHIN_MS).contains(&other.at_ms));
    }
    assert_eq!(plans(&injections), plans(&Injections::of(&SOUND, what)));
    assert_eq!(injections.plan(injections.worlds()), None);
}

#[test]
fn more_pairs_than_there_are_are_all_of_them() {
    let single = |at_ms| Injection { base: 0, at_ms, faults: Vec::new() };
    let singles: Vec<_> = [0, 1_000, 5_000, 6_001].into_iter().map(single).collect();
    assert_eq!(pairs_of(&singles, 99, 0), [(0, 1), (0, 2), (1, 2), (2, 3)]);
    assert_eq!(pairs_of(&singles[..1], 99, 0), []);
}
