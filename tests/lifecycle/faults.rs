//! What each kind of fault looks like to the worker that meets it: one small world each, in which it strikes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    time::Duration,
};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, Failure, FailureKind, QueueSourceExt, Retry, Schedule, Signal,
    Tick,
    event::{Event, Settle},
    queue::{DeadLetterCause, Message, Priority},
};
use shiftwork_sim::{
    Dependency, DependencyError, FaultKind, Ledger, Outcome, Script, What, World,
    dependency::Latency,
    millis, node,
    plan::{abort_at_poll, clock_back, clock_forward, crash, crash_at_poll, downtime, pause, slow_start},
    record::QueueOperation,
    secs, site, worker,
};

use crate::worlds::{Jobs, Seen, attempts, failed_at};

/// A worker that calls "backend", which takes 100 ms, every second from 0 on, with what the test makes of an error; ten
/// times.
fn calls(fault: FaultKind, failure: fn(DependencyError) -> Failure) -> Outcome {
    let build = move |world: &mut World| {
        let backend = world.dependency_with("backend", Latency::constant(millis(100)));
        world.node("node", move |node| {
            let backend = backend.clone();
            let call = move |_: Tick, _: Context| {
                let backend: Dependency = backend.clone();
                async move { backend.call(async {}).await.map_err(failure) }
            };
            let host = node.host().worker("caller", Schedule::every(secs(1)), call).retry(Retry::never());
            host.run_until_signal()
        });
    };
    let outcome = Script::new().at(secs(0), fault).at(millis(9_950), Signal::Terminate).run_once(build);
    outcome.assert_rules_kept();
    outcome
}

/// Which of the ten calls failed, and as what.
fn failed(outcome: &Outcome) -> Vec<(usize, FailureKind)> {
    let ends = outcome.events().filter_map(|(_, event)| match event {
        Event::CycleEnded { failure, .. } => Some(failure.as_ref().map(|cause| cause.kind)),
        _ => None,
    });
    ends.enumerate().filter_map(|(index, kind)| Some((index, kind?))).collect()
}

/// How long each call took, in milliseconds.
fn took(outcome: &Outcome) -> Vec<u128> {
    let ends = outcome.events().filter_map(|(_, event)| match event {
        Event::CycleEnded { took, .. } => Some(took.as_millis()),
        _ => None,
    });
    ends.collect()
}

/// A world of jobs with this fault from the beginning, which must recover.
fn jobs(jobs: Jobs, at: Duration, fault: FaultKind) -> (Outcome, Seen) {
    let (outcome, seen) = jobs.run(|build| Script::new().at(at, fault).heal_at(secs(60)).run(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.struck, [true], "{}", outcome.timeline);
    (outcome, seen)
}

fn queue_operations(outcome: &Outcome, matches: impl Fn(&QueueOperation) -> bool) -> usize {
    let records = outcome.timeline.records().iter();
    records.filter(|record| matches!(&record.what, What::Queue(operation) if matches(operation))).count()
}

#[test]
fn a_brownout_slows_some_calls_and_leaves_the_others() {
    let outcome = calls(site("backend").brownout(50, millis(400)), DependencyError::into_failure);
    let took = took(&outcome);
    assert!(took.contains(&100) && took.contains(&500), "{took:?}");
    assert!(took.iter().all(|ms| [100, 500].contains(ms)), "{took:?}");
}

#[test]
fn slowness_has_the_shape_that_the_script_says() {
    let up_to = took(&calls(site("backend").slow_up_to(millis(500)), DependencyError::into_failure));
    assert!(up_to.iter().all(|ms| (100..=600).contains(ms)) && up_to.iter().any(|ms| *ms > 200), "{up_to:?}");
    let tail = took(&calls(site("backend").slow_tail(millis(800)), DependencyError::into_failure));
    let typical = tail.iter().filter(|ms| (150..200).contains(*ms)).count();
    assert!(typical > 5 && tail.iter().all(|ms| (150..=900).contains(ms)), "{tail:?}");
}

#[test]
fn a_site_that_flaps_is_out_and_well_by_turns() {
    let outcome = calls(site("backend").flap(secs(2), secs(1)), DependencyError::into_failure);
    let out: Vec<_> = failed(&outcome).into_iter().map(|(call, _)| call).collect();
    assert_eq!(out, [0, 1, 3, 4, 6, 7, 9]);
}

#[test]
fn a_permanent_error_says_that_trying_again_is_no_use() {
    let refusing = site("backend").permanent_error(100).lasting(secs(1));
    assert_eq!(failed(&calls(refusing.clone(), DependencyError::into_failure)), [(0, FailureKind::Invalid)]);
    // To `?` it is an error like any other.
    assert_eq!(failed(&calls(refusing, Failure::from)), [(0, FailureKind::Transient)]);
}

#[test]
fn a_rate_limit_says_when_to_come_back() {
    let put_off = |error: DependencyError| {
        assert_eq!(error.retry_after(), Some(secs(20)));
        error.into_failure()
    };
    let outcome = calls(site("backend").rate_limit(100, secs(20)).lasting(secs(1)), put_off);
    assert_eq!(failed(&outcome), [(0, FailureKind::Transient)]);
}

#[test]
fn a_spinning_call_takes_polls_and_no_time_and_is_a_hot_loop_only_if_it_spins_long() {
    assert_eq!(took(&calls(site("backend").spin(5_000), DependencyError::into_failure)), [100; 10]);
    let (outcome, _) =
        Jobs::default().run(|build| Script::new().at(secs(0), site("backend").spin(300_000)).run_once(build));
    outcome.expect_broken("L2");
}

#[test]
fn a_call_that_blocks_its_thread_makes_others_late_and_breaks_l3_only_if_it_blocks_long() {
    let blocks = |by_ms| site("backend").block(millis(by_ms));
    let mut took_once = [100; 10];
    took_once[0] = 109;
    assert_eq!(took(&calls(blocks(9), DependencyError::into_failure)), took_once);

    // The call gets there at 50 ms, a millisecond before a tick of the sibling is due.
    let beside = |world: &mut World| {
        let backend = world.dependency_with("backend", Latency::constant(millis(100)));
        world.node("node", move |node| {
            let backend = backend.clone();
            let call = move |_: Tick, _: Context| {
                let backend = backend.clone();
                async move { Ok::<(), Failure>(backend.call(async {}).await?) }
            };
            let sibling = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("caller", Schedule::every(secs(10)), call)
                .worker("sibling", Schedule::every(secs(10)).first_after(millis(51)), sibling)
                .run_until_signal()
        });
    };
    let outcome = Script::new().at(secs(0), blocks(9)).at(secs(5), Signal::Terminate).run_once(beside);
    outcome.assert_rules_kept();
    let late = outcome.events().find_map(|(_, event)| match event {
        Event::TickDue { late, .. } if !late.is_zero() => Some(*late),
        _ => None,
    });
    assert_eq!(late, Some(millis(8)), "{}", outcome.timeline);

    let (outcome, _) = Jobs::default().run(|build| Script::new().at(secs(0), blocks(50)).run_once(build));
    let violation = outcome.expect_broken("L3");
    assert!(violation.happened.ends_with("blocked it for 50ms"), "{violation}");
}

#[test]
fn two_calls_of_one_poll_do_not_block_it_both() {
    let build = |world: &mut World| {
        let [one, other] = ["one", "other"].map(|name| world.dependency_with(name, Latency::constant(millis(100))));
        world.node("node", move |node| {
            let (one, other) = (one.clone(), other.clone());
            let call = move |_: Tick, _: Context| {
                let (one, other) = (one.clone(), other.clone());
                async move {
                    let (one, other) = tokio::join!(one.call(async {}), other.call(async {}));
                    Ok::<(), Failure>(one.and(other)?)
                }
            };
            node.host().worker("caller", Schedule::every(secs(1)), call).run_until_signal()
        });
    };
    let blocks = |name: &str| site(name).block(millis(9));
    let script = Script::new().at(secs(0), blocks("one")).at(secs(0), blocks("other"));
    let outcome = script.at(millis(2_950), Signal::Terminate).run_once(build);
    outcome.assert_rules_kept();
    assert_eq!(took(&outcome), [109, 109, 100]);
    assert_eq!(outcome.stats.struck[..2], [true, true]);
}

#[test]
fn a_dropped_call_has_its_effect_all_the_same_when_the_plan_says_so() {
    let short = || Jobs { takes: secs(10), timeout: secs(2), retry: Retry::never(), ..Jobs::default() };
    let (_, seen) = jobs(short(), secs(0), site("backend").effect_after_drop());
    assert_eq!(seen.done(), [1], "the cycle timed out, and its request arrived");
    let (outcome, seen) =
        short().run(|build| Script::new().at(secs(0), site("backend").slow(secs(0))).heal_at(secs(60)).run(build));
    outcome.assert_rules_kept();
    assert!(seen.done().is_empty());
}

#[test]
fn a_queue_operation_that_its_client_gave_up_may_have_been_stored() {
    // The client waits 5 s; the claim needs 20 s, and is stored when it is given up.
    let slow = site("jobs").slow(secs(20)).lasting(secs(1));
    let (outcome, seen) = Jobs { lease: secs(10), ..Jobs::default() }.run(|build| {
        let script = Script::new().at(secs(0), slow).at(secs(0), site("jobs").effect_after_drop().lasting(secs(8)));
        script.heal_at(secs(60)).run(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.struck, [true, true]);
    assert_eq!(queue_operations(&outcome, |it| matches!(it, QueueOperation::Claimed { told: false, .. })), 1);
    assert_eq!(seen.done(), [1], "the lease of the claim that nobody heard of lapsed");
}

#[test]
fn a_duplicate_is_one_more_delivery_of_the_same_payload() {
    let (outcome, seen) = jobs(Jobs { jobs: 3, ..Jobs::default() }, secs(0), site("jobs").duplicate());
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!(done, [1, 1, 2, 3]);
    assert_eq!(queue_operations(&outcome, |it| matches!(it, QueueOperation::Pushed(_))), 4);
}

#[test]
fn a_duplicate_has_its_turn_where_its_original_would_have() {
    let outcome = Script::new().at(secs(0), site("jobs").duplicate()).run(|world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed_messages((1..=3).map(|job| Message::new(job).ordering_key("account 7").priority(Priority(2))));
        jobs.seed([9]);
        let left = jobs.clone();
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            node.host().worker("work", jobs.clone().source(), work).concurrency(1).run_until_signal()
        });
        world.done_when(move || left.inspect_depth().unsettled() == 0);
    });
    outcome.assert_rules_kept();
    let claimed = outcome.timeline.records().iter().filter_map(|record| match record.what {
        What::Queue(QueueOperation::Claimed { delivery, .. }) => Some(delivery.0 & 0xff),
        _ => None,
    });
    assert_eq!(
        claimed.collect::<Vec<_>>(),
        [1, 2, 3, 5, 4],
        "the copy comes last of its line, and before what is less urgent"
    );
    assert_eq!(queue_operations(&outcome, |it| matches!(it, QueueOperation::InLine { .. })), 4);
}

#[test]
fn c4_a_malformed_delivery_is_moved_aside_and_costs_the_others_nothing() {
    let (_, seen) = jobs(Jobs { jobs: 2, ..Jobs::default() }, secs(0), site("jobs").malformed());
    let letters = seen.dead_letters();
    assert_eq!(letters.iter().map(|letter| letter.cause).collect::<Vec<_>>(), [DeadLetterCause::Undecodable]);
    assert_eq!(seen.done(), [1, 2]);
}

#[test]
fn a_reordering_queue_hands_out_younger_deliveries_first_and_none_twice() {
    let (_, seen) = jobs(Jobs { jobs: 9, ..Jobs::default() }, secs(0), site("jobs").reorder(4));
    let done = seen.done();
    assert_ne!(done, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let mut sorted = done.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4, 5, 6, 7, 8, 9], "{done:?}");
}

#[test]
fn a_late_delivery_is_claimed_once_the_store_gives_it_out() {
    let (outcome, _) = jobs(Jobs::default(), secs(0), site("jobs").late(100, secs(3)).lasting(secs(2)));
    // The worker asks again before it was told to, and is given it once the fault is over.
    assert_eq!(attempts(&outcome), [(secs(2), 1)]);
}

#[test]
fn what_changes_nothing_has_not_struck() {
    let late = |jobs| {
        let late = site("jobs").late(100, secs(3)).lasting(secs(5));
        let script = Script::new().at(secs(0), late).at(secs(20), Signal::Terminate);
        let (outcome, _) = Jobs { jobs, ..Jobs::default() }.run(|build| script.run_once(build));
        outcome.assert_rules_kept();
        outcome.stats.struck[0]
    };
    assert!(late(1) && !late(0), "a queue that has nothing gives nothing");

    let paused_again =
        |lasts| waits(Script::new().at(secs(5), pause(secs(30))).at(secs(10), pause(secs(lasts)))).stats.struck[1];
    assert!(paused_again(26) && !paused_again(25), "it would have stood still for as long");
}

/// A process that waits for its signal, which comes after a minute.
fn waits(script: Script) -> Outcome {
    let outcome = script.at(secs(60), Signal::Terminate).run_once(|world| {
        world.foreign("node", |process| async move {
            process.signals().unwrap().next().await;
        });
    });
    outcome.assert_rules_kept();
    outcome
}

#[test]
fn what_is_of_no_length_has_not_struck() {
    let backend = site("backend");
    let met = |fault: &FaultKind| calls(fault.clone(), DependencyError::into_failure).stats.struck[0];
    let mut pairs = vec![
        [1, 0].map(|by_ms| backend.slow(millis(by_ms))),
        [1, 0].map(|by_ms| backend.slow_tail(millis(by_ms))),
        [1, 0].map(|by_ms| backend.brownout(100, millis(by_ms))),
        [1, 0].map(|polls| backend.spin(polls)),
    ];
    if cfg!(tokio_unstable) {
        pairs.push([1, 0].map(|by_ms| backend.block(millis(by_ms))));
    }
    for [some, none] in &pairs {
        assert!(met(some) && !met(none), "{some}");
    }
    let strikes = |fault: &FaultKind| waits(Script::new().at(secs(0), fault.clone())).stats.struck[0];
    let of_process = [
        [1, 0].map(|by| slow_start(secs(by))),
        [1, 0].map(|lasts| pause(secs(lasts))),
        [1, 0].map(|by| clock_forward(secs(by))),
        [1, 0].map(|by| clock_back(secs(by))),
    ];
    for [some, none] in &of_process {
        assert!(strikes(some) && !strikes(none), "{some}");
    }
    let downtimes = |wall| {
        let script = Script::new().at(secs(1), crash(secs(9))).at(secs(5), downtime(secs(wall)));
        waits(script).stats.struck[1]
    };
    assert!(downtimes(1) && !downtimes(0), "nobody is there to be killed");
}

#[test]
fn a_call_of_a_process_that_was_killed_in_the_same_poll_meets_nothing() {
    let slow = site("other").slow(secs(1)).lasting(millis(100));
    let script = Script::new().at(secs(0), site("one").crash(false)).at(secs(0), slow);
    let outcome = script.at(secs(5), Signal::Terminate).run_once(|world| {
        let [one, other] = ["one", "other"].map(|name| world.dependency_with(name, Latency::constant(millis(100))));
        world.node("node", move |node| {
            let (one, other) = (one.clone(), other.clone());
            let call = move |_: Tick, _: Context| {
                let (one, other) = (one.clone(), other.clone());
                async move {
                    let later = async {
                        tokio::time::sleep(millis(50)).await;
                        other.call(async {}).await
                    };
                    // The first gets there after 50 ms, too, and is asked before.
                    tokio::select! {
                        biased;
                        _ = one.call(async {}) => {}
                        _ = later => {}
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("caller", Schedule::every(secs(10)), call).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!((outcome.stats.boots, &*outcome.stats.struck), (2, &[true, false, true][..]));
}

#[test]
fn q6_a_lease_that_the_store_forgets_interrupts_its_cycle_and_spends_no_attempt() {
    let long = Jobs { takes: secs(40), lease: secs(30), ..Jobs::default() };
    let (outcome, seen) = jobs(long, secs(5), site("jobs").lease_taken());
    // Renewed at 10 s, and lost there.
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(10), 1)]);
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 1);
    assert_eq!(seen.done().last(), Some(&1));
    assert_eq!(outcome.count(|event| matches!(event, Event::Settled { settle: Settle::Ack, .. })), 1);
}

/// A worker whose client has a bug, which it catches; it rests for so long, and its cycle has succeeded.
fn catches_a_panic(rests: Duration, is_declared: bool) -> Outcome {
    Script::new().at(secs(0), site("backend").panic()).at(secs(5), Signal::Terminate).run_once(move |world| {
        let backend = world.dependency_with("backend", Latency::constant(millis(100)));
        if is_declared {
            world.panics_are_caught_in("careful");
        }
        world.node("node", move |node| {
            let backend = backend.clone();
            let call = move |_: Tick, _: Context| {
                let backend = backend.clone();
                async move {
                    let mut call = std::pin::pin!(backend.call(async {}));
                    std::future::poll_fn(|cx| {
                        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx).map(drop)));
                        polled.unwrap_or(Poll::Ready(()))
                    })
                    .await;
                    if !rests.is_zero() {
                        tokio::time::sleep(rests).await;
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("careful", Schedule::every(secs(10)), call).run_until_signal()
        });
    })
}

#[test]
fn c5_a_panic_that_a_cycle_catches_itself_is_its_own_affair_once_it_goes_on() {
    let later = catches_a_panic(millis(1), false);
    later.assert_rules_kept();
    assert_eq!(later.stats.struck, [true, true]);
    // Nobody can tell it from one that its host has swallowed.
    catches_a_panic(secs(0), false).expect_broken("C5");
    catches_a_panic(secs(0), true).assert_rules_kept();
}

/// One of the ten calls fails at the poll that was counted, as this kind, and the others go on.
fn strikes_at_the_poll_that_was_counted(fault: impl Fn(u32) -> FaultKind, kind: FailureKind) {
    // Each call is polled three times: when it sets out, when it gets there and when its reply is back.
    for (polls, call, effects) in [(1, 0, 9), (2, 0, 9), (3, 0, 10), (5, 1, 9), (30, 9, 10)] {
        let outcome = calls(fault(polls), Failure::transient);
        assert_eq!(failed(&outcome), [(call, kind)], "at poll {polls}");
        let took_effect = |what: &What| matches!(what, What::CallTookEffect { .. });
        let count = outcome.timeline.records().iter().filter(|record| took_effect(&record.what)).count();
        assert_eq!(count, effects, "at poll {polls}");
    }
}

#[test]
fn a_call_panics_at_the_await_point_that_was_counted() {
    strikes_at_the_poll_that_was_counted(|polls| site("backend").panic_at_poll(polls), FailureKind::Panic);
}

#[test]
fn a_call_is_dropped_at_the_await_point_that_was_counted_and_its_caller_goes_on() {
    strikes_at_the_poll_that_was_counted(|polls| site("backend").drop_at_poll(polls), FailureKind::Transient);
}

/// A worker that ends as soon as it is asked to, told to stop at 10 s.
fn asked_to_end(script: Script) -> Outcome {
    let outcome = script.at(secs(10), Signal::Terminate).run_once(|world| {
        let report = world.dependency("report");
        world.node("node", move |node| {
            let write = |_: Tick, cx: Context| async move {
                cx.cancelled().await;
                Err(Failure::interrupted("asked to end"))
            };
            node.host().worker("report", Schedule::every(secs(60)), report.stubborn(write)).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    outcome
}

#[test]
fn a_stubborn_cycle_that_is_asked_to_end_has_to_be_dropped() {
    let asked = |outcome: &Outcome| outcome.count(|event| matches!(event, Event::WorkerAborted { .. }));
    let obeyed = asked_to_end(Script::new());
    assert_eq!((obeyed.ended_at(), asked(&obeyed)), (secs(30), 0));
    let ignored = asked_to_end(Script::new().at(secs(0), site("report").ignore_cancel()));
    assert_eq!((ignored.ended_at(), asked(&ignored), &*ignored.stats.struck), (secs(33), 1, &[true, true][..]));
    let healed = asked_to_end(Script::new().at(secs(0), site("report").ignore_cancel().lasting(secs(29))));
    assert_eq!((healed.ended_at(), asked(&healed), &*healed.stats.struck), (secs(30), 0, &[false, true][..]));
}

#[cfg(tokio_unstable)]
#[test]
fn a_second_sigterm_at_each_await_point_of_the_first_second_drops_what_runs_and_loses_nothing() {
    let (mut dropped, mut exits) = (0, 0);
    for polls in 1..50 {
        let three = Jobs { jobs: 3, takes: millis(200), lease: secs(5), ..Jobs::default() };
        let (outcome, seen) =
            three.run(|build| Script::new().at(secs(0), abort_at_poll(polls)).heal_at(secs(30)).run(build));
        outcome.assert_rules_kept();
        dropped += outcome.count(|event| matches!(event, Event::WorkerAborted { .. }));
        exits += outcome.reports.len();
        let mut done = seen.done();
        done.sort_unstable();
        done.dedup();
        assert_eq!(done, [1, 2, 3], "stopped at poll {polls}");
    }
    assert!(dropped > 10 && exits > 80, "{dropped} workers were aborted, and there were {exits} exits of 49 worlds");
}

#[cfg(tokio_unstable)]
#[test]
fn a_crash_at_each_await_point_of_the_first_second_loses_nothing() {
    let mut boots = 0;
    for polls in 1..60 {
        let three = Jobs { jobs: 3, takes: millis(200), lease: secs(5), ..Jobs::default() };
        let (outcome, seen) =
            three.run(|build| Script::new().at(secs(0), crash_at_poll(polls)).heal_at(secs(30)).run(build));
        outcome.assert_rules_kept();
        boots += outcome.stats.boots;
        let mut done = seen.done();
        done.sort_unstable();
        done.dedup();
        assert_eq!(done, [1, 2, 3], "killed at poll {polls}");
    }
    assert!(boots > 90, "most of them were killed: {boots} boots of 59 worlds");
}

/// A lock file, which is emptied whichever way its scope is left.
struct LockFile(Ledger<Vec<u32>>);

impl Drop for LockFile {
    fn drop(&mut self) {
        while self.0.with(Vec::pop).is_some() {}
    }
}

#[test]
fn a_destructor_of_a_killed_process_changes_no_ledger() {
    let (file, found): (Ledger<Vec<u32>>, Ledger<Vec<Vec<u32>>>) = Default::default();
    let (left, found_by_each) = (file.clone(), found.clone());
    let script = Script::new().at(secs(5), crash(secs(1))).at(secs(10), crash(secs(1))).at(secs(20), Signal::Terminate);
    let outcome = script.run_once(move |world| {
        world.foreign("node", move |process| {
            let (file, found) = (file.clone(), found.clone());
            async move {
                let signals = process.signals().expect("a world refuses no handler");
                let there = file.with(|file| file.clone());
                found.with(|found| found.push(there));
                file.with(|file| file.push(process.boot()));
                let _lock = LockFile(file);
                signals.next().await;
            }
        });
    });
    outcome.assert_rules_kept();
    let nothing: Vec<u32> = Vec::new();
    assert_eq!(*found_by_each.lock(), [nothing.clone(), vec![1], vec![1, 2]]);
    assert_eq!(*left.lock(), nothing, "who ends by itself leaves its scopes");
}

#[test]
fn what_a_process_does_after_it_was_killed_in_a_call_changes_no_ledger() {
    let polls: Ledger<Vec<(u32, u64)>> = Ledger::default();
    let seen = polls.clone();
    let script = Script::new().at(secs(0), site("backend").crash(false)).at(secs(20), Signal::Terminate);
    let outcome = script.run_once(move |world| {
        let backend = world.dependency_with("backend", Latency::constant(secs(2)));
        world.foreign("node", move |process| {
            let (backend, polls) = (backend.clone(), polls.clone());
            async move {
                let signals = process.signals().expect("a world refuses no handler");
                let (boot, began) = (process.boot(), tokio::time::Instant::now());
                let mut call = std::pin::pin!(backend.call(async {}));
                // It goes on after each poll of its call, the one among them in which it is killed.
                std::future::poll_fn(|cx| {
                    let polled = call.as_mut().poll(cx).map(|_| ());
                    polls.with(|polls| polls.push((boot, began.elapsed().as_secs())));
                    polled
                })
                .await;
                signals.next().await;
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.boots, 2);
    let polls = seen.lock();
    assert!(polls.contains(&(1, 0)) && polls.contains(&(2, 1)), "{polls:?}");
    assert!(!polls.contains(&(1, 1)), "{polls:?}");
}

/// Eight jobs side by side, each of which sleeps for a second, and then for another: no call of theirs is anywhere. With a limit to their
/// time, or without.
fn sleepers(fault: FaultKind, limited: bool) -> Outcome {
    let outcome = Script::new().at(secs(0), fault).at(secs(60), Signal::Terminate).run_once(move |world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed(1..=8);
        world.node("node", move |node| {
            let sleep = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            let host = node.host().worker("sleep", jobs.clone().source(), sleep).concurrency(8);
            let host = host.retry(Retry::default().jitter_percent(0));
            if limited { host.run_until_signal() } else { host.no_cycle_timeout().run_until_signal() }
        });
    });
    outcome.assert_rules_kept();
    outcome
}

/// One of eight fails at each of its await points as this kind; it is tried again as its policy says, and the others go on.
fn strikes_one_of_eight(fault: impl Fn(u32) -> FaultKind, kind: FailureKind) {
    for (polls, at) in [(1, secs(1)), (2, secs(2))] {
        let outcome = sleepers(fault(polls), true);
        assert_eq!(failed_at(&outcome), [(at, kind)], "{}", outcome.timeline);
        let again: Vec<_> = attempts(&outcome).into_iter().filter(|(_, attempt)| *attempt > 1).collect();
        assert_eq!(again, [(at + secs(1), 2)], "one attempt is spent, and no other's");
        let report = outcome.report().unwrap();
        assert_eq!(report.worker("sleep").unwrap().cycles.succeeded, 8);
    }
}

#[test]
fn c5_a_panic_at_a_bare_await_point_costs_one_attempt_and_leaves_its_siblings_alone() {
    strikes_one_of_eight(|polls| worker("sleep").panic_in_cycle(polls), FailureKind::Panic);
}

#[test]
fn c6_a_cycle_that_is_cancelled_at_a_bare_await_point_has_timed_out_and_spent_an_attempt() {
    strikes_one_of_eight(|polls| worker("sleep").cancel_in_cycle(polls), FailureKind::Timeout);
}

#[test]
fn a_cycle_without_a_limit_to_its_time_is_not_cancelled_for_it() {
    let outcome = sleepers(worker("sleep").cancel_in_cycle(1), false);
    assert_eq!((failed_at(&outcome), &*outcome.stats.struck), (Vec::new(), &[false, true][..]));
    let panics = sleepers(worker("sleep").panic_in_cycle(1), false);
    assert_eq!(failed_at(&panics), [(secs(1), FailureKind::Panic)], "a panic needs no limit");
}

#[test]
fn a_cycle_that_began_before_the_fault_or_never_waits_is_not_struck() {
    let outcome = Script::new()
        .at(millis(500), worker("sleeps").panic_in_cycle(1))
        .at(secs(0), worker("ready").panic_in_cycle(1))
        .at(secs(15), Signal::Terminate)
        .run_once(|world| {
            world.node("node", |node| {
                let sleep = |_: Tick, _: Context| async {
                    tokio::time::sleep(secs(1)).await;
                    Ok::<(), Failure>(())
                };
                let ready = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host()
                    .worker("sleeps", Schedule::every(secs(10)), sleep)
                    .worker("ready", Schedule::every(secs(10)), ready)
                    .run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    assert_eq!(failed_at(&outcome), [(secs(11), FailureKind::Panic)], "the one of 10 s is the first that began since");
    assert_eq!(outcome.stats.struck, [true, false, true]);
}

#[test]
fn a_fault_of_a_worker_strikes_the_node_that_it_names() {
    let fault = node("b").worker("work").panic_in_cycle(1);
    let outcome = Script::new().at(secs(0), fault).heal_at(secs(20)).run(|world| {
        for name in ["a", "b"] {
            world.node(name, |node| {
                let sleep = |_: Tick, _: Context| async {
                    tokio::time::sleep(secs(1)).await;
                    Ok::<(), Failure>(())
                };
                node.host().worker("work", Schedule::every(secs(10)), sleep).run_until_signal()
            });
        }
    });
    outcome.assert_rules_kept();
    let panics = |name| {
        let failed = outcome.events_of(name).filter(|(_, event)| match event {
            Event::CycleEnded { failure, .. } => failure.is_some(),
            _ => false,
        });
        failed.count()
    };
    assert_eq!((panics("a"), panics("b")), (0, 1));
}

/// Says of the first row that it is done, and sleeps before the others are.
struct SleepyImport;

impl BatchWorker for SleepyImport {
    type Input = u32;

    async fn cycle(&self, batch: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        if let Some(first) = batch.iter_mut().next() {
            first.done();
        }
        tokio::time::sleep(secs(1)).await;
        Ok(())
    }
}

#[test]
fn q9_a_batch_that_is_cancelled_at_an_await_point_has_timed_out_but_for_what_had_a_verdict() {
    let fault = worker("import").cancel_in_cycle(1);
    let outcome = Script::new().at(secs(0), fault).at(secs(60), Signal::Terminate).run_once(|world| {
        let rows = world.queue::<u32>("rows");
        rows.seed([1, 2, 3]);
        world.node("node", move |node| {
            node.host().batch_worker("import", rows.clone().source(), Batches::of(3), SleepyImport).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(failed_at(&outcome), [(secs(1), FailureKind::Timeout); 2]);
    assert_eq!(outcome.report().unwrap().worker("import").unwrap().cycles.succeeded, 3);
}
