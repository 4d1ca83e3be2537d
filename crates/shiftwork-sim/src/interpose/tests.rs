//! That chance and time are held on a world's thread, and on no other.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::*;

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
