//! *Clean-up*: a nightly worker that deletes what has been kept for as long as the retention rules say, in a night in which
//! the clocks may change.
//!
//! It is due at 02:30 in Vienna. That time does not exist in the night of spring, comes twice in that of autumn, and once in
//! any other; a world plays in one of them, or in the one that its plan names. The machine's clock cannot be trusted with a deletion: one that runs ahead by a
//! month would take a month too much. So the worker goes by the earlier of two clocks, its own and what the newest
//! row says. Which night was cleaned up last is kept in a file, and the schedule owes all nights after it: one that was
//! missed, or cut short by a stop, is made up for by the next process.

use std::{collections::BTreeMap, time::Duration};

use jiff::{
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};
use shiftwork::{
    Context, Failure, HostBuilder, Retry, Schedule, ScheduleError, Tick, Worker, event::Event, queue::Timestamp,
};
use shiftwork_sim::{Dependency, Ledger, Record, Scenario, Surface, What, World, dependency::Latency, millis, secs};

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody is logged in.
    Session,
    /// Who did what.
    AuditEntry,
    /// What the law wants to see for years.
    Invoice,
}

/// How long rows of a class are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of which class.
    pub class: Class,
    /// For how long.
    pub keep: Duration,
}

const DAY: Duration = Duration::from_hours(24);

/// The rules, as a lawyer wrote them.
pub const RETENTION: [Retention; 3] = [
    Retention { class: Class::Session, keep: DAY },
    Retention { class: Class::AuditEntry, keep: Duration::from_hours(30 * 24) },
    Retention { class: Class::Invoice, keep: Duration::from_hours(7 * 365 * 24) },
];

/// How many rows are deleted in one statement: a long one would lock the table.
const BATCH: usize = 5;

/// The table.
pub trait Table: Send + Sync + 'static {
    /// When the newest row was written; `None` if there is none.
    fn newest(&self) -> impl Future<Output = Result<Option<Timestamp>, Failure>> + Send;

    /// Deletes up to `max` rows of a class that were written before `before` and are not on hold. How many they were.
    fn delete(
        &self,
        class: Class,
        before: Timestamp,
        max: usize,
    ) -> impl Future<Output = Result<usize, Failure>> + Send;
}

/// Where it is kept which night was cleaned up last.
pub trait Mark: Send + Sync + 'static {
    /// When that clean-up was due.
    fn read(&self) -> Timestamp;

    /// Another was.
    fn write(&self, due: Timestamp);
}

/// Deletes what is old enough.
struct CleanUp<T, M> {
    table: T,
    mark: M,
}

impl<T: Table, M: Mark> Worker for CleanUp<T, M> {
    type Input = Tick;

    async fn cycle(&self, tick: Tick, cx: &Context) -> Result<(), Failure> {
        if self.mark.read() >= tick.due {
            return Ok(());
        }
        let Some(newest) = self.table.newest().await? else { return Ok(()) };
        let now = cx.wall_time().min(newest);
        for Retention { class, keep } in RETENTION {
            let before = now.checked_sub(keep)?;
            loop {
                if cx.stopping() {
                    // The night is not marked, so the next process owes it.
                    return Ok(());
                }
                if self.table.delete(class, before, BATCH).await? < BATCH {
                    break;
                }
            }
        }
        self.mark.write(tick.due);
        Ok(())
    }
}

/// Where the rows are of.
const ZONE: &str = "Europe/Vienna";

/// When it is due.
fn at_night() -> Result<Schedule, ScheduleError> {
    Schedule::cron("30 2 * * *")?.zone(ZONE)
}

/// The application: what `main` would build around a real table and a real file.
///
/// # Errors
///
/// When the schedule is not one, or the system knows no zones.
pub fn application<T: Table, M: Mark>(host: HostBuilder, table: T, mark: M) -> Result<HostBuilder, ScheduleError> {
    let schedule = at_night()?.since(mark.read());
    Ok(host
        .worker("clean-up", schedule, CleanUp { table, mark })
        .cycle_timeout(secs(120))
        // A night that is given up is a night of rows too many: it outlasts what an outage lasts.
        .retry(Retry::exponential().initial(millis(500)).max(secs(15)).attempts_max(40))
        .host())
}

/// When worlds begin whose plan does not say it.
const NIGHTS: [&str; 4] = [
    "2026-06-10T00:29:40Z",
    // The clocks go forward over 02:30: it is due right after.
    "2026-03-29T00:59:40Z",
    // They will go back over it: the first one counts.
    "2026-10-25T00:29:40Z",
    // The process was down for the first one, and the second one is seconds away.
    "2026-10-25T01:29:40Z",
];

fn begins_by_seed(seed: u64) -> Timestamp {
    // The profile of a campaign's world is its seed by three: each night has each of them.
    let night = NIGHTS[usize::try_from(seed / 3).unwrap_or(0) % NIGHTS.len()];
    night.parse().unwrap_or_else(|error| unreachable!("{night} is no time: {error}"))
}

/// The nights as a calendar on the wall has them. What the schedule makes of them is judged by it, so there is nothing of a schedule in it.
#[derive(Debug, Clone)]
struct Calendar(TimeZone);

impl Calendar {
    fn of_the_zone() -> Self {
        Self(TimeZone::get(ZONE).unwrap_or_else(|error| unreachable!("{error}")))
    }

    fn day_of(&self, time: Timestamp) -> Date {
        self.0.to_datetime(time).date()
    }

    /// When the clean-up of a day is due: at 02:30, the first time; or right after, if the clocks go forward over it.
    fn due_on(&self, day: Date) -> Timestamp {
        let local = self.0.to_ambiguous_zoned_datetime(day.at(2, 30, 0, 0));
        let is_left_out = matches!(local.offset(), AmbiguousOffset::Gap { .. });
        // If it is left out, this is before that.
        let first = local.earlier().map_or(Timestamp::MAX, |first| first.timestamp());
        let change = self.0.following(first).next().filter(|_| is_left_out);
        change.map_or(first, |change| change.timestamp())
    }
}

/// The night that a world plays in.
#[derive(Debug, Clone, Copy)]
struct Night {
    begins: Timestamp,
    /// The last clean-up before it.
    marked: Timestamp,
    /// When it is due.
    due: Timestamp,
}

impl Night {
    /// The one that comes due in a world that begins then, or came due last.
    fn of(begins: Timestamp, calendar: &Calendar) -> Self {
        let until = begins + HORIZON;
        let day_before = |day: Date| day.yesterday().unwrap_or(day);
        let today = calendar.day_of(until);
        let day = if calendar.due_on(today) <= until { today } else { day_before(today) };
        Self { begins, marked: calendar.due_on(day_before(day)), due: calendar.due_on(day) }
    }
}

/// How long rows are written.
const HORIZON: Duration = secs(75);

/// How many rows of each class have been kept for long enough when a world begins, and how many have not.
const ROWS: u64 = 80;

#[derive(Debug, Clone)]
struct Row {
    class: Class,
    written: Timestamp,
    on_hold: bool,
}

/// The table of a world, and what was done to it.
#[derive(Debug, Clone)]
struct State {
    begins: Timestamp,
    /// What has passed since then.
    passed: Duration,
    rows: BTreeMap<u64, Row>,
    next: u64,
    mark: Timestamp,
    /// How many batches were deleted since the last mark, and by how many lives of the process.
    batches: u32,
    /// What should not have been done.
    wrong: Option<String>,
}

impl State {
    fn new(night: Night) -> Self {
        let begins = night.begins;
        let mut state = Self {
            begins,
            passed: Duration::ZERO,
            rows: BTreeMap::new(),
            next: 0,
            mark: night.marked,
            batches: 0,
            wrong: None,
        };
        for Retention { class, keep } in RETENTION {
            for index in 0..ROWS {
                // The nearest ones are a minute from their time, on either side of it.
                let apart = Duration::from_secs(60 + 600 * index * index);
                state.write(class, begins - (keep + apart), index % 10 == 9);
                state.write(class, begins - keep.saturating_sub(apart + HORIZON * 6), false);
            }
        }
        state
    }

    fn write(&mut self, class: Class, written: Timestamp, on_hold: bool) {
        self.rows.insert(self.next, Row { class, written, on_hold });
        self.next += 1;
    }

    fn now(&self) -> Timestamp {
        self.begins + self.passed
    }

    fn newest(&self) -> Option<Timestamp> {
        self.rows.values().map(|row| row.written).max()
    }

    fn delete(&mut self, class: Class, before: Timestamp, max: usize) -> usize {
        let is_meant = |row: &Row| row.class == class && !row.on_hold && row.written < before;
        let meant: Vec<u64> = self.rows.iter().filter(|(_, row)| is_meant(row)).map(|(id, _)| *id).take(max).collect();
        let now = self.now();
        for id in &meant {
            let Some(row) = self.rows.remove(id) else { continue };
            if row.written + keep(row.class) > now {
                let wrong = format!("row {id}, {:?} of {}, was deleted at {now}", row.class, row.written);
                self.wrong.get_or_insert(wrong);
            }
        }
        self.batches += 1;
        meant.len()
    }

    /// The first row that should have been deleted when the world began.
    fn overdue(&self) -> Option<(&u64, &Row)> {
        self.rows.iter().find(|(_, row)| !row.on_hold && row.written + keep(row.class) <= self.begins)
    }
}

fn keep(class: Class) -> Duration {
    RETENTION.iter().find(|rule| rule.class == class).map_or(Duration::MAX, |rule| rule.keep)
}

type Shared = Ledger<State>;

#[derive(Clone)]
struct SimTable {
    database: Dependency,
    state: Shared,
}

impl Table for SimTable {
    async fn newest(&self) -> Result<Option<Timestamp>, Failure> {
        Ok(self.database.call(async { self.state.with(|state| state.newest()) }).await?)
    }

    async fn delete(&self, class: Class, before: Timestamp, max: usize) -> Result<usize, Failure> {
        Ok(self.database.call(async { self.state.with(|state| state.delete(class, before, max)) }).await?)
    }
}

/// A file on the node's disk, which is there when the process is not.
#[derive(Clone)]
struct SimMark(Shared);

impl Mark for SimMark {
    fn read(&self) -> Timestamp {
        self.0.with(|state| state.mark)
    }

    fn write(&self, due: Timestamp) {
        self.0.with(|state| {
            if due <= state.mark {
                state.wrong.get_or_insert(format!("the night of {due} was marked, after that of {}", state.mark));
            }
            (state.mark, state.batches) = (due, 0);
        });
    }
}

/// The scenario.
#[derive(Debug)]
pub struct CleanUpAtNight;

impl Scenario for CleanUpAtNight {
    fn name(&self) -> &'static str {
        "clean-up"
    }

    fn about(&self) -> &'static str {
        "a nightly worker deletes what was kept for long enough, and nothing else, while the clocks change"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["database".into()], queues: Vec::new(), horizon: HORIZON }
    }

    fn workers(&self) -> Vec<String> {
        vec!["clean-up".into()]
    }

    fn zones(&self) -> Vec<String> {
        vec![ZONE.into()]
    }

    fn build(&self, world: &mut World) {
        world.begins_at(begins_by_seed(world.seed()));
        let calendar = Calendar::of_the_zone();
        let night = Night::of(world.wall_time(), &calendar);
        let state = Shared::new(State::new(night));
        let database = world.dependency_with("database", Latency::uniform(millis(100), millis(900)));
        for second in (0..HORIZON.as_secs()).step_by(2) {
            let state = state.clone();
            world.at(secs(second), "session", move || {
                state.with(|state| {
                    let now = state.begins + secs(second);
                    state.write(Class::Session, now, false);
                });
            });
        }

        let table = SimTable { database, state: state.clone() };
        let mark = SimMark(state.clone());
        world.node("cleaner", move |node| {
            let application = application(node.host(), table.clone(), mark.clone());
            application.unwrap_or_else(|error| unreachable!("{error}")).run_until_signal()
        });
        demand(world, &state, night.due, calendar);
    }
}

/// What must hold in a world of the night that is due then.
fn demand(world: &mut World, state: &Shared, due: Timestamp, calendar: Calendar) {
    let done = state.clone();
    world.done_when(move || done.with(|state| state.mark >= due));

    let kept = state.clone();
    world.always("no row is deleted before its time, and no night is cleaned up twice", move |record| {
        kept.with(|state| {
            state.passed = record.at;
            state.wrong.take().map_or(Ok(()), Err)
        })
    });
    world.always("a night is due at its local time, and the one on which the clocks go back once", move |record| {
        let What::Host(Event::TickDue { due: said, .. }) = &record.what else { return Ok(()) };
        let expected = calendar.due_on(calendar.day_of(*said));
        if *said == expected { Ok(()) } else { Err(format!("it was due at {said}, not at {expected}")) }
    });
    let mut last = None;
    world.always("all nights that were missed are made up for at once", move |record| {
        match &record.what {
            What::Host(Event::IntakeOpened { .. }) => last = None,
            What::Host(Event::TickDue { due, late, .. }) => {
                // Whatever was due by the time of the last one, that one stood for.
                if let Some(last) = last.replace(*due + *late).filter(|last| due <= last) {
                    return Err(format!("one was made up for at {last}, and that of {due} again"));
                }
            }
            _ => {}
        }
        Ok(())
    });

    let begun = state.clone();
    let mut cut_short = false;
    world.sometimes("a clean-up that was cut short is taken up by the next process", move |record| {
        match &record.what {
            What::Exited { .. } | What::Crashed => cut_short = begun.with(|state| state.batches > 0),
            What::CallTookEffect { .. } => return cut_short && begun.with(|state| state.batches > 0),
            _ => {}
        }
        false
    });
    world.sometimes("a night is made up for", is_late);
    let done = state.clone();
    let is_due = |record: &Record| matches!(record.what, What::Host(Event::TickDue { .. }));
    let is_done = move || done.with(|state| state.mark >= due);
    world.eventually("the night that came due is cleaned up", secs(600), is_due, is_done);

    let state = state.clone();
    world.at_end("whatever was old enough is gone, and the rest is there", move || {
        state.with(|state| {
            if let Some((id, row)) = state.overdue() {
                return Err(format!("row {id}, {:?} of {}, is still there", row.class, row.written));
            }
            let held = state.rows.values().filter(|row| row.on_hold).count();
            if held == 24 { Ok(()) } else { Err(format!("{held} of 24 rows that are on hold are there")) }
        })
    });
}

fn is_late(record: &Record) -> bool {
    matches!(record.what, What::Host(Event::TickDue { late, .. }) if late > secs(1))
}

#[cfg(test)]
mod tests {
    use shiftwork_sim::{
        Fault, FaultKind, Plan, explore,
        plan::{downtime, dst_back, dst_forward},
    };

    use super::*;

    /// When the ticks of a night were said to be due, and how late they were.
    fn ticks_of(plan: &Plan) -> Vec<(String, Duration)> {
        let outcome = explore::run_plan(&CleanUpAtNight, plan, true);
        outcome.assert_rules_kept();
        assert!(outcome.stats.struck.iter().all(|struck| *struck), "{plan}");
        let ticks = outcome.events().filter_map(|(_, event)| match event {
            Event::TickDue { due, late, .. } => Some((due.to_string(), *late)),
            _ => None,
        });
        ticks.collect()
    }

    /// Of an undisturbed one.
    fn ticks(night: u64) -> Vec<(String, Duration)> {
        ticks_of(&Plan::quiet("clean-up", night * 3))
    }

    /// Of the first one, if this comes half a minute after it has begun.
    fn ticks_with(kind: FaultKind) -> Vec<(String, Duration)> {
        ticks_of(&Plan { faults: vec![Fault::new(30_000, kind)], ..Plan::quiet("clean-up", 0) })
    }

    #[test]
    fn each_night_has_one_clean_up_at_the_time_of_its_calendar() {
        assert_eq!(ticks(0), [("2026-06-10T00:30:00Z".to_owned(), secs(0))]);
        assert_eq!(ticks(1), [("2026-03-29T01:00:00Z".to_owned(), secs(0))], "02:30 does not exist");
        assert_eq!(ticks(2), [("2026-10-25T00:30:00Z".to_owned(), secs(0))], "the first 02:30");
        assert_eq!(
            ticks(3),
            [("2026-10-25T00:30:00Z".to_owned(), secs(59 * 60 + 40))],
            "made up for, and not again at 01:30"
        );
    }

    #[test]
    fn a_plan_in_which_the_clocks_change_says_which_night_it_is() {
        assert_eq!(ticks_with(dst_forward(ZONE)), [("2026-03-29T01:00:00Z".to_owned(), secs(0))], "as they change");
        assert_eq!(
            ticks_with(dst_back(ZONE)),
            [("2026-10-25T00:30:00Z".to_owned(), secs(29 * 60 + 30))],
            "half an hour before, and not again half an hour later"
        );
    }

    #[test]
    fn a_month_that_was_slept_through_is_made_up_for_with_one_clean_up() {
        let month = downtime(DAY * 30);
        // The first one is cut short, and none of those between is made up for by itself.
        let expected = [("2026-06-10T00:30:00Z", 0), ("2026-07-10T00:30:00Z", 11)];
        assert_eq!(ticks_with(month), expected.map(|(due, late)| (due.to_owned(), secs(late))));
    }

    #[test]
    fn the_calendar_has_the_nights_that_it_should() {
        let calendar = Calendar::of_the_zone();
        let due = |begins: &str| {
            let night = Night::of(begins.parse().expect("it is a time"), &calendar);
            [night.marked, night.due].map(|time| time.to_string())
        };
        assert_eq!(due(NIGHTS[0]), ["2026-06-09T00:30:00Z", "2026-06-10T00:30:00Z"]);
        assert_eq!(due(NIGHTS[1]), ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"]);
        assert_eq!(due(NIGHTS[2]), ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"]);
        assert_eq!(due(NIGHTS[3]), ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"]);
        // Long before the next one.
        assert_eq!(due("2026-03-30T12:00:00Z"), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }
}
