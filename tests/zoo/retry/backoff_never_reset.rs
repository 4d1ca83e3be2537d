//! The counter behind the backoff is raised on failure and forgotten on success. Each incident goes on where the last one
//! ended, until the next try is tomorrow.

use std::{sync::Mutex, sync::PoisonError, sync::atomic::AtomicBool, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};
use tokio::time::Instant;

const RULE: &str = "the first retry after a success comes within ten seconds";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "backoff-never-reset",
    about: "the delay grows with each failure, and never shrinks again",
    area: Area::Retry,
    rule: RULE,
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 120 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Upload<const BUG: bool> {
    api: Dependency,
    failures: AtomicU32,
    not_before: Mutex<Option<Instant>>,
    last_succeeded: AtomicBool,
    too_long: Ledger<bool>,
}

impl<const BUG: bool> Upload<BUG> {
    fn not_before(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Upload<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.not_before().is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        if self.api.call(async {}).await.is_ok() {
            if !BUG {
                self.failures.store(0, Ordering::Relaxed);
            }
            self.last_succeeded.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let delay = secs(2) * 2u32.saturating_pow(failures.min(9));
        if self.last_succeeded.swap(false, Ordering::Relaxed) && delay > secs(10) {
            *self.too_long.lock() = true;
        }
        *self.not_before() = Some(Instant::now() + delay);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let too_long = flag();
    never(world, RULE, &too_long);
    every_second(world, move || Upload::<BUG> {
        api: api.clone(),
        failures: AtomicU32::new(0),
        not_before: Mutex::new(None),
        last_succeeded: AtomicBool::new(true),
        too_long: too_long.clone(),
    });
}
