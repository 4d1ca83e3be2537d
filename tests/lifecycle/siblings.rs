//! A poll may block its thread for a moment (L3). What shares the thread with it is late by as much, and no rule blames it for that.

use std::future;

use shiftwork::{Context, Continuous, Failure, QueueSourceExt, ServiceContext, Signal, event::Event};
use shiftwork_sim::{Outcome, Script, World, millis, secs, site};

/// Beside the worker of `build`, a service computes for 8 ms each 9.
fn beside_a_busy_service(script: Script, build: impl FnOnce(&mut World) + Send) -> Outcome {
    script.at(secs(4), Signal::Terminate).run_once(build)
}

#[expect(clippy::disallowed_methods, reason = "what blocking does to others in a world is what is tested")]
async fn computes(cx: ServiceContext) -> Result<(), Failure> {
    let busy = async {
        loop {
            tokio::time::sleep(millis(1)).await;
            // In a world the time of a computation does not pass by itself.
            std::thread::sleep(millis(8));
        }
    };
    tokio::select! {
        () = busy => {}
        () = cx.stopped() => {}
    }
    Ok(())
}

#[test]
fn c6_a_timeout_is_late_by_what_a_sibling_computes() {
    let outcome = beside_a_busy_service(Script::new(), |world| {
        world.node("node", |node| {
            let hangs = |(): (), _: Context| future::pending::<Result<(), Failure>>();
            node.host()
                .worker("hangs", Continuous::new(), hangs)
                .cycle_timeout(millis(250))
                .service("computes", computes)
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let took = outcome.events().filter_map(|(_, event)| match event {
        Event::CycleEnded { took, .. } if *took > millis(252) => Some(*took),
        _ => None,
    });
    assert!(took.count() > 0, "no timeout met a computation: this shows nothing");
}

#[test]
fn q6_a_lost_lease_interrupts_as_soon_as_the_thread_is_free() {
    // One of nine in a row is renewed when the next computation begins, and has its turn before that.
    let late = (0..9).filter(|&more| {
        let script = Script::new().at(secs(0), site("jobs").lease_taken());
        let outcome = beside_a_busy_service(script, |world| {
            let jobs = world.queue::<u32>("jobs");
            jobs.seed(1..=3);
            world.node("node", move |node| {
                let hangs = |_: u32, _: Context| future::pending::<Result<(), Failure>>();
                node.host()
                    .worker("hangs", jobs.clone().source().lease(millis(3 * (300 + more))), hangs)
                    .service("computes", computes)
                    .run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        let time = |wanted: fn(&Event) -> bool| outcome.events().find(|(_, event)| wanted(event)).map(|(at, _)| at);
        let lost = time(|event| matches!(event, Event::LeaseLost { .. }));
        let ended = time(|event| matches!(event, Event::CycleEnded { .. }));
        lost.zip(ended).is_some_and(|(lost, ended)| ended > lost + millis(1))
    });
    assert!(late.count() > 0, "no lost lease met a computation: this shows nothing");
}
