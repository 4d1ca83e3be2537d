//! *Cache refresh*: prices are kept in memory, refreshed from an origin that is sometimes slower than the time between two
//! refreshes, and shown as long as they are not too old.
//!
//! Two refreshes may run side by side, so that one that is slow does not hold up the next; what was asked for later wins,
//! whichever answers first. How old a price is counts from when it was asked for, not from when the answer came: an answer
//! that was half a minute on its way is half a minute old. Rather no price than one older than [`AGE_MAX`].
//!
//! Beside them is an offer of the day, of which only the newest is of use: it is asked for by the calendar, and a request that is
//! still on its way when the next one is due is given up.
//!
//! An origin that says that asking again is no use has revoked the session: then the worker and the page, which are a
//! group, are restarted, and the start hook logs in anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use shiftwork::{
    Context, Failure, Group, HostBuilder, Overlap, Restart, Retry, Schedule, ServiceContext, Tick, Worker, event::Event,
};
use shiftwork_sim::{Dependency, Ledger, Record, Scenario, Surface, What, World, dependency::Latency, millis, secs};
use tokio::time::Instant;

use crate::declared;

/// How old a price may be that is still shown.
pub const AGE_MAX: Duration = secs(20);

/// How often prices are asked for.
const REFRESH_EVERY: Duration = secs(3);

/// What the origin says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Price(pub u32);

/// Where prices come from.
pub trait Origin: Send + Sync + 'static {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// When the origin is in trouble.
    fn log_in(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The price as it is there.
    ///
    /// # Errors
    ///
    /// When the origin is in trouble; a fatal one when the session is over.
    fn price(&self) -> impl Future<Output = Result<Price, Failure>> + Send;

    /// What is on offer.
    ///
    /// # Errors
    ///
    /// When the origin is in trouble.
    fn offer(&self) -> impl Future<Output = Result<Price, Failure>> + Send;
}

/// Where prices are shown.
pub trait Page: Send + Sync + 'static {
    /// Somebody looks, and sees what `price` says; nothing if it has none.
    fn show(&self, price: impl FnOnce() -> Option<Price> + Send) -> impl Future<Output = ()> + Send;
}

/// The last price, and when it was asked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
struct Cache(Arc<Mutex<Option<(Instant, Price)>>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Price)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was asked for at `asked`, unless something is there that was asked for later.
    fn keep(&self, asked: Instant, price: Price) {
        let mut kept = self.lock();
        if kept.is_none_or(|(since, _)| since < asked) {
            *kept = Some((asked, price));
        }
    }

    /// The price, if it is young enough.
    fn price(&self) -> Option<Price> {
        let kept = *self.lock();
        kept.filter(|(asked, _)| asked.elapsed() <= AGE_MAX).map(|(_, price)| price)
    }
}

struct Refresh<O> {
    origin: Arc<O>,
    cache: Cache,
}

impl<O: Origin> Worker for Refresh<O> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.origin.log_in().await
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let asked = Instant::now();
        self.cache.keep(asked, self.origin.price().await?);
        Ok(())
    }
}

struct Offers<O> {
    origin: Arc<O>,
    newest: Mutex<Option<Price>>,
}

impl<O: Origin> Worker for Offers<O> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        tokio::select! {
            () = cx.cancelled() => Err(Failure::interrupted("the next offer is asked for")),
            offer = self.origin.offer() => {
                *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(offer?);
                Ok(())
            }
        }
    }
}

/// Shows the price whenever somebody looks.
async fn serve<P: Page>(page: Arc<P>, cache: Cache, cx: ServiceContext) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = page.show(|| cache.price()) => {}
            () = cx.stopped() => return Ok(()),
        }
    }
}

/// The application: what `main` would build around a real origin and a real page.
pub fn application<O: Origin, P: Page>(host: HostBuilder, origin: O, page: P) -> HostBuilder {
    around(host, origin, page, |offers| offers)
}

fn around<O: Origin, P: Page, W: Worker<Input = Tick>>(
    host: HostBuilder,
    origin: O,
    page: P,
    as_worker: impl FnOnce(Offers<O>) -> W,
) -> HostBuilder {
    let (cache, page, origin) = (Cache::default(), Arc::new(page), Arc::new(origin));
    let refresh = Refresh { origin: origin.clone(), cache: cache.clone() };
    let offers = as_worker(Offers { origin, newest: Mutex::default() });
    let every_four_seconds = Schedule::cron("*/4 * * * * *").expect("it is an expression");
    let restart = Restart::default().initial(millis(500)).max(secs(4)).intensity(8, secs(60));
    host.group("prices", Group::rest_for_one().restart(restart))
        .worker("refresh", Schedule::every(REFRESH_EVERY).overlap(Overlap::Allow), refresh)
        .concurrency(2)
        .cycle_timeout(secs(15))
        // The next refresh is never far: to insist on one would only keep its lane.
        .retry(Retry::exponential().initial(millis(500)).max(secs(2)).attempts_max(3))
        .in_group("prices")
        .service("page", move |cx| serve(page.clone(), cache.clone(), cx))
        .after("refresh")
        .in_group("prices")
        .worker("offers", every_four_seconds.overlap(Overlap::CancelPrevious), offers)
        .host()
}

/// What the origin said over time, and what was shown of it.
#[derive(Debug, Clone, Default)]
struct State {
    /// Until when each price was that of the origin; the last one still is.
    over: Vec<(Duration, Price)>,
    price: Price,
    /// What has passed since the world began.
    passed: Duration,
    shown: Option<Price>,
    /// What a look saw that has not been judged yet.
    look: Option<Option<Price>>,
    asked: u32,
    answered_late: bool,
}

impl State {
    /// How long ago this was the price.
    fn age(&self, price: Price) -> Duration {
        let over = self.over.iter().find(|(_, other)| *other == price);
        over.map_or(Duration::ZERO, |(until, _)| self.passed.saturating_sub(*until))
    }
}

type Shared = Ledger<State>;

struct SimOrigin {
    dependency: Dependency,
    state: Shared,
}

impl Origin for SimOrigin {
    async fn log_in(&self) -> Result<(), Failure> {
        Ok(self.dependency.call(async {}).await?)
    }

    async fn price(&self) -> Result<Price, Failure> {
        let number = self.state.with(|state| {
            state.asked += 1;
            state.asked
        });
        let price = self.dependency.call(async { self.state.with(|state| state.price) }).await;
        let price = price.map_err(|error| match error.is_permanent() {
            true => Failure::fatal(error),
            false => Failure::transient(error),
        })?;
        self.state.with(|state| state.answered_late |= number < state.asked);
        Ok(price)
    }

    async fn offer(&self) -> Result<Price, Failure> {
        let offer = self.dependency.call(async { self.state.with(|state| state.price) }).await;
        offer.map_err(Failure::transient)
    }
}

struct SimPage {
    visitors: Dependency,
    state: Shared,
}

impl Page for SimPage {
    async fn show(&self, price: impl FnOnce() -> Option<Price> + Send) {
        tokio::time::sleep(secs(1)).await;
        let look = async {
            let seen = price();
            self.state.with(|state| state.look = Some(seen));
        };
        // No fault strikes visitors.
        let _looked = self.visitors.call(look).await;
    }
}

/// The scenario.
#[derive(Debug)]
pub struct CacheRefresh;

impl Scenario for CacheRefresh {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn about(&self) -> &'static str {
        "prices are refreshed from a slow origin, side by side, and none is shown that is too old"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["origin".into()], queues: Vec::new(), horizon: secs(90) }
    }

    fn stubborn(&self) -> Vec<String> {
        vec!["origin".into()]
    }

    fn workers(&self) -> Vec<String> {
        ["refresh", "offers"].map(str::to_owned).to_vec()
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        // Slower than the time between two refreshes now and then, and slower than a price may be old never.
        let origin = world.dependency_with("origin", Latency::long_tail(millis(400), secs(12)));
        let visitors = world.dependency_with("visitors", Latency::none());
        for second in (2..90).step_by(2) {
            let state = state.clone();
            world.at(secs(second), "price", move || {
                state.with(|state| {
                    state.over.push((secs(second), state.price));
                    state.price.0 += 1;
                });
            });
        }
        let shared = state.clone();
        world.node("shop", move |node| {
            let shop_origin = origin.clone();
            let origin = SimOrigin { dependency: origin.clone(), state: shared.clone() };
            let page = SimPage { visitors: visitors.clone(), state: shared.clone() };
            // A client that does not always hear that it is to end.
            around(node.host(), origin, page, |offers| shop_origin.stubborn(offers)).run_until_signal()
        });
        demand(world, &state);
    }
}

fn demand(world: &mut World, state: &Shared) {
    let restart = json!({ "initial": "500ms", "max": "4s", "restarts_max": 8, "window": "1m", "then": "stop_host" });
    let policies = json!({ "on_fault": { "restart": restart } });
    declared::demand(world, json!({ "refresh": policies, "page": policies }));

    let newest = state.clone();
    let is_newest = move || newest.with(|state| state.shown == Some(state.price));
    world.done_when(is_newest.clone());

    let looks = state.clone();
    world.always("no price is shown that is too old", move |record| {
        looks.with(|state| {
            state.passed = record.at;
            if !matches!(record.what, What::CallTookEffect { .. }) {
                return Ok(());
            }
            let Some(seen) = state.look.take() else { return Ok(()) };
            state.shown = seen;
            match seen.map(|price| (price, state.age(price))) {
                Some((price, age)) if age > AGE_MAX => Err(format!("{price:?} has been over for {age:?}")),
                _ => Ok(()),
            }
        })
    });
    let looks = state.clone();
    let mut last = None;
    world.always("a process shows no older price after a newer one", move |record| {
        if matches!(record.what, What::Booted { .. }) {
            last = None;
        }
        let shown = looks.with(|state| state.shown);
        let goes_back = shown < last && shown.is_some();
        let before = last;
        last = shown.max(last);
        if goes_back { Err(format!("{shown:?} was shown after {before:?}")) } else { Ok(()) }
    });

    let sights = state.clone();
    world.sometimes("a refresh is answered after a later one was asked for", move |_| {
        sights.with(|state| state.answered_late)
    });
    let sights = state.clone();
    let mut had_one = false;
    world.sometimes("a price is withheld because it is too old", move |record| {
        let shown = sights.with(|state| state.shown);
        had_one = !matches!(record.what, What::Booted { .. }) && (had_one || shown.is_some());
        had_one && shown.is_none()
    });
    world.sometimes(
        "the page is restarted with the worker that it needs",
        |record| matches!(&record.what, What::Host(Event::WorkerRestarting { worker, .. }) if worker.0 == 1),
    );
    world.sometimes("both lanes are busy when a refresh is due", |record| {
        matches!(record.what, What::Host(Event::TicksMissed { .. } | Event::TickDue { missed: 1.., .. }))
    });
    world.sometimes("an offer that is on its way is given up for the next one", |record| {
        matches!(record.what, What::Host(Event::CycleSuperseded { .. }))
    });
    let is_well = |record: &Record| record.what == What::Healed;
    world.eventually("the newest price is shown", secs(60), is_well, is_newest);
}
