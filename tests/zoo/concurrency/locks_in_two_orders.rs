//! Each worker is right by itself: take the lock of what is at hand, do the work, take the lock of what it is for. The two meet once in a
//! thousand runs, and neither goes on.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::waiting,
};
use shiftwork::{Context, Failure, Schedule, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};

pub const EXHIBIT: Exhibit = Exhibit {
    name: "locks-in-two-orders",
    about: "two workers take the same two locks, each in its own order",
    area: Area::Concurrency,
    rule: "L1",
    sites: Sites { dependencies: &["database"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

type Lock = Arc<tokio::sync::Mutex<()>>;

struct Book {
    database: Dependency,
    first: Lock,
    second: Lock,
    left: Ledger<BTreeSet<u32>>,
}

impl Worker for Book {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let _first = self.first.lock().await;
        self.database.call(async {}).await?;
        let _second = self.second.lock().await;
        self.left.lock().pop_first();
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let database = world.dependency("database");
    let (debits, credits) = (waiting(60), waiting(60));
    let left = [debits.clone(), credits.clone()];
    world.done_when(move || left.iter().all(|left| left.lock().is_empty()));
    world.node("node", move |node| {
        let (a, b) = (Lock::default(), Lock::default());
        let book = |first: &Lock, second: &Lock, left: &Ledger<BTreeSet<u32>>| Book {
            database: database.clone(),
            first: first.clone(),
            second: second.clone(),
            left: left.clone(),
        };
        let credit = if BUG { book(&b, &a, &credits) } else { book(&a, &b, &credits) };
        node.host()
            .worker("debit", Schedule::every(secs(2)), book(&a, &b, &debits))
            .no_cycle_timeout()
            .worker("credit", Schedule::every(secs(2)).first_after(secs(1)), credit)
            .no_cycle_timeout()
            .run_until_signal()
    });
}
