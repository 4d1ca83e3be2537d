//! One lane of a worker: the loop of offer, cycle, settlement.
//!
//! The loop decides nothing. When to stop taking in work is the level's ([`crate::control`]), when to pause the breaker's
//! ([`crate::gate`]), what a failure means is [`crate::lifecycle::settle`]'s, and what the next offer is is the source's.
//! Lanes whose cycles run together, as one batch, are in `lane/batch.rs`.

mod batch;

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::Poll,
    time::Duration,
};

pub(crate) use batch::{BatchRun, Members};
use shiftwork_queue::{DeadLetterCause, DeliveryId, FencingToken, Undecodable, between};
use tokio::time::Instant;

use crate::{
    BoxError, Cause, Context, Escalation, Failure, FailureKind, Worker,
    alarm::Alarm,
    await_point::Awaits,
    context::LaneShared,
    control::Level,
    cycle::{Around, Ended as Ran, Limits, Progress, RunCycle, caught, empty, let_go, look, panicked, poll_caught},
    event::{CycleId, Event, Settle, WorkerId},
    gate::Gate,
    host::Policy,
    in_flight::nanoseconds,
    lifecycle::{
        breaker::{self, Admission, Change, Consequence, Entry},
        retry_budget::Account,
        settle::{Arrived, Decision, Ended, aside, decide},
    },
    log::Callback,
    pace::{Pace, Turn},
    source::{CycleCounter, Lane, LaneContext, Offer},
    tally::Tally,
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
    /// Its rate limit, shared likewise.
    pub(crate) pace: Option<Arc<Pace>>,
    /// Its retry budget, shared likewise.
    pub(crate) account: Option<Arc<Mutex<Account>>>,
    pub(crate) cycles: Arc<CycleCounter>,
    pub(crate) cx: LaneContext,
    pub(crate) shared: Arc<LaneShared>,
    /// Whether the source goes by no clock of its own: what it offers at once was there when it was asked.
    pub(crate) prompt: bool,
    /// What its cycles see of it: kept, so that a cycle costs no count of references.
    pub(crate) context: Context,
    /// What wakes it while one waits.
    pub(crate) alarm: Alarm,
    /// When the first attempt at the present input began.
    pub(crate) first_began: Instant,
    /// Its last look at the clock for a cycle.
    pub(crate) looked: Looked,
    /// The draws of the backoff's jitter.
    pub(crate) chance: fastrand::Rng,
    /// Where a fault is told.
    pub(crate) fault: Box<dyn Fn(Cause) + Send>,
    /// One was told between two cycles: the lane takes in no more, and the host closes intake.
    pub(crate) faulted: bool,
}

/// A look at the clock, as a time and as [`Seat::since_origin`](crate::in_flight::Seat::since_origin) has it: what one cycle has ended at the
/// next one mostly begins at, and it need not be reckoned twice.
#[derive(Clone, Copy)]
pub(crate) struct Looked {
    pub(crate) at: Instant,
    pub(crate) since: u64,
}

/// A cycle that runs, or has ended and is to be settled.
#[derive(Clone, Copy)]
struct Cycle {
    /// When it began, or ended.
    at: Instant,
    cycle: CycleId,
    attempt: u32,
    /// How it came past the breaker.
    entry: Entry,
    /// Whether somebody had asked it to end, where it has failed.
    asked_to_end: bool,
}

/// An input that can be read.
struct Ready<Input> {
    input: Input,
    attempt: u32,
}

/// What the source has answered, where it is no input for a cycle.
enum NoCycle {
    /// A delivery that is to be moved aside.
    Aside(SetAside),
    /// There will be no more, or none for now.
    End,
    /// The source cannot go on.
    Fault(Failure),
}

/// A delivery that gets no cycle, and why.
struct SetAside {
    cause: DeadLetterCause,
    attempt: u32,
    unreadable: Option<Undecodable>,
}

impl<W: Worker, L: Lane<Input = W::Input>> LaneRun<L, W> {
    /// Runs until the source ends or intake closes. A panic of the source is a fault, and what it had claimed before goes back.
    pub(crate) async fn run(mut self) -> LaneEnd {
        // Around the whole loop, for what is around an offer is on the path of each.
        let panic = match caught(pin!(async { self.run_on().await })).await {
            Ok(end) => return end,
            Err(panic) => panic,
        };
        self.faults(&panic);
        // Where it is still at an offer, there is no next one to ask for.
        self.cx.goes_on = self.shared.seat.is_idle();
        self.gives_back_what_came_with_a_panic().await;
        LaneEnd { interrupted: true }
    }

    async fn run_on(&mut self) -> LaneEnd {
        let mut interrupted = false;
        loop {
            if self.faulted {
                self.gives_back_what_came_with_a_panic().await;
                return LaneEnd { interrupted };
            }
            let pauses = self.shared.control.worker.pauses();
            // What goes on has nothing to wait for: it may have its next offer already.
            let goes_on = std::mem::take(&mut self.cx.goes_on);
            if !goes_on && !pauses.is_multiple_of(2) && !self.shared.control.worker.is_at_least(Level::Drain) {
                // Rule P1. Whatever it held, the source has given back.
                self.shared.control.worker.resumed().await;
                self.cx.asked_at = None;
                continue;
            }
            let asks_for_probe = match &self.gate {
                Some(gate) if !goes_on && !gate.is_quiet() => {
                    self.cx.asked_at = None;
                    gate.pass(&self.cx).await
                }
                Some(_) | None => false,
            };
            let mut turn = Turn::default();
            if let Some(pace) = &self.pace {
                if !pace.before_offer(&mut turn, &mut self.cx).await {
                    self.give_up(asks_for_probe);
                    if self.shared.control.worker.is_at_least(Level::Drain) {
                        return LaneEnd { interrupted };
                    }
                    continue;
                }
                if !asks_for_probe && self.gate.as_ref().is_some_and(|gate| gate.has_shut()) {
                    // Rule B1: while it waited for its place.
                    pace.give_up(turn);
                    continue;
                }
            }
            // Before the offer, so that its lease is held under the number of its attempt.
            self.shared.control.begin();
            let at_hand = if goes_on { self.lane.at_hand(&self.cx) } else { None };
            let offered = match at_hand {
                Some(offer) => Ok(Some(offer)),
                None => {
                    let mut waited = false;
                    let offered = noting_waits(pin!(self.lane.next(&self.cx)), &mut waited).await;
                    if waited || !self.prompt {
                        // A prompt source's answer that is not waited for takes no time, and no look at the clock.
                        self.cx.asked_at = None;
                    }
                    offered
                }
            };
            let ready = match self.sort(offered) {
                Ok(ready) => ready,
                Err(no_cycle) => {
                    self.give_up(asks_for_probe);
                    if let Some(pace) = &self.pace {
                        pace.give_up(turn);
                    }
                    let control = &self.shared.control.worker;
                    match no_cycle {
                        NoCycle::Aside(delivery) => {
                            self.set_aside(delivery).await;
                            // As after a cycle: there may be many of them.
                            tokio::task::coop::consume_budget().await;
                        }
                        // It was a pause, which may be over already, or has begun before it went on.
                        NoCycle::End
                            if (control.pauses() != pauses || !pauses.is_multiple_of(2))
                                && !control.is_at_least(Level::Drain) => {}
                        NoCycle::End => return LaneEnd { interrupted },
                        NoCycle::Fault(failure) => self.faults(&failure),
                    }
                    continue;
                }
            };
            if let Some(pace) = &self.pace
                && !pace.has_place(&mut turn, &mut self.cx)
                && !pace.after_offer(&mut turn, &mut self.cx).await
            {
                self.give_up(asks_for_probe);
                self.let_go(ready.input);
                self.refuse().await;
                continue;
            }
            let entry = match self.gate.as_ref().map_or(Admission::Run(Entry::UNGUARDED), |gate| gate.admit()) {
                Admission::Run(entry) => entry,
                Admission::Refused => {
                    if let Some(pace) = &self.pace {
                        pace.give_up(turn);
                    }
                    self.let_go(ready.input);
                    self.refuse().await;
                    continue;
                }
            };
            // What was settled last, and what was offered since, took no time if the clock was not read again.
            let began = self.cx.asked_at.take().unwrap_or_else(Instant::now);
            if let Some(pace) = &self.pace {
                pace.begin(turn, began);
            }
            let Ready { input, attempt } = ready;
            let mut cycle = self.begin(began, attempt, entry);
            match self.run_cycle(input, &cycle).await {
                // On its own, since most cycles succeed: no failure and no decision is moved about.
                Ok(()) => {
                    self.succeeds(&mut cycle);
                    self.acknowledge(&cycle).await;
                }
                Err(failure) => interrupted |= self.fails(*failure, &mut cycle).await,
            }
            let has_budget = tokio::task::coop::has_budget_remaining();
            if !has_budget && self.cx.goes_on {
                // What it has been given waits for no other task; the next time it does not go on.
                continue;
            }
            if !has_budget {
                self.cx.asked_at = None;
            }
            // A cycle that never waits would keep its thread from every other task.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// A cycle begins: says so, and where others see it.
    fn begin(&mut self, began: Instant, attempt: u32, entry: Entry) -> Cycle {
        let (worker, cycle) = (self.id, self.cycles.next());
        if attempt == 1 {
            self.first_began = began;
        }
        if entry == Entry::Probe {
            self.emit(began, &Event::BreakerProbing { worker, cycle });
        }
        let delivery = self.delivery();
        let started = || Event::CycleStarted { worker, cycle, attempt, delivery };
        self.cx.emit_success(began, Tally::cycle_started, started);
        let seat = &self.shared.seat;
        let since = if began == self.looked.at { self.looked.since } else { seat.since_origin(began) };
        self.looked = Looked { at: began, since };
        seat.begin_at(cycle, attempt, delivery, since);
        Cycle { at: began, cycle, attempt, entry, asked_to_end: false }
    }

    /// The cycle itself, under guard. What it waits under is built only for one that waits.
    async fn run_cycle(&mut self, input: W::Input, of: &Cycle) -> Ran {
        let &Cycle { at: began, cycle, attempt, .. } = of;
        let deadline = self.policy.cycle_timeout.and_then(|timeout| began.checked_add(timeout));
        // Made before the cycle may give a sign of life.
        let sign = |timeout| Progress::new(timeout, began, self.shared.control.progress_count());
        let limits = Limits { deadline, progress: self.policy.progress_timeout.map(sign) };
        let span = tracing::info_span!(
            "cycle",
            worker = &*self.shared.name,
            cycle = cycle.0,
            attempt,
            delivery = self.delivery().map(|delivery| delivery.0)
        );
        self.context.turn(cycle, attempt, self.claim(), deadline);
        let mut awaits = Awaits::of(&self.shared, self.id, cycle, began, self.policy.limits_time());
        let (user, cx) = (&self.worker, &self.context);
        // In a block of its own, so that a cycle that panics before it returns its future is caught too.
        let mut running = pin!(Some(async { user.cycle(input, cx).await }));
        let looked = poll_fn(|task| {
            let looked = look(running.as_mut(), &span, Some(&self.shared.seat), awaits.as_mut(), task);
            Poll::Ready(looked.map(|ended| empty(running.as_mut(), &span, ended)))
        });
        if let Some(ended) = looked.await {
            return ended;
        }
        let LaneShared { control, seat, .. } = &*self.shared;
        let around = Around { control, span: &span, seat: Some(seat), alarm: &mut self.alarm, awaits };
        RunCycle::looked_at(running, limits, around).await
    }

    /// The cycle is over; how long it took.
    #[inline]
    fn is_over(&mut self, cycle: &mut Cycle) -> Duration {
        self.shared.seat.settles();
        let at = Instant::now();
        let took = at.saturating_duration_since(cycle.at);
        cycle.at = at;
        self.looked = Looked { at, since: self.looked.since.wrapping_add(nanoseconds(took)) };
        took
    }

    /// The cycle has succeeded: says so.
    #[inline]
    fn succeeds(&mut self, cycle: &mut Cycle) {
        let took = self.is_over(cycle);
        let &mut Cycle { at, cycle: number, entry, .. } = cycle;
        let succeeded = || Event::CycleEnded { worker: self.id, cycle: number, failure: None, took };
        self.cx.emit_success(at, Tally::cycle_succeeded, succeeded);
        if let Some(gate) = self.gate.as_deref().filter(|gate| !gate.is_quiet()) {
            let how = breaker::Ended { failure: None, entry, delivery: self.delivery() };
            self.tell_breaker(gate, how, at, 0.5);
        }
        self.count_success();
        self.cx.goes_on = self.may_go_on();
    }

    /// Stores that it has succeeded, and says so: as [`LaneRun::settle`].
    async fn acknowledge(&mut self, ended: &Cycle) {
        self.cx.asked_at = Some(ended.at);
        let mut waited = false;
        let stored = {
            // One reference for all that it needs of the lane: two of them side by side would be copied as one, and waited for.
            let this = &mut *self;
            let mut storing = pin!(async move { this.lane.acknowledge(&this.cx).await });
            let waited = &mut waited;
            // `noting_waits` around `caught`, in one piece: each of them would be built anew for every cycle.
            poll_fn(move |cx| {
                let stored = poll_caught(storing.as_mut(), cx);
                *waited |= stored.is_pending();
                stored
            })
            .await
        };
        let at = if waited { Instant::now() } else { ended.at };
        let stored = self.stored(stored);
        self.settled(Settle::Ack, ended, stored, at);
    }

    /// The cycle has failed: settles it. Whether it was interrupted by the stop.
    async fn fails(&mut self, failure: Failure, cycle: &mut Cycle) -> bool {
        let took = self.is_over(cycle);
        let &mut Cycle { at, cycle: number, .. } = cycle;
        let cancelled = self.shared.control.is_cancelled();
        cycle.asked_to_end = cancelled || self.shared.control.worker.is_closed();
        let failure = self.in_the_end(failure, cancelled);
        let cause = failure.cause();
        self.emit(at, &Event::CycleEnded { worker: self.id, cycle: number, failure: Some(cause.clone()), took });
        let decision = self.decide(&failure, cycle);
        let faulted = decision.fault;
        if faulted {
            // Before it is settled: a store that does not answer keeps no other lane at work.
            (self.fault)(cause.clone());
        }
        self.carry_out(decision, Some(&failure), Some(cause), cycle).await;
        let kind = failure.kind();
        if faulted {
            // The host closes intake; until then this lane must not take in more.
            self.shared.control.worker.reached(Level::Drain).await;
        }
        kind == FailureKind::Interrupted && self.shared.control.worker.is_at_least(Level::Abort)
    }

    /// A settlement or a claim that has panicked may have brought the next offer, which goes back once intake is closed.
    async fn gives_back_what_came_with_a_panic(&mut self) {
        if std::mem::take(&mut self.cx.goes_on) {
            self.shared.control.worker.reached(Level::Drain).await;
            self.cx.asked_at = None;
            self.shared.control.begin();
            // The worker has faulted, and a second panic of its store says nothing new.
            let _nothing = caught(pin!(async { self.lane.next(&self.cx).await })).await;
        }
    }

    /// Whether it asks for its next offer at once.
    fn may_go_on(&self) -> bool {
        self.pace.is_none()
            && self.gate.as_ref().is_none_or(|gate| gate.is_quiet())
            && !self.shared.control.worker.is_closed()
            && tokio::task::coop::has_budget_remaining()
    }

    /// What follows from a failure, for the breaker first. Out of the way of cycles that succeed.
    #[cold]
    fn decide(&mut self, failure: &Failure, ended: &Cycle) -> Decision {
        // Drawn only where it is used, so that a success leaves the series alone.
        let chance = self.chance.f64();
        let how = breaker::Ended { failure: Some(failure.kind()), entry: ended.entry, delivery: self.delivery() };
        let spared = self.gate.as_ref().and_then(|gate| self.tell_breaker(gate, how, ended.at, chance));
        self.follows(failure, ended, spared, chance)
    }
}

/// What a lane does for each offer, whether its cycle runs alone or in a batch.
impl<W, L: Lane> LaneRun<L, W> {
    /// What it works on, for a queue.
    fn delivery(&self) -> Option<DeliveryId> {
        self.lane.claimed().map(|claimed| claimed.lease.delivery)
    }

    /// The same, and under which claim.
    fn claim(&self) -> Option<(DeliveryId, FencingToken)> {
        self.lane.claimed().map(|claimed| (claimed.lease.delivery, claimed.lease.token))
    }

    /// Nothing comes of the probe that was asked for, if one was.
    fn give_up(&self, asks_for_probe: bool) {
        if let (true, Some(gate)) = (asks_for_probe, &self.gate) {
            gate.give_up();
        }
    }

    /// What is to be done about an answer of the source.
    #[inline]
    fn sort(&mut self, offered: Result<Option<Offer<L::Input>>, Failure>) -> Result<Ready<L::Input>, NoCycle> {
        let Offer { input, attempt } = match offered {
            Ok(Some(offer)) => offer,
            Ok(None) => return Err(NoCycle::End),
            Err(failure) => return Err(NoCycle::Fault(failure)),
        };
        let Some(delivery) = self.lane.claimed() else {
            return match input {
                Ok(input) => Ok(Ready { input, attempt }),
                Err(unreadable) => Err(NoCycle::Fault(Failure::transient(unreadable))),
            };
        };
        let arrived = Arrived { attempt, crashes: delivery.crashes, readable: input.is_ok() };
        match (aside(&self.policy.retry, self.policy.crashes_max, arrived), input) {
            (None, Ok(input)) => Ok(Ready { input, attempt }),
            (cause, input) => {
                let cause = cause.unwrap_or(DeadLetterCause::Undecodable);
                let unreadable = input.map(|input| self.let_go(input)).err();
                Err(NoCycle::Aside(SetAside { cause, attempt, unreadable }))
            }
        }
    }

    /// Drops an input that gets no cycle. That it panics is a fault, and told before anything is stored; what it came with is settled
    /// all the same.
    fn let_go(&mut self, input: L::Input) {
        if let Err(failure) = let_go([input]) {
            self.faults(&failure);
        }
    }

    /// Moves a delivery aside without a cycle. When that cannot be stored, its lease lapses, and the next claim of it tries
    /// again.
    #[cold]
    async fn set_aside(&mut self, why: SetAside) {
        let SetAside { cause, attempt, unreadable } = why;
        let Some(&claimed) = self.lane.claimed() else { return };
        let attempts = attempt.saturating_sub(1);
        let failure = match (cause, unreadable) {
            (_, Some(unreadable)) => Failure::invalid(unreadable),
            (DeadLetterCause::CrashLoop, None) => {
                Failure::transient(format!("{} leases of it lapsed without a settlement", claimed.crashes))
            }
            (DeadLetterCause::Exhausted | DeadLetterCause::Invalid | DeadLetterCause::Undecodable, None) => {
                Failure::transient(format!("{attempts} attempts have failed, and no more are allowed"))
            }
        };
        self.settle_unrun(Settle::DeadLetter { cause, pause: Duration::ZERO }, Some(&failure), claimed.lease.delivery)
            .await;
        if matches!(cause, DeadLetterCause::Exhausted | DeadLetterCause::CrashLoop) {
            let (worker, cause) = (self.id, failure.cause());
            self.emit(Instant::now(), &Event::Escalated { worker, cycle: None, attempts, cause: cause.clone() });
            self.escalate(Some(claimed.lease.delivery), attempts, cause);
        }
    }

    /// Gives back what no cycle may begin on now, attempt not spent.
    async fn refuse(&mut self) {
        match self.delivery() {
            Some(delivery) => self.settle_unrun(Settle::Return, None, delivery).await,
            // A source that keeps its inputs itself has nothing to store.
            None => {
                let taken_back = caught(pin!(async { self.lane.take_back(&self.cx).await })).await;
                if let Err(failure) = self.stored(taken_back) {
                    let (worker, settle, cause) = (self.id, Settle::Return, failure.cause());
                    let failed = Event::SettleFailed { worker, cycle: None, delivery: None, settle, cause };
                    self.emit(Instant::now(), &failed);
                }
            }
        }
        self.cx.asked_at = None;
    }

    async fn settle_unrun(&mut self, settle: Settle, failure: Option<&Failure>, delivery: DeliveryId) {
        let settled = caught(pin!(async { self.lane.settle(settle, failure, &self.cx).await })).await;
        self.cx.asked_at = None;
        let stored = self.stored(settled);
        self.cx.settled_unrun(delivery, settle, stored);
    }

    /// What the source has said of a settlement. A panic is a fault of its lane alone: it ends no batch that the lane is in, or that runs
    /// beside it.
    fn stored(&mut self, settled: Result<Result<(), BoxError>, Failure>) -> Result<(), Failure> {
        match settled {
            Ok(stored) => stored.map_err(Failure::transient),
            Err(panic) => {
                self.faults(&panic);
                Err(panic)
            }
        }
    }

    /// Tells of a fault between two cycles, after which the lane takes in no more.
    #[cold]
    fn faults(&mut self, failure: &Failure) {
        (self.fault)(failure.cause());
        self.faulted = true;
    }

    /// A success earns retries, where they have a budget.
    fn count_success(&self) {
        if self.account.is_some() {
            let successes = &self.shared.successes;
            successes.store(successes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// What follows from a failure, once the breaker was told of it.
    fn follows(&self, failure: &Failure, how: &Cycle, spared: Option<Duration>, chance: f64) -> Decision {
        let &Cycle { at, cycle, attempt, entry: _, asked_to_end } = how;
        let elapsed = self.elapsed(at);
        let (kind, asked_delay) = (Some(failure.kind()), failure.delay());
        let ended = Ended { attempt, failure: kind, asked_delay, asked_to_end, elapsed, spared };
        self.within_budget(decide(&self.policy.retry, ended, chance), cycle, at)
    }

    /// Stores what was decided, and tells whoever is to be told of it.
    async fn carry_out(&mut self, decision: Decision, failure: Option<&Failure>, cause: Option<Cause>, ended: &Cycle) {
        self.settle(decision.settle, failure, ended).await;
        self.escalate_if(decision, cause, ended);
    }

    /// The last word on an input whose attempts are exhausted.
    fn escalate_if(&mut self, decision: Decision, cause: Option<Cause>, ended: &Cycle) {
        if let (true, Some(cause)) = (decision.escalate, cause) {
            let (cycle, attempts) = (Some(ended.cycle), ended.attempt);
            let escalated = Event::Escalated { worker: self.id, cycle, attempts, cause: cause.clone() };
            self.emit(Instant::now(), &escalated);
            self.escalate(self.delivery(), attempts, cause);
            // The hook is the program's, and has taken its time.
            self.cx.asked_at = None;
        }
    }

    /// Stores a settlement, and says it.
    async fn settle(&mut self, settle: Settle, failure: Option<&Failure>, ended: &Cycle) {
        self.cx.asked_at = Some(ended.at);
        let mut waited = false;
        let settled = {
            // One reference for all that it needs of the lane: two of them side by side would be copied as one, and waited for.
            let this = &mut *self;
            let settling = pin!(async move { this.lane.settle(settle, failure, &this.cx).await });
            noting_waits(pin!(caught(settling)), &mut waited).await
        };
        // One that does not wait takes no time, and no look at the clock.
        let at = if waited { Instant::now() } else { ended.at };
        let settled = self.stored(settled);
        self.settled(settle, ended, settled, at);
    }

    /// Says what became of a settlement.
    fn settled(&mut self, settle: Settle, ended: &Cycle, settled: Result<(), Failure>, at: Instant) {
        let (worker, cycle, delivery) = (self.id, ended.cycle, self.delivery());
        self.shared.seat.end();
        self.cx.asked_at = Some(at);
        let stored = || Event::Settled { worker, cycle, delivery, settle };
        match settled {
            Ok(()) if matches!(settle, Settle::Ack) => self.cx.emit_success(at, |_| {}, stored),
            Ok(()) => self.emit(at, &stored()),
            Err(failure) => {
                let cause = failure.cause();
                self.emit(at, &Event::SettleFailed { worker, cycle: Some(cycle), delivery, settle, cause });
            }
        }
    }

    /// Rule B2: a retry that the budget has no room for waits until it has.
    fn within_budget(&self, decision: Decision, cycle: CycleId, at: Instant) -> Decision {
        let (Some(account), Settle::Retry { delay }) = (&self.account, decision.settle) else { return decision };
        let lanes = self.cx.source.lanes.iter();
        let successes = lanes.map(|lane| lane.successes.load(Ordering::Relaxed)).sum();
        let waits = account.lock().unwrap_or_else(PoisonError::into_inner).spend(successes, at);
        if waits <= delay {
            return decision;
        }
        self.emit(at, &Event::RetryHeldBack { worker: self.id, cycle, delay: waits });
        Decision { settle: Settle::Retry { delay: waits }, ..decision }
    }

    /// Tells the breaker how a cycle ended. If the attempt does not count, since it was a probe, when the next one is due.
    #[cold]
    fn tell_breaker(&self, gate: &Gate, how: breaker::Ended, at: Instant, chance: f64) -> Option<Duration> {
        if self.shared.seat.is_left() {
            // What it says would be taken for the breaker of the life that has come after it.
            return None;
        }
        let Consequence { change, spared } = gate.ended(how, at, chance);
        let worker = self.id;
        match change {
            None | Some(Change::Undecided) => None,
            Some(Change::Opened { failures, probe_in }) => {
                self.emit(at, &Event::BreakerOpened { worker, failures, probe_in });
                spared.then_some(probe_in)
            }
            Some(Change::Closed { after }) => {
                self.emit(at, &Event::BreakerClosed { worker, after });
                None
            }
        }
    }

    /// How long the retry policy's total time has counted.
    fn elapsed(&self, now: Instant) -> Duration {
        match self.lane.claimed() {
            // A clock that was stepped back has not counted at all.
            Some(claimed) => between(claimed.first_claimed_at, self.cx.wall_time()),
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
            self.callback_panicked(Callback::EscalationHook, &panicked(panic).cause());
        }
    }

    /// What a failure is, once the worker's classification was asked, and the stop considered.
    #[cold]
    fn in_the_end(&self, failure: Failure, cancelled: bool) -> Failure {
        let failure = self.classify(failure);
        if cancelled { failure.while_cancelled() } else { failure }
    }

    fn classify(&self, failure: Failure) -> Failure {
        match &self.policy.classify {
            Some(classify) => {
                failure.classified(&**classify, |cause| self.callback_panicked(Callback::Classification, cause))
            }
            None => failure,
        }
    }

    fn callback_panicked(&self, callback: Callback, cause: &Cause) {
        self.cx.source.emitter.callback_panicked(self.id, callback, cause);
    }

    fn emit(&self, at: Instant, event: &Event) {
        self.cx.emit_at(at, event);
    }
}

/// Waits for a future, and notes whether that took more than a look.
pub(crate) fn noting_waits<F: Future>(mut future: Pin<&mut F>, waited: &mut bool) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let polled = future.as_mut().poll(cx);
        *waited |= polled.is_pending();
        polled
    })
}

#[cfg(test)]
mod tests;
