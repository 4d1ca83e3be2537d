//! Bugs of code that trusts the wall clock. One file each.

mod duplicate_forgotten_too_soon;
mod heartbeat_by_the_wall_clock;
mod lock_expired_by_a_clock_step;
mod price_kept_past_its_time;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &duplicate_forgotten_too_soon::EXHIBIT,
    &heartbeat_by_the_wall_clock::EXHIBIT,
    &lock_expired_by_a_clock_step::EXHIBIT,
    &price_kept_past_its_time::EXHIBIT,
];
