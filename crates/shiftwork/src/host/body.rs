//! The life of a service or a job: one future instead of lanes, under the same levels, phases and events.
//!
//! What its end means is decided in [`crate::lifecycle::body`]; when it must end is the host's business.

use std::{future::Future, sync::Arc};

use tokio::time::Instant;

use super::{
    Policy,
    unit::{Draft, Launch, Running, Surroundings},
};
use crate::{
    Failure, ServiceContext,
    alarm::Alarm,
    config::{ConfigError, WorkerConfig},
    control::{AttemptControl, Level},
    cycle::{Around, Limits, RunCycle, let_go},
    event::{CycleId, Event, Hook, SourceKind},
    lifecycle::{
        body::{Asked, Ended, ended},
        decide::Input,
    },
};

/// A service that may still be configured. `completes` makes it a job.
pub(super) struct Parts<F> {
    pub(super) body: F,
    pub(super) completes: bool,
}

impl<F, Fut> Draft for Parts<F>
where
    F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    fn kind(&self) -> SourceKind {
        SourceKind::Service { completes: self.completes }
    }

    fn lanes_max(&self) -> usize {
        1
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        config.refuse_what_is_of_cycles()
    }

    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    fn describe(&self, config: &mut WorkerConfig) {
        config.leave_out_what_is_of_cycles();
    }

    fn finish(self: Box<Self>, policy: Policy) -> Launch {
        let (body, completes) = (Arc::new(self.body), self.completes);
        Launch::new(policy, move |policy, unit| {
            let life: Running = Box::pin(run(body.clone(), completes, policy.handshake, unit));
            life
        })
    }
}

async fn run<F, Fut>(body: Arc<F>, completes: bool, handshake: bool, unit: Surroundings)
where
    F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let tell = |input| unit.inbox.tell(input);
    let (id, control) = (unit.id, &unit.control);
    let cx = ServiceContext::new(unit.name.clone(), control.clone(), unit.environment.clone(), unit.host.clone());
    let attempt = AttemptControl::new(control.clone());
    let seat = unit.in_flight[id.index()].seat(0);
    let span = tracing::info_span!("service", worker = &*unit.name);
    // In a block of its own, so that a function that panics before it returns its future is caught too.
    let future = async { body(cx.clone()).await };
    let mut alarm = Alarm::of(control);
    let around = Around { control: &attempt, span: &span, seat: Some(&seat), alarm: &mut alarm, awaits: None };
    let mut future = RunCycle::new(Box::pin(Some(future)), Limits::default(), around);

    // Rule S7: one without a handshake is ready at once, and begins only when the host runs.
    let mut result = None;
    if handshake {
        seat.begin_hook(Hook::Start, Instant::now());
        tokio::select! {
            biased;
            early = &mut future => result = Some(early),
            () = cx.said_ready() => {}
        }
        if result.is_some() {
            seat.end();
        }
        // A job that is done is as ready as it will ever be.
        let done = completes && matches!(result, Some(Ok(())));
        if !(cx.is_ready() || done) {
            let early = result.and_then(Result::err);
            let failure = early.unwrap_or_else(|| Failure::fatal("it returned before it was ready").into());
            return tell(Input::StartFailed(id, failure.cause()));
        }
    }
    tell(Input::Started(id));

    if handshake && result.is_none() {
        tokio::select! {
            biased;
            () = control.reached(Level::Open) => {}
            early = &mut future => result = Some(early),
        }
    }
    if result.is_some() {
        seat.end();
    }
    match result {
        // Rule S8: it did not hold out until the host ran.
        Some(Err(failure)) if !control.is_at_least(Level::Drain) => {
            return tell(Input::StartFailed(id, failure.cause()));
        }
        Some(Ok(())) if !completes && !control.is_at_least(Level::Open) => {
            let failure = Failure::fatal("it returned before its host ran");
            return tell(Input::StartFailed(id, failure.cause()));
        }
        Some(Ok(()) | Err(_)) | None => control.reached(Level::Open).await,
    }
    // Rule T1: one whose intake has closed again before it was heard to open does not begin.
    let interrupted = if control.was_opened() && !control.is_at_least(Level::Drain) {
        run_open(&unit, completes, async {
            match result {
                Some(result) => result,
                None => future.await,
            }
        })
        .await
    } else {
        if let (true, Some(Err(failure))) = (control.was_opened(), result) {
            tell(Input::Faulted(id, failure.cause()));
        }
        // The host stops before it ran: like a start hook, what has begun is dropped.
        drop(let_go([future]));
        false
    };
    tell(Input::LanesEnded { worker: id, interrupted });
    tell(Input::Closed(id, None));
}

/// Runs it to its end, from when intake is open. Whether it had to be dropped.
async fn run_open(
    unit: &Surroundings,
    completes: bool,
    future: impl Future<Output = Result<(), Box<Failure>>> + Send,
) -> bool {
    let (worker, control) = (unit.id, &unit.control);
    // Its run is the one cycle of each of its lives.
    let cycle = CycleId(u64::from(unit.inbox.life));
    let began = Instant::now();
    let seat = unit.in_flight[worker.index()].seat(0);
    let tally = unit.emitter.tallies(worker, 1).swap_remove(0);
    let emit = |at, event: Event| {
        tally.count(&event);
        if seat.is_left() {
            unit.emitter.emit_late(&event);
        }
        unit.emitter.emit(at, &event);
    };
    emit(began, Event::CycleStarted { worker, cycle, attempt: 1, delivery: None });
    seat.begin(cycle, 1, None, began);
    let result = future.await.map_err(|failure| *failure);
    seat.end();
    let asked = if control.is_at_least(Level::Cancel) {
        Asked::End
    } else if control.is_at_least(Level::Drain) {
        Asked::Stop
    } else {
        Asked::Nothing
    };
    let Ended { failure, fault } = ended(result, asked, completes);
    let now = Instant::now();
    let (cause, took) = (failure.as_ref().map(Failure::cause), now.saturating_duration_since(began));
    emit(now, Event::CycleEnded { worker, cycle, failure: cause.clone(), took });
    match cause {
        Some(cause) if fault => {
            unit.inbox.tell(Input::Faulted(worker, cause));
            false
        }
        // A job that was interrupted has not done its work.
        Some(_) => completes || control.is_at_least(Level::Abort),
        None => false,
    }
}
