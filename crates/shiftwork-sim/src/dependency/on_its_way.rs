//! A call that is on its way: what becomes of its effect when its caller drops it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::Dependency;

/// The effect of a call until it has happened.
///
/// Dropped before that, the call has had no effect, unless the plan says that dropped calls have theirs all the same: then
/// it happens here, as far as it needs not wait. A request that was sent cannot be called back.
pub(super) struct OnItsWay<'a, F: Future, D: FnOnce(&F::Output, bool)> {
    call: &'a Dependency,
    effect: Pin<&'a mut F>,
    /// What is told of the effect, and whether the caller will hear of it. Gone once it was told, or will never be.
    done: Option<D>,
}

impl<'a, F: Future, D: FnOnce(&F::Output, bool)> OnItsWay<'a, F, D> {
    pub(super) fn new(call: &'a Dependency, effect: Pin<&'a mut F>, done: D) -> Self {
        Self { call, effect, done: Some(done) }
    }

    /// The call got there: its effect happens.
    pub(super) async fn arrive(&mut self) -> F::Output {
        self.effect.as_mut().await
    }

    /// The effect has happened, and the caller will or will not hear of it.
    pub(super) fn tell(&mut self, value: &F::Output, told: bool) {
        if let Some(done) = self.done.take() {
            done(value, told);
        }
    }

    /// The call was refused: it has no effect any more.
    pub(super) fn refuse(&mut self) {
        self.done = None;
    }
}

impl<F: Future, D: FnOnce(&F::Output, bool)> Drop for OnItsWay<'_, F, D> {
    fn drop(&mut self) {
        let Some(done) = self.done.take() else { return };
        if std::thread::panicking() || !self.call.has_effect_after_drop() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(value) = self.effect.as_mut().poll(&mut cx) {
            done(&value, false);
        }
    }
}
