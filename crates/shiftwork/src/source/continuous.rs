//! The source that never waits: the next cycle begins as soon as the last one ends.

use std::num::NonZeroU64;

use tokio::time::Instant;

use super::{Claimed, Lane, LaneContext, Offer, Source, later};
use crate::{
    BoxError, Failure,
    config::{ConfigError, WorkerConfig},
    event::{Settle, SourceKind},
};

/// Offers `()` as soon as the last cycle ends; after a failure, when the retry policy says so.
///
/// There is nothing to move aside in a continuous source. When the attempts are exhausted this is said and escalated, and the
/// count begins anew after the policy's delay: a failed cycle never ends its worker, and never makes a hot loop.
///
/// With a concurrency above 1 each lane goes on by itself.
///
/// ```
/// use std::num::NonZeroU64;
/// use shiftwork::{Context, Continuous, Failure, Host};
///
/// // A cycle waits for its work by itself, and then does a piece of it. That is where it can be interrupted.
/// async fn pull((): (), cx: Context) -> Result<(), Failure> {
///     tokio::task::yield_now().await;
///     println!("piece {}", cx.cycle());
///     Ok(())
/// }
///
/// # tokio_test::block_on(async {
/// let thrice = Continuous::times(NonZeroU64::new(3).expect("three is not zero"));
/// let report = Host::builder().worker("pull", thrice, pull).run_until(std::future::pending()).await;
/// assert_eq!(report.worker("pull").map(|worker| worker.cycles.succeeded), Some(3));
/// # });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Continuous {
    cycles_max: Option<NonZeroU64>,
}

impl Continuous {
    /// Cycles until the host stops.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends after this many inputs for each lane, retries not counted: a worker that runs to completion. A worker that is restarted
    /// counts anew.
    #[must_use]
    pub fn times(cycles: NonZeroU64) -> Self {
        Self { cycles_max: Some(cycles) }
    }
}

impl Source for Continuous {
    type Input = ();
    type Lane = ContinuousLane;

    fn kind(&self) -> SourceKind {
        SourceKind::Continuous
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        ConfigError::all([config.refuse_schedule(), config.refuse_what_is_of_deliveries()])
    }

    fn describe(&self, config: &mut WorkerConfig) {
        config.crashes_max = None;
    }

    fn lane(&self, _: &LaneContext) -> ContinuousLane {
        ContinuousLane { left: self.cycles_max.map(NonZeroU64::get), attempt: 1, not_before: None }
    }
}

#[derive(Debug)]
pub struct ContinuousLane {
    left: Option<u64>,
    attempt: u32,
    not_before: Option<Instant>,
}

impl Lane for ContinuousLane {
    type Input = ();

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<()>>, Failure> {
        if self.left == Some(0) || cx.is_closed() {
            return Ok(None);
        }
        if let Some(time) = self.not_before {
            if cx.wait_until_or_triggered(time, cx.triggers()).await {
                return Ok(None);
            }
            self.not_before = None;
        }
        Ok(Some(Offer::of((), self.attempt)))
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, settle: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        match settle {
            Settle::Ack | Settle::Discard => self.done(),
            Settle::Retry { delay } => {
                self.attempt += 1;
                self.not_before = Some(later(Instant::now(), delay));
            }
            Settle::DeadLetter { pause, .. } => {
                self.done();
                self.not_before = Some(later(Instant::now(), pause));
            }
            Settle::Snooze { delay } => self.not_before = Some(later(Instant::now(), delay)),
            Settle::Return => {}
        }
        Ok(())
    }
}

impl ContinuousLane {
    fn done(&mut self) {
        self.attempt = 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }
}
