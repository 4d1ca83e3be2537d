//! What a world has in store: the steps that its driver takes, each at its time.

use std::{collections::VecDeque, time::Duration};

use shiftwork::Signal;

use super::Arrival;
use crate::record::NodeId;

/// One thing that the driver does at its time.
pub(super) enum Step {
    /// The fault of this number begins; only those of processes and their clocks need the driver's hand.
    Fault(usize),
    /// The fault of this number would begin, and is put at a deadline instead.
    Aim(usize),
    /// The fault of this number follows a timer that may be known by now.
    Follow(usize),
    /// The fault of this number begins at a deadline; when it ends is drawn now.
    Aimed(usize),
    /// A node that stood still goes on.
    Resume(NodeId),
    /// Something that the scenario's surroundings do.
    Arrival(Arrival),
    /// Whoever runs the nodes sends one a signal.
    Order(NodeId, Signal),
    /// Every fault is over.
    Heal,
    /// Look whether the work is done; give up at the time given.
    Look {
        /// When to give up.
        until: Duration,
    },
    /// A last SIGTERM for every node that runs.
    LastStop,
    /// The world does not end by itself.
    GiveUp,
}

impl Step {
    /// What comes first of one time: faults, in the order of the plan, however late it was known when they begin.
    fn rank(&self) -> usize {
        match self {
            Step::Fault(index) | Step::Aim(index) | Step::Follow(index) | Step::Aimed(index) => *index,
            Step::Resume(_)
            | Step::Arrival(_)
            | Step::Order(..)
            | Step::Heal
            | Step::Look { .. }
            | Step::LastStop
            | Step::GiveUp => usize::MAX,
        }
    }
}

/// The steps that are still to be taken, in order of their times; at one time faults come first, and the others in the order in
/// which they were put down.
#[derive(Default)]
pub(super) struct Agenda(VecDeque<(Duration, Step)>);

impl Agenda {
    pub(super) fn add(&mut self, at: Duration, step: Step) {
        let rank = step.rank();
        let index = self.0.partition_point(|(other, step)| (*other, step.rank()) <= (at, rank));
        self.0.insert(index, (at, step));
    }

    /// When the next step is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.0.front().map(|(at, _)| *at)
    }

    /// When the scenario's surroundings do something, soonest first.
    pub(super) fn surroundings(&self) -> impl Iterator<Item = Duration> {
        self.0.iter().filter(|(_, step)| matches!(step, Step::Arrival(_) | Step::Order(..))).map(|(at, _)| *at)
    }

    /// The next step that is due at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Step> {
        let (at, _) = self.0.front()?;
        if *at <= now { self.0.pop_front().map(|(_, step)| step) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_time_keep_the_order_of_their_plan_and_none_comes_early() {
        let ms = Duration::from_millis;
        let mut agenda = Agenda::default();
        for (at, number) in [(5, 0), (3, 3), (5, 2), (3, 1)] {
            agenda.add(ms(at), Step::Fault(number));
        }
        let mut taken = Vec::new();
        for now in 0..10 {
            while let Some(Step::Fault(number)) = agenda.take_due(ms(now)) {
                taken.push((now, number));
            }
        }
        assert_eq!(taken, [(3, 1), (3, 3), (5, 0), (5, 2)]);
        assert_eq!(agenda.next_at(), None);
    }
}
