//! *Fleet*: three nodes that work on one queue, with clocks of their own, while each of them is paused, killed and started again.
//!
//! A job renders a report: two parts, then a manifest that says that both are there. A node that stood still for longer than its
//! lease does not know that another has its job by now, and goes on where it was. So every write carries the fencing token of
//! its claim, and the store refuses one that is older than what it has seen: a report is never of two attempts.

use std::collections::BTreeMap;

use shiftwork::{
    Context, Failure, HostBuilder, QueueSourceExt, Retry, Worker,
    queue::{DeadLetterCause, DeliveryId, Queue},
};
use shiftwork_sim::{
    Dependency, Ledger, QueueOperation, Scenario, SimQueue, Surface, What, World, dependency::Latency, millis,
    record::Settled, secs,
};

/// A report that somebody has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub number: u32,
}

/// The claim on whose behalf something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// The higher, the later.
    pub token: u64,
}

/// Where reports are kept.
pub trait Shelf: Send + Sync + 'static {
    /// Stores one of the two parts, unless a later claim has written to the report.
    ///
    /// # Errors
    ///
    /// When the store is in trouble, and when the fence says no.
    fn put(&self, report: &Report, part: usize, fence: Fence) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Says that the report is complete, unless a later claim has written to it.
    ///
    /// # Errors
    ///
    /// As [`Shelf::put`].
    fn publish(&self, report: &Report, fence: Fence) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct Render<S> {
    shelf: S,
}

impl<S: Shelf> Worker for Render<S> {
    type Input = Report;

    async fn cycle(&self, report: Report, cx: &Context) -> Result<(), Failure> {
        let claim = cx.delivery().zip(cx.fencing_token());
        let (delivery, token) = claim.ok_or_else(|| Failure::fatal("rendering needs a queue"))?;
        let fence = Fence { delivery, token: token.0 };
        self.shelf.put(&report, 0, fence).await?;
        self.shelf.put(&report, 1, fence).await?;
        self.shelf.publish(&report, fence).await
    }
}

/// The application, on each of the nodes.
pub fn application<Q: Queue<Report>, S: Shelf>(host: HostBuilder, reports: Q, shelf: S) -> HostBuilder {
    host.worker("render", reports.source().lease(secs(6)), Render { shelf })
        .concurrency(2)
        .cycle_timeout(secs(20))
        .retry(Retry::exponential().initial(millis(500)).max(secs(10)).attempts_max(60))
        // Where clocks differ by more than a lease, leases lapse all the time, and it is nobody's crash.
        .crashes_max(1_000)
        .host()
}

/// What is kept of one delivery's report: by which claim each part was written, and the manifest.
#[derive(Debug, Clone, Default)]
struct Kept {
    number: u32,
    /// The latest claim that has written.
    seen: u64,
    parts: [Option<u64>; 2],
    published: Option<u64>,
}

/// The shelf of a world.
#[derive(Debug, Clone, Default)]
struct State {
    kept: BTreeMap<DeliveryId, Kept>,
    refused: u32,
    wrong: Option<String>,
}

impl State {
    /// The report, if the fence lets the claim through.
    fn open(&mut self, number: u32, fence: Fence) -> Option<&mut Kept> {
        let kept = self.kept.entry(fence.delivery).or_default();
        kept.number = number;
        if kept.seen > fence.token {
            self.refused += 1;
            return None;
        }
        kept.seen = fence.token;
        Some(kept)
    }

    fn put(&mut self, number: u32, part: usize, fence: Fence) -> bool {
        let Some(kept) = self.open(number, fence) else { return false };
        kept.parts[part] = Some(fence.token);
        // Another attempt begins anew.
        kept.published = kept.published.filter(|token| *token == fence.token);
        true
    }

    fn publish(&mut self, number: u32, fence: Fence) -> bool {
        let Some(kept) = self.open(number, fence) else { return false };
        kept.published = Some(fence.token);
        if kept.parts != [Some(fence.token); 2] {
            let wrong =
                format!("report {number} is published by claim {}, its parts are {:?}", fence.token, kept.parts);
            self.wrong.get_or_insert(wrong);
        }
        true
    }

    fn is_published(&self, number: u32) -> bool {
        self.kept.values().any(|kept| kept.number == number && kept.published.is_some())
    }
}

type Shared = Ledger<State>;

#[derive(Clone)]
struct SimShelf {
    store: Dependency,
    state: Shared,
}

impl SimShelf {
    async fn write(&self, write: impl FnOnce(&mut State) -> bool + Send) -> Result<(), Failure> {
        match self.store.call(async { self.state.with(write) }).await? {
            true => Ok(()),
            // Whoever has the job now does it; what is settled on behalf of this claim will be refused, too.
            false => Err(Failure::interrupted("a later claim has written to the report")),
        }
    }
}

impl Shelf for SimShelf {
    async fn put(&self, report: &Report, part: usize, fence: Fence) -> Result<(), Failure> {
        self.write(|state| state.put(report.number, part, fence)).await
    }

    async fn publish(&self, report: &Report, fence: Fence) -> Result<(), Failure> {
        self.write(|state| state.publish(report.number, fence)).await
    }
}

/// The scenario.
#[derive(Debug)]
pub struct Fleet;

const NODES: [&str; 3] = ["ada", "ben", "cleo"];

/// How many reports are asked for, a few at a time.
const REPORTS: u32 = 60;

impl Scenario for Fleet {
    fn name(&self) -> &'static str {
        "fleet"
    }

    fn about(&self) -> &'static str {
        "three nodes with clocks of their own share a queue, and each report is of one attempt"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["shelf".into()], queues: vec!["reports".into()], horizon: secs(60) }
    }

    fn nodes(&self) -> Vec<String> {
        NODES.map(str::to_owned).to_vec()
    }

    fn workers(&self) -> Vec<String> {
        vec!["render".into()]
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        let store = world.dependency_with("shelf", Latency::uniform(millis(200), millis(1500)));
        let queue: SimQueue<Report> = world.queue("reports");
        for number in 1..=REPORTS {
            let queue = queue.clone();
            world.at(secs(u64::from(number / 5 * 4)), "request", move || queue.seed([Report { number }]));
        }
        for name in NODES {
            let (queue, shelf) = (queue.clone(), SimShelf { store: store.clone(), state: state.clone() });
            world.node(name, move |node| application(node.host(), queue.clone(), shelf.clone()).run_until_signal());
        }
        demand(world, &state, queue);
    }
}

fn demand(world: &mut World, state: &Shared, queue: SimQueue<Report>) {
    let published = state.clone();
    let all_published = move || published.with(|state| (1..=REPORTS).all(|number| state.is_published(number)));
    let (done, left) = (all_published.clone(), queue.clone());
    world.done_when(move || left.inspect_depth().unsettled() == 0 && done());

    let kept = state.clone();
    world.always("a report that is published is of one attempt", move |_| {
        kept.with(|state| state.wrong.take().map_or(Ok(()), Err))
    });
    let kept = state.clone();
    world.always("what is acknowledged is published", move |record| match &record.what {
        What::Queue(QueueOperation::Settled { delivery, how: Settled::Acked, .. }) => kept.with(|state| {
            let is_published = state.kept.get(delivery).is_some_and(|kept| kept.published.is_some());
            if is_published { Ok(()) } else { Err(format!("{delivery} was acknowledged, and is not published")) }
        }),
        _ => Ok(()),
    });

    let fenced = state.clone();
    world.sometimes("the shelf refuses a write of a claim that is over", move |_| {
        fenced.with(|state| state.refused > 0)
    });
    world.sometimes("a lease lapses, and another claim follows", |record| {
        matches!(record.what, What::Queue(QueueOperation::Claimed { crashes: 1.., .. }))
    });
    let mut had: BTreeMap<DeliveryId, [bool; NODES.len()]> = BTreeMap::new();
    world.sometimes("every node has had the same job", move |record| {
        let What::Queue(QueueOperation::Claimed { delivery, .. }) = &record.what else { return false };
        let Some(node) = record.node else { return false };
        let had = had.entry(*delivery).or_default();
        had[usize::from(node.0)] = true;
        *had == [true; NODES.len()]
    });
    world.eventually("every report is published", secs(300), |record| record.what == What::Healed, all_published);

    world.at_end("nothing but what cannot be read is moved aside", move || {
        let letters = queue.inspect_dead_letters();
        match letters.iter().find(|letter| letter.cause != DeadLetterCause::Undecodable) {
            Some(letter) => Err(format!("{:?} was moved aside as {}", letter.payload, letter.cause)),
            None => Ok(()),
        }
    });
}
