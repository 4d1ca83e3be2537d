//! A poller that sleeps between two polls looks at its stop flag only after the sleep. Every deploy waits for it, or kills it,
//! though it does nothing at all.

use std::time::Duration;

use crate::exhibit::{Area, Exhibit, Profile, Sites};
use shiftwork::{Context, Continuous, Schedule, Tick, event::Event};
use shiftwork_sim::{What, World, secs};
use tokio::time::sleep;

const RULE: &str = "an idle worker stops within a second";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "long-wait-inside-a-cycle",
    about: "the wait for the next poll is inside of the cycle",
    area: Area::Stop,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 120 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

fn build<const BUG: bool>(world: &mut World) {
    let mut closed_at = Duration::ZERO;
    world.always(RULE, move |record| {
        match &record.what {
            What::Host(Event::IntakeClosed { .. }) => closed_at = record.at,
            What::Host(Event::WorkerStopped { .. }) if record.at > closed_at + secs(1) => {
                return Err(format!("it took {:?}", record.at - closed_at));
            }
            _ => {}
        }
        Ok(())
    });
    world.node("node", |node| {
        if BUG {
            let poll_and_wait = |(): (), _: Context| async {
                sleep(secs(60)).await;
                Ok(())
            };
            node.host().worker("poll", Continuous::new(), poll_and_wait).run_until_signal()
        } else {
            let poll = |_: Tick, _: Context| async { Ok(()) };
            node.host().worker("poll", Schedule::with_delay(secs(60)), poll).run_until_signal()
        }
    });
}
