//! One life of the node's process: its runtime, environment and program.

use std::{io, sync::Arc};

use shiftwork::{Environment, Host, HostBuilder, Signal, Signals, event::Event, queue::Timestamp};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::Instant,
};

use super::Shared;
use crate::streams::stream;

/// One life of the node's process, as its program sees it.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    seed: u64,
    boot: u32,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>, world_seed: u64, boot: u32) -> Self {
        Self { shared, seed: stream(world_seed, &format!("node {boot}")), boot }
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

    /// Which life this is, from 1.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// The runtime of this life, with its clock paused and its choices seeded.
    pub(super) fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        #[cfg(tokio_unstable)]
        {
            builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_le_bytes()));
            let (spawned, began, ended) = (self.shared.clone(), self.shared.clone(), self.shared.clone());
            let terminated = self.shared.clone();
            builder
                .on_task_spawn(move |task| spawned.task_spawned(task.id()))
                .on_before_task_poll(move |task| began.poll_begins(task.id()))
                .on_after_task_poll(move |_| ended.poll_ended())
                .on_task_terminate(move |task| terminated.task_ended(task.id()));
        }
        builder.build()
    }
}

impl Environment for Node {
    fn now(&self) -> Timestamp {
        self.shared.wall_time()
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn signals(&self) -> io::Result<Signals> {
        let (sender, receiver) = mpsc::unbounded_channel::<Signal>();
        self.shared.lock().signals = Some(sender);
        Ok(Signals::injected(receiver))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("boot", &self.boot).finish_non_exhaustive()
    }
}
