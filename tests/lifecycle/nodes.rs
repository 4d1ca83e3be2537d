//! Several nodes in one world: what they share, and what is each one's own.

use shiftwork::{Context, ExitStatus, Failure, QueueSourceExt, Schedule, Signal, Tick, event::Event};
use shiftwork_sim::{Outcome, QueueOperation, Script, World, dependency::Latency, millis, node, record::NodeId, secs};

use crate::worlds::{Count, Notes, nodes_that_note_the_time};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

/// Two nodes with one worker each, for one queue of so many jobs, which take 10 s each; leases are 5 s.
fn pair(jobs: u32) -> impl FnOnce(&mut World) + Send {
    move |world| {
        let queue = world.queue::<u32>("jobs");
        queue.seed(1..=jobs);
        let backend = world.dependency_with("backend", Latency::constant(secs(10)));
        for name in ["a", "b"] {
            let (queue, backend) = (queue.clone(), backend.clone());
            world.node(name, move |node| {
                let backend = backend.clone();
                let work = move |_: u32, _: Context| {
                    let backend = backend.clone();
                    async move { Ok::<(), Failure>(backend.call(async {}).await?) }
                };
                node.host().worker("jobs", queue.clone().source().lease(secs(5)), work).run_until_signal()
            });
        }
        world.done_when(move || queue.inspect_depth().unsettled() == 0);
    }
}

/// When a node began cycles.
fn cycles_of(outcome: &Outcome, node: &str) -> Vec<std::time::Duration> {
    let begun = outcome.events_of(node).filter(|(_, event)| matches!(event, Event::CycleStarted { .. }));
    begun.map(|(at, _)| at).collect()
}

fn operations(outcome: &Outcome, of: NodeId) -> Vec<QueueOperation> {
    let records = outcome.timeline.records().iter().filter(|record| record.node == Some(of));
    records
        .filter_map(|record| match record.what {
            shiftwork_sim::What::Queue(operation) => Some(operation),
            _ => None,
        })
        .collect()
}

#[test]
fn nodes_share_a_queue_and_do_its_work_side_by_side() {
    let outcome = Script::new().run(pair(4));
    outcome.assert_rules_kept();
    assert_eq!(cycles_of(&outcome, "a"), [secs(0), secs(10)]);
    assert_eq!(cycles_of(&outcome, "b"), [secs(0), secs(10)]);
    for node in ["a", "b"] {
        let reports: Vec<_> = outcome.reports_of(node).collect();
        assert_eq!(reports.len(), 1, "{node} ends once, with the last signal");
        assert_eq!(reports[0].worker("jobs").unwrap().cycles.succeeded, 2);
    }
}

#[test]
fn a_crash_takes_one_node_and_another_does_its_work() {
    let script = Script::new().at(secs(5), node("a").crash(secs(120)));
    let outcome = script.run(pair(2));
    outcome.assert_rules_kept();
    assert_eq!(cycles_of(&outcome, "a"), [secs(0)]);
    // The lease is renewed every third of it, and lapses 5 s after the last time.
    let taken_over = cycles_of(&outcome, "b")[1];
    assert!(secs(8) < taken_over && taken_over <= secs(12), "{taken_over:?}");
    assert_eq!(outcome.stats.boots, 3);
}

#[test]
fn q2_the_settlement_of_a_node_that_stood_still_too_long_is_refused() {
    let script = Script::new().at(secs(5), node("a").pause(secs(30))).at(secs(60), node("b").signal(Signal::Interrupt));
    let outcome = script.run(pair(1));
    outcome.assert_rules_kept();
    // It had the delivery, and another node took it over when the lease had lapsed.
    assert_eq!(cycles_of(&outcome, "a"), [secs(0)]);
    assert_eq!(cycles_of(&outcome, "b").len(), 1);
    let [QueueOperation::Claimed { token: first, .. }, later @ ..] = &operations(&outcome, A)[..] else {
        panic!("a claimed first")
    };
    let settled_by_a = later.iter().any(|it| matches!(it, QueueOperation::Settled { token, .. } if token == first));
    assert!(!settled_by_a, "its claim was no longer current");
    let acked = |it: &QueueOperation| matches!(it, QueueOperation::Settled { .. });
    assert!(operations(&outcome, B).iter().any(acked));
    assert_eq!(outcome.stats.struck, [true, true]);
}

#[test]
fn a_node_that_stood_still_finds_its_timers_overdue() {
    let script =
        Script::new().at(secs(15), node("slow").pause(secs(30))).at(secs(61), node("slow").signal(Signal::Terminate));
    let outcome = script.at(secs(61), node("other").signal(Signal::Terminate)).run_once(|world| {
        for name in ["other", "slow"] {
            world.node(name, |node| {
                let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
            });
        }
    });
    outcome.assert_rules_kept();
    assert_eq!(cycles_of(&outcome, "other"), [0, 10, 20, 30, 40, 50, 60].map(secs));
    // The ticks of 20, 30 and 40 s come as one, when it goes on.
    assert_eq!(cycles_of(&outcome, "slow"), [0, 10, 45, 50, 60].map(secs));
}

/// Until both are stopped at 25 s, two nodes with a tick every ten seconds each; "b" is killed at that time, and back a
/// second later.
fn two_that_tick<F, Fut>(killed_at: std::time::Duration, program: F) -> Outcome
where
    F: Fn(shiftwork_sim::Node) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = shiftwork::HostReport> + Send + 'static,
{
    let script = Script::new()
        .at(killed_at, node("b").crash(secs(1)))
        .at(secs(25), node("a").signal(Signal::Terminate))
        .at(secs(25), node("b").signal(Signal::Terminate));
    let outcome = script.run_once(move |world| ["a", "b"].into_iter().for_each(|name| world.node(name, program)));
    outcome.assert_rules_kept();
    outcome
}

#[test]
fn d1_a_tick_is_late_by_what_another_process_blocks_before_its_first_poll() {
    let outcome = two_that_tick(millis(8_500), |node| {
        if node.boot() > 1 {
            // A look at a large file, before there is a host.
            std::thread::park_timeout(secs(2));
        }
        let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
        node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
    });
    assert_eq!(cycles_of(&outcome, "a"), [secs(0), millis(11_500), secs(20)]);
    assert_eq!(cycles_of(&outcome, "b"), [secs(0), millis(11_500), millis(21_500)]);
}

/// What a destructor does that takes its time, unless it is let off.
struct Tidies(bool);

impl Drop for Tidies {
    fn drop(&mut self) {
        if self.0 {
            std::thread::park_timeout(millis(50));
        }
    }
}

#[test]
fn a_destructor_of_a_killed_process_takes_nobodys_time() {
    let outcome = two_that_tick(millis(9_980), |node| async move {
        let mut tidies = Tidies(true);
        let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
        let report = node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal().await;
        tidies.0 = false;
        report
    });
    assert_eq!(cycles_of(&outcome, "a"), [secs(0), secs(10), secs(20)]);
    assert_eq!(cycles_of(&outcome, "b"), [secs(0), millis(10_980), millis(20_980)]);
}

#[test]
fn each_node_has_a_wall_clock_of_its_own() {
    let notes = Notes::default();
    let noted = notes.clone();
    let script = Script::new()
        .at(secs(1), node("ahead").clock_forward(secs(3_600)))
        .at(secs(2), node("behind").clock_back(secs(60)))
        .at(secs(11), node("ahead").signal(Signal::Terminate))
        .at(secs(11), node("behind").signal(Signal::Terminate));
    let outcome = script.run_once(move |world| nodes_that_note_the_time(world, ["ahead", "behind"], secs(10), &noted));
    outcome.assert_rules_kept();
    let expected = [
        "ahead 2026-01-01T00:00:00Z",
        "behind 2026-01-01T00:00:00Z",
        "ahead 2026-01-01T01:00:10Z",
        "behind 2025-12-31T23:59:10Z",
    ];
    assert_eq!(notes.all(), expected);
}

#[test]
fn a_slow_start_is_slow_and_a_signal_meanwhile_finds_nobody() {
    let script = Script::new()
        .at(secs(0), node("b").slow_start(secs(7)))
        .at(secs(3), node("b").signal(Signal::Terminate))
        .at(secs(20), node("a").signal(Signal::Terminate))
        .at(secs(20), node("b").signal(Signal::Terminate));
    let outcome = script.run_once(pair(2));
    outcome.assert_rules_kept();
    assert_eq!(cycles_of(&outcome, "b"), [secs(7)]);
    assert_eq!(outcome.stats.struck, [true, false, true, true]);
}

#[test]
fn an_hour_in_which_no_node_has_anything_to_do_takes_a_few_steps() {
    let polls = Count::default();
    let counted = polls.clone();
    let script = Script::new()
        .at(secs(24 * 3600), node("a").signal(Signal::Terminate))
        .at(secs(24 * 3600), node("b").signal(Signal::Terminate));
    let outcome = script.run_once(move |world| {
        for name in ["a", "b"] {
            let counted = counted.clone();
            world.node(name, move |node| {
                let counted = counted.clone();
                let tick = move |_: Tick, _: Context| {
                    counted.up();
                    async { Ok::<(), Failure>(()) }
                };
                node.host().worker("tick", Schedule::every(secs(6 * 3600)), tick).run_until_signal()
            });
        }
    });
    outcome.assert_rules_kept();
    assert_eq!(polls.get(), 8);
    assert!(outcome.stats.records < 100, "{}", outcome.stats.records);
    assert_eq!(outcome.stats.virtual_time, secs(24 * 3600));
}

#[test]
fn a_world_of_several_nodes_is_a_function_of_its_seed() {
    let run = |seed| {
        let script = Script::new()
            .seed(seed)
            .at(millis(5_300), node("a").pause(secs(8)))
            .at(millis(12_000), node("b").crash(secs(2)));
        let outcome = script.run(pair(6));
        outcome.assert_rules_kept();
        outcome.fingerprint
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn every_node_gets_the_last_signal_and_is_judged_by_itself() {
    let outcome = Script::new().run(|world| {
        world.node("well", |node| {
            let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
        });
        world.node("stubborn", |node| {
            let hang = |_: Tick, _: Context| std::future::pending::<Result<(), Failure>>();
            node.host().worker("hang", Schedule::every(secs(10)), hang).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let exit = |node: &str| outcome.reports_of(node).last().map(|report| report.exit);
    assert_eq!(exit("well"), Some(ExitStatus::Clean));
    assert_eq!(exit("stubborn"), Some(ExitStatus::DrainTimedOut));
}

#[test]
fn a_signal_without_a_name_is_for_the_first_node() {
    let outcome = Script::new()
        .at(secs(1), Signal::Terminate)
        .at(secs(2), node("b").signal(Signal::Terminate))
        .run_once(|world| {
            for name in ["a", "b"] {
                world.node(name, |node| {
                    let tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                    node.host().worker("tick", Schedule::every(secs(10)), tick).run_until_signal()
                });
            }
        });
    outcome.assert_rules_kept();
    let ends: Vec<_> = outcome.reports.iter().map(|it| (&*it.node, it.report.ran)).collect();
    assert_eq!(ends, [("a", secs(1)), ("b", secs(2))]);
}

#[test]
fn a_deploy_replaces_one_node_after_the_other_and_their_work_goes_on() {
    let outcome = Script::new().run(|world| {
        pair(8)(world);
        world.signal_at(secs(5), "a", Signal::Terminate);
        world.signal_at(secs(20), "b", Signal::Terminate);
    });
    outcome.assert_rules_kept();
    assert_eq!(cycles_of(&outcome, "a")[..2], [secs(0), secs(11)], "it finishes, and is back a second later");
    assert_eq!(cycles_of(&outcome, "b")[..2], [secs(0), secs(10)]);
    let reports: Vec<_> = outcome.reports.iter().map(|it| (&*it.node, it.report.exit)).collect();
    assert_eq!(reports.len(), 4, "each of them ends twice: {reports:?}");
    assert!(reports.iter().all(|(_, exit)| *exit == ExitStatus::Clean), "{reports:?}");
}
