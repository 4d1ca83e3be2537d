//! A cron by hand: once a second, is it :00? A slow second, a pause or a restart at the wrong moment, and the answer is no
//! until the next hour.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "equality-match-skips-a-minute",
    about: "a report is made if the clock shows exactly its time",
    area: Area::Schedule,
    rule: "L1",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 200 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// When the first minute of the world begins: 2026-01-01.
const EPOCH: i64 = 1_767_225_600;

struct Report<const BUG: bool> {
    api: Dependency,
    /// The minutes whose report is still to be made.
    minutes: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Worker for Report<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let now = cx.wall_time().as_second() - EPOCH;
        let due = |minute: u32| {
            let at = i64::from(minute) * 60;
            if BUG { now == at } else { now >= at }
        };
        self.minutes.lock().retain(|minute| !due(*minute));
        Ok(self.api.call(async {}).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let minutes = waiting(3);
    let left = minutes.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || Report::<BUG> { api: api.clone(), minutes: minutes.clone() });
}
