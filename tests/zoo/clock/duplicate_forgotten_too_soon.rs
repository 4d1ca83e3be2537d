//! Keys are kept for an hour, which no retry outlasts. The machine was suspended with its clock stopped, time is put right in one step, and the
//! retry comes an hour later after all.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, secs};

const RULE: &str = "no order is charged twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "duplicate-forgotten-too-soon",
    about: "requests that were seen are forgotten after an hour of wall time",
    area: Area::Clock,
    rule: RULE,
    sites: Sites { dependencies: &["payments"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 3000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Charge<const BUG: bool> {
    payments: Dependency,
    orders: Ledger<BTreeSet<u32>>,
    /// When each order was seen, as the service keeps it.
    seen: Ledger<BTreeMap<u32, Timestamp>>,
    charged: Tally,
}

impl<const BUG: bool> Worker for Charge<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let Some(order) = self.orders.lock().first().copied() else { return Ok(()) };
        let charge = async {
            let now = cx.wall_time();
            let mut seen = self.seen.lock();
            if BUG {
                seen.retain(|_, at| Duration::try_from(now.duration_since(*at)).unwrap_or_default() < secs(3_600));
            }
            if seen.insert(order, now).is_none() {
                self.charged.add(order);
            }
        };
        self.payments.call(charge).await?;
        self.orders.lock().remove(&order);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let payments = world.dependency_with("payments", Latency::none());
    let (orders, seen, charged) = (waiting(60), Ledger::default(), Tally::default());
    charged.never_more_than(world, RULE, 1);
    every_second(world, move || Charge::<BUG> {
        payments: payments.clone(),
        orders: orders.clone(),
        seen: seen.clone(),
        charged: charged.clone(),
    });
}
