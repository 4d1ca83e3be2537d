//! A handler moves bad input aside by itself, into a table of its own, and takes the result of that write for granted. The table is in
//! the same database that is just being restarted.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every bad letter is kept";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "dead-letter-write-ignored",
    about: "a bad message is dropped when the place for bad messages is down",
    area: Area::Failure,
    rule: RULE,
    sites: Sites { dependencies: &["archive"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Read<const BUG: bool> {
    archive: Dependency,
    letters: Ledger<BTreeSet<u32>>,
    kept: Tally,
}

impl<const BUG: bool> Worker for Read<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        // Every letter of this world is bad.
        let Some(letter) = self.letters.lock().first().copied() else { return Ok(()) };
        let kept = self.archive.call(async { self.kept.add(letter) }).await;
        if !BUG {
            kept?;
        }
        self.letters.lock().remove(&letter);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let archive = world.dependency("archive");
    let (letters, kept) = (waiting(40), Tally::default());
    kept.all_at_end(world, RULE, 40);
    let left = letters.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || Read::<BUG> { archive: archive.clone(), letters: letters.clone(), kept: kept.clone() });
}
