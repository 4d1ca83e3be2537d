//! Every single fault at every injection point of a base world; pairs of them on request.
//!
//! Generated plans try what is likely; this tries what there is. Two base worlds are surveyed: one in which nothing goes wrong, and
//! one that is told to stop half-way and starts again, so that the stop has its points too. Each point × each fault that fits is a
//! world. What is tried at a point is in `explore/inject.rs`, what a point is in `explore/points.rs`.
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
mod tests;
