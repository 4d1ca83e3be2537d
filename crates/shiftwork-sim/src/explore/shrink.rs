//! The smallest plan that still breaks the same rule, or whose world crashes as it did, and what each thing that is left in it is needed for.
//!
//! It works on a plan as it is, wherever that came from: generated, saved, found by another mode. What is tried, in this order and
//! again until nothing more helps: tokio's own task order, fewer faults, fewer polls cut short, simpler kinds of faults, smaller
//! numbers. Each try is a world, and they are bounded. Whoever waits may end it sooner.
//!
//! A try may crash: what surrounds the nodes panics, the scenario's `build` before all. That is another end than a broken rule. Two crashes are
//! the same if their panics say the same.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::Value;
use shiftwork::Signal;

use super::run_plan;
use crate::{Fault, FaultKind, Order, Outcome, Plan, RuleName, Scenario, rules::user::said};

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The world of the smallest plan that was found, with its timeline.
    pub outcome: Outcome,
    /// How many worlds it took.
    pub worlds: u32,
    /// What happens without each thing that is left in the plan; empty if it was ended before that was tried.
    pub without: Vec<Without>,
    /// The first of the worlds that were tried and crashed, if any did.
    pub crash: Option<Crash>,
}

/// What shrinking the plan of a world that crashes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShrunkCrash {
    /// The smallest plan whose world crashes like that.
    pub crash: Crash,
    /// How many worlds it took.
    pub worlds: u32,
    /// What happens without each thing that is left in the plan; empty if it was ended before that was tried.
    pub without: Vec<Without>,
}

/// A world in which something panicked outside of its nodes: the scenario's `build`, or what its surroundings do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Its plan.
    pub plan: Plan,
    /// What the panic said.
    pub said: String,
}

/// What happens when one thing is taken out of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// Which.
    pub what: Part,
    /// How the world ends then.
    pub ends: Ending,
}

/// How the world of a plan ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every rule is kept.
    Passes,
    /// This one breaks first.
    Breaks(RuleName),
    /// It crashes, and the panic says this.
    Crashes(String),
}

/// One thing in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The fault at this place.
    Fault(usize),
    /// The order of tasks, as far as it is not tokio's own.
    Order,
}

impl std::fmt::Display for Without {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            Part::Fault(index) => write!(f, "without fault {} ", index + 1)?,
            Part::Order => f.write_str("in tokio's own task order ")?,
        }
        match &self.ends {
            Ending::Passes => f.write_str("it passes"),
            Ending::Breaks(rule) => write!(f, "this breaks: {rule}"),
            Ending::Crashes(said) => write!(f, "the tool crashes: {said}"),
        }
    }
}

/// How far the shrinking of a plan has got.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// How many worlds it took so far.
    pub worlds: u32,
    /// How many it may take.
    pub worlds_max: u32,
    /// The smallest plan so far.
    pub smallest: &'a Plan,
}

/// Shrinks a plan that breaks `rule`, in at most `worlds_max` worlds. `progress` is told after each, and may end it there: what comes of it is
/// then the smallest plan so far. A world that crashes meanwhile has not broken the rule, and another one is tried.
///
/// # Panics
///
/// When the world of the smallest plan, which is run again for its timeline, crashes: the scenario's `build` panics, say.
#[must_use]
pub fn shrink(
    scenario: &dyn Scenario,
    plan: &Plan,
    rule: &RuleName,
    worlds_max: u32,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Shrunk {
    let mut crash = None;
    let mut ending = |plan: &Plan| {
        let ending = ending_of(scenario, plan);
        if let Ending::Crashes(said) = &ending {
            crash.get_or_insert_with(|| Crash { plan: plan.clone(), said: said.clone() });
        }
        ending
    };
    let (smallest, worlds, without) =
        smallest_that_ends(&Ending::Breaks(rule.clone()), plan, &mut ending, worlds_max, progress);
    Shrunk { outcome: run_plan(scenario, &smallest, true), worlds, without, crash }
}

/// As [`shrink`], of a plan whose world crashes: towards the smallest one whose world does, with a panic that says the same. `None` if it does
/// not crash.
#[must_use]
pub fn shrink_crash(
    scenario: &dyn Scenario,
    plan: &Plan,
    worlds_max: u32,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Option<ShrunkCrash> {
    let wanted = ending_of(scenario, plan);
    let mut ending = |plan: &Plan| ending_of(scenario, plan);
    let Ending::Crashes(said) = &wanted else { return None };
    let (plan, worlds, without) = smallest_that_ends(&wanted, plan, &mut ending, worlds_max, progress);
    Some(ShrunkCrash { crash: Crash { plan, said: said.clone() }, worlds, without })
}

/// How the world of a plan ends. Nothing that a world touched that crashed is used again.
fn ending_of(scenario: &dyn Scenario, plan: &Plan) -> Ending {
    let ran = catch_unwind(AssertUnwindSafe(|| run_plan(scenario, plan, false)));
    match ran.map(|outcome| outcome.violations.into_iter().next()) {
        Ok(None) => Ending::Passes,
        Ok(Some(first)) => Ending::Breaks(first.rule),
        Err(panic) => Ending::Crashes(said(&*panic).to_owned()),
    }
}

/// The smallest plan whose world has this end, how many worlds that took, and what happens without its parts.
fn smallest_that_ends(
    wanted: &Ending,
    plan: &Plan,
    ending: &mut dyn FnMut(&Plan) -> Ending,
    worlds_max: u32,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> (Plan, u32, Vec<Without>) {
    let mut flow = ControlFlow::Continue(());
    let mut told = |so_far: Progress<'_>| {
        flow = progress(so_far);
        flow
    };
    let (smallest, worlds) = smallest(plan, &mut |plan: &Plan| ending(plan) == *wanted, worlds_max, &mut told);
    let parts = if flow.is_break() { Vec::new() } else { parts(&smallest) };
    let without = parts.into_iter().map(|(what, plan)| Without { what, ends: ending(&plan) }).collect();
    (smallest, worlds, without)
}

/// The plan without each of its parts.
fn parts(plan: &Plan) -> Vec<(Part, Plan)> {
    let without = |index| {
        let mut plan = plan.clone();
        plan.faults.remove(index);
        (Part::Fault(index), plan)
    };
    let mut parts: Vec<_> = (0..plan.faults.len()).map(without).collect();
    if !plan.order.is_plain() {
        parts.push((Part::Order, Plan { order: Order::Plain, ..plan.clone() }));
    }
    parts
}

/// The search, over any predicate: the smallest plan for which `breaks` holds, and how often that was asked.
fn smallest(
    plan: &Plan,
    breaks: &mut dyn FnMut(&Plan) -> bool,
    worlds_max: u32,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> (Plan, u32) {
    let flow = ControlFlow::Continue(());
    let mut search = Search { best: plan.clone(), breaks, worlds: 0, worlds_max, progress, flow };
    loop {
        let before = search.best.clone();
        if !search.best.order.is_plain() {
            search.accept(Plan { order: Order::Plain, ..search.best.clone() });
        }
        search.fewer(|plan| plan.faults.clone(), |plan, faults| plan.faults = faults);
        if let Order::Tape(_) = search.best.order {
            let tape = |plan: &Plan| if let Order::Tape(tape) = &plan.order { tape.clone() } else { Vec::new() };
            search.fewer(tape, |plan, tape| plan.order = Order::Tape(tape));
            search.shorter_rows();
        }
        for index in 0..search.best.faults.len() {
            search.simpler(index);
            search.smaller(index);
        }
        if search.best == before || search.is_over() {
            break;
        }
    }
    (search.best, search.worlds)
}

struct Search<'a> {
    best: Plan,
    breaks: &'a mut dyn FnMut(&Plan) -> bool,
    worlds: u32,
    worlds_max: u32,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    /// What `progress` said last.
    flow: ControlFlow<()>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.worlds >= self.worlds_max || self.flow.is_break()
    }

    /// Takes a plan as the best one so far if it still breaks the rule.
    fn accept(&mut self, plan: Plan) -> bool {
        if self.is_over() || plan == self.best {
            return false;
        }
        self.worlds += 1;
        let accepted = (self.breaks)(&plan);
        if accepted {
            self.best = plan;
        }
        self.flow =
            (self.progress)(Progress { worlds: self.worlds, worlds_max: self.worlds_max, smallest: &self.best });
        accepted
    }

    /// Leaves out as much of a list as can be: halves first, then quarters, down to single ones (Zeller and Hildebrandt,
    /// "Simplifying and isolating failure-inducing input", 2002).
    fn fewer<T: Clone>(&mut self, get: impl Fn(&Plan) -> Vec<T>, set: impl Fn(&mut Plan, Vec<T>)) {
        let mut size = get(&self.best).len();
        while size > 0 && !self.is_over() {
            let mut from = 0;
            loop {
                let mut list = get(&self.best);
                if from >= list.len() {
                    break;
                }
                list.drain(from..(from + size).min(list.len()));
                let mut plan = self.best.clone();
                set(&mut plan, list);
                if !self.accept(plan) {
                    from += size;
                }
                if self.is_over() {
                    break;
                }
            }
            size /= 2;
        }
    }

    /// Cuts fewer polls of each row on the tape short.
    fn shorter_rows(&mut self) {
        let rows = if let Order::Tape(tape) = &self.best.order { tape.len() } else { 0 };
        for row in 0..rows {
            let more = |plan: &Plan| if let Order::Tape(tape) = &plan.order { tape[row].more } else { 0 };
            let (from, upto) = (0, u64::from(more(&self.best)));
            self.least(from, upto, |plan, value| {
                if let Order::Tape(tape) = &mut plan.order {
                    tape[row].more = u32::try_from(value).unwrap_or(u32::MAX);
                }
            });
        }
    }

    /// Puts a simpler kind in the place of a fault.
    fn simpler(&mut self, index: usize) {
        for kind in simpler_kinds(&self.best.faults[index].kind) {
            let mut plan = self.best.clone();
            plan.faults[index].becomes(kind);
            if self.accept(plan) {
                break;
            }
        }
    }

    /// Makes the numbers of a fault smaller, its time among them: each, under the name that it has in a file. Shares of a hundred are
    /// simplest when they are all.
    fn smaller(&mut self, index: usize) {
        let Ok(Value::Object(fields)) = serde_json::to_value(&self.best.faults[index]) else { return };
        for (name, value) in fields {
            let set = |plan: &mut Plan, value: Value| {
                let Ok(Value::Object(mut fields)) = serde_json::to_value(&plan.faults[index]) else { return };
                fields.insert(name.clone(), value);
                // A number that the fault does not take leaves it as it is.
                if let Ok(fault) = serde_json::from_value::<Fault>(Value::Object(fields)) {
                    plan.faults[index] = fault;
                }
            };
            if name == "percent" {
                let mut plan = self.best.clone();
                set(&mut plan, Value::from(100));
                self.accept(plan);
            } else if let Some(number) = value.as_u64() {
                let from = u64::from(name != "at_ms" && name != "lets_pass");
                self.least(from, number, |plan, value| set(plan, Value::from(value)));
            } else if let Some(number) = value.as_i64() {
                self.least(1, number.unsigned_abs(), |plan, value| {
                    set(plan, Value::from(i64::try_from(value).map_or(i64::MIN, |value| -value)));
                });
            }
        }
    }

    /// The least number that will do, if a smaller one is never worse; else one that is smaller than what there was.
    fn least(&mut self, from: u64, upto: u64, set: impl Fn(&mut Plan, u64)) {
        let (mut low, mut high) = (from, upto);
        while low < high && !self.is_over() {
            let middle = low + (high - low) / 2;
            let mut plan = self.best.clone();
            // The very least first: it is often right, and always what reads best.
            let value = if (low, high) == (from, upto) { from } else { middle };
            set(&mut plan, value);
            if self.accept(plan) {
                high = value;
            } else {
                low = value + 1;
            }
        }
    }
}

/// Kinds that are easier to understand than this one and may do the same, the simplest first.
#[expect(clippy::wildcard_enum_match_arm, reason = "a kind that is not named is as simple as it can be")]
fn simpler_kinds(kind: &FaultKind) -> Vec<FaultKind> {
    match kind {
        FaultKind::Error { site, for_ms, .. }
        | FaultKind::PermanentError { site, for_ms, .. }
        | FaultKind::RateLimit { site, for_ms, .. }
        | FaultKind::Flap { site, for_ms, .. }
        | FaultKind::Hang { site, for_ms }
        | FaultKind::ReplyLost { site, for_ms, .. } => {
            vec![FaultKind::Outage { site: site.clone(), for_ms: *for_ms }]
        }
        FaultKind::Brownout { site, by_ms, for_ms, .. } => {
            let (site, by_ms, for_ms) = (site.clone(), *by_ms, *for_ms);
            vec![FaultKind::Slow { site, by_ms, spread: crate::plan::Spread::Constant, for_ms }]
        }
        FaultKind::Slow { site, by_ms, spread, for_ms } if *spread != crate::plan::Spread::Constant => {
            let (site, by_ms, for_ms) = (site.clone(), *by_ms, *for_ms);
            vec![FaultKind::Slow { site, by_ms, spread: crate::plan::Spread::Constant, for_ms }]
        }
        FaultKind::CrashAtPoll { node, down_ms, .. } => {
            vec![FaultKind::Crash { node: node.clone(), down_ms: *down_ms }]
        }
        FaultKind::StopAtPoll { node, again: false, .. } => {
            vec![FaultKind::Signal { node: node.clone(), signal: Signal::Terminate }]
        }
        FaultKind::StopAtPoll { node, polls, again: true } => {
            vec![
                FaultKind::Signal { node: node.clone(), signal: Signal::Terminate },
                FaultKind::StopAtPoll { node: node.clone(), polls: *polls, again: false },
            ]
        }
        FaultKind::DropAtPoll { site, .. } => vec![FaultKind::Outage { site: site.clone(), for_ms: Some(1) }],
        FaultKind::PanicAtPoll { site, .. } => vec![FaultKind::Panic { site: site.clone() }],
        FaultKind::Downtime { wall_ms } => {
            let by_ms = i64::try_from(*wall_ms).unwrap_or(i64::MAX);
            let down_ms = kind.down_ms();
            vec![FaultKind::Crash { node: None, down_ms }, FaultKind::ClockStep { node: None, by_ms }]
        }
        FaultKind::CrashInCall { down_ms, .. } => vec![FaultKind::Crash { node: None, down_ms: *down_ms }],
        FaultKind::Signal { node, signal: Signal::Interrupt | Signal::Quit } => {
            vec![FaultKind::Signal { node: node.clone(), signal: Signal::Terminate }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use shiftwork::{Context, Schedule, Tick};

    use super::*;
    use crate::{
        Surface, World,
        explore::{FaultMix, generate, generate::tests::Bare},
        millis,
        order::CutShort,
        plan::{clock_forward, crash, downtime, dst_forward},
        secs, site,
        world::wall_at,
    };

    fn goes_on(_: Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// What is read from the file that a plan is kept in.
    fn from_its_file(plan: &Plan) -> Plan {
        Plan::from_json(&plan.to_json()).unwrap_or_else(|error| panic!("{error}: {plan}"))
    }

    fn check(plan: &Plan, mut breaks: impl FnMut(&Plan) -> bool) -> (Plan, u32) {
        assert!(breaks(plan), "the plan to begin with breaks nothing");
        let (smallest, worlds) = smallest(plan, &mut breaks, 2_000, &mut goes_on);
        assert!(breaks(&smallest), "what is left breaks nothing: {smallest}");
        (smallest, worlds)
    }

    fn plan(count: u64) -> Plan {
        let mut plan = Plan::quiet("synthetic", 1);
        for index in 0..count {
            let kind = match index % 3 {
                0 => site("a").outage().lasting(secs(index + 1)),
                1 => site("b").error(20).lasting(secs(index + 1)),
                _ => Signal::Interrupt.into(),
            };
            plan.faults.push(Fault::new(1_000 * index + 7, kind));
        }
        plan.order = Order::Tape(
            (1..60).map(|poll| CutShort { life: 1, task: 2, poll: 10 * poll, more: poll % 5, units: 0 }).collect(),
        );
        plan
    }

    proptest! {
        #[test]
        fn exactly_the_faults_that_are_needed_are_left(needed in prop::collection::btree_set(0u64..20, 1..5)) {
            let outages = |plan: &Plan| plan.faults.iter().filter(|fault| fault.kind.site() == Some("a")).count();
            let (smallest, worlds) = check(&plan(60), |plan| outages(plan) >= needed.len());
            prop_assert_eq!(smallest.faults.len(), needed.len());
            prop_assert!(smallest.order.is_plain());
            prop_assert!(smallest.faults.iter().all(|fault| fault.at_ms == 0 && fault.kind.lasts_ms() == Some(1)));
            prop_assert!(worlds < 2_000);
        }

        #[test]
        fn the_least_time_that_will_do_is_found(least in 0u64..20_000) {
            let late = |plan: &Plan| plan.faults.iter().any(|fault| fault.at_ms >= least);
            let mut late_one = plan(1);
            late_one.faults[0].at_ms = 20_000;
            let (smallest, _) = check(&late_one, late);
            prop_assert_eq!(smallest.faults[0].at_ms, least);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_plan_that_is_tried_comes_back_from_its_file(
            seed in any::<u64>(),
            lets_pass in 0u32..4,
            accepts in any::<u64>(),
        ) {
            let mut plan = generate(&Bare, FaultMix::HOSTILE.faults(1..=3), seed).plan();
            for fault in plan.faults.iter_mut().filter(|fault| fault.kind.may_let_pass()) {
                fault.lets_pass = lets_pass;
            }
            let (count, mut chance) = (plan.faults.len(), fastrand::Rng::with_seed(accepts));
            let mut breaks = |plan: &Plan| {
                assert_eq!(&from_its_file(plan), plan);
                // As many as there were: kinds and numbers are what is tried.
                plan.faults.len() == count && chance.bool()
            };
            smallest(&plan, &mut breaks, 120, &mut goes_on);
        }
    }

    #[test]
    fn a_kind_that_strikes_no_calls_lets_none_of_them_pass() {
        let mut plan = Plan::quiet("synthetic", 1);
        plan.faults.push(Fault { lets_pass: 3, ..Fault::new(7, site("a").crash(true)) });
        let (smallest, _) = check(&plan, |plan| plan.faults.iter().any(|fault| fault.kind.down_ms() > 0));
        assert_eq!((smallest.faults[0].kind.name(), smallest.faults[0].lets_pass), ("crash", 0));
        assert_eq!(from_its_file(&smallest), smallest);
    }

    #[test]
    fn a_downtime_becomes_a_crash_or_a_step_of_the_clock_and_else_a_shorter_one() {
        let mut plan = Plan::quiet("synthetic", 1);
        plan.faults.push(Fault::new(7, downtime(secs(30 * 24 * 3600))));
        let kills = |plan: &Plan| plan.faults.iter().any(|fault| fault.kind.down_ms() > 0);
        assert_eq!(check(&plan, kills).0.faults, [Fault::new(0, crash(millis(1)))]);
        let steps = |plan: &Plan| {
            plan.faults.iter().any(|fault| match &fault.kind {
                FaultKind::Downtime { wall_ms } => *wall_ms >= 60_000,
                FaultKind::ClockStep { by_ms, .. } => *by_ms >= 60_000,
                _ => false,
            })
        };
        assert_eq!(check(&plan, steps).0.faults, [Fault::new(0, clock_forward(secs(60)))]);
        assert_eq!(check(&plan, |plan| kills(plan) && steps(plan)).0.faults, [Fault::new(0, downtime(secs(60)))]);
    }

    #[test]
    fn a_tape_is_cut_down_to_the_polls_that_matter() {
        let covers = |plan: &Plan, poll: u32| {
            let Order::Tape(tape) = &plan.order else { return false };
            tape.iter().any(|entry| entry.poll <= poll && poll <= entry.poll + entry.more)
        };
        let (smallest, _) = check(&plan(9), |plan| covers(plan, 140) && covers(plan, 192));
        assert_eq!(smallest.faults, []);
        let entry = |poll, more| CutShort { life: 1, task: 2, poll, more, units: 0 };
        assert_eq!(smallest.order, Order::Tape(vec![entry(140, 0), entry(190, 2)]));
    }

    #[test]
    fn a_share_becomes_all_and_a_kind_the_simplest_that_will_do() {
        let mut plan = plan(2);
        plan.faults.remove(0);
        let (smallest, _) = check(&plan, |plan| plan.faults.iter().any(|fault| fault.kind.site() == Some("b")));
        assert_eq!(smallest.faults[0].kind.name(), "outage");
        let (smallest, _) = check(&plan, |plan| plan.faults.iter().any(|fault| fault.kind.name() == "error"));
        assert!(matches!(smallest.faults[0].kind, FaultKind::Error { percent: 100, .. }));
    }

    /// Breaks a rule in each of its worlds, and can be built only where a fault says the date of the world, or only where none does.
    struct Dated {
        is_said: bool,
    }

    impl Scenario for Dated {
        fn name(&self) -> &'static str {
            "dated"
        }

        fn about(&self) -> &'static str {
            "panics while it builds on some dates"
        }

        fn surface(&self) -> Surface {
            Surface { dependencies: Vec::new(), queues: Vec::new(), horizon: secs(10) }
        }

        fn build(&self, world: &mut World) {
            let is_said = world.wall_time() != wall_at(Duration::ZERO, 0);
            assert!(is_said == self.is_said, "another date");
            world.node("node", |node| {
                let tidy = |_: Tick, _: Context| async { Ok::<(), shiftwork::Failure>(()) };
                node.host().worker("tidy", Schedule::every(secs(5)), tidy).run_until_signal()
            });
            world.at_end("all is well", || Err("it never is".to_owned()));
        }
    }

    /// A plan that says a date, between two crashes.
    fn dated() -> Plan {
        let kinds = [crash(secs(1)), dst_forward("Europe/Vienna"), crash(secs(1))];
        let faults = kinds.into_iter().zip([1_000, 4_000, 6_000]).map(|(kind, at_ms)| Fault::new(at_ms, kind));
        Plan { faults: faults.collect(), ..Plan::quiet("dated", 1) }
    }

    #[test]
    fn a_smaller_plan_whose_world_crashes_is_passed_over_and_told() {
        let rule = RuleName::Scenario("all is well".to_owned());
        let shrunk = shrink(&Dated { is_said: true }, &dated(), &rule, 2_000, &mut goes_on);
        assert!(shrunk.outcome.broke_first(&rule), "{}", shrunk.outcome);
        assert_eq!(shrunk.outcome.plan.faults, [Fault::new(0, dst_forward("Europe/Vienna"))]);
        let crash = shrunk.crash.expect("there is no world without a date");
        assert_eq!((crash.said.as_str(), crash.plan.faults.len()), ("another date", 0));
        let told: Vec<_> = shrunk.without.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["without fault 1 the tool crashes: another date"]);
    }

    #[test]
    fn a_plan_whose_world_crashes_gets_as_small_as_one_that_breaks_a_rule() {
        let of_usual_dates = Dated { is_said: false };
        let shrunk = shrink_crash(&of_usual_dates, &dated(), 2_000, &mut goes_on).expect("it crashes");
        assert_eq!(shrunk.crash.said, "another date");
        assert_eq!(shrunk.crash.plan.faults, [Fault::new(0, dst_forward("Europe/Vienna"))]);
        let told: Vec<_> = shrunk.without.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["without fault 1 this breaks: all is well"]);
        assert_eq!(shrink_crash(&of_usual_dates, &Plan::quiet("dated", 1), 2_000, &mut goes_on), None);
    }

    #[test]
    fn it_takes_no_more_worlds_than_it_may() {
        let mut asked = 0;
        let mut told = 0;
        let mut breaks = |_: &Plan| {
            asked += 1;
            false
        };
        let mut progress = |so_far: Progress<'_>| {
            told = so_far.worlds;
            ControlFlow::Continue(())
        };
        let (_, worlds) = smallest(&plan(60), &mut breaks, 3, &mut progress);
        assert_eq!((worlds, asked, told), (3, 3, 3));
    }

    #[test]
    fn it_ends_where_whoever_is_told_has_had_enough() {
        let mut asked = 0;
        let mut breaks = |_: &Plan| {
            asked += 1;
            false
        };
        let mut progress = |so_far: Progress<'_>| {
            if so_far.worlds == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (smallest, worlds) = smallest(&plan(60), &mut breaks, 2_000, &mut progress);
        assert_eq!((worlds, asked, smallest), (3, 3, plan(60)));
    }
}
