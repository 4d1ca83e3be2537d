//! Errors and timeouts give the seat back, because somebody tested them. A process that dies does not, and the seats of all crashes add
//! up; with one to spare, the first crash goes unnoticed.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, dependency::Latency, millis};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "reservation-leaked",
    about: "a reservation of a process that died is never released",
    area: Area::Crash,
    rule: "L1",
    sites: Sites { dependencies: &["checkout"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Hostile,
    budget: 3000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// One is needed; one is to spare.
const SEATS: u32 = 2;

struct Checkout<const BUG: bool> {
    checkout: Dependency,
    /// The order that this process holds a seat for.
    reserved: Mutex<Option<u32>>,
    free: Ledger<u32>,
    orders: Ledger<BTreeSet<u32>>,
}

impl<const BUG: bool> Checkout<BUG> {
    fn reserved(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Checkout<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if !BUG {
            // Nobody else reserves, so whatever is still taken was taken by a process that is gone.
            *self.free.lock() = SEATS;
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(order) = self.orders.lock().first().copied() else { return Ok(()) };
        if self.reserved().is_none() {
            let mut free = self.free.lock();
            if *free == 0 {
                return Err(Failure::transient("no seat is free"));
            }
            *free -= 1;
            *self.reserved() = Some(order);
        }
        self.checkout.call(async {}).await?;
        self.orders.lock().remove(&order);
        *self.reserved() = None;
        *self.free.lock() += 1;
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let checkout = world.dependency_with("checkout", Latency::constant(millis(400)));
    let (free, orders) = (Ledger::new(SEATS), waiting(120));
    let left = orders.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || Checkout::<BUG> {
        checkout: checkout.clone(),
        reserved: Mutex::new(None),
        free: free.clone(),
        orders: orders.clone(),
    });
}
