//! The gates of a world's blocking threads, for when its own thread waits for one of them.
//!
//! A task that wants a lock which blocking work holds stops its thread, and with it everybody who could call that work in. So
//! before it does, the work is called in here, and time passes for it: the poll blocks its thread for so long, of which rule L3
//! speaks.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use super::clock::now;
use crate::world::{Gate, LOOKS_AT_WORK_MAX, Seen, WorldClock};

thread_local! {
    /// Those of the world that this thread runs.
    static GATES: RefCell<Vec<Weak<Gate>>> = const { RefCell::new(Vec::new()) };
}

/// This thread's world has one gate more.
pub(crate) fn add(gate: &Arc<Gate>) {
    GATES.with_borrow_mut(|gates| {
        gates.retain(|gate| gate.strong_count() > 0);
        gates.push(Arc::downgrade(gate));
    });
}

/// Lets blocking threads work, and time pass until they go on, for as long as this thread's wait is not over and there is something that
/// they can do.
pub(super) fn work_until(world: &WorldClock, is_over: impl Fn() -> bool) {
    // A wait in here, for a gate's own lock, is not looked at.
    let Ok(gates) = GATES.try_with(|gates| gates.try_borrow().map(|gates| gates.clone()).unwrap_or_default()) else {
        return;
    };
    let gates: Vec<_> = gates.iter().filter_map(Weak::upgrade).collect();
    let mut looks = 0;
    while !gates.is_empty() && !is_over() && looks < LOOKS_AT_WORK_MAX {
        let time = now(world);
        let busy = gates.iter().any(|gate| matches!(gate.look(time), Seen::Busy | Seen::Called));
        if busy {
            looks += 1;
            std::thread::yield_now();
            continue;
        }
        let Some(next) = gates.iter().filter_map(|gate| gate.next_at()).min() else { return };
        world.skip_to(next);
    }
}
