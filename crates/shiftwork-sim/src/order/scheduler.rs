//! The decision before each poll: whether it is cut short, and to how many units.
//!
//! It is a function of what was polled before and of the seed, and knows nothing of a runtime. Whatever it decides is written on a
//! tape; played back, the tape makes the same decisions.

use std::{collections::BTreeMap, time::Duration};

use super::{BUDGET, CutShort, Order, Strategy};
use crate::streams::stream;

/// How many rounds the last of the ranks lets others go first.
const RANK_MAX: u32 = 8;

/// How many rounds a task is put off at most that a change of ranks has struck.
const RANK_CHANGED: u32 = 12;

/// Windows and the times between them are 2 to the power of less than this, in polls.
const WINDOW_BITS: u32 = 11;

/// Within how many polls ranks change: 2 to the power of less than this.
const CHANGES_BITS: u32 = 13;

/// How many polls are cut short without time passing: tasks that wake each other or themselves, as tokio's `JoinSet` does when
/// a poll was cut short, must not be kept from ever coming to rest.
const IN_AN_INSTANT_MAX: u32 = 5_000;

/// A task, by its life of a process and its number there.
type TaskKey = (u32, u32);

/// Decides the order of one world's tasks.
pub(crate) struct Scheduler {
    mode: Mode,
    lives: u32,
    /// How many tasks have begun that take their turns by themselves, by the number of their life.
    begun: BTreeMap<u32, u32>,
    /// All polls so far.
    polls: u64,
    tasks: BTreeMap<TaskKey, TaskState>,
    /// Who was polled before last, and last.
    last: [Option<TaskKey>; 2],
    /// How many polls were cut short at this instant.
    in_this_instant: u32,
    instant: Duration,
    tape: Vec<CutShort>,
}

#[derive(Default)]
struct TaskState {
    polls: u32,
    /// How many rounds it has been put off.
    waited: u32,
    rank: Option<u32>,
    /// Its last entry on the tape that is being written, or its next on the one that is played.
    entry: Option<usize>,
}

enum Mode {
    Plain,
    Make { strategy: Strategy, chance: fastrand::Rng, starve: Window, changes: Vec<u64> },
    Play(BTreeMap<TaskKey, Vec<CutShort>>),
}

/// When some task is starved.
struct Window {
    from: u64,
    until: u64,
    victim: Option<TaskKey>,
}

impl Window {
    fn after(polls: u64, chance: &mut fastrand::Rng) -> Self {
        let from = polls + log_uniform(chance, WINDOW_BITS);
        Self { from, until: from + log_uniform(chance, WINDOW_BITS), victim: None }
    }
}

/// From 1 on, each power of two as likely as the next.
fn log_uniform(chance: &mut fastrand::Rng, bits: u32) -> u64 {
    let base = 1u64 << chance.u32(0..bits);
    base + chance.u64(0..base)
}

impl Scheduler {
    pub(crate) fn new(order: &Order, seed: u64) -> Self {
        let mode = match order {
            Order::Plain => Mode::Plain,
            Order::Tape(tape) if tape.is_empty() => Mode::Plain,
            Order::Tape(tape) => {
                let mut entries: BTreeMap<TaskKey, Vec<CutShort>> = BTreeMap::new();
                for entry in tape {
                    entries.entry((entry.life, entry.task)).or_default().push(*entry);
                }
                for of_task in entries.values_mut() {
                    of_task.sort_by_key(|entry| entry.poll);
                }
                Mode::Play(entries)
            }
            Order::Strategy(strategy) => {
                let mut chance = fastrand::Rng::with_seed(stream(seed, "task order"));
                let changes = match strategy {
                    Strategy::Ranks { changes } => {
                        (0..*changes).map(|_| log_uniform(&mut chance, CHANGES_BITS)).collect()
                    }
                    Strategy::Defer { .. } | Strategy::SmallBudget { .. } | Strategy::Starve => Vec::new(),
                };
                let starve = Window::after(0, &mut chance);
                Mode::Make { strategy: *strategy, chance, starve, changes }
            }
        };
        Self {
            mode,
            lives: 0,
            begun: BTreeMap::new(),
            polls: 0,
            tasks: BTreeMap::new(),
            last: [None; 2],
            in_this_instant: 0,
            instant: Duration::ZERO,
            tape: Vec::new(),
        }
    }

    /// A process begins: the number of its life; `None` when nothing will be cut short.
    pub(crate) fn life_begins(&mut self) -> Option<u32> {
        self.lives += 1;
        (!matches!(self.mode, Mode::Plain)).then_some(self.lives)
    }

    /// A task begins that takes its turns by itself: its number in its life, from 1.
    pub(crate) fn task_begins(&mut self, life: u32) -> u32 {
        let begun = self.begun.entry(life).or_default();
        *begun += 1;
        *begun
    }

    /// A task is about to be polled: how many units are left to it, if the poll is cut short.
    pub(crate) fn poll_begins(&mut self, life: u32, task: u32, now: Duration) -> Option<u8> {
        if matches!(self.mode, Mode::Plain) {
            return None;
        }
        let key = (life, task);
        self.polls += 1;
        let state = self.tasks.entry(key).or_default();
        state.polls += 1;
        if now != self.instant {
            (self.instant, self.in_this_instant) = (now, 0);
        }
        // Nobody else has anything to do: to put it off would only burn time. Two polls are needed to tell, since tokio lets
        // those that yielded go on in the reverse of their order.
        let alone = self.last == [Some(key); 2] || self.in_this_instant >= IN_AN_INSTANT_MAX;
        let units = match &mut self.mode {
            Mode::Plain => None,
            Mode::Play(tape) => tape.get(&key).and_then(|of_task| play(of_task, state)),
            Mode::Make { strategy, chance, starve, changes } => {
                let units = match *strategy {
                    Strategy::Defer { percent } => (chance.u8(0..100) < percent).then_some(0),
                    Strategy::SmallBudget { units_max } => {
                        chance.bool().then(|| chance.u8(0..=units_max.min(BUDGET - 1)))
                    }
                    Strategy::Ranks { .. } => {
                        if changes.contains(&self.polls) {
                            state.rank = Some(RANK_CHANGED);
                        }
                        let rank = *state.rank.get_or_insert_with(|| chance.u32(0..RANK_MAX));
                        state.waited = if state.waited < rank { state.waited + 1 } else { 0 };
                        (state.waited > 0).then_some(0)
                    }
                    Strategy::Starve => {
                        if self.polls >= starve.until {
                            *starve = Window::after(self.polls, chance);
                        }
                        let victim = self.polls >= starve.from && *starve.victim.get_or_insert(key) == key;
                        victim.then_some(0)
                    }
                };
                units.filter(|_| !alone)
            }
        };
        self.in_this_instant += u32::from(units.is_some());
        if let Some(units) = units
            && matches!(self.mode, Mode::Make { .. })
        {
            write(&mut self.tape, state, key, units);
        }
        self.last = [self.last[1], Some(key)];
        units
    }

    /// What was decided, as data; what a tape said that was played is not repeated.
    pub(crate) fn take_order(&mut self) -> Option<Order> {
        match self.mode {
            Mode::Plain | Mode::Play(_) => None,
            Mode::Make { .. } if self.tape.is_empty() => Some(Order::Plain),
            Mode::Make { .. } => Some(Order::Tape(std::mem::take(&mut self.tape))),
        }
    }
}

/// What the tape says of the poll that begins.
fn play(of_task: &[CutShort], state: &mut TaskState) -> Option<u8> {
    let next = state.entry.get_or_insert(0);
    while of_task.get(*next).is_some_and(|entry| entry.poll.saturating_add(entry.more) < state.polls) {
        *next += 1;
    }
    of_task.get(*next).filter(|entry| entry.covers(state.polls)).map(|entry| entry.units)
}

/// Writes an entry, or lengthens the task's last.
fn write(tape: &mut Vec<CutShort>, state: &mut TaskState, (life, task): TaskKey, units: u8) {
    if let Some(entry) = state.entry.and_then(|index| tape.get_mut(index))
        && entry.units == units
        && entry.poll + entry.more + 1 == state.polls
    {
        entry.more += 1;
    } else {
        state.entry = Some(tape.len());
        tape.push(CutShort { life, task, poll: state.polls, more: 0, units });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn strategies() -> Vec<Strategy> {
        Strategy::PORTFOLIO.iter().filter_map(|(strategy, _)| *strategy).collect()
    }

    /// One that asks for more than there is, and one that does nothing.
    fn odd() -> Vec<Strategy> {
        vec![Strategy::SmallBudget { units_max: u8::MAX }, Strategy::Defer { percent: 0 }]
    }

    fn decisions(scheduler: &mut Scheduler, polls: &[u32]) -> Vec<Option<u8>> {
        let life = scheduler.life_begins().unwrap_or(0);
        let instant = |index: usize| Duration::from_millis(index as u64 / 100);
        polls.iter().zip(0..).map(|(task, index)| scheduler.poll_begins(life, *task, instant(index))).collect()
    }

    proptest! {
        #[test]
        fn a_tape_decides_as_the_strategy_did_that_wrote_it(
            seed: u64,
            strategy in prop::sample::select([strategies(), odd()].concat()),
            polls in prop::collection::vec(1u32..6, 0..400),
        ) {
            let mut made = Scheduler::new(&Order::Strategy(strategy), seed);
            let decided = decisions(&mut made, &polls);
            let tape = made.take_order().unwrap();
            let written = serde_json::to_string(&tape).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Order>(&written).unwrap(), &tape);
            let mut played = Scheduler::new(&tape, 0);
            prop_assert_eq!(decisions(&mut played, &polls), decided);
            prop_assert!(played.take_order().is_none());
        }
    }

    #[test]
    fn each_strategy_cuts_polls_short_and_lets_some_be() {
        let polls: Vec<u32> = (0..20_000).map(|poll| poll % 5).collect();
        for strategy in strategies() {
            let decided = decisions(&mut Scheduler::new(&Order::Strategy(strategy), 7), &polls);
            let cut = decided.iter().flatten().count();
            assert!(cut > 10 && cut < polls.len(), "{strategy:?} cut {cut} of {} polls short", polls.len());
        }
    }

    #[test]
    fn a_task_that_is_alone_is_left_alone() {
        for strategy in strategies() {
            let decided = decisions(&mut Scheduler::new(&Order::Strategy(strategy), 3), &[1; 5_000]);
            assert!(decided[2..].iter().all(Option::is_none), "{strategy:?} puts off a task that is alone");
        }
    }

    #[test]
    fn tasks_that_wake_each_other_come_to_rest_in_the_end() {
        for strategy in strategies() {
            let mut scheduler = Scheduler::new(&Order::Strategy(strategy), 3);
            let life = scheduler.life_begins().unwrap();
            let cut: Vec<bool> =
                (0..60_000).map(|poll| scheduler.poll_begins(life, poll % 2, Duration::ZERO).is_some()).collect();
            assert!(!cut[50_000..].contains(&true), "{strategy:?} goes on for ever");
        }
    }

    #[test]
    fn plain_order_cuts_nothing_short() {
        assert!(decisions(&mut Scheduler::new(&Order::Plain, 3), &[1, 2, 1, 2]).iter().all(Option::is_none));
    }
}
