//! What wakes a task from one wait after the other: a timer, and a place at its worker's bell, both kept.
//!
//! Most waits end long before their time: a cycle with a timeout of minutes takes milliseconds. So the timer stays where it is, and
//! is moved only when it has run out too early for the wait of that moment, or would run out too late; and neither it nor the bell is
//! told again whom to wake while that is the same task. A cycle that waits registers nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep_until},
};

use crate::{bell::Place, control::Control};

/// See the page of this file.
#[derive(Debug)]
pub(crate) struct Alarm {
    place: Place,
    timer: KeptTimer,
}

impl Alarm {
    /// For waits that end when `control` changes.
    pub(crate) fn of(control: &Control) -> Self {
        Self { place: Place::new(Arc::clone(control.bell())), timer: KeptTimer::default() }
    }

    /// From here on a change of the control wakes the task: to be called before the look at it.
    pub(crate) fn listen(&mut self, cx: &Context<'_>) {
        self.place.take(cx);
    }

    /// Ready once it is `due`. The task may be woken before.
    pub(crate) fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_until(due, cx)
    }
}

/// A timer for one wait after the other.
#[derive(Debug, Default)]
struct KeptTimer {
    /// Never set for later than the wait of this moment. Boxed, so that its owner can be moved.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it was last told to wake.
    waker: Option<Waker>,
    /// How often in a row, since it was last moved.
    told: u8,
}

/// How often a timer is told whom to wake before it is believed to know. A poll of a task that tokio makes for a dump of it tells the
/// timer nothing, and looks like any other from here.
const TOLD_ENOUGH: u8 = 2;

impl KeptTimer {
    fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let Self { sleep, waker, told } = self;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        let is_known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        loop {
            let ran_out = sleep.is_elapsed();
            if sleep.deadline() > due || (ran_out && sleep.deadline() < due) {
                sleep.as_mut().reset(due);
                *told = 0;
            } else if is_known && !ran_out && *told >= TOLD_ENOUGH {
                return Poll::Pending;
            }
            if sleep.as_mut().poll(cx).is_pending() {
                // A task that has no budget left for it is woken to look again, and the timer knows nothing of that.
                *told = if !has_budget_remaining() {
                    0
                } else if is_known {
                    *told + 1
                } else {
                    *waker = Some(cx.waker().clone());
                    1
                };
                return Poll::Pending;
            }
            *told = 0;
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_ended_early_neither_shortens_nor_lengthens_the_next() {
        let began = Instant::now();
        let mut timer = KeptTimer::default();
        for seconds in [300, 2, 3, 1, 600] {
            let due = Instant::now() + Duration::from_secs(seconds);
            let early = poll_fn(|cx| timer.poll_until(due, cx));
            assert!(tokio::time::timeout(Duration::from_millis(500), early).await.is_err(), "{seconds} s");
        }
        assert_eq!(began.elapsed(), Duration::from_millis(2_500));
        for seconds in [1, 900, 2] {
            let due = Instant::now() + Duration::from_secs(seconds);
            poll_fn(|cx| timer.poll_until(due, cx)).await;
            assert_eq!(Instant::now(), due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_wakes_who_waits_last() {
        let due = Instant::now() + Duration::from_secs(3);
        let mut timer = KeptTimer::default();
        let mut first = tokio_test::task::spawn(());
        assert!(first.enter(|cx, _| timer.poll_until(due, cx)).is_pending());
        let mut second = tokio_test::task::spawn(());
        assert!(second.enter(|cx, _| timer.poll_until(due, cx)).is_pending());
        assert!(second.enter(|cx, _| timer.poll_until(due, cx)).is_pending());
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(second.is_woken() && !first.is_woken());
        assert!(second.enter(|cx, _| timer.poll_until(due, cx)).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_budget_is_woken_to_look_again() {
        let due = Instant::now() + Duration::from_secs(3);
        let mut timer = KeptTimer::default();
        while has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        poll_fn(|cx| timer.poll_until(due, cx)).await;
        assert_eq!(Instant::now(), due);
    }
}
