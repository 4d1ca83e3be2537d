//! A node stands still in the middle of its work, for a collection of garbage or while its machine is moved. Its lease lapses, another node does
//! the work, and then the first one goes on with its next step: nobody has told it that the work is not its own any more.

use std::collections::BTreeMap;

use shiftwork::{Context, Failure, QueueSourceExt, Retry, Worker, queue::DeliveryId};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, dependency::Latency, millis, secs};

use crate::exhibit::{Area, Exhibit, Profile, Sites};

const RULE: &str = "both halves of a document are of one attempt";

const NODES: &[&str] = &["left", "right"];

pub const EXHIBIT: Exhibit = Exhibit {
    name: "written-by-a-claim-that-is-over",
    about: "a write does not carry the fencing token of its claim",
    area: Area::Fleet,
    rule: RULE,
    sites: Sites { dependencies: &["shelf"], queues: &["documents"], nodes: NODES, stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 1000,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// By which claim each half was written, and the latest claim of all that have written.
#[derive(Debug, Clone, Default)]
struct Document {
    halves: [u64; 2],
    seen: u64,
}

type Shelf = Ledger<BTreeMap<DeliveryId, Document>>;

struct Render<const BUG: bool> {
    store: Dependency,
    shelf: Shelf,
}

impl<const BUG: bool> Render<BUG> {
    async fn put(&self, half: usize, delivery: DeliveryId, token: u64) -> Result<(), Failure> {
        let put = async {
            let mut shelf = self.shelf.lock();
            let document = shelf.entry(delivery).or_default();
            let is_over = token < document.seen;
            if BUG || !is_over {
                document.seen = token.max(document.seen);
                document.halves[half] = token;
            }
            is_over
        };
        match self.store.call(put).await? {
            true if !BUG => Err(Failure::interrupted("a later claim has written to the document")),
            _ => Ok(()),
        }
    }
}

impl<const BUG: bool> Worker for Render<BUG> {
    type Input = u32;

    async fn cycle(&self, _: u32, cx: &Context) -> Result<(), Failure> {
        let claim = cx.delivery().zip(cx.fencing_token());
        let (delivery, token) = claim.ok_or_else(|| Failure::fatal("rendering needs a queue"))?;
        self.put(0, delivery, token.0).await?;
        self.put(1, delivery, token.0).await
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let store = world.dependency_with("shelf", Latency::uniform(millis(500), millis(1_500)));
    let documents: SimQueue<u32> = world.queue("documents");
    documents.seed(1..=60);
    let shelf = Shelf::default();
    for name in NODES {
        let (documents, store, shelf) = (documents.clone(), store.clone(), shelf.clone());
        world.node(name, move |node| {
            let render = Render::<BUG> { store: store.clone(), shelf: shelf.clone() };
            node.host()
                .worker("render", documents.clone().source().lease(secs(3)), render)
                .concurrency(2)
                .cycle_timeout(secs(20))
                .retry(Retry::exponential().initial(secs(1)).max(secs(5)).attempts_max(100))
                // Leases lapse in worlds like these, and that is nobody's crash.
                .crashes_max(1_000)
                .run_until_signal()
        });
    }
    world.done_when(move || documents.inspect_depth().unsettled() == 0);
    world.at_end(RULE, move || match shelf.lock().values().find(|document| document.halves[0] != document.halves[1]) {
        Some(document) => Err(format!("one was written by the claims {:?}", document.halves)),
        None => Ok(()),
    });
}
