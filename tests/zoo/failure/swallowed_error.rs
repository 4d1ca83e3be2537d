//! The handler logs what went wrong, so that one bad mail cannot stop the others, and then falls through to the line that strikes
//! the row off.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every mail is sent";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "swallowed-error",
    about: "an error is logged, and the row struck off all the same",
    area: Area::Failure,
    rule: RULE,
    sites: Sites { dependencies: &["smtp"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 200,
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
        let Some(mail) = self.outbox.lock().first().copied() else { return Ok(()) };
        if let Err(error) = self.smtp.call(async { self.sent.add(mail) }).await {
            tracing::warn!(%error, mail, "could not send a mail");
            if !BUG {
                return Err(error.into());
            }
        }
        self.outbox.lock().remove(&mail);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let smtp = world.dependency("smtp");
    let (outbox, sent) = (waiting(40), Tally::default());
    sent.all_at_end(world, RULE, 40);
    let left = outbox.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || SendMails::<BUG> { smtp: smtp.clone(), outbox: outbox.clone(), sent: sent.clone() });
}
