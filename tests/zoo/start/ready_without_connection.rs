//! A start hook waits a while for its connection and then goes on without it, because the author wanted no deploy to hang.
//! From then on every cycle finds out for itself.

use std::{sync::atomic::AtomicBool, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};
use tokio::time::timeout;

const RULE: &str = "no cycle runs without a connection";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "ready-without-connection",
    about: "a start hook says that it is ready though it never got its connection",
    area: Area::Start,
    rule: RULE,
    sites: Sites { dependencies: &["broker"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Reader<const BUG: bool> {
    broker: Dependency,
    connected: AtomicBool,
    unconnected: Ledger<bool>,
}

impl<const BUG: bool> Worker for Reader<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        let connect = self.broker.call(async { self.connected.store(true, Ordering::Relaxed) });
        let connected = timeout(secs(2), connect).await;
        if BUG {
            drop(connected);
        } else {
            connected??;
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if !self.connected.load(Ordering::Relaxed) {
            *self.unconnected.lock() = true;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let broker = world.dependency("broker");
    let unconnected = flag();
    never(world, RULE, &unconnected);
    every_second(world, move || Reader::<BUG> {
        broker: broker.clone(),
        connected: AtomicBool::new(false),
        unconnected: unconnected.clone(),
    });
}
