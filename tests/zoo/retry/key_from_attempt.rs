//! The key is made from whatever is at hand when the request is built, and the attempt is in it. The other side is asked not to do
//! the same thing twice, and never sees the same thing.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::Tally,
};
use shiftwork::{Context, Failure, QueueSourceExt, Worker};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, dependency::Latency, millis};

const RULE: &str = "no order is charged twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "key-from-attempt",
    about: "each attempt has an idempotency key of its own",
    area: Area::Retry,
    rule: RULE,
    sites: Sites { dependencies: &["payments"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Charge<const BUG: bool> {
    payments: Dependency,
    keys: Ledger<BTreeSet<(u32, u32)>>,
    charged: Tally,
}

impl<const BUG: bool> Worker for Charge<BUG> {
    type Input = u32;

    async fn cycle(&self, order: u32, cx: &Context) -> Result<(), Failure> {
        let key = if BUG { (order, cx.attempt()) } else { (order, 1) };
        let charge = async {
            if self.keys.lock().insert(key) {
                self.charged.add(order);
            }
        };
        Ok(self.payments.call(charge).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let payments = world.dependency_with("payments", Latency::constant(millis(200)));
    let orders: SimQueue<u32> = world.queue("orders");
    orders.seed(1..=100);
    let (keys, charged) = (Ledger::default(), Tally::default());
    charged.never_more_than(world, RULE, 1);
    world.node("node", move |node| {
        let worker = Charge::<BUG> { payments: payments.clone(), keys: keys.clone(), charged: charged.clone() };
        node.host().worker("charge", orders.clone().source(), worker).run_until_signal()
    });
}
