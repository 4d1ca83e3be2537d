//! Groups: workers that are restarted together.

use std::{num::NonZeroU64, time::Duration};

use shiftwork::{
    BuildError, Context, Continuous, ExitStatus, Failure, GiveUp, Group, Host, HostBuilder, Restart, Schedule, Signal,
    Tick, Worker,
    event::{Event, WorkerPhase},
};
use shiftwork_sim::{Outcome, Script, millis, secs};

use crate::worlds::{Count, Notes, time_of};

/// A member that notes its hooks, and cannot go on in the cycles that the test says.
struct Part {
    name: &'static str,
    faults: fn(u32) -> bool,
    cycles: Count,
    notes: Notes,
}

impl Worker for Part {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.notes.add(format!("{} up", self.name));
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if (self.faults)(self.cycles.up()) { Err(Failure::fatal(format!("{} broke", self.name))) } else { Ok(()) }
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.notes.add(format!("{} down", self.name));
        Ok(())
    }
}

/// "store", "cache" after it and "api" after that are a group; "metrics" is not, though it comes after "store".
fn build(host: HostBuilder, group: Group, notes: &Notes, faults: fn(u32) -> bool) -> HostBuilder {
    let part = |name, faults| Part { name, faults, cycles: Count::default(), notes: notes.clone() };
    let steady: fn(u32) -> bool = |_| false;
    host.group("trio", group)
        .worker("store", Schedule::every(secs(10)), part("store", steady))
        .in_group("trio")
        .worker("cache", Schedule::every(secs(10)), part("cache", faults))
        .in_group("trio")
        .after("store")
        .worker("api", Schedule::every(secs(10)), part("api", steady))
        .in_group("trio")
        .after("cache")
        .worker("metrics", Schedule::every(secs(1)), part("metrics", steady))
        .after("store")
        .host()
}

fn run(script: Script, group: Group, faults: fn(u32) -> bool) -> (Outcome, Vec<String>) {
    let notes = Notes::default();
    let inside = notes.clone();
    let outcome = script.run_once(move |world| {
        world.node("node", move |node| build(node.host(), group, &inside, faults).run_until_signal());
    });
    (outcome, notes.all())
}

fn restarts(outcome: &Outcome) -> Vec<u32> {
    outcome.report().unwrap().workers.iter().map(|worker| worker.restarts).collect()
}

fn ended(outcome: &Outcome, id: u32) -> Option<Duration> {
    time_of(outcome, |it| matches!(it, Event::WorkerStopped { worker, .. } if worker.0 == id))
}

#[test]
fn f4_one_for_all_restarts_the_group_in_order_and_nobody_else() {
    let script = Script::new().at(secs(60) + millis(500), Signal::Terminate);
    let (outcome, notes) = run(script, Group::one_for_all(), |cycle| cycle == 2);
    outcome.assert_rules_kept();
    // The one that faulted closes at once, the others in reverse.
    let round = ["cache down", "api down", "store down", "store up", "cache up", "api up"];
    assert_eq!(notes[4..10], round);
    assert_eq!(restarts(&outcome), [1, 1, 1, 0]);
    let report = outcome.report().unwrap();
    assert_eq!(report.exit, ExitStatus::Clean, "the fault was dealt with");
    assert_eq!(report.worker("metrics").unwrap().cycles.succeeded, 61, "F2: one each second, from 0 to 60");
}

#[test]
fn f4_rest_for_one_restarts_those_that_come_after_and_not_what_they_come_after() {
    let script = Script::new().at(secs(60), Signal::Terminate);
    let (outcome, notes) = run(script, Group::rest_for_one(), |cycle| cycle == 2);
    outcome.assert_rules_kept();
    assert_eq!(notes[4..8], ["cache down", "api down", "cache up", "api up"].map(str::to_owned));
    assert_eq!(restarts(&outcome), [0, 1, 1, 0]);
}

#[test]
fn f4_one_for_one_restarts_the_member_alone() {
    let script = Script::new().at(secs(60), Signal::Terminate);
    let (outcome, notes) = run(script, Group::one_for_one(), |cycle| cycle == 2);
    outcome.assert_rules_kept();
    assert_eq!(notes[4..6], ["cache down", "cache up"].map(str::to_owned));
    assert_eq!(restarts(&outcome), [0, 1, 0, 0]);
}

/// When each life of a worker began.
fn starts(outcome: &Outcome, id: u32) -> Vec<Duration> {
    let starts = |event: &Event| matches!(event, Event::WorkerStarting { worker } if worker.0 == id);
    outcome.events().filter(|(_, event)| starts(event)).map(|(at, _)| at).collect()
}

/// A member that cannot go on in its second cycle, and takes its time for its leave.
struct Leaves {
    cycles: Count,
    leave: Duration,
}

impl Worker for Leaves {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        if self.cycles.up() == 2 { Err(Failure::fatal("broke")) } else { Ok(()) }
    }

    async fn stop(&self) -> Result<(), Failure> {
        if !self.leave.is_zero() {
            tokio::time::sleep(self.leave).await;
        }
        Ok(())
    }
}

#[test]
fn f4_who_is_restarted_alone_does_not_wait_for_another_that_is() {
    let outcome = Script::new().at(secs(60) + millis(500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let leaves = |leave| Leaves { cycles: Count::default(), leave };
            node.host()
                .group("pair", Group::one_for_one())
                .worker("slow", Schedule::every(secs(10)), leaves(secs(8)))
                .in_group("pair")
                .worker("quick", Schedule::every(secs(11)), leaves(secs(0)))
                .in_group("pair")
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    // They fault at 10 and at 11 s. The second restart of their group in a row has twice the delay.
    assert_eq!(starts(&outcome, 0), [secs(0), secs(19)]);
    assert_eq!(starts(&outcome, 1), [secs(0), secs(13)]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

/// Does one thing, which takes 7 s, and takes 15 s for its leave.
struct Once;

impl Worker for Once {
    type Input = ();

    async fn cycle(&self, (): (), _: &Context) -> Result<(), Failure> {
        tokio::time::sleep(secs(7)).await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        tokio::time::sleep(secs(15)).await;
        Ok(())
    }
}

#[test]
fn f4_a_member_that_comes_to_its_own_end_is_waited_for_and_stays_ended() {
    let outcome = Script::new().at(secs(60) + millis(500), Signal::Terminate).run_once(|world| {
        world.node("node", |node| {
            let steady = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            let cache = Leaves { cycles: Count::default(), leave: secs(0) };
            node.host()
                .group("trio", Group::one_for_all())
                .worker("store", Schedule::every(secs(10)), steady)
                .in_group("trio")
                .worker("cache", Schedule::every(secs(10)), cache)
                .in_group("trio")
                .after("store")
                .worker("import", Continuous::times(NonZeroU64::MIN), Once)
                .in_group("trio")
                .after("cache")
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    // "cache" faults at 10 s, when "import" has been taking its leave for 3 s.
    assert_eq!(ended(&outcome, 2), Some(secs(22)));
    let closed = time_of(&outcome, |it| matches!(it, Event::IntakeClosed { worker, .. } if worker.0 == 0));
    assert_eq!(closed, Some(secs(22)), "what \"import\" comes after");
    assert_eq!(starts(&outcome, 0), [secs(0), secs(23)]);
    assert_eq!(restarts(&outcome), [1, 1, 0]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::Clean);
}

#[test]
fn f5_a_group_that_is_restarted_too_often_stops_the_host() {
    let group = Group::one_for_all().restart(Restart::default().intensity(2, secs(600)));
    let (outcome, _) = run(Script::new(), group, |_| true);
    outcome.assert_rules_kept();
    assert_eq!(restarts(&outcome), [2, 2, 2, 0]);
    assert_eq!(outcome.report().unwrap().exit, ExitStatus::WorkerFault);
}

#[test]
fn f5_a_group_that_is_given_up_ends_whole_and_leaves_the_others_at_work() {
    let restart = Restart::default().intensity(1, secs(600)).then(GiveUp::Degrade);
    let script = Script::new().at(secs(60), Signal::Terminate);
    let (outcome, _) = run(script, Group::one_for_all().restart(restart), |_| true);
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(60));
    let report = outcome.report().unwrap();
    let phase = |name| report.worker(name).unwrap().phase;
    assert_eq!([phase("store"), phase("cache"), phase("api")], {
        use WorkerPhase::{Failed, Stopped};
        [Stopped, Failed, Stopped]
    });
    assert_eq!(report.exit.code(), 70, "a fault never exits 0");
}

/// A member that cannot go on in any of its lives, and takes 17 s for the leave of the second one.
struct Broken {
    lives: Count,
}

impl Worker for Broken {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        self.lives.up();
        Ok(())
    }

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        Err(Failure::fatal("api broke"))
    }

    async fn stop(&self) -> Result<(), Failure> {
        if self.lives.get() == 2 {
            tokio::time::sleep(secs(17)).await;
        }
        Ok(())
    }
}

/// "store" faults at 15 s and goes on after that; "api", which comes after it in one group, is [`Broken`]; "metrics" is in none.
fn store_and_api(restart: Restart) -> Outcome {
    let script = Script::new().at(secs(60) + millis(500), Signal::Terminate);
    script.run_once(move |world| {
        world.node("node", move |node| {
            let cycles = Count::default();
            let store = move |_: Tick, _: Context| {
                let broke = cycles.up() == 2;
                async move { if broke { Err(Failure::fatal("store broke")) } else { Ok(()) } }
            };
            let steady = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .group("pair", Group::rest_for_one().restart(restart.then(GiveUp::Degrade)))
                .worker("store", Schedule::every(secs(15)), store)
                .in_group("pair")
                .worker("api", Schedule::every(secs(15)), Broken { lives: Count::default() })
                .in_group("pair")
                .after("store")
                .worker("metrics", Schedule::every(secs(1)), steady)
                .after("store")
                .run_until_signal()
        });
    })
}

#[test]
fn f5_a_member_that_was_given_up_is_not_started_again_for_a_siblings_fault() {
    // "api" faults at 0 s and, in its second life, at 1 s: it is given up, and takes its leave until 18 s. By then the restart
    // at 0 s counts no more, and the one of "store" is granted.
    let outcome = store_and_api(Restart::default().intensity(1, secs(10)));
    outcome.assert_rules_kept();
    assert_eq!(ended(&outcome, 1), Some(secs(18)));
    assert_eq!(restarts(&outcome), [1, 1, 0]);
    let starts = |event: &Event| matches!(event, Event::WorkerStarting { worker } if worker.0 == 0);
    let again = outcome.events().filter(|(_, event)| starts(event)).last();
    assert_eq!(again.map(|(at, _)| at), Some(secs(19)), "a second after the last is down");
    let report = outcome.report().unwrap();
    let phases: Vec<WorkerPhase> = report.workers.iter().map(|worker| worker.phase).collect();
    assert_eq!(phases, [WorkerPhase::Stopped, WorkerPhase::Failed, WorkerPhase::Stopped]);
    assert_eq!(report.worker("metrics").unwrap().cycles.succeeded, 61, "F2");
    assert_eq!(report.exit.code(), 70, "a fault never exits 0");
}

#[test]
fn f5_a_member_that_waits_for_its_next_life_does_not_get_it_once_its_group_is_given_up() {
    // "api" is down from 0 s on, and would be started again at 30 s.
    let outcome = store_and_api(Restart::default().initial(secs(30)).intensity(1, secs(600)));
    outcome.assert_rules_kept();
    assert_eq!([ended(&outcome, 0), ended(&outcome, 1)], [Some(secs(15)); 2]);
    assert_eq!(restarts(&outcome), [0, 1, 0]);
    let report = outcome.report().unwrap();
    let phases: Vec<WorkerPhase> = report.workers.iter().map(|worker| worker.phase).collect();
    assert_eq!(phases, [WorkerPhase::Failed, WorkerPhase::Failed, WorkerPhase::Stopped]);
    assert_eq!(report.worker("metrics").unwrap().cycles.succeeded, 61, "those outside go on");
}

#[test]
fn f4_a_stop_finds_a_group_that_is_down_and_does_not_wait_for_it() {
    let script = Script::new().at(secs(10) + millis(500), Signal::Terminate);
    let (outcome, _) = run(script, Group::one_for_all(), |cycle| cycle == 2);
    outcome.assert_rules_kept();
    assert_eq!(outcome.ended_at(), secs(10) + millis(500));
    assert_eq!(outcome.report().unwrap().worker("store").unwrap().phase, WorkerPhase::Stopped);
}

#[test]
fn t2_a_member_that_goes_down_with_its_group_when_a_stop_begins_waits_for_nobody() {
    /// Takes three seconds for its leave.
    struct Store;

    impl Worker for Store {
        type Input = Tick;

        async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
            Ok(())
        }

        async fn stop(&self) -> Result<(), Failure> {
            tokio::time::sleep(secs(3)).await;
            Ok(())
        }
    }
    let broken = |_: Tick, _: Context| async { Err::<(), _>(Failure::fatal("broke")) };
    let slow = |_: Tick, _: Context| async {
        tokio::time::sleep(secs(6)).await;
        Ok::<(), Failure>(())
    };
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let host = node.host().group("pair", Group::one_for_all());
            host.worker("store", Schedule::every(secs(10)), Store)
                .in_group("pair")
                .worker("cache", Schedule::every(secs(10)), broken)
                .in_group("pair")
                .worker("metrics", Schedule::every(secs(10)), slow)
                .after("store")
                .run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!((ended(&outcome, 0), ended(&outcome, 2)), (Some(secs(3)), Some(secs(6))));
}

#[test]
fn a_group_that_does_not_exist_is_named_with_those_that_do() {
    let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let build = |group: &str| -> Result<Host, BuildError> {
        let host = Host::builder().group("trio", Group::one_for_all());
        host.worker("idle", Schedule::every(secs(1)), idle).in_group(group).build()
    };
    assert!(build("trio").is_ok());
    let error = build("duo").unwrap_err().to_string();
    assert_eq!(error, r#"worker "idle" is in group "duo", which does not exist: there are ["trio"]"#);
    let twice = Host::builder().group("trio", Group::one_for_all()).group("trio", Group::one_for_one()).build();
    assert_eq!(twice.unwrap_err().to_string(), r#"two groups are called "trio": give one another name"#);
}
