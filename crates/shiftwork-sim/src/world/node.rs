//! A node as its program sees it: its name, its host, its environment.

use std::{io, panic::resume_unwind, sync::Arc};

use shiftwork::{AtAwait, AwaitPoint, Environment, Host, HostBuilder, Signal, Signals, event::Event, queue::Timestamp};
use tokio::{sync::mpsc, time::Instant};

use super::{MeetsAtPoll, Shared, clock::wall_at};
use crate::{What, record::NodeId, streams::stream};

/// One life of a node's process, as its program sees it.
#[derive(Clone)]
pub struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) id: NodeId,
    name: Arc<str>,
    pub(super) seed: u64,
    boot: u32,
    /// Its number among the lives of the world; `None` when tokio's own order is not touched.
    pub(super) life: Option<u32>,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>, id: NodeId, name: Arc<str>, world_seed: u64, boot: u32) -> Self {
        // The first node's streams have no name in them: a plan for one node means the same beside others.
        let subsystem = if id == NodeId(0) { format!("node {boot}") } else { format!("node {name} {boot}") };
        let life = shared.life_begins();
        Self { shared, id, name, seed: stream(world_seed, &subsystem), boot, life }
    }

    /// Begins a host that lives in the world: its wall time, chance and signals are the world's, and the world hears
    /// every event. The rest is the program's own, as in `main`.
    #[must_use]
    pub fn host(&self) -> HostBuilder {
        let shared = self.shared.clone();
        Host::builder()
            .environment(Arc::new(self.clone()))
            .listener(move |at: Instant, event: &Event| shared.host_event(at, event))
    }

    /// Its name, as the scenario gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn record(&self, what: What) {
        self.shared.record(what);
    }

    /// Which life this is, from 1.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.boot
    }
}

impl Environment for Node {
    fn now(&self) -> Timestamp {
        let state = self.shared.lock();
        wall_at(state.now(), state.wall_offset_ms(Some(self.id)))
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn signals(&self) -> io::Result<Signals> {
        let (sender, receiver) = mpsc::unbounded_channel::<Signal>();
        self.shared.lock().listen(sender);
        Ok(Signals::injected(receiver))
    }

    fn watches_awaits(&self) -> bool {
        self.shared.cycles_are_watched
    }

    fn at_await(&self, at: &AwaitPoint<'_>) -> AtAwait {
        let meets = self.shared.lock().meets_in_cycle(self.id, at);
        match meets {
            MeetsAtPoll::Nothing => AtAwait::GoOn,
            MeetsAtPoll::Drop => {
                self.record(What::TimeIsUp { worker: at.worker, cycle: at.cycle });
                AtAwait::TimeIsUp
            }
            MeetsAtPoll::Panic => {
                self.record(What::PanicInjected);
                // Not `panic!`: an injected panic must not look like a found bug in the output of a test.
                resume_unwind(Box::new(format!("injected panic in a cycle of {}", at.name)));
            }
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.name).field("boot", &self.boot).finish_non_exhaustive()
    }
}
