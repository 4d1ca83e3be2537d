//! A campaign that follows what it finds: worlds in rounds, each proposed from what those before have reached.
//!
//! The proposals of a round are made before any of its worlds runs, and what came of them is learned in their order. So what is found
//! does not depend on the number of threads, and the price is that a round waits for its slowest world.

use std::{borrow::Cow, ops::ControlFlow};

use shiftwork_sim::explore::Guide;

use super::{
    Campaign,
    order::{Order, Source, WorldToRun},
    threads::{self, Told},
    world::{self, Ran, WorldDone},
};
use crate::{failure::Meanwhile, report::Origin};

/// How many worlds of each scenario are in a round: enough to keep many threads busy, few enough to learn often.
const ROUND: u64 = 64;

/// Runs the saved plans, then rounds of worlds until there are as many as there should be.
pub(crate) fn run(
    campaign: &Campaign<'_>,
    order: &Order<'_>,
    stop: &(dyn Fn() -> bool + Sync),
    take: &mut dyn FnMut(Told<WorldDone, Meanwhile>) -> ControlFlow<()>,
) {
    let mut guides: Vec<Guide<'_>> = campaign.scenarios.iter().map(|scenario| Guide::new(*scenario)).collect();
    let (count, replays) = (order.count(), order.replays());
    let round = ROUND * guides.len().max(1) as u64;
    let mut begun = 0;
    while count.is_none_or(|count| begun < count) && !stop() {
        let upto = if begun < replays { replays } else { begun + round };
        let upto = count.map_or(upto, |count| upto.min(count));
        let worlds: Vec<_> = (begun..upto).map(|number| proposed(order, &guides, number)).collect();
        let world = |index: u64| usize::try_from(index).ok().and_then(|index| worlds.get(index)).unwrap_or(&worlds[0]);
        let mut flow = ControlFlow::Continue(());
        threads::run_and_tell_in_order(
            campaign.jobs,
            Some(upto - begun),
            stop,
            &|index, tell: &dyn Fn(Meanwhile) -> ControlFlow<()>| world::run(world(index), campaign.how(), tell),
            &mut |told| {
                flow = match told {
                    Told::Done(index, done) => {
                        let guide = world(index).scenario_index.and_then(|index| guides.get_mut(index));
                        if let (Some(guide), Ok(Ran { plan, reached, .. })) = (guide, &done.ran) {
                            guide.learn(plan, reached);
                        }
                        take(Told::Done(begun + index, done))
                    }
                    meanwhile @ Told::Meanwhile(_) => take(meanwhile),
                };
                flow
            },
        );
        if flow.is_break() {
            return;
        }
        begun = upto;
    }
}

/// The world of this number, with the plan that its guide proposes unless it is a saved one.
fn proposed<'c>(order: &Order<'c>, guides: &[Guide<'_>], number: u64) -> WorldToRun<'c> {
    let mut world = order.world(number);
    if let Source::Generated { seed, profile } = &world.source
        && let Some(guide) = world.scenario_index.and_then(|index| guides.get(index))
    {
        let (seed, proposal) = (*seed, guide.propose(profile.mix(), *seed));
        if proposal.changed {
            world.origin = Origin::Changed { number: seed };
            world.source = Source::Saved(Cow::Owned(proposal.plan));
        }
    }
    world
}
