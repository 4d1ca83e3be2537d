//! `while next <= now { run(); next += period }` is right for a hiccup. After a night of suspend, or a clock that was put right,
//! it fires thousands of runs in a second.

use std::{sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, secs};
use tokio::time::Instant;

const RULE: &str = "no more than five readings in a second";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "backlog-fired-at-once",
    about: "every tick that was missed is made up for, one after the other",
    area: Area::Schedule,
    rule: RULE,
    sites: Sites { dependencies: &["sensor"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Sample<const BUG: bool> {
    sensor: Dependency,
    next: Mutex<Option<Timestamp>>,
    /// Since when readings are counted, and how many there were.
    second: Mutex<(Instant, u32)>,
    burst: Ledger<bool>,
}

impl<const BUG: bool> Sample<BUG> {
    fn next(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<(), Failure> {
        {
            let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
            if second.0.elapsed() >= secs(1) {
                *second = (Instant::now(), 0);
            }
            second.1 += 1;
            if second.1 > 5 {
                *self.burst.lock() = true;
            }
        }
        Ok(self.sensor.call(async {}).await?)
    }
}

impl<const BUG: bool> Worker for Sample<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let now = cx.wall_time();
        let mut next = self.next().unwrap_or(now);
        while next <= now {
            self.read().await?;
            next = if BUG { next + secs(1) } else { now + secs(1) };
            *self.next() = Some(next);
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let sensor = world.dependency_with("sensor", Latency::none());
    let burst = flag();
    never(world, RULE, &burst);
    every_second(world, move || Sample::<BUG> {
        sensor: sensor.clone(),
        next: Mutex::new(None),
        second: Mutex::new((Instant::now(), 0)),
        burst: burst.clone(),
    });
}
