//! One side of one row of the table alone, for a profiler or a counter of instructions, which want no clock and no turns.
//!
//!     cargo build --profile bench -p shiftwork-benches --example one
//!     valgrind --tool=callgrind target/release/examples/one queue 20000
//!     perf record target/release/examples/one queue 5000000

use std::{hint::black_box, process::ExitCode};

use shiftwork_benches::{
    clock, continuous, one_thread, queue, schedule,
    worlds::{self, Waits},
};

const SIDES: &str = "reads, cycle, cycle-with-policies, loop, queue, channel, tick, interval, world, world-of-calls, \
                     unsimulated-world, bare-world, careful-world";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (side, count) = (arguments.next(), arguments.next().and_then(|count| count.parse().ok()));
    let (Some(side), Some(count)) = (side, count) else {
        eprintln!("usage: one SIDE COUNT, where SIDE is one of {SIDES}");
        return ExitCode::from(2);
    };
    black_box(match side.as_str() {
        "reads" => clock::read_twice(count),
        "cycle" => continuous::on_shiftwork(count),
        "cycle-with-policies" => continuous::with_every_policy(count),
        "loop" => continuous::by_hand(count),
        "queue" => queue::on_shiftwork(&one_thread(), count),
        "channel" => queue::by_hand(&one_thread(), count),
        "tick" => schedule::on_shiftwork(count),
        "interval" => schedule::by_hand(count),
        "world" => worlds::on_shiftwork(Waits::Sleep, count),
        "world-of-calls" => worlds::on_shiftwork(Waits::Call, count),
        "careful-world" => worlds::by_careful_hand(Waits::Sleep, count),
        "unsimulated-world" => worlds::unsimulated(Waits::Sleep, count),
        "bare-world" => worlds::by_hand(Waits::Sleep, count),
        other => {
            eprintln!("there is no side {other:?}: it is one of {SIDES}");
            return ExitCode::from(2);
        }
    });
    ExitCode::SUCCESS
}
