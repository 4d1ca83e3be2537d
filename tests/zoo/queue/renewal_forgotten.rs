//! The lease was longer than any job when the client was written. Jobs grew; now the long ones are handed to a second worker while the
//! first is still at it.

use std::time::Duration;

use shiftwork::queue::{Lease, Queue, QueueError, Timestamp};
use shiftwork_sim::{SimQueue, World, secs};

use super::client::{Habit, packers};
use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::never,
};

const RULE: &str = "a parcel is packed by one at a time";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "renewal-forgotten",
    about: "leases are claimed, and never renewed",
    area: Area::Queue,
    rule: RULE,
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], horizon_secs: 60 },
    profile: Profile::Gentle,
    budget: 1500,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct NeverRenews<const BUG: bool>;

impl<const BUG: bool> Habit for NeverRenews<BUG> {
    async fn renew(&self, store: &SimQueue<u32>, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        if BUG { Ok(Vec::new()) } else { store.renew(leases, until).await }
    }

    fn packing_takes() -> Duration {
        secs(6)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let by_two = packers(world, || NeverRenews::<BUG>, |source| source.lease(secs(12)));
    never(world, RULE, &by_two);
}
