//! In which order tasks go on: as part of a plan, explored and replayed like its faults.
//!
//! tokio's scheduler of one thread is a queue, first in, first out. By itself it shows one order of tasks for each plan, and a
//! race that needs another is never seen. What moves it is the *budget* that tokio gives to each poll of a task: 128 units, of
//! which each of tokio's own futures takes one as it makes progress. A task that has none left is made to yield at its next await of such
//! a future, as a busy machine would make it. With units taken away before the poll, the task yields earlier than it would
//! have: with none left it is put behind all the others, with a few it stops in the middle. Nothing happens that tokio
//! could not do by itself, and it reaches third-party tasks like any other.
//!
//! It does not reach awaits that take no budget (a bare `Notify`, a `CancellationToken`), tasks of a `LocalSet`, and what
//! `block_on` polls itself. For all tasks it needs `--cfg tokio_unstable`. Without that, only a node's program and what it spawns through
//! [`Node::spawn`](crate::Node::spawn) or [`Process::spawn`](crate::Process::spawn) are reached, and a tape of one build says
//! nothing in the other.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `order.rs` | the order as a plan has it |
//! | `order/strategy.rs` | ways to look for orders, and which of them a seed takes |
//! | `order/tape.rs` | an order as data: which polls were cut short |
//! | `order/scheduler.rs` | the decision before each poll |

mod scheduler;
mod strategy;
mod tape;

pub(crate) use scheduler::Scheduler;
use serde::{Deserialize, Serialize};
pub use strategy::Strategy;
pub use tape::{CutShort, TapeError};

use crate::streams::stream;

/// In which order the tasks of a world go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// tokio's own: first in, first out.
    #[default]
    Plain,
    /// As a strategy makes it up from the world's seed, while the world runs.
    Strategy(Strategy),
    /// As it is written: these polls are cut short, and no others.
    Tape(Vec<CutShort>),
}

impl Order {
    /// The order that a seed explores: tokio's own or a strategy's, out of [`Strategy::PORTFOLIO`].
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(stream(seed, "portfolio"));
        Strategy::draw(&mut chance).map_or(Order::Plain, Order::Strategy)
    }

    /// Whether it is tokio's own.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Order::Plain => true,
            Order::Tape(tape) => tape.is_empty(),
            Order::Strategy(_) => false,
        }
    }
}

/// How many units tokio gives to each poll (tokio 1.x, `task::coop`).
const BUDGET: u8 = 128;

/// Leaves so many units to the task whose poll is about to begin, or has just begun.
pub(crate) fn leave(units: u8) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in units..BUDGET {
        let _ = std::pin::pin!(tokio::task::coop::consume_budget()).poll(&mut cx);
    }
}
