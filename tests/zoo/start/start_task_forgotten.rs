//! A start hook spawns a refresher and drops its handle. In production the process ends anyway; in a test, an embedded host
//! or a host that is restarted, the loops pile up.

use std::{sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::every_second,
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{World, secs};
use tokio::{task::JoinHandle, time::sleep};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "start-task-forgotten",
    about: "a start hook spawns a loop that nobody ends",
    area: Area::Start,
    rule: "T6",
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Refresher<const BUG: bool> {
    task: Mutex<Option<JoinHandle<()>>>,
}

impl<const BUG: bool> Refresher<BUG> {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Refresher<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        let task = tokio::spawn(async {
            loop {
                sleep(secs(5)).await;
            }
        });
        if !BUG {
            *self.task() = Some(task);
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            drop(task.await);
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    every_second(world, || Refresher::<BUG> { task: Mutex::new(None) });
}
