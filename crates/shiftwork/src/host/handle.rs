//! A handle to a host from outside: stop it, steer its workers, read where it stands, hear its events.
//!
//! What follows from a command is decided where everything is ([`crate::lifecycle`]); what can be refused at once is refused
//! here.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use shiftwork_queue::{DeliveryId, FailureKind};

use super::health::{Health, HostStanding, judge};
use crate::{
    Event, Listener,
    event::{CycleId, Declaration, Doing, SourceKind, WorkerId, WorkerPhase},
    failure::is_failing,
    in_flight::{Flight, InFlight},
    source::UNREADABLE_FROM,
};

/// What a handle can ask of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Stop,
    Pause(WorkerId),
    Resume(WorkerId),
    Trigger(WorkerId),
    StopWorker(WorkerId),
}

/// A handle to a host. Cheap to clone; it outlives the host harmlessly.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Context, ControlError, Event, Failure, Heard, Health, Host, Schedule, Tick};
///
/// # tokio_test::block_on(async {
/// # let clean_up = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
/// let hour = Duration::from_secs(3600);
/// let mut host = Host::builder().worker("clean-up", Schedule::every(hour).first_after(hour), clean_up).build()?;
/// let handle = host.handle();
/// let mut events = handle.subscribe();
/// // Stands for what an operator does on a page of yours.
/// let operator = async {
///     while let Some(heard) = events.next().await {
///         match heard {
///             Heard::Event(Event::IntakeOpened { .. }) => handle.trigger("clean-up")?, // not in an hour, but now
///             Heard::Event(Event::Settled { .. }) => handle.stop(),
///             Heard::Event(_) | Heard::Missed(_) => {}
///         }
///     }
///     Ok::<(), ControlError>(())
/// };
/// let (report, operated) = tokio::join!(host.run_until(std::future::pending()), operator);
/// operated?;
/// assert_eq!(report.worker("clean-up").map(|worker| worker.cycles.succeeded), Some(1));
/// assert_eq!(handle.health(), Health::Stopping);
/// assert!(handle.pause("clean up").unwrap_err().is_unknown(), "its name has a hyphen");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct HostHandle {
    commands: mpsc::UnboundedSender<Command>,
    board: Arc<Board>,
}

/// Where the workers stand, and who hears the events.
pub(super) struct Board {
    sources: Box<[SourceKind]>,
    standing: Mutex<Standing>,
    /// Whether the last cycle of each failed. Outside of the lock: every cycle ends here.
    failing: Box<[AtomicBool]>,
    /// When a cycle of each last succeeded, in nanoseconds after the origin, and one more; 0 is never. Outside of the lock likewise.
    succeeded: Box<[AtomicU64]>,
    origin: Instant,
    /// What each has in flight, from when the host begins to run to its end.
    in_flight: OnceLock<Weak<[InFlight]>>,
    events: broadcast::Sender<Event>,
    /// Whether there will be no event: the host could not begin.
    unable: watch::Sender<bool>,
}

struct Standing {
    host: HostStanding,
    workers: Vec<WorkerStatus>,
}

/// Where one worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its phase.
    pub phase: WorkerPhase,
    /// Whether it is paused: no cycle of it begins, whatever its phase.
    pub paused: bool,
    /// Whether its breaker is open, because its dependency seems to be down.
    pub breaker_open: bool,
    /// Whether its source cannot be read, a queue whose store is down, say: from the fourth failure in a row
    /// ([`Event::SourceFailed`]) to [`Event::SourceRecovered`]. One that fails less often is mostly read again within a second.
    pub source_failing: bool,
    /// Whether its rate limit holds it back, from [`Event::RateLimitReached`] to [`Event::RateLimitEased`].
    pub rate_limited: bool,
    /// Whether its last cycle failed. Bad input is not the worker's failure, nor is what a cycle puts off, discards or is
    /// interrupted in: such cycles change nothing here. A service that is started again does not fail any more.
    pub failing: bool,
    /// How long ago a cycle of it last succeeded; `None` if none has. On a clock that never steps.
    pub last_success: Option<Duration>,
    /// How many times it was restarted after a fault.
    pub restarts: u32,
    /// Whether it was asked to end by itself ([`HostHandle::stop_worker`]).
    pub stop_asked: bool,
}

impl WorkerStatus {
    /// Its lanes are gone, and with them what held them back.
    fn forget_its_lanes(&mut self) {
        (self.breaker_open, self.source_failing, self.rate_limited) = (false, false, false);
    }
}

/// A cycle that is in flight ([`HostHandle::in_flight`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CycleInFlight {
    /// Which cycle.
    pub cycle: CycleId,
    /// Which attempt at its input it is.
    pub attempt: u32,
    /// The delivery that it processes, for a queue worker.
    pub delivery: Option<DeliveryId>,
    /// What it does.
    pub doing: Doing,
    /// How long ago it began.
    pub age: Duration,
}

impl HostHandle {
    pub(super) fn new(workers: &[Declaration]) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let statuses = workers.iter().map(|declared| WorkerStatus {
            name: declared.name.clone(),
            phase: WorkerPhase::Pending,
            paused: false,
            breaker_open: false,
            source_failing: false,
            rate_limited: false,
            failing: false,
            last_success: None,
            restarts: 0,
            stop_asked: false,
        });
        let board = Board {
            sources: workers.iter().map(|declared| declared.source).collect(),
            standing: Mutex::new(Standing { host: HostStanding::Starting, workers: statuses.collect() }),
            failing: workers.iter().map(|_| AtomicBool::new(false)).collect(),
            succeeded: workers.iter().map(|_| AtomicU64::new(0)).collect(),
            origin: Instant::now(),
            in_flight: OnceLock::new(),
            events: broadcast::Sender::new(Subscription::CAPACITY),
            unable: watch::Sender::new(false),
        };
        (Self { commands, board: Arc::new(board) }, receiver)
    }

    pub(super) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    fn send(&self, command: Command) {
        // A host that has ended has nothing to do.
        let _ = self.commands.send(command);
    }

    /// Asks the host to stop, as SIGTERM would. Asking again changes nothing.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Pauses the worker called `worker`: from [`Event::WorkerPaused`] on no cycle of it begins, until it is resumed. Cycles in
    /// flight go on, and their leases are renewed. A worker that has not run yet, or is being restarted, will open paused. A
    /// stop works as ever. Pausing a worker that is paused changes nothing, and neither does pausing one that takes in no more, because
    /// it or its host stops.
    ///
    /// # Errors
    ///
    /// When there is no worker of that name, it has ended, or it is a service, which has no cycles to hold back.
    pub fn pause(&self, worker: &str) -> Result<(), ControlError> {
        let (id, status) = self.find(worker)?;
        self.refuse_ended(&status)?;
        self.refuse_service(id, &status)?;
        self.send(Command::Pause(id));
        Ok(())
    }

    /// Ends the pause of the worker called `worker`. A schedule's ticks that came due meanwhile are late, and become what its
    /// [`crate::Missed`] says. Resuming a worker that is not paused changes nothing.
    ///
    /// # Errors
    ///
    /// As [`HostHandle::pause`].
    pub fn resume(&self, worker: &str) -> Result<(), ControlError> {
        let (id, status) = self.find(worker)?;
        self.refuse_ended(&status)?;
        self.refuse_service(id, &status)?;
        self.send(Command::Resume(id));
        Ok(())
    }

    /// Asks the worker called `worker` not to wait for its next cycle.
    ///
    /// - A schedule serves a tick at once, or as soon as the cycle at work is done; [`crate::Tick::triggered`] says so, and its
    ///   other ticks come as if it had not been. If it waits for a retry, that is made at once instead. Several triggers before
    ///   one is served are one.
    /// - A queue is polled at once.
    /// - A continuous worker that waits for a retry, or after an input that was given up, goes on at once.
    ///
    /// An open breaker is not passed.
    ///
    /// # Errors
    ///
    /// When there is no worker of that name, it does not run, it is paused, or its source cannot be triggered: a service, or a
    /// source of the program's own.
    pub fn trigger(&self, worker: &str) -> Result<(), ControlError> {
        let (id, status) = self.find(worker)?;
        self.refuse_ended(&status)?;
        self.refuse_service(id, &status)?;
        let refuse = |why| Err(ControlError::refused(&status.name, why));
        if self.board.sources[id.index()] == SourceKind::Other {
            return refuse(Why::NoTrigger);
        }
        if status.paused {
            return refuse(Why::Paused);
        }
        if status.phase != WorkerPhase::Running {
            return refuse(Why::NotRunning(status.phase));
        }
        self.send(Command::Trigger(id));
        Ok(())
    }

    /// Asks the worker called `worker` to end, alone and for good; the host goes on. It is drained as in a stop of the host, within
    /// its budget, gets its stop hook, and ends as `stopped`. Those that come after it, and the others of its group, are left
    /// alone: they see it as they would see a dependency that is down. No fault starts it again. When it was the last, the
    /// host has come to its end. Asking again changes nothing.
    ///
    /// # Errors
    ///
    /// When there is no worker of that name, it has ended, or its host does not run yet: then only the whole host can be
    /// stopped.
    pub fn stop_worker(&self, worker: &str) -> Result<(), ControlError> {
        let (id, status) = self.find(worker)?;
        self.refuse_ended(&status)?;
        if self.board.lock().host == HostStanding::Starting {
            return Err(ControlError::refused(&status.name, Why::HostStarting));
        }
        self.send(Command::StopWorker(id));
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(WorkerId, WorkerStatus), ControlError> {
        let workers = self.status();
        let found = (0u32..).zip(&workers).find(|(_, status)| *status.name == *name);
        match found {
            Some((index, status)) => Ok((WorkerId(index), status.clone())),
            None => {
                let known = workers.into_iter().map(|status| status.name).collect();
                Err(ControlError { worker: name.into(), why: Why::Unknown { known } })
            }
        }
    }

    fn refuse_ended(&self, status: &WorkerStatus) -> Result<(), ControlError> {
        let ended = status.phase.is_terminal();
        if ended { Err(ControlError::refused(&status.name, Why::Ended(status.phase))) } else { Ok(()) }
    }

    fn refuse_service(&self, id: WorkerId, status: &WorkerStatus) -> Result<(), ControlError> {
        let service = matches!(self.board.sources[id.index()], SourceKind::Service { .. });
        if service { Err(ControlError::refused(&status.name, Why::Service)) } else { Ok(()) }
    }

    /// Where every worker stands, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<WorkerStatus> {
        let mut workers = self.board.lock().workers.clone();
        let age = self.board.origin.elapsed();
        for (index, status) in workers.iter_mut().enumerate() {
            status.failing = self.board.failing[index].load(Ordering::Relaxed);
            let succeeded = self.board.succeeded[index].load(Ordering::Relaxed);
            let since = succeeded.checked_sub(1).map(Duration::from_nanos);
            status.last_success = since.map(|since| age.saturating_sub(since));
        }
        workers
    }

    /// The cycles that the worker called `worker` has in flight at this moment, in the order of its lanes: for who asks what it works
    /// on, and since when. A service or a job has one. What was left behind is not among them, and of a host that has ended there are
    /// none.
    ///
    /// Each lane writes down what it does and stops for nobody: where one goes on to its next cycle at this very moment, both may be mixed.
    ///
    /// # Errors
    ///
    /// When there is no worker of that name.
    pub fn in_flight(&self, worker: &str) -> Result<Vec<CycleInFlight>, ControlError> {
        let (id, _) = self.find(worker)?;
        let Some(workers) = self.board.in_flight.get().and_then(Weak::upgrade) else { return Ok(Vec::new()) };
        let flights = workers[id.index()].flights(Instant::now());
        let seen = |Flight { cycle, attempt, delivery, doing, age, hook: _ }: Flight| CycleInFlight {
            cycle,
            attempt,
            delivery,
            doing,
            age,
        };
        Ok(flights.into_iter().map(seen).collect())
    }

    /// Whether the host is well, in one word for a health endpoint.
    #[must_use]
    pub fn health(&self) -> Health {
        let workers = self.status();
        judge(self.board.lock().host, &workers)
    }

    /// Hears every event from here on. A subscriber that is slow never slows a worker: one that is more than 4,096 events behind
    /// ([`Subscription::CAPACITY`]) misses the oldest, and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.board.events.subscribe(), unable: self.board.unable.subscribe(), over: false }
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").field("workers", &self.status()).finish_non_exhaustive()
    }
}

impl Listener for Arc<Board> {
    fn on(&self, at: Instant, event: &Event) {
        self.keep(at, event);
        // Without a subscriber nothing is cloned.
        if self.events.receiver_count() > 0 {
            drop(self.events.send(event.clone()));
        }
    }
}

impl Board {
    /// The host begins to run.
    pub(super) fn sees(&self, in_flight: &Arc<[InFlight]>) {
        // Not kept alive: what a host that was dropped had in flight is not in flight.
        let _ = self.in_flight.set(Arc::downgrade(in_flight));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what changes where host and workers stand is kept")]
    fn keep(&self, at: Instant, event: &Event) {
        if let Some((worker, phase)) = event.phase() {
            self.set(worker, |it| it.phase = phase);
        }
        match event {
            Event::CycleEnded { worker, failure, .. } => {
                if let Some(failing) = speaks_of_failing(failure.as_ref().map(|cause| cause.kind)) {
                    self.failing[worker.index()].store(failing, Ordering::Relaxed);
                }
                if failure.is_none() {
                    let since = at.saturating_duration_since(self.origin).as_nanos();
                    // Five centuries fit.
                    let nanos = u64::try_from(since).unwrap_or(u64::MAX);
                    self.succeeded[worker.index()].store(nanos.saturating_add(1), Ordering::Relaxed);
                }
            }
            // It is at work again, and no cycle will say so: the next one that ends is its end.
            Event::IntakeOpened { worker } if matches!(self.sources[worker.index()], SourceKind::Service { .. }) => {
                self.failing[worker.index()].store(false, Ordering::Relaxed);
            }
            Event::WorkerRestarting { worker, restarts, .. } => self.set(*worker, |it| {
                it.restarts = *restarts;
                it.forget_its_lanes();
            }),
            Event::WorkerStopped { worker, .. } => self.set(*worker, WorkerStatus::forget_its_lanes),
            Event::WorkerStopAsked { worker, .. } => self.set(*worker, |it| it.stop_asked = true),
            Event::WorkerPaused { worker } => self.set(*worker, |it| it.paused = true),
            Event::WorkerResumed { worker } => self.set(*worker, |it| it.paused = false),
            Event::BreakerOpened { worker, .. } => self.set(*worker, |it| it.breaker_open = true),
            Event::BreakerClosed { worker, .. } => self.set(*worker, |it| it.breaker_open = false),
            Event::SourceFailed { worker, consecutive, .. } if *consecutive >= UNREADABLE_FROM => {
                self.set(*worker, |it| it.source_failing = true);
            }
            Event::SourceRecovered { worker, .. } => self.set(*worker, |it| it.source_failing = false),
            Event::RateLimitReached { worker, .. } => self.set(*worker, |it| it.rate_limited = true),
            Event::RateLimitEased { worker, .. } => self.set(*worker, |it| it.rate_limited = false),
            Event::HostRunning => self.lock().host = HostStanding::Running,
            Event::HostStopping { .. } => self.lock().host = HostStanding::Stopping,
            _ => {}
        }
    }

    /// The host is not run after all: it could not even begin, and says nothing.
    pub(super) fn cannot_begin(&self) {
        let mut standing = self.lock();
        standing.host = HostStanding::Stopping;
        standing.workers.iter_mut().for_each(|worker| worker.phase = WorkerPhase::NeverStarted);
        drop(standing);
        self.unable.send_replace(true);
    }

    fn set(&self, worker: WorkerId, change: impl FnOnce(&mut WorkerStatus)) {
        if let Some(status) = self.lock().workers.get_mut(worker.index()) {
            change(status);
        }
    }
}

/// What the end of a cycle says of whether its worker fails; `None` if nothing.
fn speaks_of_failing(failure: Option<FailureKind>) -> Option<bool> {
    match failure {
        None => Some(false),
        Some(kind) => is_failing(kind).then_some(true),
    }
}

/// Why a worker cannot be paused, resumed, triggered, stopped or looked at.
#[derive(Debug)]
pub struct ControlError {
    worker: Arc<str>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unknown { known: Vec<Arc<str>> },
    Ended(WorkerPhase),
    Service,
    NoTrigger,
    Paused,
    NotRunning(WorkerPhase),
    HostStarting,
}

impl ControlError {
    fn refused(worker: &Arc<str>, why: Why) -> Self {
        Self { worker: worker.clone(), why }
    }

    /// Whether there is no worker of that name.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.why, Why::Unknown { .. })
    }

    /// Whether it can never be asked that: it is a service, or its source cannot be triggered.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.why, Why::Service | Why::NoTrigger)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker = &self.worker;
        match &self.why {
            Why::Unknown { known } => write!(f, "no worker is called {worker:?}: there are {known:?}"),
            Why::Ended(phase) => write!(f, "worker {worker:?} has ended: {phase}"),
            Why::Service => write!(f, "{worker:?} is a service, which has no cycles to pause or trigger"),
            Why::NoTrigger => write!(f, "the source of worker {worker:?} cannot be triggered"),
            Why::Paused => write!(f, "worker {worker:?} is paused: resume it first"),
            Why::HostStarting => write!(f, "worker {worker:?} cannot be stopped alone while its host starts"),
            Why::NotRunning(phase) => write!(f, "worker {worker:?} does not run: it is {phase}"),
        }
    }
}

impl Error for ControlError {}

/// The events of a host, for one subscriber. It may be [`CAPACITY`](Self::CAPACITY) events behind.
///
/// ```
/// use shiftwork::{Failure, Heard, Host};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::builder().job("migrate", |_| async { Ok::<(), Failure>(()) }).build()?;
/// let mut events = host.handle().subscribe();
/// assert!(host.run_until(std::future::pending()).await.is_clean());
/// let mut names = Vec::new();
/// while let Some(heard) = events.next().await {
///     match heard {
///         Heard::Event(event) => names.push(event.name()),
///         Heard::Missed(events) => eprintln!("too slow: {events} events are gone"),
///     }
/// }
/// assert_eq!((names.first(), names.last()), (Some(&"host_starting"), Some(&"host_stopped")));
/// # Ok::<(), shiftwork::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Event>,
    /// Whether there will be none.
    unable: watch::Receiver<bool>,
    /// The last event was heard.
    over: bool,
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Event(Event),
    /// The subscriber was too slow: so many events are gone.
    Missed(u64),
}

impl Subscription {
    /// How many events a subscriber may be behind before it misses some: 4,096, a second or so of a busy host.
    pub const CAPACITY: usize = 4_096;

    /// The next event, or how many were missed before it. `None` after [`Event::HostStopped`], which is the last one, once the host and
    /// its handles are gone, and if the host could not begin, because its signal handlers were refused. A subscription that was made after
    /// the last event waits for as long as there is a handle.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        if self.over || *self.unable.borrow() {
            return None;
        }
        let heard = tokio::select! {
            biased;
            heard = self.events.recv() => heard,
            Ok(()) = self.unable.changed() => return None,
        };
        match heard {
            Ok(event) => {
                self.over = matches!(event, Event::HostStopped { .. });
                Some(Heard::Event(event))
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
