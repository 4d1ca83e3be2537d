//! Start hooks ran one after the other until somebody made them run side by side. The order that everybody relied on was never
//! written down, and holds as long as the database is quick.

use std::{sync::Arc, sync::atomic::AtomicBool, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Failure, Schedule, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis, secs};

const RULE: &str = "the index is opened after it was built";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "missing-after",
    about: "a worker starts beside the one whose work its start needs",
    area: Area::Start,
    rule: RULE,
    sites: Sites { dependencies: &["database", "broker"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct BuildIndex {
    database: Dependency,
    built: Arc<AtomicBool>,
}

impl Worker for BuildIndex {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        Ok(self.database.call(async { self.built.store(true, Ordering::Relaxed) }).await?)
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

struct Search {
    broker: Dependency,
    built: Arc<AtomicBool>,
    too_early: Ledger<bool>,
}

impl Worker for Search {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.broker.call(async {}).await?;
        if !self.built.load(Ordering::Relaxed) {
            *self.too_early.lock() = true;
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let database = world.dependency("database");
    let broker = world.dependency_with("broker", Latency::constant(millis(50)));
    let too_early = flag();
    never(world, RULE, &too_early);
    world.node("node", move |node| {
        let built = Arc::new(AtomicBool::new(false));
        let index = BuildIndex { database: database.clone(), built: built.clone() };
        let search = Search { broker: broker.clone(), built, too_early: too_early.clone() };
        let host = node.host().worker("index", Schedule::every(secs(5)), index);
        let search = host.worker("search", Schedule::every(secs(5)), search);
        let search = if BUG { search } else { search.after("index") };
        search.run_until_signal()
    });
}
