//! A canary for each rule of the lifecycle: what shows that its invariant can fail.
//!
//! A rule that nothing can break checks nothing. So each has a story here, written by hand and told twice: with a mistake, which
//! must be found under the name of this rule and of no other, and without, which must pass. The two differ in what stands
//! under `wrong`. Whoever adds a rule adds its story, or a row to the table in `docs/lifecycle.md` that says why no invariant can
//! see it.
//!
//! | file | rules |
//! | --- | --- |
//! | `start.rs` | S |
//! | `cycles.rs` | C |
//! | `faults.rs` | F |
//! | `deliveries.rs` | Q |
//! | `schedules.rs` | D |
//! | `steering.rs` | B and P |
//! | `stop.rs` | T and V |
//! | `worlds.rs` | L, which no record shows: whole worlds |
//! | `story.rs` | how a story is told |

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod cycles;
mod deliveries;
mod faults;
mod schedules;
mod start;
mod steering;
mod stop;
mod story;
mod worlds;

use std::{collections::BTreeSet, fs};

use shiftwork::Rule;
use shiftwork_sim::Violation;
use story::Story;

/// What shows that the invariant of a rule can fail.
struct Canary {
    rule: Rule,
    /// What the mistake is, in a few words.
    mistake: &'static str,
    tell: Tell,
}

/// Records written by hand, or a world.
enum Tell {
    Records(fn(&mut Story, bool)),
    World(fn(bool) -> Vec<Violation>),
}

impl Canary {
    const fn new(rule: Rule, mistake: &'static str, tell: fn(&mut Story, bool)) -> Self {
        Self { rule, mistake, tell: Tell::Records(tell) }
    }

    /// The rules that break in its story, told with the mistake or without.
    fn violations(&self, wrong: bool) -> Vec<Violation> {
        match self.tell {
            Tell::Records(tell) => {
                let mut story = Story::default();
                tell(&mut story, wrong);
                story.end()
            }
            Tell::World(run) => run(wrong),
        }
    }
}

fn all() -> impl Iterator<Item = &'static Canary> {
    let files: [&[Canary]; 8] = [
        start::CANARIES,
        cycles::CANARIES,
        faults::CANARIES,
        deliveries::CANARIES,
        schedules::CANARIES,
        steering::CANARIES,
        stop::CANARIES,
        worlds::CANARIES,
    ];
    files.into_iter().flatten()
}

#[test]
fn every_mistake_is_found_under_the_name_of_its_rule_alone() {
    for canary in all() {
        let (rule, mistake) = (canary.rule.id(), canary.mistake);
        let violations = canary.violations(true);
        assert!(!violations.is_empty(), "{rule}: {mistake}: nothing was found");
        for violation in violations {
            assert_eq!(violation.rule.name(), rule, "{rule}: {mistake}: another rule broke\n{violation}");
        }
    }
}

#[test]
fn every_story_without_its_mistake_keeps_every_rule() {
    for canary in all() {
        let violations = canary.violations(false);
        let first = violations.first().map(ToString::to_string).unwrap_or_default();
        assert!(violations.is_empty(), "{}, put right ({}):\n{first}", canary.rule.id(), canary.mistake);
    }
}

/// The rules that the page says to have no invariant.
fn without_invariant() -> BTreeSet<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md"));
    let page = page.expect("the specification of the lifecycle is a page");
    let rows = page.lines().skip_while(|line| !line.starts_with("| without an invariant |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1)).map(|rule| rule.trim().to_owned()).collect()
}

#[test]
fn every_rule_has_a_canary_or_is_said_to_have_no_invariant() {
    let written = without_invariant();
    let unchecked: BTreeSet<String> = Rule::ALL
        .iter()
        .filter(|rule| all().all(|canary| canary.rule != **rule))
        .map(|rule| rule.id().to_owned())
        .collect();
    assert_eq!(written, unchecked, "left: docs/lifecycle.md, right: rules without a canary");
}
