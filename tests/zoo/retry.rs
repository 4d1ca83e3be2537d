//! Bugs in how it is tried again. One file each.

mod backoff_never_reset;
mod breaker_never_half_opens;
mod counter_shared_between_jobs;
mod half_done_step_repeated;
mod key_from_attempt;
mod retries_multiply;
mod retry_without_delay;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &backoff_never_reset::EXHIBIT,
    &breaker_never_half_opens::EXHIBIT,
    &counter_shared_between_jobs::EXHIBIT,
    &half_done_step_repeated::EXHIBIT,
    &key_from_attempt::EXHIBIT,
    &retries_multiply::EXHIBIT,
    &retry_without_delay::EXHIBIT,
];
