//! The await points of a cycle: where it goes on after it has waited, and what may be made to happen to it there.
//!
//! It is fault injection, for a simulator or for a day on which people try what their service stands. Nobody is asked unless
//! the host's [`Environment`](crate::Environment) wants to be ([`watches_awaits`](crate::Environment::watches_awaits)); who
//! asks, and who obeys, is [`crate::cycle`].

use tokio::time::Instant;

use crate::{
    context::LaneShared,
    event::{CycleId, WorkerId},
};

/// An await point of a cycle: it has waited there, and is about to be polled again.
///
/// ```
/// use std::{io, num::NonZeroU64, sync::Arc, time::Duration};
///
/// use shiftwork::{
///     AtAwait, AwaitPoint, Context, Continuous, Environment, Failure, Host, Retry, Signals, System,
///     event::CycleId, queue::Timestamp,
/// };
///
/// /// The machine, but for the first import: its time is over at its first await point.
/// struct Rehearsal;
///
/// impl Environment for Rehearsal {
///     fn now(&self) -> Timestamp {
///         System.now()
///     }
///
///     fn seed(&self) -> u64 {
///         System.seed()
///     }
///
///     fn signals(&self) -> io::Result<Signals> {
///         System.signals()
///     }
///
///     fn watches_awaits(&self) -> bool {
///         true
///     }
///
///     fn at_await(&self, at: &AwaitPoint<'_>) -> AtAwait {
///         let struck = at.name == "import" && at.cycle == CycleId(1) && at.polls == 1;
///         if struck { AtAwait::TimeIsUp } else { AtAwait::GoOn }
///     }
/// }
///
/// async fn import((): (), _: Context) -> Result<(), Failure> {
///     tokio::task::yield_now().await;
///     Ok(())
/// }
///
/// # tokio_test::block_on(async {
/// let host = Host::builder()
///     .environment(Arc::new(Rehearsal))
///     .worker("import", Continuous::times(NonZeroU64::MIN), import)
///     .retry(Retry::exponential().initial(Duration::from_millis(1)));
/// let report = host.run_until(std::future::pending()).await;
/// let cycles = report.worker("import").map(|worker| worker.cycles);
/// assert_eq!(cycles.map(|cycles| (cycles.failed, cycles.succeeded)), Some((1, 1)));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitPoint<'a> {
    /// Its worker, as the events of its host have it.
    pub worker: WorkerId,
    /// That worker's name.
    pub name: &'a str,
    /// Which cycle; the first of a batch, whose cycles are one call.
    pub cycle: CycleId,
    /// When it began.
    pub began: Instant,
    /// How many times it has been polled so far, from 1. It is polled whenever something wakes its task, which may not be what it waits
    /// for.
    pub polls: u32,
    /// Whether its time is limited, so that [`AtAwait::TimeIsUp`] can end it.
    pub is_limited: bool,
}

/// What happens to a cycle at an await point. (It may also panic there: see [`Environment::at_await`](crate::Environment::at_await).)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtAwait {
    /// It goes on.
    #[default]
    GoOn,
    /// It is dropped where it stands, as if what it waited for had taken until its timeout, or as long as it may go without progress: its
    /// failure is a timeout, and the attempt counts (rules C6 and C11). A cycle without such a limit cannot end like that, and
    /// goes on.
    TimeIsUp,
}

/// The await points of one cycle, for an environment that watches them.
pub(crate) struct Awaits<'a> {
    lane: &'a LaneShared,
    worker: WorkerId,
    cycle: CycleId,
    began: Instant,
    polls: u32,
    is_limited: bool,
}

impl<'a> Awaits<'a> {
    /// Those of a cycle that begins; `None` where nobody watches.
    #[inline]
    pub(crate) fn of(
        lane: &'a LaneShared,
        worker: WorkerId,
        cycle: CycleId,
        began: Instant,
        is_limited: bool,
    ) -> Option<Self> {
        lane.watches_awaits.then_some(Self { lane, worker, cycle, began, polls: 0, is_limited })
    }

    /// The cycle is about to be polled: whether its time is up instead.
    ///
    /// # Panics
    ///
    /// When the environment does.
    pub(crate) fn ends_here(&mut self) -> bool {
        let polls = self.polls;
        self.polls = polls.saturating_add(1);
        if polls == 0 {
            // It has not waited yet.
            return false;
        }
        let Self { lane: LaneShared { name, environment, .. }, worker, cycle, began, is_limited, .. } = *self;
        match environment.at_await(&AwaitPoint { worker, name, cycle, began, polls, is_limited }) {
            AtAwait::GoOn => false,
            AtAwait::TimeIsUp => is_limited,
        }
    }
}
