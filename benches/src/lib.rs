//! What the benchmarks measure: each piece of work once on shiftwork and once as a person would write it by hand.
//!
//! A benchmark says little by itself, on a machine that is shared with others least of all. A ratio of two that took
//! turns says more, and so every file here has both sides of one comparison, as functions from how many
//! to how long.
//!
//! | file | the work | beside it |
//! | --- | --- | --- |
//! | [`continuous`] | cycles of a continuous worker that do nothing | a loop with the same features; two clock reads |
//! | [`queue`] | jobs pushed to a queue in memory and worked off | a channel and a loop with the same features |
//! | [`schedule`] | ticks of a schedule, on a paused clock | a loop over a tokio interval |
//! | [`worlds`] | simulated worlds with every rule on | the same loops on a bare paused runtime |
//! | [`guard`] | | what the loops by hand have in common: time, panics, a span |
//! | [`clock`] | | the machine's clocks |
//!
//! `benches/ratios/` prints the ratios, quickly; `benches/cycle.rs` and `benches/worlds.rs` measure each side with
//! criterion; `tests/allocations.rs` counts allocations, and `tests/left_behind.rs` what worlds leave behind. `examples/one.rs` runs
//! one side of a row alone, for a profiler.
//!
//! **Real time before paused time.** Once a process has paused a clock anywhere, tokio's `Instant::now` takes a slower
//! path in all of it, for ever. A program that measures both measures what runs on the real clock first, or each in a process of its
//! own, as `benches/ratios/` does.

pub mod clock;
pub mod continuous;
pub mod guard;
pub mod queue;
pub mod schedule;
pub mod worlds;

use tokio::runtime::{Builder, Runtime};

/// A runtime on this thread alone.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without I/O can always be built")
}

/// A runtime with two threads of its own.
///
/// # Panics
///
/// When its threads cannot be started.
#[must_use]
pub fn two_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().expect("two threads can be started")
}

/// A runtime on this thread alone whose clock jumps to the next timer as soon as nothing else is left to do.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime without I/O can always be built")
}
