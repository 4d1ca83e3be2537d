//! A worker that the plan can make ignore that its cycles are asked to end.
//!
//! | fault | what the real one does |
//! | --- | --- |
//! | ignore cancel | a cycle that is asked to end ([`Context::cancelled`]) and does not: a loop that looks at its flag between long steps, a library that catches the interruption and tries again, a clean-up that hangs |
//!
//! What the cycle does when it is asked, it does; then it does not end. Its host has to drop it, which takes the rest of the budget, and
//! what it held is returned.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use shiftwork::{Context, Failure, Worker};

use crate::Dependency;

/// A worker whose cycles a fault can make ignore that they are asked to end: see [`Dependency::stubborn`].
#[derive(Debug)]
pub struct Stubborn<W> {
    site: Dependency,
    worker: W,
}

impl<W> Stubborn<W> {
    pub(crate) fn new(site: Dependency, worker: W) -> Self {
        Self { site, worker }
    }
}

impl<W: Worker> Worker for Stubborn<W> {
    type Input = W::Input;

    async fn start(&self) -> Result<(), Failure> {
        self.worker.start().await
    }

    async fn cycle(&self, input: W::Input, cx: &Context) -> Result<(), Failure> {
        let ended = self.worker.cycle(input, cx).await;
        if is_cancelled(cx).await && self.site.ignores_cancel() {
            std::future::pending::<()>().await;
        }
        ended
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.worker.stop().await
    }
}

/// Whether the cycle was asked to end.
async fn is_cancelled(cx: &Context) -> bool {
    let mut cancelled = pin!(cx.cancelled());
    poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx).is_ready())).await
}
