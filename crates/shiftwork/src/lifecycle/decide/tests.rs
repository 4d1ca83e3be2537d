//! The state machine under every order of events: what its module page promises, as properties.

use proptest::prelude::*;

use super::*;
use crate::{GiveUp, Restart};

fn plan(after: &[u32]) -> WorkerPlan {
    WorkerPlan {
        after: after.iter().copied().map(WorkerId).collect(),
        start_timeout: Duration::from_secs(30),
        drain: None,
        on_fault: OnFault::StopHost,
        group: None,
    }
}

/// A machine and the time, driven step by step.
struct Bench {
    machine: Lifecycle,
    now: Duration,
    actions: Vec<Action>,
}

impl Bench {
    fn new(plans: Vec<WorkerPlan>) -> Self {
        let mut bench =
            Self { machine: Lifecycle::new(plans, StopBudget::default()), now: Duration::ZERO, actions: Vec::new() };
        bench.input(Input::Begin);
        bench
    }

    /// What the machine wants done about `input`.
    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.decide(self.now, input, &mut actions);
        self.actions.extend(actions.iter().cloned());
        actions
    }

    fn pass_to_deadline(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().expect("a machine that waits for nobody has a deadline");
        self.input(Input::DeadlinePassed)
    }

    fn phase(&self, worker: u32) -> WorkerPhase {
        self.machine.workers[worker as usize].phase
    }

    /// Everything starts well.
    fn running(plans: Vec<WorkerPlan>) -> Self {
        let count = u32::try_from(plans.len()).unwrap();
        let mut bench = Self::new(plans);
        // As often as there are levels at most: a worker whose turn has not come ignores it.
        for _ in 0..count {
            for worker in 0..count {
                bench.input(Input::Started(WorkerId(worker)));
            }
        }
        bench
    }

    fn end(&mut self, worker: u32, interrupted: bool) -> Vec<Action> {
        let worker = WorkerId(worker);
        let mut actions = self.input(Input::LanesEnded { worker, interrupted });
        actions.extend(self.input(Input::Closed(worker, None)));
        actions
    }
}

fn cause() -> Cause {
    Cause { kind: FailureKind::Transient, message: "it broke".into() }
}

#[test]
fn s1_a_worker_starts_when_those_before_it_are_ready() {
    let mut bench = Bench::new(vec![plan(&[]), plan(&[0])]);
    assert_eq!((bench.phase(0), bench.phase(1)), (WorkerPhase::Starting, WorkerPhase::Pending));
    let actions = bench.input(Input::Started(WorkerId(0)));
    assert!(actions.contains(&Action::Start(WorkerId(1))));
}

#[test]
fn s2_no_intake_opens_before_the_last_worker_is_ready() {
    let mut bench = Bench::new(vec![plan(&[]), plan(&[])]);
    assert!(!bench.input(Input::Started(WorkerId(0))).contains(&Action::OpenIntake(WorkerId(0))));
    assert!(bench.input(Input::Started(WorkerId(1))).contains(&Action::OpenIntake(WorkerId(0))));
}

#[test]
fn s3_a_start_hook_that_takes_too_long_is_the_root_cause() {
    let mut bench = Bench::new(vec![plan(&[])]);
    assert!(bench.pass_to_deadline().contains(&Action::Abort(WorkerId(0))));
    assert_eq!(bench.machine.exit(), ExitStatus::StartFailure);
    let cause = bench.machine.verdicts().next().unwrap().cause.unwrap();
    assert_eq!(cause.to_string(), "timeout: the start hook did not return within 30s");
}

#[test]
fn s8_a_worker_that_faults_before_its_host_runs_did_not_start_whatever_its_policy() {
    for on_fault in [OnFault::StopHost, OnFault::Degrade, OnFault::restart()] {
        let mut bench = Bench::new(vec![WorkerPlan { on_fault, ..plan(&[]) }, plan(&[0])]);
        bench.input(Input::Started(WorkerId(0)));
        bench.input(Input::Faulted(WorkerId(0), cause()));
        assert_eq!(bench.phase(0), WorkerPhase::Failed);
        bench.input(Input::StartFailed(WorkerId(1), cause()));
        assert!(bench.machine.is_stopped());
        assert_eq!(bench.machine.exit(), ExitStatus::StartFailure);
    }
}

#[test]
fn s4_a_failed_start_stops_what_had_started_and_starts_nothing_more() {
    let mut bench = Bench::new(vec![plan(&[]), plan(&[0]), plan(&[1])]);
    bench.input(Input::Started(WorkerId(0)));
    let actions = bench.input(Input::StartFailed(WorkerId(1), cause()));
    assert!(actions.contains(&Action::CloseIntake(WorkerId(0))));
    assert_eq!(bench.phase(2), WorkerPhase::NeverStarted);
    bench.input(Input::Closed(WorkerId(0), None));
    assert!(bench.machine.is_stopped());
}

#[test]
fn t1_an_intake_is_closed_when_it_is_said_to_be() {
    let mut bench = Bench::running(vec![plan(&[])]);
    let actions = bench.input(Input::StopAsked);
    let place = |wanted: fn(&Action) -> bool| actions.iter().position(wanted);
    let closed = place(|action| matches!(action, Action::CloseIntake(_)));
    let said = place(|action| matches!(action, Action::Emit(Event::IntakeClosed { .. })));
    assert!(closed.is_some() && closed < said, "{actions:?}");
}

#[test]
fn t2_a_worker_stops_after_those_that_come_after_it() {
    let mut bench = Bench::running(vec![plan(&[]), plan(&[0])]);
    let actions = bench.input(Input::StopAsked);
    assert!(actions.contains(&Action::CloseIntake(WorkerId(1))));
    assert!(!actions.contains(&Action::CloseIntake(WorkerId(0))));
    assert!(bench.end(1, false).contains(&Action::CloseIntake(WorkerId(0))));
}

#[test]
fn t3_a_worker_that_does_not_end_is_asked_then_dropped_then_left_behind() {
    let mut bench = Bench::running(vec![plan(&[])]);
    bench.input(Input::StopAsked);
    assert!(bench.pass_to_deadline().contains(&Action::Cancel(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_secs(20));
    assert!(bench.pass_to_deadline().contains(&Action::Abort(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_secs(23));
    assert!(bench.pass_to_deadline().contains(&Action::Abandon(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_secs(25));
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.machine.exit(), ExitStatus::DrainTimedOut);
}

#[test]
fn t5_a_second_signal_aborts_whatever_the_order_and_a_third_leaves() {
    let mut bench = Bench::running(vec![plan(&[]), plan(&[0])]);
    bench.input(Input::Signal(Signal::Terminate));
    let second = bench.input(Input::Signal(Signal::Terminate));
    assert!(second.contains(&Action::Abort(WorkerId(0))) && second.contains(&Action::Abort(WorkerId(1))));
    bench.input(Input::Signal(Signal::Interrupt));
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.machine.exit(), ExitStatus::Forced);
}

#[test]
fn v2_a_fault_is_never_a_clean_exit() {
    let mut bench = Bench::running(vec![plan(&[]), plan(&[])]);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    bench.end(1, false);
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.machine.exit(), ExitStatus::WorkerFault);
}

#[test]
fn a_host_whose_workers_have_all_run_to_completion_is_done() {
    let mut bench = Bench::running(vec![plan(&[]), plan(&[])]);
    bench.end(0, false);
    assert!(!bench.machine.is_stopped());
    bench.end(1, false);
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.machine.exit(), ExitStatus::Clean);
    assert_eq!(bench.machine.stopping().unwrap().0, StopReason::Completed);
}

#[test]
fn f1_a_worker_that_faults_is_drained_closed_and_started_again_after_its_delay() {
    let mut bench = Bench::running(vec![WorkerPlan { on_fault: OnFault::restart(), ..plan(&[]) }, plan(&[])]);
    let faulted = bench.input(Input::Faulted(WorkerId(0), cause()));
    assert!(faulted.contains(&Action::CloseIntake(WorkerId(0))));
    bench.end(0, false);
    assert_eq!((bench.phase(0), bench.phase(1)), (WorkerPhase::Restarting, WorkerPhase::Running));
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_secs(1));
    assert!(bench.input(Input::Started(WorkerId(0))).contains(&Action::OpenIntake(WorkerId(0))));
    bench.input(Input::StopAsked);
    bench.end(0, false);
    bench.end(1, false);
    assert_eq!(bench.machine.exit(), ExitStatus::Clean, "the fault was dealt with");
}

#[test]
fn f1_a_worker_that_faults_too_often_stops_the_host() {
    let mut bench = Bench::running(vec![WorkerPlan { on_fault: OnFault::restart(), ..plan(&[]) }]);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    for _ in 0..5 {
        bench.pass_to_deadline();
        bench.input(Input::StartFailed(WorkerId(0), cause()));
    }
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.machine.exit(), ExitStatus::WorkerFault);
}

#[test]
fn v2_a_worker_that_the_host_went_on_without_is_a_fault_at_the_end() {
    let mut bench = Bench::running(vec![WorkerPlan { on_fault: OnFault::Degrade, ..plan(&[]) }, plan(&[])]);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    assert_eq!(bench.phase(1), WorkerPhase::Running);
    bench.input(Input::StopAsked);
    bench.end(1, false);
    assert_eq!(bench.machine.exit(), ExitStatus::WorkerFault);
}

#[test]
fn s5_a_fault_while_a_stop_drops_the_first_start_is_a_consequence() {
    let mut bench = Bench::new(vec![plan(&[])]);
    bench.input(Input::StopAsked);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    assert_eq!((bench.machine.is_stopped(), bench.phase(0)), (true, WorkerPhase::NeverStarted));
}

#[test]
fn f1_a_fault_while_a_later_life_starts_is_dealt_with_at_once() {
    let again = Cause { kind: FailureKind::Panic, message: "it broke again".into() };
    let said = Action::Emit(Event::WorkerFaulted { worker: WorkerId(0), cause: again.clone() });
    for stops in [false, true] {
        let mut bench = Bench::running(vec![WorkerPlan { on_fault: OnFault::restart(), ..plan(&[]) }]);
        bench.input(Input::Faulted(WorkerId(0), cause()));
        bench.end(0, false);
        bench.pass_to_deadline();
        if stops {
            bench.input(Input::StopAsked);
        }
        assert_eq!(bench.phase(0), WorkerPhase::Starting);
        assert!(bench.input(Input::Faulted(WorkerId(0), again.clone())).contains(&said));
        if stops {
            assert_eq!((bench.phase(0), bench.machine.exit()), (WorkerPhase::Failed, ExitStatus::WorkerFault));
        } else {
            assert_eq!(bench.phase(0), WorkerPhase::Restarting);
            assert_eq!(bench.machine.deadline(), Some(bench.now + Duration::from_secs(2)), "the second restart");
        }
    }

    // One that went down for another's fault has none on record.
    let mut bench = group(RestartStrategy::OneForAll);
    bench.input(Input::Faulted(WorkerId(1), cause()));
    for worker in [1, 2, 0] {
        bench.end(worker, false);
    }
    bench.pass_to_deadline();
    assert!(bench.input(Input::Faulted(WorkerId(0), again)).contains(&said));
    assert_eq!(bench.phase(0), WorkerPhase::Restarting);
}

#[test]
fn f1_a_fault_in_a_stop_asks_no_policy_and_is_in_the_exit_code() {
    for on_fault in [OnFault::StopHost, OnFault::Degrade, OnFault::restart()] {
        let mut bench = Bench::running(vec![WorkerPlan { on_fault, ..plan(&[]) }]);
        bench.input(Input::Signal(Signal::Terminate));
        bench.input(Input::Faulted(WorkerId(0), cause()));
        bench.end(0, false);
        assert!(bench.machine.is_stopped());
        assert_eq!((bench.phase(0), bench.machine.exit()), (WorkerPhase::Failed, ExitStatus::WorkerFault));
        assert_eq!(bench.machine.stopping().unwrap().0, StopReason::Signal(Signal::Terminate));
    }

    // A group is on its way up when its host stops.
    let mut bench = group_on_its_way_up();
    assert!(bench.input(Input::StopAsked).contains(&Action::Abort(WorkerId(1))));
    let faulted = bench.input(Input::Faulted(WorkerId(0), cause()));
    assert!(faulted.contains(&Action::CloseIntake(WorkerId(0))));
    assert!(!faulted.contains(&Action::Abort(WorkerId(1))), "it takes nobody down");
    assert!(bench.machine.workers.iter().all(|worker| worker.then.is_none()));
    bench.input(Input::StartFailed(WorkerId(1), cause()));
    bench.end(0, false);
    bench.end(3, false);
    assert_eq!([0, 1, 2, 3].map(|id| bench.phase(id)), {
        use WorkerPhase::{Failed, Stopped};
        [Failed, Failed, Stopped, Stopped]
    });
    assert_eq!(bench.machine.exit(), ExitStatus::WorkerFault);
}

fn member(after: &[u32], strategy: RestartStrategy) -> WorkerPlan {
    WorkerPlan { on_fault: OnFault::restart(), group: Some(Member { group: 0, strategy }), ..plan(after) }
}

/// "store", "cache" after it, "api" after that, all in one group; and a worker outside of it that comes after "store".
fn group(strategy: RestartStrategy) -> Bench {
    Bench::running(vec![member(&[], strategy), member(&[0], strategy), member(&[1], strategy), plan(&[0])])
}

/// A group that has gone down by a fault, and whose first member is up again.
fn group_on_its_way_up() -> Bench {
    let mut bench = group(RestartStrategy::OneForAll);
    bench.input(Input::Faulted(WorkerId(1), cause()));
    for worker in [1, 2, 0] {
        bench.end(worker, false);
    }
    bench.pass_to_deadline();
    bench.input(Input::Started(WorkerId(0)));
    bench
}

#[test]
fn f4_one_for_all_goes_down_in_reverse_and_comes_up_in_order_and_leaves_others_alone() {
    let mut bench = group(RestartStrategy::OneForAll);
    let closed = bench.input(Input::Faulted(WorkerId(1), cause()));
    assert!(closed.contains(&Action::CloseIntake(WorkerId(1))) && closed.contains(&Action::CloseIntake(WorkerId(2))));
    assert!(!closed.contains(&Action::CloseIntake(WorkerId(0))));
    bench.end(1, false);
    let closed = bench.end(2, false);
    assert!(closed.contains(&Action::CloseIntake(WorkerId(0))));
    assert_eq!(bench.machine.deadline(), Some(Duration::from_secs(20)), "only the drain of the last");
    bench.now = Duration::from_secs(3);
    bench.end(0, false);
    let up = bench.pass_to_deadline();
    assert_eq!(bench.now, Duration::from_secs(4), "a second after the last is down");
    assert!(up.contains(&Action::Start(WorkerId(0))) && !up.contains(&Action::Start(WorkerId(1))));
    assert!(bench.input(Input::Started(WorkerId(0))).contains(&Action::Start(WorkerId(1))));
    assert!(bench.input(Input::Started(WorkerId(1))).contains(&Action::Start(WorkerId(2))));
    bench.input(Input::Started(WorkerId(2)));
    let restarts: Vec<u32> = bench.machine.verdicts().map(|verdict| verdict.restarts).collect();
    assert_eq!(restarts, [1, 1, 1, 0]);
    assert_eq!(bench.phase(3), WorkerPhase::Running, "F2");
    bench.input(Input::StopAsked);
    for worker in [3, 2, 1, 0] {
        bench.end(worker, false);
    }
    assert_eq!(bench.machine.exit(), ExitStatus::Clean);
}

#[test]
fn f4_rest_for_one_takes_those_along_that_come_after_it() {
    let mut bench = group(RestartStrategy::RestForOne);
    bench.input(Input::Faulted(WorkerId(1), cause()));
    bench.end(1, false);
    bench.end(2, false);
    assert_eq!([0, 1, 2, 3].map(|id| bench.phase(id)), {
        use WorkerPhase::{Restarting, Running};
        [Running, Restarting, Restarting, Running]
    });
}

#[test]
fn f4_a_member_that_comes_to_its_own_end_is_waited_for_and_stays_ended() {
    let mut bench = group(RestartStrategy::OneForAll);
    // "api" has done its work, and takes its leave when "cache" faults.
    bench.input(Input::LanesEnded { worker: WorkerId(2), interrupted: false });
    let closed = bench.input(Input::Faulted(WorkerId(1), cause()));
    assert!(closed.contains(&Action::CloseIntake(WorkerId(1))));
    bench.end(1, false);
    assert_eq!(bench.phase(0), WorkerPhase::Running, "\"api\" comes after \"store\", and is not down");
    bench.now = Duration::from_secs(5);
    assert!(bench.input(Input::Closed(WorkerId(2), None)).contains(&Action::CloseIntake(WorkerId(0))));
    bench.end(0, false);
    let up = bench.pass_to_deadline();
    assert_eq!(bench.now, Duration::from_secs(6), "a second after the last is down");
    assert!(up.contains(&Action::Start(WorkerId(0))) && !up.contains(&Action::Start(WorkerId(1))));
    assert!(bench.input(Input::Started(WorkerId(0))).contains(&Action::Start(WorkerId(1))));
    bench.input(Input::Started(WorkerId(1)));
    assert_eq!([0, 1, 2, 3].map(|id| bench.phase(id)), {
        use WorkerPhase::{Running, Stopped};
        [Running, Running, Stopped, Running]
    });
}

#[test]
fn f4_the_delay_counts_from_when_who_comes_to_its_own_end_is_down_or_left_behind() {
    for answers in [true, false] {
        let mut bench = group(RestartStrategy::RestForOne);
        bench.input(Input::LanesEnded { worker: WorkerId(2), interrupted: false });
        bench.input(Input::Faulted(WorkerId(1), cause()));
        bench.end(1, false);
        let leave = Duration::from_secs(if answers { 5 } else { 20 });
        if answers {
            bench.now = leave;
            bench.input(Input::Closed(WorkerId(2), None));
        } else {
            assert!(bench.pass_to_deadline().contains(&Action::Abandon(WorkerId(2))));
            assert_eq!(bench.now, leave);
        }
        assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(1))));
        assert_eq!(bench.now, leave + Duration::from_secs(1));
    }
}

#[test]
fn f4_a_member_that_was_stopped_alone_is_waited_for_by_those_that_are_restarted() {
    let mut bench = group(RestartStrategy::OneForAll);
    bench.input(Input::StopWorkerAsked(WorkerId(2)));
    bench.input(Input::Faulted(WorkerId(1), cause()));
    bench.end(1, false);
    assert_eq!((bench.phase(0), bench.phase(1)), (WorkerPhase::Running, WorkerPhase::Restarting));
    assert!(bench.end(2, false).contains(&Action::CloseIntake(WorkerId(0))));
    bench.end(0, false);
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(0))));
    assert_eq!((bench.now, bench.phase(2)), (Duration::from_secs(1), WorkerPhase::Stopped));
}

#[test]
fn f4_who_is_restarted_alone_does_not_wait_for_another_that_is() {
    let mut bench = group(RestartStrategy::OneForOne);
    // "cache" drains for as long as it may. "store" faults, too, and is down at once.
    bench.input(Input::Faulted(WorkerId(1), cause()));
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_secs(2), "the second restart of the group");
    assert_eq!(bench.phase(1), WorkerPhase::Draining);
}

#[test]
fn f1_who_is_down_waits_as_long_as_it_has_said_though_another_fault_asks_for_less() {
    let on_fault = OnFault::Restart(Restart::default().intensity(5, Duration::from_secs(10)));
    let member = |after: &[u32]| WorkerPlan { on_fault, ..member(after, RestartStrategy::RestForOne) };
    let mut bench = Bench::running(vec![member(&[]), member(&[0])]);
    // The second faults again and again, and is to wait 8 s after its fourth.
    for (at, delay) in [(0, 1), (1_500, 2), (4_000, 4), (8_500, 8)] {
        bench.now = Duration::from_millis(at);
        bench.input(Input::Faulted(WorkerId(1), cause()));
        bench.end(1, false);
        assert_eq!(bench.machine.deadline(), Some(bench.now + Duration::from_secs(delay)));
        if at < 8_500 {
            bench.pass_to_deadline();
            bench.input(Input::Started(WorkerId(1)));
        }
    }
    // The faults of long ago are forgotten when the first one faults, which waits for 2 s.
    bench.now = Duration::from_millis(14_100);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(0))));
    assert_eq!(bench.now, Duration::from_millis(16_100));
    assert!(!bench.input(Input::Started(WorkerId(0))).contains(&Action::Start(WorkerId(1))));
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(1))));
    assert_eq!(bench.now, Duration::from_millis(16_500));
}

#[test]
fn f4_who_is_down_does_not_start_while_one_that_it_comes_after_has_yet_to_go_down() {
    // The last two come after the second, and that after the first.
    let strategy = RestartStrategy::RestForOne;
    let after: [&[u32]; 4] = [&[], &[0], &[1], &[1]];
    let mut bench = Bench::running(after.map(|after| member(after, strategy)).to_vec());
    // The first takes the others with it, and is not to come back itself.
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.input(Input::StopWorkerAsked(WorkerId(0)));
    bench.end(0, false);
    bench.end(2, false);
    // The last drains for longer than the delay, and keeps the second at work.
    bench.now = Duration::from_secs(10);
    bench.input(Input::DeadlinePassed);
    assert_eq!([0, 1, 2, 3].map(|id| bench.phase(id)), {
        use WorkerPhase::{Draining, Failed, Restarting, Running};
        [Failed, Running, Restarting, Draining]
    });
    bench.end(3, false);
    bench.end(1, false);
    assert!(bench.pass_to_deadline().contains(&Action::Start(WorkerId(1))));
    assert_eq!(bench.now, Duration::from_secs(11), "a second after the last is down");
    assert!(bench.input(Input::Started(WorkerId(1))).contains(&Action::Start(WorkerId(2))));
}

#[test]
fn f5_a_group_counts_its_restarts_together_and_a_fault_on_the_way_down_is_part_of_one() {
    let mut bench = group(RestartStrategy::OneForAll);
    for round in 0..5 {
        let first = WorkerId(round % 3);
        bench.input(Input::Faulted(first, cause()));
        bench.input(Input::Faulted(WorkerId((round + 1) % 3), cause()));
        assert!(bench.machine.stopping().is_none(), "round {round}");
        for worker in [2, 1, 0, 1, 0] {
            bench.end(worker, false);
        }
        bench.pass_to_deadline();
        for worker in [0, 1, 2] {
            bench.input(Input::Started(WorkerId(worker)));
        }
    }
    bench.input(Input::Faulted(WorkerId(2), cause()));
    assert_eq!(bench.machine.stopping().unwrap().0, StopReason::WorkerFault(WorkerId(2)));
}

#[test]
fn s8_a_service_that_is_ready_and_fails_in_a_later_life_as_it_is_to_end_is_not_waited_for() {
    // With its group: "cache" says so just as "store" has faulted anew.
    let mut bench = group_on_its_way_up();
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.input(Input::Started(WorkerId(1)));
    assert_eq!(bench.phase(1), WorkerPhase::Closing);
    bench.input(Input::StartFailed(WorkerId(1), cause()));
    assert_eq!(bench.phase(1), WorkerPhase::Restarting);

    // And in a stop.
    let mut bench = Bench::running(vec![WorkerPlan { on_fault: OnFault::restart(), ..plan(&[]) }]);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    bench.end(0, false);
    bench.pass_to_deadline();
    bench.input(Input::StopAsked);
    bench.input(Input::Started(WorkerId(0)));
    bench.input(Input::StartFailed(WorkerId(0), cause()));
    assert!(bench.machine.is_stopped());
    assert_eq!(bench.phase(0), WorkerPhase::Failed);
}

#[test]
fn f5_who_is_started_again_after_its_own_fault_when_its_group_is_given_up_has_failed() {
    let once = Restart::default().intensity(1, Duration::from_secs(600)).then(GiveUp::Degrade);
    let member = || WorkerPlan { on_fault: OnFault::Restart(once), ..member(&[], RestartStrategy::OneForAll) };
    let mut bench = Bench::running(vec![member(), member(), member()]);
    bench.input(Input::Faulted(WorkerId(0), cause()));
    for worker in [0, 1, 2] {
        bench.end(worker, false);
    }
    bench.pass_to_deadline();
    bench.input(Input::Started(WorkerId(1)));
    let given_up = bench.input(Input::Faulted(WorkerId(1), cause()));
    for worker in [0, 2] {
        assert!(given_up.contains(&Action::Abort(WorkerId(worker))));
        bench.input(Input::StartFailed(WorkerId(worker), cause()));
    }
    bench.end(1, false);
    assert_eq!([0, 1, 2].map(|id| bench.phase(id)), {
        use WorkerPhase::{Failed, Stopped};
        [Failed, Failed, Stopped]
    });
}

#[test]
fn f4_a_large_group_in_which_each_comes_after_all_before_it_is_restarted_in_no_time() {
    let before: Vec<Vec<u32>> = (0..40).map(|count| (0..count).collect()).collect();
    let strategy = RestartStrategy::RestForOne;
    let mut bench = Bench::running(before.iter().map(|after| member(after, strategy)).collect());
    bench.input(Input::Faulted(WorkerId(0), cause()));
    for worker in (0..40).rev() {
        bench.end(worker, false);
    }
    assert!((0..40).all(|worker| bench.phase(worker) == WorkerPhase::Restarting));
    bench.pass_to_deadline();
    for worker in 0..40 {
        assert_eq!(bench.phase(worker), WorkerPhase::Starting, "{worker}");
        bench.input(Input::Started(WorkerId(worker)));
    }
    assert!((0..40).all(|worker| bench.phase(worker) == WorkerPhase::Running));
}

#[test]
fn f4_a_stop_does_not_wait_for_a_group_and_those_that_had_no_fault_are_stopped() {
    let mut bench = group(RestartStrategy::OneForAll);
    bench.input(Input::Faulted(WorkerId(2), cause()));
    for worker in [2, 1, 0] {
        bench.end(worker, false);
    }
    bench.input(Input::StopAsked);
    assert_eq!([0, 1, 2].map(|id| bench.phase(id)), {
        use WorkerPhase::{Failed, Stopped};
        [Stopped, Stopped, Failed]
    });
    bench.end(3, false);
    assert_eq!(bench.machine.exit(), ExitStatus::WorkerFault);
}

#[test]
fn t7_intake_stays_open_for_the_delay_and_a_second_signal_cuts_it() {
    let budget = StopBudget::default().before_drain(Duration::from_secs(5));
    for second in [false, true] {
        let mut bench =
            Bench { machine: Lifecycle::new(vec![plan(&[])], budget), now: Duration::ZERO, actions: Vec::new() };
        bench.input(Input::Begin);
        bench.input(Input::Started(WorkerId(0)));
        bench.input(Input::Signal(Signal::Terminate));
        assert_eq!(bench.phase(0), WorkerPhase::Running);
        if second {
            bench.now = Duration::from_secs(1);
            assert!(bench.input(Input::Signal(Signal::Terminate)).contains(&Action::CloseIntake(WorkerId(0))));
        } else {
            assert!(bench.pass_to_deadline().contains(&Action::CloseIntake(WorkerId(0))));
            assert_eq!(bench.now, Duration::from_secs(5));
            bench.pass_to_deadline();
            assert_eq!(bench.now, Duration::from_secs(25), "the whole drain comes after it");
        }
    }
}

/// Any order of any inputs, the impossible ones included.
fn inputs(workers: u32) -> impl Strategy<Value = Vec<(Input, u64)>> {
    let id = move || (0..workers).prop_map(WorkerId);
    let input = prop_oneof![
        4 => id().prop_map(Input::Started),
        1 => id().prop_map(|id| Input::StartFailed(id, cause())),
        1 => id().prop_map(|id| Input::Faulted(id, cause())),
        4 => (id(), any::<bool>()).prop_map(|(worker, interrupted)| Input::LanesEnded { worker, interrupted }),
        4 => (id(), any::<bool>()).prop_map(|(id, failed)| Input::Closed(id, failed.then(cause))),
        1 => prop::sample::select(vec![Signal::Terminate, Signal::Interrupt, Signal::Quit]).prop_map(Input::Signal),
        1 => Just(Input::StopAsked),
        1 => id().prop_map(Input::PauseAsked),
        1 => id().prop_map(Input::ResumeAsked),
        1 => id().prop_map(Input::TriggerAsked),
        1 => id().prop_map(Input::StopWorkerAsked),
        4 => Just(Input::DeadlinePassed),
    ];
    prop::collection::vec((input, 0u64..8_000), 0..40)
}

/// Workers that come only after earlier ones, so that there is no circle.
fn plans() -> impl Strategy<Value = Vec<WorkerPlan>> {
    (1u32..5).prop_flat_map(|count| {
        (0..count)
            .map(|index| {
                let on_fault = prop::sample::select(vec![OnFault::StopHost, OnFault::Degrade, OnFault::restart()]);
                let drain = prop::option::of((0u64..40_000).prop_map(Duration::from_millis));
                let after = prop::collection::btree_set(0..index.max(1), 0..=index as usize);
                let group = prop::option::of(prop::sample::select(vec![0, 1]));
                (after, drain, on_fault, group).prop_map(move |(after, drain, on_fault, group)| WorkerPlan {
                    on_fault: if group.is_some() { OnFault::restart() } else { on_fault },
                    group: group.map(|group| Member {
                        group,
                        strategy: if group == 0 { RestartStrategy::OneForAll } else { RestartStrategy::RestForOne },
                    }),
                    after: after.into_iter().filter(|other| *other < index).map(WorkerId).collect(),
                    start_timeout: Duration::from_secs(30),
                    drain,
                })
            })
            .collect::<Vec<_>>()
    })
}

proptest! {
    #[test]
    fn the_promises_hold_after_any_events_and_a_stop_always_ends_in_time(
        (plans, events) in plans().prop_flat_map(|plans| {
            let count = u32::try_from(plans.len()).unwrap();
            (Just(plans), inputs(count))
        }),
    ) {
        let mut bench = Bench::new(plans.clone());
        let mut opened = vec![false; plans.len()];
        let mut stopped = vec![0; plans.len()];
        let mut paused = vec![false; plans.len()];
        let mut asked_at = None;
        // With which input each was started last, and was last down.
        let (mut fed, mut started_at, mut down_at) = (0, vec![0; plans.len()], vec![0; plans.len()]);
        let mut feed = |bench: &mut Bench, input: Input| -> Result<(), TestCaseError> {
            let actions = bench.input(input);
            fed += 1;
            let mut started_paused = None;
            let mut started = Vec::new();
            for action in &actions {
                if let Some(id) = started_paused.take() {
                    prop_assert_eq!(action, &Action::Pause(id), "a new life of a paused worker begins paused");
                }
                match action {
                    Action::OpenIntake(id) => {
                        prop_assert!(!opened[id.index()], "an intake opens once in a life");
                        opened[id.index()] = true;
                        prop_assert!(asked_at.is_none(), "and never after a stop was asked");
                    }
                    Action::Emit(Event::WorkerRestarting { worker, .. }) => {
                        opened[worker.index()] = false;
                        down_at[worker.index()] = fed;
                    }
                    Action::Emit(Event::HostStopping { .. }) => asked_at = Some(bench.now),
                    Action::Emit(Event::WorkerStopped { worker, phase }) => {
                        stopped[worker.index()] += 1;
                        prop_assert!(phase.is_terminal());
                    }
                    Action::Emit(Event::WorkerTriggered { worker }) => {
                        prop_assert!(opened[worker.index()] && !paused[worker.index()], "a trigger is for who can run");
                    }
                    Action::Pause(id) => paused[id.index()] = true,
                    Action::Resume(id) => paused[id.index()] = false,
                    Action::Start(id) => {
                        started_paused = paused[id.index()].then_some(*id);
                        started_at[id.index()] = fed;
                        started.push(*id);
                    }
                    Action::Emit(_) | Action::CloseIntake(_) | Action::Cancel(_)
                    | Action::Abort(_) | Action::Leave(_) | Action::Abandon(_) | Action::Trigger(_) => {}
                }
            }
            for id in started {
                let late = bench.machine.affected(id).into_iter().find(|other| {
                    let phase = bench.phase(other.0);
                    let is_down = phase == WorkerPhase::Restarting || phase.is_terminal();
                    started_at[other.index()] < down_at[id.index()] && !is_down
                });
                prop_assert_eq!(late, None, "nobody starts before those are down that go down with it");
            }
            // Invariant 1: nothing is past its start that comes after something that never was ready.
            for (index, plan) in plans.iter().enumerate() {
                let begun = !matches!(
                    bench.phase(u32::try_from(index).unwrap()), WorkerPhase::Pending | WorkerPhase::NeverStarted
                );
                for before in &plan.after {
                    prop_assert!(!begun || !matches!(bench.phase(before.0), WorkerPhase::Pending));
                }
            }
            // Invariant 4: nothing waits longer than the host itself.
            if let (Some(asked), Some(deadline)) = (asked_at, bench.machine.deadline()) {
                prop_assert!(deadline <= asked + StopBudget::default().total());
            }
            Ok(())
        };
        for (input, pause) in events {
            bench.now += Duration::from_millis(pause);
            feed(&mut bench, input)?;
        }
        feed(&mut bench, Input::StopAsked)?;
        // From here on nobody answers.
        let asked = bench.now;
        for _ in 0..100 {
            if bench.machine.is_stopped() {
                break;
            }
            bench.now = bench.machine.deadline().expect("a stopping machine has a deadline").max(bench.now);
            feed(&mut bench, Input::DeadlinePassed)?;
        }
        prop_assert!(bench.machine.is_stopped(), "invariant 6");
        prop_assert!(bench.now <= asked + StopBudget::default().total());
        prop_assert!(stopped.iter().all(|times| *times == 1), "each worker has one verdict: {stopped:?}");
        let last_word = Action::Emit(Event::HostStopped { exit: bench.machine.exit() });
        prop_assert!(bench.actions.contains(&last_word));
        let after_the_end = bench.input(Input::StopAsked);
        prop_assert!(after_the_end.is_empty());
    }
}
