//! The injection points of a base world: every place that a fault could be aimed at, and what is the same about some of them.
//!
//! A base world is surveyed (`world/survey.rs`), and its records are gone through beside the survey, so that each point is known with where
//! the workers stood. Points at which nothing tells one from another are of one *class*: the same step of a call to the same
//! site, from a cycle that stood where the other did, while all other workers stood where they did. A campaign that has not
//! the time for all points leaves some of a class out, never a class.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shiftwork::event::{Declaration, Event, WorkerId};

use crate::{
    Outcome, Record, What,
    plan::whole_ms,
    record::{NodeId, SiteId},
    rules::Watcher,
    world::{CycleAwait, Place, Sight},
};

/// Somewhere in a base world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at_ms: u64,
    /// In which node.
    pub(super) node: NodeId,
    pub(super) spot: Spot,
    /// Of a call, how many others have come to the same place in its millisecond before; of a cycle, how many that began no earlier have
    /// come as far before.
    pub(super) nth: u32,
    /// The name of the worker whose cycle it is, at a cycle's own await point.
    pub(super) worker: Option<Arc<str>>,
    pub(super) class: Class,
}

/// What a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A process is started.
    Boot,
    /// Something happens in a process; a fault of this time comes right before it.
    Instant,
    /// A call sets out.
    CallBegins(SiteId),
    /// A call gets there.
    CallArrives(SiteId),
    /// A call's reply sets out.
    CallReturns(SiteId),
    /// A claim looks into its store.
    Claim(SiteId),
    /// A call is about to be polled.
    CallPolled(SiteId),
    /// An await point: so many polls of the node's tasks after its instant began.
    Poll(u64),
    /// An await point of a cycle, which is about to go on there.
    CycleGoesOn {
        /// Whose cycle.
        worker: WorkerId,
        /// When the cycle began.
        began_ms: u64,
        /// Which of its await points it is, from 1.
        polls: u32,
        /// Whether its time is limited.
        is_limited: bool,
    },
}

/// What is the same about some points.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    node: NodeId,
    spot: Spot,
    /// Where everything in the process stood before, and what the task at hand was doing.
    situation: Vec<u32>,
    doing: u32,
    /// Of an instant, where everything stood after it; of an await point, which of its cycle's it is.
    more: Vec<u32>,
}

/// Every point of a world that was surveyed, from `from` up to `until`, in the order in which the world came by.
pub(super) fn points_of(world: &Outcome, from: Duration, until: Duration) -> Vec<Point> {
    let records = world.timeline.records();
    let mut walk = Walk::new(world.timeline.node_names().count());
    let mut sights = world.survey.iter().peekable();
    for (number, record) in records.iter().enumerate() {
        while let Some(sight) = sights.next_if(|sight| sight.records <= number as u64) {
            walk.see(sight);
        }
        walk.on(record);
    }
    sights.for_each(|sight| walk.see(sight));
    walk.close_instants(Duration::MAX);
    let mut points = walk.points;
    let (from, until) = (whole_ms(from), whole_ms(until));
    points.retain(|point| (from..until).contains(&point.at_ms));
    points.sort_by_key(|point| point.at_ms);
    points
}

/// The way through a world's records.
struct Walk {
    nodes: Vec<Standing>,
    /// How many calls have come to each place in the last millisecond in which there were any.
    calls: BTreeMap<Spot, (u64, u32)>,
    /// When the cycles began that have come to each of a worker's await points.
    cycles: BTreeMap<(NodeId, WorkerId, u32), Vec<u64>>,
    points: Vec<Point>,
}

/// What is known of one node on the way.
#[derive(Default)]
struct Standing {
    watcher: Watcher,
    /// The instant at which something is happening, and where everything stood before.
    instant: Option<(Duration, Vec<u32>)>,
    /// How many polls there were at the last instant at which there were any.
    polls: (Duration, u64),
    /// Of each task that works on a cycle, which await point of that it has come to.
    in_cycle: BTreeMap<u32, u32>,
    /// The workers of its host.
    workers: Option<Arc<[Declaration]>>,
}

impl Walk {
    fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Standing::default()).collect(),
            calls: BTreeMap::new(),
            cycles: BTreeMap::new(),
            points: Vec::new(),
        }
    }

    fn on(&mut self, record: &Record) {
        self.close_instants(record.at);
        let Some(node) = record.node else { return };
        let Some(standing) = self.nodes.get_mut(usize::from(node.0)) else { return };
        if let What::Host(Event::HostStarting { workers }) = &record.what {
            standing.workers = Some(workers.clone());
        }
        if matches!(record.what, What::Booted { .. }) {
            standing.in_cycle.clear();
            self.points.push(Point {
                at_ms: whole_ms(record.at),
                node,
                spot: Spot::Boot,
                nth: 0,
                worker: None,
                class: Class { node, spot: Spot::Boot, situation: Vec::new(), doing: 0, more: Vec::new() },
            });
        }
        if standing.instant.is_none() {
            standing.instant = Some((record.at, standing.watcher.situation()));
        }
        standing.watcher.on(record);
        if standing.watcher.doing(record.task).is_none() {
            standing.in_cycle.remove(&record.task);
        }
    }

    /// Instants before `now` are over: each is a point.
    fn close_instants(&mut self, now: Duration) {
        for (standing, node) in self.nodes.iter_mut().zip((0..).map(NodeId)) {
            if let Some((at, situation)) = standing.instant.take_if(|(at, _)| *at < now) {
                let more = standing.watcher.situation();
                let class = Class { node, spot: Spot::Instant, situation, doing: 0, more };
                let (at_ms, spot) = (whole_ms(at), Spot::Instant);
                self.points.push(Point { at_ms, node, spot, nth: 0, worker: None, class });
            }
        }
    }

    fn see(&mut self, sight: &Sight) {
        let Sight { at, node, task, records: _, place } = *sight;
        // What happened at an earlier instant is over.
        self.close_instants(at);
        let Some(standing) = self.nodes.get_mut(usize::from(node.0)) else { return };
        let doing = standing.watcher.doing(task);
        let mut more = Vec::new();
        let (spot, same) = match place {
            Place::CallBegins(site) => (Spot::CallBegins(site), Spot::CallBegins(site)),
            Place::CallArrives(site) => (Spot::CallArrives(site), Spot::CallArrives(site)),
            Place::CallReturns(site) => (Spot::CallReturns(site), Spot::CallReturns(site)),
            Place::Claim(site) => (Spot::Claim(site), Spot::Claim(site)),
            Place::CallPolled(site) => (Spot::CallPolled(site), Spot::CallPolled(site)),
            Place::Polled => {
                let before = if standing.polls.0 == at { standing.polls.1 } else { 0 };
                standing.polls = (at, before + 1);
                if doing.is_some() {
                    let nth = standing.in_cycle.entry(task).or_default();
                    *nth += 1;
                    more.push(*nth);
                }
                // Which poll of its instant it is says how to get there, not what it is.
                (Spot::Poll(before + 1), Spot::Poll(0))
            }
            Place::CycleGoesOn(CycleAwait { worker, began_ms, polls, is_limited }) => {
                let goes_on = |began_ms| Spot::CycleGoesOn { worker, began_ms, polls, is_limited };
                (goes_on(began_ms), goes_on(0))
            }
        };
        let declared = standing.workers.as_ref();
        let name = |WorkerId(index)| Some(declared?.get(index as usize)?.name.clone());
        let doing = doing.map_or(0, |(worker, moment)| (worker.0 << 8) | (moment as u32 + 1));
        let class = Class { node, spot: same, situation: standing.watcher.situation(), doing, more };
        let at_ms = whole_ms(at);
        let mut whose = None;
        let nth = match spot {
            Spot::CallBegins(_)
            | Spot::CallArrives(_)
            | Spot::CallReturns(_)
            | Spot::Claim(_)
            | Spot::CallPolled(_) => {
                let before = self.calls.get(&spot).filter(|(last_ms, _)| *last_ms == at_ms);
                let nth = before.map_or(0, |(_, nth)| nth + 1);
                self.calls.insert(spot, (at_ms, nth));
                nth
            }
            Spot::CycleGoesOn { worker, began_ms, polls, .. } => {
                whose = name(worker);
                let before = self.cycles.entry((node, worker, polls)).or_default();
                // A fault that is aimed at it is in force for all of these.
                let no_earlier = before.iter().filter(|began| **began >= began_ms).count();
                before.push(began_ms);
                u32::try_from(no_earlier).unwrap_or(u32::MAX)
            }
            Spot::Boot | Spot::Instant | Spot::Poll(_) => 0,
        };
        self.points.push(Point { at_ms, node, spot, nth, worker: whose, class });
    }
}
