//! Faults: restarts, their intensity, degraded hosts.

use std::sync::{Arc, Mutex, mpsc};

use shiftwork::{
    BoxError, Context, ExitStatus, Failure, GiveUp, Heard, Host, OnFault, QueueSourceExt, Restart, Schedule, Signal,
    Source, StopBudget, Tick, Worker,
    event::{Event, Settle, StopReason, WorkerPhase},
    source::{Claimed, Lane, LaneContext, Offer, SourceContext},
};
use shiftwork_sim::{Outcome, Script, millis, secs, site};
use tokio::sync::Notify;

use crate::worlds::{Count, Notes, names, time_of};

/// A worker that cannot go on whenever the test says so, beside one that always can.
struct Fragile {
    /// In which of its cycles it cannot go on.
    faults: fn(u32) -> bool,
    /// In which of its lives it does not start.
    broken: fn(u32) -> bool,
    cycles: Count,
    lives: Count,
    notes: Notes,
}

impl Worker for Fragile {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        let life = self.lives.up();
        if (self.broken)(life) {
            return Err(Failure::transient(format!("life {life} has no database")));
        }
        self.notes.add(format!("start {life}"));
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let cycle = self.cycles.up();
        if (self.faults)(cycle) { Err(Failure::fatal(format!("cycle {cycle} broke it"))) } else { Ok(()) }
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.notes.add("stop");
        Ok(())
    }
}

fn run(script: Script, on_fault: OnFault, faults: fn(u32) -> bool, broken: fn(u32) -> bool) -> (Outcome, Notes) {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| {
            let fragile =
                Fragile { faults, broken, cycles: Count::default(), lives: Count::default(), notes: inside.clone() };
            let steady = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("fragile", Schedule::every(secs(10)), fragile)
                .on_fault(on_fault)
                .worker("steady", Schedule::every(secs(1)), steady)
                .run_until_signal()
        });
    });
    (outcome, notes)
}

fn restarts(outcome: &Outcome) -> usize {
    outcome.count(|event| matches!(event, Event::WorkerRestarting { .. }))
}

#[test]
fn f1_a_worker_that_faults_is_stopped_and_started_again_and_the_host_ends_clean() {
    let script = Script::new().at(secs(60), Signal::Terminate);
    let (outcome, notes) = run(script, OnFault::restart(), |cycle| cycle == 2, |_| false);
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["start 1", "stop", "start 2", "stop"]);
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::Clean);
    assert_eq!(report.worker("fragile").unwrap().restarts, 1);
    // It faulted at 10 s, and its new schedule begins with its new life.
    let again = outcome.events().filter(|(_, event)| event.name() == "intake_opened").last().unwrap().0;
    assert_eq!(again, secs(11));
}

/// A source of the program's own that cannot make its lane the first time, and has nothing for it later.
struct Torn(Count);

struct Idle;

impl Source for Torn {
    type Input = Tick;
    type Lane = Idle;

    fn lane(&self, _: &LaneContext) -> Idle {
        assert!(self.0.up() > 1, "there is no connection");
        Idle
    }
}

impl Lane for Idle {
    type Input = Tick;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<Tick>>, Failure> {
        cx.closed().await;
        Ok(None)
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, _: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn f1_a_source_that_panics_as_it_makes_its_lanes_is_a_fault_and_the_stop_hook_is_called() {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let fragile = Fragile {
                faults: |_| false,
                broken: |_| false,
                cycles: Count::default(),
                lives: Count::default(),
                notes: inside.clone(),
            };
            let torn = Torn(Count::default());
            node.host().worker("fragile", torn, fragile).on_fault(OnFault::restart()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(notes.all(), ["start 1", "stop", "start 2", "stop"]);
    let report = outcome.report().unwrap();
    assert_eq!((report.exit, report.worker("fragile").unwrap().restarts), (ExitStatus::Clean, 1));
}

/// A source of the program's own that has nothing, and whose upkeep panics as its lane ends.
struct Gone(Arc<Notify>);

struct Ending(Arc<Notify>);

impl Source for Gone {
    type Input = Tick;
    type Lane = Ending;

    fn lane(&self, _: &LaneContext) -> Ending {
        Ending(self.0.clone())
    }

    async fn maintain(&self, _: &SourceContext) {
        self.0.notified().await;
        panic!("the connection is gone");
    }
}

impl Lane for Ending {
    type Input = Tick;

    async fn next(&mut self, _: &LaneContext) -> Result<Option<Offer<Tick>>, Failure> {
        self.0.notify_one();
        Ok(None)
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, _: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_source_whose_upkeep_panics_as_the_last_lane_ends_has_faulted() {
    let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let gone = Gone(Arc::new(Notify::new()));
    let report = Host::builder().worker("gone", gone, idle).run_until(std::future::pending()).await;
    let worker = report.worker("gone").unwrap();
    assert_eq!((report.exit, worker.phase), (ExitStatus::WorkerFault, WorkerPhase::Failed));
    assert!(worker.cause.as_ref().unwrap().message.starts_with("the connection is gone"), "{:?}", worker.cause);
}

#[test]
fn c1_a_fault_closes_intake_though_its_settlement_cannot_be_stored() {
    let outage = site("jobs").outage().lasting(secs(20));
    let outcome = Script::new().at(millis(500), outage).run_once(|world| {
        let jobs = world.queue::<u32>("jobs");
        jobs.seed(1..=100);
        world.node("node", move |node| {
            let work = |job: u32, _: Context| async move {
                tokio::time::sleep(secs(1)).await;
                if job == 1 { Err(Failure::fatal("credentials were revoked")) } else { Ok(()) }
            };
            node.host().worker("jobs", jobs.clone().source(), work).concurrency(2).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let named = |name: &str| time_of(&outcome, |event| event.name() == name);
    assert_eq!((named("worker_faulted"), named("intake_closed")), (Some(secs(1)), Some(secs(1))));
    assert!(outcome.ended_at() >= secs(20), "both settlements wait for the store");
}

/// A worker whose second life blocks its thread in the start hook until the test lets it go on.
struct Late {
    lives: Count,
    stops: Count,
    held: Mutex<Option<mpsc::Receiver<()>>>,
    returned: mpsc::Sender<()>,
}

impl Worker for Late {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        if self.lives.up() == 2 {
            let held = self.held.lock().unwrap().take().expect("there is one second life");
            held.recv().expect("the test lets it go on");
            self.returned.send(()).expect("the test waits for it");
        }
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.lives.get() == 1 { Err(Failure::fatal("once")) } else { Ok(()) }
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.stops.up();
        Ok(())
    }
}

/// A runtime that has nothing to do but a poll that blocks looks at no timer.
fn keep_busy() -> tokio::task::AbortHandle {
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    busy.abort_handle()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_start_hook_that_returns_after_its_time_does_not_stop_the_life_that_came_after_it() {
    let (let_go, held) = mpsc::channel();
    let (returned, has_returned) = mpsc::channel();
    let (lives, stops) = (Count::default(), Count::default());
    let late = Late { lives: lives.clone(), stops: stops.clone(), held: Mutex::new(Some(held)), returned };
    let at_once = Restart::default().initial(millis(1));
    let mut host = Host::builder()
        .worker("late", Schedule::every(secs(3_600)), late)
        .start_timeout(millis(50))
        .on_fault(OnFault::Restart(at_once))
        .build()
        .unwrap();
    let handle = host.handle();
    let mut events = handle.subscribe();
    let busy = keep_busy();
    let run = tokio::spawn(host.run_until(std::future::pending()));
    let mut opened = 0;
    while opened < 2 {
        // The first life and the third; the second never gets so far.
        let heard = events.next().await;
        opened += u32::from(matches!(heard, Some(Heard::Event(Event::IntakeOpened { .. }))));
    }
    assert_eq!((lives.get(), stops.get()), (3, 1));
    let_go.send(()).unwrap();
    tokio::task::block_in_place(|| has_returned.recv()).unwrap();
    handle.stop();
    assert!(run.await.unwrap().is_clean());
    busy.abort();
    assert_eq!(stops.get(), 2, "the first life was stopped, and the third");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t10_a_start_hook_that_blocks_its_thread_does_not_keep_its_worker_for_longer_than_was_said() {
    let (let_go, held) = mpsc::channel();
    let (returned, has_returned) = mpsc::channel();
    let stops = Count::default();
    let late = Late { lives: Count::default(), stops: stops.clone(), held: Mutex::new(Some(held)), returned };
    let steady = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let budget = StopBudget::default().drain(millis(500)).cancel(millis(0)).close(millis(0));
    let mut host = Host::builder()
        .stop_budget(budget)
        .worker("late", Schedule::every(secs(3_600)), late)
        // Nobody waits for so long here.
        .start_timeout(secs(3_600))
        .on_fault(OnFault::Restart(Restart::default().initial(millis(1))))
        .worker("steady", Schedule::every(secs(3_600)), steady)
        .after("late")
        .build()
        .unwrap();
    let handle = host.handle();
    let mut events = handle.subscribe();
    let busy = keep_busy();
    let run = tokio::spawn(host.run_until(std::future::pending()));
    let mut begun = 0;
    while begun < 2 {
        let heard = events.next().await;
        begun += u32::from(matches!(heard, Some(Heard::Event(Event::WorkerStarting { worker })) if worker.0 == 0));
    }
    handle.stop_worker("late").unwrap();
    let ended = async {
        loop {
            match events.next().await.expect("the host goes on") {
                Heard::Event(Event::WorkerStopped { worker, phase }) if worker.0 == 0 => break phase,
                Heard::Event(_) | Heard::Missed(_) => {}
            }
        }
    };
    let ended = tokio::time::timeout(secs(20), ended).await.expect("half a second was said");
    assert_eq!(ended, WorkerPhase::Failed, "its fault was not dealt with");
    assert_eq!(handle.status()[1].phase, WorkerPhase::Running, "who comes after it goes on");
    let_go.send(()).unwrap();
    tokio::task::block_in_place(|| has_returned.recv()).unwrap();
    handle.stop();
    assert_eq!(run.await.unwrap().exit, ExitStatus::WorkerFault);
    busy.abort();
    assert_eq!(stops.get(), 1, "only the first life, which had begun, was stopped");
}

#[test]
fn f2_a_restart_does_not_disturb_the_others() {
    let script = Script::new().at(secs(60) + millis(500), Signal::Terminate);
    let (outcome, _) = run(script, OnFault::restart(), |cycle| cycle == 2, |_| false);
    outcome.assert_rules_kept();
    assert_eq!(outcome.report().unwrap().worker("steady").unwrap().cycles.succeeded, 61);
}

#[test]
fn f1_a_worker_that_cannot_start_again_is_given_up_and_the_host_is_stopped() {
    let (outcome, _) = run(Script::new(), OnFault::restart(), |cycle| cycle == 1, |life| life > 1);
    outcome.assert_rules_kept();
    assert_eq!(restarts(&outcome), 5);
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::WorkerFault);
    assert_eq!(&*report.cause.as_ref().unwrap().message, "life 6 has no database");
    // 1, 2, 4, 8 and 16 s.
    assert_eq!(outcome.ended_at(), secs(31));
}

#[test]
fn f1_a_worker_that_was_given_up_may_leave_the_others_at_work() {
    let policy = OnFault::Restart(Restart::default().intensity(2, secs(600)).then(GiveUp::Degrade));
    let script = Script::new().at(secs(100), Signal::Terminate);
    let (outcome, _) = run(script, policy, |_| true, |_| false);
    outcome.assert_rules_kept();
    assert_eq!(restarts(&outcome), 2);
    assert_eq!(outcome.ended_at(), secs(100));
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("fragile").unwrap().phase, WorkerPhase::Failed);
    assert!(report.worker("steady").unwrap().cycles.succeeded >= 100);
    assert_eq!(report.exit.code(), 70, "a fault never exits 0");
}

#[test]
fn v2_a_degraded_host_goes_on_and_does_not_exit_zero() {
    let script = Script::new().at(secs(60), Signal::Terminate);
    let (outcome, _) = run(script, OnFault::Degrade, |cycle| cycle == 3, |_| false);
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(60));
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::WorkerFault);
}

#[test]
fn a_stop_does_not_wait_for_a_restart() {
    let policy = OnFault::Restart(Restart::default().initial(secs(30)));
    let script = Script::new().at(secs(5), Signal::Terminate);
    let (outcome, notes) = run(script, policy, |cycle| cycle == 1, |_| false);
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(5));
    assert_eq!(notes.all(), ["start 1", "stop"]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::WorkerFault);
}

#[test]
fn f1_a_fault_while_the_host_stops_restarts_nobody_and_is_in_the_exit_code() {
    for policy in [OnFault::StopHost, OnFault::Degrade, OnFault::restart()] {
        let outcome = Script::new().at(secs(2), Signal::Terminate).run_once(move |world| {
            world.node("node", move |node| {
                let breaks = |_: Tick, _: Context| async {
                    tokio::time::sleep(secs(5)).await;
                    Err(Failure::fatal("the disk is gone"))
                };
                node.host().worker("breaks", Schedule::every(secs(60)), breaks).on_fault(policy).run_until_signal()
            });
        });
        outcome.assert_rules_kept();
        assert_eq!((restarts(&outcome), outcome.ended_at()), (0, secs(5)), "{policy:?}");
        let report = outcome.report().unwrap();
        assert_eq!((report.exit, report.reason), (ExitStatus::WorkerFault, StopReason::Signal(Signal::Terminate)));
        assert_eq!(&*report.cause.as_ref().unwrap().message, "the disk is gone");
        assert_eq!(report.worker("breaks").unwrap().phase, WorkerPhase::Failed);
    }
}

#[test]
fn a_stop_interrupts_the_start_of_a_later_life() {
    let script = Script::new().at(secs(5), Signal::Terminate);
    let outcome = script.run_once(|world| {
        struct SlowAgain(Count);
        impl Worker for SlowAgain {
            type Input = Tick;

            async fn start(&self) -> Result<(), Failure> {
                if self.0.up() > 1 {
                    tokio::time::sleep(secs(20)).await;
                }
                Ok(())
            }

            async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
                Err(Failure::fatal("once is enough"))
            }
        }
        world.node("node", |node| {
            let worker = SlowAgain(Count::default());
            let host = node.host().worker("slow", Schedule::every(secs(10)), worker);
            host.on_fault(OnFault::restart()).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(5));
    assert_eq!(outcome.report().unwrap().worker("slow").unwrap().phase, WorkerPhase::Failed);
}

#[test]
fn a_restarted_queue_worker_takes_up_its_queue_and_renews_nothing_of_its_earlier_life() {
    let outcome = Script::new().at(secs(200), Signal::Terminate).run_once(|world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed(1..=6);
        let waiting = queue.clone();
        world.node("node", move |node| {
            let faults = Count::default();
            let work = move |job: u32, _: Context| {
                let fault = job == 3 && faults.up() == 1;
                async move {
                    tokio::time::sleep(secs(20)).await;
                    if fault { Err(Failure::fatal("job 3 broke it")) } else { Ok(()) }
                }
            };
            let source = queue.clone().source().lease(secs(6));
            node.host().worker("jobs", source, work).concurrency(2).on_fault(OnFault::restart()).run_until_signal()
        });
        world.done_when(move || waiting.inspect_depth().unsettled() == 0);
    });
    outcome.assert_rules_kept();
    assert_eq!(restarts(&outcome), 1);
    let report = outcome.report().unwrap();
    assert_eq!(report.worker("jobs").unwrap().cycles.succeeded, 6);
    assert!(time_of(&outcome, |event| matches!(event, Event::LeaseLost { .. })).is_none(), "{:?}", names(&outcome));
}
