//! Plans from seeds, by proptest strategies.
//!
//! Swarm: each seed allows only a random subset of the kinds of faults, so that some worlds have many of a kind and none of
//! another (Groce and others, "Swarm testing", ISSTA 2012). A quarter of the times is drawn close to another fault's, since it is
//! faults together that break things.
//!
//! A kind that came later takes the place of one that a seed draws without it, by draws of its own: plans that have none of it stay as
//! they were. There are several of those, and each does so to what is drawn without it and the ones after it.

use std::{fmt, iter, rc::Rc};

use proptest::{
    prelude::*,
    strategy::{BoxedStrategy, Union},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use shiftwork::Signal;

use super::{Candidate, FaultMix};
use crate::{
    Fault, FaultKind, Scenario,
    plan::{Change, FaultName, Spread, whole_ms},
    streams::stream,
};

/// The plan of `seed`: always the same for the same scenario, mix and seed. The scenario may have bent the mix to what its
/// code can be blamed for ([`Scenario::bend`]).
#[must_use]
pub fn generate(scenario: &dyn Scenario, mix: impl Into<FaultMix>, seed: u64) -> Candidate {
    let name = scenario.name();
    let mix = scenario.bend(mix.into());
    let mut chance = fastrand::Rng::with_seed(stream(seed, name));
    let ingredients = Ingredients::new(scenario, mix);
    let later = LATER.into_iter().filter_map(|kind| {
        let own = fastrand::Rng::with_seed(stream(stream(seed, name), kind.as_str()));
        Some(Later { weight: u32::from(mix.weight_of(kind)), strategy: ingredients.kind(kind)?, own })
    });
    let strategy = faults(&ingredients, mix, &mut chance, later.collect());
    let mut bytes = [0; 32];
    chance.fill(&mut bytes);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    // Nothing in the strategy filters, so there is always a tree.
    let tree = strategy.new_tree(&mut runner).unwrap_or_else(|reason| unreachable!("no plan could be made: {reason}"));
    Candidate { scenario: name, seed, tree }
}

/// The kinds that came later than the others, in the order in which they did.
const LATER: [FaultName; 5] =
    [FaultName::Block, FaultName::PanicInCycle, FaultName::CancelInCycle, FaultName::DstChange, FaultName::Downtime];

/// One of them that the scenario has something for.
struct Later {
    /// Nothing, if the mix is without it.
    weight: u32,
    strategy: BoxedStrategy<FaultKind>,
    /// The chance of whether a seed allows it.
    own: fastrand::Rng,
}

impl Later {
    fn is_allowed(&mut self) -> bool {
        self.weight > 0 && self.own.bool()
    }

    /// Takes the places of some that were drawn before, as often as if it were one of the others.
    fn instead_of(
        mut self,
        weight_of_others: u32,
        most: usize,
        drawn: BoxedStrategy<Vec<Fault>>,
    ) -> BoxedStrategy<Vec<Fault>> {
        let (is_allowed, weight) = (self.is_allowed(), self.weight);
        // Behind all before, and whether it is allowed or not: those that come behind it draw the same without it.
        let instead = prop::collection::vec((0..weight_of_others + weight, self.strategy), most);
        (drawn, instead)
            .prop_map(move |(faults, instead)| -> Vec<Fault> {
                let or_later = |(fault, (draw, kind)): (Fault, (u32, FaultKind))| {
                    if is_allowed && draw < weight { Fault { kind, ..fault } } else { fault }
                };
                faults.into_iter().zip(instead).map(or_later).collect()
            })
            .boxed()
    }
}

/// Which kinds this seed allows: each with even odds, and at least one.
fn faults(
    ingredients: &Ingredients,
    mix: FaultMix,
    chance: &mut fastrand::Rng,
    mut later: Vec<Later>,
) -> BoxedStrategy<Vec<Fault>> {
    let kind = |name: FaultName| {
        let weight = u32::from(mix.weight_of(name));
        let strategy = if weight == 0 { None } else { ingredients.kind(name) };
        strategy.map(|strategy| (weight, strategy))
    };
    let mut all: Vec<_> = FaultName::ALL.into_iter().filter(|name| !LATER.contains(name)).filter_map(kind).collect();
    if all.is_empty()
        && let Some(first) = later.iter().position(|it| it.weight > 0)
    {
        let Later { weight, strategy, .. } = later.remove(first);
        all.push((weight, strategy));
    }
    if all.is_empty() {
        return Just(Vec::new()).boxed();
    }
    let mut allowed: Vec<_> = all.iter().filter(|_| chance.bool()).cloned().collect();
    if allowed.is_empty() {
        let alone = later.iter_mut().position(Later::is_allowed);
        allowed.push(match alone.map(|alone| later.remove(alone)) {
            Some(Later { weight, strategy, .. }) => (weight, strategy),
            None => all[chance.usize(0..all.len())].clone(),
        });
    }
    let weight_of_others: u32 = allowed.iter().map(|(weight, _)| weight).sum();
    let horizon = ingredients.horizon_ms;
    let fault = (0..horizon, Union::new_weighted(allowed)).prop_map(|(at_ms, kind)| Fault::new(at_ms, kind));
    let together = chance.u8(0..4) == 0;
    let drawn = (0..horizon, prop::collection::vec((fault, 0u64..50), mix.faults_range())).prop_map(
        move |(base, faults)| -> Vec<Fault> {
            let near =
                |(fault, offset): (Fault, u64)| if together { Fault { at_ms: base + offset, ..fault } } else { fault };
            faults.into_iter().map(near).collect()
        },
    );
    let most = *mix.faults_range().end();
    later.into_iter().fold(drawn.boxed(), |drawn, later| later.instead_of(weight_of_others, most, drawn))
}

/// For how long a world is down at most, by the wall clock: a month.
const DOWNTIME_MAX_MS: u64 = 30 * 24 * 3_600_000;

/// What kinds of faults are made of.
struct Ingredients {
    sites: Rc<[String]>,
    dependencies: Rc<[String]>,
    queues: Rc<[String]>,
    /// The dependencies that a worker is stubborn by.
    stubborn: Rc<[String]>,
    /// The workers whose cycles are struck at their await points.
    workers: Rc<[String]>,
    /// Which clocks change, and which way.
    dates: Rc<[(String, Change)]>,
    /// What a fault of a process may say of its node.
    nodes: Rc<[Option<String>]>,
    horizon_ms: u64,
    lasts_max_ms: u64,
    down_max_ms: u64,
}

impl Ingredients {
    fn new(scenario: &dyn Scenario, mix: FaultMix) -> Self {
        let (surface, nodes) = (scenario.surface(), scenario.nodes());
        let sites: Vec<String> = surface.dependencies.iter().chain(&surface.queues).cloned().collect();
        Self {
            sites: sites.into(),
            dependencies: surface.dependencies.into(),
            queues: surface.queues.into(),
            stubborn: scenario.stubborn().into(),
            workers: scenario.workers().into(),
            dates: Change::of_zones(&scenario.zones()).into(),
            // The only one needs no name.
            nodes: if nodes.is_empty() { [None].into() } else { nodes.into_iter().map(Some).collect() },
            horizon_ms: whole_ms(surface.horizon).max(1),
            lasts_max_ms: mix.lasts_max_ms(),
            down_max_ms: mix.down_max_ms(),
        }
    }

    /// Faults of one kind; `None` if the scenario has nothing that they could strike.
    fn kind(&self, name: FaultName) -> Option<BoxedStrategy<FaultKind>> {
        let (sites, dependencies, queues) =
            (|| one_of(&self.sites), || one_of(&self.dependencies), || one_of(&self.queues));
        let lasts = || exponential(self.lasts_max_ms).prop_map(Some);
        let down = || exponential(self.down_max_ms);
        let node = || {
            let nodes = self.nodes.clone();
            (0..nodes.len()).prop_map(move |index| nodes[index].clone())
        };
        Some(match name {
            FaultName::Slow => (sites()?, 1u64..8_000, spread(), lasts())
                .prop_map(|(site, by_ms, spread, for_ms)| FaultKind::Slow { site, by_ms, spread, for_ms })
                .boxed(),
            FaultName::Brownout => (sites()?, percent(), 1u64..8_000, lasts())
                .prop_map(|(site, percent, by_ms, for_ms)| FaultKind::Brownout { site, percent, by_ms, for_ms })
                .boxed(),
            FaultName::Error => (sites()?, percent(), lasts())
                .prop_map(|(site, percent, for_ms)| FaultKind::Error { site, percent, for_ms })
                .boxed(),
            // Of dependencies alone: a queue that says that trying again is no use is broken, not in trouble.
            FaultName::PermanentError => (dependencies()?, percent(), lasts())
                .prop_map(|(site, percent, for_ms)| FaultKind::PermanentError { site, percent, for_ms })
                .boxed(),
            FaultName::RateLimit => (dependencies()?, percent(), 1u64..30_000, lasts())
                .prop_map(|(site, percent, retry_after_ms, for_ms)| FaultKind::RateLimit {
                    site,
                    percent,
                    retry_after_ms,
                    for_ms,
                })
                .boxed(),
            FaultName::Outage => {
                (sites()?, lasts()).prop_map(|(site, for_ms)| FaultKind::Outage { site, for_ms }).boxed()
            }
            FaultName::Flap => (sites()?, exponential(8_000), exponential(8_000), lasts())
                .prop_map(|(site, down_ms, up_ms, for_ms)| FaultKind::Flap { site, down_ms, up_ms, for_ms })
                .boxed(),
            FaultName::Hang => (sites()?, lasts()).prop_map(|(site, for_ms)| FaultKind::Hang { site, for_ms }).boxed(),
            FaultName::ReplyLost => (sites()?, percent(), lasts())
                .prop_map(|(site, percent, for_ms)| FaultKind::ReplyLost { site, percent, for_ms })
                .boxed(),
            FaultName::EffectAfterDrop => {
                (sites()?, lasts()).prop_map(|(site, for_ms)| FaultKind::EffectAfterDrop { site, for_ms }).boxed()
            }
            FaultName::Spin => {
                (sites()?, 1u32..1_000).prop_map(|(site, polls)| FaultKind::Spin { site, polls }).boxed()
            }
            // For less than rule L3 demands of a worker.
            FaultName::Block => (sites()?, 1u64..10).prop_map(|(site, by_ms)| FaultKind::Block { site, by_ms }).boxed(),
            FaultName::Panic => dependencies()?.prop_map(|site| FaultKind::Panic { site }).boxed(),
            FaultName::Duplicate => queues()?.prop_map(|site| FaultKind::Duplicate { site }).boxed(),
            FaultName::Malformed => queues()?.prop_map(|site| FaultKind::Malformed { site }).boxed(),
            FaultName::LeaseTaken => queues()?.prop_map(|site| FaultKind::LeaseTaken { site }).boxed(),
            FaultName::Reorder => (queues()?, 1u8..8, lasts())
                .prop_map(|(site, by, for_ms)| FaultKind::Reorder { site, by, for_ms })
                .boxed(),
            FaultName::Late => (queues()?, percent(), exponential(16_000), lasts())
                .prop_map(|(site, percent, by_ms, for_ms)| FaultKind::Late { site, percent, by_ms, for_ms })
                .boxed(),
            FaultName::Crash => (node(), down()).prop_map(|(node, down_ms)| FaultKind::Crash { node, down_ms }).boxed(),
            // As long as a process may be down: longer than leases last.
            FaultName::Pause => (node(), down()).prop_map(|(node, for_ms)| FaultKind::Pause { node, for_ms }).boxed(),
            FaultName::SlowStart => (node(), exponential(16_000), lasts())
                .prop_map(|(node, by_ms, for_ms)| FaultKind::SlowStart { node, by_ms, for_ms })
                .boxed(),
            FaultName::CrashInCall => (sites()?, any::<bool>(), down())
                .prop_map(|(site, after_effect, down_ms)| FaultKind::CrashInCall { site, after_effect, down_ms })
                .boxed(),
            FaultName::CrashAtPoll => (node(), 1u64..400, down())
                .prop_map(|(node, polls, down_ms)| FaultKind::CrashAtPoll { node, polls, down_ms })
                .boxed(),
            FaultName::StopAtPoll => (node(), 1u64..400, any::<bool>())
                .prop_map(|(node, polls, again)| FaultKind::StopAtPoll { node, polls, again })
                .boxed(),
            FaultName::PanicAtPoll => {
                (dependencies()?, 1u32..16).prop_map(|(site, polls)| FaultKind::PanicAtPoll { site, polls }).boxed()
            }
            FaultName::DropAtPoll => {
                (dependencies()?, 1u32..16).prop_map(|(site, polls)| FaultKind::DropAtPoll { site, polls }).boxed()
            }
            FaultName::IgnoreCancel => {
                // A stop may come at any time: one that is over by then has done nothing.
                one_of(&self.stubborn)?.prop_map(|site| FaultKind::IgnoreCancel { site, for_ms: None }).boxed()
            }
            // Few cycles wait often.
            FaultName::PanicInCycle => (node(), one_of(&self.workers)?, 1u32..8)
                .prop_map(|(node, worker, polls)| FaultKind::PanicInCycle { node, worker, polls })
                .boxed(),
            FaultName::CancelInCycle => (node(), one_of(&self.workers)?, 1u32..8)
                .prop_map(|(node, worker, polls)| FaultKind::CancelInCycle { node, worker, polls })
                .boxed(),
            FaultName::Signal => {
                let signal = prop_oneof![
                    4 => Just(Signal::Terminate),
                    2 => Just(Signal::Interrupt),
                    1 => Just(Signal::Quit),
                ];
                (node(), signal).prop_map(|(node, signal)| FaultKind::Signal { node, signal }).boxed()
            }
            FaultName::DstChange => {
                one_of(&self.dates)?.prop_map(|(zone, change)| FaultKind::DstChange { zone, change }).boxed()
            }
            FaultName::Downtime => {
                exponential(DOWNTIME_MAX_MS).prop_map(|wall_ms| FaultKind::Downtime { wall_ms }).boxed()
            }
            // Forward by up to a month. Back by half a minute at most: whatever is due by the wall clock waits for so
            // much longer, and all the steps of a world together must leave it the time to recover.
            FaultName::ClockStep => {
                let step = prop_oneof![
                    (0u32..32).prop_map(|exponent| 1i64 << exponent),
                    (0u32..15).prop_map(|exponent| -(1i64 << exponent)),
                ];
                match &*self.nodes {
                    [None] => step.prop_map(|by_ms| FaultKind::ClockStep { node: None, by_ms }).boxed(),
                    // All clocks together, or one that is then off from the others.
                    nodes => {
                        let whose: Vec<_> = iter::once(None).chain(nodes.iter().cloned()).collect();
                        (prop::sample::select(whose), step)
                            .prop_map(|(node, by_ms)| FaultKind::ClockStep { node, by_ms })
                            .boxed()
                    }
                }
            }
        })
    }
}

/// One of these, if there is one.
fn one_of<T: Clone + fmt::Debug + 'static>(all: &Rc<[T]>) -> Option<impl Strategy<Value = T> + use<T>> {
    let all = all.clone();
    (!all.is_empty()).then(|| (0..all.len()).prop_map(move |index| all[index].clone()))
}

/// A time from 1 ms to `max`: many short ones, some long ones, since the exponent is what is uniform.
fn exponential(max_ms: u64) -> impl Strategy<Value = u64> + use<> {
    let max_ms = max_ms.max(1);
    (0u32..=max_ms.ilog2(), any::<u16>()).prop_map(move |(exponent, more)| {
        let base = 1u64 << exponent;
        (base + u64::from(more) % base).min(max_ms)
    })
}

fn percent() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![5u8, 20, 50, 100])
}

fn spread() -> impl Strategy<Value = Spread> {
    prop::sample::select(vec![Spread::Constant, Spread::Uniform, Spread::LongTail])
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Surface, World, explore::Profile, plan::Timing, secs};

    /// Something of everything that faults can strike.
    pub(in crate::explore) struct Bare;

    impl Scenario for Bare {
        fn name(&self) -> &'static str {
            "bare"
        }

        fn about(&self) -> &'static str {
            "never built"
        }

        fn surface(&self) -> Surface {
            Surface { dependencies: vec!["smtp".into()], queues: vec!["mails".into()], horizon: secs(60) }
        }

        fn stubborn(&self) -> Vec<String> {
            vec!["smtp".into()]
        }

        fn workers(&self) -> Vec<String> {
            vec!["mailer".into()]
        }

        fn zones(&self) -> Vec<String> {
            // The clocks of one of them do not change.
            vec!["Asia/Tokyo".into(), "Europe/Vienna".into()]
        }

        fn build(&self, _: &mut World) {}
    }

    fn plans(mix: impl Into<FaultMix>) -> impl Iterator<Item = Vec<Fault>> {
        let mix = mix.into();
        (0..2_000).map(move |seed| generate(&Bare, mix, seed).plan().faults)
    }

    #[test]
    fn every_kind_is_generated() {
        let seen: BTreeSet<FaultName> = plans(Profile::Hostile).flatten().map(|fault| fault.kind.kind()).collect();
        assert_eq!(seen, BTreeSet::from(FaultName::ALL));
    }

    #[test]
    fn a_world_has_what_the_mix_says_and_nothing_else() {
        let mix =
            FaultMix::none().faults(2..=3).lasts_max(secs(4)).weight(FaultName::Hang, 1).weight(FaultName::Slow, 9);
        for faults in plans(mix) {
            assert!((2..=3).contains(&faults.len()));
            for fault in faults {
                assert!(matches!(fault.kind.kind(), FaultName::Hang | FaultName::Slow));
                assert!(fault.kind.lasts_ms().is_some_and(|ms| (1..=4_000).contains(&ms)));
            }
        }
    }

    #[test]
    fn a_kind_that_weighs_more_comes_more_often() {
        let mix = FaultMix::none().weight(FaultName::Hang, 1).weight(FaultName::Slow, 9);
        let count = |name: FaultName| plans(mix).flatten().filter(|fault| fault.kind.kind() == name).count();
        // Where a seed allows both, nine in ten are slow: beside those that allow but one, two in three of all.
        let (slow, hang) = (count(FaultName::Slow), count(FaultName::Hang));
        assert!(2 * slow > 3 * hang, "{slow} to {hang}");
    }

    #[test]
    fn most_seeds_that_may_have_two_kinds_have_one_of_them() {
        let mix = FaultMix::none().faults(6..=6).weight(FaultName::Hang, 1).weight(FaultName::Slow, 1);
        let has = |faults: &[Fault], name: FaultName| faults.iter().any(|fault| fault.kind.kind() == name);
        let has_one = |faults: &Vec<Fault>| has(faults, FaultName::Hang) != has(faults, FaultName::Slow);
        // Of four seeds one allows both; drawn from both, one plan in 32 would have but one.
        let one = plans(mix).take(400).filter(has_one).count();
        assert!((250..=350).contains(&one), "{one} of 400");
    }

    #[test]
    fn each_kind_is_absent_in_about_half_of_hostile_seeds_however_many_faults_they_have() {
        let plans: Vec<_> = plans(FaultMix::HOSTILE.faults(60..=60)).take(300).collect();
        for name in FaultName::ALL {
            // Drawn from all kinds, sixty faults would miss one kind in nine plans.
            let absent = plans.iter().filter(|faults| faults.iter().all(|fault| fault.kind.kind() != name)).count();
            assert!((100..=200).contains(&absent), "{name} in all but {absent} of 300");
        }
    }

    #[test]
    fn a_quarter_of_all_plans_is_drawn_together_at_deadlines_as_well() {
        let mix = FaultMix::HOSTILE.faults(6..=6);
        let plans: Vec<_> = (0..2_000).map(|seed| generate(&Bare, mix, seed).plan()).collect();
        for (timing, of) in [(Timing::AsWritten, 1_500), (Timing::AtDeadlines, 500)] {
            let times = plans.iter().filter(|plan| plan.timing == timing).map(|plan| &plan.faults);
            let together = times.filter(|faults| faults[5].at_ms - faults[0].at_ms < 50).count();
            assert!((of / 6..=of / 3).contains(&together), "{together} of about {of} whose times are {timing:?}");
        }
    }

    #[test]
    fn a_kind_that_came_later_leaves_what_others_draw_as_it_was() {
        for kind in LATER {
            let without = FaultMix::HOSTILE.weight(kind, 0);
            let (mut changed, mut of_kind) = (0, 0);
            for (with, without) in plans(FaultMix::HOSTILE).zip(plans(without)) {
                assert_eq!(with.len(), without.len());
                let later = |faults: &[Fault]| faults.iter().filter(|fault| fault.kind.kind() == kind).count();
                assert_eq!(later(&without), 0);
                of_kind += later(&with);
                changed += usize::from(with != without);
                let mut places: Vec<_> = without.iter().collect();
                for fault in with.iter().filter(|fault| fault.kind.kind() != kind) {
                    let place = places.iter().position(|other| *other == fault);
                    places.remove(place.expect("it is drawn without the other one"));
                }
            }
            assert!(of_kind > 200 && changed < 1_000, "{kind}: {of_kind} in {changed} of 2,000 plans");
            let alone = plans(FaultMix::none().faults(1..=3).weight(kind, 1));
            assert!(alone.into_iter().all(|faults| (1..=3).contains(&faults.len())), "a mix may be of {kind} alone");
        }
    }

    #[test]
    fn a_scenario_that_names_no_worker_has_no_cycle_struck() {
        struct Nobody;
        impl Scenario for Nobody {
            fn name(&self) -> &'static str {
                "nobody"
            }

            fn about(&self) -> &'static str {
                "never built"
            }

            fn surface(&self) -> Surface {
                Bare.surface()
            }

            fn build(&self, _: &mut World) {}
        }
        let struck = (0..400).flat_map(|seed| generate(&Nobody, Profile::Hostile, seed).plan().faults);
        assert!(struck.into_iter().all(|fault| !fault.kind.strikes_cycles()));
    }

    #[test]
    fn clocks_change_only_where_a_scenario_goes_by_a_zone_in_which_they_do() {
        struct Timeless;

        impl Scenario for Timeless {
            fn name(&self) -> &'static str {
                "timeless"
            }

            fn about(&self) -> &'static str {
                "never built"
            }

            fn surface(&self) -> Surface {
                Bare.surface()
            }

            fn build(&self, _: &mut World) {}
        }

        let mix = FaultMix::none().faults(1..=1).weight(FaultName::DstChange, 1);
        let mut seen = BTreeSet::new();
        for fault in plans(mix).flatten() {
            let FaultKind::DstChange { zone, change } = fault.kind else { panic!("it is of another kind") };
            seen.insert((zone, change.as_str()));
        }
        assert_eq!(seen, BTreeSet::from(["back", "forward"].map(|change| ("Europe/Vienna".to_owned(), change))));
        assert!((0..100).all(|seed| generate(&Timeless, mix, seed).plan().faults.is_empty()));
    }

    #[test]
    fn what_is_generated_blocks_no_poll_for_longer_than_a_worker_may() {
        let blocks = plans(FaultMix::none().weight(FaultName::Block, 1)).flatten();
        assert!(blocks.into_iter().all(|fault| matches!(fault.kind, FaultKind::Block { by_ms: 1..10, .. })));
    }

    #[test]
    fn queues_are_not_told_that_trying_again_is_no_use() {
        let refusing = plans(FaultMix::none().weight(FaultName::PermanentError, 1)).flatten();
        assert!(refusing.into_iter().all(|fault| fault.kind.site() == Some("smtp")));
    }
}
