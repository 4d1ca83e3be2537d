//! `if slot != last` is how one asks whether the slot is a new one, until the clock is put back and the slot before comes
//! round again.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Ledger, World};

const RULE: &str = "no slot is billed twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "slot-billed-twice",
    about: "another slot than the last one is taken for a new one",
    area: Area::Schedule,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Bill<const BUG: bool> {
    last: Ledger<i64>,
    billed: Tally,
}

impl<const BUG: bool> Worker for Bill<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let slot = cx.wall_time().as_second() / 2;
        let mut last = self.last.lock();
        let is_new = if BUG { slot != *last } else { slot > *last };
        if is_new {
            *last = slot;
            self.billed.add(u32::try_from(slot)?);
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (last, billed) = (Ledger::new(0), Tally::default());
    billed.never_more_than(world, RULE, 1);
    every_second(world, move || Bill::<BUG> { last: last.clone(), billed: billed.clone() });
}
