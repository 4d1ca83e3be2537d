//! Look whether the token has expired; if so, fetch another. When it expires, all lanes look at the same time, and with tokens that
//! are good for one refresh all but one of them are locked out.

use std::{sync::Arc, sync::Mutex, sync::PoisonError, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Failure, QueueSourceExt, Worker};
use shiftwork_sim::{Dependency, Ledger, SimQueue, World, dependency::Latency, millis, secs};
use tokio::time::Instant;

const RULE: &str = "one refresh at a time";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "token-refreshed-by-all",
    about: "every lane that finds the token expired asks for a new one",
    area: Area::Concurrency,
    rule: RULE,
    sites: Sites { dependencies: &["login", "api"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 40 },
    profile: Profile::Gentle,
    budget: 50,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Upload<const BUG: bool> {
    login: Dependency,
    api: Dependency,
    good_until: Mutex<Option<Instant>>,
    alone: tokio::sync::Mutex<()>,
    refreshing: Arc<AtomicU32>,
    beside: Ledger<bool>,
}

/// A refresh under way.
struct Refresh(Arc<AtomicU32>);

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<const BUG: bool> Upload<BUG> {
    fn good_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.good_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh_if_expired(&self) -> Result<(), Failure> {
        if self.good_until().is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        if self.refreshing.fetch_add(1, Ordering::Relaxed) > 0 {
            *self.beside.lock() = true;
        }
        let _refresh = Refresh(self.refreshing.clone());
        self.login.call(async {}).await?;
        *self.good_until() = Some(Instant::now() + secs(5));
        Ok(())
    }
}

impl<const BUG: bool> Worker for Upload<BUG> {
    type Input = u32;

    async fn cycle(&self, _: u32, _: &Context) -> Result<(), Failure> {
        if BUG {
            self.refresh_if_expired().await?;
        } else {
            let _alone = self.alone.lock().await;
            self.refresh_if_expired().await?;
        }
        Ok(self.api.call(async {}).await?)
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let login = world.dependency("login");
    let api = world.dependency_with("api", Latency::constant(millis(500)));
    let files: SimQueue<u32> = world.queue("files");
    files.seed(1..=200);
    let beside = flag();
    never(world, RULE, &beside);
    world.node("node", move |node| {
        let worker = Upload::<BUG> {
            login: login.clone(),
            api: api.clone(),
            good_until: Mutex::new(None),
            alone: tokio::sync::Mutex::new(()),
            refreshing: Arc::default(),
            beside: beside.clone(),
        };
        node.host().worker("upload", files.clone().source(), worker).concurrency(4).run_until_signal()
    });
}
