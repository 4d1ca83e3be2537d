//! What is written of a series of events: which lines, with what, and how often.

use std::{cell::RefCell, fmt, sync::Once, time::Duration};

use shiftwork_queue::DeliveryId;
use tokio::time::Instant;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::*;
use crate::{Breaker, event::CycleId};

const A: WorkerId = WorkerId(0);

thread_local! {
    /// What was written on this thread, while somebody wants to know.
    static WRITTEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Hears the lines of the whole process, and keeps those of threads that want to know. It is not one thread's own, since
/// `tracing` may remember of a line that nobody wants it, when the thread that says it first has nobody to hear it.
struct Hears;

impl Subscriber for Hears {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        WRITTEN.with_borrow(Option::is_some)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { text, fields } = line;
        let line = format!("{} {text}{fields}", event.metadata().level());
        WRITTEN.with_borrow_mut(|written| written.get_or_insert_default().push(line));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    text: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            name => self.fields.push_str(&format!(" {name}={value:?}")),
        }
    }
}

/// The lines of events at these seconds, all of a worker "a".
fn written(declared: &Declaration, events: impl IntoIterator<Item = (u64, Event)>) -> Vec<String> {
    static HEARS: Once = Once::new();
    HEARS.call_once(|| tracing::subscriber::set_global_default(Hears).expect("nobody else hears"));
    let log = Log::new(std::slice::from_ref(declared));
    let began = Instant::now();
    WRITTEN.set(Some(Vec::new()));
    for (second, event) in events {
        log.on(began + Duration::from_secs(second), &event);
    }
    WRITTEN.take().unwrap_or_default()
}

fn of_queue() -> Declaration {
    Declaration::plain("a", SourceKind::Queue)
}

#[test]
fn each_delivery_that_blocks_or_outstays_its_lease_is_named_once_a_minute() {
    let blocked = |cycle: u64| Event::CycleBlocked {
        worker: A,
        cycle: CycleId(cycle),
        attempt: 1,
        delivery: Some(DeliveryId(cycle + 6)),
        blocked: Duration::from_secs(2),
    };
    let given_up =
        |delivery| Event::LeaseGivenUp { worker: A, delivery: DeliveryId(delivery), after: Duration::from_secs(30) };
    let events = [
        (0, blocked(1)),
        (1, blocked(1)),
        (2, blocked(2)),
        (3, given_up(7)),
        (4, given_up(7)),
        (5, given_up(8)),
        (64, given_up(8)),
    ];
    assert_eq!(
        written(&of_queue(), events),
        [
            "ERROR cycle blocks its thread worker=\"a\" cycle=1 attempt=1 delivery=7 blocked=2s",
            "ERROR cycle blocks its thread worker=\"a\" cycle=2 attempt=1 delivery=8 blocked=2s unlogged=1",
            "ERROR the cycle does not end: its lease is renewed no more worker=\"a\" delivery=7 after=30s",
            "ERROR the cycle does not end: its lease is renewed no more worker=\"a\" delivery=8 after=30s unlogged=1",
            "ERROR the cycle does not end: its lease is renewed no more worker=\"a\" delivery=8 after=30s",
        ]
    );
}

#[test]
fn a_source_that_fails_by_turns_is_said_once_a_minute_and_the_last_word_is_right() {
    let failed = |consecutive| Event::SourceFailed {
        worker: A,
        consecutive,
        delay: Duration::from_millis(100),
        cause: Cause { kind: FailureKind::Transient, message: "refused".into() },
    };
    let recovered = |failures| Event::SourceRecovered { worker: A, failures };
    let events = [
        (0, failed(1)),
        (0, recovered(1)),
        (1, failed(1)),
        (1, recovered(1)),
        (2, failed(1)),
        (3, failed(2)),
        (4, recovered(2)),
        (61, failed(1)),
        (61, recovered(1)),
    ];
    assert_eq!(
        written(&of_queue(), events),
        [
            "WARN could not read the source worker=\"a\" consecutive=1 delay=100ms error=\"refused\"",
            "INFO source recovered worker=\"a\" failures=1",
            "WARN could not read the source worker=\"a\" consecutive=2 delay=100ms error=\"refused\" unlogged=2",
            "INFO source recovered worker=\"a\" failures=2 unlogged=1",
            "WARN could not read the source worker=\"a\" consecutive=1 delay=100ms error=\"refused\"",
            "INFO source recovered worker=\"a\" failures=1",
        ]
    );
}

#[test]
fn a_service_has_recovered_when_it_is_started_again_and_not_when_it_ends() {
    let ended = |failure| Event::CycleEnded { worker: A, cycle: CycleId(1), failure, took: Duration::from_secs(1) };
    let refused = Cause { kind: FailureKind::Transient, message: "refused".into() };
    let opened = Event::IntakeOpened { worker: A };
    let service = Declaration::plain("a", SourceKind::Service { completes: false });
    // The second time within a minute: its restarts are rare by themselves.
    let events = [(1, Some(refused.clone())), (3, Some(refused))];
    let events = events.into_iter().flat_map(|(at, failure)| [(at, ended(failure)), (at + 1, opened.clone())]);
    let lines = written(&service, events.chain([(100, ended(None))]));
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with("TRACE")).collect();
    let failed = "WARN cycle failed worker=\"a\" cycle=1 kind=transient error=\"refused\" took=1s";
    let recovered = "INFO worker recovered worker=\"a\" failures=1 unlogged=0";
    let opened = "INFO intake opened worker=\"a\"";
    assert_eq!(lines, [failed, opened, recovered, failed, opened, recovered]);
}

fn opened(failures: u32) -> Event {
    Event::BreakerOpened { worker: A, failures, probe_in: Duration::from_secs(5) }
}

const CLOSED: Event = Event::BreakerClosed { worker: A, after: Duration::from_secs(20) };

fn with_breaker() -> Declaration {
    Declaration { breaker: Some(Breaker::after(2)), ..of_queue() }
}

#[test]
fn a_probe_that_failed_is_not_another_breaker_that_opened() {
    let events = [(0, opened(2)), (5, opened(3)), (15, opened(4)), (20, CLOSED), (21, opened(2)), (22, opened(3))];
    assert_eq!(
        written(&with_breaker(), events),
        [
            "WARN breaker opened: intake pauses worker=\"a\" failures=2 probe_in=5s",
            "WARN probe failed: intake stays paused worker=\"a\" failures=3 probe_in=5s",
            "WARN probe failed: intake stays paused worker=\"a\" failures=4 probe_in=5s",
            "INFO breaker closed: work goes on worker=\"a\" after=20s",
            "WARN breaker opened: intake pauses worker=\"a\" failures=2 probe_in=5s",
            "WARN probe failed: intake stays paused worker=\"a\" failures=3 probe_in=5s",
        ]
    );
}

#[test]
fn a_breaker_that_opens_every_second_is_ten_lines_a_minute_and_as_many_for_its_ends() {
    let lines = written(&with_breaker(), (0..=60).flat_map(|second| [(second, opened(2)), (second, CLOSED)]));
    assert_eq!(lines.len(), 2 * 11, "{lines:#?}");
    assert_eq!(
        lines[2 * 10..],
        [
            "WARN breaker opened: intake pauses worker=\"a\" failures=2 probe_in=5s unlogged=50",
            "INFO breaker closed: work goes on worker=\"a\" after=20s unlogged=50",
        ]
    );
}
