//! The lifecycle, as decisions: pure functions from a state and an event to what is to be done.
//!
//! Nothing here waits, spawns or reads a clock. The async shell (`host/shell.rs`, `lane.rs`) waits for the next event,
//! asks, and acts. `docs/lifecycle.md` is the specification, and [`Rule`] its numbering.
//!
//! | module | what it decides |
//! | --- | --- |
//! | `decide` | the host and its workers: start order, the gate, the stop sequence, budgets |
//! | `settle` | one cycle: what follows from how it ended |
//! | `batch` | many inputs in one cycle: what its end means for each of them |
//! | `body` | a service: what its return means |
//! | `breaker` | a dependency that is down: pause, probe, resume |
//! | `budget` | how long each part of a stop may take |
//! | `fault` | what a worker's fault leads to: restarts, and when they are too many |
//! | `group` | workers that are restarted together |
//! | `overdue` | a process that was told to end and does not |
//! | `rate_limit` | how often a worker's cycles may begin |
//! | `retry_budget` | how many retries a worker may make |
//! | `tenure` | how long a lease is renewed for its cycle |
//! | `rule` | the numbered rules, by which invariants and tests are named |

pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod breaker;
mod budget;
pub(crate) mod decide;
mod fault;
mod group;
pub(crate) mod hold;
pub(crate) mod overdue;
pub(crate) mod rate_limit;
pub(crate) mod retry_budget;
mod rule;
pub(crate) mod settle;
pub(crate) mod tenure;

pub use batch::{Batches, BatchesConfig};
pub use breaker::{Breaker, BreakerConfig};
pub use budget::{StopBudget, StopConfig};
pub use fault::{GiveUp, OnFault, Restart, RestartConfig};
pub use group::{Group, GroupConfig, RestartStrategy};
pub use overdue::{ProcessWord, Watchdog, WatchdogConfig};
pub use rate_limit::{RateLimit, RateLimitConfig};
pub use retry_budget::{RetryBudget, RetryBudgetConfig};
pub use rule::Rule;
