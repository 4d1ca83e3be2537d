//! A deterministic-time simulator for background workers.
//!
//! A *world* is one simulated run: nodes (processes with a host in them), the dependencies that they call, the durable state that
//! outlives them, a clock and a *plan* of faults and signals. A node runs the real worker code on a real tokio runtime
//! of its own; dropping the runtime is a crash of the process. Every event is checked against the rules of the
//! lifecycle as it happens, and the whole run is a pure function of scenario, plan and seed.
//!
//! ```
//! use std::time::Duration;
//! use shiftwork::{Context, Failure, Schedule, Signal, Tick};
//! use shiftwork_sim::{Script, World, secs, site};
//!
//! fn mailer(world: &mut World) {
//!     let smtp = world.dependency("smtp");
//!     world.node("mailer", move |node| {
//!         let smtp = smtp.clone();
//!         let send = move |_: Tick, _: Context| {
//!             let smtp = smtp.clone();
//!             async move { Ok(smtp.call(async { /* the mail is sent */ }).await?) }
//!         };
//!         node.host().worker("send", Schedule::every(secs(10)), send).run_until_signal()
//!     });
//! }
//!
//! // A hung mail server does not hold up the stop.
//! let outcome = Script::new()
//!     .at(secs(90), site("smtp").hang())
//!     .at(secs(100), Signal::Terminate)
//!     .run_once(mailer);
//! outcome.assert_rules_kept();
//! assert!(outcome.ended_at() <= secs(125));
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`plan`] | faults and signals as data: scripted, saved, generated, shrunk |
//! | [`order`] | in which order tasks go on: strategies, and the tape that replays one |
//! | [`world`] | building and running one world |
//! | [`dependency`] | what user code calls through, and the fault model of such calls |
//! | [`queue`] | a durable queue that belongs to the world, and its fault model |
//! | [`foreign`] | workers that do not use the runtime |
//! | [`ledger`] | state on the far side, which invariants read |
//! | [`record`] | what happened, as one stream: the host's events and the world's own |
//! | [`rules`] | the invariants, each named after the lifecycle rule that it checks |
//! | [`explore`] | plans from seeds, and the shrinking of those that failed |
//! | [`stubborn`] | workers that the plan can make ignore that they are asked to end |
//! | [`scenario`] | a way to build a world, with its own invariants |
//! | [`control`] | what is held to make a world reproducible, and what is not |
//! | [`watchdog`] | worlds that do not go on, seen from outside |
//! | [`panics`] | panics in worlds, passed over |

// Without tokio's hooks nobody tells what some of it is there for.
#![cfg_attr(not(tokio_unstable), expect(dead_code, reason = "it serves what tokio's hooks tell"))]

pub mod control;
pub mod dependency;
pub mod explore;
pub mod foreign;
// What defines symbols of the C library is for the targets on which it was tried.
#[cfg_attr(
    not(all(
        feature = "interpose",
        target_os = "linux",
        target_env = "gnu",
        not(target_feature = "crt-static"),
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    path = "interpose/absent.rs"
)]
mod interpose;
pub mod ledger;
pub mod order;
pub mod panics;
pub mod plan;
pub mod queue;
pub mod record;
pub mod rules;
pub mod scenario;
mod streams;
pub mod stubborn;
pub mod watchdog;
pub mod world;

use std::time::Duration;

pub use dependency::{Dependency, DependencyError};
pub use foreign::Process;
pub use ledger::Ledger;
pub use order::Order;
pub use plan::{Fault, FaultKind, FaultName, Plan, Script, node, site, worker};
pub use queue::SimQueue;
pub use record::{QueueOperation, Record, Timeline, What};
pub use rules::{RuleName, Violation};
pub use scenario::{Scenario, Surface};
pub use world::{Node, Outcome, World};

/// `seconds` as a duration: short enough for a line of a script.
#[must_use]
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `milliseconds` as a duration: short enough for a line of a script.
#[must_use]
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
