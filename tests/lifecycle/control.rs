//! A host's handle: stop, status, what is in flight, subscriptions.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use shiftwork::{
    Context, Continuous, CycleInFlight, Event, ExitStatus, Failure, Heard, Host, HostBuilder, QueueSourceExt, Retry,
    Schedule, Tick,
    event::{CycleId, Doing, WorkerPhase},
    queue::{DeliveryId, MemoryQueue, Message, Queue, Timestamp},
};
use shiftwork_sim::{millis, secs};

fn host() -> Host {
    with_worker(Host::builder())
}

/// A host whose worker fails at every other tick.
fn with_worker(host: HostBuilder) -> Host {
    let work = |tick: Tick, _: Context| async move {
        if tick.number.is_multiple_of(2) { Err(Failure::transient("even ticks are bad luck")) } else { Ok(()) }
    };
    let once = Retry::exponential().attempts_max(1);
    host.worker("odd", Schedule::every(secs(10)), work).retry(once).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handle_stops_its_host_and_asking_twice_is_harmless() {
    let mut host = host();
    let handle = host.handle();
    let run = tokio::spawn(host.run_until(std::future::pending()));
    tokio::time::sleep(secs(5)).await;
    handle.stop();
    handle.stop();
    let report = run.await.unwrap();
    assert_eq!(report.exit, ExitStatus::Clean);
    assert_eq!(report.ran, secs(5));
    handle.stop();
}

#[tokio::test(start_paused = true)]
async fn a_handle_tells_where_each_worker_stands() {
    let mut host = host();
    let handle = host.handle();
    let standing = |handle: &shiftwork::HostHandle| {
        let status = handle.status();
        (status[0].phase, status[0].failing, status[0].last_success)
    };
    assert_eq!(standing(&handle), (WorkerPhase::Pending, false, None));
    let run = tokio::spawn(host.run_until(std::future::pending()));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(standing(&handle), (WorkerPhase::Running, false, Some(secs(5))));
    tokio::time::sleep(secs(10)).await;
    assert_eq!(standing(&handle), (WorkerPhase::Running, true, Some(secs(15))));
    handle.stop();
    assert!(run.await.unwrap().is_clean());
    assert_eq!(standing(&handle), (WorkerPhase::Stopped, true, Some(secs(15))));
}

#[tokio::test(start_paused = true)]
async fn a_handle_tells_what_a_worker_has_in_flight() {
    let orders = MemoryQueue::new();
    orders.push_one(Message::new(17u32), Timestamp::UNIX_EPOCH).await.unwrap();
    let charge = |_: u32, _: Context| async {
        tokio::time::sleep(secs(10)).await;
        Ok::<(), Failure>(())
    };
    let mut host = Host::builder().worker("charge", orders.source(), charge).build().unwrap();
    let handle = host.handle();
    assert_eq!(handle.in_flight("charge").unwrap(), [], "it does not run yet");
    let run = tokio::spawn(host.run_until(std::future::pending()));
    tokio::time::sleep(secs(5)).await;
    let delivery = Some(DeliveryId(1));
    let order = CycleInFlight { cycle: CycleId(1), attempt: 1, delivery, doing: Doing::Waiting, age: secs(5) };
    assert_eq!(handle.in_flight("charge").unwrap(), [order]);
    assert!(handle.in_flight("charges").unwrap_err().is_unknown());
    handle.stop();
    assert!(run.await.unwrap().is_clean());
    assert_eq!(handle.in_flight("charge").unwrap(), [], "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_hears_every_event_in_order() {
    let said: Arc<Mutex<Vec<Event>>> = Arc::default();
    let listener = said.clone();
    let listener = move |_: tokio::time::Instant, event: &Event| listener.lock().unwrap().push(event.clone());
    let mut host = with_worker(Host::builder().listener(listener));
    let handle = host.handle();
    let mut events = handle.subscribe();
    let report = host.run_until(tokio::time::sleep(secs(15))).await;
    assert!(report.is_clean());
    drop(handle);
    let mut heard = Vec::new();
    while let Some(one) = events.next().await {
        match one {
            Heard::Event(event) => heard.push(event),
            Heard::Missed(count) => panic!("it missed {count}"),
        }
    }
    assert_eq!(heard, *said.lock().unwrap());
    // Two ticks, of which one failed, from the host's first word to its last.
    let names: Vec<&str> = heard.iter().map(Event::name).collect();
    assert_eq!((names.first(), names.last()), (Some(&"host_starting"), Some(&"host_stopped")));
    assert_eq!(names.iter().filter(|name| **name == "cycle_ended").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_what_it_missed_and_slows_nobody() {
    let busy = |(): (), _: Context| async {
        tokio::time::sleep(millis(1)).await;
        Ok::<(), Failure>(())
    };
    let mut host = Host::builder().worker("busy", Continuous::new(), busy).build().unwrap();
    let handle = host.handle();
    let mut events = handle.subscribe();
    let report = host.run_until(tokio::time::sleep(secs(10))).await;
    let cycles = report.worker("busy").unwrap().cycles.succeeded;
    assert!(cycles >= 9_999, "{cycles}");
    let Some(Heard::Missed(missed)) = events.next().await else { panic!("it missed nothing") };
    assert!(missed > 20_000, "three events a cycle, and room for four thousand: {missed}");
    assert!(matches!(events.next().await, Some(Heard::Event(_))));
}

#[tokio::test(start_paused = true)]
async fn activations_dropped_by_a_lagging_broadcast() {
    // A hundred ticks a second, each of them with four events, and somebody who listens to none of them.
    let ticks = Arc::new(AtomicU64::new(0));
    let served = ticks.clone();
    let count = move |tick: Tick, _: Context| {
        let last = served.fetch_add(1, Ordering::Relaxed);
        async move {
            assert_eq!((tick.number, tick.missed), (last + 1, 0));
            Ok::<(), Failure>(())
        }
    };
    let mut host = Host::builder().worker("ticks", Schedule::every(millis(10)), count).build().unwrap();
    let handle = host.handle();
    let mut events = handle.subscribe();
    let report = host.run_until(tokio::time::sleep(millis(60_005))).await;
    assert_eq!(report.worker("ticks").unwrap().cycles.succeeded, 6_001);
    assert!(matches!(events.next().await, Some(Heard::Missed(1..))), "the listener is the one that misses something");
    assert_eq!(ticks.load(Ordering::Relaxed), 6_001);
}
