//! Q: what becomes of every delivery.
//!
//! The queue says what was stored; the host says what ran. These rules hold the two together, for workers that claim from the queues of the
//! world.

mod claimants;
mod stored;
mod unrun;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use shiftwork::{
    FailureKind, Rule,
    event::{CycleId, Declaration, Event, WorkerId},
    queue::DeliveryId,
};

use self::claimants::{Claimants, Store};
use super::Verdicts;
use crate::record::{NodeId, QueueOperation, Settled};

/// How long after the loss of its lease a cycle may still run: it is interrupted at its next turn.
const AT_ONCE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct DeliveryRules {
    nodes: BTreeMap<NodeId, Node>,
    deliveries: BTreeMap<DeliveryId, Tracked>,
    /// The line of each delivery that has an ordering key, and the unsettled ones of each line, first to last.
    line_of: BTreeMap<DeliveryId, u64>,
    lines: BTreeMap<u64, VecDeque<DeliveryId>>,
    /// Under which claim each cycle runs. A process, and each life of a worker in it, counts them anew: what an earlier one has left is
    /// taken out before.
    cycles: BTreeMap<(NodeId, WorkerId, CycleId), (DeliveryId, u64)>,
    /// The claims whose leases the store forgot.
    forgotten: BTreeSet<(DeliveryId, u64)>,
}

#[derive(Default)]
struct Node {
    life: u32,
    /// What each worker makes of a delivery that has a past.
    limits: Vec<Limits>,
    /// It runs no host, and its cycles are not seen: Q1 and Q4 cannot be told of what it claims.
    unseen: bool,
    /// The last batch that each worker began: its first cycle, and how many there are.
    batches: BTreeMap<WorkerId, (u64, u64)>,
    /// Which of its workers claim from the world's queues.
    claimants: Claimants,
}

/// How much a worker tries with one delivery.
#[derive(Clone, Copy)]
struct Limits {
    attempts_max: u32,
    crashes_max: u32,
}

impl Node {
    /// In how much company a cycle runs, itself included.
    fn company(&self, worker: WorkerId, cycle: CycleId) -> u64 {
        match self.batches.get(&worker) {
            Some((first, cycles)) if (*first..first + cycles).contains(&cycle.0) => *cycles,
            Some(_) | None => 1,
        }
    }
}

#[derive(Default)]
struct Tracked {
    /// The current claim.
    claim: Claim,
    /// Claims that lapsed while somebody still worked under them: in a process that stood still, say.
    lapsed: Vec<Claim>,
    retries: u32,
    /// Acked or dead.
    over: bool,
    /// What was stored of it and not said yet.
    unsaid: stored::Unsaid,
}

#[derive(Default)]
struct Claim {
    token: u64,
    /// Who holds it, in which life.
    holder: Option<(NodeId, u32)>,
    told: bool,
    attempt: u32,
    crashes: u32,
    /// How many cycles ran under it, and how the one did.
    starts: u32,
    running: bool,
    succeeded: bool,
    /// A cycle may have begun under it, of a worker of which it is not known what it claims from.
    perhaps_begun: bool,
    /// The host has said that it could not settle it.
    given_up: bool,
    /// The store has forgotten it.
    forgotten: bool,
    lease_lost_at: Option<Duration>,
    /// In which node it was settled, and how.
    settled: Option<(NodeId, Settled)>,
}

impl Claim {
    fn is_held_by(&self, node: NodeId) -> bool {
        self.holder.is_some_and(|(holder, _)| holder == node)
    }
}

impl Tracked {
    /// The claim that a node works under: the current one if it is the node's.
    fn claim_of(&mut self, node: NodeId) -> &mut Claim {
        if !self.claim.is_held_by(node)
            && let Some(index) = self.lapsed.iter().rposition(|claim| claim.is_held_by(node))
        {
            return &mut self.lapsed[index];
        }
        &mut self.claim
    }

    fn with_token(&mut self, token: u64) -> Option<&mut Claim> {
        self.lapsed.iter_mut().chain([&mut self.claim]).find(|claim| claim.token == token)
    }

    /// The cycle under this claim is over. When its lease was lost, if it was.
    fn ends(&mut self, token: u64, succeeded: bool) -> Option<Duration> {
        let claim = self.with_token(token)?;
        (claim.running, claim.succeeded) = (false, succeeded);
        let lost_at = claim.lease_lost_at.take();
        self.lapsed.retain(|claim| claim.token != token);
        lost_at
    }
}

impl DeliveryRules {
    pub(super) fn boot(&mut self, id: NodeId) {
        let node = self.nodes.entry(id).or_default();
        node.life += 1;
        node.batches.clear();
        // Tasks are counted anew.
        node.claimants = Claimants::default();
        self.cycles.retain(|(node, _, _), _| *node != id);
        for tracked in self.deliveries.values_mut() {
            tracked.lapsed.retain(|claim| !claim.is_held_by(id));
            if tracked.claim.is_held_by(id) {
                tracked.claim.running = false;
                tracked.claim.lease_lost_at = None;
            }
        }
    }

    /// A life of a worker begins. What one that was left behind had in flight is not said to end any more.
    fn begin_life(&mut self, node: NodeId, worker: WorkerId) {
        let own = (node, worker, CycleId(0))..=(node, worker, CycleId(u64::MAX));
        for (_, (delivery, token)) in self.cycles.extract_if(own, |_, _| true) {
            if let Some(tracked) = self.deliveries.get_mut(&delivery) {
                tracked.ends(token, false);
            }
        }
    }

    /// A task of a node has spawned another one.
    #[cfg(tokio_unstable)]
    pub(super) fn spawned(&mut self, id: NodeId, task: u32, by: u32) {
        self.nodes.entry(id).or_default().claimants.spawned(task, by);
    }

    /// A worker that does not use the runtime is at work in this node.
    pub(super) fn foreign_began(&mut self, id: NodeId) {
        self.nodes.entry(id).or_default().unseen = true;
    }

    /// `by` is the node that did it, in which of its tasks.
    pub(super) fn on_queue(
        &mut self,
        by: Option<(NodeId, u32)>,
        operation: &QueueOperation,
        abandoned: bool,
        verdicts: &mut Verdicts<'_>,
    ) {
        let node = by.map(|(node, _)| node);
        let holder = node.map(|id| (id, self.nodes.get(&id).map_or(0, |node| node.life)));
        match *operation {
            QueueOperation::Pushed(id) => {
                self.deliveries.insert(id, Tracked::default());
            }
            QueueOperation::InLine { delivery, line } => {
                self.line_of.insert(delivery, line);
                self.lines.entry(line).or_default().push_back(delivery);
            }
            QueueOperation::Requeued(id) => {
                if let Some(line) = self.line_of.get(&id) {
                    self.lines.entry(*line).or_default().push_back(id);
                }
                let tracked = self.deliveries.entry(id).or_default();
                let claim = Claim { token: tracked.claim.token, ..Claim::default() };
                // That it is dead may have yet to be said.
                *tracked = Tracked { claim, unsaid: tracked.unsaid, ..Tracked::default() };
            }
            QueueOperation::Discarded(_) | QueueOperation::Pruned { .. } => {}
            QueueOperation::Claimed { delivery, token, attempt, crashes, told } => {
                if let Some((node, task)) = by.filter(|_| told) {
                    self.nodes.entry(node).or_default().claimants.has_claimed(task);
                }
                let line = self.line_of.get(&delivery).and_then(|line| self.lines.get(line));
                let first = line.and_then(|line| line.front()).copied();
                verdicts.demand(
                    Rule::Q7,
                    line.is_none() || first == Some(delivery),
                    || format!("delivery {delivery} is claimed once it is the first of its ordering key"),
                    || format!("it was claimed before {}", first.map(|id| id.to_string()).unwrap_or_default()),
                );
                let tracked = self.deliveries.entry(delivery).or_default();
                verdicts.demand(
                    Rule::Q2,
                    token > tracked.claim.token,
                    || format!("each claim of delivery {delivery} has a higher token than {}", tracked.claim.token),
                    || format!("it was claimed with token {token}"),
                );
                verdicts.demand(
                    Rule::Q3,
                    !tracked.over,
                    || format!("delivery {delivery} is settled for good"),
                    || "it was claimed again".to_owned(),
                );
                let expected = tracked.retries + 1;
                verdicts.demand(
                    Rule::C2,
                    attempt == expected,
                    || format!("delivery {delivery} is at attempt {expected}"),
                    || format!("it was claimed as attempt {attempt}"),
                );
                let claim = Claim { token, holder, told, attempt, crashes, ..Claim::default() };
                let lapsed = std::mem::replace(&mut tracked.claim, claim);
                // Its holder may not know yet, and begin or end a cycle under it.
                if lapsed.holder.is_some() && (lapsed.running || (lapsed.told && lapsed.starts == 0)) {
                    tracked.lapsed.push(lapsed);
                }
            }
            QueueOperation::Settled { delivery, token, how } => {
                if let (Settled::Acked | Settled::DeadLettered, Some(line)) = (how, self.line_of.get(&delivery)) {
                    self.lines.entry(*line).or_default().retain(|id| *id != delivery);
                }
                let tracked = self.deliveries.entry(delivery).or_default();
                tracked.unsaid.is_stored(how);
                let claim = &mut tracked.claim;
                let unseen = claim.holder.and_then(|(node, _)| self.nodes.get(&node)).is_some_and(|node| node.unseen);
                verdicts.demand(
                    Rule::Q2,
                    token == claim.token,
                    || format!("only claim {} of delivery {delivery} can settle it", claim.token),
                    || format!("claim {token} did"),
                );
                verdicts.demand(
                    Rule::Q1,
                    !claim.running,
                    || format!("delivery {delivery} is settled after its cycle has ended"),
                    || "it was settled while its cycle ran".to_owned(),
                );
                match how {
                    Settled::Acked => {
                        verdicts.demand(
                            Rule::Q1,
                            unseen || claim.perhaps_begun || claim.succeeded,
                            || format!("delivery {delivery} is acknowledged after its cycle succeeded, or dropped it"),
                            || "no cycle of this claim had".to_owned(),
                        );
                        tracked.over = true;
                    }
                    Settled::DeadLettered => tracked.over = true,
                    Settled::Retried => tracked.retries += 1,
                    Settled::Returned => {}
                }
                tracked.claim.holder = None;
                tracked.claim.settled = node.map(|node| (node, how));
            }
            QueueOperation::StillLeased(delivery) => {
                let Some(tracked) = self.deliveries.get(&delivery) else { return };
                let unseen = node.and_then(|id| self.nodes.get(&id)).is_some_and(|node| node.unseen);
                let claim = &tracked.claim;
                // Another's, or of an earlier life; granted in a reply that was lost; said to have failed; or left at once, as
                // asked.
                let excused =
                    claim.holder != holder || !claim.told || claim.given_up || claim.forgotten || abandoned || unseen;
                verdicts.demand(
                    Rule::Q4,
                    excused,
                    || format!("delivery {delivery} is settled or returned when its host has ended"),
                    || format!("claim {} of it still holds the lease", claim.token),
                );
            }
            QueueOperation::LeaseTaken { delivery, token } => {
                // Its cycle may run on until it learns of it, and is not live any more.
                self.forgotten.insert((delivery, token));
                let tracked = self.deliveries.entry(delivery).or_default();
                if tracked.claim.token == token {
                    tracked.claim.forgotten = true;
                }
            }
            QueueOperation::Fenced { .. } | QueueOperation::Panicked => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only events of deliveries matter here")]
    pub(super) fn on(&mut self, node: NodeId, task: u32, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => {
                let limits =
                    |it: &Declaration| Limits { attempts_max: it.retry.attempts(), crashes_max: it.crashes_max };
                let node = self.nodes.entry(node).or_default();
                node.limits = workers.iter().map(limits).collect();
                // Another host of the process before it counted its workers, and their cycles, from the same numbers.
                node.batches.clear();
                node.claimants.host_starts();
            }
            Event::IntakeOpened { worker } => self.begin_life(node, *worker),
            Event::BatchStarted { worker, first, cycles } => {
                let node = self.nodes.entry(node).or_default();
                node.batches.insert(*worker, (first.0, u64::from(*cycles)));
            }
            Event::CycleStarted { worker, cycle, attempt, delivery: Some(delivery) } => {
                match self.store_of((node, *worker), task, *delivery) {
                    Some(Store::World) => {}
                    Some(Store::Own) => return,
                    None => return self.perhaps_begins(node, *delivery),
                }
                let company = self.nodes.get(&node).map_or(1, |node| node.company(*worker, *cycle));
                let crashes_max = self.limits(node, *worker).map_or(u32::MAX, |limits| limits.crashes_max);
                let claim = self.deliveries.entry(*delivery).or_default().claim_of(node);
                claim.starts += 1;
                claim.running = true;
                let own = self.cycles.range((node, *worker, CycleId(0))..=(node, *worker, CycleId(u64::MAX)));
                // What the store forgot left no lapse on the delivery's record, from which the worker could know.
                let older = own.into_iter().find(|(_, (of, token))| {
                    of == delivery && *token < claim.token && !self.forgotten.contains(&(*of, *token))
                });
                verdicts.demand(
                    Rule::Q11,
                    older.is_none(),
                    || {
                        format!(
                            "no cycle of an older claim of its worker works on delivery {delivery} when another begins"
                        )
                    },
                    || format!("cycle {cycle} began before the older one had ended"),
                );
                self.cycles.insert((node, *worker, *cycle), (*delivery, claim.token));
                verdicts.demand(
                    Rule::Q10,
                    company == 1 || (claim.attempt == 1 && claim.crashes == 0),
                    || format!("delivery {delivery}, which has failed or crashed before, runs alone"),
                    || format!("cycle {cycle} of it is one of a batch of {company}"),
                );
                let was_claimed = claim.token > 0;
                verdicts.demand(
                    Rule::Q2,
                    was_claimed,
                    || format!("delivery {delivery} is claimed before a cycle of it begins"),
                    || format!("cycle {cycle} began, and nobody had claimed it"),
                );
                verdicts.demand(
                    Rule::Q2,
                    claim.starts == 1,
                    || format!("one claim of delivery {delivery} runs one cycle"),
                    || format!("cycle {cycle} is number {} of claim {}", claim.starts, claim.token),
                );
                verdicts.demand(
                    Rule::C2,
                    !was_claimed || *attempt == claim.attempt,
                    || format!("delivery {delivery} was claimed as attempt {}", claim.attempt),
                    || format!("cycle {cycle} is attempt {attempt}"),
                );
                verdicts.demand(
                    Rule::Q5,
                    claim.crashes < crashes_max,
                    || format!("delivery {delivery} is moved aside after {crashes_max} lapsed leases"),
                    || format!("cycle {cycle} ran it after {}", claim.crashes),
                );
            }
            Event::CycleEnded { worker, cycle, failure, .. } => {
                let Some((delivery, token)) = self.cycles.remove(&(node, *worker, *cycle)) else { return };
                let succeeded = failure.as_ref().is_none_or(|cause| cause.kind == FailureKind::Discarded);
                let lost_at = self.deliveries.entry(delivery).or_default().ends(token, succeeded);
                let late = lost_at
                    .map(|lost| verdicts.at.saturating_sub(lost).saturating_sub(verdicts.held_up_since(lost)))
                    .unwrap_or_default();
                verdicts.demand(
                    Rule::Q6,
                    late <= AT_ONCE,
                    || format!("cycle {cycle} ends at once when delivery {delivery} is lost"),
                    || format!("it ran on for {late:?}"),
                );
            }
            Event::LeaseLost { worker, delivery, token } => {
                // By its token: a worker may have claimed again what one of its own lanes still works on.
                if self.store_of((node, *worker), task, *delivery) == Some(Store::World)
                    && let Some(tracked) = self.deliveries.get_mut(delivery)
                    && let Some(claim) = tracked.with_token(token.0)
                    && claim.running
                {
                    claim.lease_lost_at = Some(verdicts.at);
                }
            }
            Event::Settled { worker, delivery: Some(delivery), settle, .. }
                if self.store_of((node, *worker), task, *delivery) == Some(Store::World) =>
            {
                self.said(*delivery, *settle, verdicts);
            }
            Event::SettledUnrun { worker, delivery, settle } => {
                let is_known = self.store_of((node, *worker), task, *delivery) == Some(Store::World);
                if is_known {
                    self.said(*delivery, *settle, verdicts);
                }
                unrun::is_put_back_or_aside(*delivery, *settle, verdicts);
                if is_known {
                    self.moved_aside_unrun((node, *worker), *delivery, *settle, verdicts);
                }
            }
            Event::SettleFailed { worker, delivery: Some(delivery), .. } => {
                // It excuses, so that whoever is not known yet is believed.
                if self.store_of((node, *worker), task, *delivery) != Some(Store::Own)
                    && let Some(Tracked { claim, .. }) = self.deliveries.get_mut(delivery)
                {
                    claim.given_up |= claim.is_held_by(node);
                }
            }
            _ => {}
        }
    }

    /// What a worker claims from, if that is known when this is told of a delivery of it.
    fn store_of(&mut self, (node, worker): (NodeId, WorkerId), task: u32, delivery: DeliveryId) -> Option<Store> {
        let deliveries = &self.deliveries;
        let was_given_out = || deliveries.get(&delivery).is_some_and(|tracked| tracked.claim.token > 0);
        self.nodes.entry(node).or_default().claimants.store_of(worker, task, was_given_out)
    }

    /// A cycle begins in a node with what may be this delivery, or another one of the same number.
    fn perhaps_begins(&mut self, node: NodeId, delivery: DeliveryId) {
        if let Some(tracked) = self.deliveries.get_mut(&delivery) {
            let claim = tracked.claim_of(node);
            claim.perhaps_begun |= claim.is_held_by(node);
        }
    }

    fn limits(&self, node: NodeId, worker: WorkerId) -> Option<Limits> {
        self.nodes.get(&node)?.limits.get(worker.0 as usize).copied()
    }

    pub(super) fn check_end(&mut self, held: &BTreeSet<DeliveryId>, verdicts: &mut Verdicts<'_>) {
        for (id, tracked) in &self.deliveries {
            let is_held = held.contains(id);
            verdicts.demand(
                Rule::Q3,
                tracked.over != is_held,
                || {
                    let where_ = if tracked.over { "gone from its queue" } else { "in its queue" };
                    format!("delivery {id} is {where_} at the end")
                },
                || if is_held { "it is there".to_owned() } else { "it is not there".to_owned() },
            );
        }
    }
}
