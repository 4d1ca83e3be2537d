//! *Office*: bookings are posted to a ledger and customers told of it, while people steer what runs from a console.
//!
//! Who posts and who balances the books work on one session with the bank: they are a group, and are restarted together when the
//! bank ends it. The statements come after the books and are not of the group: they go on. The rates come over a stream that
//! ends now and then, for which there is a policy of its own. Whoever sits at the console pauses, resumes, triggers and ends single
//! workers, as it comes and without knowing in which state they are. A customer is rather told by a person than twice: what a
//! process had in hand when it died is moved aside. How all of them work is not in the code but in [`SETTINGS`].

use std::collections::BTreeSet;

use serde_json::json;
use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Config, Context, Failure, FailureKind, Group, HostBuilder,
    QueueSourceExt, Schedule, ServiceContext, Signal, Tick, Worker,
    event::{Event, Settle, WorkerId, WorkerPhase},
    queue::{DeadLetterCause, Queue},
};
use shiftwork_sim::{
    Dependency, DependencyError, Ledger, Scenario, SimQueue, Surface, What, World, dependency::Latency, millis, secs,
};

use crate::declared::{self, Stop};

/// What an operator writes beside the program, in JSON.
pub const SETTINGS: &str = r#"{
    "host": { "stop": { "before_drain": "500ms", "drain": "4s", "cancel": "1s", "close": "1500ms" } },
    "group": { "books": { "restart": { "initial": "800ms", "max": "3s", "restarts_max": 12, "window": "1m" } } },
    "worker": {
        "post": {
            "concurrency": 2,
            "crashes_max": 50,
            "cycle_timeout": "6s",
            "retry": { "initial": "300ms", "max": "4s", "attempts_max": 60 },
            "breaker": { "failures": 4, "probe_every": "1s", "probe_max": "4s", "jitter_percent": 10 },
            "queue": { "lease": "12s" }
        },
        "balance": { "cycle_timeout": "5s", "retry": { "initial": "500ms", "attempts_max": 2 } },
        "statement": {
            "cycle_timeout": "5s",
            "retry": { "initial": "100ms", "max": "1s", "attempts_max": 4 },
            "retry_budget": { "per_second": 1, "burst": 1, "share_percent": 0 }
        },
        "notify": {
            "crashes_max": 1,
            "cycle_timeout": "6s",
            "batch": { "size": 12, "linger": "300ms" },
            "rate_limit": { "cycles": 5, "per": "2s", "burst": 2 },
            "retry": { "initial": "500ms", "max": "5s", "attempts_max": 60 },
            "queue": { "lease": "12s" }
        },
        "rates": {
            "on_fault": "restart",
            "start_timeout": "8s",
            "restart": { "initial": "200ms", "max": "2s", "restarts_max": 4, "window": "20s", "then": "degrade" }
        },
        "warm-up": { "on_fault": "degrade" }
    }
}"#;

/// A booking, or what a customer is told of one: by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u32);

/// Where the books are.
pub trait Bank: Clone + Send + Sync + 'static {
    /// Begins the session that the books are kept in.
    fn open(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Posts a booking. To post it again changes nothing. Fatal when the session is over.
    fn post(&self, booking: Number) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Adds everything up. Fatal when the session is over.
    fn balance(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What the books say, for anybody who asks: there is no session in it.
    fn statement(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Whom customers hear from.
pub trait Post: Clone + Send + Sync + 'static {
    /// Sends these, or none of them.
    fn send(&self, notices: Vec<Number>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Where rates come from.
pub trait Exchange: Clone + Send + Sync + 'static {
    /// Begins the stream.
    fn subscribe(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Waits for the next rate; `None` when the other side has ended the stream.
    fn next(&self) -> impl Future<Output = Result<Option<u32>, Failure>> + Send;

    /// Ends the stream as one should.
    fn leave(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What somebody at the console wants.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    /// That a worker begins nothing more for now.
    Pause(&'static str),
    /// That it goes on.
    Resume(&'static str),
    /// That it does not wait for its next cycle.
    Trigger(&'static str),
    /// That it ends.
    Stop(&'static str),
}

/// Where people sit who steer.
pub trait Console: Clone + Send + Sync + 'static {
    /// Waits for what they want next.
    fn next(&self) -> impl Future<Output = Wish> + Send;
}

struct Books<B>(B);

impl<B: Bank> Worker for Books<B> {
    type Input = Number;

    async fn start(&self) -> Result<(), Failure> {
        self.0.open().await
    }

    async fn cycle(&self, booking: Number, _: &Context) -> Result<(), Failure> {
        self.0.post(booking).await
    }
}

struct Notify<P>(P);

impl<P: Post> BatchWorker for Notify<P> {
    type Input = Number;

    async fn cycle(&self, batch: &mut Batch<Number>, _: &BatchContext) -> Result<(), Failure> {
        self.0.send(batch.iter().map(|item| item.input).collect()).await
    }
}

/// Follows the rates from the first to the last, and takes its leave.
async fn follow<E: Exchange>(exchange: E, cx: ServiceContext) -> Result<(), Failure> {
    exchange.subscribe().await?;
    cx.ready();
    loop {
        tokio::select! {
            rate = exchange.next() => {
                // Whether that is well is not for this function to say: the host knows whom it has asked to stop.
                if rate?.is_none() {
                    return Ok(());
                }
            }
            () = cx.stopped() => break,
        }
    }
    tokio::select! {
        left = exchange.leave() => left,
        () = cx.cancelled() => Err(Failure::transient("there was no time to take leave")),
    }
}

/// Does what people at the console want. That they want what cannot be is told to them, and is no trouble of the host.
async fn steer<C: Console>(console: C, cx: ServiceContext) -> Result<(), Failure> {
    cx.opened().await;
    let host = cx.host();
    loop {
        let wish = tokio::select! {
            wish = console.next() => wish,
            () = cx.stopped() => return Ok(()),
        };
        let _told = match wish {
            Wish::Pause(worker) => host.pause(worker),
            Wish::Resume(worker) => host.resume(worker),
            Wish::Trigger(worker) => host.trigger(worker),
            Wish::Stop(worker) => host.stop_worker(worker),
        };
    }
}

/// The application: what `main` would build around real systems, and a file of settings.
pub fn application<B: Bank, P: Post, E: Exchange, C: Console>(
    host: HostBuilder,
    settings: Config,
    (bookings, bank): (impl Queue<Number>, B),
    (notices, post): (impl Queue<Number>, P),
    (exchange, console): (E, C),
) -> HostBuilder {
    let (balanced, stated, warmed) = (bank.clone(), bank.clone(), bank.clone());
    let balance = move |_: Tick, _: Context| {
        let bank = balanced.clone();
        async move { bank.balance().await }
    };
    let statement = move |_: Tick, _: Context| {
        let bank = stated.clone();
        async move { bank.statement().await }
    };
    host.config(settings)
        .group("books", Group::one_for_all())
        .worker("post", bookings.source(), Books(bank))
        .in_group("books")
        .worker("balance", Schedule::with_delay(secs(5)), balance)
        .after("post")
        .in_group("books")
        .worker("statement", Schedule::every(secs(1)), statement)
        .after("balance")
        .batch_worker("notify", notices.source(), Batches::default(), Notify(post))
        .service("rates", move |cx| follow(exchange.clone(), cx))
        .handshake()
        .job("warm-up", move |_| {
            let bank = warmed.clone();
            async move { bank.balance().await }
        })
        .service("console", move |cx| steer(console.clone(), cx))
        .host()
}

/// What the world keeps.
#[derive(Debug, Clone, Default)]
struct State {
    posted: BTreeSet<Number>,
    told: BTreeSet<Number>,
    /// The bank has ended the session, and nobody knows.
    session_over: bool,
    /// How many wishes people have had.
    wishes: usize,
    /// A leave that was taken has failed, and nothing was said of it yet.
    leave_failed: bool,
}

type Shared = Ledger<State>;

#[derive(Clone)]
struct SimBank {
    dependency: Dependency,
    state: Shared,
}

impl SimBank {
    /// Ends with the session that the bank has ended, if it has.
    fn in_session(&self) -> Result<(), Failure> {
        match self.state.with(|state| state.session_over) {
            true => Err(Failure::fatal("the session is over")),
            false => Ok(()),
        }
    }
}

/// The bank's word that asking again is no use means that the session is over.
fn session(error: DependencyError) -> Failure {
    if error.is_permanent() { Failure::fatal(error) } else { error.into_failure() }
}

impl Bank for SimBank {
    async fn open(&self) -> Result<(), Failure> {
        self.dependency.call(async {}).await?;
        self.state.with(|state| state.session_over = false);
        Ok(())
    }

    async fn post(&self, booking: Number) -> Result<(), Failure> {
        self.in_session()?;
        let post = async { self.state.with(|state| state.posted.insert(booking)) };
        self.dependency.call(post).await.map(drop).map_err(session)
    }

    async fn balance(&self) -> Result<(), Failure> {
        self.in_session()?;
        self.dependency.call(async {}).await.map_err(session)
    }

    async fn statement(&self) -> Result<(), Failure> {
        self.dependency.call(async {}).await.map_err(DependencyError::into_failure)
    }
}

#[derive(Clone)]
struct SimPost {
    dependency: Dependency,
    state: Shared,
}

impl Post for SimPost {
    async fn send(&self, notices: Vec<Number>) -> Result<(), Failure> {
        let send = async { self.state.with(|state| state.told.extend(notices)) };
        self.dependency.call(send).await.map_err(Failure::transient)
    }
}

#[derive(Clone)]
struct SimExchange {
    dependency: Dependency,
    state: Shared,
}

impl Exchange for SimExchange {
    async fn subscribe(&self) -> Result<(), Failure> {
        self.dependency.call(async {}).await.map_err(Failure::transient)
    }

    async fn next(&self) -> Result<Option<u32>, Failure> {
        tokio::time::sleep(millis(700)).await;
        match self.dependency.call(async { 1 }).await {
            Ok(rate) => Ok(Some(rate)),
            Err(error) if error.is_permanent() => Ok(None),
            Err(error) => Err(Failure::transient(error)),
        }
    }

    async fn leave(&self) -> Result<(), Failure> {
        let left = self.dependency.call(async {}).await;
        self.state.with(|state| state.leave_failed = left.is_err());
        left.map_err(Failure::transient)
    }
}

/// What people want, over and over. Nothing stays paused for long.
const WISHES: [Wish; 19] = [
    Wish::Pause("post"),
    Wish::Trigger("post"),
    Wish::Pause("post"),
    Wish::Resume("post"),
    Wish::Resume("post"),
    Wish::Trigger("statement"),
    Wish::Trigger("balance"),
    Wish::Pause("balance"),
    Wish::Trigger("balance"),
    Wish::Resume("balance"),
    Wish::Pause("notify"),
    Wish::Resume("notify"),
    Wish::Trigger("post"),
    Wish::Stop("warm-up"),
    Wish::Stop("rates"),
    Wish::Stop("rates"),
    Wish::Trigger("rates"),
    Wish::Trigger("notify"),
    Wish::Trigger("statement"),
];

#[derive(Clone)]
struct SimConsole(Shared);

impl Console for SimConsole {
    async fn next(&self) -> Wish {
        tokio::time::sleep(millis(1_300)).await;
        self.0.with(|state| {
            state.wishes += 1;
            WISHES[state.wishes % WISHES.len()]
        })
    }
}

/// The scenario.
#[derive(Debug)]
pub struct SteeredOffice;

/// How many bookings and notices come in.
const BOOKINGS: u32 = 90;

/// The workers that are spoken of below, as [`application`] adds them.
const POST: WorkerId = WorkerId(0);
const STATEMENT: WorkerId = WorkerId(2);
const RATES: WorkerId = WorkerId(4);

impl Scenario for SteeredOffice {
    fn name(&self) -> &'static str {
        "office"
    }

    fn about(&self) -> &'static str {
        "bookings are posted while people pause, trigger and end workers, and a bank ends its sessions"
    }

    fn surface(&self) -> Surface {
        let dependencies = ["bank", "post", "exchange"].map(str::to_owned).to_vec();
        Surface { dependencies, queues: vec!["bookings".into(), "notices".into()], horizon: secs(60) }
    }

    fn workers(&self) -> Vec<String> {
        ["post", "balance", "statement", "notify"].map(str::to_owned).to_vec()
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        let bank = world.dependency_with("bank", Latency::uniform(millis(50), millis(900)));
        let post = world.dependency_with("post", Latency::uniform(millis(50), millis(400)));
        let exchange = world.dependency_with("exchange", Latency::uniform(millis(50), millis(600)));
        let (bookings, notices): (SimQueue<Number>, SimQueue<Number>) =
            (world.queue("bookings"), world.queue("notices"));
        for number in (1..=BOOKINGS).step_by(3) {
            let (bookings, notices) = (bookings.clone(), notices.clone());
            world.at(millis(u64::from(number) * 500), "booking", move || {
                bookings.seed((number..number + 3).map(Number));
                notices.seed((number..number + 3).map(Number));
            });
        }
        let shared = state.clone();
        let (booked, noticed) = (bookings.clone(), notices.clone());
        world.node("office", move |node| {
            let settings = serde_json::from_str(SETTINGS).expect("the settings are those of a host");
            let bank = SimBank { dependency: bank.clone(), state: shared.clone() };
            let post = SimPost { dependency: post.clone(), state: shared.clone() };
            let exchange = SimExchange { dependency: exchange.clone(), state: shared.clone() };
            let outside = (exchange, SimConsole(shared.clone()));
            application(node.host(), settings, (booked.clone(), bank), (noticed.clone(), post), outside)
                .run_until_signal()
        });
        for at in [12, 33, 51] {
            let state = state.clone();
            world.at(secs(at), "end of the session", move || state.with(|state| state.session_over = true));
        }
        for at in [18, 41] {
            world.signal_at(secs(at), "office", Signal::Terminate);
        }
        demand(world, &state);
        look(world, &state);
        let left = [bookings.clone(), notices.clone()];
        world.done_when(move || left.iter().all(|queue| queue.inspect_depth().unsettled() == 0));
        world.at_end("every booking is posted, and every customer told if nobody has to look first", move || {
            let mut unsure = BTreeSet::new();
            for letter in notices.inspect_dead_letters() {
                match (letter.cause, letter.payload) {
                    (DeadLetterCause::CrashLoop, Ok(notice)) => drop(unsure.insert(notice)),
                    (DeadLetterCause::Undecodable, _) => {}
                    (cause, notice) => return Err(format!("{notice:?} was moved aside as {cause}")),
                }
            }
            for letter in bookings.inspect_dead_letters() {
                if letter.cause != DeadLetterCause::Undecodable {
                    return Err(format!("{:?} was moved aside as {}", letter.payload, letter.cause));
                }
            }
            state.with(|state| {
                let missing = |done: &BTreeSet<Number>| (1..=BOOKINGS).map(Number).find(|it| !done.contains(it));
                let told = state.told.union(&unsure).copied().collect();
                match (missing(&state.posted), missing(&told)) {
                    (None, None) => Ok(()),
                    (posted, told) => Err(format!("not posted: {posted:?}, not told: {told:?}")),
                }
            })
        });
    }
}

fn demand(world: &mut World, state: &Shared) {
    declared::demand(
        world,
        json!({
            "post": {
                "breaker": { "failures": 4, "probe_every": "1s", "probe_max": "4s", "jitter_percent": 10 },
                "on_fault": { "restart": {
                    "initial": "800ms", "max": "3s", "restarts_max": 12, "window": "1m", "then": "stop_host",
                } },
            },
            "statement": { "retry_budget": { "per_second": 1, "burst": 1, "share_percent": 0 } },
            "notify": {
                "batch": { "size": 12, "linger": "300ms" },
                "rate_limit": { "cycles": 5, "per": "2s", "burst": 2 },
            },
            "rates": {
                "on_fault": { "restart": {
                    "initial": "200ms", "max": "2s", "restarts_max": 4, "window": "20s", "then": "degrade",
                } },
            },
        }),
    );

    let stop = Stop { before_drain: millis(500), drain: secs(4), cancel: secs(1), close: millis(1_500) };
    declared::demand_stop(world, stop);

    let mut restarts = Vec::new();
    world.always(
        "a restart of the rates waits from 200 ms to 2 s, and there are no more than 4 in 20 s",
        move |record| {
            match &record.what {
                What::Booted { .. } => restarts.clear(),
                What::Host(Event::WorkerRestarting { worker: RATES, delay, .. }) => {
                    restarts.push(record.at);
                    // The faults are what is counted: one more may be announced within the time.
                    let recent = restarts.iter().filter(|at| record.at - **at < secs(20)).count();
                    if recent > 5 || *delay < millis(200) || *delay > secs(2) {
                        return Err(format!("number {recent} waits {delay:?}"));
                    }
                }
                _ => {}
            }
            Ok(())
        },
    );

    let failed = state.clone();
    let mut cancelled = false;
    world.always("a leave that fails before its time is over is said to have failed", move |record| {
        match &record.what {
            What::Host(Event::WorkerStarting { worker: RATES }) => cancelled = false,
            What::Host(Event::WorkerCancelled { worker: RATES } | Event::WorkerAborted { worker: RATES }) => {
                cancelled = true;
            }
            What::Host(Event::CycleEnded { worker: RATES, failure, .. }) => {
                let owed = failed.with(|state| std::mem::take(&mut state.leave_failed)) && !cancelled;
                let kind = failure.as_ref().map(|cause| cause.kind);
                if owed && kind != Some(FailureKind::Transient) {
                    return Err(format!("it is said: {kind:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    });
}

/// What people do, and what they meet.
fn look(world: &mut World, state: &Shared) {
    world.sometimes("somebody pauses a worker, and lets it go on", |record| {
        matches!(record.what, What::Host(Event::WorkerResumed { .. }))
    });
    world.sometimes("somebody asks for a statement at once", |record| {
        matches!(record.what, What::Host(Event::TickDue { worker: STATEMENT, triggered: true, .. }))
    });
    world.sometimes("somebody ends the rates alone", |record| {
        matches!(record.what, What::Host(Event::WorkerStopAsked { worker: RATES, .. }))
    });
    world.sometimes("the rates are restarted", |record| {
        matches!(record.what, What::Host(Event::WorkerRestarting { worker: RATES, .. }))
    });
    world.sometimes("the rates are given up, and the others go on", |record| match &record.what {
        What::Host(Event::WorkerStopped { worker: RATES, phase }) => *phase == WorkerPhase::Failed,
        _ => false,
    });
    let mut closed = false;
    world.sometimes("the rates fail as they are asked to stop", move |record| {
        match &record.what {
            What::Host(Event::IntakeOpened { worker: RATES }) => closed = false,
            What::Host(Event::IntakeClosed { worker: RATES, .. }) => closed = true,
            What::Host(Event::WorkerFaulted { worker: RATES, .. }) => return closed,
            _ => {}
        }
        false
    });
    world.sometimes("the rates have no time to take leave", |record| match &record.what {
        What::Host(Event::CycleEnded { worker: RATES, failure: Some(cause), .. }) => {
            cause.kind == FailureKind::Interrupted
        }
        _ => false,
    });
    let mut down = false;
    world.sometimes("statements are made while the books are down", move |record| {
        match &record.what {
            What::Booted { .. } | What::Host(Event::IntakeOpened { worker: POST }) => down = false,
            What::Host(Event::WorkerRestarting { worker: POST, .. }) => down = true,
            What::Host(Event::CycleStarted { worker: STATEMENT, .. }) => return down,
            _ => {}
        }
        false
    });
    let (session, mut anew) = (state.clone(), false);
    world.sometimes("bookings are posted in a new session, by the same process", move |record| {
        match &record.what {
            What::Booted { .. } => anew = false,
            What::Host(Event::WorkerRestarting { worker: POST, .. }) => anew |= session.lock().session_over,
            What::Host(Event::CycleEnded { worker: POST, failure: None, .. }) => return anew,
            _ => {}
        }
        false
    });
    world.sometimes("customers are told of several bookings at once", |record| {
        matches!(record.what, What::Host(Event::BatchStarted { cycles: 2.., .. }))
    });
    world.sometimes("a statement is held back by the budget for retries", |record| {
        matches!(record.what, What::Host(Event::RetryHeldBack { .. }))
    });
    world.sometimes("a notice of which nobody knows whether it was sent is left to a person", |record| {
        let cause = DeadLetterCause::CrashLoop;
        match &record.what {
            What::Host(Event::SettledUnrun { settle: Settle::DeadLetter { cause: why, .. }, .. }) => *why == cause,
            _ => false,
        }
    });
    world.sometimes("the bank is probed", |record| {
        matches!(record.what, What::Host(Event::BreakerProbing { worker: POST, .. }))
    });
}
