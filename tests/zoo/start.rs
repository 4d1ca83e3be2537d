//! Bugs of start hooks and their order. One file each.

mod marked_before_done;
mod missing_after;
mod ready_without_connection;
mod start_task_forgotten;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &marked_before_done::EXHIBIT,
    &missing_after::EXHIBIT,
    &ready_without_connection::EXHIBIT,
    &start_task_forgotten::EXHIBIT,
];
