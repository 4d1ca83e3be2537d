//! The thread beside a host: it says which cycle blocks its thread, and ends a process that does not end.
//!
//! 1. It has a small runtime of its own, because it must see time pass and hear signals while every thread of the host's is
//!    blocked.
//! 2. It only reads what lanes write for it ([`crate::in_flight`]), and hears from the host what is rare. A cycle does not know of it.
//! 3. It ends with its host, unless the process has a deadline ([`crate::lifecycle`]): then it stays until that, or until
//!    another host begins to run. One that began before, and has ended or will, takes nothing back.
//!
//! 4. It says nothing itself. Whoever hears events may wait for what a blocked cycle holds (the lock of the standard output, say),
//!    and the deadline must not wait with them: other threads speak for it, and are left behind if they hang.
//!
//! Whether there is one is for the environment to say: a world's time is not the machine's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{
    ExitStatus, Signals,
    emitter::Emitter,
    event::{Event, StopReason, StopStep, WorkerId},
    in_flight::InFlight,
    lifecycle::{Watchdog, overdue::Overdue},
};

/// How often it looks, at most; and how many looks a blocked poll is seen in, at least.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS: u32 = 4;

/// How long the process waits for its last words to be heard.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many hosts have begun to run in this process. One that begins takes back the deadline of those that have stopped.
static HOSTS: AtomicU64 = AtomicU64::new(0);

/// How many of them run. A process with another one at work is not ended for one of them.
static RUNNING: AtomicU64 = AtomicU64::new(0);

/// What the host tells its watchdog.
#[derive(Debug, Clone, Copy)]
enum News {
    Stops {
        reason: StopReason,
        within: Duration,
    },
    /// And how many hosts had begun by then, itself included.
    Stopped {
        exit: ExitStatus,
        hosts: u64,
    },
}

/// The host's end of it.
pub(super) struct Watch {
    news: Option<mpsc::UnboundedSender<News>>,
    down: Down,
}

/// Which workers have faulted and do not work again. A flag for each, because a worker may fault for ever: nobody is told of each time.
type Down = Arc<[AtomicBool]>;

/// What is watched, and how.
pub(super) struct Watched {
    pub(super) watchdog: Watchdog,
    /// The budget of a stop.
    pub(super) total: Duration,
    /// Whether the process is the host's to end.
    pub(super) owns_process: bool,
    pub(super) workers: Arc<[InFlight]>,
    pub(super) emitter: Arc<Emitter>,
}

impl Watch {
    /// Nobody watches.
    pub(super) fn nobody() -> Self {
        begins();
        Self { news: None, down: Arc::default() }
    }

    /// Starts the thread. Without one, a host runs all the same.
    pub(super) fn over(watched: Watched) -> Self {
        begins();
        let (sender, news) = mpsc::unbounded_channel();
        let down: Down = watched.workers.iter().map(|_| AtomicBool::new(false)).collect();
        let seen = down.clone();
        let thread = std::thread::Builder::new().name("shiftwork watchdog".to_owned());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(watch(Arc::new(watched), seen, news));
                    // A look that hangs is left behind.
                    runtime.shutdown_background();
                }
                Err(error) => nobody_watches(&error),
            }
        };
        match thread.spawn(run) {
            Ok(_) => Self { news: Some(sender), down },
            Err(error) => {
                nobody_watches(&error);
                Self { news: None, down }
            }
        }
    }

    /// Passes on what the watchdog needs to know. Only what the host itself says passes here, no cycle.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is none of its business")]
    pub(super) fn hear(&self, event: &Event) {
        let Some(sender) = &self.news else { return };
        let news = match event {
            Event::HostStopping { reason, within, .. } => News::Stops { reason: *reason, within: *within },
            // Counted here: what begins once this host has returned must not be taken for one that was there before.
            Event::HostStopped { exit } => News::Stopped { exit: *exit, hosts: HOSTS.load(Ordering::Relaxed) },
            // A worker that ends as failed has faulted, or did not start, which the reason of the stop says.
            Event::WorkerFaulted { worker, .. } => return self.is_down(*worker, true),
            Event::IntakeOpened { worker } => return self.is_down(*worker, false),
            _ => return,
        };
        // Without its thread nobody hears it.
        let _ = sender.send(news);
    }
}

impl Watch {
    fn is_down(&self, WorkerId(worker): WorkerId, is_down: bool) {
        if let Some(flag) = self.down.get(worker as usize) {
            flag.store(is_down, Ordering::Release);
        }
    }
}

/// A host runs all the same, and a person may want to know.
fn nobody_watches(error: &std::io::Error) {
    tracing::warn!(%error, "nobody watches for blocked threads");
}

/// A host begins to run.
fn begins() {
    RUNNING.fetch_add(1, Ordering::Relaxed);
    HOSTS.fetch_add(1, Ordering::Relaxed);
}

/// A host runs no longer.
impl Drop for Watch {
    fn drop(&mut self) {
        // Before it is counted out: whoever still takes it for one that runs would count one other too few.
        self.news = None;
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn watch(watched: Arc<Watched>, down: Down, mut news: mpsc::UnboundedReceiver<News>) {
    let began = Instant::now();
    let ends_process = watched.owns_process && watched.watchdog.exits();
    let mut overdue = Overdue::new(watched.watchdog, watched.total);
    let mut signals = if ends_process { Signals::system().ok() } else { None };
    let mut looks = Looks::new(&watched.workers, began);
    let look_every = (watched.watchdog.blocked_time() / LOOKS).min(LOOK_EVERY);
    let mut open = true;
    let mut hosts_then = 0;
    loop {
        let deadline = overdue.deadline().filter(|_| ends_process).and_then(|deadline| began.checked_add(deadline));
        let next_look = Instant::now() + look_every;
        tokio::select! {
            biased;
            told = news.recv(), if open => match told {
                Some(News::Stops { reason, within }) => overdue.stops(reason, within, began.elapsed()),
                Some(News::Stopped { exit, hosts }) => {
                    overdue.stopped(exit);
                    hosts_then = hosts;
                }
                None => open = false,
            },
            signal = next_signal(&mut signals) => overdue.signal(signal, began.elapsed()),
            () = tokio::time::sleep_until(deadline.map_or(next_look, |deadline| deadline.min(next_look))) => {}
        }
        if !open {
            // A host that was dropped where it stood has nothing to end; nor has one whose process may go on.
            let stays = overdue.is_host_done() && deadline.is_some();
            if !stays || HOSTS.load(Ordering::Relaxed) != hosts_then {
                return;
            }
        } else if !overdue.is_host_done() {
            looks.look(&watched).await;
        }
        let others = RUNNING.load(Ordering::Relaxed).saturating_sub(u64::from(open));
        if others > 0 {
            // By a look at least, however short the grace is.
            overdue.is_put_off(began.elapsed().saturating_add(look_every));
        } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            let faulted = down.iter().any(|flag| flag.load(Ordering::Acquire));
            end_process(&watched, overdue.exit(faulted), overdue.is_host_done());
        }
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> crate::Signal {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Names what is in flight, and ends the process.
fn end_process(watched: &Arc<Watched>, exit: ExitStatus, host_is_done: bool) -> ! {
    let now = Instant::now();
    let (said, heard) = std::sync::mpsc::channel();
    let speaker = watched.clone();
    let last_words = move || {
        if !host_is_done {
            for (index, worker) in (0u32..).zip(speaker.workers.iter()) {
                name_stragglers(&speaker.emitter, WorkerId(index), worker, StopStep::Abandoned, now);
            }
        }
        speaker.emitter.emit(now, &Event::HostOverdue { exit });
        // Nobody waits for it any more if it took too long.
        let _ = said.send(());
    };
    // Where there is no thread to be had, the exit code says it alone.
    if std::thread::Builder::new().name("shiftwork last words".to_owned()).spawn(last_words).is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
    std::process::exit(exit.code().into())
}

/// Says what a worker still has in flight.
pub(super) fn name_stragglers(emitter: &Emitter, worker: WorkerId, of: &InFlight, step: StopStep, now: Instant) {
    for flight in of.flights(now) {
        let crate::in_flight::Flight { cycle, attempt, delivery, doing, age, hook: _ } = flight;
        emitter.emit(now, &Event::Straggler { worker, cycle, attempt, delivery, step, doing, age });
    }
}

/// Looks one after the other, on a thread that may hang.
struct Looks {
    /// `None` while one is on its way.
    sights: Option<Sights>,
    on_its_way: Option<JoinHandle<Sights>>,
}

impl Looks {
    fn new(workers: &[InFlight], now: Instant) -> Self {
        Self { sights: Some(Sights::new(workers, now)), on_its_way: None }
    }

    /// Begins a look, unless the last one is not back yet.
    async fn look(&mut self, watched: &Arc<Watched>) {
        if let Some(look) = self.on_its_way.take_if(|look| look.is_finished()) {
            // One that panicked has seen nothing.
            self.sights = Some(look.await.unwrap_or_else(|_| Sights::new(&watched.workers, Instant::now())));
        }
        if let Some(mut sights) = self.sights.take() {
            let watched = watched.clone();
            self.on_its_way = Some(tokio::task::spawn_blocking(move || {
                sights.look(&watched);
                sights
            }));
        }
    }
}

/// What was seen of each seat.
struct Sights {
    workers: Vec<Vec<Sight>>,
    last: Instant,
}

#[derive(Clone, Copy)]
struct Sight {
    poll: Option<u64>,
    since: Instant,
    said: bool,
}

impl Sights {
    fn new(workers: &[InFlight], now: Instant) -> Self {
        let unseen = Sight { poll: None, since: now, said: false };
        Self { workers: workers.iter().map(|worker| vec![unseen; worker.seats().len()]).collect(), last: now }
    }

    /// Looks at every seat, and says once of each poll that it takes too long.
    fn look(&mut self, watched: &Watched) {
        let now = Instant::now();
        let after = watched.watchdog.blocked_time();
        // The process stood still, this thread included: nothing can be said of the others.
        let stood_still = now.saturating_duration_since(self.last) > after.max(LOOK_EVERY * 2);
        self.last = now;
        for ((index, worker), sights) in (0u32..).zip(watched.workers.iter()).zip(&mut self.workers) {
            for (seat, sight) in worker.seats().iter().zip(sights) {
                let poll = seat.poll();
                if poll.is_none() || poll != sight.poll || stood_still {
                    *sight = Sight { poll, since: now, said: false };
                    continue;
                }
                let blocked = now.saturating_duration_since(sight.since);
                if sight.said || blocked < after {
                    continue;
                }
                sight.said = true;
                let Some(flight) = seat.flight(now) else { continue };
                if let Some(hook) = flight.hook {
                    let worker = WorkerId(index);
                    watched.emitter.emit(now, &Event::HookBlocked { worker, hook, blocked });
                } else {
                    let (worker, cycle) = (WorkerId(index), flight.cycle);
                    let (attempt, delivery) = (flight.attempt, flight.delivery);
                    watched.emitter.emit(now, &Event::CycleBlocked { worker, cycle, attempt, delivery, blocked });
                }
            }
        }
    }
}
