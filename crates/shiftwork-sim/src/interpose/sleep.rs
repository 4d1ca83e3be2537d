//! Sleeps of a thread that runs a world: the world's time jumps instead.
//!
//! A program that blocks its thread keeps everything else on it waiting, and finds its timers overdue afterwards. The same
//! happens here, without the wait.

use std::{ffi::c_int, time::Duration};

use super::{
    clock::{held, now, reading, sleep_until},
    real::{self, TimeSpec},
};

/// The flag by which a sleep has an end instead of a length.
const TIMER_ABSTIME: c_int = 1;

/// The C library's `nanosleep`, for the whole program.
///
/// # Safety
///
/// `time` is valid for a read, and `left` null or valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn nanosleep(time: *const TimeSpec, left: *mut TimeSpec) -> c_int {
    if let Some(world) = held()
        && !time.is_null()
    {
        // SAFETY: the caller promises that `time` is valid for a read.
        let time = unsafe { time.read() };
        sleep_until(world, now(world).saturating_add(Duration::from_nanos(time.as_nanoseconds())), None);
        return 0;
    }
    // SAFETY: as the caller promises.
    unsafe { real::nanosleep(time, left) }
}

/// The C library's `clock_nanosleep`, for the whole program.
///
/// # Safety
///
/// `time` is valid for a read, and `left` null or valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    time: *const TimeSpec,
    left: *mut TimeSpec,
) -> c_int {
    if let Some(world) = held()
        && let Some(reading) = reading(world, clock)
        && !time.is_null()
    {
        // SAFETY: the caller promises that `time` is valid for a read.
        let time = i64::try_from(unsafe { time.read() }.as_nanoseconds()).unwrap_or(i64::MAX);
        let long = if flags & TIMER_ABSTIME == 0 { time } else { time.saturating_sub(reading) };
        let long = Duration::from_nanos(u64::try_from(long.max(0)).unwrap_or(u64::MAX));
        sleep_until(world, now(world).saturating_add(long), None);
        return 0;
    }
    // SAFETY: as the caller promises.
    unsafe { real::clock_nanosleep(clock, flags, time, left) }
}
