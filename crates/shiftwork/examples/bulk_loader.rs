//! Loads readings into a table many at a time: a call takes up to a hundred of them, and waits for a moment for more to come.
//! A row that cannot be read spoils none of the others.
//!
//! ```sh
//! cargo run -p shiftwork --example bulk_loader
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Environment, Failure, Host, HostReport, QueueSourceExt, System,
    queue::{MemoryQueue, Message, Queue, QueueError},
};

/// What would be a table, by sensor and second.
#[derive(Debug, Default)]
struct Table {
    rows: Mutex<BTreeMap<(String, u32), f64>>,
}

impl Table {
    /// One statement for all of them. A row that is there already is written over: after a crash it may come again.
    async fn upsert(&self, rows: Vec<((String, u32), f64)>) -> Result<usize, io::Error> {
        let mut table = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        table.extend(rows);
        Ok(table.len())
    }
}

struct Loader {
    table: Table,
}

impl BatchWorker for Loader {
    type Input = String;

    async fn cycle(&self, batch: &mut Batch<String>, _: &BatchContext) -> Result<(), Failure> {
        let mut rows = Vec::with_capacity(batch.len());
        for item in batch.iter_mut() {
            match parse(&item.input) {
                Ok(row) => rows.push(row),
                // Of this one alone: it becomes a dead letter at once, and the others go on.
                Err(error) => item.fail(Failure::invalid(error)),
            }
        }
        let (count, refused) = (rows.len(), batch.len() - rows.len());
        // Should this fail, all that have no verdict yet are tried again, each by itself.
        let total = self.table.upsert(rows).await?;
        println!("wrote {count} rows, refused {refused}; the table has {total}");
        Ok(())
    }
}

/// `sensor second value`.
fn parse(line: &str) -> Result<((String, u32), f64), String> {
    let mut words = line.split_whitespace();
    let (Some(sensor), Some(second), Some(value)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("{line:?} is not a sensor, a second and a value"));
    };
    let second = second.parse().map_err(|error| format!("the second of {line:?}: {error}"))?;
    let value = value.parse().map_err(|error| format!("the value of {line:?}: {error}"))?;
    Ok(((sensor.to_owned(), second), value))
}

/// All of them, a page at a time.
async fn show_dead_letters(readings: &MemoryQueue<String>) -> Result<(), QueueError> {
    let mut after = None;
    loop {
        let letters = readings.dead_letters(after, 100).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        after = Some(last.id);
        for letter in &letters {
            println!("moved aside as {}: {:?}", letter.cause, letter.payload);
        }
    }
}

#[tokio::main]
async fn main() -> Result<HostReport, Box<dyn Error>> {
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let readings = MemoryQueue::new();
    let mut lines: Vec<String> = (0..250).map(|second| format!("boiler {second} {}.5", 60 + second % 7)).collect();
    lines[17] = "boiler 17 warm".to_owned();
    readings.push(lines.into_iter().map(Message::new).collect(), System.now()).await?;

    let report = Host::builder()
        // A hundred rows for one statement, and no row waits longer than this for the others.
        .batch_worker(
            "load",
            readings.clone().source(),
            Batches::of(100).linger(Duration::from_millis(200)),
            Loader { table: Table::default() },
        )
        .cycle_timeout(Duration::from_secs(30))
        .run_until_signal()
        .await;

    // The report is the exit code, whatever becomes of this.
    if let Err(error) = show_dead_letters(&readings).await {
        eprintln!("could not read the dead letters: {error}");
    }
    Ok(report)
}
