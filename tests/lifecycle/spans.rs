//! In which span user code speaks: before and after it waits, in its hooks, and as it is dropped.

use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, Environment, Failure, Host, QueueSourceExt, Retry, Schedule,
    ServiceContext, System, Tick, Worker,
    queue::{MemoryQueue, Message, Queue},
};
use shiftwork_sim::{millis, secs};

/// Speaks, lets others have their turn, and speaks again.
async fn speaks(of: &str) {
    tracing::info!("{of} begins");
    tokio::time::sleep(millis(10)).await;
    tracing::info!("{of} goes on");
}

struct Mails;

impl Worker for Mails {
    type Input = String;

    async fn start(&self) -> Result<(), Failure> {
        speaks("the login").await;
        Ok(())
    }

    async fn cycle(&self, mail: String, cx: &Context) -> Result<(), Failure> {
        speaks(&format!("{mail} {}", cx.attempt())).await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        speaks("the logout").await;
        Ok(())
    }
}

struct Inserts;

impl BatchWorker for Inserts {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        speaks("the insert").await;
        Ok(())
    }
}

/// Speaks as it is dropped.
struct Rollback;

impl Drop for Rollback {
    fn drop(&mut self) {
        tracing::info!("the report is rolled back");
    }
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn what_user_code_says_is_in_its_span_and_what_the_host_says_is_in_none() {
    let (mails, rows) = (MemoryQueue::new(), MemoryQueue::new());
    let letters = ["receipt", "welcome"].map(|mail| Message::new(mail.to_owned()));
    mails.push(Vec::from(letters), System.now()).await.unwrap();
    rows.push(vec![Message::new(1_u32), Message::new(2)], System.now()).await.unwrap();
    let report = |_: Tick, _: Context| async {
        let _rollback = Rollback;
        speaks("the report").await;
        std::future::pending::<Result<(), Failure>>().await
    };
    let serve = |cx: ServiceContext| async move {
        speaks("the server").await;
        cx.stopped().await;
        speaks("the farewell").await;
        Ok::<(), Failure>(())
    };
    let host = Host::builder()
        .worker("mails", mails.source(), Mails)
        .batch_worker("rows", rows.source(), Batches::of(2), Inserts)
        .worker("reports", Schedule::every(secs(3_600)), report)
        .cycle_timeout(secs(5))
        .retry(Retry::exponential().attempts_max(2))
        .service("http", serve);
    let report = host.run_until(tokio::time::sleep(secs(60))).await;

    assert_eq!(report.worker("mails").unwrap().cycles.succeeded, 2);
    let said = [
        (r#"start{worker="mails"}"#, "the login"),
        (r#"cycle{worker="mails" cycle=1 attempt=1 delivery=1}"#, "receipt 1"),
        (r#"cycle{worker="mails" cycle=2 attempt=1 delivery=2}"#, "welcome 1"),
        (r#"stop{worker="mails"}"#, "the logout"),
        (r#"batch{worker="rows" cycle=1 size=2}"#, "the insert"),
        (r#"cycle{worker="reports" cycle=1 attempt=1}"#, "the report"),
        (r#"cycle{worker="reports" cycle=2 attempt=2}"#, "the report"),
        (r#"service{worker="http"}"#, "the server"),
        (r#"service{worker="http"}"#, "the farewell"),
    ];
    let line = |span: &str, text: String| format!(":{span}: {}: {text}", module_path!());
    let of_both = |(span, of): (&str, &str)| ["begins", "goes on"].map(|step| line(span, format!("{of} {step}")));
    let rolled_back = [1, 2].map(|attempt| {
        let span = format!(r#"cycle{{worker="reports" cycle={attempt} attempt={attempt}}}"#);
        line(&span, "the report is rolled back".to_owned())
    });
    let expected: Vec<String> = said.into_iter().flat_map(of_both).chain(rolled_back).collect();
    logs_assert(|lines| {
        let in_one_span = |line: &&&str| line.matches("{worker=").count() == 1;
        let written = |text: &String| lines.iter().filter(in_one_span).filter(|line| line.ends_with(&**text)).count();
        let missing: Vec<&String> = expected.iter().filter(|text| written(text) != 1).collect();
        let by_users = lines.iter().filter(|line| line.contains(&format!(": {}: ", module_path!()))).count();
        let in_a_users = lines.iter().filter(|line| line.contains("}: shiftwork::")).count();
        if missing.is_empty() && by_users == expected.len() && in_a_users == 0 {
            Ok(())
        } else {
            Err(format!("{missing:#?}, {by_users} lines, {in_a_users} of the host in a span: {lines:#?}"))
        }
    });
}
