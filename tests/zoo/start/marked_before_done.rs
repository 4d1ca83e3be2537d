//! The flag "reference data is loaded" is written before the data, or in a transaction of its own. A start that breaks in
//! between is never made up for, because the next one sees the flag.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, flag},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "marked-before-done",
    about: "a first start is marked as done before it is",
    area: Area::Start,
    rule: "L1",
    sites: Sites { dependencies: &["database"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Hostile,
    budget: 2000,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Loader<const BUG: bool> {
    database: Dependency,
    loaded: Ledger<bool>,
    rows: Tally,
}

impl<const BUG: bool> Loader<BUG> {
    async fn mark(&self) -> Result<(), Failure> {
        Ok(self.database.call(async { *self.loaded.lock() = true }).await?)
    }

    async fn load(&self) -> Result<(), Failure> {
        for row in 1..=3 {
            self.database.call(async { self.rows.add(row) }).await?;
        }
        Ok(())
    }
}

impl<const BUG: bool> Worker for Loader<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if *self.loaded.lock() {
            return Ok(());
        }
        if BUG {
            self.mark().await?;
            self.load().await
        } else {
            self.load().await?;
            self.mark().await
        }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let database = world.dependency_with("database", Latency::constant(millis(500)));
    let (loaded, rows) = (flag(), Tally::default());
    let there = rows.clone();
    world.done_when(move || there.has_all(3));
    every_second(world, move || Loader::<BUG> {
        database: database.clone(),
        loaded: loaded.clone(),
        rows: rows.clone(),
    });
}
