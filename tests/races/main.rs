//! Races that tokio's own order of tasks does not show, and how many worlds it takes until an explored order does.
//!
//! Each is a few small tasks with one planted mistake (`planted.rs`). They say whether the exploration of task orders is worth what
//! it costs, and the weights of its portfolio are measured on them: the table is in `docs/exploration.md`.

mod collisions;
mod planted;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use planted::{Race, all};
use shiftwork::{Context, Continuous, Failure};
use shiftwork_sim::{
    Order, Outcome, Script, World,
    order::{CutShort, Strategy},
};

/// The name of the invariant that every race breaks.
const RULE: &str = "the race is not lost";

/// One world: the tasks of the race run once.
fn run(race: &Race, seed: u64, order: Order) -> Outcome {
    let body = race.body;
    let lost = Arc::new(AtomicBool::new(false));
    Script::new().seed(seed).order(order).run_once(|world: &mut World| {
        let seen = lost.clone();
        world.always(
            RULE,
            move |_| {
                if seen.load(Ordering::Relaxed) { Err("the mistake shows".to_owned()) } else { Ok(()) }
            },
        );
        world.node("race", move |node| {
            let lost = lost.clone();
            let cycle = move |(): (), _: Context| {
                let lost = lost.clone();
                async move {
                    if !body().await {
                        lost.store(true, Ordering::Relaxed);
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("race", Continuous::times(std::num::NonZeroU64::MIN), cycle).run_until_signal()
        });
    })
}

fn is_lost(outcome: &Outcome) -> bool {
    broke(outcome, RULE)
}

/// Whether the world broke this rule, the only one that it may break.
fn broke(outcome: &Outcome, rule: &str) -> bool {
    match outcome.violations.first() {
        Some(violation) => {
            assert_eq!(violation.rule.name(), rule, "{outcome}");
            true
        }
        None => false,
    }
}

/// How many worlds it takes from `first` on, if at most `max` do.
fn worlds_to_find(race: &Race, first: u64, max: u64, order: impl Fn(u64) -> Order) -> Option<u64> {
    (0..max).find(|world| is_lost(&run(race, first + world, order(first + world)))).map(|world| world + 1)
}

#[test]
fn the_portfolio_finds_every_race_that_plain_order_does_not_show() {
    for race in all() {
        let plain = worlds_to_find(&race, 0, 20, |_| Order::Plain);
        assert_eq!(plain, None, "plain order shows {:?}: it says nothing about exploration", race.name);
        let found = worlds_to_find(&race, 0, 300, Order::of_seed);
        assert!(found.is_some(), "no order of 300 shows {:?}", race.name);
    }
}

#[test]
fn the_tape_of_a_world_replays_it() {
    for race in all() {
        for strategy in Strategy::PORTFOLIO.iter().filter_map(|(strategy, _)| *strategy) {
            for seed in 0..4 {
                let made = run(&race, seed, Order::Strategy(strategy));
                assert!(!matches!(made.plan.order, Order::Strategy(_)));
                let played = run(&race, seed, made.plan.order.clone());
                assert_eq!(played.fingerprint, made.fingerprint, "{:?} under {strategy:?}, seed {seed}", race.name);
                assert_eq!(is_lost(&played), is_lost(&made));
            }
        }
    }
}

#[test]
fn an_order_changes_what_happens() {
    let race = &all()[0];
    let fingerprints: std::collections::BTreeSet<u64> =
        (0..40).map(|seed| run(race, 1, Order::of_seed(seed)).fingerprint).collect();
    // The strategies draw from the world's seed, which is the same here: one order each, tokio's own among them.
    assert!(fingerprints.len() >= 4, "only {} orders were seen", fingerprints.len());
}

#[test]
fn a_tape_for_tasks_that_do_not_exist_changes_nothing() {
    let race = &all()[0];
    let nobody = CutShort { life: 9, task: 99, poll: 1, more: 5, units: 0 };
    assert_eq!(run(race, 1, Order::Tape(vec![nobody])).fingerprint, run(race, 1, Order::Plain).fingerprint);
}

/// `cargo test -p shiftwork-tests --test races --profile chaos -- --ignored --nocapture`
#[test]
#[ignore = "prints the table of docs/exploration.md, in about a minute"]
fn the_table() {
    const STARTS: u64 = 5;
    const MAX: u64 = 1_000;
    let strategies = Strategy::PORTFOLIO.iter().map(|(strategy, _)| strategy.map_or(Order::Plain, Order::Strategy));
    let strategies: Vec<Order> = strategies.collect();
    println!("mean worlds to find over {STARTS} starts, at most {MAX} each");
    for race in all() {
        let mean = |order: &dyn Fn(u64) -> Order| {
            let found: Vec<Option<u64>> =
                (0..STARTS).map(|start| worlds_to_find(&race, start * 100_000, MAX, order)).collect();
            let hits = found.iter().flatten().count() as u64;
            match found.iter().flatten().sum::<u64>().checked_div(hits) {
                Some(mean) if hits == STARTS => mean.to_string(),
                Some(mean) => format!("{mean} ({hits} of {STARTS})"),
                None => "–".to_owned(),
            }
        };
        let cells: Vec<String> = std::iter::once(mean(&Order::of_seed))
            .chain(strategies.iter().map(|order| mean(&|_| order.clone())))
            .collect();
        println!("| {} | {} |", race.name, cells.join(" | "));
    }
}
