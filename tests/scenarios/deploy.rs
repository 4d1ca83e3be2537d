//! *Deploy*: a fleet is replaced node by node, twice, while requests come in.
//!
//! Each node has a front that stores what it is asked for in the queue, and answers once it is there; and a worker that
//! does it. An orchestrator sends SIGTERM to one node after the other. Some of the work takes longer than a node has to
//! stop: it is interrupted by every deploy that it meets, and must not be given up for that. What the front has answered
//! is done in the end.

use std::collections::{BTreeMap, BTreeSet};

use shiftwork::{
    Context, Failure, HostBuilder, QueueSourceExt, Retry, ServiceContext, Signal, StopBudget, Worker,
    event::{Event, StopReason},
    queue::{DeadLetterCause, Message, Queue},
};
use shiftwork_sim::{
    Dependency, DependencyError, Ledger, QueueOperation, Record, Scenario, SimQueue, Surface, What, World,
    dependency::Latency, millis, record::Settled, secs,
};

use crate::declared::{self, Stop};

/// Something that a customer has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique, and chosen by the customer, who may ask once more.
    pub number: u32,
}

impl Request {
    /// Whether it takes longer than a node has to stop.
    fn is_long(&self) -> bool {
        self.number.is_multiple_of(15)
    }
}

/// Where requests come from.
pub trait Front: Send + Sync + 'static {
    /// The next request; the same once more if it was not answered.
    fn next(&self) -> impl Future<Output = Request> + Send;

    /// It is in the queue.
    fn answer(&self, request: &Request);
}

/// Where they are done.
pub trait Backend: Send + Sync + 'static {
    /// What is wrong with the backend when it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Does what was asked for. To do it again changes nothing.
    fn perform(&self, request: &Request) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Brings its schema to what this version needs, if it is not there yet.
    fn migrate(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

struct Perform<B> {
    backend: B,
}

impl<B: Backend> Worker for Perform<B> {
    type Input = Request;

    async fn cycle(&self, request: Request, _: &Context) -> Result<(), Failure> {
        // It is the backend's trouble, not the request's: no attempt is spent on it.
        self.backend.perform(&request).await.map_err(|error| Failure::snooze(secs(2), error))
    }
}

/// What has to be done before anything else: a job, whose end is its being ready. A backend that is down for a moment does not
/// end the start.
async fn migrate<B: Backend>(backend: B) -> Result<(), Failure> {
    while backend.migrate().await.is_err() {
        tokio::time::sleep(secs(1)).await;
    }
    Ok(())
}

/// Takes in requests until it is asked to stop.
async fn serve<F: Front, Q: Queue<Request>>(front: F, queue: Q, cx: ServiceContext) -> Result<(), Failure> {
    cx.opened().await;
    loop {
        let request = tokio::select! {
            request = front.next() => request,
            () = cx.stopped() => return Ok(()),
        };
        let message = Message::new(request.clone()).unique_key(request.number.to_string());
        // Whoever gets no answer asks again.
        if queue.push(vec![message], cx.wall_time()).await.is_ok() {
            front.answer(&request);
        }
    }
}

/// The application, on each of the nodes.
pub fn application<F: Front, B: Backend + Clone, Q: Queue<Request> + Clone>(
    host: HostBuilder,
    front: impl Fn() -> F + Send + Sync + 'static,
    queue: Q,
    backend: B,
) -> HostBuilder {
    // A new version is wanted soon: what takes longer is for the others.
    let budget = StopBudget::default().before_drain(secs(1)).drain(secs(5)).cancel(secs(1)).close(secs(2));
    let (intake, schema) = (queue.clone(), backend.clone());
    host.stop_budget(budget)
        .job("migrate", move |_| migrate(schema.clone()))
        .handshake()
        .worker("perform", queue.source().lease(secs(10)), Perform { backend })
        .concurrency(3)
        // Longer than anything hangs: only an attempt that the node itself spoils is spent.
        .cycle_timeout(secs(200))
        .retry(Retry::exponential().initial(millis(500)).max(secs(5)).attempts_max(20))
        .crashes_max(50)
        .no_breaker()
        .after("migrate")
        .service("front", move |cx| serve(front(), intake.clone(), cx))
        .after("perform")
        .host()
}

/// The customers of a world, and what was done for them.
#[derive(Debug, Clone, Default)]
struct State {
    /// How many requests have been made; they are numbered from 1.
    asked: u32,
    answered: BTreeSet<u32>,
    performed: BTreeSet<u32>,
    asked_again: u32,
}

impl State {
    /// Who got no answer asks again; if there is nobody, somebody new does.
    fn next(&mut self) -> Option<u32> {
        let unanswered = (1..=self.asked).find(|number| !self.answered.contains(number));
        if unanswered.is_some() {
            self.asked_again += 1;
            return unanswered;
        }
        (self.asked < REQUESTS).then(|| {
            self.asked += 1;
            self.asked
        })
    }

    fn is_done(&self) -> bool {
        self.answered.len() == REQUESTS as usize && self.answered.is_subset(&self.performed)
    }
}

type Shared = Ledger<State>;

#[derive(Clone)]
struct SimFront(Shared);

impl Front for SimFront {
    async fn next(&self) -> Request {
        loop {
            tokio::time::sleep(millis(1_500)).await;
            if let Some(number) = self.0.with(|state| state.next()) {
                return Request { number };
            }
        }
    }

    fn answer(&self, request: &Request) {
        self.0.with(|state| state.answered.insert(request.number));
    }
}

#[derive(Clone)]
struct SimBackend {
    quick: Dependency,
    slow: Dependency,
    state: Shared,
}

impl Backend for SimBackend {
    type Error = DependencyError;

    async fn perform(&self, request: &Request) -> Result<(), DependencyError> {
        let backend = if request.is_long() { &self.slow } else { &self.quick };
        backend.call(async { self.state.with(|state| state.performed.insert(request.number)) }).await.map(drop)
    }

    async fn migrate(&self) -> Result<(), DependencyError> {
        self.quick.call(async {}).await
    }
}

/// The scenario.
#[derive(Debug)]
pub struct RollingDeploy;

const NODES: [&str; 3] = ["one", "two", "three"];

/// How many requests are made.
const REQUESTS: u32 = 120;

/// When each deploy begins. There are as many seconds between its nodes.
const DEPLOYS: [(u64, u64); 2] = [(10, 15), (50, 10)];

impl Scenario for RollingDeploy {
    fn name(&self) -> &'static str {
        "deploy"
    }

    fn about(&self) -> &'static str {
        "a fleet is replaced node by node under load, and nothing that was answered is lost or given up"
    }

    fn surface(&self) -> Surface {
        let dependencies = ["backend", "archive"].map(str::to_owned).to_vec();
        Surface { dependencies, queues: vec!["requests".into()], horizon: secs(80) }
    }

    fn nodes(&self) -> Vec<String> {
        NODES.map(str::to_owned).to_vec()
    }

    fn workers(&self) -> Vec<String> {
        vec!["perform".into()]
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        let quick = world.dependency_with("backend", Latency::uniform(millis(100), millis(1_500)));
        let slow = world.dependency_with("archive", Latency::uniform(secs(7), secs(14)));
        let backend = SimBackend { quick, slow, state: state.clone() };
        let queue: SimQueue<Request> = world.queue("requests");
        for name in NODES {
            let (queue, backend, front) = (queue.clone(), backend.clone(), SimFront(state.clone()));
            world.node(name, move |node| {
                let front = front.clone();
                application(node.host(), move || front.clone(), queue.clone(), backend.clone()).run_until_signal()
            });
        }
        for (begins, apart) in DEPLOYS {
            for (name, nth) in NODES.into_iter().zip(0..) {
                world.signal_at(secs(begins + apart * nth), name, Signal::Terminate);
            }
        }
        demand(world, &state, queue);
    }
}

fn demand(world: &mut World, state: &Shared, queue: SimQueue<Request>) {
    declared::demand_stop(world, Stop { before_drain: secs(1), drain: secs(5), cancel: secs(1), close: secs(2) });
    let done = state.clone();
    let left = queue.clone();
    world.done_when(move || left.inspect_depth().unsettled() == 0 && done.with(|state| state.is_done()));

    let aside = queue.clone();
    world.always("a deploy moves nothing aside", move |record| match &record.what {
        What::Queue(QueueOperation::Settled { how: Settled::DeadLettered, .. }) => undeserved(&aside),
        _ => Ok(()),
    });

    let mut interrupted = BTreeMap::new();
    let mut stopping = [false; NODES.len()];
    world.sometimes("work that a deploy interrupts is done by another node", move |record| {
        let Some(node) = record.node else { return false };
        match &record.what {
            What::Booted { .. } => stopping[usize::from(node.0)] = false,
            What::Host(Event::HostStopping { reason: StopReason::Signal(_), .. }) => {
                stopping[usize::from(node.0)] = true;
            }
            What::Queue(QueueOperation::Settled { delivery, how: Settled::Returned, .. })
                if stopping[usize::from(node.0)] =>
            {
                interrupted.insert(*delivery, node);
            }
            What::Queue(QueueOperation::Settled { delivery, how: Settled::Acked, .. }) => {
                return interrupted.get(delivery).is_some_and(|by| *by != node);
            }
            _ => {}
        }
        false
    });
    let again = state.clone();
    world.sometimes("a customer who got no answer asks again", move |_| again.with(|state| state.asked_again > 0));
    let done = state.clone();
    let is_done = move || done.with(|state| state.answered.is_subset(&state.performed));
    let comes_in = |record: &Record| matches!(record.what, What::Queue(QueueOperation::Pushed(_)));
    world.eventually("what was answered is done", secs(400), comes_in, is_done);

    let state = state.clone();
    world.at_end("whatever was answered is done", move || {
        state.with(|state| match state.answered.difference(&state.performed).next() {
            Some(number) => Err(format!("request {number} was answered, and is not done")),
            None => undeserved(&queue),
        })
    });
}

/// What is moved aside though somebody wrote it who can be read.
fn undeserved(queue: &SimQueue<Request>) -> Result<(), String> {
    let letters = queue.inspect_dead_letters();
    match letters.iter().find(|letter| letter.cause != DeadLetterCause::Undecodable) {
        Some(letter) => Err(format!("{:?} was moved aside as {}", letter.payload, letter.cause)),
        None => Ok(()),
    }
}
