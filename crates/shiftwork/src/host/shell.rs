//! The loop around the state machine: wait for the next event, ask, act.

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, Id, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::{
    Host,
    handle::Command,
    unit::{Inbox, REAP, Surroundings},
    watch::{Watch, Watched, name_stragglers},
};
use crate::{
    Cause, ExitStatus, FailureKind, HostReport, Signals,
    control::{Control, Level},
    cycle::panicked,
    emitter::Emitter,
    event::{Declaration, Event, StopReason, StopStep, WorkerId, WorkerPhase},
    in_flight::InFlight,
    lifecycle::decide::{Action, Input, Lifecycle},
    report::{CycleCounts, WorkerReport},
};

/// Runs the host to its end.
pub(super) async fn run(host: Host, stop: impl Future<Output = ()>, mut signals: Option<Signals>) -> HostReport {
    crate::panics::note_places();
    let Host { declarations, plans, units, budget, watchdog, environment, mut listeners, control, config: _ } = host;
    let (handle, mut commands) = control.unzip();
    let in_flight: Arc<[InFlight]> = declarations.iter().map(|it| InFlight::new(it.concurrency)).collect();
    if let Some(handle) = &handle {
        let board = handle.board();
        board.sees(&in_flight);
        listeners.push(Arc::new(board));
    }
    let emitter = Arc::new(Emitter::new(&declarations, listeners, &environment));
    let watch = if environment.is_watched() {
        Watch::over(Watched {
            watchdog,
            total: budget.total(),
            owns_process: signals.is_some(),
            workers: in_flight.clone(),
            emitter: emitter.clone(),
        })
    } else {
        Watch::nobody()
    };
    let stragglers = |id: WorkerId, step| name_stragglers(&emitter, id, &in_flight[id.index()], step, Instant::now());
    let (inbox, mut inputs) = mpsc::unbounded_channel();
    let mut machine = Lifecycle::new(plans, budget);
    let mut tasks = JoinSet::new();
    let seed = environment.seed();
    let mut workers: Vec<Slot> = units
        .into_iter()
        .map(|launch| Slot { control: Arc::new(Control::new()), launch, life: 0, task: None })
        .collect();
    let mut owners: HashMap<Id, (WorkerId, u32)> = HashMap::new();

    let began = Instant::now();
    emitter.emit(began, &Event::HostStarting { workers: declarations.clone() });
    let mut stop = pin!(stop);
    let mut stop_asked = false;
    let mut actions = Vec::new();
    let mut input = Input::Begin;
    let mut last_word = None;
    loop {
        machine.decide(began.elapsed(), input, &mut actions);
        for action in actions.drain(..) {
            match action {
                // The last word, said once nothing is left that could say anything.
                Action::Emit(event @ Event::HostStopped { .. }) => last_word = Some(event),
                Action::Emit(event) => {
                    watch.hear(&event);
                    emitter.emit(Instant::now(), &event);
                }
                Action::Start(id) => {
                    let slot = &mut workers[id.index()];
                    slot.life += 1;
                    // Levels only rise: a new life begins with its own.
                    slot.control = Arc::new(Control::new());
                    let surroundings = Surroundings {
                        id,
                        name: declarations[id.index()].name.clone(),
                        control: slot.control.clone(),
                        environment: environment.clone(),
                        host: handle.clone(),
                        emitter: emitter.clone(),
                        in_flight: in_flight.clone(),
                        inbox: Inbox { sender: inbox.clone(), worker: id, life: slot.life },
                        seed,
                    };
                    let task = tasks.spawn(slot.launch.run(surroundings).in_current_span());
                    owners.insert(task.id(), (id, slot.life));
                    slot.task = Some(task);
                }
                Action::OpenIntake(id) => workers[id.index()].control.raise(Level::Open),
                Action::CloseIntake(id) => workers[id.index()].control.raise(Level::Drain),
                Action::Pause(id) => workers[id.index()].control.pause(),
                Action::Resume(id) => workers[id.index()].control.resume(),
                Action::Trigger(id) => workers[id.index()].control.trigger(),
                Action::Cancel(id) => {
                    stragglers(id, StopStep::Cancelled);
                    workers[id.index()].control.raise(Level::Cancel);
                }
                Action::Abort(id) => {
                    stragglers(id, StopStep::Aborted);
                    workers[id.index()].control.raise(Level::Abort);
                }
                Action::Leave(id) => {
                    workers[id.index()].control.raise(Level::Leave);
                    in_flight[id.index()].leave();
                }
                Action::Abandon(id) => {
                    stragglers(id, StopStep::Abandoned);
                    workers[id.index()].control.raise(Level::Leave);
                    in_flight[id.index()].leave();
                    if let Some(task) = &workers[id.index()].task {
                        task.abort();
                    }
                }
            }
        }
        if machine.is_stopped() {
            break;
        }
        let deadline = machine.deadline().and_then(|deadline| began.checked_add(deadline));
        input = tokio::select! {
            biased;
            signal = next_signal(&mut signals) => Input::Signal(signal),
            () = &mut stop, if !stop_asked => {
                stop_asked = true;
                Input::StopAsked
            }
            command = next_command(&mut commands) => match command {
                Command::Stop => Input::StopAsked,
                Command::Pause(id) => Input::PauseAsked(id),
                Command::Resume(id) => Input::ResumeAsked(id),
                Command::Trigger(id) => Input::TriggerAsked(id),
                Command::StopWorker(id) => Input::StopWorkerAsked(id),
            },
            Some((id, life, input)) = inputs.recv() => {
                if workers[id.index()].life == life { input } else { continue_with_nothing() }
            }
            Some(ended) = tasks.join_next_with_id() => match ended {
                Ok((task, ())) => {
                    owners.remove(&task);
                    continue_with_nothing()
                }
                Err(error) => match owners.remove(&error.id()) {
                    // A unit catches what its worker's code does; a panic here is the source's or our own.
                    Some((id, life)) if error.is_panic() && workers[id.index()].life == life => {
                        let cause = panicked(error.into_panic()).cause();
                        for input in [Input::LanesEnded { worker: id, interrupted: true }, Input::Closed(id, None)] {
                            drop(inbox.send((id, life, input)));
                        }
                        Input::Faulted(id, cause)
                    }
                    _ => continue_with_nothing(),
                },
            },
            () = sleep_until(deadline) => Input::DeadlinePassed,
        };
    }

    // What was dropped is gone before the report is; a task that blocks its thread is not waited for.
    let _ = tokio::time::timeout(REAP, tasks.shutdown()).await;
    if let Some(event) = last_word {
        watch.hear(&event);
        emitter.emit(Instant::now(), &event);
    }
    report(&machine, &declarations, &emitter, began)
}

/// What the shell keeps of one worker.
struct Slot {
    control: Arc<Control>,
    launch: super::unit::Launch,
    /// Which life of the worker this is; 0 before its first.
    life: u32,
    task: Option<AbortHandle>,
}

/// A task that ended well has said so itself.
fn continue_with_nothing() -> Input {
    Input::DeadlinePassed
}

async fn next_signal(signals: &mut Option<Signals>) -> crate::Signal {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn next_command(commands: &mut Option<mpsc::UnboundedReceiver<Command>>) -> Command {
    if let Some(receiver) = commands
        && let Some(command) = receiver.recv().await
    {
        return command;
    }
    // Every handle is gone.
    *commands = None;
    std::future::pending().await
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn report(machine: &Lifecycle, declarations: &[Declaration], emitter: &Emitter, began: Instant) -> HostReport {
    let ran = began.elapsed();
    let (reason, since) = machine.stopping().unwrap_or((StopReason::Completed, ran));
    let workers: Vec<WorkerReport> = machine
        .verdicts()
        .zip(declarations)
        .zip(0u32..)
        .map(|((verdict, declaration), index)| WorkerReport {
            name: declaration.name.clone(),
            phase: verdict.phase,
            cause: verdict.cause,
            abandoned: verdict.abandoned,
            stop_failure: verdict.stop_failure,
            restarts: verdict.restarts,
            cycles: emitter.counts(WorkerId(index)),
        })
        .collect();
    let cause = match reason {
        StopReason::StartFailure(id) | StopReason::WorkerFault(id) => workers[id.index()].cause.clone(),
        StopReason::Signal(_) | StopReason::Asked | StopReason::Completed | StopReason::Unable => {
            workers.iter().find_map(|worker| worker.cause.clone())
        }
    };
    HostReport { exit: machine.exit(), reason, cause, ran, stopping: ran.saturating_sub(since), workers }
}

/// The report of a host that could not even begin.
pub(super) fn unable(declarations: &[Declaration], why: &str) -> HostReport {
    tracing::error!(error = why, "host did not start");
    let workers = declarations.iter().map(|declaration| WorkerReport {
        name: declaration.name.clone(),
        phase: WorkerPhase::NeverStarted,
        cause: None,
        abandoned: None,
        stop_failure: None,
        restarts: 0,
        cycles: CycleCounts::default(),
    });
    HostReport {
        exit: ExitStatus::StartFailure,
        reason: StopReason::Unable,
        cause: Some(Cause { kind: FailureKind::Fatal, message: why.into() }),
        ran: std::time::Duration::ZERO,
        stopping: std::time::Duration::ZERO,
        workers: workers.collect(),
    }
}
