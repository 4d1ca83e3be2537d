//! Each row takes a moment, the batch takes minutes, and the flag is looked at between batches. The orchestrator runs out of
//! patience first.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

const RULE: &str = "no row is begun after intake closed";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "stopping-ignored-in-a-batch",
    about: "a batch is worked to its end though the worker was asked to stop",
    area: Area::Stop,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &["database"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Batch<const BUG: bool> {
    database: Dependency,
    late: Ledger<bool>,
}

impl<const BUG: bool> Worker for Batch<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        for _ in 1..=10 {
            if cx.stopping() {
                if !BUG {
                    return Ok(());
                }
                *self.late.lock() = true;
            }
            self.database.call(async {}).await?;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let database = world.dependency_with("database", Latency::constant(millis(800)));
    let late = flag();
    never(world, RULE, &late);
    every_second(world, move || Batch::<BUG> { database: database.clone(), late: late.clone() });
}
