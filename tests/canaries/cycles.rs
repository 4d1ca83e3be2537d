//! C: what follows from how a cycle ends.

use std::time::Duration;

use shiftwork::{
    ExitStatus, FailureKind, OnFault, RateLimit, Retry, Rule,
    event::{CycleId, Declaration, Doing, Event, Settle, SourceKind, StopReason, StopStep, WorkerPhase},
    queue::{DeadLetterCause, DeliveryId},
};
use shiftwork_sim::{QueueOperation, What, millis, record::Settled, secs};

use crate::{
    Canary,
    story::{A, B, PARCEL, Story, cause, of_queue, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::C1, "a worker faults by an ordinary failure", faults_by_a_failure),
    Canary::new(Rule::C1, "a worker has failed without a fault", failed_without_a_fault),
    Canary::new(Rule::C1, "a worker goes on after its fault", goes_on_after_its_fault),
    Canary::new(Rule::C1, "a worker is left behind at work after its fault", left_at_work_after_its_fault),
    Canary::new(Rule::C2, "the next attempt is not counted", attempt_not_counted),
    Canary::new(Rule::C2, "a queue counts an attempt that never was", attempt_made_up),
    Canary::new(Rule::C2, "there are more attempts than the policy has", too_many_attempts),
    Canary::new(Rule::C3, "a retry comes before its time", retry_too_soon),
    Canary::new(Rule::C3, "a retry waits less than the policy says", delay_too_short),
    Canary::new(Rule::C3, "a retry waits longer than anything may ask for", delay_too_long),
    Canary::new(Rule::C4, "bad input is tried again", bad_input_again),
    Canary::new(Rule::C5, "a panic is told as a success", panic_swallowed),
    Canary::new(Rule::C6, "a cycle runs past its timeout", past_its_timeout),
    Canary::new(Rule::C6, "a cycle whose time is up is told as a success", time_is_up_unheard),
    Canary::new(Rule::C6, "a cycle times out before its time", timed_out_too_soon),
    Canary::new(Rule::C7, "an exhausted input is not escalated", not_escalated),
    Canary::new(Rule::C7, "an exhausted input is tried again", exhausted_again),
    Canary::new(Rule::C7, "a crash loop is not escalated", crash_loop_not_escalated),
    Canary::new(Rule::C7, "an exhausted input is escalated twice", escalated_twice),
    Canary::new(Rule::C7, "an input is escalated that is tried again", escalated_though_tried_again),
    Canary::new(Rule::C7, "an escalation has another number of attempts", escalated_with_other_attempts),
    Canary::new(Rule::C7, "an escalation has another failure", escalated_with_another_failure),
    Canary::new(Rule::C7, "an escalation is laid to another cycle", escalated_for_another_cycle),
    Canary::new(Rule::C7, "what no cycle ran for is exhausted after too few attempts", escalated_unrun_too_soon),
    Canary::new(Rule::C7, "a settlement that failed is escalated with other attempts", escalated_unstored),
    Canary::new(Rule::C8, "a cycle never ends", cycle_unsaid),
    Canary::new(Rule::C8, "nothing is said of a settlement", settlement_unsaid),
    Canary::new(Rule::C8, "of a life that was left behind a cycle ends that had not begun", ends_late_unbegun),
    Canary::new(Rule::C9, "one cycle more than declared", one_too_many),
    Canary::new(Rule::C10, "what was put off is an attempt", snooze_spent),
    Canary::new(Rule::C10, "what was dropped is moved aside", discard_kept),
    Canary::new(Rule::C11, "a cycle is cancelled for its progress before its time", stalled_too_soon),
    Canary::new(Rule::C12, "cycles begin too close to each other", too_close),
    Canary::new(Rule::C12, "cycles creep closer to each other", creeping),
    Canary::new(Rule::C12, "a thousand cycles creep closer to each other", creeping_for_long),
    Canary::new(Rule::C12, "a burst of hundreds has one more", burst_too_large),
    Canary::new(Rule::C12, "a rate limit holds back what has long been quiet", reached_in_quiet),
    Canary::new(Rule::C12, "a rate limit is reached with a cycle of its burst left", reached_with_room),
    Canary::new(Rule::C12, "a rate limit is reached though no lane can have a place", reached_without_places),
    Canary::new(Rule::C12, "a rate limit is reached twice", reached_twice),
    Canary::new(Rule::C12, "a rate limit eases that was not reached", eased_unreached),
    Canary::new(Rule::C12, "a worker ends, held back", held_in_the_end),
];

const RETRY: Settle = Settle::Retry { delay: secs(1) };
const TRANSIENT: Option<FailureKind> = Some(FailureKind::Transient);

fn dead(cause: DeadLetterCause) -> Settle {
    Settle::DeadLetter { cause, pause: secs(1) }
}

fn faults_by_a_failure(story: &mut Story, wrong: bool) {
    let kind = if wrong { FailureKind::Transient } else { FailureKind::Fatal };
    story.runs(&[worker("a")]).cycle(A, (1, 1), Some(kind), RETRY);
    story.tells(Event::WorkerFaulted { worker: A, cause: cause(kind) });
    story.begins_to_stop(StopReason::WorkerFault(A)).closes(A);
    story.ends(A, WorkerPhase::Failed).exits(ExitStatus::WorkerFault);
}

fn failed_without_a_fault(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle(A, (1, 1), TRANSIENT, RETRY).is_told_to_stop().closes(A);
    story.ends(A, if wrong { WorkerPhase::Failed } else { WorkerPhase::Stopped }).exits(ExitStatus::Clean);
}

fn goes_on_after_its_fault(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { on_fault: OnFault::Degrade, ..worker("a") }, worker("b")]);
    story.at(secs(5)).tells(Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) });
    story.at(millis(if wrong { 5_001 } else { 5_000 })).closes(A).ends(A, WorkerPhase::Failed).is_told_to_stop();
    story.closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}

fn left_at_work_after_its_fault(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { on_fault: OnFault::Degrade, ..worker("a") }, worker("b")]);
    story.at(secs(5)).tells(Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) });
    if !wrong {
        story.closes(A);
    }
    // What is left of it waits for its stop hook.
    let phase = if wrong { WorkerPhase::Running } else { WorkerPhase::Closing };
    story.at(secs(30)).tells(Event::WorkerAbandoned { worker: A, phase }).ends(A, WorkerPhase::Failed);
    story.is_told_to_stop().closes(B).ends(B, WorkerPhase::Stopped).exits(ExitStatus::WorkerFault);
}

fn attempt_not_counted(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle(A, (1, 1), TRANSIENT, RETRY);
    story.at(secs(1)).cycle(A, (2, if wrong { 1 } else { 2 }), None, Settle::Ack).stops();
}

fn attempt_made_up(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).queue(QueueOperation::Pushed(PARCEL));
    let attempt = if wrong { 2 } else { 1 };
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 1, attempt, crashes: 0, told: true });
    story.tells(Event::CycleStarted { worker: A, cycle: CycleId(1), attempt, delivery: Some(PARCEL) });
    story.cycle_ends(A, 1, None, secs(0)).stored(1, Settled::Acked).packing_settles(1, Settle::Ack).stops();
}

fn too_many_attempts(story: &mut Story, wrong: bool) {
    let attempts = if wrong { 1 } else { 2 };
    let declared = Declaration { retry: Retry::default().attempts_max(attempts), concurrency: 2, ..worker("a") };
    story.runs(&[declared]).cycle(A, (1, 2), None, Settle::Ack).stops();
}

fn retry_too_soon(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle(A, (1, 1), TRANSIENT, RETRY);
    story.at(millis(if wrong { 999 } else { 1_000 })).cycle(A, (2, 2), None, Settle::Ack).stops();
}

fn delay_too_short(story: &mut Story, wrong: bool) {
    // A second, and a fifth of it to either side.
    let delay = millis(if wrong { 799 } else { 800 });
    story.runs(&[worker("a")]).cycle(A, (1, 1), TRANSIENT, Settle::Retry { delay }).stops();
}

fn delay_too_long(story: &mut Story, wrong: bool) {
    let delay = if wrong { millis(60_001) } else { secs(60) };
    let declared = Declaration { retry: Retry::default().asked_max(secs(60)), ..worker("a") };
    story.runs(&[declared]).cycle(A, (1, 1), TRANSIENT, Settle::Retry { delay }).stops();
}

fn bad_input_again(story: &mut Story, wrong: bool) {
    let settle = if wrong { RETRY } else { dead(DeadLetterCause::Invalid) };
    story.runs(&[worker("a")]).cycle(A, (1, 1), Some(FailureKind::Invalid), settle).stops();
}

fn panic_swallowed(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).inside(0, 7).cycle_starts(A, 1, 1).happens(What::PanicInjected);
    let failure = if wrong { None } else { Some(FailureKind::Panic) };
    story.cycle_ends(A, 1, failure, secs(0)).settles(A, 1, if wrong { Settle::Ack } else { RETRY });
    story.inside(0, 1).stops();
}

fn time_is_up_unheard(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).happens(What::TimeIsUp { worker: A, cycle: CycleId(1) });
    let failure = if wrong { None } else { Some(FailureKind::Timeout) };
    story.cycle_ends(A, 1, failure, secs(0)).settles(A, 1, if wrong { Settle::Ack } else { RETRY }).stops();
}

fn timed_out_too_soon(story: &mut Story, wrong: bool) {
    let said = CycleId(if wrong { 2 } else { 1 });
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).happens(What::TimeIsUp { worker: A, cycle: said });
    story.cycle_ends(A, 1, Some(FailureKind::Timeout), secs(0)).settles(A, 1, RETRY).stops();
}

fn stalled_too_soon(story: &mut Story, wrong: bool) {
    let declared = Declaration { cycle_timeout: None, progress_timeout: Some(secs(8)), ..worker("a") };
    let took = millis(if wrong { 7_999 } else { 8_000 });
    story.runs(&[declared]).cycle_starts(A, 1, 1).at(took);
    story.cycle_ends(A, 1, Some(FailureKind::Timeout), took).settles(A, 1, RETRY).stops();
}

/// Ten a second, and two at once.
fn limited() -> Declaration {
    Declaration { rate_limit: Some(RateLimit::of(10, secs(1)).burst(2)), ..worker("a") }
}

fn begin_at(story: &mut Story, times_ms: [u64; 4]) {
    story.runs(&[limited()]);
    for (cycle, time) in (1..).zip(times_ms) {
        story.at(millis(time)).cycle(A, (cycle, 1), None, Settle::Ack);
    }
    story.stops();
}

fn too_close(story: &mut Story, wrong: bool) {
    begin_at(story, if wrong { [0, 0, 99, 400] } else { [0, 0, 100, 400] });
}

fn creeping(story: &mut Story, wrong: bool) {
    // Each is far enough from the one before, and all of them are not.
    begin_at(story, if wrong { [0, 90, 180, 190] } else { [0, 90, 180, 270] });
}

/// A thousandth too close, each of them: over the first thousand that comes to as much as the burst has in hand.
fn creeping_for_long(story: &mut Story, wrong: bool) {
    let apart = Duration::from_micros(if wrong { 99_900 } else { 100_000 });
    story.runs(&[limited()]);
    for cycle in 0..=1_001_u32 {
        story.at(apart * cycle).cycle(A, (u64::from(cycle) + 1, 1), None, Settle::Ack);
    }
    story.stops();
}

fn burst_too_large(story: &mut Story, wrong: bool) {
    let cycles = if wrong { 301 } else { 300 };
    story.runs(&[Declaration { rate_limit: Some(RateLimit::of(10, secs(1)).burst(300)), ..worker("a") }]);
    for cycle in 1..=cycles {
        story.cycle(A, (cycle, 1), None, Settle::Ack);
    }
    story.stops();
}

/// As many as may begin at once do.
fn begins_a_burst(story: &mut Story) -> &mut Story {
    story.cycle(A, (1, 1), None, Settle::Ack).cycle(A, (2, 1), None, Settle::Ack)
}

fn reached(story: &mut Story) -> &mut Story {
    story.tells(Event::RateLimitReached { worker: A, wait: millis(100) })
}

fn eased(story: &mut Story, after: Duration) -> &mut Story {
    story.tells(Event::RateLimitEased { worker: A, after })
}

fn reached_in_quiet(story: &mut Story, wrong: bool) {
    begins_a_burst(story.runs(&[limited()]));
    // There is room for one more after 100 ms, for which a lane waits until the next whole millisecond.
    reached(story.at(millis(if wrong { 101 } else { 100 })));
    eased(story, secs(0)).stops();
}

fn reached_with_room(story: &mut Story, wrong: bool) {
    story.runs(&[limited()]).cycle(A, (1, 1), None, Settle::Ack);
    if !wrong {
        story.cycle(A, (2, 1), None, Settle::Ack);
    }
    eased(reached(story.at(millis(1))), secs(0)).stops();
}

/// Two of a burst of three have begun. The third place may be that of another lane, which asks its queue with it.
fn reached_without_places(story: &mut Story, wrong: bool) {
    let rate_limit = Some(RateLimit::of(10, secs(1)).burst(3));
    let source = if wrong { SourceKind::Continuous } else { SourceKind::Queue };
    begins_a_burst(story.runs(&[Declaration { rate_limit, source, concurrency: 2, ..worker("a") }]));
    eased(reached(story.at(millis(1))), secs(0)).stops();
}

fn reached_twice(story: &mut Story, wrong: bool) {
    begins_a_burst(story.runs(&[limited()]));
    reached(story);
    if wrong {
        reached(story);
    }
    eased(story.at(secs(2)), secs(2)).stops();
}

fn eased_unreached(story: &mut Story, wrong: bool) {
    begins_a_burst(story.runs(&[limited()]));
    if !wrong {
        reached(story);
    }
    eased(story.at(secs(2)), secs(2)).stops();
}

fn held_in_the_end(story: &mut Story, wrong: bool) {
    begins_a_burst(story.runs(&[limited()]));
    reached(story);
    if !wrong {
        eased(story, secs(0));
    }
    story.stops();
}

fn past_its_timeout(story: &mut Story, wrong: bool) {
    let took = millis(if wrong { 300_003 } else { 300_002 });
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).at(took);
    story.cycle_ends(A, 1, Some(FailureKind::Timeout), took).settles(A, 1, RETRY).stops();
}

fn only_once() -> Declaration {
    Declaration { retry: Retry::never(), ..worker("a") }
}

/// The input of this cycle is said to be given up, after so many attempts.
fn escalated(story: &mut Story, cycle: u64, attempts: u32, kind: FailureKind) {
    let (cycle, cause) = (Some(CycleId(cycle)), cause(kind));
    story.tells(Event::Escalated { worker: A, cycle, attempts, cause });
}

fn not_escalated(story: &mut Story, wrong: bool) {
    story.runs(&[only_once()]).cycle(A, (1, 1), TRANSIENT, dead(DeadLetterCause::Exhausted));
    if !wrong {
        escalated(story, 1, 1, FailureKind::Transient);
    }
    story.stops();
}

fn escalated_twice(story: &mut Story, wrong: bool) {
    story.runs(&[only_once()]).cycle(A, (1, 1), TRANSIENT, dead(DeadLetterCause::Exhausted));
    escalated(story, 1, 1, FailureKind::Transient);
    if wrong {
        escalated(story, 1, 1, FailureKind::Transient);
    }
    story.stops();
}

fn escalated_though_tried_again(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { retry: Retry::default().attempts_max(2), ..worker("a") }]);
    story.cycle(A, (1, 1), TRANSIENT, RETRY);
    if wrong {
        escalated(story, 1, 1, FailureKind::Transient);
    }
    story.at(secs(1)).cycle(A, (2, 2), TRANSIENT, dead(DeadLetterCause::Exhausted));
    escalated(story, 2, 2, FailureKind::Transient);
    story.stops();
}

/// The one attempt at an input has failed, and it is escalated so.
fn escalates(story: &mut Story, cycle: u64, attempts: u32, kind: FailureKind) {
    story.runs(&[only_once()]).cycle(A, (1, 1), TRANSIENT, dead(DeadLetterCause::Exhausted));
    escalated(story, cycle, attempts, kind);
    story.stops();
}

fn escalated_with_other_attempts(story: &mut Story, wrong: bool) {
    escalates(story, 1, if wrong { 2 } else { 1 }, FailureKind::Transient);
}

fn escalated_with_another_failure(story: &mut Story, wrong: bool) {
    escalates(story, 1, 1, if wrong { FailureKind::Timeout } else { FailureKind::Transient });
}

fn escalated_for_another_cycle(story: &mut Story, wrong: bool) {
    escalates(story, if wrong { 2 } else { 1 }, 1, FailureKind::Transient);
}

/// A delivery is claimed that has used up more attempts than the policy allows now, which is five.
fn escalated_unrun_too_soon(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]);
    let settle = dead(DeadLetterCause::Exhausted);
    story.tells(Event::SettledUnrun { worker: A, delivery: DeliveryId(1), settle });
    let (attempts, cause) = (if wrong { 4 } else { 5 }, cause(FailureKind::Transient));
    story.tells(Event::Escalated { worker: A, cycle: None, attempts, cause }).stops();
}

/// Whether the store has moved it aside, nobody knows: a person is told all the same.
fn escalated_unstored(story: &mut Story, wrong: bool) {
    story.runs(&[only_once()]).cycle_starts(A, 1, 1).cycle_ends(A, 1, TRANSIENT, secs(0));
    let (cycle, settle) = (Some(CycleId(1)), dead(DeadLetterCause::Exhausted));
    let cause = cause(FailureKind::Transient);
    story.tells(Event::SettleFailed { worker: A, cycle, delivery: None, settle, cause });
    escalated(story, 1, if wrong { 2 } else { 1 }, FailureKind::Transient);
    story.stops();
}

fn exhausted_again(story: &mut Story, wrong: bool) {
    let settle = if wrong { RETRY } else { dead(DeadLetterCause::Exhausted) };
    story.runs(&[only_once()]).cycle(A, (1, 1), TRANSIENT, settle);
    if !wrong {
        escalated(story, 1, 1, FailureKind::Transient);
    }
    story.stops();
}

fn crash_loop_not_escalated(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]);
    let settle = dead(DeadLetterCause::CrashLoop);
    story.tells(Event::SettledUnrun { worker: A, delivery: DeliveryId(1), settle });
    if !wrong {
        let cause = cause(FailureKind::Transient);
        story.tells(Event::Escalated { worker: A, cycle: None, attempts: 0, cause });
    }
    story.stops();
}

fn cycle_unsaid(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1);
    if !wrong {
        story.cycle_ends(A, 1, None, secs(0)).settles(A, 1, Settle::Ack);
    }
    story.stops();
}

fn settlement_unsaid(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).cycle_starts(A, 1, 1).cycle_ends(A, 1, None, secs(0));
    if !wrong {
        story.settles(A, 1, Settle::Ack);
    }
    story.stops();
}

/// What is left behind may still come to its end in the same instant, when the next life is announced.
fn ends_late_unbegun(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { on_fault: OnFault::restart(), ..worker("a") }]).cycle_starts(A, 1, 1);
    story.at(secs(5)).tells(Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) }).closes(A);
    story.at(secs(30)).tells(Event::WorkerAbandoned { worker: A, phase: WorkerPhase::Aborting });
    let (step, doing, age) = (StopStep::Abandoned, Doing::Waiting, secs(30));
    story.tells(Event::Straggler { worker: A, cycle: CycleId(1), attempt: 1, delivery: None, step, doing, age });
    story.tells(Event::WorkerRestarting { worker: A, restarts: 1, delay: secs(1) });
    let interrupted = Some(FailureKind::Interrupted);
    if wrong {
        story.cycle_ends(A, 2, interrupted, secs(30));
    } else {
        story.cycle_ends(A, 1, interrupted, secs(30)).settles(A, 1, Settle::Return);
    }
    story.at(secs(31)).starts(A).tells(Event::IntakeOpened { worker: A }).stops();
}

fn one_too_many(story: &mut Story, wrong: bool) {
    let declared = Declaration { concurrency: if wrong { 2 } else { 3 }, ..worker("a") };
    story.runs(&[declared]);
    for cycle in 1..=3 {
        story.cycle_starts(A, cycle, 1);
    }
    for cycle in 1..=3 {
        story.cycle_ends(A, cycle, None, secs(0)).settles(A, cycle, Settle::Ack);
    }
    story.stops();
}

fn snooze_spent(story: &mut Story, wrong: bool) {
    let settle = if wrong { RETRY } else { Settle::Snooze { delay: secs(1) } };
    story.runs(&[worker("a")]).cycle(A, (1, 1), Some(FailureKind::Snoozed), settle).stops();
}

fn discard_kept(story: &mut Story, wrong: bool) {
    let settle = if wrong { dead(DeadLetterCause::Invalid) } else { Settle::Discard };
    story.runs(&[worker("a")]).cycle(A, (1, 1), Some(FailureKind::Discarded), settle).stops();
}
