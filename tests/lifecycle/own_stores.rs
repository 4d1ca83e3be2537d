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
    use shiftwork::event::WorkerId;
    use shiftwork_sim::{millis, plan::crash, site};

    use super::*;

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
