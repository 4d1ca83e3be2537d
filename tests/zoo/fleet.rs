//! Bugs of several nodes that share a store, each with a clock of its own. One file each.

mod newest_by_the_wall_clock;
mod two_schedulers;
mod written_by_a_claim_that_is_over;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] =
    &[&newest_by_the_wall_clock::EXHIBIT, &two_schedulers::EXHIBIT, &written_by_a_claim_that_is_over::EXHIBIT];
