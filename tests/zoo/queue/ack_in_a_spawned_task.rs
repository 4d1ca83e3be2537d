//! Acks are spawned so that the handler need not wait for the store. A stop that comes while the store is slow finds every handler done,
//! and leaves with the acks on their way. That is how it is noticed outside; here the first ack that is told before it is stored is enough.

use shiftwork::queue::{Lease, Queue, QueueError, Settlement, Timestamp};
use shiftwork_sim::{SimQueue, World};

use super::client::{Habit, packers};
use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "ack-in-a-spawned-task",
    about: "settlements are sent by tasks that nobody waits for",
    area: Area::Queue,
    rule: "Q1",
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 3000,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct InTheBackground<const BUG: bool>;

impl<const BUG: bool> Habit for InTheBackground<BUG> {
    async fn settle(
        &self,
        store: &SimQueue<u32>,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        if !BUG {
            return store.settle(lease, settlement, now).await;
        }
        let store = store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.settle(lease, settlement, now).await {
                tracing::warn!(%error, "a settlement was not stored");
            }
        });
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let _by_two = packers(world, || InTheBackground::<BUG>, |source| source);
}
