//! Metrics are buffered while the collector is down. It is down for the weekend, and on Monday the service that was only to be measured has no
//! memory left.

use std::{collections::VecDeque, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "no more than thirty samples wait";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "buffer-without-a-bound",
    about: "what cannot be sent is kept, however much it becomes",
    area: Area::Concurrency,
    rule: RULE,
    sites: Sites { dependencies: &["collector"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 120 },
    profile: Profile::Hostile,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Push<const BUG: bool> {
    collector: Dependency,
    buffer: Mutex<VecDeque<u64>>,
    many: Ledger<bool>,
}

impl<const BUG: bool> Push<BUG> {
    fn buffer(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Push<BUG> {
    type Input = Tick;

    async fn cycle(&self, tick: Tick, _: &Context) -> Result<(), Failure> {
        {
            let mut buffer = self.buffer();
            buffer.push_back(tick.number);
            if !BUG && buffer.len() > 30 {
                buffer.pop_front();
            }
            if buffer.len() > 30 {
                *self.many.lock() = true;
            }
        }
        if self.collector.call(async {}).await.is_ok() {
            self.buffer().clear();
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let collector = world.dependency("collector");
    let many = flag();
    never(world, RULE, &many);
    every_second(world, move || Push::<BUG> {
        collector: collector.clone(),
        buffer: Mutex::default(),
        many: many.clone(),
    });
}
