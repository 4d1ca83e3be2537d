//! Prefetching hides the way to the store. What is in the buffer at a stop belongs to nobody: not begun, not returned, leased
//! until the lease lapses.

use std::{collections::VecDeque, sync::Mutex, sync::PoisonError};

use shiftwork::queue::{Claim, Delivery, Queue, QueueError, Timestamp};
use shiftwork_sim::{SimQueue, World, secs};

use super::client::{Habit, packers};
use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "prefetched-and-kept",
    about: "a client claims ahead, and keeps what is left when it stops",
    area: Area::Queue,
    rule: "Q4",
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Prefetch<const BUG: bool> {
    buffer: Mutex<VecDeque<Delivery<u32>>>,
}

impl<const BUG: bool> Prefetch<BUG> {
    fn buffer(&self) -> std::sync::MutexGuard<'_, VecDeque<Delivery<u32>>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Habit for Prefetch<BUG> {
    async fn claim(
        &self,
        store: &SimQueue<u32>,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        if !BUG {
            return store.claim(claim, claimed).await;
        }
        let mut next = None;
        if self.buffer().is_empty() {
            let mut batch = VecDeque::new();
            next = store.claim(Claim { max: claim.max + 5, ..claim }, &mut batch).await?;
            self.buffer().append(&mut batch);
        }
        let mut buffer = self.buffer();
        let take = claim.max.min(buffer.len());
        claimed.extend(buffer.drain(..take));
        Ok(next)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let _by_two = packers(world, || Prefetch::<BUG> { buffer: Mutex::default() }, |source| source.lease(secs(120)));
}
