//! A time to live is a length of time, and is computed from two wall times. A clock that steps back makes everything in the cache
//! young again.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never},
};
use shiftwork::{Context, Failure, Tick, Worker, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, World, secs};
use tokio::time::Instant;

const RULE: &str = "no price older than 15 s is used";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "price-kept-past-its-time",
    about: "the age of a cached price is told by the wall clock",
    area: Area::Clock,
    rule: RULE,
    sites: Sites { dependencies: &["market"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 600,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

#[derive(Clone, Copy)]
struct Price {
    fetched: Instant,
    fetched_by_wall: Timestamp,
}

struct Quote<const BUG: bool> {
    market: Dependency,
    cached: Mutex<Option<Price>>,
    stale: Ledger<bool>,
}

impl<const BUG: bool> Quote<BUG> {
    fn cached(&self) -> std::sync::MutexGuard<'_, Option<Price>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const BUG: bool> Worker for Quote<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let now = cx.wall_time();
        let is_fresh = |price: &Price| {
            let by_wall = Duration::try_from(now.duration_since(price.fetched_by_wall)).unwrap_or_default();
            let age = if BUG { by_wall } else { price.fetched.elapsed() };
            age < secs(10)
        };
        let fresh = self.cached().filter(is_fresh);
        let price = match fresh {
            Some(price) => price,
            None => {
                self.market.call(async {}).await?;
                let price = Price { fetched: Instant::now(), fetched_by_wall: cx.wall_time() };
                *self.cached() = Some(price);
                price
            }
        };
        if price.fetched.elapsed() > secs(15) {
            *self.stale.lock() = true;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let market = world.dependency("market");
    let stale = flag();
    never(world, RULE, &stale);
    every_second(world, move || Quote::<BUG> {
        market: market.clone(),
        cached: Mutex::new(None),
        stale: stale.clone(),
    });
}
