//! How full the queue is, asked once in a while for the metrics.
//!
//! It is asked beside the lanes, and never by the path of a delivery. What becomes of the answer is for who hears the event. A panic is an
//! answer that failed, like any other: the leases that are renewed beside it are worth more.

use std::{future::pending, pin::pin, time::Duration};

use shiftwork_queue::Queue;

use super::Shared;
use crate::{Failure, cycle::caught, event::Event, source::SourceContext};

/// How long one answer may take; a store that is slow to count is asked again a turn later.
const PATIENCE: Duration = Duration::from_secs(10);

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    /// Asks at once, and then every interval. Where nobody keeps metrics the store has nothing to count for.
    pub(super) async fn measure_for_ever(&self, cx: &SourceContext) {
        let Some(interval) = self.options.measure.filter(|_| cx.emitter.keeps_metrics()) else {
            return pending().await;
        };
        let worker = cx.worker;
        loop {
            let now = cx.wall_time();
            let asked = pin!(async { tokio::time::timeout(PATIENCE, self.queue.depth(now)).await });
            let cause = match caught(asked).await {
                Ok(Ok(Ok(depth))) => {
                    cx.emit(&Event::QueueMeasured { worker, depth, oldest: depth.oldest_age(now) });
                    None
                }
                Ok(Ok(Err(error))) => Some(Failure::transient(error).cause()),
                Ok(Err(_)) => Some(Failure::transient(format!("it did not answer within {PATIENCE:?}")).cause()),
                Err(panic) => Some(panic.cause()),
            };
            if let Some(cause) = cause {
                cx.emit(&Event::MeasureFailed { worker, cause });
            }
            tokio::time::sleep(interval).await;
        }
    }
}
