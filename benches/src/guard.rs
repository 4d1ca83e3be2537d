//! What every loop by hand has around its work: the time taken, panics caught, a span, counts of what became of it.
//!
//! It is what a careful person writes and no more: no retries, no timeout, no leases, no events. The loops leave those
//! out to be as fast as a loop can be that would pass a review.

use std::{
    any::Any,
    future::{Future, poll_fn},
    hint::black_box,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use tracing::{Instrument, Span};

use crate::clock;

/// What became of the work so far.
#[derive(Debug, Default)]
pub struct Counts {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counts {
    /// How often the work succeeded.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    fn ended(&self, result: &Result<io::Result<()>, Box<dyn Any + Send>>, took: Duration) {
        let count = match result {
            Ok(Ok(())) => &self.succeeded,
            Ok(Err(error)) => {
                tracing::warn!(%error, ?took, "failed");
                &self.failed
            }
            Err(_) => {
                tracing::error!(?took, "panicked");
                &self.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Does one piece of work in `span`, with its time taken and its panic caught.
pub async fn guarded(work: impl Future<Output = io::Result<()>>, span: Span, counts: &Counts) {
    counts.started.fetch_add(1, Ordering::Relaxed);
    let began = clock::now();
    let result = caught(work.instrument(span)).await;
    counts.ended(&result, began.elapsed());
}

async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The work: none, and the compiler does not know.
///
/// # Errors
///
/// Never, and the compiler does not know that either.
pub async fn work(input: u64) -> io::Result<()> {
    if black_box(input) == u64::MAX { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}
