//! Work that a node gives to blocking threads, one piece after the other.
//!
//! A runtime has one blocking thread, and no task of the node is polled while that works: so the order in which pieces of work
//! end, and what they do to the world meanwhile, does not depend on the machine. The world's time stands still for it; what
//! the work itself sleeps passes at once when it is done, for all nodes and whatever waits meanwhile: timers are late by as much,
//! and no rule asks them not to be. Work that waits for a task of its own node would wait for ever; after a while it is left
//! to run beside the tasks, as on a real runtime, and the world is no longer a function of its seed.

use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

use super::clock::WorldClock;

/// How often it is looked whether blocking work is done, with a turn for other threads in between: about a second's worth.
const LOOKS_MAX: u32 = 1_000_000;

/// Lets the blocking threads of a runtime work until they have nothing to do, and then time pass that they have slept: from when to
/// when.
pub(super) fn let_work(metrics: &RuntimeMetrics, clock: &WorldClock) -> Option<(Duration, Duration)> {
    clock.gate.open();
    for _ in 0..LOOKS_MAX {
        let idle = metrics.num_idle_blocking_threads() >= metrics.num_blocking_threads();
        if idle && metrics.blocking_queue_depth() == 0 && clock.gate.all_wait() {
            clock.gate.close();
            return clock.pay();
        }
        std::thread::yield_now();
    }
    None
}
