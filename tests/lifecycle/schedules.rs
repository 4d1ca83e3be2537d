//! Ticks: drift, overlap, missed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shiftwork::{Context, Failure, Schedule, Signal, Tick, event::Event};
use shiftwork_sim::{Outcome, Script, dependency::Latency, millis, secs, site};

/// Runs a schedule whose cycles take `takes`, for ten minutes. The ticks that it served.
fn ticks(schedule: Schedule, takes: Duration, script: Script) -> (Outcome, Vec<Tick>) {
    let ticks: Arc<Mutex<Vec<Tick>>> = Arc::default();
    let inside = ticks.clone();
    let outcome = script.at(secs(600), Signal::Terminate).run_once(move |world| {
        let backend = world.dependency_with("backend", Latency::constant(takes));
        world.node("node", move |node| {
            let (backend, ticks) = (backend.clone(), inside.clone());
            let work = move |tick: Tick, _: Context| {
                let (backend, ticks) = (backend.clone(), ticks.clone());
                async move {
                    ticks.lock().unwrap().push(tick);
                    Ok::<(), Failure>(backend.call(async {}).await?)
                }
            };
            node.host().worker("ticks", schedule, work).run_until_signal()
        });
    });
    let ticks = ticks.lock().unwrap().clone();
    (outcome, ticks)
}

fn starts(outcome: &Outcome) -> Vec<Duration> {
    let starts = outcome.events().filter(|(_, event)| matches!(event, Event::CycleStarted { .. }));
    starts.map(|(at, _)| at).collect()
}

#[test]
fn d1_a_fixed_rate_does_not_drift_whatever_its_cycles_take() {
    let (outcome, ticks) = ticks(Schedule::every(secs(10)), secs(7), Script::new());
    outcome.assert_rules_kept();
    let expected: Vec<Duration> = (0..60).map(|number| secs(number * 10)).collect();
    assert_eq!(starts(&outcome)[..60], expected);
    assert!(ticks.iter().all(|tick| tick.missed == 0));
}

#[test]
fn d3_missed_ticks_are_merged_into_the_next_and_the_grid_is_kept() {
    let (outcome, ticks) = ticks(Schedule::every(secs(10)), secs(25), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome)[..4], [secs(0), secs(25), secs(50), secs(75)]);
    let told: Vec<(u64, u64)> = ticks.iter().take(4).map(|tick| (tick.number, tick.missed)).collect();
    assert_eq!(told, [(1, 0), (3, 1), (6, 2), (8, 1)]);
}

#[test]
fn a_tick_knows_when_it_was_due() {
    let (outcome, ticks) = ticks(Schedule::every(secs(10)), secs(25), Script::new());
    outcome.assert_rules_kept();
    let due: Vec<String> = ticks.iter().take(3).map(|tick| tick.due.to_string()).collect();
    assert_eq!(due, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:20Z", "2026-01-01T00:00:50Z"]);
}

#[test]
fn d4_a_fixed_delay_is_kept_between_cycles() {
    let (outcome, _) = ticks(Schedule::with_delay(secs(10)), secs(7), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome)[..4], [secs(0), secs(17), secs(34), secs(51)]);
}

#[test]
fn the_first_tick_waits_as_long_as_it_is_told() {
    let (outcome, _) = ticks(Schedule::every(secs(10)).first_after(secs(3)), secs(1), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome)[..2], [secs(3), secs(13)]);
}

#[test]
fn retries_of_a_tick_follow_the_policy_and_delay_no_later_tick_for_long() {
    let outage = Script::new().at(millis(100), site("backend").outage().lasting(secs(95)));
    let (outcome, ticks) = ticks(Schedule::every(secs(60)), millis(0), outage);
    outcome.assert_rules_kept();
    // 60 s: fails, and fails again about 1, 2, 4 and 8 s later; given up. 120 s: the next tick, on the grid.
    assert!(starts(&outcome).contains(&secs(120)), "{:?}", starts(&outcome));
    assert_eq!(ticks.iter().filter(|tick| tick.number == 2).count(), 5);
    assert_eq!(outcome.count(|event| matches!(event, Event::Escalated { .. })), 1);
}

#[test]
fn a_retry_that_is_asked_to_wait_for_ever_harms_nobody() {
    let outcome = Script::new().at(secs(600), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let never = |_: Tick, _: Context| async { Err(Failure::retry_after(Duration::MAX, "come back never")) };
            node.host().worker("never", Schedule::every(secs(10)), never).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleStarted { .. })), 1);
}
