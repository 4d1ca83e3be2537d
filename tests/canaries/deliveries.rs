//! Q: what becomes of deliveries.

use std::time::Duration;

use shiftwork::{
    Batches, FailureKind, OnFault, Retry, Rule,
    event::{CycleId, Declaration, Doing, Event, Settle, StopStep, WorkerPhase},
    queue::{DeadLetterCause, DeliveryId, FencingToken},
};
use shiftwork_sim::{QueueOperation, What, millis, record::Settled, secs};

use crate::{
    Canary,
    story::{A, B, PARCEL, Story, cause, of_queue},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::Q1, "it is acked though its cycle failed", acked_after_a_failure),
    Canary::new(Rule::Q1, "it is settled while its cycle runs", settled_too_soon),
    Canary::new(Rule::Q1, "it is acked without a cycle, while another node is foreign", acked_beside_a_foreigner),
    Canary::new(Rule::Q1, "what no cycle ran for has spent an attempt", spent_unrun),
    Canary::new(Rule::Q1, "it is said to be acked before it is", acked_too_soon),
    Canary::new(Rule::Q1, "it is said to be acked, and its store has it for a retry", said_otherwise),
    Canary::new(Rule::Q1, "another one is said to be acked", acked_another),
    Canary::new(Rule::Q1, "it is said to be acked and is not, but one is of its number", acked_in_another_store),
    Canary::new(Rule::Q1, "it is said to be returned without a cycle, and is not", returned_unstored),
    Canary::new(Rule::Q2, "a stale claim settles it", settled_by_a_stale_claim),
    Canary::new(Rule::Q2, "one claim runs two cycles", two_cycles_of_one_claim),
    Canary::new(Rule::Q2, "a claim has no higher token", token_used_twice),
    Canary::new(
        Rule::Q2,
        "a cycle begins with a delivery that nobody has claimed, in a lane that has",
        begins_what_nobody_has_claimed,
    ),
    Canary::new(Rule::Q3, "it is gone", lost),
    Canary::new(Rule::Q3, "it comes again after its ack", comes_again),
    Canary::new(Rule::Q4, "its host leaves with the lease", lease_kept),
    Canary::new(
        Rule::Q4,
        "its host leaves with the lease, while another node is foreign",
        lease_kept_beside_a_foreigner,
    ),
    Canary::new(Rule::Q5, "it runs after all its crashes", crash_loop_goes_on),
    Canary::new(Rule::Q5, "it is a crash loop before it has crashed so often", crash_loop_too_soon),
    Canary::new(Rule::Q5, "a crash loop is said to be exhausted", crash_loop_misnamed),
    Canary::new(Rule::C4, "it is bad input, and no cycle has said so", bad_input_unrun),
    Canary::new(Rule::C7, "it is exhausted before its last attempt", exhausted_too_soon),
    Canary::new(Rule::Q6, "its cycle runs on without a lease", runs_on_without_a_lease),
    Canary::new(Rule::Q6, "the claim that was lost is the later one", later_claim_lost),
    Canary::new(Rule::Q7, "it overtakes another of its key", overtakes),
    Canary::new(Rule::Q8, "its lease is given up before its cycle should have ended", given_up_too_soon),
    Canary::new(Rule::Q9, "a batch is larger than it may be", batch_too_large),
    Canary::new(Rule::Q9, "a cycle of a batch worker begins by itself", in_no_batch),
    Canary::new(Rule::Q9, "a cycle of a batch ends before its call does", out_of_its_batch),
    Canary::new(Rule::Q9, "a batch ends of which not every cycle had begun", batch_half_begun),
    Canary::new(Rule::Q10, "a delivery that crashed before has company", crashed_in_company),
    Canary::new(Rule::Q11, "its worker begins again what it still works on", begins_again_what_it_works_on),
    Canary::new(Rule::Q11, "its worker does so after a life that was left behind", begins_again_in_a_later_life),
];

const TRANSIENT: Option<FailureKind> = Some(FailureKind::Transient);
const RETRY: Settle = Settle::Retry { delay: secs(1) };

/// One worker of a queue, and its cycle with the delivery has begun.
fn packs(story: &mut Story) -> &mut Story {
    story.runs(&[of_queue("a")]).claimed().packing_starts(1)
}

fn acked_after_a_failure(story: &mut Story, wrong: bool) {
    packs(story).cycle_ends(A, 1, TRANSIENT, secs(0));
    if wrong {
        story.stored(1, Settled::Acked);
    } else {
        story.stored(1, Settled::Retried).holds_the_parcel();
    }
    story.packing_settles(1, RETRY).stops();
}

fn settled_too_soon(story: &mut Story, wrong: bool) {
    packs(story);
    if wrong {
        story.stored(1, Settled::Returned);
    }
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(0));
    if !wrong {
        story.stored(1, Settled::Returned);
    }
    story.packing_settles(1, Settle::Return).holds_the_parcel().stops();
}

fn acked_too_soon(story: &mut Story, wrong: bool) {
    packs(story).cycle_ends(A, 1, None, secs(0));
    if wrong {
        story.packing_settles(1, Settle::Ack).stored(1, Settled::Acked);
    } else {
        story.stored(1, Settled::Acked).packing_settles(1, Settle::Ack);
    }
    story.stops();
}

/// The reply to the first settlement was lost, and the second try is refused: that is never said. The next claim is settled as well, and is.
fn said_otherwise(story: &mut Story, wrong: bool) {
    packs(story).cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(0)).stored(1, Settled::Returned);
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.queue(QueueOperation::Fenced { delivery: PARCEL, token: 1 });
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 2, attempt: 1, crashes: 0, told: true });
    story.packing_starts(2).cycle_ends(A, 2, None, secs(0));
    if wrong {
        story.stored(2, Settled::Retried).holds_the_parcel();
    } else {
        story.stored(2, Settled::Acked);
    }
    story.packing_settles(2, Settle::Ack).stops();
}

fn acked_another(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]);
    claims(story, 2, 0);
    starts(story, 1);
    story.cycle_ends(A, 1, None, secs(0));
    story.queue(QueueOperation::Settled { delivery: PARCEL, token: 1, how: Settled::Acked });
    let delivery = Some(DeliveryId(if wrong { 2 } else { 1 }));
    story.tells(Event::Settled { worker: A, cycle: CycleId(1), delivery, settle: Settle::Ack });
    story.queue(QueueOperation::Settled { delivery: DeliveryId(2), token: 1, how: Settled::DeadLettered });
    story.stops();
}

/// The second worker has a store of its own, and in that a delivery of the same number, at its third attempt. It is done first.
fn acked_in_another_store(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a"), of_queue("b")]).claimed().packing_starts(1);
    let (worker, cycle, delivery) = (B, CycleId(1), Some(PARCEL));
    story.inside(0, 2).tells(Event::CycleStarted { worker, cycle, attempt: 3, delivery });
    story.cycle_ends(B, 1, None, secs(0)).tells(Event::Settled { worker, cycle, delivery, settle: Settle::Ack });
    story.inside(0, 1).cycle_ends(A, 1, None, secs(0));
    if wrong {
        story.holds_the_parcel();
    } else {
        story.stored(1, Settled::Acked);
    }
    story.packing_settles(1, Settle::Ack).stops();
}

/// By the time that it is said, another node has the delivery.
fn returned_unstored(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed();
    if !wrong {
        story.stored(1, Settled::Returned);
    }
    let crashes = u32::from(wrong);
    let claim = QueueOperation::Claimed { delivery: PARCEL, token: 2, attempt: 1, crashes, told: true };
    story.inside(1, 1).queue(claim).inside(0, 1);
    settled_unrun(story, Settle::Return);
    story.inside(1, 1).stored(2, Settled::Returned).inside(0, 1).holds_the_parcel().stops();
}

/// A worker that does not use the runtime begins in the second node.
fn foreigner(story: &mut Story) -> &mut Story {
    story.inside(1, 1).happens(What::Booted { boot: 1 }).happens(What::ForeignBegan { within: secs(5) }).inside(0, 1)
}

fn acked_beside_a_foreigner(story: &mut Story, wrong: bool) {
    foreigner(story).runs(&[of_queue("a")]);
    if wrong {
        story.claimed();
    } else {
        // What the foreigner acks is its own affair.
        story.inside(1, 1).claimed();
    }
    story.stored(1, Settled::Acked).inside(0, 1).stops();
}

/// Another node has the delivery by now.
fn taken_over(story: &mut Story) -> &mut Story {
    packs(story).inside(1, 1).claimed_again(2).inside(0, 1)
}

fn settled_by_a_stale_claim(story: &mut Story, wrong: bool) {
    taken_over(story).cycle_ends(A, 1, TRANSIENT, secs(0)).holds_the_parcel();
    if wrong {
        story.stored(1, Settled::Returned);
    } else {
        story.queue(QueueOperation::Fenced { delivery: PARCEL, token: 1 });
    }
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: RETRY, cause }).stops();
}

fn two_cycles_of_one_claim(story: &mut Story, wrong: bool) {
    packs(story).cycle_ends(A, 1, TRANSIENT, secs(0)).stored(1, Settled::Returned);
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: RETRY, cause });
    if !wrong {
        story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 2, attempt: 1, crashes: 0, told: true });
    }
    story.packing_starts(2).cycle_ends(A, 2, None, secs(0));
    story.stored(if wrong { 1 } else { 2 }, Settled::Acked).packing_settles(2, Settle::Ack).stops();
}

fn token_used_twice(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed().stored(1, Settled::Returned);
    let token = if wrong { 1 } else { 2 };
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token, attempt: 1, crashes: 0, told: true });
    story.stored(token, Settled::Returned).holds_the_parcel().stops();
}

/// Its lane has claimed the parcel, and gives that back. Another node has the other one later.
fn begins_what_nobody_has_claimed(story: &mut Story, wrong: bool) {
    let other = DeliveryId(2);
    story.runs(&[of_queue("a")]).queue(QueueOperation::Pushed(other)).claimed();
    let delivery = Some(if wrong { other } else { PARCEL });
    story.tells(Event::CycleStarted { worker: A, cycle: CycleId(1), attempt: 1, delivery });
    story.cycle_ends(A, 1, TRANSIENT, secs(0)).stored(1, Settled::Returned).holds_the_parcel();
    let (cycle, cause) = (Some(CycleId(1)), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: RETRY, cause });
    let claim = QueueOperation::Claimed { delivery: other, token: 1, attempt: 1, crashes: 0, told: true };
    let settled = QueueOperation::Settled { delivery: other, token: 1, how: Settled::DeadLettered };
    story.inside(1, 1).queue(claim).queue(settled).inside(0, 1).stops();
}

fn lost(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed().stored(1, Settled::Returned).stops();
    if !wrong {
        story.holds_the_parcel();
    }
}

fn comes_again(story: &mut Story, wrong: bool) {
    packs(story).cycle_ends(A, 1, None, secs(0)).stored(1, Settled::Acked).packing_settles(1, Settle::Ack);
    if wrong {
        story.claimed_again(2).stored(2, Settled::DeadLettered);
    }
    story.stops();
}

fn lease_kept(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed().holds_the_parcel();
    if wrong {
        story.queue(QueueOperation::StillLeased(PARCEL));
    } else {
        story.stored(1, Settled::Returned);
    }
    story.stops();
}

fn lease_kept_beside_a_foreigner(story: &mut Story, wrong: bool) {
    foreigner(story);
    lease_kept(story, wrong);
}

fn crash_loop_goes_on(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).queue(QueueOperation::Pushed(PARCEL));
    let crashes = if wrong { 3 } else { 2 };
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 4, attempt: 1, crashes, told: true });
    story.packing_starts(1).cycle_ends(A, 1, None, secs(0));
    story.stored(4, Settled::Acked).packing_settles(1, Settle::Ack).stops();
}

fn settled_unrun(story: &mut Story, settle: Settle) {
    story.tells(Event::SettledUnrun { worker: A, delivery: PARCEL, settle });
}

fn spent_unrun(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed().stored(1, if wrong { Settled::Retried } else { Settled::Returned });
    settled_unrun(story, if wrong { RETRY } else { Settle::Return });
    story.holds_the_parcel().stops();
}

/// It is moved aside under this claim, no cycle having run.
fn moved_aside(story: &mut Story, token: u64, cause: DeadLetterCause) {
    story.stored(token, Settled::DeadLettered);
    settled_unrun(story, Settle::DeadLetter { cause, pause: secs(0) });
}

/// It is given up so, after as many attempts.
fn given_up(story: &mut Story, token: u64, why: DeadLetterCause, attempts: u32) {
    moved_aside(story, token, why);
    let cause = cause(FailureKind::Transient);
    story.tells(Event::Escalated { worker: A, cycle: None, attempts, cause }).stops();
}

/// It is claimed for the fourth time, by a worker whose cap is three crashes.
fn claimed_after_crashes(story: &mut Story, crashes: u32) {
    story.runs(&[of_queue("a")]).queue(QueueOperation::Pushed(PARCEL));
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 4, attempt: 1, crashes, told: true });
}

fn crash_loop_too_soon(story: &mut Story, wrong: bool) {
    claimed_after_crashes(story, if wrong { 2 } else { 3 });
    given_up(story, 4, DeadLetterCause::CrashLoop, 0);
}

/// A foreigner has tried it once. It is claimed again by a worker that makes so many attempts.
fn tried_once(story: &mut Story, attempts_max: u32, crashes: u32) {
    foreigner(story).inside(1, 1).claimed().stored(1, Settled::Retried).inside(0, 1);
    story.runs(&[Declaration { retry: Retry::default().attempts_max(attempts_max), ..of_queue("a") }]);
    story.queue(QueueOperation::Claimed { delivery: PARCEL, token: 2, attempt: 2, crashes, told: true });
}

fn crash_loop_misnamed(story: &mut Story, wrong: bool) {
    tried_once(story, 1, 3);
    let why = if wrong { DeadLetterCause::Exhausted } else { DeadLetterCause::CrashLoop };
    given_up(story, 2, why, 1);
}

fn exhausted_too_soon(story: &mut Story, wrong: bool) {
    tried_once(story, if wrong { 2 } else { 1 }, 0);
    given_up(story, 2, DeadLetterCause::Exhausted, 1);
}

fn bad_input_unrun(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a")]).claimed();
    moved_aside(story, 1, if wrong { DeadLetterCause::Invalid } else { DeadLetterCause::Undecodable });
    story.stops();
}

fn runs_on_without_a_lease(story: &mut Story, wrong: bool) {
    taken_over(story).tells(Event::LeaseLost { worker: A, delivery: PARCEL, token: FencingToken(1) });
    let took = millis(if wrong { 2 } else { 1 });
    story.at(took).cycle_ends(A, 1, Some(FailureKind::Interrupted), took);
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.holds_the_parcel().stops();
}

/// Another worker of the process claims what the first still works on. One of the two claims is lost, and the first worker's
/// cycle ends for it.
fn later_claim_lost(story: &mut Story, wrong: bool) {
    story.runs(&[of_queue("a"), of_queue("b")]).claimed().packing_starts(1);
    story.at(secs(40)).claimed_again(2);
    story.tells(Event::CycleStarted { worker: B, cycle: CycleId(1), attempt: 1, delivery: Some(PARCEL) });
    let token = FencingToken(if wrong { 2 } else { 1 });
    story.tells(Event::LeaseLost { worker: A, delivery: PARCEL, token });
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(40));
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.at(secs(50)).cycle_ends(B, 1, None, secs(10)).stored(2, Settled::Acked);
    story.tells(Event::Settled { worker: B, cycle: CycleId(1), delivery: Some(PARCEL), settle: Settle::Ack }).stops();
}

fn given_up_too_soon(story: &mut Story, wrong: bool) {
    let declared = Declaration { cycle_timeout: None, progress_timeout: Some(secs(300)), ..of_queue("a") };
    let after = secs(if wrong { 299 } else { 310 });
    story.runs(&[declared]).claimed().packing_starts(1);
    story.at(after).tells(Event::LeaseGivenUp { worker: A, delivery: PARCEL, after });
    // It gets on after all.
    story.at(secs(320)).cycle_ends(A, 1, None, secs(320));
    story.stored(1, Settled::Acked).packing_settles(1, Settle::Ack).stops();
}

/// A worker with batches of two.
fn of_batches() -> Declaration {
    Declaration { concurrency: 2, batch: Some(Batches::of(2)), ..of_queue("a") }
}

fn batch_starts(first: u64, cycles: u32) -> Event {
    Event::BatchStarted { worker: A, first: CycleId(first), cycles }
}

fn batch_ends(first: u64, cycles: u32) -> Event {
    Event::BatchEnded { worker: A, first: CycleId(first), cycles, failure: None, took: secs(0) }
}

/// This many deliveries are claimed, numbered as their cycles will be.
fn claims(story: &mut Story, deliveries: u64, crashes: u32) {
    for delivery in (1..=deliveries).map(DeliveryId) {
        story.queue(QueueOperation::Pushed(delivery));
        let crashes = if delivery == PARCEL { crashes } else { 0 };
        story.queue(QueueOperation::Claimed { delivery, token: 1, attempt: 1, crashes, told: true });
    }
}

fn starts(story: &mut Story, cycle: u64) {
    let delivery = Some(DeliveryId(cycle));
    story.tells(Event::CycleStarted { worker: A, cycle: CycleId(cycle), attempt: 1, delivery });
}

fn acks(story: &mut Story, cycle: u64) {
    let delivery = DeliveryId(cycle);
    story.queue(QueueOperation::Settled { delivery, token: 1, how: Settled::Acked });
    let (cycle, delivery) = (CycleId(cycle), Some(delivery));
    story.tells(Event::Settled { worker: A, cycle, delivery, settle: Settle::Ack });
}

fn batch_too_large(story: &mut Story, wrong: bool) {
    let cycles = if wrong { 3 } else { 2 };
    story.runs(&[Declaration { concurrency: 3, ..of_batches() }]);
    claims(story, cycles.into(), 0);
    story.tells(batch_starts(1, cycles));
    (1..=cycles.into()).for_each(|cycle| starts(story, cycle));
    story.tells(batch_ends(1, cycles));
    for cycle in 1..=cycles.into() {
        story.cycle_ends(A, cycle, None, secs(0));
    }
    (1..=cycles.into()).for_each(|cycle| acks(story, cycle));
    story.stops();
}

fn in_no_batch(story: &mut Story, wrong: bool) {
    story.runs(&[of_batches()]);
    claims(story, 1, 0);
    if !wrong {
        story.tells(batch_starts(1, 1));
    }
    starts(story, 1);
    if !wrong {
        story.tells(batch_ends(1, 1));
    }
    story.cycle_ends(A, 1, None, secs(0));
    acks(story, 1);
    story.stops();
}

fn out_of_its_batch(story: &mut Story, wrong: bool) {
    story.runs(&[of_batches()]);
    claims(story, 2, 0);
    story.tells(batch_starts(1, 2));
    (1..=2).for_each(|cycle| starts(story, cycle));
    if wrong {
        story.cycle_ends(A, 1, None, secs(0));
    }
    story.at(secs(1)).tells(batch_ends(1, 2));
    if !wrong {
        story.cycle_ends(A, 1, None, secs(1));
    }
    story.cycle_ends(A, 2, None, secs(1));
    (1..=2).for_each(|cycle| acks(story, cycle));
    story.stops();
}

fn batch_half_begun(story: &mut Story, wrong: bool) {
    story.runs(&[of_batches()]);
    claims(story, 1, 0);
    let cycles = if wrong { 2 } else { 1 };
    story.tells(batch_starts(1, cycles));
    starts(story, 1);
    story.tells(batch_ends(1, cycles)).cycle_ends(A, 1, None, secs(0));
    acks(story, 1);
    story.stops();
}

fn crashed_in_company(story: &mut Story, wrong: bool) {
    story.runs(&[of_batches()]);
    claims(story, 2, u32::from(wrong));
    story.tells(batch_starts(1, 2));
    (1..=2).for_each(|cycle| starts(story, cycle));
    story.tells(batch_ends(1, 2)).cycle_ends(A, 1, None, secs(0)).cycle_ends(A, 2, None, secs(0));
    (1..=2).for_each(|cycle| acks(story, cycle));
    story.stops();
}

/// The first cycle has worked on it since then, under this claim. Its worker claims it again, and begins the second: before the first has
/// ended, or after that.
fn begins_again(story: &mut Story, since: Duration, token: u64, wrong: bool) {
    story.at(since + secs(40)).claimed_again(token + 1);
    story.tells(Event::LeaseLost { worker: A, delivery: PARCEL, token: FencingToken(token) });
    if wrong {
        story.packing_starts(2);
    }
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(40));
    if !wrong {
        story.packing_starts(2);
    }
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.at(since + secs(50)).cycle_ends(A, 2, None, secs(10));
    story.stored(token + 1, Settled::Acked).packing_settles(2, Settle::Ack).stops();
}

/// A worker that has two lanes, and is restarted.
fn of_two_lanes() -> Declaration {
    Declaration { concurrency: 2, on_fault: OnFault::restart(), ..of_queue("a") }
}

fn begins_again_what_it_works_on(story: &mut Story, wrong: bool) {
    story.runs(&[of_two_lanes()]).claimed().packing_starts(1);
    begins_again(story, secs(0), 1, wrong);
}

fn begins_again_in_a_later_life(story: &mut Story, wrong: bool) {
    story.runs(&[of_two_lanes()]).claimed().packing_starts(1);
    story.at(secs(5)).tells(Event::WorkerFaulted { worker: A, cause: cause(FailureKind::Fatal) }).closes(A);
    // Left behind, the first cycle never ends.
    story.at(secs(30)).tells(Event::WorkerAbandoned { worker: A, phase: WorkerPhase::Aborting });
    let (step, doing, age) = (StopStep::Abandoned, Doing::Waiting, secs(30));
    let (cycle, delivery) = (CycleId(1), Some(PARCEL));
    story.tells(Event::Straggler { worker: A, cycle, attempt: 1, delivery, step, doing, age });
    story.tells(Event::WorkerRestarting { worker: A, restarts: 1, delay: secs(1) });
    story.at(secs(31)).starts(A).tells(Event::IntakeOpened { worker: A });
    // The next one has its number.
    story.at(secs(60)).claimed_again(2).packing_starts(1);
    begins_again(story, secs(60), 2, wrong);
}

fn overtakes(story: &mut Story, wrong: bool) {
    let second = DeliveryId(2);
    story.runs(&[of_queue("a")]);
    for delivery in [PARCEL, second] {
        story.queue(QueueOperation::Pushed(delivery)).queue(QueueOperation::InLine { delivery, line: 7 });
    }
    for delivery in if wrong { [second, PARCEL] } else { [PARCEL, second] } {
        story.queue(QueueOperation::Claimed { delivery, token: 1, attempt: 1, crashes: 0, told: true });
        story.queue(QueueOperation::Settled { delivery, token: 1, how: Settled::DeadLettered });
    }
    story.stops();
}
