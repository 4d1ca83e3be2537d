//! Last writer wins, and who was last is told by the writers' own clocks, as in many a replicated store. The clock of one runs ahead, and
//! what the others write after it is dropped without a word.

use shiftwork::{Context, Failure, Retry, Schedule, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, World, secs};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};

const RULE: &str = "no change is dropped";

const NODES: &[&str] = &["left", "right"];

pub const EXHIBIT: Exhibit = Exhibit {
    name: "newest-by-the-wall-clock",
    about: "of two values the store keeps the one with the later wall time",
    area: Area::Fleet,
    rule: RULE,
    sites: Sites { dependencies: &["store"], queues: &[], nodes: NODES, stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// The value, and when it was written.
#[derive(Debug, Clone, Default)]
struct Setting {
    written: Timestamp,
    value: u64,
}

struct Change<const BUG: bool> {
    store: Dependency,
    setting: Ledger<Setting>,
    dropped: Ledger<bool>,
}

impl<const BUG: bool> Worker for Change<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let change = async {
            // When the request is there: it has not been overtaken on its way.
            let (now, mut setting) = (cx.wall_time(), self.setting.lock());
            if BUG && now < setting.written {
                *self.dropped.lock() = true;
                return;
            }
            setting.written = now;
            setting.value += 1;
        };
        Ok(self.store.call(change).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let store = world.dependency("store");
    let (setting, dropped) = (Ledger::<Setting>::default(), flag());
    never(world, RULE, &dropped);
    for name in NODES {
        let (store, setting, dropped) = (store.clone(), setting.clone(), dropped.clone());
        world.node(name, move |node| {
            let change = Change::<BUG> { store: store.clone(), setting: setting.clone(), dropped: dropped.clone() };
            node.host()
                .worker("change", Schedule::every(secs(2)), change)
                .cycle_timeout(secs(10))
                .retry(Retry::exponential().initial(secs(1)).max(secs(5)))
                .run_until_signal()
        });
    }
}
