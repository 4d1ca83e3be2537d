//! Moving the cursor first is how one makes sure that no event is applied twice. It also makes sure that an event whose
//! application breaks is never seen again.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every event is applied";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "cursor-moved-first",
    about: "the cursor is moved before the event is applied",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["log"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Apply<const BUG: bool> {
    log: Dependency,
    cursor: Ledger<u32>,
    applied: Tally,
}

impl<const BUG: bool> Apply<BUG> {
    async fn move_to(&self, event: u32) -> Result<(), Failure> {
        Ok(self.log.call(async { *self.cursor.lock() = event }).await?)
    }

    async fn apply(&self, event: u32) -> Result<(), Failure> {
        Ok(self.log.call(async { self.applied.add(event) }).await?)
    }
}

impl<const BUG: bool> Worker for Apply<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let event = *self.cursor.lock() + 1;
        if event > 40 {
            return Ok(());
        }
        if BUG {
            self.move_to(event).await?;
            self.apply(event).await
        } else {
            self.apply(event).await?;
            self.move_to(event).await
        }
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let log = world.dependency("log");
    let (cursor, applied) = (Ledger::new(0), Tally::default());
    applied.all_at_end(world, RULE, 40);
    let reached = cursor.clone();
    world.done_when(move || *reached.lock() == 40);
    every_second(world, move || Apply::<BUG> { log: log.clone(), cursor: cursor.clone(), applied: applied.clone() });
}
