//! Each example as a real process: what it prints, that it ends when it is told to, and with which exit code.
//!
//! Cargo builds the examples of a package whenever it builds all of its tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
};

/// Far longer than any of them takes: what runs into it hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Where they keep their files.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let folder = test.ancestors().nth(2).expect("it is in the folder of the profile");
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build -p shiftwork --examples", program.display());
    program
}

/// What an example came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    lines: Vec<String>,
}

impl Ran {
    fn said(&self, line: &str) -> bool {
        self.lines.iter().any(|it| it == line)
    }
}

/// Runs it to its end, or until it has said `enough`; then it gets a SIGTERM.
async fn run(name: &str, arguments: &[&str], enough: Option<&str>) -> Ran {
    run_with(name, arguments, enough, async |_| {}).await
}

async fn run_with(name: &str, arguments: &[&str], enough: Option<&str>, on_line: impl AsyncFn(&str)) -> Ran {
    run_in(Path::new(SCRATCH), name, arguments, enough, on_line).await
}

/// Runs it with a folder of its own for its files.
async fn run_in(
    folder: &Path,
    name: &str,
    arguments: &[&str],
    enough: Option<&str>,
    on_line: impl AsyncFn(&str),
) -> Ran {
    let mut child = Command::new(program(name))
        .args(arguments)
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("it runs");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut lines: Vec<String> = Vec::new();
    let mut told = false;
    let whole = async {
        while let Some(line) = output.next_line().await.expect("it writes text") {
            on_line(&line).await;
            if enough.is_some_and(|enough| !told && line.starts_with(enough)) {
                kill_process(pid, Signal::TERM).expect("it runs");
                told = true;
            }
            lines.push(line);
        }
        child.wait().await.expect("it ends").code()
    };
    let code = tokio::time::timeout(LIMIT, whole).await;
    let code = code.unwrap_or_else(|_| panic!("{name} did not end; it said {lines:?}"));
    assert_eq!(told, enough.is_some(), "it never said {enough:?}: {lines:?}");
    Ran { code, lines }
}

#[tokio::test]
async fn the_outbox_mailer_sends_what_waits_and_closes_its_connection() {
    let ran = run("outbox_mailer", &[], Some("sent to ben@example.org")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said("sent to ada@example.org: your order is on its way"), "{ran:?}");
    // And one that is refused for good keeps nobody behind it.
    assert!(ran.said("set aside the mail to bea at example.org: 550 no such mailbox"), "{ran:?}");
    assert_eq!(ran.lines.last().map(String::as_str), Some("disconnected from the mail server"));
}

#[tokio::test]
async fn the_queue_consumer_tries_again_and_moves_bad_input_aside() {
    let ran = run("queue_consumer", &[], Some("charged order 3 at attempt 2")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said("charged order 1 at attempt 1") && ran.said("charged order 2 at attempt 1"), "{ran:?}");
    assert!(ran.said("moved aside as invalid: Ok(Order { number: 4, cents: -1 })"), "{ran:?}");
}

#[tokio::test]
async fn the_bulk_loader_writes_many_at_a_time_and_moves_one_row_aside() {
    let ran = run("bulk_loader", &[], Some("wrote 50 rows, refused 0; the table has 249")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said("wrote 99 rows, refused 1; the table has 99"), "{ran:?}");
    assert!(ran.said("wrote 100 rows, refused 0; the table has 199"), "{ran:?}");
    assert_eq!(ran.lines.last().map(String::as_str), Some("moved aside as invalid: Ok(\"boiler 17 warm\")"));
}

#[tokio::test]
async fn the_nightly_clean_up_runs_by_its_expression_and_makes_up_for_nights_when_it_was_down() {
    let mark = Path::new(SCRATCH).join("shiftwork-example.mark");
    // It has never run.
    drop(fs::remove_file(&mark));
    let ran = run("nightly_clean_up", &["* * * * * *"], Some("clean-up of ")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.lines[0].starts_with("next clean-up at "), "{ran:?}");
    assert!(mark.exists());
    // Its last night was years ago.
    fs::write(&mark, "2020-01-01T02:00:00Z").expect("it can be written");
    let ran = run("nightly_clean_up", &["0 3 * * *"], Some("clean-up of ")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.lines[1].ends_with(" nights") && !ran.lines[1].ends_with(" made up for 0 nights"), "{ran:?}");
}

/// An empty folder for the files of one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(SCRATCH).join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).expect("it can be made");
    folder
}

#[tokio::test]
async fn the_nightly_clean_up_owes_the_night_after_its_first_start() {
    let folder = folder("first-start");
    // It may be told to end before it listens for that.
    let ran = run_in(&folder, "nightly_clean_up", &["0 3 * * *"], Some("next clean-up at "), async |_| {}).await;
    assert!(folder.join("shiftwork-example.mark").exists(), "{ran:?}");
}

#[tokio::test]
async fn the_nightly_clean_up_starts_with_an_empty_mark() {
    let folder = folder("empty-mark");
    fs::write(folder.join("shiftwork-example.mark"), "").expect("it can be written");
    let ran = run_in(&folder, "nightly_clean_up", &["* * * * * *"], Some("clean-up of "), async |_| {}).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn the_nightly_clean_up_names_the_mark_that_cannot_be_read() {
    let mark = folder("no-mark").join("shiftwork-example.mark");
    fs::create_dir(&mark).expect("it can be made");
    let whole = Command::new(program("nightly_clean_up")).env("TMPDIR", mark.parent().expect("it has one")).output();
    let ended = tokio::time::timeout(LIMIT, whole).await.expect("it ends by itself").expect("it starts");
    let said = String::from_utf8(ended.stderr).expect("it writes text");
    assert!(said.contains(&mark.display().to_string()), "{said}");
}

#[tokio::test]
async fn a_bad_expression_does_not_start() {
    let ran = run("nightly_clean_up", &["99 * * * *"], None).await;
    assert_eq!((ran.code, ran.lines.len()), (Some(1), 0), "{ran:?}");
}

#[tokio::test]
async fn the_two_way_sync_pauses_and_resumes_by_itself() {
    let ran = run("two_way_sync", &[], Some("in step: 0 out, 0 in")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said("paused after 3 failures") && ran.said("the other side is back"), "{ran:?}");
    assert!(ran.said("in step: 1 out, 1 in"), "{ran:?}");
}

#[tokio::test]
async fn the_http_server_accepts_work_and_stops_with_its_worker() {
    let ran = run_with("http_server", &[], Some("made a thumbnail of picture 7"), async |line| {
        let Some(address) = line.strip_prefix("listening on ") else { return };
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request =
            b"POST /thumbnails/7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    })
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn a_client_that_hangs_does_not_take_the_whole_stop_of_the_http_server() {
    let client = Mutex::new(None);
    let ran = run_with("http_server", &[], Some("listening on "), async |line| {
        let Some(address) = line.strip_prefix("listening on ") else { return };
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // The rest never comes.
        stream.write_all(b"POST /thumbnails/7 HTTP/1.1\r\nHost:").await.expect("it reads");
        *client.lock().expect("no test panics with it") = Some(stream);
    })
    .await;
    // Had it been dropped when the time to drain was over, it would be 75.
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn the_batch_ends_by_itself() {
    let ran = run("batch", &[], None).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.lines.last().map(String::as_str), Some("imported 3 lines"));
}

#[tokio::test]
async fn a_batch_that_fails_does_not_exit_zero() {
    let ran = run("batch", &["apple 3", "pear x"], None).await;
    assert_eq!((ran.code, &*ran.lines), (Some(70), &["imported 3 × apple".to_owned()][..]));
}

#[tokio::test]
async fn where_a_subscriber_hears_the_log_there_are_no_last_words_beside_it() {
    let whole = Command::new(program("batch")).arg("pear x").output();
    let ended = tokio::time::timeout(LIMIT, whole).await.expect("it ends by itself").expect("it starts");
    let said = String::from_utf8(ended.stderr).expect("it writes text");
    assert_eq!(ended.status.code(), Some(70), "{said}");
    assert!(said.contains("invalid digit") && !said.contains("host ended with"), "{said}");
}
