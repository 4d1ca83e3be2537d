//! One cycle, run under guard: panics caught, time limited, interruptions obeyed.
//!
//! [`RunCycle`] polls the user's future first and looks at everything else only when that is pending, so that a cycle that
//! never waits pays for no timer and no registration. It lives inside its lane's future: no allocation.

use std::{
    any::Any,
    future::{Future, poll_fn},
    mem::needs_drop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{task::coop::has_budget_remaining, time::Instant};

use crate::{Failure, FailureKind, alarm::Alarm, await_point::Awaits, control::Interrupts, in_flight::Seat, panics};

pin_project! {
    /// The future of one guarded cycle.
    pub(crate) struct RunCycle<'a, F, C> {
        // Emptied when it is over, so that a panic in its destructor is caught here too.
        #[pin]
        future: Option<F>,
        deadline: Option<Instant>,
        progress: Option<Progress>,
        around: Around<'a, C>,
    }
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

/// The limit on the time without a sign of life.
#[derive(Debug, Clone, Copy)]
struct Progress {
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
    /// How long it may go on without a sign of life ([`crate::Context::progress`]), and since when.
    pub(crate) progress: Option<(Duration, Instant)>,
}

impl<'a, F, C: Interrupts> RunCycle<'a, F, C> {
    /// It is as large as what it may have to wait for: whoever runs many of them pins it where it is made, instead of moving
    /// it there.
    #[inline]
    pub(crate) fn new(future: F, limits: Limits, around: Around<'a, C>) -> Self {
        let progress = limits.progress.map(|(timeout, began)| Progress {
            timeout,
            seen: around.control.progress_count(),
            until: began.checked_add(timeout),
        });
        let deadline = limits.deadline;
        Self { future: Some(future), deadline, progress, around }
    }
}

impl<F: Future<Output = Result<(), Failure>>, C: Interrupts> Future for RunCycle<'_, F, C> {
    /// A failure in a box: what most cycles have none of is not moved about with each.
    type Output = Result<(), Box<Failure>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Around { control, span, seat, alarm, awaits } = this.around;
        let is_limited = this.deadline.is_some() || this.progress.is_some();
        let polled = {
            let _entered = span.enter();
            let future = this.future.as_mut();
            if let Some(seat) = seat {
                seat.poll_begins();
            }
            // After a panic the future is dropped and never polled again, so nobody sees what it left half done.
            catch_unwind(AssertUnwindSafe(|| {
                if let Some(awaits) = awaits
                    && awaits.ends_here(is_limited)
                {
                    let why = "its time was said to be up at an await point";
                    return Some(Poll::Ready(Err(Box::new(Failure::new(FailureKind::Timeout, why)))));
                }
                future.as_pin_mut().map(|future| future.poll(cx).map_err(Box::new))
            }))
        };
        let ended = match polled {
            Ok(Some(Poll::Ready(result))) => Some(result),
            Ok(Some(Poll::Pending)) => None,
            Ok(None) => Some(Err(Box::new(Failure::new(FailureKind::Interrupted, "polled again after its end")))),
            Err(panic) => Some(Err(Box::new(panicked(&*panic)))),
        };
        let ended = ended.or_else(|| {
            alarm.listen(cx);
            if control.is_interrupted() {
                return Some(Err(Box::new(Failure::new(FailureKind::Interrupted, control.why()))));
            }
            if let Some(progress) = this.progress.as_mut() {
                progress.look(control.progress_count());
            }
            let stalls = this.progress.and_then(|progress| progress.until);
            let due = (*this.deadline).into_iter().chain(stalls).min()?;
            let passed = alarm.poll_until(due, cx).is_ready();
            // A cycle that always finds something ready leaves its timer no budget of the task to look with.
            let over = passed || (!has_budget_remaining() && due <= Instant::now());
            let why = || match *this.progress {
                Some(progress) if *this.deadline != Some(due) => {
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
        if !needs_drop::<F>() {
            return Poll::Ready(result);
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            let _entered = span.enter();
            this.future.set(None);
        }));
        Poll::Ready(match dropped {
            Ok(()) => result,
            Err(panic) => result.and(Err(Box::new(panicked(&*panic)))),
        })
    }
}

impl Progress {
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
            dropped = dropped.and(Err(panicked(&*panic)));
        }
    }
    dropped
}

/// The failure that a caught panic makes: its message, and its place where that is known.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    Failure::new(FailureKind::Panic, panics::said(panic))
}

/// Waits for a future of the program's own whose panic must not end what waits for it.
pub(crate) fn caught<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = Result<F::Output, Failure>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panicked(&*panic))),
    })
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
        let cycle = std::pin::pin!(RunCycle::new(busy, limits, around));
        let ended = tokio::time::timeout(Duration::from_secs(20), cycle).await.expect("its timeout");
        assert_eq!(ended.unwrap_err().kind(), FailureKind::Timeout);
    }
}
