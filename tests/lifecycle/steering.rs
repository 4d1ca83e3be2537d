//! A host's handle: pausing, resuming and triggering workers, and its health.

use std::{num::NonZeroU64, time::Duration};

use shiftwork::{
    Breaker, Context, Continuous, ExitStatus, Failure, Health, HostBuilder, HostHandle, HostReport, OnFault, Overlap,
    QueueSourceExt, RateLimit, Retry, Schedule, ServiceContext, Signal, StopBudget, Tick, Worker, WorkerStatus,
    event::{Event, WorkerPhase},
};
use shiftwork_sim::{FaultKind, Outcome, Script, SimQueue, millis, secs, site};

use crate::worlds::{Count, Notes, attempts, time_of};

/// What somebody does with a handle, at its times.
type Act = fn(&HostHandle, &Notes);

/// Runs a host until it is told to stop, while somebody acts on its handle.
async fn run_and_act(host: HostBuilder, acts: &'static [(u64, Act)], notes: Notes) -> HostReport {
    let mut host = host.build().unwrap();
    let handle = host.handle();
    let acting = async {
        let mut now = Duration::ZERO;
        for (at, act) in acts {
            tokio::time::sleep(millis(*at) - now).await;
            now = millis(*at);
            act(&handle, &notes);
        }
    };
    tokio::join!(host.run_until_signal(), acting).0
}

/// A world whose node runs what `build` adds to its host, while somebody acts on it.
fn run(
    script: Script,
    build: impl Fn(HostBuilder) -> HostBuilder + Send + Sync + 'static,
    acts: &'static [(u64, Act)],
) -> (Outcome, Notes) {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| run_and_act(build(node.host()), acts, inside.clone()));
    });
    (outcome, notes)
}

fn every(period: u64) -> impl Fn(HostBuilder) -> HostBuilder {
    move |host| {
        let work = |tick: Tick, _: Context| async move {
            assert!(!tick.triggered || tick.missed == 0);
            Ok::<(), Failure>(())
        };
        host.worker("ticks", Schedule::every(secs(period)), work).host()
    }
}

fn starts(outcome: &Outcome) -> Vec<Duration> {
    attempts(outcome).into_iter().map(|(at, _)| at).collect()
}

#[test]
fn p1_a_paused_worker_begins_no_cycle_until_it_is_resumed() {
    let (outcome, _) = run(
        Script::new().at(millis(45_500), Signal::Terminate),
        every(10),
        &[(15_000, |host, _| host.pause("ticks").unwrap()), (35_000, |host, _| host.resume("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    // The tick of 30 s is served late; the one of 20 s is merged with it.
    assert_eq!(starts(&outcome), [0, 10, 35, 40].map(secs));
    assert_eq!(outcome.count(|event| matches!(event, Event::TicksMissed { count: 1, .. })), 1);
}

#[test]
fn p1_what_is_claimed_with_a_settlement_waits_in_its_queue_when_a_pause_comes_meanwhile() {
    let slow = site("jobs").slow(secs(2)).lasting(secs(1));
    let acts: &[(u64, Act)] =
        &[(2_000, |host, _| host.pause("jobs").unwrap()), (10_000, |host, _| host.resume("jobs").unwrap())];
    let outcome = Script::new().at(millis(500), slow).at(secs(20), Signal::Terminate).run_once(|world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        queue.seed(1..=2);
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            let host = node.host().worker("jobs", queue.clone().source(), work).host();
            run_and_act(host, acts, Notes::default())
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0), secs(10)]);
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::SettledUnrun { .. })), Some(secs(3)));
    assert_eq!(outcome.report().unwrap().worker("jobs").unwrap().cycles.succeeded, 2);
}

#[test]
fn p1_a_worker_that_is_paused_before_it_runs_opens_paused() {
    let (outcome, _) = run(
        Script::new().at(secs(25), Signal::Terminate),
        every(10),
        &[(0, |host, _| host.pause("ticks").unwrap()), (12_000, |host, _| host.resume("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    assert!(starts(&outcome).iter().all(|at| at.is_zero() || *at >= secs(12)), "{:?}", starts(&outcome));
    assert!(starts(&outcome).contains(&secs(12)));
}

#[test]
fn p1_a_worker_that_opens_paused_is_late_for_its_ticks_and_misses_none() {
    let acts: &[(u64, Act)] =
        &[(0, |host, _| host.pause("ticks").unwrap()), (12_000, |host, _| host.resume("ticks").unwrap())];
    for (schedule, expected) in [
        (Schedule::every(secs(10)).first_after(secs(5)), [12, 15, 25]),
        (Schedule::cron("*/10 * * * * *").unwrap(), [12, 20, 30]),
    ] {
        let host = move |host: HostBuilder| {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            host.worker("ticks", schedule.clone(), tick).host()
        };
        let (outcome, _) = run(Script::new().at(secs(31), Signal::Terminate), host, acts);
        outcome.assert_rules_kept();
        let late: Vec<_> = starts(&outcome).into_iter().filter(|at| !at.is_zero()).collect();
        assert_eq!(late, expected.map(secs));
    }
}

#[test]
fn p3_a_fixed_delay_begins_anew_after_a_trigger_though_a_tick_had_come_due() {
    let trigger: Act = |host, _| host.trigger("ticks").unwrap();
    let mut had_come_due = 0;
    // The second tick comes due a minute after the first was served, and waits for its jitter to pass.
    for second in (62..120).step_by(2) {
        let host = |host: HostBuilder| {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            host.worker("ticks", Schedule::with_delay(secs(60)).jitter(secs(30)), tick).host()
        };
        let acts: &'static [(u64, Act)] = vec![(second * 1_000, trigger)].leak();
        let (outcome, _) = run(Script::new().at(secs(400), Signal::Terminate), host, acts);
        outcome.assert_rules_kept();
        assert_eq!(outcome.count(|event| matches!(event, Event::TickDue { triggered: true, .. })), 1);
        let starts = starts(&outcome);
        let served = starts.iter().position(|at| *at == secs(second)).unwrap();
        had_come_due += u32::from(served == 1 && starts[0] + secs(60) <= secs(second));
        let next = starts[served + 1];
        assert!(
            (secs(second + 60)..=secs(second + 90)).contains(&next),
            "triggered at {second} s, and then at {next:?}"
        );
    }
    assert!(had_come_due > 0, "no trigger met a tick that had come due");
}

#[test]
fn no_tick_of_a_fixed_delay_is_missed_whatever_its_jitter_and_a_pause_do() {
    let host = |host: HostBuilder| {
        let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
        host.worker("ticks", Schedule::with_delay(secs(1)).jitter(secs(1)), tick).host()
    };
    let acts: &[(u64, Act)] = &[
        (10_500, |host, _| host.pause("ticks").unwrap()),
        (20_000, |host, _| host.resume("ticks").unwrap()),
        (30_500, |host, _| host.pause("ticks").unwrap()),
        (40_000, |host, _| host.resume("ticks").unwrap()),
        (51_500, |host, _| host.pause("ticks").unwrap()),
        (60_000, |host, _| host.resume("ticks").unwrap()),
    ];
    let (outcome, _) = run(Script::new().at(secs(70), Signal::Terminate), host, acts);
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::TicksMissed { .. })), 0);
}

#[test]
fn p1_a_pause_that_is_over_at_once_does_not_end_the_worker() {
    let blink: Act = |host, _| {
        host.pause("ticks").unwrap();
        host.resume("ticks").unwrap();
    };
    static ACTS: std::sync::OnceLock<[(u64, Act); 1]> = std::sync::OnceLock::new();
    let (outcome, _) =
        run(Script::new().at(secs(35), Signal::Terminate), every(10), ACTS.get_or_init(|| [(15_000, blink)]));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [0, 10, 20, 30].map(secs));
}

/// Three jobs of 40 s each, one at a time, with a lease of 6 s.
fn jobs(script: Script, acts: &'static [(u64, Act)]) -> (Outcome, Notes, shiftwork_sim::SimQueue<u32>) {
    let queue = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (made, notes) = (queue.clone(), Notes::default());
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed(1..=3);
        *made.lock().unwrap() = Some(jobs.clone());
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(40)).await;
                Ok::<(), Failure>(())
            };
            let host = node.host().worker("jobs", jobs.clone().source().lease(secs(6)), work).host();
            run_and_act(host, acts, inside.clone())
        });
    });
    let queue = queue.lock().unwrap().take().unwrap();
    (outcome, notes, queue)
}

#[test]
fn p1_a_worker_is_paused_and_resumed_in_the_delay_before_the_drain_too() {
    let script = Script::new().at(millis(3_200), Signal::Terminate);
    let delayed = |host: HostBuilder| every(1)(host.stop_budget(StopBudget::default().before_drain(secs(10))));
    let (outcome, _) = run(
        script,
        delayed,
        &[(4_500, |host, _| host.pause("ticks").unwrap()), (8_500, |host, _| host.resume("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    let before = (0..=4).map(secs);
    assert_eq!(starts(&outcome), before.chain([millis(8_500)]).chain((9..=13).map(secs)).collect::<Vec<_>>());
}

#[test]
fn t7_a_host_says_that_it_stops_from_the_first_moment_of_the_delay_before_the_drain() {
    fn note(host: &HostHandle, notes: &Notes) {
        let health = host.health();
        notes.add(format!("{health}, to be sent work: {}", health.is_ready()));
    }
    let delayed = |host: HostBuilder| every(1)(host.stop_budget(StopBudget::default().before_drain(secs(10))));
    let (outcome, notes) = run(
        Script::new().at(millis(3_200), Signal::Terminate),
        delayed,
        &[(3_199, note), (3_201, note), (13_199, note)],
    );
    outcome.assert_rules_kept();
    let stopping = "stopping, to be sent work: false";
    assert_eq!(notes.all(), ["ready, to be sent work: true", stopping, stopping]);
    // Work goes on all the same, until the delay is over.
    assert_eq!(starts(&outcome), (0..=13).map(secs).collect::<Vec<_>>());
    assert_eq!(outcome.ended_at(), millis(13_200));
}

#[test]
fn p2_a_cycle_in_flight_goes_on_under_its_lease_and_nothing_more_is_claimed() {
    let (outcome, _, queue) =
        jobs(Script::new().at(secs(100), Signal::Terminate), &[(10_000, |host, _| host.pause("jobs").unwrap())]);
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 0);
    assert_eq!(outcome.report().unwrap().worker("jobs").unwrap().cycles.succeeded, 1);
    let depth = queue.inspect_depth();
    assert_eq!((depth.ready, depth.leased), (2, 0));
}

#[test]
fn a_stop_works_while_a_worker_is_paused() {
    let (outcome, _) = run(
        Script::new().at(secs(20), Signal::Terminate),
        every(10),
        &[(15_000, |host, _| host.pause("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(20));
    assert!(outcome.report().unwrap().is_clean());
}

#[test]
fn p3_a_schedule_that_is_triggered_serves_a_tick_at_once_and_keeps_its_grid() {
    let (outcome, _) = run(
        Script::new().at(secs(25), Signal::Terminate),
        every(10),
        &[(13_000, |host, _| host.trigger("ticks").unwrap()), (17_000, |host, _| host.trigger("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [0, 10, 13, 17, 20].map(secs));
    let numbers: Vec<(u64, bool)> = outcome
        .events()
        .filter_map(|(_, event)| match event {
            Event::TickDue { number, triggered, .. } => Some((*number, *triggered)),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [(1, false), (2, false), (2, true), (2, true), (3, false)]);
}

#[test]
fn p3_a_retry_is_not_waited_for_once_the_worker_is_triggered() {
    let (outcome, _) = run(
        Script::new().at(secs(30), Signal::Terminate),
        |host| {
            let fails = |(): (), cx: Context| async move {
                if cx.attempt() == 1 { Err(Failure::transient("not yet")) } else { Ok(()) }
            };
            host.worker("once", Continuous::times(NonZeroU64::MIN), fails)
                .retry(Retry::exponential().initial(secs(60)).jitter_percent(0))
                .worker("ticks", Schedule::every(secs(3_600)), |tick: Tick, cx: Context| async move {
                    if cx.attempt() == 1 && !tick.triggered { Err(Failure::transient("not yet")) } else { Ok(()) }
                })
                .retry(Retry::exponential().initial(secs(60)).jitter_percent(0))
                .host()
        },
        &[(5_000, |host, _| {
            host.trigger("once").unwrap();
            host.trigger("ticks").unwrap();
        })],
    );
    outcome.assert_rules_kept();
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(0), 1), (secs(5), 2), (secs(5), 2)]);
}

#[test]
fn p3_a_trigger_that_two_lanes_hear_is_served_once_and_ends_neither() {
    let (outcome, _) = run(
        Script::new().at(secs(290), Signal::Terminate),
        |host| {
            let slow = |tick: Tick, cx: Context| async move {
                if tick.number == 1 && cx.attempt() == 1 {
                    return Err(Failure::transient("not yet"));
                }
                tokio::time::sleep(secs(105)).await;
                Ok(())
            };
            host.worker("ticks", Schedule::every(secs(100)).overlap(Overlap::Allow), slow)
                .concurrency(2)
                .retry(Retry::exponential().initial(secs(60)).jitter_percent(0))
                .host()
        },
        // One lane waits for its retry then, and the other one for the next tick.
        &[(5_000, |host, _| host.trigger("ticks").unwrap())],
    );
    outcome.assert_rules_kept();
    // The retry is what is served. At 100 s and at 200 s one lane is at work, and the other one is there for the tick.
    assert_eq!(attempts(&outcome), [(secs(0), 1), (secs(5), 2), (secs(100), 1), (secs(200), 1)]);
    assert_eq!(outcome.count(|event| matches!(event, Event::TickDue { triggered: true, .. })), 0);
}

/// A worker of a queue with one job, whose store is in trouble from the beginning, and which is triggered at this time.
fn triggered_at(time: Duration, trouble: FaultKind) -> Outcome {
    Script::new().at(secs(0), trouble).at(secs(100), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed([1]);
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let mut host = node.host().worker("jobs", queue.clone().source(), work).build().unwrap();
            let handle = host.handle();
            async move {
                let acting = async {
                    tokio::time::sleep(time).await;
                    handle.trigger("jobs").unwrap();
                };
                tokio::join!(host.run_until_signal(), acting).0
            }
        });
    })
}

#[test]
fn p3_a_queue_that_is_triggered_is_polled_at_once() {
    // The claim at 51 s has failed, and the next one would be made at 81 s.
    let outcome = triggered_at(secs(61), site("jobs").outage().lasting(secs(60)));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(61)]);
}

#[test]
fn p3_a_trigger_that_comes_while_a_claim_is_on_its_way_is_not_missed() {
    // The claim hears at 3 s that it has failed, and the next one would be made after that.
    let outcome = triggered_at(secs(2), site("jobs").hang().lasting(secs(3)));
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(3)]);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let (outcome, notes) = run(
        Script::new().at(secs(20), Signal::Terminate),
        |host| {
            let once = |(): (), _: Context| async { Ok::<(), Failure>(()) };
            let serve = |cx: ServiceContext| async move {
                cx.stopped().await;
                Ok(())
            };
            every(10)(host).worker("once", Continuous::times(NonZeroU64::MIN), once).service("http", serve).host()
        },
        &[
            (5_000, |host, notes| {
                for refused in [host.pause("tocks"), host.pause("once"), host.pause("http"), host.trigger("http")] {
                    notes.add(refused.unwrap_err().to_string());
                }
                assert!(host.pause("tocks").unwrap_err().is_unknown());
                assert!(host.trigger("http").unwrap_err().is_unsupported());
                host.pause("ticks").unwrap();
            }),
            (6_000, |host, notes| notes.add(host.trigger("ticks").unwrap_err().to_string())),
        ],
    );
    outcome.assert_rules_kept();
    assert_eq!(
        notes.all(),
        [
            r#"no worker is called "tocks": there are ["ticks", "once", "http"]"#,
            r#"worker "once" has ended: stopped"#,
            r#""http" is a service, which has no cycles to pause or trigger"#,
            r#""http" is a service, which has no cycles to pause or trigger"#,
            r#"worker "ticks" is paused: resume it first"#,
        ]
    );
}

#[test]
fn the_status_says_who_is_paused_and_the_health_who_is_not_well() {
    fn note(host: &HostHandle, notes: &Notes) {
        let paused: Vec<bool> = host.status().iter().map(|WorkerStatus { paused, .. }| *paused).collect();
        notes.add(format!("{} {paused:?}", host.health()));
    }
    let (outcome, notes) = run(
        Script::new().at(secs(20), Signal::Terminate),
        |host| {
            let breaks = |tick: Tick, _: Context| async move {
                if tick.number == 2 { Err(Failure::fatal("no licence")) } else { Ok(()) }
            };
            let slow = |cx: ServiceContext| async move {
                tokio::time::sleep(secs(2)).await;
                cx.ready();
                cx.stopped().await;
                tokio::time::sleep(secs(5)).await;
                Ok(())
            };
            host.worker("breaks", Schedule::every(secs(10)), breaks)
                .on_fault(OnFault::Degrade)
                .service("slow", slow)
                .handshake()
                .host()
        },
        &[
            (1_000, note),
            (5_000, note),
            (6_000, |host, _| host.pause("breaks").unwrap()),
            (7_000, note),
            (8_000, |host, _| host.resume("breaks").unwrap()),
            (15_000, note),
            (22_000, note),
        ],
    );
    outcome.assert_rules_kept();
    assert_eq!(
        notes.all(),
        [
            "starting [false, false]",
            "ready [false, false]",
            "ready [true, false]",
            "degraded [false, false]",
            "stopping [false, false]",
        ]
    );
    assert_eq!(outcome.report().unwrap().worker("breaks").unwrap().phase, WorkerPhase::Failed);
    assert!(!Health::Stopping.is_ready());
}

#[test]
fn a_worker_that_was_ended_makes_its_host_unwell_no_longer() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(format!("{} {}", host.health(), host.status()[0].breaker_open));
    }
    let (outcome, notes) = run(
        Script::new().at(secs(50), Signal::Terminate),
        |host| {
            let fails = |_: Tick, _: Context| async { Err::<(), Failure>(Failure::transient("no answer")) };
            let works = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            host.worker("mails", Schedule::every(secs(1)), fails)
                .breaker(Breaker::after(1))
                .worker("work", Schedule::every(secs(1)), works)
                .host()
        },
        &[(15_000, note), (16_000, |host, _| host.stop_worker("mails").unwrap()), (25_000, note)],
    );
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["degraded true", "ready false"]);
}

#[test]
fn a_service_that_was_started_again_makes_its_host_unwell_no_longer() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(format!("{} {}", host.health(), host.status()[0].failing));
    }
    let (outcome, notes) = run(
        Script::new().at(secs(50), Signal::Terminate),
        |host| {
            let lives = Count::default();
            let http = move |cx: ServiceContext| {
                let life = lives.up();
                async move {
                    if life == 1 {
                        tokio::time::sleep(secs(10)).await;
                        return Err(Failure::transient("lost its port"));
                    }
                    cx.stopped().await;
                    Ok(())
                }
            };
            host.service("http", http).on_fault(OnFault::restart()).host()
        },
        &[(5_000, note), (10_500, note), (15_000, note)],
    );
    outcome.assert_rules_kept();
    // Between its two lives none of the workers is at work.
    assert_eq!(notes.all(), ["ready false", "failing true", "ready false"]);
}

#[test]
fn a_queue_whose_store_is_out_makes_its_host_unwell_until_it_can_be_read() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(format!("{} {}", host.health(), host.status()[0].source_failing));
    }
    // Asked at 10 s, and again after 0.1 s, 0.2 s, 0.4 s and so on.
    let acts: &[(u64, Act)] = &[(5_000, note), (10_500, note), (11_500, note), (60_000, note), (130_000, note)];
    let notes = Notes::default();
    let inside = notes.clone();
    let script = Script::new().at(millis(9_500), site("jobs").outage().lasting(secs(60)));
    let outcome = script.at(secs(140), Signal::Terminate).run_once(move |world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let ticks = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let source = queue.clone().source().poll_interval(secs(10));
            let host = node.host().worker("jobs", source, work).worker("ticks", Schedule::every(secs(1)), ticks).host();
            run_and_act(host, acts, inside.clone())
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["ready false", "ready false", "degraded true", "degraded true", "ready false"]);
}

#[test]
fn a_worker_that_is_stopped_while_its_store_is_out_makes_its_host_unwell_no_longer() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(format!("{} {}", host.health(), host.status()[0].source_failing));
    }
    let acts: &[(u64, Act)] = &[(15_000, note), (16_000, |host, _| host.stop_worker("jobs").unwrap()), (25_000, note)];
    let notes = Notes::default();
    let inside = notes.clone();
    let script = Script::new().at(secs(5), site("jobs").outage().lasting(secs(60)));
    let outcome = script.at(secs(50), Signal::Terminate).run_once(move |world| {
        let queue: SimQueue<u32> = world.queue("jobs");
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let ticks = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let host = node.host().worker("jobs", queue.clone().source(), work);
            run_and_act(host.worker("ticks", Schedule::every(secs(1)), ticks).host(), acts, inside.clone())
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["degraded true", "ready false"]);
}

#[test]
fn bad_input_and_what_is_put_off_do_not_make_a_host_unwell() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(format!("{} {}", host.health(), host.status()[0].failing));
    }
    let (outcome, notes) = run(
        Script::new().at(secs(50), Signal::Terminate),
        |host| {
            let work = |tick: Tick, _: Context| async move {
                match tick.number {
                    2 => Err(Failure::invalid("no such customer")),
                    3 => Err(Failure::transient("no answer")),
                    4 => Err(Failure::discard("not wanted any more")),
                    _ => Ok(()),
                }
            };
            let once = Retry::exponential().attempts_max(1);
            host.worker("work", Schedule::every(secs(10)), work).retry(once).host()
        },
        &[(5_000, note), (15_000, note), (25_000, note), (35_000, note), (45_000, note)],
    );
    outcome.assert_rules_kept();
    // What says nothing of the worker leaves it as it was.
    assert_eq!(notes.all(), ["ready false", "ready false", "degraded true", "degraded true", "ready false"]);
}

#[test]
fn a_listener_that_panics_is_told_no_more_and_nobody_else_notices() {
    let heard = Count::default();
    let counted = heard.clone();
    let outcome = Script::new().at(secs(25), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let heard = counted.clone();
            let work = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let listener = move |_: tokio::time::Instant, event: &Event| {
                heard.up();
                assert!(!matches!(event, Event::CycleEnded { .. }), "it did not expect that");
            };
            node.host().listener(listener).worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, report.worker("work").unwrap().cycles.succeeded), (ExitStatus::Clean, 3));
    let until_then = outcome.events().take_while(|(_, event)| !matches!(event, Event::CycleEnded { .. })).count();
    assert_eq!(heard.get() as usize, until_then + 1);
}

#[test]
fn the_status_says_whose_rate_limit_holds_it_back() {
    fn note(host: &HostHandle, notes: &Notes) {
        notes.add(host.status()[0].rate_limited.to_string());
    }
    let (outcome, notes) = run(
        Script::new().at(secs(20), Signal::Terminate),
        |host| {
            let work = |(): (), _: Context| async {
                tokio::time::sleep(secs(4)).await;
                Ok::<(), Failure>(())
            };
            host.worker("work", Continuous::new(), work).rate_limit(RateLimit::of(1, secs(6))).host()
        },
        // It works for 4 s of every 6.
        &[(3_000, note), (5_000, note)],
    );
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["false", "true"]);
}

#[test]
fn a_restarted_worker_stays_paused() {
    let (outcome, _) = run(
        Script::new().at(secs(60), Signal::Terminate),
        |host| {
            let breaks = |tick: Tick, _: Context| async move {
                tokio::time::sleep(secs(3)).await;
                if tick.number == 1 { Err(Failure::fatal("no licence")) } else { Ok(()) }
            };
            host.worker("breaks", Schedule::every(secs(10)), breaks).on_fault(OnFault::restart()).host()
        },
        &[(1_000, |host, _| host.pause("breaks").unwrap())],
    );
    outcome.assert_rules_kept();
    assert_eq!(starts(&outcome), [secs(0)]);
    assert_eq!(outcome.count(|event| matches!(event, Event::IntakeOpened { .. })), 2);
}

fn ticks_and_tocks(host: HostBuilder) -> HostBuilder {
    let tock = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let slow = |_: Tick, _: Context| async {
        tokio::time::sleep(secs(4)).await;
        Ok::<(), Failure>(())
    };
    host.worker("ticks", Schedule::every(secs(10)), slow)
        .worker("tocks", Schedule::every(secs(7)), tock)
        .after("ticks")
        .host()
}

#[test]
fn t10_a_worker_is_stopped_alone_and_its_dependents_go_on() {
    let (outcome, _) = run(
        Script::new().at(secs(45), Signal::Terminate),
        ticks_and_tocks,
        &[
            (12_000, |host, _| host.stop_worker("ticks").unwrap()),
            (13_000, |host, _| host.stop_worker("ticks").unwrap()),
            (20_000, |host, notes| notes.add(host.stop_worker("ticks").unwrap_err().to_string())),
        ],
    );
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert!(report.is_clean());
    // The cycle of 10 s came to its end at 14 s.
    assert_eq!(report.worker("ticks").unwrap().cycles.succeeded, 2);
    assert_eq!(report.worker("tocks").unwrap().cycles.succeeded, 7);
    let ended = |event: &Event| matches!(event, Event::WorkerStopped { worker, .. } if worker.0 == 0);
    assert_eq!(outcome.events().find(|(_, event)| ended(event)).unwrap().0, secs(14));
    assert_eq!(outcome.count(|event| event.name() == "worker_stop_asked"), 1);
}

#[test]
fn t10_with_the_last_worker_the_host_has_come_to_its_end() {
    let stop: Act = |host, notes| {
        notes.add(host.stop_worker("tacks").unwrap_err().to_string());
        host.stop_worker("ticks").unwrap();
        host.stop_worker("tocks").unwrap();
    };
    static ACTS: std::sync::OnceLock<[(u64, Act); 1]> = std::sync::OnceLock::new();
    let (outcome, notes) = run(Script::new(), ticks_and_tocks, ACTS.get_or_init(|| [(12_000, stop)]));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(14));
    assert!(outcome.report().unwrap().is_clean());
    assert_eq!(notes.all(), [r#"no worker is called "tacks": there are ["ticks", "tocks"]"#]);
}

#[test]
fn t10_one_that_waits_for_its_next_life_does_not_get_it() {
    let (outcome, _) = run(
        Script::new().at(secs(30), Signal::Terminate),
        |host| {
            let breaks = |_: Tick, _: Context| async { Err::<(), Failure>(Failure::fatal("no licence")) };
            let restart = OnFault::Restart(shiftwork::Restart::default().initial(secs(10)));
            every(5)(host).worker("breaks", Schedule::every(secs(1)), breaks).on_fault(restart).host()
        },
        &[(3_000, |host, _| host.stop_worker("breaks").unwrap())],
    );
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!((report.worker("breaks").unwrap().phase, report.exit.code()), (WorkerPhase::Failed, 70));
    assert_eq!(report.worker("ticks").unwrap().cycles.succeeded, 6);
    assert_eq!(outcome.count(|event| event.name() == "worker_starting"), 2);
}

/// Takes 20 s for each start but the first. Its first life ends by a fault, if it is fragile.
struct SlowAgain {
    lives: Count,
    fragile: bool,
}

impl SlowAgain {
    fn new(fragile: bool) -> Self {
        Self { lives: Count::default(), fragile }
    }
}

impl Worker for SlowAgain {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if self.lives.up() > 1 {
            tokio::time::sleep(secs(20)).await;
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.fragile && self.lives.get() == 1 { Err(Failure::fatal("no licence")) } else { Ok(()) }
    }
}

#[test]
fn t10_one_that_starts_again_after_its_fault_ends_at_once_as_failed_and_its_dependents_go_on() {
    let (outcome, notes) = run(
        Script::new().at(secs(30), Signal::Terminate),
        |host| {
            let tock = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            host.worker("slow", Schedule::every(secs(10)), SlowAgain::new(true))
                .on_fault(OnFault::restart())
                .worker("tocks", Schedule::every(secs(7)), tock)
                .after("slow")
                .host()
        },
        // Its start hook would return at 21 s.
        &[(5_000, |host, notes| {
            notes.add(host.status()[0].phase.to_string());
            host.stop_worker("slow").unwrap();
        })],
    );
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["starting"]);
    let ended = time_of(&outcome, |event| matches!(event, Event::WorkerStopped { worker, .. } if worker.0 == 0));
    assert_eq!(ended, Some(secs(5)));
    let report = outcome.report().unwrap();
    assert_eq!((report.worker("slow").unwrap().phase, report.exit.code()), (WorkerPhase::Failed, 70));
    assert_eq!(report.worker("tocks").unwrap().cycles.succeeded, 5);
    assert_eq!(outcome.ended_at(), secs(30));
}

#[test]
fn t10_one_that_starts_again_with_its_group_ends_as_stopped_and_who_comes_after_it_does_not_wait() {
    let (outcome, _) = run(
        Script::new().at(secs(40), Signal::Terminate),
        |host| {
            let cycles = Count::default();
            let breaks = move |_: Tick, _: Context| {
                let broke = cycles.up() == 2;
                async move { if broke { Err(Failure::fatal("no licence")) } else { Ok(()) } }
            };
            host.group("pair", shiftwork::Group::one_for_all())
                .worker("store", Schedule::every(secs(10)), SlowAgain::new(false))
                .in_group("pair")
                .worker("api", Schedule::every(secs(10)), breaks)
                .in_group("pair")
                .after("store")
                .host()
        },
        // Both are down since the fault at 10 s; "store" would be at work again at 31 s, and "api" after it.
        &[(15_000, |host, _| host.stop_worker("store").unwrap())],
    );
    outcome.assert_rules_kept();
    let ended = time_of(&outcome, |event| matches!(event, Event::WorkerStopped { worker, .. } if worker.0 == 0));
    assert_eq!(ended, Some(secs(15)));
    let report = outcome.report().unwrap();
    assert_eq!((report.worker("store").unwrap().phase, report.exit), (WorkerPhase::Stopped, ExitStatus::Clean));
    // At 0 s, and at 15, 25 and 35 s.
    assert_eq!(report.worker("api").unwrap().cycles.succeeded, 4);
    assert_eq!((report.worker("store").unwrap().restarts, report.worker("api").unwrap().restarts), (1, 1));
}

/// Neither its cycle nor its stop hook ever ends.
struct Endless;

impl Worker for Endless {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        std::future::pending().await
    }

    async fn stop(&self) -> Result<(), Failure> {
        std::future::pending().await
    }
}

#[test]
fn t10_it_takes_no_longer_than_a_stop_whatever_its_cycle_and_its_hook_do() {
    let (outcome, _) = run(
        Script::new().at(secs(60), Signal::Terminate),
        |host| {
            let budget = StopBudget::default().drain(secs(10)).cancel(secs(2)).close(secs(1));
            every(5)(host.stop_budget(budget)).worker("endless", Schedule::every(secs(1)), Endless).host()
        },
        &[(20_000, |host, _| host.stop_worker("endless").unwrap())],
    );
    outcome.assert_rules_kept();
    let ended = |event: &Event| matches!(event, Event::WorkerStopped { worker, .. } if worker.0 == 1);
    assert_eq!(outcome.events().find(|(_, event)| ended(event)).unwrap().0, secs(33));
}

#[test]
fn t10_no_fault_of_its_group_starts_it_again() {
    let (outcome, _) = run(
        Script::new().at(secs(40), Signal::Terminate),
        |host| {
            let breaks = |tick: Tick, _: Context| async move {
                if tick.number == 2 { Err(Failure::fatal("no licence")) } else { Ok(()) }
            };
            ticks_and_tocks(host.group("pair", shiftwork::Group::one_for_all()))
                .worker("breaks", Schedule::every(secs(13)), breaks)
                .in_group("pair")
                .worker("slow", Schedule::every(secs(11)), |_: Tick, _: Context| async {
                    tokio::time::sleep(secs(5)).await;
                    Ok::<(), Failure>(())
                })
                .in_group("pair")
                .host()
        },
        // It drains until 16 s, and the fault is at 13 s.
        &[(12_000, |host, _| host.stop_worker("slow").unwrap())],
    );
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("slow").unwrap().phase, WorkerPhase::Stopped);
    assert_eq!((report.worker("slow").unwrap().restarts, report.worker("breaks").unwrap().restarts), (0, 2));
}
