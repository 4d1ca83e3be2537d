//! The checkpoint is a single number, the batch is many, and the number is taken from the last one that went well. What
//! failed in the middle lies behind the checkpoint for good.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every event is applied";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "checkpoint-past-a-failure",
    about: "a batch is checkpointed at its last success, whatever failed before it",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["log"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Batches<const BUG: bool> {
    log: Dependency,
    checkpoint: Ledger<u32>,
    applied: Tally,
}

impl<const BUG: bool> Worker for Batches<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let first = *self.checkpoint.lock() + 1;
        for event in first..(first + 5).min(101) {
            match self.log.call(async { self.applied.add(event) }).await {
                Ok(()) => *self.checkpoint.lock() = event,
                Err(_) if BUG => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let log = world.dependency("log");
    let (checkpoint, applied) = (Ledger::new(0), Tally::default());
    applied.all_at_end(world, RULE, 100);
    let reached = checkpoint.clone();
    world.done_when(move || *reached.lock() == 100);
    every_second(world, move || Batches::<BUG> {
        log: log.clone(),
        checkpoint: checkpoint.clone(),
        applied: applied.clone(),
    });
}
