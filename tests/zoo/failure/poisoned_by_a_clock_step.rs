//! A subtraction of two wall times "cannot" be negative, and its `expect` sits under a lock. The clock steps back once; the lock is
//! poisoned from then on, and so is the worker.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError, time::Duration};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Ledger, World};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "poisoned-by-a-clock-step",
    about: "a panic under a lock makes every later cycle panic",
    area: Area::Failure,
    rule: "L1",
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Meter<const BUG: bool> {
    last: Mutex<Timestamp>,
    left: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Worker for Meter<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let now = cx.wall_time();
        if BUG {
            let mut last = self.last.lock().expect("nobody panics while holding it");
            let _since = Duration::try_from(now.duration_since(*last)).expect("time goes forward");
            *last = now;
        } else {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let _since = Duration::try_from(now.duration_since(*last)).unwrap_or_default();
            *last = now;
        }
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let left = waiting(100);
    let rest = left.clone();
    world.done_when(move || rest.lock().is_empty());
    every_second(world, move || Meter::<BUG> { last: Mutex::new(Timestamp::UNIX_EPOCH), left: left.clone() });
}
