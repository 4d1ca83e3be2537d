//! Wall time is what one sees in logs, and so what one computes with. When the clock is put back, the next heartbeat is as far away as the
//! clock was wrong.

use std::{sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{FaultName, Ledger, World, secs};
use tokio::time::Instant;

const RULE: &str = "a heartbeat at least every eight seconds";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "heartbeat-by-the-wall-clock",
    about: "the next heartbeat is due at a wall time",
    area: Area::Clock,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[FaultName::Pause],
    bug: build::<true>,
    twin: build::<false>,
};

struct Heartbeat<const BUG: bool> {
    next_by_wall: Mutex<Option<Timestamp>>,
    last: Mutex<Instant>,
    silent: Ledger<bool>,
}

impl<const BUG: bool> Worker for Heartbeat<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let now = cx.wall_time();
        let mut next_by_wall = self.next_by_wall.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.elapsed();
        if since > secs(8) {
            *self.silent.lock() = true;
        }
        let due = if BUG { next_by_wall.is_none_or(|next| now >= next) } else { since >= secs(5) };
        if due {
            *last = Instant::now();
            *next_by_wall = Some(now + secs(5));
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let silent = flag();
    never(world, RULE, &silent);
    every_second(world, move || Heartbeat::<BUG> {
        next_by_wall: Mutex::new(None),
        last: Mutex::new(Instant::now()),
        silent: silent.clone(),
    });
}
