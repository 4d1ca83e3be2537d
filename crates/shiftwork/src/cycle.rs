//! One cycle, run under guard: panics caught, time limited, interruptions obeyed.
//!
//! The user's future is polled first, and everything else is looked at only when that is pending, so that a cycle that never waits
//! pays for no timer and no registration: [`RunCycle`] is built only for one that waits. The future stays where its
//! owner has pinned it: no allocation, and no move.

use std::{
    any::Any,
    future::{Future, poll_fn},
    mem::{self, needs_drop},
    ops::DerefMut,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{task::coop::has_budget_remaining, time::Instant};

use crate::{Failure, FailureKind, alarm::Alarm, await_point::Awaits, control::Interrupts, in_flight::Seat, panics};

/// How a cycle ended. A failure in a box: what most cycles have none of is not moved about with each.
pub(crate) type Ended = Result<(), Box<Failure>>;

/// The future of one guarded cycle: `P` points to that of the user, which is emptied when it is over, so that a panic in its destructor is
/// caught here too.
pub(crate) struct RunCycle<'a, P, C> {
    future: Pin<P>,
    /// It was polled a moment ago, by the same task.
    was_looked_at: bool,
    deadline: Option<Instant>,
    progress: Option<Progress>,
    around: Around<'a, C>,
}

/// What a cycle has around it.
pub(crate) struct Around<'a, C> {
    pub(crate) control: &'a C,
    pub(crate) span: &'a tracing::Span,
    /// Where others see that it is polled.
    pub(crate) seat: Option<&'a Seat>,
    /// What wakes it when its control changes, or its time is over.
    pub(crate) alarm: &'a mut Alarm,
    /// Who is asked before it goes on after it has waited; `None` for almost every host, and for what is no worker's cycle.
    pub(crate) awaits: Option<Awaits<'a>>,
}

/// The limit on the time without a sign of life ([`crate::Context::progress`]).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    timeout: Duration,
    /// The count of signs when it was last looked at.
    seen: u64,
    /// When the time since then is over; `None` is beyond the clock's end.
    until: Option<Instant>,
}

/// What limits the time of a cycle.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// When it is over.
    pub(crate) deadline: Option<Instant>,
    /// How long it may go on without a sign of life.
    pub(crate) progress: Option<Progress>,
}

impl<'a, P, C: Interrupts> RunCycle<'a, P, C> {
    pub(crate) fn new(future: Pin<P>, limits: Limits, around: Around<'a, C>) -> Self {
        let Limits { deadline, progress } = limits;
        Self { future, was_looked_at: false, deadline, progress, around }
    }

    /// One that has just been [looked at](look), and waits.
    pub(crate) fn looked_at(future: Pin<P>, limits: Limits, around: Around<'a, C>) -> Self {
        Self { was_looked_at: true, ..Self::new(future, limits, around) }
    }
}

impl<F, P, C> Future for RunCycle<'_, P, C>
where
    F: Future<Output = Result<(), Failure>>,
    P: DerefMut<Target = Option<F>> + Unpin,
    C: Interrupts,
{
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let Self { future, was_looked_at, deadline, progress, around } = self.get_mut();
        let Around { control, span, seat, alarm, awaits } = around;
        let looked =
            if mem::take(was_looked_at) { None } else { look(future.as_mut(), span, *seat, awaits.as_mut(), cx) };
        let ended = looked.or_else(|| {
            alarm.listen(cx);
            if control.is_interrupted() {
                return Some(Err(Box::new(Failure::new(FailureKind::Interrupted, control.why()))));
            }
            if let Some(progress) = progress.as_mut() {
                progress.look(control.progress_count());
            }
            let stalls = progress.and_then(|progress| progress.until);
            let due = (*deadline).into_iter().chain(stalls).min()?;
            let passed = alarm.poll_until(due, cx).is_ready();
            // A cycle that always finds something ready leaves its timer no budget of the task to look with.
            let over = passed || (!has_budget_remaining() && due <= Instant::now());
            let why = || match *progress {
                Some(progress) if *deadline != Some(due) => {
                    format!("the cycle made no progress for {:?}", progress.timeout)
                }
                Some(_) | None => "the cycle ran past its timeout".to_owned(),
            };
            over.then(|| Err(Box::new(Failure::new(FailureKind::Timeout, why()))))
        });
        let Some(result) = ended else {
            if let Some(seat) = seat {
                seat.poll_ended();
            }
            return Poll::Pending;
        };
        Poll::Ready(empty(future.as_mut(), span, result))
    }
}

/// Polls the user's future. None where it waits.
#[inline]
pub(crate) fn look<F: Future<Output = Result<(), Failure>>>(
    future: Pin<&mut Option<F>>,
    span: &tracing::Span,
    seat: Option<&Seat>,
    awaits: Option<&mut Awaits<'_>>,
    cx: &mut Context<'_>,
) -> Option<Ended> {
    let _entered = span.enter();
    if let Some(seat) = seat {
        seat.poll_begins();
    }
    // After a panic the future is dropped and never polled again, so nobody sees what it left half done.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        if let Some(awaits) = awaits
            && awaits.ends_here()
        {
            let why = "its time was said to be up at an await point";
            return Some(Poll::Ready(Err(Box::new(Failure::new(FailureKind::Timeout, why)))));
        }
        future.as_pin_mut().map(|future| future.poll(cx).map_err(Box::new))
    }));
    match polled {
        Ok(Some(Poll::Ready(result))) => Some(result),
        Ok(Some(Poll::Pending)) => None,
        Ok(None) => Some(Err(Box::new(Failure::new(FailureKind::Interrupted, "polled again after its end")))),
        Err(panic) => Some(Err(Box::new(panicked(panic)))),
    }
}

/// Drops the user's future, whose panic is the cycle's too.
#[inline]
pub(crate) fn empty<F>(mut future: Pin<&mut Option<F>>, span: &tracing::Span, result: Ended) -> Ended {
    if !needs_drop::<F>() {
        return result;
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let _entered = span.enter();
        future.set(None);
    }));
    match dropped {
        Ok(()) => result,
        Err(panic) => result.and(Err(Box::new(panicked(panic)))),
    }
}

impl Progress {
    /// For a cycle that begins, and has given so many signs.
    pub(crate) fn new(timeout: Duration, began: Instant, seen: u64) -> Self {
        Self { timeout, seen, until: began.checked_add(timeout) }
    }

    fn look(&mut self, count: u64) {
        if count != self.seen {
            (self.seen, self.until) = (count, Instant::now().checked_add(self.timeout));
        }
    }
}

/// Drops inputs outside of a cycle, and says what the first of them panicked with that did. Each by itself: a second panic while
/// the first unwinds would end the process.
pub(crate) fn let_go<I>(inputs: impl IntoIterator<Item = I>) -> Result<(), Failure> {
    let mut dropped = Ok(());
    for input in inputs {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(input))) {
            dropped = dropped.and(Err(panicked(panic)));
        }
    }
    dropped
}

/// The failure that a caught panic makes: its message, and its place where that is known. What it carries is dropped, whatever that does.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    Failure::new(FailureKind::Panic, panics::said(panic))
}

/// Waits for a future of the program's own whose panic must not end what waits for it.
pub(crate) fn caught<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = Result<F::Output, Failure>> {
    poll_fn(move |cx| poll_caught(future.as_mut(), cx))
}

/// One poll of such a future.
#[inline]
pub(crate) fn poll_caught<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Failure>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panicked(panic))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::control::{AttemptControl, Control};

    /// It panics as it is dropped, whatever else does.
    struct Rude(u32);

    impl Drop for Rude {
        fn drop(&mut self) {
            panic!("it was {}", self.0);
        }
    }

    #[test]
    fn inputs_that_all_panic_as_they_are_dropped_do_not_end_the_process() {
        let failure = let_go([Rude(1), Rude(2), Rude(3)]).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Panic);
        assert!(failure.cause().message.starts_with("it was 1"), "{}", failure.cause());
        assert!(let_go([1, 2, 3]).is_ok());
    }

    #[tokio::test]
    async fn c6_a_cycle_that_always_finds_something_ready_is_timed_out_too() {
        let control = AttemptControl::new(Arc::new(Control::new()));
        let limits = Limits { deadline: Some(Instant::now() + Duration::from_millis(20)), ..Limits::default() };
        let span = tracing::Span::none();
        let busy = async {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        };
        let mut alarm = Alarm::of(&control.worker);
        let around = Around { control: &control, span: &span, seat: None, alarm: &mut alarm, awaits: None };
        let busy = std::pin::pin!(Some(busy));
        let cycle = RunCycle::new(busy, limits, around);
        let ended = tokio::time::timeout(Duration::from_secs(20), cycle).await.expect("its timeout");
        assert_eq!(ended.unwrap_err().kind(), FailureKind::Timeout);
    }
}
