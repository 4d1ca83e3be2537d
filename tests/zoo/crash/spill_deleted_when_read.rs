//! Samples that cannot be sent go to a file, and the file is deleted as soon as it has been read back. Only a process that dies in the
//! middle of catching up, right after an outage, finds out.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

const RULE: &str = "every sample arrives";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "spill-deleted-when-read",
    about: "what was spilled in an outage is deleted before it has been sent",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["collector"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 4000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Push<const BUG: bool> {
    collector: Dependency,
    samples: Ledger<BTreeSet<u32>>,
    file: Ledger<BTreeSet<u32>>,
    /// What was read back from the file.
    in_memory: Mutex<BTreeSet<u32>>,
    arrived: Tally,
}

impl<const BUG: bool> Push<BUG> {
    fn in_memory(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.in_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn catch_up(&self) {
        let mut spilled = self.in_memory().clone();
        spilled.extend(self.file.lock().iter());
        if spilled.is_empty() {
            return;
        }
        *self.in_memory() = spilled.clone();
        if BUG {
            self.file.lock().clear();
        }
        let send = async { spilled.iter().for_each(|sample| self.arrived.add(*sample)) };
        if self.collector.call(send).await.is_ok() {
            self.in_memory().clear();
            self.file.lock().retain(|sample| !spilled.contains(sample));
        }
    }
}

impl<const BUG: bool> Worker for Push<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(sample) = self.samples.lock().first().copied() else {
            self.catch_up().await;
            return Ok(());
        };
        let sent = self.collector.call(async { self.arrived.add(sample) }).await;
        if sent.is_err() {
            self.file.lock().insert(sample);
        }
        self.samples.lock().remove(&sample);
        if sent.is_ok() {
            self.catch_up().await;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let collector = world.dependency_with("collector", Latency::constant(millis(200)));
    let (samples, file, arrived) = (waiting(80), Ledger::<BTreeSet<u32>>::default(), Tally::default());
    arrived.all_at_end(world, RULE, 80);
    let (left, spilled, there) = (samples.clone(), file.clone(), arrived.clone());
    // The last sample is spilled or sent after all others.
    world.done_when(move || left.lock().is_empty() && spilled.lock().is_empty() && there.has(80));
    every_second(world, move || Push::<BUG> {
        collector: collector.clone(),
        samples: samples.clone(),
        file: file.clone(),
        in_memory: Mutex::default(),
        arrived: arrived.clone(),
    });
}
