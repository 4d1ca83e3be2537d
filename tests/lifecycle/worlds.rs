//! The small worlds that the tests are set in.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shiftwork::{
    Batch, BatchContext, BatchWorker, Breaker, Context, Failure, FailureKind, QueueSourceExt, Retry, Schedule,
    StopBudget, Tick, Worker,
    event::{Event, WorkerId},
    queue::DeadLetter,
};
use shiftwork_sim::{Dependency, Outcome, SimQueue, World, dependency::Latency};

/// What a test wants to remember from inside of a world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Nodes of these names, each of which notes its name and its wall time at every tick.
pub(crate) fn nodes_that_note_the_time(world: &mut World, names: [&str; 2], every: Duration, notes: &Notes) {
    for name in names {
        let notes = notes.clone();
        world.node(name, move |node| {
            let (notes, name) = (notes.clone(), node.name().to_owned());
            let tick = move |_: Tick, cx: Context| {
                notes.add(format!("{name} {}", cx.wall_time()));
                async { Ok::<(), Failure>(()) }
            };
            node.host().worker("tick", Schedule::every(every), tick).run_until_signal()
        });
    }
}

/// Counts from inside of a world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicU32>);

impl Count {
    pub(crate) fn up(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A queue worker: jobs are numbers, and each goes through the dependency "backend", which takes as long as the test says.
pub(crate) struct Jobs {
    pub(crate) jobs: u32,
    pub(crate) takes: Duration,
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retry: Retry,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) budget: StopBudget,
    /// What a job does beside its call; by default nothing.
    pub(crate) work: fn(u32, &Context) -> Result<(), Failure>,
    /// What else happens in the world.
    pub(crate) surroundings: fn(&mut World, &Seen),
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            jobs: 1,
            takes: Duration::from_secs(1),
            concurrency: 1,
            lease: Duration::from_secs(30),
            timeout: Duration::from_secs(300),
            retry: Retry::default().jitter_percent(0),
            breaker: None,
            budget: StopBudget::default(),
            work: |_, _| Ok(()),
            surroundings: |_, _| {},
        }
    }
}

/// What a test can look at when the world is over.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) queue: SimQueue<u32>,
    /// The jobs whose call had its effect, in that order.
    pub(crate) done: Arc<Mutex<Vec<u32>>>,
}

impl Seen {
    pub(crate) fn done(&self) -> Vec<u32> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter<u32>> {
        self.queue.inspect_dead_letters()
    }
}

/// A worker that is done with each batch after five seconds.
pub(crate) struct Steady;

impl BatchWorker for Steady {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    }
}

struct JobWorker {
    backend: Dependency,
    done: Arc<Mutex<Vec<u32>>>,
    work: fn(u32, &Context) -> Result<(), Failure>,
}

impl Worker for JobWorker {
    type Input = u32;

    async fn cycle(&self, job: u32, cx: &Context) -> Result<(), Failure> {
        (self.work)(job, cx)?;
        let effect = async { self.done.lock().unwrap_or_else(PoisonError::into_inner).push(job) };
        Ok(self.backend.call(effect).await?)
    }
}

impl Jobs {
    /// Fills a world with a queue of these jobs, numbered from 1, and one worker "jobs" for them.
    pub(crate) fn build(self, world: &mut World) -> Seen {
        let backend = world.dependency_with("backend", Latency::constant(self.takes));
        let queue = world.queue("jobs");
        queue.seed(1..=self.jobs);
        let seen = Seen { queue, done: Arc::default() };
        let inside = seen.clone();
        world.node("node", move |node| {
            let worker = JobWorker { backend: backend.clone(), done: inside.done.clone(), work: self.work };
            let jobs = node
                .host()
                .stop_budget(self.budget)
                .worker("jobs", inside.queue.clone().source().lease(self.lease), worker)
                .concurrency(self.concurrency)
                .cycle_timeout(self.timeout)
                .retry(self.retry);
            let jobs = match self.breaker {
                Some(breaker) => jobs.breaker(breaker),
                None => jobs.no_breaker(),
            };
            jobs.run_until_signal()
        });
        let queue = seen.queue.clone();
        world.done_when(move || queue.inspect_depth().unsettled() == 0);
        seen
    }

    /// Runs a script in such a world: its outcome, and what can be looked at.
    pub(crate) fn run(self, run: impl FnOnce(Box<dyn FnOnce(&mut World) + Send>) -> Outcome) -> (Outcome, Seen) {
        let seen = Arc::new(Mutex::new(None));
        let inside = seen.clone();
        let outcome = run(Box::new(move |world| {
            let surroundings = self.surroundings;
            let seen = self.build(world);
            surroundings(world, &seen);
            *inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }));
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        (outcome, seen.expect("the world was built"))
    }
}

/// The names of the host's events, in order.
pub(crate) fn names(outcome: &Outcome) -> Vec<&'static str> {
    outcome.events().map(|(_, event)| event.name()).collect()
}

/// When cycles failed, and as what.
pub(crate) fn failed_at(outcome: &Outcome) -> Vec<(Duration, FailureKind)> {
    let failed = outcome.events().filter_map(|(at, event)| match event {
        Event::CycleEnded { failure: Some(cause), .. } => Some((at, cause.kind)),
        _ => None,
    });
    failed.collect()
}

/// When each cycle began, and as which attempt.
pub(crate) fn attempts(outcome: &Outcome) -> Vec<(Duration, u32)> {
    let starts = outcome.events().filter_map(|(at, event)| match event {
        Event::CycleStarted { attempt, .. } => Some((at, *attempt)),
        _ => None,
    });
    starts.collect()
}

/// When the first event happened that `matches`.
pub(crate) fn time_of(outcome: &Outcome, matches: impl Fn(&Event) -> bool) -> Option<Duration> {
    outcome.events().find(|(_, event)| matches(event)).map(|(at, _)| at)
}

/// In which order the workers had `event`, by their numbers.
pub(crate) fn order_of(outcome: &Outcome, event: impl Fn(&Event) -> Option<WorkerId>) -> Vec<u32> {
    outcome.events().filter_map(|(_, it)| event(it)).map(|id| id.0).collect()
}
