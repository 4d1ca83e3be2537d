//! `notify_waiters()` reads as if it told everybody. It tells those who wait at that moment, and the worker was in the middle of a call.

use std::{sync::Arc, time::Duration};

use shiftwork_sim::{Dependency, Process, World, dependency::Latency, millis, secs};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::exhibit::{Area, Exhibit, Profile, Sites};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "stop-told-to-whoever-waits",
    about: "a stop is told by `notify_waiters`, which a busy worker does not hear",
    area: Area::Foreign,
    rule: "T3",
    sites: Sites { dependencies: &[], queues: &["backend"], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Harsh,
    budget: 100,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// How long a call may take: less than the process has to stop.
const PATIENCE: Duration = secs(4);

async fn poll<const BUG: bool>(process: Process, backend: Dependency) {
    let Ok(signals) = process.signals() else { return };
    let bell = Arc::new(Notify::new());
    let (say, hear) = watch::channel(false);
    let rung = bell.clone();
    let told = tokio::spawn(async move {
        signals.next().await;
        rung.notify_waiters();
        say.send_replace(true);
    });
    loop {
        let _answer = tokio::time::timeout(PATIENCE, backend.call(async {})).await;
        let stop = async {
            if BUG {
                bell.notified().await;
            } else {
                // A state, not an event: it is true however late one looks.
                let mut hear = hear.clone();
                let _said = hear.wait_for(|stop| *stop).await;
            }
        };
        tokio::select! {
            () = stop => break,
            () = sleep(millis(500)) => {}
        }
    }
    let _ended = told.await;
}

fn build<const BUG: bool>(world: &mut World) {
    let backend = world.dependency_with("backend", Latency::uniform(millis(100), millis(1_000)));
    world.foreign_within("poller", secs(5), move |process| poll::<BUG>(process, backend.clone()));
}
