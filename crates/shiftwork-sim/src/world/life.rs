//! One life of a node's process: its runtime, and how it runs a stretch at a time.
//!
//! Every life has a tokio runtime of its own on the world's one thread, with a time driver and nothing else. Where the world's clock is
//! held, the runtime's clock is the world's, and when the runtime would sleep it says until when (`interpose/parking.rs`): so
//! a stretch ends when nothing is left to do at this instant, and the driver knows what comes next. Elsewhere the runtime's
//! clock is paused and a stretch ends at a time that was given.
//!
//! Dropping the runtime drops the process's tasks at their await points, and with them everything it had in memory.

use std::{
    cell::Cell,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use shiftwork::HostReport;
use tokio::{
    runtime::{Builder, Runtime, RuntimeMetrics},
    task::{JoinError, JoinHandle},
    time::{Sleep, sleep},
};

#[cfg(tokio_unstable)]
use super::blocking;
use super::{Fence, Gate, Node, Program, Shared, deadlines::NextTimer};
use crate::{
    control,
    interpose::{self, parking},
    rules::user,
    streams::stream,
};

/// Longer than any world lasts.
const FAR_AWAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// tokio's timers are sorted by the millisecond only within the row of so many in which they are due; before, all that is known of one
/// is when its row begins.
const TIMER_ROW_MS: u64 = 64;

/// One life of a node's process.
pub(super) struct Life {
    /// Dropped before the runtime is.
    let_go: LetGo,
    shared: Arc<Shared>,
    /// Where its blocking threads wait.
    gate: Arc<Gate>,
    runtime: Runtime,
    metrics: RuntimeMetrics,
    /// A timer that is always there, so that the runtime never parks without an end.
    anchor: Pin<Box<Sleep>>,
    anchored: bool,
    process: JoinHandle<HostReport>,
    /// When it next has something to do by itself.
    due: Duration,
    /// When it began, which is when its runtime's timers count from.
    began: Duration,
    /// The seed of what its destructors draw once it is over.
    last_draws: u64,
}

/// How the process of a life ended by itself.
pub(super) enum Exit {
    /// With a report.
    Report(HostReport),
    /// Its program panicked, and said this.
    Panicked(String),
}

impl Life {
    /// Starts the process; nothing of it runs yet.
    pub(super) fn begin(node: Node, program: &Program, now: Duration) -> io::Result<Self> {
        let shared = node.shared.clone();
        let last_draws = stream(node.seed, "destructors");
        let gate = Arc::new(Gate::new());
        let runtime = runtime(&node, &gate)?;
        let (anchor, process) = {
            let _inside = runtime.enter();
            let anchor = Box::pin(sleep(FAR_AWAY));
            let outer = node.clone();
            // A program that panics before it returns its future is one that panics.
            let begun = catch_unwind(AssertUnwindSafe(|| program(node)));
            let main = outer.in_turn(async move {
                match begun {
                    Ok(main) => main.await,
                    Err(panic) => resume_unwind(panic),
                }
            });
            let ring = Ring { shared: shared.clone(), fence: shared.lock().fence_of_running_node() };
            let process = tokio::spawn(async move {
                let _ring = ring;
                main.await
            });
            (anchor, process)
        };
        let metrics = runtime.metrics();
        shared.lock().watch_runtime(metrics.clone(), gate.clone());
        interpose::gates::add(&gate);
        let let_go = LetGo(Some(gate.clone()));
        let (anchored, due, began) = (false, now, now);
        Ok(Self { let_go, shared, gate, metrics, anchor, anchored, process, due, began, runtime, last_draws })
    }

    /// Whether it has something to do at `now`.
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        // What was woken from outside of the runtime waits in its global queue.
        self.due() <= now || self.metrics.global_queue_depth() > 0 || self.attended().is_some_and(Gate::has_woken)
    }

    /// When it next has something to do by itself.
    pub(super) fn due(&self) -> Duration {
        self.next_sleeper().map_or(self.due, |time| time.min(self.due))
    }

    /// The same, as far as it is known to the millisecond.
    pub(super) fn next_timer(&self) -> NextTimer {
        if let Some(time) = self.next_sleeper().filter(|time| *time <= self.due) {
            return NextTimer::At(time);
        }
        let since = crate::plan::whole_ms(self.due.saturating_sub(self.began));
        if since.is_multiple_of(TIMER_ROW_MS) { NextTimer::NotBefore(self.due) } else { NextTimer::At(self.due) }
    }

    /// When the first of its blocking threads that sleep has slept enough.
    fn next_sleeper(&self) -> Option<Duration> {
        self.attended().and_then(Gate::next_at)
    }

    /// Its gate, if there are threads at it.
    fn attended(&self) -> Option<&Gate> {
        // Without tokio's hooks it is open, and nobody stays at it.
        #[cfg(tokio_unstable)]
        let any = self.metrics.num_blocking_threads() > 0;
        #[cfg(not(tokio_unstable))]
        let any = false;
        any.then_some(&*self.gate)
    }

    /// Lets it run until it has nothing left to do before `limit`, which may be now, or until the bell rings.
    pub(super) fn run(&mut self, limit: Duration) {
        let shared = &self.shared;
        if !interpose::IN_FORCE {
            self.runtime.block_on(async {
                let until = {
                    let mut state = shared.lock();
                    state.time().runtime_runs();
                    state.instant_of(limit)
                };
                tokio::select! {
                    biased;
                    () = shared.bell.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                shared.lock().time().runtime_rests();
            });
            return;
        }
        parking::set_limit(limit);
        self.let_work();
        let (anchor, anchored) = (&mut self.anchor, &mut self.anchored);
        self.runtime.block_on(async {
            // Once is enough: it stays where it is until it is due, which is never.
            if !std::mem::replace(anchored, true) {
                std::future::poll_fn(|cx| Poll::Ready(anchor.as_mut().poll(cx).is_ready())).await;
            }
            shared.bell.notified().await;
        });
        // Left because the bell rang: there may be more to do at once.
        self.due = parking::due().unwrap_or_else(|| shared.lock().now());
    }

    /// Its blocking threads work as far as they can at this instant.
    fn let_work(&self) {
        #[cfg(tokio_unstable)]
        if let Some(gate) = self.attended() {
            let now = self.shared.lock().now();
            if let Some(time) = blocking::let_work(&self.metrics, gate, now) {
                parking::lower_limit(time);
            }
        }
    }

    /// How the process ended, once it has.
    pub(super) fn exit(&mut self) -> Option<Exit> {
        if !self.process.is_finished() {
            return None;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.process).poll(&mut cx) {
            Poll::Ready(Ok(report)) => Some(Exit::Report(report)),
            Poll::Ready(Err(error)) => Some(Exit::Panicked(said(error))),
            Poll::Pending => None,
        }
    }

    /// How many tasks are left when the process has ended. They are behind its fence.
    pub(super) fn tasks_left(&mut self) -> usize {
        let shared = &self.shared;
        parking::set_limit(Duration::ZERO);
        self.runtime.block_on(async {
            shared.lock().time().runtime_runs();
            // Tasks that were dropped with the host are gone at their next turn.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            shared.lock().time().runtime_rests();
        });
        self.metrics.num_alive_tasks()
    }

    /// Drops everything it had in memory.
    pub(super) fn bury(self) {
        let Self {
            mut let_go,
            runtime,
            anchor,
            process,
            metrics,
            shared: _,
            gate,
            anchored: _,
            due: _,
            began: _,
            last_draws,
        } = self;
        // Its blocking threads are called in once its tasks are gone; where they run by themselves, the runtime waits for them.
        let_go.0 = None;
        let waits = !gate.is_open();
        // A destructor of user code may panic; a process that is killed does not care. It may sleep, and nobody waits for
        // it, or draw, and nobody draws anything else for it: a killed process runs no destructors.
        control::aside(last_draws, || {
            let dropped = catch_unwind(AssertUnwindSafe(move || {
                drop((anchor, process, metrics));
                if waits { runtime.shutdown_background() } else { drop(runtime) }
            }));
            drop(dropped);
        });
        #[cfg(tokio_unstable)]
        if waits {
            blocking::come_to_end(&gate);
        }
    }
}

/// Lets a runtime's blocking threads go on when its life ends, however it does: it waits for them when it is dropped.
struct LetGo(Option<Arc<Gate>>);

impl Drop for LetGo {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.open();
        }
    }
}

/// Fences the process off when its program ends, however it does, and rings.
///
/// What the program leaves behind has turns yet, until the bell is heard and while it is counted. On a real runtime it
/// would have none: nothing that it tries in them may reach the outside.
struct Ring {
    shared: Arc<Shared>,
    fence: Fence,
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.fence.raise();
        self.shared.bell.notify_one();
    }
}

fn said(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "nothing".to_owned(), |panic| user::said(&*panic).to_owned())
}

thread_local! {
    /// What holds chance and time of a blocking thread.
    static BLOCKING: Cell<Option<interpose::Held>> = const { Cell::new(None) };
}

/// The runtime of one life, with its choices seeded.
fn runtime(node: &Node, gate: &Arc<Gate>) -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_time();
    // One piece of blocking work at a time, in the world's time and with chance from its seed.
    let (clock, seed) = (node.shared.clock.clone(), stream(node.seed, "blocking"));
    let (begun, ended) = (gate.clone(), gate.clone());
    let fence = node.shared.lock().fence_of_running_node();
    builder
        // A thread without work ends. Of several that stay the machine would choose who takes the next piece, and each has drawn other
        // chances before.
        .thread_keep_alive(Duration::ZERO)
        .on_thread_start(move || {
            Fence::enter(Some(fence.clone()));
            let seed = stream(seed, &begun.thread_begins().to_string());
            fastrand::seed(seed);
            BLOCKING.set(Some(interpose::hold_blocking(seed, clock.clone(), begun.clone())));
        })
        .on_thread_stop(move || {
            ended.thread_ends();
            BLOCKING.set(None);
        });
    // What was woken from outside of the runtime goes first at every turn. By default it does so at every 31st, and the driver's own
    // looks count as turns: the order of tasks would depend on them.
    builder.global_queue_interval(1);
    if interpose::IN_FORCE {
        let shared = node.shared.clone();
        builder.on_thread_park(parking::begins).on_thread_unpark(move || {
            if parking::ends() {
                shared.bell.notify_one();
            }
        });
    } else {
        builder.start_paused(true);
    }
    #[cfg(tokio_unstable)]
    {
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&node.seed.to_le_bytes()));
        let shared = &node.shared;
        let life = node.life;
        let (spawned, began, ended, terminated) = (shared.clone(), shared.clone(), shared.clone(), shared.clone());
        builder
            .on_task_spawn(move |task| spawned.task_spawned(task))
            .on_before_task_poll(move |task| {
                began.poll_begins(task);
                if let Some(life) = life {
                    began.cut_current_short(life);
                }
                began.real_time_begins();
            })
            .on_after_task_poll(move |_| ended.poll_ended())
            .on_task_terminate(move |task| terminated.task_ended(task.id()));
    }
    builder.build()
}
