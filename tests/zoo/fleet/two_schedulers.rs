//! The service was written for one machine. For the second one somebody added a look whether the slot was billed already; between the look and
//! the bill there is time for the other machine to look, too.

use std::collections::BTreeSet;

use shiftwork::{Context, Failure, Retry, Schedule, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::Tally,
};

const RULE: &str = "no slot is billed twice";

const NODES: &[&str] = &["first", "second"];

pub const EXHIBIT: Exhibit = Exhibit {
    name: "two-schedulers",
    about: "each of two nodes looks whether a slot was billed, and then bills it",
    area: Area::Fleet,
    rule: RULE,
    sites: Sites { dependencies: &["books"], queues: &[], nodes: NODES, stubborn: &[], horizon_secs: 60 },
    profile: Profile::Gentle,
    budget: 50,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Bill<const BUG: bool> {
    books: Dependency,
    /// The slots that were billed, under a unique key.
    slots: Ledger<BTreeSet<u32>>,
    billed: Tally,
}

impl<const BUG: bool> Worker for Bill<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let slot = u32::try_from(cx.wall_time().as_second() / 10)?;
        if BUG {
            if !self.books.call(async { self.slots.lock().contains(&slot) }).await? {
                let bill = async {
                    self.slots.lock().insert(slot);
                    self.billed.add(slot);
                };
                self.books.call(bill).await?;
            }
            return Ok(());
        }
        let bill = async {
            // The unique key lets one of them through.
            if self.slots.lock().insert(slot) {
                self.billed.add(slot);
            }
        };
        Ok(self.books.call(bill).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let books = world.dependency("books");
    let (slots, billed) = (Ledger::<BTreeSet<u32>>::default(), Tally::default());
    billed.never_more_than(world, RULE, 1);
    for name in NODES {
        let (books, slots, billed) = (books.clone(), slots.clone(), billed.clone());
        world.node(name, move |node| {
            let bill = Bill::<BUG> { books: books.clone(), slots: slots.clone(), billed: billed.clone() };
            node.host()
                .worker("bill", Schedule::every(secs(10)), bill)
                .cycle_timeout(secs(8))
                .retry(Retry::exponential().initial(secs(1)).max(secs(5)))
                .run_until_signal()
        });
    }
}
