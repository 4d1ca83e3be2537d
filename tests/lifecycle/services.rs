//! Services and jobs: long-running futures in the lifecycle of workers.

use shiftwork::{
    Context, ExitStatus, Failure, HostBuilder, OnFault, Schedule, ServiceContext, Signal, Tick,
    event::{Event, WorkerPhase},
};
use shiftwork_sim::{Outcome, Script, millis, secs};

use crate::worlds::{Count, Notes, names, time_of};

/// A world whose node runs what `build` adds to its host.
fn run(script: Script, build: impl Fn(HostBuilder) -> HostBuilder + Send + Sync + 'static) -> Outcome {
    script.run_once(move |world| {
        world.node("node", move |node| build(node.host()).run_until_signal());
    })
}

async fn idle(_: Tick, _: Context) -> Result<(), Failure> {
    Ok(())
}

/// Serves until it is asked to stop, and then for as long as it takes to finish.
async fn serve(cx: ServiceContext) -> Result<(), Failure> {
    cx.stopped().await;
    tokio::time::sleep(secs(3)).await;
    Ok(())
}

#[test]
fn a_service_runs_with_its_host_and_has_time_to_finish() {
    let outcome = run(Script::new().at(secs(10), Signal::Terminate), |host| host.service("http", serve).host());
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(13));
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::Clean);
    let http = report.worker("http").unwrap();
    assert_eq!((http.phase, http.cycles.succeeded), (WorkerPhase::Stopped, 1));
}

#[test]
fn t2_a_service_stops_after_the_workers_that_come_after_it() {
    let outcome = run(Script::new().at(secs(10), Signal::Terminate), |host| {
        let slow = |_: Tick, _: Context| async {
            tokio::time::sleep(secs(5)).await;
            Ok::<(), Failure>(())
        };
        host.service("http", serve).worker("slow", Schedule::every(secs(9)), slow).after("http").host()
    });
    outcome.assert_rules_kept();
    // The cycle that began at 9 s ends at 14 s; the service needs 3 s more.
    assert_eq!(outcome.ended_at(), secs(17));
}

#[test]
fn f3_a_service_that_returns_unasked_is_a_fault() {
    let outcome = run(Script::new(), |host| {
        let forgets = |_: ServiceContext| async {
            tokio::time::sleep(secs(5)).await;
            Ok(())
        };
        host.service("forgets", forgets).host()
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::WorkerFault);
    assert_eq!(&*report.cause.as_ref().unwrap().message, "it returned, and nobody had asked it to stop");
}

#[test]
fn f3_an_error_is_a_fault_whatever_its_type_and_is_not_taken_for_a_stop() {
    let outcome = run(Script::new(), |host| {
        let upstream = |_: ServiceContext| async {
            let never = std::future::pending::<()>();
            tokio::time::timeout(secs(5), never).await?;
            Ok(())
        };
        host.service("upstream", upstream).host()
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, outcome.ended_at()), (ExitStatus::WorkerFault, secs(5)));
    assert_eq!(report.worker("upstream").unwrap().phase, WorkerPhase::Failed);
}

#[test]
fn f3_a_panic_of_a_service_is_caught_and_leaves_the_others_to_stop_in_order() {
    let outcome = run(Script::new(), |host| {
        let rash = |_: ServiceContext| async {
            tokio::time::sleep(secs(5)).await;
            panic!("the listener is gone")
        };
        host.service("rash", rash).worker("idle", Schedule::every(secs(1)), idle).host()
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit.code(), 70);
    assert!(report.cause.as_ref().unwrap().message.starts_with("the listener is gone ("));
    assert_eq!(report.worker("idle").unwrap().phase, WorkerPhase::Stopped);
}

#[test]
fn f1_a_service_is_restarted_as_its_policy_says() {
    let lives = Count::default();
    let counted = lives.clone();
    let outcome = run(Script::new().at(secs(20), Signal::Terminate), move |host| {
        let lives = counted.clone();
        let flaky = move |cx: ServiceContext| {
            let first = lives.up() == 1;
            async move {
                if first {
                    tokio::time::sleep(secs(5)).await;
                    return Err(Failure::transient("connection reset"));
                }
                cx.stopped().await;
                Ok(())
            }
        };
        host.service("flaky", flaky).on_fault(OnFault::restart()).host()
    });
    outcome.assert_rules_kept();
    assert_eq!(lives.get(), 2);
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, report.worker("flaky").unwrap().restarts), (ExitStatus::Clean, 1));
}

#[test]
fn t4_a_service_that_does_not_listen_is_dropped_and_the_exit_code_says_so() {
    let outcome = run(Script::new().at(secs(10), Signal::Terminate), |host| {
        host.service("deaf", |_| std::future::pending()).host()
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(33), "20 s to drain, 3 s to end");
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::DrainTimedOut);
    assert_eq!(report.worker("deaf").unwrap().phase, WorkerPhase::Aborted);
}

#[test]
fn s7_a_service_is_ready_when_it_says_so_and_what_comes_after_it_starts_then() {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = run(Script::new().at(secs(10), Signal::Terminate), move |host| {
        let notes = inside.clone();
        let http = move |cx: ServiceContext| {
            let notes = notes.clone();
            async move {
                tokio::time::sleep(secs(2)).await;
                notes.add("bound");
                cx.ready();
                cx.opened().await;
                notes.add("serving");
                cx.stopped().await;
                Ok(())
            }
        };
        host.service("http", http).handshake().worker("idle", Schedule::every(secs(1)), idle).after("http").host()
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["bound", "serving"]);
    let idle_starts = time_of(&outcome, |event| matches!(event, Event::WorkerStarting { worker } if worker.0 == 1));
    assert_eq!(idle_starts, Some(secs(2)));
}

#[test]
fn s3_a_service_that_never_says_it_is_ready_is_named() {
    let outcome = run(Script::new(), |host| host.service("http", serve).handshake().start_timeout(secs(4)).host());
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, outcome.ended_at()), (ExitStatus::StartFailure, secs(4)));
    assert_eq!(report.worker("http").unwrap().phase, WorkerPhase::Failed);
}

#[test]
fn s3_a_port_that_is_taken_is_a_failed_start() {
    let outcome = run(Script::new(), |host| {
        let taken = |_: ServiceContext| async { Err(Failure::transient("address already in use")) };
        host.service("http", taken).handshake().worker("idle", Schedule::every(secs(1)), idle).after("http").host()
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::StartFailure);
    assert_eq!(&*report.cause.as_ref().unwrap().message, "address already in use");
    assert_eq!(report.worker("idle").unwrap().phase, WorkerPhase::NeverStarted);
}

#[test]
fn s8_a_service_that_fails_before_its_host_runs_did_not_start() {
    let outcome = run(Script::new(), |host| {
        let brief = |cx: ServiceContext| async move {
            cx.ready();
            tokio::time::sleep(secs(2)).await;
            Err(Failure::transient("lost the lock"))
        };
        let slow = |cx: ServiceContext| async move {
            tokio::time::sleep(secs(10)).await;
            cx.ready();
            cx.stopped().await;
            Ok(())
        };
        host.service("brief", brief).handshake().service("slow", slow).handshake().host()
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, outcome.ended_at()), (ExitStatus::StartFailure, secs(2)));
    assert_eq!(report.worker("brief").unwrap().phase, WorkerPhase::Failed);
    assert_eq!(report.worker("slow").unwrap().phase, WorkerPhase::NeverStarted);
    assert!(!names(&outcome).contains(&"cycle_started"));
}

#[test]
fn s6_a_stop_before_a_body_first_ran_is_reported_as_such() {
    let begun = Count::default();
    let counted = begun.clone();
    let outcome = run(Script::new().at(secs(1), Signal::Terminate), move |host| {
        let begun = counted.clone();
        let job = move |_: ServiceContext| {
            begun.up();
            async { Ok(()) }
        };
        let slow = |_: ServiceContext| std::future::pending();
        host.service("slow", slow).handshake().job("import", job).after("slow").host()
    });
    outcome.assert_rules_kept();
    assert_eq!(begun.get(), 0);
    for worker in &outcome.report().unwrap().workers {
        assert_eq!(worker.phase, WorkerPhase::NeverStarted, "{}", worker.name);
    }
}

#[test]
fn a_host_ends_when_its_jobs_are_done() {
    let outcome = run(Script::new(), |host| {
        let takes = |seconds| {
            move |_: ServiceContext| async move {
                tokio::time::sleep(secs(seconds)).await;
                Ok(())
            }
        };
        host.job("import", takes(5)).job("export", takes(9)).host()
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(9));
    assert!(outcome.report().unwrap().is_clean());
}

#[test]
fn a_job_that_must_be_done_first_holds_up_what_comes_after_it() {
    let outcome = run(Script::new().at(secs(10), Signal::Terminate), |host| {
        let migrate = |_: ServiceContext| async {
            tokio::time::sleep(secs(4)).await;
            Ok(())
        };
        host.job("migrate", migrate).handshake().worker("idle", Schedule::every(secs(1)), idle).after("migrate").host()
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::HostRunning)), Some(secs(4)));
    assert_eq!(outcome.report().unwrap().worker("migrate").unwrap().phase, WorkerPhase::Stopped);
}

#[test]
fn v2_a_job_that_fails_never_exits_zero() {
    let outcome = run(Script::new(), |host| {
        host.job("import", |_| async { Err(Failure::invalid("row 7 has no price")) }).on_fault(OnFault::Degrade).host()
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.report().unwrap().exit.code(), 70);
}

#[test]
fn t5_a_second_signal_drops_a_service() {
    let outcome =
        run(Script::new().at(secs(10), Signal::Terminate).at(secs(10) + millis(500), Signal::Terminate), |host| {
            host.service("http", serve).host()
        });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(10) + millis(500));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Forced);
}
