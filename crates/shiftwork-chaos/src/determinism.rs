//! The same worlds again, at another place, compared.
//!
//! A world is a pure function of scenario, plan and seed. What breaks that (an address, a real clock, a file, state that two
//! worlds share) shows only when the world runs under other circumstances. So every world runs a second time in another process, in
//! reverse order and after other worlds, a single one after a few that nobody asked for, and its fingerprint must be the same.
//!
//! A fingerprint says that two runs differ, not where. So a world that differed runs twice more with all its records and polls, and the
//! first record at which they part is named, if they part again; the first poll, if all records are the same.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `determinism.rs` | the comparison |
//! | `determinism/second_run.rs` | what runs the worlds again: this process, or another one |

mod second_run;

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering},
};

pub use second_run::{Answer, ChildProcess, InProcess, Question, SecondRun, WorldSpec, answer_on_stdio};

use crate::{
    Verdict, Watch,
    campaign::{order::Order, world},
    report::Origin,
};

/// Of how many worlds that differed the place is looked for: they tend to have one reason.
pub(crate) const PARTINGS_MAX: usize = 5;

/// What the second run of every world came to.
#[derive(Debug, Default)]
pub struct Determinism {
    /// How many worlds were compared.
    pub worlds: u64,
    /// How many of them differed.
    pub differed: u64,
    /// The first few that differed, in the order of the worlds.
    pub partings: Vec<Parting>,
    /// Why some worlds could not be compared, if so.
    pub problem: Option<String>,
}

/// A world that ran twice and differed.
#[derive(Debug)]
pub struct Parting {
    /// Whose world.
    pub scenario: &'static str,
    /// Where its plan came from.
    pub origin: Origin,
    /// Its seed.
    pub seed: u64,
    /// The fingerprint of the first run.
    pub first: u64,
    /// The fingerprint of the second run.
    pub second: u64,
    /// Where two runs part.
    pub place: Place,
}

/// Where two runs of a world part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this record.
    Record {
        /// Its number, from 1.
        number: usize,
        /// What the one run had there; `None` if it was over.
        first: Option<String>,
        /// What the other run had there; `None` if it was over.
        second: Option<String>,
    },
    /// At this poll; all records are the same.
    Poll {
        /// Its number, from 1.
        number: usize,
        /// Which poll of which task the one run had there, and when; `None` if it was over.
        first: Option<String>,
        /// The same of the other run.
        second: Option<String>,
    },
    /// When it ran twice more, the two runs were the same.
    NotAgain,
    /// It could not be run again.
    Unknown(String),
}

impl Determinism {
    /// What this alone would come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.problem.is_some() {
            Verdict::ToolCrashed
        } else if self.differed > 0 {
            Verdict::DeterminismLost
        } else {
            Verdict::Kept
        }
    }
}

/// Runs the worlds of these numbers again and compares their fingerprints.
pub(crate) fn verify(
    order: &Order<'_>,
    fingerprints: &[(u64, u64)],
    second_run: &dyn SecondRun,
    jobs: NonZeroUsize,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Determinism {
    watch.begins(Some(fingerprints.len() as u64), true);
    let questions: Vec<_> = fingerprints
        .iter()
        .map(|(number, _)| Question { world: order.world(*number).spec(), records: false })
        .collect();
    let mut again = vec![None; fingerprints.len()];
    let run = second_run.run(&questions, jobs, stop, &mut |index, answer: Answer| {
        if let Some(slot) = again.get_mut(index) {
            *slot = Some(answer.fingerprint);
            watch.world_done();
        }
    });
    let mut found = Determinism { problem: run.err(), ..Determinism::default() };
    for ((number, first), second) in fingerprints.iter().zip(&again) {
        let Some(second) = second else { continue };
        found.worlds += 1;
        if first == second {
            continue;
        }
        found.differed += 1;
        if found.partings.len() < PARTINGS_MAX {
            let world = order.world(*number);
            found.partings.push(Parting {
                scenario: world.scenario.name(),
                seed: world.seed(),
                first: *first,
                second: *second,
                place: place(order, *number, second_run),
                origin: world.origin,
            });
        }
    }
    let missing = fingerprints.len() as u64 - found.worlds;
    if missing > 0 && found.problem.is_none() && !stop.load(Ordering::Relaxed) {
        found.problem = Some(format!("the second run said nothing about {missing} worlds"));
    }
    found
}

/// Runs a world here and at the other place with all records, and finds where the two part.
fn place(order: &Order<'_>, number: u64, second_run: &dyn SecondRun) -> Place {
    let world = order.world(number);
    let here = match world::run_again(&world, true) {
        Ok(outcome) => Answer::of(&outcome, true),
        Err(message) => return Place::Unknown(message),
    };
    let mut there = None;
    let question = Question { world: world.spec(), records: true };
    let asked = second_run.run(&[question], NonZeroUsize::MIN, &AtomicBool::new(false), &mut |_, answer| {
        there = Some(answer);
    });
    match (asked, there) {
        (Err(message), _) => Place::Unknown(message),
        (Ok(()), None) => Place::Unknown("the second run said nothing about it".to_owned()),
        (Ok(()), Some(there)) => compare(&here, &there),
    }
}

fn compare(here: &Answer, there: &Answer) -> Place {
    if here.fingerprint == there.fingerprint {
        return Place::NotAgain;
    }
    if let Some((number, first, second)) = parting(&here.records, &there.records) {
        Place::Record { number, first, second }
    } else if let Some((number, first, second)) = parting(&here.polls, &there.polls) {
        Place::Poll { number, first, second }
    } else {
        Place::Unknown("all records and all polls are the same, and the fingerprints are not".to_owned())
    }
}

/// The first place at which two lists differ, counted from 1, and what each has there.
fn parting(first: &[String], second: &[String]) -> Option<(usize, Option<String>, Option<String>)> {
    let index = (0..first.len().max(second.len())).find(|index| first.get(*index) != second.get(*index))?;
    Some((index + 1, first.get(index).cloned(), second.get(index).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fingerprint: u64, records: &[&str]) -> Answer {
        Answer { fingerprint, records: records.iter().map(ToString::to_string).collect(), polls: Vec::new() }
    }

    #[test]
    fn two_runs_part_at_the_first_record_that_differs() {
        let check = |there: &Answer, place: Place| assert_eq!(compare(&answer(1, &["a", "b"]), there), place);
        let at = |number, first: Option<&str>, second: Option<&str>| Place::Record {
            number,
            first: first.map(str::to_owned),
            second: second.map(str::to_owned),
        };
        check(&answer(2, &["a", "c"]), at(2, Some("b"), Some("c")));
        check(&answer(2, &["a"]), at(2, Some("b"), None));
        check(&answer(2, &["a", "b", "c"]), at(3, None, Some("c")));
        check(&answer(1, &["a", "b"]), Place::NotAgain);
    }

    #[test]
    fn two_runs_with_the_same_records_part_at_the_first_poll_that_differs() {
        let polled = |fingerprint, polls: &[&str]| Answer {
            polls: polls.iter().map(ToString::to_string).collect(),
            ..answer(fingerprint, &["a", "b"])
        };
        let (here, there) = (polled(1, &["task 1", "task 2"]), polled(2, &["task 1", "task 3"]));
        let place = Place::Poll { number: 2, first: Some("task 2".into()), second: Some("task 3".into()) };
        assert_eq!(compare(&here, &there), place);
        assert_eq!(compare(&here, &polled(1, &["task 1", "task 3"])), Place::NotAgain);
        let nowhere = compare(&here, &polled(2, &["task 1", "task 2"]));
        assert!(matches!(nowhere, Place::Unknown(_)), "{nowhere:?}");
    }
}
