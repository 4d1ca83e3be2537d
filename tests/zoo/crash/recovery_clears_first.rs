//! The intent log is right, the recovery is tried once by its author, and it clears the entry before it does the work. The second crash,
//! or the error that caused the first, finds nothing to recover.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

const RULE: &str = "every transfer arrives";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "recovery-clears-first",
    about: "the recovery after a crash forgets what it recovers before it has",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["bank"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 4000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Transfer<const BUG: bool> {
    bank: Dependency,
    waiting: Ledger<BTreeSet<u32>>,
    /// The transfer that has been begun, and is no longer among those that wait.
    intent: Ledger<Option<u32>>,
    arrived: Tally,
}

impl<const BUG: bool> Transfer<BUG> {
    async fn apply(&self, transfer: u32) -> Result<(), Failure> {
        Ok(self.bank.call(async { self.arrived.add(transfer) }).await?)
    }

    async fn clear(&self) -> Result<(), Failure> {
        Ok(self.bank.call(async { *self.intent.lock() = None }).await?)
    }
}

impl<const BUG: bool> Worker for Transfer<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        let begun = *self.intent.lock();
        let Some(transfer) = begun else { return Ok(()) };
        if BUG {
            self.clear().await?;
            self.apply(transfer).await
        } else {
            self.apply(transfer).await?;
            self.clear().await
        }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let begun = *self.intent.lock();
        let transfer = match begun {
            Some(transfer) => transfer,
            None => {
                let Some(next) = self.waiting.lock().pop_first() else { return Ok(()) };
                *self.intent.lock() = Some(next);
                next
            }
        };
        self.apply(transfer).await?;
        self.clear().await
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let bank = world.dependency_with("bank", Latency::constant(millis(300)));
    let (transfers, intent, arrived) = (waiting(60), Ledger::new(None), Tally::default());
    arrived.all_at_end(world, RULE, 60);
    let (left, begun) = (transfers.clone(), intent.clone());
    world.done_when(move || left.lock().is_empty() && begun.lock().is_none());
    every_second(world, move || Transfer::<BUG> {
        bank: bank.clone(),
        waiting: transfers.clone(),
        intent: intent.clone(),
        arrived: arrived.clone(),
    });
}
