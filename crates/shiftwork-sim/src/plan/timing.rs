//! When the faults of a plan strike: at the times that are written, or where deadlines are.
//!
//! Code that waits is wrong at the edges of its waiting: the reply that comes in the very millisecond of the timeout, the settlement that
//! arrives as the lease ends, the signal together with the tick. Times that are drawn evenly meet such a millisecond once in thousands
//! of worlds. A plan whose times are to be put at deadlines is changed while its world runs, since only then it is known what is
//! being waited for (`world/deadlines.rs`); its outcome's plan has the times that came of it, and those replay and shrink like any others.
//!
//! Each time that a runtime is entered, tokio draws anew in which order a `select!` tries its branches. So what was found
//! in such a world is found again only if its nodes are left and entered as often, though the driver has no more faults to
//! put anywhere. Both worlds leave them at each instant at which they do something: however often the driver looks in
//! between, and whichever faults shrinking takes away, that is the same.

use serde::{Deserialize, Serialize};

use crate::streams::stream;

/// One seed in so many puts its faults at deadlines: as often as makes collisions cheap to find without making the rest
/// of a campaign dear (`docs/exploration.md` has what was measured).
const COLLIDES_ONE_IN: u64 = 4;

/// When the faults of a plan strike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// At the times that are written.
    #[default]
    AsWritten,
    /// Not before them, and for the most part at what is being waited for then: its time, a millisecond before or a millisecond after.
    /// How long a fault lasts, and by how much it slows a call down, is often drawn in the same way.
    AtDeadlines,
    /// As they are written, and found for a plan whose faults were put at deadlines: its world goes on an instant at a
    /// time, as that one's did.
    FoundAtDeadlines,
}

impl Timing {
    /// What a seed explores.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(stream(seed, "timing"));
        if chance.u64(0..COLLIDES_ONE_IN) == 0 { Timing::AtDeadlines } else { Timing::AsWritten }
    }

    /// Whether each node is left at each instant at which it does something, and not only where the driver has something
    /// to do.
    pub(crate) fn goes_by_instants(self) -> bool {
        match self {
            Timing::AsWritten => false,
            Timing::AtDeadlines | Timing::FoundAtDeadlines => true,
        }
    }

    /// Whether times are as they are written, and nothing more is to be said of them.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    pub(super) fn is_as_written(&self) -> bool {
        *self == Timing::AsWritten
    }
}
