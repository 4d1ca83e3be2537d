//! A real process with real signals, beside its simulated twin: the same application says the same, line for line, and ends with
//! the same code. `docs/fidelity.md` says what is held together so, and what is not.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal as Kill, kill_process};
use shiftwork::{Environment, Failure, Signal, queue::Timestamp};
use shiftwork_sim::{Dependency, Ledger, Node, Script, dependency::Latency, millis, plan, secs, site};
use shiftwork_tests::incident::{self, Incident, Outside};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// What befalls an application.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Signal(Signal),
    /// SIGSTOP and, so long after it, SIGCONT.
    StandsStill(Duration),
    /// SIGKILL. Its process is started again.
    Killed,
}

/// When it does: in the process once this line was seen, in the world at a time between that line and the next.
struct Step {
    after: &'static str,
    at: Duration,
    blow: Blow,
}

fn step(after: &'static str, at: Duration, blow: Blow) -> Step {
    Step { after, at, blow }
}

/// What is wrong with the first request that gets to what an application calls. The next one is answered.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It is refused.
    Refused,
    /// It gets no answer.
    Unanswered,
}

fn trouble(incident: Incident) -> Option<Trouble> {
    let refused = (incident == Incident::Refused).then_some(Trouble::Refused);
    refused.or((incident == Incident::Unanswered).then_some(Trouble::Unanswered))
}

/// Takes two requests, and has the effect of the second.
fn serve(backend: &TcpListener, trouble: Trouble) -> io::Result<()> {
    let (mut first, _) = backend.accept()?;
    first.read_exact(&mut [0])?;
    match trouble {
        Trouble::Refused => first.write_all(&[0])?,
        // Its connection ends when the second one has been answered.
        Trouble::Unanswered => {}
    }
    let (mut second, _) = backend.accept()?;
    second.read_exact(&mut [0])?;
    second.write_all(&[1])
}

/// Something for an application to call, on this machine: where it listens.
fn backend(incident: Incident) -> Option<SocketAddr> {
    let trouble = trouble(incident)?;
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    // A request that never comes is missed by the test itself.
    std::thread::spawn(move || serve(&backend, trouble));
    Some(address)
}

/// What an application said, and the exit code of its last process; nothing for one that a signal has killed.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    lines: Vec<String>,
    code: Option<u8>,
}

/// Checks that both twins say the same, and end with this code.
async fn twins_agree(incident: Incident, steps: &[Step], code: Option<u8>) {
    let (real, simulated) = (run_process(incident, steps).await, run_world(incident, steps));
    assert_eq!(real.lines, simulated.lines, "the process and the world do not say the same");
    assert_eq!((real.code, simulated.code), (code, code), "{:?}", real.lines);
}

/// How long a process may take that should have ended long before.
const PATIENCE: Duration = Duration::from_secs(60);

async fn run_process(incident: Incident, steps: &[Step]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let backend = backend(incident);
    let mut steps = steps.iter().peekable();
    let mut lines = Vec::new();
    let status = tokio::time::timeout(PATIENCE, async {
        loop {
            let (mut child, mut out) = start(incident, &mark, backend);
            let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).unwrap()).unwrap();
            let mut killed = false;
            while let Some(line) = out.next_line().await.unwrap() {
                let step = steps.next_if(|step| step.after == line);
                lines.push(line);
                if let Some(step) = step {
                    killed |= matches!(step.blow, Blow::Killed);
                    strike(pid, step.blow).await;
                }
            }
            let status = child.wait().await.unwrap();
            if !killed {
                break status;
            }
        }
    });
    let status: ExitStatus = status.await.unwrap_or_else(|_| panic!("{incident:?} ends in time, but said {lines:?}"));
    assert!(steps.next().is_none(), "everything befell it that was to: {lines:?}");
    Said { lines, code: status.code().map(|code| u8::try_from(code).unwrap()) }
}

fn start(incident: Incident, mark: &Path, backend: Option<SocketAddr>) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_incident"))
        .arg(incident.as_str())
        .arg(mark)
        .args(backend.map(|address| address.to_string()))
        .stdout(Stdio::piped())
        // Where a panic and the log would be written.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program was built with the tests");
    let out = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    (child, out)
}

async fn strike(pid: Pid, blow: Blow) {
    let kill = |signal| kill_process(pid, signal).unwrap();
    match blow {
        Blow::Signal(Signal::Terminate) => kill(Kill::TERM),
        Blow::Signal(Signal::Interrupt) => kill(Kill::INT),
        Blow::Signal(Signal::Quit) => kill(Kill::QUIT),
        Blow::StandsStill(lasts) => {
            kill(Kill::STOP);
            tokio::time::sleep(lasts).await;
            kill(Kill::CONT);
        }
        Blow::Killed => kill(Kill::KILL),
    }
}

/// What outlives the processes of a world, and what they have said.
#[derive(Clone, Default)]
struct Desk {
    lines: Ledger<Vec<String>>,
    mark: Ledger<bool>,
    /// How many calls have had their effect.
    effects: Ledger<u32>,
}

/// The desk and what else one life of a process in a world has around it.
#[derive(Clone)]
struct Surroundings {
    desk: Desk,
    backend: Dependency,
    /// There is none for a process without a host.
    node: Option<Node>,
}

impl Outside for Surroundings {
    fn hears(&self, line: String) {
        self.desk.lines.with(|lines| lines.push(line));
    }

    fn mark(&self) {
        self.desk.mark.with(|mark| *mark = true);
    }

    fn is_marked(&self) -> bool {
        self.desk.mark.with(|mark| *mark)
    }

    fn wall_time(&self) -> Timestamp {
        self.node.as_ref().expect("who asks has a host").now()
    }

    async fn call(&self) -> Result<u32, Failure> {
        let effect = async {
            self.desk.effects.with(|effects| {
                *effects += 1;
                *effects
            })
        };
        Ok(self.backend.call(effect).await?)
    }
}

fn run_world(incident: Incident, steps: &[Step]) -> Said {
    let script = steps.iter().fold(Script::new(), |script, step| match step.blow {
        Blow::Signal(signal) => script.at(step.at, signal),
        Blow::StandsStill(lasts) => script.at(step.at, plan::pause(lasts)),
        Blow::Killed => script.at(step.at, plan::crash(secs(1))),
    });
    // The second request is made when that is over: after the delay of its retry, and after the time of the first cycle.
    let script = match trouble(incident) {
        None => script,
        Some(Trouble::Refused) => script.at(secs(0), site("backend").error(100).lasting(millis(10))),
        Some(Trouble::Unanswered) => script.at(secs(0), site("backend").hang().lasting(millis(160))),
    };
    let desk = Desk::default();
    let inside = desk.clone();
    let outcome = script.run_once(move |world| {
        let backend = world.dependency_with("backend", Latency::constant(millis(2)));
        let around = move |node| Surroundings { desk: inside.clone(), backend: backend.clone(), node };
        if incident == Incident::Foreign {
            world.foreign("incident", move |process| {
                let outside = around(None);
                async move {
                    let signals = process.signals().expect("a world refuses no handler");
                    incident::run_without_a_host(outside, signals.next()).await;
                }
            });
        } else {
            world.node("incident", move |node| {
                let outside = around(Some(node.clone()));
                incident::run(incident, node.host(), outside)
            });
        }
    });
    outcome.assert_rules_kept();
    Said { lines: desk.lines.with(|lines| lines.clone()), code: outcome.report().map(|report| report.exit.code()) }
}

const TERMINATE: Blow = Blow::Signal(Signal::Terminate);

#[tokio::test]
async fn stop_while_idle() {
    twins_agree(Incident::Idle, &[step("settled: worker 0, cycle 1, ack", secs(1), TERMINATE)], Some(0)).await;
}

#[tokio::test]
async fn stop_in_a_cycle() {
    let steps = [step("cycle_started: worker 0, cycle 1, attempt 1", millis(100), TERMINATE)];
    twins_agree(Incident::Busy, &steps, Some(0)).await;
}

/// The application has a worker that is stuck by then, and one that is done.
const STUCK: &str = "worker_stopped: worker 1, stopped";

#[tokio::test]
async fn drain_times_out() {
    twins_agree(Incident::Stuck, &[step(STUCK, secs(1), TERMINATE)], Some(75)).await;
}

#[tokio::test]
async fn a_second_signal_aborts() {
    let interrupt = Blow::Signal(Signal::Interrupt);
    let steps = [step(STUCK, secs(1), interrupt), step("intake_closed: worker 0", secs(1) + millis(50), interrupt)];
    twins_agree(Incident::Stuck, &steps, Some(130)).await;
}

#[tokio::test]
async fn a_sigquit_aborts() {
    twins_agree(Incident::Stuck, &[step(STUCK, secs(1), Blow::Signal(Signal::Quit))], Some(130)).await;
}

#[tokio::test]
async fn a_third_signal_leaves() {
    let steps = [
        step("settled: worker 0, cycle 1, ack", secs(1), TERMINATE),
        step("stop hook runs", secs(1) + millis(150), TERMINATE),
        step("signal_received: SIGTERM, next Leave", secs(1) + millis(200), TERMINATE),
    ];
    twins_agree(Incident::HangsInStop, &steps, Some(130)).await;
}

#[tokio::test]
async fn a_fault_stops_the_host() {
    twins_agree(Incident::Faulty, &[], Some(70)).await;
}

#[tokio::test]
async fn a_start_fails() {
    twins_agree(Incident::StartFails, &[], Some(69)).await;
}

#[tokio::test]
async fn a_start_is_interrupted() {
    twins_agree(Incident::StartHangs, &[step("start hook runs", secs(1), TERMINATE)], Some(0)).await;
}

#[tokio::test]
async fn a_cycle_panics() {
    twins_agree(Incident::Panics, &[], Some(0)).await;
}

#[tokio::test]
async fn a_cycle_times_out() {
    twins_agree(Incident::TimesOut, &[], Some(0)).await;
}

#[tokio::test]
async fn a_process_that_stands_still_is_late_and_goes_on() {
    // The ticks at 2 s and 4 s come due meanwhile; there is more than a second left until the next.
    let steps = [
        step("settled: worker 0, cycle 1, ack", millis(1), Blow::StandsStill(millis(4_600))),
        step("settled: worker 0, cycle 2, ack", secs(5), TERMINATE),
    ];
    twins_agree(Incident::Ticks, &steps, Some(0)).await;
}

#[tokio::test]
async fn a_process_that_is_killed_says_nothing_more_and_what_is_outside_stays() {
    twins_agree(Incident::Mark, &[step("marked", secs(1), Blow::Killed)], Some(0)).await;
}

#[tokio::test]
async fn a_signal_that_nobody_listens_for_kills() {
    twins_agree(Incident::NotListening, &[step("not listening", secs(1), TERMINATE)], None).await;
}

#[tokio::test]
async fn tasks_take_turns_and_one_that_never_waits_is_cut_short() {
    twins_agree(Incident::Turns, &[], Some(0)).await;
}

#[tokio::test]
async fn timers_fire_in_the_order_of_their_times_and_none_too_soon() {
    twins_agree(Incident::Waits, &[], Some(0)).await;
}

#[tokio::test]
async fn blocking_work_runs_beside_the_tasks() {
    twins_agree(Incident::Blocking, &[], Some(0)).await;
}

#[tokio::test]
async fn the_wall_clock_shows_a_time_when_it_has_passed() {
    twins_agree(Incident::WallTime, &[], Some(0)).await;
}

#[tokio::test]
async fn a_call_that_is_refused_has_no_effect_and_the_next_one_has() {
    twins_agree(Incident::Refused, &[], Some(0)).await;
}

#[tokio::test]
async fn a_call_that_gets_no_answer_takes_the_time_of_its_cycle() {
    twins_agree(Incident::Unanswered, &[], Some(0)).await;
}

#[tokio::test]
async fn a_program_without_a_host_hears_its_signal() {
    twins_agree(Incident::Foreign, &[step("the first round begins", millis(105), TERMINATE)], Some(0)).await;
}

#[test]
fn a_timer_of_a_world_goes_by_whole_milliseconds_rounded_up() {
    let took: Ledger<Vec<Duration>> = Ledger::default();
    let seen = took.clone();
    let outcome = Script::new().run_once(move |world| {
        world.foreign("waits", move |_| {
            let took = took.clone();
            async move {
                for asked in [1, 999, 1_000, 1_001, 2_500].map(Duration::from_micros) {
                    let began = tokio::time::Instant::now();
                    tokio::time::sleep(asked).await;
                    took.with(|took| took.push(began.elapsed()));
                }
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(seen.with(|took| took.clone()), [1, 1, 1, 2, 3].map(millis));
}

#[tokio::test]
async fn a_word_that_names_no_incident_is_refused_with_those_that_do() {
    let program = Command::new(env!("CARGO_BIN_EXE_incident")).arg("flood").output().await.unwrap();
    assert_eq!(program.status.code(), Some(2));
    let said = String::from_utf8(program.stderr).unwrap();
    assert!(said.starts_with("incident: there is no incident \"flood\"; there are idle, busy, "), "{said}");
}
