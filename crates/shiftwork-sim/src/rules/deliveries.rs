//! Q: what becomes of every delivery.
//!
//! The queue says what was stored; the host says what ran. These rules hold the two together.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shiftwork::{
    Rule,
    event::{CycleId, Event, WorkerId},
    queue::DeliveryId,
};

use super::Verdicts;
use crate::record::{QueueOperation, Settled};

/// How long after the loss of its lease a cycle may still run: it is interrupted at its next turn.
const AT_ONCE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct DeliveryRules {
    life: u32,
    deliveries: BTreeMap<DeliveryId, Tracked>,
    /// Which delivery a cycle runs, and under which claim.
    cycles: BTreeMap<(WorkerId, CycleId), (DeliveryId, u64)>,
    crashes_max: Vec<u32>,
}

#[derive(Default)]
struct Tracked {
    /// The current claim.
    token: u64,
    claimed_in: u32,
    told: bool,
    attempt: u32,
    crashes: u32,
    /// How many cycles ran under the current claim, and how the one did.
    starts: u32,
    running: bool,
    succeeded: bool,
    retries: u32,
    /// The host has said that it could not settle it.
    given_up: bool,
    lease_lost_at: Option<Duration>,
    /// Acked or dead.
    over: bool,
}

impl DeliveryRules {
    pub(super) fn boot(&mut self) {
        self.life += 1;
        self.cycles.clear();
        for tracked in self.deliveries.values_mut() {
            tracked.running = false;
            tracked.lease_lost_at = None;
        }
    }

    pub(super) fn on_queue(&mut self, operation: &QueueOperation, abandoned: bool, verdicts: &mut Verdicts<'_>) {
        let life = self.life;
        match *operation {
            QueueOperation::Pushed(id) => {
                self.deliveries.insert(id, Tracked::default());
            }
            QueueOperation::Requeued(id) => {
                let tracked = self.deliveries.entry(id).or_default();
                *tracked = Tracked { token: tracked.token, ..Tracked::default() };
            }
            QueueOperation::Discarded(_) => {}
            QueueOperation::Claimed { delivery, token, attempt, crashes, told } => {
                let tracked = self.deliveries.entry(delivery).or_default();
                verdicts.demand(
                    Rule::Q2,
                    token > tracked.token,
                    || format!("each claim of delivery {delivery} has a higher token than {}", tracked.token),
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
                *tracked = Tracked {
                    token,
                    claimed_in: life,
                    told,
                    attempt,
                    crashes,
                    retries: tracked.retries,
                    ..Tracked::default()
                };
            }
            QueueOperation::Settled { delivery, token, how } => {
                let tracked = self.deliveries.entry(delivery).or_default();
                verdicts.demand(
                    Rule::Q2,
                    token == tracked.token,
                    || format!("only claim {} of delivery {delivery} can settle it", tracked.token),
                    || format!("claim {token} did"),
                );
                verdicts.demand(
                    Rule::Q1,
                    !tracked.running,
                    || format!("delivery {delivery} is settled after its cycle has ended"),
                    || "it was settled while its cycle ran".to_owned(),
                );
                match how {
                    Settled::Acked => {
                        verdicts.demand(
                            Rule::Q1,
                            tracked.succeeded,
                            || format!("delivery {delivery} is acknowledged after its cycle succeeded"),
                            || "no cycle of this claim had".to_owned(),
                        );
                        tracked.over = true;
                    }
                    Settled::DeadLettered => tracked.over = true,
                    Settled::Retried => tracked.retries += 1,
                    Settled::Returned => {}
                }
                tracked.claimed_in = 0;
            }
            QueueOperation::StillLeased(delivery) => {
                let Some(tracked) = self.deliveries.get(&delivery) else { return };
                // Of an earlier life; granted in a reply that was lost; said to have failed; or left at once, as asked.
                let excused = tracked.claimed_in != life || !tracked.told || tracked.given_up || abandoned;
                verdicts.demand(
                    Rule::Q4,
                    excused,
                    || format!("delivery {delivery} is settled or returned when its host has ended"),
                    || format!("claim {} of it still holds the lease", tracked.token),
                );
            }
            QueueOperation::LeaseTaken { delivery, .. } => {
                // Its cycle may run on until it learns of it, and is not live any more.
                let tracked = self.deliveries.entry(delivery).or_default();
                tracked.claimed_in = 0;
            }
            QueueOperation::Fenced { .. } => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only events of deliveries matter here")]
    pub(super) fn on(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => {
                self.crashes_max = workers.iter().map(|worker| worker.crashes_max).collect();
            }
            Event::CycleStarted { worker, cycle, attempt, delivery: Some(delivery) } => {
                let crashes_max = self.crashes_max.get(worker.0 as usize).copied().unwrap_or(u32::MAX);
                let tracked = self.deliveries.entry(*delivery).or_default();
                tracked.starts += 1;
                tracked.running = true;
                self.cycles.insert((*worker, *cycle), (*delivery, tracked.token));
                verdicts.demand(
                    Rule::Q2,
                    tracked.starts == 1,
                    || format!("one claim of delivery {delivery} runs one cycle"),
                    || format!("cycle {cycle} is number {} of claim {}", tracked.starts, tracked.token),
                );
                verdicts.demand(
                    Rule::C2,
                    *attempt == tracked.attempt,
                    || format!("delivery {delivery} was claimed as attempt {}", tracked.attempt),
                    || format!("cycle {cycle} is attempt {attempt}"),
                );
                verdicts.demand(
                    Rule::Q5,
                    tracked.crashes < crashes_max,
                    || format!("delivery {delivery} is moved aside after {crashes_max} lapsed leases"),
                    || format!("cycle {cycle} ran it after {}", tracked.crashes),
                );
            }
            Event::CycleEnded { worker, cycle, failure, .. } => {
                let Some((delivery, token)) = self.cycles.remove(&(*worker, *cycle)) else { return };
                let tracked = self.deliveries.entry(delivery).or_default();
                if token != tracked.token {
                    // It was claimed again meanwhile: how the old cycle ends says nothing of the new claim.
                    return;
                }
                tracked.running = false;
                tracked.succeeded = failure.is_none();
                let lost_at = tracked.lease_lost_at.take();
                let late = lost_at.map(|lost| verdicts.at.saturating_sub(lost)).unwrap_or_default();
                verdicts.demand(
                    Rule::Q6,
                    late <= AT_ONCE,
                    || format!("cycle {cycle} ends at once when delivery {delivery} is lost"),
                    || format!("it ran on for {late:?}"),
                );
            }
            Event::LeaseLost { delivery, .. } => {
                let tracked = self.deliveries.entry(*delivery).or_default();
                if tracked.running {
                    tracked.lease_lost_at = Some(verdicts.at);
                }
            }
            Event::SettleFailed { delivery: Some(delivery), .. } => {
                self.deliveries.entry(*delivery).or_default().given_up = true;
            }
            _ => {}
        }
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
