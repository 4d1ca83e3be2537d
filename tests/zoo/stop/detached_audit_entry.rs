//! What is not essential is spawned and forgotten. The host stops in perfect order, waits a moment, and leaves what takes longer in the
//! air, which the end of the process cuts off.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "detached-audit-entry",
    about: "an audit entry is written by a task that nobody waits for",
    area: Area::Stop,
    rule: "T6",
    sites: Sites { dependencies: &["payments"], queues: &["audit"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 3000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Pay<const BUG: bool> {
    payments: Dependency,
    audit: Dependency,
    left: Ledger<BTreeSet<u32>>,
    /// Not a ledger: what goes down with its process is in the air no more.
    in_the_air: Arc<AtomicU32>,
}

/// An audit entry on its way.
struct Entry(Arc<AtomicU32>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<const BUG: bool> Worker for Pay<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.left.lock().is_empty() {
            return Ok(());
        }
        self.payments.call(async {}).await?;
        let audit = self.audit.clone();
        self.in_the_air.fetch_add(1, Ordering::Relaxed);
        let entry = Entry(self.in_the_air.clone());
        let write = async move {
            let _entry = entry;
            audit.call(async {}).await
        };
        if BUG {
            tokio::spawn(write);
        } else {
            write.await?;
        }
        self.left.lock().pop_first();
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        if BUG {
            // A moment for what is in the air. On most days it is enough.
            tokio::time::sleep(millis(50)).await;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let payments = world.dependency("payments");
    let audit = world.dependency_with("audit", Latency::none());
    let (left, in_the_air) = (waiting(60), Arc::new(AtomicU32::new(0)));
    let (rest, pending) = (left.clone(), in_the_air.clone());
    world.done_when(move || rest.lock().is_empty() && pending.load(Ordering::Relaxed) == 0);
    every_second(world, move || Pay::<BUG> {
        payments: payments.clone(),
        audit: audit.clone(),
        left: left.clone(),
        in_the_air: in_the_air.clone(),
    });
}
