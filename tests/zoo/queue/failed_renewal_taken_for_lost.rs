//! The result of a renewal is a boolean in many clients, and an error is `false`. One dropped packet, and every job in
//! flight is thrown away and begun anew.

use std::{collections::BTreeMap, time::Duration};

use shiftwork::{
    event::Event,
    queue::{Lease, Queue, QueueError, Timestamp},
};
use shiftwork_sim::{FaultName, SimQueue, What, World, record::QueueOperation, secs};

use super::client::{Habit, packers};
use crate::exhibit::{Area, Exhibit, Profile, Sites};

const RULE: &str = "no lease is given up while it holds";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "failed-renewal-taken-for-lost",
    about: "a store that does not answer is taken for one that says no",
    area: Area::Queue,
    rule: RULE,
    sites: Sites { dependencies: &["packing"], queues: &["parcels"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[FaultName::LeaseTaken],
    bug: build::<true>,
    twin: build::<false>,
};

struct Pessimist<const BUG: bool>;

impl<const BUG: bool> Habit for Pessimist<BUG> {
    async fn renew(&self, store: &SimQueue<u32>, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        let answer = store.renew(leases, until).await;
        if BUG { Ok(answer.unwrap_or_else(|_| leases.to_vec())) } else { answer }
    }

    fn packing_takes() -> Duration {
        secs(7)
    }

    fn has_rivals() -> bool {
        true
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let _by_two = packers(world, || Pessimist::<BUG>, |source| source.lease(secs(6)));
    // Only a delivery that was claimed a second time can be lost.
    let mut claims: BTreeMap<_, u32> = BTreeMap::new();
    world.always(RULE, move |record| {
        match &record.what {
            What::Queue(QueueOperation::Claimed { delivery, .. }) => *claims.entry(*delivery).or_default() += 1,
            What::Host(Event::LeaseLost { delivery, .. }) if claims.get(delivery) == Some(&1) => {
                return Err(format!("that of delivery {delivery} was"));
            }
            _ => {}
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use shiftwork_sim::{Script, millis, plan, site};

    use super::*;

    /// The wall clock steps over the leases, and a lane that had just panicked claims again what another still packs. The loss
    /// of that one's lease is no reason for the later claim to end.
    #[test]
    fn the_twin_is_not_blamed_for_the_loss_of_an_older_claim_of_its_own() {
        let outcome = Script::new()
            .seed(177)
            .at(millis(24_172), site("packing").panic())
            .at(millis(30_807), plan::clock_forward(millis(65_536)))
            .at(millis(59_013), site("parcels").effect_after_drop())
            .heal_at(secs(60))
            .run(build::<false>);
        outcome.assert_rules_kept();
    }
}
