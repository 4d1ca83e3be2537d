//! When the faults of a plan strike: at the times that are written, or where deadlines are.
//!
//! Code that waits is wrong at the edges of its waiting: the reply that comes in the very millisecond of the timeout, the settlement that
//! arrives as the lease ends, the signal together with the tick. Times that are drawn evenly meet such a millisecond once in thousands
//! of worlds. A plan whose times are to be put at deadlines is changed while its world runs, since only then it is known what is
//! being waited for (`world/deadlines.rs`); its outcome's plan has the times that came of it, and those replay and shrink like any others.

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
}

impl Timing {
    /// What a seed explores.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(stream(seed, "timing"));
        if chance.u64(0..COLLIDES_ONE_IN) == 0 { Timing::AtDeadlines } else { Timing::AsWritten }
    }

    /// Whether times are as they are written.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    pub(super) fn is_as_written(&self) -> bool {
        *self == Timing::AsWritten
    }
}
