//! The tick that ends the cycle before it (rule D6): [`Overlap::CancelPrevious`](super::Overlap::CancelPrevious).
//!
//! A task beside the lane waits in the clockwork while a cycle is at work, and asks that cycle to end when the next tick
//! comes due. How the cycle is interrupted is [`crate::cycle`]'s, and what follows from that [`crate::lifecycle::settle`]'s.
//!
//! 1. What is said of an attempt is said by its number, so that it never strikes the next one.
//! 2. Nothing is ended for a tick that will not be served: while its worker is paused or its intake closed.
//! 3. While ticks are to be caught up with, each has its turn.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Plan,
    clockwork::{EndedBy, Life, Waited},
};
use crate::{control::Level, event::Event, source::SourceContext};

/// How long a cycle has at most, once it is asked to end. What a stop gives it by default.
const GRACE_MAX: Duration = Duration::from_secs(3);

impl Life {
    /// Ends each cycle for which the next tick does not want to wait.
    pub(super) async fn supersede_for_ever(&self, plan: &Plan, cx: &SourceContext) {
        let mut at_work = self.watch();
        loop {
            let attempt = *at_work.borrow_and_update();
            // The sender is ours, so there is always a next change.
            tokio::select! {
                biased;
                _ = at_work.changed() => {}
                () = self.supersede(attempt, plan, cx), if attempt != 0 => {
                    let _ = at_work.changed().await;
                }
            }
        }
    }

    /// Sees to the end of this attempt once the next tick is due.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is dropped when the attempt ends.
    async fn supersede(&self, attempt: u64, plan: &Plan, cx: &SourceContext) {
        let room = loop {
            let (waited, room) = {
                let mut clockwork = self.clockwork.lock().await;
                if clockwork.is_behind() {
                    return;
                }
                (clockwork.come_due(plan, cx, EndedBy::Intake).await, clockwork.room())
            };
            match waited {
                Waited::Due if !cx.is_closed() => break room,
                Waited::Due | Waited::Ended => {
                    cx.control().resumed().await;
                    if cx.control().is_at_least(Level::Drain) {
                        return;
                    }
                }
                Waited::End => return,
            }
        };
        let grace = room.map_or(GRACE_MAX, |room| GRACE_MAX.min(room / 2));
        let lane = &cx.lanes[0];
        // Asked first, so that whoever hears of it finds it done.
        lane.control.ask_to_end(attempt);
        if let Some(flight) = lane.seat.flight(Instant::now()) {
            cx.emit(&Event::CycleSuperseded { worker: cx.worker, cycle: flight.cycle, grace });
        }
        tokio::time::sleep(grace).await;
        lane.control.drop_attempt(attempt);
    }
}
