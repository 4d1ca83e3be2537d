//! What strikes schedules, services and jobs at their await points. That of a queue's consumer is in `faults.rs`.

use shiftwork::{
    Context, ExitStatus, Failure, FailureKind, OnFault, Retry, Schedule, ServiceContext, Signal, Tick,
    event::WorkerPhase,
};
use shiftwork_sim::{
    FaultKind, Outcome, Script,
    dependency::Latency,
    millis,
    plan::crash,
    rules::{Moment, kind_index},
    secs, site, worker,
};

use crate::worlds::{attempts, failed_at};

/// A schedule of each sort, the first tick of which is due ten seconds after its world began.
fn schedules() -> [Schedule; 3] {
    let time = "2026-01-01T00:00:10Z".parse().unwrap();
    [
        Schedule::every(secs(10)).first_after(secs(10)),
        Schedule::cron("*/10 * * * * *").unwrap(),
        Schedule::once_at(time),
    ]
}

/// Sleeps for a second, and then for another: no call of it is anywhere.
async fn sleep_twice(_: Tick, _: Context) -> Result<(), Failure> {
    tokio::time::sleep(secs(1)).await;
    tokio::time::sleep(secs(1)).await;
    Ok(())
}

/// What limits the time of a cycle.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Timeout,
    Progress,
    Nothing,
}

/// A worker with such a schedule, stopped when its second tick is done.
fn scheduled(schedule: Schedule, limit: Limit, script: Script) -> Outcome {
    let outcome = script.at(secs(25), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let host = node.host().worker("work", schedule.clone(), sleep_twice);
            let host = host.retry(Retry::default().jitter_percent(0));
            let host = match limit {
                Limit::Timeout => host,
                Limit::Progress => host.no_cycle_timeout().progress_timeout(secs(60)),
                Limit::Nothing => host.no_cycle_timeout(),
            };
            host.run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    outcome
}

/// A tick fails at each of its await points as this kind, and is tried again as its policy says.
fn strikes_a_tick(fault: impl Fn(u32) -> FaultKind, kind: FailureKind) {
    for (polls, at) in [(1, secs(11)), (2, secs(12))] {
        // One more tick is due in time, but for the one-off.
        let next = [vec![(secs(20), 1)], vec![(secs(20), 1)], Vec::new()];
        for (schedule, next) in schedules().into_iter().zip(next) {
            let outcome = scheduled(schedule, Limit::Timeout, Script::new().at(secs(0), fault(polls)));
            assert_eq!(failed_at(&outcome), [(at, kind)], "{}", outcome.timeline);
            assert_eq!(attempts(&outcome)[..2], [(secs(10), 1), (at + secs(1), 2)]);
            assert!(outcome.stats.struck[0]);
            assert_eq!(attempts(&outcome)[2..], next);
        }
    }
}

#[test]
fn c5_a_panic_at_an_await_point_of_a_tick_costs_it_one_attempt_and_the_next_tick_nothing() {
    strikes_a_tick(|polls| worker("work").panic_in_cycle(polls), FailureKind::Panic);
}

#[test]
fn c6_a_tick_that_is_cancelled_at_an_await_point_has_timed_out_and_the_next_one_comes_in_time() {
    strikes_a_tick(|polls| worker("work").cancel_in_cycle(polls), FailureKind::Timeout);
}

#[test]
fn c11_a_tick_is_cancelled_only_where_something_limits_its_time() {
    for schedule in schedules() {
        let cancels = || Script::new().at(secs(0), worker("work").cancel_in_cycle(1));
        let stalls = scheduled(schedule.clone(), Limit::Progress, cancels());
        assert_eq!((failed_at(&stalls), stalls.stats.struck[0]), (vec![(secs(11), FailureKind::Timeout)], true));
        let unlimited = scheduled(schedule.clone(), Limit::Nothing, cancels());
        assert_eq!((failed_at(&unlimited), unlimited.stats.struck[0]), (Vec::new(), false), "it is without effect");
        let panics = Script::new().at(secs(0), worker("work").panic_in_cycle(1));
        let panics = scheduled(schedule, Limit::Nothing, panics);
        assert_eq!(failed_at(&panics), [(secs(11), FailureKind::Panic)], "a panic needs no limit");
    }
}

#[test]
fn a_crash_at_an_await_point_of_a_tick_leaves_the_schedule_as_its_next_life_finds_it() {
    for (at, up_at) in [(millis(10_500), millis(11_500)), (millis(11_500), millis(12_500))] {
        // A rate begins anew, the calendar goes on, and what was to be once has still to be.
        let begun_again = [up_at + secs(10), secs(20), up_at];
        for (schedule, again) in schedules().into_iter().zip(begun_again) {
            let fault = crash(secs(1));
            let outcome = scheduled(schedule, Limit::Timeout, Script::new().at(at, fault.clone()));
            assert_eq!(attempts(&outcome), [(secs(10), 1), (again, 1)], "{}", outcome.timeline);
            assert_eq!(outcome.stats.boots, 2);
            assert!(outcome.stats.coverage.has(Moment::InCycle, kind_index(&fault)));
        }
    }
}

#[cfg(tokio_unstable)]
#[test]
fn a_crash_at_any_await_point_costs_no_schedule_its_later_ticks() {
    use shiftwork_sim::plan::crash_at_poll;

    use crate::worlds::Count;

    let mut killed = 0;
    for polls in 1..30 {
        for (schedule, repeats) in schedules().into_iter().zip([true, true, false]) {
            // Of the life at hand, but for what is due once.
            let done = Count::default();
            let seen = done.clone();
            let fault = crash_at_poll(polls);
            let outcome = Script::new().at(secs(0), fault).heal_at(secs(30)).run(move |world| {
                world.node("node", move |node| {
                    if repeats {
                        done.reset();
                    }
                    let done = done.clone();
                    let work = move |tick: Tick, cx: Context| {
                        let done = done.clone();
                        async move {
                            sleep_twice(tick, cx).await?;
                            done.up();
                            Ok::<(), Failure>(())
                        }
                    };
                    node.host().worker("work", schedule.clone(), work).run_until_signal()
                });
                world.done_when(move || seen.get() > 0);
            });
            outcome.assert_rules_kept();
            killed += u32::from(outcome.stats.struck[0]);
        }
    }
    assert!(killed > 20, "{killed} of 87 worlds had a crash");
}

/// Serves until it is asked to stop, and waits for nothing but that.
async fn serve(cx: ServiceContext) -> Result<(), Failure> {
    tokio::time::sleep(secs(1)).await;
    cx.stopped().await;
    Ok(())
}

/// Works for two seconds, and is done.
async fn migrate(_: ServiceContext) -> Result<(), Failure> {
    tokio::time::sleep(secs(1)).await;
    tokio::time::sleep(secs(1)).await;
    Ok(())
}

#[test]
fn a_service_and_a_job_have_no_cycle_that_is_struck_at_an_await_point() {
    let of = |name: &str| [worker(name).panic_in_cycle(1), worker(name).cancel_in_cycle(1)];
    for fault in of("http").into_iter().chain(of("migrate")) {
        let outcome = Script::new().at(secs(0), fault).at(secs(10), Signal::Terminate).run_once(|world| {
            world.node("node", |node| node.host().service("http", serve).job("migrate", migrate).run_until_signal());
        });
        outcome.assert_rules_kept();
        assert_eq!((failed_at(&outcome), &*outcome.stats.struck), (Vec::new(), &[false, true][..]));
        assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
    }
}

#[test]
fn a_crash_at_an_await_point_of_a_service_or_a_job_begins_both_again() {
    let fault = crash(secs(1));
    let script = Script::new().at(millis(1_500), fault.clone()).at(secs(10), Signal::Terminate);
    let outcome = script.run_once(|world| {
        world.node("node", |node| node.host().service("http", serve).job("migrate", migrate).run_until_signal());
    });
    outcome.assert_rules_kept();
    // Each life of one is told as a cycle.
    let up_at = millis(2_500);
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(0), 1), (up_at, 1), (up_at, 1)]);
    assert!(outcome.stats.coverage.has(Moment::InCycle, kind_index(&fault)));
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("http").unwrap().phase, WorkerPhase::Stopped);
    assert_eq!(report.worker("migrate").unwrap().cycles.succeeded, 1);
}

#[cfg(tokio_unstable)]
#[test]
fn a_crash_at_any_await_point_of_a_service_or_a_job_is_followed_by_another_life() {
    use shiftwork_sim::plan::crash_at_poll;

    let mut killed = 0;
    for polls in 1..15 {
        let outcome = Script::new().at(secs(0), crash_at_poll(polls)).heal_at(secs(10)).run(|world| {
            world.node("node", |node| node.host().service("http", serve).job("migrate", migrate).run_until_signal());
        });
        outcome.assert_rules_kept();
        assert_eq!(outcome.stats.boots, 1 + u32::from(outcome.stats.struck[0]), "killed at poll {polls}");
        killed += u32::from(outcome.stats.struck[0]);
    }
    assert!(killed > 5, "{killed} of 14 worlds had a crash");
}

/// A service that asks "backend" every second, which takes 100 ms. It is started again if it cannot go on.
fn asks_the_backend(fault: FaultKind) -> Outcome {
    let outcome = Script::new().at(secs(0), fault).at(secs(10), Signal::Terminate).run_once(|world| {
        let backend = world.dependency_with("backend", Latency::constant(millis(100)));
        world.node("node", move |node| {
            let backend = backend.clone();
            let follow = move |cx: ServiceContext| {
                let backend = backend.clone();
                async move {
                    while !cx.stopping() {
                        // One answer more or less is no reason to end.
                        let _answer = backend.call(async {}).await;
                        let _stopped = tokio::time::timeout(secs(1), cx.stopped()).await;
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host().service("follow", follow).on_fault(OnFault::restart()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert!(outcome.stats.struck[0], "{}", outcome.timeline);
    outcome
}

#[test]
fn f1_a_service_that_panics_at_an_await_point_of_a_call_is_restarted() {
    for polls in 1..=3 {
        let outcome = asks_the_backend(site("backend").panic_at_poll(polls));
        let kinds: Vec<_> = failed_at(&outcome).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [FailureKind::Panic], "at poll {polls}");
        let report = outcome.report().unwrap();
        assert_eq!((report.exit, report.worker("follow").unwrap().restarts), (ExitStatus::Clean, 1));
    }
}

#[test]
fn a_service_whose_call_is_dropped_at_an_await_point_goes_on() {
    for polls in 1..=3 {
        let outcome = asks_the_backend(site("backend").drop_at_poll(polls));
        assert!(failed_at(&outcome).is_empty(), "at poll {polls}");
        assert_eq!(outcome.report().unwrap().worker("follow").unwrap().restarts, 0);
    }
}
