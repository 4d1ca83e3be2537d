//! What is left of worlds: nothing. A campaign runs millions of them in one process.
//!
//! A world and its blocking threads run on threads of their own, so what is counted here is what the whole process has in use. It is the
//! only test of its process for that reason: another one beside it would be counted too.

#![cfg(target_os = "linux")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    fs,
    sync::{
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    thread,
};

use shiftwork::{Context, Failure, QueueSourceExt, Signal};
use shiftwork_sim::{Ledger, Script, World, millis, plan, secs, site};

/// Bytes in use, of all threads.
static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(more: usize, less: usize) {
    let change = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    LIVE.fetch_add(change(more) - change(less), Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one only counts what the system's does")]
// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How many threads this process has.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("Linux tells a process its threads").count()
}

/// Bytes in use when no more than `threads_max` threads are left: one that has done its work is still there for a moment.
fn live(threads_max: usize) -> i64 {
    // Some seconds' worth of looks.
    let gone = (0..200_000).any(|_| {
        thread::yield_now();
        threads() <= threads_max
    });
    assert!(gone, "{} threads, of which there were {threads_max}", threads());
    LIVE.load(Ordering::Relaxed)
}

/// A worker whose jobs make a call and then block a thread for a while.
fn build(world: &mut World) {
    let backend = world.dependency("backend");
    let jobs = world.queue::<u32>("jobs");
    jobs.seed(1..=12);
    let done: Ledger<BTreeSet<u32>> = Ledger::default();
    let (queue, books, seen) = (jobs.clone(), done, backend.clone());
    let known = books.clone();
    world.node("node", move |node| {
        let (backend, books) = (backend.clone(), books.clone());
        let work = move |job: u32, _: Context| {
            let (backend, books) = (backend.clone(), books.clone());
            async move {
                backend.call(async { books.with(|done| done.insert(job)) }).await?;
                let blocks = tokio::task::spawn_blocking(|| {
                    let (_never_sends, receiver) = mpsc::channel::<()>();
                    receiver.recv_timeout(millis(300))
                });
                let _nothing_came = blocks.await;
                Ok::<(), Failure>(())
            }
        };
        node.host().worker("work", queue.clone().source().lease(secs(5)), work).concurrency(3).run_until_signal()
    });
    world.always("nothing is done that was not asked for", move |_| {
        // It holds the world that holds it.
        let _held = &seen;
        known.with(|done| if done.len() <= 12 { Ok(()) } else { Err(format!("{} were done", done.len())) })
    });
    world.done_when(move || jobs.inspect_depth().unsettled() == 0);
}

/// A world in which a process is killed in the middle of its blocking work, another is told to stop, and each is started again.
fn run(seed: u64) {
    let outcome = Script::new()
        .seed(seed)
        .at(millis(200), plan::crash(millis(300)))
        .at(millis(700), site("backend").reply_lost(50).lasting(millis(500)))
        .at(millis(900), Signal::Terminate)
        .heal_at(secs(3))
        .run(build);
    outcome.assert_rules_kept();
    assert!(outcome.stats.boots >= 3, "{} lives", outcome.stats.boots);
}

/// After so many, caches and tables have what they need.
const FIRST: u64 = 60;
const WORLDS: u64 = 300;

/// Less than the smallest thing that a world could forget. A table of the process that grows once more is no leak.
const BYTES_A_WORLD_MAX: i64 = 64;

#[test]
fn nothing_is_left_of_hundreds_of_worlds() {
    let began_with = threads();
    (0..FIRST).for_each(run);
    let before = live(began_with);
    (FIRST..FIRST + WORLDS).for_each(run);
    let more = live(began_with) - before;
    let worlds = i64::try_from(WORLDS).expect("it is a small number");
    assert!(more < worlds * BYTES_A_WORLD_MAX, "{more} bytes more after {worlds} worlds");

    // The count sees what is kept.
    let before = live(began_with);
    let kept = std::hint::black_box(vec![0_u8; 100_000]);
    assert!(live(began_with) - before >= 100_000, "{} bytes are kept", kept.len());
}
