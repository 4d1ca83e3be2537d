//! The page on observability, held against the code: events and lines as they are written, metrics and spans as a
//! recorder and a subscriber hear of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, Environment, Failure, FailureKind, Host, OnFault,
    QueueSourceExt, Retry, Schedule, ServiceContext, Signals, System, Tick,
    queue::{MemoryQueue, Message, Queue, Timestamp},
};
use shiftwork_sim::secs;
use tokio::time::Instant;
use tracing::{Metadata, Subscriber, span};

use crate::page::{Page, bare, root};

const PAGE: &str = "docs/observability.md";

/// The words in code marks of one cell.
fn words(cell: &str) -> Vec<String> {
    cell.split(", ").map(bare).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn code(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("could not read {path}: {error}"))
}

/// The code of the runtime, file by file, without its tests.
fn runtime() -> Vec<String> {
    let mut folders = vec!["crates/shiftwork/src".to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("could not list {folder}: {error}"));
        for entry in entries.map_while(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{folder}/{name}");
            if entry.path().is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                files.push(code(&path));
            }
        }
    }
    files
}

#[test]
fn every_event_is_written_once_with_its_fields() {
    let source = code("crates/shiftwork/src/event.rs");
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut variant = String::new();
    let body = source.split("pub enum Event {\n").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    for line in body.lines().filter(|line| !line.trim().starts_with("//")) {
        if let Some(name) = line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)) {
            variant = name.trim_end_matches([' ', '{', ',']).to_owned();
            fields.insert(variant.clone(), Vec::new());
        } else if let Some((field, _)) = line.trim().split_once(": ") {
            fields.get_mut(&variant).unwrap().push(field.to_owned());
        }
    }
    let name = |variant: &str| {
        let arm = source.split(&format!("Event::{variant}")).find_map(|rest| {
            let rest = rest.strip_prefix(" { .. }").unwrap_or(rest);
            rest.strip_prefix(" => \"")?.split('"').next()
        });
        arm.unwrap_or_else(|| panic!("Event::name has no word for {variant}")).to_owned()
    };
    let mut in_code: Vec<(String, Vec<String>)> =
        fields.into_iter().map(|(variant, fields)| (name(&variant), fields)).collect();
    in_code.sort();
    let mut written: Vec<(String, Vec<String>)> =
        Page::read(PAGE).table("event").iter().map(|row| (bare(&row[0]).to_owned(), words(&row[2]))).collect();
    written.sort();
    assert_eq!(written, in_code);
}

/// Text, level, fields, and whether it is limited.
type Line = (String, String, Vec<String>, bool);

/// What lets a line pass, or not: a quota, or the time since a worker was said to be well again.
const GUARDS: [&str; 2] = ["let Some(unlogged) = ", "if too_soon"];

/// Whether what stands before some code is in a block around it, or in its own.
fn reaches(between: &str) -> bool {
    let depths = between.chars().scan(0_i32, |depth, c| {
        *depth += i32::from(c == '{') - i32::from(c == '}');
        Some(*depth)
    });
    depths.min().is_none_or(|depth| depth >= 0)
}

/// The names of the fields in the arguments of a macro, before its text.
fn fields(arguments: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let parts = arguments.split(|c: char| {
        depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        c == ',' && depth == 0
    });
    let names = parts.filter_map(|part| part.split(" = ").next());
    let names = names.map(|name| name.trim().trim_start_matches(['?', '%']));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_line_of_the_log_is_written_once_with_its_level_its_fields_and_its_limit() {
    let mut in_code: Vec<Line> = Vec::new();
    for source in runtime() {
        // Each call on one line, with its text right before its end.
        let lines: Vec<&str> = source.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
        let source = lines.join(" ").replace("\" )", "\")");
        for level in ["error", "warn", "info", "debug", "trace"] {
            for (begin, call) in source.match_indices(&format!("{level}!(")) {
                let before = &source[..begin];
                // A line's text is its macro's last argument.
                let call = source[begin + call.len()..].split("\")").next().unwrap();
                let (arguments, text) = call.rsplit_once('"').unwrap();
                let fields = fields(arguments);
                let [counted, timed] =
                    GUARDS.map(|guard| before.match_indices(guard).any(|(at, _)| reaches(&before[at..])));
                let unlogged = fields.iter().any(|field| field == "unlogged");
                assert!(unlogged || !counted, "{text:?} does not say what was left out");
                in_code.push((text.to_owned(), level.to_owned(), fields, unlogged && (counted || timed)));
            }
        }
    }
    in_code.sort();
    let mut written: Vec<Line> = Page::read(PAGE)
        .table("line")
        .iter()
        .map(|row| (row[0].clone(), row[1].clone(), words(&row[2]), row[3] == "yes"))
        .collect();
    written.sort();
    assert_eq!(written, in_code);
}

/// A wall clock that goes with tokio's, which jumps.
struct Clock {
    began: (Timestamp, Instant),
}

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        self.began.0 + self.began.1.elapsed()
    }

    fn seed(&self) -> u64 {
        1
    }

    fn signals(&self) -> std::io::Result<Signals> {
        Signals::system()
    }
}

struct InBatches;

impl BatchWorker for InBatches {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

/// A queue worker whose jobs all fail in their own way, and a schedule.
fn run_a_host_with_failures() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let jobs = MemoryQueue::new();
        let job = |job: String, _: Context| async move {
            match &*job {
                "invalid" => Err(Failure::invalid("not a job")),
                "panic" => panic!("the index is corrupt"),
                "transient" => Err(Failure::transient("disk is full")),
                _ => Ok(()),
            }
        };
        let kinds = ["invalid", "panic", "transient", "fine"].map(|kind| Message::new(kind.to_owned()));
        let clock = Clock { began: (System.now(), Instant::now()) };
        let now = clock.now();
        let kinds = kinds.into_iter().chain([Message::new("fine".to_owned()).not_before(now + secs(600))]);
        jobs.push(kinds.collect(), now).await.expect("the queue has no bound");
        let rows = MemoryQueue::new();
        rows.push(vec![Message::new(1u32)], now).await.expect("the queue has no bound");
        let served = AtomicBool::new(false);
        let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
        let host = Host::builder()
            .environment(Arc::new(clock))
            .worker("jobs", jobs.source(), job)
            .retry(Retry::exponential().attempts_max(2))
            .batch_worker("rows", rows.source(), Batches::default(), InBatches)
            .worker("ticks", Schedule::every(secs(1)), tick)
            .service("http", move |cx: ServiceContext| {
                let first = !served.swap(true, Ordering::Relaxed);
                async move {
                    if first {
                        return Err(Failure::transient("the port is taken"));
                    }
                    cx.stopped().await;
                    Ok(())
                }
            })
            .on_fault(OnFault::restart());
        let _ = host.run_until(tokio::time::sleep(secs(60))).await;
    });
}

#[test]
fn every_metric_is_written_with_its_type_unit_labels_and_meaning() {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, run_a_host_with_failures);
    let mut heard: BTreeMap<String, [String; 4]> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut gauges: BTreeMap<String, f64> = BTreeMap::new();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (key, unit, description, value) in recorder.snapshotter().snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<String> = key.labels().map(|label| format!("`{}`", label.key())).collect();
        let unit = unit.map(|unit| unit.as_str().to_owned()).unwrap_or_default();
        let meaning = description.map(|it| it.to_string()).unwrap_or_default();
        heard.insert(key.name().to_owned(), [kind.to_owned(), unit, labels.join(", "), meaning]);
        for label in key.labels() {
            values.entry(label.key().to_owned()).or_default().insert(format!("`{}`", label.value()));
        }
        let named: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.name(), named.join(" "));
        match value {
            DebugValue::Counter(count) => drop(counts.insert(name, count)),
            DebugValue::Gauge(gauge) => {
                if key.name() == "shiftwork_cycles_in_flight" {
                    assert_eq!(gauge.into_inner(), 0.0, "{name}");
                }
                if key.name() == "shiftwork_last_success_timestamp_seconds" {
                    assert!(gauge.into_inner() > 1e9, "{name} is a time of our age: {gauge}");
                }
                gauges.insert(name.clone(), gauge.into_inner());
                if named.contains(&"stopped") {
                    assert_eq!(gauge.into_inner(), 1.0, "{name}");
                }
            }
            DebugValue::Histogram(took) => assert!(!took.is_empty(), "{name}"),
        }
    }
    // The last look at the queue: one waits for its time, three could not be done, nobody waits.
    let gauge = |name: &str| gauges[name];
    assert_eq!(gauge("shiftwork_queue_depth jobs ready"), 0.0);
    assert_eq!(gauge("shiftwork_queue_depth jobs delayed"), 1.0);
    assert_eq!(gauge("shiftwork_queue_depth jobs leased"), 0.0);
    assert_eq!(gauge("shiftwork_queue_depth jobs dead"), 3.0);
    assert_eq!(gauge("shiftwork_queue_oldest_age_seconds jobs"), 0.0);

    let count = |name: &str| counts[name];
    assert_eq!(count("shiftwork_attempts_total jobs 1"), 4);
    assert_eq!(count("shiftwork_attempts_total jobs 2"), 2);
    assert_eq!(count("shiftwork_attempts_total jobs 3"), 0);
    assert_eq!(count("shiftwork_worker_restarts_total jobs"), 0);
    assert_eq!(count("shiftwork_worker_restarts_total http"), 1);
    assert_eq!(count("shiftwork_cycles_total jobs success"), 1);
    assert_eq!(count("shiftwork_cycles_total jobs invalid"), 1);
    assert_eq!(count("shiftwork_cycles_total jobs panic"), 2);
    assert_eq!(count("shiftwork_cycles_total jobs transient"), 2);
    assert_eq!(count("shiftwork_retries_total jobs"), 2);
    assert_eq!(count("shiftwork_settlements_total jobs ack"), 1);
    assert_eq!(count("shiftwork_settlements_total jobs retry"), 2);
    assert_eq!(count("shiftwork_settlements_total jobs dead_letter"), 3);
    assert_eq!(count("shiftwork_dead_letters_total jobs invalid"), 1);
    assert_eq!(count("shiftwork_dead_letters_total jobs exhausted"), 2);
    assert_eq!(count("shiftwork_escalations_total jobs"), 2);
    assert!([60, 61].contains(&count("shiftwork_cycles_total ticks success")));

    let page = Page::read(PAGE);
    let table = page.table("metric");
    let mut written = BTreeMap::new();
    for row in &table {
        let cells = [row[1].clone(), row[2].clone(), row[3].clone(), row[4].clone()];
        assert!(written.insert(bare(&row[0]).to_owned(), cells).is_none(), "{} is written twice", row[0]);
    }
    assert_eq!(written, heard);
    for row in page.table("label") {
        let listed: BTreeSet<String> = row[1].split(", ").map(str::to_owned).collect();
        if listed.iter().all(|value| value.starts_with('`')) {
            assert_eq!(listed, values[bare(&row[0])], "the values of {}", row[0]);
        }
    }
    assert!(FailureKind::ALL.iter().all(|kind| values["outcome"].contains(&format!("`{kind}`"))));
}

/// Name, level and fields.
type Span = (String, String, Vec<String>);

/// Hears what spans there are.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeSet<Span>>>);

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("shiftwork")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let metadata = span.metadata();
        let fields = metadata.fields().iter().map(|field| field.name().to_owned()).collect();
        let level = metadata.level().as_str().to_lowercase();
        self.0.lock().expect("no test panics with it").insert((metadata.name().to_owned(), level, fields));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn every_span_is_written_with_its_level_and_fields() {
    let spans = Spans::default();
    // Beside a single subscriber, the thread that comes to a span first decides for all whether anybody wants it.
    let _another = tracing::Dispatch::new(Spans::default());
    tracing::subscriber::with_default(spans.clone(), run_a_host_with_failures);
    let written: BTreeSet<_> = Page::read(PAGE)
        .table("span")
        .iter()
        .map(|row| (bare(&row[0]).to_owned(), row[1].clone(), words(&row[2])))
        .collect();
    assert_eq!(written, *spans.0.lock().unwrap());
}
