//! The fallback was added in a hurry after an incident, and its own result is dropped: it "never fails". It does, on the day
//! when the first way fails for the same reason.

use std::collections::BTreeSet;

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{Tally, every_second, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World};

const RULE: &str = "every alert reaches somebody";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "fallback-error-ignored",
    about: "when both ways of telling somebody fail, nobody notices",
    area: Area::Failure,
    rule: RULE,
    sites: Sites { dependencies: &["pager", "mail"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Hostile,
    budget: 1000,
    needs_two_faults: true,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Alert<const BUG: bool> {
    pager: Dependency,
    mail: Dependency,
    alerts: Ledger<BTreeSet<u32>>,
    told: Tally,
}

impl<const BUG: bool> Worker for Alert<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let Some(alert) = self.alerts.lock().first().copied() else { return Ok(()) };
        if self.pager.call(async { self.told.add(alert) }).await.is_err() {
            let by_mail = self.mail.call(async { self.told.add(alert) }).await;
            if !BUG {
                by_mail?;
            }
        }
        self.alerts.lock().remove(&alert);
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let (pager, mail) = (world.dependency("pager"), world.dependency("mail"));
    let (alerts, told) = (waiting(40), Tally::default());
    told.all_at_end(world, RULE, 40);
    let left = alerts.clone();
    world.done_when(move || left.lock().is_empty());
    every_second(world, move || Alert::<BUG> {
        pager: pager.clone(),
        mail: mail.clone(),
        alerts: alerts.clone(),
        told: told.clone(),
    });
}
