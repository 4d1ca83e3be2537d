//! The faults and signals of one world, as plain data with times.
//!
//! A plan can be scripted in a test, generated from a seed, saved to a file, replayed and shrunk. It outlives the code that
//! made it: sites are names, times are whole milliseconds since the world began, and a file of another version is refused.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `plan/kind.rs` | what can go wrong |
//! | `plan/striking.rs` | who carries each kind out |
//! | `plan/name.rs` | the names of the kinds, for what is counted or weighed by kind |
//! | `plan/display.rs` | plans as a person reads them |
//! | `plan/file.rs` | plans as they are kept in files |
//! | `plan/date.rs` | the date of a world whose plan has the clocks of a zone change |
//! | `plan/timing.rs` | when faults strike: as written, or where deadlines are |
//! | `plan/script.rs` | plans written by hand, for a test |

mod date;
mod display;
mod file;
mod kind;
mod name;
mod script;
mod striking;
mod timing;

use std::time::Duration;

pub use date::Change;
pub(crate) use date::Date;
pub(crate) use display::Seconds;
pub use file::PlanError;
pub use kind::{FaultKind, Spread};
pub use name::FaultName;
pub use script::{
    NodeTarget, Script, Site, WorkerTarget, abort_at_poll, clock_back, clock_forward, crash, crash_at_poll, downtime,
    dst_back, dst_forward, node, pause, site, slow_start, stop_at_poll, worker,
};
use serde::{Deserialize, Serialize};
pub(crate) use striking::{Deed, Driven, Step};
pub use timing::Timing;

use crate::Order;

/// The version of the plan format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// The faults and signals of one world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format's version: [`VERSION`].
    pub version: u32,
    /// The scenario that it is for.
    pub scenario: String,
    /// The seed of everything random in the world that is not in the plan: latencies, jitter, task order.
    pub seed: u64,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// In which order tasks go on. A file that does not say has tokio's own.
    #[serde(default, skip_serializing_if = "Order::is_plain")]
    pub order: Order,
    /// When its faults strike. A file that does not say has the times that it says.
    #[serde(default, skip_serializing_if = "Timing::is_as_written")]
    pub timing: Timing,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in milliseconds since the world began.
    pub at_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// How many calls, or cycles, go by unharmed that it could strike, from when it begins on: so that one of several that come at the
    /// same millisecond can be named. Only for kinds that strike calls or cycles; a file that does not say has none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lets_pass: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Fault {
    /// A fault that begins at a time, in milliseconds since the world began.
    #[must_use]
    pub fn new(at_ms: u64, kind: FaultKind) -> Self {
        Self { at_ms, kind, lets_pass: 0 }
    }

    /// Puts another kind in its place, at the same time. One that strikes neither calls nor cycles lets none pass.
    pub(crate) fn becomes(&mut self, kind: FaultKind) {
        if !kind.may_let_pass() {
            self.lets_pass = 0;
        }
        self.kind = kind;
    }
}

impl Plan {
    /// A plan in which nothing goes wrong.
    pub fn quiet(scenario: impl Into<String>, seed: u64) -> Self {
        Self {
            version: VERSION,
            scenario: scenario.into(),
            seed,
            faults: Vec::new(),
            order: Order::Plain,
            timing: Timing::AsWritten,
        }
    }
}

pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
