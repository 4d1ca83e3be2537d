//! System calls through the C library's `syscall`: entropy as some crates ask for it, and timed waits.
//!
//! A wait that has a timeout is a `futex` call. When it is a runtime that parks, the call says when the runtime's next timer
//! is due, and the answer is [`parking`]'s. Any other timed wait of a world's thread is code that blocks it, and is answered like
//! a sleep. A wait without a timeout is for another thread, and real.

use std::{
    ffi::{c_int, c_long, c_void},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    clock::{MONOTONIC_BASE, REALTIME, gate, held, now, reading, show_once},
    entropy, gates, parking,
    real::{self, TimeSpec},
};
use crate::world::{IsOver, WorldClock};

#[cfg(target_arch = "x86_64")]
mod number {
    use std::ffi::c_long;

    pub(super) const FUTEX: c_long = 202;
    pub(super) const GETRANDOM: c_long = 318;
}

#[cfg(target_arch = "aarch64")]
mod number {
    use std::ffi::c_long;

    pub(super) const FUTEX: c_long = 98;
    pub(super) const GETRANDOM: c_long = 278;
}

/// Which of the operations of `futex`, without the flags that may be added.
const OPERATION: usize = 0x7f;
/// Waits for so long.
const FUTEX_WAIT: usize = 0;
/// Waits until then, by the monotonic clock unless the flag for the wall clock is set.
const FUTEX_WAIT_BITSET: usize = 9;
const FUTEX_CLOCK_REALTIME: usize = 256;

const EAGAIN: c_int = 11;
const ETIMEDOUT: c_int = 110;

/// The C library's `syscall`, for the whole program.
///
/// The real one takes any number of arguments, up to six. On the targets that this is for, a function of six finds them where a
/// caller of the other puts them; what was not given is not looked at.
///
/// # Safety
///
/// What the system call demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if let Some(world) = held() {
        if number == number::FUTEX {
            // SAFETY: the arguments are those of a `futex` call.
            if let Some(code) = unsafe { timed_wait(world, a, b, c, d) } {
                real::set_errno(code);
                return -1;
            }
            if matches!(b & OPERATION, FUTEX_WAIT | FUTEX_WAIT_BITSET) {
                // SAFETY: the word is the caller's, and valid for as long as the call takes.
                let is_over = unsafe { word_changes(a, c) };
                match gate() {
                    // As if it had been woken. Whoever waits like this looks whether there is a reason.
                    Some(gate) if gate.wait_until(None, Some(Arc::new(is_over))) => return 0,
                    Some(_) => {}
                    // Who is to end it may be a blocking thread that sleeps until this one lets time pass.
                    None => gates::work_until(world, is_over),
                }
            }
        } else if number == number::GETRANDOM {
            // SAFETY: the caller promises that the buffer `a` is valid for writes of `b` bytes.
            if unsafe { entropy::fill(std::ptr::with_exposed_provenance_mut::<c_void>(a), b) } {
                return c_long::try_from(b).unwrap_or(c_long::MAX);
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { real::syscall(number, a, b, c, d, e, f) }
}

/// Whether a futex's word is another one than its waiter expects.
///
/// # Safety
///
/// The word is valid for as long as this is asked.
#[expect(unsafe_code, reason = "the arguments of a system call are addresses")]
unsafe fn word_changes(word: usize, expected: usize) -> impl Fn() -> bool + Copy + Send + Sync + use<> {
    let word = std::ptr::with_exposed_provenance_mut::<u32>(word);
    // SAFETY: the caller promises that it is valid; it is shared with other threads, and so read atomically.
    let word = unsafe { AtomicU32::from_ptr(word) };
    move || usize::try_from(word.load(Ordering::SeqCst)).ok() != Some(expected & 0xffff_ffff)
}

/// The answer to a timed wait, as an error number; `None` if the call is something else.
///
/// # Safety
///
/// The arguments are the first four of a `futex` call.
#[expect(unsafe_code, reason = "the arguments of a system call are addresses")]
unsafe fn timed_wait(
    world: &WorldClock,
    word: usize,
    operation: usize,
    expected: usize,
    timeout: usize,
) -> Option<c_int> {
    let timeout = std::ptr::with_exposed_provenance::<TimeSpec>(timeout);
    if timeout.is_null() {
        return None;
    }
    let until = match operation & OPERATION {
        // SAFETY: the caller promises that a timeout that is not null is valid for a read.
        FUTEX_WAIT => now(world).saturating_add(Duration::from_nanos(unsafe { timeout.read() }.as_nanoseconds())),
        FUTEX_WAIT_BITSET if operation & FUTEX_CLOCK_REALTIME != 0 => {
            // SAFETY: as above.
            let until = i64::try_from(unsafe { timeout.read() }.as_nanoseconds()).unwrap_or(i64::MAX);
            let wait = until.saturating_sub(reading(world, REALTIME).unwrap_or_default());
            now(world).saturating_add(Duration::from_nanos(u64::try_from(wait).unwrap_or_default()))
        }
        FUTEX_WAIT_BITSET => {
            // SAFETY: as above.
            let until = unsafe { timeout.read() }.as_nanoseconds();
            Duration::from_nanos(until).saturating_sub(MONOTONIC_BASE)
        }
        _ => return None,
    };
    // SAFETY: as the caller promises.
    let has_changed = unsafe { word_changes(word, expected) };
    if has_changed() {
        return Some(EAGAIN);
    }
    // At a gate it is asked from another thread, for no longer than this one waits here.
    let is_over = gate().map(|_| -> IsOver { Arc::new(has_changed) });
    if !parking::wait_until(world, until, is_over) && operation & OPERATION == FUTEX_WAIT {
        // Who waits for so long, instead of until then, looks at the clock to see whether it was long enough, and waits again if
        // not: so do the locks of parking_lot, with which tokio parks if it is built with that feature.
        show_once(until);
    }
    Some(if has_changed() { EAGAIN } else { ETIMEDOUT })
}
