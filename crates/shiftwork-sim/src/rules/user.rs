//! A scenario's own invariants: what must always hold, what should happen sometimes, and what must follow.
//!
//! They are looked at on every record, and what must follow also when its time is over. What they read should change in what
//! is recorded (the effect of a call, say): a change that nothing tells of is seen with the next record.
//!
//! They are asked in the middle of somebody's work. One that panics is broken, as one that says so is: that somebody, whose
//! panics the host takes for its cycle's, must not get it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::Violation;
use crate::{
    Record,
    plan::{Seconds, whole_ms},
    world::Fence,
};

/// What a scenario checks on every record.
pub(crate) type Invariant = Box<dyn FnMut(&Record) -> Result<(), String> + Send>;

/// What a scenario looks for in a record.
pub(crate) type Sight = Box<dyn FnMut(&Record) -> bool + Send>;

/// What a scenario waits for.
pub(crate) type Condition = Box<dyn FnMut() -> bool + Send>;

/// Something that should happen in some worlds of a campaign, and whether it did in this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sometimes {
    /// What the scenario calls it.
    pub name: String,
    /// Whether it happened.
    pub reached: bool,
}

/// The invariants of one world.
#[derive(Default)]
pub(crate) struct UserRules {
    always: Vec<(String, Invariant)>,
    sometimes: Vec<(Sometimes, Sight)>,
    eventually: Vec<Eventually>,
}

/// What is said of something that did not follow in time.
const TOO_LATE: &str = "it was not so by then";

struct Eventually {
    name: String,
    within: Duration,
    after: Sight,
    holds: Condition,
    /// When it was last called for, while it does not hold.
    since: Option<Duration>,
}

impl UserRules {
    pub(crate) fn always(&mut self, name: &str, check: Invariant) {
        self.always.push((name.to_owned(), check));
    }

    pub(crate) fn sometimes(&mut self, name: &str, sight: Sight) {
        self.sometimes.push((Sometimes { name: name.to_owned(), reached: false }, sight));
    }

    pub(crate) fn eventually(&mut self, name: &str, within: Duration, after: Sight, holds: Condition) {
        self.eventually.push(Eventually { name: name.to_owned(), within, after, holds, since: None });
    }

    pub(crate) fn on(&mut self, record: &Record, report: &mut dyn FnMut(Violation)) {
        for (name, check) in &mut self.always {
            if let Err(happened) = ask(|| check(record)).and_then(|said| said) {
                report(Violation::of_scenario(name, record.at, happened));
            }
        }
        // Once is enough, and a sight may be dear.
        for (sometimes, sight) in self.sometimes.iter_mut().filter(|(sometimes, _)| !sometimes.reached) {
            match ask(|| sight(record)) {
                Ok(reached) => sometimes.reached = reached,
                Err(happened) => report(Violation::of_scenario(&sometimes.name, record.at, happened)),
            }
        }
        for eventually in &mut self.eventually {
            let broken = ask(|| eventually.on(record))
                .unwrap_or_else(|happened| Some(Violation::of_scenario(&eventually.name, record.at, happened)));
            broken.into_iter().for_each(&mut *report);
        }
    }

    /// The earliest time by which something must have followed that has not yet, as far as was seen.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.eventually.iter().filter_map(Eventually::deadline).min()
    }

    /// Nothing happens any more before `next`: what must have followed by then is so now, or never was.
    pub(crate) fn time_passes(&mut self, next: Duration, report: &mut dyn FnMut(Violation)) {
        for eventually in &mut self.eventually {
            if let Some(deadline) = eventually.deadline().filter(|deadline| *deadline < next)
                && let Some(since) = eventually.since.take()
            {
                eventually.unless_it_holds(since, deadline, TOO_LATE).into_iter().for_each(&mut *report);
            }
        }
    }

    /// The world is over. When it is complete, nothing more would come of waiting.
    pub(crate) fn end(&mut self, at: Duration, complete: bool, report: &mut dyn FnMut(Violation)) {
        for eventually in &mut self.eventually {
            let is_due = complete || eventually.deadline().is_some_and(|deadline| deadline <= at);
            if is_due && let Some(since) = eventually.since {
                let happened = "the world is over, and it is not so";
                eventually.unless_it_holds(since, at, happened).into_iter().for_each(&mut *report);
            }
        }
    }

    /// What should happen sometimes, and whether it did.
    pub(crate) fn reached(&self) -> Vec<Sometimes> {
        self.sometimes.iter().map(|(sometimes, _)| sometimes.clone()).collect()
    }

    /// Lets go of what the invariants hold.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Eventually {
    /// By when it must hold, if it was called for and does not.
    fn deadline(&self) -> Option<Duration> {
        self.since.map(|since| since.saturating_add(self.within))
    }

    fn on(&mut self, record: &Record) -> Option<Violation> {
        let mut broken = None;
        if let Some(since) = self.since {
            // A poll that blocked its thread past the deadline; else it was judged when that had come.
            if record.at > since.saturating_add(self.within) {
                broken = Some(self.broken(since, record.at, TOO_LATE));
                self.since = None;
            } else if (self.holds)() {
                self.since = None;
            }
        }
        if self.since.is_none() && (self.after)(record) && !(self.holds)() {
            self.since = Some(record.at);
        }
        broken
    }

    fn unless_it_holds(&mut self, since: Duration, at: Duration, happened: &str) -> Option<Violation> {
        match ask(|| (self.holds)()) {
            Ok(true) => None,
            Ok(false) => Some(self.broken(since, at, happened)),
            Err(happened) => Some(Violation::of_scenario(&self.name, at, happened)),
        }
    }

    fn broken(&self, since: Duration, at: Duration, happened: &str) -> Violation {
        let (since, within) = (Seconds(whole_ms(since)), Seconds(whole_ms(self.within)));
        let expected = format!("{} within {within} of what happened at {since}", self.name);
        Violation { expected, ..Violation::of_scenario(&self.name, at, happened.to_owned()) }
    }
}

/// What it answers, or that it panicked. It is the scenario that is asked, though in the middle of somebody's work.
pub(crate) fn ask<T>(question: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| Fence::outside(question)))
        .map_err(|panic| format!("it panicked, and said: {}", said(&*panic)))
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{What, secs};

    fn record(at: u64, what: What) -> Record {
        Record { at: secs(at), node: None, task: 0, what }
    }

    /// "It heals, and within 10 s it holds", with what the test does at each second.
    fn broken(steps: &[(u64, What, bool)], end: u64, complete: bool) -> Vec<Violation> {
        let holds = Arc::new(AtomicBool::new(false));
        let condition = holds.clone();
        let mut rules = UserRules::default();
        rules.eventually(
            "it holds",
            secs(10),
            Box::new(|record| record.what == What::Healed),
            Box::new(move || condition.load(Ordering::Relaxed)),
        );
        let mut violations = Vec::new();
        for (at, what, now) in steps {
            holds.store(*now, Ordering::Relaxed);
            rules.on(&record(*at, what.clone()), &mut |violation| violations.push(violation));
        }
        rules.end(secs(end), complete, &mut |violation| violations.push(violation));
        violations
    }

    #[test]
    fn what_holds_in_time_is_kept() {
        assert_eq!(broken(&[(1, What::Healed, false), (11, What::Recovered, true)], 50, true), []);
        assert_eq!(broken(&[(1, What::Crashed, false), (50, What::Recovered, false)], 50, true), []);
    }

    #[test]
    fn what_holds_too_late_is_broken_and_said_with_both_times() {
        let late = broken(&[(1, What::Healed, false), (12, What::Recovered, true)], 50, true);
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].expected, "it holds within 10.000 s of what happened at 1.000 s");
        assert_eq!((late[0].at, late[0].happened.as_str()), (secs(12), "it was not so by then"));
    }

    #[test]
    fn what_never_holds_is_broken_at_the_end_of_a_world_that_is_complete() {
        assert_eq!(broken(&[(1, What::Healed, false)], 2, true).len(), 1);
        assert_eq!(broken(&[(1, What::Healed, false)], 2, false), [], "it was cut off");
    }

    #[test]
    fn what_panics_is_broken_and_the_others_are_asked_all_the_same() {
        let mut rules = UserRules::default();
        rules.always(
            "nothing crashes",
            Box::new(|record| {
                assert_ne!(record.what, What::Crashed, "it did");
                Ok(())
            }),
        );
        rules.sometimes("a sight", Box::new(|_| panic!("no sight")));
        rules.eventually("it holds", secs(1), Box::new(|_| true), Box::new(|| panic!("{}", "no condition")));
        let mut violations = Vec::new();
        rules.on(&record(1, What::Crashed), &mut |violation| violations.push(violation));
        let said: Vec<_> = violations.iter().map(|it| (it.rule.name(), it.happened.lines().next().unwrap())).collect();
        let expected = [
            ("nothing crashes", "it panicked, and said: assertion `left != right` failed: it did"),
            ("a sight", "it panicked, and said: no sight"),
            ("it holds", "it panicked, and said: no condition"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_sight_is_reached_once_it_was_seen() {
        let mut rules = UserRules::default();
        rules.sometimes("a crash", Box::new(|record| record.what == What::Crashed));
        rules.sometimes("a recovery", Box::new(|record| record.what == What::Recovered));
        rules.on(&record(1, What::Crashed), &mut |_| {});
        let reached: Vec<_> = rules.reached().into_iter().map(|it| (it.name, it.reached)).collect();
        assert_eq!(reached, [("a crash".to_owned(), true), ("a recovery".to_owned(), false)]);
    }
}
