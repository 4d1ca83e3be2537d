//! What is counted up is counted down, whoever ends last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use shiftwork::{
    Context, Continuous, Failure, Host, HostBuilder, Schedule, StopBudget, Tick,
    event::{Event, Listener},
};
use shiftwork_sim::{millis, secs};
use tokio::{runtime, sync::mpsc, time::Instant};

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

/// Says when a cycle has ended.
struct Ends(Mutex<mpsc::UnboundedSender<()>>);

impl Listener for Ends {
    fn on(&self, _: Instant, event: &Event) {
        if let Event::CycleEnded { .. } = event {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }
}

/// Blocks its thread until it is let go.
type Blocks = Arc<Mutex<std::sync::mpsc::Receiver<()>>>;

#[test]
fn a_cycle_that_ends_after_it_was_left_behind_is_counted_out_once() {
    left_behind(|host, may_go| {
        let blocks = move |(): (), _: Context| {
            let may_go = may_go.clone();
            async move { may_go.lock().unwrap().recv().map_err(Failure::from) }
        };
        host.worker("a", Continuous::new(), blocks).host()
    });
}

#[test]
fn a_service_that_ends_after_it_was_left_behind_is_counted_out_once() {
    left_behind(|host, may_go| {
        let blocks = move |_| {
            let may_go = may_go.clone();
            async move { may_go.lock().unwrap().recv().map_err(Failure::from) }
        };
        host.service("a", blocks).host()
    });
}

fn left_behind(add: impl FnOnce(HostBuilder, Blocks) -> HostBuilder) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ends, mut ended) = mpsc::unbounded_channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let short = millis(20);
    let budget = StopBudget::default().drain(short).cancel(short).close(short);
    let host = Host::builder().listener(Ends(Mutex::new(ends))).stop_budget(budget);
    let host = add(host, Arc::new(Mutex::new(may_go)));
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let report = host.run_until(tokio::time::sleep(millis(50))).await;
            assert!(report.worker("a").unwrap().abandoned.is_some());
            assert_eq!(gauges(&snapshotter)["shiftwork_cycles_in_flight"], 0.0);
            go.send(()).unwrap();
            ended.recv().await.unwrap();
        });
    });
    assert_eq!(gauges(&snapshotter)["shiftwork_cycles_in_flight"], 0.0);
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
