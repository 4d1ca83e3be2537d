//! Bugs of futures that are dropped at an await point. One file each.

mod frame_dropped_in_select;
mod lock_file_of_a_living_process;
mod permit_leaked_on_timeout;
mod reply_left_on_the_connection;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &frame_dropped_in_select::EXHIBIT,
    &lock_file_of_a_living_process::EXHIBIT,
    &permit_leaked_on_timeout::EXHIBIT,
    &reply_left_on_the_connection::EXHIBIT,
];
