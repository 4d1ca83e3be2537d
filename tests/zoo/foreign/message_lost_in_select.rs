//! Receive the next message and look it up, or print statistics when it is time. The receiving is one future of two steps, and it is made anew
//! in each round of the loop: when the clock wins between the steps, the message is in neither the channel nor the loop.

use std::collections::BTreeSet;

use shiftwork_sim::{Dependency, Ledger, Process, World, millis};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::sleep,
};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::waiting,
};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "message-lost-in-select",
    about: "a `select!` drops a future that has taken a message off its channel",
    area: Area::Foreign,
    rule: "L1",
    sites: Sites { dependencies: &[], queues: &["directory"], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 1000,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// The next message, and whether it could be looked up.
async fn next(channel: &mut UnboundedReceiver<u32>, directory: &Dependency) -> Option<(u32, bool)> {
    let message = channel.recv().await?;
    let found = directory.call(async {}).await.is_ok();
    Some((message, found))
}

async fn relay<const BUG: bool>(process: Process, directory: Dependency, left: Ledger<BTreeSet<u32>>) {
    let Ok(signals) = process.signals() else { return };
    let (sender, mut channel) = mpsc::unbounded_channel();
    for message in left.lock().iter() {
        let _sent = sender.send(*message);
    }
    let rounds = async {
        loop {
            let received = if BUG {
                tokio::select! {
                    received = next(&mut channel, &directory) => received,
                    () = sleep(millis(250)) => continue, // statistics
                }
            } else {
                let mut next = std::pin::pin!(next(&mut channel, &directory));
                loop {
                    tokio::select! {
                        received = &mut next => break received,
                        () = sleep(millis(250)) => {} // statistics; the message is still on its way
                    }
                }
            };
            match received {
                Some((message, true)) => drop(left.lock().remove(&message)),
                Some((message, false)) => {
                    sleep(millis(500)).await;
                    let _sent = sender.send(message);
                }
                None => return,
            }
            sleep(millis(300)).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = signals.next() => {}
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (directory, left) = (world.dependency("directory"), waiting(80));
    let rest = left.clone();
    world.done_when(move || rest.lock().is_empty());
    world.foreign("relay", move |process| relay::<BUG>(process, directory.clone(), left.clone()));
}
