//! Lanes whose cycles run together: a batch is one call of the user's code for as many lanes as it has inputs.
//!
//! Every input is one lane's cycle in all that can be seen of it: it has its number, its lease, its verdict and its
//! settlement, and whoever names stragglers or renews leases knows nothing of batches. Only the call is shared.
//!
//! 1. The inputs of a batch are in neighbouring lanes, from the first on. Whatever gets no cycle now is apart from them.
//! 2. A call is interrupted as soon as one of its leases is lost: what it does for that input from then on, somebody else may
//!    be doing (rule Q2). What has a verdict by then keeps it; the rest is returned, its attempt not spent.
//! 3. All cycles of a batch end at one instant, before the first is settled; then all are settled in one operation. What the
//!    store did not answer for is tried again lane by lane, side by side, as it would be for a cycle that ran alone.
//! 4. A batch that may begin does so at once. The store is asked about what is apart before its call, and may take its time to answer: nobody
//!    else's place of the rate limit, and no probe, waits for it. Only what must not be held beside the batch is waited for (rule Q10).

use std::{
    future::{Future, poll_fn},
    mem,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;

use super::{Cycle, LaneEnd, LaneRun, NoCycle, Ready, SetAside};
use crate::{
    Batch, BatchContext, BatchWorker, Batches, Cause, Failure, FailureKind,
    await_point::Awaits,
    batch::Item,
    context::LaneShared,
    control::{Interrupts, Level},
    cycle::{Around, Limits, Progress, RunCycle, caught, let_go, panicked},
    event::{CycleId, Event},
    gate::Gate,
    lifecycle::{
        batch::{as_one, runs_alone},
        breaker::{self, Admission, Entry},
        settle::Decision,
    },
    pace::{Pace, Turn},
    source::{BatchLane, Lane, Settling},
    tally::Tally,
};

/// The lanes of one batch, as the call and its guard see them.
#[derive(Clone)]
pub(crate) struct Members {
    all: Arc<[Arc<LaneShared>]>,
    lanes: Range<usize>,
    /// The number of the call in the first of them: what the call has left running may outlive that.
    number: u64,
}

impl Members {
    fn new(all: Arc<[Arc<LaneShared>]>, lanes: Range<usize>) -> Self {
        let number = all[lanes.start].control.number();
        Self { all, lanes, number }
    }

    /// Those of a call that has only this lane.
    pub(crate) fn alone(lane: Arc<LaneShared>) -> Self {
        Self::new(Arc::new([lane]), 0..1)
    }

    /// Whether the call is over: its lanes have gone on.
    fn is_over(&self) -> bool {
        self.first().control.number() != self.number
    }

    fn lanes(&self) -> &[Arc<LaneShared>] {
        &self.all[self.lanes.clone()]
    }

    pub(crate) fn first(&self) -> &LaneShared {
        &self.all[self.lanes.start]
    }

    pub(crate) fn progress(&self) {
        if !self.is_over() {
            self.lanes().iter().for_each(|lane| lane.control.progress());
        }
    }

    fn is_cancelled(&self) -> bool {
        self.lanes().iter().any(|lane| lane.control.is_cancelled())
    }

    pub(crate) async fn cancelled(&self) {
        self.first().control.worker.until(|| self.is_cancelled() || self.is_over()).await;
    }
}

impl Interrupts for Members {
    fn is_interrupted(&self) -> bool {
        self.lanes().iter().any(|lane| lane.control.is_interrupted())
    }

    fn why(&self) -> &'static str {
        if self.lanes().iter().any(|lane| lane.control.has_lost_lease()) {
            "the lease of one of its inputs is lost"
        } else {
            "the worker is stopping"
        }
    }

    fn progress_count(&self) -> u64 {
        self.first().control.progress_count()
    }
}

/// Lanes that run as one.
pub(crate) struct BatchRun<L: BatchLane, W> {
    /// As many as a batch may have inputs; never none.
    lanes: Vec<LaneRun<L, W>>,
    /// What their cycles share with them, in the same order.
    shared: Arc<[Arc<LaneShared>]>,
    batches: Batches,
    // These are empty between batches, and keep their room. With a place there is a lane, by its index.
    taken: Vec<L::Taken>,
    ready: Vec<(usize, Ready<L::Input>)>,
    /// In the order of the lanes.
    apart: Vec<(usize, Unrun)>,
    batch: Batch<L::Input>,
    flights: Vec<Flight>,
}

/// An input that gets no cycle in this batch.
enum Unrun {
    /// It is moved aside.
    Aside(SetAside),
    /// It is given back.
    Back,
}

/// A batch that has begun; what it works on is in [`BatchRun::flights`].
struct Begun {
    first: CycleId,
    /// The lane of the first cycle.
    from: usize,
    at: Instant,
}

/// One input's cycle.
struct Flight {
    cycle: Cycle,
    verdict: Option<Result<(), Failure>>,
    cause: Option<Cause>,
    decision: Decision,
}

impl Flight {
    /// What it failed with, if it did: its own verdict before that on all.
    fn failure<'a>(&'a self, shared: Option<&'a Failure>) -> Option<&'a Failure> {
        match &self.verdict {
            None => shared,
            Some(verdict) => verdict.as_ref().err(),
        }
    }
}

impl<W: BatchWorker, L: BatchLane<Input = W::Input>> BatchRun<L, W> {
    pub(crate) fn new(lanes: Vec<LaneRun<L, W>>, batches: Batches) -> Self {
        let size = lanes.len();
        Self {
            shared: lanes.iter().map(|lane| lane.shared.clone()).collect(),
            lanes,
            batches,
            taken: Vec::with_capacity(size),
            ready: Vec::with_capacity(size),
            apart: Vec::new(),
            batch: Batch::with_capacity(size),
            flights: Vec::with_capacity(size),
        }
    }

    /// Runs until the source ends or intake closes.
    pub(crate) async fn run(mut self) -> LaneEnd {
        let mut interrupted = false;
        let control = self.lanes[0].shared.control.worker.clone();
        let gate = self.lanes[0].gate.clone();
        loop {
            if self.has_faulted() {
                return LaneEnd { interrupted };
            }
            let pauses = control.pauses();
            if !pauses.is_multiple_of(2) && !control.is_at_least(Level::Drain) {
                // Rule P1. Whatever it held, the source has given back.
                control.resumed().await;
                continue;
            }
            let asks_for_probe = match &gate {
                Some(gate) if !gate.is_quiet() => gate.pass(&self.lanes[0].cx).await,
                Some(_) | None => false,
            };
            let pace = self.lanes[0].pace.clone();
            let mut turn = Turn::default();
            if let Some(pace) = &pace {
                let cx = &mut self.lanes[0].cx;
                // Its last settlement was with the others, at some time.
                cx.asked_at = None;
                if !pace.before_offer(&mut turn, cx).await {
                    self.lanes[0].give_up(asks_for_probe);
                    if control.is_at_least(Level::Drain) {
                        return LaneEnd { interrupted };
                    }
                    continue;
                }
                if !asks_for_probe && gate.as_ref().is_some_and(|gate| gate.has_shut()) {
                    // Rule B1: while it waited for its place.
                    pace.give_up(turn);
                    continue;
                }
            }
            // Rule B1: a probe is one cycle.
            let (max, linger) =
                if asks_for_probe { (1, Duration::ZERO) } else { (self.lanes.len(), self.batches.lingers()) };
            let asked = self.take(max, linger).await;
            let has_panicked = asked.is_err();
            let took_any = !self.taken.is_empty();
            if let Err(failure) = asked.flatten() {
                // What it had taken by then is given back.
                self.lanes[0].faults(&failure);
            }
            let accepted = self.accept();
            // Intake may have closed while the batch waited to be filled.
            if !accepted || self.ready.is_empty() || control.is_closed() {
                // First of all: a store may take its time for what is left of it.
                self.begins_not(pace.as_deref(), turn, asks_for_probe);
                self.part_with_all().await;
                let was_paused = control.pauses() != pauses && !control.is_at_least(Level::Drain);
                if accepted && (took_any || was_paused) {
                    // Nothing is left of it; or it was a pause, which may be over already.
                    continue;
                }
                if has_panicked {
                    Box::pin(self.gives_back_what_came_with_a_panic()).await;
                }
                return LaneEnd { interrupted };
            }
            let Some(entry) = self.admitted(gate.as_deref(), pace.as_deref(), turn, asks_for_probe).await else {
                self.part_with_all().await;
                continue;
            };
            interrupted |= if self.apart.is_empty() {
                let begun = self.begin(entry);
                self.run_batch(begun).await
            } else {
                Box::pin(self.run_beside(entry)).await
            };
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Asks the source for a batch. Its panic is the outer failure, and loses nothing of what it has given before.
    async fn take(&mut self, max: usize, linger: Duration) -> Result<Result<(), Failure>, Failure> {
        let Self { lanes, taken, .. } = self;
        let LaneRun { lane, cx, shared, .. } = &mut lanes[0];
        // What was said of its last attempt does not hold for what it asks for.
        shared.control.begin();
        let taking = pin!(async { lane.take(max, linger, taken, cx).await });
        caught(taking).await
    }

    /// A source that has panicked may have claimed before, and gives that back when it is asked once intake is closed.
    #[cold]
    async fn gives_back_what_came_with_a_panic(&mut self) {
        self.lanes[0].shared.control.worker.clone().reached(Level::Drain).await;
        // The worker has faulted, and a second panic of its store says nothing new.
        let _nothing = self.take(1, Duration::ZERO).await;
        // One that gives something all the same has that back, too.
        self.accept();
        self.part_with_all().await;
    }

    /// No batch comes of what was asked for: it is for others to ask.
    fn begins_not(&self, pace: Option<&Pace>, turn: Turn, asks_for_probe: bool) {
        self.lanes[0].give_up(asks_for_probe);
        if let Some(pace) = pace {
            pace.give_up(turn);
        }
    }

    /// Whether what is ready may begin, and if so how it came past the breaker, and when; what may not run beside it is apart then. If not, it
    /// keeps nobody else's place.
    async fn admitted(
        &mut self,
        gate: Option<&Gate>,
        pace: Option<&Pace>,
        mut turn: Turn,
        asks_for_probe: bool,
    ) -> Option<(Entry, Instant)> {
        if self.set_apart() {
            // Rule Q10. Where it has its place already it keeps that: no lease waits for one (rule C12).
            self.part_with().await;
        }
        if let Some(pace) = pace
            && !pace.after_offer(&mut turn, &mut self.lanes[0].cx).await
        {
            self.lanes[0].give_up(asks_for_probe);
            return None;
        }
        if self.has_faulted() || self.lanes[0].shared.control.worker.is_closed() {
            self.begins_not(pace, turn, asks_for_probe);
            return None;
        }
        // Nothing is waited for from here to its beginning.
        match gate.map_or(Admission::Run(Entry::UNGUARDED), Gate::admit) {
            Admission::Run(entry) => {
                if entry == Entry::Probe {
                    // Rule B1: a probe is one cycle. It is on its way, and begins even if one of the others panics as it is dropped.
                    self.leave_out_all_but(0);
                }
                let at = Instant::now();
                if let Some(pace) = pace {
                    pace.begin(turn, at);
                }
                Some((entry, at))
            }
            Admission::Refused => {
                if let Some(pace) = pace {
                    pace.give_up(turn);
                }
                None
            }
        }
    }

    /// Gives each input that was taken to a lane; what gets no cycle is apart. Whether the source can go on.
    fn accept(&mut self) -> bool {
        // Each has its lane before anything is waited for: what is in none is not renewed.
        // A source that gives more than it was asked for has nobody to take it.
        for (place, (taken, lane)) in self.taken.drain(..).zip(&mut self.lanes).enumerate() {
            // Whatever time its last settlement was at.
            lane.cx.asked_at = None;
            lane.shared.control.begin();
            let before = lane.lane.claimed().copied();
            let offer = match catch_unwind(AssertUnwindSafe(|| lane.lane.accept(taken, &lane.cx))) {
                Ok(offer) => offer,
                Err(panic) => {
                    lane.faults(&panicked(panic));
                    // What there is of it only the source knows, unless that is still the delivery that the lane had before.
                    if before.is_none() || lane.lane.claimed() != before.as_ref() {
                        self.apart.push((place, Unrun::Back));
                    }
                    continue;
                }
            };
            match lane.sort(Ok(Some(offer))) {
                Ok(ready) => self.ready.push((place, ready)),
                Err(NoCycle::Aside(why)) => self.apart.push((place, Unrun::Aside(why))),
                Err(NoCycle::End) => {}
                // What else was taken is given back.
                Err(NoCycle::Fault(failure)) => lane.faults(&failure),
            }
        }
        !self.has_faulted()
    }

    /// Whether an input has panicked as it was dropped without a cycle, or the source over one.
    fn has_faulted(&self) -> bool {
        self.lanes.iter().any(|lane| lane.faulted)
    }

    /// Rule Q10: what has failed or crashed before has no company, and nothing is held beside it. Whether there is something to part with
    /// for that.
    fn set_apart(&mut self) -> bool {
        let alone = self.ready.iter().position(|(place, ready)| {
            let crashes = self.lanes[*place].lane.claimed().map_or(0, |claimed| claimed.crashes);
            runs_alone(ready.attempt, crashes)
        });
        let Some(alone) = alone else { return false };
        if self.ready.len() > 1 {
            self.leave_out_all_but(alone);
        }
        !self.apart.is_empty()
    }

    /// What is ready gets no cycle now, but for one.
    fn leave_out_all_but(&mut self, kept: usize) {
        let kept = self.ready.remove(kept);
        self.leave_out_all();
        self.ready.push(kept);
    }

    fn leave_out_all(&mut self) {
        for (place, Ready { input, attempt: _ }) in self.ready.drain(..) {
            self.lanes[place].let_go(input);
            self.apart.push((place, Unrun::Back));
        }
        self.apart.sort_by_key(|(place, _)| *place);
    }

    /// Tells the source of whatever was taken: none of it gets a cycle now.
    async fn part_with_all(&mut self) {
        self.leave_out_all();
        self.part_with().await;
    }

    /// Tells the source of what gets no cycle, before anything else.
    async fn part_with(&mut self) {
        if !self.apart.is_empty() {
            let lanes = settled_unrun(self.take_apart()).await;
            self.lanes.extend(lanes);
        }
    }

    /// Runs what is ready, and tells the source of the rest meanwhile. Whether it was interrupted by the stop.
    #[cold]
    async fn run_beside(&mut self, entry: (Entry, Instant)) -> bool {
        let apart = self.take_apart();
        let begun = self.begin(entry);
        // The store is asked before the call begins: that may block its thread, and these leases would be renewed as if they were worked on.
        let (lanes, interrupted) = tokio::join!(settled_unrun(apart), self.run_batch(begun));
        self.lanes.extend(lanes);
        interrupted
    }

    /// Takes those lanes out of the row whose inputs get no cycle, so that the others are neighbours from the first on. They come back to
    /// its end.
    #[cold]
    fn take_apart(&mut self) -> Vec<(LaneRun<L, W>, Unrun)> {
        let mut left = self.apart.drain(..).peekable();
        let mut apart = Vec::new();
        for (place, lane) in mem::take(&mut self.lanes).into_iter().enumerate() {
            match left.next_if(|(other, _)| *other == place) {
                Some((_, unrun)) => apart.push((lane, unrun)),
                None => self.lanes.push(lane),
            }
        }
        for (place, (of, _)) in self.ready.iter_mut().enumerate() {
            *of = place;
        }
        self.shared = self.lanes.iter().chain(apart.iter().map(|(lane, _)| lane)).map(|it| it.shared.clone()).collect();
        apart
    }

    /// Runs a batch that has begun, and settles each of it. Whether it was interrupted by the stop.
    async fn run_batch(&mut self, Begun { first, from, at: began }: Begun) -> bool {
        let size = self.flights.len();
        let (worker, cycles) = (self.lanes[from].id, u32::try_from(size).unwrap_or(u32::MAX));

        let (members, result) = self.call(from..from + size, first, began).await;

        let at = Instant::now();
        let took = at.saturating_duration_since(began);
        let leader = &self.lanes[from];
        let cancelled = members.is_cancelled();
        // For one of them it is for all: they have one call.
        let asked_to_end = cancelled || leader.shared.control.worker.is_closed();
        let shared = result.err().map(|failure| leader.in_the_end(failure, cancelled));
        let failure = shared.as_ref().map(Failure::cause);
        leader.emit(at, &Event::BatchEnded { worker, first, cycles, failure, took });
        let shared = shared.map(|failure| failure.shared_by(size));

        let mut flights = mem::take(&mut self.flights);
        for (lane, flight) in self.lanes[from..].iter().zip(&mut flights) {
            if let Some(Err(failure)) = flight.verdict.take_if(|verdict| verdict.is_err()) {
                // Rule Q9: what the call said of it stands, whatever became of the call.
                flight.verdict = Some(Err(lane.classify(failure)));
            }
            flight.cause = flight.failure(shared.as_ref()).map(Failure::cause);
            let (cycle, failure) = (flight.cycle.cycle, flight.cause.clone());
            (flight.cycle.at, flight.cycle.asked_to_end) = (at, asked_to_end);
            match failure {
                None => lane.cx.emit_success(at, Tally::cycle_succeeded, || Event::CycleEnded {
                    worker,
                    cycle,
                    failure: None,
                    took,
                }),
                failure => lane.emit(at, &Event::CycleEnded { worker, cycle, failure, took }),
            }
            lane.shared.seat.settles();
        }
        self.decide(from, &mut flights, shared.as_ref());
        let fault = flights.iter().find(|flight| flight.decision.fault).and_then(|flight| flight.cause.clone());
        let faulted = fault.is_some();
        if let Some(cause) = fault {
            // Before it is settled: a store that does not answer keeps no other lane at work.
            (self.lanes[from].fault)(cause);
        }
        let kinds = |flight: &Flight| flight.cause.as_ref().map(|cause| cause.kind);
        let interrupted = flights.iter().any(|flight| kinds(flight) == Some(FailureKind::Interrupted));
        self.settle(from, &flights, shared.as_ref()).await;

        if faulted {
            // The host closes intake; until then this batch must not take in more.
            self.lanes[from].shared.control.worker.clone().reached(Level::Drain).await;
        }
        flights.clear();
        self.flights = flights;
        interrupted && self.lanes[from].shared.control.worker.is_at_least(Level::Abort)
    }

    /// What is ready begins as one batch: says so, and which cycle is whose.
    fn begin(&mut self, (entry, began): (Entry, Instant)) -> Begun {
        let (size, from) = (self.ready.len(), self.ready[0].0);
        let leader = &self.lanes[from];
        let (worker, first) = (leader.id, leader.cycles.next_of(size as u64));
        if entry == Entry::Probe {
            leader.emit(began, &Event::BreakerProbing { worker, cycle: first });
        }
        let cycles = u32::try_from(size).unwrap_or(u32::MAX);
        leader.emit(began, &Event::BatchStarted { worker, first, cycles });
        for (index, (place, ready)) in self.ready.drain(..).enumerate() {
            let Ready { input, attempt } = ready;
            let lane = &mut self.lanes[place];
            if attempt == 1 {
                lane.first_began = began;
            }
            let cycle = CycleId(first.0 + index as u64);
            let (claim, delivery) = (lane.claim(), lane.delivery());
            let started = || Event::CycleStarted { worker, cycle, attempt, delivery };
            lane.cx.emit_success(began, Tally::cycle_started, started);
            lane.shared.seat.begin(cycle, attempt, delivery, began);
            self.flights.push(Flight {
                cycle: Cycle { at: began, cycle, attempt, entry, asked_to_end: false },
                verdict: None,
                cause: None,
                decision: Decision::SUCCESS,
            });
            let attempts_max = lane.shared.attempts_max;
            self.batch.items().push(Item { input, place: index, cycle, attempt, attempts_max, claim, verdict: None });
        }
        Begun { first, from, at: began }
    }

    /// The user's call, under guard.
    async fn call(&mut self, lanes: Range<usize>, first: CycleId, began: Instant) -> (Members, Result<(), Failure>) {
        let leader = &self.lanes[lanes.start];
        let deadline = leader.policy.cycle_timeout.and_then(|timeout| began.checked_add(timeout));
        let is_limited = leader.policy.limits_time();
        let (worker, user, shared) = (leader.id, leader.worker.clone(), leader.shared.clone());
        let timeout = leader.policy.progress_timeout;
        let members = Members::new(self.shared.clone(), lanes.clone());
        let progress = timeout.map(|timeout| Progress::new(timeout, began, members.progress_count()));
        let limits = Limits { deadline, progress };
        let cx = BatchContext::new(members.clone(), deadline);
        let size = lanes.len();
        let span = tracing::info_span!("batch", worker = &*shared.name, cycle = first.0, size);
        let batch = &mut self.batch;
        // In a block of its own, so that a cycle that panics before it returns its future is caught too.
        let cycle = async { user.cycle(batch, &cx).await };
        let alarm = &mut self.lanes[lanes.start].alarm;
        let awaits = Awaits::of(&shared, worker, first, began, is_limited);
        let around = Around { control: &members, span: &span, seat: Some(&shared.seat), alarm, awaits };
        let result = RunCycle::new(pin!(Some(cycle)), limits, around).await.map_err(|failure| *failure);
        for item in self.batch.iter_mut() {
            if let Some(flight) = self.flights.get_mut(item.place) {
                flight.verdict = item.verdict.take();
            }
        }
        // An input may panic as it is dropped, too.
        let dropped = let_go(self.batch.items().drain(..));
        (members, result.and(dropped))
    }

    /// What follows for each, for the breaker first.
    fn decide(&mut self, from: usize, flights: &mut [Flight], shared: Option<&Failure>) {
        let one = as_one(flights.iter().map(|flight| flight.cause.as_ref().map(|cause| cause.kind)));
        // It counts as its first cycle.
        let Cycle { at, cycle: _, attempt: _, entry, asked_to_end: _ } = flights[0].cycle;
        let leader = &mut self.lanes[from];
        let delivery = leader.delivery();
        let spared = match leader.gate.clone() {
            Some(gate) if one.is_some() || !gate.is_quiet() => {
                let chance = if one.is_some() { leader.chance.f64() } else { 0.5 };
                leader.tell_breaker(&gate, breaker::Ended { failure: one, entry, delivery }, at, chance)
            }
            Some(_) | None => None,
        };
        for (lane, flight) in self.lanes[from..].iter_mut().zip(flights) {
            flight.decision = match flight.failure(shared) {
                None => {
                    lane.count_success();
                    Decision::SUCCESS
                }
                Some(failure) => {
                    let chance = lane.chance.f64();
                    lane.follows(failure, &flight.cycle, spared, chance)
                }
            };
        }
    }

    /// Stores what was decided.
    async fn settle(&mut self, from: usize, flights: &[Flight], shared: Option<&Failure>) {
        let lanes = &mut self.lanes[from..from + flights.len()];
        for (lane, flight) in lanes.iter_mut().zip(flights) {
            lane.cx.asked_at = Some(flight.cycle.at);
        }
        let mut settling: Vec<_> = lanes
            .iter_mut()
            .zip(flights)
            .map(|(LaneRun { lane, cx, .. }, flight)| Settling {
                lane,
                cx,
                settle: flight.decision.settle,
                failure: flight.failure(shared),
                settled: None,
            })
            .collect();
        let panic = caught(pin!(async { L::settle_together(&mut settling).await })).await.err();
        let at = Instant::now();
        let settled: Vec<_> = settling.into_iter().map(|one| one.settled).collect();
        if let Some(panic) = panic {
            // What is left is asked about one by one, as after no answer.
            lanes[0].faults(&panic);
        }

        let mut left = Vec::new();
        for ((lane, flight), settled) in lanes.iter_mut().zip(flights).zip(settled) {
            match settled {
                Some(settled) => {
                    let settled = settled.map_err(Failure::transient);
                    lane.settled(flight.decision.settle, &flight.cycle, settled, at);
                    lane.escalate_if(flight.decision, flight.cause.clone(), &flight.cycle);
                }
                None => left.push((lane, flight)),
            }
        }
        // Side by side: one that is tried again for as long as its lease lasts keeps none of the others waiting.
        let settling: Vec<_> = left
            .into_iter()
            .map(|(lane, flight)| {
                let failure = flight.failure(shared);
                Box::pin(lane.carry_out(flight.decision, failure, flight.cause.clone(), &flight.cycle))
            })
            .collect();
        side_by_side(settling).await;
    }
}

/// Tells the source of inputs that get no cycle. Side by side: while one waited for its turn with a store that does not answer, its lease
/// would be taken for that of a cycle past its time, and given up (rule Q8).
async fn settled_unrun<L: Lane, W>(mut apart: Vec<(LaneRun<L, W>, Unrun)>) -> Vec<LaneRun<L, W>> {
    let settling = apart.iter_mut().map(|(lane, unrun)| {
        let unrun = mem::replace(unrun, Unrun::Back);
        Box::pin(async move {
            match unrun {
                Unrun::Aside(why) => lane.set_aside(why).await,
                Unrun::Back => lane.refuse().await,
            }
        })
    });
    side_by_side(settling.collect()).await;
    apart.into_iter().map(|(lane, _)| lane).collect()
}

/// Waits for all of them.
async fn side_by_side<F: Future<Output = ()>>(mut futures: Vec<Pin<Box<F>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
