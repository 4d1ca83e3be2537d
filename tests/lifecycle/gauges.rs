//! What is counted up is counted down, whoever ends last, and what is no event is counted all the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use shiftwork::{
    Breaker, Context, Continuous, Failure, Host, HostBuilder, QueueSourceExt, Schedule, StopBudget, Tick,
    event::{Event, Listener},
    queue::MemoryQueue,
};
use shiftwork_sim::{millis, secs};
use tokio::{runtime, sync::mpsc, time::Instant};

use crate::refusing::Refusing;

/// The gauges of worker "a", by name and phase.
fn gauges(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let series = snapshotter.snapshot().into_vec().into_iter();
    let gauges = series.filter_map(|(key, _, _, value)| {
        let DebugValue::Gauge(value) = value else { return None };
        let key = key.key();
        let phase = key.labels().find(|label| label.key() == "phase").map(|label| label.value().to_owned());
        Some((phase.unwrap_or_else(|| key.name().to_owned()), value.into_inner()))
    });
    gauges.collect()
}

/// Says when such an event has come.
struct Hears {
    wanted: fn(&Event) -> bool,
    heard: Mutex<mpsc::UnboundedSender<()>>,
}

impl Listener for Hears {
    fn on(&self, _: Instant, event: &Event) {
        if (self.wanted)(event) {
            self.heard.lock().unwrap().send(()).unwrap();
        }
    }
}

const ENDED: fn(&Event) -> bool = |event| matches!(event, Event::CycleEnded { .. });
const SETTLED: fn(&Event) -> bool = |event| matches!(event, Event::Settled { .. });

/// Blocks its thread until it is let go.
type Blocks = Arc<Mutex<std::sync::mpsc::Receiver<()>>>;

#[test]
fn a_cycle_that_ends_after_it_was_left_behind_is_counted_out_once() {
    left_behind(ENDED, |host, may_go| {
        let blocks = move |(): (), _: Context| {
            let may_go = may_go.clone();
            async move { may_go.lock().unwrap().recv().map_err(Failure::from) }
        };
        host.worker("a", Continuous::new(), blocks).host()
    });
}

#[test]
fn a_service_that_ends_after_it_was_left_behind_is_counted_out_once() {
    left_behind(ENDED, |host, may_go| {
        let blocks = move |_| {
            let may_go = may_go.clone();
            async move { may_go.lock().unwrap().recv().map_err(Failure::from) }
        };
        host.service("a", blocks).host()
    });
}

#[test]
fn b1_a_cycle_that_fails_after_it_was_left_behind_opens_no_breaker() {
    left_behind(SETTLED, |host, may_go| {
        let breaks = move |(): (), _: Context| {
            let may_go = may_go.clone();
            async move {
                let told = may_go.lock().unwrap().recv().map_err(Failure::from);
                assert!(told.is_err(), "its client broke");
                told
            }
        };
        host.worker("a", Continuous::new(), breaks).breaker(Breaker::after(1)).host()
    });
}

/// A host leaves a worker behind whose cycle blocks its thread; then it is let go, and something that is `wanted` is heard of it.
fn left_behind(wanted: fn(&Event) -> bool, add: impl FnOnce(HostBuilder, Blocks) -> HostBuilder) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sender, mut heard) = mpsc::unbounded_channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let short = millis(20);
    let budget = StopBudget::default().drain(short).cancel(short).close(short);
    let host = Host::builder().listener(Hears { wanted, heard: Mutex::new(sender) }).stop_budget(budget);
    let host = add(host, Arc::new(Mutex::new(may_go)));
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let report = host.run_until(tokio::time::sleep(millis(50))).await;
            assert!(report.worker("a").unwrap().abandoned.is_some());
            assert_eq!(gauges(&snapshotter)["shiftwork_cycles_in_flight"], 0.0);
            go.send(()).unwrap();
            heard.recv().await.unwrap();
        });
    });
    let gauges = gauges(&snapshotter);
    assert_eq!(gauges["shiftwork_cycles_in_flight"], 0.0);
    assert!(gauges.get("shiftwork_breaker_open").is_none_or(|open| *open == 0.0));
}

#[tokio::test(start_paused = true)]
async fn the_gauges_of_a_host_are_not_those_of_the_one_before_it() {
    let recorder = DebuggingRecorder::new();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let snapshotter = recorder.snapshotter();
    let now = || {
        let gauges = gauges(&snapshotter);
        ["running", "stopped", "shiftwork_worker_paused"].map(|name| gauges[name])
    };
    let mut seen = Vec::new();
    for pauses in [true, false] {
        let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
        let host = Host::builder().worker("a", Schedule::every(secs(1)), work);
        let mut host = host.build().unwrap();
        let handle = host.handle();
        let stop = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if pauses {
                handle.pause("a").unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            seen.push(now());
        };
        assert!(host.run_until(stop).await.is_clean());
        seen.push(now());
    }
    assert_eq!(seen, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
}

/// What is kept of the source of worker "a" by now: how many failures, and whether they go on.
fn of_source(snapshotter: &Snapshotter) -> (u64, f64) {
    let (mut failures, mut failing) = (0, 0.0);
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        match (key.key().name(), value) {
            ("shiftwork_source_failures_total", DebugValue::Counter(count)) => failures = count,
            ("shiftwork_source_failing", DebugValue::Gauge(value)) => failing = value.into_inner(),
            _ => {}
        }
    }
    (failures, failing)
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_source_is_counted_as_it_happens() {
    let recorder = DebuggingRecorder::new();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let snapshotter = recorder.snapshotter();
    let store = Refusing::every_claim(MemoryQueue::<u32>::new());
    let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
    let host = Host::builder().worker("a", store.source(), work).build().unwrap();
    let mut seen = None;
    let stop = async {
        tokio::time::sleep(secs(5)).await;
        seen = Some(of_source(&snapshotter));
    };
    assert!(host.run_until(stop).await.is_clean());
    // At 0, 0.1, 0.3, 0.7, 1.5 and 3.1 s: the fifth and the sixth are no events.
    assert_eq!(seen, Some((6, 1.0)));
}
