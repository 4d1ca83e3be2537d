//! The date of a world: nights on which the clocks of a zone change, and processes that come back after a month.

use std::time::Duration;

use shiftwork::{
    Context, Failure, Missed, QueueSourceExt, Schedule, Signal, Tick,
    event::Event,
    queue::{DeliveryId, Timestamp},
};
use shiftwork_sim::{
    FaultKind, Ledger, Outcome, QueueOperation, Script, What,
    dependency::Latency,
    millis, node,
    plan::{crash, downtime, dst_back, dst_forward},
    secs,
};

use crate::worlds::{Jobs, Notes, attempts, nodes_that_note_the_time};

const HOUR: Duration = secs(3600);
const MONTH: Duration = secs(30 * 24 * 3600);

/// Runs a schedule of Vienna with cycles that take no time until the script ends it: when each tick was due, and when it was served.
fn ticks(expression: &str, script: Script) -> (Outcome, Vec<(String, Duration)>) {
    let schedule = Schedule::cron(expression).unwrap().zone("Europe/Vienna").unwrap();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("nightly", schedule.clone(), tick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let ticks = outcome.events().filter_map(|(at, event)| match event {
        Event::TickDue { due, .. } => Some((due.to_string(), at)),
        _ => None,
    });
    let ticks = ticks.collect();
    (outcome, ticks)
}

/// From an hour before the clocks change to four hours after.
fn night(change: FaultKind) -> Script {
    Script::new().at(HOUR, change).at(HOUR * 5, Signal::Terminate)
}

fn told(expected: &[(&str, Duration)]) -> Vec<(String, Duration)> {
    expected.iter().map(|(due, at)| ((*due).to_owned(), *at)).collect()
}

#[test]
fn d5_a_nightly_job_runs_once_in_the_night_in_which_the_clocks_go_forward_over_it() {
    let (outcome, ticks) = ticks("30 2 * * *", night(dst_forward("Europe/Vienna")));
    // There is no 02:30: 01:59:59 is followed by 03:00.
    assert_eq!(ticks, told(&[("2026-03-29T01:00:00Z", HOUR)]));
    assert_eq!(outcome.stats.struck, [true, true]);
}

#[test]
fn d5_a_nightly_job_runs_once_in_the_night_in_which_the_clocks_go_back_over_it() {
    let (outcome, ticks) = ticks("30 2 * * *", night(dst_back("Europe/Vienna")));
    // There are two: half an hour before the change, and half an hour after.
    assert_eq!(ticks, told(&[("2026-10-25T00:30:00Z", HOUR / 2)]));
    assert_eq!(outcome.stats.struck, [true, true]);
}

#[test]
fn d5_a_job_of_many_times_a_night_runs_at_all_that_there_are() {
    let (_, left_out) = ticks("0,30 2 * * *", night(dst_forward("Europe/Vienna")));
    assert!(left_out.is_empty(), "{left_out:?}");
    let (_, twice) = ticks("0,30 2 * * *", night(dst_back("Europe/Vienna")));
    // The first 02:00 is when the world begins, and belongs to whoever was there before.
    let half_hours = [("2026-10-25T00:30:00Z", 1), ("2026-10-25T01:00:00Z", 2), ("2026-10-25T01:30:00Z", 3)];
    assert_eq!(twice, told(&half_hours.map(|(due, number)| (due, HOUR / 2 * number))));
}

#[test]
fn a_change_of_clocks_is_the_date_of_its_world_and_a_step_of_no_clock() {
    let notes = Notes::default();
    let noted = notes.clone();
    let script = Script::new().at(secs(15), dst_back("America/New_York")).at(secs(21), Signal::Terminate);
    let outcome = script.run_once(move |world| {
        // What the plan says goes before.
        world.begins_at("2026-07-01T00:00:00Z".parse().unwrap());
        noted.add(world.wall_time().to_string());
        world.node("node", move |node| {
            let noted = noted.clone();
            let tick = move |_: Tick, cx: Context| {
                noted.add(cx.wall_time().to_string());
                async { Ok::<(), Failure>(()) }
            };
            node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let expected = ["2026-11-01T05:59:45Z", "2026-11-01T05:59:45Z", "2026-11-01T05:59:55Z", "2026-11-01T06:00:05Z"];
    assert_eq!(notes.all(), expected);
}

#[test]
fn a_change_of_clocks_strikes_if_it_is_the_first_and_somebody_lives_then() {
    let struck = |script: Script| ticks("30 2 * * *", script.at(secs(60), Signal::Terminate)).0.stats.struck;
    let second = Script::new().at(secs(20), dst_back("Europe/Vienna")).at(secs(10), dst_forward("Europe/Vienna"));
    assert_eq!(struck(second), [true, false, true]);
    let unknown = Script::new().at(secs(10), dst_back("Europe/Wien")).at(secs(20), dst_back("Europe/Vienna"));
    assert_eq!(struck(unknown), [false, true, true]);
    let nobody = Script::new().at(secs(5), crash(secs(10))).at(secs(10), dst_back("Europe/Vienna"));
    assert_eq!(struck(nobody), [true, false, true]);
}

/// What a nightly job is told of its ticks: when each was due, its number, how many were missed, and the wall time.
type Told = Vec<(String, u64, u64, Timestamp)>;

/// A job at 02:30 in Vienna that keeps in a file which night it did last. Two hours after noon of 27 February this goes wrong, and somebody
/// stops it so long after that.
fn nightly(missed: Missed, trouble: FaultKind, stop_after: Duration) -> (Outcome, Told) {
    let last: Ledger<Timestamp> = Ledger::new("2026-02-27T01:30:00Z".parse().unwrap());
    let told: Ledger<Told> = Ledger::default();
    let inside = told.clone();
    let script = Script::new().at(HOUR * 2, trouble).at(HOUR * 2 + stop_after, Signal::Terminate);
    let outcome = script.run_once(move |world| {
        world.begins_at("2026-02-27T12:00:00Z".parse().unwrap());
        world.node("node", move |node| {
            let nightly = Schedule::cron("30 2 * * *").unwrap().zone("Europe/Vienna").unwrap();
            let schedule = nightly.since(last.with(|last| *last)).missed(missed);
            let (last, told) = (last.clone(), inside.clone());
            let job = move |tick: Tick, cx: Context| {
                last.with(|last| *last = tick.due);
                told.with(|told| told.push((tick.due.to_string(), tick.number, tick.missed, cx.wall_time())));
                async { Ok::<(), Failure>(()) }
            };
            node.host().worker("nightly", schedule, job).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!((outcome.stats.boots, &outcome.stats.struck[..]), (2, &[true, true][..]));
    let told = told.with(|told| told.clone());
    (outcome, told)
}

#[test]
fn a_nightly_job_that_was_down_for_a_month_owes_its_nights_as_its_policy_says() {
    let (first, second, third) = ("2026-03-27T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z");
    // Thirty nights were missed, the last of them the one without a 02:30. The one after it comes in its time.
    let next = "2026-03-30T00:30:00Z";
    for (missed, expected) in [
        (Missed::Merge, vec![(third, 30, 29), (next, 31, 0)]),
        (Missed::Skip, vec![(next, 31, 30)]),
        (Missed::CatchUp { max: 3 }, vec![(first, 28, 27), (second, 29, 0), (third, 30, 0), (next, 31, 0)]),
    ] {
        let (outcome, told) = nightly(missed, downtime(MONTH), HOUR * 12);
        let ticks: Vec<_> = told.iter().map(|(due, number, missed, _)| (due.as_str(), *number, *missed)).collect();
        assert_eq!(ticks, expected, "{missed:?}");
        // What is owed is served as the process is back, and its clock is where it should be: 14:00 and a second, a month later.
        let served: Vec<Duration> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
        let (last, owed) = served.split_last().unwrap();
        assert_eq!((*last, owed), (HOUR * 12 + HOUR / 2, &vec![HOUR * 2 + secs(1); expected.len() - 1][..]));
        let (_, _, _, wall) = told.last().unwrap();
        assert_eq!(wall.to_string(), next);
    }
}

#[test]
fn who_comes_back_cannot_tell_a_downtime_from_a_crash_that_lasted_as_long() {
    for missed in [Missed::Merge, Missed::Skip, Missed::CatchUp { max: 3 }] {
        let (short, told) = nightly(missed, downtime(MONTH), HOUR * 12);
        let (long, told_after_waiting) = nightly(missed, crash(MONTH + secs(1)), MONTH + HOUR * 12);
        assert_eq!(told, told_after_waiting, "{missed:?}");
        assert!(!told.is_empty());
        assert_eq!((short.ended_at(), long.ended_at()), (HOUR * 14, MONTH + HOUR * 14));
    }
}

#[test]
fn a_queue_with_leases_loses_nothing_over_a_month_of_downtime() {
    let (outcome, seen) = Jobs { jobs: 4, concurrency: 2, takes: secs(10), ..Jobs::default() }
        .run(|build| Script::new().at(secs(3), downtime(MONTH)).run(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.struck, [true]);
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!((done, seen.queue.inspect_depth().unsettled()), (vec![1, 2, 3, 4], 0));
    assert_eq!(seen.dead_letters().len(), 0);

    // The leases of half a minute lapsed long ago, though only a second has passed in the world.
    let claims = outcome.timeline.records().iter().filter_map(|record| match record.what {
        What::Queue(QueueOperation::Claimed { delivery, crashes, .. }) => Some((delivery, record.at, crashes)),
        _ => None,
    });
    let claims: Vec<(DeliveryId, Duration, u32)> = claims.collect();
    let of = |from: Duration, to: Duration| {
        let times = claims.iter().filter(move |(_, at, _)| (from..to).contains(at));
        times.map(|(delivery, _, crashes)| (*delivery, *crashes)).collect::<Vec<_>>()
    };
    let before = of(secs(0), secs(4));
    assert!(before.len() >= 2 && before.iter().all(|(_, crashes)| *crashes == 0), "{before:?}");
    let again = of(secs(4), secs(30));
    for (delivery, _) in &before {
        assert!(again.contains(&(*delivery, 1)), "{delivery:?} is not among {again:?}");
    }
}

#[test]
fn a_downtime_takes_all_nodes_and_puts_all_of_their_clocks_on() {
    let notes = Notes::default();
    let noted = notes.clone();
    // The second one is down already, and for longer than the others.
    let script = Script::new()
        .at(secs(4), node("b").crash(secs(3)))
        .at(secs(5), downtime(MONTH))
        .at(secs(8), node("a").signal(Signal::Terminate))
        .at(secs(8), node("b").signal(Signal::Terminate));
    let outcome = script.run_once(move |world| nodes_that_note_the_time(world, ["a", "b"], HOUR, &noted));
    outcome.assert_rules_kept();
    let expected =
        ["a 2026-01-01T00:00:00Z", "b 2026-01-01T00:00:00Z", "a 2026-01-31T00:00:06Z", "b 2026-01-31T00:00:07Z"];
    assert_eq!(notes.all(), expected);
    assert_eq!(outcome.stats.struck, [true; 4]);
}

#[test]
fn what_is_on_its_way_as_a_downtime_begins_does_not_arrive() {
    let booked: Ledger<u32> = Ledger::default();
    let books = booked.clone();
    let script = Script::new().at(millis(400), downtime(MONTH)).at(secs(3), Signal::Terminate);
    let outcome = script.run_once(move |world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed([17]);
        // Half of a call's time is the way there.
        let bank = world.dependency_with("bank", Latency::constant(secs(1)));
        world.node("node", move |node| {
            let (bank, books) = (bank.clone(), books.clone());
            let book = move |_: u32, _: Context| {
                let (bank, books) = (bank.clone(), books.clone());
                async move {
                    let book = async { books.with(|booked| *booked += 1) };
                    Ok::<(), Failure>(bank.call(book).await?)
                }
            };
            node.host().worker("book", jobs.clone().source(), book).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!((attempts(&outcome).len(), booked.with(|booked| *booked)), (2, 1));
}
