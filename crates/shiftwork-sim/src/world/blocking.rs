//! Work that a node gives to blocking threads.
//!
//! One thread works at a time, and no task of the node is polled meanwhile: so the order in which pieces of work end, and what they
//! do to the world, does not depend on the machine. The world's time stands still for it. Work that sleeps lets everybody else go on,
//! and is called in again when its time has come: it ends beside the tasks, as on a real runtime. Work that waits for a task of its own
//! node would wait for ever; after a while all blocking threads of its process are left to run beside the tasks, and the
//! world is no longer a function of its seed.

use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

use super::gate::{Gate, Seen};

/// How often it is looked whether threads that wait go on, with a turn for other threads in between: about a second's worth.
const LOOKS_MAX: u32 = 1_000_000;

/// The same for a thread that works: about a minute's.
const LOOKS_AT_WORK_MAX: u32 = 60 * LOOKS_MAX;

/// Lets the blocking threads of a runtime work until they have nothing left to do at `now`. When one of them has slept enough, if one
/// sleeps.
pub(super) fn let_work(metrics: &RuntimeMetrics, gate: &Gate, now: Duration) -> Option<Duration> {
    let (mut waits, mut works) = (0, 0);
    while waits < LOOKS_MAX && works < LOOKS_AT_WORK_MAX {
        match gate.look(now) {
            Seen::Open => return None,
            Seen::Busy => works += 1,
            Seen::Quiet { threads, asleep } => {
                waits += 1;
                let (all, idle) = (metrics.num_blocking_threads(), metrics.num_idle_blocking_threads());
                // Every thread has come to the gate, who does not sleep has no work, and there is none for who has none.
                let rests = threads == all && idle + asleep >= all;
                if rests && (idle == 0 || metrics.blocking_queue_depth() == 0) {
                    return gate.next_at();
                }
            }
        }
        std::thread::yield_now();
    }
    gate.open();
    None
}
