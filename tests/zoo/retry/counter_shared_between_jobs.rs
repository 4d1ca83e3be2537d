//! The counter was a field of the worker when there was one job at a time. With more of them, the failures of all count against
//! each, and good jobs are given up.

use std::{sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, flag, never},
};
use shiftwork::{Context, Failure, QueueSourceExt, Retry, Worker};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, millis};

const RULE: &str = "no job is given up before its fifth failure";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "counter-shared-between-jobs",
    about: "one counter of failures serves for all jobs",
    area: Area::Retry,
    rule: RULE,
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Jobs<const BUG: bool> {
    api: Dependency,
    failures: AtomicU32,
    failures_of: Tally,
    too_early: Ledger<bool>,
}

impl<const BUG: bool> Worker for Jobs<BUG> {
    type Input = u32;

    async fn cycle(&self, job: u32, _: &Context) -> Result<(), Failure> {
        let Err(error) = self.api.call(async {}).await else { return Ok(()) };
        self.failures_of.add(job);
        let of_this_job = self.failures_of.count(job);
        let failures = if BUG { self.failures.fetch_add(1, Ordering::Relaxed) + 1 } else { of_this_job };
        if failures < 5 {
            return Err(error.into());
        }
        if of_this_job < 5 {
            *self.too_early.lock() = true;
        }
        Err(Failure::invalid("given up after five failures"))
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let jobs: SimQueue<u32> = world.queue("jobs");
    for job in 1..=70 {
        let pushed = jobs.clone();
        world.at(millis(500) * job, "job", move || pushed.seed([job]));
    }
    let (failures_of, too_early) = (Tally::default(), flag());
    never(world, RULE, &too_early);
    world.node("node", move |node| {
        let worker = Jobs::<BUG> {
            api: api.clone(),
            failures: AtomicU32::new(0),
            failures_of: failures_of.clone(),
            too_early: too_early.clone(),
        };
        let retry = Retry::exponential().attempts_max(20);
        node.host().worker("jobs", jobs.clone().source(), worker).retry(retry).no_breaker().run_until_signal()
    });
}
