//! A boolean keeps two runs apart: set at the top, cleared at the bottom. Every way out but the last line leaves it set: a panic,
//! a timeout, an early return that somebody adds next year.

use std::{collections::BTreeSet, sync::atomic::AtomicBool, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "busy-flag-left-set",
    about: "a flag against a second run stays set when the first one panics or is dropped",
    area: Area::Failure,
    rule: "L1",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Sync<const BUG: bool> {
    api: Dependency,
    busy: AtomicBool,
    left: Ledger<BTreeSet<u32>>,
}

/// Clears the flag whichever way its scope is left.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<const BUG: bool> Worker for Sync<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.busy.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let result = if BUG {
            let result = self.api.call(async {}).await;
            self.busy.store(false, Ordering::Relaxed);
            result
        } else {
            let _busy = Busy(&self.busy);
            self.api.call(async {}).await
        };
        result?;
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let left = waiting(100);
    let rest = left.clone();
    world.done_when(move || rest.lock().is_empty());
    every_second(world, move || Sync::<BUG> { api: api.clone(), busy: AtomicBool::new(false), left: left.clone() });
}
