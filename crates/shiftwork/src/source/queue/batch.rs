//! How a batch is filled from a queue: one claim for all of it, and, if it may linger, more while it does.
//!
//! 1. What is claimed and finds no lane that waits for it is returned at once, its attempt not spent: it would not be renewed.
//! 2. A delivery that must run alone (rule Q10) is never held beside others, not even before its cycle begins: if it is what
//!    kills the process, their leases would lapse with it. From the first such delivery on the claimer is *careful*: it claims
//!    one and looks at it, until that may have company.
//! 3. A delivery that must run alone and was passed over for its elders has its turn the next time, and they are returned.
//! 4. No delivery is in a batch twice: one that is claimed again while the batch lingers is taken out of it.
//! 5. What is taken is renewed only once it has its lane. What may lapse before that, since the store was long about others or an older
//!    cycle was waited for, goes back as well, and is claimed again.

use std::{collections::VecDeque, pin::pin, sync::atomic::Ordering, time::Duration};

use shiftwork_queue::{Delivery, Lease, Queue, later};
use tokio::time::Instant;

use super::{Claimer, QueueLane, RENEWALS, Shared, idle::Idle, own::was_claimed_before};
use crate::{
    Failure,
    cycle::let_go,
    lane::noting_waits,
    lifecycle::batch::runs_alone,
    source::{self, BatchLane, LaneContext, Offer, Settling},
};

impl<T: Send + 'static, Q: Queue<T>> BatchLane for QueueLane<Q, T> {
    type Taken = Delivery<T>;

    async fn take(
        &mut self,
        max: usize,
        linger: Duration,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        self.shared.take_batch(max, linger, taken, cx).await
    }

    fn accept(&mut self, taken: Delivery<T>, cx: &LaneContext) -> Offer<T> {
        self.hold(taken, cx)
    }

    async fn settle_together(settling: &mut [Settling<'_, Self>]) {
        let Some(first) = settling.first() else { return };
        // The cycles of a batch have ended at one instant.
        let (shared, now) = (first.lane.shared.clone(), first.cx.wall_time_when_asked());
        let ends = |one: &mut Settling<'_, Self>| {
            one.lane.looked = one.cx.asked_at.map(|instant| (instant, now));
            one.lane.slot.settling();
            // A lane that works on nothing has nothing to store, and says so when it is asked for itself.
            let current = one.lane.unsettled()?;
            // Whatever becomes of the store, it may have done it.
            current.tries = 1;
            Some((current.claimed.lease, current.settlement(one.settle, one.failure, now)))
        };
        let settlements: Vec<_> = settling.iter_mut().filter_map(ends).collect();
        let answers = shared.queue.settle_many(settlements, now).await;
        let asked = settling.iter_mut().filter(|one| one.lane.current.is_some_and(|current| !current.is_settled));
        for (one, answer) in asked.zip(answers) {
            let Some(current) = &mut one.lane.current else { continue };
            let until = one.lane.slot.expires_at(current.claimed.lease, one.cx.attempt().number());
            match answer {
                Err(error) if !shared.is_final(&error, until, 1, one.cx) => continue,
                answer => one.settled = Some(answer.map_err(Into::into)),
            }
            current.is_settled = true;
            one.lane.slot.release();
        }
    }
}

fn is_alone<T>(delivery: &Delivery<T>) -> bool {
    runs_alone(delivery.attempt, delivery.crashes)
}

/// What waits in a batch while its lease lapses, and is claimed again by the batch itself, is there under its newer claim
/// alone. It happens where the wall clock steps over the lease.
fn leave_out_what_was_claimed_anew<T>(
    taken: &mut Vec<Delivery<T>>,
    claimed: &VecDeque<Delivery<T>>,
) -> Result<(), Failure> {
    let anew = || claimed.iter().map(|delivery| delivery.lease).filter(|lease| was_claimed_before(*lease));
    if anew().next().is_none() {
        return Ok(());
    }
    let_go(taken.extract_if(.., |older| anew().any(|newer| newer.delivery == older.lease.delivery)))
}

impl<T: Send + 'static, Q: Queue<T>> Shared<Q, T> {
    async fn take_batch(
        &self,
        max: usize,
        linger: Duration,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        self.waiting.fetch_add(max, Ordering::Relaxed);
        let mut waited = false;
        let mut claimer = noting_waits(pin!(self.claimer.lock()), &mut waited).await;
        // Under the lock, so that a claim never counts a lane that already has its delivery.
        self.waiting.fetch_sub(max, Ordering::Relaxed);
        loop {
            let took = {
                let taking = pin!(self.take_together(&mut claimer, max, linger, taken, cx));
                noting_waits(taking, &mut waited).await
            };
            claimer.more = 0;
            let claimed_before: Vec<Lease> =
                taken.iter().map(|delivery| delivery.lease).filter(|lease| was_claimed_before(*lease)).collect();
            // Not where intake closes meanwhile, or where another lane has claimed anew.
            let is_ready = claimed_before.is_empty() || self.take_from_own(&claimed_before, cx).await;
            let took_any = !taken.is_empty();
            let returned = if !is_ready {
                self.give_back_all(&mut claimer, taken, cx).await
            } else if !claimer.buffer.is_empty() && self.waiting.load(Ordering::Relaxed) == 0 {
                let others = claimer.buffer.drain(..).collect();
                self.give_back_beside(others, &mut claimer, taken, cx).await
            } else if waited || !claimed_before.is_empty() {
                self.give_back_what_may_lapse(&mut claimer, taken, cx).await
            } else {
                Ok(())
            };
            took.and(returned)?;
            // Once more if all that was taken has gone back with the others.
            if !took_any || !taken.is_empty() {
                return Ok(());
            }
        }
    }

    /// Returns these, and what is kept as well where that took so long that its lease may lapse before it is renewed.
    async fn give_back_beside(
        &self,
        others: Vec<Delivery<T>>,
        claimer: &mut Claimer<T>,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        let returned = self.give_back(others, cx).await;
        returned.and(self.give_back_what_may_lapse(claimer, taken, cx).await)
    }

    /// Returns all that was taken, if a lease of it may lapse before it is renewed.
    async fn give_back_what_may_lapse(
        &self,
        claimer: &mut Claimer<T>,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        let renewed_by = later(cx.wall_time(), self.options.lease / RENEWALS);
        if taken.iter().all(|delivery| delivery.lease.expires_at > renewed_by) {
            return Ok(());
        }
        self.give_back_all(claimer, taken, cx).await
    }

    /// Returns all that was taken, and what is in the buffer, which was claimed with it.
    async fn give_back_all(
        &self,
        claimer: &mut Claimer<T>,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        let all: Vec<_> = taken.drain(..).chain(claimer.buffer.drain(..)).collect();
        self.give_back(all, cx).await
    }

    /// Takes a first delivery, and what may run beside it.
    async fn take_together(
        &self,
        claimer: &mut Claimer<T>,
        max: usize,
        linger: Duration,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        // Once more if all that was taken has been claimed anew meanwhile, or has gone back.
        while taken.is_empty() {
            if let Some((time, triggers)) = claimer.not_before.take() {
                cx.wait_until_or_triggered(time, triggers).await;
            }
            claimer.more = max.saturating_sub(1);
            let Some(first) = self.take_as(claimer, cx.wall_time(), cx).await? else { break };
            let was_careful = claimer.careful;
            claimer.careful = is_alone(&first);
            taken.push(first);
            if !claimer.careful {
                self.fill(claimer, linger, was_careful, taken, cx).await?;
            }
        }
        Ok(())
    }

    /// Adds what may run beside what there is.
    async fn fill(
        &self,
        claimer: &mut Claimer<T>,
        linger: Duration,
        was_careful: bool,
        taken: &mut Vec<Delivery<T>>,
        cx: &LaneContext,
    ) -> Result<(), Failure> {
        let until = source::later(Instant::now(), linger.min(self.options.lease / RENEWALS));
        // A careful claim was of one, whatever else was there.
        let mut again = was_careful;
        let mut idle = Idle::default();
        loop {
            while claimer.more > 0
                && let Some(next) = claimer.buffer.pop_front()
            {
                if !is_alone(&next) {
                    claimer.more -= 1;
                    taken.push(next);
                    continue;
                }
                claimer.careful = true;
                if was_careful {
                    // The batch has its place of the rate limit meanwhile, for as long as these leases last at most (rule C12).
                    let elders = std::mem::take(taken);
                    taken.push(next);
                    return self.give_back_beside(elders, claimer, taken, cx).await;
                }
                // For a lane that waits; if there is none, it is returned.
                claimer.buffer.push_front(next);
                return Ok(());
            }
            let lingers = Instant::now() < until;
            if claimer.more == 0 || cx.is_closed() || !(again || lingers) {
                return Ok(());
            }
            again = false;
            // Made before the claim, so that a push between the claim and the wait is not missed.
            let mut changed = pin!(self.queue.changed());
            // One of them is for the lane itself, which has had its first.
            claimer.more -= 1;
            let triggers = cx.triggers();
            claimer.now = cx.wall_time();
            let claimed = self.claim(claimer, cx).await;
            claimer.more += 1;
            let next_due = match claimed {
                Ok(next_due) => next_due,
                Err(delay) => {
                    claimer.not_before = Some((source::later(Instant::now(), delay), triggers));
                    return Ok(());
                }
            };
            let before = taken.len();
            leave_out_what_was_claimed_anew(taken, &claimer.buffer)?;
            claimer.more += before - taken.len();
            if taken.is_empty() {
                return Ok(());
            }
            let asked = Instant::now();
            if !claimer.buffer.is_empty() {
                idle.begin_anew();
            } else if asked < until {
                let pause = idle.pause(next_due, cx.wall_time(), self.options.poll);
                tokio::select! {
                    biased;
                    _ = cx.wait_until_or_triggered(until.min(source::later(asked, pause)), triggers) => {}
                    () = &mut changed => idle.begin_anew(),
                }
                let cooldown = self.options.cooldown;
                if !cooldown.is_zero() {
                    cx.wait_until_or_triggered(until.min(source::later(asked, cooldown)), triggers).await;
                }
            }
        }
    }
}
