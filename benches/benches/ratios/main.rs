//! The ratios that have a budget, and their neighbours, in one table, in a minute or two.
//!
//!     cargo bench -p shiftwork-benches --bench ratios
//!
//! Times are processor time, that of every thread and of the kernel included, so that other programs on the machine
//! take no part in them. The two sides of a row take turns, so that a machine that is slow for a second is slow for
//! both. Each turn is a process of its own, so that neither has to put up with what the other leaves of its heap. A time is
//! the median over the rounds, the ratio is the median of the rounds' own ratios, and its range holds the middle half of
//! them: where that is wide, the machine was busy all the same.

mod peers;

use std::{process::Command, rc::Rc, time::Duration};

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

/// The name of one side of each row.
const SHIFTWORK: &str = "shiftwork";

/// How often a turn does its work before it is counted.
const WARM: usize = 5;

/// How often each side has its turn.
const ROUNDS: usize = 51;

/// The word for a process that is to take one turn of a row: its number and its side follow.
const TURN: &str = "--turn";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // As criterion does: without `--bench` this is a test, which only has to run.
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let (rounds, share) = if measured { (ROUNDS, 1) } else { (1, 100) };
    if let Some(turn) = arguments.iter().position(|argument| argument == TURN) {
        take_turn(&arguments[turn + 1..], share);
        return;
    }
    println!("{}\n", machine());
    println!("| what / beside what | shiftwork, ns | beside it, ns | ratio | middle half | budget |");
    println!("| --- | ---: | ---: | ---: | --- | ---: |");
    for (number, row) in rows().iter().enumerate() {
        println!("{}", row.measured(number, rounds, share));
    }
    if !measured {
        println!("This was a test run, which measures nothing: use `cargo bench`.");
    }
}

/// One turn of one side: says how many nanoseconds each took.
fn take_turn(turn: &[String], share: u64) {
    let [number, side, ..] = turn else { panic!("a turn is of a row and a side") };
    let row = rows().swap_remove(number.parse().expect("a row's number"));
    let count = row.count_of(share);
    let side = if side == SHIFTWORK { row.shiftwork } else { row.by_hand };
    keep_what_is_freed();
    // The first times fill caches and grow the heap.
    for _ in 0..WARM {
        side(count);
    }
    let began = clock::processor_time();
    side(count);
    let took = clock::processor_time().saturating_sub(began);
    println!("{}", took.as_secs_f64() * 1e9 / count as f64);
}

/// Frees one large piece of memory. Until then glibc gives pieces of that size back to the kernel, and a turn whose heap happens to end in
/// one would pay for having its pages cleared again.
fn keep_what_is_freed() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(31 << 20)));
}

/// The machine that the figures are of.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    format!("{cores} cores of {model}, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Every row.
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
    /// How many one turn is of, if the work is divided by `share`.
    fn count_of(&self, share: u64) -> u64 {
        (self.count / share).max(1)
    }

    /// The row of the table. `share` divides the work.
    fn measured(&self, number: usize, rounds: usize, share: u64) -> String {
        let (mut shiftwork, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let one = turn(number, SHIFTWORK);
            let other = if self.elsewhere { self.elsewhere(share) } else { turn(number, "beside") };
            shiftwork.push(one);
            by_hand.push(other);
            ratios.push(one / other);
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

    /// A turn of the side that is another program, which takes the time itself.
    fn elsewhere(&self, share: u64) -> f64 {
        let count = self.count_of(share);
        (self.by_hand)(count).as_secs_f64() * 1e9 / count as f64
    }
}

/// How many nanoseconds each took in a process of its own.
fn turn(number: usize, side: &str) -> f64 {
    let program = std::env::current_exe().expect("a program knows where it is");
    let measured = std::env::args().filter(|argument| argument == "--bench");
    let turn = Command::new(program).args([TURN, &number.to_string(), side]).args(measured).output();
    let turn = turn.expect("the program is there");
    let said = String::from_utf8_lossy(&turn.stdout);
    said.trim().parse().unwrap_or_else(|_| panic!("a turn says a time, and not {said:?} {turn:?}"))
}

/// The value below which `part` of `whole` of the values lie.
fn quantile(values: &mut [f64], part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * part / whole]
}
