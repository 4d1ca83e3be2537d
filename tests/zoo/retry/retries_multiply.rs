//! The HTTP client retries five times, the worker five times, and the proxy in between perhaps too. An outage of the other side is met
//! with twenty-five times the load.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::Tally,
};
use shiftwork::{Context, Failure, QueueSourceExt, Worker};
use shiftwork_sim::{Dependency, SimQueue, World, millis, secs};
use tokio::time::sleep;

const RULE: &str = "no job fails more than ten times";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "retries-multiply",
    about: "a client that retries runs inside of a worker that retries",
    area: Area::Retry,
    rule: RULE,
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 600,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Jobs<const BUG: bool> {
    api: Dependency,
    failures_of: Tally,
}

impl<const BUG: bool> Worker for Jobs<BUG> {
    type Input = u32;

    async fn cycle(&self, job: u32, _: &Context) -> Result<(), Failure> {
        let tries = if BUG { 5 } else { 1 };
        for _ in 0..tries {
            if self.api.call(async {}).await.is_ok() {
                return Ok(());
            }
            self.failures_of.add(job);
            sleep(millis(200)).await;
        }
        Err(Failure::transient("the other side is down"))
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let jobs: SimQueue<u32> = world.queue("jobs");
    for job in 1..=25 {
        let pushed = jobs.clone();
        world.at(secs(2) * job, "job", move || pushed.seed([job]));
    }
    let failures_of = Tally::default();
    failures_of.never_more_than(world, RULE, 10);
    world.node("node", move |node| {
        let worker = Jobs::<BUG> { api: api.clone(), failures_of: failures_of.clone() };
        node.host().worker("jobs", jobs.clone().source(), worker).no_breaker().run_until_signal()
    });
}
