//! A timer that is kept from one wait to the next.
//!
//! Most waits end long before their time: a cycle with a timeout of minutes takes milliseconds. Such a timer stays where it is, and
//! is moved only when it has run out too early for the wait of that moment; so a cycle that waits registers none. Where a wait lasts
//! to its end, moving the timer on is cheaper than a new one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for one wait after the other.
#[derive(Debug, Default)]
pub(crate) struct KeptTimer {
    /// Never set for later than the wait of this moment. Boxed, so that its owner can be moved.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl KeptTimer {
    /// Ready once it is `due`. Its task may be woken before.
    pub(crate) fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
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
}
