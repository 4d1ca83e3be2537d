//! A handle to a host from outside: stop it, read where it stands, hear its events.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};

use crate::{
    Event, Listener,
    event::{Declaration, WorkerId, WorkerPhase},
};

/// How many events a subscriber may be behind before it misses some: a second or so of a busy host.
const SUBSCRIPTION_CAPACITY: usize = 4_096;

/// What a handle can ask of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Stop,
}

/// A handle to a host. Cheap to clone; it outlives the host harmlessly.
#[derive(Clone)]
pub struct HostHandle {
    commands: mpsc::UnboundedSender<Command>,
    board: Arc<Board>,
}

/// Where the workers stand, and who hears the events.
pub(super) struct Board {
    workers: Mutex<Vec<WorkerStatus>>,
    events: broadcast::Sender<Event>,
}

/// Where one worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its phase.
    pub phase: WorkerPhase,
    /// Whether its last cycle failed.
    pub failing: bool,
    /// How many times it was restarted after a fault.
    pub restarts: u32,
}

impl HostHandle {
    pub(super) fn new(workers: &[Declaration]) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let workers = workers.iter().map(|declared| WorkerStatus {
            name: declared.name.clone(),
            phase: WorkerPhase::Pending,
            failing: false,
            restarts: 0,
        });
        let board =
            Board { workers: Mutex::new(workers.collect()), events: broadcast::Sender::new(SUBSCRIPTION_CAPACITY) };
        (Self { commands, board: Arc::new(board) }, receiver)
    }

    pub(super) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Asks the host to stop, as SIGTERM would. Asking again changes nothing.
    pub fn stop(&self) {
        // A host that has ended has nothing to stop.
        let _ = self.commands.send(Command::Stop);
    }

    /// Where every worker stands, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<WorkerStatus> {
        self.board.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hears every event from here on. A subscriber that is slow never slows a worker: it is told how many it missed.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.board.events.subscribe() }
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").field("workers", &self.status()).finish_non_exhaustive()
    }
}

impl Listener for Arc<Board> {
    fn on(&self, _: Instant, event: &Event) {
        self.keep(event);
        // Without a subscriber nothing is cloned.
        if self.events.receiver_count() > 0 {
            drop(self.events.send(event.clone()));
        }
    }
}

impl Board {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what changes a worker's standing is kept")]
    fn keep(&self, event: &Event) {
        if let Some((worker, phase)) = event.phase() {
            self.set(worker, |it| it.phase = phase);
        }
        match event {
            Event::WorkerRestarting { worker, restarts, .. } => self.set(*worker, |it| it.restarts = *restarts),
            Event::CycleEnded { worker, failure, .. } => self.set(*worker, |it| it.failing = failure.is_some()),
            _ => {}
        }
    }

    fn set(&self, worker: WorkerId, change: impl FnOnce(&mut WorkerStatus)) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = workers.get_mut(worker.index()) {
            change(status);
        }
    }
}

/// The events of a host, for one subscriber.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Event>,
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
    /// The next event, or how many were missed before it. `None` once the host and its handles are gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.events.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
