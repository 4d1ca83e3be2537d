//! Work that a node gives to blocking threads.
//!
//! One thread works at a time, and no task of the node is polled meanwhile: so the order in which pieces of work end, and what they
//! do to the world, does not depend on the machine. The world's time stands still for it. Work that sleeps lets everybody else go on,
//! and is called in again when its time has come, and work that waits for a task or for other work when that is over: it ends beside
//! the tasks, as on a real runtime. Work that does not come back, because it waits in a way that cannot be seen, is left alone after a
//! while: from there on all blocking threads of its process run as the machine pleases, and the world is no longer a function of its
//! seed.

use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

use super::gate::{Gate, LOOKS_AT_WORK_MAX, Seen};

/// How often it is looked whether a thread that was just begun is there, with a turn for other threads in between: about a second's worth.
const LOOKS_MAX: u32 = 1_000_000;

/// How often what is left of a process's blocking work is called in at its end, before it is left where it waits.
const CALLS_AT_END_MAX: u32 = 10_000;

/// Lets the blocking threads of a runtime work until they have nothing left to do at `now`. When one of them has slept enough, if one
/// sleeps.
pub(super) fn let_work(metrics: &RuntimeMetrics, gate: &Gate, now: Duration) -> Option<Duration> {
    let (mut waits, mut works) = (0, 0);
    while waits < LOOKS_MAX && works < LOOKS_AT_WORK_MAX {
        match gate.look(now) {
            Seen::Open => return None,
            Seen::Busy | Seen::Called => works += 1,
            Seen::Quiet { threads } => {
                waits += 1;
                // Every thread has come to the gate. Who has no work ends, and so all of them wait.
                if threads == metrics.num_blocking_threads() {
                    return gate.next_at();
                }
            }
        }
        std::thread::yield_now();
    }
    gate.open();
    None
}

/// The process is over and its tasks are gone: what is left of its blocking work comes to its end, one piece at a time, and nothing of it
/// sleeps any more. What does not end stays where it waits, for ever.
pub(super) fn come_to_end(gate: &Gate) {
    let (mut calls, mut looks, mut quiet) = (0, 0, 0);
    while calls < CALLS_AT_END_MAX && looks < LOOKS_AT_WORK_MAX && quiet < CALLS_AT_END_MAX {
        match gate.look(Duration::MAX) {
            Seen::Open | Seen::Quiet { threads: 0 } => return,
            Seen::Quiet { .. } => quiet += 1,
            Seen::Busy => looks += 1,
            Seen::Called => calls += 1,
        }
        std::thread::yield_now();
    }
}
