//! Retries, bad input, panics, timeouts, faults, and a dependency that is down.

use std::{
    panic::panic_any,
    sync::atomic::{AtomicBool, Ordering},
};

use shiftwork::{
    Breaker, Context, Continuous, ExitStatus, Failure, FailureClass, Overlap, QueueSourceExt, Retry, RetryBudget,
    Schedule, Signal, Tick,
    event::{Event, Settle, StopReason},
    queue::{DeadLetterCause, FailureKind},
};
use shiftwork_sim::{Script, millis, plan, secs, site};

use crate::worlds::{Count, Jobs, Notes, attempts, time_of};

#[test]
fn c2_a_transient_failure_is_tried_again_with_growing_delays_until_it_succeeds() {
    let (outcome, seen) = Jobs { takes: millis(0), ..Jobs::default() }.run(|build| {
        Script::new()
            .at(secs(0), site("backend").outage().lasting(secs(5)))
            .at(secs(60), Signal::Terminate)
            .run_once(build)
    });
    outcome.assert_rules_kept();
    // 1 s, 2 s and 4 s after the one before.
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(1), 2), (secs(3), 3), (secs(7), 4)]);
    assert_eq!(seen.done(), [1]);
}

#[test]
fn c1_a_worker_goes_on_after_a_failed_cycle() {
    let outcome = Script::new().at(millis(5_500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let fails = |_: Tick, _: Context| async { Err(Failure::transient("no")) };
            node.host().worker("fails", Schedule::every(secs(1)), fails).retry(Retry::never()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("fails").unwrap().cycles.failed, 6);
    assert_eq!(report.exit, ExitStatus::Clean);
}

#[test]
fn c4_bad_input_is_moved_aside_at_once_with_its_reason_and_its_siblings_are_done() {
    let work = |job: u32, _: &Context| if job == 2 { Err(Failure::invalid("two is bad luck")) } else { Ok(()) };
    let (outcome, seen) = Jobs { jobs: 3, work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 3]);
    let letters = seen.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].payload.clone(), letters[0].cause), (Ok(2), DeadLetterCause::Invalid));
    assert_eq!(letters[0].history[0].message, "two is bad luck");
    assert_eq!(letters[0].history[0].attempt, 1);
}

#[test]
fn c5_a_panic_counts_as_an_attempt_and_leaves_its_siblings_alone() {
    let (outcome, seen) = Jobs { jobs: 8, concurrency: 8, takes: secs(2), ..Jobs::default() }.run(|build| {
        Script::new().at(secs(0), site("backend").panic()).at(secs(60), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    let panics = outcome.count(
        |event| matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Panic),
    );
    assert_eq!(panics, 1);
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!(done, [1, 2, 3, 4, 5, 6, 7, 8], "the one that panicked at its second attempt");
    // Whoever panicked gave its lease back.
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleStarted { attempt: 2, .. })), 1);
}

/// What a panic carries, and what panics once more as it is dropped.
struct Rude;

impl Drop for Rude {
    fn drop(&mut self) {
        // While the first one unwinds it would end the tests.
        assert!(std::thread::panicking(), "as it is dropped");
    }
}

#[test]
fn c8_a_cycle_whose_panic_panics_as_it_is_dropped_ends_and_is_settled() {
    let work = |job: u32, _: &Context| if job == 1 { panic_any(Rude) } else { Ok::<(), Failure>(()) };
    let (outcome, seen) = Jobs { jobs: 2, retry: Retry::never(), work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    let panics = outcome.count(
        |event| matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Panic),
    );
    assert_eq!(panics, 1, "{}", outcome.timeline);
    assert_eq!(seen.dead_letters().len(), 1);
    assert_eq!(seen.done(), [2]);
}

#[test]
fn the_only_lane_does_other_work_while_a_delivery_waits_for_its_retry() {
    let work = |job: u32, cx: &Context| {
        if job == 1 && cx.attempt() == 1 { Err(Failure::retry_after(secs(30), "not now")) } else { Ok(()) }
    };
    let (outcome, seen) = Jobs { jobs: 3, takes: secs(1), work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [2, 3, 1]);
    // The third begins 2 s after the first did, not when that is tried again.
    assert!(attempts(&outcome)[2].0 < secs(5), "{:?}", attempts(&outcome));
}

#[test]
fn c6_a_cycle_that_hangs_is_cancelled_at_its_timeout_and_tried_again() {
    let (outcome, seen) = Jobs { timeout: secs(10), ..Jobs::default() }.run(|build| {
        Script::new()
            .at(secs(0), site("backend").hang().lasting(secs(15)))
            .at(secs(60), Signal::Terminate)
            .run_once(build)
    });
    outcome.assert_rules_kept();
    let timeouts = outcome.count(
        |event| matches!(event, Event::CycleEnded { failure: Some(cause), .. } if cause.kind == FailureKind::Timeout),
    );
    assert_eq!(timeouts, 1);
    assert_eq!(attempts(&outcome)[1], (secs(11), 2));
    assert_eq!(seen.done(), [1]);
}

#[test]
fn c7_an_exhausted_delivery_is_moved_aside_with_its_history_and_escalated() {
    let (outcome, seen) =
        Jobs { takes: millis(0), retry: Retry::default().attempts_max(3), ..Jobs::default() }.run(|build| {
            Script::new().at(secs(0), site("backend").outage()).at(secs(60), Signal::Terminate).run_once(build)
        });
    outcome.assert_rules_kept();
    let letters = seen.dead_letters();
    assert_eq!(letters[0].cause, DeadLetterCause::Exhausted);
    assert_eq!(letters[0].history.iter().map(|failure| failure.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(letters[0].history.iter().all(|failure| failure.message == "backend is out (injected)"));
    assert_eq!(outcome.count(|event| matches!(event, Event::Escalated { attempts: 3, .. })), 1);
}

#[test]
fn a_cycle_knows_which_attempt_is_its_last() {
    let work = |_: u32, cx: &Context| if cx.is_last_attempt() { Ok(()) } else { Err(Failure::transient("not yet")) };
    let retry = Retry::default().attempts_max(3);
    let (outcome, seen) = Jobs { takes: millis(0), retry, work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome).into_iter().map(|(_, attempt)| attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(seen.done(), [1]);
}

#[test]
fn c3_a_retry_waits_as_long_as_the_other_side_asked() {
    let work = |_: u32, cx: &Context| {
        if cx.attempt() == 1 { Err(Failure::retry_after(secs(30), "rate limited")) } else { Ok(()) }
    };
    let (outcome, _) =
        Jobs { work, ..Jobs::default() }.run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(30), 2)]);
}

#[test]
fn c3_a_retry_waits_no_longer_for_the_other_side_than_the_policy_lets_it() {
    let work = |_: u32, cx: &Context| {
        if cx.attempt() == 1 { Err(Failure::retry_after(secs(30), "rate limited")) } else { Ok(()) }
    };
    let (outcome, _) = Jobs { work, retry: Retry::default().asked_max(secs(10)), ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(10), 2)]);
}

#[test]
fn one_deliverys_retries_leave_anothers_attempts_alone() {
    let work = |job: u32, _: &Context| if job == 1 { Err(Failure::transient("always")) } else { Ok(()) };
    let (outcome, seen) = Jobs { jobs: 5, takes: millis(0), work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [2, 3, 4, 5]);
    assert_eq!(seen.dead_letters().len(), 1);
    let attempts: Vec<u32> = attempts(&outcome).into_iter().map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts, [1, 1, 1, 1, 1, 2, 3, 4, 5]);
}

#[test]
fn v2_a_fatal_failure_stops_the_host_and_never_exits_zero() {
    let count = Count::default();
    let cycles = count.clone();
    let outcome = Script::new().run_once(move |world| {
        world.node("node", move |node| {
            let cycles = cycles.clone();
            let fatal = move |_: Tick, _: Context| {
                let third = cycles.up() == 3;
                async move { if third { Err(Failure::fatal("credentials were revoked")) } else { Ok(()) } }
            };
            let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("fatal", Schedule::every(secs(1)), fatal)
                .worker("idle", Schedule::every(secs(1)), idle)
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit.code(), 70);
    assert_eq!(&*report.cause.as_ref().unwrap().message, "credentials were revoked");
    assert!(matches!(report.reason, StopReason::WorkerFault(_)));
    assert_eq!(outcome.ended_at(), secs(2));
    assert_eq!(count.get(), 3, "nothing was taken in after the fault");
}

#[test]
fn a_continuous_worker_that_always_fails_is_no_hot_loop() {
    let outcome = Script::new().at(secs(3_600), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let fails = |(): (), _: Context| async { Err(Failure::transient("no")) };
            node.host().worker("fails", Continuous::new(), fails).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let cycles = outcome.report().unwrap().worker("fails").unwrap().cycles;
    assert!((200..1_000).contains(&cycles.failed), "{cycles:?}");
    assert!(outcome.count(|event| matches!(event, Event::Escalated { .. })) > 40);
}

#[test]
fn t4_what_interrupts_itself_is_put_off_and_costs_no_attempt() {
    let unasked = || Failure::interrupted("the channel is closed");
    let every_second = [0, 1, 2, 3].map(|second| (secs(second), 1));
    let until = || Script::new().at(millis(3_500), Signal::Terminate);
    let retry = Retry::exponential().attempts_max(2).jitter_percent(0);
    let outcome = until().run_once(move |world| {
        world.node("node", move |node| {
            let work = move |(): (), _: Context| async move { Err::<(), Failure>(unasked()) };
            node.host().worker("pull", Continuous::new(), work).retry(retry).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), every_second);

    // The same for a delivery, which waits in its queue.
    let work = |_: u32, _: &Context| Err::<(), Failure>(Failure::interrupted("the channel is closed"));
    let (outcome, _) = Jobs { work, retry, ..Jobs::default() }.run(|build| until().run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), every_second);
}

#[test]
fn t4_what_interrupts_itself_during_a_pause_is_returned() {
    let outcome = Script::new().at(secs(20), Signal::Terminate).run_once(|world| {
        world.node("node", |node| async move {
            let work = |(): (), _: Context| async {
                tokio::time::sleep(secs(5)).await;
                Err::<(), Failure>(Failure::interrupted("the page says so"))
            };
            let mut host = node.host().worker("pull", Continuous::new(), work).build().unwrap();
            let handle = host.handle();
            let pauses = async {
                tokio::time::sleep(secs(2)).await;
                handle.pause("pull").unwrap();
                tokio::time::sleep(secs(8)).await;
                handle.resume("pull").unwrap();
            };
            tokio::join!(host.run_until_signal(), pauses).0
        });
    });
    outcome.assert_rules_kept();
    let returned = |event: &Event| matches!(event, Event::Settled { settle: Settle::Return, .. });
    assert_eq!(time_of(&outcome, returned), Some(secs(5)));
    assert_eq!(attempts(&outcome)[1], (secs(10), 1), "as soon as it is resumed");
}

#[test]
fn a_store_that_is_out_is_asked_less_and_less_and_ends_no_worker() {
    let (outcome, seen) = Jobs { jobs: 3, ..Jobs::default() }.run(|build| {
        Script::new()
            .at(secs(0), site("jobs").outage().lasting(secs(300)))
            .at(secs(400), Signal::Terminate)
            .run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 2, 3]);
    let recovered = time_of(&outcome, |event| matches!(event, Event::SourceRecovered { .. })).unwrap();
    assert!(recovered <= secs(331), "{recovered:?}");
    // 0.1 s, doubling, at most 30 s: about twenty tries, and a line for each power of two of them.
    let failures = outcome.events().find_map(|(_, event)| match event {
        Event::SourceRecovered { failures, .. } => Some(*failures),
        _ => None,
    });
    assert!((15..25).contains(&failures.unwrap()), "{failures:?}");
    assert!(outcome.count(|event| matches!(event, Event::SourceFailed { .. })) <= 5);
}

#[test]
fn c2_no_attempt_follows_once_the_total_time_is_over() {
    let retry = Retry::default().attempts_max(100).jitter_percent(0).total_max(secs(10));
    let (outcome, seen) = Jobs { takes: millis(0), retry, ..Jobs::default() }.run(|build| {
        Script::new().at(secs(0), site("backend").outage()).at(secs(60), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    // The next would be at 15 s.
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(1), 2), (secs(3), 3), (secs(7), 4)]);
    assert_eq!(seen.dead_letters()[0].cause, DeadLetterCause::Exhausted);
    assert_eq!(outcome.count(|event| matches!(event, Event::Escalated { attempts: 4, .. })), 1);

    // The same for a tick, counted from its own first attempt.
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let fails = |_: Tick, _: Context| async { Err(Failure::transient("no")) };
            node.host().worker("fails", Schedule::every(secs(20)), fails).retry(retry).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let started: Vec<_> = attempts(&outcome).into_iter().map(|(at, _)| at).collect();
    assert_eq!(started, [0, 1, 3, 7, 20, 21, 23, 27].map(secs));
}

#[test]
fn an_error_that_came_through_a_question_mark_is_what_its_classification_says() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let reads = |tick: Tick, _: Context| async move {
                match tick.number {
                    1 => drop("x".parse::<u8>()?),
                    2 => drop("x".parse::<bool>()?),
                    3 => return Err(Failure::transient("x".parse::<u8>().unwrap_err())),
                    _ => {}
                }
                Ok::<(), Failure>(())
            };
            node.host()
                .worker("reads", Schedule::every(secs(10)), reads)
                .retry(Retry::never())
                .classify(|error| {
                    let number = error.downcast_ref::<std::num::ParseIntError>().map(|_| FailureClass::Invalid);
                    let slow = FailureClass::RetryAfter(secs(5));
                    number.or_else(|| error.downcast_ref::<std::str::ParseBoolError>().map(|_| slow))
                })
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let kinds: Vec<FailureKind> = outcome
        .events()
        .filter_map(|(_, event)| match event {
            Event::CycleEnded { failure: Some(cause), .. } => Some(cause.kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [FailureKind::Invalid, FailureKind::Transient, FailureKind::Transient]);
}

#[test]
fn c7_whoever_asked_is_told_of_each_exhausted_input_and_may_panic() {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = Script::new().at(secs(15), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let notes = inside.clone();
            let fails =
                |tick: Tick, _: Context| async move { Err(Failure::transient(format!("tick {}", tick.number))) };
            node.host()
                .worker("fails", Schedule::every(secs(10)), fails)
                .retry(Retry::default().attempts_max(2))
                .on_escalation(move |escalation| {
                    let shiftwork::Escalation { worker, attempts, cause, .. } = escalation;
                    notes.add(format!("{worker} after {attempts}: {cause}"));
                    panic!("the pager is out");
                })
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["fails after 2: transient: tick 1", "fails after 2: transient: tick 2"]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

#[test]
fn c7_whoever_asked_is_told_of_a_crash_loop_and_of_which_delivery() {
    let notes = Notes::default();
    let inside = notes.clone();
    // Three processes die in the call of the one job.
    let script = (0..3).fold(Script::new(), |script, _| script.at(secs(0), site("backend").crash(false)));
    let outcome = script.at(secs(100), Signal::Terminate).run_once(move |world| {
        let backend = world.dependency("backend");
        let queue = world.queue::<u32>("jobs");
        queue.seed([1]);
        world.node("node", move |node| {
            let (backend, notes) = (backend.clone(), inside.clone());
            let calls = move |_: u32, _: Context| {
                let backend = backend.clone();
                async move { Ok::<(), Failure>(backend.call(async {}).await?) }
            };
            node.host()
                .worker("jobs", queue.clone().source().lease(secs(10)), calls)
                .on_escalation(move |escalation| {
                    let shiftwork::Escalation { worker, delivery, attempts, cause, .. } = escalation;
                    notes.add(format!("{worker}, {delivery:?}, after {attempts}: {cause}"));
                })
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.boots, 4);
    let moved_aside = outcome.events().find_map(|(_, event)| match event {
        Event::SettledUnrun {
            delivery, settle: Settle::DeadLetter { cause: DeadLetterCause::CrashLoop, .. }, ..
        } => Some(*delivery),
        _ => None,
    });
    assert!(moved_aside.is_some());
    let told = format!("jobs, {moved_aside:?}, after 0: transient: 3 leases of it lapsed without a settlement");
    assert_eq!(notes.all(), [told]);
}

#[test]
fn c10_what_a_cycle_puts_off_comes_again_as_often_as_it_says_and_costs_no_attempt() {
    let work =
        |_: u32, cx: &Context| if cx.cycle().0 <= 3 { Err(Failure::snooze(secs(10), "too early")) } else { Ok(()) };
    let (outcome, seen) = Jobs { takes: millis(0), work, retry: Retry::never(), ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [0, 10, 20, 30].map(|second| (secs(second), 1)));
    assert_eq!(seen.done(), [1]);
    let cycles = outcome.report().unwrap().worker("jobs").unwrap().cycles;
    assert_eq!((cycles.snoozed, cycles.failed, cycles.succeeded), (3, 0, 1));

    // The same for a tick, which keeps its lane meanwhile.
    let outcome = Script::new().at(secs(70), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let early = |tick: Tick, cx: Context| async move {
                let too_early = tick.number == 1 && cx.cycle().0 < 3;
                if too_early { Err(Failure::snooze(secs(7), "the file is not there yet")) } else { Ok(()) }
            };
            node.host().worker("early", Schedule::every(secs(60)), early).retry(Retry::never()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [0, 7, 14, 60].map(|second| (secs(second), 1)));
}

#[test]
fn c10_what_a_cycle_drops_is_gone_and_is_no_dead_letter() {
    let work = |job: u32, _: &Context| if job == 2 { Err(Failure::discard("the order was cancelled")) } else { Ok(()) };
    let (outcome, seen) = Jobs { jobs: 3, work, ..Jobs::default() }
        .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 3]);
    assert_eq!((seen.dead_letters().len(), seen.queue.inspect_depth().unsettled()), (0, 0));
    let cycles = outcome.report().unwrap().worker("jobs").unwrap().cycles;
    assert_eq!((cycles.discarded, cycles.failed, cycles.succeeded), (1, 0, 2));
}

#[test]
fn c2_the_wait_for_its_turn_does_not_count_for_a_deliverys_total_time() {
    // The third has waited for forty seconds when it fails for the first time.
    let work = |job: u32, cx: &Context| {
        if job == 3 && cx.attempt() == 1 { Err(Failure::transient("once")) } else { Ok(()) }
    };
    let retry = Retry::default().jitter_percent(0).total_max(secs(10));
    let (outcome, seen) = Jobs { jobs: 3, takes: secs(20), work, retry, ..Jobs::default() }
        .run(|build| Script::new().at(secs(120), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done(), [1, 2, 3]);
    assert!(seen.dead_letters().is_empty());
}

#[test]
fn c7_a_delivery_with_more_attempts_than_are_now_allowed_is_moved_aside_as_it_is_claimed_and_escalated() {
    let lives = Count::default();
    let letters = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let found = letters.clone();
    let outcome = Script::new().at(secs(5), plan::crash(secs(1))).heal_at(secs(60)).run(move |world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed([1]);
        let inside = queue.clone();
        world.node("node", move |node| {
            let fails = |_: u32, _: Context| async { Err(Failure::transient("no")) };
            // The new release allows fewer.
            let attempts = if lives.up() == 1 { 9 } else { 2 };
            node.host()
                .worker("jobs", inside.clone().source(), fails)
                .retry(Retry::default().jitter_percent(0).attempts_max(attempts))
                .run_until_signal()
        });
        world.done_when(move || {
            let letters = queue.inspect_dead_letters();
            *found.lock().unwrap() = letters.iter().map(|letter| (letter.cause, letter.history.len())).collect();
            !letters.is_empty()
        });
    });
    outcome.assert_rules_kept();
    // Attempts at 0, 1 and 3 seconds; the fourth would be at 7.
    assert_eq!(*letters.lock().unwrap(), [(DeadLetterCause::Exhausted, 4)]);
    assert_eq!(outcome.count(|event| matches!(event, Event::Escalated { cycle: None, attempts: 3, .. })), 1);
    assert_eq!(attempts(&outcome).len(), 3);
}

#[test]
fn b2_a_dependency_that_fails_does_not_get_a_storm_of_retries_and_nothing_is_lost() {
    let budget = RetryBudget::per_second(2).burst(5).share_percent(0);
    let outcome = Script::new()
        .at(secs(0), site("backend").outage().lasting(secs(10)))
        .at(secs(200), Signal::Terminate)
        .run_once(move |world| {
            let (queue, backend) = (world.queue::<u32>("jobs"), world.dependency("backend"));
            queue.seed(1..=60);
            world.node("node", move |node| {
                let backend = backend.clone();
                let work = move |_: u32, _: Context| {
                    let backend = backend.clone();
                    async move { Ok::<(), Failure>(backend.call(async {}).await?) }
                };
                node.host()
                    .worker("jobs", queue.clone().source(), work)
                    .concurrency(8)
                    .no_breaker()
                    .retry_budget(budget)
                    .run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    let retries = |until| {
        let starts = attempts(&outcome).into_iter();
        starts.filter(|(at, attempt)| *attempt > 1 && *at <= until).count()
    };
    // Five at once and two a second, where the backoff alone would have let each of the sixty try three times.
    assert!((20..=26).contains(&retries(secs(10))), "{}", retries(secs(10)));
    assert!(outcome.count(|event| matches!(event, Event::RetryHeldBack { .. })) >= 50);
    let cycles = outcome.report().unwrap().worker("jobs").unwrap().cycles;
    assert_eq!((cycles.succeeded, cycles.dead_lettered), (60, 0), "late, but not lost");
}

/// Trips soon, and at times that can be foretold.
fn steady() -> Breaker {
    Breaker::after(5).probe_every(secs(30)).probe_max(secs(120)).jitter_percent(0)
}

#[test]
fn b1_a_dependency_that_is_down_does_not_burn_the_queue_into_dead_letters() {
    // Six hours; without a breaker each of the fifty would be dead within a minute.
    let hours = secs(6 * 3_600);
    let (outcome, seen) =
        Jobs { jobs: 50, takes: millis(10), concurrency: 4, breaker: Some(steady()), ..Jobs::default() }.run(|build| {
            let outage = site("backend").outage().lasting(hours);
            Script::new().at(secs(0), outage).at(hours + secs(600), Signal::Terminate).run_once(build)
        });
    outcome.assert_rules_kept();
    assert_eq!(seen.dead_letters().len(), 0);
    let mut done = seen.done();
    done.sort_unstable();
    assert_eq!(done, (1..=50).collect::<Vec<_>>());
    let closed = time_of(&outcome, |event| matches!(event, Event::BreakerClosed { .. })).unwrap();
    assert!((hours..=hours + secs(121)).contains(&closed), "{closed:?}");
    // Four lanes had failed side by side when the fifth failure came; all else were probes, two minutes apart.
    let cycles = outcome.events().filter(|(at, event)| *at < hours && event.name() == "cycle_started").count();
    let probes = outcome.count(|event| matches!(event, Event::BreakerProbing { .. }));
    assert!((180..=184).contains(&probes), "{probes}");
    assert!(cycles <= probes + 8, "{cycles}");
}

#[test]
fn b1_a_worker_of_one_call_a_minute_trips_its_breaker() {
    let outcome = Script::new()
        .at(secs(90), site("rates").outage().lasting(secs(600)))
        .at(secs(1_200), Signal::Terminate)
        .run_once(|world| {
            let rates = world.dependency("rates");
            world.node("node", move |node| {
                let rates = rates.clone();
                let fetch = move |_: Tick, _: Context| {
                    let rates = rates.clone();
                    async move { Ok::<(), Failure>(rates.call(async {}).await?) }
                };
                node.host()
                    .worker("fetch", Schedule::every(secs(60)), fetch)
                    .retry(Retry::never())
                    .breaker(steady())
                    .run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    let opened = time_of(&outcome, |event| matches!(event, Event::BreakerOpened { failures: 5, .. }));
    assert_eq!(opened.map(|at| at.as_secs()), Some(360), "the fifth failure, at the sixth minute");
    assert!(outcome.count(|event| matches!(event, Event::TicksMissed { .. })) > 0, "what it paused over is said");
    let closed = time_of(&outcome, |event| matches!(event, Event::BreakerClosed { .. })).unwrap();
    assert!((secs(690)..=secs(830)).contains(&closed), "{closed:?}");
}

#[test]
fn b1_a_tick_that_came_to_a_lane_before_the_breaker_opened_is_served_when_it_closes() {
    let outcome = Script::new().at(secs(59), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            // The first tick fails while the other lane waits for the second.
            let fetch = |tick: Tick, _: Context| async move {
                if tick.number > 1 {
                    return Ok(());
                }
                tokio::time::sleep(secs(9)).await;
                Err(Failure::transient("down"))
            };
            node.host()
                .worker("fetch", Schedule::every(secs(10)).overlap(Overlap::Allow), fetch)
                .concurrency(2)
                .retry(Retry::never())
                .breaker(Breaker::after(1).probe_every(secs(15)).jitter_percent(0))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    // The second tick is the probe.
    assert_eq!(attempts(&outcome).into_iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0, 24, 24, 30, 40, 50]);
    assert_eq!(outcome.count(|event| matches!(event, Event::TickDue { .. })), 6);
}

#[test]
fn b1_what_was_in_flight_when_the_breaker_opened_does_not_open_it_once_it_has_closed() {
    let outcome = Script::new().at(secs(59), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            // The second tick finds out at 10 s that the other side is down, the third at 20 s that it is back; only then does the
            // first, which has waited for it since the beginning, give up.
            let fetch = |tick: Tick, _: Context| async move {
                match tick.number {
                    1 => {
                        tokio::time::sleep(secs(25)).await;
                        Err(Failure::transient("no answer"))
                    }
                    2 => Err(Failure::transient("down")),
                    _ => Ok(()),
                }
            };
            node.host()
                .worker("fetch", Schedule::every(secs(10)).overlap(Overlap::Allow), fetch)
                .concurrency(2)
                .retry(Retry::never())
                .breaker(Breaker::after(1).probe_every(secs(5)).jitter_percent(0))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let closed = time_of(&outcome, |event| matches!(event, Event::BreakerClosed { .. }));
    assert_eq!(closed, Some(secs(20)));
    assert_eq!(outcome.count(|event| matches!(event, Event::BreakerOpened { .. })), 1);
    assert_eq!(attempts(&outcome), [0, 10, 20, 30, 40, 50].map(|second| (secs(second), 1)));
}

#[test]
fn b1_a_lane_that_waits_for_its_own_retry_keeps_no_other_from_the_probe() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let first = AtomicBool::new(true);
            let fetch = move |(): (), _: Context| {
                let first = first.swap(false, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(secs(1)).await;
                    if first { Err(Failure::retry_after(secs(3_600), "come back in an hour")) } else { Ok(()) }
                }
            };
            node.host()
                .worker("fetch", Continuous::new(), fetch)
                .concurrency(2)
                .breaker(Breaker::after(1).probe_every(secs(5)).jitter_percent(0))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let probe = time_of(&outcome, |event| matches!(event, Event::BreakerProbing { .. }));
    assert_eq!(probe, Some(secs(6)), "by the lane that has something to do");
    assert_eq!(outcome.report().unwrap().worker("fetch").unwrap().cycles.succeeded, 55);
}

#[test]
fn c6_what_a_cycle_has_left_running_hears_that_it_is_over_and_speaks_for_no_other() {
    let outcome = Script::new().at(secs(40), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let leaves = |tick: Tick, cx: Context| async move {
                if tick.number == 1 {
                    // A task of its own, which goes on when the cycle's time is over, and says that it gets on.
                    tokio::spawn(async move {
                        tokio::select! {
                            () = cx.cancelled() => {}
                            () = async { loop { cx.progress(); tokio::time::sleep(millis(100)).await; } } => {}
                        }
                    });
                }
                std::future::pending::<()>().await;
                Ok::<(), Failure>(())
            };
            node.host()
                .worker("leaves", Schedule::every(secs(10)), leaves)
                .retry(Retry::never())
                .cycle_timeout(secs(8))
                .progress_timeout(secs(2))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let ended =
        outcome.events().filter_map(|(at, event)| matches!(event, Event::CycleEnded { .. }).then_some(at.as_secs()));
    // The first runs into its timeout, since its task says that it gets on; the others say nothing for two seconds.
    assert_eq!(ended.collect::<Vec<_>>(), [8, 12, 22, 32]);
}

#[test]
fn b1_a_bad_delivery_does_not_hold_a_breaker_open() {
    // Five bad ones in a row open it, and the queue offers them first each time.
    let work = |job: u32, _: &Context| if job <= 5 { Err(Failure::transient("always")) } else { Ok(()) };
    let (outcome, seen) = Jobs { jobs: 50, takes: millis(0), work, breaker: Some(steady()), ..Jobs::default() }
        .run(|build| Script::new().at(secs(6 * 3_600), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(seen.done().len(), 45);
    let closed = time_of(&outcome, |event| matches!(event, Event::BreakerClosed { .. })).unwrap();
    assert!(closed < secs(600), "{closed:?}");
    // Once they are alone they look like an outage, and are given up slowly.
    assert_eq!(seen.dead_letters().len(), 5);
}

#[test]
fn b1_a_stop_cuts_the_pause_short_and_holds_nothing() {
    let (outcome, seen) =
        Jobs { jobs: 20, takes: millis(10), concurrency: 3, breaker: Some(steady()), ..Jobs::default() }.run(|build| {
            Script::new().at(secs(0), site("backend").outage()).at(secs(10), Signal::Terminate).run_once(build)
        });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(10));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
    assert_eq!(seen.queue.inspect_depth().unsettled(), 20);
}

#[test]
fn b1_a_delivery_that_comes_while_the_breaker_is_open_waits_unspent() {
    // The three lanes wait for work since before it opened: what comes is given back until a probe is due.
    let surroundings = |world: &mut shiftwork_sim::World, seen: &crate::worlds::Seen| {
        for second in [20, 21, 22, 23] {
            let queue = seen.queue.clone();
            world.at(secs(second), "a job", move || queue.seed([100 + u32::try_from(second).unwrap_or_default()]));
        }
    };
    let breaker = Some(Breaker::after(2).probe_every(secs(30)).jitter_percent(0));
    let (outcome, seen) = Jobs { jobs: 1, takes: millis(0), concurrency: 3, surroundings, breaker, ..Jobs::default() }
        .run(|build| {
            let outage = site("backend").outage().lasting(secs(25));
            Script::new().at(secs(0), outage).at(secs(60), Signal::Terminate).run_once(build)
        });
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome)[..3], [(secs(0), 1), (secs(1), 2), (secs(31), 3)]);
    assert!(outcome.count(|event| matches!(event, Event::SettledUnrun { .. })) <= 2, "each lane that waited, once");
    assert_eq!(seen.done().len(), 5);
}
