//! *Import*: a batch worker that writes rows to a database, many with one statement, and not too often.
//!
//! A row with a bad value is said to be bad before anything is written, and goes to the dead letters by itself. Another sort of bad row
//! is only found out by the database, which refuses the whole statement without saying for which: it must take none of its
//! neighbours along. Writing a row twice does nothing more, so that a crash between the statement and its settlement costs
//! nothing but time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::json;
use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Breaker, Failure, HostBuilder, QueueSourceExt, RateLimit, Retry,
    event::Event,
    queue::{DeadLetterCause, Queue},
};
use shiftwork_sim::{
    Dependency, Ledger, Record, Scenario, SimQueue, Surface, What, World, dependency::Latency, millis, secs,
};

use crate::declared;

/// One row, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(pub u32);

/// How many rows there are.
const ROWS: u32 = 400;

impl Row {
    /// Whether the worker can see that it is bad.
    fn is_malformed(self) -> bool {
        self.0 % 25 == 1
    }

    /// Whether only the database can.
    fn is_refused(self) -> bool {
        self.0 % 100 == 42
    }
}

/// Where rows are written.
pub trait Database: Send + Sync + 'static {
    /// Writes all of them or none; what is there already stays as it is.
    ///
    /// # Errors
    ///
    /// When the database is in trouble, or one of the rows is bad.
    fn insert(&self, rows: Vec<Row>) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct Import<D> {
    database: D,
}

impl<D: Database> BatchWorker for Import<D> {
    type Input = Row;

    async fn cycle(&self, batch: &mut Batch<Row>, _: &BatchContext) -> Result<(), Failure> {
        for item in batch.iter_mut().filter(|item| item.input.is_malformed()) {
            let row = item.input.0;
            item.fail(Failure::invalid(format!("row {row} has no amount")));
        }
        let rows: Vec<Row> = batch.iter().filter(|item| !item.has_verdict()).map(|item| item.input).collect();
        if rows.is_empty() { Ok(()) } else { self.database.insert(rows).await }
    }
}

/// The application: what `main` would build around a real queue and a real database.
pub fn application<Q: Queue<Row>, D: Database>(host: HostBuilder, rows: Q, database: D) -> HostBuilder {
    // Rows outlast an outage, as the orders of a shop would.
    let patient = Retry::exponential().initial(millis(500)).max(secs(20)).attempts_max(25);
    host.batch_worker("import", rows.source().lease(secs(15)), Batches::of(25).linger(millis(200)), Import { database })
        .concurrency(2)
        .cycle_timeout(secs(8))
        .retry(patient)
        .breaker(Breaker::after(8).probe_every(secs(2)).probe_max(secs(10)))
        .rate_limit(RateLimit::of(5, secs(1)).burst(3))
        .crashes_max(50)
        .host()
}

struct SimDatabase {
    dependency: Dependency,
    written: Ledger<BTreeSet<Row>>,
}

impl Database for SimDatabase {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), Failure> {
        let refused = rows.iter().any(|row| row.is_refused());
        let write = async {
            if !refused {
                self.written.lock().extend(rows);
            }
        };
        self.dependency.call(write).await?;
        if refused { Err(Failure::invalid("a constraint is violated")) } else { Ok(()) }
    }
}

/// The scenario.
#[derive(Debug)]
pub struct ImportRows;

impl Scenario for ImportRows {
    fn name(&self) -> &'static str {
        "import"
    }

    fn about(&self) -> &'static str {
        "a batch worker writes rows, no more often than it may, and a bad row takes none of its batch along"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["database".into()], queues: vec!["rows".into()], horizon: secs(30) }
    }

    fn workers(&self) -> Vec<String> {
        vec!["import".into()]
    }

    fn build(&self, world: &mut World) {
        let written: Ledger<BTreeSet<Row>> = Ledger::default();
        let dependency = world.dependency_with("database", Latency::uniform(millis(100), millis(400)));
        let queue: SimQueue<Row> = world.queue("rows");
        queue.seed((1..=ROWS / 2).map(Row));
        // The others come bit by bit, and find company while they do.
        let coming = Arc::new(AtomicU32::new(ROWS / 8));
        for step in 0..ROWS / 8 {
            let (rows, coming) = (queue.clone(), coming.clone());
            let first = ROWS / 2 + 1 + step * 4;
            let time = millis(u64::from(step) * 400);
            world.at(time, "rows", move || {
                rows.seed((first..first + 4).map(Row));
                coming.fetch_sub(1, Ordering::Relaxed);
            });
        }

        let (rows, effects) = (queue.clone(), written.clone());
        world.node("importer", move |node| {
            let database = SimDatabase { dependency: dependency.clone(), written: effects.clone() };
            application(node.host(), rows.clone(), database).run_until_signal()
        });

        declared::demand(
            world,
            json!({ "import": {
                "batch": { "size": 25, "linger": "200ms" },
                "breaker": { "failures": 8, "probe_every": "2s", "probe_max": "10s", "jitter_percent": 20 },
                "rate_limit": { "cycles": 5, "per": "1s", "burst": 3 },
            } }),
        );
        let waiting = queue.clone();
        world.sometimes("a batch has company", |record: &Record| {
            matches!(record.what, What::Host(Event::BatchStarted { cycles: 2.., .. }))
        });
        world.done_when(move || coming.load(Ordering::Relaxed) == 0 && waiting.inspect_depth().unsettled() == 0);
        world.at_end("every good row is written", move || check_written(&written));
        world.at_end("bad rows are in the dead letters, and no others", move || check_dead_letters(&queue));
    }
}

fn check_written(written: &Ledger<BTreeSet<Row>>) -> Result<(), String> {
    let written = written.lock();
    let good = (1..=ROWS).map(Row).filter(|row| !row.is_malformed() && !row.is_refused());
    match good.into_iter().find(|row| !written.contains(row)) {
        Some(Row(row)) => Err(format!("row {row} was never written")),
        None => Ok(()),
    }
}

fn check_dead_letters(queue: &SimQueue<Row>) -> Result<(), String> {
    let mut missing: BTreeSet<Row> = (1..=ROWS).map(Row).filter(|row| row.is_malformed() || row.is_refused()).collect();
    for letter in queue.inspect_dead_letters() {
        // What nobody can decode is of another producer.
        let Ok(row) = letter.payload else { continue };
        if letter.cause != DeadLetterCause::Invalid || !(row.is_malformed() || row.is_refused()) {
            return Err(format!("row {} is in the dead letters ({})", row.0, letter.cause));
        }
        missing.remove(&row);
    }
    match missing.first() {
        Some(Row(row)) => Err(format!("row {row} is bad, and not in the dead letters")),
        None => Ok(()),
    }
}
