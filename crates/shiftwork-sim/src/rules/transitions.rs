//! Which transitions of the lifecycle were seen.

use std::collections::BTreeSet;

use shiftwork::event::{Event, WorkerId, WorkerPhase};

/// A set of transitions between the phases of workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transitions([u64; 3]);

impl Transitions {
    /// Every transition that the lifecycle has, as events tell it: a worker that closes says so only by its end.
    pub const POSSIBLE: [(WorkerPhase, WorkerPhase); 35] = [
        (WorkerPhase::Pending, WorkerPhase::Starting),
        (WorkerPhase::Pending, WorkerPhase::NeverStarted),
        (WorkerPhase::Starting, WorkerPhase::Ready),
        (WorkerPhase::Starting, WorkerPhase::Failed),
        (WorkerPhase::Starting, WorkerPhase::NeverStarted),
        (WorkerPhase::Ready, WorkerPhase::Running),
        (WorkerPhase::Ready, WorkerPhase::NeverStarted),
        // One that is ready in a later life when its host stops.
        (WorkerPhase::Ready, WorkerPhase::Stopped),
        (WorkerPhase::Ready, WorkerPhase::Aborted),
        // A service that did not hold out until its host ran.
        (WorkerPhase::Ready, WorkerPhase::Failed),
        (WorkerPhase::Running, WorkerPhase::Draining),
        (WorkerPhase::Running, WorkerPhase::Stopped),
        (WorkerPhase::Running, WorkerPhase::Aborted),
        // A start hook that fails, or hangs, in a later life.
        (WorkerPhase::Starting, WorkerPhase::Restarting),
        (WorkerPhase::Restarting, WorkerPhase::Starting),
        (WorkerPhase::Restarting, WorkerPhase::Failed),
        // A member of a group that is restarted for another's fault.
        (WorkerPhase::Ready, WorkerPhase::Restarting),
        (WorkerPhase::Restarting, WorkerPhase::Stopped),
        (WorkerPhase::Starting, WorkerPhase::Stopped),
        (WorkerPhase::Running, WorkerPhase::Failed),
        (WorkerPhase::Draining, WorkerPhase::Restarting),
        (WorkerPhase::Cancelling, WorkerPhase::Restarting),
        (WorkerPhase::Aborting, WorkerPhase::Restarting),
        (WorkerPhase::Draining, WorkerPhase::Cancelling),
        (WorkerPhase::Draining, WorkerPhase::Aborting),
        (WorkerPhase::Draining, WorkerPhase::Stopped),
        (WorkerPhase::Draining, WorkerPhase::Failed),
        (WorkerPhase::Draining, WorkerPhase::Aborted),
        (WorkerPhase::Cancelling, WorkerPhase::Aborting),
        (WorkerPhase::Cancelling, WorkerPhase::Stopped),
        (WorkerPhase::Cancelling, WorkerPhase::Failed),
        (WorkerPhase::Cancelling, WorkerPhase::Aborted),
        (WorkerPhase::Aborting, WorkerPhase::Stopped),
        (WorkerPhase::Aborting, WorkerPhase::Failed),
        (WorkerPhase::Aborting, WorkerPhase::Aborted),
    ];

    /// Adds everything that `other` has.
    pub fn merge(&mut self, other: Transitions) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Every pair of phases, in the order in which [`Transitions::pairs`] has those that were seen.
    pub fn in_order() -> impl Iterator<Item = (WorkerPhase, WorkerPhase)> {
        WorkerPhase::ALL.into_iter().flat_map(|from| WorkerPhase::ALL.into_iter().map(move |to| (from, to)))
    }

    /// The transitions, in order of the phases.
    #[must_use]
    pub fn pairs(&self) -> BTreeSet<(WorkerPhase, WorkerPhase)> {
        let mut pairs = BTreeSet::new();
        for from in WorkerPhase::ALL {
            for to in WorkerPhase::ALL {
                let (word, bit) = place(from, to);
                if self.0[word] & bit != 0 {
                    pairs.insert((from, to));
                }
            }
        }
        pairs
    }

    fn insert(&mut self, from: WorkerPhase, to: WorkerPhase) {
        let (word, bit) = place(from, to);
        self.0[word] |= bit;
    }
}

fn place(from: WorkerPhase, to: WorkerPhase) -> (usize, u64) {
    let index = from as usize * WorkerPhase::ALL.len() + to as usize;
    (index / 64, 1 << (index % 64))
}

/// Follows the phases of the workers.
#[derive(Default)]
pub(super) struct Watcher {
    phases: Vec<WorkerPhase>,
    seen: Transitions,
}

impl Watcher {
    pub(super) fn boot(&mut self) {
        self.phases.clear();
    }

    pub(super) fn seen(&self) -> Transitions {
        self.seen
    }

    pub(super) fn on(&mut self, event: &Event) {
        if let Event::HostStarting { workers } = event {
            self.phases = vec![WorkerPhase::Pending; workers.len()];
        }
        let Some((WorkerId(index), to)) = event.phase() else { return };
        if let Some(phase) = self.phases.get_mut(index as usize) {
            self.seen.insert(*phase, to);
            *phase = to;
        }
    }
}
