//! Cycle throughput: each source on shiftwork beside the loop that does the same by hand.
//!
//! One sample is one run of a host from its start to its end over as many cycles as criterion asks for. The slope over
//! samples of different lengths is the cost of one cycle; what a start and a stop cost falls out.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use shiftwork_benches::{clock, continuous, one_thread, queue, schedule, two_threads};

fn continuous(c: &mut Criterion) {
    let mut group = group(c, "continuous");
    side(&mut group, "shiftwork", continuous::on_shiftwork);
    side(&mut group, "by hand", continuous::by_hand);
    side(&mut group, "two clock reads", clock::read_twice);
    group.finish();
}

fn queue(c: &mut Criterion) {
    for (name, runtime) in [("queue", one_thread()), ("queue, two threads", two_threads())] {
        let mut group = group(c, name);
        side(&mut group, "shiftwork", |jobs| queue::on_shiftwork(&runtime, jobs));
        side(&mut group, "by hand", |jobs| queue::by_hand(&runtime, jobs));
        group.finish();
    }
}

fn schedule(c: &mut Criterion) {
    let mut group = group(c, "schedule, paused clock");
    side(&mut group, "shiftwork", schedule::on_shiftwork);
    side(&mut group, "by hand", schedule::by_hand);
    group.finish();
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.sample_size(50).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group
}

fn side(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut run: impl FnMut(u64) -> Duration) {
    group.bench_function(name, |bencher| bencher.iter_custom(&mut run));
}

// The paused clock last: see the page of the package.
criterion_group!(cycle, continuous, queue, schedule);
criterion_main!(cycle);
