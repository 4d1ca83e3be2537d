//! A short timeout around the claim keeps the loop lively. The store has done its part when the timeout fires; the rows are leased to a
//! worker that does not know it, and a stop leaves them so.

use std::collections::VecDeque;

use shiftwork::queue::{Claim, Delivery, Queue, QueueError, Timestamp};
use shiftwork_sim::{SimQueue, World, secs};
use tokio::time::timeout;

use super::client::{Habit, packers};
use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "claim-given-up-too-soon",
    about: "a claim that takes long is dropped, with the rows that it has locked",
    area: Area::Queue,
    rule: "Q4",
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 3000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Impatient<const BUG: bool>;

impl<const BUG: bool> Habit for Impatient<BUG> {
    async fn claim(
        &self,
        store: &SimQueue<u32>,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        if !BUG {
            return store.claim(claim, claimed).await;
        }
        let mut mine = VecDeque::new();
        match timeout(secs(1), store.claim(claim, &mut mine)).await {
            Ok(next) => {
                claimed.append(&mut mine);
                next
            }
            Err(late) => Err(QueueError::unavailable(late)),
        }
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let _by_two = packers(world, || Impatient::<BUG>, |source| source);
}
