//! `forget()` the permit, `add_permits(1)` at the end: written to carry it across a function, kept because it works. Each timeout takes one permit
//! out of the world.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};
use tokio::sync::Semaphore;

pub const EXHIBIT: Exhibit = Exhibit {
    name: "permit-leaked-on-timeout",
    about: "a permit is given back on the last line, which a dropped future never reaches",
    area: Area::Cancel,
    rule: "L1",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Limited<const BUG: bool> {
    api: Dependency,
    permits: Semaphore,
    left: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Worker for Limited<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let permit = self.permits.acquire().await?;
        if BUG {
            permit.forget();
            let result = self.api.call(async {}).await;
            self.permits.add_permits(1);
            result?;
        } else {
            self.api.call(async {}).await?;
            drop(permit);
        }
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let left = waiting(120);
    let rest = left.clone();
    world.done_when(move || rest.lock().is_empty());
    every_second(world, move || Limited::<BUG> { api: api.clone(), permits: Semaphore::new(2), left: left.clone() });
}
