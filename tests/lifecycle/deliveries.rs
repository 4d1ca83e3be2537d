//! Leases, renewals, crashes, fencing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Breaker, Context, Failure, QueueSourceExt, Schedule, Signal, Tick,
    event::{Event, Settle},
    queue::{DeadLetterCause, FailureKind, Message, Queue},
};
use shiftwork_sim::{
    Outcome, Plan, Script, SimQueue, What, World, millis, plan,
    record::{QueueOperation, Settled},
    secs, site,
};

use crate::worlds::{Jobs, Seen, attempts, names, time_of};

#[test]
fn a_job_slower_than_its_lease_runs_once() {
    let (outcome, seen) = Jobs { jobs: 20, concurrency: 2, takes: secs(95), lease: secs(30), ..Jobs::default() }
        .run(|build| Script::new().at(secs(1_100), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!(done, (1..=20).collect::<Vec<_>>());
    assert!(attempts(&outcome).iter().all(|(_, attempt)| *attempt == 1));
}

#[test]
fn one_failed_renewal_costs_nothing() {
    let (outcome, seen) = Jobs { takes: secs(60), lease: secs(30), ..Jobs::default() }.run(|build| {
        Script::new()
            .at(secs(8), site("jobs").outage().lasting(secs(5)))
            .at(secs(90), Signal::Terminate)
            .run_once(build)
    });
    outcome.assert_rules_kept();
    assert!(outcome.count(|event| matches!(event, Event::RenewalFailed { .. })) >= 1);
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 0);
    assert_eq!(seen.done(), [1]);
    assert_eq!(attempts(&outcome).len(), 1);
}

/// Why settlements are said to have failed.
fn unsettled(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.events().filter_map(|(_, event)| match event {
        Event::SettleFailed { cause, .. } => Some(cause.message.to_string()),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_settlement_whose_answer_was_lost_is_said_to_be_most_likely_stored() {
    // Settled at 1 s, and again 100 ms later.
    let (outcome, seen) = Jobs::default().run(|build| {
        let lost = site("jobs").reply_lost(100).lasting(millis(550));
        Script::new().at(millis(500), lost).at(secs(60), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    let said = unsettled(&outcome);
    assert!(matches!(&*said, [it] if it.starts_with("most likely stored by an earlier try")), "{said:?}");
    assert_eq!(attempts(&outcome).len(), 1);
    assert_eq!(seen.queue.inspect_depth().unsettled(), 0);
}

#[test]
fn a_settlement_whose_lease_was_taken_is_not_said_to_be_stored() {
    let (outcome, _) = Jobs::default().run(|build| {
        Script::new().at(millis(500), site("jobs").lease_taken()).at(secs(60), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    let said = unsettled(&outcome);
    assert!(matches!(&*said, [it] if it.starts_with("the lease of delivery")), "{said:?}");
}

#[test]
fn a_source_that_never_polls_waits_for_its_queue_to_say_that_it_has_changed() {
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        let (coming, inside) = (queue.clone(), queue);
        world.at(secs(10), "job", move || coming.seed([1]));
        world.node("node", move |node| {
            let done = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let source = inside.clone().source().poll_interval(std::time::Duration::MAX);
            node.host().worker("jobs", source, done).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome).len(), 1);
}

#[test]
fn a_push_waits_for_a_cooldown_only_where_a_claim_has_just_found_nothing() {
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        let (first, second) = (queue.clone(), queue.clone());
        world.at(secs(5), "first", move || first.seed([1]));
        world.at(millis(5_500), "second", move || second.seed([2]));
        world.node("node", move |node| {
            let done = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let source = queue.clone().source().poll_interval(secs(10)).cooldown(secs(1));
            node.host().worker("jobs", source, done).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(5), 1), (secs(6), 1)]);
}

#[test]
fn a_trigger_does_not_wait_for_a_cooldown() {
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        let coming = queue.clone();
        world.at(secs(5), "job", move || coming.seed([1]));
        world.node("node", move |node| {
            let done = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let source = queue.clone().source().cooldown(secs(60));
            let mut host = node.host().worker("jobs", source, done).build().unwrap();
            let handle = host.handle();
            async move {
                let triggers = async {
                    tokio::time::sleep(secs(10)).await;
                    handle.trigger("jobs").unwrap();
                };
                tokio::join!(host.run_until_signal(), triggers).0
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(10), 1)]);
}

#[test]
fn leases_are_renewed_through_the_drain() {
    let (outcome, seen) = Jobs { takes: secs(18), lease: secs(6), ..Jobs::default() }
        .run(|build| Script::new().at(secs(1), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(18));
    assert_eq!(seen.done(), [1]);
    assert_eq!(seen.queue.inspect_depth().unsettled(), 0);
}

#[test]
fn q6_a_lost_lease_interrupts_its_cycle_and_a_stale_ack_is_refused() {
    // Renewals fail for longer than the lease lasts; meanwhile another process claims the delivery, and dies.
    let surroundings = |world: &mut World, seen: &Seen| {
        let rival = seen.queue.clone();
        world.at(secs(13), "rival", move || rival.rival_claims(secs(30)));
    };
    let (outcome, seen) = Jobs { takes: secs(40), lease: secs(9), surroundings, ..Jobs::default() }.run(|build| {
        let outage = site("jobs").outage().lasting(secs(12));
        Script::new().at(secs(2), outage).at(secs(200), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    let lost = time_of(&outcome, |event| matches!(event, Event::LeaseLost { .. })).unwrap();
    assert!((secs(14)..secs(16)).contains(&lost), "as soon as the store can be asked: {lost:?}");
    let interrupted = outcome.count(|event| {
        matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Interrupted)
    });
    assert_eq!(interrupted, 1);
    assert!(outcome.timeline.time_of(|what| matches!(what, What::Queue(QueueOperation::Fenced { .. }))).is_some());
    // When the rival's lease has lapsed, it is done here after all, and its attempt was never spent.
    assert_eq!(seen.done(), [1]);
    assert!(attempts(&outcome).iter().all(|(_, attempt)| *attempt == 1));
}

#[test]
fn q11_a_delivery_that_its_own_worker_claimed_again_has_one_cycle_at_a_time() {
    // The wall clock steps over the lease, and the idle lane claims what the other one still works on.
    let (outcome, seen) = Jobs { takes: secs(40), concurrency: 2, ..Jobs::default() }.run(|build| {
        let step = plan::clock_forward(secs(100));
        Script::new().at(secs(5), step).at(secs(100), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 1);
    assert_eq!(attempts(&outcome).len(), 2);
    let ended = time_of(&outcome, |event| matches!(event, Event::CycleEnded { .. })).unwrap();
    let again = attempts(&outcome)[1].0;
    assert!(
        ended <= again && again <= ended + millis(1),
        "the older one ended at {ended:?}, the newer began at {again:?}"
    );
    assert_eq!(seen.done(), [1]);
}

#[test]
fn q11_a_batch_that_its_own_worker_claimed_again_has_one_call_at_a_time() {
    let outcome =
        Script::new().at(secs(5), plan::clock_forward(secs(100))).at(secs(200), Signal::Terminate).run_once(|world| {
            let queue = world.queue::<u32>("rows");
            queue.seed(1..=6);
            world.node("node", move |node| {
                let source = queue.clone().source();
                node.host().batch_worker("rows", source, Batches::of(10), Slow).concurrency(2).run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    // The idle lanes claim the six again, and begin with the first of them: its older lease is lost, and takes the call with it.
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 1);
    let begun: Vec<_> = outcome
        .events()
        .filter_map(|(at, event)| match event {
            Event::BatchStarted { cycles, .. } => Some((at, *cycles)),
            _ => None,
        })
        .collect();
    // What was claimed again is not known to be innocent, and runs alone.
    assert_eq!(begun.iter().map(|(_, cycles)| *cycles).collect::<Vec<_>>(), [6, 1, 1, 1, 1, 1, 1]);
    let ended = time_of(&outcome, |event| matches!(event, Event::BatchEnded { failure: Some(_), .. })).unwrap();
    assert!(ended >= secs(5) && ended <= begun[1].0, "ended at {ended:?}, and begun at {begun:?}");
    let cycles = outcome.report().unwrap().worker("rows").unwrap().cycles;
    assert_eq!((cycles.succeeded, cycles.interrupted), (6, 6));
}

/// A batch worker that takes its time.
struct Slow;

impl BatchWorker for Slow {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        tokio::time::sleep(secs(15)).await;
        Ok(())
    }
}

#[test]
fn an_undecodable_payload_is_moved_aside_and_nobody_else_notices() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed([1]);
        queue.seed_undecodable("expected a number, found \"seven\"");
        queue.seed([2]);
        let letters = queue.clone();
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok(()) };
            node.host().worker("jobs", queue.clone().source(), work).run_until_signal()
        });
        world.done_when(move || letters.inspect_dead_letters().len() == 1);
    });
    outcome.assert_rules_kept();
    let unrun = outcome.events().find_map(|(_, event)| match event {
        Event::SettledUnrun { settle: Settle::DeadLetter { cause, .. }, .. } => Some(*cause),
        _ => None,
    });
    assert_eq!(unrun, Some(DeadLetterCause::Undecodable));
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("jobs").unwrap().cycles.succeeded, 2);
}

#[test]
fn c4_a_damaged_row_that_comes_beside_slow_siblings_is_moved_aside_at_once_and_holds_up_nobody() {
    let surroundings = |world: &mut World, seen: &Seen| {
        let (damaged, next) = (seen.queue.clone(), seen.queue.clone());
        world.at(secs(3), "a damaged row", move || damaged.seed_undecodable("expected a number, found \"seven\""));
        world.at(secs(4), "a job", move || next.seed([3]));
    };
    let (outcome, seen) = Jobs { jobs: 2, takes: secs(10), concurrency: 3, surroundings, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    let aside = time_of(&outcome, |event| {
        let Event::SettledUnrun { settle: Settle::DeadLetter { cause, .. }, .. } = event else { return false };
        *cause == DeadLetterCause::Undecodable
    });
    assert_eq!(aside, Some(secs(3)));
    let letters = seen.dead_letters();
    assert_eq!((letters.len(), letters[0].payload.is_err()), (1, true));
    // The two that were at work stay at it, and the lane that met the row takes what comes next.
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(0), 1), (secs(4), 1)]);
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!(done, [1, 2, 3]);
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 0);
}

#[test]
fn c4_a_damaged_row_over_which_the_process_dies_is_moved_aside_all_the_same() {
    // The store is slow, so that the claim of the row is answered at 4.2 s; whoever asks it next, to store the dead letter, is killed
    // before or after that is done.
    for after_effect in [false, true] {
        let surroundings = |world: &mut World, seen: &Seen| {
            let damaged = seen.queue.clone();
            world.at(millis(3_200), "a damaged row", move || damaged.seed_undecodable("half a row"));
        };
        let (outcome, seen) =
            Jobs { jobs: 2, takes: secs(10), concurrency: 3, surroundings, ..Jobs::default() }.run(|build| {
                Script::new()
                    .at(millis(3_100), site("jobs").slow(secs(1)).lasting(secs(3)))
                    .at(millis(4_500), site("jobs").crash(after_effect))
                    .at(secs(100), Signal::Terminate)
                    .run_once(build)
            });
        outcome.assert_rules_kept();
        let crashed = outcome.timeline.time_of(|what| matches!(what, What::Crashed)).unwrap();
        assert!((millis(4_500)..secs(6)).contains(&crashed), "while the dead letter is stored: {crashed:?}");
        let stored =
            |what: &What| matches!(what, What::Queue(QueueOperation::Settled { how: Settled::DeadLettered, .. }));
        let stored = outcome.timeline.time_of(stored).unwrap();
        assert_eq!(stored <= crashed, after_effect, "stored at {stored:?}, and crashed at {crashed:?}");
        let letters = seen.dead_letters();
        assert_eq!((letters.len(), letters[0].cause), (1, DeadLetterCause::Undecodable));
        assert_eq!(letters[0].crashes, u32::from(!after_effect));
        // Its siblings are done in the next life, and no attempt of theirs was spent.
        let mut done = seen.done();
        done.sort_unstable();
        assert_eq!((done, outcome.stats.boots), (vec![1, 2], 2));
        assert!(attempts(&outcome).iter().all(|(_, attempt)| *attempt == 1), "{:?}", attempts(&outcome));
        assert_eq!(seen.queue.inspect_depth().unsettled(), 0);
    }
}

#[test]
fn q5_a_message_that_kills_its_process_is_moved_aside_after_three_crashes() {
    // Whatever calls the backend takes the process with it.
    let script = (0..10).fold(Script::new(), |script, _| script.at(secs(0), site("backend").crash(false)));
    let (outcome, seen) = Jobs { lease: secs(10), ..Jobs::default() }.run(|build| script.run(build));
    outcome.assert_rules_kept();
    let letters = seen.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, DeadLetterCause::CrashLoop);
    assert_eq!(letters[0].crashes, 3);
    assert_eq!(seen.done(), Vec::<u32>::new());
    assert_eq!(outcome.stats.boots, 4);
    assert_eq!(outcome.count(|event| matches!(event, Event::Escalated { cycle: None, attempts: 0, .. })), 1);
}

#[test]
fn q1_a_crash_between_effect_and_ack_repeats_the_work_and_loses_nothing() {
    let (outcome, seen) = Jobs { lease: secs(10), ..Jobs::default() }
        .run(|build| Script::new().at(secs(0), site("backend").crash(true)).run(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 1], "at least once, and here twice");
    assert!(seen.dead_letters().is_empty());
}

#[test]
fn q3_a_crash_loses_nothing_that_was_in_flight() {
    let (outcome, seen) = Jobs { jobs: 50, concurrency: 10, lease: secs(10), ..Jobs::default() }
        .run(|build| Script::new().at(secs(2), plan::crash(secs(1))).run(build));
    outcome.assert_rules_kept();
    let mut done = seen.done();
    done.sort_unstable();
    done.dedup();
    assert_eq!(done, (1..=50).collect::<Vec<_>>());
}

#[test]
fn q4_a_claim_that_is_under_way_when_intake_closes_is_awaited_and_returned() {
    // The claim takes its time, and the stop comes while it does.
    let (outcome, seen) = Jobs::default().run(|build| {
        Script::new().at(secs(0), site("jobs").hang().lasting(secs(2))).at(secs(1), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert!(seen.done().is_empty());
    assert_eq!(seen.queue.inspect_depth().ready, 1);
    assert_eq!(seen.queue.inspect_depth().leased, 0);
}

#[test]
fn the_next_delivery_is_claimed_in_the_operation_in_which_a_success_is_stored() {
    let (outcome, seen) = Jobs { jobs: 3, ..Jobs::default() }.run(|build| {
        let slow = site("jobs").slow(millis(100)).lasting(secs(10));
        Script::new().at(secs(0), slow).at(secs(20), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 2, 3]);
    let starts: Vec<Duration> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
    assert_eq!(starts, [millis(100), millis(1_200), millis(2_300)]);
}

#[test]
fn q4_what_is_claimed_with_a_settlement_is_returned_when_intake_closes_meanwhile() {
    let (outcome, seen) = Jobs { jobs: 2, ..Jobs::default() }.run(|build| {
        let slow = site("jobs").slow(secs(2)).lasting(secs(1));
        Script::new().at(millis(500), slow).at(secs(2), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1]);
    assert_eq!(outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. })), 1);
    let depth = seen.queue.inspect_depth();
    assert_eq!((depth.ready, depth.leased), (1, 0));
    assert_eq!(outcome.ended_at(), secs(3));
}

#[test]
fn q2_what_is_claimed_with_a_settlement_does_not_begin_when_the_answer_comes_later_than_its_lease_lasts() {
    // The first is done at 1 s, and its store claims the third with it; it does so at 3 s, and says so at 5 s. By then the lease of 3 s is
    // over, and the lane that is done with the second at 4.5 s has claimed the third again.
    let slow = site("jobs").slow(secs(4)).lasting(secs(1));
    let outcome = Script::new().at(millis(500), slow).at(secs(20), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=3);
        world.node("node", move |node| {
            let work = |job: u32, _: Context| async move {
                tokio::time::sleep(if job == 2 { millis(4_500) } else { secs(1) }).await;
                Ok::<(), Failure>(())
            };
            let source = queue.clone().source().lease(secs(3));
            node.host().worker("jobs", source, work).concurrency(2).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let starts: Vec<Duration> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
    assert_eq!(starts, [secs(0), secs(0), millis(4_500)], "{}", outcome.timeline);
    assert_eq!(outcome.report().unwrap().worker("jobs").unwrap().cycles.succeeded, 3);
}

#[test]
fn q2_what_is_claimed_does_not_begin_when_the_answer_comes_later_than_its_lease_lasts() {
    // The store claims at 2 s, and says so at 4 s. By then the lease of 3 s is over, and a rival has it until 4.5 s.
    let surroundings = |world: &mut World, seen: &Seen| {
        let rival = seen.queue.clone();
        world.at(millis(3_500), "rival", move || rival.rival_claims(secs(1)));
    };
    let (outcome, seen) = Jobs { lease: secs(3), surroundings, ..Jobs::default() }.run(|build| {
        let slow = site("jobs").slow(secs(4)).lasting(millis(500));
        Script::new().at(secs(0), slow).at(secs(20), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    let starts: Vec<Duration> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
    assert!(starts.len() == 1 && (millis(4_500)..secs(5)).contains(&starts[0]), "{}", outcome.timeline);
    assert_eq!(seen.done(), [1]);
}

#[test]
fn b1_what_is_claimed_with_a_settlement_does_not_begin_when_the_breaker_opens_meanwhile() {
    let slow = site("jobs").slow(secs(2)).lasting(millis(600));
    let outcome = Script::new().at(millis(500), slow).at(secs(40), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=3);
        world.node("node", move |node| {
            // The second fails once, while the success of the first is on its way to the store.
            let work = |job: u32, cx: Context| async move {
                tokio::time::sleep(secs(u64::from(job.min(2)))).await;
                if job == 2 && cx.attempt() == 1 { Err(Failure::transient("once")) } else { Ok(()) }
            };
            let breaker = Breaker::after(1).probe_every(secs(10)).jitter_percent(0);
            node.host().worker("jobs", queue.clone().source(), work).concurrency(2).breaker(breaker).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::BreakerOpened { .. })), Some(secs(2)));
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::SettledUnrun { .. })), Some(secs(3)));
    let starts: Vec<Duration> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
    assert_eq!(starts[..3], [secs(0), secs(0), secs(12)], "{}", outcome.timeline);
    assert_eq!(outcome.report().unwrap().worker("jobs").unwrap().cycles.succeeded, 3);
}

#[test]
fn a_settlement_whose_reply_was_lost_is_not_done_twice() {
    let (outcome, seen) = Jobs::default().run(|build| {
        let lost = site("jobs").reply_lost(100).lasting(secs(2));
        Script::new().at(secs(1), lost).at(secs(60), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1]);
    let refused = |what: &What| matches!(what, What::Queue(QueueOperation::Fenced { .. }));
    assert!(outcome.timeline.time_of(refused).is_some(), "it was tried again, and refused: {}", outcome.timeline);
}

#[test]
fn the_same_script_gives_the_same_world() {
    let run = || {
        Jobs { jobs: 20, concurrency: 4, ..Jobs::default() }.run(|build| {
            Script::new()
                .seed(7)
                .at(secs(1), site("backend").error(50).lasting(secs(5)))
                .at(secs(3), plan::crash(secs(1)))
                .at(secs(60), Signal::Terminate)
                .run_once(build)
        })
    };
    let ((first, _), (second, _)) = (run(), run());
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_eq!(names(&first), names(&second));
    assert_eq!(first.plan, Plan::from_json(&second.plan.to_json()).unwrap());
}

#[test]
fn q7_a_bad_delivery_holds_up_its_own_ordering_key_and_no_other() {
    let work = |job: u32, cx: &Context| {
        if job == 11 && cx.attempt() < 3 { Err(Failure::transient("locked")) } else { Ok(()) }
    };
    let surroundings = |_: &mut World, seen: &Seen| {
        let of = |account: u32, change: u32| Message::new(account * 10 + change).ordering_key(account.to_string());
        seen.queue.seed_messages([of(1, 1), of(1, 2), of(2, 1), of(1, 3), of(2, 2)]);
    };
    let (outcome, seen) = Jobs { jobs: 0, concurrency: 8, takes: millis(10), work, surroundings, ..Jobs::default() }
        .run(|build| Script::new().at(secs(2), plan::crash(secs(1))).at(secs(120), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    // The second account was done before the first had its second attempt.
    assert_eq!(seen.done(), [21, 22, 11, 12, 13]);
}

#[test]
fn dead_letters_are_requeued_with_fresh_counts_discarded_and_pruned_when_they_are_old() {
    // Three jobs are refused until somebody mends what they need. A worker beside theirs looks after the dead letters.
    let mut seen = None;
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed(1..=3);
        seen = Some(jobs.clone());
        let mended = Arc::new(AtomicBool::new(false));
        let mends = mended.clone();
        world.at(secs(20), "mended", move || mends.store(true, Ordering::Relaxed));
        world.node("node", move |node| {
            let (queue, mended) = (jobs.clone(), mended.clone());
            let work = move |_: u32, _: Context| {
                let mended = mended.load(Ordering::Relaxed);
                async move { if mended { Ok(()) } else { Err(Failure::invalid("of a schema that is not there yet")) } }
            };
            let review = move |_: Tick, context: Context| {
                let queue = queue.clone();
                async move {
                    let now = context.wall_time();
                    queue.prune(now - secs(30), 10).await.map_err(Failure::transient)?;
                    let letters = queue.dead_letters(None, 10).await.map_err(Failure::transient)?;
                    if let [again, never, _] = &letters[..] {
                        queue.requeue(again.id, now).await.map_err(Failure::transient)?;
                        queue.discard(never.id).await.map_err(Failure::transient)?;
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host()
                .worker("jobs", jobs.clone().source(), work)
                .worker("review", Schedule::every(secs(25)).first_after(secs(25)), review)
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let depth = seen.unwrap().inspect_depth();
    assert_eq!((depth.unsettled(), depth.dead), (0, 0));
    let attempts = attempts(&outcome);
    assert_eq!(
        attempts.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(),
        [1; 6],
        "three jobs, one of them again, and two reviews"
    );
    let pruned = |what: &What| matches!(what, What::Queue(QueueOperation::Pruned { dead_letters: 1 }));
    assert!(outcome.timeline.time_of(pruned).is_some());
}

#[test]
fn c11_a_cycle_that_stops_making_progress_is_cancelled_and_one_that_gets_on_takes_its_time() {
    let outcome = Script::new().at(secs(120), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("imports");
        queue.seed([1, 2]);
        world.node("node", move |node| {
            let import = |job: u32, cx: Context| async move {
                for _ in 0..6 {
                    tokio::time::sleep(secs(5)).await;
                    cx.progress();
                }
                if job == 2 && cx.attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok::<(), Failure>(())
            };
            node.host()
                .worker("imports", queue.clone().source().lease(secs(9)), import)
                .concurrency(2)
                .no_cycle_timeout()
                .progress_timeout(secs(8))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let ended = outcome.events().filter_map(|(at, event)| match event {
        Event::CycleEnded { failure, .. } => Some((at.as_secs(), failure.as_ref().map(|cause| cause.to_string()))),
        _ => None,
    });
    let ended: Vec<_> = ended.collect();
    let stalled = Some("timeout: the cycle made no progress for 8s".to_owned());
    assert_eq!(ended[..2], [(30, None), (38, stalled)]);
    assert_eq!((ended.len(), &ended[2].1), (3, &None));
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. } | Event::LeaseGivenUp { .. })), 0);
}

#[test]
fn c11_a_sign_that_is_given_before_the_first_wait_counts_from_then_on() {
    let outcome = Script::new().at(secs(25), Signal::Terminate).run_once(|world| {
        world.poll_max(secs(20));
        world.node("node", move |node| {
            let work = |_: Tick, cx: Context| async move {
                // In a world the time of a computation does not pass by itself.
                std::thread::park_timeout(secs(8));
                cx.progress();
                tokio::time::sleep(secs(6)).await;
                Ok::<(), Failure>(())
            };
            node.host().worker("ticks", Schedule::every(secs(60)), work).progress_timeout(secs(10)).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleEnded { failure: None, .. })), 1);
}
