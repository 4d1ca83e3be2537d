//! The client library has no timeout by default, and the worker's was switched off for one slow job. When packets are dropped without
//! a word, the worker waits until somebody restarts it.

use crate::exhibit::{Area, Exhibit, Profile, Sites};
use shiftwork::{Context, Schedule, Tick, event::Event};
use shiftwork_sim::{FaultName, What, World, secs};

const RULE: &str = "no cycle runs for more than 40 s";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "call-without-a-time-limit",
    about: "a call may take for ever, and one day does",
    area: Area::Stop,
    rule: RULE,
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 120 },
    profile: Profile::Hostile,
    budget: 600,
    needs_two_faults: false,
    // A process that stands still is no call that takes too long.
    leaves_out: &[FaultName::Pause],
    bug: build::<true>,
    twin: build::<false>,
};

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    world.always(RULE, |record| match &record.what {
        What::Host(Event::CycleEnded { took, .. }) if *took > secs(40) => Err(format!("one ran {took:?}")),
        _ => Ok(()),
    });
    world.node("node", move |node| {
        let api = api.clone();
        let poll = move |_: Tick, _: Context| {
            let api = api.clone();
            async move { Ok(api.call(async {}).await?) }
        };
        let worker = node.host().worker("poll", Schedule::every(secs(2)), poll);
        let worker = if BUG { worker.no_cycle_timeout() } else { worker.cycle_timeout(secs(10)) };
        worker.run_until_signal()
    });
}
