//! Bugs that the end of the process brings out. One file each.

mod checkpoint_past_a_failure;
mod cursor_moved_first;
mod once_flag_in_memory;
mod recovery_clears_first;
mod reservation_leaked;
mod snapshot_overwritten_in_place;
mod spill_deleted_when_read;
mod struck_off_when_buffered;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &checkpoint_past_a_failure::EXHIBIT,
    &cursor_moved_first::EXHIBIT,
    &once_flag_in_memory::EXHIBIT,
    &recovery_clears_first::EXHIBIT,
    &reservation_leaked::EXHIBIT,
    &snapshot_overwritten_in_place::EXHIBIT,
    &spill_deleted_when_read::EXHIBIT,
    &struck_off_when_buffered::EXHIBIT,
];
