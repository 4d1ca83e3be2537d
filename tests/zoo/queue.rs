//! Bugs of queue clients: leases, claims, settlements. `client.rs` is the honest client that each of them spoils. One file each.

mod ack_in_a_spawned_task;
mod auto_ack;
mod claim_given_up_too_soon;
mod client;
mod failed_renewal_taken_for_lost;
mod older_overwrites_newer;
mod prefetched_and_kept;

use crate::exhibit::Exhibit;

/// Every exhibit of this folder.
pub const EXHIBITS: &[&Exhibit] = &[
    &ack_in_a_spawned_task::EXHIBIT,
    &auto_ack::EXHIBIT,
    &claim_given_up_too_soon::EXHIBIT,
    &failed_renewal_taken_for_lost::EXHIBIT,
    &older_overwrites_newer::EXHIBIT,
    &prefetched_and_kept::EXHIBIT,
];
