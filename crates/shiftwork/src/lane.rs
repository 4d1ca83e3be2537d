//! One lane of a worker: the loop of offer, cycle, settlement.
//!
//! The loop decides nothing. When to stop taking in work is the level's ([`crate::control`]), when to pause the breaker's
//! ([`crate::gate`]), what a failure means is [`crate::lifecycle::settle`]'s, and what the next offer is is the source's.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use shiftwork_queue::{DeliveryId, Timestamp};
use tokio::time::Instant;

use crate::{
    Cause, Context, Escalation, Failure, FailureKind, Worker,
    context::LaneShared,
    control::Level,
    cycle::{RunCycle, panicked},
    event::{CycleId, Event, Settle, WorkerId},
    gate::Gate,
    host::Policy,
    lifecycle::{
        breaker::{self, Admission, Change, Consequence},
        settle::{Decision, Ended, decide},
    },
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
    /// The worker's breaker, shared with its other lanes.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) cycles: Arc<CycleCounter>,
    pub(crate) cx: LaneContext,
    pub(crate) shared: Arc<LaneShared>,
    /// When the first attempt at the present input began.
    pub(crate) first_began: Instant,
    /// The draws of the backoff's jitter.
    pub(crate) chance: fastrand::Rng,
    /// Where a fault is told, at most once a lane.
    pub(crate) fault: Box<dyn Fn(Failure) + Send>,
}

/// A cycle that failed.
#[derive(Clone, Copy)]
struct Failed {
    at: Instant,
    attempt: u32,
    delivery: Option<DeliveryId>,
    since: Option<Timestamp>,
    probe: bool,
}

impl<W: Worker, L: Lane<Input = W::Input>> LaneRun<L, W> {
    /// Runs until the source ends or intake closes.
    pub(crate) async fn run(mut self) -> LaneEnd {
        let mut interrupted = false;
        loop {
            let pauses = self.shared.control.worker.pauses();
            if !pauses.is_multiple_of(2) && !self.shared.control.worker.is_at_least(Level::Drain) {
                // Rule P1. Whatever it held, the source has given back.
                self.shared.control.worker.resumed().await;
                continue;
            }
            let asks_for_probe = match &self.gate {
                Some(gate) if !gate.is_quiet() => gate.pass(&self.cx).await,
                Some(_) | None => false,
            };
            let offer = match self.lane.next(&self.cx).await {
                Ok(Some(offer)) => offer,
                ended => {
                    if let (true, Some(gate)) = (asks_for_probe, &self.gate) {
                        gate.give_up();
                    }
                    let control = &self.shared.control.worker;
                    match ended {
                        // It was a pause, which may be over already.
                        Ok(_) if control.pauses() != pauses && !control.is_at_least(Level::Drain) => continue,
                        Ok(_) => {}
                        Err(failure) => (self.fault)(failure),
                    }
                    return LaneEnd { interrupted };
                }
            };
            let probe = match self.gate.as_ref().map_or(Admission::Run, |gate| gate.admit()) {
                Admission::Run => false,
                Admission::Probe => true,
                Admission::Refused => {
                    self.refuse(offer.delivery).await;
                    continue;
                }
            };
            interrupted |= self.run_offer(offer, probe).await;
            // A cycle that never waits would keep its thread from every other task.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Gives back what came after the breaker had opened, attempt not spent.
    async fn refuse(&mut self, delivery: Option<DeliveryId>) {
        let (worker, settle) = (self.id, Settle::Return);
        self.shared.control.begin();
        let settled = self.lane.settle(settle, None, &self.cx).await;
        let Some(delivery) = delivery else { return };
        self.emit(
            Instant::now(),
            &match settled {
                Ok(()) => Event::SettledUnrun { worker, delivery, settle },
                Err(error) => {
                    let cause = Failure::transient(error).cause();
                    Event::SettleFailed { worker, cycle: None, delivery: Some(delivery), settle, cause }
                }
            },
        );
    }

    /// Runs one offer's cycle and settles it. Whether it was interrupted by the stop.
    async fn run_offer(&mut self, offer: Offer<W::Input>, probe: bool) -> bool {
        let Offer { input, attempt, delivery, since } = offer;
        let (worker, cycle) = (self.id, self.cycles.next());
        self.shared.control.begin();
        let began = Instant::now();
        if attempt == 1 {
            self.first_began = began;
        }
        if probe {
            self.emit(began, &Event::BreakerProbing { worker, cycle });
        }
        self.emit(began, &Event::CycleStarted { worker, cycle, attempt, delivery });

        let result = self.run_cycle(input, began, cycle, attempt, delivery).await;

        let ended = Instant::now();
        let failure = result.err();
        let cause = failure.as_ref().map(Failure::cause);
        let took = ended.saturating_duration_since(began);
        self.emit(ended, &Event::CycleEnded { worker, cycle, failure: cause.clone(), took });

        let kind = failure.as_ref().map(Failure::kind);
        let decision = match &failure {
            None => {
                if let Some(gate) = self.gate.as_deref().filter(|gate| !gate.is_quiet()) {
                    self.tell_breaker(gate, breaker::Ended { failure: None, probe, delivery }, ended, 0.5);
                }
                Decision::SUCCESS
            }
            Some(failure) => {
                // Drawn only where it is used, so that a success leaves the series alone.
                let chance = self.chance.f64();
                self.decide(failure, Failed { at: ended, attempt, delivery, since, probe }, chance)
            }
        };
        let Decision { settle, escalate, fault } = decision;
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
            self.emit(Instant::now(), &Event::Escalated { worker, cycle, attempts: attempt, cause: cause.clone() });
            self.escalate(delivery, attempt, cause);
        }
        if let (true, Some(failure)) = (fault, failure) {
            (self.fault)(failure);
            // The host closes intake; until then this lane must not take in more.
            self.shared.control.worker.reached(Level::Drain).await;
        }
        kind == Some(FailureKind::Interrupted) && self.shared.control.worker.is_at_least(Level::Abort)
    }

    /// What follows from a failure, for the breaker first. Out of the way of cycles that succeed.
    #[cold]
    fn decide(&self, failure: &Failure, how: Failed, chance: f64) -> Decision {
        let Failed { at, attempt, delivery, since, probe } = how;
        let kind = Some(failure.kind());
        let spared = self
            .gate
            .as_ref()
            .is_some_and(|gate| self.tell_breaker(gate, breaker::Ended { failure: kind, probe, delivery }, at, chance));
        let elapsed = self.elapsed(since, at);
        let ended = Ended { attempt, failure: kind, asked_delay: failure.delay(), elapsed, spared };
        decide(&self.policy.retry, ended, chance)
    }

    /// Tells the breaker how a cycle ended. Whether the attempt does not count, since it was a probe.
    #[cold]
    fn tell_breaker(&self, gate: &Gate, how: breaker::Ended, at: Instant, chance: f64) -> bool {
        let Consequence { change, spared } = gate.ended(how, at, chance);
        let worker = self.id;
        match change {
            None | Some(Change::Undecided) => {}
            Some(Change::Opened { failures, probe_in }) => {
                self.emit(at, &Event::BreakerOpened { worker, failures, probe_in });
            }
            Some(Change::Closed { after }) => self.emit(at, &Event::BreakerClosed { worker, after }),
        }
        spared
    }

    /// How long the retry policy's total time has counted.
    fn elapsed(&self, since: Option<Timestamp>, now: Instant) -> Duration {
        match since {
            // A clock that was stepped back has not counted at all.
            Some(since) => Duration::try_from(self.cx.wall_time().duration_since(since)).unwrap_or_default(),
            None => now.saturating_duration_since(self.first_began),
        }
    }

    /// Tells the user's hook. Its panic is its own affair.
    #[cold]
    fn escalate(&self, delivery: Option<DeliveryId>, attempts: u32, cause: Cause) {
        let Some(tell) = &self.policy.on_escalation else { return };
        let worker = self.shared.name.clone();
        let escalation = Escalation { worker, delivery, attempts, cause };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| tell(&escalation))) {
            let panic = panicked(&*panic);
            tracing::error!(worker = &*self.shared.name, error = %panic.error(), "the escalation hook panicked");
        }
    }

    #[cold]
    fn classify(&self, failure: Failure) -> Failure {
        match &self.policy.classify {
            Some(classify) => failure.classified(&**classify),
            None => failure,
        }
    }

    async fn run_cycle(
        &mut self,
        input: W::Input,
        began: Instant,
        cycle: CycleId,
        attempt: u32,
        delivery: Option<DeliveryId>,
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
        let result = result.map_err(|failure| self.classify(failure));
        if control.is_cancelled() { result.map_err(Failure::while_cancelled) } else { result }
    }

    fn emit(&self, at: Instant, event: &Event) {
        self.cx.source.emitter.emit(at, event);
    }
}
