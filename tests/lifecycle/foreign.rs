//! Workers that do not use the runtime, in worlds of faults: one built on tokio-util that keeps every rule, one for each
//! rule that it could break, and the lost messages that everybody ships once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use shiftwork::{
    Context, Failure, Schedule, Signal, Tick,
    queue::{Claim, Queue, Settlement},
};
use shiftwork_sim::{
    FaultName, Ledger, Outcome, Process, QueueOperation, Scenario, Script, SimQueue, Surface, What, World,
    explore::{self, FaultMix},
    millis, plan, secs,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const MAILS: u32 = 20;

/// What was really sent.
type Sent = Ledger<BTreeSet<u32>>;

/// Takes mails from a queue and sends them, the way many services do it by hand: a token to stop, a tracker to wait for.
async fn mailer(process: Process, mails: SimQueue<u32>, smtp: shiftwork_sim::Dependency, sent: Sent) {
    let signals = process.signals().expect("a world refuses no handler");
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    for _ in 0..2 {
        let (process, mails, smtp, sent) = (process.clone(), mails.clone(), smtp.clone(), sent.clone());
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let mut claimed = VecDeque::new();
                let claim = Claim { max: 1, lease: secs(20), now: process.wall_time() };
                let claimed = match mails.claim(claim, &mut claimed).await {
                    Ok(_) => claimed.pop_front(),
                    Err(_) => None,
                };
                let Some(delivery) = claimed else {
                    tokio::time::sleep(secs(1)).await;
                    continue;
                };
                let done = match delivery.payload {
                    Ok(mail) => {
                        let send = smtp.call(async { sent.with(|sent| sent.insert(mail)) });
                        matches!(tokio::time::timeout(secs(10), send).await, Ok(Ok(_)))
                    }
                    // Nobody will ever read it.
                    Err(_) => true,
                };
                let settlement = if done { Settlement::Ack } else { Settlement::Return };
                // A lease that cannot be settled lapses, and the mail is sent again.
                let _settled = mails.settle(delivery.lease, settlement, process.wall_time()).await;
                if !done {
                    tokio::time::sleep(secs(1)).await;
                }
            }
        }));
    }
    tracker.close();
    signals.next().await;
    stop.cancel();
    tracker.wait().await;
}

struct Mailer;

impl Scenario for Mailer {
    fn name(&self) -> &'static str {
        "foreign-mailer"
    }

    fn about(&self) -> &'static str {
        "a worker built on tokio-util's token and tracker"
    }

    fn surface(&self) -> Surface {
        let horizon = secs(40);
        Surface { dependencies: vec!["smtp".into()], queues: vec!["mails".into()], horizon }
    }

    fn build(&self, world: &mut World) {
        let (smtp, mails, sent) = (world.dependency("smtp"), world.queue::<u32>("mails"), Sent::default());
        mails.seed(1..=MAILS);
        let (queue, books) = (mails.clone(), sent.clone());
        world.foreign_within("mailer", secs(5), move |process| {
            mailer(process, queue.clone(), smtp.clone(), books.clone())
        });
        world.done_when(move || mails.inspect_depth().unsettled() == 0);
        all_are_sent(world, sent);
    }
}

fn all_are_sent(world: &mut World, sent: Sent) {
    world.at_end("every mail is sent", move || {
        sent.with(|sent| match (1..=MAILS).find(|mail| !sent.contains(mail)) {
            Some(mail) => Err(format!("mail {mail} was never sent")),
            None => Ok(()),
        })
    });
}

#[test]
fn a_worker_on_a_token_and_a_tracker_keeps_every_rule() {
    for seed in 0..150 {
        let plan = explore::generate(&Mailer, explore::Profile::Hostile, seed).plan();
        explore::run_plan(&Mailer, &plan, true).assert_rules_kept();
    }
}

/// A world with one foreign worker, which is asked to stop after ten seconds and has five to do so.
fn stopped<Fut>(program: fn(Process) -> Fut) -> Outcome
where
    Fut: Future<Output = ()> + Send + 'static,
{
    Script::new()
        .at(secs(10), Signal::Terminate)
        .run_once(move |world| world.foreign_within("legacy", secs(5), program))
}

/// The same, of one that has a ledger.
fn stopped_with<Fut>(ledger: Ledger<Vec<u32>>, program: fn(Process, Ledger<Vec<u32>>) -> Fut) -> Outcome
where
    Fut: Future<Output = ()> + Send + 'static,
{
    Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        world.foreign_within("legacy", secs(5), move |process| program(process, ledger.clone()));
    })
}

#[test]
fn t3_a_foreign_worker_that_takes_longer_than_it_declared_is_found() {
    let slow = stopped(|process| async move {
        process.signals().unwrap().next().await;
        tokio::time::sleep(secs(6)).await;
    });
    assert_eq!(slow.expect_broken("T3").happened, "it took 6s");
    let quick = stopped(|process| async move {
        process.signals().unwrap().next().await;
        tokio::time::sleep(secs(5)).await;
    });
    quick.assert_rules_kept();
}

#[test]
fn t3_a_foreign_worker_that_stands_still_while_it_stops_is_not_blamed_for_it() {
    let outcome = Script::new().at(secs(10), Signal::Terminate).at(secs(11), plan::pause(secs(30))).run_once(|world| {
        world.foreign_within("legacy", secs(5), |process| async move {
            process.signals().unwrap().next().await;
            tokio::time::sleep(secs(4)).await;
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(41));
}

#[test]
fn t6_a_task_that_a_foreign_worker_leaves_behind_is_found() {
    let outcome = stopped(|process| async move {
        tokio::spawn(tokio::time::sleep(secs(3_600)));
        process.signals().unwrap().next().await;
    });
    assert!(outcome.expect_broken("T6").happened.starts_with("1 were"));
}

/// A program that is asked to stop after ten seconds spawns an ack, and ends when that has had so many turns. It is never stored.
fn acks_as_it_ends(script: Script, turns: u32) -> Outcome {
    let outcome = script.at(secs(10), Signal::Terminate).run_once(move |world| {
        let mails = world.queue::<u32>("mails");
        mails.seed([17]);
        world.foreign("legacy", move |process| {
            let mails = mails.clone();
            async move {
                let signals = process.signals().unwrap();
                let mut claimed = VecDeque::new();
                let claim = Claim { max: 1, lease: secs(20), now: process.wall_time() };
                let _next = mails.claim(claim, &mut claimed).await.unwrap();
                signals.next().await;
                let (lease, now) = (claimed.pop_front().unwrap().lease, process.wall_time());
                tokio::spawn(async move { mails.settle(lease, Settlement::Ack, now).await });
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
        });
    });
    let is_stored = |what: &What| matches!(what, What::Queue(QueueOperation::Settled { .. }));
    assert!(!outcome.timeline.records().iter().any(|record| is_stored(&record.what)), "{}", outcome.timeline);
    assert!(outcome.expect_broken("T6").happened.starts_with("1 were"));
    outcome
}

#[test]
fn t6_an_ack_that_is_spawned_as_the_process_ends_is_never_stored() {
    // The store would need one poll. Who waits for that is gone before.
    assert_eq!(acks_as_it_ends(Script::new(), 0).stats.struck, [true]);
}

#[test]
fn t6_an_ack_that_spins_as_the_process_ends_is_never_stored() {
    // It is on its way before the end, and would come to its effect in a turn that it has afterwards.
    let spins = Script::new().at(secs(5), plan::site("mails").spin(2));
    assert_eq!(acks_as_it_ends(spins, 1).stats.struck, [true, true]);
}

#[test]
fn a_fault_at_a_poll_finds_no_process_whose_program_has_ended() {
    // The program ends in the first poll, and has left behind what has the second.
    for polls in 1..=2 {
        for fault in [plan::crash_at_poll(polls), plan::stop_at_poll(polls)] {
            let script = Script::new().at(secs(10), Signal::Terminate).at(secs(10), fault.clone());
            let outcome = script.run_once(|world| {
                world.foreign_within("legacy", secs(5), |process| async move {
                    process.signals().unwrap().next().await;
                    tokio::spawn(async {});
                });
            });
            outcome.assert_rules_kept();
            assert_eq!(outcome.stats.struck, [true, false], "{fault}");
            assert!(outcome.report().is_some(), "{fault}");
            let signals = outcome.timeline.records().iter().filter(|record| matches!(record.what, What::Signalled(_)));
            assert_eq!(signals.count(), 1, "{fault}");
        }
    }
}

#[test]
fn what_a_task_does_after_its_program_has_ended_changes_no_ledger() {
    let written: Ledger<Vec<u32>> = Ledger::default();
    let seen = written.clone();
    let outcome = stopped_with(written, |process, written| async move {
        process.signals().unwrap().next().await;
        tokio::spawn(async move { written.with(|written| written.push(1)) });
    });
    // It has come to its end, and nobody sees what it did.
    outcome.assert_rules_kept();
    assert_eq!(*seen.lock(), Vec::<u32>::new());
}

#[test]
fn a_signal_before_the_handlers_exist_kills_a_foreign_worker_and_one_after_is_its_own_affair() {
    let deaf = stopped(|_| std::future::pending());
    deaf.assert_rules_kept();
    assert_eq!(deaf.ended_at(), secs(10));
    assert!(deaf.report().is_none(), "it was killed, and has no verdict");
    // The handle is dropped, the handlers stay: the signal is caught, and nobody looks.
    let outcome = stopped(|process| async move {
        drop(process.signals().unwrap());
        tokio::time::sleep(secs(60)).await;
    });
    assert_eq!(outcome.expect_broken("T3").happened, "it took 50s");
}

#[test]
fn a_signal_finds_a_process_that_stands_still_when_it_goes_on() {
    let script = Script::new().at(secs(5), plan::pause(secs(30))).at(secs(10), Signal::Terminate);
    let outcome = script.run_once(|world| world.foreign("deaf", |_| std::future::pending::<()>()));
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(35));
}

#[test]
fn a_second_signal_does_not_kill_a_program_whose_host_has_ended() {
    let script = Script::new().at(secs(10), Signal::Terminate).at(secs(12), Signal::Terminate);
    let outcome = script.run_once(|world| {
        world.node("node", |node| async move {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let report = node.host().worker("tick", Schedule::every(secs(1)), tick).run_until_signal().await;
            // It has something to flush, and its handlers stay as those of a real process do.
            tokio::time::sleep(secs(5)).await;
            report
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(15));
    assert!(outcome.report().is_some());
}

#[test]
fn a_foreign_worker_is_started_again_after_a_crash() {
    let outcome = Script::new().at(secs(5), shiftwork_sim::plan::crash(secs(2))).run(|world| {
        world.foreign("legacy", |process| async move {
            process.signals().unwrap().next().await;
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.stats.boots, 2);
}

#[test]
fn a_foreign_worker_that_fails_has_a_verdict_of_its_own() {
    let outcome = Script::new().run_once(|world| world.foreign("legacy", |_| async { Err::<(), _>("no licence") }));
    outcome.assert_rules_kept();
    let report = outcome.report().unwrap();
    assert_eq!(report.exit.code(), 70);
    assert!(report.cause.as_ref().unwrap().to_string().contains("no licence"));
}

/// Which of the messages that everybody loses once.
#[derive(Clone, Copy)]
enum Bug {
    /// A receive that takes the message and then waits, in a `select!` with a ticker.
    NotCancelSafe,
    /// The mail is struck off before it is sent.
    AckBeforeWork,
}

struct Lossy(Bug);

impl Scenario for Lossy {
    fn name(&self) -> &'static str {
        match self.0 {
            Bug::NotCancelSafe => "not-cancel-safe",
            Bug::AckBeforeWork => "ack-before-work",
        }
    }

    fn about(&self) -> &'static str {
        "loses a mail: must fail"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["smtp".into()], queues: Vec::new(), horizon: secs(40) }
    }

    fn build(&self, world: &mut World) {
        let bug = self.0;
        let (smtp, sent) = (world.dependency("smtp"), Sent::default());
        let waiting: Ledger<VecDeque<u32>> = Ledger::new((1..=MAILS).collect());
        let (outbox, books) = (waiting.clone(), sent.clone());
        world.foreign("mailer", move |process| {
            let (outbox, smtp, books) = (outbox.clone(), smtp.clone(), books.clone());
            async move {
                let signals = process.signals().unwrap();
                let mut ticker = tokio::time::interval(secs(10));
                // Takes the next mail and has its recipient looked up.
                let receive = || async {
                    let mail = outbox.with(|outbox| match bug {
                        Bug::NotCancelSafe => outbox.pop_front(),
                        Bug::AckBeforeWork => outbox.front().copied(),
                    });
                    tokio::time::sleep(millis(937)).await;
                    mail
                };
                loop {
                    tokio::select! {
                        biased;
                        _ = signals.next() => return,
                        mail = receive() => {
                            let Some(mail) = mail else { continue };
                            if matches!(bug, Bug::AckBeforeWork) {
                                outbox.with(|outbox| outbox.retain(|other| *other != mail));
                                let _lost = smtp.call(async { books.with(|sent| sent.insert(mail)) }).await;
                                continue;
                            }
                            while smtp.call(async { books.with(|sent| sent.insert(mail)) }).await.is_err() {
                                tokio::time::sleep(secs(1)).await;
                            }
                        }
                        _ = ticker.tick() => { /* a line in the log */ }
                    }
                }
            }
        });
        world.done_when(move || waiting.with(|waiting| waiting.is_empty()));
        all_are_sent(world, sent);
    }
}

/// How many worlds it takes to find it.
fn worlds_to_find(bug: Bug) -> Option<u64> {
    let scenario = Lossy(bug);
    (1..=1_000).find(|seed| {
        let plan = explore::generate(&scenario, explore::Profile::Gentle, *seed).plan();
        let outcome = explore::run_plan(&scenario, &plan, false);
        outcome.violations.first().is_some_and(|violation| violation.rule.name() == "every mail is sent")
    })
}

#[test]
fn a_future_that_is_not_cancel_safe_in_a_select_is_found() {
    assert!(worlds_to_find(Bug::NotCancelSafe).is_some());
}

#[test]
fn an_ack_before_the_work_is_found() {
    assert!(worlds_to_find(Bug::AckBeforeWork).is_some());
}

/// How long a courier has a mail to itself.
const LEASE: Duration = secs(10);

const POSTED_ONCE: &str = "every mail is posted once";

/// Takes a mail under a lease, has an envelope written, and posts it.
async fn courier(process: Process, mails: SimQueue<u32>, posted: Ledger<BTreeMap<u32, u32>>, fenced: bool) {
    let signals = process.signals().expect("a world refuses no handler");
    let work = async {
        loop {
            let mut claimed = VecDeque::new();
            let claim = Claim { max: 1, lease: LEASE, now: process.wall_time() };
            let _next = mails.claim(claim, &mut claimed).await;
            let Some(delivery) = claimed.pop_front() else {
                tokio::time::sleep(secs(1)).await;
                continue;
            };
            let Ok(mail) = delivery.payload else { continue };
            tokio::time::sleep(secs(5)).await;
            let settled = mails.settle(delivery.lease, Settlement::Ack, process.wall_time());
            let post = || posted.with(|posted| *posted.entry(mail).or_default() += 1);
            if fenced {
                // One transaction with the store, which knows whose the mail is by now.
                if settled.await.is_ok() {
                    post();
                }
            } else {
                // The bug: what is posted is not tied to the lease.
                post();
                let _stale = settled.await;
            }
        }
    };
    tokio::select! {
        _ = signals.next() => {}
        () = work => {}
    }
}

/// Two couriers, and mails for both.
struct Couriers {
    fenced: bool,
}

impl Scenario for Couriers {
    // Both have one name, and so the same plans.
    fn name(&self) -> &'static str {
        "couriers"
    }

    fn about(&self) -> &'static str {
        "posts mails under leases: must fail unless the store is asked"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: Vec::new(), queues: vec!["mails".into()], horizon: secs(40) }
    }

    fn nodes(&self) -> Vec<String> {
        vec!["a".into(), "b".into()]
    }

    fn build(&self, world: &mut World) {
        let fenced = self.fenced;
        let (mails, posted) = (world.queue::<u32>("mails"), Ledger::<BTreeMap<u32, u32>>::default());
        mails.seed(1..=MAILS);
        for name in ["a", "b"] {
            let (mails, posted) = (mails.clone(), posted.clone());
            world.foreign(name, move |process| courier(process, mails.clone(), posted.clone(), fenced));
        }
        world.sometimes("a lease lapses", |record| {
            matches!(record.what, What::Queue(QueueOperation::Claimed { crashes: 1.., .. }))
        });
        world.done_when(move || mails.inspect_depth().unsettled() == 0);
        world.at_end(POSTED_ONCE, move || {
            let times = |mail: u32| posted.with(|posted| posted.get(&mail).copied().unwrap_or_default());
            match (1..=MAILS).find(|mail| times(*mail) != 1) {
                Some(mail) => Err(format!("mail {mail} was posted {} times", times(mail))),
                None => Ok(()),
            }
        });
    }
}

/// In how many worlds of pauses alone it is looked for.
const PAUSED_WORLDS: u64 = 300;

/// A world in which the couriers stand still now and then, and nothing else goes wrong.
fn paused_couriers(fenced: bool, seed: u64) -> Outcome {
    let couriers = Couriers { fenced };
    let plan = explore::generate(&couriers, FaultMix::none().weight(FaultName::Pause, 1), seed).plan();
    explore::run_plan(&couriers, &plan, false)
}

#[test]
fn a_lease_that_lapses_during_a_pause_is_found_where_the_store_is_not_asked() {
    let found = (1..=PAUSED_WORLDS).map(|seed| paused_couriers(false, seed)).find(|it| !it.violations.is_empty());
    let outcome = found.expect("a mail is posted twice in one of them");
    let happened = &outcome.expect_broken(POSTED_ONCE).happened;
    assert!(happened.contains(" was posted ") && !happened.contains(" 0 times"), "{happened}");
}

#[test]
fn leases_that_lapse_during_pauses_break_nothing_where_the_store_is_asked() {
    let mut lapsed = 0;
    for seed in 1..=PAUSED_WORLDS {
        let outcome = paused_couriers(true, seed);
        outcome.assert_rules_kept();
        lapsed += u32::from(outcome.stats.sometimes[0].reached);
    }
    assert!(lapsed > 0, "there was nothing to ask it for");
}

#[test]
fn what_should_happen_sometimes_is_told_and_what_must_follow_is_demanded() {
    let world = |within: Duration| {
        Script::new().at(secs(5), shiftwork_sim::plan::crash(secs(4))).run(move |world: &mut World| {
            let up: Ledger<bool> = Ledger::default();
            let (inside, seen) = (up.clone(), up.clone());
            world.foreign("legacy", move |process| {
                inside.with(|up| *up = true);
                async move {
                    process.signals().unwrap().next().await;
                }
            });
            let is_crash = |record: &shiftwork_sim::Record| record.what == shiftwork_sim::What::Crashed;
            world.sometimes("it crashes", is_crash);
            world.sometimes("it works", |record| matches!(record.what, shiftwork_sim::What::CallBegan { .. }));
            let crashed = move |record: &shiftwork_sim::Record| {
                let crashed = is_crash(record);
                if crashed {
                    up.with(|up| *up = false);
                }
                crashed
            };
            world.eventually("it is up again", within, crashed, move || seen.with(|up| *up));
        })
    };
    let outcome = world(secs(4));
    outcome.assert_rules_kept();
    let reached: Vec<_> = outcome.stats.sometimes.iter().map(|it| (it.name.as_str(), it.reached)).collect();
    assert_eq!(reached, [("it crashes", true), ("it works", false)]);
    let late = world(secs(3));
    let broken = late.expect_broken("it is up again");
    assert_eq!(broken.expected, "it is up again within 3.000 s of what happened at 5.000 s");
}
