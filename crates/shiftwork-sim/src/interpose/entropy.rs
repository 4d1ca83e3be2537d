//! Entropy from the seed, for code that asks the C library for it.
//!
//! The standard library takes the keys of a thread's hash maps from `getrandom`, and so do `rand` and `uuid` by way of the
//! getrandom crate.

use std::{
    cell::Cell,
    ffi::{c_int, c_uint, c_void},
    mem::MaybeUninit,
};

use super::real;

thread_local! {
    // Without a destructor and const: readable at any time in a thread's life, from inside an allocator even.
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

pub(super) fn hold(seed: u64) {
    STREAM.set(Some(seed));
}

pub(super) fn let_go() {
    STREAM.set(None);
}

/// Gives this thread back the stream that it had, as it was, when it is dropped.
struct Back(Option<u64>);

impl Drop for Back {
    fn drop(&mut self) {
        STREAM.set(self.0);
    }
}

/// Does something with a stream of its own: what it draws moves nobody else's draws.
pub(super) fn aside<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    let own = STREAM.get();
    let _back = Back(own);
    STREAM.set(own.map(|_| seed));
    work()
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

/// Fills `buffer` from the world's stream, if the thread runs a world.
///
/// # Safety
///
/// `buffer` is null or valid for writes of `length` bytes.
#[expect(unsafe_code, reason = "the buffer comes from C")]
pub(super) unsafe fn fill(buffer: *mut c_void, length: usize) -> bool {
    if STREAM.get().is_none() || buffer.is_null() {
        return false;
    }
    // SAFETY: the caller promises that `buffer` is valid for writes of `length` bytes, and it is not null.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
    for chunk in bytes.chunks_mut(8) {
        let Some(word) = draw() else { break };
        for (byte, value) in chunk.iter_mut().zip(word) {
            byte.write(value);
        }
    }
    true
}

/// The C library's `getrandom`, for the whole program.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the caller promises that `buffer` is valid for writes of `length` bytes.
    if unsafe { fill(buffer, length) } {
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    // SAFETY: as the caller promises.
    unsafe { real::getrandom(buffer, length, flags) }
}

/// The C library's `getentropy`, for the whole program.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes, as the C library's own function demands.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a symbol of the C library has to be defined to be interposed")]
#[expect(unreachable_pub, reason = "the linker is who reaches it")]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller promises that `buffer` is valid for writes of `length` bytes.
    if unsafe { fill(buffer, length) } {
        return 0;
    }
    // SAFETY: as the caller promises.
    unsafe { real::getentropy(buffer, length) }
}
