//! Retries, bad input, panics, timeouts, faults.

use shiftwork::{
    Context, Continuous, ExitStatus, Failure, Retry, Schedule, Signal, Tick,
    event::{Event, StopReason},
    queue::{DeadLetterCause, FailureKind},
};
use shiftwork_sim::{Script, millis, secs, site};

use crate::worlds::{Count, Jobs, attempts, time_of};

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
    // Whoever panicked gave its lease back; nothing renews it any more.
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleStarted { attempt: 2, .. })), 1);
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
