//! What can go wrong at one point of a world: of each kind of fault that fits, one of a size that is known to matter.
//!
//! Kinds that differ from others in how often they strike (flapping, a brownout) are left to generated plans: a fault that is aimed
//! at one call strikes that call.

use std::time::Duration;

use shiftwork::Signal;

use super::{
    FaultMix,
    points::{Point, Spot},
};
use crate::{
    Fault, FaultKind, Surface,
    plan::{Change, Spread, whole_ms},
    queue::OPERATION_TIMEOUT,
    record::{NodeId, SiteId},
};

/// As long as the call at hand needs to meet it, and no other that comes later.
const A_MOMENT_MS: u64 = 1;

/// Long enough for the next attempt to fail too.
const A_WHILE_MS: u64 = 5_000;

/// Longer than a client waits for its store, or a person for a page.
const LONG_MS: u64 = 10_000;

/// As long as a poll may block its thread: rule L3 speaks from 10 ms on.
const BLOCK_MS: u64 = 9;

/// How soon a killed process is back.
const DOWN_MS: u64 = 1_000;

/// Longer than leases last as a rule.
const PAUSE_MS: u64 = 45_000;

/// For how long a world is down, by the wall clock: a month.
const DOWNTIME_MS: u64 = 30 * 24 * 3_600_000;

/// How far the wall clock is put on, and back.
const AHEAD_MS: i64 = 3_600_000;
const BACK_MS: i64 = -20_000;

/// What can be aimed at in the worlds of a scenario.
pub(super) struct Targets {
    sites: Vec<Option<Site>>,
    /// What a fault says of its node, by the node's number.
    nodes: Vec<Option<String>>,
    /// Which clocks change, and which way.
    dates: Vec<(String, Change)>,
    mix: FaultMix,
}

struct Site {
    name: String,
    is_queue: bool,
}

impl Targets {
    /// By the names of a world's sites and nodes, and of the zones that the scenario goes by. What the scenario does
    /// not count as its surface is not struck, nor is anything by a kind that has no weight in its mix.
    pub(super) fn new<'a>(
        surface: &Surface,
        zones: &[String],
        mix: FaultMix,
        sites: impl Iterator<Item = &'a str>,
        nodes: impl Iterator<Item = &'a str>,
    ) -> Self {
        let site = |name: &str| {
            let is_queue = surface.queues.iter().any(|queue| queue == name);
            let is_struck = is_queue || surface.dependencies.iter().any(|dependency| dependency == name);
            is_struck.then(|| Site { name: name.to_owned(), is_queue })
        };
        let mut nodes: Vec<_> = nodes.map(|name| Some(name.to_owned())).collect();
        if let [only] = &mut nodes[..] {
            // It needs no name.
            *only = None;
        }
        Self { sites: sites.map(site).collect(), nodes, dates: Change::of_zones(zones), mix }
    }

    /// Everything that is tried at a point, each for a world of its own.
    pub(super) fn injections(&self, point: &Point) -> Vec<Vec<Fault>> {
        // What strikes calls, or cycles, lets those pass that come to the same place before.
        let at = |kind: FaultKind| {
            let lets_pass = if kind.may_let_pass() { point.nth } else { 0 };
            Fault { lets_pass, ..Fault::new(point.at_ms, kind) }
        };
        let mut all: Vec<Vec<Fault>> = match point.spot {
            Spot::Boot => vec![vec![at(FaultKind::SlowStart {
                node: self.node(point.node),
                by_ms: LONG_MS,
                for_ms: Some(A_MOMENT_MS),
            })]],
            Spot::Instant => self.of_instant(point.node).into_iter().map(|kinds| self.row(point, kinds)).collect(),
            Spot::Poll(polls) => {
                let node = || self.node(point.node);
                vec![
                    vec![at(FaultKind::CrashAtPoll { node: node(), polls, down_ms: DOWN_MS })],
                    vec![at(FaultKind::StopAtPoll { node: node(), polls, again: false })],
                    vec![at(FaultKind::StopAtPoll { node: node(), polls, again: true })],
                ]
            }
            Spot::CallBegins(site) => {
                let slow = |site: String| FaultKind::Slow {
                    site,
                    by_ms: LONG_MS,
                    spread: Spread::Constant,
                    for_ms: Some(A_MOMENT_MS),
                };
                self.site(site).map(|site| vec![at(slow(site.name.clone()))]).into_iter().collect()
            }
            Spot::CallArrives(site) => {
                let Some(site) = self.site(site) else { return Vec::new() };
                let mut all: Vec<_> = of_arrival(site).into_iter().map(|kind| vec![at(kind)]).collect();
                // Its caller gives it up, and it arrives all the same.
                let arrives = FaultKind::EffectAfterDrop { site: site.name.clone(), for_ms: Some(A_WHILE_MS) };
                let node = || self.node(point.node);
                let stop = || FaultKind::Signal { node: node(), signal: Signal::Terminate };
                all.push(vec![at(arrives), at(stop()), at(stop())]);
                all
            }
            Spot::CallReturns(site) => {
                let Some(Site { name, .. }) = self.site(site) else { return Vec::new() };
                let lost = FaultKind::ReplyLost { site: name.clone(), percent: 100, for_ms: Some(A_MOMENT_MS) };
                let killed = FaultKind::CrashInCall { site: name.clone(), after_effect: true, down_ms: DOWN_MS };
                vec![vec![at(lost)], vec![at(killed)]]
            }
            Spot::Claim(site) => {
                let Some(Site { name, .. }) = self.site(site) else { return Vec::new() };
                let site = || name.clone();
                let late = FaultKind::Late { site: site(), percent: 100, by_ms: A_WHILE_MS, for_ms: Some(A_MOMENT_MS) };
                vec![
                    vec![at(FaultKind::Duplicate { site: site() })],
                    vec![at(FaultKind::Malformed { site: site() })],
                    vec![at(FaultKind::Reorder { site: site(), by: 3, for_ms: Some(A_MOMENT_MS) })],
                    vec![at(late)],
                ]
            }
            Spot::CallPolled(site) => {
                let polls = point.nth.saturating_add(1);
                let Some(Site { name, is_queue: false }) = self.site(site) else { return Vec::new() };
                let site = || name.clone();
                vec![
                    vec![at(FaultKind::PanicAtPoll { site: site(), polls })],
                    vec![at(FaultKind::DropAtPoll { site: site(), polls })],
                ]
            }
            Spot::CycleGoesOn { began_ms, polls, is_limited, .. } => {
                let Some(name) = &point.worker else { return Vec::new() };
                let (node, worker) = (|| self.node(point.node), || name.to_string());
                // It strikes cycles that begin from then on.
                let from_its_beginning = |kind| Fault { at_ms: began_ms, ..at(kind) };
                let mut all = vec![FaultKind::PanicInCycle { node: node(), worker: worker(), polls }];
                if is_limited {
                    all.push(FaultKind::CancelInCycle { node: node(), worker: worker(), polls });
                }
                all.into_iter().map(|kind| vec![from_its_beginning(kind)]).collect()
            }
        };
        all.retain(|faults| faults.iter().all(|fault| self.has_weight(&fault.kind)));
        all
    }

    /// What strikes the whole world at a time, each for a world of its own.
    pub(super) fn of_all_nodes(&self, at_ms: u64) -> Vec<Vec<Fault>> {
        let downtime = FaultKind::Downtime { wall_ms: DOWNTIME_MS };
        if self.has_weight(&downtime) { vec![vec![Fault::new(at_ms, downtime)]] } else { Vec::new() }
    }

    /// The changes of clocks that there are, at a time, each for a world of its own.
    pub(super) fn of_dates(&self, at_ms: u64) -> Vec<Vec<Fault>> {
        let dates = self.dates.iter().cloned().map(|(zone, change)| FaultKind::DstChange { zone, change });
        dates.filter(|kind| self.has_weight(kind)).map(|kind| vec![Fault::new(at_ms, kind)]).collect()
    }

    fn has_weight(&self, kind: &FaultKind) -> bool {
        self.mix.weight_of(kind.kind()) > 0
    }

    /// What is tried right before something happens in a process: kinds with how long after that each comes.
    fn of_instant(&self, node: NodeId) -> Vec<Vec<(u64, FaultKind)>> {
        let node = || self.node(node);
        let signal = |signal| FaultKind::Signal { node: node(), signal };
        vec![
            vec![(0, FaultKind::Crash { node: node(), down_ms: DOWN_MS })],
            vec![(0, FaultKind::Pause { node: node(), for_ms: PAUSE_MS })],
            vec![(0, signal(Signal::Terminate))],
            vec![(0, signal(Signal::Terminate)), (0, signal(Signal::Terminate))],
            vec![(0, signal(Signal::Interrupt)), (DOWN_MS, signal(Signal::Interrupt))],
            vec![(0, FaultKind::ClockStep { node: node(), by_ms: AHEAD_MS })],
            vec![(0, FaultKind::ClockStep { node: node(), by_ms: BACK_MS })],
        ]
    }

    fn row(&self, point: &Point, kinds: Vec<(u64, FaultKind)>) -> Vec<Fault> {
        kinds.into_iter().map(|(after, kind)| Fault::new(point.at_ms + after, kind)).collect()
    }

    fn site(&self, SiteId(index): SiteId) -> Option<&Site> {
        self.sites.get(usize::from(index))?.as_ref()
    }

    fn node(&self, NodeId(index): NodeId) -> Option<String> {
        self.nodes.get(usize::from(index)).cloned().flatten()
    }
}

/// What a call may meet when it gets there.
fn of_arrival(site: &Site) -> Vec<FaultKind> {
    let Site { name, is_queue } = site;
    let (site, moment) = (|| name.clone(), Some(A_MOMENT_MS));
    let longer_than_patience = whole_ms(OPERATION_TIMEOUT + Duration::from_secs(30));
    let mut kinds = vec![
        FaultKind::Error { site: site(), percent: 100, for_ms: moment },
        FaultKind::Outage { site: site(), for_ms: Some(A_WHILE_MS) },
        FaultKind::Hang { site: site(), for_ms: Some(A_MOMENT_MS) },
        FaultKind::Hang { site: site(), for_ms: Some(longer_than_patience) },
        FaultKind::Spin { site: site(), polls: 3 },
        FaultKind::Block { site: site(), by_ms: BLOCK_MS },
        FaultKind::CrashInCall { site: site(), after_effect: false, down_ms: DOWN_MS },
    ];
    if *is_queue {
        kinds.push(FaultKind::LeaseTaken { site: site() });
    } else {
        kinds.push(FaultKind::PermanentError { site: site(), percent: 100, for_ms: moment });
        let (percent, retry_after_ms) = (100, A_WHILE_MS);
        kinds.push(FaultKind::RateLimit { site: site(), percent, retry_after_ms, for_ms: moment });
        kinds.push(FaultKind::Panic { site: site() });
    }
    kinds
}
