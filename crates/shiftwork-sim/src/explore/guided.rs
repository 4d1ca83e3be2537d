//! Plans that reached something new, and plans made out of them.
//!
//! Most generated worlds go where others have been. A *guide* keeps the plans whose worlds reached a cell that no world before had reached
//! (a kind of fault at a moment of the lifecycle, a transition, something that the scenario wants to see sometimes), and proposes changed
//! copies of them: what brought a worker into a rare state brings it there again, and meets something else there. After Zalewski's
//! American fuzzy lop, with the coverage of the lifecycle in the place of branches.
//!
//! What it proposes is a function of what it has learned and of a seed. So a batch of proposals can be run in any order, on any number of
//! threads, if what came of them is learned in the order of the seeds.

use std::collections::BTreeSet;

use super::{FaultMix, generate};
use crate::{
    Fault, Order, Plan, Scenario,
    plan::whole_ms,
    rules::{Coverage, Moment, Transitions},
    streams::stream,
    world::Stats,
};

/// One proposal in so many is generated anew: a changed copy goes only where something like it has been.
const FRESH_ONE_IN: u64 = 4;

/// The first worlds go everywhere: what is made out of a few stays near them.
const FRESH_FIRST: usize = 128;

/// Out of how many candidates the fault is taken that has struck at the fewest moments so far.
const CANDIDATES: usize = 3;

/// How far a fault is moved at most, and how far from another one a new one is put: 2 to the power of less than this, in
/// milliseconds.
const NEAR_BITS: u32 = 13;

/// A plan does not grow beyond this: each fault more makes worlds slower and hides what the others do.
const FAULTS_MAX: usize = 24;

/// What the worlds of a scenario have reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Kinds of faults at moments of the lifecycle.
    pub coverage: Coverage,
    /// Transitions between the phases of workers.
    pub transitions: Transitions,
    /// What the scenario wants to see sometimes, and was seen.
    pub sometimes: BTreeSet<String>,
}

impl Reached {
    /// What one world reached.
    #[must_use]
    pub fn by(stats: &Stats) -> Self {
        let seen = stats.sometimes.iter().filter(|it| it.reached).map(|it| it.name.clone());
        Self { coverage: stats.coverage, transitions: stats.transitions, sometimes: seen.collect() }
    }

    /// How many cells that are.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.coverage.pairs().count() + self.transitions.pairs().len() + self.sometimes.len()
    }

    /// Adds everything that `other` has.
    pub fn merge(&mut self, other: &Reached) {
        self.coverage.merge(other.coverage);
        self.transitions.merge(other.transitions);
        self.sometimes.extend(other.sometimes.iter().cloned());
    }
}

/// A plan that a guide proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// Whether it is a changed copy of one that was kept; else it is what [`generate`] makes of the seed.
    pub changed: bool,
}

/// Remembers what the worlds of one scenario have reached, and proposes where to look next.
///
/// ```
/// # use shiftwork_sim::{Scenario, Surface, World, secs};
/// # use shiftwork::{Context, Failure, Schedule, Tick};
/// use shiftwork_sim::explore::{Guide, Profile, Reached, run_plan};
///
/// # struct Clock;
/// # impl Scenario for Clock {
/// #     fn name(&self) -> &'static str { "clock" }
/// #     fn about(&self) -> &'static str { "ticks" }
/// #     fn surface(&self) -> Surface { Surface { dependencies: vec![], queues: vec![], horizon: secs(60) } }
/// #     fn build(&self, world: &mut World) {
/// #         world.node("clock", |node| {
/// #             let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
/// #             node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
/// #         });
/// #     }
/// # }
/// let mut guide = Guide::new(&Clock);
/// for seed in 0..50 {
///     let plan = guide.propose(Profile::Harsh, seed).plan;
///     let outcome = run_plan(&Clock, &plan, false);
///     outcome.assert_rules_kept();
///     guide.learn(&plan, &Reached::by(&outcome.stats));
/// }
/// assert!(guide.reached().cells() > 10);
/// ```
pub struct Guide<'a> {
    scenario: &'a dyn Scenario,
    kept: Vec<Plan>,
    reached: Reached,
    /// Of how many worlds it knows.
    learned: usize,
}

impl<'a> Guide<'a> {
    /// A guide that knows of no world yet.
    #[must_use]
    pub fn new(scenario: &'a dyn Scenario) -> Self {
        Self { scenario, kept: Vec::new(), reached: Reached::default(), learned: 0 }
    }

    /// What has been reached so far.
    #[must_use]
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// How many plans are kept, because their worlds were the first to reach something.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Learns what the world of a plan reached; how many cells of it are new.
    pub fn learn(&mut self, plan: &Plan, reached: &Reached) -> usize {
        self.learned += 1;
        let before = self.reached.cells();
        self.reached.merge(reached);
        let new = self.reached.cells() - before;
        // Nothing can be made of a plan in which nothing goes wrong.
        if new > 0 && !plan.faults.is_empty() {
            self.kept.push(plan.clone());
        }
        new
    }

    /// What to run for a seed. `mix` says what goes wrong, and how much in plans that are not made of others, and so how much is
    /// changed in those that are. A guide that knows of few worlds proposes none of these.
    #[must_use]
    pub fn propose(&self, mix: impl Into<FaultMix>, seed: u64) -> Proposal {
        let mut chance = fastrand::Rng::with_seed(stream(seed, "guide"));
        let mix = mix.into();
        let most = (mix.faults_range().end() / 2).max(1);
        if self.learned < FRESH_FIRST || self.kept.is_empty() || chance.u64(0..FRESH_ONE_IN) == 0 {
            return Proposal { plan: generate(self.scenario, mix, seed).plan(), changed: false };
        }
        // With the seed of its origin: up to the first change the world is the same, and so is what it reaches.
        let mut plan = self.pick(&mut chance).clone();
        // As much is changed as goes wrong in a plan that is made of nothing: a world with many faults has much that was not
        // together before.
        for _ in 0..chance.usize(1..=most) {
            self.change(&mut plan, mix, &mut chance);
        }
        // A saved plan, which is learned from too, may be of another mix.
        let bent = self.scenario.bend(mix);
        plan.faults.retain(|fault| bent.weight_of(fault.kind.kind()) > 0);
        plan.faults.sort_by_key(|fault| fault.at_ms);
        Proposal { plan, changed: true }
    }

    /// A plan that was kept: the latest ones went furthest, and any may lead on.
    fn pick(&self, chance: &mut fastrand::Rng) -> &Plan {
        let count = self.kept.len();
        let from = if chance.bool() { count - count.div_ceil(4) } else { 0 };
        &self.kept[chance.usize(from..count)]
    }

    /// Changes one thing.
    fn change(&self, plan: &mut Plan, mix: FaultMix, chance: &mut fastrand::Rng) {
        let horizon = whole_ms(self.scenario.surface().horizon).max(1);
        let count = plan.faults.len();
        let some = |chance: &mut fastrand::Rng| chance.usize(0..count);
        match chance.u8(0..10) {
            // Something else at the same time: where a worker stood there, another kind strikes it.
            0..3 if count > 0 => {
                if let Some(fresh) = self.fresh(mix, chance) {
                    plan.faults[some(chance)].becomes(fresh.kind);
                }
            }
            // Something more close to another.
            3..6 if count < FAULTS_MAX => {
                if let Some(mut fresh) = self.fresh(mix, chance) {
                    if count > 0 {
                        fresh.at_ms = near(plan.faults[some(chance)].at_ms, horizon, chance);
                    }
                    plan.faults.push(fresh);
                }
            }
            6 if count > 0 => {
                let fault = &mut plan.faults[some(chance)];
                fault.at_ms = near(fault.at_ms, horizon, chance);
            }
            7 if count > 1 => {
                plan.faults.remove(some(chance));
            }
            // Its beginning with another one's end.
            8 => {
                let cut = chance.u64(0..horizon);
                let other = self.pick(chance);
                plan.faults.retain(|fault| fault.at_ms < cut);
                let end = other.faults.iter().filter(|fault| fault.at_ms >= cut);
                plan.faults.extend(end.take(FAULTS_MAX.saturating_sub(plan.faults.len())).cloned());
            }
            // Longer or shorter.
            9 if count > 0 && chance.bool() => {
                let fault = &mut plan.faults[some(chance)];
                if let Some(lasts_ms) = fault.kind.lasts_ms() {
                    let longest = horizon.min(self.scenario.bend(mix).lasts_max_ms());
                    let lasts_ms = if chance.bool() { lasts_ms.saturating_mul(2) } else { lasts_ms / 2 };
                    let lasts = std::time::Duration::from_millis(lasts_ms.clamp(1, longest));
                    fault.kind = fault.kind.clone().lasting(lasts);
                }
            }
            _ => plan.order = Order::of_seed(chance.u64(..)),
        }
    }

    /// A new fault, of a kind that has struck at few moments so far.
    fn fresh(&self, mix: FaultMix, chance: &mut fastrand::Rng) -> Option<Fault> {
        let struck_at = |fault: &Fault| {
            let kind = fault.kind.kind().index();
            Moment::ALL.into_iter().filter(|moment| self.reached.coverage.has(*moment, kind)).count()
        };
        let mix = mix.faults(1..=1);
        let one = |_| generate(self.scenario, mix, chance.u64(..)).plan().faults.pop();
        (0..CANDIDATES).filter_map(one).min_by_key(struck_at)
    }
}

impl std::fmt::Debug for Guide<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scenario, kept) = (self.scenario.name(), self.kept.len());
        f.debug_struct("Guide").field("scenario", &scenario).field("kept", &kept).finish_non_exhaustive()
    }
}

/// A time close to another: short distances as likely as long ones.
fn near(at_ms: u64, horizon_ms: u64, chance: &mut fastrand::Rng) -> u64 {
    let base = 1u64 << chance.u32(0..NEAR_BITS);
    let by = chance.u64(0..base);
    let moved = if chance.bool() { at_ms.saturating_add(by) } else { at_ms.saturating_sub(by) };
    moved.min(horizon_ms - 1)
}

#[cfg(test)]
mod tests {
    use shiftwork::{Breaker, Context, Failure, QueueSourceExt, Retry};

    use super::*;
    use crate::{Surface, World, dependency::Latency, explore::run_plan, millis, secs};

    /// A queue worker with retries and a breaker: many moments that a fault seldom meets by chance.
    struct Shop;

    impl Scenario for Shop {
        fn name(&self) -> &'static str {
            "shop"
        }

        fn about(&self) -> &'static str {
            "sells"
        }

        fn surface(&self) -> Surface {
            Surface { dependencies: vec!["till".into()], queues: vec!["sales".into()], horizon: secs(30) }
        }

        fn build(&self, world: &mut World) {
            let till = world.dependency_with("till", Latency::constant(millis(200)));
            let sales = world.queue::<u32>("sales");
            sales.seed(0..40);
            let queue = sales.clone();
            world.node("shop", move |node| {
                let till = till.clone();
                let sell = move |_: u32, _: Context| {
                    let till = till.clone();
                    async move { Ok::<(), Failure>(till.call(async {}).await?) }
                };
                let patient = Retry::exponential().initial(millis(500)).max(secs(10)).attempts_max(30);
                node.host()
                    .worker("sell", queue.clone().source(), sell)
                    .retry(patient)
                    .crashes_max(50)
                    .breaker(Breaker::after(3).probe_every(secs(2)))
                    .run_until_signal()
            });
            world.done_when(move || sales.inspect_depth().unsettled() == 0);
        }
    }

    /// What so many worlds reach, with a guide or without.
    fn cells(guided: bool, mix: FaultMix, worlds: u64) -> usize {
        let mut guide = Guide::new(&Shop);
        for seed in 0..worlds {
            let plan = if guided { guide.propose(mix, seed).plan } else { generate(&Shop, mix, seed).plan() };
            let outcome = run_plan(&Shop, &plan, false);
            outcome.assert_rules_kept();
            guide.learn(&plan, &Reached::by(&outcome.stats));
        }
        guide.reached().cells()
    }

    #[test]
    fn as_many_worlds_reach_more_with_a_guide() {
        for (mix, percent) in [(FaultMix::HARSH, 105), (FaultMix::HOSTILE, 103)] {
            let (random, guided) = (cells(false, mix, 600), cells(true, mix, 600));
            assert!(guided * 100 > random * percent, "{guided} cells with a guide, {random} without");
        }
    }

    #[test]
    fn what_is_proposed_follows_from_what_was_learned_and_the_seed() {
        let mut guide = Guide::new(&Shop);
        let fresh = |seed| generate(&Shop, FaultMix::HARSH, seed).plan();
        let proposals = |guide: &Guide<'_>| Vec::from_iter((0..40).map(|seed| guide.propose(FaultMix::HARSH, seed)));
        assert!(proposals(&guide).iter().zip(0..).all(|(it, seed)| !it.changed && it.plan == fresh(seed)));
        for seed in 0..FRESH_FIRST as u64 {
            let plan = fresh(seed);
            guide.learn(&plan, &Reached::by(&run_plan(&Shop, &plan, false).stats));
        }
        let proposed = proposals(&guide);
        assert_eq!(proposals(&guide), proposed);
        let changed = proposed.iter().filter(|it| it.changed).count();
        assert!((20..40).contains(&changed), "{changed} of 40");
        assert!(proposed.iter().all(|it| it.plan.faults.len() <= FAULTS_MAX));
        // Whatever was learned from, a mix has the last word.
        let mild = FaultMix::GENTLE.faults(8..=8);
        let mild = (0..40).flat_map(|seed| guide.propose(mild, seed).plan.faults);
        assert!(mild.into_iter().all(|fault| !fault.kind.kind().is_drastic()));
        let in_order = |plan: &Plan| plan.faults.is_sorted_by_key(|fault| fault.at_ms);
        assert!(proposed.iter().all(|it| in_order(&it.plan)));
    }

    #[test]
    fn what_is_proposed_comes_back_from_its_file_whatever_was_learned_from() {
        let mut guide = Guide::new(&Shop);
        for seed in 0..FRESH_FIRST as u64 {
            // Like those of an exhaustive campaign, which name one of several calls at the same millisecond.
            let mut plan = generate(&Shop, FaultMix::HOSTILE, seed).plan();
            for fault in plan.faults.iter_mut().filter(|fault| fault.kind.strikes_at().is_some()) {
                fault.lets_pass = 2;
            }
            let something_new = BTreeSet::from([seed.to_string()]);
            guide.learn(&plan, &Reached { sometimes: something_new, ..Reached::default() });
        }
        let mut let_pass = 0;
        for seed in 0..400 {
            let plan = guide.propose(FaultMix::HARSH, seed).plan;
            assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
            let_pass += plan.faults.iter().filter(|fault| fault.lets_pass > 0).count();
        }
        assert!(let_pass > 0, "what is learned from goes into what is proposed");
    }

    #[test]
    fn a_world_that_reaches_nothing_new_is_not_kept() {
        let mut guide = Guide::new(&Shop);
        let plan = (0..).map(|seed| generate(&Shop, FaultMix::HARSH, seed).plan()).find(|plan| plan.faults.len() > 2);
        let plan = plan.unwrap();
        let reached = Reached::by(&run_plan(&Shop, &plan, false).stats);
        assert_eq!((guide.learn(&plan, &reached), guide.kept()), (reached.cells(), 1));
        assert_eq!((guide.learn(&plan, &reached), guide.kept()), (0, 1));
    }
}
