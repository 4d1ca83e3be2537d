//! `loop { work(); sleep(period) }` is not every ten seconds but every ten seconds and whatever the work takes. The charts have holes
//! by the end of the day.

use std::{sync::Arc, sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Continuous, Schedule, Tick};
use shiftwork_sim::{Dependency, FaultName, Ledger, World, millis, secs};
use tokio::{time::Instant, time::sleep, time::timeout};

const RULE: &str = "readings are ten seconds apart";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "drift-by-sleeping",
    about: "a loop sleeps for the period after its work",
    area: Area::Schedule,
    rule: RULE,
    sites: Sites { dependencies: &["sensor"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 200,
    needs_two_faults: false,
    leaves_out: &[FaultName::Pause],
    bug: build::<true>,
    twin: build::<false>,
};

/// When the last reading of this process began, and whether one came too late.
struct Sensor {
    sensor: Dependency,
    last: Mutex<Option<Instant>>,
    late: Ledger<bool>,
}

impl Sensor {
    async fn read(&self) {
        let now = Instant::now();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if last.is_some_and(|last| now - last > millis(10_500)) {
            *self.late.lock() = true;
        }
        // A sensor that does not answer in time is asked again at the next reading.
        drop(timeout(secs(5), self.sensor.call(async {})).await);
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let dependency = world.dependency("sensor");
    let late = flag();
    never(world, RULE, &late);
    world.node("node", move |node| {
        let sensor = Sensor { sensor: dependency.clone(), last: Mutex::new(None), late: late.clone() };
        let sensor = Arc::new(sensor);
        if BUG {
            let forever = move |(): (), _: Context| {
                let sensor = sensor.clone();
                async move {
                    sensor.read().await;
                    sleep(secs(10)).await;
                    Ok(())
                }
            };
            node.host().worker("read", Continuous::new(), forever).run_until_signal()
        } else {
            let at_its_time = move |_: Tick, _: Context| {
                let sensor = sensor.clone();
                async move {
                    sensor.read().await;
                    Ok(())
                }
            };
            node.host().worker("read", Schedule::every(secs(10)), at_its_time).run_until_signal()
        }
    });
}
