//! The loop takes a message, acknowledges it so that nobody else gets it, and works on it. The tutorial did it so, since there nothing ever
//! failed.

use std::collections::VecDeque;

use shiftwork::queue::{Claim, Queue, Settlement};
use shiftwork_sim::{Dependency, Process, SimQueue, World, secs};
use tokio::time::sleep;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::Tally,
};

const RULE: &str = "every message is worked on";

const MESSAGES: u32 = 60;

pub const EXHIBIT: Exhibit = Exhibit {
    name: "acknowledged-before-the-work",
    about: "a message is acknowledged when it is received, and then worked on",
    area: Area::Foreign,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &["messages", "backend"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

async fn consume<const BUG: bool>(process: Process, messages: SimQueue<u32>, backend: Dependency, worked: Tally) {
    let Ok(signals) = process.signals() else { return };
    let rounds = async {
        loop {
            sleep(secs(1)).await;
            let mut claimed = VecDeque::new();
            let claim = Claim { max: 1, lease: secs(30), now: process.wall_time() };
            let _next = messages.claim(claim, &mut claimed).await;
            let Some(delivery) = claimed.pop_front() else { continue };
            // What cannot be read is nobody's.
            let Ok(message) = delivery.payload else {
                let _settled = messages.settle(delivery.lease, Settlement::Ack, process.wall_time()).await;
                continue;
            };
            if BUG {
                let _settled = messages.settle(delivery.lease, Settlement::Ack, process.wall_time()).await;
            }
            let done = backend.call(async { worked.add(message) }).await.is_ok();
            if !BUG {
                let settlement = if done { Settlement::Ack } else { Settlement::Return };
                let _settled = messages.settle(delivery.lease, settlement, process.wall_time()).await;
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = signals.next() => {}
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (messages, backend): (SimQueue<u32>, _) = (world.queue("messages"), world.dependency("backend"));
    messages.seed(1..=MESSAGES);
    let worked = Tally::default();
    worked.all_at_end(world, RULE, MESSAGES);
    let left = messages.clone();
    world.done_when(move || left.inspect_depth().unsettled() == 0);
    world
        .foreign("consumer", move |process| consume::<BUG>(process, messages.clone(), backend.clone(), worked.clone()));
}
