//! Mocks, captured logs and futures polled by hand: the same workers, in a test without a world.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use shiftwork::{
    Context, Continuous, Environment, Event, ExitStatus, Failure, Host, Overlap, QueueSourceExt, Retry, Schedule,
    ServiceContext, System, Tick,
    queue::{MemoryQueue, Message, Queue},
};
use shiftwork_sim::{Script, millis, secs, site};
use shiftwork_tests::email::{self, Mail, MockMailer, Outbox};
use tokio_test::{assert_pending, assert_ready, task};

use crate::refusing::Refusing;

/// An outbox with one mail in it.
#[derive(Clone, Default)]
struct OneMail(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Outbox for OneMail {
    async fn waiting(&self) -> Result<Vec<Mail>, Failure> {
        let mail = Mail { id: 1, arrives_ms: 0, to: "ada@example.org".into(), subject: "Receipt".into() };
        let sent = self.0.load(std::sync::atomic::Ordering::Relaxed);
        Ok(if sent { Vec::new() } else { vec![mail] })
    }

    async fn strike_off(&self, _: u32) -> Result<(), Failure> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_the_server_refused_is_sent_again_and_struck_off_once_it_is_accepted() {
    let mut mailer = MockMailer::new();
    let mut calls = mockall::Sequence::new();
    let refuse = |_: &Mail| -> std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> {
        Box::pin(async { Err(Failure::transient("451 try again later")) })
    };
    mailer.expect_send().times(2).in_sequence(&mut calls).returning(refuse);
    mailer.expect_send().times(1).in_sequence(&mut calls).returning(|_| Box::pin(async { Ok(()) }));
    let outbox = OneMail::default();

    let host = email::application(Host::builder(), outbox.clone(), mailer);
    let report = host.run_until(tokio::time::sleep(secs(60))).await;

    assert_eq!(report.exit, ExitStatus::Clean);
    assert!(outbox.waiting().await.unwrap().is_empty());
}

#[test]
fn a_mock_can_ask_the_world_whether_it_fails() {
    let outbox = OneMail::default();
    let inside = outbox.clone();
    let outcome = Script::new()
        .at(secs(0), site("smtp").outage().lasting(secs(3)))
        .at(secs(30), shiftwork::Signal::Terminate)
        .run_once(move |world| {
            let smtp = world.dependency("smtp");
            world.node("mailer", move |node| {
                let smtp = smtp.clone();
                let mut mailer = MockMailer::new();
                mailer.expect_send().returning(move |_| {
                    let smtp = smtp.clone();
                    Box::pin(async move { Ok(smtp.call(async {}).await?) })
                });
                email::application(node.host(), inside.clone(), mailer).run_until_signal()
            });
        });
    outcome.assert_rules_kept();
    assert!(outbox.0.load(std::sync::atomic::Ordering::Relaxed));
    assert!(outcome.report().unwrap().worker("send-mails").unwrap().cycles.failed >= 1);
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn c8_every_failed_cycle_is_a_line_in_the_log() {
    let fails = |tick: Tick, _: Context| async move {
        if tick.number == 1 { panic!("the index is corrupt") } else { Err(Failure::transient("disk is full")) }
    };
    let host = Host::builder().worker("indexer", Schedule::every(secs(10)), fails).retry(Retry::never());
    let report = host.run_until(tokio::time::sleep(secs(15))).await;

    assert_eq!(report.worker("indexer").unwrap().cycles.failed, 2);
    assert!(logs_contain("cycle panicked"));
    assert!(logs_contain("the index is corrupt"));
    assert!(logs_contain("cycle failed"));
    assert!(logs_contain("disk is full"));
    assert!(logs_contain("given up: a person should look"));
    logs_assert(|lines| {
        let failures =
            lines.iter().filter(|line| line.contains("worker=\"indexer\"") && line.contains("kind=")).count();
        // Each failure and each escalation, and nothing twice.
        if failures == 4 { Ok(()) } else { Err(format!("{failures} lines: {lines:#?}")) }
    });
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn no_line_of_the_log_has_a_payload() {
    let queue = MemoryQueue::new();
    for number in 0..4 {
        let message = Message::new(format!("iban-{number}"));
        queue.push_one(message, System.now()).await.unwrap();
    }
    let work = |account: String, _: Context| async move {
        match &*account {
            "iban-0" => panic!("it cannot be booked"),
            "iban-1" => Err(Failure::invalid("no such account")),
            "iban-2" => Err(Failure::transient("the bank is down")),
            _ => Ok(()),
        }
    };
    let host = Host::builder().worker("book", queue.source(), work).retry(Retry::never());
    let report = host.run_until(tokio::time::sleep(secs(15))).await;

    assert_eq!(report.worker("book").unwrap().cycles.failed, 3);
    assert!(logs_contain("no such account") && logs_contain("it cannot be booked"));
    assert!(!logs_contain("iban-"));
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn c8_an_outage_is_a_line_a_minute_that_counts_the_others_and_one_line_at_its_end() {
    let fails = |tick: Tick, _: Context| async move {
        if tick.number <= 181 { Err(Failure::transient("disk is full")) } else { Ok(()) }
    };
    let host = Host::builder().worker("indexer", Schedule::every(secs(1)), fails).retry(Retry::never());
    let report = host.run_until(tokio::time::sleep(millis(200_500))).await;

    assert_eq!(report.worker("indexer").unwrap().cycles.failed, 181);
    logs_assert(|lines| {
        let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        let said = ["cycle failed", "given up: a person should look", "worker recovered", "failures=181"].map(with);
        // At 0, 1, 2 and 3 minutes.
        let counted = lines.iter().filter(|line| line.contains("cycle failed") && line.contains("unlogged=59")).count();
        if said == [4, 4, 1, 1] && counted == 3 { Ok(()) } else { Err(format!("{said:?}, {counted}: {lines:#?}")) }
    });
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn c8_a_worker_that_is_well_by_turns_leaves_out_no_more_than_its_failures() {
    let fails_by_turns = |tick: Tick, _: Context| async move {
        if tick.number % 2 == 1 { Err(Failure::transient("disk is full")) } else { Ok(()) }
    };
    let host = Host::builder().worker("indexer", Schedule::every(secs(1)), fails_by_turns).retry(Retry::never());
    let report = host.run_until(tokio::time::sleep(millis(40_500))).await;

    assert_eq!(report.worker("indexer").unwrap().cycles.failed, 21);
    logs_assert(|lines| {
        let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        let said = ["cycle failed", "input given up", "given up: a person should look"].map(with);
        let rest = "repeated lines were left out";
        let unlogged = format!("unlogged={}", 3 * 21 - said.iter().sum::<usize>());
        let left_out = lines.iter().any(|line| line.contains(rest) && line.contains(&unlogged));
        if with("worker recovered") == 1 && left_out {
            Ok(())
        } else {
            Err(format!("{said:?}, {unlogged}: {lines:#?}"))
        }
    });
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn what_panics_beside_each_cycle_is_a_line_a_minute_that_names_the_worker() {
    let fails = |_: Tick, _: Context| async { Err(Failure::unclassified("disk is full")) };
    let host = Host::builder()
        .worker("indexer", Schedule::every(secs(1)), fails)
        .retry(Retry::never())
        .classify(|_| panic!("no such error"))
        .on_escalation(|_| panic!("the pager is out"));
    let report = host.run_until(tokio::time::sleep(millis(90_500))).await;

    assert_eq!(report.worker("indexer").unwrap().cycles.failed, 91);
    logs_assert(|lines| {
        let of = |text: &str| lines.iter().filter(|line| line.contains(text)).collect::<Vec<_>>();
        let said = [
            of("the classification of an error panicked worker=\"indexer\" error=\"no such error ("),
            of("the escalation hook panicked worker=\"indexer\" error=\"the pager is out ("),
        ];
        // At 0 and 1 minutes.
        let right = said.iter().all(|lines| lines.len() == 2 && lines[1].contains("unlogged=59"));
        if right { Ok(()) } else { Err(format!("{said:#?}")) }
    });
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn a_store_that_refuses_every_other_claim_is_two_lines_a_minute_that_count_the_others() {
    let events = Arc::new(AtomicUsize::new(0));
    let counts = events.clone();
    let store = Refusing::every_other_claim(MemoryQueue::<u32>::new());
    let host = Host::builder()
        .listener(move |_: tokio::time::Instant, event: &Event| {
            if let Event::SourceFailed { .. } | Event::SourceRecovered { .. } = event {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        })
        .worker("jobs", store.source().poll_interval(millis(100)), |_: u32, _: Context| async {
            Ok::<(), Failure>(())
        });
    let report = host.run_until(tokio::time::sleep(secs(150))).await;

    assert_eq!(report.exit, ExitStatus::Clean);
    let events = events.load(Ordering::Relaxed);
    assert!(events > 1_000, "{events}");
    logs_assert(|lines| {
        let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        let said = ["could not read the source", "source recovered"].map(with);
        let count = |line: &&str| line.split("unlogged=").nth(1)?.split_whitespace().next()?.parse::<usize>().ok();
        let unlogged: usize = lines.iter().filter_map(count).sum();
        // At 0, 1 and 2 minutes; what came after that is said at the end.
        if said == [3, 3] && 6 + unlogged == events {
            Ok(())
        } else {
            Err(format!("{said:?} and {unlogged} of {events}: {lines:#?}"))
        }
    });
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn a_clean_stop_with_a_cycle_in_flight_warns_of_nothing() {
    let queue = MemoryQueue::new();
    queue.push((1_u32..=2).map(Message::new).collect(), System.now()).await.unwrap();
    let query = |_: u32, _: Context| async {
        tokio::time::sleep(secs(5)).await;
        Ok::<(), Failure>(())
    };
    let pool = |cx: ServiceContext| async move {
        cx.stopped().await;
        Ok::<(), Failure>(())
    };
    let host = Host::builder().service("pool", pool).worker("queries", queue.source(), query).after("pool");
    let report = host.run_until(tokio::time::sleep(secs(1))).await;

    assert_eq!((report.exit, report.stopping), (ExitStatus::Clean, secs(4)), "the first query came to its end");
    assert_eq!(report.worker("queries").unwrap().cycles.succeeded, 1);
    logs_assert(|lines| {
        // A line begins with its time and its level.
        let level = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        let loud = lines.iter().filter(|line| matches!(level(line).as_deref(), Some("WARN" | "ERROR"))).count();
        let stopped = lines.iter().any(|line| line.contains("host stopped") && level(line).as_deref() == Some("INFO"));
        if loud == 0 && stopped { Ok(()) } else { Err(format!("{loud} warn: {lines:#?}")) }
    });
}

/// In a world the simulator counts them; here tokio does.
#[tokio::test(start_paused = true)]
async fn t6_no_task_is_left_when_its_host_has_ended() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let queue = MemoryQueue::new();
    queue.push((1_u32..=10).map(Message::new).collect(), System.now()).await.unwrap();
    let slow = |_: u32, _: Context| async {
        tokio::time::sleep(secs(5)).await;
        Ok::<(), Failure>(())
    };
    let stuck = |_: Tick, _: Context| std::future::pending::<Result<(), Failure>>();
    let serve = |cx: ServiceContext| async move {
        cx.stopped().await;
        Ok::<(), Failure>(())
    };
    let host = Host::builder()
        .worker("slow", queue.source(), slow)
        .concurrency(4)
        .worker("stuck", Schedule::every(secs(3_600)).overlap(Overlap::CancelPrevious), stuck)
        .service("http", serve);
    let mut at_work = 0;
    let report = host
        .run_until(async {
            tokio::time::sleep(secs(1)).await;
            at_work = metrics.num_alive_tasks();
        })
        .await;

    assert!(at_work >= 8, "three workers and five lanes: {at_work}");
    assert_eq!(report.worker("slow").unwrap().cycles.succeeded, 4);
    assert_eq!(report.exit, ExitStatus::DrainTimedOut, "a cycle that never ends is dropped");
    assert_eq!(metrics.num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_waits_for_its_stop_and_then_for_the_cycle_in_flight() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let slow = |(): (), _: Context| async {
        tokio::time::sleep(secs(5)).await;
        Ok::<(), Failure>(())
    };
    let host = Host::builder().worker("slow", Continuous::new(), slow);
    let mut run = task::spawn(host.run_until(async {
        let _ = stopped.await;
    }));

    assert_pending!(run.poll());
    tokio::time::sleep(millis(100)).await;
    assert!(run.is_woken(), "the worker has reported that it is ready");
    assert_pending!(run.poll());
    tokio::time::sleep(secs(7)).await;
    while run.is_woken() {
        assert_pending!(run.poll(), "nobody has asked it to stop");
    }

    stop.send(()).unwrap();
    assert!(run.is_woken());
    assert_pending!(run.poll(), "the second cycle is in flight");
    let mut waited = Duration::ZERO;
    let report = loop {
        tokio::time::sleep(millis(500)).await;
        waited += millis(500);
        if let std::task::Poll::Ready(report) = run.poll() {
            break report;
        }
        assert!(waited < secs(10), "it never ends");
    };
    assert_eq!(report.exit, ExitStatus::Clean);
    assert_eq!(report.worker("slow").unwrap().cycles.succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn cancelled_completes_at_once_when_it_is_asked_again() {
    let asked_twice = |_: Tick, cx: Context| async move {
        cx.cancelled().await;
        let mut again = task::spawn(cx.cancelled());
        assert_ready!(again.poll());
        Ok::<(), Failure>(())
    };
    let host = Host::builder().worker("patient", Schedule::every(secs(60)), asked_twice);
    let report = host.run_until(tokio::time::sleep(secs(1))).await;
    assert_eq!(report.worker("patient").unwrap().cycles.succeeded, 1);
}

/// A thread that is blocked stands still in real time, so no world can have one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q8_a_cycle_that_blocks_its_thread_past_its_time_has_its_lease_renewed_no_more() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
    let queue = MemoryQueue::new();
    queue.push(vec![Message::new(1)], System.now()).await.unwrap();
    let hangs = move |_: u32, _: Context| {
        let blocked = blocked.clone();
        async move {
            blocked.lock().unwrap().recv().unwrap();
            Ok::<(), Failure>(())
        }
    };
    let host = Host::builder()
        .listener(move |_: tokio::time::Instant, event: &Event| {
            if let Event::LeaseGivenUp { delivery, .. } = event {
                let _ = says.send(*delivery);
            }
        })
        .worker("jobs", queue.clone().source().lease(millis(30)), hangs)
        .cycle_timeout(millis(20));
    let report = host
        .run_until(async {
            said.recv().await.unwrap();
            release.send(()).unwrap();
        })
        .await;
    // Nobody had claimed it meanwhile, so that its settlement was good.
    assert_eq!(report.worker("jobs").unwrap().cycles.succeeded, 1);
    assert_eq!(queue.depth(System.now()).await.unwrap().unsettled(), 0);
}
