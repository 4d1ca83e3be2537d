//! *Sync*: two systems that people work in at the same time, and a worker for each direction that keeps them in step.
//!
//! Each system numbers its changes. A worker reads those after its cursor, writes each record to the other side, and then
//! moves the cursor: as far as the first record that could not be written, so that a part that failed comes again. The other side
//! keeps the newer of two versions, whichever came last, so it does no harm to write one twice. A side that is down opens the
//! breaker of the worker that writes to it, not of the other.

use std::collections::BTreeMap;

use serde_json::json;
use shiftwork::{Breaker, Context, Failure, HostBuilder, Retry, RetryBudget, Schedule, Tick, Worker, event::Event};
use shiftwork_sim::{Dependency, DependencyError, Ledger, Scenario, Surface, What, World, millis, secs};

use crate::declared;

/// One record of either system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Which.
    pub id: u32,
    /// Grows with each edit, wherever it is made; no two edits have the same.
    pub version: u64,
    /// What the last edit wrote.
    pub name: String,
}

/// A change of a system.
#[derive(Debug, Clone)]
pub struct Change {
    /// Counts the changes of the system, from 1.
    pub number: u64,
    /// What the record became.
    pub contact: Contact,
}

/// How many changes are read at once.
const PAGE: usize = 16;

/// A system that is kept in step with another.
pub trait System: Send + Sync + 'static {
    /// The changes after that of this number, the oldest first, at most `max`. Of a record that changed several times
    /// only the last change is there.
    fn changes(&self, after: u64, max: usize) -> impl Future<Output = Result<Vec<Change>, Failure>> + Send;

    /// Stores a record, unless there is a newer version of it.
    fn upsert(&self, contact: &Contact) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Where a worker keeps how far it has come.
pub trait Cursor: Send + Sync + 'static {
    /// The number of the last change that is done.
    fn read(&self) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// All up to this one are done.
    fn write(&self, number: u64) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// One direction.
struct Carry<F, T, C> {
    from: F,
    to: T,
    cursor: C,
}

impl<F: System, T: System, C: Cursor> Worker for Carry<F, T, C> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let begin = self.cursor.read().await?;
        let (mut done, mut failed) = (begin, None);
        for change in self.from.changes(begin, PAGE).await? {
            if cx.stopping() {
                break;
            }
            match self.to.upsert(&change.contact).await {
                Ok(()) if failed.is_none() => done = change.number,
                // It is written, and will be once more: the cursor stays before what failed.
                Ok(()) => {}
                Err(failure) => drop(failed.get_or_insert(failure)),
            }
        }
        if done > begin {
            self.cursor.write(done).await?;
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The application: what `main` would build around two real systems.
pub fn application<A: System + Clone, B: System + Clone, C: Cursor>(
    host: HostBuilder,
    crm: A,
    billing: B,
    cursors: (C, C),
) -> HostBuilder {
    // Soon, for what fails once; the next tick is not far.
    let retry = || Retry::exponential().initial(millis(100)).max(secs(10)).attempts_max(4);
    // Retries of a side that is half well must not be the load that keeps it there.
    let budget = || RetryBudget::per_second(1).burst(1).share_percent(0);
    let breaker = || Breaker::after(3).probe_every(secs(1)).probe_max(secs(10));
    let (there, back) = cursors;
    host.worker("to-billing", Schedule::every(secs(2)), Carry { from: crm.clone(), to: billing.clone(), cursor: there })
        .cycle_timeout(secs(20))
        .retry(retry())
        .retry_budget(budget())
        .breaker(breaker())
        .worker("to-crm", Schedule::every(secs(2)), Carry { from: billing, to: crm, cursor: back })
        .cycle_timeout(secs(20))
        .retry(retry())
        .retry_budget(budget())
        .breaker(breaker())
        .host()
}

/// What one system holds.
#[derive(Debug, Clone, Default)]
struct Books {
    contacts: BTreeMap<u32, Contact>,
    /// The number of the last change of each record.
    changed: BTreeMap<u64, u32>,
    last: u64,
    /// How many writes were refused because there is a newer version, and how many of what is there already.
    older: u32,
    repeated: u32,
}

impl Books {
    fn store(&mut self, contact: Contact) {
        self.last += 1;
        self.changed.retain(|_, id| *id != contact.id);
        self.changed.insert(self.last, contact.id);
        self.contacts.insert(contact.id, contact);
    }

    fn upsert(&mut self, contact: &Contact) {
        match self.version(contact.id) {
            held if held > contact.version => self.older += 1,
            held if held == contact.version => self.repeated += 1,
            _ => self.store(contact.clone()),
        }
    }

    fn version(&self, id: u32) -> u64 {
        self.contacts.get(&id).map_or(0, |contact| contact.version)
    }

    fn changes(&self, after: u64, max: usize) -> Vec<Change> {
        let changed = self.changed.range(after + 1..).take(max);
        changed.map(|(number, id)| Change { number: *number, contact: self.contacts[id].clone() }).collect()
    }
}

/// Both systems, and how far the workers have come.
#[derive(Debug, Clone, Default)]
struct State {
    books: [Books; 2],
    cursors: [u64; 2],
    /// The version of the last edit of each record.
    edited: BTreeMap<u32, u64>,
    /// Records that were edited on one side before the other side's edit got there.
    conflicts: u32,
    wrong: Option<String>,
}

impl State {
    /// Somebody edits a record on one side.
    fn edit(&mut self, side: usize, id: u32, version: u64) {
        if self.books[side].version(id) < self.edited.get(&id).copied().unwrap_or_default() {
            self.conflicts += 1;
        }
        self.edited.insert(id, version);
        let name = format!("contact {id}, edit {version}");
        self.books[side].store(Contact { id, version, name });
    }

    /// The worker that carries from this side has come so far.
    fn move_cursor(&mut self, side: usize, number: u64) {
        let (from, to) = (&self.books[side], &self.books[1 - side]);
        let passed = from.changed.range(..=number).find(|(_, id)| to.version(**id) < from.version(**id));
        if let Some((change, id)) = passed {
            let wrong = format!("the cursor of side {side} is at {number}, but change {change} of {id} is not there");
            self.wrong.get_or_insert(wrong);
        }
        self.cursors[side] = self.cursors[side].max(number);
    }

    fn are_equal(&self) -> bool {
        self.books[0].contacts == self.books[1].contacts
    }
}

type Shared = Ledger<State>;

#[derive(Clone)]
struct SimSystem {
    dependency: Dependency,
    state: Shared,
    side: usize,
}

impl System for SimSystem {
    async fn changes(&self, after: u64, max: usize) -> Result<Vec<Change>, Failure> {
        let changes = async { self.state.with(|state| state.books[self.side].changes(after, max)) };
        self.dependency.call(changes).await.map_err(DependencyError::into_failure)
    }

    async fn upsert(&self, contact: &Contact) -> Result<(), Failure> {
        let upsert = async { self.state.with(|state| state.books[self.side].upsert(contact)) };
        self.dependency.call(upsert).await.map_err(DependencyError::into_failure)
    }
}

struct SimCursor {
    database: Dependency,
    state: Shared,
    side: usize,
}

impl Cursor for SimCursor {
    async fn read(&self) -> Result<u64, Failure> {
        Ok(self.database.call(async { self.state.with(|state| state.cursors[self.side]) }).await?)
    }

    async fn write(&self, number: u64) -> Result<(), Failure> {
        Ok(self.database.call(async { self.state.with(|state| state.move_cursor(self.side, number)) }).await?)
    }
}

/// The scenario.
#[derive(Debug)]
pub struct TwoWaySync;

/// How many edits people make, on both sides together.
const EDITS: u32 = 120;

/// How many records there are.
const CONTACTS: u32 = 25;

impl Scenario for TwoWaySync {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn about(&self) -> &'static str {
        "two systems that are both edited are kept in step, whichever is down, and are equal in the end"
    }

    fn surface(&self) -> Surface {
        let dependencies = ["crm", "billing", "cursors"].map(str::to_owned).to_vec();
        Surface { dependencies, queues: Vec::new(), horizon: secs(60) }
    }

    fn workers(&self) -> Vec<String> {
        ["to-billing", "to-crm"].map(str::to_owned).to_vec()
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        let (crm, billing) = (world.dependency("crm"), world.dependency("billing"));
        let database = world.dependency("cursors");
        for edit in 1..=EDITS {
            let state = state.clone();
            // Over and over the same ones, now here and now there; each seventh comes right after another.
            let (side, id) = (usize::from(edit % 3 == 0), edit * 7 % CONTACTS);
            let at = millis(u64::from(edit - u32::from(edit % 7 == 0)) * 400);
            world.at(at, "edit", move || state.with(|state| state.edit(side, id, u64::from(edit))));
        }

        let shared = state.clone();
        world.node("sync", move |node| {
            let side = |side: usize, dependency: &Dependency| {
                let (dependency, state) = (dependency.clone(), shared.clone());
                SimSystem { dependency, state, side }
            };
            let cursor = |side: usize| SimCursor { database: database.clone(), state: shared.clone(), side };
            application(node.host(), side(0, &crm), side(1, &billing), (cursor(0), cursor(1))).run_until_signal()
        });
        demand(world, &state);
    }
}

fn demand(world: &mut World, state: &Shared) {
    let policies = json!({
        "breaker": { "failures": 3, "probe_every": "1s", "probe_max": "10s", "jitter_percent": 20 },
        "retry_budget": { "per_second": 1, "burst": 1, "share_percent": 0 },
    });
    declared::demand(world, json!({ "to-billing": policies, "to-crm": policies }));

    let equal = state.clone();
    let is_equal = move || equal.with(|state| state.edited.len() == CONTACTS as usize && state.are_equal());
    world.done_when(is_equal.clone());

    let cursors = state.clone();
    world.always("a cursor passes no change that the other side has not got", move |_| {
        cursors.with(|state| state.wrong.take().map_or(Ok(()), Err))
    });
    let versions = state.clone();
    let mut seen = [BTreeMap::new(), BTreeMap::new()];
    world.always("no system goes back to an older version", move |record| {
        let changes = matches!(record.what, What::CallTookEffect { .. } | What::Arrived { .. });
        if !changes {
            return Ok(());
        }
        versions.with(|state| {
            for (books, seen) in state.books.iter().zip(&mut seen) {
                for contact in books.contacts.values() {
                    let newest = seen.entry(contact.id).or_insert(contact.version);
                    if *newest > contact.version {
                        return Err(format!("contact {} went from {newest} to {}", contact.id, contact.version));
                    }
                    *newest = contact.version;
                }
            }
            Ok(())
        })
    });

    world.sometimes("a side that is down opens a breaker", |record| {
        matches!(record.what, What::Host(Event::BreakerOpened { .. }))
    });
    world.sometimes("a retry is held back by its budget", |record| {
        matches!(record.what, What::Host(Event::RetryHeldBack { .. }))
    });
    let part = state.clone();
    world.sometimes("what was written is written again", move |_| {
        part.with(|state| state.books.iter().any(|books| books.repeated > 0))
    });
    let conflicts = state.clone();
    world.sometimes("both sides edit one record before they hear of each other", move |_| {
        conflicts.with(|state| state.conflicts > 0 && state.books.iter().any(|books| books.older > 0))
    });
    world.eventually("the systems are equal", secs(120), |record| record.what == What::Healed, is_equal);
    let state = state.clone();
    world.at_end("both sides have the last edit of every record", move || {
        state.with(|state| {
            for books in &state.books {
                let behind = state.edited.iter().find(|(id, version)| books.version(**id) != **version);
                if let Some((id, version)) = behind {
                    return Err(format!("contact {id} is {}, not {version}", books.version(*id)));
                }
            }
            Ok(())
        })
    });
}
