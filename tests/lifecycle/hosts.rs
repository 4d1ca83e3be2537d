//! Programs that are more than one host: those that run another one after it, and those that work on when it has ended.

use shiftwork::{Context, ExitStatus, Failure, HostBuilder, Schedule, Signal, Tick, Worker, event::Event};
use shiftwork_sim::{Outcome, Script, millis, secs};

use crate::worlds::Count;

fn steady(host: HostBuilder) -> HostBuilder {
    let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    host.worker("steady", Schedule::every(secs(1)), work).host()
}

fn stops(outcome: &Outcome) -> usize {
    outcome.count(|event| matches!(event, Event::HostStopping { .. }))
}

#[test]
fn a_host_that_follows_another_hears_its_own_first_signal() {
    let script = Script::new().at(secs(10), Signal::Terminate).at(secs(20), Signal::Terminate);
    let outcome = script.run_once(|world| {
        world.node("node", |node| async move {
            let first = steady(node.host()).run_until_signal().await;
            assert!(first.is_clean());
            steady(node.host()).run_until_signal().await
        });
    });
    outcome.assert_rules_kept();
    assert_eq!((stops(&outcome), outcome.ended_at()), (2, secs(20)));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

/// Starts when it is asked to for the second time.
struct Fickle(Count);

impl Worker for Fickle {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if self.0.up() == 1 { Err(Failure::transient("no database")) } else { Ok(()) }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_program_that_tries_again_with_another_host_ends_as_that_did() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| {
        world.node("node", |node| async move {
            let starts = Count::default();
            let host = || node.host().worker("fickle", Schedule::every(secs(1)), Fickle(starts.clone()));
            let first = host().run_until_signal().await;
            assert_eq!(first.exit, ExitStatus::StartFailure);
            host().run_until_signal().await
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(stops(&outcome), 2);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

#[test]
fn a_program_may_work_on_when_its_host_has_ended() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| async move {
            let report = steady(node.host()).run_until(tokio::time::sleep(secs(10))).await;
            tokio::time::sleep(secs(60)).await;
            report
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(70));
}

/// Takes a minute for its leave.
struct Lingers;

impl Worker for Lingers {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        tokio::time::sleep(secs(60)).await;
        Ok(())
    }
}

#[test]
fn t5_a_third_signal_ends_the_host_and_what_the_program_still_does_is_its_own_affair() {
    let terminate = Signal::Terminate;
    let script = Script::new().at(secs(5), terminate).at(secs(6), terminate).at(secs(7), terminate);
    let outcome = script.run_once(|world| {
        world.node("node", |node| async move {
            let report = node.host().worker("lingers", Schedule::every(secs(1)), Lingers).run_until_signal().await;
            // It has logs to flush.
            tokio::time::sleep(millis(200)).await;
            report
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), millis(7_200));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Forced);
}

#[test]
fn t3_a_host_that_its_program_keeps_waiting_stops_too_late() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        world.node("node", |node| async move {
            let slow = |_: Tick, _: Context| async {
                tokio::time::sleep(secs(60)).await;
                Ok::<(), Failure>(())
            };
            let mut host = Box::pin(node.host().worker("slow", Schedule::every(secs(100)), slow).run_until_signal());
            tokio::select! {
                report = &mut host => return report,
                () = tokio::time::sleep(secs(10)) => {}
            }
            // Nobody looks at the host meanwhile.
            tokio::time::sleep(secs(60)).await;
            host.await
        });
    });
    outcome.expect_broken("T3");
}
