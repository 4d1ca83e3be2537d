//! F: workers that cannot go on, alone and in groups.

use std::time::Duration;

use shiftwork::{
    ExitStatus, FailureKind, GiveUp, OnFault, Restart, RestartStrategy, Rule,
    event::{Declaration, Event, Membership, SourceKind, StopReason, WorkerId, WorkerPhase},
};
use shiftwork_sim::{What, millis, secs};

use crate::{
    Canary,
    story::{A, B, Story, cause, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::F1, "a restart comes before its delay is over", restart_too_soon),
    Canary::new(Rule::F1, "a restart whose start hook takes time comes too soon", restart_with_a_hook_too_soon),
    Canary::new(Rule::F1, "a restart comes long after its delay is over", restart_too_late),
    Canary::new(Rule::F1, "a worker that is to be restarted stays down", stays_down),
    Canary::new(Rule::F1, "a worker is restarted whose policy does not say so", restart_unasked),
    Canary::new(Rule::F1, "a worker is restarted too often", restarted_too_often),
    Canary::new(Rule::F1, "the delay of a restart does not grow", delay_does_not_grow),
    Canary::new(Rule::F1, "a host goes on after a fault that was to stop it", goes_on),
    Canary::new(Rule::F1, "a host goes on when the restarts are used up", goes_on_without_a_restart),
    Canary::new(Rule::F1, "a host stops for a fault that was to leave the others at work", stops_instead),
    Canary::new(Rule::F1, "a host stops for a fault though there is a restart left", stops_with_a_restart),
    Canary::new(Rule::F1, "a worker is given up though there is a restart left", given_up_with_a_restart),
    Canary::new(Rule::F2, "another worker's intake closes for a fault", neighbour_closes),
    Canary::new(Rule::F3, "a service returns unasked, and that is well", returns_unasked),
    Canary::new(Rule::F3, "a service fails, and that is no fault", fails_unsaid),
    Canary::new(Rule::F3, "a service that is interrupted is said to have faulted", interrupted_is_a_fault),
    Canary::new(Rule::F4, "a member starts again before all are down", starts_before_all_are_down),
    Canary::new(Rule::F4, "a member starts again before one that ends by itself has ended", starts_before_an_end),
    Canary::new(Rule::F4, "a member starts again while one that it comes after goes down", starts_before_the_other),
    Canary::new(Rule::F4, "a member goes down before those after it", down_out_of_order),
    Canary::new(Rule::F4, "the delay of a group counts from when the first is down", starts_too_soon_after_the_last),
    Canary::new(Rule::F4, "a member that is down waits shorter than it has said", waits_shorter_than_it_said),
    Canary::new(Rule::F4, "a member starts long after the one that it comes after is at work", starts_long_after),
    Canary::new(Rule::F4, "a member that waits for nobody stays down", member_stays_down),
    Canary::new(Rule::F5, "the delay of a group's restart does not grow", delay_of_a_group_does_not_grow),
    Canary::new(Rule::F5, "a group is restarted too often", group_restarted_too_often),
    Canary::new(Rule::F5, "a host stops though its group has a restart left", group_stops_with_a_restart),
    Canary::new(Rule::F5, "of a group that is given up a member is started again", restarted_after_all),
];

fn restarting(restart: Restart) -> Declaration {
    Declaration { on_fault: OnFault::Restart(restart), ..worker("a") }
}

fn member(name: &str, strategy: RestartStrategy, restart: Restart) -> Declaration {
    let group = Some(Membership { group: "team".into(), strategy });
    Declaration { name: name.into(), group, ..restarting(restart) }
}

fn faults(story: &mut Story, worker: WorkerId) {
    story.tells(Event::WorkerFaulted { worker, cause: cause(FailureKind::Fatal) });
}

fn goes_down(story: &mut Story, worker: WorkerId, restarts: u32) {
    is_down(story, worker, restarts, secs(1));
}

fn is_down(story: &mut Story, worker: WorkerId, restarts: u32, delay: Duration) {
    story.tells(Event::WorkerRestarting { worker, restarts, delay });
}

fn comes_up(story: &mut Story, worker: WorkerId) {
    story.starts(worker).tells(Event::IntakeOpened { worker });
}

/// A fault, and the restart that follows after `delay`.
fn restarts(story: &mut Story, worker: WorkerId, restarts: u32, at: Duration, delay: Duration) {
    faults(story.at(at), worker);
    story.closes(worker);
    goes_down(story, worker, restarts);
    comes_up(story.at(at + delay), worker);
}

fn restart_too_soon(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default())]);
    restarts(story, A, 1, secs(5), millis(if wrong { 999 } else { 1_000 }));
    story.stops();
}

fn restart_too_late(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default())]);
    restarts(story, A, 1, secs(5), millis(if wrong { 1_013 } else { 1_012 }));
    // A process that stands still when the delay is over is late, and to blame for nothing.
    faults(story.at(secs(60)), A);
    is_down(story.closes(A), A, 2, secs(2));
    story.at(millis(61_500)).happens(What::Paused).at(secs(70)).happens(What::Resumed);
    comes_up(story, A);
    story.stops();
}

fn stays_down(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default()), worker("b")]);
    faults(story.at(secs(5)), A);
    goes_down(story.closes(A), A, 1);
    story.at(millis(if wrong { 6_013 } else { 6_012 })).is_told_to_stop().ends(A, WorkerPhase::Failed);
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}

fn restart_with_a_hook_too_soon(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default())]);
    faults(story.at(secs(5)), A);
    story.closes(A);
    goes_down(story, A, 1);
    story.at(secs(if wrong { 5 } else { 6 })).tells(Event::WorkerStarting { worker: A });
    story.at(secs(8)).tells(Event::WorkerReady { worker: A }).tells(Event::IntakeOpened { worker: A });
    story.stops();
}

fn restart_unasked(story: &mut Story, wrong: bool) {
    let declared = if wrong { worker("a") } else { restarting(Restart::default()) };
    story.runs(&[declared]);
    restarts(story, A, 1, secs(5), secs(1));
    story.stops();
}

fn restarted_too_often(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default().intensity(1, secs(60)))]);
    faults(story.at(secs(5)), A);
    story.closes(A);
    // Its old life is long in going. What counts is when it faulted.
    goes_down(story.at(secs(25)), A, 1);
    comes_up(story.at(secs(26)), A);
    restarts(story, A, 2, secs(if wrong { 64 } else { 65 }), secs(1));
    story.stops();
}

fn delay_does_not_grow(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default())]);
    restarts(story, A, 1, secs(5), secs(1));
    faults(story.at(secs(10)), A);
    let delay = secs(if wrong { 1 } else { 2 });
    is_down(story.closes(A), A, 2, delay);
    comes_up(story.at(secs(12)), A);
    story.stops();
}

/// The first of two workers has faulted, for good. The host stops for that, or when it is told to.
fn ends_after_a_fault(story: &mut Story, stops: bool) {
    if stops {
        story.begins_to_stop(StopReason::WorkerFault(A)).closes(A).ends(A, WorkerPhase::Failed);
    } else {
        story.closes(A).ends(A, WorkerPhase::Failed).at(secs(90)).is_told_to_stop();
    }
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}

fn goes_on(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a"), worker("b")]);
    faults(story.at(secs(5)), A);
    ends_after_a_fault(story, !wrong);
}

fn goes_on_without_a_restart(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default().intensity(1, secs(60))), worker("b")]);
    restarts(story, A, 1, secs(5), secs(1));
    faults(story.at(secs(64)), A);
    ends_after_a_fault(story, !wrong);
}

fn stops_instead(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { on_fault: OnFault::Degrade, ..worker("a") }, worker("b")]);
    faults(story.at(secs(5)), A);
    ends_after_a_fault(story, wrong);
}

/// The first worker faults, and the host stops for that, or starts it again.
fn faults_once(story: &mut Story, workers: &[Declaration], stops: bool) {
    story.runs(workers);
    if stops {
        faults(story.at(secs(5)), A);
        ends_after_a_fault(story, true);
    } else {
        restarts(story, A, 1, secs(5), secs(1));
        story.stops();
    }
}

fn stops_with_a_restart(story: &mut Story, wrong: bool) {
    faults_once(story, &[restarting(Restart::default()), worker("b")], wrong);
}

fn given_up_with_a_restart(story: &mut Story, wrong: bool) {
    let workers = [restarting(Restart::default()), worker("b")];
    if wrong {
        story.runs(&workers);
        faults(story.at(secs(5)), A);
        ends_after_a_fault(story, false);
    } else {
        faults_once(story, &workers, false);
    }
}

fn neighbour_closes(story: &mut Story, wrong: bool) {
    story.runs(&[restarting(Restart::default()), worker("b")]);
    faults(story.at(secs(5)), A);
    story.closes(A);
    if wrong {
        story.closes(B);
    }
    goes_down(story, A, 1);
    comes_up(story.at(secs(6)), A);
    story.stops();
}

fn service() -> Declaration {
    Declaration { source: SourceKind::Service { completes: false }, ..worker("a") }
}

fn returns_unasked(story: &mut Story, wrong: bool) {
    story.runs(&[service()]).cycle_starts(A, 1, 1);
    if wrong {
        story.cycle_ends(A, 1, None, secs(0));
    }
    story.is_told_to_stop().closes(A);
    if !wrong {
        story.cycle_ends(A, 1, None, secs(0));
    }
    story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

fn fails_unsaid(story: &mut Story, wrong: bool) {
    story.runs(&[service()]).cycle_starts(A, 1, 1).cycle_ends(A, 1, Some(FailureKind::Transient), secs(0));
    if wrong {
        story.is_told_to_stop().closes(A).ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
    } else {
        faults(story, A);
        story.begins_to_stop(StopReason::WorkerFault(A)).closes(A);
        story.ends(A, WorkerPhase::Failed).exits(ExitStatus::WorkerFault);
    }
}

fn interrupted_is_a_fault(story: &mut Story, wrong: bool) {
    let service = Declaration { source: SourceKind::Service { completes: false }, ..worker("a") };
    story.runs(&[service]).cycle_starts(A, 1, 1).is_told_to_stop().closes(A);
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(0));
    if wrong {
        story.tells(Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Interrupted) });
        story.ends(A, WorkerPhase::Failed).exits(ExitStatus::WorkerFault);
    } else {
        story.ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
    }
}

fn starts_before_all_are_down(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForAll, Restart::default());
    story.runs(&[member("a"), member("b")]);
    faults(story.at(secs(5)), A);
    story.closes(A).closes(B);
    goes_down(story, A, 1);
    if !wrong {
        goes_down(story, B, 1);
    }
    story.at(secs(6)).tells(Event::WorkerStarting { worker: A });
    if wrong {
        goes_down(story, B, 1);
    }
    story.tells(Event::WorkerReady { worker: A }).tells(Event::IntakeOpened { worker: A });
    comes_up(story.at(secs(if wrong { 7 } else { 6 })), B);
    story.stops();
}

fn starts_before_an_end(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForAll, Restart::default());
    story.runs(&[member("a"), member("b")]);
    // The second has come to its own end, and takes its leave.
    faults(story.at(secs(5)), A);
    story.closes(A);
    goes_down(story, A, 1);
    if !wrong {
        story.ends(B, WorkerPhase::Stopped);
    }
    comes_up(story.at(secs(6)), A);
    if wrong {
        story.ends(B, WorkerPhase::Stopped);
    }
    story.is_told_to_stop().closes(A).ends(A, WorkerPhase::Stopped).exits(ExitStatus::Clean);
}

/// Two members fault, each for itself, and the second comes after the first, which is down later.
fn starts_before_the_other(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForOne, Restart::default());
    story.runs(&[member("a"), Declaration { after: vec![A], ..member("b") }]);
    for worker in [A, B] {
        faults(story.at(secs(5)), worker);
        story.closes(worker);
    }
    // The second restart of the group in a row.
    is_down(story, B, 1, secs(2));
    if wrong {
        comes_up(story.at(secs(7)), B);
    }
    goes_down(story.at(secs(8)), A, 1);
    comes_up(story.at(secs(9)), A);
    if !wrong {
        comes_up(story, B);
    }
    story.stops();
}

fn down_out_of_order(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForAll, Restart::default());
    // The third faults; the second comes after the first.
    let second = Declaration { after: vec![A], ..member("b") };
    story.runs(&[member("a"), second, member("c")]);
    let third = WorkerId(2);
    faults(story.at(secs(5)), third);
    story.closes(third);
    for worker in if wrong { [A, B] } else { [B, A] } {
        story.closes(worker);
        if !wrong || worker == B {
            goes_down(story, worker, 1);
        }
    }
    if wrong {
        goes_down(story, A, 1);
    }
    goes_down(story, third, 1);
    story.at(secs(6));
    for worker in [A, B, third] {
        comes_up(story, worker);
    }
    story.stops();
}

fn starts_too_soon_after_the_last(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForAll, Restart::default());
    story.runs(&[member("a"), member("b")]);
    faults(story.at(secs(5)), A);
    story.closes(A).closes(B);
    goes_down(story, A, 1);
    goes_down(story.at(secs(8)), B, 1);
    story.at(millis(if wrong { 8_999 } else { 9_000 }));
    for worker in [A, B] {
        comes_up(story, worker);
    }
    story.stops();
}

/// The window of restarts slides on while the second member is down: the fault of the first, which takes it along, has a shorter delay.
fn waits_shorter_than_it_said(story: &mut Story, wrong: bool) {
    let restart = Restart::default().initial(secs(8)).intensity(5, secs(5));
    let member = |name| member(name, RestartStrategy::RestForOne, restart);
    let third = WorkerId(2);
    story.runs(&[member("a"), Declaration { after: vec![A], ..member("b") }, member("c")]);
    for (at, worker, delay) in [(secs(5), third, secs(8)), (secs(6), B, secs(16)), (secs(12), A, secs(8))] {
        faults(story.at(at), worker);
        is_down(story.closes(worker), worker, 1, delay);
    }
    comes_up(story.at(secs(13)), third);
    comes_up(story.at(secs(20)), A);
    comes_up(story.at(millis(if wrong { 21_999 } else { 22_000 })), B);
    story.stops();
}

/// The second member comes after the first, whose start hook takes its time.
fn starts_long_after(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForAll, Restart::default());
    story.runs(&[member("a"), Declaration { after: vec![A], ..member("b") }]);
    faults(story.at(secs(5)), B);
    goes_down(story.closes(B), B, 1);
    goes_down(story.closes(A), A, 1);
    story.at(secs(6)).tells(Event::WorkerStarting { worker: A });
    story.at(secs(9)).tells(Event::WorkerReady { worker: A }).tells(Event::IntakeOpened { worker: A });
    comes_up(story.at(millis(if wrong { 9_013 } else { 9_012 })), B);
    story.stops();
}

fn member_stays_down(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForOne, Restart::default());
    story.runs(&[member("a"), member("b")]);
    faults(story.at(secs(5)), A);
    goes_down(story.closes(A), A, 1);
    story.at(millis(if wrong { 6_013 } else { 6_012 })).is_told_to_stop().ends(A, WorkerPhase::Failed);
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}

fn delay_of_a_group_does_not_grow(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForOne, Restart::default());
    story.runs(&[member("a"), member("b")]);
    restarts(story, A, 1, secs(5), secs(1));
    faults(story.at(secs(10)), B);
    is_down(story.closes(B), B, 1, secs(if wrong { 1 } else { 2 }));
    comes_up(story.at(secs(12)), B);
    story.stops();
}

fn group_restarted_too_often(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForOne, Restart::default().intensity(1, secs(60)));
    story.runs(&[member("a"), member("b")]);
    // It does not matter which of them faults.
    restarts(story, A, 1, secs(5), secs(1));
    restarts(story, B, 1, secs(if wrong { 64 } else { 65 }), secs(1));
    story.stops();
}

fn group_stops_with_a_restart(story: &mut Story, wrong: bool) {
    let member = |name| member(name, RestartStrategy::OneForOne, Restart::default());
    faults_once(story, &[member("a"), member("b")], wrong);
}

/// The first member has used up the restarts of its group, and takes the second down with it.
fn restarted_after_all(story: &mut Story, wrong: bool) {
    let once = Restart::default().intensity(1, secs(60)).then(GiveUp::Degrade);
    let member = |name| member(name, RestartStrategy::OneForAll, once);
    story.runs(&[member("a"), member("b"), worker("c")]);
    for (at, given_up) in [(secs(5), false), (secs(10), true)] {
        faults(story.at(at), A);
        story.closes(A).closes(B);
        if !given_up {
            goes_down(story, A, 1);
            goes_down(story, B, 1);
            comes_up(story.at(secs(6)), A);
            comes_up(story, B);
        }
    }
    story.ends(A, WorkerPhase::Failed);
    let third = WorkerId(2);
    if wrong {
        goes_down(story, B, 2);
        comes_up(story.at(secs(11)), B);
        story.is_told_to_stop().closes(B);
    }
    story.ends(B, WorkerPhase::Stopped);
    if !wrong {
        story.is_told_to_stop();
    }
    story.closes(third).ends(third, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}
