//! Look whether there is work; if not, wait to be told. The work that arrives in between is announced to nobody, and lies there until the next
//! one comes.

use std::{collections::BTreeSet, pin::pin, sync::Arc};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::Tally,
};
use shiftwork::{Context, Continuous, Failure, Worker};
use shiftwork_sim::{Dependency, Ledger, World, millis, secs};
use tokio::sync::Notify;

pub const EXHIBIT: Exhibit = Exhibit {
    name: "notified-before-listening",
    about: "a notification that comes between the look and the wait is lost",
    area: Area::Concurrency,
    rule: "L1",
    sites: Sites { dependencies: &["table"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Hostile,
    budget: 600,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Consume<const BUG: bool> {
    table: Dependency,
    arrived: Arc<Notify>,
    jobs: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Consume<BUG> {
    async fn next(&self) -> Result<Option<u32>, Failure> {
        Ok(self.table.call(async { self.jobs.lock().first().copied() }).await?)
    }
}

impl<const BUG: bool> Worker for Consume<BUG> {
    type Input = ();

    async fn cycle(&self, (): (), cx: &Context) -> Result<(), Failure> {
        let listening = self.arrived.notified();
        let mut listening = pin!(listening);
        if !BUG {
            listening.as_mut().enable();
        }
        if let Some(job) = self.next().await? {
            self.jobs.lock().remove(&job);
            return Ok(());
        }
        if BUG {
            listening.set(self.arrived.notified());
        }
        tokio::select! {
            () = listening => Ok(()),
            () = cx.cancelled() => Err(Failure::interrupted("asked to stop while there was nothing to do")),
        }
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let table = world.dependency("table");
    let count = Tally::default();
    let consumers: Vec<(Arc<Notify>, Ledger<BTreeSet<u32>>)> = (0..6).map(|_| Default::default()).collect();
    for (number, (arrived, jobs)) in (0..).zip(&consumers) {
        // Two jobs each, half a second apart.
        for job in [number * 2 + 1, number * 2 + 2] {
            let (jobs, arrived, count) = (jobs.clone(), arrived.clone(), count.clone());
            world.at(secs(5) * number + millis(500) * job, "job", move || {
                jobs.lock().insert(job);
                count.add(job);
                arrived.notify_waiters();
            });
        }
    }
    let left = consumers.clone();
    world.done_when(move || count.has_all(12) && left.iter().all(|(_, jobs)| jobs.lock().is_empty()));
    world.node("node", move |node| {
        let mut host = node.host();
        for (number, (arrived, jobs)) in (1..).zip(&consumers) {
            let worker = Consume::<BUG> { table: table.clone(), arrived: arrived.clone(), jobs: jobs.clone() };
            host = host.worker(&format!("consume-{number}"), Continuous::new(), worker).no_cycle_timeout().host();
        }
        host.run_until_signal()
    });
}
