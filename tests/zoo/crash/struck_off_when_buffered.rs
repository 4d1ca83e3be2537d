//! Writes are collected and stored five at a time. To the code that fills the buffer a row is done; to a process that dies with half a
//! buffer it never was.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every row is stored";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "struck-off-when-buffered",
    about: "a row is struck off when it is buffered, not when it is stored",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["store"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Collect<const BUG: bool> {
    store: Dependency,
    buffer: Mutex<Vec<u32>>,
    rows: Ledger<BTreeSet<u32>>,
    stored: Tally,
}

impl<const BUG: bool> Collect<BUG> {
    fn buffer(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Collect<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let next = self.rows.lock().iter().find(|row| !self.buffer().contains(row)).copied();
        if let Some(row) = next {
            self.buffer().push(row);
            if BUG {
                self.rows.lock().remove(&row);
            }
        }
        let full = self.buffer().clone();
        if full.len() < 5 && next.is_some() {
            return Ok(());
        }
        self.store.call(async { full.iter().for_each(|row| self.stored.add(*row)) }).await?;
        self.rows.lock().retain(|row| !full.contains(row));
        self.buffer().clear();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let store = world.dependency("store");
    let (rows, stored) = (waiting(80), Tally::default());
    stored.all_at_end(world, RULE, 80);
    let (left, there) = (rows.clone(), stored.clone());
    world.done_when(move || left.lock().is_empty() && there.has(80));
    every_second(world, move || Collect::<BUG> {
        store: store.clone(),
        buffer: Mutex::default(),
        rows: rows.clone(),
        stored: stored.clone(),
    });
}
