//! The simulator under test: what must be found is found, and what cannot end is ended.

use std::time::Duration;

use shiftwork::{Context, Failure, HostReport, Retry, Schedule, Signal, Tick};
use shiftwork_sim::{Ledger, Outcome, Record, Script, What, World, millis, secs, site};

use crate::worlds::Jobs;

#[test]
fn v1_a_program_that_panics_has_lost_its_verdict() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| async move {
            tokio::time::sleep(secs(1)).await;
            let report: HostReport = node.host().run_until(std::future::ready(())).await;
            panic!("the report was {}", report.exit)
        });
    });
    assert_eq!(outcome.expect_broken("V1").happened, "it panicked, and said: the report was clean");
}

#[test]
fn l1_a_node_that_exits_for_ever_ends_the_world() {
    let outcome = Script::new().heal_at(secs(5)).run(|world| {
        world.node("node", |node| {
            let refuses = |_: Tick, _: Context| async { Err(Failure::fatal("no licence")) };
            node.host().worker("refuses", Schedule::every(secs(1)), refuses).run_until_signal()
        });
    });
    assert_eq!(outcome.expect_broken("L1").happened, "it exited each time");
}

#[test]
fn a_script_that_never_ends_its_node_is_told_so() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |_| std::future::pending::<HostReport>());
    });
    assert_eq!(outcome.expect_broken("T3").expected, "the script ends the node");
}

/// A worker that calls a dependency of this name, so often, and tries again for long.
fn calls(world: &mut World, name: &str, period: Duration) {
    let dependency = world.dependency(name);
    world.node("node", move |node| {
        let dependency = dependency.clone();
        let call = move |_: Tick, _: Context| {
            let dependency = dependency.clone();
            async move { Ok::<(), Failure>(dependency.call(async {}).await?) }
        };
        let patient = Retry::exponential().initial(secs(10)).max(secs(10)).attempts_max(100);
        node.host().worker("call", Schedule::every(period), call).retry(patient).run_until_signal()
    });
}

#[test]
fn an_invariant_that_panics_in_the_middle_of_a_cycle_is_broken_and_the_cycle_goes_on() {
    let outcome = Script::new().at(secs(1), site("smtp").outage().lasting(secs(5))).run(|world| {
        calls(world, "smtp", secs(3));
        world.always("every call succeeds", |record| {
            assert!(!matches!(record.what, What::CallEnded { ok: false, .. }), "one failed");
            Ok(())
        });
    });
    assert_eq!(outcome.expect_broken("every call succeeds").happened, "it panicked, and said: one failed");
    let panicked = |cause: &shiftwork::Cause| cause.kind == shiftwork::FailureKind::Panic;
    let cycles = outcome.count(|event| match event {
        shiftwork::Event::CycleEnded { failure, .. } => failure.as_ref().is_some_and(panicked),
        _ => false,
    });
    assert_eq!(cycles, 0);
}

#[test]
#[should_panic(expected = "the world has a site \"jobs\" already")]
fn two_sites_of_one_name_are_refused() {
    let _never = Script::new().run_once(|world| {
        let _jobs = world.queue::<u32>("jobs");
        let _other = world.dependency("jobs");
    });
}

#[test]
fn what_a_script_says_lasts_so_long_does() {
    let outcome = Script::new().at(secs(10), site("db").outage().lasting(secs(300))).run(|world| {
        calls(world, "db", secs(10));
    });
    outcome.assert_rules_kept();
    let mut failed =
        outcome.timeline.records().iter().filter(|record| matches!(record.what, What::CallEnded { ok: false, .. }));
    let last = failed.next_back().expect("calls fail while it is out").at;
    assert!(secs(295) < last && last < secs(310), "{last:?}");
}

/// A world in which nothing is recorded between 1 s and 20 s, and the ledger is filled at `filled`.
fn eventually(filled: Option<Duration>) -> Outcome {
    Script::new().at(secs(20), Signal::Terminate).run_once(move |world| {
        let ledger: Ledger<bool> = Ledger::default();
        let (inside, seen) = (ledger.clone(), ledger);
        world.at(secs(1), "an order", || {});
        world.foreign("books", move |process| {
            let books = inside.clone();
            async move {
                let signals = process.signals().unwrap();
                if let Some(filled) = filled {
                    tokio::time::sleep(filled).await;
                    books.with(|filled| *filled = true);
                }
                signals.next().await;
            }
        });
        let arrived = |record: &Record| matches!(record.what, What::Arrived { .. });
        world.eventually("an order is booked", secs(10), arrived, move || seen.with(|filled| *filled));
    })
}

#[test]
fn what_must_follow_is_judged_when_its_time_is_over_and_not_at_the_next_record() {
    eventually(Some(secs(5))).assert_rules_kept();
    eventually(Some(secs(11))).assert_rules_kept();
    for late in [Some(secs(11) + millis(1)), Some(secs(15)), None] {
        let outcome = eventually(late);
        let violation = outcome.expect_broken("an order is booked");
        assert_eq!((violation.at, &*violation.happened), (secs(11), "it was not so by then"), "{late:?}");
    }
}

#[test]
fn what_need_not_have_followed_yet_when_a_script_ends_is_not_missed() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        world.foreign("idle", |process| async move {
            process.signals().unwrap().next().await;
        });
        let signalled = |record: &Record| matches!(record.what, What::Signalled(_));
        world.eventually("a pig flies", secs(10), signalled, || false);
    });
    outcome.assert_rules_kept();
}

#[test]
fn l2_a_loop_that_never_lets_time_pass_is_found() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let eager = |(): (), _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("eager", shiftwork::Continuous::new(), eager).run_until_signal()
        });
    });
    outcome.expect_broken("L2");
}

#[test]
fn l2_the_task_that_loops_is_told_with_the_place_where_it_was_spawned() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
        world.foreign("node", |process| async move {
            let signals = process.signals().unwrap();
            let _idle = tokio::spawn(std::future::pending::<()>());
            let _hot = tokio::spawn(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            }));
            signals.next().await;
        });
    });
    let violation = outcome.expect_broken("L2");
    // All but a few of the polls are those of the loop.
    let polls = outcome.timeline.polls();
    let hot = polls[polls.len() / 2];
    assert_eq!(hot.spawned_at.file(), file!());
    let named = format!("task {} (spawned at {}) is polled again", hot.task, hot.spawned_at);
    assert!(violation.happened.ends_with(&named), "{violation}");
}

#[test]
fn a_slow_queue_is_slow() {
    let (outcome, _) = Jobs { takes: millis(0), ..Jobs::default() }.run(|build| {
        let slow = site("jobs").slow(secs(2)).lasting(secs(1));
        Script::new().at(secs(0), slow).at(secs(10), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.struck, [true, true]);
    let began = outcome.events().find(|(_, event)| event.name() == "cycle_started").unwrap().0;
    assert_eq!(began, secs(2));
}
