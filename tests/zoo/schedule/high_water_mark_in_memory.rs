//! A mark in memory stops a clock that steps back, and a restart that skips the current slot does no harm. Both in one night, and the
//! mark is gone when it is needed.

use std::{sync::atomic::AtomicI64, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Ledger, World};

const RULE: &str = "no slot is billed twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "high-water-mark-in-memory",
    about: "what was billed last is known only to the process",
    area: Area::Schedule,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 4000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Bill<const BUG: bool> {
    /// The last slot that was billed, as this process knows it.
    in_memory: AtomicI64,
    stored: Ledger<i64>,
    billed: Tally,
}

impl<const BUG: bool> Worker for Bill<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let slot = cx.wall_time().as_second() / 2;
        let mark = if BUG { self.in_memory.load(Ordering::Relaxed) } else { *self.stored.lock() };
        if mark == 0 {
            // The first slot of a process may have been billed by the one before.
            self.in_memory.store(slot, Ordering::Relaxed);
        } else if slot > mark {
            self.in_memory.store(slot, Ordering::Relaxed);
            self.billed.add(u32::try_from(slot)?);
        }
        let mut stored = self.stored.lock();
        *stored = slot.max(*stored);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (stored, billed) = (Ledger::new(0), Tally::default());
    billed.never_more_than(world, RULE, 1);
    every_second(world, move || Bill::<BUG> {
        in_memory: AtomicI64::new(0),
        stored: stored.clone(),
        billed: billed.clone(),
    });
}
