//! How often cycles may begin, and how many run at once.

use std::time::Duration;

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, BoxError, Breaker, Context, Continuous, Failure, Overlap,
    QueueSourceExt, RateLimit, Retry, Schedule, Signal, Source, Tick, Worker,
    event::{Event, Settle},
    source::{Claimed, Lane, LaneContext, Offer},
};
use shiftwork_sim::{
    Dependency, Outcome, Script, SimQueue, What, dependency::Latency, millis, plan, record::QueueOperation, secs, site,
};

use crate::worlds::{Jobs, attempts};

/// A queue of so many jobs, each of which takes a second, for eight lanes with a limit.
fn limited(jobs: u32, limit: RateLimit, lease: Duration, script: Script) -> Outcome {
    script.run_once(move |world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=jobs);
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            let source = queue.clone().source().lease(lease);
            node.host().worker("jobs", source, work).concurrency(8).rate_limit(limit).run_until_signal()
        });
    })
}

/// When cycles began, in milliseconds.
fn began(outcome: &Outcome) -> Vec<u128> {
    attempts(outcome).into_iter().map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn c9_as_many_cycles_run_side_by_side_as_declared_and_no_more() {
    for concurrency in [1, 3] {
        let (outcome, seen) = Jobs { jobs: 10, concurrency, ..Jobs::default() }
            .run(|build| Script::new().at(secs(60), Signal::Terminate).run_once(build));
        outcome.assert_rules_kept();
        assert_eq!(seen.done().len(), 10);
        let (mut side_by_side, mut most) = (0_usize, 0);
        for (_, event) in outcome.events() {
            match event {
                Event::CycleStarted { .. } => side_by_side += 1,
                Event::CycleEnded { .. } => side_by_side -= 1,
                _ => {}
            }
            most = most.max(side_by_side);
        }
        assert_eq!(most, concurrency);
    }
}

#[test]
fn c12_cycles_of_all_lanes_begin_as_a_burst_and_then_evenly_spaced() {
    let limit = RateLimit::of(4, secs(1)).burst(3);
    let outcome = limited(8, limit, secs(30), Script::new().at(secs(20), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome), [0, 0, 0, 250, 500, 750, 1_000, 1_250]);
}

#[test]
fn c12_no_lease_waits_for_the_limit() {
    let limit = RateLimit::of(1, secs(10));
    let outcome = limited(5, limit, secs(3), Script::new().at(secs(60), Signal::Terminate));
    outcome.assert_rules_kept();
    let claimed = outcome.timeline.records().iter();
    let claimed = claimed.filter(|record| matches!(record.what, What::Queue(QueueOperation::Claimed { .. })));
    let claimed: Vec<u128> = claimed.map(|record| record.at.as_millis()).collect();
    assert_eq!(claimed, [0, 10_000, 20_000, 30_000, 40_000]);
    assert_eq!(began(&outcome), claimed);
}

#[test]
fn c12_a_stop_cuts_the_wait_for_the_limit_short() {
    let limit = RateLimit::of(1, secs(600));
    let outcome = limited(5, limit, secs(30), Script::new().at(secs(5), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome), [0]);
    assert_eq!(outcome.ended_at(), secs(5));
}

#[test]
fn c12_a_quiet_time_earns_a_burst_and_no_more() {
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        let later = queue.clone();
        world.at(secs(10), "jobs", move || later.seed(1..=6));
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let limit = RateLimit::of(1, secs(1)).burst(2);
            node.host().worker("jobs", queue.clone().source(), work).concurrency(8).rate_limit(limit).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome), [10_000, 10_000, 11_000, 12_000, 13_000, 14_000]);
}

#[test]
fn c12_a_lane_that_waits_for_its_retry_takes_nobody_elses_turn() {
    let outcome = Script::new().at(millis(1_950), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            // The first cycle fails, and its lane waits out a long backoff.
            let work = |(): (), cx: Context| async move {
                if cx.cycle().0 == 1 { Err(Failure::retry_after(secs(60), "not now")) } else { Ok(()) }
            };
            let limit = RateLimit::of(10, secs(1));
            node.host().worker("sync", Continuous::new(), work).concurrency(2).rate_limit(limit).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome), (0..20).map(|cycle| cycle * 100).collect::<Vec<_>>());
}

struct Bulk;

impl BatchWorker for Bulk {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn c12_a_batch_begins_once_and_a_crash_begins_anew() {
    let outcome = Script::new().at(secs(12), plan::crash(secs(1))).at(secs(100), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=20);
        world.node("node", move |node| {
            let limit = RateLimit::of(1, secs(10));
            node.host()
                .batch_worker("jobs", queue.clone().source(), Batches::of(5), Bulk)
                .rate_limit(limit)
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let batches = outcome.events().filter(|(_, event)| matches!(event, Event::BatchStarted { .. }));
    assert_eq!(batches.map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0, 10, 13, 23]);
}

#[test]
fn t1_a_batch_that_waits_for_the_limit_when_intake_closes_has_claimed_nothing_and_does_not_begin() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=10);
        world.node("node", move |node| {
            let worker = node.host().batch_worker("jobs", queue.clone().source(), Batches::of(5), Bulk);
            worker.rate_limit(RateLimit::of(1, secs(600))).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let batches = outcome.events().filter(|(_, event)| matches!(event, Event::BatchStarted { .. }));
    assert_eq!(batches.map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [0]);
    let claimed = outcome.timeline.records().iter();
    let claimed = claimed.filter(|record| matches!(record.what, What::Queue(QueueOperation::Claimed { .. })));
    assert_eq!(claimed.count(), 5);
    assert_eq!(outcome.ended_at(), secs(5));
}

/// When the limit was said to hold and to ease, in milliseconds.
fn said(outcome: &Outcome) -> Vec<(&'static str, u128)> {
    let said = outcome
        .events()
        .filter(|(_, event)| matches!(event, Event::RateLimitReached { .. } | Event::RateLimitEased { .. }));
    said.map(|(at, event)| (event.name(), at.as_millis())).collect()
}

#[test]
fn c12_a_worker_at_its_limit_says_so_once_and_once_when_it_is_not() {
    let limit = RateLimit::of(4, secs(1)).burst(3);
    let outcome = limited(20, limit, secs(30), Script::new().at(secs(30), Signal::Terminate));
    outcome.assert_rules_kept();
    // Three begin at once, the others a quarter of a second apart. Then as many lanes as make a burst wait for their places, and
    // find nothing.
    assert_eq!(*began(&outcome).last().unwrap(), 4_250);
    assert_eq!(said(&outcome), [("rate_limit_reached", 0), ("rate_limit_eased", 6_000)]);
}

#[test]
fn c12_a_long_wait_is_said_as_it_begins_and_ends_with_the_intake() {
    let outcome = limited(5, RateLimit::of(1, secs(600)), secs(30), Script::new().at(secs(700), Signal::Terminate));
    outcome.assert_rules_kept();
    assert_eq!(said(&outcome), [("rate_limit_reached", 0), ("rate_limit_eased", 700_000)]);
}

#[test]
fn c12_a_worker_below_its_limit_says_nothing() {
    let outcome = Script::new().at(secs(30), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        for second in 1..20 {
            let queue = queue.clone();
            world.at(secs(second), "jobs", move || queue.seed([1]));
        }
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let limit = RateLimit::of(5, secs(1));
            node.host().worker("jobs", queue.clone().source(), work).rate_limit(limit).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome).len(), 19);
    assert_eq!(said(&outcome), []);
}

#[test]
fn c12_a_batch_whose_first_input_is_moved_aside_says_no_sooner_that_it_is_held_back() {
    let outcome = Script::new().at(secs(40), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        for second in [10, 20, 30] {
            let queue = queue.clone();
            // Another lane than the one that has waited for them is in front, once the first is moved aside.
            world.at(secs(second), "jobs", move || {
                queue.seed_undecodable("expected a number, found \"seven\"");
                queue.seed([1]);
            });
        }
        world.node("node", move |node| {
            let worker = node.host().batch_worker("jobs", queue.clone().source(), Batches::of(5), Bulk);
            worker.rate_limit(RateLimit::of(1, secs(1))).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::BatchStarted { .. })), 3);
    assert_eq!(said(&outcome), []);
}

#[test]
fn c12_an_input_that_waits_in_its_lane_is_held_back() {
    let outcome = Script::new().at(millis(9_500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let (schedule, limit) = (Schedule::every(secs(2)), RateLimit::of(1, secs(3)));
            node.host().worker("sync", schedule, work).rate_limit(limit).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(said(&outcome)[0].0, "rate_limit_reached");
}

/// A worker with two lanes, or two batches side by side, that may begin one cycle in 10 s. Its first one fails, and opens the breaker.
fn limited_in_an_outage(batches: bool) -> Outcome {
    let outage = site("backend").outage().lasting(secs(30));
    Script::new().at(secs(0), outage).at(secs(100), Signal::Terminate).run_once(move |world| {
        let backend = world.dependency_with("backend", Latency::constant(millis(100)));
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=3);
        world.node("node", move |node| {
            let (source, backend) = (queue.clone().source(), backend.clone());
            let worker = if batches {
                node.host().batch_worker("jobs", source, Batches::of(1), Calls(backend)).concurrency(2)
            } else {
                node.host().worker("jobs", source, Calls(backend)).concurrency(2)
            };
            let breaker = Breaker::after(1).probe_every(secs(60)).jitter_percent(0);
            worker.rate_limit(RateLimit::of(1, secs(10))).breaker(breaker).run_until_signal()
        });
    })
}

/// Calls its dependency.
struct Calls(Dependency);

impl Worker for Calls {
    type Input = u32;

    async fn cycle(&self, _: u32, _: &Context) -> Result<(), Failure> {
        Ok(self.0.call(async {}).await?)
    }
}

impl BatchWorker for Calls {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(self.0.call(async {}).await?)
    }
}

#[test]
fn b1_who_has_waited_for_the_limit_since_before_the_breaker_opened_asks_for_no_work() {
    for batches in [false, true] {
        let outcome = limited_in_an_outage(batches);
        outcome.assert_rules_kept();
        let claimed = outcome.timeline.records().iter();
        let claimed = claimed.filter(|record| matches!(record.what, What::Queue(QueueOperation::Claimed { .. })));
        // The probe, and those that follow; none when the second lane has its place, at 10 s.
        assert_eq!(claimed.map(|record| record.at.as_secs()).collect::<Vec<_>>(), [0, 60, 70, 80], "{batches}");
    }
}

/// Each tick that a cycle ran for, with its attempt.
fn ticks_of(outcome: &Outcome) -> Vec<(u64, u32)> {
    let (mut ticks, mut number) = (Vec::new(), 0);
    for (_, event) in outcome.events() {
        match event {
            Event::TickDue { number: due, .. } => number = *due,
            Event::CycleStarted { attempt, .. } => ticks.push((number, *attempt)),
            _ => {}
        }
    }
    ticks
}

#[test]
fn p1_a_pause_takes_no_tick_from_who_waits_for_the_limit() {
    let outcome = Script::new().at(millis(18_500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            // The first attempt at each tick fails, and the second waits for the limit when the pause begins.
            let work = |_: Tick, cx: Context| async move {
                if cx.attempt() == 1 { Err(Failure::transient("not yet")) } else { Ok(()) }
            };
            let schedule = Schedule::every(secs(9));
            let mut host = node
                .host()
                .worker("sync", schedule, work)
                .retry(Retry::exponential().initial(secs(1)).jitter_percent(0))
                .rate_limit(RateLimit::of(1, secs(4)))
                .build()
                .unwrap();
            let handle = host.handle();
            async move {
                let acting = async {
                    tokio::time::sleep(secs(2)).await;
                    handle.pause("sync").unwrap();
                    tokio::time::sleep(secs(3)).await;
                    handle.resume("sync").unwrap();
                };
                tokio::join!(host.run_until_signal(), acting).0
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(ticks_of(&outcome), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]);
    assert_eq!(began(&outcome), [0, 5_000, 9_000, 13_000, 18_000]);
}

#[test]
fn d6_a_tick_that_waits_for_the_limit_gives_its_place_to_the_next_one() {
    let outcome = Script::new().at(millis(12_500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let schedule = Schedule::every(secs(3)).overlap(Overlap::CancelPrevious);
            node.host().worker("sync", schedule, work).rate_limit(RateLimit::of(1, secs(5))).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    // The third waited from 6 s to 9 s, when the fourth came due.
    assert_eq!(ticks_of(&outcome), [(1, 1), (2, 1), (4, 1)]);
    assert_eq!(began(&outcome), [0, 5_000, 10_000]);
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleEnded { failure: Some(_), .. })), 0);
}

/// A source of the program's own with a part of the work in each lane: that of the first is empty.
struct Parts;

struct Part {
    of: usize,
}

impl Source for Parts {
    type Input = usize;
    type Lane = Part;

    fn lane(&self, cx: &LaneContext) -> Part {
        Part { of: cx.index() }
    }
}

impl Lane for Part {
    type Input = usize;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<usize>>, Failure> {
        if self.of == 0 {
            cx.closed().await;
        }
        Ok((!cx.is_closed()).then(|| Offer::of(self.of, 1)))
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, _: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn c12_a_lane_with_nothing_to_do_keeps_no_place_from_the_others() {
    let outcome = Script::new().at(millis(4_500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: usize, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("parts", Parts, work)
                .concurrency(3)
                .rate_limit(RateLimit::of(1, secs(1)))
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(began(&outcome), [0, 1_000, 2_000, 3_000, 4_000]);
}
