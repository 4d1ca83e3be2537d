//! Bugs at the end of the host. One file each.

mod call_without_a_time_limit;
mod detached_audit_entry;
mod long_wait_inside_a_cycle;
mod own_sender_kept_open;
mod stopping_ignored_in_a_batch;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &call_without_a_time_limit::EXHIBIT,
    &detached_audit_entry::EXHIBIT,
    &long_wait_inside_a_cycle::EXHIBIT,
    &own_sender_kept_open::EXHIBIT,
    &stopping_ignored_in_a_batch::EXHIBIT,
];
