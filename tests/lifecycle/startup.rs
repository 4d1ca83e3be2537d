//! Order, readiness, failed and interrupted starts.

use std::{io, sync::Arc, time::Duration};

use shiftwork::{
    Context, Continuous, Environment, ExitStatus, Failure, Health, Host, HostBuilder, Schedule, Signal, Signals,
    System, Tick, Worker,
    event::{Event, StopReason, WorkerId, WorkerPhase},
    queue::Timestamp,
};
use shiftwork_sim::{Script, World, millis, secs};

use crate::worlds::{Count, Notes, order_of, time_of};

/// A worker with hooks: it notes them, and starts and stops as the test says.
struct Hooked {
    name: &'static str,
    starts_in: Duration,
    starts: bool,
    stops_in: Duration,
    notes: Notes,
}

impl Worker for Hooked {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        tokio::time::sleep(self.starts_in).await;
        if self.starts {
            self.notes.add(format!("{} ready", self.name));
            Ok(())
        } else {
            Err(Failure::transient(format!("{} has no database", self.name)))
        }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        self.notes.add(format!("{} works", self.name));
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        tokio::time::sleep(self.stops_in).await;
        self.notes.add(format!("{} stopped", self.name));
        Ok(())
    }
}

/// Three workers, "api" after "cache" after "store". Each takes a second to start.
struct Chain {
    notes: Notes,
    /// The one that does not start.
    broken: Option<&'static str>,
    /// The one whose start hook hangs.
    hanging: Option<&'static str>,
    /// The one that takes five seconds to stop.
    slow_to_stop: Option<&'static str>,
}

impl Chain {
    fn new() -> Self {
        Self { notes: Notes::default(), broken: None, hanging: None, slow_to_stop: None }
    }

    fn build(&self, world: &mut World) {
        let (notes, broken, hanging, slow_to_stop) = (self.notes.clone(), self.broken, self.hanging, self.slow_to_stop);
        world.node("node", move |node| {
            let hooked = |name: &'static str| Hooked {
                name,
                starts_in: if hanging == Some(name) { secs(1_000_000) } else { secs(1) },
                starts: broken != Some(name),
                stops_in: if slow_to_stop == Some(name) { secs(5) } else { Duration::ZERO },
                notes: notes.clone(),
            };
            let every_second = || Schedule::every(secs(1));
            node.host()
                .worker("api", every_second(), hooked("api"))
                .after("cache")
                .worker("store", every_second(), hooked("store"))
                .worker("cache", every_second(), hooked("cache"))
                .after("store")
                .run_until_signal()
        });
    }
}

const API: u32 = 0;
const STORE: u32 = 1;
const CACHE: u32 = 2;

fn ready_order(outcome: &shiftwork_sim::Outcome) -> Vec<u32> {
    order_of(outcome, |event| match event {
        Event::WorkerReady { worker } => Some(*worker),
        _ => None,
    })
}

#[test]
fn s1_workers_start_in_the_order_of_their_dependencies() {
    let chain = Chain::new();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(ready_order(&outcome), [STORE, CACHE, API]);
}

#[test]
fn s1_independent_workers_start_side_by_side() {
    let notes = Notes::default();
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        let notes = notes.clone();
        world.node("node", move |node| {
            let hooked = |name| Hooked {
                name,
                starts_in: secs(1),
                starts: true,
                stops_in: Duration::ZERO,
                notes: notes.clone(),
            };
            node.host()
                .worker("left", Schedule::every(secs(1)), hooked("left"))
                .worker("right", Schedule::every(secs(1)), hooked("right"))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::HostRunning)), Some(secs(1)));
}

#[test]
fn s2_work_begins_when_the_last_worker_is_ready() {
    let chain = Chain::new();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::CycleStarted { .. })), Some(secs(3)));
    let notes = chain.notes.all();
    let last_ready = notes.iter().position(|note| note == "api ready").unwrap();
    assert_eq!(notes.iter().position(|note| note.ends_with("works")), Some(last_ready + 1));
}

#[test]
fn s4_a_failed_start_stops_what_had_started_and_nothing_works() {
    let chain = Chain { broken: Some("api"), ..Chain::new() };
    let outcome = Script::new().run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(chain.notes.all(), ["store ready", "cache ready", "cache stopped", "store stopped"]);
}

#[test]
fn s5_the_root_cause_of_a_failed_start_is_the_report() {
    let chain = Chain { broken: Some("cache"), ..Chain::new() };
    let outcome = Script::new().run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::StartFailure);
    assert_eq!(report.exit.code(), 69);
    assert_eq!(&*report.cause.as_ref().unwrap().message, "cache has no database");
    assert_eq!(report.worker("cache").unwrap().phase, WorkerPhase::Failed);
    assert_eq!(report.worker("api").unwrap().phase, WorkerPhase::NeverStarted);
}

#[test]
fn s3_a_start_hook_that_hangs_is_named_when_its_time_is_over() {
    let chain = Chain { hanging: Some("cache"), ..Chain::new() };
    let outcome = Script::new().run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(31));
    let cause = outcome.report().unwrap().worker("cache").unwrap().cause.clone().unwrap();
    assert_eq!(&*cause.message, "the start hook did not return within 30s");
}

#[test]
fn s4_a_signal_during_start_stops_what_had_started_and_is_not_a_failure() {
    let chain = Chain::new();
    let outcome = Script::new().at(millis(1_500), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), millis(1_500));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
    assert_eq!(chain.notes.all(), ["store ready", "store stopped"]);
}

#[test]
fn s4_those_that_wait_to_start_end_at_once_in_any_order() {
    let chain = Chain::new();
    // "store" is starting; "cache" waits for it, and "api" for both.
    let outcome = Script::new().at(millis(500), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), millis(500));
    assert!(outcome.report().unwrap().workers.iter().all(|worker| worker.phase == WorkerPhase::NeverStarted));
    assert!(chain.notes.all().is_empty(), "{:?}", chain.notes.all());
}

#[test]
fn s4_a_signal_during_start_does_not_hide_a_failed_start() {
    // "cache" has failed at 2 s, and "store" is on its way down until 7 s.
    let chain = Chain { broken: Some("cache"), slow_to_stop: Some("store"), ..Chain::new() };
    let outcome = Script::new().at(secs(3), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::SignalReceived { .. })), 1);
    assert_eq!(outcome.ended_at(), secs(7));
    assert_eq!(chain.notes.all(), ["store ready", "store stopped"]);
    let report = outcome.report().unwrap();
    assert_eq!(report.reason, StopReason::StartFailure(WorkerId(CACHE)));
    assert_eq!(&*report.cause.as_ref().unwrap().message, "cache has no database");
    assert_eq!(report.exit.code(), 69);
}

#[test]
fn s6_a_body_that_never_ran_is_reported_as_such() {
    let chain = Chain::new();
    let outcome = Script::new().at(millis(2_500), Signal::Terminate).run_once(|world| chain.build(world));
    outcome.assert_rules_kept();
    for worker in &outcome.report().unwrap().workers {
        assert_eq!(worker.phase, WorkerPhase::NeverStarted, "{}", worker.name);
        assert_eq!(worker.cycles.started, 0);
    }
}

#[test]
fn a_slow_body_does_not_hold_up_another_workers_start() {
    let outcome = Script::new().at(secs(100), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let slow = |(): (), _: Context| async {
                tokio::time::sleep(secs(50)).await;
                Ok::<(), Failure>(())
            };
            let quick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("slow", Continuous::new(), slow)
                .worker("quick", Schedule::every(secs(1)), quick)
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let quick = outcome.report().unwrap().worker("quick").unwrap().cycles;
    assert!(quick.succeeded >= 99, "{quick:?}");
}

#[test]
fn a_signal_before_the_host_listens_kills_the_process() {
    let outcome = Script::new().at(millis(500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| async move {
            // Reads its configuration first, as programs do.
            tokio::time::sleep(secs(1)).await;
            let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("idle", Schedule::every(secs(1)), idle).run_until_signal().await
        });
    });
    outcome.assert_rules_kept();
    assert!(outcome.report().is_none(), "no verdict: it never came to one");
}

#[test]
fn a_mistake_in_the_build_is_a_failed_start_that_names_it() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| {
            let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let every_second = || Schedule::every(secs(1));
            node.host()
                .worker("a", every_second(), idle)
                .after("b")
                .worker("b", every_second(), idle)
                .after("c")
                .worker("c", every_second(), idle)
                .after("a")
                .run_until_signal()
        });
    });
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::StartFailure);
    let circle = "workers come after each other in a circle: \"a\" after \"b\" after \"c\" after \"a\"";
    assert_eq!(&*report.cause.as_ref().unwrap().message, circle);
}

/// What each worker is called, and what it comes after.
type Workers = [(&'static str, Option<&'static str>)];

/// A host of workers that do nothing.
fn idle_host(workers: &Workers) -> HostBuilder {
    let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    workers.iter().fold(Host::builder(), |host, (name, after)| {
        let worker = host.worker(name, Schedule::every(secs(1)), idle);
        match after {
            Some(other) => worker.after(other).host(),
            None => worker.host(),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn s1_workers_that_do_not_fit_together_are_refused_by_name() {
    let cases: [(&Workers, &str); 4] = [
        (
            &[("mails", Some("databse")), ("database", None)],
            r#"worker "mails" comes after "databse", which does not exist: there are ["mails", "database"]"#,
        ),
        (&[("mails", Some("mails"))], r#"workers come after each other in a circle: "mails" after "mails""#),
        (
            &[("orders", Some("mails")), ("mails", Some("database")), ("database", Some("mails"))],
            r#"workers come after each other in a circle: "mails" after "database" after "mails""#,
        ),
        (
            &[("mails", None), ("database", None), ("mails", Some("database"))],
            r#"two workers are called "mails": give one another name"#,
        ),
    ];
    for (workers, message) in cases {
        assert_eq!(idle_host(workers).build().unwrap_err().to_string(), message);
        // The same for who does not look at the error: it is the report's.
        let report = idle_host(workers).run_until_signal().await;
        assert_eq!((report.exit.code(), report.reason), (69, StopReason::Unable));
        assert_eq!(&*report.cause.as_ref().unwrap().message, message);
    }
}

/// The machine's, which refuses signal handlers.
struct Refusing;

impl Environment for Refusing {
    fn now(&self) -> Timestamp {
        System.now()
    }

    fn seed(&self) -> u64 {
        System.seed()
    }

    fn signals(&self) -> io::Result<Signals> {
        Err(io::Error::other("too many open files"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_signal_handlers_are_refused_never_starts_and_says_why() {
    let (notes, events) = (Notes::default(), Count::default());
    let (starts_in, stops_in) = (Duration::ZERO, Duration::ZERO);
    let idle = Hooked { name: "idle", starts_in, starts: true, stops_in, notes: notes.clone() };
    let heard = events.clone();
    let listener = move |_: tokio::time::Instant, _: &Event| {
        heard.up();
    };
    let host = Host::builder().environment(Arc::new(Refusing)).listener(listener);
    let report = host.worker("idle", Schedule::every(secs(1)), idle).run_until_signal().await;
    assert_eq!((report.exit.code(), report.reason), (69, StopReason::Unable));
    let said = &*report.cause.as_ref().unwrap().message;
    assert_eq!(said, "could not install the signal handlers: too many open files");
    let idle = report.worker("idle").unwrap();
    assert_eq!((idle.phase, idle.cycles.started), (WorkerPhase::NeverStarted, 0));
    assert!(notes.all().is_empty(), "no hook and no cycle ran: {:?}", notes.all());
    assert_eq!(events.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handle_to_a_host_whose_signal_handlers_are_refused_waits_for_nothing() {
    let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let host = Host::builder().environment(Arc::new(Refusing)).worker("idle", Schedule::every(secs(1)), idle);
    let mut host = host.build().unwrap();
    let handle = host.handle();
    let (mut waiting, mut late) = (handle.subscribe(), handle.subscribe());
    let waits = tokio::time::timeout(secs(1), waiting.next());
    let (heard, report) = tokio::join!(waits, host.run_until_signal());
    assert_eq!((heard, report.reason), (Ok(None), StopReason::Unable));
    assert_eq!(tokio::time::timeout(secs(1), late.next()).await, Ok(None));
    assert_eq!((handle.health(), handle.status()[0].phase), (Health::Stopping, WorkerPhase::NeverStarted));
}

/// Hooks that panic before they return their future, as a plain function may.
struct Rash {
    start: bool,
}

impl Worker for Rash {
    type Input = Tick;

    fn start(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        assert!(!self.start, "no configuration");
        async { Ok(()) }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }

    fn stop(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        assert!(self.start, "no goodbye");
        async { Ok(()) }
    }
}

#[test]
fn a_panic_in_a_start_hook_is_a_failed_start() {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| {
            node.host().worker("rash", Schedule::every(secs(1)), Rash { start: true }).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::StartFailure);
    let said = &outcome.report().unwrap().cause.as_ref().unwrap().message;
    assert!(said.starts_with("no configuration (") && said.contains("startup.rs:"), "{said}");
}

#[test]
fn a_panic_in_a_stop_hook_is_reported_and_changes_nothing_else() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            node.host().worker("rash", Schedule::every(secs(1)), Rash { start: false }).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::Clean);
    let said = &report.worker("rash").unwrap().stop_failure.as_ref().unwrap().message;
    assert!(said.starts_with("no goodbye (") && said.contains("startup.rs:"), "{said}");
}
