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
//! | `interpose/clock.rs` | `clock_gettime` | the world's time |
//! | `interpose/syscall.rs` | `syscall` | both, for code that makes the system calls through it |
//! | `interpose/sleep.rs` | `nanosleep`, `clock_nanosleep` | no sleep: the world's time jumps instead |
//! | `interpose/parking.rs` | | when a runtime would sleep, and until when: told by its own call |
//! | `interpose/real.rs` | | the C library's own functions |
//! | `interpose/absent.rs` | | stands in for all of this where it cannot be |
//!
//! What is not held: code that makes a system call with its own instruction, `/dev/urandom`, the processor's random and
//! time-stamp instructions, and threads that the program starts itself.

mod clock;
mod entropy;
pub(crate) mod parking;
mod real;
mod sleep;
mod syscall;

use std::{marker::PhantomData, sync::Arc};

use crate::world::WorldClock;

/// Whether chance and time can be held at this level in this build.
pub(crate) const IN_FORCE: bool = true;

/// This thread's chance and time are a world's until this is dropped, on the same thread.
pub(crate) struct Held {
    _clock: Arc<WorldClock>,
    _same_thread: PhantomData<*const ()>,
}

/// Whose thread it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    /// The one that the world runs on. When it sleeps, time jumps.
    World,
    /// One that does blocking work for it. When it sleeps, it is ahead of the world.
    Blocking,
}

/// Begins to answer this thread's questions from `seed` and `clock`.
pub(crate) fn hold(seed: u64, clock: Arc<WorldClock>, thread: Thread) -> Held {
    entropy::hold(seed);
    clock::hold(Arc::as_ptr(&clock), thread);
    Held { _clock: clock, _same_thread: PhantomData }
}

impl Drop for Held {
    fn drop(&mut self) {
        clock::let_go();
        entropy::let_go();
    }
}

#[cfg(test)]
mod tests;
