//! A world as a picture: lanes of bars, bands of faults, lines of signals, and the place where a rule broke.
//!
//! It is made from the records alone. The page and the trace draw the same picture; neither knows what a record is.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use shiftwork::{
    Cause, FailureKind,
    event::{CycleId, Declaration, Event, WorkerId},
};
use shiftwork_sim::{Fault, Outcome, Record, What, record::NodeId};

/// How many cycles a picture shows: more than that is a grey area, and a slow page. The last ones stay.
const BARS_MAX: usize = 4_000;

/// One world.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Picture {
    /// Until when there is something to see.
    pub(crate) until_ms: f64,
    /// A lane for each node, each followed by one for each of its workers.
    pub(crate) lanes: Vec<Lane>,
    /// The faults of the plan, in its order.
    pub(crate) bands: Vec<Band>,
    /// What happened at one time.
    pub(crate) lines: Vec<Line>,
    /// The first rule that broke.
    pub(crate) broken: Option<Broken>,
    /// How many cycles are not shown.
    pub(crate) left_out: usize,
}

/// A node or a worker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lane {
    /// Which node it is, or belongs to.
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) is_worker: bool,
    /// How many bars lie side by side at most.
    pub(crate) rows: usize,
    pub(crate) bars: Vec<Bar>,
    /// The phases of a worker, or the pauses of a node, one after the other.
    pub(crate) phases: Vec<Phase>,
}

/// A life of a node, or a cycle of a worker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    pub(crate) row: usize,
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
    pub(crate) look: Look,
    pub(crate) label: String,
    pub(crate) text: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Look {
    /// A life of a node.
    Life,
    /// A life that a crash ended.
    Killed,
    Succeeded,
    Failed,
    Panicked,
    TimedOut,
    Interrupted,
    /// It had no end: its process was killed, or the world was over.
    Cut,
}

impl Look {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Look::Life => "life",
            Look::Killed => "killed",
            Look::Succeeded => "succeeded",
            Look::Failed => "failed",
            Look::Panicked => "panicked",
            Look::TimedOut => "timed_out",
            Look::Interrupted => "interrupted",
            Look::Cut => "cut",
        }
    }
}

/// How long a worker was in one phase.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
    pub(crate) name: &'static str,
}

/// A fault of the plan.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Band {
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// When it first had an effect.
    pub(crate) struck_ms: Option<f64>,
}

/// Something that happened at one time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) at_ms: f64,
    /// `signal`, `crash`, `healed`, `recovered` or `arrival`.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// Where a rule broke.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Broken {
    pub(crate) at_ms: f64,
    pub(crate) rule: String,
    pub(crate) title: String,
    pub(crate) expected: String,
    pub(crate) happened: String,
}

impl Picture {
    /// The picture of a world whose timeline was kept.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let mut painter = Painter::default();
        for (index, name) in outcome.timeline.node_names().enumerate() {
            painter.node(index).lane.name = name.to_owned();
        }
        for record in outcome.timeline.records() {
            painter.record(record);
        }
        let until = ms(outcome.stats.virtual_time).max(painter.now);
        painter.now = until;
        for node in 0..painter.nodes.len() {
            painter.end_life(node, Look::Life, "the world was over");
        }
        let mut bands: Vec<Band> = outcome.plan.faults.iter().map(|fault| painter.band(fault)).collect();
        for (band, struck) in bands.iter_mut().zip(0..) {
            band.struck_ms = painter.struck.get(&struck).copied();
            band.to_ms = band.to_ms.min(until).max(band.from_ms);
        }
        let broken = outcome.violations.first().map(|violation| Broken {
            at_ms: ms(violation.at),
            rule: violation.rule.name().to_owned(),
            title: violation.rule.to_string(),
            expected: violation.expected.clone(),
            happened: violation.happened.clone(),
        });
        let (lanes, left_out) = lanes(painter.nodes);
        Self { until_ms: until, lanes, bands, lines: painter.lines, broken, left_out }
    }

    /// How many bars there are.
    #[cfg(test)]
    pub(crate) fn bars(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bars.len()).sum()
    }
}

/// Draws while it reads.
#[derive(Default)]
struct Painter {
    now: f64,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    struck: BTreeMap<usize, f64>,
    healed: Option<f64>,
}

struct Node {
    lane: Lane,
    workers: Vec<Lane>,
    /// The lane of each worker of the host that runs now.
    placed: Vec<usize>,
    booted: Option<(f64, u32)>,
    open: Vec<Open>,
    /// Where the bar of a cycle is whose settlement is still to be told: lane and bar.
    ended: BTreeMap<(WorkerId, CycleId), (usize, usize)>,
}

/// A cycle that has not ended.
struct Open {
    worker: WorkerId,
    cycle: CycleId,
    lane: usize,
    row: usize,
    from: f64,
    text: String,
}

impl Painter {
    fn node(&mut self, index: usize) -> &mut Node {
        while self.nodes.len() <= index {
            let node = self.nodes.len();
            self.nodes.push(Node {
                lane: Lane::new(node, "process".to_owned(), false),
                workers: Vec::new(),
                placed: Vec::new(),
                booted: None,
                open: Vec::new(),
                ended: BTreeMap::new(),
            });
        }
        &mut self.nodes[index]
    }

    fn record(&mut self, record: &Record) {
        let now = ms(record.at);
        self.now = self.now.max(now);
        let node = record.node.map_or(0, |NodeId(index)| usize::from(index));
        match &record.what {
            What::Booted { boot } => self.node(node).booted = Some((now, *boot)),
            What::Host(event) => self.node(node).event(now, event),
            What::Signalled(signal) => {
                let to =
                    if self.nodes.len() > 1 { format!(" to {}", self.node(node).lane.name) } else { String::new() };
                self.line(now, "signal", &format!("{}{to}", signal.as_str()));
            }
            What::Paused => self.node(node).lane.enter_phase(now, "paused", true),
            What::Resumed => self.node(node).lane.leave_phase(now),
            What::Crashed => {
                let killed = format!("{} killed", self.node(node).lane.name);
                self.line(now, "crash", &killed);
                self.end_life(node, Look::Killed, "killed");
            }
            What::Exited { exit, .. } => {
                let how = exit.map_or("ended without a verdict".to_owned(), |exit| {
                    format!("exited with code {}: {exit}", exit.code())
                });
                self.end_life(node, Look::Life, &how);
            }
            What::Struck { fault } => {
                self.struck.entry(*fault).or_insert(now);
            }
            What::Healed => {
                self.healed = Some(now);
                self.line(now, "healed", "all faults healed");
            }
            What::Recovered => self.line(now, "recovered", "all work done"),
            What::Arrived { what } => self.line(now, "arrival", &format!("{what} arrived")),
            What::PanicInjected
            | What::TimeIsUp { .. }
            | What::CallBegan { .. }
            | What::CallTookEffect { .. }
            | What::CallEnded { .. }
            | What::ForeignBegan { .. }
            | What::Queue(_) => {}
        }
    }

    fn line(&mut self, at_ms: f64, kind: &'static str, text: &str) {
        self.lines.push(Line { at_ms, kind, text: text.to_owned() });
    }

    fn end_life(&mut self, node: usize, look: Look, how: &str) {
        let now = self.now;
        let node = self.node(node);
        let Some((from, boot)) = node.booted.take() else { return };
        node.lane.bars.push(Bar {
            row: 0,
            from_ms: from,
            to_ms: now,
            look,
            label: format!("life {boot}"),
            text: format!("life {boot} of the process, {how}"),
        });
        for Open { lane, row, from, text, .. } in std::mem::take(&mut node.open) {
            let text = format!("{text}: no end, {how}");
            let label = "cut".to_owned();
            node.workers[lane].bars.push(Bar { row, from_ms: from, to_ms: now, look: Look::Cut, label, text });
        }
        for lane in node.workers.iter_mut().chain([&mut node.lane]) {
            lane.leave_phase(now);
        }
        node.placed.clear();
        node.ended.clear();
    }

    fn band(&self, fault: &Fault) -> Band {
        let from_ms = ms(Duration::from_millis(fault.at_ms));
        let heals = self.healed.unwrap_or(self.now);
        // A kind that can be told how long to last, and was not, lasts until the world heals.
        let lasts = fault.kind.clone().lasting(Duration::from_secs(1)).lasts_ms().is_some();
        let to_ms = match fault.kind.lasts_ms() {
            Some(lasts) => (from_ms + ms(Duration::from_millis(lasts))).min(heals),
            None if lasts => heals,
            None => from_ms,
        };
        Band { from_ms, to_ms, kind: fault.kind.name(), text: fault.kind.to_string(), struck_ms: None }
    }
}

impl Lane {
    fn new(node: usize, name: String, is_worker: bool) -> Self {
        Self { node, name, is_worker, rows: 1, bars: Vec::new(), phases: Vec::new() }
    }

    fn enter_phase(&mut self, now: f64, name: &'static str, lasts: bool) {
        self.leave_phase(now);
        if lasts {
            self.phases.push(Phase { from_ms: now, to_ms: f64::INFINITY, name });
        }
    }

    fn leave_phase(&mut self, now: f64) {
        if let Some(last) = self.phases.last_mut() {
            last.to_ms = last.to_ms.min(now);
        }
    }
}

impl Node {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events are not drawn")]
    fn event(&mut self, now: f64, event: &Event) {
        match event {
            Event::HostStarting { workers } => self.place(now, workers),
            Event::CycleStarted { worker, cycle, attempt, delivery } => {
                let Some(&lane) = self.placed.get(worker.0 as usize) else { return };
                let taken = |row: usize| self.open.iter().any(|open| open.lane == lane && open.row == row);
                let row = (0..).find(|row| !taken(*row)).unwrap_or(0);
                self.workers[lane].rows = self.workers[lane].rows.max(row + 1);
                let of = delivery.map(|id| format!(" of delivery {id}")).unwrap_or_default();
                let text = format!("cycle {cycle}, attempt {attempt}{of}");
                self.open.push(Open { worker: *worker, cycle: *cycle, lane, row, from: now, text });
            }
            Event::CycleEnded { worker, cycle, failure, took } => {
                let mine = |open: &Open| open.worker == *worker && open.cycle == *cycle;
                let Some(index) = self.open.iter().position(mine) else { return };
                let Open { lane, row, from, text, .. } = self.open.remove(index);
                let (look, how) = ended(failure.as_ref());
                let text = format!("{text}: {how} after {took:?}");
                let label = cycle.to_string();
                let bars = &mut self.workers[lane].bars;
                self.ended.insert((*worker, *cycle), (lane, bars.len()));
                bars.push(Bar { row, from_ms: from, to_ms: now, look, label, text });
            }
            Event::Settled { worker, cycle, settle, .. } => {
                self.settled(*worker, *cycle, &format!("; then {}", settle.as_str()));
            }
            Event::SettleFailed { worker, cycle: Some(cycle), settle, cause, .. } => {
                self.settled(*worker, *cycle, &format!("; could not {}: {cause}", settle.as_str()));
            }
            _ => {}
        }
        if let Some((worker, phase)) = event.phase()
            && let Some(&lane) = self.placed.get(worker.0 as usize)
        {
            self.workers[lane].enter_phase(now, phase.as_str(), !phase.is_terminal());
        }
    }

    /// A host starts: a worker that was there in an earlier life goes on in its lane.
    fn place(&mut self, now: f64, workers: &[Declaration]) {
        self.placed.clear();
        for worker in workers {
            let known = self.workers.iter().position(|lane| lane.name == *worker.name);
            let lane = known.unwrap_or_else(|| {
                self.workers.push(Lane::new(self.lane.node, worker.name.to_string(), true));
                self.workers.len() - 1
            });
            self.workers[lane].enter_phase(now, "pending", true);
            self.placed.push(lane);
        }
    }

    fn settled(&mut self, worker: WorkerId, cycle: CycleId, how: &str) {
        if let Some((lane, bar)) = self.ended.remove(&(worker, cycle)) {
            self.workers[lane].bars[bar].text.push_str(how);
        }
    }
}

fn ended(failure: Option<&Cause>) -> (Look, String) {
    let Some(cause) = failure else { return (Look::Succeeded, "succeeded".to_owned()) };
    let look = match cause.kind {
        FailureKind::Panic => Look::Panicked,
        FailureKind::Timeout => Look::TimedOut,
        FailureKind::Interrupted => Look::Interrupted,
        _ => Look::Failed,
    };
    (look, format!("failed ({cause})"))
}

/// The lanes in the order in which they are shown, without the bars that are too many.
fn lanes(nodes: Vec<Node>) -> (Vec<Lane>, usize) {
    let mut lanes: Vec<Lane> = nodes.into_iter().flat_map(|node| [node.lane].into_iter().chain(node.workers)).collect();
    let mut ends: Vec<f64> = lanes.iter().flat_map(|lane| &lane.bars).map(|bar| bar.to_ms).collect();
    if ends.len() <= BARS_MAX {
        return (lanes, 0);
    }
    ends.sort_by(f64::total_cmp);
    let first = ends[ends.len() - BARS_MAX];
    let mut left_out = 0;
    for lane in lanes.iter_mut().filter(|lane| lane.is_worker) {
        let before = lane.bars.len();
        lane.bars.retain(|bar| bar.to_ms >= first);
        left_out += before - lane.bars.len();
    }
    (lanes, left_out)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    use shiftwork_sim::{Script, dependency::Latency, millis, plan, secs, site};

    use super::*;

    fn picture(script: Script) -> Picture {
        let outcome = script.at(secs(45), Signal::Terminate).run_once(|world| {
            let smtp = world.dependency_with("smtp", Latency::constant(millis(20)));
            world.node("mailer", move |node| {
                let smtp = smtp.clone();
                let send = move |_: Tick, _: Context| {
                    let smtp = smtp.clone();
                    async move { Ok::<(), Failure>(smtp.call(async {}).await?) }
                };
                node.host().worker("send", Schedule::every(secs(10)), send).run_until_signal()
            });
        });
        Picture::of(&outcome)
    }

    #[test]
    fn a_quiet_world_is_a_life_and_its_cycles() {
        let picture = picture(Script::new());
        let names: Vec<_> = picture.lanes.iter().map(|lane| (lane.is_worker, &*lane.name)).collect();
        assert_eq!(names, [(false, "mailer"), (true, "send")]);
        // At 0, 10, 20, 30 and 40 s.
        let cycles = &picture.lanes[1].bars;
        assert_eq!(cycles.iter().map(|bar| bar.from_ms).collect::<Vec<_>>(), [0.0, 10e3, 20e3, 30e3, 40e3]);
        assert!(cycles.iter().all(|bar| bar.look == Look::Succeeded && bar.to_ms == bar.from_ms + 20.0));
        assert_eq!(picture.bars(), 6);
        assert_eq!(picture.lines.iter().map(|line| line.kind).collect::<Vec<_>>(), ["signal"]);
        assert!(picture.broken.is_none());
    }

    #[test]
    fn a_crash_ends_a_life_and_cuts_its_cycle() {
        let picture = picture(Script::new().at(millis(10_010), plan::crash(secs(1))));
        let lives: Vec<_> = picture.lanes[0].bars.iter().map(|bar| (bar.look, bar.to_ms)).collect();
        assert_eq!(lives, [(Look::Killed, 10_010.0), (Look::Life, 45e3)]);
        let cut: Vec<_> = picture.lanes[1].bars.iter().filter(|bar| bar.look == Look::Cut).collect();
        assert_eq!(cut.len(), 1);
        assert_eq!((cut[0].from_ms, cut[0].to_ms), (10e3, 10_010.0));
    }

    #[test]
    fn a_fault_is_a_band_that_says_when_it_struck() {
        let script = Script::new().at(secs(15), site("smtp").outage().lasting(secs(7)));
        let picture = picture(script.at(secs(31), site("nobody").hang()));
        let bands: Vec<_> = picture.bands.iter().map(|band| (band.kind, band.from_ms, band.to_ms)).collect();
        assert_eq!(bands, [("outage", 15e3, 22e3), ("hang", 31e3, 45e3), ("signal", 45e3, 45e3)]);
        assert_eq!(picture.bands[0].struck_ms, Some(20_010.0));
        assert_eq!(picture.bands[1].struck_ms, None);
        let failed = picture.lanes[1].bars.iter().find(|bar| bar.look == Look::Failed).unwrap();
        assert!(failed.text.contains("smtp") && failed.text.contains("then retry"), "{}", failed.text);
    }
}
