//! The table of defaults, held against a host, a world and the policies as they are when nobody sets anything; and that of
//! what nobody can set, held against the constants of the code.

use std::{fs, sync::mpsc, time::Duration};

use jiff::SignedDuration;
use serde_json::Value;
use shiftwork::{
    Batches, Breaker, Cause, Context, Failure, Host, IntoWorker, OnFault, QueueSourceExt, RateLimit, Restart, Retry,
    RetryBudget, Schedule, Signal, Source, StopBudget, Subscription, Tick, TickPolicy, Watchdog, Worker,
    event::{Declaration, Event, SourceKind},
    queue::{MemoryQueue, memory::HISTORY_MAX},
};
use shiftwork_sim::{Script, secs};
use tokio::time::Instant;

use crate::page::{Page, bare, root};

#[test]
fn the_defaults_are_those_of_the_code() {
    let table = Page::read("docs/lifecycle.md").table("name");
    let written: Vec<(&str, &str)> = table.iter().map(|row| (bare(&row[0]), &*row[1])).collect();
    let expected = expected();
    assert_eq!(written, expected.iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>());
}

#[test]
fn what_is_fixed_is_as_the_code_has_it() {
    let table = Page::read("docs/lifecycle.md").table("fixed");
    let written: Vec<(&str, &str)> = table.iter().map(|row| (&*row[0], &*row[1])).collect();
    let expected = fixed();
    assert_eq!(written, expected.iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>());
}

/// Every row of what nobody can set, in order.
fn fixed() -> Vec<(&'static str, String)> {
    let queue = |name| constant("source/queue.rs", name);
    let series = |name| constant("source/schedule/series.rs", name);
    let quota = |name| constant("log/quota.rs", name);
    let inputs = constant("host/builder/policy.rs", "LANES_MAX");
    vec![
        ("the grace of a cycle that the next tick ends (D6)", constant("source/schedule/supersede.rs", "GRACE_MAX")),
        ("between two looks at the wall clock (D5)", constant("source/schedule/clockwork.rs", "LOOK_EVERY")),
        ("a step back of the wall clock that is taken for a correction (D5)", series("REWIND")),
        ("how late a tick may be with `Missed::Skip` (D3)", series("GRACE")),
        ("ticks of a backlog that are counted one by one (D3)", series("BACKLOG_MAX")),
        ("renewals in the time of a lease (Q6)", queue("RENEWALS")),
        ("tries in the time of a renewal, after one has failed (Q6)", queue("TRIES")),
        ("the first pause after a store has failed", queue("OUTAGE_PAUSE")),
        ("the longest pause after a store has failed", queue("OUTAGE_PAUSE_MAX")),
        ("the first pause after a queue has named a time that is over", constant("source.rs", "TIMER")),
        ("failures in a row from which on a source makes its worker unwell", constant("source.rs", "UNREADABLE_FROM")),
        ("patience with a store that is asked how full it is", constant("source/queue/measure.rs", "PATIENCE")),
        ("failed probes in a row that cost no attempt (B1)", constant("lifecycle/breaker.rs", "PROBES_SPARED")),
        ("without a lane that waits, until a rate limit has eased (C12)", constant("lifecycle/hold.rs", "QUIET")),
        ("in which the same line is logged once", quota("WINDOW")),
        ("lines of one sort with other texts in that time", quota("LINES_MAX")),
        ("events that a subscriber may be behind", count(Subscription::CAPACITY as u64)),
        ("bytes of what a failure says that are kept", count(Cause::MESSAGE_MAX as u64)),
        ("failures that `MemoryQueue` keeps of a delivery", count(HISTORY_MAX as u64)),
        ("inputs of one batch", constant("lifecycle/batch.rs", "SIZE_MAX")),
        ("inputs that one worker has in hand", inputs),
        ("for dropped tasks to be gone (T6)", constant("host/unit.rs", "REAP")),
        ("for the last words of a process that is ended (T9)", constant("host/watch.rs", "LAST_WORDS")),
    ]
}

/// The value of a constant of the runtime. It is its file's own affair, so that it is read there.
fn constant(file: &str, name: &str) -> String {
    let path = root().join("crates/shiftwork/src").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("could not read {file}: {error}"));
    let mark = format!("const {name}: ");
    let declared = text.lines().find(|line| line.contains(mark.as_str()));
    let value = declared.and_then(|line| line.split_once(" = ")).and_then(|(_, value)| value.strip_suffix(';'));
    let value = value.unwrap_or_else(|| panic!("{file} has no constant {name}"));
    let of = |unit: &str| value.strip_prefix(unit).and_then(|rest| rest.strip_suffix(')')).map(product);
    match (of("Duration::from_secs("), of("Duration::from_millis(")) {
        (Some(seconds), _) if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        (Some(seconds), _) => format!("{seconds} s"),
        (None, Some(millis)) => format!("{millis} ms"),
        (None, None) => count(product(value)),
    }
}

/// Numbers as they are written in code, multiplied.
fn product(factors: &str) -> u64 {
    let number = |text: &str| text.replace('_', "").parse::<u64>();
    factors.split(" * ").map(|text| number(text).unwrap_or_else(|error| panic!("{text}: {error}"))).product()
}

/// A number as a page has it, in groups of three digits.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Every row, in order.
fn expected() -> Vec<(&'static str, String)> {
    let budget = fields(StopBudget::default());
    let retry = fields(Retry::default());
    let restart = fields(Restart::default());
    let breaker = fields(Breaker::default());
    let (batches, rate_limit) = (fields(Batches::default()), fields(RateLimit::default()));
    let retry_budget = fields(RetryBudget::default());
    let declared = declaration(Schedule::every(secs(1)), Idle { starts: true });
    let of_queue_worker =
        declaration(MemoryQueue::<u32>::new().source(), |_: u32, _: Context| async { Ok::<(), Failure>(()) });
    assert_eq!((declared.breaker, of_queue_worker.breaker), (None, Some(Breaker::default())));
    let queue = format!("{:?}", MemoryQueue::<u32>::new().source());
    let watchdog = format!("{:?}", Watchdog::default());
    let of_watchdog = |name: &str| {
        let value = watchdog.split(&format!("{name}: ")).nth(1).and_then(|rest| rest.split([',', ' ']).next());
        value.and_then(|value| value.strip_suffix('s')).map(|value| format!("{value} s")).unwrap_or_default()
    };
    let of_queue = |name: &str| {
        let value = queue.split(&format!("{name}: ")).nth(1).and_then(|rest| rest.split([',', ' ']).next());
        let value = value.map(|value| value.trim_start_matches("Some(").trim_end_matches(')'));
        let value = value.map(|value| if value == "0ns" { "0s" } else { value });
        value.and_then(|value| value.strip_suffix('s')).map(|value| format!("{value} s")).unwrap_or_default()
    };
    vec![
        ("StopBudget::before_drain", time(&budget["before_drain"])),
        ("StopBudget::drain", time(&budget["drain"])),
        ("StopBudget::cancel", time(&budget["cancel"])),
        ("StopBudget::close", time(&budget["close"])),
        ("StopBudget::total", seconds(StopBudget::default().total())),
        ("Watchdog::blocked_after", of_watchdog("blocked_after")),
        ("Watchdog::grace", of_watchdog("grace")),
        ("WorkerBuilder::drain", drain()),
        ("WorkerBuilder::start_timeout", start_timeout()),
        ("WorkerBuilder::cycle_timeout", declared.cycle_timeout.map(seconds).unwrap_or_default()),
        ("WorkerBuilder::progress_timeout", declared.progress_timeout.map_or_else(|| "none".to_owned(), seconds)),
        ("WorkerBuilder::concurrency", declared.concurrency.to_string()),
        ("Batches::of", batches["size"].to_string()),
        ("Batches::linger", time(&batches["linger"])),
        (
            "WorkerBuilder::rate_limit",
            declared.rate_limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit:?}")),
        ),
        ("RateLimit::of", format!("{} in {}", rate_limit["cycles"], time(&rate_limit["per"]))),
        ("RateLimit::burst", rate_limit["burst"].to_string()),
        ("WorkerBuilder::crashes_max", declared.crashes_max.to_string()),
        ("OnFault", if declared.on_fault == OnFault::StopHost { "stop the host".to_owned() } else { String::new() }),
        ("Restart::initial", time(&restart["initial"])),
        ("Restart::max", time(&restart["max"])),
        ("Restart::intensity", format!("{} in {}", restart["restarts_max"], time(&restart["window"]))),
        ("Retry::attempts_max", retry["attempts_max"].to_string()),
        ("Retry::initial", time(&retry["initial"])),
        ("Retry::factor", retry["factor"].to_string()),
        ("Retry::max", time(&retry["max"])),
        ("Retry::jitter_percent", retry["jitter_percent"].to_string()),
        ("Retry::asked_max", Retry::default().asked().map_or_else(|| "none".to_owned(), seconds)),
        ("Retry::total_max", Retry::default().total().map_or_else(|| "none".to_owned(), seconds)),
        ("WorkerBuilder::breaker", "for a queue worker".to_owned()),
        ("Breaker::after", breaker["failures"].to_string()),
        ("Breaker::probe_every", time(&breaker["probe_every"])),
        ("Breaker::probe_max", time(&breaker["probe_max"])),
        ("Breaker::jitter_percent", breaker["jitter_percent"].to_string()),
        (
            "WorkerBuilder::retry_budget",
            of_queue_worker.retry_budget.map_or_else(|| "none".to_owned(), |budget| format!("{budget:?}")),
        ),
        ("RetryBudget::per_second", retry_budget["per_second"].to_string()),
        ("RetryBudget::burst", retry_budget["burst"].to_string()),
        ("RetryBudget::share_percent", retry_budget["share_percent"].to_string()),
        ("QueueSource::lease", of_queue("lease")),
        ("QueueSource::poll_interval", of_queue("poll")),
        ("QueueSource::cooldown", of_queue("cooldown")),
        ("QueueSource::measure_every", of_queue("measure")),
        ("Schedule::first_after", first_tick()),
        ("Schedule::zone", zone()),
        ("Schedule::missed", format!("{:?}", policy().missed)),
        ("Schedule::overlap", format!("{:?}", policy().overlap)),
        ("Schedule::jitter", seconds(policy().jitter)),
    ]
}

fn seconds(time: Duration) -> String {
    assert_eq!(time.subsec_nanos(), 0, "a default of whole seconds");
    format!("{} s", time.as_secs())
}

/// A time as a file has it.
fn time(value: &Value) -> String {
    let text = value.as_str().expect("a time with its unit");
    seconds(text.parse::<SignedDuration>().expect("a time").unsigned_abs())
}

fn fields(policy: impl serde::Serialize) -> Value {
    serde_json::to_value(policy).expect("a policy is plain data")
}

/// What a host says of a worker that was only added.
fn declaration<S: Source, Kind>(source: S, worker: impl IntoWorker<S::Input, Kind>) -> Declaration {
    let (sender, receiver) = mpsc::channel();
    let host = Host::builder()
        .listener(move |_: Instant, event: &Event| {
            if let Event::HostStarting { workers } = event {
                drop(sender.send(workers[0].clone()));
            }
        })
        .worker("plain", source, worker)
        .run_until(std::future::ready(()));
    assert!(tokio_test::block_on(host).is_clean());
    receiver.try_recv().expect("the host has started")
}

/// How long a start hook that hangs is waited for.
fn start_timeout() -> String {
    let outcome = Script::new().run_once(|world| {
        world.node("node", |node| {
            node.host().worker("hangs", Schedule::every(secs(1)), Idle { starts: false }).run_until_signal()
        });
    });
    let failed = outcome.events().find(|(_, event)| matches!(event, Event::WorkerStartFailed { .. }));
    seconds(failed.expect("it does not start").0)
}

/// Whether a worker has as long to drain as its host.
fn drain() -> String {
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            node.host().worker("plain", Schedule::every(secs(10)), Idle { starts: true }).run_until_signal()
        });
    });
    let drains = outcome
        .events()
        .find_map(|(_, event)| if let Event::IntakeClosed { drain, .. } = event { Some(*drain) } else { None });
    let of_host = time(&fields(StopBudget::default())["drain"]);
    if drains.map(seconds) == Some(of_host) { "the host's".to_owned() } else { format!("{drains:?}") }
}

/// When the first tick of a schedule is served, after the host runs.
fn first_tick() -> String {
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            node.host().worker("plain", Schedule::every(secs(10)), Idle { starts: true }).run_until_signal()
        });
    });
    let first = outcome.events().find(|(_, event)| matches!(event, Event::CycleStarted { .. }));
    seconds(first.expect("it ticks").0)
}

/// In which zone a cron expression is meant.
fn zone() -> String {
    let noon = Schedule::cron("0 12 * * *").expect("a cron expression");
    let midnight = "2026-07-01T00:00:00Z".parse().expect("a time");
    let due = noon.next_after(midnight).map(|due| due.to_string());
    if due.as_deref() == Some("2026-07-01T12:00:00Z") { "UTC".to_owned() } else { format!("{due:?}") }
}

/// What becomes of a schedule's ticks.
fn policy() -> TickPolicy {
    match Schedule::every(secs(1)).kind() {
        SourceKind::FixedRate { policy, .. } => policy,
        other => panic!("a fixed rate is declared as {other:?}"),
    }
}

/// Does nothing.
struct Idle {
    starts: bool,
}

impl Worker for Idle {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if self.starts { Ok(()) } else { std::future::pending().await }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}
