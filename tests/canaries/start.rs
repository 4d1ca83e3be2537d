//! S: how workers start.

use shiftwork::{
    ExitStatus, FailureKind, Rule,
    event::{Declaration, Event, SourceKind, StopReason, WorkerId, WorkerPhase},
};
use shiftwork_sim::secs;

use crate::{
    Canary,
    story::{A, B, Story, cause, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::S1, "it starts before the one that it comes after", starts_too_soon),
    Canary::new(Rule::S2, "a cycle starts before intake opens", cycle_before_intake),
    Canary::new(Rule::S2, "intake opens before everybody is ready", intake_before_ready),
    Canary::new(Rule::S3, "a start hook is waited for too long", start_hook_hangs),
    Canary::new(Rule::S4, "a start is undone in the order of the start", undone_in_order),
    Canary::new(Rule::S5, "the stop is laid to somebody else", wrong_root_cause),
    Canary::new(Rule::S5, "what an interrupted start says is reported", consequence_reported),
    Canary::new(Rule::S6, "a body that never ran has stopped", never_ran_but_stopped),
    Canary::new(Rule::S7, "a service without a handshake is waited for", ready_late),
    Canary::new(Rule::S8, "a service that ended early says nothing", silent_service),
];

fn after(name: &str, other: WorkerId) -> Declaration {
    Declaration { after: vec![other], ..worker(name) }
}

fn starts_too_soon(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), after("b", A)]);
    story.tells(Event::WorkerStarting { worker: A });
    if !wrong {
        story.tells(Event::WorkerReady { worker: A });
    }
    story.tells(Event::WorkerStarting { worker: B });
    if wrong {
        story.tells(Event::WorkerReady { worker: A });
    }
    story.tells(Event::WorkerReady { worker: B }).opens().stops();
}

fn cycle_before_intake(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a")]).starts(A).tells(Event::HostRunning);
    if wrong {
        story.cycle_starts(A, 1, 1);
    }
    story.tells(Event::IntakeOpened { worker: A });
    if !wrong {
        story.cycle_starts(A, 1, 1);
    }
    story.cycle_ends(A, 1, None, secs(0)).settles(A, 1, shiftwork::event::Settle::Ack).stops();
}

fn intake_before_ready(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), worker("b")]).starts(A).tells(Event::WorkerStarting { worker: B });
    if wrong {
        story.tells(Event::HostRunning).tells(Event::IntakeOpened { worker: A });
        story.tells(Event::WorkerReady { worker: B }).tells(Event::IntakeOpened { worker: B });
    } else {
        story.tells(Event::WorkerReady { worker: B }).opens();
    }
    story.stops();
}

fn start_hook_hangs(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a")]).tells(Event::WorkerStarting { worker: A });
    story.at(secs(if wrong { 31 } else { 30 })).tells(Event::WorkerReady { worker: A }).opens().stops();
}

fn undone_in_order(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), after("b", A), after("c", B)]).starts(A).starts(B);
    story.tells(Event::WorkerStarting { worker: WorkerId(2) }).is_told_to_stop();
    story.ends(WorkerId(2), WorkerPhase::NeverStarted);
    for worker in if wrong { [A, B] } else { [B, A] } {
        story.ends(worker, WorkerPhase::NeverStarted);
    }
    story.exits(ExitStatus::Clean);
}

fn fails_to_start(story: &mut Story, worker: WorkerId) {
    story.tells(Event::WorkerStartFailed { worker, cause: cause(FailureKind::Transient) });
    story.ends(worker, WorkerPhase::Failed);
}

fn wrong_root_cause(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), worker("b")]);
    story.tells(Event::WorkerStarting { worker: A }).tells(Event::WorkerStarting { worker: B });
    fails_to_start(story, B);
    story.begins_to_stop(StopReason::StartFailure(if wrong { A } else { B }));
    story.ends(A, WorkerPhase::NeverStarted).exits(ExitStatus::StartFailure);
}

fn consequence_reported(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), worker("b")]);
    story.tells(Event::WorkerStarting { worker: A }).tells(Event::WorkerStarting { worker: B });
    fails_to_start(story, B);
    story.begins_to_stop(StopReason::StartFailure(B));
    if wrong {
        fails_to_start(story, A);
    } else {
        story.ends(A, WorkerPhase::NeverStarted);
    }
    story.exits(ExitStatus::StartFailure);
}

fn never_ran_but_stopped(story: &mut Story, wrong: bool) {
    story.begins(&[worker("a"), worker("b")]).starts(A).tells(Event::WorkerStarting { worker: B });
    story.is_told_to_stop().ends(B, WorkerPhase::NeverStarted);
    story.ends(A, if wrong { WorkerPhase::Stopped } else { WorkerPhase::NeverStarted }).exits(ExitStatus::Clean);
}

fn ready_late(story: &mut Story, wrong: bool) {
    let source = SourceKind::Service { completes: false };
    story
        .begins(&[Declaration { source, handshake: !wrong, ..worker("a") }])
        .tells(Event::WorkerStarting { worker: A });
    story.at(secs(1)).tells(Event::WorkerReady { worker: A }).opens().stops();
}

fn silent_service(story: &mut Story, wrong: bool) {
    let service = Declaration { source: SourceKind::Service { completes: false }, ..worker("a") };
    story.begins(&[service, worker("b")]).starts(A).tells(Event::WorkerStarting { worker: B });
    if wrong {
        story.begins_to_stop(StopReason::Asked).ends(A, WorkerPhase::Failed);
    } else {
        fails_to_start(story, A);
        story.begins_to_stop(StopReason::StartFailure(A));
    }
    story.ends(B, WorkerPhase::NeverStarted);
    story.exits(if wrong { ExitStatus::Clean } else { ExitStatus::StartFailure });
}
