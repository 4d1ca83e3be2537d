//! That chance and time are held on a world's thread, and on no other.

use std::{
    ffi::{c_int, c_long, c_void},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::{
    real::{TimeSpec, TimeVal},
    *,
};
use crate::world::WALL_EPOCH;

/// The C library's functions, as code in C has them linked.
#[expect(unsafe_code, reason = "functions of the C library are called as any program calls them")]
mod c {
    use super::{TimeSpec, TimeVal, c_int, c_long, c_void};

    unsafe extern "C" {
        pub(super) fn getentropy(buffer: *mut c_void, length: usize) -> c_int;
        pub(super) fn gettimeofday(time: *mut TimeVal, zone: *mut c_void) -> c_int;
        pub(super) fn time(seconds: *mut i64) -> i64;
        pub(super) fn timespec_get(time: *mut TimeSpec, base: c_int) -> c_int;
        pub(super) fn nanosleep(time: *const TimeSpec, left: *mut TimeSpec) -> c_int;
        pub(super) fn clock_nanosleep(clock: c_int, flags: c_int, time: *const TimeSpec, left: *mut TimeSpec) -> c_int;
        pub(super) fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
    }
}

fn on_a_fresh_thread<T: Send>(seed: Option<u64>, look: impl FnOnce(&WorldClock) -> T + Send) -> T {
    let look = move || {
        let clock = Arc::new(WorldClock::default());
        let _held = seed.map(|seed| hold(seed, clock.clone()));
        look(&clock)
    };
    std::thread::scope(|scope| scope.spawn(look).join().unwrap())
}

#[test]
fn hash_map_keys_follow_the_seed() {
    let keys = |seed| on_a_fresh_thread(seed, |_| RandomState::new().hash_one(17));
    assert_eq!(keys(Some(1)), keys(Some(1)));
    assert_ne!(keys(Some(1)), keys(Some(2)));
    assert_ne!(keys(None), keys(None), "a thread without a world has the system's entropy");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these are the clocks that are held")]
fn both_clocks_of_the_standard_library_are_the_worlds() {
    on_a_fresh_thread(Some(1), |clock| {
        let (instant, wall) = (std::time::Instant::now(), std::time::SystemTime::now());
        assert_eq!(instant, std::time::Instant::now());
        clock.skip_to(Duration::from_millis(1_234));
        clock.set_wall_offset_ms(60_000);
        assert_eq!(instant.elapsed(), Duration::from_millis(1_234));
        assert_eq!(wall.elapsed().unwrap(), Duration::from_millis(61_234));
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these are the clocks and the sleep that are held")]
fn a_blocking_sleep_takes_the_worlds_time_and_no_other() {
    let began = std::time::Instant::now();
    on_a_fresh_thread(Some(1), |clock| {
        std::thread::sleep(Duration::from_secs(3_600));
        assert_eq!(clock.now(), Duration::from_secs(3_600));
    });
    assert!(began.elapsed() < Duration::from_secs(600));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these are the clocks and the sleep that are held")]
fn what_is_slept_aside_is_nobody_elses_time() {
    on_a_fresh_thread(Some(1), |clock| {
        clock.skip_to(Duration::from_secs(7));
        clock.set_wall_offset_ms(60_000);
        let (began, wall) = (std::time::Instant::now(), std::time::SystemTime::now());
        aside(2, || {
            std::thread::sleep(Duration::from_secs(5));
            assert_eq!((began.elapsed(), wall.elapsed().unwrap()), (Duration::from_secs(5), Duration::from_secs(5)));
        });
        assert_eq!((began.elapsed(), wall.elapsed().unwrap()), (Duration::ZERO, Duration::ZERO));
        assert_eq!(clock.now(), Duration::from_secs(7));
    });
    // A thread without a world has nothing that could stand still.
    assert_eq!(on_a_fresh_thread(None, |_| aside(2, || 17)), 17);
}

#[test]
fn what_is_drawn_aside_is_nobody_elses_chance() {
    let draw = || {
        let mut bytes = [0_u8; 8];
        #[expect(unsafe_code, reason = "a function of the C library is called as any program calls it")]
        // SAFETY: the buffer is valid for writes of its length.
        let answer = unsafe { c::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
        assert_eq!(answer, 0);
        u64::from_le_bytes(bytes)
    };
    let (without, with, of_another) = on_a_fresh_thread(Some(1), |_| {
        let first = draw();
        let own = [aside(2, || [draw(), draw()]), aside(2, || [draw(), draw()])];
        assert_eq!(own[0], own[1], "it follows from its seed");
        (first, draw(), own[0][0])
    });
    assert_eq!(on_a_fresh_thread(Some(1), |_| (draw(), draw())), (without, with));
    assert_eq!(on_a_fresh_thread(Some(2), |_| draw()), of_another);
    // Without a world, it is the system's.
    assert_ne!(on_a_fresh_thread(None, |_| aside(2, draw)), of_another);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that this one is not held is what is tested")]
fn a_thread_without_a_world_has_the_machines_clocks() {
    on_a_fresh_thread(None, |_| {
        let begin = std::time::Instant::now();
        while begin.elapsed().is_zero() {}
        assert!(std::time::SystemTime::now().elapsed().is_ok());
    });
}

#[test]
fn a_wait_for_another_thread_is_a_real_one() {
    on_a_fresh_thread(Some(1), |clock| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || sender.send(17).unwrap());
        assert_eq!(receiver.recv(), Ok(17));
        other.join().unwrap();
        assert_eq!(clock.now(), Duration::ZERO);
    });
}

#[test]
fn a_lock_that_waits_for_so_long_and_looks_at_the_clock_is_left_where_it_parks() {
    // tokio parks with the locks of parking_lot, if it is built with that feature.
    let waits = |time| {
        let (lock, condvar) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
        assert!(condvar.wait_for(&mut lock.lock(), time).timed_out());
    };
    on_a_fresh_thread(Some(1), move |clock| {
        parking::set_limit(Duration::from_secs(60));
        parking::begins();
        waits(Duration::from_secs(10));
        assert_eq!((clock.now(), parking::ends()), (Duration::from_secs(10), false), "it lies before the limit");
        parking::begins();
        waits(Duration::from_secs(90));
        assert_eq!((clock.now(), parking::ends()), (Duration::from_secs(10), true), "something else comes first");
        assert_eq!(parking::due(), Some(Duration::from_secs(100)));
        waits(Duration::from_secs(90));
        assert_eq!(clock.now(), Duration::from_secs(100), "code that blocks its thread is in nobody's way");
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these are the clocks that are held")]
fn the_clock_shows_what_it_is_after_a_lock_was_left() {
    on_a_fresh_thread(Some(1), |_| {
        let began = std::time::Instant::now();
        clock::show_once(Duration::from_secs(7));
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

/// So many seconds and nanoseconds.
fn time_of(time: Duration) -> TimeSpec {
    let seconds = i64::try_from(time.as_secs()).unwrap();
    TimeSpec { seconds, nanoseconds: time.subsec_nanos().into() }
}

/// Sixteen bytes of entropy, through a function that is given a place for them.
fn drawn(draw: impl Fn(&mut [u8; 16]) + Send + Copy, seed: Option<u64>) -> [u8; 16] {
    on_a_fresh_thread(seed, move |_| {
        let mut bytes = [0; 16];
        draw(&mut bytes);
        bytes
    })
}

fn assert_follows_the_seed(draw: impl Fn(&mut [u8; 16]) + Send + Copy) {
    assert_eq!(drawn(draw, Some(1)), drawn(draw, Some(1)));
    assert_ne!(drawn(draw, Some(1)), drawn(draw, Some(2)));
    assert_ne!(drawn(draw, None), drawn(draw, None), "a thread without a world has the system's entropy");
}

#[test]
fn entropy_that_is_asked_of_getentropy_follows_the_seed() {
    assert_follows_the_seed(|bytes| {
        #[expect(unsafe_code, reason = "it is asked as code in C asks it")]
        // SAFETY: the buffer is as long as it is said to be.
        let answer = unsafe { c::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
        assert_eq!(answer, 0);
    });
}

#[test]
fn entropy_that_is_asked_by_a_system_call_follows_the_seed() {
    /// The number of `getrandom`.
    const GETRANDOM: c_long = if cfg!(target_arch = "x86_64") { 318 } else { 278 };
    assert_follows_the_seed(|bytes| {
        let buffer = bytes.as_mut_ptr().expose_provenance();
        #[expect(unsafe_code, reason = "it is asked as code in C asks it")]
        // SAFETY: the buffer is as long as it is said to be.
        let answer = unsafe { c::syscall(GETRANDOM, buffer, bytes.len(), 0, 0, 0, 0) };
        assert_eq!(answer, 16);
    });
}

/// What each function of the C library that tells the wall time says, in whole seconds: `gettimeofday`, `time` (by its answer, and by what
/// it writes) and `timespec_get`; and what the first and the last say of the rest of the second.
#[expect(unsafe_code, reason = "they are asked as code in C asks them")]
fn wall_times() -> ([i64; 4], i64, i64) {
    let mut day = TimeVal { seconds: 0, microseconds: 0 };
    // SAFETY: the time is valid for a write, and the zone is not asked for.
    assert_eq!(unsafe { c::gettimeofday(&raw mut day, ptr::null_mut()) }, 0);
    let mut written = 0;
    // SAFETY: the seconds are valid for a write.
    let answered = unsafe { c::time(&raw mut written) };
    let mut exact = TimeSpec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the time is valid for a write.
    assert_eq!(unsafe { c::timespec_get(&raw mut exact, 1) }, 1);
    ([day.seconds, answered, written, exact.seconds], day.microseconds, exact.nanoseconds)
}

#[test]
fn wall_time_that_is_asked_in_c_is_the_worlds() {
    on_a_fresh_thread(Some(1), |clock| {
        let epoch = i64::try_from(WALL_EPOCH.as_secs()).unwrap();
        assert_eq!(wall_times(), ([epoch; 4], 0, 0));
        clock.skip_to(Duration::from_micros(90_250_125));
        clock.set_wall_offset_ms(60_000);
        assert_eq!(wall_times(), ([epoch + 150; 4], 250_125, 250_125_000));
    });
}

#[test]
fn a_zone_that_is_asked_with_the_time_is_written_beside_it() {
    on_a_fresh_thread(Some(1), |_| {
        let (mut day, mut zone) = (TimeVal { seconds: 0, microseconds: 0 }, [c_int::MAX; 2]);
        #[expect(unsafe_code, reason = "it is asked as code in C asks it")]
        // SAFETY: both are valid for a write; a zone is two numbers.
        let answer = unsafe { c::gettimeofday(&raw mut day, zone.as_mut_ptr().cast()) };
        assert_eq!((answer, Duration::from_secs(day.seconds.unsigned_abs())), (0, WALL_EPOCH));
        assert_ne!(zone, [c_int::MAX; 2]);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that these are not held is what is tested")]
fn a_thread_without_a_world_is_told_the_machines_time_in_c() {
    let seconds = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = seconds();
    let (told, _, _) = wall_times();
    let after = seconds();
    for told in told {
        // `time` and `timespec_get` may be some milliseconds behind.
        assert!((before - 1..=after).contains(&told.unsigned_abs()), "{told}: from {before} to {after}");
    }
}

#[test]
#[expect(unsafe_code, reason = "they are called as code in C calls them")]
fn sleeps_that_are_asked_in_c_take_the_worlds_time_and_no_other() {
    const REALTIME: c_int = 0;
    const MONOTONIC: c_int = 1;
    const ABSOLUTE: c_int = 1;
    let hour = Duration::from_secs(3_600);
    on_a_fresh_thread(Some(1), |clock| {
        let long = time_of(hour);
        // SAFETY: the time is valid for a read, and what is left is not asked for.
        assert_eq!(unsafe { c::nanosleep(&raw const long, ptr::null_mut()) }, 0);
        assert_eq!(clock.now(), hour);
        // SAFETY: as above.
        assert_eq!(unsafe { c::clock_nanosleep(MONOTONIC, 0, &raw const long, ptr::null_mut()) }, 0);
        assert_eq!(clock.now(), 2 * hour);
        let until = time_of(WALL_EPOCH + 3 * hour);
        // SAFETY: as above.
        assert_eq!(unsafe { c::clock_nanosleep(REALTIME, ABSOLUTE, &raw const until, ptr::null_mut()) }, 0);
        assert_eq!(clock.now(), 3 * hour);
        // SAFETY: as above.
        assert_eq!(unsafe { c::clock_nanosleep(REALTIME, ABSOLUTE, &raw const until, ptr::null_mut()) }, 0);
        assert_eq!(clock.now(), 3 * hour, "it is so late already");
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that the clock is not held is what is tested")]
fn a_sleep_that_is_asked_in_c_on_a_thread_without_a_world_is_a_real_one() {
    let short = Duration::from_micros(1);
    let began = std::time::Instant::now();
    let time = time_of(short);
    #[expect(unsafe_code, reason = "it is called as code in C calls it")]
    // SAFETY: the time is valid for a read, and what is left is not asked for.
    let answer = unsafe { c::nanosleep(&raw const time, ptr::null_mut()) };
    assert_eq!(answer, 0);
    assert!(began.elapsed() >= short);
}
