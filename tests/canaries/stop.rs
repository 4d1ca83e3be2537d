//! T and V: how a host stops, and what it says of it.

use std::time::Duration;

use shiftwork::{
    Batches, ExitStatus, FailureKind, OnFault, Rule, Signal,
    event::{CycleId, Declaration, Doing, Event, NextSignal, Settle, StopReason, StopStep, WorkerPhase},
    queue::FencingToken,
};
use shiftwork_sim::{What, millis, record::Settled, secs};

use crate::{
    Canary,
    story::{A, B, PARCEL, Story, cause, of_queue, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::T1, "a cycle starts after intake closed", starts_after_the_close),
    Canary::new(Rule::T2, "a worker stops before those after it", stops_out_of_order),
    Canary::new(Rule::T2, "a worker goes on though nobody needs it", closes_late),
    Canary::new(Rule::T2, "a worker is left behind at work though nobody needs it", never_closes),
    Canary::new(Rule::T3, "a stop takes longer than its budget", over_budget),
    Canary::new(Rule::T3, "a foreign worker takes longer than it declared", foreigner_over_budget),
    Canary::new(Rule::T3, "it did not stand still for that long", stood_still),
    Canary::new(Rule::T4, "an interrupted attempt is spent", interrupted_is_spent),
    Canary::new(Rule::T4, "what interrupts itself comes again at once", interrupted_by_itself),
    Canary::new(Rule::T4, "a cycle that was asked to end is said to have failed by itself", failed_when_asked),
    Canary::new(Rule::T4, "a cycle that lost its lease is said to have failed by itself", failed_without_a_lease),
    Canary::new(Rule::T4, "a batch that was asked to end is said to have failed by itself", batch_failed_when_asked),
    Canary::new(Rule::T4, "a cycle that was dropped runs on", runs_on_when_dropped),
    Canary::new(Rule::T4, "a cycle that was dropped is left behind at work", left_when_dropped),
    Canary::new(Rule::T5, "the next signal does something else", ladder),
    Canary::new(Rule::T5, "a third signal is not obeyed at once", third_signal),
    Canary::new(Rule::T5, "a signal after a SIGQUIT is not obeyed at once", after_a_quit),
    Canary::new(Rule::T5, "a second signal in a stop for another reason is not obeyed at once", second_signal),
    Canary::new(Rule::T5, "a signal in a stop for another reason does something else", ladder_of_another_stop),
    Canary::new(Rule::T5, "an intake outlasts a second signal", closes_after_the_abort),
    Canary::new(Rule::T5, "a worker is left behind at work after a second signal", never_closes_for_the_abort),
    Canary::new(Rule::T6, "a task is left behind", task_left),
    Canary::new(Rule::T6, "a foreign worker leaves a task behind", foreigner_leaves_a_task),
    Canary::new(Rule::T7, "intake closes before the delay is over", closes_too_soon),
    Canary::new(Rule::T8, "a straggler is not named", unnamed),
    Canary::new(Rule::T8, "a straggler has the wrong age", wrong_age),
    Canary::new(Rule::T8, "nothing is in flight, and that is waited for", waits_for_nothing),
    Canary::new(Rule::T8, "a straggler of a life that is left behind is not named", left_unnamed),
    Canary::new(Rule::T10, "a worker that was asked to end is started again", started_again),
    Canary::new(Rule::T10, "a worker is asked to end twice", asked_twice),
    Canary::new(Rule::T10, "a worker that was asked to end takes too long", ends_late_alone),
    Canary::new(Rule::V1, "a worker has no verdict", no_verdict),
    Canary::new(Rule::V1, "a worker ends in a phase that is none", no_last_phase),
    Canary::new(Rule::V2, "the exit code is a better one", flattering_exit),
];

fn starts_after_the_close(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]);
    if !wrong {
        story.cycle_starts(A, 1, 1);
    }
    story.is_told_to_stop().closes(A);
    if wrong {
        story.cycle_starts(A, 1, 1);
    }
    story.cycle_ends(A, 1, None, secs(0)).settles(A, 1, Settle::Ack);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn stops_out_of_order(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), Declaration { after: vec![A], ..worker("b") }]).is_told_to_stop();
    for worker in if wrong { [A, B] } else { [B, A] } {
        story.closes(worker).ends(worker, WorkerPhase::Stopped);
    }
    story.exits(ExitStatus::Clean);
}

fn closes_late(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), Declaration { after: vec![A], ..worker("b") }]).is_told_to_stop();
    story.closes(B).at(secs(5)).ends(B, WorkerPhase::Stopped);
    story
        .at(millis(if wrong { 5_013 } else { 5_012 }))
        .closes(A)
        .ends(A, WorkerPhase::Stopped)
        .exits(ExitStatus::Clean);
}

/// The first worker is left behind: at work, or while it waits for its stop hook.
fn is_left(story: &mut Story, at_work: bool) {
    if !at_work {
        story.closes(A);
    }
    let phase = if at_work { WorkerPhase::Running } else { WorkerPhase::Closing };
    story.at(secs(25)).tells(Event::WorkerAbandoned { worker: A, phase }).ends(A, WorkerPhase::Aborted);
}

fn never_closes(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), Declaration { after: vec![A], ..worker("b") }]).is_told_to_stop();
    is_left(story.closes(B).at(secs(5)).ends(B, WorkerPhase::Stopped), wrong);
    story.exits(ExitStatus::DrainTimedOut);
}

fn never_closes_for_the_abort(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), Declaration { after: vec![A], ..worker("b") }]).is_told_to_stop().closes(B);
    is_left(story.at(secs(5)).tells(again(Signal::Terminate)).ends(B, WorkerPhase::Stopped), wrong);
    story.exits(ExitStatus::Forced);
}

fn over_budget(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A).at(millis(if wrong { 25_151 } else { 25_150 }));
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

/// A foreign worker, which has five seconds, is asked to end at ten.
fn foreigner(story: &mut Story) -> &mut Story {
    story.happens(What::Booted { boot: 1 }).happens(What::ForeignBegan { within: secs(5) });
    story.at(secs(10)).happens(What::Signalled(Signal::Terminate))
}

fn leaves(story: &mut Story, tasks_left: usize) {
    story.happens(What::Exited { exit: Some(ExitStatus::Clean), tasks_left });
}

fn foreigner_over_budget(story: &mut Story, wrong: bool) {
    leaves(foreigner(story).at(millis(if wrong { 15_006 } else { 15_005 })), 0);
}

fn stood_still(story: &mut Story, wrong: bool) {
    foreigner(story).at(secs(12)).happens(What::Paused).at(secs(20)).happens(What::Resumed);
    leaves(story.at(millis(if wrong { 23_006 } else { 23_005 })), 0);
}

fn interrupted_is_spent(story: &mut Story, wrong: bool) {
    let settle = if wrong { Settle::Retry { delay: secs(1) } } else { Settle::Return };
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(0)).settles(A, 1, settle);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn interrupted_by_itself(story: &mut Story, wrong: bool) {
    let settle = if wrong { Settle::Return } else { Settle::Snooze { delay: secs(1) } };
    story.runs(&[worker("a")]).cycle(A, (1, 1), Some(FailureKind::Interrupted), settle).stops();
}

/// The first cycle of a worker runs, and is dropped at five seconds.
fn is_dropped(story: &mut Story) {
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.at(secs(5)).tells(again(Signal::Terminate)).tells(Event::WorkerAborted { worker: A });
    story.tells(straggler_at(StopStep::Aborted, secs(5)));
}

fn runs_on_when_dropped(story: &mut Story, wrong: bool) {
    is_dropped(story);
    let took = millis(if wrong { 5_002 } else { 5_001 });
    story.at(took).cycle_ends(A, 1, Some(FailureKind::Interrupted), took).settles(A, 1, Settle::Return);
    story.ends(A, WorkerPhase::Aborted).exits(ExitStatus::Forced);
}

/// The budget ends while its settlement is being stored, or while it still runs.
fn left_when_dropped(story: &mut Story, wrong: bool) {
    is_dropped(story);
    if !wrong {
        story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(5));
    }
    story.at(secs(25)).tells(Event::WorkerAbandoned { worker: A, phase: WorkerPhase::Aborting });
    if wrong {
        story.tells(straggler_at(StopStep::Abandoned, secs(25)));
    }
    story.ends(A, WorkerPhase::Aborted).exits(ExitStatus::Forced);
}

/// How a cycle ends that was asked to, and what is done about it.
fn asked(wrong: bool) -> (FailureKind, Settle) {
    if wrong {
        (FailureKind::Transient, Settle::Retry { delay: secs(1) })
    } else {
        (FailureKind::Interrupted, Settle::Return)
    }
}

fn failed_when_asked(story: &mut Story, wrong: bool) {
    let (kind, settle) = asked(wrong);
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.at(secs(20)).tells(Event::WorkerCancelled { worker: A }).tells(straggler(secs(20)));
    story.at(secs(21)).cycle_ends(A, 1, Some(kind), secs(21)).settles(A, 1, settle);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn failed_without_a_lease(story: &mut Story, wrong: bool) {
    let (kind, settle) = asked(wrong);
    story.runs(&[of_queue("a")]).claimed().packing_starts(1);
    // Another node has it by now.
    story.inside(1, 1).claimed_again(2).inside(0, 1);
    story.tells(Event::LeaseLost { worker: A, delivery: PARCEL, token: FencingToken(1) });
    story.cycle_ends(A, 1, Some(kind), secs(0));
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle, cause }).holds_the_parcel().stops();
}

/// What the call has said of its one input stands, whatever becomes of the call.
fn batch_failed_when_asked(story: &mut Story, wrong: bool) {
    let (kind, _) = asked(wrong);
    let (first, cycles, took) = (CycleId(1), 1, secs(21));
    story.runs(&[Declaration { batch: Some(Batches::of(1)), ..of_queue("a") }]).claimed();
    story.tells(Event::BatchStarted { worker: A, first, cycles }).packing_starts(1).is_told_to_stop().closes(A);
    story.at(secs(20)).tells(Event::WorkerCancelled { worker: A }).tells(straggler(secs(20))).at(took);
    story.tells(Event::BatchEnded { worker: A, first, cycles, failure: Some(cause(kind)), took });
    story.cycle_ends(A, 1, Some(FailureKind::Transient), took).stored(1, Settled::Retried);
    story.packing_settles(1, Settle::Retry { delay: secs(1) }).holds_the_parcel();
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn ladder(story: &mut Story, wrong: bool) {
    let signal = Signal::Interrupt;
    let next = if wrong { NextSignal::Leave } else { NextSignal::Abort };
    story.runs(&[worker("a")]).tells(Event::SignalReceived { signal, next });
    story.begins_to_stop(StopReason::Signal(signal)).closes(A);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn third_signal(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A);
    story.tells(again(Signal::Terminate));
    ends_at_once(story.tells(again(Signal::Terminate)), wrong);
}

/// A signal, of which there are more than one.
fn again(signal: Signal) -> Event {
    Event::SignalReceived { signal, next: NextSignal::Leave }
}

/// The last worker ends, so long after a signal that lets nothing wait.
fn ends_at_once(story: &mut Story, wrong: bool) {
    story.at(millis(if wrong { 151 } else { 150 }));
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn after_a_quit(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).tells(again(Signal::Quit)).begins_to_stop(StopReason::Signal(Signal::Quit)).closes(A);
    ends_at_once(story.tells(again(Signal::Terminate)), wrong);
}

fn second_signal(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).begins_to_stop(StopReason::Asked).closes(A).tells(again(Signal::Terminate));
    ends_at_once(story.tells(again(Signal::Terminate)), wrong);
}

fn ladder_of_another_stop(story: &mut Story, wrong: bool) {
    let next = if wrong { NextSignal::Abort } else { NextSignal::Leave };
    story.runs(&[worker("a")]).begins_to_stop(StopReason::Asked).closes(A);
    story.tells(Event::SignalReceived { signal: Signal::Terminate, next });
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn closes_after_the_abort(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), Declaration { after: vec![A], ..worker("b") }]).is_told_to_stop().closes(B);
    story.at(secs(5)).tells(again(Signal::Terminate));
    story.at(secs(if wrong { 6 } else { 5 })).closes(A).ends(A, WorkerPhase::Stopped).ends(B, WorkerPhase::Stopped);
    story.exits(ExitStatus::Clean);
}

fn task_left(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A).ends(A, WorkerPhase::Stopped);
    story.tells(Event::HostStopped { exit: ExitStatus::Clean });
    leaves(story, usize::from(wrong));
}

fn foreigner_leaves_a_task(story: &mut Story, wrong: bool) {
    leaves(foreigner(story), usize::from(wrong));
}

fn closes_too_soon(story: &mut Story, wrong: bool) {
    let (signal, next) = (Signal::Terminate, NextSignal::Abort);
    let (reason, delay) = (StopReason::Signal(signal), secs(5));
    story.runs(&[worker("a")]).tells(Event::SignalReceived { signal, next });
    story.tells(Event::HostStopping { reason, delay, drain: secs(25), within: secs(30) });
    story.at(millis(if wrong { 4_999 } else { 5_000 })).closes(A);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

/// The first cycle is named when it is asked to end, as `age` old.
fn straggler(age: Duration) -> Event {
    straggler_at(StopStep::Cancelled, age)
}

fn straggler_at(step: StopStep, age: Duration) -> Event {
    Event::Straggler { worker: A, cycle: CycleId(1), attempt: 1, delivery: None, step, doing: Doing::Waiting, age }
}

/// A cycle is asked to end, is named as `age` old, and does.
fn straggles(story: &mut Story, age: Option<u64>) {
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.at(secs(20)).tells(Event::WorkerCancelled { worker: A });
    if let Some(age) = age {
        story.tells(straggler(secs(age)));
    }
    story.cycle_ends(A, 1, None, secs(20)).settles(A, 1, Settle::Ack);
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn started_again(story: &mut Story, wrong: bool) {
    let restarts = Declaration { on_fault: OnFault::restart(), ..worker("a") };
    let fault = Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) };
    story.runs(&[restarts, worker("b")]).at(secs(5)).tells(fault).closes(A);
    story.tells(Event::WorkerStopAsked { worker: A, within: secs(25) });
    if wrong {
        story.tells(Event::WorkerRestarting { worker: A, restarts: 1, delay: secs(1) }).at(secs(6)).starts(A);
        story.tells(Event::IntakeOpened { worker: A }).stops();
    } else {
        story.ends(A, WorkerPhase::Failed).is_told_to_stop().closes(B).ends(B, WorkerPhase::Stopped);
        story.exits(ExitStatus::WorkerFault);
    }
}

fn unnamed(story: &mut Story, wrong: bool) {
    straggles(story, if wrong { None } else { Some(20) });
}

fn wrong_age(story: &mut Story, wrong: bool) {
    straggles(story, Some(if wrong { 19 } else { 20 }));
}

/// The drain is over, of a worker whose last cycle ended long before, or just now.
fn waits_for_nothing(story: &mut Story, wrong: bool) {
    let took = if wrong { secs(19) } else { millis(19_900) };
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.at(took).cycle_ends(A, 1, None, took).settles(A, 1, Settle::Ack);
    story.at(secs(20)).tells(Event::WorkerCancelled { worker: A });
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

/// A life is left behind, and the next one as well, in its start hook: what the first had in flight is named once.
fn left_unnamed(story: &mut Story, wrong: bool) {
    let restarts = Declaration { on_fault: OnFault::restart(), ..worker("a") };
    let fault = Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) };
    story.runs(&[restarts]).cycle_starts(A, 1, 1).at(secs(5)).tells(fault).closes(A).at(secs(30));
    story.tells(Event::WorkerAbandoned { worker: A, phase: WorkerPhase::Aborting });
    if !wrong {
        let (step, doing) = (StopStep::Abandoned, Doing::Waiting);
        let (cycle, age) = (CycleId(1), secs(30));
        story.tells(Event::Straggler { worker: A, cycle, attempt: 1, delivery: None, step, doing, age });
    }
    story.tells(Event::WorkerRestarting { worker: A, restarts: 1, delay: secs(1) });
    story.at(secs(31)).tells(Event::WorkerStarting { worker: A }).is_told_to_stop().at(secs(56));
    story.tells(Event::WorkerAbandoned { worker: A, phase: WorkerPhase::Starting });
    story.ends(A, WorkerPhase::Failed).exits(ExitStatus::WorkerFault);
}

fn asked_twice(story: &mut Story, wrong: bool) {
    let asked = || Event::WorkerStopAsked { worker: A, within: secs(25) };
    story.runs(&[worker("a"), worker("b")]).at(secs(5)).tells(asked());
    if wrong {
        story.tells(asked());
    }
    story.closes(A).ends(A, WorkerPhase::Stopped).is_told_to_stop();
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn ends_late_alone(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), worker("b")]).at(secs(5));
    story.tells(Event::WorkerStopAsked { worker: A, within: secs(25) }).closes(A);
    story.at(secs(if wrong { 31 } else { 30 })).ends(A, WorkerPhase::Stopped).is_told_to_stop();
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn no_verdict(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A);
    if !wrong {
        story.ends(A, WorkerPhase::Stopped);
    }
    story.exits(ExitStatus::Clean);
}

fn no_last_phase(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A);
    story.ends(A, if wrong { WorkerPhase::Closing } else { WorkerPhase::Stopped }).exits(ExitStatus::Clean);
}

fn flattering_exit(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).is_told_to_stop().closes(A);
    let dropped = ExitStatus::DrainTimedOut;
    story.ends(A, WorkerPhase::Aborted).exits(if wrong { ExitStatus::Clean } else { dropped });
}
