//! Whoever brings something rings, and whoever was woken takes one thing. A bell that is rung twice while nobody listens has been rung
//! once: with the second thing nobody is woken until there is a third.

use std::{collections::BTreeSet, sync::Arc};

use shiftwork_sim::{Dependency, Ledger, Process, World, millis};
use tokio::{sync::Notify, time::sleep};

use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "one-wake-up-for-two",
    about: "a consumer takes one thing each time it is notified",
    area: Area::Foreign,
    rule: "L1",
    sites: Sites { dependencies: &[], queues: &["backend"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// Works on the first thing that waits, if there is one, and says whether there was.
async fn work(backend: &Dependency, waiting: &Ledger<BTreeSet<u64>>) -> bool {
    let Some(first) = waiting.lock().first().copied() else { return false };
    if backend.call(async {}).await.is_ok() {
        waiting.lock().remove(&first);
    } else {
        sleep(millis(500)).await;
    }
    true
}

async fn consume<const BUG: bool>(
    process: Process,
    backend: Dependency,
    waiting: Ledger<BTreeSet<u64>>,
    bell: Arc<Notify>,
) {
    let Ok(signals) = process.signals() else { return };
    let rounds = async {
        // What waited before it was started.
        while work(&backend, &waiting).await {}
        loop {
            bell.notified().await;
            if BUG {
                let before = waiting.lock().first().copied();
                // What fails is tried again; with what is done, so is the call.
                while work(&backend, &waiting).await && waiting.lock().first().copied() == before {}
            } else {
                while work(&backend, &waiting).await {}
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        _ = signals.next() => {}
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let backend = world.dependency("backend");
    let (waiting, bell) = (Ledger::<BTreeSet<u64>>::default(), Arc::new(Notify::new()));
    for number in 0..60 {
        let (waiting, bell) = (waiting.clone(), bell.clone());
        world.at(millis(number * 1_000), "something comes in", move || {
            waiting.lock().insert(number);
            bell.notify_one();
        });
    }
    let rest = waiting.clone();
    world.done_when(move || rest.lock().is_empty());
    world.foreign("consumer", move |process| consume::<BUG>(process, backend.clone(), waiting.clone(), bell.clone()));
}
