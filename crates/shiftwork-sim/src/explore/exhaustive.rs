//! Every single fault at every injection point of a base world; pairs of them on request.
//!
//! Generated plans try what is likely; this tries what there is. Two base worlds are surveyed: one in which nothing goes wrong, and one that
//! is told to stop half-way and starts again, so that the stop has its points too. Each point × each fault that fits is a world. What is
//! tried at a point is in `explore/inject.rs`, what a point is in `explore/points.rs`.
//!
//! A scenario that does the same thing a thousand times has points that differ in nothing but their time. Where there are more worlds
//! than may be run, points are left out evenly, from the largest classes first, and their number is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shiftwork::Signal;

use super::{
    FaultMix,
    inject::Targets,
    points::{Class, Point, Spot, points_of},
};
use crate::{Fault, FaultKind, Outcome, Plan, Scenario, What, plan::whole_ms, streams::stream, world};

/// How many worlds with a single fault an exhaustive campaign runs of a scenario if nobody says: a minute or two of a small
/// machine.
pub const WORLDS_MAX_DEFAULT: u64 = 20_000;

/// How far apart the two of a pair are at most: longer than a retry waits, shorter than the world forgets.
const PAIR_WITHIN_MS: u64 = 5_000;

/// At how many instants of a base world the clocks of a zone change. It makes another date of the world, in which little else is where it
/// was, so that more of them find no more.
const DATED_MAX: usize = 8;

/// What an exhaustive campaign tries of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhaustive {
    /// The seed of every world; 0 by default.
    pub seed: u64,
    /// How many worlds with a single fault there may be. Of each class of points that differ in nothing but their time at least
    /// one is kept, even if these are more. [`WORLDS_MAX_DEFAULT`] by default.
    pub worlds_max: u64,
    /// How many worlds with two of these faults, at most 5 s from one another, are run beyond that; drawn evenly from all
    /// such pairs. None by default.
    pub pairs: u64,
}

impl Default for Exhaustive {
    fn default() -> Self {
        Self { seed: 0, worlds_max: WORLDS_MAX_DEFAULT, pairs: 0 }
    }
}

/// What there is to try in a scenario: plans, numbered from 0.
///
/// The first are the base worlds, then come those with one fault in the order of their times, then the pairs.
#[derive(Debug, Clone)]
pub struct Injections {
    scenario: &'static str,
    seed: u64,
    bases: Vec<Base>,
    points: u64,
    points_left_out: u64,
    singles: Vec<Injection>,
    pairs: Vec<(usize, usize)>,
}

/// A world that others are made from.
#[derive(Debug, Clone)]
struct Base {
    faults: Vec<Fault>,
    /// From when on its points are of interest.
    from: Duration,
}

/// What is added to a base world.
#[derive(Debug, Clone)]
struct Injection {
    base: usize,
    at_ms: u64,
    faults: Vec<Fault>,
}

impl Injections {
    /// Surveys a scenario.
    ///
    /// # Panics
    ///
    /// When the scenario's `build` does.
    #[must_use]
    pub fn of(scenario: &dyn Scenario, what: Exhaustive) -> Self {
        let bases = bases(scenario);
        let (mut singles, mut points, mut points_left_out) = (Vec::new(), 0, 0);
        let mut found = Vec::new();
        for (base, Base { faults, from }) in bases.iter().enumerate() {
            let surveyed = survey(scenario, what.seed, faults, *from);
            found.extend(surveyed.into_iter().map(|(point, faults)| (base, point, faults)));
        }
        let kept = kept_of(&found, what.worlds_max);
        for ((base, point, injections), kept) in found.into_iter().zip(kept) {
            points += 1;
            if kept {
                let injection = |faults| Injection { base, at_ms: point.at_ms, faults };
                singles.extend(injections.into_iter().map(injection));
            } else {
                points_left_out += 1;
            }
        }
        let pairs = pairs_of(&singles, what.pairs, what.seed);
        Self { scenario: scenario.name(), seed: what.seed, bases, points, points_left_out, singles, pairs }
    }

    /// The base worlds alone, for a scenario that cannot be surveyed: its worlds tell why.
    #[must_use]
    pub fn of_bases(scenario: &dyn Scenario, what: Exhaustive) -> Self {
        let bases = bases(scenario);
        let (singles, pairs) = (Vec::new(), Vec::new());
        let (points, points_left_out) = (0, 0);
        Self { scenario: scenario.name(), seed: what.seed, bases, points, points_left_out, singles, pairs }
    }

    /// How many injection points the base worlds have.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.points
    }

    /// How many of them are left out, because others of the same class are tried.
    #[must_use]
    pub fn points_left_out(&self) -> u64 {
        self.points_left_out
    }

    /// How many worlds have two faults.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.pairs.len() as u64
    }

    /// How many worlds there are.
    #[must_use]
    pub fn worlds(&self) -> u64 {
        (self.bases.len() + self.singles.len() + self.pairs.len()) as u64
    }

    /// The plan of a world; `None` if there is none of this number.
    #[must_use]
    pub fn plan(&self, number: u64) -> Option<Plan> {
        let number = usize::try_from(number).ok()?;
        let (base, added): (usize, Vec<&Injection>) = if number < self.bases.len() {
            (number, Vec::new())
        } else if let Some(single) = self.singles.get(number - self.bases.len()) {
            (single.base, vec![single])
        } else {
            let (one, other) = *self.pairs.get(number - self.bases.len() - self.singles.len())?;
            let (one, other) = (self.singles.get(one)?, self.singles.get(other)?);
            (one.base, vec![one, other])
        };
        let mut plan = Plan::quiet(self.scenario, self.seed);
        plan.faults.clone_from(&self.bases.get(base)?.faults);
        plan.faults.extend(added.into_iter().flat_map(|injection| injection.faults.iter().cloned()));
        plan.faults.sort_by_key(|fault| fault.at_ms);
        Some(plan)
    }
}

/// A world in which nothing goes wrong, and one in which every node is told to stop half-way.
fn bases(scenario: &dyn Scenario) -> Vec<Base> {
    let stop_at = scenario.surface().horizon / 2;
    let names = scenario.nodes();
    let nodes = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let stop = |node| Fault::new(whole_ms(stop_at), FaultKind::Signal { node, signal: Signal::Terminate });
    vec![
        Base { faults: Vec::new(), from: Duration::ZERO },
        Base { faults: nodes.into_iter().map(stop).collect(), from: stop_at },
    ]
}

/// Runs a base world, and finds what can be tried at each of its points from a time on.
fn survey(scenario: &dyn Scenario, seed: u64, faults: &[Fault], from: Duration) -> Vec<(Point, Vec<Vec<Fault>>)> {
    let surface = scenario.surface();
    let plan = Plan { faults: faults.to_vec(), ..Plan::quiet(scenario.name(), seed) };
    let outcome = world::survey(&plan, surface.horizon, |world| scenario.build(world));
    let until = if faults.is_empty() { surface.horizon } else { back_again(&outcome, from, surface.horizon) };
    let mix = scenario.bend(FaultMix::HOSTILE);
    let timeline = &outcome.timeline;
    let targets = Targets::new(&surface, &scenario.zones(), mix, timeline.site_names(), timeline.node_names());
    let points = points_of(&outcome, from, until);
    let dated = dated(&points);
    let mut last_instant = None;
    let with_injections = points.into_iter().enumerate().map(|(index, point)| {
        let mut injections = targets.injections(&point);
        // Once for the world, however many nodes have something to do then.
        if point.spot == Spot::Instant && last_instant.replace(point.at_ms) != Some(point.at_ms) {
            injections.extend(targets.of_all_nodes(point.at_ms));
        }
        if dated.contains(&index) {
            injections.extend(targets.of_dates(point.at_ms));
        }
        (point, injections)
    });
    with_injections.filter(|(_, injections)| !injections.is_empty()).collect()
}

/// At which points the clocks of a zone change: some instants, spread evenly, and the first of their classes, so that none is left out.
fn dated(points: &[Point]) -> BTreeSet<usize> {
    let mut classes = BTreeSet::new();
    let instants = points.iter().enumerate().filter(|(_, point)| point.spot == Spot::Instant);
    let firsts: Vec<usize> =
        instants.filter(|(_, point)| classes.insert(&point.class)).map(|(index, _)| index).collect();
    let count = firsts.len().min(DATED_MAX);
    (0..count).map(|nth| firsts[nth * firsts.len() / count]).collect()
}

/// When the last node that was told to stop has been started again and has had time to be ready; at the latest the horizon.
fn back_again(outcome: &Outcome, from: Duration, horizon: Duration) -> Duration {
    let records = || outcome.timeline.records().iter().filter(|record| record.at >= from);
    let told: BTreeSet<_> =
        records().filter(|record| matches!(record.what, What::Signalled(_))).filter_map(|record| record.node).collect();
    let exits = || records().filter(|record| matches!(record.what, What::Exited { .. }) && record.at < horizon);
    let all_have = told.iter().all(|node| exits().any(|exit| exit.node == Some(*node)));
    let last = if all_have { exits().map(|exit| exit.at).max().unwrap_or(from) } else { horizon };
    (last + world::RESTART_AFTER + Duration::from_secs(1)).min(horizon)
}

/// Which points are tried: as many of each class as there may be for no more than `worlds_max` worlds, the same number of each, spread
/// evenly; at least one.
fn kept_of(found: &[(usize, Point, Vec<Vec<Fault>>)], worlds_max: u64) -> Vec<bool> {
    let mut classes: BTreeMap<(usize, &Class), Vec<usize>> = BTreeMap::new();
    for (index, (base, point, _)) in found.iter().enumerate() {
        classes.entry((*base, &point.class)).or_default().push(index);
    }
    let chosen = |of_each: usize| {
        classes.values().flat_map(move |of_class| {
            let count = of_class.len().min(of_each);
            (0..count).map(move |nth| of_class[nth * of_class.len() / count])
        })
    };
    let worlds = |of_each: usize| chosen(of_each).map(|index| found[index].2.len() as u64).sum::<u64>();
    let (mut enough, mut too_many) = (1, classes.values().map(Vec::len).max().unwrap_or(0) + 1);
    while enough + 1 < too_many {
        let middle = enough + (too_many - enough) / 2;
        if worlds(middle) <= worlds_max {
            enough = middle;
        } else {
            too_many = middle;
        }
    }
    let mut kept = vec![false; found.len()];
    for index in chosen(enough) {
        kept[index] = true;
    }
    kept
}

/// Pairs of faults of one base world that are close to one another: at most `count`, one out of each of as many equal parts of them
/// all.
fn pairs_of(singles: &[Injection], count: u64, seed: u64) -> Vec<(usize, usize)> {
    // For each single, how many pairs begin with an earlier one.
    let mut before = Vec::with_capacity(singles.len());
    let mut all: u64 = 0;
    let mut end = 0;
    for (index, one) in singles.iter().enumerate() {
        let near = |other: &Injection| other.base == one.base && other.at_ms <= one.at_ms + PAIR_WITHIN_MS;
        end = end.max(index + 1);
        while singles.get(end).is_some_and(near) {
            end += 1;
        }
        before.push(all);
        all += (end - index - 1) as u64;
    }
    let count = count.min(all);
    let mut chance = fastrand::Rng::with_seed(stream(seed, "pairs"));
    let nth = |nth: u64| u64::try_from(u128::from(nth) * u128::from(all) / u128::from(count.max(1))).unwrap_or(all);
    let mut pair = |part: u64| {
        let number = chance.u64(nth(part)..nth(part + 1));
        let one = before.partition_point(|before| *before <= number) - 1;
        (one, one + 1 + usize::try_from(number - before[one]).unwrap_or(0))
    };
    (0..count).map(&mut pair).collect()
}

#[cfg(test)]
mod tests {
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
        // A queue can forget a lease, and hand out or pass over a delivery, only if there is one.
        let needs_one = [FaultName::LeaseTaken, FaultName::Duplicate, FaultName::Reorder, FaultName::EffectAfterDrop];
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
}
