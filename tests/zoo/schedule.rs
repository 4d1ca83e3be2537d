//! Bugs in when work is due. One file each.

mod backlog_fired_at_once;
mod drift_by_sleeping;
mod equality_match_skips_a_minute;
mod high_water_mark_in_memory;
mod run_in_a_spawned_task;
mod slot_billed_twice;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &backlog_fired_at_once::EXHIBIT,
    &drift_by_sleeping::EXHIBIT,
    &equality_match_skips_a_minute::EXHIBIT,
    &high_water_mark_in_memory::EXHIBIT,
    &run_in_a_spawned_task::EXHIBIT,
    &slot_billed_twice::EXHIBIT,
];
