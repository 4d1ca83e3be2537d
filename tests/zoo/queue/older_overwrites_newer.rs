//! A queue keeps its order until something fails. The update that is tried again arrives after its successor, and puts the old
//! address back.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Failure, QueueSourceExt, Worker};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, dependency::Latency, millis};

const RULE: &str = "the stored version never goes back";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "older-overwrites-newer",
    about: "an update that was retried overwrites a later one",
    area: Area::Queue,
    rule: RULE,
    sites: Sites { dependencies: &["directory"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Update<const BUG: bool> {
    directory: Dependency,
    version: Ledger<u32>,
    backwards: Ledger<bool>,
}

impl<const BUG: bool> Worker for Update<BUG> {
    type Input = u32;

    async fn cycle(&self, version: u32, _: &Context) -> Result<(), Failure> {
        let write = async {
            let mut stored = self.version.lock();
            if version < *stored {
                if !BUG {
                    return;
                }
                *self.backwards.lock() = true;
            }
            *stored = version;
        };
        Ok(self.directory.call(write).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let directory = world.dependency_with("directory", Latency::constant(millis(300)));
    let versions: SimQueue<u32> = world.queue("versions");
    versions.seed(1..=100);
    let (version, backwards) = (Ledger::new(0), flag());
    never(world, RULE, &backwards);
    world.node("node", move |node| {
        let worker =
            Update::<BUG> { directory: directory.clone(), version: version.clone(), backwards: backwards.clone() };
        node.host().worker("update", versions.clone().source(), worker).run_until_signal()
    });
}
