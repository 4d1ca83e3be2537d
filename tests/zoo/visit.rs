//! A visit to one exhibit: the bug is hunted, its plan shrunk, its rule compared, and the twin put through the same worlds.
//!
//! What comes out is a function of the exhibit and of [`Rigour`] alone. How it is shown is `table.rs`'s part.

use std::{fmt, ops::ControlFlow};

use shiftwork_sim::{
    Outcome, Plan, RuleName,
    explore::{self, Candidate},
};

use crate::exhibit::{Exhibit, Specimen};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Rigour {
    /// In how many worlds the twin must hold at the least; it runs as many as the bug needed if that is more.
    pub twin_worlds: u64,
    /// Of how many worlds every single fault is run alone, for a bug that is said to need two.
    pub single_fault_plans: u64,
    /// How many worlds the shrinking of a plan may take.
    pub shrink_worlds: u32,
}

impl Rigour {
    /// What a run of the whole zoo takes.
    pub const FULL: Self = Self { twin_worlds: 500, single_fault_plans: 150, shrink_worlds: 2_000 };
}

/// What a visit came to.
#[derive(Debug)]
pub struct Visit<'e> {
    /// To which exhibit.
    pub exhibit: &'e Exhibit,
    /// How the bug was caught, if it was.
    pub catch: Option<Catch>,
    /// What is wrong with the exhibit, or with the simulator.
    pub complaints: Vec<Complaint>,
}

/// How a bug was caught.
#[derive(Debug)]
pub struct Catch {
    /// The rule that broke first.
    pub rule: RuleName,
    /// In which world, from 1.
    pub worlds: u64,
    /// How many faults the plan had then.
    pub faults_found: usize,
    /// The smallest plan that breaks the same rule.
    pub plan: Plan,
    /// How many worlds shrinking took.
    pub shrink_worlds: u32,
    /// The world of the smallest plan, with its timeline.
    pub outcome: Outcome,
}

/// What can be wrong.
#[derive(Debug)]
pub enum Complaint {
    /// No world within the budget showed the bug.
    Missed,
    /// Another rule than the expected one broke.
    AnotherRule,
    /// The shrunk plan did not break the rule again.
    NotReproduced,
    /// A bug that is said to need two faults shows with this one alone.
    OneFaultIsEnough(Box<Outcome>),
    /// A rule broke in the twin.
    TwinFailed(Box<Outcome>),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::Missed => f.write_str("missed within its budget"),
            Complaint::AnotherRule => f.write_str("another rule broke"),
            Complaint::NotReproduced => f.write_str("the shrunk plan does not break the rule"),
            Complaint::OneFaultIsEnough(_) => f.write_str("one fault is enough"),
            Complaint::TwinFailed(_) => f.write_str("the twin fails"),
        }
    }
}

impl Complaint {
    /// The world that shows it.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Complaint::Missed | Complaint::AnotherRule | Complaint::NotReproduced => None,
            Complaint::OneFaultIsEnough(outcome) | Complaint::TwinFailed(outcome) => Some(outcome),
        }
    }
}

impl Visit<'_> {
    /// Whether the bug was caught by the right rule, and the twin passed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// Visits one exhibit.
pub fn visit(exhibit: &Exhibit, rigour: Rigour) -> Visit<'_> {
    let mut complaints = Vec::new();
    let catch = hunt(exhibit, rigour);
    match &catch {
        None => complaints.push(Complaint::Missed),
        Some(catch) => {
            if catch.rule.name() != exhibit.rule {
                complaints.push(Complaint::AnotherRule);
            }
            if !catch.outcome.broke_first(&catch.rule) {
                complaints.push(Complaint::NotReproduced);
            }
        }
    }
    if exhibit.needs_two_faults {
        let alone = single_fault(exhibit, catch.as_ref().map(|catch| &catch.plan), rigour);
        complaints.extend(alone.map(|outcome| Complaint::OneFaultIsEnough(Box::new(outcome))));
    }
    let failed = twin_failure(exhibit, catch.as_ref(), rigour);
    complaints.extend(failed.map(|outcome| Complaint::TwinFailed(Box::new(outcome))));
    Visit { exhibit, catch, complaints }
}

/// Runs the worlds of seeds 0, 1, 2… until the bug shows, and shrinks the plan.
fn hunt(exhibit: &Exhibit, rigour: Rigour) -> Option<Catch> {
    let bug = exhibit.bug();
    (0..exhibit.budget).find_map(|seed| {
        let plan = generate(&bug, exhibit, seed).plan();
        let rule = explore::run_plan(&bug, &plan, false).violations.first()?.rule.clone();
        let shrunk = explore::shrink(&bug, &plan, &rule, rigour.shrink_worlds, &mut |_| ControlFlow::Continue(()));
        Some(Catch {
            rule,
            worlds: seed + 1,
            faults_found: plan.faults.len(),
            plan: shrunk.outcome.plan.clone(),
            shrink_worlds: shrunk.worlds,
            outcome: shrunk.outcome,
        })
    })
}

/// The first world in which one fault alone shows the bug: each fault of the shrunk plan, then each of some worlds' plans, and no
/// fault at all.
fn single_fault(exhibit: &Exhibit, shrunk: Option<&Plan>, rigour: Rigour) -> Option<Outcome> {
    let bug = exhibit.bug();
    let generated = (0..rigour.single_fault_plans).map(|seed| generate(&bug, exhibit, seed).plan());
    shrunk.cloned().into_iter().chain(generated).find_map(|plan| {
        let alone = plan.faults.iter().map(|fault| vec![fault.clone()]);
        std::iter::once(Vec::new()).chain(alone).find_map(|faults| failure(&bug, &Plan { faults, ..plan.clone() }))
    })
}

/// The first world in which a rule breaks in the twin. It faces the plans that the bug faced, and the one that caught it.
fn twin_failure(exhibit: &Exhibit, catch: Option<&Catch>, rigour: Rigour) -> Option<Outcome> {
    let twin = exhibit.twin();
    let worlds = catch.map_or(0, |catch| catch.worlds).max(rigour.twin_worlds);
    let caught = catch.map(|catch| catch.plan.clone());
    let plans = (0..worlds).map(|seed| generate(&twin, exhibit, seed).plan());
    caught.into_iter().chain(plans).find_map(|plan| failure(&twin, &plan))
}

fn generate(specimen: &Specimen<'_>, exhibit: &Exhibit, seed: u64) -> Candidate {
    explore::generate(specimen, exhibit.profile, seed)
}

/// The world of a plan, with its timeline, if a rule breaks in it.
fn failure(specimen: &Specimen<'_>, plan: &Plan) -> Option<Outcome> {
    let outcome = explore::run_plan(specimen, plan, false);
    (!outcome.is_ok()).then(|| explore::run_plan(specimen, plan, true))
}
