//! Tasks that take their turns in the world's order where tokio does not tell of its polls.
//!
//! With `--cfg tokio_unstable` tokio says before each poll which task is next, and every task is reached (`world/order.rs`).
//! Without it, what can be reached is a future that is wrapped: it takes the units away from its own poll. A node's program is
//! wrapped, and so is what it spawns through [`Node::spawn`] and [`Process::spawn`](crate::Process::spawn); what it spawns by
//! itself goes on in tokio's order.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use tokio::task::JoinHandle;

use super::{Node, Shared};

impl Node {
    /// Spawns a task, like `tokio::spawn`, whose turns are part of the order that a world explores in every build. With
    /// `--cfg tokio_unstable` those of all tasks are, and it makes no difference which of the two is called.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, as `tokio::spawn` does.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(self.in_turn(future))
    }

    /// The same future, which takes its turns in the world's order.
    pub(super) fn in_turn<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let shared = self.shared.clone();
        // tokio's hooks would take the units away a second time.
        let life = self.life.filter(|_| !cfg!(tokio_unstable));
        async move {
            match life {
                None => future.await,
                Some(life) => take_turns(&shared, life, future).await,
            }
        }
    }
}

async fn take_turns<F: Future>(shared: &Arc<Shared>, life: u32, future: F) -> F::Output {
    let mut future = pin!(future);
    let task = shared.turns_begin(life);
    poll_fn(|cx| {
        shared.cut_short(life, task);
        future.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use crate::{Ledger, Order, Outcome, Process, Script, order::Strategy};

    /// Three tasks read a counter, pass a gate that is open, and write the counter back.
    async fn lost_update(process: Process, counter: Ledger<u32>) {
        let gate = Arc::new(Semaphore::new(100));
        let tasks = (0..3).map(|_| {
            let (counter, gate) = (counter.clone(), gate.clone());
            process.spawn(async move {
                let read = counter.with(|counter| *counter);
                drop(gate.acquire().await);
                counter.with(|counter| *counter = read + 1);
            })
        });
        for task in Vec::from_iter(tasks) {
            let _ = task.await;
        }
    }

    fn run(seed: u64, order: Order) -> (Outcome, u32) {
        let counter = Ledger::default();
        let seen = counter.clone();
        let outcome = Script::new().seed(seed).order(order).run_once(move |world| {
            world.foreign("counts", move |process| lost_update(process, counter.clone()));
        });
        outcome.assert_rules_kept();
        let count = seen.with(|counter| *counter);
        (outcome, count)
    }

    #[test]
    fn in_every_build_tasks_of_the_world_are_moved_and_a_tape_moves_them_again() {
        assert_eq!(run(0, Order::Plain).1, 3, "tokio's own order loses one: this says nothing");
        let strategy = Order::Strategy(Strategy::Defer { percent: 50 });
        let found = (0..50).map(|seed| (seed, run(seed, strategy.clone()))).find(|(_, (_, count))| *count < 3);
        let (seed, (outcome, count)) = found.expect("50 orders lose an update");
        assert!(!outcome.plan.order.is_plain());
        let (again, count_again) = run(seed, outcome.plan.order.clone());
        assert_eq!((again.fingerprint, count_again), (outcome.fingerprint, count));
    }
}
