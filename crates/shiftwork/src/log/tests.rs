//! What is written of a series of events: which lines, with what, and how often.

use std::{cell::RefCell, fmt, sync::Once, time::Duration};

use shiftwork_queue::DeliveryId;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::*;
use crate::event::CycleId;

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
