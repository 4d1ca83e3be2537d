//! An honest queue client, and the habits that spoil it.
//!
//! A habit replaces one operation; whatever it leaves alone goes to the store as it is.

use std::{collections::VecDeque, future::Future, time::Duration};

use shiftwork::{
    Context, Failure, QueueSource, QueueSourceExt, Worker,
    queue::{
        Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, Message, Pushed, Queue, QueueError, Settlement,
        Timestamp,
    },
};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, dependency::Latency, secs};

use crate::props::flag;

/// How a client treats its store.
pub trait Habit: Send + Sync + 'static {
    fn claim(
        &self,
        store: &SimQueue<u32>,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> impl Future<Output = Result<Option<Timestamp>, QueueError>> + Send {
        store.claim(claim, claimed)
    }

    fn renew(
        &self,
        store: &SimQueue<u32>,
        leases: &[Lease],
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<Lease>, QueueError>> + Send {
        store.renew(leases, until)
    }

    fn settle(
        &self,
        store: &SimQueue<u32>,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        store.settle(lease, settlement, now)
    }

    /// How long it takes to pack a parcel.
    fn packing_takes() -> Duration {
        secs(1)
    }

    /// Whether another process now and then takes what it can get, and is never heard of again.
    fn has_rivals() -> bool {
        false
    }
}

/// A client with a habit.
pub struct Client<H> {
    store: SimQueue<u32>,
    habit: H,
}

impl<H: Habit> Queue<u32> for Client<H> {
    async fn push(&self, messages: Vec<Message<u32>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
        self.store.push(messages, now).await
    }

    async fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        self.habit.claim(&self.store, claim, claimed).await
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        self.habit.renew(&self.store, leases, until).await
    }

    async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
        self.habit.settle(&self.store, lease, settlement, now).await
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.store.changed()
    }

    async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
        self.store.depth(now).await
    }

    async fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Result<Vec<DeadLetter<u32>>, QueueError> {
        self.store.dead_letters(after, limit).await
    }

    async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
        self.store.requeue(id, now).await
    }

    async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
        self.store.discard(id).await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.store.prune(before, limit).await
    }
}

struct Pack {
    packing: Dependency,
    /// The parcels that are being packed in this process.
    in_hand: Ledger<Vec<u32>>,
    by_two: Ledger<bool>,
}

/// A parcel in somebody's hands.
struct InHand<'a>(&'a Ledger<Vec<u32>>, u32);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut parcels = self.0.lock();
        if let Some(index) = parcels.iter().position(|parcel| *parcel == self.1) {
            parcels.swap_remove(index);
        }
    }
}

impl Worker for Pack {
    type Input = u32;

    async fn cycle(&self, parcel: u32, _: &Context) -> Result<(), Failure> {
        if self.in_hand.lock().contains(&parcel) {
            *self.by_two.lock() = true;
        }
        self.in_hand.lock().push(parcel);
        let _in_hand = InHand(&self.in_hand, parcel);
        Ok(self.packing.call(async {}).await?)
    }
}

/// A world in which a few lanes pack the parcels of a queue, through a client with the habit. The flag is set once two of
/// them have the same parcel in hand, which a lease that lapsed can bring about.
pub fn packers<H: Habit>(
    world: &mut World,
    habit: impl Fn() -> H + Send + 'static,
    options: impl Fn(QueueSource<Client<H>, u32>) -> QueueSource<Client<H>, u32> + Send + 'static,
) -> Ledger<bool> {
    let packing = world.dependency_with("packing", Latency::constant(H::packing_takes()));
    let store: SimQueue<u32> = world.queue("parcels");
    store.seed(1..=60);
    if H::has_rivals() {
        for time in [15, 30, 45] {
            let rival = store.clone();
            world.at(secs(time), "rival", move || rival.rival_claims(secs(4)));
        }
    }
    let by_two = flag();
    let seen = by_two.clone();
    let left = store.clone();
    world.done_when(move || left.inspect_depth().unsettled() == 0);
    world.node("node", move |node| {
        let client = Client { store: store.clone(), habit: habit() };
        let worker = Pack { packing: packing.clone(), in_hand: Ledger::default(), by_two: by_two.clone() };
        node.host()
            .worker("pack", options(client.source()), worker)
            .concurrency(3)
            // Leases lapse in worlds like these, and that is nobody's crash.
            .crashes_max(1_000)
            .run_until_signal()
    });
    seen
}
