//! Bugs of work side by side. One file each.

mod buffer_without_a_bound;
mod list_written_back;
mod locks_in_two_orders;
mod notified_before_listening;
mod tasks_never_reaped;
mod token_refreshed_by_all;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &buffer_without_a_bound::EXHIBIT,
    &list_written_back::EXHIBIT,
    &locks_in_two_orders::EXHIBIT,
    &notified_before_listening::EXHIBIT,
    &tasks_never_reaped::EXHIBIT,
    &token_refreshed_by_all::EXHIBIT,
];
