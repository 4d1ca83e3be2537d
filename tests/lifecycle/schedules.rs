//! Ticks: drift, overlap, missed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shiftwork::{
    Context, Failure, Missed, Overlap, Retry, Schedule, Signal, Tick,
    event::{Event, WorkerPhase},
    queue::Timestamp,
};
use shiftwork_sim::{
    Outcome, Script,
    dependency::Latency,
    millis,
    plan::{clock_back, clock_forward, node},
    secs, site,
};

/// Runs a schedule whose cycles take `takes`, for ten minutes. The ticks that it served.
fn ticks(schedule: Schedule, takes: Duration, script: Script) -> (Outcome, Vec<Tick>) {
    ticks_on(1, schedule, takes, script.at(secs(600), Signal::Terminate))
}

/// Runs a schedule with so many lanes until the script ends it.
fn ticks_on(lanes: usize, schedule: Schedule, takes: Duration, script: Script) -> (Outcome, Vec<Tick>) {
    let ticks: Arc<Mutex<Vec<Tick>>> = Arc::default();
    let inside = ticks.clone();
    let outcome = script.run_once(move |world| {
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
            node.host().worker("ticks", schedule.clone(), work).concurrency(lanes).run_until_signal()
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
fn a_retry_that_is_asked_to_wait_for_ever_is_made_after_an_hour_and_without_a_limit_harms_nobody() {
    for (retry, expected) in [
        (Retry::default(), vec![secs(1), secs(3_601)]),
        // The schedule is parked for good, by its own policy; it stops when it is told to.
        (Retry::default().no_asked_max(), vec![secs(1)]),
    ] {
        let outcome = Script::new().at(secs(5_000), Signal::Terminate).run_once(move |world| {
            world.node("node", move |node| {
                let never = |_: Tick, _: Context| async { Err(Failure::retry_after(Duration::MAX, "come back never")) };
                let schedule = Schedule::every(secs(10)).first_after(secs(1));
                let worker = node.host().worker("never", schedule, never).cycle_timeout(Duration::MAX);
                worker.retry(retry).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(starts(&outcome), expected);
    }
}

#[test]
fn a_jitter_as_long_as_the_period_costs_no_tick() {
    let outcome = Script::new().at(secs(5_000), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("often", Schedule::every(secs(1)).jitter(secs(1)), tick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::TicksMissed { .. })), 0);
    // The one that is due as the signal comes waits for its jitter to pass.
    assert_eq!(outcome.count(|event| matches!(event, Event::TickDue { .. })), 5_000);
}

fn cron(expression: &str) -> Schedule {
    Schedule::cron(expression).unwrap()
}

/// Runs a schedule from 2026-01-01, midnight UTC, with cycles that take no time, for so many days.
fn days(schedule: Schedule, days: u64, script: Script) -> (Outcome, Vec<Tick>) {
    ticks_on(1, schedule, millis(0), script.at(secs(days * 24 * 3600), Signal::Terminate))
}

fn due(ticks: &[Tick]) -> Vec<String> {
    ticks.iter().map(|tick| tick.due.to_string()).collect()
}

#[test]
fn d2_overlap_on_slow_runs() {
    // Cycles of 25 s on a rate of 10 s: two run at once only where that is asked for, and where there is room.
    for (lanes, overlap, expected, misses) in [
        (3, Overlap::Wait, [0, 25, 50, 75], true),
        (3, Overlap::Skip, [0, 30, 60, 90], true),
        (3, Overlap::Allow, [0, 10, 20, 30], false),
        (1, Overlap::Allow, [0, 25, 50, 75], true),
    ] {
        let schedule = Schedule::every(secs(10)).overlap(overlap);
        let (outcome, ticks) = ticks_on(lanes, schedule, secs(25), Script::new().at(secs(600), Signal::Terminate));
        outcome.assert_rules_kept();
        assert_eq!(starts(&outcome)[..4], expected.map(secs), "{overlap:?} on {lanes}");
        assert_eq!(ticks.iter().any(|tick| tick.missed > 0), misses, "{overlap:?} on {lanes}");
    }
}

#[test]
fn an_overlapping_tick_that_is_to_be_skipped_is_counted_and_the_grid_is_kept() {
    let (outcome, ticks) = ticks(Schedule::every(secs(10)).overlap(Overlap::Skip), secs(25), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome)[..3], [secs(0), secs(30), secs(60)]);
    let told: Vec<(u64, u64)> = ticks.iter().take(3).map(|tick| (tick.number, tick.missed)).collect();
    assert_eq!(told, [(1, 0), (4, 2), (7, 2)]);
}

#[test]
fn drift() {
    // A month of hours, on both clocks, with cycles that take a while.
    for schedule in [Schedule::every(secs(3600)), cron("0 * * * *")] {
        let end = Script::new().at(secs(30 * 24 * 3600 + 60), Signal::Terminate);
        let (outcome, _) = ticks_on(1, schedule, secs(241), end);
        outcome.assert_rules_kept();
        assert!(starts(&outcome).iter().all(|at| at.as_millis() % 3_600_000 == 0));
        assert!(starts(&outcome).len() >= 720);
    }
}

/// Further away than one of tokio's timers reaches, which is two years and two months.
const FIVE_YEARS: Duration = secs(5 * 365 * 24 * 3600);

#[test]
fn d1_a_period_may_be_longer_than_a_timer_reaches() {
    let end = FIVE_YEARS * 2 + secs(3600);
    let (outcome, ticks) = ticks_on(1, Schedule::every(FIVE_YEARS), secs(60), Script::new().at(end, Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [Duration::ZERO, FIVE_YEARS, FIVE_YEARS * 2]);
    // With the leap days of 2028 and 2032.
    assert_eq!(due(&ticks), ["2026-01-01T00:00:00Z", "2030-12-31T00:00:00Z", "2035-12-30T00:00:00Z"]);
    assert!(ticks.iter().all(|tick| tick.missed == 0));
    assert_eq!(outcome.ended_at(), end);
}

#[test]
fn d1_a_period_without_an_end_has_one_tick_and_can_be_stopped() {
    // Later than what stands in for the end of a clock that does not reach so far: thirty years.
    let end = secs(31 * 365 * 24 * 3600);
    let for_ever = || Schedule::every(Duration::MAX);
    for schedule in [for_ever(), for_ever().overlap(Overlap::Skip), for_ever().missed(Missed::Skip)] {
        let (outcome, ticks) = ticks_on(1, schedule, secs(60), Script::new().at(end, Signal::Terminate));
        outcome.assert_rules_kept();
        assert_eq!(starts(&outcome), [Duration::ZERO]);
        assert_eq!((ticks[0].number, ticks[0].missed), (1, 0));
        assert_eq!(outcome.ended_at(), end);
        assert!(outcome.report().unwrap().is_clean());
    }
}

#[test]
fn d5_a_one_off_may_be_a_year_away() {
    let once = Schedule::once_at("2027-01-01T00:00:00Z".parse().unwrap());
    let far = secs(365 * 24 * 3600);
    let (outcome, ticks) = ticks_on(1, once, secs(60), Script::new().at(far + secs(3600), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!((starts(&outcome), due(&ticks)), (vec![far], vec!["2027-01-01T00:00:00Z".to_owned()]));
    // It has come to its end before anybody asks it to.
    assert_eq!(outcome.ended_at(), far + secs(60));
}

#[test]
fn a_fixed_offset_instead_of_a_zone() {
    let schedule = cron("0 3 * * *").zone("Europe/Vienna").unwrap();
    let (outcome, ticks) = days(schedule, 90, Script::new());
    outcome.assert_rules_kept();
    let due = due(&ticks);
    // The clocks went forward on 29 March.
    assert_eq!(due[86..88], ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z"]);
    assert_eq!(ticks.last().map(|tick| tick.number), Some(90));
}

#[test]
fn d5_a_tick_in_the_gap_comes_right_after_it_and_one_in_the_fold_comes_once() {
    let schedule = cron("30 2 * * *").zone("Europe/Vienna").unwrap();
    let (outcome, ticks) = days(schedule, 300, Script::new());
    outcome.assert_rules_kept();
    let due = due(&ticks);
    let of = |day: &str| due.iter().filter(|due| due.starts_with(day)).cloned().collect::<Vec<_>>();
    assert_eq!(of("2026-03-29"), ["2026-03-29T01:00:00Z"]);
    assert_eq!(of("2026-10-25"), ["2026-10-25T00:30:00Z"]);
    assert_eq!(ticks.len(), 300);
}

#[test]
fn a_two_week_backlog_fired_at_once() {
    // The process was down for two weeks, and knows from its database when it last ran.
    let since = "2025-12-18T00:00:00Z".parse().unwrap();
    let (outcome, ticks) = ticks(cron("0 * * * *").since(since), secs(1), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0)]);
    assert_eq!((ticks[0].number, ticks[0].missed), (336, 335));
    assert_eq!(due(&ticks), ["2026-01-01T00:00:00Z"]);

    let (outcome, ticks) = self::ticks(cron("0 * * * *").since(since).missed(Missed::Skip), secs(1), Script::new());
    outcome.assert_rules_kept();
    // The newest of them is due in this very second.
    assert_eq!((ticks[0].number, ticks[0].missed), (336, 335));

    let catch_up = cron("0 * * * *").since(since).missed(Missed::CatchUp { max: 3 });
    let (outcome, ticks) = self::ticks(catch_up, secs(1), Script::new());
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(1), secs(2)]);
    assert_eq!(ticks.iter().map(|tick| tick.missed).collect::<Vec<_>>(), [333, 0, 0]);
}

/// Runs a schedule for a day from `begins_at`, with cycles that take no time.
fn a_day_from(begins_at: Timestamp, schedule: Schedule) -> (Outcome, Vec<Tick>) {
    let ticks: Arc<Mutex<Vec<Tick>>> = Arc::default();
    let inside = ticks.clone();
    let outcome = Script::new().at(secs(24 * 3600), Signal::Terminate).run_once(move |world| {
        world.begins_at(begins_at);
        world.node("node", move |node| {
            let ticks = inside.clone();
            let note = move |tick: Tick, _: Context| {
                ticks.lock().unwrap().push(tick);
                async { Ok::<(), Failure>(()) }
            };
            node.host().worker("nightly", schedule.clone(), note).run_until_signal()
        });
    });
    let ticks = ticks.lock().unwrap().clone();
    (outcome, ticks)
}

#[test]
fn d5_a_month_of_downtime_over_a_change_of_the_clocks_owes_each_night_once() {
    struct Change {
        down_since: &'static str,
        up_at: &'static str,
        /// When the last three of the thirty nights were due. The clocks changed in the last of them.
        owed: [&'static str; 3],
        /// The night after, which the process is up for.
        next: &'static str,
        next_in: Duration,
    }
    // There was no 02:30 on 29 March, and the nights before were an hour behind.
    let forward = Change {
        down_since: "2026-02-27T12:00:00Z",
        up_at: "2026-03-29T12:00:00Z",
        owed: ["2026-03-27T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"],
        next: "2026-03-30T00:30:00Z",
        next_in: secs(12 * 3600 + 1_800),
    };
    // On 25 October there were two.
    let back = Change {
        down_since: "2026-09-25T12:00:00Z",
        up_at: "2026-10-25T12:00:00Z",
        owed: ["2026-10-23T00:30:00Z", "2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"],
        next: "2026-10-26T01:30:00Z",
        next_in: secs(13 * 3600 + 1_800),
    };
    for Change { down_since, up_at, owed: [first, second, third], next, next_in } in [forward, back] {
        let [since, begins_at]: [Timestamp; 2] = [down_since, up_at].map(|time| time.parse().unwrap());
        for (missed, expected) in [
            (Missed::Merge, vec![(third, 30, 29), (next, 31, 0)]),
            (Missed::Skip, vec![(next, 31, 30)]),
            (Missed::CatchUp { max: 3 }, vec![(first, 28, 27), (second, 29, 0), (third, 30, 0), (next, 31, 0)]),
        ] {
            let nightly = cron("30 2 * * *").zone("Europe/Vienna").unwrap().since(since).missed(missed);
            let (outcome, ticks) = a_day_from(begins_at, nightly);
            outcome.assert_rules_kept();
            let due = due(&ticks);
            let told: Vec<_> =
                ticks.iter().zip(&due).map(|(tick, due)| (due.as_str(), tick.number, tick.missed)).collect();
            assert_eq!(told, expected, "{missed:?} from {up_at}");
            // What is owed is served as the process begins, and what comes due then in its time.
            let (last, owed) = starts(&outcome).split_last().map(|(last, owed)| (*last, owed.to_vec())).unwrap();
            assert_eq!((last, owed), (next_in, vec![secs(0); expected.len() - 1]), "{missed:?} from {up_at}");
        }
    }
}

#[test]
fn a_clock_that_steps_over_a_month_of_ticks_fires_them_once() {
    let script = Script::new().at(secs(90), clock_forward(secs(30 * 24 * 3600)));
    let (outcome, ticks) = ticks(cron("0 3 * * *"), secs(1), script);
    outcome.assert_rules_kept();
    assert_eq!(ticks.len(), 1);
    assert_eq!((ticks[0].number, ticks[0].missed, due(&ticks)), (30, 29, vec!["2026-01-30T03:00:00Z".to_owned()]));
    assert!(starts(&outcome)[0] <= secs(90 + 60), "a step is noticed within a minute");
}

#[test]
fn schedules_that_stop_for_good_after_a_clock_step() {
    // The clock was ten years ahead, and is put right.
    let years = secs(10 * 365 * 24 * 3600);
    let script = Script::new().at(secs(30), clock_forward(years)).at(secs(200), clock_back(years));
    let (outcome, ticks) = ticks(cron("* * * * *"), secs(1), script);
    outcome.assert_rules_kept();
    let last: Vec<String> = due(&ticks)[ticks.len() - 3..].to_vec();
    // The signal comes at the tenth minute, and before its tick.
    assert_eq!(last, ["2026-01-01T00:07:00Z", "2026-01-01T00:08:00Z", "2026-01-01T00:09:00Z"]);
}

#[test]
fn a_small_step_back_fires_nothing_twice() {
    let script = Script::new().at(secs(185), clock_back(secs(120)));
    let (outcome, ticks) = ticks(cron("* * * * *"), secs(1), script);
    outcome.assert_rules_kept();
    let due = due(&ticks);
    assert_eq!(due[2..4], ["2026-01-01T00:03:00Z", "2026-01-01T00:04:00Z"]);
    // Two minutes pass a second time, and are not served a second time.
    assert!(starts(&outcome).contains(&secs(180)) && starts(&outcome).contains(&secs(360)));
}

#[test]
fn a_fixed_rate_does_not_notice_a_clock_step() {
    let script = Script::new().at(secs(95), clock_forward(secs(86_400))).at(secs(195), clock_back(secs(2 * 86_400)));
    let (outcome, ticks) = ticks(Schedule::every(secs(10)), secs(1), script);
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome)[..60], (0..60).map(|number| secs(number * 10)).collect::<Vec<_>>());
    assert!(ticks.iter().all(|tick| tick.missed == 0));
}

#[test]
fn a_one_off_runs_once_and_its_worker_is_done() {
    let once = Schedule::once_at("2026-01-01T00:05:00Z".parse().unwrap());
    let step_back = Script::new().at(secs(301), clock_back(secs(86_400)));
    let (outcome, ticks) = ticks(once, secs(2), step_back);
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(300)]);
    assert_eq!(due(&ticks), ["2026-01-01T00:05:00Z"]);
    assert_eq!(outcome.ended_at(), secs(302));
    let stopped = |event: &Event| matches!(event, Event::WorkerStopped { phase: WorkerPhase::Stopped, .. });
    assert_eq!(outcome.count(stopped), 1);
}

#[test]
fn a_one_off_that_comes_too_late_is_served_or_missed_as_the_policy_says() {
    let once = Schedule::once_at("2025-12-31T00:00:00Z".parse().unwrap());
    let (outcome, ticks) = ticks(once.clone(), secs(1), Script::new());
    outcome.assert_rules_kept();
    assert_eq!((starts(&outcome), ticks.len()), (vec![secs(0)], 1));
    let (outcome, ticks) = self::ticks(once.missed(Missed::Skip), secs(1), Script::new());
    outcome.assert_rules_kept();
    assert_eq!((outcome.count(|event| matches!(event, Event::TicksMissed { count: 1, .. })), ticks.len()), (1, 0));
}

#[test]
fn jitter_puts_each_tick_off_and_moves_neither_the_grid_nor_the_next_tick() {
    for schedule in [Schedule::every(secs(60)), cron("* * * * *")] {
        // More than there is room for: it ends where the next tick begins.
        let of = |seed| {
            let (outcome, ticks) = ticks(schedule.clone().jitter(secs(300)), millis(0), Script::new().seed(seed));
            outcome.assert_rules_kept();
            assert!(ticks.iter().all(|tick| tick.missed == 0 && tick.due.as_second() % 60 == 0), "{ticks:?}");
            starts(&outcome)
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).iter().any(|at| at.as_millis() % 60_000 > 5_000));
    }
}

#[test]
fn d3_a_tick_that_is_put_off_past_the_next_one_is_missed_like_any_other() {
    // The second waits for its jitter to pass when the process begins to stand still.
    for seed in 0..20 {
        let script = Script::new().at(millis(10_001), node("node").pause(secs(25))).at(secs(46), Signal::Terminate);
        let schedule = Schedule::every(secs(10)).jitter(secs(5));
        let (outcome, ticks) = ticks_on(1, schedule, millis(0), script.seed(seed));
        let numbers: Vec<u64> = ticks.iter().map(|tick| tick.number).collect();
        assert_eq!(numbers, [1, 4, 5], "seed {seed}: the second is over, the third too, and the fourth is the newest");
        outcome.assert_rules_kept();
    }
}
