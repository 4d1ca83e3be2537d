//! Rows are worked in order, oldest first, and a row that fails stays where it is. The first one that can never succeed is
//! the last one that is ever looked at.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "one-bad-row-blocks-the-rest",
    about: "a row that can never be read is tried first, for ever",
    area: Area::Failure,
    rule: "L1",
    sites: Sites { dependencies: &["database"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// A row that nobody can read.
const BAD: u32 = 5;

struct Import<const BUG: bool> {
    database: Dependency,
    rows: Ledger<BTreeSet<u32>>,
    aside: Tally,
}

impl<const BUG: bool> Worker for Import<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(row) = self.rows.lock().first().copied() else { return Ok(()) };
        if row == BAD {
            if BUG {
                return Err(Failure::invalid(format!("row {row}: no such currency")));
            }
            self.aside.add(row);
        } else {
            self.database.call(async {}).await?;
        }
        self.rows.lock().remove(&row);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let database = world.dependency("database");
    let rows = waiting(20);
    let left = rows.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || Import::<BUG> {
        database: database.clone(),
        rows: rows.clone(),
        aside: Tally::default(),
    });
}
