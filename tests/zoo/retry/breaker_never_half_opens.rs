//! Counting failures and refusing calls is the easy half of a breaker, and the half that the incident asked for. Nobody
//! tried what happens when the other side comes back.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};
use tokio::time::Instant;

pub const EXHIBIT: Exhibit = Exhibit {
    name: "breaker-never-half-opens",
    about: "a hand-written breaker opens, and has no way back",
    area: Area::Retry,
    rule: "L1",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Upload<const BUG: bool> {
    api: Dependency,
    failures: AtomicU32,
    tried: Mutex<Option<Instant>>,
    left: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Upload<BUG> {
    fn may_try(&self) -> bool {
        let closed = self.failures.load(Ordering::Relaxed) < 5;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = tried.is_none_or(|at| at.elapsed() >= secs(10));
        if closed || (probe && !BUG) {
            *tried = Some(Instant::now());
            return true;
        }
        false
    }
}

impl<const BUG: bool> Worker for Upload<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if !self.may_try() {
            return Err(Failure::transient("the breaker is open"));
        }
        if let Err(error) = self.api.call(async {}).await {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(error.into());
        }
        self.failures.store(0, Ordering::Relaxed);
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let left = waiting(100);
    let rest = left.clone();
    world.done_when(move || rest.lock().is_empty());
    every_second(world, move || Upload::<BUG> {
        api: api.clone(),
        failures: AtomicU32::new(0),
        tried: Mutex::new(None),
        left: left.clone(),
    });
}
