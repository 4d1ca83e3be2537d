//! Workers with a store of their own, in worlds whose queues have deliveries of the same numbers.

use shiftwork::{
    Context, Failure, FailureKind, QueueSourceExt, Retry,
    event::Event,
    queue::{MemoryQueue, Message, Queue, Timestamp},
};
use shiftwork_sim::{Outcome, Script, secs, worker};

/// A store that no world knows of, with these jobs.
fn own_store(jobs: impl IntoIterator<Item = u32>) -> MemoryQueue<u32> {
    let store = MemoryQueue::new();
    let messages = jobs.into_iter().map(Message::new).collect();
    tokio_test::block_on(store.push(messages, Timestamp::UNIX_EPOCH)).unwrap();
    store
}

/// How often each kind of failure ended a cycle.
fn failures(outcome: &Outcome, kind: FailureKind) -> usize {
    outcome.count(|event| matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == kind))
}

#[test]
fn a_worker_with_a_store_of_its_own_is_held_to_its_policies_and_to_no_queue() {
    let store = own_store(1..=6);
    let left = store.clone();
    let fault = worker("own").panic_in_cycle(1);
    let outcome = Script::new().at(secs(0), fault).run(move |world| {
        let waiting = store.clone();
        world.node("node", move |node| {
            let work = |job: u32, _: Context| async move {
                tokio::time::sleep(secs(1)).await;
                if job == 6 { Err(Failure::transient("it never works")) } else { Ok(()) }
            };
            let retry = Retry::default().attempts_max(2).jitter_percent(0);
            node.host().worker("own", store.clone().source(), work).concurrency(2).retry(retry).run_until_signal()
        });
        world.done_when(move || waiting.snapshot(Timestamp::UNIX_EPOCH).is_empty());
    });
    outcome.assert_rules_kept();
    assert_eq!((failures(&outcome, FailureKind::Panic), failures(&outcome, FailureKind::Transient)), (1, 2));
    assert_eq!(tokio_test::block_on(left.depth(Timestamp::MAX)).unwrap().dead, 1);
}

#[cfg(tokio_unstable)]
mod beside_a_queue_of_the_world {
    use std::collections::VecDeque;

    use shiftwork::{
        Signal,
        event::WorkerId,
        queue::{Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, Pushed, QueueError, Settlement},
    };
    use shiftwork_sim::{SimQueue, millis, plan::crash, site};

    use super::*;

    /// A queue of the world behind a client that has each claim made by a task of its own.
    #[derive(Clone)]
    struct Spawning {
        store: SimQueue<u32>,
        /// By how many attempts it is wrong.
        attempts_more: u32,
    }

    impl Queue<u32> for Spawning {
        async fn push(&self, messages: Vec<Message<u32>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
            self.store.push(messages, now).await
        }

        async fn claim(
            &self,
            claim: Claim,
            claimed: &mut VecDeque<Delivery<u32>>,
        ) -> Result<Option<Timestamp>, QueueError> {
            let store = self.store.clone();
            let claiming = tokio::spawn(async move {
                let mut claimed = VecDeque::new();
                let answer = store.claim(claim, &mut claimed).await;
                (answer, claimed)
            });
            let (answer, taken) = claiming.await.unwrap();
            let counted = |delivery: Delivery<u32>| {
                let attempt = delivery.attempt + self.attempts_more;
                Delivery { attempt, ..delivery }
            };
            claimed.extend(taken.into_iter().map(counted));
            answer
        }

        async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
            self.store.renew(leases, until).await
        }

        async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
            self.store.settle(lease, settlement, now).await
        }

        fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
            self.store.changed()
        }

        async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
            self.store.depth(now).await
        }

        async fn dead_letters(
            &self,
            after: Option<DeliveryId>,
            limit: usize,
        ) -> Result<Vec<DeadLetter<u32>>, QueueError> {
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

    #[test]
    fn c2_what_is_claimed_in_a_task_that_the_lane_has_spawned_is_judged_like_what_it_claims_itself() {
        let world_of = |attempts_more| {
            Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
                let store = world.queue::<u32>("jobs");
                store.seed(1..=3);
                let queue = Spawning { store, attempts_more };
                world.node("node", move |node| {
                    let work = |_: u32, _: Context| async {
                        tokio::time::sleep(secs(1)).await;
                        Ok::<(), Failure>(())
                    };
                    node.host().worker("jobs", queue.clone().source(), work).run_until_signal()
                });
            })
        };
        let outcome = world_of(0);
        outcome.assert_rules_kept();
        assert_eq!(deliveries(&outcome, WorkerId(0)).len(), 3);
        world_of(1).expect_broken("C2");
    }

    /// Two workers with two lanes each. The jobs of one are in a queue of the world, those of the other are not.
    fn side_by_side(script: Script) -> Outcome {
        let store = own_store(1..=6);
        script.heal_at(secs(60)).run(move |world| {
            let jobs = world.queue::<u32>("jobs");
            jobs.seed(1..=6);
            let (left, waiting) = (jobs.clone(), store.clone());
            world.node("node", move |node| {
                let work = |_: u32, _: Context| async {
                    tokio::time::sleep(secs(1)).await;
                    Ok::<(), Failure>(())
                };
                let retry = Retry::default().jitter_percent(0);
                let host = node.host().worker("jobs", jobs.clone().source(), work).concurrency(2).retry(retry);
                host.worker("own", store.clone().source(), work).concurrency(2).retry(retry).run_until_signal()
            });
            world.done_when(move || {
                left.inspect_depth().unsettled() == 0 && waiting.snapshot(Timestamp::UNIX_EPOCH).is_empty()
            });
        })
    }

    /// The deliveries that a worker had cycles with, in order.
    fn deliveries(outcome: &Outcome, whose: WorkerId) -> Vec<u64> {
        let begun = outcome.events().filter_map(|(_, event)| match event {
            Event::CycleStarted { worker, delivery, .. } if *worker == whose => delivery.map(|delivery| delivery.0),
            _ => None,
        });
        let mut begun: Vec<_> = begun.collect();
        begun.sort_unstable();
        begun
    }

    #[test]
    fn q1_a_delivery_of_another_store_is_not_taken_for_the_one_of_the_same_number() {
        let outcome = side_by_side(Script::new());
        outcome.assert_rules_kept();
        let both = [WorkerId(0), WorkerId(1)].map(|worker| deliveries(&outcome, worker));
        assert_eq!(both[0], both[1], "they are called the same");
        assert_eq!(both[0], (1..=6).collect::<Vec<_>>());
    }

    #[test]
    fn what_strikes_one_of_the_two_stores_is_not_held_against_the_other() {
        let scripts = [
            Script::new().at(secs(0), worker("own").panic_in_cycle(1)),
            Script::new().at(secs(0), worker("jobs").cancel_in_cycle(1)),
            Script::new().at(secs(0), site("jobs").slow(secs(2)).lasting(secs(10))),
            Script::new().at(secs(0), site("jobs").outage().lasting(secs(3))),
            Script::new().at(millis(500), site("jobs").reply_lost(100).lasting(secs(3))),
            Script::new().at(millis(500), site("jobs").lease_taken()),
            Script::new().at(millis(500), crash(secs(1))),
        ];
        for script in scripts {
            let outcome = side_by_side(script);
            outcome.assert_rules_kept();
            assert_eq!(outcome.stats.struck, [true], "{}", outcome.timeline);
        }
    }
}
