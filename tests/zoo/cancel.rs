//! Bugs of futures that are dropped at an await point. One file each.

mod frame_dropped_in_select;
mod permit_leaked_on_timeout;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[&frame_dropped_in_select::EXHIBIT, &permit_leaked_on_timeout::EXHIBIT];
