//! Opening a file for writing empties it. Between that and the write there is no snapshot at all, and a process that ends there begins from
//! nothing.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "the count never goes back";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "snapshot-overwritten-in-place",
    about: "a file is emptied, and then written",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["disk"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Count<const BUG: bool> {
    disk: Dependency,
    snapshot: Ledger<Option<u32>>,
    highest: Ledger<u32>,
    backwards: Ledger<bool>,
}

impl<const BUG: bool> Worker for Count<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let count = self.snapshot.lock().unwrap_or_default() + 1;
        {
            let mut highest = self.highest.lock();
            if count < *highest {
                *self.backwards.lock() = true;
            }
            *highest = count.max(*highest);
        }
        if BUG {
            self.disk.call(async { *self.snapshot.lock() = None }).await?;
        }
        // As a file that is written beside the old one, and then renamed.
        self.disk.call(async { *self.snapshot.lock() = Some(count) }).await?;
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let disk = world.dependency("disk");
    let (snapshot, highest, backwards) = (Ledger::default(), Ledger::new(0), flag());
    never(world, RULE, &backwards);
    every_second(world, move || Count::<BUG> {
        disk: disk.clone(),
        snapshot: snapshot.clone(),
        highest: highest.clone(),
        backwards: backwards.clone(),
    });
}
