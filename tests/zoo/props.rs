//! What the exhibits are furnished with: work that waits, flags, and counts of what has been done.
//!
//! An exhibit's own dependencies and workers are in its file.

use std::collections::{BTreeMap, BTreeSet};

use shiftwork::{Retry, Schedule, Tick, Worker};
use shiftwork_sim::{Ledger, World, secs};

/// How often each thing, by its number, has been done.
#[derive(Clone, Debug, Default)]
pub struct Tally(Ledger<BTreeMap<u32, u32>>);

impl Tally {
    /// It has been done once more.
    pub fn add(&self, number: u32) {
        *self.0.lock().entry(number).or_default() += 1;
    }

    /// How often it has been done.
    pub fn count(&self, number: u32) -> u32 {
        self.0.lock().get(&number).copied().unwrap_or_default()
    }

    /// Whether it has been done.
    pub fn has(&self, number: u32) -> bool {
        self.0.lock().contains_key(&number)
    }

    /// Whether 1 to `count` have been done.
    pub fn has_all(&self, count: u32) -> bool {
        (1..=count).all(|number| self.has(number))
    }

    /// At the end, 1 to `count` must have been done at least once each.
    pub fn all_at_end(&self, world: &mut World, rule: &str, count: u32) {
        let tally = self.clone();
        world.at_end(rule, move || match (1..=count).find(|number| !tally.has(*number)) {
            Some(number) => Err(format!("number {number} was not")),
            None => Ok(()),
        });
    }

    /// At all times, nothing may have been done more than `most` times.
    pub fn never_more_than(&self, world: &mut World, rule: &str, most: u32) {
        let tally = self.clone();
        world.always(rule, move |_| match tally.0.lock().iter().find(|(_, times)| **times > most) {
            Some((number, times)) => Err(format!("number {number} was, {times} times")),
            None => Ok(()),
        });
    }
}

/// The numbers from 1 to `count`, as work that waits in a table.
pub fn waiting(count: u32) -> Ledger<BTreeSet<u32>> {
    Ledger::new((1..=count).collect())
}

/// Something that has not happened yet, and must not.
pub fn flag() -> Ledger<bool> {
    Ledger::new(false)
}

/// At all times, the flag must not be set.
pub fn never(world: &mut World, rule: &str, flag: &Ledger<bool>) {
    let flag = flag.clone();
    world.always(rule, move |_| if *flag.lock() { Err("it was not so".to_owned()) } else { Ok(()) });
}

/// A node with one worker, which runs every second. `worker` makes it anew for each life of the process.
pub fn every_second<W: Worker<Input = Tick>>(world: &mut World, worker: impl Fn() -> W + Send + 'static) {
    world.node("node", move |node| {
        node.host()
            .worker("worker", Schedule::every(secs(1)), worker())
            .cycle_timeout(secs(10))
            .retry(Retry::exponential().initial(secs(1)).max(secs(5)))
            .run_until_signal()
    });
}
