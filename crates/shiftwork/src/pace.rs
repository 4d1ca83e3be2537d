//! How the lanes of a worker share its rate limit.
//!
//! [`crate::lifecycle::rate_limit`] decides who may begin and [`crate::lifecycle::hold`] what is said of it; this file keeps
//! their state for the lanes and does the waiting.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    event::{Event, SourceKind},
    lifecycle::{
        hold::{Hold, Say},
        rate_limit::{Asking, Meter, RateLimit},
    },
    source::{LaneContext, SourceContext},
};

/// One worker's rate limit.
pub(crate) struct Pace {
    state: Mutex<State>,
    /// Rung for lanes, whenever one begins or gives up.
    bell: Notify,
    /// Rung for [`Pace::tell`], when a lane begins to wait.
    news: Notify,
    /// Whether a lane needs a place before it asks its source. What a queue offers is leased and must not wait. Another source
    /// waits in each lane for itself, for a retry or its own part of the work, and would keep the place from those that have something to do.
    before_offer: bool,
}

struct State {
    meter: Meter,
    hold: Hold,
    /// Counts the lives of the worker.
    life: u64,
    /// How many lanes wait for a change; more if one was dropped as it did.
    waiting: u32,
}

/// What a lane that asks for a place waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For nothing, yet.
    No,
    /// For what somebody else has.
    ForAnother,
    /// For room, from which the limit holds it back.
    ForRoom,
}

/// What a lane has of the limit from before it asks its source on: [`Pace::begin`] or [`Pace::give_up`].
///
/// It goes along with what is offered and not with the lane: a batch may begin with another one in front than has asked.
#[derive(Default)]
#[must_use = "a place that neither begins nor is given up is lost to its worker"]
pub(crate) struct Turn {
    /// Since when it has a place, if it has one yet, and in which life of the worker.
    placed: Option<(Instant, u64)>,
}

impl Pace {
    pub(crate) fn new(limit: RateLimit, source: SourceKind) -> Self {
        let before_offer = source == SourceKind::Queue;
        let state = State { meter: Meter::new(limit), hold: Hold::default(), life: 0, waiting: 0 };
        Self { state: Mutex::new(state), bell: Notify::new(), news: Notify::new(), before_offer }
    }

    /// Waits for a place before the source is asked, where that is the time for it. `false` if the lane may not ask.
    pub(crate) async fn before_offer(&self, turn: &mut Turn, cx: &mut LaneContext) -> bool {
        !self.before_offer || self.place(turn, cx, LaneContext::is_closed).await
    }

    /// Takes a place once there is an offer, if it has none and there is one at once. Most of the time there is, and nothing to wait for.
    pub(crate) fn has_place(&self, turn: &mut Turn, cx: &mut LaneContext) -> bool {
        if turn.placed.is_some() {
            return true;
        }
        let now = *cx.asked_at.get_or_insert_with(Instant::now);
        if !may_not_begin(cx) {
            turn.placed = self.with(|state| (state.meter.ask(now) == Asking::Go).then_some((now, state.life)));
        }
        turn.placed.is_some()
    }

    /// Waits for a place once there is an offer. `false` if its cycle may not begin, because the next tick is to have its place, say.
    pub(crate) async fn after_offer(&self, turn: &mut Turn, cx: &mut LaneContext) -> bool {
        turn.placed.is_some() || self.place(turn, cx, may_not_begin).await
    }

    /// The cycle begins now.
    pub(crate) fn begin(&self, Turn { placed }: Turn, now: Instant) {
        self.change(|State { meter, hold, life, waiting: _ }| {
            // A life that was left behind has no places any more, and what it does is not held against the next.
            if placed.is_some_and(|(_, of)| of != *life) {
                return;
            }
            let unused = placed.map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(since));
            hold.begins(unused, meter.refill());
            meter.begin(now);
        });
    }

    /// It does not begin, or there is nothing that could.
    pub(crate) fn give_up(&self, Turn { placed }: Turn) {
        if let Some((_, life)) = placed {
            self.change(|state| {
                if life == state.life {
                    state.meter.give_up();
                }
            });
        }
    }

    /// A life of the worker begins: the lanes of the one before have no places any more.
    pub(crate) fn begin_life(&self) {
        self.change(|state| {
            state.life += 1;
            state.meter.begin_life();
            // A life that was left behind has not said it, and nobody is to hear of it now.
            let _ = state.hold.end_life(Instant::now());
        });
    }

    /// Says when the limit begins to hold the worker back, and when it no longer does, until it is dropped.
    pub(crate) async fn tell(&self, cx: &SourceContext) {
        loop {
            let now = Instant::now();
            let (say, wait) = self.with(|State { meter, hold, life: _, waiting: _ }| (hold.look(now), meter.wait(now)));
            match say {
                Say::Reached => cx.emit(&Event::RateLimitReached { worker: cx.worker, wait }),
                Say::Eased(after) => cx.emit(&Event::RateLimitEased { worker: cx.worker, after }),
                Say::NotBefore(time) => tokio::time::sleep_until(time).await,
                Say::Nothing => self.news.notified().await,
            }
        }
    }

    /// The lanes of a life have ended, and [`Pace::tell`] says nothing more.
    pub(crate) fn end_life(&self, cx: &SourceContext) {
        if let Some(after) = self.with(|state| state.hold.end_life(Instant::now())) {
            cx.emit(&Event::RateLimitEased { worker: cx.worker, after });
        }
    }

    /// Waits for a place. The lane has just read the clock when it has one; `false` is that there will be none.
    async fn place(&self, turn: &mut Turn, cx: &mut LaneContext, is_over: impl Fn(&LaneContext) -> bool) -> bool {
        let mut known = cx.asked_at.take();
        let mut waits = Waits::No;
        loop {
            // Made before the question, so that no change is missed.
            let changed = self.bell.notified();
            let now = known.take().unwrap_or_else(Instant::now);
            let is_over = || is_over(cx);
            let asking = self.ask(now, is_over(), &mut waits);
            match asking {
                None => return false,
                Some((Asking::Go, life)) => {
                    cx.asked_at = Some(now);
                    turn.placed = Some((now, life));
                    return true;
                }
                Some((Asking::Until(time), _)) => tokio::select! {
                    biased;
                    () = cx.source.control().until(&is_over) => {}
                    () = changed => {}
                    () = tokio::time::sleep_until(time) => {}
                },
                Some((Asking::Wait, _)) => tokio::select! {
                    biased;
                    () = cx.source.control().until(&is_over) => {}
                    () = changed => {}
                },
            }
        }
    }

    /// Asks for a place for a lane, and notes what it waits for now. `None` if that is over.
    fn ask(&self, now: Instant, is_over: bool, waits: &mut Waits) -> Option<(Asking, u64)> {
        let waited = *waits;
        let asking = self.with(|State { meter, hold, life, waiting }| {
            let asking = (!is_over).then(|| (meter.ask(now), *life));
            *waits = match asking {
                None | Some((Asking::Go, _)) => Waits::No,
                // What somebody else has is not what the limit keeps from it.
                Some((Asking::Wait, _)) => Waits::ForAnother,
                Some((Asking::Until(_), _)) => Waits::ForRoom,
            };
            match (waited == Waits::No, *waits == Waits::No) {
                (true, false) => *waiting += 1,
                (false, true) => *waiting = waiting.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
            match (waited == Waits::ForRoom, *waits == Waits::ForRoom) {
                (false, true) => hold.waits(),
                (true, false) => hold.goes_on(now),
                (false, false) | (true, true) => {}
            }
            asking
        });
        if *waits == Waits::ForRoom && waited != Waits::ForRoom {
            self.news.notify_one();
        }
        asking
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let somebody_waits = self.with(|state| {
            change(state);
            state.waiting > 0
        });
        if somebody_waits {
            self.bell.notify_waiters();
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether what is offered is not to begin any more.
fn may_not_begin(cx: &LaneContext) -> bool {
    cx.is_closed() || cx.attempt().is_cancelled()
}
