//! The scenarios of this workspace: small, whole applications whose worker code is what a service would ship, run in
//! worlds of faults.
//!
//! | scenario | what it is |
//! | --- | --- |
//! | [`email`] | a scheduled worker that sends what waits in an outbox |
//! | [`orders`] | a queue worker that charges each order of a file exactly once |
//! | [`canary`] | a planted bug, which proves that the alarm works |
//! | [`incident`] | what the tests run both as a real process and in a world |
//!
//! The inputs are files in `data/`: a thousand orders, some of them malformed, huge or duplicate, and an outbox's mails.

pub mod canary;
pub mod email;
pub mod incident;
pub mod orders;

use shiftwork_sim::Scenario;

/// Every scenario, as the chaos tool lists them. Those whose name begins with `canary` run only when they are named.
#[must_use]
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![Box::new(email::Email), Box::new(orders::Orders), Box::new(canary::Canary)]
}

/// The snippets of the pages, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct TestingGuide;

/// The snippets of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;

/// The snippets of the page on configuration.
#[cfg(doctest)]
#[doc = include_str!("../../docs/configuration.md")]
struct Configuration;

/// The snippets of the page on campaigns.
#[cfg(doctest)]
#[doc = include_str!("../../docs/chaos.md")]
struct ChaosGuide;

/// The snippets of the readme.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
