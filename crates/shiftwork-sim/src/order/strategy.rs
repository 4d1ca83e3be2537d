//! Ways to look for orders, and which of them a seed takes.
//!
//! No single one finds every race in few worlds: a task that is put off for long and one that is stopped in the middle show
//! different ones. So each seed takes one from a portfolio. The weights are measured (`docs/exploration.md`).

use serde::{Deserialize, Serialize};

/// A way to make up an order of tasks from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each poll is put off with this chance: the task goes behind all that are ready.
    Defer {
        /// How many of a hundred polls.
        percent: u8,
    },
    /// Half of the polls are cut short after a few awaits: the task is stopped in the middle.
    SmallBudget {
        /// How many units are left at most.
        units_max: u8,
    },
    /// Each task has a rank, and lets others go first the longer the higher that is; a few times in a world the task
    /// that is just about to go on gets the highest. After Burckhardt and others, "A randomized scheduler with probabilistic guarantees of
    /// finding bugs" (ASPLOS 2010), as far as it can be had without a scheduler of one's own.
    Ranks {
        /// How many times a rank changes.
        changes: u8,
    },
    /// One task at a time gets no turn for a while, as long as any other has something to do. For how long, and when
    /// the next one's time comes, is drawn so that short and long are equally likely.
    Starve,
}

impl Strategy {
    /// Every strategy of the portfolio, with its weight.
    pub const PORTFOLIO: [(Option<Self>, u32); 8] = [
        // Plain order is cheap, and the one that production shows most often.
        (None, 2),
        (Some(Self::Defer { percent: 10 }), 2),
        (Some(Self::Defer { percent: 50 }), 2),
        (Some(Self::Defer { percent: 90 }), 1),
        (Some(Self::SmallBudget { units_max: 2 }), 3),
        (Some(Self::SmallBudget { units_max: 8 }), 1),
        (Some(Self::Ranks { changes: 3 }), 2),
        (Some(Self::Starve), 3),
    ];

    /// The one that comes out of the portfolio; `None` is tokio's own order.
    pub(crate) fn draw(chance: &mut fastrand::Rng) -> Option<Self> {
        let total: u32 = Self::PORTFOLIO.iter().map(|(_, weight)| weight).sum();
        let mut left = chance.u32(0..total);
        for (strategy, weight) in Self::PORTFOLIO {
            if left < weight {
                return strategy;
            }
            left -= weight;
        }
        None
    }

    /// The word for it in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Defer { .. } => "defer",
            Strategy::SmallBudget { .. } => "small budget",
            Strategy::Ranks { .. } => "ranks",
            Strategy::Starve => "starve",
        }
    }
}
