//! Q: what becomes of deliveries.

use shiftwork::{
    FailureKind, Rule,
    event::{CycleId, Event, Settle},
    queue::{DeliveryId, FencingToken},
};
use shiftwork_sim::{QueueOperation, What, millis, record::Settled, secs};

use crate::{
    Canary,
    story::{A, PARCEL, Story, cause, of_queue},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::Q1, "it is acked though its cycle failed", acked_after_a_failure),
    Canary::new(Rule::Q1, "it is settled while its cycle runs", settled_too_soon),
    Canary::new(Rule::Q1, "it is acked without a cycle, while another node is foreign", acked_beside_a_foreigner),
    Canary::new(Rule::Q2, "a stale claim settles it", settled_by_a_stale_claim),
    Canary::new(Rule::Q2, "one claim runs two cycles", two_cycles_of_one_claim),
    Canary::new(Rule::Q2, "a claim has no higher token", token_used_twice),
    Canary::new(Rule::Q3, "it is gone", lost),
    Canary::new(Rule::Q3, "it comes again after its ack", comes_again),
    Canary::new(Rule::Q4, "its host leaves with the lease", lease_kept),
    Canary::new(
        Rule::Q4,
        "its host leaves with the lease, while another node is foreign",
        lease_kept_beside_a_foreigner,
    ),
    Canary::new(Rule::Q5, "it runs after all its crashes", crash_loop_goes_on),
    Canary::new(Rule::Q6, "its cycle runs on without a lease", runs_on_without_a_lease),
    Canary::new(Rule::Q6, "the claim that was lost is the later one", later_claim_lost),
    Canary::new(Rule::Q7, "it overtakes another of its key", overtakes),
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

fn runs_on_without_a_lease(story: &mut Story, wrong: bool) {
    taken_over(story).tells(Event::LeaseLost { worker: A, delivery: PARCEL, token: FencingToken(1) });
    let took = millis(if wrong { 2 } else { 1 });
    story.at(took).cycle_ends(A, 1, Some(FailureKind::Interrupted), took);
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.holds_the_parcel().stops();
}

/// The worker claims again what one of its own lanes still works on. One of the two claims is lost, and the first lane ends
/// for it.
fn later_claim_lost(story: &mut Story, wrong: bool) {
    let two_lanes = shiftwork::event::Declaration { concurrency: 2, ..of_queue("a") };
    story.runs(&[two_lanes]).claimed().packing_starts(1);
    story.at(secs(40)).claimed_again(2).packing_starts(2);
    let token = FencingToken(if wrong { 2 } else { 1 });
    story.tells(Event::LeaseLost { worker: A, delivery: PARCEL, token });
    story.cycle_ends(A, 1, Some(FailureKind::Interrupted), secs(40));
    let (cycle, delivery, cause) = (Some(CycleId(1)), Some(PARCEL), cause(FailureKind::Transient));
    story.tells(Event::SettleFailed { worker: A, cycle, delivery, settle: Settle::Return, cause });
    story.at(secs(50)).cycle_ends(A, 2, None, secs(10));
    story.stored(2, Settled::Acked).packing_settles(2, Settle::Ack).stops();
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
