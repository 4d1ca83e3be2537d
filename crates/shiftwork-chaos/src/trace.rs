//! The trace for Perfetto and `chrome://tracing`: `--trace FILE`, in Chrome's trace event format.
//!
//! Each world that is shown takes a process for each of its nodes, and in it a thread for each lane: the node's lives, and each
//! worker's phases and rows of cycles. Cycles are complete events, faults asynchronous ones, and signals, crashes and the place
//! where a rule broke are instants. World time is the trace's time; `seed` and `plan` are in the arguments.

use serde_json::{Value, json};

use crate::{
    exhibit::Exhibit,
    picture::{Lane, Picture},
};

/// How many processes a world may take; the next world begins behind them.
const NODES_MAX: usize = 1_000;

/// The text of the file.
pub(crate) fn to_json(exhibits: &[Exhibit]) -> String {
    let mut events = Vec::new();
    let pictures = exhibits.iter().flat_map(|exhibit| {
        let before = exhibit.before.iter().map(|picture| (picture, "as found"));
        before.chain([(&exhibit.after, exhibit.after_is)]).map(move |(picture, which)| (exhibit, picture, which))
    });
    for (index, (exhibit, picture, which)) in pictures.enumerate() {
        let name = format!("{}, seed {}, {which}", exhibit.scenario, exhibit.seed);
        world(&mut events, picture, index * NODES_MAX + 1, &name);
    }
    let mut text = json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string();
    text.push('\n');
    text
}

fn world(events: &mut Vec<Value>, picture: &Picture, first: usize, name: &str) {
    let mut tid = 0;
    for lane in &picture.lanes {
        let pid = first + lane.node;
        if !lane.is_worker {
            tid = 0;
            events.push(json!({ "ph": "M", "pid": pid, "name": "process_name", "args": { "name": format!("{name}: {}", lane.name) } }));
            events.push(json!({ "ph": "M", "pid": pid, "name": "process_sort_index", "args": { "sort_index": pid } }));
        }
        tid += self::lane(events, lane, pid, tid);
    }
    for (index, band) in picture.bands.iter().enumerate() {
        let id = format!("{first}.{index}");
        let args = json!({ "struck_ms": band.struck_ms });
        let event = |phase: &str, at: f64| json!({ "ph": phase, "pid": first, "tid": 0, "cat": "fault", "id": id, "name": band.text, "ts": us(at), "args": args });
        events.extend([event("b", band.from_ms), event("e", band.to_ms)]);
    }
    for line in &picture.lines {
        events.push(json!({ "ph": "i", "s": "p", "pid": first, "tid": 0, "cat": line.kind, "name": line.text, "ts": us(line.at_ms) }));
    }
    if let Some(broken) = &picture.broken {
        let args = json!({ "expected": broken.expected, "happened": broken.happened });
        events.push(json!({ "ph": "i", "s": "g", "pid": first, "tid": 0, "cat": "broken", "name": format!("broken rule: {}", broken.title), "ts": us(broken.at_ms), "args": args }));
    }
}

/// The threads of one lane; returns how many there are.
fn lane(events: &mut Vec<Value>, lane: &Lane, pid: usize, first: usize) -> usize {
    let phases = usize::from(lane.is_worker);
    let mut names = vec![lane.name.clone()];
    if lane.is_worker {
        names[0] = format!("{} (phase)", lane.name);
        names.extend(
            (1..=lane.rows).map(|row| if lane.rows == 1 { lane.name.clone() } else { format!("{} {row}", lane.name) }),
        );
    }
    for (index, name) in names.iter().enumerate() {
        let tid = first + index;
        events.push(json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name } }));
        events.push(
            json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": { "sort_index": tid } }),
        );
    }
    let mut complete = |tid: usize, name: &str, category: &str, from: f64, to: f64, text: &str| {
        events.push(json!({ "ph": "X", "pid": pid, "tid": tid, "cat": category, "name": name, "ts": us(from), "dur": us(to - from), "args": { "text": text } }));
    };
    for phase in &lane.phases {
        complete(first, phase.name, "phase", phase.from_ms, phase.to_ms, phase.name);
    }
    for bar in &lane.bars {
        let name = if lane.is_worker { format!("cycle {}", bar.label) } else { bar.label.clone() };
        complete(first + phases + bar.row, &name, bar.look.as_str(), bar.from_ms, bar.to_ms, &bar.text);
    }
    names.len()
}

/// Microseconds, as whole as they can be.
fn us(ms: f64) -> Value {
    json!((ms * 1_000.0).round())
}
