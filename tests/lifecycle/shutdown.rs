//! Drain, cancel, abort, signals, stop hooks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shiftwork::{
    Context, ExitStatus, Failure, OnFault, QueueSourceExt, Retry, Schedule, Signal, StopBudget, Tick, Worker,
    event::{Doing, Event, NextSignal, Settle, StopStep, WorkerPhase},
};
use shiftwork_sim::{Script, SimQueue, dependency::Latency, millis, plan, secs, site};

use crate::worlds::{Count, Jobs, Notes, order_of, time_of};

#[test]
fn two_hundred_jobs_in_flight_are_finished_and_stored_before_the_host_ends() {
    let (outcome, seen) = Jobs { jobs: 400, concurrency: 200, takes: secs(5), ..Jobs::default() }
        .run(|build| Script::new().at(secs(1), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(5));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
    assert_eq!(seen.done().len(), 200);
    let depth = seen.queue.inspect_depth();
    assert_eq!((depth.ready, depth.leased), (200, 0));
}

#[test]
fn t3_a_hung_dependency_does_not_hold_up_the_stop() {
    let (outcome, _) = Jobs::default().run(|build| {
        Script::new().at(secs(0), site("backend").hang()).at(secs(100), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert!(outcome.ended_at() <= secs(125), "{:?}", outcome.ended_at());
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::DrainTimedOut);
    assert_eq!(outcome.report().unwrap().exit.code(), 75);
}

#[test]
fn t4_what_is_interrupted_is_returned_and_its_attempt_is_not_spent() {
    let (outcome, seen) = Jobs { jobs: 3, concurrency: 3, ..Jobs::default() }.run(|build| {
        // Killed off three times over in three lives of the process, then left to finish.
        let hang = site("backend").hang().lasting(millis(93_500));
        let script = Script::new().at(secs(0), hang);
        let script = [10, 40, 70].into_iter().fold(script, |script, at| script.at(secs(at), Signal::Terminate));
        script.run(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.done().len(), 3);
    assert!(seen.dead_letters().is_empty());
    let returned = outcome.count(|event| matches!(event, Event::Settled { settle: Settle::Return, .. }));
    assert_eq!(returned, 9, "three jobs, three times");
    let spent = outcome.count(|event| matches!(event, Event::CycleStarted { attempt: 2.., .. }));
    assert_eq!(spent, 0);
}

#[test]
fn t5_a_second_signal_returns_what_is_in_flight_at_once() {
    let (outcome, seen) = Jobs { takes: secs(15), ..Jobs::default() }
        .run(|build| Script::new().at(secs(5), Signal::Terminate).at(secs(6), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(6));
    assert_eq!(outcome.report().unwrap().exit.code(), 130);
    assert_eq!(seen.queue.inspect_depth().ready, 1);
}

#[test]
fn t5_each_signal_says_what_the_next_one_will_do() {
    let (outcome, _) = Jobs { takes: secs(15), ..Jobs::default() }.run(|build| {
        // The store is out, so that the return that the second one asks for is still under way at the third.
        let hang = site("jobs").hang();
        let script = Script::new().at(secs(5), Signal::Interrupt).at(millis(5_500), hang);
        script.at(secs(6), Signal::Interrupt).at(secs(7), Signal::Interrupt).run_once(build)
    });
    outcome.assert_rules_kept();
    let promises: Vec<NextSignal> = outcome
        .events()
        .filter_map(|(_, event)| match event {
            Event::SignalReceived { next, .. } => Some(*next),
            _ => None,
        })
        .collect();
    assert_eq!(promises, [NextSignal::Abort, NextSignal::Leave, NextSignal::Leave]);
    assert!(outcome.ended_at() <= millis(7_100), "{:?}", outcome.ended_at());
}

#[test]
fn a_quit_does_not_drain() {
    let (outcome, seen) = Jobs { takes: secs(15), ..Jobs::default() }
        .run(|build| Script::new().at(secs(5), Signal::Quit).run_once(build));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(5));
    assert_eq!(seen.queue.inspect_depth().ready, 1);
}

#[test]
fn a_stop_cuts_a_backoff_short() {
    let (outcome, _) = Jobs::default().run(|build| {
        Script::new().at(secs(0), site("backend").outage()).at(millis(2_500), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), millis(2_500));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

#[test]
fn a_long_cycle_that_looks_at_stopping_ends_early_and_well() {
    let steps = Count::default();
    let counted = steps.clone();
    let outcome = Script::new().at(millis(4_500), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let steps = counted.clone();
            let long = move |_: Tick, cx: Context| {
                let steps = steps.clone();
                async move {
                    while !cx.stopping() && steps.get() < 1_000 {
                        tokio::time::sleep(secs(1)).await;
                        steps.up();
                    }
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("long", Schedule::every(secs(3_600)), long).no_cycle_timeout().run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(5));
    assert_eq!(steps.get(), 5);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

#[test]
fn a_cycle_hears_when_its_time_to_drain_is_over() {
    let heard = Notes::default();
    let notes = heard.clone();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let notes = notes.clone();
            let waits = move |_: Tick, cx: Context| {
                let notes = notes.clone();
                async move {
                    cx.cancelled().await;
                    notes.add("saved its place");
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("waits", Schedule::every(secs(3_600)), waits).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(30));
    assert_eq!(heard.all(), ["saved its place"]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean, "it ended by itself");
}

/// A worker whose cycles and stop hook take the time that they take.
struct Slow {
    name: &'static str,
    cycle: Duration,
    stop: Duration,
    notes: Notes,
}

impl Worker for Slow {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        tokio::time::sleep(self.cycle).await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.notes.add(self.name);
        tokio::time::sleep(self.stop).await;
        Ok(())
    }
}

/// "first", and "second" after it.
fn two(script: Script, cycle: Duration, stop: Duration) -> (shiftwork_sim::Outcome, Notes) {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| {
            let slow = |name| Slow { name, cycle, stop, notes: inside.clone() };
            node.host()
                .worker("first", Schedule::every(secs(60)), slow("first"))
                .worker("second", Schedule::every(secs(60)), slow("second"))
                .after("first")
                .run_until_signal()
        });
    });
    (outcome, notes)
}

#[test]
fn t2_dependents_stop_first_and_stop_hooks_run_once_each() {
    let (outcome, notes) = two(Script::new().at(secs(1), Signal::Terminate), secs(3), millis(100));
    outcome.assert_rules_kept();
    let closed = order_of(&outcome, |event| match event {
        Event::IntakeClosed { worker, .. } => Some(*worker),
        _ => None,
    });
    assert_eq!(closed, [1, 0]);
    assert_eq!(notes.all(), ["second", "first"]);
}

#[test]
fn a_stop_hook_that_hangs_is_left_behind_and_named() {
    let (outcome, notes) = two(Script::new().at(secs(1), Signal::Terminate), secs(3), secs(1_000_000));
    outcome.assert_rules_kept();
    assert!(outcome.ended_at() <= secs(27), "{:?}", outcome.ended_at());
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::DrainTimedOut);
    assert_eq!(report.worker("second").unwrap().abandoned, Some(WorkerPhase::Closing));
    assert_eq!(notes.all(), ["second", "first"], "the one before it had its turn all the same");
}

#[test]
fn a_worker_that_outlasts_its_drain_leaves_its_share_to_those_before_it() {
    let (outcome, _) = two(Script::new().at(secs(1), Signal::Terminate), secs(1_000), millis(0));
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::DrainTimedOut);
    assert_eq!(report.worker("first").unwrap().phase, WorkerPhase::Aborted);
    assert!(outcome.ended_at() <= secs(26) + millis(200));
}

#[test]
fn a_workers_own_drain_is_kept_within_the_hosts() {
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(|world| {
        let backend = world.dependency_with("backend", Latency::constant(secs(1_000)));
        world.node("node", move |node| {
            let backend = backend.clone();
            let slow = move |_: Tick, _: Context| {
                let backend = backend.clone();
                async move { Ok::<(), Failure>(backend.call(async {}).await?) }
            };
            let budget = StopBudget::default().cancel(secs(1));
            node.host()
                .stop_budget(budget)
                .worker("slow", Schedule::every(secs(60)), slow)
                .drain(secs(4))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerCancelled { .. })), Some(secs(5)));
    assert_eq!(outcome.ended_at(), secs(6));
}

#[test]
fn t8_what_is_still_in_flight_is_named_at_each_step() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let stuck = |_: Tick, _: Context| std::future::pending::<Result<(), Failure>>();
            node.host().worker("stuck", Schedule::every(secs(60)), stuck).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let named: Vec<_> = outcome
        .events()
        .filter_map(|(at, event)| match event {
            Event::Straggler { cycle, attempt, step, doing, age, .. } => {
                Some((at, cycle.0, *attempt, *step, *doing, *age))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        named,
        [
            (secs(30), 1, 1, StopStep::Cancelled, Doing::Waiting, secs(30)),
            (secs(33), 1, 1, StopStep::Aborted, Doing::Waiting, secs(33)),
        ]
    );
}

#[test]
fn t8_a_settlement_that_hangs_is_a_straggler_too() {
    let (outcome, _) = Jobs::default()
        .run(|build| Script::new().at(millis(500), site("jobs").hang()).at(secs(5), Signal::Terminate).run_once(build));
    outcome.assert_rules_kept();
    let last = outcome.events().filter_map(|(_, event)| match event {
        Event::Straggler { step, doing, .. } => Some((*step, *doing)),
        _ => None,
    });
    assert_eq!(last.last(), Some((StopStep::Abandoned, Doing::Settling)));
}

/// A service that is served by a load balancer, and says so.
fn balanced(script: Script) -> shiftwork_sim::Outcome {
    script.run_once(|world| {
        world.node("node", |node| {
            let budget = StopBudget::default().before_drain(secs(10));
            let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host().stop_budget(budget).worker("work", Schedule::every(secs(1)), work).run_until_signal()
        });
    })
}

#[test]
fn t7_work_goes_on_for_the_delay_before_the_drain() {
    let outcome = balanced(Script::new().at(secs(5) + millis(500), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(15) + millis(500));
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, report.worker("work").unwrap().cycles.succeeded), (ExitStatus::Clean, 16));
    let announced = outcome.events().find_map(|(_, event)| match event {
        Event::HostStopping { delay, drain, within, .. } => Some((*delay, *drain, *within)),
        _ => None,
    });
    assert_eq!(announced, Some((secs(10), secs(30), secs(35))));
}

#[test]
fn t7_a_second_signal_and_a_quit_do_not_wait_for_the_delay() {
    let twice = Script::new().at(secs(5), Signal::Terminate).at(secs(7), Signal::Terminate);
    for (script, ends) in [(twice, secs(7)), (Script::new().at(secs(5), Signal::Quit), secs(5))] {
        let outcome = balanced(script);
        outcome.assert_rules_kept();
        assert_eq!(outcome.ended_at(), ends);
    }
}

/// Takes a second to start.
struct Idle;

impl Worker for Idle {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        tokio::time::sleep(secs(1)).await;
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_stop_right_after_the_start_says_that_nothing_ran() {
    // Before its intake opens, and before its first tick is due.
    for (at, phase) in [(millis(999), WorkerPhase::NeverStarted), (millis(1_001), WorkerPhase::Stopped)] {
        let outcome = Script::new().at(at, Signal::Terminate).run_once(|world| {
            world.node("node", |node| {
                let schedule = Schedule::every(secs(1)).first_after(secs(1));
                node.host().worker("idle", schedule, Idle).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(outcome.ended_at(), at);
        let report = outcome.report().unwrap();
        let idle = report.worker("idle").unwrap();
        assert_eq!((report.exit, idle.phase, idle.cycles.started), (ExitStatus::Clean, phase, 0));
    }
}

/// "store", and "api" after it; each has a job of its queue in flight that never ends by itself.
fn chain_of_queues(script: Script, stop: Duration) -> (shiftwork_sim::Outcome, Vec<SimQueue<u32>>) {
    struct Stuck {
        stop: Duration,
    }
    impl Worker for Stuck {
        type Input = u32;

        async fn cycle(&self, _: u32, _: &Context) -> Result<(), Failure> {
            std::future::pending().await
        }

        async fn stop(&self) -> Result<(), Failure> {
            tokio::time::sleep(self.stop).await;
            Ok(())
        }
    }
    let queues = Arc::new(Mutex::new(Vec::new()));
    let made = queues.clone();
    let outcome = script.run_once(move |world| {
        let (store, api) = (world.queue::<u32>("store"), world.queue::<u32>("api"));
        store.seed([1]);
        api.seed([1]);
        *made.lock().unwrap() = vec![store.clone(), api.clone()];
        world.node("node", move |node| {
            node.host()
                .worker("store", store.clone().source(), Stuck { stop: Duration::ZERO })
                .worker("api", api.clone().source(), Stuck { stop })
                .after("store")
                .run_until_signal()
        });
    });
    let queues = queues.lock().unwrap().clone();
    (outcome, queues)
}

#[test]
fn t4_a_worker_whose_turn_to_stop_comes_late_still_returns_what_it_has() {
    let (outcome, queues) = chain_of_queues(Script::new().at(secs(10), Signal::Terminate), Duration::ZERO);
    outcome.assert_rules_kept();
    for queue in queues {
        assert_eq!((queue.inspect_depth().ready, queue.inspect_depth().leased), (1, 0));
    }
    assert_eq!(outcome.count(|event| matches!(event, Event::WorkerAbandoned { .. })), 0);
}

#[test]
fn a_stop_hook_that_hangs_does_not_take_the_workers_before_it_along() {
    let (outcome, queues) = chain_of_queues(Script::new().at(secs(10), Signal::Terminate), secs(1_000_000));
    outcome.assert_rules_kept();
    for queue in queues {
        assert_eq!((queue.inspect_depth().ready, queue.inspect_depth().leased), (1, 0));
    }
    assert_eq!(outcome.report().unwrap().worker("store").unwrap().abandoned, None);
    assert_eq!(outcome.report().unwrap().worker("api").unwrap().abandoned, Some(WorkerPhase::Closing));
}

#[test]
fn t4_a_cycle_that_fails_because_it_was_asked_to_stop_spends_no_attempt() {
    let queue = Arc::new(Mutex::new(None));
    let made = queue.clone();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed([1]);
        *made.lock().unwrap() = Some(jobs.clone());
        world.node("node", move |node| {
            let obedient = |_: u32, cx: Context| async move {
                cx.cancelled().await;
                Err(Failure::transient("asked to stop in the middle"))
            };
            node.host().worker("jobs", jobs.clone().source(), obedient).retry(Retry::never()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let queue = queue.lock().unwrap().take().unwrap();
    assert_eq!(queue.inspect_depth().ready, 1);
    assert!(queue.inspect_dead_letters().is_empty());
}

#[test]
fn a_settlement_that_cannot_be_stored_is_said_when_the_host_runs_out_of_patience() {
    let (outcome, _) = Jobs::default().run(|build| {
        Script::new().at(millis(500), site("jobs").outage()).at(secs(5), Signal::Terminate).run_once(build)
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::SettleFailed { .. })), 1);
    assert_eq!(outcome.count(|event| matches!(event, Event::WorkerAbandoned { .. })), 0);
    assert_eq!(outcome.report().unwrap().worker("jobs").unwrap().cycles.unsettled, 1);
}

#[test]
fn t3_a_process_that_stood_still_during_its_stop_is_not_late() {
    let (outcome, _) = Jobs { takes: secs(10), ..Jobs::default() }
        .run(|build| Script::new().at(secs(1), Signal::Terminate).at(secs(2), plan::pause(secs(40))).run_once(build));
    outcome.assert_rules_kept();
    assert!(outcome.ended_at() >= secs(42), "{:?}", outcome.ended_at());
}

#[test]
fn a_pool_is_closed_only_after_the_last_cycle_that_uses_it_is_settled() {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = Script::new().at(millis(1_500), Signal::Terminate).run_once(move |world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed(1..=40);
        world.node("node", move |node| {
            let (closed, used) = (Count::default(), inside.clone());
            let (pool, open) = (closed.clone(), closed);
            let query = move |_: u32, _: Context| {
                let (open, used) = (open.clone(), used.clone());
                async move {
                    tokio::time::sleep(secs(2)).await;
                    used.add(if open.get() == 0 { "used" } else { "used after it was closed" });
                    Ok(())
                }
            };
            node.host()
                .service("pool", move |cx: shiftwork::ServiceContext| {
                    let pool = pool.clone();
                    async move {
                        cx.stopped().await;
                        pool.up();
                        Ok(())
                    }
                })
                .worker("queries", queue.clone().source(), query)
                .concurrency(20)
                .after("pool")
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), vec!["used"; 20]);
    let settled = outcome.events().filter(|(_, event)| matches!(event, Event::Settled { .. })).map(|(at, _)| at).max();
    let closed = time_of(&outcome, |event| matches!(event, Event::IntakeClosed { worker, .. } if worker.0 == 0));
    assert!(settled <= closed, "the pool stops last: {settled:?}, {closed:?}");
}

#[test]
fn v1_each_worker_has_one_verdict_and_the_report_has_them_in_the_order_of_the_program() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let stuck = |_: Tick, _: Context| std::future::pending::<Result<(), Failure>>();
            let fails = |_: Tick, _: Context| async { Err::<(), Failure>(Failure::fatal("no licence")) };
            let works = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let every_minute = || Schedule::every(secs(60));
            node.host()
                .worker("stuck", every_minute(), stuck)
                .worker("fails", every_minute(), fails)
                .on_fault(OnFault::Degrade)
                .worker("works", every_minute(), works)
                .after("stuck")
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let ended = order_of(&outcome, |event| match event {
        Event::WorkerStopped { worker, .. } => Some(*worker),
        _ => None,
    });
    assert_eq!(ended, [1, 2, 0]);
    let report = outcome.report().unwrap();
    let verdict = |name| {
        let worker = report.worker(name).unwrap();
        (worker.phase, worker.cycles.started, worker.cause.as_ref().map(|cause| &*cause.message))
    };
    assert_eq!(report.workers.iter().map(|worker| &*worker.name).collect::<Vec<_>>(), ["stuck", "fails", "works"]);
    assert_eq!(verdict("stuck"), (WorkerPhase::Aborted, 1, None));
    assert_eq!(verdict("fails"), (WorkerPhase::Failed, 1, Some("no licence")));
    assert_eq!(verdict("works"), (WorkerPhase::Stopped, 1, None));
}

#[test]
fn a_host_without_workers_is_done_at_once() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| node.host().run_until_signal());
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), Duration::ZERO);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}
