//! *Incident*: small applications that the tests run both as a real process and in a world, to hold the two together.
//!
//! What each of them says comes in one order whatever the machine's speed, and has no time in it: [`line()`] is an event as it is
//! said, and what surrounds the application ([`Outside`]) hears it. What it has beneath it is looked at in `incident/beneath.rs`.

mod beneath;

use std::{fmt, future::pending, num::NonZeroU64, pin::pin, str::FromStr, time::Duration};

use shiftwork::{
    Context, Continuous, Failure, HostBuilder, HostReport, Retry, Schedule, Signal, StopBudget, Tick, Worker,
    event::Event,
    queue::{Timestamp, later},
};
use shiftwork_sim::millis;
use tokio::time::Instant;

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// A worker waits for its next tick.
    Idle,
    /// A cycle is at work, for half a second.
    Busy,
    /// A cycle takes no notice of anything until it is dropped; a worker beside it fails once, and then runs to its end.
    Stuck,
    /// A worker cannot go on.
    Faulty,
    /// A stop hook does not return.
    HangsInStop,
    /// The second of two workers does not start.
    StartFails,
    /// A start hook does not return.
    StartHangs,
    /// A cycle panics, and succeeds when it is tried again.
    Panics,
    /// A cycle runs past its timeout.
    TimesOut,
    /// Ticks come due every other second.
    Ticks,
    /// In its first life a cycle leaves a mark outside and goes on for ever; in its second it finds the mark, and ends.
    Mark,
    /// The process does something else before its host runs.
    NotListening,
    /// Tasks of a cycle take turns, and one that never waits is cut short.
    Turns,
    /// A cycle waits for fractions of milliseconds.
    Waits,
    /// A cycle has work done on a blocking thread.
    Blocking,
    /// One worker has a tick whose time has passed, and the other one that is due soon.
    WallTime,
    /// The first call of a cycle is refused.
    Refused,
    /// The first call of a cycle gets no answer, longer than the cycle may take.
    Unanswered,
    /// A loop of the program's own, without a host ([`run_without_a_host`]).
    Foreign,
}

impl Incident {
    /// Every incident.
    pub const ALL: [Incident; 19] = [
        Incident::Idle,
        Incident::Busy,
        Incident::Stuck,
        Incident::Faulty,
        Incident::HangsInStop,
        Incident::StartFails,
        Incident::StartHangs,
        Incident::Panics,
        Incident::TimesOut,
        Incident::Ticks,
        Incident::Mark,
        Incident::NotListening,
        Incident::Turns,
        Incident::Waits,
        Incident::Blocking,
        Incident::WallTime,
        Incident::Refused,
        Incident::Unanswered,
        Incident::Foreign,
    ];

    /// The word for it at the command line of its process.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Incident::Idle => "idle",
            Incident::Busy => "busy",
            Incident::Stuck => "stuck",
            Incident::Faulty => "faulty",
            Incident::HangsInStop => "hangs-in-stop",
            Incident::StartFails => "start-fails",
            Incident::StartHangs => "start-hangs",
            Incident::Panics => "panics",
            Incident::TimesOut => "times-out",
            Incident::Ticks => "ticks",
            Incident::Mark => "mark",
            Incident::NotListening => "not-listening",
            Incident::Turns => "turns",
            Incident::Waits => "waits",
            Incident::Blocking => "blocking",
            Incident::WallTime => "wall-time",
            Incident::Refused => "refused",
            Incident::Unanswered => "unanswered",
            Incident::Foreign => "foreign",
        }
    }
}

impl FromStr for Incident {
    type Err = UnknownIncident;

    fn from_str(word: &str) -> Result<Self, UnknownIncident> {
        let known = Incident::ALL.into_iter().find(|incident| incident.as_str() == word);
        known.ok_or_else(|| UnknownIncident(word.to_owned()))
    }
}

/// A word that names no incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownIncident(String);

impl fmt::Display for UnknownIncident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Incident::ALL.map(Incident::as_str).join(", ");
        write!(f, "there is no incident {:?}; there are {known}", self.0)
    }
}

impl std::error::Error for UnknownIncident {}

/// What surrounds an application: it hears what it says, and outlives its process.
pub trait Outside: Clone + Send + Sync + 'static {
    /// The application says this.
    fn hears(&self, line: String);

    /// It leaves a mark.
    fn mark(&self);

    /// Whether it has left a mark.
    fn is_marked(&self) -> bool;

    /// The wall time.
    fn wall_time(&self) -> Timestamp;

    /// Calls what it depends on: how many calls have had their effect, this one included.
    ///
    /// # Errors
    ///
    /// When it is refused, or its connection is gone.
    ///
    /// # Cancel safety
    ///
    /// Like a real request: a dropped call may or may not have had its effect.
    fn call(&self) -> impl Future<Output = Result<u32, Failure>> + Send;
}

/// Runs an application to its end.
///
/// # Panics
///
/// With the one that has no host.
pub async fn run(incident: Incident, host: HostBuilder, outside: impl Outside) -> HostReport {
    let listener = outside.clone();
    let host = host.listener(move |_: Instant, event: &Event| listener.hears(line(event)));
    if incident == Incident::NotListening {
        outside.hears("not listening".to_owned());
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    application(incident, host, outside).run_until_signal().await
}

/// Runs the application without a host to its end: it works round after round until it is told to end, and finishes the one that it has
/// begun. `signal` is the first that its process gets.
pub async fn run_without_a_host(outside: impl Outside, signal: impl Future<Output = Signal>) {
    let mut signal = pin!(signal);
    outside.hears("the first round begins".to_owned());
    loop {
        let mut round = pin!(tokio::time::sleep(millis(10)));
        tokio::select! {
            biased;
            told = &mut signal => {
                outside.hears(format!("told to end: {}", told.as_str()));
                round.await;
                break;
            }
            () = &mut round => {}
        }
    }
    outside.hears("the last round is over".to_owned());
}

fn application(incident: Incident, host: HostBuilder, outside: impl Outside) -> HostBuilder {
    let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let once = || Continuous::times(NonZeroU64::MIN);
    match incident {
        Incident::Idle | Incident::NotListening => {
            host.worker("idle", Schedule::every(Duration::from_secs(3_600)), idle).host()
        }
        Incident::Busy => {
            let takes_its_time = |(): (), _: Context| async {
                tokio::time::sleep(millis(500)).await;
                Ok::<(), Failure>(())
            };
            host.worker("busy", Continuous::new(), takes_its_time).host()
        }
        Incident::Stuck | Incident::Faulty => stuck(host, incident == Incident::Faulty),
        Incident::HangsInStop => {
            let hook = Hook { outside, starts: true, stops: false };
            host.worker("hook", Schedule::every(Duration::from_secs(3_600)), hook).host()
        }
        Incident::StartHangs => {
            let hook = Hook { outside, starts: false, stops: true };
            host.worker("hook", Schedule::every(Duration::from_secs(3_600)), hook).host()
        }
        Incident::StartFails => host
            .worker("good", Schedule::every(Duration::from_secs(3_600)), idle)
            .worker("bad", Schedule::every(Duration::from_secs(3_600)), NoLicence)
            .after("good")
            .host(),
        Incident::Panics => {
            let panics = |(): (), cx: Context| async move {
                assert!(cx.attempt() > 1, "the first attempt always panics");
                Ok::<(), Failure>(())
            };
            host.worker("panics", once(), panics).retry(quick()).host()
        }
        Incident::TimesOut => {
            let hangs = |(): (), _: Context| pending::<Result<(), Failure>>();
            host.worker("hangs", once(), hangs).retry(Retry::never()).cycle_timeout(millis(100)).host()
        }
        Incident::Ticks => host.worker("ticks", Schedule::every(Duration::from_secs(2)), idle).host(),
        Incident::Mark => {
            let marks = move |(): (), _: Context| {
                let outside = outside.clone();
                async move {
                    if !outside.is_marked() {
                        outside.mark();
                        outside.hears("marked".to_owned());
                        pending::<()>().await;
                    }
                    Ok::<(), Failure>(())
                }
            };
            host.worker("marks", once(), marks).host()
        }
        Incident::Turns => {
            let turns = move |(): (), _: Context| {
                let outside = outside.clone();
                async move {
                    beneath::takes_turns(&outside).await;
                    Ok::<(), Failure>(())
                }
            };
            host.worker("turns", once(), turns).host()
        }
        Incident::Waits => {
            let waits = move |(): (), _: Context| {
                let outside = outside.clone();
                async move {
                    beneath::waits(&outside).await;
                    Ok::<(), Failure>(())
                }
            };
            host.worker("waits", once(), waits).host()
        }
        Incident::Blocking => {
            let blocks = move |(): (), _: Context| {
                let outside = outside.clone();
                async move { beneath::blocks_a_thread(&outside).await }
            };
            host.worker("blocks", once(), blocks).host()
        }
        Incident::WallTime => {
            let soon = later(outside.wall_time(), millis(100));
            host.worker("past", Schedule::once_at(Timestamp::UNIX_EPOCH), idle)
                .worker("soon", Schedule::once_at(soon), idle)
                .after("past")
                .host()
        }
        Incident::Refused | Incident::Unanswered => {
            let calls = move |(): (), _: Context| {
                let outside = outside.clone();
                async move { beneath::calls(&outside).await }
            };
            host.worker("calls", once(), calls).retry(quick()).cycle_timeout(millis(150)).host()
        }
        Incident::Foreign => unreachable!("it has no host"),
    }
}

/// "Once" fails, is tried again, and runs to its end, or cannot go on when it is `faulty`.
fn stuck(host: HostBuilder, faulty: bool) -> HostBuilder {
    let once = move |(): (), cx: Context| async move {
        match cx.attempt() {
            _ if faulty => Err(Failure::fatal("credentials were revoked")),
            1 => Err(Failure::transient("not yet")),
            _ => Ok(()),
        }
    };
    let stuck = |(): (), _: Context| pending::<Result<(), Failure>>();
    let budget = StopBudget::default().drain(millis(300)).cancel(millis(100)).close(millis(500));
    host.stop_budget(budget)
        .worker("stuck", Continuous::new(), stuck)
        .worker("once", Continuous::times(NonZeroU64::MIN), once)
        .after("stuck")
        .retry(quick())
        .host()
}

fn quick() -> Retry {
    Retry::exponential().initial(millis(20)).jitter_percent(0)
}

/// A worker whose hooks say that they run, and return or do not.
struct Hook<O> {
    outside: O,
    starts: bool,
    stops: bool,
}

impl<O: Outside> Worker for Hook<O> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.outside.hears("start hook runs".to_owned());
        if self.starts { Ok(()) } else { pending().await }
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        // By then the host knows that no cycle is left.
        tokio::time::sleep(millis(100)).await;
        self.outside.hears("stop hook runs".to_owned());
        if self.stops { Ok(()) } else { pending().await }
    }
}

struct NoLicence;

impl Worker for NoLicence {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        Err(Failure::fatal("no licence"))
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

/// An event on a line: what happened to whom, and how it ended; no time.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are told by their names")]
pub fn line(event: &Event) -> String {
    let name = event.name();
    match event {
        Event::WorkerStarting { worker }
        | Event::WorkerReady { worker }
        | Event::IntakeOpened { worker }
        | Event::IntakeClosed { worker, .. }
        | Event::WorkerCancelled { worker }
        | Event::WorkerAborted { worker } => format!("{name}: worker {}", worker.0),
        Event::WorkerStartFailed { worker, cause } | Event::WorkerFaulted { worker, cause } => {
            format!("{name}: worker {}, {cause}", worker.0)
        }
        Event::TicksMissed { worker, count } => format!("{name}: worker {}, {count}", worker.0),
        Event::TickDue { worker, number, .. } => format!("{name}: worker {}, number {number}", worker.0),
        Event::CycleStarted { worker, cycle, attempt, .. } => {
            format!("{name}: worker {}, cycle {cycle}, attempt {attempt}", worker.0)
        }
        Event::CycleEnded { worker, cycle, failure, .. } => {
            let how = failure.as_ref().map_or("success", |cause| cause.kind.as_str());
            format!("{name}: worker {}, cycle {cycle}, {how}", worker.0)
        }
        Event::Settled { worker, cycle, settle, .. } => {
            format!("{name}: worker {}, cycle {cycle}, {}", worker.0, settle.as_str())
        }
        Event::Straggler { worker, cycle, step, doing, .. } => {
            format!("{name}: worker {}, cycle {cycle}, {}, {}", worker.0, step.as_str(), doing.as_str())
        }
        Event::SignalReceived { signal, next } => format!("{name}: {}, next {next:?}", signal.as_str()),
        Event::WorkerAbandoned { worker, phase } | Event::WorkerStopped { worker, phase } => {
            format!("{name}: worker {}, {phase}", worker.0)
        }
        Event::HostStopped { exit } => format!("{name}: {exit}"),
        _ => name.to_owned(),
    }
}
