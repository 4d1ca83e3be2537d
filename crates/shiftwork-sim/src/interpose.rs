//! Entropy from the seed, for code that asks the C library for it.
//!
//! The standard library takes the keys of a thread's hash maps from `getrandom`, and so do `rand` and `uuid` by way of the
//! getrandom crate. A definition of that symbol in the program itself goes before the C library's. This one answers from the
//! world's stream on a thread that runs a world, and passes through to the system call everywhere else: only a thread that
//! called [`hold`] is affected, until its [`Held`] is dropped.
//!
//! What is not held: code that makes the system call by itself, `/dev/urandom`, and the processor's own instructions.

use std::cell::Cell;

thread_local! {
    // Without a destructor and const: readable at any time in a thread's life, from inside an allocator even.
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// This thread's entropy comes from the seed until this is dropped.
pub(crate) struct Held(());

/// Begins to answer this thread's entropy calls from `seed`.
pub(crate) fn hold(seed: u64) -> Held {
    STREAM.set(Some(seed));
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        STREAM.set(None);
    }
}

/// The next eight bytes of the thread's stream (SplitMix64), if the thread runs a world.
fn draw() -> Option<[u8; 8]> {
    let state = STREAM.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STREAM.set(Some(state));
    let mut word = state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some((word ^ (word >> 31)).to_le_bytes())
}

/// The C library's `getrandom`, for the whole program.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if buffer.is_null() {
        return 0;
    }
    // SAFETY: the caller promises that `buffer` is valid for writes of `length` bytes, and it is not null.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<std::mem::MaybeUninit<u8>>(), length) };
    if STREAM.get().is_some() {
        for chunk in bytes.chunks_mut(8) {
            let Some(word) = draw() else { break };
            for (byte, value) in chunk.iter_mut().zip(word) {
                byte.write(value);
            }
        }
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    // rustix makes the system call itself and does not come back here.
    let flags = rustix::rand::GetRandomFlags::from_bits_retain(flags);
    match rustix::rand::getrandom(bytes, flags) {
        Ok((filled, _)) => isize::try_from(filled.len()).unwrap_or(isize::MAX),
        Err(error) => {
            set_errno(error.raw_os_error());
            -1
        }
    }
}

#[expect(unsafe_code, reason = "the caller of a C function reads its error from errno")]
fn set_errno(code: i32) {
    unsafe extern "C" {
        fn __errno_location() -> *mut i32;
    }
    // SAFETY: the C library returns a valid pointer to the calling thread's errno.
    unsafe { *__errno_location() = code };
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    fn keys_of_a_fresh_thread(seed: Option<u64>) -> u64 {
        let thread = std::thread::spawn(move || {
            let _held = seed.map(super::hold);
            RandomState::new().hash_one(17)
        });
        thread.join().unwrap()
    }

    #[test]
    fn hash_map_keys_follow_the_seed() {
        assert_eq!(keys_of_a_fresh_thread(Some(1)), keys_of_a_fresh_thread(Some(1)));
        assert_ne!(keys_of_a_fresh_thread(Some(1)), keys_of_a_fresh_thread(Some(2)));
    }

    #[test]
    fn a_thread_without_a_world_has_the_systems_entropy() {
        assert_ne!(keys_of_a_fresh_thread(None), keys_of_a_fresh_thread(None));
    }
}
