//! How the host's decisions reach the tasks of a worker: one level that only rises, and a bell.
//!
//! 1. A level never falls. A task that saw `Drain` never sees `Open` again.
//! 2. Whoever waits for a level registers with the bell before it looks at the level, so that no rise is missed.
//!
//! Reading the level is one atomic load: the cycle path looks at it before each cycle.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::sync::{Notify, futures::Notified};

/// What a worker's tasks may do. The order is that of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// Not yet: the host is starting.
    Hold,
    /// Take in work.
    Open,
    /// Take in no more.
    Drain,
    /// Ask what is in flight to stop.
    Cancel,
    /// Drop what is in flight.
    Abort,
}

/// The level of one worker.
#[derive(Debug)]
pub(crate) struct Control {
    level: AtomicU8,
    bell: Notify,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self { level: AtomicU8::new(Level::Hold as u8), bell: Notify::new() }
    }

    /// Raises the level and wakes whoever waits. Lowering it is impossible.
    pub(crate) fn raise(&self, level: Level) {
        self.level.fetch_max(level as u8, Ordering::AcqRel);
        self.ring();
    }

    /// Wakes whoever waits, to look again.
    pub(crate) fn ring(&self) {
        self.bell.notify_waiters();
    }

    pub(crate) fn is_at_least(&self, level: Level) -> bool {
        self.level.load(Ordering::Acquire) >= level as u8
    }

    /// A registration with the bell. It counts from the moment it was made.
    pub(crate) fn listen(&self) -> Notified<'_> {
        self.bell.notified()
    }

    /// Completes when the level is at least `level`.
    pub(crate) async fn reached(&self, level: Level) {
        self.until(|| self.is_at_least(level)).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let bell = self.listen();
            if condition() {
                return;
            }
            bell.await;
        }
    }
}

/// What can interrupt the one attempt that a lane runs: the worker's level, or the loss of its lease.
#[derive(Debug)]
pub(crate) struct AttemptControl {
    pub(crate) worker: std::sync::Arc<Control>,
    lease_lost: AtomicBool,
}

impl AttemptControl {
    pub(crate) fn new(worker: std::sync::Arc<Control>) -> Self {
        Self { worker, lease_lost: AtomicBool::new(false) }
    }

    pub(crate) fn begin(&self) {
        self.lease_lost.store(false, Ordering::Release);
    }

    pub(crate) fn lose_lease(&self) {
        self.lease_lost.store(true, Ordering::Release);
        self.worker.ring();
    }

    pub(crate) fn has_lost_lease(&self) -> bool {
        self.lease_lost.load(Ordering::Acquire)
    }

    /// Whether the attempt is to be dropped where it stands.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.worker.is_at_least(Level::Abort) || self.has_lost_lease()
    }

    /// Whether the attempt is asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.worker.is_at_least(Level::Cancel) || self.has_lost_lease()
    }

    /// Completes when the attempt is asked to stop.
    pub(crate) async fn cancelled(&self) {
        self.worker.until(|| self.is_cancelled()).await;
    }
}
