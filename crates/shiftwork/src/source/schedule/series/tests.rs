//! Every tick once, whenever it is looked: against a naive walk over all the minutes there are.

use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};
use proptest::prelude::*;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> Calendar {
    Calendar::parse(expression).unwrap().zone(zone).unwrap()
}

/// The next `count` ticks after `from`.
fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
    let calendar = cron(expression, zone);
    let mut at = time(from);
    let ticks: Vec<String> = expected
        .iter()
        .map(|_| {
            at = calendar.after(at).unwrap();
            at.to_string()
        })
        .collect();
    assert_eq!(ticks, expected, "{expression} in {zone}");
}

#[test]
fn a_fixed_time_in_the_gap_comes_due_right_after_it() {
    let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    check("30 2 * * *", "Europe/Vienna", "2026-03-27T12:00:00Z", &expected);
}

#[test]
fn a_fixed_time_in_the_fold_comes_due_once_and_the_first_time() {
    let expected = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    check("30 2 * * *", "Europe/Vienna", "2026-10-23T12:00:00Z", &expected);
}

#[test]
fn an_interval_leaves_the_gap_out_and_runs_through_the_fold_twice() {
    let spring = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    check("*/30 * * * *", "Europe/Vienna", "2026-03-29T00:00:00Z", &spring);
    let autumn = ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
    check("*/30 2 * * *", "Europe/Vienna", "2026-10-24T12:00:00Z", &autumn);
}

#[test]
fn a_zone_that_leaves_out_a_day_does_not_end_the_schedule() {
    // Samoa had no 30 December in 2011.
    let expected = ["2011-12-29T18:00:00Z", "2011-12-30T18:00:00Z"];
    check("0 8 * * *", "Pacific/Apia", "2011-12-28T19:00:00Z", &expected);
}

#[test]
fn a_wrong_expression_is_named_with_its_field_and_what_is_accepted() {
    let message = |expression: &str| Calendar::parse(expression).unwrap_err().to_string();
    for (expression, parts) in [
        ("0 25 * * *", ["\"0 25 * * *\"", "hour \"25\"", "five fields"]),
        ("0 3 * * *  MOONDAY", ["\"0 3 * * *  MOONDAY\"", "day of week \"MOONDAY\"", "five fields"]),
        ("0 3 * *", ["\"0 3 * *\"", "number of fields", "five fields"]),
        ("", ["\"\"", "it is empty", "five fields"]),
        ("0 0 30 2 *", ["\"0 0 30 2 *\"", "never comes due", "no year"]),
        ("0 0 1 1 * 2030 2031", ["2031", "number of fields", "six"]),
    ] {
        let message = message(expression);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let zone = Calendar::parse("@daily").unwrap().zone("Europe/Wien").unwrap_err();
    assert!(zone.is_zone() && zone.to_string().contains("\"Europe/Wien\""), "{zone}");
}

#[test]
fn a_year_of_seconds_is_merged_in_no_time() {
    let wall = Wall::Cron(cron("* * * * * *", "UTC"));
    let (begin, now) = (time("2026-01-01T00:00:00Z"), time("2027-01-01T00:00:00.5Z"));
    let mut series = Series::new(wall, Missed::Merge, Some(begin), begin);
    let (decision, missed) = series.decide(now);
    let next = Some(time("2027-01-01T00:00:01Z"));
    assert_eq!(decision, Decision::Serve { due: time("2027-01-01T00:00:00Z"), missed, next });
    assert!(missed >= BACKLOG_MAX as u64 - 1);
}

#[test]
fn the_newest_of_a_long_backlog_are_found_on_a_sunday_too() {
    // 11,880 minutes of working hours, the last of them on Friday.
    let (begin, now) = (time("2026-01-01T00:00:00Z"), time("2026-02-01T12:00:00Z"));
    let served = |missed: Missed| {
        let wall = Wall::Cron(cron("* 9-17 * * 1-5", "UTC"));
        let mut series = Series::new(wall.clone(), missed, wall.after(begin), begin);
        let mut served = Vec::new();
        while let (Decision::Serve { due, .. }, _) = series.decide(now) {
            served.push(due);
        }
        served
    };
    let last = time("2026-01-30T17:59:00Z");
    assert_eq!(served(Missed::Merge), [last]);
    let minutes = [119, 118, 117].map(|before: i64| last - SignedDuration::from_mins(before));
    let caught_up = served(Missed::CatchUp { max: 120 });
    assert_eq!((caught_up.len(), &caught_up[..3], caught_up.last()), (120, &minutes[..], Some(&last)));
}

#[test]
fn a_month_of_downtime_is_what_the_policy_makes_of_it() {
    let (begin, now) = (time("2026-01-01T00:00:00Z"), time("2026-01-31T12:00:00Z"));
    let served = |missed: Missed| {
        let wall = Wall::Cron(cron("0 3 * * *", "UTC"));
        let mut series = Series::new(wall.clone(), missed, wall.after(begin), begin);
        let mut served = Vec::new();
        while let (Decision::Serve { due, missed, .. }, _) = series.decide(now) {
            served.push((due.to_string(), missed));
        }
        served
    };
    let tick = |day: u32, missed: u64| (format!("2026-01-{day}T03:00:00Z"), missed);
    assert_eq!(served(Missed::Merge), [tick(31, 30)]);
    assert_eq!(served(Missed::Skip), []);
    assert_eq!(served(Missed::CatchUp { max: 3 }), [tick(29, 28), tick(30, 0), tick(31, 0)]);
}

#[test]
fn a_clock_that_was_wrong_for_years_and_is_put_right_stops_nothing() {
    let wall = Wall::Cron(cron("0 * * * *", "UTC"));
    let wrong = time("2036-01-01T00:10:00Z");
    let mut series = Series::new(wall.clone(), Missed::Merge, wall.after(wrong), wrong);
    let right = time("2026-01-01T00:10:00Z");
    assert_eq!(series.decide(right).0, Decision::Wait { until: time("2026-01-01T01:00:00Z") });
}

#[test]
fn what_is_to_run_once_does_not_run_again_after_a_step_back() {
    let at = time("2026-01-01T12:00:00Z");
    let mut series = Series::new(Wall::Once(at), Missed::Merge, Some(at), at);
    assert!(matches!(series.decide(at).0, Decision::Serve { .. }));
    assert_eq!(series.decide(time("2025-01-01T12:00:00Z")).0, Decision::End);
}

/// One field of an expression: how it is written, and what it matches.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    values: Vec<i8>,
}

impl Field {
    fn is_fixed(&self) -> bool {
        self.values.len() == 1
    }
}

fn field(max: i8) -> impl Strategy<Value = Field> {
    prop_oneof![
        3 => (0..=max).prop_map(|value| Field { text: value.to_string(), values: vec![value] }),
        1 => Just(Field { text: "*".into(), values: (0..=max).collect() }),
        1 => (2i8..=7).prop_map(move |step| Field {
            text: format!("*/{step}"),
            values: (0..=max).filter(|value| value % step == 0).collect(),
        }),
        1 => prop::collection::btree_set(0..=max, 2..4).prop_map(|values| Field {
            text: values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            values: values.into_iter().collect(),
        }),
    ]
}

/// Every tick in a window, minute by minute on the local clock.
fn naive(minute: &Field, hour: &Field, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let fixed = minute.is_fixed() && hour.is_fixed();
    let matches = |local: DateTime| minute.values.contains(&local.minute()) && hour.values.contains(&local.hour());
    let one = SignedDuration::from_mins(1);
    let mut ticks = Vec::new();
    let (mut at, mut before) = (from, zone.to_datetime(from));
    loop {
        at += one;
        if at > until {
            return ticks;
        }
        let local = zone.to_datetime(at);
        // The second time that the local clock shows it.
        let again = zone.to_ambiguous_timestamp(local).later().is_ok_and(|later| {
            later == at && zone.to_ambiguous_timestamp(local).earlier().is_ok_and(|earlier| earlier < at)
        });
        let mut skipped = before + one;
        let mut in_gap = false;
        while skipped < local {
            in_gap |= matches(skipped);
            skipped += one;
        }
        if (matches(local) && !(fixed && again)) || (fixed && in_gap) {
            ticks.push(at);
        }
        before = local;
    }
}

/// Days around a change of clocks, in both hemispheres, by an hour, half an hour and two.
fn window() -> impl Strategy<Value = (&'static str, Timestamp)> {
    let changes = vec![
        ("Europe/Vienna", "2026-03-29T01:00:00Z"),
        ("Europe/Vienna", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
        ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
        ("America/Santiago", "2026-09-06T04:00:00Z"),
        ("America/Santiago", "2026-04-05T03:00:00Z"),
        ("Asia/Kathmandu", "2026-05-01T00:00:00Z"),
        ("UTC", "2026-02-28T00:00:00Z"),
    ];
    (prop::sample::select(changes), 0i64..2_880)
        .prop_map(|((zone, change), minutes)| (zone, time(change) - SignedDuration::from_mins(minutes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_calendar_is_that_of_a_walk_over_all_minutes(
        minute in field(59), hour in field(23), (zone, from) in window(),
    ) {
        let calendar = cron(&format!("{} {} * * *", minute.text, hour.text), zone);
        let until = from + SignedDuration::from_hours(72);
        let zone = TimeZone::get(zone).unwrap();
        let expected = naive(&minute, &hour, &zone, from, until);
        let ticks = std::iter::successors(calendar.after(from), |tick| calendar.after(*tick));
        prop_assert_eq!(ticks.take_while(|tick| *tick <= until).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_tick_is_served_once_or_counted_whenever_it_is_looked(
        minute in field(59), hour in field(23), (zone, from) in window(),
        looks in prop::collection::vec(-100i64..600, 1..40),
        missed in prop_oneof![
            Just(Missed::Merge), Just(Missed::Skip), (1u32..5).prop_map(|max| Missed::CatchUp { max }),
        ],
    ) {
        let wall = Wall::Cron(cron(&format!("{} {} * * *", minute.text, hour.text), zone));
        let mut series = Series::new(wall.clone(), missed, wall.after(from), from);
        let (mut now, mut latest, mut last, mut counted) = (from, from, from, 0u64);
        // The clock steps back now and then, never beyond what is put down to a correction.
        for minutes in looks {
            now = (now + SignedDuration::from_mins(minutes)).max(latest - SignedDuration::from_hours(3));
            latest = latest.max(now);
            let mut in_a_row = 0u32;
            while let (Decision::Serve { due, missed: merged, next }, _) = series.decide(now) {
                prop_assert!(last < due && due <= now, "{} was served at {}, after {}", due, now, last);
                prop_assert!(next.is_some_and(|next| due < next));
                counted += merged + 1;
                last = due;
                in_a_row += 1;
            }
            let at_once_max = if let Missed::CatchUp { max } = missed { max } else { 1 };
            prop_assert!(in_a_row <= at_once_max);
        }
        // What was passed over last is said with the tick after it.
        let all = std::iter::successors(wall.after(from), |tick| wall.after(*tick));
        let ticks = all.take_while(|tick| *tick <= latest).collect::<Vec<_>>();
        prop_assert_eq!(counted + series.dropped, ticks.len() as u64);
        prop_assert!(last == from || ticks.contains(&last));
    }

    #[test]
    fn a_fixed_rate_never_drifts_and_merges_what_it_missed(
        period_ms in 1u64..100_000, late_ms in 0u64..10_000_000,
    ) {
        let (period, now) = (Duration::from_millis(period_ms), Duration::from_millis(late_ms));
        let mut series = Series::new(Rate(period), Missed::Merge, Some(Duration::ZERO), Duration::ZERO);
        let (Decision::Serve { due, missed, next: Some(next) }, _) = series.decide(now) else {
            return Err(TestCaseError::fail("the first tick is due at once"));
        };
        prop_assert_eq!(missed, late_ms / period_ms);
        prop_assert!(due <= now && now < next);
        prop_assert_eq!(next.as_millis() % u128::from(period_ms), 0, "the grid is kept");
    }

    #[test]
    fn what_comes_due_during_a_cycle_is_passed_over_and_the_grid_is_kept(
        period_ms in 1u64..10_000, busy_ms in 0u64..100_000,
    ) {
        let (period, busy) = (Duration::from_millis(period_ms), Duration::from_millis(busy_ms));
        let mut series = Series::new(Rate(period), Missed::Merge, Some(Duration::ZERO), Duration::ZERO);
        let first = matches!(series.decide(Duration::ZERO).0, Decision::Serve { .. });
        prop_assert!(first);
        let passed = series.pass_over(busy);
        prop_assert_eq!(passed, busy_ms.saturating_sub(1) / period_ms);
        let due = Duration::from_millis((passed + 1) * period_ms);
        match series.decide(busy).0 {
            Decision::Wait { until } => prop_assert!(until == due && due > busy),
            Decision::Serve { due: served, missed, .. } => prop_assert!(served == due && due == busy && missed == passed),
            Decision::End => prop_assert!(false, "a rate has no end"),
        }
    }
}
