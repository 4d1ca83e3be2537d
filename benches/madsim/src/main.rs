//! The world of the benchmarks (`benches/src/worlds.rs`) on madsim's runtime: three loops that wait a hundred times in ten
//! seconds, and nothing around them. Its argument is how many worlds; it prints how many nanoseconds of processor time they took.
//!
//! `cargo xtask bench` builds it, with `--cfg madsim`, and the table of ratios runs it.

use std::{process::ExitCode, time::Duration};

use madsim::{runtime::Runtime, time};

const LOOPS: usize = 3;
const CYCLES: u64 = 100;
const PERIOD: Duration = Duration::from_millis(100);
const WAITS: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let Some(worlds) = std::env::args().nth(1).and_then(|worlds| worlds.parse::<u64>().ok()) else {
        eprintln!("say how many worlds: worlds-on-madsim NUMBER");
        return ExitCode::from(2);
    };
    // The first one fills caches and is not counted.
    world(worlds);
    let began = processor_time();
    (0..worlds).for_each(world);
    println!("{}", processor_time().saturating_sub(began).as_nanos());
    ExitCode::SUCCESS
}

fn world(seed: u64) {
    Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(async {
        for task in [(); LOOPS].map(|()| madsim::task::spawn(beat())) {
            task.await.expect("the loop does not panic");
        }
    });
}

async fn beat() {
    let mut interval = time::interval(PERIOD);
    for _ in 0..CYCLES {
        interval.tick().await;
        time::sleep(WAITS).await;
    }
}

/// The processor time that this process has used so far. A system call: what the C library says is madsim's in a world.
fn processor_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)).unwrap_or_default()
}
