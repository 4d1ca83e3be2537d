//! Ticks that do not wait: a schedule whose next tick ends the cycle before it.

use std::time::Duration;

use shiftwork::{
    Context, Failure, FailureKind, Missed, Overlap, Retry, Schedule, Signal, Tick,
    event::{Event, Settle},
};
use shiftwork_sim::{
    Outcome, Scenario, Script, Surface, World,
    dependency::Latency,
    explore::{Profile, generate, run_plan},
    millis,
    plan::node,
    secs,
};

use crate::worlds::{Notes, attempts};

/// A tick every so many seconds, each ending the cycle before it.
fn every(period: u64) -> Schedule {
    Schedule::every(secs(period)).overlap(Overlap::CancelPrevious)
}

/// Runs a schedule whose cycles take so long and do not listen. Which ticks it served.
fn run(schedule: Schedule, takes: Duration, script: Script) -> (Outcome, Vec<String>) {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| {
            let notes = inside.clone();
            let work = move |tick: Tick, _: Context| {
                let notes = notes.clone();
                async move {
                    notes.add(format!("{} after {} missed", tick.number, tick.missed));
                    tokio::time::sleep(takes).await;
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("ticks", schedule.clone(), work).run_until_signal()
        });
    });
    (outcome, notes.all())
}

fn until(seconds: u64) -> Script {
    Script::new().at(secs(seconds), Signal::Terminate)
}

fn starts(outcome: &Outcome) -> Vec<Duration> {
    attempts(outcome).into_iter().map(|(at, _)| at).collect()
}

fn superseded(outcome: &Outcome) -> usize {
    outcome.count(|event| matches!(event, Event::CycleSuperseded { .. }))
}

fn interrupted(outcome: &Outcome) -> usize {
    let interrupted = |event: &Event| match event {
        Event::CycleEnded { failure: Some(cause), .. } => cause.kind == FailureKind::Interrupted,
        _ => false,
    };
    outcome.count(interrupted)
}

#[test]
fn d6_a_cycle_that_does_not_listen_has_three_seconds_and_is_dropped() {
    let (outcome, ticks) = run(every(10), secs(60), until(35));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(13), secs(23), secs(33)]);
    assert_eq!(ticks, ["1 after 0 missed", "2 after 0 missed", "3 after 0 missed", "4 after 0 missed"]);
    // The last one is the stop's.
    assert_eq!((superseded(&outcome), interrupted(&outcome)), (3, 4));
    let returned = |event: &Event| matches!(event, Event::Settled { settle: Settle::Return, .. });
    assert_eq!(outcome.count(returned), 4);
}

#[test]
fn d6_it_has_no_more_than_half_of_the_time_to_the_tick_after() {
    let (outcome, _) = run(every(2), secs(60), until(8));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(3), secs(5), secs(7)]);
}

#[test]
fn d6_a_cycle_that_is_done_in_time_is_left_alone() {
    let (outcome, ticks) = run(every(10), secs(9), until(45));
    outcome.assert_rules_kept();
    assert_eq!((superseded(&outcome), interrupted(&outcome), ticks.len()), (0, 0, 5));
}

#[test]
fn d6_a_cycle_that_listens_ends_well_and_the_tick_is_served_at_once() {
    let outcome = until(35).run_once(|world| {
        world.node("node", move |node| {
            let work = |_: Tick, cx: Context| async move {
                tokio::select! {
                    () = cx.cancelled() => tokio::time::sleep(secs(1)).await,
                    () = tokio::time::sleep(secs(60)) => {}
                }
                Ok::<(), Failure>(())
            };
            node.host().worker("ticks", every(10), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(11), secs(21), secs(31)]);
    assert_eq!((superseded(&outcome), interrupted(&outcome)), (3, 0));
}

#[test]
fn d6_the_wait_for_a_retry_is_over_when_the_next_tick_is_due() {
    let outcome = until(25).run_once(|world| {
        world.node("node", move |node| {
            let work = |_: Tick, _: Context| async { Err::<(), Failure>(Failure::transient("disk is full")) };
            let retry = Retry::exponential().initial(secs(60)).jitter_percent(0);
            node.host().worker("ticks", every(10), work).retry(retry).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(10), 1), (secs(20), 1)]);
    assert_eq!((superseded(&outcome), outcome.count(|event| event.name() == "escalated")), (0, 0));
}

#[test]
fn d6_what_fails_once_it_was_asked_to_end_is_not_tried_again() {
    for panics in [false, true] {
        let outcome = until(25).run_once(move |world| {
            world.node("node", move |node| {
                let work = move |_: Tick, cx: Context| async move {
                    cx.cancelled().await;
                    assert!(!panics, "it cannot be undone");
                    Err::<(), Failure>(Failure::transient("interrupted in the middle"))
                };
                node.host().worker("ticks", every(10), work).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(10), 1), (secs(20), 1)]);
    }
}

#[test]
fn d6_a_cron_tick_does_not_wait_either() {
    let cron = Schedule::cron("* * * * *").unwrap().overlap(Overlap::CancelPrevious);
    let (outcome, ticks) = run(cron, secs(600), until(200));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(60), secs(123), secs(183)]);
    assert_eq!(ticks.len(), 3);
}

#[test]
fn d6_a_tick_is_served_however_long_it_waited_even_where_late_ticks_are_skipped() {
    let (outcome, ticks) = run(every(10).missed(Missed::Skip), secs(60), until(25));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(13), secs(23)]);
    assert_eq!(ticks[1..], ["2 after 0 missed", "3 after 0 missed"]);
}

#[test]
fn d6_a_tick_is_served_though_the_cycle_that_it_should_have_ended_computed_past_it() {
    for fails in [false, true] {
        let outcome = until(25).run_once(move |world| {
            world.poll_max(secs(20));
            world.node("node", move |node| {
                let work = move |tick: Tick, _: Context| async move {
                    if tick.number > 1 {
                        return Ok(());
                    }
                    tokio::time::sleep(secs(1)).await;
                    // In a world the time of a computation does not pass by itself.
                    std::thread::park_timeout(secs(11));
                    if fails { Err(Failure::transient("disk is full")) } else { Ok(()) }
                };
                let retry = Retry::exponential().initial(secs(60)).jitter_percent(0);
                let ticks = every(10).missed(Missed::Skip);
                node.host().worker("ticks", ticks, work).retry(retry).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(12), 1), (secs(20), 1)], "fails: {fails}");
    }
}

#[test]
fn d6_nothing_is_ended_while_its_worker_is_paused() {
    let outcome = until(60).run_once(|world| {
        world.node("node", move |node| {
            let work = |_: Tick, _: Context| async {
                tokio::time::sleep(secs(100)).await;
                Ok::<(), Failure>(())
            };
            async move {
                let mut host = node.host().worker("ticks", every(10), work).build().unwrap();
                let handle = host.handle();
                let steer = async {
                    tokio::time::sleep(secs(5)).await;
                    handle.pause("ticks").unwrap();
                    tokio::time::sleep(secs(37)).await;
                    handle.resume("ticks").unwrap();
                };
                tokio::join!(host.run_until_signal(), steer).0
            }
        });
    });
    outcome.assert_rules_kept();
    let asked: Vec<Duration> =
        outcome.events().filter(|(_, event)| event.name() == "cycle_superseded").map(|(at, _)| at).collect();
    assert_eq!(asked, [secs(42), secs(50)]);
    assert_eq!(starts(&outcome), [secs(0), secs(45), secs(53)]);
}

#[test]
fn d6_while_ticks_are_owed_each_has_its_turn() {
    let since = "2025-12-31T23:57:30Z".parse().unwrap();
    let cron = Schedule::cron("* * * * *").unwrap().since(since).missed(Missed::CatchUp { max: 3 });
    let (outcome, ticks) = run(cron.overlap(Overlap::CancelPrevious), secs(25), until(170));
    outcome.assert_rules_kept();
    // 23:58, 23:59 and midnight are owed; the fourth comes due while the third is at work, and ends it.
    assert_eq!(starts(&outcome), [secs(0), secs(25), secs(50), secs(63), secs(120)]);
    assert_eq!((superseded(&outcome), ticks.len()), (1, 5));
}

#[test]
fn d6_jitter_gives_the_cycle_before_as_much_time() {
    for seed in 0..5 {
        let (outcome, _) = run(every(10).jitter(secs(8)), secs(60), until(300).seed(seed));
        outcome.assert_rules_kept();
        assert!(superseded(&outcome) >= 25, "one for each tick");
        assert!(starts(&outcome).iter().any(|at| at.as_millis() % 10_000 > 4_000), "some are put off");
    }
}

#[test]
fn d6_a_stop_finds_what_was_asked_to_end() {
    let (outcome, _) = run(every(10), secs(60), until(11));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(13));
    // It was not the stop that dropped it.
    assert!(outcome.report().unwrap().is_clean());
    assert_eq!(superseded(&outcome), 1);
}

#[test]
fn a_trigger_waits_for_the_cycle_at_work_and_its_tick_does_not() {
    let outcome = until(16).run_once(|world| {
        world.node("node", move |node| {
            let work = |tick: Tick, _: Context| async move {
                tokio::time::sleep(if tick.triggered { secs(60) } else { secs(4) }).await;
                Ok::<(), Failure>(())
            };
            async move {
                let mut host = node.host().worker("ticks", every(10), work).build().unwrap();
                let handle = host.handle();
                let steer = async {
                    tokio::time::sleep(secs(2)).await;
                    handle.trigger("ticks").unwrap();
                };
                tokio::join!(host.run_until_signal(), steer).0
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(4), secs(13)]);
}

#[test]
fn a_process_that_stood_still_serves_the_newest_tick() {
    let script = Script::new().at(secs(12), node("node").pause(secs(30)));
    let (outcome, ticks) = run(every(10), secs(60), script.at(secs(50), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(ticks, ["1 after 0 missed", "5 after 3 missed"]);
    assert_eq!(starts(&outcome), [secs(0), secs(42)]);
}

#[test]
fn d6_what_ended_a_cycle_is_served_however_long_the_process_stood_still() {
    // Asked to end at 3 s and dropped at 7.6 s, where the tick of 6 s is too late for this policy.
    let script =
        Script::new().at(millis(3_500), node("node").pause(millis(4_100))).at(millis(8_500), Signal::Terminate);
    let (outcome, ticks) = run(every(3).missed(Missed::Skip), secs(60), script);
    outcome.assert_rules_kept();
    assert_eq!(ticks, ["1 after 0 missed", "3 after 1 missed"]);
    assert_eq!(starts(&outcome), [secs(0), millis(7_600)]);
}

/// Two schedules that do not wait, one of whose cycles listens, and a dependency that is struck.
struct Superseding;

impl Scenario for Superseding {
    fn name(&self) -> &'static str {
        "superseding"
    }

    fn about(&self) -> &'static str {
        "schedules whose ticks end the cycle before them"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["backend".into()], queues: Vec::new(), horizon: secs(120) }
    }

    fn build(&self, world: &mut World) {
        let backend = world.dependency_with("backend", Latency::constant(secs(4)));
        world.node("node", move |node| {
            let (deaf, listens) = (backend.clone(), backend.clone());
            let deaf = move |_: Tick, _: Context| {
                let backend = deaf.clone();
                async move { Ok::<(), Failure>(backend.call(async {}).await?) }
            };
            let listens = move |_: Tick, cx: Context| {
                let backend = listens.clone();
                async move {
                    tokio::select! {
                        () = cx.cancelled() => Ok(()),
                        answer = backend.call(async {}) => Ok::<(), Failure>(answer?),
                    }
                }
            };
            let cron = Schedule::cron("*/5 * * * * *").unwrap().overlap(Overlap::CancelPrevious).jitter(secs(1));
            node.host()
                .worker("deaf", every(3).missed(Missed::Skip), deaf)
                .worker("listens", cron, listens)
                .worker("owed", every(7).missed(Missed::CatchUp { max: 3 }), deaf_for(secs(6)))
                .run_until_signal()
        });
    }
}

fn deaf_for(
    time: Duration,
) -> impl Fn(Tick, Context) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> {
    move |_, _| {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }
}

#[test]
fn d6_whatever_strikes_the_rules_are_kept() {
    let worlds = std::env::var("WORLDS").ok().and_then(|it| it.parse().ok()).unwrap_or(40);
    let mut asked = 0;
    for seed in 0..worlds {
        let plan = generate(&Superseding, [Profile::Harsh, Profile::Hostile][usize::from(seed % 2 == 1)], seed).plan();
        let outcome = run_plan(&Superseding, &plan, true);
        outcome.assert_rules_kept();
        asked += superseded(&outcome);
    }
    assert!(asked > 100, "cycles were asked to end: {asked}");
}
