//! Payloads that panic as they are dropped without a cycle: a fault of the worker, and nothing else is lost by it.

use std::collections::VecDeque;

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, ExitStatus, Failure, QueueSourceExt, Signal,
    event::{Event, Settle},
    queue::{
        Claim, DeadLetter, DeadLetterCause, Delivery, DeliveryId, Depth, FailureKind, Lease, Message, Pushed, Queue,
        QueueError, Settlement, Timestamp,
    },
};
use shiftwork_sim::{Outcome, Script, SimQueue, World, secs, site};

use crate::worlds::time_of;

/// An order that wants to be looked at before it is dropped.
struct Order {
    number: u32,
    seen: bool,
}

impl Drop for Order {
    fn drop(&mut self) {
        // A second panic while the first one unwinds would end the tests.
        assert!(self.seen || std::thread::panicking(), "order {} was not looked at", self.number);
    }
}

/// A store that makes an order of a number as that is claimed. It keeps none itself, so that only the worker drops any.
#[derive(Clone)]
struct Orders(SimQueue<u32>);

impl Queue<Order> for Orders {
    async fn push(&self, messages: Vec<Message<Order>>, _: Timestamp) -> Result<Vec<Pushed>, QueueError> {
        unreachable!("nobody pushes {} orders here", messages.len())
    }

    async fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<Order>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        let mut numbers = VecDeque::new();
        let next_due = self.0.claim(claim, &mut numbers).await?;
        claimed.extend(numbers.into_iter().map(
            |Delivery { lease, attempt, crashes, due_at, first_claimed_at, payload }| Delivery {
                lease,
                attempt,
                crashes,
                due_at,
                first_claimed_at,
                payload: payload.map(|number| Order { number, seen: false }),
            },
        ));
        Ok(next_due)
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        self.0.renew(leases, until).await
    }

    async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
        self.0.settle(lease, settlement, now).await
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.changed()
    }

    async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
        self.0.depth(now).await
    }

    async fn dead_letters(&self, _: Option<DeliveryId>, _: usize) -> Result<Vec<DeadLetter<Order>>, QueueError> {
        unreachable!("nobody reviews them here")
    }

    async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
        self.0.requeue(id, now).await
    }

    async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
        self.0.discard(id).await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.0.prune(before, limit).await
    }
}

/// Looks at each order for ten seconds.
struct Looks;

impl BatchWorker for Looks {
    type Input = Order;

    async fn cycle(&self, batch: &mut Batch<Order>, _: &BatchContext) -> Result<(), Failure> {
        tokio::time::sleep(secs(10)).await;
        batch.iter_mut().for_each(|item| item.input.seen = true);
        Ok(())
    }
}

/// The same for one at a time.
async fn look(mut order: Order, _: Context) -> Result<(), Failure> {
    tokio::time::sleep(secs(10)).await;
    order.seen = true;
    Ok(())
}

/// Three orders, which a worker takes in batches like these.
fn in_batches(batches: Batches, script: Script) -> (Outcome, Depth) {
    let mut seen = None;
    let outcome = script.run_once(|world| {
        let queue = world.queue("orders");
        queue.seed(1..=3);
        seen = Some(queue.clone());
        world.node("node", move |node| {
            let source = Orders(queue.clone()).source();
            node.host().batch_worker("orders", source, batches, Looks).run_until_signal()
        });
    });
    (outcome, seen.unwrap().inspect_depth())
}

/// It was a fault, and said what panicked.
fn check_fault(outcome: &Outcome) {
    outcome.assert_rules_kept();
    let faults = outcome.events().filter_map(|(_, event)| match event {
        Event::WorkerFaulted { cause, .. } => Some((cause.kind, cause.message.contains("was not looked at"))),
        _ => None,
    });
    assert_eq!(faults.collect::<Vec<_>>(), [(FailureKind::Panic, true)], "{}", outcome.timeline);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::WorkerFault);
}

fn given_back(outcome: &Outcome) -> usize {
    outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. }))
}

#[test]
fn c5_what_panics_as_the_buffer_is_returned_is_returned() {
    let slow = site("orders").slow(secs(2)).lasting(secs(20));
    let script = Script::new().at(secs(0), slow).at(secs(1), Signal::Terminate);
    let (outcome, depth) = in_batches(Batches::of(3), script);
    check_fault(&outcome);
    assert_eq!((given_back(&outcome), depth.ready, depth.leased), (3, 3, 0));
}

#[test]
fn c5_what_panics_as_its_batch_is_given_back_is_given_back() {
    // It lingers for a fourth.
    let script = Script::new().at(secs(2), Signal::Terminate);
    let (outcome, depth) = in_batches(Batches::of(4).linger(secs(8)), script);
    check_fault(&outcome);
    assert_eq!((given_back(&outcome), depth.ready, depth.leased), (3, 3, 0));
}

/// One order is at work; another one, of which a lease has lapsed elsewhere, is moved aside beside it.
fn beside_a_crash_loop(world: &mut World) -> SimQueue<u32> {
    let queue = world.queue("orders");
    queue.seed([1]);
    let rival = queue.clone();
    world.at(secs(1), "an order, and a rival", move || {
        rival.seed([2]);
        rival.rival_claims(secs(3));
    });
    queue
}

fn check_moved_aside(works: impl FnOnce(&mut World, SimQueue<u32>) + Send) {
    let mut seen = None;
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        let queue = beside_a_crash_loop(world);
        seen = Some(queue.clone());
        works(world, queue);
    });
    check_fault(&outcome);
    let aside = time_of(&outcome, |event| {
        let Event::SettledUnrun { settle: Settle::DeadLetter { cause, .. }, .. } = event else { return false };
        *cause == DeadLetterCause::CrashLoop
    });
    let faulted = time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. }));
    assert!(aside.is_some_and(|at| (secs(4)..secs(6)).contains(&at)), "{}", outcome.timeline);
    assert_eq!(faulted, aside);
    // The one that was at work came to its end.
    let done = time_of(&outcome, |event| matches!(event, Event::Settled { settle: Settle::Ack, .. }));
    assert_eq!(done.map(|at| at.as_secs()), Some(10));
    let depth = seen.unwrap().inspect_depth();
    assert_eq!((depth.unsettled(), depth.dead), (0, 1));
}

#[test]
fn c5_what_panics_as_it_is_moved_aside_is_moved_aside_and_its_siblings_go_on() {
    check_moved_aside(|world, queue| {
        world.node("node", move |node| {
            let source = Orders(queue.clone()).source();
            node.host().worker("orders", source, look).concurrency(2).crashes_max(1).run_until_signal()
        });
    });
}

#[test]
fn c5_what_panics_as_a_batch_moves_it_aside_is_moved_aside_and_other_batches_go_on() {
    check_moved_aside(|world, queue| {
        world.node("node", move |node| {
            let source = Orders(queue.clone()).source();
            let worker = node.host().batch_worker("orders", source, Batches::of(2), Looks);
            worker.concurrency(2).crashes_max(1).run_until_signal()
        });
    });
}
