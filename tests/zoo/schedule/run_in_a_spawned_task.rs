//! The schedule must not be held up by a slow run, so the run is spawned. Now a slow run is joined by the next one, and they undo each
//! other's work.

use std::{sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};
use tokio::task::JoinSet;

const RULE: &str = "one reconciliation at a time";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "run-in-a-spawned-task",
    about: "a tick spawns its work and is done",
    area: Area::Schedule,
    rule: RULE,
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Reconcile<const BUG: bool> {
    api: Dependency,
    running: Arc<AtomicBool>,
    overlap: Ledger<bool>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

/// One run; it is over when this is dropped.
struct Run(Arc<AtomicBool>);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn run(api: Dependency, running: Arc<AtomicBool>, overlap: Ledger<bool>) {
    if running.swap(true, Ordering::Relaxed) {
        *overlap.lock() = true;
    }
    let _run = Run(running);
    drop(api.call(async {}).await);
}

impl<const BUG: bool> Worker for Reconcile<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let run = run(self.api.clone(), self.running.clone(), self.overlap.clone());
        if BUG {
            self.tasks.lock().await.spawn(run);
        } else {
            run.await;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let overlap = flag();
    never(world, RULE, &overlap);
    every_second(world, move || Reconcile::<BUG> {
        api: api.clone(),
        running: Arc::default(),
        overlap: overlap.clone(),
        tasks: tokio::sync::Mutex::new(JoinSet::new()),
    });
}
