//! The C library's own functions, behind the ones that this program defines.

use std::{
    ffi::{CStr, c_char, c_int, c_long, c_uint, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
    time::Duration,
};

/// The C library's `struct timespec` on the targets that this is for.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeSpec {
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl TimeSpec {
    /// As nanoseconds; one that is before all time, or too far, as the nearest that can be.
    pub(super) fn as_nanoseconds(self) -> u64 {
        let whole = u64::try_from(self.seconds).unwrap_or(0).saturating_mul(NANOSECONDS_A_SECOND);
        whole.saturating_add(u64::try_from(self.nanoseconds).unwrap_or(0))
    }

    pub(super) const fn of_nanoseconds(nanoseconds: i64) -> Self {
        let a_second = NANOSECONDS_A_SECOND.cast_signed();
        Self { seconds: nanoseconds.div_euclid(a_second), nanoseconds: nanoseconds.rem_euclid(a_second) }
    }
}

const NANOSECONDS_A_SECOND: u64 = 1_000_000_000;

/// The C library's `struct timeval` on these targets.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeVal {
    pub(super) seconds: i64,
    pub(super) microseconds: i64,
}

impl TimeVal {
    /// The same time, in whole microseconds.
    pub(super) fn of(time: TimeSpec) -> Self {
        Self { seconds: time.seconds, microseconds: time.nanoseconds / 1_000 }
    }
}

/// A function of the C library that is looked up when it is first needed.
pub(super) struct Symbol {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Symbol {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(ptr::null_mut()) }
    }

    #[expect(unsafe_code, reason = "the dynamic linker is asked in C")]
    fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        unsafe extern "C" {
            fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
        }
        /// The definition that comes after the caller's own.
        const RTLD_NEXT: *mut c_void = ptr::without_provenance_mut(usize::MAX);
        // SAFETY: the name ends in a null byte, and the handle is one that the linker defines.
        let found = unsafe { dlsym(RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // Without the C library nothing can be done or said any more.
            std::process::abort();
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

macro_rules! pass_through {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => { $(
        /// The C library's function of this name.
        ///
        /// # Safety
        ///
        /// What the C library's function demands.
        #[inline]
        #[expect(unsafe_code, reason = "a function of the C library is called by its address")]
        pub(super) unsafe fn $name($($argument: $type),*) -> $result {
            static SYMBOL: Symbol = Symbol::new(match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name without a null byte inside"),
            });
            // SAFETY: the C library's headers declare the symbol with this type, and an address is all there is of it.
            let function = unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> $result>(SYMBOL.address())
            };
            // SAFETY: the caller keeps what the function demands.
            unsafe { function($($argument),*) }
        }
    )* };
}

pass_through! {
    fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize;
    fn getentropy(buffer: *mut c_void, length: usize) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int;
    fn gettimeofday(time: *mut TimeVal, zone: *mut c_void) -> c_int;
    fn time(seconds: *mut i64) -> i64;
    fn timespec_get(time: *mut TimeSpec, base: c_int) -> c_int;
    fn nanosleep(time: *const TimeSpec, left: *mut TimeSpec) -> c_int;
    fn clock_nanosleep(clock: c_int, flags: c_int, time: *const TimeSpec, left: *mut TimeSpec) -> c_int;
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
}

/// The number of the clock that tells how long this thread was on a processor.
pub(super) const THREAD_CPUTIME: c_int = 3;

/// What a clock of the machine shows, whoever holds this thread's.
#[expect(unsafe_code, reason = "the C library's clock is asked in C")]
pub(super) fn reading(clock: c_int) -> Duration {
    let mut time = TimeSpec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is valid for a write.
    unsafe { clock_gettime(clock, &raw mut time) };
    Duration::from_nanos(time.as_nanoseconds())
}

#[expect(unsafe_code, reason = "the C library's errno is found through a function of its own")]
unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// Says to the caller of a C function why it failed.
#[expect(unsafe_code, reason = "the caller of a C function reads its error from errno")]
pub(super) fn set_errno(code: c_int) {
    // SAFETY: the C library returns a valid pointer to the calling thread's errno.
    unsafe { *__errno_location() = code };
}

/// Why the last call failed, if it did.
#[expect(unsafe_code, reason = "a C function says in errno why it failed")]
pub(super) fn errno() -> c_int {
    // SAFETY: as above.
    unsafe { *__errno_location() }
}
