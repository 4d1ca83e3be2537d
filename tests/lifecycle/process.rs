//! A real process that does not end by itself, with real signals: who ends it. And what one says at its end where nobody hears its log.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal as Kill, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::Instant,
};

/// What a real run came to.
#[derive(Debug)]
struct Real {
    events: Vec<String>,
    code: Option<i32>,
    /// How long it was there after it had been told to end, or its host had begun to stop, whichever came first. A process is
    /// not ended while another host runs in it, so from the end of that at the earliest.
    lingered: Duration,
}

impl Real {
    /// Whether both were said, and in this order.
    fn has_in_order(&self, first: &str, second: &str) -> bool {
        let at = |event: &str| self.events.iter().position(|it| it == event);
        at(first).zip(at(second)).is_some_and(|(first, second)| first < second)
    }
}

/// How long a process may be there after it was told to end. It is promised to end within a second: 0.6 s for its stop, and 0.4 s of
/// grace. What nobody can hear, its last words, it waits for for another second, and the machine may be busy. Without the watchdog it would
/// be there for half a minute.
const LINGERS_MAX: Duration = Duration::from_secs(7);

/// Runs a program. `signals` are sent one after the other, each once the event before it was seen.
async fn run_program(program: &str, arguments: &[&str], signals: &[(&str, Kill)]) -> Real {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program was built with the tests");
    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).unwrap()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut signals = signals.iter().peekable();
    let (mut events, mut told) = (Vec::new(), None);
    let run = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, signal)) = signals.next_if(|(after, _)| *after == line) {
                kill_process(pid, *signal).unwrap();
                told.get_or_insert_with(Instant::now);
            }
            match &*line {
                "host_stopping" => {
                    told.get_or_insert_with(Instant::now);
                }
                "other_stopped" => told = Some(Instant::now()),
                _ => {}
            }
            events.push(line);
        }
        child.wait().await.unwrap().code()
    };
    let code = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends within its budget");
    assert!(signals.next().is_none(), "every signal was sent: {events:?}");
    let lingered = told.expect("it was told to end, or its host stopped").elapsed();
    Real { events, code, lingered }
}

/// Runs the program that is stuck in what is said, and ends in time all the same.
async fn run_stuck(stuck: &str, signals: &[(&str, Kill)]) -> Real {
    let real = run_program(env!("CARGO_BIN_EXE_stuck"), &[stuck], signals).await;
    assert!(real.lingered <= LINGERS_MAX, "{stuck}: {real:?}");
    real
}

#[tokio::test]
async fn t9_a_cycle_that_never_yields_is_named_and_its_process_ends_in_time() {
    let blocked = "cycle_blocked: worker 0, cycle 1";
    let real = run_stuck("cycle", &[(blocked, Kill::TERM)]).await;
    assert_eq!(real.code, Some(75), "{:?}", real.events);
    // The host itself heard of no signal: its only thread is blocked.
    let expected = [blocked, "straggler: worker 0, cycle 1, running", "host_overdue"];
    assert_eq!(real.events[real.events.len() - 3..], expected);
}

#[tokio::test]
async fn t9_a_process_whose_cycle_never_yields_tells_that_it_was_interrupted_twice() {
    let blocked = "cycle_blocked: worker 0, cycle 1";
    let real = run_stuck("cycle", &[(blocked, Kill::QUIT)]).await;
    assert_eq!(real.code, Some(130), "{:?}", real.events);
}

#[tokio::test]
async fn t9_a_blocked_cycle_that_holds_what_a_listener_waits_for_does_not_keep_the_process() {
    let real = run_stuck("output", &[("cycle_started", Kill::TERM)]).await;
    assert_eq!(real.code, Some(75), "{:?}", real.events);
    assert_eq!(real.events.last().map(String::as_str), Some("cycle_started"), "nothing could be printed any more");
}

#[tokio::test]
async fn t9_work_on_a_blocking_thread_does_not_keep_the_process_and_its_verdict_stands() {
    let real = run_stuck("blocking", &[("cycle_started", Kill::TERM)]).await;
    assert_eq!(real.code, Some(0), "{:?}", real.events);
    assert_eq!(real.events[real.events.len() - 2..], ["host_stopped", "host_overdue"]);
}

#[tokio::test]
async fn t9_a_process_whose_host_was_stopped_by_its_handle_or_has_nothing_left_ends_in_time() {
    for stuck in ["asked", "completed"] {
        let real = run_stuck(stuck, &[]).await;
        assert_eq!(real.code, Some(0), "{stuck}: {:?}", real.events);
        assert_eq!(real.events[real.events.len() - 2..], ["host_stopped", "host_overdue"], "{stuck}");
    }
}

#[tokio::test]
async fn t9_a_hook_that_never_yields_is_named_and_its_process_ends_in_time() {
    for hook in ["start", "stop"] {
        let blocked = format!("hook_blocked: worker 0, {hook}");
        let real = run_stuck(hook, &[(&blocked, Kill::TERM)]).await;
        assert_eq!(real.code, Some(75), "{hook}: {:?}", real.events);
        assert_eq!(real.events[real.events.len() - 2..], [&*blocked, "host_overdue"], "{hook}");
    }
}

#[tokio::test]
async fn t9_a_process_whose_host_did_not_start_tells_so_though_a_stop_hook_never_yields() {
    let real = run_stuck("failed_start", &[]).await;
    assert_eq!(real.code, Some(69), "{:?}", real.events);
    assert_eq!(real.events.last().map(String::as_str), Some("host_overdue"));
}

#[tokio::test]
async fn t9_a_host_that_has_stopped_does_not_end_the_process_in_which_another_one_runs() {
    // Its time is over after a second, and the other one runs for two and a half.
    let real = run_stuck("beside", &[]).await;
    assert_eq!(real.code, Some(0), "{:?}", real.events);
    assert!(real.has_in_order("host_stopped", "other_stopped"), "{:?}", real.events);
}

#[tokio::test]
async fn t9_a_blocked_host_ends_its_process_once_no_other_one_runs_in_it() {
    let blocked = "cycle_blocked: worker 0, cycle 1";
    let real = run_stuck("apart", &[(blocked, Kill::TERM)]).await;
    assert_eq!(real.code, Some(75), "{:?}", real.events);
    assert!(real.has_in_order("other_stopped", "host_overdue"), "{:?}", real.events);
}

#[tokio::test]
async fn t9_a_host_that_ran_and_ended_meanwhile_does_not_keep_the_process() {
    let real = run_stuck("between", &[("other_stopped", Kill::TERM)]).await;
    assert_eq!(real.code, Some(0), "{:?}", real.events);
    assert_eq!(real.events[real.events.len() - 2..], ["host_stopped", "host_overdue"]);
}

#[tokio::test]
async fn a_process_that_is_to_be_kept_is_left_alone() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stuck"))
        .arg("kept")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program was built with the tests");
    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).unwrap()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        match &*line {
            "cycle_started" => kill_process(pid, Kill::TERM).unwrap(),
            "host_stopped" => break,
            _ => {}
        }
    }
    // Its time would be over after a second.
    let ended = tokio::time::timeout(Duration::from_millis(1_500), child.wait()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn a_process_whose_log_nobody_hears_says_at_its_end_why_it_did_not_start() {
    let program = Command::new(env!("CARGO_BIN_EXE_incident")).arg("start-fails").output();
    let ended = tokio::time::timeout(Duration::from_secs(30), program).await.expect("it ends by itself").unwrap();
    assert_eq!(ended.status.code(), Some(69));
    let said = String::from_utf8(ended.stderr).unwrap();
    let expected = "host ended with start_failure: fatal: no licence\n  \
                    bad: failed (fatal: no licence), 0 cycles, 0 failed\n\
                    to see its log, install a tracing subscriber before it runs\n";
    assert_eq!(said, expected);
}
