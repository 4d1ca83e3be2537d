//! "No-ack" is the default of some consumers, and the fastest in a benchmark. The broker forgets a message when it is
//! sent; whatever happens to it then happens to the only copy.

use std::collections::VecDeque;

use shiftwork::queue::{Claim, Delivery, Queue, QueueError, Settlement, Timestamp};
use shiftwork_sim::{SimQueue, World};

use super::client::{Habit, packers};
use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "auto-ack",
    about: "a client acknowledges what it receives",
    area: Area::Queue,
    rule: "Q1",
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct AutoAck<const BUG: bool>;

impl<const BUG: bool> Habit for AutoAck<BUG> {
    async fn claim(
        &self,
        store: &SimQueue<u32>,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        let next = store.claim(claim, claimed).await?;
        if BUG {
            for delivery in &*claimed {
                store.settle(delivery.lease, Settlement::Ack, claim.now).await?;
            }
        }
        Ok(next)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let _by_two = packers(world, || AutoAck::<BUG>, |source| source);
}
