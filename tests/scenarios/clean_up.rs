//! *Clean-up*: a nightly worker that deletes what has been kept for as long as the retention rules say, in a night in which
//! the clocks may change.
//!
//! It is due at 02:30 in Vienna. That time does not exist in the night of spring, comes twice in that of autumn, and once in
//! any other; a world plays in one of them. The machine's clock cannot be trusted with a deletion: one that runs ahead by a
//! month would take a month too much. So the worker goes by the earlier of two clocks, its own and what the newest
//! row says. Which night was cleaned up last is kept in a file, and the schedule owes all nights after it: one that was
//! missed, or cut short by a stop, is made up for by the next process.

use std::{collections::BTreeMap, time::Duration};

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

/// When it is due.
fn at_night() -> Result<Schedule, ScheduleError> {
    Schedule::cron("30 2 * * *")?.zone("Europe/Vienna")
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

/// A night that a world plays in.
#[derive(Debug, Clone, Copy)]
struct Night {
    begins: &'static str,
    /// The last clean-up before it.
    marked: &'static str,
    /// When it is due.
    due: &'static str,
}

const NIGHTS: [Night; 4] = [
    Night { begins: "2026-06-10T00:29:40Z", marked: "2026-06-09T00:30:00Z", due: "2026-06-10T00:30:00Z" },
    // The clocks go forward over 02:30: it is due right after.
    Night { begins: "2026-03-29T00:59:40Z", marked: "2026-03-28T01:30:00Z", due: "2026-03-29T01:00:00Z" },
    // They will go back over it: the first one counts.
    Night { begins: "2026-10-25T00:29:40Z", marked: "2026-10-24T00:30:00Z", due: "2026-10-25T00:30:00Z" },
    // The process was down for the first one, and the second one is seconds away.
    Night { begins: "2026-10-25T01:29:40Z", marked: "2026-10-24T00:30:00Z", due: "2026-10-25T00:30:00Z" },
];

impl Night {
    fn of_seed(seed: u64) -> Self {
        // The profile of a campaign's world is its seed by three: each night has each of them.
        let index = usize::try_from(seed / 3).unwrap_or(0) % NIGHTS.len();
        NIGHTS[index]
    }
}

/// A constant, as a time.
fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| unreachable!("{text} is no time: {error}"))
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
        let begins = time(night.begins);
        let mut state = Self {
            begins,
            passed: Duration::ZERO,
            rows: BTreeMap::new(),
            next: 0,
            mark: time(night.marked),
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

    fn build(&self, world: &mut World) {
        let night = Night::of_seed(world.seed());
        let state = Shared::new(State::new(night));
        world.begins_at(time(night.begins));
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
        demand(world, &state, time(night.due));
    }
}

/// What must hold in a world of the night that is due then.
fn demand(world: &mut World, state: &Shared, due: Timestamp) {
    let done = state.clone();
    world.done_when(move || done.with(|state| state.mark >= due));

    let kept = state.clone();
    world.always("no row is deleted before its time, and no night is cleaned up twice", move |record| {
        kept.with(|state| {
            state.passed = record.at;
            state.wrong.take().map_or(Ok(()), Err)
        })
    });
    world.always("a night is due at its time, and the one on which the clocks go back once", move |record| {
        let What::Host(Event::TickDue { due: said, .. }) = &record.what else { return Ok(()) };
        // Only a clock that was stepped is in another night.
        if *said != due && said.duration_since(due).unsigned_abs() < DAY / 2 {
            return Err(format!("it was due at {said}, not at {due}"));
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
    use shiftwork_sim::{Plan, explore};

    use super::*;

    /// When the ticks of an undisturbed night were said to be due, and how late they were.
    fn ticks(night: u64) -> Vec<(String, Duration)> {
        let outcome = explore::run_plan(&CleanUpAtNight, &Plan::quiet("clean-up", night * 3), true);
        outcome.assert_rules_kept();
        let ticks = outcome.events().filter_map(|(_, event)| match event {
            Event::TickDue { due, late, .. } => Some((due.to_string(), *late)),
            _ => None,
        });
        ticks.collect()
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
}
