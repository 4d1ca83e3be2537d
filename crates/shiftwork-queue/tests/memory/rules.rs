//! Each rule of the contract, and each choice that the in-memory queue makes where the contract leaves one.

use shiftwork_queue::{
    DeadLetterCause, DeliveryId, Lease, MemoryQueue, Priority, Pushed, Settlement, Timestamp, memory::HISTORY_MAX,
    memory::Stage,
};

use crate::driver::{Driver, LEASE_SECONDS, at, dead_letter, message, retry, words};

// Rule 1: at least once.

#[test]
fn an_acknowledged_delivery_is_gone() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Ack, 1).unwrap();
    assert_eq!(queue.depth(100), [0, 0, 0, 0]);
}

#[test]
fn a_delivery_whose_holder_vanished_is_delivered_again() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    assert_eq!(queue.payloads(LEASE_SECONDS), ["a"]);
}

#[test]
fn handles_share_one_queue() {
    let queue = words();
    let other = Driver { queue: queue.queue.clone() };
    other.push(message("a"), 0);
    assert_eq!(queue.payloads(0), ["a"]);
}

// Rule 2: one lease.

#[test]
fn a_leased_delivery_is_not_claimed() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    assert_eq!(queue.claim(1, LEASE_SECONDS - 1), []);
}

#[test]
fn a_lease_lasts_as_long_as_the_claim_asks() {
    let queue = words();
    queue.push(message("a"), 0);
    let (claimed, _) = queue.claim_for(1, 7, 3);
    assert_eq!(claimed[0].lease.expires_at, at(10));
}

#[test]
fn a_lease_beyond_the_end_of_time_ends_with_it() {
    let queue = words();
    queue.push(message("a"), 0);
    let (claimed, _) = queue.claim_for(1, i64::MAX, 0);
    assert_eq!(claimed[0].lease.expires_at, Timestamp::MAX);
}

#[test]
fn every_claim_of_a_delivery_has_a_higher_token() {
    let queue = words();
    queue.push(message("a"), 0);
    let lapsed = queue.lease(0);
    let returned = queue.lease(20);
    queue.settle(returned, Settlement::Return, 20).unwrap();
    let retried = queue.lease(20);
    queue.settle(retried, retry(20), 20).unwrap();
    let id = queue.bury(20);
    queue.requeue(id, 20);
    let requeued = queue.lease(20);
    let tokens = [lapsed, returned, retried, requeued].map(|lease| lease.token);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[test]
fn a_renewed_lease_does_not_lapse_at_its_first_end() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    assert_eq!(queue.renew(&[lease], 30), []);
    assert_eq!(queue.claim(1, 29), []);
}

#[test]
fn a_lease_can_be_renewed_to_an_earlier_end() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.renew(&[lease], 3);
    assert_eq!(queue.payloads(3), ["a"]);
}

// Rule 3: fenced.

#[test]
fn a_settled_lease_cannot_settle_again() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert!(queue.settle(lease, Settlement::Ack, 0).unwrap_err().is_lease_lost());
}

#[test]
fn a_returned_lease_is_lost_before_anybody_claims() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Return, 0).unwrap();
    assert!(queue.settle(lease, Settlement::Ack, 0).unwrap_err().is_lease_lost());
}

#[test]
fn an_earlier_claimant_cannot_settle() {
    let queue = words();
    queue.push(message("a"), 0);
    let stale = queue.lease(0);
    let current = queue.lease(LEASE_SECONDS);
    assert!(queue.settle(stale, Settlement::Ack, 11).unwrap_err().is_lease_lost());
    queue.settle(current, Settlement::Ack, 11).unwrap();
}

#[test]
fn an_earlier_claimant_cannot_settle_after_a_requeue() {
    let queue = words();
    queue.push(message("a"), 0);
    let stale = queue.lease(0);
    queue.settle(stale, dead_letter(DeadLetterCause::Invalid), 0).unwrap();
    queue.requeue(stale.delivery, 0);
    queue.lease(0);
    assert!(queue.settle(stale, Settlement::Ack, 0).unwrap_err().is_lease_lost());
}

#[test]
fn lost_leases_are_told_from_renewed_ones() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.push(message("b"), 0);
    let [settled, held] = [queue.lease(0), queue.lease(0)];
    queue.settle(settled, Settlement::Ack, 0).unwrap();
    assert_eq!(queue.renew(&[settled, held], 30), [settled]);
}

#[test]
fn a_lapsed_lease_settles_until_somebody_claims() {
    let queue = words();
    queue.push(message("a"), 0);
    let lapsed = queue.lease(0);
    queue.claim(0, 50);
    queue.settle(lapsed, Settlement::Ack, 50).unwrap();
    assert_eq!(queue.depth(50), [0, 0, 0, 0]);
}

#[test]
fn a_lapsed_lease_that_is_renewed_cannot_be_claimed() {
    let queue = words();
    queue.push(message("a"), 0);
    let lapsed = queue.lease(0);
    queue.claim(0, 50);
    assert_eq!(queue.renew(&[lapsed], 60), []);
    assert_eq!(queue.claim(1, 50), []);
}

#[test]
fn a_settled_lease_leaves_the_other_leases_good() {
    let queue = words();
    for payload in ["a", "b", "c"] {
        queue.push(message(payload), 0);
    }
    let leases: Vec<Lease> = queue.claim(3, 0).into_iter().map(|delivery| delivery.lease).collect();
    queue.settle(leases[0], Settlement::Ack, 0).unwrap();
    assert_eq!(queue.renew(&leases[1..], 30), []);
}

// Rule 4: counted.

#[test]
fn a_failure_counts_as_an_attempt_and_not_as_a_crash() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, retry(0), 0).unwrap();
    let delivery = queue.claim(1, 0).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (2, 0));
}

#[test]
fn a_lapsed_lease_counts_as_a_crash_and_not_as_an_attempt() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    let delivery = queue.claim(1, LEASE_SECONDS).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (1, 1));
}

#[test]
fn a_return_counts_as_nothing() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Return, 0).unwrap();
    let delivery = queue.claim(1, 0).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (1, 0));
}

#[test]
fn a_snooze_counts_as_nothing_and_waits() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Snooze { until: at(5) }, 1).unwrap();
    assert!(queue.payloads(4).is_empty());
    let delivery = queue.claim(1, 5).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (1, 0));
}

#[test]
fn the_first_claim_is_remembered_until_a_requeue() {
    let queue = words();
    queue.push(message("a"), 0);
    let first = queue.claim(1, 3).remove(0);
    assert_eq!(first.first_claimed_at, at(3));
    queue.settle(first.lease, retry(7), 4).unwrap();
    let second = queue.claim(1, 7).remove(0);
    assert_eq!(second.first_claimed_at, at(3));
    queue.settle(second.lease, dead_letter(DeadLetterCause::Exhausted), 8).unwrap();
    queue.requeue(second.lease.delivery, 9);
    assert_eq!(queue.claim(1, 9).remove(0).first_claimed_at, at(9));
}

#[test]
fn a_delivery_says_since_when_it_has_been_due() {
    let queue = words();
    queue.push(message("late").not_before(at(5)), 0);
    let late = queue.claim(1, 6).remove(0);
    assert_eq!(late.due_at, at(5), "what it was delayed by is no waiting");
    queue.settle(late.lease, Settlement::Return, 7).unwrap();
    let returned = queue.claim(1, 8).remove(0);
    assert_eq!(returned.due_at, at(5), "it has not had its turn yet");
    let lapsed = queue.claim(1, 8 + LEASE_SECONDS).remove(0);
    assert_eq!(lapsed.due_at, at(5));
    queue.settle(lapsed.lease, retry(30), 20).unwrap();
    let retried = queue.claim(1, 33).remove(0);
    assert_eq!(retried.due_at, at(30));
    queue.settle(retried.lease, dead_letter(DeadLetterCause::Exhausted), 34).unwrap();
    queue.requeue(retried.lease.delivery, 40);
    assert_eq!(queue.claim(1, 41).remove(0).due_at, at(40));
}

#[test]
fn a_delivery_has_not_been_due_since_before_its_push() {
    let queue = words();
    queue.push(message("overdue").not_before(at(1)), 5);
    assert_eq!(queue.claim(1, 6).remove(0).due_at, at(5));
}

#[test]
fn a_lapsed_lease_that_its_holder_settles_is_no_crash() {
    let queue = words();
    queue.push(message("a"), 0);
    let lapsed = queue.lease(0);
    queue.claim(0, 50);
    queue.settle(lapsed, retry(50), 50).unwrap();
    assert_eq!(queue.claim(1, 50)[0].crashes, 0);
}

// Rule 5: order.

#[test]
fn messages_of_one_push_are_delivered_in_its_order() {
    let queue = words();
    queue.push_all(vec![message("a"), message("b"), message("c")], 0).unwrap();
    assert_eq!(queue.payloads(0), ["a", "b", "c"]);
}

#[test]
fn a_higher_priority_goes_first() {
    let queue = words();
    queue.push(message("low").priority(Priority(-1)), 0);
    queue.push(message("normal"), 0);
    queue.push(message("high").priority(Priority(1)), 0);
    assert_eq!(queue.payloads(0), ["high", "normal", "low"]);
}

#[test]
fn what_is_urgent_goes_first_once_it_is_due_and_is_first_of_its_ordering_key() {
    let queue = words();
    queue.push(message("urgent later").priority(Priority(9)).not_before(at(5)), 0);
    queue.push(message("first of a").ordering_key("a").priority(Priority(-1)), 0);
    queue.push(message("urgent, behind").ordering_key("a").priority(Priority(8)), 0);
    queue.push(message("normal"), 0);
    let first = queue.claim(1, 4);
    assert_eq!(first[0].payload, Ok("normal"), "neither what is not due nor what is behind another one");
    let next = queue.claim(9, 5);
    assert_eq!(next.iter().map(|it| it.payload.clone()).collect::<Vec<_>>(), [Ok("urgent later"), Ok("first of a")]);
    queue.settle(next[1].lease, Settlement::Ack, 6).unwrap();
    queue.push(message("newer"), 6);
    assert_eq!(queue.payloads(6), ["urgent, behind", "newer"]);
}

#[test]
fn a_low_priority_waits_for_as_long_as_there_is_something_higher() {
    let queue = words();
    queue.push(message("low").priority(Priority(-1)), 0);
    for second in 1..50 {
        queue.push(message("normal"), second);
        let claimed = queue.claim(1, second);
        assert_eq!(claimed[0].payload, Ok("normal"));
        queue.settle(claimed[0].lease, Settlement::Ack, second).unwrap();
    }
    assert_eq!(queue.payloads(50), ["low"]);
}

#[test]
fn an_earlier_due_time_goes_before_an_earlier_push() {
    let queue = words();
    queue.push(message("late").not_before(at(5)), 0);
    queue.push(message("early"), 1);
    assert_eq!(queue.payloads(9), ["early", "late"]);
}

#[test]
fn a_due_time_in_the_past_is_kept() {
    let queue = words();
    queue.push(message("now"), 5);
    queue.push(message("overdue").not_before(at(1)), 5);
    assert_eq!(queue.payloads(5), ["overdue", "now"]);
}

#[test]
fn a_returned_delivery_is_back_in_its_place() {
    let queue = words();
    for payload in ["a", "b", "c"] {
        queue.push(message(payload), 0);
    }
    let leases = [queue.lease(0), queue.lease(0)];
    queue.settle(leases[1], Settlement::Return, 1).unwrap();
    assert_eq!(queue.payloads(1), ["b", "c"]);
}

#[test]
fn a_lapsed_delivery_is_back_in_its_place() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.push(message("b"), 0);
    queue.lease(0);
    assert_eq!(queue.payloads(LEASE_SECONDS), ["a", "b"]);
}

#[test]
fn a_lapsed_delivery_of_a_low_priority_does_not_go_first() {
    let queue = words();
    queue.push(message("low").priority(Priority(-1)), 0);
    queue.lease(0);
    queue.push(message("normal"), 5);
    assert_eq!(queue.payloads(LEASE_SECONDS), ["normal", "low"]);
}

#[test]
fn a_retry_is_ordered_by_its_new_time() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, retry(3), 0).unwrap();
    queue.push(message("b"), 2);
    queue.push(message("c"), 4);
    assert_eq!(queue.payloads(5), ["b", "a", "c"]);
}

#[test]
fn a_claim_takes_no_more_than_it_asks_for() {
    let queue = words();
    queue.push_all(vec![message("a"), message("b"), message("c")], 0).unwrap();
    assert_eq!(queue.claim(2, 0).len(), 2);
}

// Rule 6: time is a parameter.

#[test]
fn a_delayed_message_is_delivered_from_its_time_on() {
    let queue = words();
    queue.push(message("a").not_before(at(5)), 0);
    assert_eq!(queue.claim(1, 4), []);
    assert_eq!(queue.payloads(5), ["a"]);
}

#[test]
fn a_retry_is_delivered_from_its_time_on() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, retry(5), 0).unwrap();
    assert_eq!(queue.claim(1, 4), []);
    assert_eq!(queue.payloads(5), ["a"]);
}

#[test]
fn a_returned_delivery_is_due_although_the_clock_went_back() {
    let queue = words();
    queue.push(message("a").not_before(at(5)), 0);
    let lease = queue.lease(5);
    queue.settle(lease, Settlement::Return, 2).unwrap();
    assert_eq!(queue.payloads(2), ["a"]);
}

#[test]
fn a_lapsed_lease_is_live_again_when_the_clock_went_back() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    queue.claim(0, 50);
    assert_eq!(queue.claim(1, LEASE_SECONDS - 1), []);
}

#[test]
fn a_claim_tells_when_a_delayed_message_is_due() {
    let queue = words();
    queue.push(message("a").not_before(at(5)), 0);
    assert_eq!(queue.claim_for(1, 10, 0).1, Some(at(5)));
}

#[test]
fn a_claim_tells_when_a_lease_ends() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    assert_eq!(queue.claim_for(1, 10, 0).1, Some(at(LEASE_SECONDS)));
}

#[test]
fn a_claim_of_an_empty_queue_knows_no_next_time() {
    assert_eq!(words().claim_for(1, 10, 0).1, None);
}

// Unique keys.

#[test]
fn a_key_of_a_waiting_delivery_is_refused() {
    let queue = words();
    let first = queue.push(message("a").unique_key("k"), 0);
    assert_eq!(queue.push(message("b").unique_key("k"), 0), Pushed::Duplicate(first.id()));
}

#[test]
fn a_key_of_a_leased_delivery_is_refused() {
    let queue = words();
    let first = queue.push(message("a").unique_key("k"), 0);
    queue.lease(0);
    assert_eq!(queue.push(message("b").unique_key("k"), 0), Pushed::Duplicate(first.id()));
}

#[test]
fn a_key_is_refused_while_its_delivery_waits_for_a_retry() {
    let queue = words();
    let first = queue.push(message("a").unique_key("k"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, retry(50), 0).unwrap();
    assert_eq!(queue.push(message("b").unique_key("k"), 0), Pushed::Duplicate(first.id()));
}

#[test]
fn a_key_is_refused_within_one_push() {
    let queue = words();
    let pushed = queue.push_all(vec![message("a").unique_key("k"), message("b").unique_key("k")], 0).unwrap();
    assert_eq!(pushed, [Pushed::Added(DeliveryId(1)), Pushed::Duplicate(DeliveryId(1))]);
}

#[test]
fn a_key_is_free_once_its_delivery_is_acknowledged() {
    let queue = words();
    queue.push(message("a").unique_key("k"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert!(matches!(queue.push(message("b").unique_key("k"), 0), Pushed::Added(_)));
}

#[test]
fn a_key_is_free_once_its_delivery_is_a_dead_letter() {
    let queue = words();
    queue.push(message("a").unique_key("k"), 0);
    queue.bury(0);
    assert!(matches!(queue.push(message("b").unique_key("k"), 0), Pushed::Added(_)));
}

#[test]
fn a_requeued_delivery_has_its_key_again() {
    let queue = words();
    queue.push(message("a").unique_key("k"), 0);
    let id = queue.bury(0);
    queue.requeue(id, 0);
    assert_eq!(queue.push(message("b").unique_key("k"), 0), Pushed::Duplicate(id));
}

#[test]
fn a_requeued_delivery_does_not_take_its_key_from_another() {
    let queue = words();
    queue.push(message("a").unique_key("k"), 0);
    let requeued = queue.bury(0);
    let owner = queue.push(message("b").unique_key("k"), 0).id();
    assert!(queue.requeue(requeued, 0));
    let lease = queue.claim(2, 0).into_iter().find(|delivery| delivery.lease.delivery == requeued).unwrap().lease;
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert_eq!(queue.push(message("c").unique_key("k"), 0), Pushed::Duplicate(owner));
}

// Dead letters.

#[test]
fn a_dead_letter_is_not_delivered() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.bury(0);
    assert_eq!(queue.claim(1, 100), []);
}

#[test]
fn a_dead_letter_says_why_when_and_what_happened_before() {
    let queue = words();
    queue.push(message("a"), 1);
    let lease = queue.lease(1);
    queue.settle(lease, retry(2), 1).unwrap();
    queue.lease(2);
    let lease = queue.lease(20);
    queue.settle(lease, dead_letter(DeadLetterCause::Exhausted), 21).unwrap();

    let letter = queue.dead_letters(None, 10).remove(0);
    let history: Vec<&str> = letter.history.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(letter.payload, Ok("a"));
    assert_eq!(letter.cause, DeadLetterCause::Exhausted);
    assert_eq!(history, ["retried", "moved aside"]);
    assert_eq!((letter.crashes, letter.pushed_at, letter.dead_at), (1, at(1), at(21)));
}

#[test]
fn dead_letters_come_in_pages_by_id() {
    let queue = words();
    for payload in ["a", "b", "c"] {
        queue.push(message(payload), 0);
        queue.bury(0);
    }
    let ids = |after, limit| queue.dead_letters(after, limit).into_iter().map(|letter| letter.id.0).collect::<Vec<_>>();
    assert_eq!(ids(None, 2), [1, 2]);
    assert_eq!(ids(Some(DeliveryId(2)), 2), [3]);
}

#[test]
fn a_dead_letter_keeps_the_newest_failures() {
    let queue = words();
    queue.push(message("a"), 0);
    for _ in 0..HISTORY_MAX {
        let lease = queue.lease(0);
        queue.settle(lease, retry(0), 0).unwrap();
    }
    queue.bury(0);
    let history = queue.dead_letters(None, 1).remove(0).history;
    assert_eq!(history.len(), HISTORY_MAX);
    assert_eq!(history[HISTORY_MAX - 1].message, "moved aside");
}

#[test]
fn a_requeued_delivery_has_its_id_and_fresh_counts() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    let lease = queue.lease(20);
    queue.settle(lease, retry(20), 20).unwrap();
    let id = queue.bury(20);
    assert!(queue.requeue(id, 20));
    let delivery = queue.claim(1, 20).remove(0);
    assert_eq!((delivery.lease.delivery, delivery.attempt, delivery.crashes), (id, 1, 0));
}

#[test]
fn a_requeued_delivery_keeps_its_history_for_the_next_dead_letter() {
    let queue = words();
    queue.push(message("a"), 0);
    let id = queue.bury(0);
    queue.requeue(id, 0);
    queue.bury(0);
    assert_eq!(queue.dead_letters(None, 1)[0].history.len(), 2);
}

#[test]
fn a_requeued_delivery_is_due_from_the_requeue_on() {
    let queue = words();
    queue.push(message("a"), 0);
    let id = queue.bury(0);
    queue.push(message("b"), 3);
    queue.requeue(id, 5);
    assert_eq!(queue.payloads(5), ["b", "a"]);
}

#[test]
fn a_discarded_dead_letter_is_gone() {
    let queue = words();
    queue.push(message("a"), 0);
    let id = queue.bury(0);
    assert!(queue.discard(id));
    assert!(!queue.requeue(id, 0));
}

#[test]
fn dead_letters_of_before_a_time_are_pruned_a_few_at_a_time() {
    let queue = words();
    for (moved_aside, payload) in (1..).zip(["a", "b", "c", "d"]) {
        queue.push(message(payload), moved_aside);
        queue.bury(moved_aside);
    }
    assert_eq!((queue.prune(4, 2), queue.prune(4, 2), queue.prune(4, 2)), (2, 1, 0));
    let left = queue.dead_letters(None, 10);
    assert_eq!(left.iter().map(|letter| letter.payload.clone().unwrap()).collect::<Vec<_>>(), ["d"]);
}

#[test]
fn nothing_is_pruned_that_waits_or_is_leased() {
    let queue = words();
    queue.push_all(vec![message("leased"), message("waits")], 0).unwrap();
    queue.lease(0);
    assert_eq!(queue.prune(1_000, 10), 0);
    assert_eq!(queue.depth(0), [1, 0, 1, 0]);
}

#[test]
fn a_waiting_delivery_is_neither_requeued_nor_discarded() {
    let queue = words();
    let id = queue.push(message("a"), 0).id();
    assert!(!queue.requeue(id, 0));
    assert!(!queue.discard(id));
}

// Capacity.

fn bounded(capacity: usize) -> Driver<&'static str> {
    Driver { queue: MemoryQueue::bounded(capacity) }
}

#[test]
fn a_full_queue_takes_all_of_a_push_or_nothing() {
    let queue = bounded(2);
    queue.push(message("a"), 0);
    assert!(queue.push_all(vec![message("b"), message("c")], 0).unwrap_err().is_full());
    assert_eq!(queue.depth(0), [1, 0, 0, 0]);
}

#[test]
fn a_push_that_just_fits_is_taken() {
    let queue = bounded(2);
    assert_eq!(queue.push_all(vec![message("a"), message("b")], 0).unwrap().len(), 2);
}

#[test]
fn a_leased_delivery_takes_room() {
    let queue = bounded(1);
    queue.push(message("a"), 0);
    queue.lease(0);
    assert!(queue.push_all(vec![message("b")], 0).unwrap_err().is_full());
}

#[test]
fn a_dead_letter_takes_no_room() {
    let queue = bounded(1);
    queue.push(message("a"), 0);
    queue.bury(0);
    assert!(queue.push_all(vec![message("b")], 0).is_ok());
}

#[test]
fn duplicates_take_no_room() {
    let queue = bounded(2);
    queue.push(message("a").unique_key("k"), 0);
    let keyed = |key| message("b").unique_key(key);
    assert!(queue.push_all(vec![keyed("k"), keyed("new"), keyed("new")], 0).is_ok());
}

// Looking into it.

#[test]
fn depth_counts_each_state() {
    let queue = words();
    for payload in ["dead", "leased", "ready", "ready"] {
        queue.push(message(payload), 0);
    }
    queue.push(message("delayed").not_before(at(5)), 0);
    queue.bury(0);
    queue.lease(0);
    assert_eq!(queue.depth(0), [2, 1, 1, 1]);
}

#[test]
fn a_lapsed_lease_still_counts_as_leased() {
    let queue = words();
    queue.push(message("a"), 0);
    queue.lease(0);
    queue.claim(0, 50);
    assert_eq!(queue.depth(50), [0, 0, 1, 0]);
}

#[test]
fn a_snapshot_shows_where_each_delivery_is() {
    let queue = words();
    queue.push(message("leased"), 0);
    queue.push(message("ready"), 0);
    queue.push(message("delayed").not_before(at(5)), 0);
    let lease = queue.lease(0);
    let stages: Vec<Stage> = queue.snapshot(0).into_iter().map(|entry| entry.stage).collect();
    assert_eq!(stages, [Stage::Leased { lease }, Stage::Ready, Stage::Delayed { until: at(5) }]);
}

#[test]
fn a_snapshot_shows_the_renewed_end_of_a_lease() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    queue.renew(&[lease], 30);
    let renewed = Lease { expires_at: at(30), ..lease };
    assert_eq!(queue.stage(lease.delivery, 0), Some(Stage::Leased { lease: renewed }));
}

#[test]
fn deliveries_of_one_ordering_key_come_one_at_a_time_in_the_order_of_their_pushes() {
    let queue = words();
    for (payload, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        queue.push(message(payload).ordering_key(key).priority(Priority(i16::from(payload == "a3"))), 0);
    }
    let claimed = queue.claim(9, 0);
    assert_eq!(claimed.iter().map(|delivery| delivery.payload.clone()).collect::<Vec<_>>(), [Ok("a1"), Ok("b1")]);
    assert_eq!(queue.depth(0), [0, 2, 2, 0]);

    // A retry keeps its place, and those behind wait with it.
    queue.settle(claimed[0].lease, retry(5), 1).unwrap();
    assert!(queue.payloads(4).is_empty());
    let again = queue.lease(5);
    queue.settle(again, Settlement::Ack, 6).unwrap();
    assert_eq!(queue.payloads(6), ["a2"]);
}

#[test]
fn a_dead_letter_lets_the_next_of_its_ordering_key_go_and_goes_to_the_end_when_it_is_requeued() {
    let queue = words();
    for payload in ["a1", "a2", "a3"] {
        queue.push(message(payload).ordering_key("a"), 0);
    }
    let first = queue.bury(0);
    assert_eq!(queue.claim(9, 0).len(), 1, "the second, and not the third");
    queue.requeue(first, 1);
    assert_eq!(queue.stage(first, 1), Some(Stage::Behind));
}

#[test]
fn a_full_queue_gives_the_messages_back() {
    let queue = MemoryQueue::bounded(1);
    queue.try_push(vec![message("a")], at(0)).unwrap();
    let full = queue.try_push(vec![message("b")], at(0)).unwrap_err();
    assert_eq!((full.messages[0].payload, full.capacity), ("b", 1));
}

#[test]
fn a_push_waits_for_room_and_is_of_the_time_when_there_is_some() {
    let queue = Driver { queue: MemoryQueue::bounded(1) };
    queue.push(message("a"), 0);
    let time = std::cell::Cell::new(0);
    let mut push = tokio_test::task::spawn(queue.queue.push_when_room(vec![message("b")], || at(time.get())));
    tokio_test::assert_pending!(push.poll());
    let lease = queue.lease(1);
    time.set(3);
    assert!(!push.is_woken(), "a claim makes no room");
    queue.settle(lease, Settlement::Ack, 3).unwrap();
    assert!(push.is_woken());
    assert_eq!(tokio_test::assert_ready_ok!(push.poll()).len(), 1);
    assert_eq!(queue.claim(1, 3)[0].due_at, at(3));
}

#[test]
fn a_push_that_no_queue_of_this_size_could_take_does_not_wait() {
    let queue = MemoryQueue::bounded(1);
    let both = vec![message("a"), message("b")];
    assert!(tokio_test::block_on(queue.push_when_room(both, || at(0))).unwrap_err().is_full());
}

#[test]
fn what_is_pushed_twice_takes_room_once() {
    let queue = MemoryQueue::bounded(1);
    let twice = || vec![message("a").unique_key("k"), message("b").unique_key("k")];
    let pushed = tokio_test::block_on(queue.push_when_room(twice(), || at(0))).unwrap();
    assert_eq!(pushed[1], Pushed::Duplicate(pushed[0].id()));
    let again = tokio_test::block_on(queue.push_when_room(twice(), || at(0))).unwrap();
    assert_eq!(again, [Pushed::Duplicate(pushed[0].id()); 2]);
}

// Rule 7: one by one.

#[test]
fn one_stale_settlement_of_many_spoils_none_of_the_others() {
    let queue = words();
    for payload in ["a", "b", "c", "d"] {
        queue.push(message(payload), 0);
    }
    let stale = queue.lease(0);
    let leases: Vec<Lease> = queue.claim(3, 0).iter().map(|delivery| delivery.lease).collect();
    // Somebody else has "a" by now.
    queue.renew(&leases, 2 * LEASE_SECONDS);
    let newer = queue.lease(LEASE_SECONDS);
    assert_eq!(newer.delivery, stale.delivery);

    let ends = [Settlement::Ack, dead_letter(DeadLetterCause::Invalid), retry(50)];
    let many = leases.into_iter().zip(ends);
    let many = std::iter::once((stale, Settlement::Ack)).chain(many).collect();
    let answers = queue.settle_many(many, LEASE_SECONDS);
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, true]);
    assert!(answers[0].as_ref().is_err_and(|error| error.is_lease_lost()));
    // "d" waits for its retry, "a" is still leased, "c" is dead.
    assert_eq!(queue.depth(LEASE_SECONDS), [0, 1, 1, 1]);
}

#[test]
fn nothing_to_settle_is_no_answer() {
    assert!(words().settle_many(Vec::new(), 0).is_empty());
}

#[test]
fn what_is_claimed_with_a_settlement_is_claimed_after_it() {
    let queue = words();
    queue.push(message("a").ordering_key("line"), 0);
    queue.push(message("b").ordering_key("line"), 0);
    let lease = queue.lease(0);
    let (settled, claimed) = queue.ack_and_claim(lease, (5, LEASE_SECONDS), 3);
    settled.unwrap();
    assert_eq!(claimed.iter().map(|delivery| delivery.payload.clone()).collect::<Vec<_>>(), [Ok("b")]);
    assert_eq!(claimed[0].lease.expires_at, at(3 + LEASE_SECONDS));
}

#[test]
fn nothing_is_claimed_with_a_settlement_that_is_refused() {
    let queue = words();
    queue.push(message("a"), 0);
    let stale = queue.lease(0);
    queue.lease(LEASE_SECONDS);
    queue.push(message("b"), LEASE_SECONDS);
    let (settled, claimed) = queue.ack_and_claim(stale, (5, LEASE_SECONDS), LEASE_SECONDS);
    assert!(settled.is_err_and(|error| error.is_lease_lost()));
    assert_eq!(claimed, []);
    assert_eq!(queue.depth(LEASE_SECONDS), [1, 0, 1, 0]);
}
