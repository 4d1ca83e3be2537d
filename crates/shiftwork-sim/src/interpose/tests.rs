//! That chance and time are held on a world's thread, and on no other.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::*;

fn on_a_fresh_thread<T: Send>(seed: Option<u64>, look: impl FnOnce(&WorldClock) -> T + Send) -> T {
    let look = move || {
        let clock = Arc::new(WorldClock::default());
        let _held = seed.map(|seed| hold(seed, clock.clone(), Thread::World));
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
