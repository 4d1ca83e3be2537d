//! tower services as workers, and tower layers around a cycle.

use std::{convert::Infallible, time::Duration};

use shiftwork::{
    Context, Failure, FailureKind, QueueSourceExt, Retry, Signal,
    event::Event,
    queue::DeadLetterCause,
    tower::{layered, service},
};
use shiftwork_sim::{Ledger, Outcome, Script, SimQueue, dependency::Latency, millis, secs, site};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::worlds::Notes;

/// A world with a queue of these jobs, until a stop after a minute.
fn world(
    jobs: &[u32],
    host: impl Fn(SimQueue<u32>, shiftwork::HostBuilder) -> shiftwork::HostBuilder + Send + 'static,
) -> Outcome {
    let jobs = jobs.to_vec();
    Script::new().at(secs(60), Signal::Terminate).run_once(move |world| {
        let queue = world.queue("jobs");
        queue.seed(jobs);
        world.node("node", move |node| host(queue.clone(), node.host()).run_until_signal());
    })
}

/// How the cycles ended, and when.
fn ends(outcome: &Outcome) -> Vec<(Duration, Option<FailureKind>)> {
    let ends = outcome.events().filter_map(|(at, event)| match event {
        Event::CycleEnded { failure, .. } => Some((at, failure.as_ref().map(|cause| cause.kind))),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_service_is_a_worker_and_its_error_is_a_transient_failure() {
    let notes = Notes::default();
    let seen = notes.clone();
    let outcome = world(&[7], move |queue, host| {
        let notes = notes.clone();
        let store = service_fn(move |job: u32| {
            let notes = notes.clone();
            async move {
                notes.add(job.to_string());
                if notes.all().len() == 1 { Err("busy".parse::<u32>().unwrap_err()) } else { Ok("stored") }
            }
        });
        host.worker("store", queue.source(), service(store)).retry(Retry::default().jitter_percent(0)).into()
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.all(), ["7", "7"]);
    assert_eq!(ends(&outcome), [(secs(0), Some(FailureKind::Transient)), (secs(1), None)]);
}

#[test]
fn layers_limit_and_time_a_cycle_and_leave_what_its_failure_means() {
    let outcome = world(&[1, 2, 3], |queue, host| {
        let work = |job: u32, _: Context| async move {
            tokio::time::sleep(if job == 1 { secs(10) } else { millis(500) }).await;
            if job == 2 { Err(Failure::invalid("two is bad luck")) } else { Ok(()) }
        };
        let layers = ServiceBuilder::new().concurrency_limit(1).timeout(secs(2));
        host.worker("jobs", queue.source(), layered(work, layers)).concurrency(3).retry(Retry::never()).into()
    });
    outcome.assert_rules_kept();
    let (timeout, invalid) = (Some(FailureKind::Transient), Some(FailureKind::Invalid));
    assert_eq!(ends(&outcome), [(secs(2), timeout), (millis(2_500), invalid), (secs(3), None)]);
    let causes = outcome.events().filter_map(|(_, event)| match event {
        Event::Settled { settle: shiftwork::event::Settle::DeadLetter { cause, .. }, .. } => Some(*cause),
        _ => None,
    });
    assert_eq!(causes.collect::<Vec<_>>(), [DeadLetterCause::Exhausted, DeadLetterCause::Invalid]);
}

#[test]
fn a_service_that_is_not_ready_is_waited_for_and_a_stop_interrupts_the_wait() {
    let never =
        ServiceBuilder::new().concurrency_limit(0).service(service_fn(|_: u32| async { Ok::<_, Infallible>(()) }));
    let outcome = world(&[1], move |queue, host| host.worker("never", queue.source(), service(never.clone())).into());
    outcome.assert_rules_kept();
    assert_eq!(outcome.report().unwrap().worker("never").unwrap().cycles.interrupted, 1);
}

/// A client that is a tower service with a timeout of its own, behind a dependency that meets this fault for its first second.
/// How the cycles ended, and how often the other side did its work.
fn client(fault: shiftwork_sim::FaultKind) -> (Vec<(Duration, Option<FailureKind>)>, u32) {
    let stored: Ledger<u32> = Ledger::default();
    let seen = stored.clone();
    let script = Script::new().at(secs(0), fault.lasting(secs(1))).at(secs(60), Signal::Terminate);
    let outcome = script.run_once(move |world| {
        let store = world.dependency_with("store", Latency::constant(millis(100)));
        let queue = world.queue("jobs");
        queue.seed([7]);
        world.node("node", move |node| {
            let stored = stored.clone();
            let other_side = service_fn(move |job: u32| {
                stored.with(|stored| *stored += 1);
                async move { Ok::<u32, Infallible>(job) }
            });
            let client = ServiceBuilder::new().timeout(millis(500)).layer(store.layer()).service(other_side);
            let work = move |job: u32, _: Context| {
                let mut client = client.clone();
                async move {
                    let ready = client.ready().await.map_err(Failure::transient)?;
                    ready.call(job).await.map_err(Failure::transient)?;
                    Ok::<(), Failure>(())
                }
            };
            node.host()
                .worker("jobs", queue.clone().source(), work)
                .retry(Retry::default().jitter_percent(0))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    (ends(&outcome), seen.with(|stored| *stored))
}

#[test]
fn a_service_behind_a_dependency_meets_its_faults_below_the_layers_that_it_ships_with() {
    let failed = Some(FailureKind::Transient);
    // The timeout strikes, and the request never got there.
    assert_eq!(client(site("store").hang()), (vec![(millis(500), failed), (millis(1_600), None)], 1));
    // It got there, and nobody knows.
    assert_eq!(client(site("store").reply_lost(100)), (vec![(millis(50), failed), (millis(1_150), None)], 2));
    assert_eq!(client(site("store").outage()), (vec![(millis(50), failed), (millis(1_150), None)], 1));
}
