//! Two effects in one cycle, and the second one fails. The retry does not know how far the first attempt came, and does the
//! first effect again.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "no account is debited twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "half-done-step-repeated",
    about: "a retry begins at the first of two steps, which was done",
    area: Area::Retry,
    rule: RULE,
    sites: Sites { dependencies: &["bank", "ledger"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Transfer<const BUG: bool> {
    bank: Dependency,
    ledger: Dependency,
    transfers: Ledger<BTreeSet<u32>>,
    debited: Tally,
}

impl<const BUG: bool> Worker for Transfer<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(transfer) = self.transfers.lock().first().copied() else { return Ok(()) };
        let debit = async {
            // The bank knows a transfer by its number, if it is told to look.
            if BUG || !self.debited.has(transfer) {
                self.debited.add(transfer);
            }
        };
        self.bank.call(debit).await?;
        self.ledger.call(async { self.transfers.lock().remove(&transfer) }).await?;
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (bank, ledger) = (world.dependency("bank"), world.dependency("ledger"));
    let (transfers, debited) = (waiting(40), Tally::default());
    debited.never_more_than(world, RULE, 1);
    every_second(world, move || Transfer::<BUG> {
        bank: bank.clone(),
        ledger: ledger.clone(),
        transfers: transfers.clone(),
        debited: debited.clone(),
    });
}
