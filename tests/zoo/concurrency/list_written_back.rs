//! A list in one document: read it, do the work, write back the rest. A mail that was added while the others were being sent is in neither
//! list.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, millis, secs};

const RULE: &str = "every mail is sent";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "list-written-back",
    about: "a list is read, worked, and written back without what was added meanwhile",
    area: Area::Concurrency,
    rule: RULE,
    sites: Sites { dependencies: &["smtp"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct SendMails<const BUG: bool> {
    smtp: Dependency,
    outbox: Ledger<BTreeSet<u32>>,
    sent: Tally,
}

impl<const BUG: bool> Worker for SendMails<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let mails = self.outbox.lock().clone();
        for mail in &mails {
            self.smtp.call(async { self.sent.add(*mail) }).await?;
        }
        if BUG {
            // All of them were sent: what is left is nothing.
            *self.outbox.lock() = BTreeSet::new();
        } else {
            self.outbox.lock().retain(|mail| !mails.contains(mail));
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let smtp = world.dependency("smtp");
    let outbox: Ledger<BTreeSet<u32>> = Ledger::default();
    let (sent, written) = (Tally::default(), Tally::default());
    for mail in 1..=50 {
        let (outbox, written) = (outbox.clone(), written.clone());
        world.at(secs(1) * mail + millis(500), "mail", move || {
            outbox.lock().insert(mail);
            written.add(mail);
        });
    }
    sent.all_at_end(world, RULE, 50);
    let left = outbox.clone();
    world.done_when(move || written.has_all(50) && left.lock().is_empty());
    every_second(world, move || SendMails::<BUG> { smtp: smtp.clone(), outbox: outbox.clone(), sent: sent.clone() });
}
