//! What the calls of a site meet, the cycles of a worker and the starts of a process: where faults strike them, and when.

use std::time::Duration;

use shiftwork::{AwaitPoint, Signal};

use super::{
    RESTART_AFTER,
    shared::State,
    survey::{CycleAwait, Place},
};
use crate::{
    Fault, FaultKind, What,
    dependency::{Latency, Trouble},
    plan::{Deed, Spread, Step, whole_ms},
    record::{NodeId, SiteId},
};

/// What becomes of one call to a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) site: SiteId,
    pub(crate) call: u64,
    pub(crate) asks: Asks,
}

/// Who asks something of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Code of the program's own: a cycle, say.
    Code,
    /// A lane, which does so beside what its task has at work.
    Lane,
}

/// What a call meets on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    /// Nothing.
    Nothing,
    /// An error, before the effect or after it.
    Error(Trouble),
    /// No answer until this time.
    Silence(Duration),
    /// So many polls without progress.
    Spin(u32),
    /// Its thread is held for so long, in the poll in which it is.
    Block(Duration),
    /// A panic.
    Panic,
    /// The end of the process.
    Crash,
}

/// The faults that let a call pass at a step of it, however often it asks there what it meets.
#[derive(Debug, Default)]
pub(crate) struct LetPass(Vec<usize>);

/// What a call, or a cycle, meets at an await point of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeetsAtPoll {
    /// Nothing.
    Nothing,
    /// A panic.
    Panic,
    /// It is dropped.
    Drop,
}

/// A fault of the plan, and whether it had an effect yet.
pub(super) struct PlannedFault {
    pub(super) at: Duration,
    /// `None`: until the world heals.
    pub(super) until: Option<Duration>,
    pub(super) site: Option<SiteId>,
    pub(super) kind: FaultKind,
    pub(super) struck: bool,
    /// How many polls it has counted, if that is what it waits for.
    polls: u32,
    /// How many calls it still lets pass, and whether the one at hand is one of them.
    lets_pass: u32,
    passes: bool,
    /// It follows a timer until then, and has not begun.
    pub(super) follows_until: Option<Duration>,
    /// The first call that it slows down says by how much, so that it comes to its end at a deadline.
    pub(super) slows_to_deadline: bool,
}

/// A fault at an await point that is to come.
pub(super) struct AtPoll {
    pub(super) node: NodeId,
    fault: usize,
    polls_left: u64,
    deed: Deed,
}

impl PlannedFault {
    pub(super) fn new(fault: &Fault) -> Self {
        let Fault { at_ms, kind, lets_pass } = fault;
        let kind = kind.clone();
        let mut planned = Self {
            at: Duration::ZERO,
            until: None,
            site: None,
            kind,
            struck: false,
            polls: 0,
            lets_pass: *lets_pass,
            passes: false,
            follows_until: None,
            slows_to_deadline: false,
        };
        planned.begins_at(Duration::from_millis(*at_ms));
        planned
    }

    /// It begins at this time, and lasts as long as its kind says.
    pub(super) fn begins_at(&mut self, at: Duration) {
        self.at = at;
        self.until = self.kind.lasts_ms().map(|lasts| at.saturating_add(Duration::from_millis(lasts)));
    }

    /// It lasts for so long, if it is of a kind that lasts.
    pub(super) fn lasts(&mut self, time: Duration) {
        self.kind = self.kind.clone().lasting(time);
        self.begins_at(self.at);
    }
}

impl State {
    /// Whether a fault is in force at `now`, and not one that lets the call at hand pass.
    fn in_force(fault: &PlannedFault, heal_at: Duration, now: Duration) -> bool {
        Self::has_begun(fault, heal_at, now) && !fault.passes
    }

    fn has_begun(fault: &PlannedFault, heal_at: Duration, now: Duration) -> bool {
        fault.at <= now && now < fault.until.unwrap_or(heal_at).min(heal_at)
    }

    /// A call of the site is at a step: faults that strike there may let it pass, and do so for as long as it is there.
    fn come_to(&mut self, site: SiteId, step: Step, LetPass(let_pass): &mut LetPass) {
        // What no process does is nobody's call, and nor is what one does that is over.
        if self.running().is_none() || self.is_fenced() {
            return;
        }
        let (now, heal_at) = (self.now(), self.heal_at());
        for (index, fault) in self.faults.iter_mut().enumerate() {
            let mut passes = let_pass.contains(&index);
            if (fault.lets_pass > 0 || fault.passes || passes)
                && fault.site == Some(site)
                && fault.kind.strikes_at() == Some(step)
                && Self::has_begun(fault, heal_at, now)
            {
                if !passes && fault.lets_pass > 0 {
                    passes = true;
                    fault.lets_pass -= 1;
                    let_pass.push(index);
                }
                fault.passes = passes;
            }
        }
    }

    /// Says that a fault had an effect, the first time.
    pub(crate) fn strike(&mut self, fault: usize) {
        if let Some(planned) = self.faults.get_mut(fault)
            && !planned.struck
        {
            planned.struck = true;
            let at = self.now();
            self.record(at, What::Struck { fault });
        }
    }

    /// From now on polls are counted: after the last of so many, this is done to the process.
    pub(super) fn wait_for_poll(&mut self, node: NodeId, fault: usize, polls: u64, deed: Deed) {
        self.at_poll.push(AtPoll { node, fault, polls_left: polls.max(1), deed });
    }

    /// A task was polled: does what was to come after this poll. Whether the process is killed by it.
    pub(super) fn strike_at_poll(&mut self) -> bool {
        // What a process that is over has left behind has turns yet. They are nobody's.
        if self.at_poll.is_empty() || self.is_fenced() {
            return false;
        }
        let Some(running) = self.running() else { return false };
        let mut due = Vec::new();
        self.at_poll.retain_mut(|planned| {
            if planned.node != running {
                return true;
            }
            planned.polls_left -= 1;
            if planned.polls_left == 0 {
                due.push((planned.fault, planned.deed));
            }
            planned.polls_left > 0
        });
        for (fault, deed) in due {
            self.strike(fault);
            let down = match deed {
                Deed::Crash { down } => Some(down),
                Deed::Stop { again } => {
                    let heard = (0..=u8::from(again)).all(|_| {
                        let now = self.now();
                        self.record(now, What::Signalled(Signal::Terminate));
                        self.signal(running, Signal::Terminate)
                    });
                    (!heard).then_some(RESTART_AFTER)
                }
            };
            // Other tasks may have a turn before the driver has its own. They are dead already.
            if let Some(down) = down
                && self.crash.is_none()
            {
                self.kill(down);
            }
        }
        self.crash.is_some()
    }

    /// A call to the site is polled: what becomes of it there.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each place picks the kinds that strike there")]
    pub(crate) fn meets_at_poll(&mut self, site: SiteId) -> MeetsAtPoll {
        if self.is_fenced() {
            return MeetsAtPoll::Nothing;
        }
        self.note(Place::CallPolled(site));
        let (now, heal_at) = (self.now(), self.heal_at());
        for index in 0..self.faults.len() {
            let fault = &mut self.faults[index];
            let (polls, meets) = match fault.kind {
                FaultKind::PanicAtPoll { polls, .. } => (polls, MeetsAtPoll::Panic),
                FaultKind::DropAtPoll { polls, .. } => (polls, MeetsAtPoll::Drop),
                _ => continue,
            };
            if fault.site == Some(site) && !fault.struck && Self::in_force(fault, heal_at, now) {
                fault.polls += 1;
                if fault.polls >= polls {
                    self.strike(index);
                    return meets;
                }
            }
        }
        MeetsAtPoll::Nothing
    }

    /// A cycle of a node's worker goes on after it has waited: what becomes of it there.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each place picks the kinds that strike there")]
    pub(super) fn meets_in_cycle(&mut self, id: NodeId, at: &AwaitPoint<'_>) -> MeetsAtPoll {
        if self.is_fenced() {
            return MeetsAtPoll::Nothing;
        }
        let began = self.time().at(at.began);
        let AwaitPoint { worker, polls, is_limited, .. } = *at;
        self.note(Place::CycleGoesOn(CycleAwait { worker, began_ms: whole_ms(began), polls, is_limited }));
        let (now, heal_at) = (self.now(), self.heal_at());
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            let (node, worker, nth, meets) = match &fault.kind {
                FaultKind::PanicInCycle { node, worker, polls } => (node, worker, *polls, MeetsAtPoll::Panic),
                FaultKind::CancelInCycle { node, worker, polls } if is_limited => {
                    (node, worker, *polls, MeetsAtPoll::Drop)
                }
                _ => continue,
            };
            let here = node.as_ref().map_or(id == NodeId(0), |name| *name == *self.node_name(id));
            let its_turn = nth == polls && fault.at <= began && Self::has_begun(fault, heal_at, now);
            if fault.struck || !here || !its_turn || *worker != *at.name {
                continue;
            }
            let fault = &mut self.faults[index];
            if fault.lets_pass > 0 {
                fault.lets_pass -= 1;
                continue;
            }
            self.strike(index);
            return meets;
        }
        MeetsAtPoll::Nothing
    }

    /// A cycle of the site was asked to end: whether it ignores that.
    pub(crate) fn ignores_cancel(&mut self, site: SiteId) -> bool {
        let found = self.find(site, |fault| matches!(fault.kind, FaultKind::IgnoreCancel { .. }));
        if let Some(index) = found {
            self.strike(index);
        }
        found.is_some()
    }

    /// How much longer a call takes that begins now, and would take `usual`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each place picks the kinds that strike there")]
    pub(crate) fn slowness(&mut self, site: SiteId, usual: Duration) -> Duration {
        // Of a process that is over, other tasks may have a turn yet.
        if self.is_fenced() {
            return Duration::ZERO;
        }
        self.come_to(site, Step::Begins, &mut LetPass::default());
        let (now, heal_at) = (self.now(), self.heal_at());
        let mut slower = Duration::ZERO;
        for index in 0..self.faults.len() {
            let fault = &mut self.faults[index];
            if fault.site != Some(site) || !Self::in_force(fault, heal_at, now) {
                continue;
            }
            if std::mem::take(&mut fault.slows_to_deadline) {
                self.put_call_at_deadline(index, usual);
            }
            let fault = &self.faults[index];
            let chance = &mut self.sites[usize::from(site.0)].chance;
            let by = match fault.kind {
                FaultKind::Slow { by_ms: by_ms @ 1.., spread, .. } => {
                    let by = Duration::from_millis(by_ms);
                    match spread {
                        Spread::Constant => by,
                        Spread::Uniform => Latency::uniform(Duration::ZERO, by).draw(chance),
                        Spread::LongTail => Latency::long_tail(by / 16, by).draw(chance),
                    }
                }
                FaultKind::Brownout { percent, by_ms, .. } if one_in_hundred(chance, percent) => {
                    Duration::from_millis(by_ms)
                }
                _ => continue,
            };
            if !by.is_zero() {
                slower += by;
                self.strike(index);
            }
        }
        slower
    }

    /// How much longer a process takes that starts now.
    pub(super) fn start_delay(&mut self, node: NodeId) -> Duration {
        let (now, heal_at) = (self.now(), self.heal_at());
        let mut delay = Duration::ZERO;
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            if let FaultKind::SlowStart { node: name, by_ms: by_ms @ 1.., .. } = &fault.kind
                && name.as_ref().map_or(node == NodeId(0), |name| *name == *self.node_name(node))
                && Self::in_force(fault, heal_at, now)
            {
                delay += Duration::from_millis(*by_ms);
                self.strike(index);
            }
        }
        delay
    }

    /// Whether a call to the site that is dropped now has its effect all the same.
    pub(crate) fn has_effect_after_drop(&mut self, site: SiteId) -> bool {
        let found = self.find(site, |fault| matches!(fault.kind, FaultKind::EffectAfterDrop { .. }));
        if let Some(index) = found {
            self.strike(index);
        }
        found.is_some()
    }

    /// The first fault of the site that is in force and that `matches`.
    fn find(&self, site: SiteId, matches: impl Fn(&PlannedFault) -> bool) -> Option<usize> {
        let (now, heal_at) = (self.now(), self.heal_at());
        self.faults
            .iter()
            .position(|fault| fault.site == Some(site) && Self::in_force(fault, heal_at, now) && matches(fault))
    }

    /// What a call meets before (or, with `after`, just after) its effect. It may ask again, when it has met what it goes on
    /// after.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each place picks the kinds that strike there")]
    pub(crate) fn meets(&mut self, site: SiteId, after: bool, let_pass: &mut LetPass) -> Meets {
        if self.is_fenced() {
            return Meets::Nothing;
        }
        self.note(if after { Place::CallReturns(site) } else { Place::CallArrives(site) });
        self.come_to(site, if after { Step::Returns } else { Step::Arrives }, let_pass);
        let (now, heal_at, may_block) = (self.now(), self.heal_at(), self.may_block());
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            if fault.site != Some(site) || !Self::in_force(fault, heal_at, now) {
                continue;
            }
            let until = fault.until.unwrap_or(heal_at).min(heal_at);
            let chance = &mut self.sites[usize::from(site.0)].chance;
            let meets = match fault.kind {
                FaultKind::Outage { .. } if !after => Meets::Error(Trouble::Out),
                FaultKind::Flap { down_ms, up_ms, .. } if !after && is_down(now - fault.at, down_ms, up_ms) => {
                    Meets::Error(Trouble::Out)
                }
                FaultKind::Hang { .. } if !after => Meets::Silence(until),
                FaultKind::Error { percent, .. } if !after && one_in_hundred(chance, percent) => {
                    Meets::Error(Trouble::Failed)
                }
                FaultKind::PermanentError { percent, .. } if !after && one_in_hundred(chance, percent) => {
                    Meets::Error(Trouble::Refused)
                }
                FaultKind::RateLimit { percent, retry_after_ms, .. } if !after && one_in_hundred(chance, percent) => {
                    Meets::Error(Trouble::RateLimited(Duration::from_millis(retry_after_ms)))
                }
                FaultKind::ReplyLost { percent, .. } if after && one_in_hundred(chance, percent) => {
                    Meets::Error(Trouble::ReplyLost)
                }
                FaultKind::Spin { polls: polls @ 1.., .. } if !after && !fault.struck => Meets::Spin(polls),
                FaultKind::Block { by_ms: by_ms @ 1.., .. } if !after && !fault.struck && may_block => {
                    let by = Duration::from_millis(by_ms);
                    self.holds_up(by);
                    Meets::Block(by)
                }
                FaultKind::Panic { .. } if !after && !fault.struck => Meets::Panic,
                FaultKind::CrashInCall { after_effect, down_ms, .. } if after == after_effect && !fault.struck => {
                    self.kill(Duration::from_millis(down_ms));
                    Meets::Crash
                }
                _ => continue,
            };
            self.strike(index);
            return meets;
        }
        Meets::Nothing
    }

    /// What a claim of a queue meets when it gets to the store.
    #[expect(clippy::wildcard_enum_match_arm, reason = "each place picks the kinds that strike there")]
    pub(crate) fn meets_claim(&mut self, site: SiteId) -> ClaimMeets {
        self.note(Place::Claim(site));
        self.come_to(site, Step::Claims, &mut LetPass::default());
        let (now, heal_at) = (self.now(), self.heal_at());
        let mut meets = ClaimMeets::default();
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            if fault.site != Some(site) || !Self::in_force(fault, heal_at, now) {
                continue;
            }
            let chance = &mut self.sites[usize::from(site.0)].chance;
            match fault.kind {
                FaultKind::Malformed { .. } if !fault.struck => {
                    meets.malformed = true;
                    self.strike(index);
                }
                FaultKind::Late { percent, by_ms, .. } if one_in_hundred(chance, percent) => {
                    meets.put_off = Some((index, Duration::from_millis(by_ms.max(1))));
                }
                FaultKind::Duplicate { .. } if !fault.struck => meets.duplicate = Some(index),
                FaultKind::Reorder { by, .. } => {
                    meets.passes_over = Some((index, chance.usize(0..=usize::from(by))));
                }
                _ => {}
            }
        }
        meets
    }

    /// The fault that makes the queue forget a lease now, if there is one.
    pub(crate) fn forgets_lease(&self, site: SiteId) -> Option<usize> {
        self.find(site, |fault| matches!(fault.kind, FaultKind::LeaseTaken { .. }) && !fault.struck)
    }
}

/// What a claim of a queue meets when it gets to the store. Faults that are named by their place in the plan strike only if
/// the claim finds what they need.
#[derive(Debug, Default)]
pub(crate) struct ClaimMeets {
    /// There is a delivery that cannot be decoded.
    pub(crate) malformed: bool,
    /// It finds nothing, and is told to come back after this time.
    pub(crate) put_off: Option<(usize, Duration)>,
    /// Its first delivery was stored twice.
    pub(crate) duplicate: Option<usize>,
    /// It passes over so many deliveries.
    pub(crate) passes_over: Option<(usize, usize)>,
}

fn one_in_hundred(chance: &mut fastrand::Rng, percent: u8) -> bool {
    chance.u8(0..100) < percent
}

/// Whether what is down and up by turns is down `since` it first went down.
fn is_down(since: Duration, down_ms: u64, up_ms: u64) -> bool {
    let turn = Duration::from_millis(down_ms.saturating_add(up_ms).max(1));
    since.as_nanos() % turn.as_nanos() < Duration::from_millis(down_ms).as_nanos()
}

#[cfg(test)]
mod tests {
    use shiftwork::{Context, Failure, HostBuilder, Retry, Schedule, Tick, event::Event};

    use super::*;
    use crate::{
        Plan, millis,
        plan::site,
        secs,
        world::{Options, run},
    };

    /// In which seconds calls failed of workers that call once a second each, for three seconds, under these faults.
    fn failed(names: &'static [&'static str], faults: [Fault; 2]) -> Vec<u64> {
        let mut plan = Plan::quiet("calls", 1);
        plan.faults.extend(faults);
        plan.faults.push(Fault::new(2_950, Signal::Terminate.into()));
        let options = Options { timeline: true, once: true, ..Options::default() };
        let outcome = run(&plan, options, |world| {
            let backend = world.dependency_with("backend", Latency::constant(millis(100)));
            world.node("node", move |node| {
                let add = |host: HostBuilder, name: &&'static str| {
                    let backend = backend.clone();
                    let call = move |_: Tick, _: Context| {
                        let backend = backend.clone();
                        async move { Ok::<(), Failure>(backend.call(async {}).await?) }
                    };
                    host.worker(name, Schedule::every(secs(1)), call).retry(Retry::never()).host()
                };
                names.iter().fold(node.host(), add).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        let failed = |event: &Event| matches!(event, Event::CycleEnded { failure: Some(_), .. });
        outcome.events().filter(|(_, event)| failed(event)).map(|(at, _)| at.as_secs()).collect()
    }

    #[test]
    fn a_call_that_asks_again_is_let_pass_once() {
        let backend = site("backend");
        for kind in [backend.spin(3), backend.block(millis(5))] {
            let fails = || Fault { lets_pass: 1, ..Fault::new(0, backend.error(100)) };
            let first = Fault::new(0, kind);
            assert_eq!(failed(&["one"], [first.clone(), fails()]), [1, 2], "{}", first.kind);
            assert_eq!(failed(&["one"], [fails(), first.clone()]), [1, 2], "{}", first.kind);
            // The other one comes while the first is still there.
            assert_eq!(failed(&["one", "other"], [first.clone(), fails()]), [0, 1, 1, 2, 2], "{}", first.kind);
        }
    }
}
