//! Who is woken by what: `changed()` completes when a claim may find more than before, or has to wait less long.

use shiftwork_queue::{Queue, Settlement};
use tokio_test::{assert_pending, assert_ready, task};

use crate::driver::{Driver, at, message, retry, words};

/// Whether a listener from before `event` is woken by it.
fn wakes<R>(queue: &Driver<&'static str>, event: impl FnOnce() -> R) -> bool {
    let mut changed = task::spawn(queue.queue.changed());
    assert_pending!(changed.poll());
    event();
    let woken = changed.is_woken();
    assert_eq!(changed.poll().is_ready(), woken, "woken and ready go together");
    woken
}

#[test]
fn it_listens_from_the_call_and_not_from_the_first_poll() {
    let queue = words();
    let mut changed = task::spawn(queue.queue.changed());
    queue.push(message("a"), 0);
    assert_ready!(changed.poll());
}

#[test]
fn a_push_before_the_call_does_not_count() {
    let queue = words();
    queue.push(message("a"), 0);
    assert_pending!(task::spawn(queue.queue.changed()).poll());
}

#[test]
fn a_push_wakes_every_listener() {
    let queue = words();
    let mut changed = [task::spawn(queue.queue.changed()), task::spawn(queue.queue.changed())];
    queue.push(message("a"), 0);
    for changed in &mut changed {
        assert_ready!(changed.poll());
    }
}

#[test]
fn a_push_wakes() {
    let queue = words();
    assert!(wakes(&queue, || queue.push(message("a"), 0)));
}

#[test]
fn a_delayed_push_wakes_for_it_may_be_the_next_one_due() {
    let queue = words();
    assert!(wakes(&queue, || queue.push(message("a").not_before(at(5)), 0)));
}

#[test]
fn an_undecodable_delivery_wakes() {
    let queue = words();
    assert!(wakes(&queue, || queue.queue.push_undecodable("damaged", at(0))));
}

#[test]
fn a_return_wakes() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    assert!(wakes(&queue, || queue.settle(lease, Settlement::Return, 0).unwrap()));
}

#[test]
fn an_ack_wakes_when_another_one_of_its_ordering_key_has_its_turn() {
    let queue = words();
    queue.push(message("a1").ordering_key("a"), 0);
    queue.push(message("a2").ordering_key("a"), 0);
    let first = queue.lease(0);
    assert!(wakes(&queue, || queue.settle(first, Settlement::Ack, 0).unwrap()));
    let second = queue.lease(0);
    assert!(!wakes(&queue, || queue.settle(second, Settlement::Ack, 0).unwrap()));
}

#[test]
fn a_retry_wakes() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    assert!(wakes(&queue, || queue.settle(lease, retry(5), 0).unwrap()));
}

#[test]
fn a_requeue_wakes() {
    let queue = words();
    queue.push(message("a"), 0);
    let id = queue.bury(0);
    assert!(wakes(&queue, || assert!(queue.requeue(id, 0))));
}

#[test]
fn an_acknowledgement_wakes_nobody() {
    let queue = words();
    queue.push(message("a"), 0);
    let lease = queue.lease(0);
    assert!(!wakes(&queue, || queue.settle(lease, Settlement::Ack, 0).unwrap()));
}

#[test]
fn a_dead_letter_wakes_nobody() {
    let queue = words();
    queue.push(message("a"), 0);
    assert!(!wakes(&queue, || queue.bury(0)));
}

#[test]
fn a_push_that_adds_nothing_wakes_nobody() {
    let queue = words();
    queue.push(message("a").unique_key("k"), 0);
    assert!(!wakes(&queue, || queue.push(message("b").unique_key("k"), 0)));
}
