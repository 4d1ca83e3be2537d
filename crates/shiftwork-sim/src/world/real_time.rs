//! How long polls take in the machine's own time, where somebody wants to know.
//!
//! A world's time stands still while a task computes or waits for something real (another thread, a lock, a socket of its own): to rule
//! L3 such a poll takes none. Here each poll is measured on the clocks of the machine, what the world itself does in it left out. What is
//! found is about the machine as much as about the code, so it is told beside the world's outcome and is no part of it: neither of its
//! fingerprint nor of its violations, and the world goes on.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    interpose,
    plan::{Seconds, whole_ms},
};

/// How many polls are kept of one world: the first ones tell as much as all.
const KEPT_MAX: usize = 8;

/// A poll that took too long in real time ([`Options::poll_max_real`](super::Options::poll_max_real)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowPoll {
    /// In the process of which node.
    pub node: Arc<str>,
    /// Of which task: its number, and where in the code it was spawned.
    pub task: String,
    /// When it began, in the world's time.
    pub at: Duration,
    /// How long it took, in real time.
    pub real: Duration,
    /// How much of that its thread was on a processor. Much less than `real` if it was blocked, or if the machine was busy with others;
    /// `None` where that is not known.
    pub cpu: Option<Duration>,
}

impl fmt::Display for SlowPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, task, at, real, cpu } = self;
        write!(f, "a poll took {real:.1?} of real time")?;
        if let Some(cpu) = cpu {
            write!(f, ", {cpu:.1?} of it on a processor")?;
        }
        write!(f, ": {task} of node {node}, at {}", Seconds(whole_ms(*at)))
    }
}

/// What the machine's clocks show, or what has passed on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Real time.
    pub(crate) real: Duration,
    /// Time of this thread on a processor.
    pub(crate) cpu: Option<Duration>,
}

impl Reading {
    /// No time has passed.
    const NOTHING: Reading = Reading { real: Duration::ZERO, cpu: Some(Duration::ZERO) };

    fn since(self, before: Reading) -> Reading {
        let cpu = self.cpu.zip(before.cpu).map(|(now, before)| now.saturating_sub(before));
        Reading { real: self.real.saturating_sub(before.real), cpu }
    }

    fn and(self, more: Reading) -> Reading {
        let cpu = self.cpu.zip(more.cpu).map(|(one, other)| one.saturating_add(other));
        Reading { real: self.real.saturating_add(more.real), cpu }
    }
}

/// The real time of the poll at hand, and the polls that took too much of it.
#[derive(Debug)]
pub(super) struct RealTime {
    /// How much is too much; `None`: nobody asks.
    max: Option<Duration>,
    began: Option<Reading>,
    /// What the world itself has spent of it.
    own: Reading,
    found: Vec<SlowPoll>,
}

impl RealTime {
    pub(super) fn of(max: Option<Duration>) -> Self {
        Self { max, began: None, own: Reading::NOTHING, found: Vec::new() }
    }

    /// A poll is about to begin.
    pub(super) fn poll_begins(&mut self) {
        self.own = Reading::NOTHING;
        self.began = self.max.map(|_| interpose::real_time());
    }

    /// It has ended, at `now`: how long it took, if that was too long.
    pub(super) fn poll_ended(&mut self, now: Reading) -> Option<Reading> {
        let took = now.since(self.began.take()?).since(self.own);
        self.max.is_some_and(|max| took.real >= max).then_some(took)
    }

    /// The world does something of its own, as a rule in the middle of a poll.
    pub(super) fn own_work_begins(&self) -> Option<Reading> {
        self.began.map(|_| interpose::real_time())
    }

    /// It has done it.
    pub(super) fn own_work_ended(&mut self, began: Option<Reading>) {
        if let Some(began) = began {
            self.own = self.own.and(interpose::real_time().since(began));
        }
    }

    pub(super) fn found(&mut self, poll: SlowPoll) {
        if self.found.len() < KEPT_MAX {
            self.found.push(poll);
        }
    }

    pub(super) fn take_found(&mut self) -> Vec<SlowPoll> {
        std::mem::take(&mut self.found)
    }
}

#[cfg(all(test, tokio_unstable))]
mod tests {
    use shiftwork::{Context, Failure, Schedule, Signal, Tick, event::Event};

    use super::*;
    use crate::{Outcome, Script, What, World, interpose::unheld, millis, secs};

    const BLOCKED: Duration = millis(30);

    #[expect(clippy::disallowed_methods, reason = "what such a sleep costs a poll in real time is what is tested")]
    fn blocks_for_real(time: Duration) {
        // In a world the time of a sleep jumps; this is the machine's.
        unheld(|| std::thread::sleep(time));
    }

    fn script() -> Script {
        Script::new().seed(3).at(secs(15), Signal::Terminate)
    }

    /// A worker whose second cycle, at 10 s, blocks its thread.
    fn reader(world: &mut World) {
        world.node("reader", |node| {
            let read = |tick: Tick, _: Context| async move {
                if tick.number == 2 {
                    blocks_for_real(BLOCKED);
                }
                Ok::<(), Failure>(())
            };
            node.host().worker("read", Schedule::every(secs(10)), read).run_until_signal()
        });
    }

    /// The poll of that cycle. A machine that is busy may make others as long.
    fn blocked(outcome: &Outcome) -> Option<&SlowPoll> {
        outcome.slow_polls.iter().find(|poll| poll.at == secs(10) && poll.real >= BLOCKED)
    }

    #[test]
    fn a_poll_that_takes_real_time_is_told_with_its_task_and_with_what_it_used_of_a_processor() {
        let outcome = script().poll_max_real(millis(20)).run_once(reader);
        let poll = blocked(&outcome).unwrap_or_else(|| panic!("{:?}", outcome.slow_polls));
        assert_eq!(&*poll.node, "reader");
        assert!(poll.task.contains("spawned at "), "{poll}");
        assert!(poll.cpu.is_none_or(|cpu| cpu < BLOCKED / 2), "it slept: {poll}");
        assert!(outcome.is_ok(), "no rule is about real time");
    }

    #[test]
    #[should_panic(expected = "a poll took ")]
    fn an_outcome_with_a_slow_poll_fails_its_test() {
        script().poll_max_real(millis(20)).run_once(reader).assert_rules_kept();
    }

    #[test]
    fn nobody_asks_by_default_and_whoever_asks_changes_nothing_of_the_world() {
        let (without, with) = (script().run_once(reader), script().poll_max_real(millis(20)).run_once(reader));
        without.assert_rules_kept();
        assert!(without.slow_polls.is_empty() && blocked(&with).is_some());
        assert_eq!(with.fingerprint, without.fingerprint);
        assert_eq!(with.timeline.to_string(), without.timeline.to_string());
    }

    #[test]
    fn what_the_world_itself_does_in_a_poll_is_not_held_against_it() {
        // So long that no machine keeps a thread waiting as long.
        let long = millis(300);
        let outcome = script().poll_max_real(long).run_once(move |world| {
            world.node("idle", |node| {
                let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host().worker("idle", Schedule::every(secs(10)), idle).run_until_signal()
            });
            world.always("a check that takes long", move |record| {
                if matches!(record.what, What::Host(Event::HostRunning)) {
                    blocks_for_real(long);
                }
                Ok(())
            });
        });
        outcome.assert_rules_kept();
    }
}
