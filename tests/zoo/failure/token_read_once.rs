//! Secrets are rotated while services run. A worker that read its token once is refused from then on, and tries again with the
//! same token, patiently, for ever.

use std::{collections::BTreeSet, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "token-read-once",
    about: "credentials are read at the start, and never again",
    area: Area::Failure,
    rule: "L1",
    sites: Sites { dependencies: &["api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Upload<const BUG: bool> {
    api: Dependency,
    /// What the secret store says now.
    secret: Ledger<u32>,
    token: AtomicU32,
    left: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Upload<BUG> {
    fn read_token(&self) {
        self.token.store(*self.secret.lock(), Ordering::Relaxed);
    }
}

impl<const BUG: bool> Worker for Upload<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.read_token();
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let token = self.token.load(Ordering::Relaxed);
        let accepted = self.api.call(async { token == *self.secret.lock() }).await?;
        if !accepted {
            if !BUG {
                self.read_token();
            }
            return Err(Failure::transient("401: the token is not valid"));
        }
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let api = world.dependency("api");
    let (secret, left) = (Ledger::new(1), waiting(60));
    let (rotated, rest) = (secret.clone(), left.clone());
    world.at(secs(30), "a new token", move || *rotated.lock() = 2);
    world.done_when(move || rest.lock().is_empty());
    every_second(world, move || Upload::<BUG> {
        api: api.clone(),
        secret: secret.clone(),
        token: AtomicU32::new(0),
        left: left.clone(),
    });
}
