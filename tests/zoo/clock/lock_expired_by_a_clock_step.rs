//! A lock with an expiry outlives its holder only so long. Expiry is compared with the wall clock, and a clock that is put
//! forward lets the next one in beside a holder that is merely slow.

use std::{sync::Arc, sync::Mutex, sync::PoisonError, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Failure, Schedule, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, secs};
use tokio::time::Instant;

const RULE: &str = "one importer at a time";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "lock-expired-by-a-clock-step",
    about: "a lock row expires at a wall time, though its holder is still at work",
    area: Area::Clock,
    rule: RULE,
    sites: Sites { dependencies: &["files"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 4000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// The row in the table of locks.
struct Row {
    until: Instant,
    until_by_wall: Timestamp,
}

struct Import<const BUG: bool> {
    files: Dependency,
    lock: Arc<Mutex<Option<Row>>>,
    inside: Arc<AtomicU32>,
    beside: Ledger<bool>,
}

/// The lock, held.
struct Held(Arc<Mutex<Option<Row>>>, Arc<AtomicU32>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<const BUG: bool> Import<BUG> {
    fn try_lock(&self, now: Timestamp) -> Option<Held> {
        let mut row = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free =
            row.as_ref().is_none_or(|row| if BUG { now >= row.until_by_wall } else { Instant::now() >= row.until });
        if !is_free {
            return None;
        }
        // A holder gives up after 10 s.
        *row = Some(Row { until: Instant::now() + secs(60), until_by_wall: now + secs(60) });
        if self.inside.fetch_add(1, Ordering::Relaxed) > 0 {
            *self.beside.lock() = true;
        }
        Some(Held(self.lock.clone(), self.inside.clone()))
    }
}

impl<const BUG: bool> Worker for Import<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let Some(_held) = self.try_lock(cx.wall_time()) else { return Ok(()) };
        Ok(self.files.call(async {}).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    // Nothing holds the lock for any time unless the file server is slow.
    let files = world.dependency_with("files", Latency::none());
    let beside = flag();
    never(world, RULE, &beside);
    world.node("node", move |node| {
        let (lock, inside) = (Arc::default(), Arc::default());
        let importer = || Import::<BUG> {
            files: files.clone(),
            lock: Arc::clone(&lock),
            inside: Arc::clone(&inside),
            beside: beside.clone(),
        };
        let every = || Schedule::every(secs(2));
        node.host()
            .worker("one", every(), importer())
            .cycle_timeout(secs(10))
            .worker("other", every().first_after(secs(1)), importer())
            .cycle_timeout(secs(10))
            .run_until_signal()
    });
}
