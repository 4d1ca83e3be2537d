//! Payloads that are not plain data: they panic, use the queue when they are dropped, cannot be read, or are secret.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use shiftwork_queue::{DeadLetterCause, MemoryQueue, Message, Settlement, Undecodable};
use tokio_test::{assert_pending, task};

use crate::driver::{Driver, at, dead_letter, message, words};

/// Panics when it is cloned while armed.
#[derive(Debug)]
struct Fragile {
    armed: Arc<AtomicBool>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.armed.load(Ordering::Relaxed), "injected: the payload cannot be cloned");
        Self { armed: Arc::clone(&self.armed) }
    }
}

#[test]
fn a_payload_that_panics_when_it_is_cloned_loses_nothing() {
    let armed = Arc::new(AtomicBool::new(true));
    let queue = Driver { queue: MemoryQueue::new() };
    queue.push(Message::new(Fragile { armed: Arc::clone(&armed) }), 0);
    catch_unwind(AssertUnwindSafe(|| queue.claim(1, 0))).unwrap_err();

    armed.store(false, Ordering::Relaxed);
    let delivery = queue.claim(1, 0).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (1, 0));
}

#[test]
fn a_payload_that_panics_when_it_is_claimed_with_a_settlement_spoils_no_settlement() {
    let armed = Arc::new(AtomicBool::new(false));
    let queue = Driver { queue: MemoryQueue::new() };
    queue.push(Message::new(Fragile { armed: Arc::clone(&armed) }), 0);
    queue.push(Message::new(Fragile { armed: Arc::clone(&armed) }), 0);
    let lease = queue.lease(0);
    armed.store(true, Ordering::Relaxed);
    let (settled, claimed) = queue.ack_and_claim(lease, (1, 10), 0);
    assert!(settled.is_ok() && claimed.is_empty());

    armed.store(false, Ordering::Relaxed);
    let delivery = queue.claim(1, 0).remove(0);
    assert_eq!((delivery.attempt, delivery.crashes), (1, 0));
}

/// Panics as it is dropped; its clones do not.
struct Rude(bool);

impl Clone for Rude {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        assert!(!self.0, "injected: the payload cannot be dropped");
    }
}

#[test]
fn a_producer_is_told_of_the_room_that_a_payload_leaves_which_panics_as_it_is_dropped() {
    let queue = Driver { queue: MemoryQueue::bounded(1) };
    queue.push(Message::new(Rude(true)), 0);
    let lease = queue.lease(0);
    let mut push = task::spawn(queue.queue.push_when_room(vec![Message::new(Rude(false))], || at(0)));
    assert_pending!(push.poll());
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert!(push.is_woken());
}

#[test]
fn a_payload_that_panics_as_it_is_dropped_spoils_no_answer_to_many_settlements() {
    let queue = Driver { queue: MemoryQueue::new() };
    queue.push_all(vec![Message::new(Rude(true)), Message::new(Rude(false))], 0).unwrap();
    let settlements = queue.claim(2, 0).iter().map(|delivery| (delivery.lease, Settlement::Ack)).collect();
    let answers = queue.settle_many(settlements, 0);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
}

/// Looks at the queue when it is dropped.
#[derive(Clone)]
struct Nosy {
    queue: MemoryQueue<Nosy>,
}

impl Drop for Nosy {
    fn drop(&mut self) {
        assert!(self.queue.snapshot(at(0)).len() < 2);
    }
}

fn nosy() -> (Driver<Nosy>, Message<Nosy>) {
    let queue = MemoryQueue::new();
    let message = Message::new(Nosy { queue: queue.clone() });
    (Driver { queue }, message)
}

#[test]
fn an_acknowledged_payload_may_use_the_queue_when_it_is_dropped() {
    let (queue, message) = nosy();
    queue.push(message, 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert_eq!(queue.depth(0), [0, 0, 0, 0]);
}

#[test]
fn a_discarded_payload_may_use_the_queue_when_it_is_dropped() {
    let (queue, message) = nosy();
    queue.push(message, 0);
    let id = queue.bury(0);
    assert!(queue.discard(id));
}

#[test]
fn a_pruned_payload_may_use_the_queue_when_it_is_dropped() {
    let (queue, message) = nosy();
    queue.push(message, 0);
    queue.bury(0);
    assert_eq!(queue.prune(1, 1), 1);
}

#[test]
fn a_refused_payload_may_use_the_queue_when_it_is_dropped() {
    let (queue, message) = nosy();
    queue.push(message.clone().unique_key("k"), 0);
    queue.push(message.unique_key("k"), 0);
    let lease = queue.lease(0);
    queue.settle(lease, Settlement::Ack, 0).unwrap();
    assert_eq!(queue.depth(0), [0, 0, 0, 0]);
}

#[test]
fn an_undecodable_payload_is_delivered_as_such() {
    let queue = words();
    let id = queue.queue.push_undecodable("bad magic", at(0));
    let delivery = queue.claim(1, 0).remove(0);
    assert_eq!(delivery.lease.delivery, id);
    assert_eq!(delivery.payload, Err(Undecodable::new("bad magic")));
}

#[test]
fn an_undecodable_payload_does_not_keep_others_from_being_claimed() {
    let queue = words();
    queue.queue.push_undecodable("bad magic", at(0));
    queue.push(message("good"), 0);
    assert_eq!(queue.claim(2, 0)[1].payload, Ok("good"));
}

#[test]
fn an_undecodable_payload_is_still_undecodable_as_a_dead_letter() {
    let queue = words();
    queue.queue.push_undecodable("bad magic", at(0));
    let lease = queue.lease(0);
    queue.settle(lease, dead_letter(DeadLetterCause::Undecodable), 0).unwrap();
    assert!(queue.dead_letters(None, 1)[0].payload.is_err());
}

#[test]
fn the_debug_text_shows_counts_and_no_payload() {
    let queue = words();
    queue.push(message("secret"), 0);
    assert_eq!(format!("{:?}", queue.queue), "MemoryQueue { capacity: None, unsettled: 1, dead: 0 }");
}
