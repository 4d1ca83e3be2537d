//! What each event does to the series: counts, labels and values.

use std::collections::BTreeSet;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use shiftwork_queue::{DeliveryId, FencingToken, Timestamp};

use super::*;
use crate::{
    Batches, Cause, Signals,
    event::{CycleId, Hook},
};

const JOBS: WorkerId = WorkerId(0);
const TICKS: WorkerId = WorkerId(1);
const ROWS: WorkerId = WorkerId(2);

/// A wall clock that stands still.
struct Still;

impl Environment for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + secs(1_700_000_000)
    }

    fn seed(&self) -> u64 {
        1
    }

    fn signals(&self) -> std::io::Result<Signals> {
        Signals::system()
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn declared() -> [Declaration; 3] {
    let every = SourceKind::FixedDelay { delay: secs(60), first_after: secs(0), jitter: secs(0) };
    let rows = Declaration { batch: Some(Batches::default()), ..Declaration::plain("rows", SourceKind::Queue) };
    [Declaration::plain("jobs", SourceKind::Queue), Declaration::plain("ticks", every), rows]
}

/// As [`recorded_by`], after these events.
fn recorded(events: &[Event]) -> (Vec<String>, BTreeSet<String>) {
    recorded_by(|metrics| events.iter().for_each(|event| metrics.on(event)))
}

/// What is left in a recorder that was empty: each series that is not at zero, with the values of its labels; and the names of
/// all metrics that there are.
fn recorded_by(tell: impl FnOnce(&Metrics)) -> (Vec<String>, BTreeSet<String>) {
    let recorder = DebuggingRecorder::new();
    let metrics = metrics::with_local_recorder(&recorder, || Metrics::new(&declared(), Arc::new(Still)));
    assert!(metrics.is_recorded());
    tell(&metrics);
    let (mut moved, mut names) = (Vec::new(), BTreeSet::new());
    for (key, _, _, value) in recorder.snapshotter().snapshot().into_vec() {
        let key = key.key();
        names.insert(key.name().to_owned());
        let value = match value {
            DebugValue::Counter(count) => (count > 0).then(|| count.to_string()),
            DebugValue::Gauge(gauge) => (gauge.into_inner() != 0.0).then(|| gauge.into_inner().to_string()),
            DebugValue::Histogram(values) => {
                let values: Vec<f64> = values.into_iter().map(|value| value.into_inner()).collect();
                (!values.is_empty()).then(|| format!("{values:?}"))
            }
        };
        let labels: Vec<&str> = key.labels().map(Label::value).collect();
        moved.extend(value.map(|value| format!("{} {} {value}", key.name(), labels.join(" "))));
    }
    moved.sort();
    (moved, names)
}

fn cause(kind: FailureKind) -> Cause {
    Cause { kind, message: "disk is full".into() }
}

fn started(worker: WorkerId, attempt: u32) -> Event {
    Event::CycleStarted { worker, cycle: CycleId(1), attempt, delivery: None }
}

fn ended(failure: Option<FailureKind>) -> Event {
    Event::CycleEnded { worker: JOBS, cycle: CycleId(1), failure: failure.map(cause), took: Duration::from_millis(250) }
}

fn settled(delivery: Option<u64>, settle: Settle) -> Event {
    Event::Settled { worker: JOBS, cycle: CycleId(1), delivery: delivery.map(DeliveryId), settle }
}

fn dead(cause: DeadLetterCause) -> Settle {
    Settle::DeadLetter { cause, pause: secs(0) }
}

fn source_failed(consecutive: u32) -> Event {
    Event::SourceFailed { worker: JOBS, consecutive, delay: secs(1), cause: cause(FailureKind::Transient) }
}

fn source_recovered(failures: u32) -> Event {
    Event::SourceRecovered { worker: JOBS, failures }
}

/// Events, and the series that are not at zero after them.
fn table() -> Vec<(Vec<Event>, Vec<&'static str>)> {
    let settle_failed = Event::SettleFailed {
        worker: JOBS,
        cycle: Some(CycleId(1)),
        delivery: Some(DeliveryId(7)),
        settle: Settle::Ack,
        cause: cause(FailureKind::Transient),
    };
    let opened = Event::BreakerOpened { worker: JOBS, failures: 10, probe_in: secs(5) };
    let limited = Event::RateLimitReached { worker: JOBS, wait: secs(1) };
    let paused = Event::WorkerPaused { worker: JOBS };
    let restarting = Event::WorkerRestarting { worker: JOBS, restarts: 1, delay: secs(1) };
    let stopped = Event::WorkerStopped { worker: JOBS, phase: WorkerPhase::Stopped };
    vec![
        (
            vec![started(JOBS, 1), started(TICKS, 1)],
            vec![
                "shiftwork_attempts_total jobs 1 1",
                "shiftwork_attempts_total ticks 1 1",
                "shiftwork_cycles_in_flight jobs 1",
                "shiftwork_cycles_in_flight ticks 1",
            ],
        ),
        (
            vec![started(JOBS, 2), started(JOBS, 9)],
            vec![
                "shiftwork_attempts_total jobs 2 1",
                "shiftwork_attempts_total jobs more 1",
                "shiftwork_cycles_in_flight jobs 2",
                "shiftwork_retries_total jobs 2",
            ],
        ),
        (
            vec![started(JOBS, 1), ended(None)],
            vec![
                "shiftwork_attempts_total jobs 1 1",
                "shiftwork_cycle_duration_seconds jobs [0.25]",
                "shiftwork_cycles_total jobs success 1",
                "shiftwork_last_success_timestamp_seconds jobs 1700000000",
            ],
        ),
        (
            vec![started(JOBS, 1), ended(Some(FailureKind::Timeout))],
            vec![
                "shiftwork_attempts_total jobs 1 1",
                "shiftwork_cycle_duration_seconds jobs [0.25]",
                "shiftwork_cycles_total jobs timeout 1",
            ],
        ),
        // A life that was left with a cycle in flight.
        (
            vec![started(JOBS, 1), stopped.clone()],
            vec!["shiftwork_attempts_total jobs 1 1", "shiftwork_worker_phase jobs stopped 1"],
        ),
        (
            vec![Event::BatchStarted { worker: ROWS, first: CycleId(1), cycles: 5 }],
            vec!["shiftwork_batch_size rows [5.0]"],
        ),
        (
            vec![settled(Some(7), Settle::Ack), settled(Some(8), Settle::Ack), settled(Some(9), Settle::Return)],
            vec!["shiftwork_settlements_total jobs ack 2", "shiftwork_settlements_total jobs return 1"],
        ),
        (
            vec![settled(Some(7), dead(DeadLetterCause::Exhausted))],
            vec!["shiftwork_dead_letters_total jobs exhausted 1", "shiftwork_settlements_total jobs dead_letter 1"],
        ),
        // What is nobody's delivery is given up, and moved nowhere.
        (vec![settled(None, dead(DeadLetterCause::Exhausted))], vec!["shiftwork_settlements_total jobs dead_letter 1"]),
        (
            vec![Event::SettledUnrun {
                worker: JOBS,
                delivery: DeliveryId(7),
                settle: dead(DeadLetterCause::CrashLoop),
            }],
            vec!["shiftwork_dead_letters_total jobs crash_loop 1", "shiftwork_settlements_total jobs dead_letter 1"],
        ),
        (vec![settle_failed.clone(), settle_failed], vec!["shiftwork_settle_failures_total jobs 2"]),
        (
            vec![Event::Escalated { worker: JOBS, cycle: None, attempts: 5, cause: cause(FailureKind::Transient) }],
            vec!["shiftwork_escalations_total jobs 1"],
        ),
        (
            vec![Event::RetryHeldBack { worker: JOBS, cycle: CycleId(1), delay: secs(9) }],
            vec!["shiftwork_retries_held_back_total jobs 1"],
        ),
        (vec![Event::TicksMissed { worker: TICKS, count: 7 }], vec!["shiftwork_ticks_missed_total ticks 7"]),
        (
            vec![Event::TickDue {
                worker: TICKS,
                number: 8,
                due: Timestamp::UNIX_EPOCH,
                missed: 7,
                late: Duration::from_millis(1_500),
                triggered: false,
            }],
            vec!["shiftwork_schedule_lag_seconds ticks [1.5]"],
        ),
        (
            vec![Event::CycleSuperseded { worker: TICKS, cycle: CycleId(1), grace: secs(1) }],
            vec!["shiftwork_cycles_superseded_total ticks 1"],
        ),
        (
            vec![Event::LeaseLost { worker: JOBS, delivery: DeliveryId(7), token: FencingToken(2) }],
            vec!["shiftwork_lease_lost_total jobs 1"],
        ),
        (
            vec![Event::LeaseGivenUp { worker: JOBS, delivery: DeliveryId(7), after: secs(30) }],
            vec!["shiftwork_leases_given_up_total jobs 1"],
        ),
        (
            vec![Event::RenewalFailed { worker: JOBS, cause: cause(FailureKind::Transient) }],
            vec!["shiftwork_renewal_failures_total jobs 1"],
        ),
        // Only some of a row of failures are told as events, each with its number, and the last word is exact.
        (vec![source_failed(1)], vec!["shiftwork_source_failures_total jobs 1"]),
        (vec![source_failed(1), source_failed(2)], vec!["shiftwork_source_failures_total jobs 2"]),
        (
            vec![source_failed(1), source_failed(2), source_failed(4)],
            vec!["shiftwork_source_failing jobs 1", "shiftwork_source_failures_total jobs 4"],
        ),
        (
            vec![source_failed(1), source_failed(2), source_failed(4), source_recovered(6)],
            vec!["shiftwork_source_failures_total jobs 6"],
        ),
        (
            vec![source_failed(1), source_recovered(1), source_failed(1), source_failed(2), source_recovered(3)],
            vec!["shiftwork_source_failures_total jobs 4"],
        ),
        // A life that ends in the middle of a row leaves nothing to the next.
        (
            vec![source_failed(1), source_failed(2), source_failed(4), restarting, source_failed(1), source_failed(2)],
            vec![
                "shiftwork_source_failures_total jobs 6",
                "shiftwork_worker_phase jobs restarting 1",
                "shiftwork_worker_restarts_total jobs 1",
            ],
        ),
        (
            vec![source_failed(1), source_failed(2), source_failed(4), stopped.clone()],
            vec!["shiftwork_source_failures_total jobs 4", "shiftwork_worker_phase jobs stopped 1"],
        ),
        (
            vec![Event::QueueMeasured {
                worker: JOBS,
                depth: Depth { ready: 1, delayed: 2, leased: 3, dead: 4, oldest_due: None },
                oldest: secs(90),
            }],
            vec![
                "shiftwork_queue_depth jobs dead 4",
                "shiftwork_queue_depth jobs delayed 2",
                "shiftwork_queue_depth jobs leased 3",
                "shiftwork_queue_depth jobs ready 1",
                "shiftwork_queue_oldest_age_seconds jobs 90",
            ],
        ),
        (
            vec![Event::MeasureFailed { worker: ROWS, cause: cause(FailureKind::Transient) }],
            vec!["shiftwork_queue_measure_failures_total rows 1"],
        ),
        (
            vec![Event::WorkerFaulted { worker: TICKS, cause: cause(FailureKind::Fatal) }],
            vec!["shiftwork_worker_faults_total ticks 1"],
        ),
        // Open until a probe has succeeded, or the worker is gone.
        (vec![opened.clone()], vec!["shiftwork_breaker_open jobs 1"]),
        (
            vec![opened.clone(), Event::BreakerProbing { worker: JOBS, cycle: CycleId(2) }],
            vec!["shiftwork_breaker_open jobs 1"],
        ),
        (vec![opened.clone(), Event::BreakerClosed { worker: JOBS, after: secs(5) }], vec![]),
        (vec![opened, stopped.clone()], vec!["shiftwork_worker_phase jobs stopped 1"]),
        (vec![limited.clone()], vec!["shiftwork_rate_limited jobs 1"]),
        (vec![limited.clone(), Event::RateLimitEased { worker: JOBS, after: secs(5) }], vec![]),
        (vec![limited, stopped.clone()], vec!["shiftwork_worker_phase jobs stopped 1"]),
        (vec![paused.clone()], vec!["shiftwork_worker_paused jobs 1"]),
        (vec![paused.clone(), Event::WorkerResumed { worker: JOBS }], vec![]),
        (vec![paused, stopped], vec!["shiftwork_worker_phase jobs stopped 1"]),
        (
            vec![Event::CycleBlocked {
                worker: JOBS,
                cycle: CycleId(1),
                attempt: 1,
                delivery: Some(DeliveryId(7)),
                blocked: secs(2),
            }],
            vec!["shiftwork_cycles_blocked_total jobs 1"],
        ),
        (
            vec![Event::HookBlocked { worker: JOBS, hook: Hook::Stop, blocked: secs(2) }],
            vec!["shiftwork_hooks_blocked_total jobs 1"],
        ),
        (
            vec![Event::WorkerTriggered { worker: TICKS }, Event::WorkerTriggered { worker: TICKS }],
            vec!["shiftwork_triggers_total ticks 2"],
        ),
        (
            vec![Event::HostStarting { workers: declared().into() }, Event::IntakeOpened { worker: TICKS }],
            vec![
                "shiftwork_worker_phase jobs pending 1",
                "shiftwork_worker_phase rows pending 1",
                "shiftwork_worker_phase ticks running 1",
            ],
        ),
    ]
}

#[test]
fn every_event_moves_its_series_and_no_other() {
    for (events, expected) in table() {
        assert_eq!(recorded(&events).0, expected, "{events:?}");
    }
}

/// Only the first is of a queue.
fn two_waits(metrics: &Metrics) {
    metrics.delivery_waited(JOBS, Duration::from_millis(1_500));
    metrics.delivery_waited(TICKS, secs(9));
}

#[test]
fn the_wait_of_a_delivery_is_kept_for_its_queue() {
    assert_eq!(recorded_by(two_waits).0, ["shiftwork_queue_wait_seconds jobs [1.5]"]);
}

#[test]
fn a_failure_of_a_source_that_is_no_event_is_counted_as_it_happens() {
    let (moved, _) = recorded_by(|metrics| {
        for consecutive in 1..=3 {
            metrics.source_failed(JOBS, consecutive);
        }
    });
    assert_eq!(moved, ["shiftwork_source_failures_total jobs 3"]);
}

#[test]
fn every_metric_is_seen_to_move() {
    fn name(series: &str) -> String {
        series.split(' ').next().unwrap_or_default().to_owned()
    }
    let (_, names) = recorded(&[]);
    let (waited, _) = recorded_by(two_waits);
    let table = table();
    let told = table.iter().flat_map(|(_, expected)| expected.iter().map(|series| name(series)));
    let moved: BTreeSet<String> = told.chain(waited.iter().map(|series| name(series))).collect();
    assert_eq!(moved, names);
}

#[test]
fn every_label_has_its_own_series() {
    for (attempt, index) in [(0, 0), (1, 0), (2, 1), (5, 4), (6, 5), (u32::MAX, 5)] {
        assert_eq!(attempt_index(attempt), index, "attempt {attempt}");
    }
    for (index, cause) in CAUSES.into_iter().enumerate() {
        assert_eq!(cause_index(cause), index);
    }
    let settles = [
        Settle::Ack,
        Settle::Retry { delay: Default::default() },
        Settle::DeadLetter { cause: DeadLetterCause::Invalid, pause: Default::default() },
        Settle::Return,
        Settle::Snooze { delay: Default::default() },
        Settle::Discard,
    ];
    for settle in settles {
        assert_eq!(SETTLES[settle_index(settle)], settle.as_str());
    }
}
