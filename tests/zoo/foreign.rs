//! Bugs of workers that do not use the runtime: loops written by hand around a channel, a queue or a bell. One file each.
//!
//! They take their signals from their process, and end within its budget. Their clients never panic: a panic would end the process,
//! which is another bug.

mod acknowledged_before_the_work;
mod message_lost_in_select;
mod one_wake_up_for_two;
mod stop_told_to_whoever_waits;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &acknowledged_before_the_work::EXHIBIT,
    &message_lost_in_select::EXHIBIT,
    &one_wake_up_for_two::EXHIBIT,
    &stop_told_to_whoever_waits::EXHIBIT,
];
