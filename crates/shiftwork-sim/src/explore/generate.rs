//! Plans from seeds, by proptest strategies.
//!
//! Swarm: each seed allows only a random subset of the kinds of faults, so that some worlds have many of a kind and none of
//! another (Groce and others, "Swarm testing", ISSTA 2012). A quarter of the times is drawn close to another fault's, since it is
//! faults together that break things.

use std::{rc::Rc, time::Duration};

use proptest::{
    prelude::*,
    strategy::{BoxedStrategy, Union},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde::{Deserialize, Serialize};
use shiftwork::Signal;

use super::Candidate;
use crate::{Fault, FaultKind, Scenario, Surface, plan::whole_ms, streams::stream};

/// How much goes wrong in a generated world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One or two short faults, and no crash.
    Gentle,
    /// A handful of any kind.
    Harsh,
    /// Many, and long.
    Hostile,
}

impl Profile {
    fn faults_max(self) -> usize {
        match self {
            Profile::Gentle => 2,
            Profile::Harsh => 6,
            Profile::Hostile => 14,
        }
    }

    fn lasts_max(self) -> Duration {
        match self {
            Profile::Gentle => Duration::from_secs(5),
            Profile::Harsh => Duration::from_secs(40),
            Profile::Hostile => Duration::from_secs(90),
        }
    }

    fn kills(self) -> bool {
        self != Profile::Gentle
    }
}

/// The plan of `seed`: always the same for the same scenario, profile and seed.
#[must_use]
pub fn generate(scenario: &dyn Scenario, profile: Profile, seed: u64) -> Candidate {
    let name = scenario.name();
    let mut chance = fastrand::Rng::with_seed(stream(seed, name));
    let strategy = faults(&scenario.surface(), profile, &mut chance);
    let mut bytes = [0; 32];
    chance.fill(&mut bytes);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    // Nothing in the strategy filters, so there is always a tree.
    let tree = strategy.new_tree(&mut runner).unwrap_or_else(|reason| unreachable!("no plan could be made: {reason}"));
    Candidate { scenario: name, seed, tree }
}

/// Which kinds this seed allows: each with even odds, and at least one.
fn faults(surface: &Surface, profile: Profile, chance: &mut fastrand::Rng) -> BoxedStrategy<Vec<Fault>> {
    let all = kinds(surface, profile);
    let mut allowed: Vec<_> = all.iter().filter(|_| chance.bool()).cloned().collect();
    if allowed.is_empty() {
        allowed.push(all[chance.usize(0..all.len())].clone());
    }
    let horizon = whole_ms(surface.horizon).max(1);
    let fault = (0..horizon, Union::new(allowed)).prop_map(|(at_ms, kind)| Fault { at_ms, kind });
    let together = chance.u8(0..4) == 0;
    (0..horizon, prop::collection::vec((fault, 0u64..50), 0..=profile.faults_max()))
        .prop_map(move |(base, faults)| {
            let near =
                |(fault, offset): (Fault, u64)| if together { Fault { at_ms: base + offset, ..fault } } else { fault };
            faults.into_iter().map(near).collect()
        })
        .boxed()
}

fn kinds(surface: &Surface, profile: Profile) -> Vec<BoxedStrategy<FaultKind>> {
    let lasts_max = whole_ms(profile.lasts_max());
    // Many short ones, some long ones: the exponent is what is uniform.
    let lasts = move || {
        (0u32..=lasts_max.ilog2(), any::<u16>()).prop_map(move |(exponent, more)| {
            let base = 1u64 << exponent;
            Some((base + u64::from(more) % base).min(lasts_max))
        })
    };
    let percent = || prop::sample::select(vec![5u8, 20, 50, 100]);
    let down = || (0u32..16).prop_map(|exponent| 1u64 << exponent);
    let signal = prop_oneof![
        4 => Just(Signal::Terminate),
        2 => Just(Signal::Interrupt),
        1 => Just(Signal::Quit),
    ];
    let mut kinds: Vec<BoxedStrategy<FaultKind>> = Vec::new();
    let sites: Vec<String> = surface.dependencies.iter().chain(&surface.queues).cloned().collect();
    if !sites.is_empty() {
        let sites: Rc<[String]> = sites.into();
        let site = move || {
            let sites = sites.clone();
            (0..sites.len()).prop_map(move |index| sites[index].clone())
        };
        kinds.push(
            (site(), 1u64..8_000, lasts())
                .prop_map(|(site, by_ms, for_ms)| FaultKind::Slow { site, by_ms, for_ms })
                .boxed(),
        );
        kinds.push(
            (site(), percent(), lasts())
                .prop_map(|(site, percent, for_ms)| FaultKind::Error { site, percent, for_ms })
                .boxed(),
        );
        kinds.push((site(), lasts()).prop_map(|(site, for_ms)| FaultKind::Outage { site, for_ms }).boxed());
        kinds.push((site(), lasts()).prop_map(|(site, for_ms)| FaultKind::Hang { site, for_ms }).boxed());
        kinds.push(
            (site(), percent(), lasts())
                .prop_map(|(site, percent, for_ms)| FaultKind::ReplyLost { site, percent, for_ms })
                .boxed(),
        );
        if profile.kills() {
            kinds.push(
                (site(), any::<bool>(), down())
                    .prop_map(|(site, after_effect, down_ms)| FaultKind::CrashInCall { site, after_effect, down_ms })
                    .boxed(),
            );
        }
    }
    if !surface.dependencies.is_empty() {
        let sites: Rc<[String]> = surface.dependencies.clone().into();
        kinds.push((0..sites.len()).prop_map(move |index| FaultKind::Panic { site: sites[index].clone() }).boxed());
    }
    if profile.kills() {
        kinds.push(down().prop_map(|down_ms| FaultKind::Crash { down_ms }).boxed());
        // Forward by up to a month. Back by half a minute at most: whatever is due by the wall clock waits for so much longer, and
        // all the steps of a world together must leave it the time to recover.
        let step = prop_oneof![
            (0u32..32).prop_map(|exponent| 1i64 << exponent),
            (0u32..15).prop_map(|exponent| -(1i64 << exponent)),
        ];
        kinds.push(step.prop_map(|by_ms| FaultKind::ClockStep { by_ms }).boxed());
    }
    kinds.push(signal.prop_map(|signal| FaultKind::Signal { signal }).boxed());
    kinds
}
