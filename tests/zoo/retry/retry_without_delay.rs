//! `while call().is_err() {}` looks like persistence. Against a service that refuses quickly it is a busy loop that burns a core and keeps
//! the service down.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::every_second,
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, World, dependency::Latency};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "retry-without-delay",
    about: "a call is repeated at once until it succeeds",
    area: Area::Retry,
    rule: "L2",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Poll<const BUG: bool> {
    api: Dependency,
}

impl<const BUG: bool> Worker for Poll<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if BUG {
            while self.api.call(async {}).await.is_err() {}
            Ok(())
        } else {
            Ok(self.api.call(async {}).await?)
        }
    }
}

fn build<const BUG: bool>(world: &mut World) {
    // On the same machine: a refusal takes no time.
    let api = world.dependency_with("api", Latency::none());
    every_second(world, move || Poll::<BUG> { api: api.clone() });
}
