//! Batch workers: verdicts one by one, bad company, and what happens to a batch when something happens to its worker.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, BoxError, Breaker, Failure, QueueSource, QueueSourceExt, RateLimit,
    Retry, Signal, Source,
    event::{Event, Settle, SourceKind},
    queue::{DeadLetterCause, Delivery, FailureKind, Message, Priority, Timestamp},
    source::{BatchLane, Claimed, Lane, LaneContext, Offer, Settling, SourceContext},
};
use shiftwork_sim::{Dependency, Outcome, Script, SimQueue, World, dependency::Latency, millis, plan, secs, site};

use crate::worlds::{Notes, Steady, attempts, time_of};

/// A worker that writes a batch of numbers at once, or one by one.
#[derive(Clone)]
struct Writer {
    backend: Dependency,
    /// The effects of the backend, in their order.
    written: Arc<Mutex<Vec<u32>>>,
    one_by_one: bool,
    /// What it says before it writes anything.
    look: fn(&mut Batch<u32>) -> Result<(), Failure>,
}

impl Writer {
    async fn write(&self, numbers: Vec<u32>) -> Result<(), Failure> {
        let effect = async { self.written.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers) };
        Ok(self.backend.call(effect).await?)
    }
}

impl BatchWorker for Writer {
    type Input = u32;

    async fn cycle(&self, batch: &mut Batch<u32>, cx: &BatchContext) -> Result<(), Failure> {
        (self.look)(batch)?;
        if !self.one_by_one {
            return self.write(batch.iter().filter(|item| !item.has_verdict()).map(|item| item.input).collect()).await;
        }
        for item in batch.iter_mut() {
            if cx.stopping() {
                return Err(Failure::interrupted("stopping"));
            }
            match self.write(vec![item.input]).await {
                Ok(()) => item.done(),
                Err(failure) => item.fail(failure),
            }
        }
        Ok(())
    }
}

/// The world of such a worker.
struct Bulk {
    numbers: u32,
    batches: Batches,
    concurrency: usize,
    takes: Duration,
    one_by_one: bool,
    lease: Duration,
    retry: Retry,
    breaker: Option<Breaker>,
    look: fn(&mut Batch<u32>) -> Result<(), Failure>,
    surroundings: fn(&mut World, &SimQueue<u32>),
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            numbers: 10,
            batches: Batches::of(20),
            concurrency: 1,
            takes: secs(1),
            one_by_one: false,
            lease: secs(30),
            retry: Retry::default().jitter_percent(0),
            breaker: None,
            look: |_| Ok(()),
            surroundings: |_, _| {},
        }
    }
}

/// How a batch world ended.
struct Seen {
    outcome: Outcome,
    queue: SimQueue<u32>,
    written: Arc<Mutex<Vec<u32>>>,
}

impl Seen {
    fn written(&self) -> Vec<u32> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        written.sort_unstable();
        written
    }

    /// Number and cause of each dead letter.
    fn dead(&self) -> Vec<(u32, DeadLetterCause)> {
        self.queue.inspect_dead_letters().into_iter().map(|letter| (letter.payload.unwrap(), letter.cause)).collect()
    }

    /// When each batch began, in whole seconds, and how large it was.
    fn batches(&self) -> Vec<(u64, u32)> {
        let batches = self.outcome.events().filter_map(|(at, event)| match event {
            Event::BatchStarted { cycles, .. } => Some((at.as_secs(), *cycles)),
            _ => None,
        });
        batches.collect()
    }

    fn settled(&self, how: fn(&Settle) -> bool) -> usize {
        self.outcome.count(|event| matches!(event, Event::Settled { settle, .. } if how(settle)))
    }
}

impl Bulk {
    fn run(self, run: impl FnOnce(Box<dyn FnOnce(&mut World) + Send>) -> Outcome) -> Seen {
        let queue: Arc<Mutex<Option<SimQueue<u32>>>> = Arc::default();
        let written: Arc<Mutex<Vec<u32>>> = Arc::default();
        let (inside, effects) = (queue.clone(), written.clone());
        let outcome = run(Box::new(move |world| {
            let backend = world.dependency_with("backend", Latency::constant(self.takes));
            let numbers = world.queue("numbers");
            numbers.seed(1..=self.numbers);
            *inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(numbers.clone());
            (self.surroundings)(world, &numbers);
            let writer = Writer { backend, written: effects, one_by_one: self.one_by_one, look: self.look };
            let left = numbers.clone();
            world.node("node", move |node| {
                let source = numbers.clone().source().lease(self.lease);
                let worker = node
                    .host()
                    .batch_worker("write", source, self.batches, writer.clone())
                    .concurrency(self.concurrency)
                    .retry(self.retry);
                let worker = match self.breaker {
                    Some(breaker) => worker.breaker(breaker),
                    None => worker.no_breaker(),
                };
                worker.run_until_signal()
            });
            world.done_when(move || left.inspect_depth().unsettled() == 0);
        }));
        let queue = queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        Seen { outcome, queue: queue.expect("the world was built"), written }
    }
}

#[test]
fn what_was_claimed_as_intake_closed_is_returned_together() {
    let slow = site("numbers").slow(secs(2)).lasting(secs(20));
    let script = Script::new().at(secs(0), slow).at(secs(1), Signal::Terminate);
    let seen = Bulk::default().run(|build| script.run_once(build));
    seen.outcome.assert_rules_kept();
    let events = seen.outcome.events();
    let returned: Vec<_> =
        events.filter(|(_, event)| matches!(event, Event::SettledUnrun { .. })).map(|(at, _)| at).collect();
    assert_eq!(returned.len(), 10);
    // One answer of the store for all of them, not one for each.
    assert!(*returned.last().unwrap() <= secs(5), "{returned:?}");
}

#[test]
fn t4_a_batch_that_interrupts_itself_is_put_off_and_its_inputs_stay_together() {
    let look = |_: &mut Batch<u32>| Err::<(), Failure>(Failure::interrupted("the channel is closed"));
    let script = Script::new().at(millis(2_500), Signal::Terminate);
    let seen = Bulk { look, ..Bulk::default() }.run(|build| script.run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches(), [(0, 10), (1, 10), (2, 10)]);
}

#[test]
fn q9_each_input_of_a_batch_is_settled_by_its_own_verdict() {
    let look = |batch: &mut Batch<u32>| {
        for item in batch {
            match (item.input, item.attempt()) {
                (2, _) => item.fail(Failure::invalid("two is bad luck")),
                (3, 1) => item.fail(Failure::transient("locked")),
                (4, _) => item.fail(Failure::discard("gone")),
                (5, _) => item.done(),
                _ => {}
            }
        }
        Ok(())
    };
    let seen = Bulk { numbers: 8, look, ..Bulk::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.dead(), [(2, DeadLetterCause::Invalid)]);
    assert_eq!(seen.written(), [1, 3, 6, 7, 8], "three at its second attempt, which it had alone");
    assert_eq!(seen.batches(), [(0, 8), (2, 1)]);
    assert_eq!(seen.settled(|settle| *settle == Settle::Ack), 6);
    assert_eq!(seen.settled(|settle| *settle == Settle::Discard), 1);
}

#[test]
fn an_input_of_a_batch_knows_which_attempt_is_its_last() {
    let look = |batch: &mut Batch<u32>| {
        for item in batch.iter_mut().filter(|item| !item.is_last_attempt()) {
            item.fail(Failure::transient("not yet"));
        }
        Ok(())
    };
    let seen = Bulk { numbers: 2, look, retry: Retry::default().attempts_max(2), ..Bulk::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.written(), [1, 2]);
    assert_eq!(seen.batches().len(), 3, "both together, and then each alone");
}

#[test]
fn q9_a_stale_settlement_of_a_batch_spoils_none_of_the_others() {
    // The store forgets one of the leases as the batch is settled.
    let seen = Bulk::default().run(|build| {
        let forgets = site("numbers").lease_taken();
        Script::new().at(millis(500), forgets).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let failed = seen.outcome.count(|event| matches!(event, Event::SettleFailed { cycle: Some(_), .. }));
    assert_eq!(failed, 1, "{}", seen.outcome.timeline);
    assert_eq!(seen.settled(|settle| *settle == Settle::Ack), 10);
    assert_eq!(seen.written().len(), 11, "one is written again");
    assert_eq!(seen.queue.inspect_depth().unsettled(), 0);
}

#[test]
fn q9_a_batch_is_settled_in_one_operation_and_each_input_is_tried_again_while_its_lease_lasts() {
    let seen = Bulk::default().run(|build| {
        let outage = site("numbers").outage().lasting(secs(3));
        Script::new().at(millis(900), outage).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.settled(|settle| *settle == Settle::Ack), 10);
    assert_eq!(seen.outcome.count(|event| matches!(event, Event::SettleFailed { .. })), 0);
    assert_eq!(seen.written(), (1..=10).collect::<Vec<_>>());
    // Without the outage all of it is stored at once.
    let seen = Bulk::default().run(|build| {
        let slow = site("numbers").slow(millis(200)).lasting(secs(3));
        Script::new().at(millis(900), slow).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let settled = seen.outcome.events().filter(|(_, event)| matches!(event, Event::Settled { .. }));
    let settled: BTreeSet<_> = settled.map(|(at, _)| at).collect();
    assert_eq!(settled.into_iter().collect::<Vec<_>>(), [millis(1_200)], "one slow answer for all ten");
}

#[test]
fn settlements_of_a_batch_whose_answer_was_lost_are_said_to_be_most_likely_stored() {
    // Settled at 1 s, and each by itself 100 ms later.
    let seen = Bulk::default().run(|build| {
        let lost = site("numbers").reply_lost(100).lasting(millis(150));
        Script::new().at(millis(900), lost).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let said = seen.outcome.count(|event| {
        matches!(event, Event::SettleFailed { cause, .. } if cause.message.starts_with("most likely stored by"))
    });
    assert_eq!(said, 10, "{}", seen.outcome.timeline);
    assert_eq!(seen.written(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn q10_one_bad_input_takes_none_of_its_siblings_to_the_dead_letters() {
    // It says so of the whole batch, since it does not know better.
    let look = |batch: &mut Batch<u32>| match batch.iter().find(|item| item.input == 7) {
        Some(_) => Err(Failure::invalid("there is a seven in it")),
        None => Ok(()),
    };
    let seen = Bulk { numbers: 12, takes: millis(10), look, ..Bulk::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.dead(), [(7, DeadLetterCause::Invalid)]);
    assert_eq!(seen.written(), [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
    let sizes: Vec<u32> = seen.batches().into_iter().map(|(_, size)| size).collect();
    assert_eq!(sizes, [[12].as_slice(), &[1; 12]].concat());
}

/// A seven that fails at 5 s and is claimed again at about 14.6 s, in `claims` of 100 ms each; others that come meanwhile are to be given
/// back, which is refused for 25 s. It begins at once when that is over, and a rival gets nothing of it.
fn others_are_given_back_in_an_outage(claims: u32, surroundings: fn(&mut World, &SimQueue<u32>)) -> Seen {
    let look = |batch: &mut Batch<u32>| {
        for item in batch {
            match (item.input, item.attempt()) {
                (7, 1) => item.fail(Failure::retry_after(millis(9_600), "locked")),
                (8, 1) => item.fail(Failure::transient("locked")),
                _ => {}
            }
        }
        Ok(())
    };
    let bulk = Bulk { numbers: 0, takes: secs(5), look, surroundings, ..Bulk::default() };
    let seen = bulk.run(|build| {
        let claimed_in = millis(100) * claims;
        let slow = site("numbers").slow(millis(100)).lasting(claimed_in);
        // From when the last claim has got to the store, and has not been answered.
        let outage = site("numbers").outage().lasting(secs(25));
        let script = Script::new().at(millis(14_550), slow).at(millis(14_580) + claimed_in, outage);
        script.at(secs(100), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let again = attempts(&seen.outcome).into_iter().rfind(|(_, attempt)| *attempt == 2).unwrap().0;
    assert!((secs(40)..secs(41)).contains(&again), "{again:?}: {}", seen.outcome.timeline);
    // Its earlier claim would have lapsed before 44.8 s, between two renewals.
    assert_eq!(seen.outcome.count(|event| matches!(event, Event::SettleFailed { .. })), 0);
    seen
}

/// Three others are on their way when the seven is claimed, and a rival is when its lease might have lapsed.
fn three_others_and_a_rival(world: &mut World, queue: &SimQueue<u32>, priority: Priority) {
    let (others, rival) = (queue.clone(), queue.clone());
    let due = move |number: u32| Message::new(number).not_before(Timestamp::UNIX_EPOCH).priority(priority);
    world.at(millis(14_620), "numbers", move || others.seed_messages((1..=3).map(due)));
    world.at(millis(44_800), "a rival", move || rival.rival_claims(secs(1)));
}

#[test]
fn q10_what_runs_alone_keeps_its_lease_after_an_outage_in_which_what_came_with_it_is_given_back() {
    let seen = others_are_given_back_in_an_outage(1, |world, queue| {
        queue.seed_messages([Message::new(7).priority(Priority(1))]);
        three_others_and_a_rival(world, queue, Priority(0));
    });
    assert_eq!(seen.written(), [1, 2, 3, 7]);
}

#[test]
fn q10_what_runs_alone_keeps_its_lease_after_an_outage_in_which_its_elders_are_given_back() {
    // After the eight, which runs alone from 6 s on, the next is looked at by itself: it is one of the three.
    let seen = others_are_given_back_in_an_outage(2, |world, queue| {
        queue.seed_messages([7, 8].map(|number| Message::new(number).priority(Priority(1))));
        three_others_and_a_rival(world, queue, Priority(2));
    });
    assert_eq!(seen.written(), [1, 2, 3, 7, 8]);
}

#[test]
fn q10_a_message_that_kills_its_process_takes_none_of_its_batch_along() {
    let written: Arc<Mutex<Vec<u32>>> = Arc::default();
    let effects = written.clone();
    let queue: Arc<Mutex<Option<SimQueue<u32>>>> = Arc::default();
    let inside = queue.clone();
    // Whatever calls the poison takes the process with it.
    let script = (0..10).fold(Script::new(), |script, _| script.at(secs(0), site("poison").crash(false)));
    let outcome = script.run(move |world| {
        let poison = world.dependency("poison");
        let numbers = world.queue("numbers");
        numbers.seed(1..=8);
        *inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(numbers.clone());
        let left = numbers.clone();
        world.node("node", move |node| {
            let worker = Poisonable { poison: poison.clone(), written: effects.clone() };
            let source = numbers.clone().source().lease(secs(5));
            node.host().batch_worker("write", source, Batches::of(20), worker).run_until_signal()
        });
        world.done_when(move || left.inspect_depth().unsettled() == 0);
    });
    outcome.assert_rules_kept();
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap();
    let letters = queue.inspect_dead_letters();
    assert_eq!(
        letters.iter().map(|letter| (letter.payload.clone(), letter.cause)).collect::<Vec<_>>(),
        [(Ok(3), DeadLetterCause::CrashLoop)]
    );
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner).clone();
    written.sort_unstable();
    assert_eq!(written, [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(outcome.stats.boots, 4, "three times by the three, once with all the others and twice alone");
}

/// Its process dies of a three.
struct Poisonable {
    poison: Dependency,
    written: Arc<Mutex<Vec<u32>>>,
}

impl BatchWorker for Poisonable {
    type Input = u32;

    async fn cycle(&self, batch: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        if batch.iter().any(|item| item.input == 3) {
            self.poison.call(async {}).await?;
        }
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend(batch.iter().map(|item| item.input));
        Ok(())
    }
}

#[test]
fn a_stop_in_the_middle_of_a_batch_keeps_what_is_done_and_returns_the_rest_unspent() {
    let seen = Bulk { one_by_one: true, ..Bulk::default() }
        .run(|build| Script::new().at(millis(3_500), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.written(), [1, 2, 3, 4]);
    assert_eq!(seen.settled(|settle| *settle == Settle::Ack), 4);
    assert_eq!(seen.settled(|settle| *settle == Settle::Return), 6);
    assert_eq!(seen.queue.inspect_depth().ready, 6);
    assert_eq!(seen.outcome.ended_at(), secs(4));
}

#[test]
fn t4_a_batch_that_is_dropped_by_a_stop_keeps_its_verdicts() {
    // The fifth call hangs past the end of the budget.
    let seen = Bulk { one_by_one: true, ..Bulk::default() }.run(|build| {
        let hang = site("backend").hang().lasting(secs(100));
        Script::new().at(millis(4_500), hang).at(millis(4_900), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.settled(|settle| *settle == Settle::Ack), 4);
    assert_eq!(seen.settled(|settle| *settle == Settle::Return), 6);
}

#[test]
fn q6_a_lost_lease_of_one_input_interrupts_its_batch_and_the_others_lose_no_attempt() {
    let seen = Bulk { takes: secs(20), lease: secs(9), ..Bulk::default() }.run(|build| {
        Script::new().at(secs(4), site("numbers").lease_taken()).at(secs(200), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let lost = time_of(&seen.outcome, |event| matches!(event, Event::LeaseLost { .. }));
    assert!(lost.is_some(), "{}", seen.outcome.timeline);
    let interrupted = seen.outcome.count(|event| {
        matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Interrupted)
    });
    assert_eq!(interrupted, 10);
    assert_eq!(seen.written(), (1..=10).collect::<Vec<_>>(), "each once: the first call had no effect");
    assert_eq!(seen.outcome.count(|event| matches!(event, Event::CycleStarted { attempt: 2.., .. })), 0);
}

#[test]
fn q4_what_comes_after_a_lost_lease_is_given_back_however_often_the_store_must_be_asked() {
    // The lease is lost at about 4 s. The next claim is answered at 6 s, after intake has closed, and the store is out until 6.8 s.
    let bulk = Bulk { numbers: 1, takes: secs(20), lease: secs(9), ..Bulk::default() };
    let seen = bulk.run(|build| {
        let slow = site("numbers").slow(secs(1)).lasting(secs(3));
        let outage = site("numbers").outage().lasting(secs(1));
        let script = Script::new().at(secs(1), site("numbers").lease_taken()).at(millis(2_500), slow);
        script.at(millis(5_700), Signal::Terminate).at(millis(5_800), outage).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 1, "{}", seen.outcome.timeline);
    let returned = seen.outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. }));
    assert_eq!(returned, 1, "{}", seen.outcome.timeline);
    let depth = seen.queue.inspect_depth();
    assert_eq!((depth.ready, depth.leased), (1, 0));
}

#[test]
fn a_batch_that_runs_longer_than_its_leases_keeps_all_of_them() {
    let seen = Bulk {
        numbers: 40,
        batches: Batches::of(10),
        concurrency: 2,
        takes: secs(50),
        lease: secs(9),
        ..Bulk::default()
    }
    .run(|build| Script::new().at(secs(300), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches(), [(0, 10), (0, 10), (50, 10), (50, 10)]);
    assert_eq!(seen.written(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_batch_lingers_for_company_and_begins_when_it_is_full() {
    let surroundings = |world: &mut World, queue: &SimQueue<u32>| {
        for (at, numbers) in [(1, 1..=1), (2, 2..=2), (10, 3..=6)] {
            let queue = queue.clone();
            world.at(secs(at), "numbers", move || queue.seed_messages(numbers.map(Message::new)));
        }
    };
    let seen = Bulk {
        numbers: 0,
        batches: Batches::of(4).linger(secs(5)),
        takes: millis(10),
        surroundings,
        ..Bulk::default()
    }
    .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    // The first is there at 1 s, and waits until 6 s; the four that come together wait for nobody.
    assert_eq!(seen.batches(), [(6, 2), (10, 4)]);
}

#[test]
fn q9_a_batch_whose_leases_may_lapse_before_they_are_renewed_goes_back_and_is_claimed_again() {
    // It lingers for a fourth, and the store takes from 1 s to 5 s to say that there is none: the leases end at 6 s.
    let bulk = Bulk { numbers: 3, batches: Batches::of(4).linger(secs(2)), lease: secs(6), ..Bulk::default() };
    let seen = bulk.run(|build| {
        let slow = site("numbers").slow(secs(4)).lasting(secs(1));
        Script::new().at(millis(500), slow).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches(), [(7, 3)], "{}", seen.outcome.timeline);
    let returned = seen.outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. }));
    assert_eq!(returned, 3);
}

#[test]
fn a_claim_that_fails_while_a_batch_lingers_is_tried_again_when_it_was_said_to_be() {
    // The other batch waits for its turn to claim, and has it when the first goes on with what it has.
    let bulk = Bulk { numbers: 3, batches: Batches::of(4).linger(secs(8)), concurrency: 2, ..Bulk::default() };
    let seen = bulk.run(|build| {
        let outage = site("numbers").outage().lasting(secs(2));
        Script::new().at(millis(500), outage).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let failed = seen.outcome.events().filter_map(|(at, event)| match event {
        Event::SourceFailed { consecutive, delay, .. } => Some((at, *consecutive, *delay)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed.len() > 1, "{}", seen.outcome.timeline);
    let ((first, one, delay), (second, two, _)) = (failed[0], failed[1]);
    assert_eq!((one, two), (1, 2));
    assert!(second >= first + delay, "again at {second:?}, after {first:?} and {delay:?}");
}

#[test]
fn t1_a_batch_that_lingers_when_intake_closes_is_returned() {
    let seen = Bulk { numbers: 3, batches: Batches::of(4).linger(secs(8)), ..Bulk::default() }
        .run(|build| Script::new().at(secs(2), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches(), []);
    assert_eq!(seen.queue.inspect_depth().ready, 3);
    assert_eq!(seen.outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. })), 3);
}

/// A worker of six numbers: its first batch fails and opens the breaker while the second, with 5 and 6 in it, waits for company.
/// At 8 s that waits no longer and is the probe, with the 5 alone; the store takes 2 s to take the 6 back.
fn second_batch_is_the_probe(stop_at: Duration) -> Seen {
    let bulk = Bulk {
        numbers: 6,
        batches: Batches::of(4).linger(secs(8)),
        concurrency: 2,
        lease: secs(60),
        retry: Retry::exponential().initial(secs(60)).jitter_percent(0),
        breaker: Some(Breaker::after(1).probe_every(secs(5)).jitter_percent(0)),
        ..Bulk::default()
    };
    let seen = bulk.run(|build| {
        let outage = site("backend").outage().lasting(secs(2));
        let slow = site("numbers").slow(secs(2)).lasting(secs(4));
        let script = Script::new().at(secs(0), outage).at(millis(7_750), slow);
        script.at(stop_at, Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches()[..2], [(0, 4), (8, 1)], "{}", seen.outcome.timeline);
    let returned = time_of(&seen.outcome, |event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. }));
    assert_eq!(returned, Some(secs(10)));
    seen
}

#[test]
fn b1_a_probe_begins_at_once_and_what_it_may_not_have_beside_it_is_given_back_meanwhile() {
    let seen = second_batch_is_the_probe(secs(100));
    let closed = time_of(&seen.outcome, |event| matches!(event, Event::BreakerClosed { .. }));
    assert_eq!(closed, Some(secs(9)));
    assert_eq!(seen.written(), (1..=6).collect::<Vec<_>>());
}

#[test]
fn q4_what_a_probe_may_not_have_beside_it_is_given_back_though_intake_closes_meanwhile() {
    let seen = second_batch_is_the_probe(millis(8_500));
    assert_eq!(seen.written(), [5]);
    let depth = seen.queue.inspect_depth();
    assert_eq!((depth.ready, depth.leased), (5, 0));
}

/// A source of the program's own: what it has lies on a shelf in the process, and so waits for the rate limit in its lanes.
#[derive(Clone, Default)]
struct Shelf {
    goods: Arc<Mutex<Vec<u32>>>,
    /// What has failed before.
    again: Option<u32>,
    /// How long it takes to lay something back.
    lays_back_in: Duration,
    /// Nothing can be laid back.
    is_full: bool,
}

struct ShelfLane {
    shelf: Shelf,
    taken: Option<u32>,
}

impl Source for Shelf {
    type Input = u32;
    type Lane = ShelfLane;

    fn kind(&self) -> SourceKind {
        SourceKind::Continuous
    }

    fn lane(&self, _: &LaneContext) -> ShelfLane {
        ShelfLane { shelf: self.clone(), taken: None }
    }
}

impl Lane for ShelfLane {
    type Input = u32;

    async fn next(&mut self, _: &LaneContext) -> Result<Option<Offer<u32>>, Failure> {
        // It is for batches alone.
        Ok(None)
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, settle: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        let Some(back) = self.taken.take().filter(|_| settle == Settle::Return) else { return Ok(()) };
        if self.shelf.is_full {
            return Err("there is no room on the shelf".into());
        }
        if !self.shelf.lays_back_in.is_zero() {
            tokio::time::sleep(self.shelf.lays_back_in).await;
        }
        self.shelf.goods.lock().unwrap().push(back);
        Ok(())
    }
}

impl BatchLane for ShelfLane {
    type Taken = u32;

    async fn take(&mut self, max: usize, _: Duration, taken: &mut Vec<u32>, cx: &LaneContext) -> Result<(), Failure> {
        if !cx.is_closed() {
            let mut goods = self.shelf.goods.lock().unwrap();
            let many = max.min(goods.len());
            taken.extend(goods.drain(..many));
        }
        if taken.is_empty() {
            cx.closed().await;
        }
        Ok(())
    }

    fn accept(&mut self, taken: u32, _: &LaneContext) -> Offer<u32> {
        self.taken = Some(taken);
        Offer::of(taken, if self.shelf.again == Some(taken) { 2 } else { 1 })
    }

    /// Each lane settles for itself.
    async fn settle_together(_: &mut [Settling<'_, Self>]) {}
}

/// A worker that is done with each batch at once.
struct Quick;

impl BatchWorker for Quick {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn t1_what_a_batch_holds_while_it_waits_for_its_rate_limit_goes_back_when_intake_closes() {
    let (shelf, notes) = (Shelf::default(), Notes::default());
    shelf.goods.lock().unwrap().extend(1..=6);
    let (inside, seen, noted) = (shelf.clone(), shelf.goods.clone(), notes.clone());
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(move |world| {
        world.at(secs(4), "a look", move || noted.add(format!("{} on the shelf", seen.lock().unwrap().len())));
        world.node("node", move |node| {
            let limit = RateLimit::of(1, secs(60));
            let host = node.host().batch_worker("pack", inside.clone(), Batches::of(3), Quick);
            host.rate_limit(limit).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["0 on the shelf"], "the second batch holds what the first has left");
    assert_eq!(outcome.count(|event| matches!(event, Event::BatchStarted { .. })), 1);
    let mut left = shelf.goods.lock().unwrap().clone();
    left.sort_unstable();
    assert_eq!(left, [4, 5, 6]);
    assert_eq!(outcome.ended_at(), secs(5));
}

#[test]
fn a_source_that_takes_nothing_back_is_heard() {
    let shelf = Shelf { is_full: true, ..Shelf::default() };
    shelf.goods.lock().unwrap().extend(1..=6);
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let host = node.host().batch_worker("pack", shelf.clone(), Batches::of(3), Quick);
            host.rate_limit(RateLimit::of(1, secs(60))).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let refused = outcome.count(|event| {
        matches!(event, Event::SettleFailed { cycle: None, delivery: None, settle: Settle::Return, .. })
    });
    assert_eq!(refused, 3, "{}", outcome.timeline);
    assert_eq!(outcome.report().unwrap().worker("pack").unwrap().cycles.succeeded, 3);
}

#[test]
fn t1_what_runs_alone_does_not_begin_when_intake_closes_while_its_others_are_given_back() {
    let shelf = Shelf { again: Some(2), lays_back_in: secs(2), ..Shelf::default() };
    shelf.goods.lock().unwrap().extend(1..=3);
    let inside = shelf.clone();
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            node.host().batch_worker("pack", inside.clone(), Batches::of(3), Quick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::BatchStarted { .. })), 0);
    // Rule Q10: the others go back first, and then the one itself.
    assert_eq!(*shelf.goods.lock().unwrap(), [1, 3, 2]);
    assert_eq!(outcome.ended_at(), secs(4));
}

/// A source of the program's own around that of a queue: it looks at each input of a batch, and at what that was claimed under.
struct Marked {
    rows: Rows,
    mark: Mark,
}

type Mark = fn(u32, &mut Claimed);

type Rows = QueueSource<SimQueue<u32>, u32>;

struct MarkedLane {
    rows: <Rows as Source>::Lane,
    mark: Mark,
    claimed: Option<Claimed>,
}

impl Source for Marked {
    type Input = u32;
    type Lane = MarkedLane;

    fn kind(&self) -> SourceKind {
        self.rows.kind()
    }

    fn begin(&self) {
        self.rows.begin();
    }

    fn lane(&self, cx: &LaneContext) -> MarkedLane {
        MarkedLane { rows: self.rows.lane(cx), mark: self.mark, claimed: None }
    }

    async fn maintain(&self, cx: &SourceContext) {
        self.rows.maintain(cx).await;
    }
}

impl Lane for MarkedLane {
    type Input = u32;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<u32>>, Failure> {
        self.rows.next(cx).await
    }

    fn claimed(&self) -> Option<&Claimed> {
        self.claimed.as_ref()
    }

    async fn settle(&mut self, settle: Settle, failure: Option<&Failure>, cx: &LaneContext) -> Result<(), BoxError> {
        self.rows.settle(settle, failure, cx).await
    }
}

impl BatchLane for MarkedLane {
    type Taken = Delivery<u32>;

    async fn take(
        &mut self,
        max: usize,
        linger: Duration,
        taken: &mut Vec<Delivery<u32>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        self.rows.take(max, linger, taken, cx).await
    }

    fn accept(&mut self, taken: Delivery<u32>, cx: &LaneContext) -> Offer<u32> {
        let offer = self.rows.accept(taken, cx);
        self.claimed = self.rows.claimed().copied();
        if let (Ok(input), Some(claimed)) = (&offer.input, &mut self.claimed) {
            (self.mark)(*input, claimed);
        }
        offer
    }

    /// Each lane settles for itself.
    async fn settle_together(_: &mut [Settling<'_, Self>]) {}
}

#[test]
fn c1_a_source_that_panics_over_one_input_of_a_batch_has_all_of_it_given_back_and_other_batches_go_on() {
    let mark: Mark = |input, _| assert!(input != 2, "there is no form for a two");
    let mut seen = None;
    let outcome = Script::new().run_once(|world| {
        let rows: SimQueue<u32> = world.queue("rows");
        rows.seed([9]);
        let later = rows.clone();
        world.at(secs(1), "rows", move || later.seed(1..=3));
        seen = Some(rows.clone());
        world.node("node", move |node| {
            let source = Marked { rows: rows.clone().source(), mark };
            node.host().batch_worker("rows", source, Batches::of(3), Steady).concurrency(2).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let faults = outcome.events().filter_map(|(at, event)| match event {
        Event::WorkerFaulted { cause, .. } => Some((at, cause.kind)),
        _ => None,
    });
    assert_eq!(faults.collect::<Vec<_>>(), [(secs(1), FailureKind::Panic)], "{}", outcome.timeline);
    assert_eq!(outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. })), 3);
    let depth = seen.unwrap().inspect_depth();
    assert_eq!((depth.ready, depth.leased), (3, 0));
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::Settled { settle: Settle::Ack, .. })), Some(secs(5)));
    assert_eq!(outcome.ended_at(), secs(5));
}

#[test]
fn q8_what_runs_alone_has_all_of_its_time_however_long_its_others_are_given_back_for() {
    // The one has crashed, as its source says.
    let mark: Mark = |input, claimed| claimed.crashes = u32::from(input == 1);
    // The claim is answered at 100 ms, and what follows it refused until 25 s.
    let slow = site("rows").slow(millis(100)).lasting(millis(60));
    let script = Script::new().at(secs(0), slow).at(millis(75), site("rows").outage().lasting(secs(25)));
    let outcome = script.at(secs(60), Signal::Terminate).run_once(|world| {
        let rows: SimQueue<u32> = world.queue("rows");
        rows.seed(1..=3);
        world.node("node", move |node| {
            let source = Marked { rows: rows.clone().source(), mark };
            node.host().batch_worker("rows", source, Batches::of(3), Steady).cycle_timeout(secs(6)).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let batches = outcome.events().filter_map(|(at, event)| match event {
        Event::BatchStarted { cycles, .. } => Some((at.as_secs(), *cycles)),
        _ => None,
    });
    assert_eq!(batches.collect::<Vec<_>>(), [(25, 1), (30, 2)], "{}", outcome.timeline);
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseGivenUp { .. })), 0);
    assert_eq!(outcome.report().unwrap().worker("rows").unwrap().cycles.succeeded, 3);
}

#[test]
fn b1_a_batch_counts_as_one_cycle_for_its_breaker() {
    let breaker = Breaker::after(3).probe_every(secs(10)).jitter_percent(0);
    let seen = Bulk { takes: millis(0), breaker: Some(breaker), ..Bulk::default() }.run(|build| {
        let outage = site("backend").outage().lasting(secs(15));
        Script::new().at(secs(0), outage).at(secs(120), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    // The batch of ten is one failure, and two of the retries that follow, each alone, are the others.
    let opened = time_of(&seen.outcome, |event| matches!(event, Event::BreakerOpened { failures: 3, .. }));
    assert_eq!(opened, Some(secs(1)));
    assert_eq!(seen.written(), (1..=10).collect::<Vec<_>>());
}

/// At the first attempt, a batch with a one in it fails after 25 s, and one with a two in it at once.
struct Unsteady;

impl BatchWorker for Unsteady {
    type Input = u32;

    async fn cycle(&self, batch: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        let (hangs, fails) = {
            let has = |number: u32| batch.iter().any(|item| item.input == number && item.attempt() == 1);
            (has(1), has(2))
        };
        if hangs {
            tokio::time::sleep(secs(25)).await;
        }
        if hangs || fails { Err(Failure::transient("down")) } else { Ok(()) }
    }
}

#[test]
fn b1_a_batch_that_was_in_flight_when_the_breaker_opened_does_not_open_it_once_it_has_closed() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        let numbers: SimQueue<u32> = world.queue("numbers");
        numbers.seed([1]);
        let later = numbers.clone();
        world.at(secs(10), "numbers", move || later.seed([2, 3]));
        world.node("node", move |node| {
            node.host()
                .batch_worker("write", numbers.clone().source(), Batches::of(2), Unsteady)
                .concurrency(2)
                .breaker(Breaker::after(1).probe_every(secs(5)).jitter_percent(0))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let closed = time_of(&outcome, |event| matches!(event, Event::BreakerClosed { .. }));
    assert_eq!(closed, Some(secs(15)));
    // The one fails at 25 s.
    assert_eq!(outcome.count(|event| matches!(event, Event::BreakerOpened { .. })), 1);
    assert_eq!(outcome.report().unwrap().worker("write").unwrap().cycles.succeeded, 3);
}

#[test]
fn c5_a_panic_in_a_batch_is_that_of_the_inputs_without_a_verdict() {
    let seen = Bulk { one_by_one: true, ..Bulk::default() }.run(|build| {
        Script::new().at(millis(3_500), site("backend").panic()).at(secs(60), Signal::Terminate).run_once(build)
    });
    seen.outcome.assert_rules_kept();
    let panicked = seen.outcome.count(
        |event| matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Panic),
    );
    assert_eq!(panicked, 7, "the fourth, whose call it was, and those after it");
    assert_eq!(seen.written(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn c5_a_panic_of_the_store_over_what_is_moved_aside_is_not_held_against_the_batch_that_ends_in_the_same_poll() {
    // The claim takes 200 ms, and so does the settlement, which gets there as the batch of 100 ms ends.
    let script = Script::new()
        .at(secs(0), site("numbers").slow(millis(200)).lasting(millis(250)))
        .at(millis(250), site("numbers").panic());
    let surroundings = |_: &mut World, queue: &SimQueue<u32>| queue.seed_undecodable("half a row");
    let seen =
        Bulk { numbers: 3, takes: millis(100), surroundings, ..Bulk::default() }.run(|build| script.run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.outcome.stats.struck, [true, true], "{}", seen.outcome.timeline);
    let ended = time_of(&seen.outcome, |event| matches!(event, Event::BatchEnded { failure: None, .. }));
    let faulted = time_of(&seen.outcome, |event| matches!(event, Event::WorkerFaulted { .. }));
    assert_eq!((ended, faulted), (Some(millis(300)), Some(millis(300))));
}

#[test]
fn an_undecodable_input_is_moved_aside_and_its_batch_runs_without_it() {
    let surroundings = |_: &mut World, queue: &SimQueue<u32>| {
        queue.seed_undecodable("expected a number, found \"seven\"");
        queue.seed([8]);
    };
    let seen = Bulk { numbers: 3, surroundings, ..Bulk::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    assert_eq!(seen.batches(), [(0, 4)]);
    assert_eq!(seen.written(), [1, 2, 3, 8]);
    let letters = seen.queue.inspect_dead_letters();
    let causes: Vec<DeadLetterCause> = letters.iter().map(|letter| letter.cause).collect();
    assert_eq!(causes, [DeadLetterCause::Undecodable]);
    assert_eq!(seen.queue.inspect_depth().unsettled(), 0);
}

#[test]
fn a_crash_in_the_middle_of_batches_loses_nothing() {
    let seen = Bulk { numbers: 50, batches: Batches::of(8), concurrency: 2, lease: secs(10), ..Bulk::default() }
        .run(|build| Script::new().at(millis(2_500), plan::crash(secs(1))).run(build));
    seen.outcome.assert_rules_kept();
    let mut written = seen.written();
    written.dedup();
    assert_eq!(written, (1..=50).collect::<Vec<_>>());
    assert!(seen.dead().is_empty());
}

#[test]
fn what_runs_alone_is_not_put_off_by_those_that_need_not() {
    // Two fails at first; while it waits for its retry, more and more urgent numbers come.
    let look = |batch: &mut Batch<u32>| {
        for item in batch {
            if item.input == 2 && item.attempt() == 1 {
                item.fail(Failure::transient("locked"));
            }
        }
        Ok(())
    };
    let surroundings = |world: &mut World, queue: &SimQueue<u32>| {
        for at in 0..40 {
            let queue = queue.clone();
            let urgent = move |number: u32| Message::new(100 + number).priority(Priority(1));
            world.at(millis(500 * at), "urgent numbers", move || queue.seed_messages((0..3).map(urgent)));
        }
    };
    let seen = Bulk { numbers: 2, look, surroundings, ..Bulk::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    seen.outcome.assert_rules_kept();
    let again = time_of(&seen.outcome, |event| matches!(event, Event::CycleStarted { attempt: 2, .. })).unwrap();
    assert!(again <= secs(6), "its delay, a batch that passes it over, and one more: {again:?}");
}
