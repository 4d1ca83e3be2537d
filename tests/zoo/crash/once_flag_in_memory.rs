//! "Have we said hello already?" is answered from a set in memory, which is empty after every deploy. The customers are greeted
//! again.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, World};

const RULE: &str = "no customer is welcomed twice";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "once-flag-in-memory",
    about: "what was done once is remembered by the process",
    area: Area::Crash,
    rule: RULE,
    sites: Sites { dependencies: &["mail"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Welcome<const BUG: bool> {
    mail: Dependency,
    /// Whom this process has welcomed.
    in_memory: Mutex<BTreeSet<u32>>,
    welcomed: Tally,
}

impl<const BUG: bool> Welcome<BUG> {
    fn in_memory(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.in_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_welcomed(&self, customer: u32) -> bool {
        if BUG { self.in_memory().contains(&customer) } else { self.welcomed.has(customer) }
    }
}

impl<const BUG: bool> Worker for Welcome<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(customer) = (1..=20).find(|customer| !self.is_welcomed(*customer)) else { return Ok(()) };
        self.mail.call(async { self.welcomed.add(customer) }).await?;
        self.in_memory().insert(customer);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let mail = world.dependency("mail");
    let welcomed = Tally::default();
    welcomed.never_more_than(world, RULE, 1);
    every_second(world, move || Welcome::<BUG> {
        mail: mail.clone(),
        in_memory: Mutex::default(),
        welcomed: welcomed.clone(),
    });
}
