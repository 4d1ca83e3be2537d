//! The ratios that have a budget, and their neighbours, in one table, in less than half a minute.
//!
//!     cargo bench -p shiftwork-benches --bench ratios
//!
//! Times are processor time, that of every thread and of the kernel included, so that other programs on the machine
//! take no part in them. The two sides of a row take turns, so that a machine that is slow for a second is slow for
//! both. A time is the median over the rounds, the ratio is the median of the rounds' own ratios, and its range holds
//! the middle half of them: where that is wide, the machine was busy all the same.

mod peers;

use std::{rc::Rc, time::Duration};

use shiftwork_benches::{
    clock, continuous, one_thread, queue, schedule, two_threads,
    worlds::{self, Waits},
};
use tokio::runtime::Runtime;

/// How long this many take.
type Side = Box<dyn Fn(u64) -> Duration>;

/// Two sides of one piece of work.
struct Row {
    name: &'static str,
    /// How many in one turn: enough that the start and stop of a host do not count.
    count: u64,
    shiftwork: Side,
    by_hand: Side,
    /// The other side is another process, which says what it took.
    elsewhere: bool,
    /// The ratio that it may have.
    budget: Option<f64>,
}

/// How often each side has its turn.
const ROUNDS: usize = 51;

fn main() {
    // As criterion does: without `--bench` this is a test, which only has to run.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, share) = if measured { (ROUNDS, 1) } else { (1, 100) };
    keep_what_is_freed();
    println!("{}\n", machine());
    println!("| what / beside what | shiftwork, ns | beside it, ns | ratio | middle half | budget |");
    println!("| --- | ---: | ---: | ---: | --- | ---: |");
    for row in rows() {
        println!("{}", row.measured(rounds, share));
    }
    if !measured {
        println!("This was a test run, which measures nothing: use `cargo bench`.");
    }
}

/// Frees one large piece of memory. Until then glibc gives pieces of that size back to the kernel, and each turn whose heap happens to end in
/// one would pay for having its pages cleared again.
fn keep_what_is_freed() {
    drop(std::hint::black_box(vec![1_u8; 31 << 20]));
}

/// The machine that the figures are of.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    format!("{cores} cores of {model}, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Every row. Those on a paused clock last: see the page of the package.
fn rows() -> Vec<Row> {
    let queue = |name, budget, runtime: Runtime| {
        let runtime = Rc::new(runtime);
        let other = runtime.clone();
        Row {
            name,
            count: 20_000,
            shiftwork: Box::new(move |jobs| queue::on_shiftwork(&runtime, jobs)),
            by_hand: Box::new(move |jobs| queue::by_hand(&other, jobs)),
            elsewhere: false,
            budget,
        }
    };
    let world = |name, budget, waits, by_hand: fn(Waits, u64) -> Duration| Row {
        name,
        count: 20,
        shiftwork: Box::new(move |worlds| worlds::on_shiftwork(waits, worlds)),
        by_hand: Box::new(move |worlds| by_hand(waits, worlds)),
        elsewhere: false,
        budget,
    };
    let madsim = std::env::var_os("SHIFTWORK_BENCH_MADSIM").map(|program| Row {
        name: "10 s world / madsim, cycles sleep",
        count: 20,
        shiftwork: Box::new(|count| worlds::on_shiftwork(Waits::Sleep, count)),
        by_hand: Box::new(move |count| peers::worlds_on_madsim(&program, count)),
        elsewhere: true,
        budget: None,
    });
    let rows = vec![
        Row {
            name: "continuous cycle / two clock reads",
            count: 100_000,
            shiftwork: Box::new(continuous::on_shiftwork),
            by_hand: Box::new(clock::read_twice),
            elsewhere: false,
            budget: Some(3.0),
        },
        Row {
            name: "continuous cycle, every policy / two clock reads",
            count: 100_000,
            shiftwork: Box::new(continuous::with_every_policy),
            by_hand: Box::new(clock::read_twice),
            elsewhere: false,
            budget: Some(3.0),
        },
        Row {
            name: "continuous cycle / loop",
            count: 100_000,
            shiftwork: Box::new(continuous::on_shiftwork),
            by_hand: Box::new(continuous::by_hand),
            elsewhere: false,
            budget: None,
        },
        queue("queue job / channel and loop", Some(1.0), one_thread()),
        queue("queue job / channel and loop, two threads", None, two_threads()),
        Row {
            name: "queue job in a batch of 64 / alone",
            count: 20_000,
            shiftwork: Box::new(|jobs| queue::in_batches(&one_thread(), jobs)),
            by_hand: Box::new(|jobs| queue::on_shiftwork(&one_thread(), jobs)),
            elsewhere: false,
            budget: None,
        },
        Row {
            name: "queue job / apalis in memory, bare",
            count: 20_000,
            shiftwork: Box::new(|jobs| queue::on_shiftwork(&one_thread(), jobs)),
            by_hand: Box::new(|jobs| peers::jobs_on_apalis(&one_thread(), jobs)),
            elsewhere: false,
            budget: Some(0.2),
        },
        Row {
            name: "tick / interval, paused clock",
            count: 20_000,
            shiftwork: Box::new(schedule::on_shiftwork),
            by_hand: Box::new(schedule::by_hand),
            elsewhere: false,
            budget: None,
        },
        world("10 s world / its host on bare tokio, cycles sleep", Some(2.0), Waits::Sleep, worlds::unsimulated),
        world("10 s world / its host on bare tokio, cycles call", None, Waits::Call, worlds::unsimulated),
        world("10 s world / bare loops, cycles sleep", Some(2.0), Waits::Sleep, worlds::by_hand),
        world("10 s world / bare loops, cycles call", None, Waits::Call, worlds::by_hand),
        world("10 s world / careful loops, cycles sleep", None, Waits::Sleep, worlds::by_careful_hand),
        Row {
            name: "10 s world / turmoil, cycles sleep",
            count: 2,
            shiftwork: Box::new(|count| worlds::on_shiftwork(Waits::Sleep, count)),
            by_hand: Box::new(peers::worlds_on_turmoil),
            elsewhere: false,
            budget: Some(0.025),
        },
    ];
    rows.into_iter().chain(madsim).collect()
}

impl Row {
    /// The row of the table. `share` divides the work.
    fn measured(&self, rounds: usize, share: u64) -> String {
        let count = (self.count / share).max(1);
        let each = |side: &Side, elsewhere: bool| {
            let began = clock::processor_time();
            let said = side(count);
            let took = if elsewhere { said } else { clock::processor_time().saturating_sub(began) };
            took.as_secs_f64() * 1e9 / count as f64
        };
        let (mut shiftwork, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // One round more than counted: the first fills caches and grows the heap.
        for round in 0..=rounds {
            let (one, other) = (each(&self.shiftwork, false), each(&self.by_hand, self.elsewhere));
            if round > 0 {
                shiftwork.push(one);
                by_hand.push(other);
                ratios.push(one / other);
            }
        }
        format!(
            "| {} | {:.0} | {:.0} | {:.3} | {:.3} to {:.3} | {} |",
            self.name,
            quantile(&mut shiftwork, 1, 2),
            quantile(&mut by_hand, 1, 2),
            quantile(&mut ratios, 1, 2),
            quantile(&mut ratios, 1, 4),
            quantile(&mut ratios, 3, 4),
            self.budget.map_or_else(|| "-".to_owned(), |budget| format!("≤ {budget}")),
        )
    }
}

/// The value below which `part` of `whole` of the values lie.
fn quantile(values: &mut [f64], part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * part / whole]
}
