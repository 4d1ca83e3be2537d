//! Bugs in what a cycle makes of a failure. One file each.

mod busy_flag_left_set;
mod dead_letter_write_ignored;
mod fallback_error_ignored;
mod one_bad_row_blocks_the_rest;
mod poisoned_by_a_clock_step;
mod swallowed_error;
mod token_read_once;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &busy_flag_left_set::EXHIBIT,
    &dead_letter_write_ignored::EXHIBIT,
    &fallback_error_ignored::EXHIBIT,
    &one_bad_row_blocks_the_rest::EXHIBIT,
    &poisoned_by_a_clock_step::EXHIBIT,
    &swallowed_error::EXHIBIT,
    &token_read_once::EXHIBIT,
];
