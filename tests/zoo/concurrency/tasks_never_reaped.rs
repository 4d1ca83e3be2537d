//! A `JoinSet` keeps every result until it is asked for. Spawned into for months and joined only at the stop, it is a leak with a
//! respectable name.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Ledger, World, millis};
use tokio::{task::JoinSet, time::sleep};

const RULE: &str = "no more than twenty finished tasks are kept";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "tasks-never-reaped",
    about: "finished tasks are kept, because nobody asks for their results",
    area: Area::Concurrency,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Gentle,
    budget: 50,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Fan<const BUG: bool> {
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    many: Ledger<bool>,
}

impl<const BUG: bool> Worker for Fan<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let mut tasks = self.tasks.lock().await;
        tasks.spawn(sleep(millis(100)));
        if !BUG {
            while tasks.try_join_next().is_some() {}
        }
        if tasks.len() > 20 {
            *self.many.lock() = true;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.tasks.lock().await.shutdown().await;
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let many = flag();
    never(world, RULE, &many);
    every_second(world, move || Fan::<BUG> { tasks: tokio::sync::Mutex::new(JoinSet::new()), many: many.clone() });
}
