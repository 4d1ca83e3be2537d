//! What a cycle allocates: nothing, once its worker is under way.
//!
//! A start and a stop allocate what they like, so the workers of these tests look at the count from inside: at their
//! thousandth cycle, and at their millionth. What comes again for as long as a process runs, lives and renewals, may allocate,
//! and keeps nothing.
//!
//! Every allocation of a test happens on its own thread, which is the only one of its runtime, and each thread counts
//! its own, so that tests may run side by side.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use shiftwork::{
    Context, Continuous, Failure, Host, HostBuilder, OnFault, QueueSourceExt, Restart, Retry, Schedule, ServiceContext,
    Source, WorkerBuilder, queue::MemoryQueue,
};
use shiftwork_benches::{continuous::every_policy, one_thread, paused, queue};
use tokio::{
    runtime::{Handle, Runtime},
    sync::Notify,
};

/// What this thread's allocations come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Allocated {
    /// How many, those that grew or shrank one included.
    times: u64,
    /// Bytes in use beyond those at the start of the count; below zero when more was freed.
    bytes: i64,
    /// The most that `bytes` has been.
    bytes_max: i64,
}

thread_local! {
    static ALLOCATED: Cell<Allocated> = const { Cell::new(Allocated { times: 0, bytes: 0, bytes_max: 0 }) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(times: u64, more: usize, less: usize) {
    let change = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    // A thread that is ending counts no more.
    let _ = ALLOCATED.try_with(|allocated| {
        let mut now = allocated.get();
        now.times += times;
        now.bytes += change(more) - change(less);
        now.bytes_max = now.bytes_max.max(now.bytes);
        allocated.set(now);
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one only counts what the system's does")]
// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `run` allocates on this thread.
fn allocated(run: impl FnOnce()) -> Allocated {
    ALLOCATED.set(Allocated::default());
    run();
    ALLOCATED.get()
}

/// Looks at the count in the middle of a run: at the cycle before which caches and buffers may grow, and near the end.
#[derive(Default)]
struct Watch {
    cycles: AtomicU64,
    seen: Mutex<[Allocated; 2]>,
    done: Notify,
}

const FIRST: u64 = 1_000;
const LAST: u64 = 1_000_000;

impl Watch {
    /// One cycle of those that are watched.
    fn cycle(&self) {
        let cycle = self.cycles.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(look) = [FIRST, LAST].iter().position(|at| *at == cycle) {
            self.seen()[look] = ALLOCATED.get();
        }
        if cycle == LAST {
            self.done.notify_one();
        }
    }

    /// The count at both looks.
    fn seen(&self) -> MutexGuard<'_, [Allocated; 2]> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a host with a worker on `source` until the last watched cycle.
fn watch<S: Source>(source: S, cycle: impl Fn(&Watch, S::Input) + Send + Sync + 'static) -> [Allocated; 2] {
    watch_on(&one_thread(), source, cycle, WorkerBuilder::host)
}

/// The same on a runtime, and with policies, of the test's own.
fn watch_on<S: Source>(
    runtime: &Runtime,
    source: S,
    cycle: impl Fn(&Watch, S::Input) + Send + Sync + 'static,
    policies: fn(WorkerBuilder) -> HostBuilder,
) -> [Allocated; 2] {
    let watch = Arc::new(Watch::default());
    let watched = watch.clone();
    let worker = move |input: S::Input, _: Context| {
        cycle(&watched, input);
        async { Ok::<(), Failure>(()) }
    };
    let host = policies(Host::builder().worker("watched", source, worker));
    ALLOCATED.set(Allocated::default());
    let report = runtime.block_on(host.run_until(watch.done.notified()));
    assert!(report.is_clean() && report.workers[0].cycles.failed == 0, "{report:?}");
    *watch.seen()
}

#[test]
fn the_count_sees_an_allocation() {
    let one = allocated(|| drop(std::hint::black_box(Box::new([0u8; 100]))));
    assert_eq!(one, Allocated { times: 1, bytes: 0, bytes_max: 100 });
}

#[test]
fn a_continuous_cycle_allocates_nothing() {
    let [first, last] = watch(Continuous::new(), |watch, ()| watch.cycle());
    assert_eq!(first, last);
}

#[test]
fn a_cycle_under_every_policy_allocates_nothing() {
    let [first, last] = watch_on(&one_thread(), Continuous::new(), |watch, ()| watch.cycle(), every_policy);
    assert_eq!(first, last);
}

#[test]
fn a_tick_and_its_wait_allocate_nothing() {
    let [first, last] =
        watch_on(&paused(), Schedule::every(Duration::from_millis(1)), |watch, _| watch.cycle(), WorkerBuilder::host);
    assert_eq!(first, last);
}

#[test]
fn a_queue_job_of_one_lane_of_many_allocates_nothing_either() {
    let queue = MemoryQueue::new();
    one_thread().block_on(queue::push(&queue, LAST + FIRST));
    let [first, last] =
        watch_on(&one_thread(), queue.source(), |watch, _: u64| watch.cycle(), |it| it.concurrency(4).host());
    assert_eq!(first.times, last.times);
}

/// A failure allocates, its message for one. Nothing of it is kept.
#[test]
fn memory_is_flat_over_a_hundred_thousand_failures() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (looks, done, cycles) = (seen.clone(), Arc::new(Notify::new()), AtomicU64::new(0));
    let ended = done.clone();
    let fails = move |_: (), _: Context| {
        let cycle = cycles.fetch_add(1, Ordering::Relaxed) + 1;
        if [1_000, 100_000].contains(&cycle) {
            looks.lock().unwrap_or_else(PoisonError::into_inner).push(InUse::now());
        }
        if cycle == 100_000 {
            ended.notify_one();
        }
        async move { Err::<(), Failure>(Failure::transient(format!("attempt {cycle}"))) }
    };
    let retry = Retry::exponential().attempts_max(3).initial(Duration::from_millis(1)).max(Duration::from_millis(1));
    let host = Host::builder().worker("fails", Continuous::new(), fails).retry(retry);
    ALLOCATED.set(Allocated::default());
    let report = paused().block_on(host.run_until(done.notified()));
    assert!(report.workers[0].cycles.failed >= 99_999, "{report:?}");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen[1].assert_flat_since(seen[0], 99_000);
}

#[test]
fn a_queue_job_allocates_nothing_between_its_push_and_its_end() {
    let queue = MemoryQueue::new();
    one_thread().block_on(queue::push(&queue, LAST + FIRST));
    let [first, last] = watch(queue.source(), |watch, _: u64| watch.cycle());
    assert_eq!(first.times, last.times);
}

/// A push does allocate; what it allocates is let go of when the job has ended.
#[test]
fn memory_is_flat_over_a_million_jobs_that_come_and_go() {
    let queue = MemoryQueue::new();
    one_thread().block_on(queue::push(&queue, 100));
    let pushing = queue.clone();
    let [first, last] = watch(queue.source(), move |watch, _: u64| {
        watch.cycle();
        // A push into memory never waits, so it is over with its first poll.
        assert!(pin!(queue::push(&pushing, 1)).poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready());
    });
    assert_eq!(first.bytes, last.bytes);
    assert_eq!(first.bytes_max, last.bytes_max);
}

/// What is in use in the middle of a run.
#[derive(Debug, Clone, Copy)]
struct InUse {
    bytes: i64,
    /// Tasks that have not ended.
    tasks: usize,
}

impl InUse {
    fn now() -> Self {
        Self { bytes: ALLOCATED.get().bytes, tasks: Handle::current().metrics().num_alive_tasks() }
    }

    /// Nothing is kept of what has come so many times since `before`: less than a byte of each.
    fn assert_flat_since(self, before: Self, times: u64) {
        assert_eq!(before.tasks, self.tasks);
        let more = u64::try_from(self.bytes - before.bytes).unwrap_or_default();
        assert!(more < times, "{more} bytes more after {times} times");
    }
}

/// Looks at what is in use in two lives of a worker.
#[derive(Default)]
struct Lives {
    begun: AtomicU64,
    seen: Mutex<Vec<InUse>>,
    done: Notify,
}

const FIRST_LIFE: u64 = 1_000;
const LAST_LIFE: u64 = 10_000;

impl Lives {
    /// One more is at work.
    fn begins(&self) {
        let life = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if life == FIRST_LIFE || life == LAST_LIFE {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(InUse::now());
        }
        if life == LAST_LIFE {
            self.done.notify_one();
        }
    }
}

/// Runs a host whose one worker faults in each of its lives, and is started again a millisecond later. A `JoinSet` keeps each
/// task that has ended until somebody asks for it, and a table keeps its entries: of those lives nothing is kept.
fn assert_nothing_is_kept_of_its_lives(add: impl FnOnce(HostBuilder, Arc<Lives>, OnFault) -> HostBuilder) {
    let lives = Arc::new(Lives::default());
    let soon = Duration::from_millis(1);
    let restart = Restart::default().initial(soon).max(soon).intensity(u32::MAX, soon);
    let host = add(Host::builder(), lives.clone(), OnFault::Restart(restart));
    ALLOCATED.set(Allocated::default());
    let report = paused().block_on(host.run_until(lives.done.notified()));
    assert!(u64::from(report.workers[0].restarts) >= LAST_LIFE - 1, "{report:?}");
    let seen = lives.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen[1].assert_flat_since(seen[0], LAST_LIFE - FIRST_LIFE);
}

#[test]
fn nothing_is_kept_of_ten_thousand_lives_of_a_worker() {
    assert_nothing_is_kept_of_its_lives(|host, lives, on_fault| {
        let breaks = move |(): (), _: Context| {
            lives.begins();
            async { Err(Failure::fatal("no licence")) }
        };
        host.worker("breaks", Continuous::new(), breaks).on_fault(on_fault).host()
    });
}

#[test]
fn nothing_is_kept_of_ten_thousand_lives_of_a_service() {
    assert_nothing_is_kept_of_its_lives(|host, lives, on_fault| {
        let breaks = move |_: ServiceContext| {
            lives.begins();
            async { Err(Failure::fatal("no licence")) }
        };
        host.service("breaks", breaks).on_fault(on_fault).host()
    });
}

#[test]
fn nothing_is_kept_of_ten_thousand_renewals_of_a_lease() {
    let queue = MemoryQueue::new();
    one_thread().block_on(queue::push(&queue, 1));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let done = Arc::new(Notify::new());
    let (looks, ended) = (seen.clone(), done.clone());
    // Its lease is renewed each millisecond.
    let waits = move |_: u64, _: Context| {
        let (looks, ended) = (looks.clone(), ended.clone());
        async move {
            for seconds in [1, 10] {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                looks.lock().unwrap_or_else(PoisonError::into_inner).push(InUse::now());
            }
            ended.notify_one();
            Ok::<(), Failure>(())
        }
    };
    let host = Host::builder().worker("waits", queue.source().lease(Duration::from_millis(3)), waits);
    ALLOCATED.set(Allocated::default());
    let report = paused().block_on(host.run_until(done.notified()));
    assert!(report.is_clean() && report.workers[0].cycles.succeeded == 1, "{report:?}");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen[1].assert_flat_since(seen[0], 10_000);
}
