//! The world's time, for code that asks the C library for the time.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    ptr,
    time::Duration,
};

use super::real::{self, TimeSpec, TimeVal};
use crate::world::{Gate, IsOver, WALL_EPOCH, WorldClock, saturating_ns};

/// What a monotonic clock shows when a world begins: as on a machine that was started some days ago, so that code may look back.
pub(super) const MONOTONIC_BASE: Duration = Duration::from_secs(1_000_000);

thread_local! {
    // Without a destructor and const: readable at any time in a thread's life.
    static CLOCK: Cell<*const WorldClock> = const { Cell::new(ptr::null()) };
    // That of a thread that does blocking work.
    static GATE: Cell<*const Gate> = const { Cell::new(ptr::null()) };
    // How far the sleeps of a thread have come that its world has not waited for, in nanoseconds.
    static AHEAD: Cell<u64> = const { Cell::new(0) };
    // What the monotonic clock last showed, and at how many nanoseconds of the world: it is read many times at one instant.
    static LAST: Cell<(u64, TimeSpec)> = const { Cell::new((0, TimeSpec::of_nanoseconds(MONOTONIC_BASE_NS))) };
    // What it shows once, whatever time it is.
    static ONCE: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// How many nanoseconds no world has.
const NEVER: u64 = u64::MAX;

pub(super) fn hold(clock: *const WorldClock, gate: *const Gate) {
    CLOCK.set(clock);
    GATE.set(gate);
    AHEAD.set(0);
}

pub(super) fn let_go() {
    CLOCK.set(ptr::null());
    GATE.set(ptr::null());
}

/// Gives this thread back the clock that it had, when it is dropped.
struct Back(*const WorldClock);

impl Drop for Back {
    fn drop(&mut self) {
        CLOCK.set(self.0);
    }
}

/// Does something as if this thread held no clock.
pub(super) fn unheld<T>(work: impl FnOnce() -> T) -> T {
    let _back = Back(CLOCK.replace(ptr::null()));
    work()
}

/// Does something with a clock that shows what this thread's does, and goes on by itself: what is slept moves nobody
/// else's time.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    let Some(world) = held() else { return work() };
    let aside = WorldClock::default();
    aside.skip_to(world.now());
    aside.set_wall_offset_ms(world.wall_offset_ns() / 1_000_000);
    // Put back before the clock is gone.
    let _back = Back(CLOCK.replace(ptr::from_ref(&aside)));
    work()
}

/// The clock of the world that this thread runs, if it runs one.
#[expect(unsafe_code, reason = "a thread-local without a destructor cannot hold the clock itself")]
pub(super) fn held<'a>() -> Option<&'a WorldClock> {
    // SAFETY: `Held` keeps the clock alive, does not leave its thread, and sets the pointer to null before it lets go of
    // the clock. `aside` sets the pointer to a clock of its own for as long as that lives. No caller keeps the reference
    // longer than one call of a C function, in which `Held` cannot be dropped, or than it takes to copy the clock.
    unsafe { CLOCK.get().as_ref() }
}

/// Where this thread does blocking work for a world, if it does.
#[expect(unsafe_code, reason = "a thread-local without a destructor cannot hold the gate itself")]
pub(super) fn gate<'a>() -> Option<&'a Gate> {
    // SAFETY: as for the clock.
    unsafe { GATE.get().as_ref() }
}

/// When the monotonic clock is read next on this thread, it shows that it is `time`; after that, what it is.
pub(super) fn show_once(time: Duration) {
    ONCE.set(Some(time));
    LAST.set((NEVER, TimeSpec::of_nanoseconds(MONOTONIC_BASE_NS)));
}

/// What has passed since the world began, on this thread, in nanoseconds.
fn now_ns(world: &WorldClock) -> u64 {
    world.now_ns().max(AHEAD.get())
}

/// What has passed since the world began, on this thread.
pub(super) fn now(world: &WorldClock) -> Duration {
    Duration::from_nanos(now_ns(world))
}

/// This thread sleeps until `time`, or `is_over`, if something else can end it.
pub(super) fn sleep_until(world: &WorldClock, time: Duration, is_over: Option<IsOver>) {
    match gate() {
        None => world.skip_to(time),
        Some(gate) => {
            gate.wait_until(Some(time), is_over.clone());
            let woken_early = is_over.is_some_and(|is_over| is_over());
            if !woken_early {
                // Its world may not have waited for it: because it has been left to itself, or because its process is over.
                AHEAD.set(AHEAD.get().max(saturating_ns(time)));
            }
        }
    }
}

// The numbers of Linux's clocks that tell the time; the others tell how much processor time was used, and stay real.
pub(super) const REALTIME: c_int = 0;
pub(super) const MONOTONIC: c_int = 1;
const MONOTONIC_RAW: c_int = 4;
const REALTIME_COARSE: c_int = 5;
const MONOTONIC_COARSE: c_int = 6;
const BOOTTIME: c_int = 7;

const MONOTONIC_BASE_NS: i64 = whole_ns(MONOTONIC_BASE);
const WALL_EPOCH_NS: i64 = whole_ns(WALL_EPOCH);

const fn whole_ns(duration: Duration) -> i64 {
    duration.as_secs().cast_signed() * 1_000_000_000
}

/// What a clock shows in the world, in nanoseconds; `None` for a clock that is not the world's.
pub(super) fn reading(world: &WorldClock, clock: c_int) -> Option<i64> {
    match clock {
        MONOTONIC | MONOTONIC_RAW | MONOTONIC_COARSE | BOOTTIME => Some(at(MONOTONIC_BASE_NS, now_ns(world))),
        REALTIME | REALTIME_COARSE => Some(at(WALL_EPOCH_NS, now_ns(world)).saturating_add(world.wall_offset_ns())),
        _ => None,
    }
}

/// Three centuries; a world that lasts longer stops there.
fn at(base_ns: i64, passed_ns: u64) -> i64 {
    base_ns.saturating_add_unsigned(passed_ns)
}

/// What the monotonic clock shows.
fn monotonic(world: &WorldClock) -> TimeSpec {
    let now_ns = now_ns(world);
    let (last_ns, shown) = LAST.get();
    if now_ns == last_ns {
        return shown;
    }
    if let Some(once) = ONCE.take() {
        return TimeSpec::of_nanoseconds(at(MONOTONIC_BASE_NS, saturating_ns(once)));
    }
    let shown = TimeSpec::of_nanoseconds(at(MONOTONIC_BASE_NS, now_ns));
    LAST.set((now_ns, shown));
    shown
}

/// The C library's `clock_gettime`, for the whole program.
///
/// # Safety
///
/// `time` is valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int {
    if let Some(world) = held()
        && !time.is_null()
    {
        let shown = match clock {
            MONOTONIC => Some(monotonic(world)),
            _ => reading(world, clock).map(TimeSpec::of_nanoseconds),
        };
        if let Some(shown) = shown {
            // SAFETY: the caller promises that `time` is valid for a write.
            unsafe { time.write(shown) };
            return 0;
        }
    }
    // SAFETY: as the caller promises.
    unsafe { real::clock_gettime(clock, time) }
}

/// What the wall clock shows, if this thread runs a world.
fn wall() -> Option<TimeSpec> {
    held().and_then(|world| reading(world, REALTIME)).map(TimeSpec::of_nanoseconds)
}

/// The C library's `gettimeofday`, for the whole program.
///
/// # Safety
///
/// `time` and `zone` are each null or valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn gettimeofday(time: *mut TimeVal, zone: *mut c_void) -> c_int {
    let (mut real_time, mut unseen) = (time, TimeVal { seconds: 0, microseconds: 0 });
    if let Some(wall) = wall()
        && !time.is_null()
    {
        // SAFETY: the caller promises that `time` is valid for a write, and it is not null.
        unsafe { time.write(TimeVal::of(wall)) };
        if zone.is_null() {
            return 0;
        }
        // The zone, which nobody sets any more, is the system's.
        real_time = &raw mut unseen;
    }
    // SAFETY: as the caller promises, or with a time of our own, which is valid for a write.
    unsafe { real::gettimeofday(real_time, zone) }
}

/// The C library's `time`, for the whole program.
///
/// # Safety
///
/// `seconds` is null or valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn time(seconds: *mut i64) -> i64 {
    if let Some(wall) = wall() {
        if !seconds.is_null() {
            // SAFETY: the caller promises that `seconds` is valid for a write, and it is not null.
            unsafe { seconds.write(wall.seconds) };
        }
        return wall.seconds;
    }
    // SAFETY: as the caller promises.
    unsafe { real::time(seconds) }
}

/// The wall clock, to `timespec_get`. Bases beside it are not in every C library that this is for, and stay real.
const TIME_UTC: c_int = 1;

/// The C library's `timespec_get`, for the whole program.
///
/// # Safety
///
/// `time` is valid for a write, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn timespec_get(time: *mut TimeSpec, base: c_int) -> c_int {
    if let Some(wall) = wall()
        && base == TIME_UTC
        && !time.is_null()
    {
        // SAFETY: the caller promises that `time` is valid for a write.
        unsafe { time.write(wall) };
        return base;
    }
    // SAFETY: as the caller promises.
    unsafe { real::timespec_get(time, base) }
}
