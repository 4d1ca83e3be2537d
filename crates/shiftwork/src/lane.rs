//! One lane of a worker: the loop of offer, cycle, settlement.
//!
//! The loop decides nothing. When to stop taking in work is the level's ([`crate::control`]), what a failure means is
//! [`crate::lifecycle::settle`]'s, and what the next offer is is the source's.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use tokio::time::Instant;

use crate::{
    Context, Failure, FailureKind, Worker,
    context::LaneShared,
    control::Level,
    cycle::RunCycle,
    event::{CycleId, Event, WorkerId},
    host::Policy,
    lifecycle::settle::{Decision, Ended, decide},
    source::{CycleCounter, Lane, LaneContext, Offer},
};

/// How a lane ended.
#[derive(Debug)]
pub(crate) struct LaneEnd {
    /// A cycle of it had to be dropped.
    pub(crate) interrupted: bool,
}

/// Everything that one lane needs.
pub(crate) struct LaneRun<L, W> {
    pub(crate) id: WorkerId,
    pub(crate) lane: L,
    pub(crate) worker: Arc<W>,
    pub(crate) policy: Policy,
    pub(crate) cycles: Arc<CycleCounter>,
    pub(crate) cx: LaneContext,
    pub(crate) shared: Arc<LaneShared>,
    /// The draws of the backoff's jitter.
    pub(crate) chance: fastrand::Rng,
    /// Where a fault is told, at most once a lane.
    pub(crate) fault: Box<dyn Fn(Failure) + Send>,
}

impl<W: Worker, L: Lane<Input = W::Input>> LaneRun<L, W> {
    /// Runs until the source ends or intake closes.
    pub(crate) async fn run(mut self) -> LaneEnd {
        let mut interrupted = false;
        loop {
            let offer = match self.lane.next(&self.cx).await {
                Ok(Some(offer)) => offer,
                Ok(None) => return LaneEnd { interrupted },
                Err(failure) => {
                    (self.fault)(failure);
                    return LaneEnd { interrupted };
                }
            };
            interrupted |= self.run_offer(offer).await;
            // A cycle that never waits would keep its thread from every other task.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Runs one offer's cycle and settles it. Whether it was interrupted by the stop.
    async fn run_offer(&mut self, offer: Offer<W::Input>) -> bool {
        let Offer { input, attempt, delivery } = offer;
        let (worker, cycle) = (self.id, self.cycles.next());
        self.shared.control.begin();
        let began = Instant::now();
        self.emit(began, &Event::CycleStarted { worker, cycle, attempt, delivery });

        let result = self.run_cycle(input, began, cycle, attempt, delivery).await;

        let ended = Instant::now();
        let failure = result.err();
        let cause = failure.as_ref().map(Failure::cause);
        let took = ended.saturating_duration_since(began);
        self.emit(ended, &Event::CycleEnded { worker, cycle, failure: cause.clone(), took });

        let kind = failure.as_ref().map(Failure::kind);
        let asked_delay = failure.as_ref().and_then(Failure::delay);
        // Drawn only where it is used, so that a success leaves the series alone.
        let chance = if kind.is_some() { self.chance.f64() } else { 0.5 };
        let Decision { settle, escalate, fault } =
            decide(&self.policy.retry, Ended { attempt, failure: kind, asked_delay }, chance);
        let (settled, at) = {
            let mut settling = pin!(self.lane.settle(settle, failure.as_ref(), &self.cx));
            // One that does not wait takes no time, and no look at the clock.
            match poll_fn(|cx| Poll::Ready(settling.as_mut().poll(cx))).await {
                Poll::Ready(settled) => (settled, ended),
                Poll::Pending => (settling.await, Instant::now()),
            }
        };
        match settled {
            Ok(()) => self.emit(at, &Event::Settled { worker, cycle, delivery, settle }),
            Err(error) => {
                let cause = Failure::transient(error).cause();
                self.emit(at, &Event::SettleFailed { worker, cycle: Some(cycle), delivery, settle, cause });
            }
        }
        if let (true, Some(cause)) = (escalate, cause) {
            self.emit(Instant::now(), &Event::Escalated { worker, cycle, attempts: attempt, cause });
        }
        if let (true, Some(failure)) = (fault, failure) {
            (self.fault)(failure);
            // The host closes intake; until then this lane must not take in more.
            self.shared.control.worker.reached(Level::Drain).await;
        }
        kind == Some(FailureKind::Interrupted) && self.shared.control.worker.is_at_least(Level::Abort)
    }

    async fn run_cycle(
        &mut self,
        input: W::Input,
        began: Instant,
        cycle: CycleId,
        attempt: u32,
        delivery: Option<shiftwork_queue::DeliveryId>,
    ) -> Result<(), Failure> {
        let deadline = self.policy.cycle_timeout.and_then(|timeout| began.checked_add(timeout));
        let span = tracing::info_span!(
            "cycle",
            worker = &*self.shared.name,
            cycle = cycle.0,
            attempt,
            delivery = delivery.map(|id| id.0)
        );
        let cx = Context::new(self.shared.clone(), cycle, attempt, delivery, deadline);
        let (worker, control) = (&self.worker, &self.shared.control);
        // In a block of its own, so that a cycle that panics before it returns its future is caught too.
        let cycle = async { worker.cycle(input, &cx).await };
        let result = RunCycle::new(cycle, deadline, control, &span).await;
        if control.is_cancelled() { result.map_err(Failure::while_cancelled) } else { result }
    }

    fn emit(&self, at: Instant, event: &Event) {
        self.cx.source.emitter.emit(at, event);
    }
}
