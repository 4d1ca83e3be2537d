//! Simulation speed: worlds of ten seconds, with three workers of a hundred cycles each, beside the same loops on a
//! bare paused runtime.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shiftwork_benches::worlds::{self, Waits};

fn worlds(c: &mut Criterion) {
    for (name, waits) in [("world, cycles sleep", Waits::Sleep), ("world, cycles call", Waits::Call)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.sample_size(50).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        group.bench_function("shiftwork", |bencher| {
            bencher.iter_custom(|worlds| worlds::on_shiftwork(waits, worlds));
        });
        group.bench_function("by hand", |bencher| bencher.iter_custom(|worlds| worlds::by_hand(waits, worlds)));
        group.finish();
    }
}

criterion_group!(simulation, worlds);
criterion_main!(simulation);
