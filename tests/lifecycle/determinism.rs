//! A world is a function of its seed, whatever its code takes its chance and its time from.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    process::Command,
    sync::{Arc, Barrier, Mutex, mpsc},
    time::Duration,
};

use rand::Rng;
use shiftwork::{Context, Failure, FailureKind, Retry, Schedule, Signal, Tick, event::Event};
use shiftwork_sim::{Ledger, Outcome, Script, millis, plan, secs};

use crate::worlds::Notes;

/// A program that takes time and chance from wherever programs take them, and tells what it got in the messages of its
/// failures, which are part of the fingerprint.
fn restless(seed: u64) -> Outcome {
    let script = Script::new()
        .seed(seed)
        .at(millis(3_500), plan::pause(secs(4)))
        .at(secs(12), plan::crash(secs(1)))
        .at(secs(30), Signal::Terminate);
    script.run_once(|world| {
        let smtp = world.dependency("smtp");
        world.node("restless", move |node| {
            let smtp = smtp.clone();
            let work = move |_: Tick, _: Context| {
                let smtp = smtp.clone();
                async move {
                    let drawn = everything().await;
                    smtp.call(async {}).await?;
                    Err::<(), Failure>(Failure::invalid(drawn))
                }
            };
            node.host().worker("work", Schedule::every(secs(1)), work).run_until_signal()
        });
    })
}

/// A little of every source of time and chance.
#[expect(clippy::disallowed_methods, reason = "that a world holds these, too, is what is tested")]
async fn everything() -> String {
    let (began, wall) = (std::time::Instant::now(), std::time::SystemTime::now());
    let map: HashMap<u32, ()> = (0..20).map(|key| (key, ())).collect();
    let order: Vec<u32> = map.into_keys().collect();
    let naps = (0..8u64).map(|nap| tokio::spawn(tokio::time::sleep(millis(fastrand::u64(1..50) + nap))));
    let naps: Vec<_> = naps.collect();
    let first = tokio::select! {
        () = tokio::time::sleep(millis(5)) => 1,
        () = tokio::time::sleep(millis(5)) => 2,
        () = tokio::time::sleep(millis(5)) => 3,
    };
    for nap in naps {
        nap.await.unwrap();
    }
    let [one, other] = [3_u64, 4].map(|factor| {
        tokio::task::spawn_blocking(move || factor * u64::from(uuid::Uuid::new_v4().as_fields().0) % 1_000)
    });
    let blocking = (one.await.unwrap(), other.await.unwrap());
    let since_epoch = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!(
        "{order:?} {first} {blocking:?} {:?} {since_epoch:?} {} {} {} {} {}",
        began.elapsed(),
        RandomState::new().hash_one(17),
        rand::rng().random::<u64>(),
        fastrand::u64(..),
        uuid::Uuid::new_v4(),
        // Not `now_v7`, whose counter is the whole process's.
        uuid::Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            since_epoch.as_secs(),
            since_epoch.subsec_nanos()
        )),
    )
}

/// The fingerprint of a restless world, and where two of them part, if they do.
fn assert_same(one: &Outcome, other: &Outcome) {
    let (a, b) = (one.timeline.records(), other.timeline.records());
    if let Some(index) = (0..a.len().max(b.len())).find(|index| a.get(*index) != b.get(*index)) {
        panic!("they part at record {index}:\n  {:?}\n  {:?}", a.get(index), b.get(index));
    }
    assert_eq!(one.fingerprint, other.fingerprint, "the same records, but another order of polls");
}

#[test]
fn time_and_chance_of_unmodified_code_follow_the_seed_whatever_ran_before() {
    let first = restless(1);
    first.assert_rules_kept();
    assert_same(&first, &restless(1));
    let others: Vec<u64> = (2..20).map(|seed| restless(seed).fingerprint).collect();
    assert!(!others.contains(&first.fingerprint), "another seed is another world");
    assert_same(&first, &restless(1));
    let beside: Vec<_> = (0..4).map(|_| std::thread::spawn(|| restless(1))).collect();
    for other in beside {
        assert_same(&first, &other.join().unwrap());
    }
}

/// A little chance from each generator that is not a library's own.
fn a_little_chance() -> String {
    format!("{} {}", fastrand::u64(..), uuid::Uuid::new_v4())
}

/// Draws as it is dropped, if it is to.
struct Draws(bool);

impl Drop for Draws {
    fn drop(&mut self) {
        if self.0 {
            drop(a_little_chance());
        }
    }
}

#[test]
fn what_the_destructors_of_a_killed_process_draw_shifts_nobodys_draws() {
    let drawn = |last_draws: bool| {
        let notes = Notes::default();
        let noted = notes.clone();
        let script = Script::new().at(secs(5), plan::crash(secs(1))).at(secs(10), Signal::Terminate);
        let outcome = script.run_once(move |world| {
            world.foreign("node", move |process| {
                let noted = noted.clone();
                async move {
                    let signals = process.signals().unwrap();
                    noted.add(a_little_chance());
                    let _draws = Draws(last_draws);
                    signals.next().await;
                }
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(outcome.stats.boots, 2);
        notes.all()
    };
    assert_eq!(drawn(true), drawn(false));
}

/// Where the other process is told to say what it got.
const PRINT: &str = "SHIFTWORK_TEST_PRINT_FINGERPRINT";

#[test]
fn time_and_chance_of_unmodified_code_follow_the_seed_in_another_process() {
    let fingerprint = restless(1).fingerprint;
    if std::env::var_os(PRINT).is_some() {
        println!("\nfingerprint {fingerprint:016x}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let name = "determinism::time_and_chance_of_unmodified_code_follow_the_seed_in_another_process";
    let output = Command::new(this).args([name, "--exact", "--nocapture"]).env(PRINT, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("fingerprint {fingerprint:016x}")), "{said}");
}

#[test]
fn a_world_begins_at_its_own_time_and_lets_it_pass_for_everybody() {
    let notes = Notes::default();
    let noted = notes.clone();
    let outcome = Script::new().at(secs(25), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let noted = noted.clone();
            let tick = move |_: Tick, cx: Context| {
                noted.add(format!("{} {:?}", cx.wall_time(), wall()));
                async { Ok::<(), Failure>(()) }
            };
            node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let since_epoch = 1_767_225_600;
    let expected = [0, 10, 20].map(|at| format!("2026-01-01T00:00:{at:02}Z {:?}", secs(since_epoch + at)));
    assert_eq!(notes.all(), expected);
}

#[expect(clippy::disallowed_methods, reason = "that it is the world's is what is tested")]
fn wall() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "such a sleep is what must be found")]
fn l3_a_poll_that_blocks_its_thread_is_found_with_its_task() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: Tick, _: Context| async {
                std::thread::sleep(millis(50));
                Ok::<(), Failure>(())
            };
            node.host().worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
    });
    let violation = outcome.expect_broken("L3");
    assert!(violation.happened.ends_with("blocked it for 50ms"), "{violation}");
    assert!(violation.happened.contains("spawned at "), "{violation}");
    assert_eq!(violation.at, millis(50));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn blocking_work_may_block_and_takes_the_worlds_time() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: Tick, _: Context| async {
                let slept = tokio::task::spawn_blocking(|| {
                    let began = std::time::Instant::now();
                    std::thread::sleep(secs(2));
                    began.elapsed()
                });
                assert_eq!(slept.await.unwrap(), secs(2));
                Ok::<(), Failure>(())
            };
            node.host().worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let ended = outcome.events().find(|(_, event)| event.name() == "cycle_ended").unwrap().0;
    assert_eq!(ended, secs(2));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn blocking_work_that_sleeps_keeps_no_task_waiting() {
    for seed in 0..20 {
        let outcome = Script::new().seed(seed).at(secs(60), Signal::Terminate).run_once(|world| {
            world.node("node", |node| {
                let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                let block = |_: Tick, _: Context| async {
                    tokio::task::spawn_blocking(|| std::thread::sleep(secs(8))).await.unwrap();
                    Ok::<(), Failure>(())
                };
                node.host()
                    .worker("tick", Schedule::every(secs(1)), tick)
                    .worker("block", Schedule::every(secs(3_600)).first_after(secs(12)), block)
                    .run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!(outcome.report().unwrap().worker("tick").unwrap().cycles.succeeded, 60);
        let late = outcome.count(|event| matches!(event, Event::TickDue { late, .. } if !late.is_zero()));
        assert_eq!(late, 0, "seed {seed}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn pieces_of_blocking_work_sleep_side_by_side_and_end_in_the_order_of_their_times() {
    let ended: Ledger<Vec<u64>> = Ledger::default();
    let seen = ended.clone();
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let ended = ended.clone();
            let work = move |_: Tick, _: Context| {
                let ended = ended.clone();
                async move {
                    let mut pieces = tokio::task::JoinSet::new();
                    for place in 0..12 {
                        let (ended, long) = (ended.clone(), place * 5 % 12);
                        pieces.spawn_blocking(move || {
                            std::thread::sleep(secs(1 + long));
                            ended.with(|ended| ended.push(long));
                        });
                    }
                    while pieces.join_next().await.is_some() {}
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("work", Schedule::every(secs(100)), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.with(|ended| ended.clone()), (0..12).collect::<Vec<_>>());
    let ended = outcome.events().find(|(_, event)| event.name() == "cycle_ended").unwrap().0;
    assert_eq!(ended, secs(12), "the longest of them");
}

/// Every ten seconds blocking work waits for a number, which a task of the same cycle has two seconds later.
fn waits_for_a_number(wait: fn(mpsc::Receiver<u32>) -> Option<u32>) -> Outcome {
    Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        world.node("node", move |node| {
            let work = move |_: Tick, _: Context| async move {
                let (sender, receiver) = mpsc::channel();
                let waits = tokio::task::spawn_blocking(move || wait(receiver));
                tokio::time::sleep(secs(2)).await;
                sender.send(17).unwrap();
                assert_eq!(waits.await.unwrap(), Some(17));
                Ok::<(), Failure>(())
            };
            node.host().worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
    })
}

#[test]
fn a_blocking_thread_that_waits_hears_of_it_when_a_task_has_news() {
    let outcome = waits_for_a_number(|receiver| receiver.recv_timeout(secs(30)).ok());
    outcome.assert_rules_kept();
    let ended = outcome.events().find(|(_, event)| event.name() == "cycle_ended").unwrap().0;
    assert_eq!(ended, secs(2));
}

#[test]
fn blocking_work_that_waits_for_a_task_lets_it_go_on() {
    let outcome = waits_for_a_number(|receiver| receiver.recv().ok());
    outcome.assert_rules_kept();
    assert_eq!(outcome.report().unwrap().worker("work").unwrap().cycles.succeeded, 6);
}

/// Three pieces of blocking work that meet, and take turns with a lock while they sleep: in which order, and until when.
fn they_meet(seed: u64) -> (Vec<(u32, u128)>, u64) {
    let order: Ledger<Vec<(u32, u128)>> = Ledger::default();
    let seen = order.clone();
    let outcome = Script::new().seed(seed).at(secs(60), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let order = order.clone();
            let work = move |_: Tick, _: Context| {
                let order = order.clone();
                async move {
                    let began = tokio::time::Instant::now();
                    let (barrier, lock) = (Arc::new(Barrier::new(3)), Arc::new(Mutex::new(())));
                    let mut pieces = tokio::task::JoinSet::new();
                    for piece in 0..3 {
                        let (order, barrier, lock) = (order.clone(), barrier.clone(), lock.clone());
                        pieces.spawn_blocking(move || {
                            barrier.wait();
                            let held = lock.lock().unwrap();
                            #[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
                            std::thread::sleep(secs(1));
                            order.with(|order| order.push((piece, began.elapsed().as_secs().into())));
                            drop(held);
                        });
                    }
                    while pieces.join_next().await.is_some() {}
                    Ok::<(), Failure>(())
                }
            };
            node.host().worker("work", Schedule::every(secs(100)), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    (seen.with(|order| order.clone()), outcome.fingerprint)
}

#[test]
fn blocking_work_that_waits_for_other_blocking_work_goes_on_in_the_same_order_each_time() {
    let first = they_meet(3);
    assert_eq!(first.0.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [1, 2, 3], "one after the other");
    for _ in 0..20 {
        assert_eq!(they_meet(3), first);
    }
}

#[test]
fn a_task_that_wants_a_lock_which_sleeping_blocking_work_holds_blocks_its_thread_for_so_long() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let work = |_: Tick, _: Context| async {
                let lock = Arc::new(Mutex::new(0));
                let (held, began) = (lock.clone(), Arc::new(tokio::sync::Notify::new()));
                let begins = began.clone();
                let holds = tokio::task::spawn_blocking(move || {
                    let mut held = held.lock().unwrap();
                    begins.notify_one();
                    #[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
                    std::thread::sleep(secs(1));
                    *held += 1;
                });
                began.notified().await;
                assert_eq!(*lock.lock().unwrap(), 1, "it has waited");
                holds.await.unwrap();
                Ok::<(), Failure>(())
            };
            node.host().worker("work", Schedule::every(secs(100)), work).run_until_signal()
        });
    });
    let violation = outcome.expect_broken("L3");
    assert!(violation.happened.ends_with("blocked it for 1s"), "{violation}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn blocking_work_that_never_ends_does_not_outlive_its_process() {
    let turns: Ledger<u32> = Ledger::default();
    let seen = turns.clone();
    let outcome =
        Script::new().at(secs(10), plan::crash(secs(1))).at(secs(60), Signal::Terminate).run_once(move |world| {
            world.node("node", move |node| {
                let turns = turns.clone();
                let polls = move |_: Tick, _: Context| {
                    let turns = turns.clone();
                    async move {
                        // Nobody waits for it, and nobody ends it.
                        drop(tokio::task::spawn_blocking(move || {
                            for _ in 0..1_000_000 {
                                turns.with(|turns| *turns += 1);
                                std::thread::sleep(secs(1));
                            }
                        }));
                        Ok::<(), Failure>(())
                    }
                };
                node.host().worker("polls", Schedule::every(secs(1_000)), polls).run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    let turns = seen.with(|turns| *turns);
    assert!((58..=61).contains(&turns), "a turn a second in both lives, and none after them: {turns}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn blocking_work_that_a_killed_process_leaves_behind_changes_no_ledger() {
    let (written, held): (Ledger<Vec<u32>>, Ledger<Vec<u32>>) = Default::default();
    let (seen, seen_held) = (written.clone(), held.clone());
    let outcome =
        Script::new().at(secs(5), plan::crash(secs(1))).at(secs(30), Signal::Terminate).run_once(move |world| {
            world.node("node", move |node| {
                let (written, held, boot) = (written.clone(), held.clone(), node.boot());
                let writes = move |_: Tick, _: Context| {
                    let (written, held) = (written.clone(), held.clone());
                    async move {
                        let work = tokio::task::spawn_blocking(move || {
                            // One begins to write before its process is killed in the middle of its sleep, one after that.
                            let mut held = held.lock();
                            std::thread::sleep(secs(8));
                            held.push(boot);
                            written.with(|written| written.push(boot));
                        });
                        work.await.unwrap();
                        Ok::<(), Failure>(())
                    }
                };
                node.host().worker("writes", Schedule::every(secs(1_000)), writes).run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.boots, 2);
    let all = |ledger: &Ledger<Vec<u32>>| ledger.with(|entries| entries.clone());
    assert_eq!((all(&seen), all(&seen_held)), (vec![2], vec![2]), "only who lived to write has written");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a blocking thread may sleep")]
fn a_cycle_is_timed_out_while_its_blocking_work_sleeps_on() {
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(|world| {
        for name in ["blocks", "beside it"] {
            world.node(name, move |node| {
                let work = move |_: Tick, _: Context| async move {
                    if name == "blocks" {
                        tokio::task::spawn_blocking(|| std::thread::sleep(millis(1_700))).await.unwrap();
                    }
                    Ok::<(), Failure>(())
                };
                let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host()
                    .worker("work", Schedule::every(secs(3)), work)
                    .retry(Retry::never())
                    .cycle_timeout(secs(1))
                    .worker("tick", Schedule::every(secs(1)), tick)
                    .run_until_signal()
            });
        }
        world.signal_at(secs(5), "beside it", Signal::Terminate);
    });
    outcome.assert_rules_kept();
    let timed_out = outcome.events_of("blocks").filter_map(|(at, event)| match event {
        Event::CycleEnded { failure: Some(cause), .. } => Some((at, cause.kind)),
        _ => None,
    });
    let (first, second) = ((secs(1), FailureKind::Timeout), (secs(4), FailureKind::Timeout));
    assert_eq!(timed_out.collect::<Vec<_>>(), [first, second]);
    assert!(
        outcome.events_of("beside it").all(|(_, event)| !matches!(event, Event::CycleEnded { failure: Some(_), .. }))
    );
}
