//! The page on configuration, held against the keys that can be read and against what is in force when nobody sets
//! anything.

use serde_json::Value;
use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Config, Context, Failure, Group, Host, OnFault, QueueSourceExt,
    Schedule, Tick, queue::MemoryQueue,
};

use crate::page::{Page, bare};

#[test]
fn every_key_is_written_once_with_its_default() {
    let table = Page::read("docs/configuration.md").table("key");
    let written: Vec<(&str, &str)> = table.iter().map(|row| (bare(&row[0]), bare(&row[1]))).collect();
    let in_force = in_force();
    let expected: Vec<(String, String)> = Config::keys().into_iter().map(|key| default(key.path, &in_force)).collect();
    assert_eq!(written, expected.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>());
}

struct InBatches;

impl BatchWorker for InBatches {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

/// A host of a worker of each sort that nobody has set anything of.
fn in_force() -> Value {
    let cycle = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
    let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let host = Host::builder()
        .worker("queue", MemoryQueue::<u32>::new().source(), cycle)
        .on_fault(OnFault::restart())
        .batch_worker("batch", MemoryQueue::<u32>::new().source(), Batches::default(), InBatches)
        .worker("schedule", Schedule::cron("0 3 * * *").expect("a cron expression"), tick)
        .host()
        .group("queue", Group::one_for_all())
        .build()
        .expect("they fit together");
    serde_json::to_value(host.config()).expect("a configuration is plain data")
}

/// The key with what it is set to; nothing for what the program's own code must say.
fn default(key: String, in_force: &Value) -> (String, String) {
    let of = |worker: &str| {
        let pointer = format!("/{}", key.replace("NAME", worker).replace('.', "/"));
        in_force.pointer(&pointer).filter(|value| !value.is_object()).map(Value::to_string)
    };
    let value = match &*key {
        "worker.NAME.schedule.cron" | "group.NAME.strategy" => None,
        // The worker that is not set to restart.
        "worker.NAME.on_fault" => of("schedule"),
        "worker.NAME.batch.size" | "worker.NAME.batch.linger" => of("batch"),
        _ => of("queue").or_else(|| of("schedule").filter(|_| !key.ends_with(".breaker"))),
    };
    (key, value.unwrap_or_default())
}
