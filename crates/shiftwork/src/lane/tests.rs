//! How often a lane reads the clock, which shows in the times of its events.

use std::{
    marker::PhantomData,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use shiftwork_queue::{MemoryQueue, Message, Queue, Timestamp};
use tokio::{sync::Notify, time::Instant};

use crate::{Context, Continuous, Event, Failure, Host, QueueSourceExt, Schedule, Source, Worker};

const CYCLES: u64 = 3;

/// Does nothing with whatever it gets.
struct Idle<I>(PhantomData<fn(I)>);

impl<I: Send + 'static> Worker for Idle<I> {
    type Input = I;

    async fn cycle(&self, _: I, _: &Context) -> Result<(), Failure> {
        Ok(())
    }
}

/// When each cycle began, and when it was settled, on the machine's clock.
fn moments(source: impl Source) -> Vec<(Instant, Instant)> {
    let heard: Arc<Mutex<(Vec<Instant>, Vec<Instant>)>> = Arc::default();
    let enough = Arc::new(Notify::new());
    let listener = {
        let (heard, enough) = (heard.clone(), enough.clone());
        move |at, event: &Event| {
            let (began, settled) = &mut *heard.lock().unwrap();
            if let Event::CycleStarted { .. } = event {
                began.push(at);
            } else if let Event::Settled { .. } = event {
                settled.push(at);
            }
            if settled.len() as u64 == CYCLES {
                enough.notify_one();
            }
        }
    };
    let host = Host::builder().listener(listener).worker("idle", source, Idle(PhantomData));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let report = runtime.block_on(host.run_until(async move { enough.notified().await }));
    assert!(report.workers[0].cycles.succeeded >= CYCLES);
    let (began, settled) = &*heard.lock().unwrap();
    began.iter().copied().zip(settled.iter().copied()).collect()
}

#[test]
fn a_continuous_cycle_begins_when_the_last_one_was_settled() {
    let moments = moments(Continuous::times(NonZeroU64::new(CYCLES).unwrap()));
    assert_eq!(moments.len() as u64, CYCLES);
    assert!(moments.is_sorted_by(|earlier, later| earlier.1 == later.0), "{moments:?}");
}

#[test]
fn a_delivery_that_waits_is_worked_on_when_the_last_one_was_settled() {
    let queue = MemoryQueue::new();
    let messages = (0..CYCLES).map(Message::new).collect();
    tokio_test::block_on(queue.push(messages, Timestamp::UNIX_EPOCH)).unwrap();
    let moments = moments(queue.source());
    assert!(moments.is_sorted_by(|earlier, later| earlier.1 == later.0), "{moments:?}");
}

#[test]
fn a_tick_begins_at_a_reading_of_its_own() {
    let moments = moments(Schedule::every(Duration::from_millis(1)));
    assert!(moments.is_sorted_by(|earlier, later| later.0 > earlier.1), "{moments:?}");
}
