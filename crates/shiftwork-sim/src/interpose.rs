//! Chance and time of a world's thread, at the C library's level.
//!
//! The standard library, tokio and most crates ask the C library for entropy and for the time. A definition of such a
//! symbol in the program itself goes before the C library's own. The ones here answer for a world on a thread that runs
//! one, and pass through to the C library everywhere else: only a thread that [`hold`]s a world is affected, until its
//! [`Held`] is dropped.
//!
//! | file | symbols | what a world's thread gets |
//! | --- | --- | --- |
//! | `interpose/entropy.rs` | `getrandom`, `getentropy` | bytes from the seed |
//! | `interpose/clock.rs` | `clock_gettime`, `gettimeofday`, `time`, `timespec_get` | the world's time |
//! | `interpose/syscall.rs` | `syscall` | both, for code that makes the system calls through it |
//! | `interpose/sleep.rs` | `nanosleep`, `clock_nanosleep` | no sleep: the world's time jumps instead |
//! | `interpose/parking.rs` | | when a runtime would sleep, and until when: told by its own call |
//! | `interpose/gates.rs` | | what its blocking threads do while it waits for them |
//! | `interpose/real.rs` | | the C library's own functions |
//! | `interpose/absent.rs` | | stands in for all of this where it cannot be |
//!
//! What is not held: code that makes a system call with its own instruction, what else is asked through `syscall`, `/dev/urandom`, the
//! processor's random and time-stamp instructions, and threads that the program starts itself.

mod clock;
mod entropy;
pub(crate) mod gates;
pub(crate) mod parking;
mod real;
mod sleep;
mod syscall;

use std::{marker::PhantomData, ptr, sync::Arc};

use crate::world::{Gate, Reading, WorldClock};

/// Whether chance and time can be held at this level in this build.
pub(crate) const IN_FORCE: bool = true;

/// This thread's chance and time are a world's until this is dropped, on the same thread.
pub(crate) struct Held {
    _clock: Arc<WorldClock>,
    _gate: Option<Arc<Gate>>,
    _same_thread: PhantomData<*const ()>,
}

/// Begins to answer this thread's questions from `seed` and `clock`.
pub(crate) fn hold(seed: u64, clock: Arc<WorldClock>) -> Held {
    entropy::hold(seed);
    clock::hold(Arc::as_ptr(&clock), ptr::null());
    Held { _clock: clock, _gate: None, _same_thread: PhantomData }
}

/// The same for a thread that does blocking work, which it does as its gate lets it.
pub(crate) fn hold_blocking(seed: u64, clock: Arc<WorldClock>, gate: Arc<Gate>) -> Held {
    entropy::hold(seed);
    clock::hold(Arc::as_ptr(&clock), Arc::as_ptr(&gate));
    Held { _clock: clock, _gate: Some(gate), _same_thread: PhantomData }
}

/// Does something of the world's own with this thread's questions unanswered, and the error number as it was.
pub(crate) fn unheld<T>(work: impl FnOnce() -> T) -> T {
    clock::unheld(|| {
        let errno = real::errno();
        let result = work();
        real::set_errno(errno);
        result
    })
}

/// Does something of which nobody else's time passes, and which draws from `seed`: if it sleeps, this thread's clocks go on for as long as it
/// takes, and are then what they were, as its entropy is.
pub(crate) fn aside<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    entropy::aside(seed, || clock::aside(work))
}

/// What the machine's own clocks show on this thread, whoever holds it.
pub(crate) fn real_time() -> Reading {
    Reading { real: real::reading(clock::MONOTONIC), cpu: Some(real::reading(real::THREAD_CPUTIME)) }
}

impl Drop for Held {
    fn drop(&mut self) {
        clock::let_go();
        entropy::let_go();
    }
}

#[cfg(test)]
mod tests;
