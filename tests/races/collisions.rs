//! Mistakes that show in one millisecond only: that of a deadline. Times that are drawn evenly seldom meet it.
//!
//! Each is a small scenario whose faults are of few kinds, so that what is compared is when they strike, and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    time::Duration,
};

use shiftwork::{
    Context, Failure, Schedule, Tick,
    queue::{Claim, DeliveryId, Lease, Queue, Settlement, Timestamp},
};
use shiftwork_sim::{
    Dependency, FaultName, Ledger, Outcome, Plan, Process, Scenario, SimQueue, Surface, World, control,
    dependency::Latency,
    explore::{self, FaultMix},
    millis,
    plan::Timing,
    secs,
};
use tokio::time::{Instant, sleep, sleep_until};

/// The invariant that each breaks.
const RULE: &str = "nothing is lost at a deadline";

const HORIZON: Duration = Duration::from_secs(60);

/// One mistake.
struct Collision {
    name: &'static str,
    faults: &'static [FaultName],
    sites: &'static [&'static str],
    nodes: &'static [&'static str],
    build: fn(&mut World, &Ledger<bool>),
}

const COLLISIONS: [Collision; 4] = [
    Collision {
        name: "a lease is good up to and with its end",
        faults: &[FaultName::Slow, FaultName::Pause, FaultName::Outage],
        sites: &["printer"],
        nodes: &["left", "right"],
        build: lease_with_its_end,
    },
    Collision {
        name: "who is past the limit has been cancelled",
        faults: &[FaultName::Slow, FaultName::Outage, FaultName::Signal],
        sites: &["bank"],
        nodes: &[],
        build: answer_at_the_limit,
    },
    Collision {
        name: "a signal does not come with a tick",
        faults: &[FaultName::Signal, FaultName::Slow],
        sites: &["bank"],
        nodes: &[],
        build: signal_with_a_tick,
    },
    Collision {
        name: "a lease runs still or is over already",
        faults: &[FaultName::Crash, FaultName::Slow],
        sites: &["works"],
        nodes: &[],
        build: lease_over_just_now,
    },
];

impl Scenario for Collision {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "a mistake that shows in one millisecond"
    }

    fn surface(&self) -> Surface {
        let dependencies = self.sites.iter().map(|site| (*site).to_owned()).collect();
        Surface { dependencies, queues: Vec::new(), horizon: HORIZON }
    }

    fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    fn build(&self, world: &mut World) {
        let lost = Ledger::default();
        let seen = lost.clone();
        world.always(RULE, move |_| if seen.with(|lost| *lost) { Err("it was".to_owned()) } else { Ok(()) });
        (self.build)(world, &lost);
    }
}

/// A page is printed by whoever holds its lease, and a lease that is over is somebody else's.
fn lease_with_its_end(world: &mut World, lost: &Ledger<bool>) {
    let printer = world.dependency_with("printer", Latency::constant(millis(400)));
    let pages = world.queue::<u32>("pages");
    for number in 0..20 {
        let desk = pages.clone();
        world.at(secs(3) * number, "a page", move || desk.seed([number]));
    }
    let latest: Ledger<BTreeMap<DeliveryId, u64>> = Ledger::default();
    for name in ["left", "right"] {
        let (printer, pages, latest, lost) = (printer.clone(), pages.clone(), latest.clone(), lost.clone());
        world
            .foreign(name, move |process| print(process, printer.clone(), pages.clone(), latest.clone(), lost.clone()));
    }
}

async fn print(
    process: Process,
    printer: Dependency,
    pages: SimQueue<u32>,
    latest: Ledger<BTreeMap<DeliveryId, u64>>,
    lost: Ledger<bool>,
) {
    const LEASE: Duration = Duration::from_secs(3);
    let signals = process.signals().expect("a world refuses no handler");
    let work = async {
        loop {
            let (now, mut claimed) = (process.wall_time(), VecDeque::new());
            let next = pages.claim(Claim { max: 1, lease: LEASE, now }, &mut claimed).await;
            let Some(page) = claimed.pop_front() else {
                sleep(until(next.ok().flatten(), now)).await;
                continue;
            };
            let ends = now.checked_add(LEASE).expect("it is not the end of time");
            let (id, token) = (page.lease.delivery, page.lease.token.0);
            latest.with(|latest| latest.insert(id, token));
            let put = async {
                // Right would be: before its end.
                if process.wall_time() <= ends && latest.with(|latest| latest[&id] != token) {
                    lost.with(|lost| *lost = true);
                }
            };
            if printer.call(put).await.is_ok() {
                let _ = pages.settle(page.lease, Settlement::Ack, process.wall_time()).await;
            }
        }
    };
    tokio::select! {
        _ = signals.next() => {}
        () = work => {}
    }
}

/// How long it is to `next`; a second if nobody knows.
fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let known = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
    known.unwrap_or(secs(1)).clamp(millis(1), secs(1))
}

/// An entry is made, and undone unless the bank has answered in time.
fn answer_at_the_limit(world: &mut World, lost: &Ledger<bool>) {
    struct Undo(bool);
    impl Drop for Undo {
        fn drop(&mut self) {
            // Here the entry is taken out again, unless it is to stay.
            self.0 = false;
        }
    }
    let bank = world.dependency_with("bank", Latency::constant(millis(200)));
    let lost = lost.clone();
    world.node("books", move |node| {
        let (bank, lost) = (bank.clone(), lost.clone());
        let book = move |_: Tick, cx: Context| {
            let (bank, lost) = (bank.clone(), lost.clone());
            async move {
                let mut undo = Undo(true);
                bank.call(async {}).await?;
                undo.0 = false;
                let in_time = cx.deadline().is_none_or(|deadline| Instant::now() < deadline);
                // Right would be: undone, if it is not confirmed.
                if !in_time {
                    lost.with(|lost| *lost = true);
                }
                Ok::<(), Failure>(())
            }
        };
        node.host().worker("book", Schedule::every(secs(5)), book).cycle_timeout(secs(4)).run_until_signal()
    });
}

/// Every seven seconds something is billed.
fn signal_with_a_tick(world: &mut World, lost: &Ledger<bool>) {
    let _bank = world.dependency("bank");
    let lost = lost.clone();
    world.foreign("bills", move |process| {
        let lost = lost.clone();
        async move {
            let signals = process.signals().expect("a world refuses no handler");
            let mut next = Instant::now() + secs(7);
            loop {
                tokio::select! {
                    biased;
                    _ = signals.next() => break,
                    () = sleep_until(next) => next += secs(7),
                }
            }
            // Right would be: billed first, if it is due. The next life begins with the next tick.
            if Instant::now() >= next {
                lost.with(|lost| *lost = true);
            }
        }
    });
}

/// What was being done when the process died is gone on with in its next life, if its lease still runs, and else begun anew.
fn lease_over_just_now(world: &mut World, lost: &Ledger<bool>) {
    const LEASE: Duration = Duration::from_secs(9);
    let works = world.dependency_with("works", Latency::constant(secs(8)));
    let jobs = world.queue::<u32>("jobs");
    jobs.seed(0..60);
    // A file beside the process: whose lease it held last, and until when.
    let file: Ledger<Option<(Lease, Timestamp)>> = Ledger::default();
    let lost = lost.clone();
    world.foreign("worker", move |process| {
        let (works, jobs, file, lost) = (works.clone(), jobs.clone(), file.clone(), lost.clone());
        async move {
            let signals = process.signals().expect("a world refuses no handler");
            let work = async {
                loop {
                    let now = process.wall_time();
                    let held = match file.with(|file| file.take()) {
                        Some((lease, ends)) if ends > now => Some(lease),
                        Some((_, ends)) if ends < now => None,
                        Some(_) => {
                            // Right would be: over.
                            lost.with(|lost| *lost = true);
                            std::future::pending().await
                        }
                        None => None,
                    };
                    let mut claimed = VecDeque::new();
                    if held.is_none() {
                        let claim = Claim { max: 1, lease: LEASE, now };
                        let next = jobs.claim(claim, &mut claimed).await;
                        if claimed.is_empty() {
                            sleep(until(next.ok().flatten(), now)).await;
                            continue;
                        }
                        let ends = now.checked_add(LEASE).expect("it is not the end of time");
                        file.with(|file| *file = claimed.front().map(|job| (job.lease, ends)));
                    }
                    let lease = held.or_else(|| claimed.front().map(|job| job.lease)).expect("one of the two");
                    if works.call(async {}).await.is_ok() {
                        let _ = jobs.settle(lease, Settlement::Ack, process.wall_time()).await;
                    }
                    file.with(|file| *file = None);
                }
            };
            tokio::select! {
                _ = signals.next() => {}
                () = work => {}
            }
        }
    });
}

fn plan(collision: &Collision, seed: u64, timing: Timing) -> Plan {
    let mix = collision.faults.iter().fold(FaultMix::none().faults(1..=4), |mix, fault| mix.weight(*fault, 1));
    Plan { timing, ..explore::generate(collision, mix, seed).plan() }
}

fn is_lost(outcome: &Outcome) -> bool {
    crate::broke(outcome, RULE)
}

/// How many worlds it takes from `first` on, if at most `max` do.
fn worlds_to_find(collision: &Collision, first: u64, max: u64, timing: Timing) -> Option<u64> {
    let lost = |seed| is_lost(&explore::run_plan(collision, &plan(collision, seed, timing), false));
    (0..max).find(|world| lost(first + world)).map(|world| world + 1)
}

#[test]
fn faults_at_deadlines_find_what_drawn_times_miss() {
    for collision in &COLLISIONS {
        let found = worlds_to_find(collision, 0, 300, Timing::AtDeadlines);
        assert!(found.is_some(), "300 worlds with faults at deadlines do not show {:?}", collision.name);
        let drawn = worlds_to_find(collision, 0, 300, Timing::AsWritten);
        assert_eq!(drawn, None, "drawn times show {:?}: it says nothing about deadlines", collision.name);
    }
}

#[test]
fn the_times_that_came_of_a_world_replay_it() {
    // Elsewhere a node runs on past the instant at which a fault is put, and a world has one node.
    if !control::in_force().time {
        return;
    }
    for collision in &COLLISIONS {
        for seed in 0..60 {
            let put = explore::run_plan(collision, &plan(collision, seed, Timing::AtDeadlines), false);
            assert_eq!(put.plan.timing, Timing::FoundAtDeadlines);
            let again = explore::run_plan(collision, &put.plan, false);
            assert_eq!(again.fingerprint, put.fingerprint, "{:?}, seed {seed}:\n{}", collision.name, put.plan);
            assert_eq!(again.stats.struck, put.stats.struck);
        }
    }
}

/// A tick and a signal at one time, of which a `select!` takes the one that it draws.
const DRAWN: Collision = Collision {
    name: "who is asked first is drawn",
    faults: &[FaultName::Signal, FaultName::Slow],
    sites: &["bank"],
    nodes: &[],
    build: tick_or_signal,
};

fn tick_or_signal(world: &mut World, lost: &Ledger<bool>) {
    let bank = world.dependency("bank");
    let lost = lost.clone();
    world.foreign("bills", move |process| {
        let (bank, lost) = (bank.clone(), lost.clone());
        async move {
            let signals = process.signals().expect("a world refuses no handler");
            let (mut last, mut next) = (None, Instant::now() + secs(7));
            loop {
                tokio::select! {
                    _ = signals.next() => break,
                    () = sleep_until(next) => {
                        last = Some(next);
                        next += secs(7);
                        // Not waited for where a signal is there already.
                        tokio::select! {
                            biased;
                            _ = signals.next() => break,
                            _ = bank.call(async {}) => {}
                        }
                    }
                }
            }
            // A timer goes off up to a millisecond late.
            if last.is_some_and(|last: Instant| last.elapsed() <= millis(1)) {
                lost.with(|lost| *lost = true);
            }
        }
    });
}

#[test]
fn what_a_select_has_drawn_is_drawn_again_in_the_replay_and_while_it_shrinks() {
    // Elsewhere a node runs on past the instant at which a fault is put, or a `select!` draws what it likes.
    let held = control::in_force();
    if !(held.time && held.task_order) {
        return;
    }
    let mut found = Vec::new();
    for seed in 0..200 {
        let put = explore::run_plan(&DRAWN, &plan(&DRAWN, seed, Timing::AtDeadlines), false);
        let again = explore::run_plan(&DRAWN, &put.plan, false);
        assert_eq!(is_lost(&again), is_lost(&put), "seed {seed}:\n{}", put.plan);
        assert_eq!(again.fingerprint, put.fingerprint, "seed {seed}:\n{}", put.plan);
        found.extend(is_lost(&put).then_some(put));
    }
    assert!(found.len() >= 5, "only {} worlds drew the tick: they say nothing", found.len());
    for outcome in &found[..5] {
        let rule = &outcome.violations[0].rule;
        let shrunk = explore::shrink(&DRAWN, &outcome.plan, rule, 100, &mut |_| ControlFlow::Continue(())).outcome;
        assert!(shrunk.broke_first(rule), "{}", shrunk.plan);
    }
}

/// A collision's world that ends before most of its faults begin.
struct CutShort<'a>(&'a Collision);

impl Scenario for CutShort<'_> {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn about(&self) -> &'static str {
        self.0.about()
    }

    fn surface(&self) -> Surface {
        self.0.surface()
    }

    fn nodes(&self) -> Vec<String> {
        self.0.nodes()
    }

    fn build(&self, world: &mut World) {
        self.0.build(world);
        world.always("it is short", |record| if record.at < secs(15) { Ok(()) } else { Err("it was long".to_owned()) });
    }
}

#[test]
fn a_fault_that_still_waits_for_its_time_when_a_rule_breaks_is_not_there_in_the_replay() {
    // Elsewhere a node runs on past the instant at which a fault is put, and a world has one node.
    if !control::in_force().time {
        return;
    }
    for collision in &COLLISIONS {
        for seed in 0..200 {
            let put = explore::run_plan(&CutShort(collision), &plan(collision, seed, Timing::AtDeadlines), false);
            let again = explore::run_plan(&CutShort(collision), &put.plan, false);
            assert_eq!(again.fingerprint, put.fingerprint, "{:?}, seed {seed}:\n{}", collision.name, put.plan);
        }
    }
}

#[test]
fn what_is_found_at_a_deadline_shrinks_like_anything_else() {
    let collision = &COLLISIONS[2];
    let broken = |seed| explore::run_plan(collision, &plan(collision, seed, Timing::AtDeadlines), false);
    let found = (0..300).map(broken).find(is_lost).expect("300 worlds are enough");
    let rule = &found.violations[0].rule;
    let shrunk = explore::shrink(collision, &found.plan, rule, 300, &mut |_| ControlFlow::Continue(())).outcome.plan;
    assert_eq!(shrunk.timing, Timing::FoundAtDeadlines);
    assert!(shrunk.order.is_plain() && shrunk.faults.len() <= found.plan.faults.len(), "{shrunk}");
    // A second of rest after each life, and seven until its next tick.
    let began = shrunk.faults.iter().rev().nth(1).map_or(0, |before| before.at_ms + 1_000);
    let last = shrunk.faults.last().expect("it takes a signal");
    assert_eq!((last.kind.name(), last.at_ms), ("signal", began + 7_000), "{shrunk}");
}

/// `cargo test -p shiftwork-tests --test races --profile chaos -- collisions --ignored --nocapture`
#[test]
#[ignore = "prints the table of docs/exploration.md, in about a minute"]
fn the_table() {
    const STARTS: u64 = 5;
    const MAX: u64 = 10_000;
    println!("mean worlds to find over {STARTS} starts, at most {MAX} each");
    for collision in &COLLISIONS {
        let cell = |timing| {
            let found: Vec<_> =
                (0..STARTS).map(|start| worlds_to_find(collision, start * 100_000, MAX, timing)).collect();
            let hits = found.iter().flatten().count() as u64;
            match found.iter().flatten().sum::<u64>().checked_div(hits) {
                Some(mean) if hits == STARTS => mean.to_string(),
                Some(mean) => format!("{mean} ({hits} of {STARTS})"),
                None => "–".to_owned(),
            }
        };
        println!("| {} | {} | {} |", collision.name, cell(Timing::AtDeadlines), cell(Timing::AsWritten));
    }
}
