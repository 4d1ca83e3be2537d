//! Where the ticks of one life of a worker have come to: waits for the next one, and serves it.
//!
//! Which tick that is, is decided in `schedule/series.rs`. What becomes of the cycle at work is not decided here either.
//!
//! 1. A tick that has come due is kept until it is served, so that whoever waits for it may be dropped.
//! 2. It is counted, and said, when it is served.

use std::{
    future::poll_fn,
    task::{Poll, ready},
    time::Duration,
};

use shiftwork_queue::{Timestamp, between};
use tokio::{
    sync::{Mutex, watch},
    task::coop::poll_proceed,
    time::Instant,
};

use super::{
    Missed, Overlap, Pace, Plan, TIMER, Tick,
    series::{Decision, Grid, Rate, Series, Wall},
};
use crate::{
    alarm::Alarm,
    event::Event,
    source::{SourceContext, later},
};

/// The longest wait without a look at the wall clock: how late a tick can be after the clock stepped forward.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What the lanes of one life of a worker share.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) clockwork: Mutex<Clockwork>,
    /// The number of the attempt that is at work, for whoever may have to end it; 0 is none.
    at_work: watch::Sender<u64>,
}

impl Default for Life {
    fn default() -> Self {
        Self { clockwork: Mutex::default(), at_work: watch::Sender::new(0) }
    }
}

impl Life {
    /// The attempt of this number has begun; 0 says that it is over.
    pub(super) fn at_work(&self, attempt: u64) {
        // Without somebody who listens it is a store.
        self.at_work.send_replace(attempt);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.at_work.subscribe()
    }
}

/// The ticks of one worker.
#[derive(Debug, Default)]
pub(super) struct Clockwork {
    /// `None` until somebody asks.
    hands: Option<Hands>,
    /// How many ticks were due.
    number: u64,
    /// A tick that has come due and is not served.
    due: Option<Due>,
}

/// How late a timer is where nothing stands still: tokio's go by whole milliseconds.
const WAKES_WITHIN: Duration = Duration::from_millis(2);

/// A tick that has come due, and waits for its jitter to pass.
#[derive(Debug)]
struct Due {
    came: Came,
    until: Instant,
}

#[derive(Debug)]
struct Hands {
    drive: Drive,
    /// What wakes who waits for a tick.
    alarm: Alarm,
    /// The draws of the jitter.
    chance: fastrand::Rng,
}

#[derive(Debug)]
enum Drive {
    /// By tokio time, since the instant given.
    Rate(Instant, Series<Rate>),
    /// When the next is due.
    Delay(Instant),
    /// By the wall clock, from the instant given on.
    Wall(Instant, Option<Series<Wall>>),
}

/// What ends a wait for the next tick, apart from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// That intake closes, for good or for a pause.
    Intake,
    /// That, or somebody who asks for a tick.
    IntakeOrTrigger,
}

impl EndedBy {
    fn is_over(self, cx: &SourceContext) -> bool {
        cx.is_closed()
            || match self {
                EndedBy::Intake => false,
                EndedBy::IntakeOrTrigger => cx.control().is_triggered(),
            }
    }
}

/// How a tick came due.
#[derive(Debug, Clone, Copy)]
struct Came {
    /// When that was found.
    at: Instant,
    /// Due so long ago, on the schedule's own clock.
    late: Duration,
    /// When, if that is a wall time.
    due: Option<Timestamp>,
    missed: u64,
    /// From then until the tick after it is due.
    room: Option<Duration>,
}

impl Due {
    /// How long ago it came due, at `now`.
    fn age(&self, now: Instant) -> Duration {
        self.came.late.saturating_add(now.saturating_duration_since(self.came.at))
    }
}

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// A tick is to be served.
    Due,
    /// Something else has ended the wait.
    Ended,
    /// There will be no more ticks.
    End,
}

impl Hands {
    fn new(plan: &Plan, cx: &SourceContext) -> Self {
        let begin = later(Instant::now(), plan.first_after);
        let drive = match &plan.pace {
            Pace::Rate(period) => {
                let zero = Duration::ZERO;
                Drive::Rate(begin, Series::new(Rate(*period), plan.policy.missed, Some(zero), zero))
            }
            Pace::Delay(_) => Drive::Delay(begin),
            // From now on, unless it begins later: a worker that opens paused is late for its ticks, and misses none.
            Pace::Cron { .. } | Pace::Once(_) if plan.first_after.is_zero() => {
                Drive::Wall(begin, Some(start(plan, cx.wall_time())))
            }
            Pace::Cron { .. } | Pace::Once(_) => Drive::Wall(begin, None),
        };
        Self { drive, alarm: cx.alarm(), chance: fastrand::Rng::with_seed(cx.seed) }
    }

    /// Waits for the next tick; `asked_at` is now, if that is known. Why there is none otherwise.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn tick(
        &mut self,
        plan: &Plan,
        cx: &SourceContext,
        ended_by: EndedBy,
        mut asked_at: Option<Instant>,
    ) -> Result<Came, Waited> {
        poll_fn(|task| {
            self.alarm.listen(task);
            if ended_by.is_over(cx) {
                return Poll::Ready(Err(Waited::Ended));
            }
            let mut now = asked_at.take();
            // Before the look, which takes what it finds: a schedule that is behind yields like any other task that never waits.
            let turn = ready!(poll_proceed(task));
            loop {
                match self.drive.look(plan, cx, now.take().unwrap_or_else(Instant::now)) {
                    Look::Came(came) => {
                        turn.made_progress();
                        return Poll::Ready(Ok(came));
                    }
                    Look::End => return Poll::Ready(Err(Waited::End)),
                    Look::Wait(until) => ready!(self.alarm.poll_until(until, task)),
                }
            }
        })
        .await
    }

    /// Whether ticks have come due that are to be served one after the other.
    fn is_behind(&self) -> bool {
        match &self.drive {
            Drive::Rate(_, series) => series.is_behind(),
            Drive::Wall(_, series) => series.as_ref().is_some_and(Series::is_behind),
            Drive::Delay(_) => false,
        }
    }

    /// So many ticks that had come due are missed after all, and the newest is served instead of them if it is to be so.
    fn give_up(&mut self, count: u64, instead: bool) {
        match &mut self.drive {
            Drive::Rate(_, series) => series.give_up(count, instead),
            Drive::Wall(_, Some(series)) => series.give_up(count, instead),
            Drive::Wall(_, None) | Drive::Delay(_) => {}
        }
    }
}

/// What a look at the clock finds.
enum Look {
    Came(Came),
    /// Nothing before this time.
    Wait(Instant),
    /// There will be no more ticks.
    End,
}

impl Drive {
    fn look(&mut self, plan: &Plan, cx: &SourceContext, at: Instant) -> Look {
        match self {
            Drive::Rate(begin, series) => {
                let Some(now) = at.checked_duration_since(*begin) else { return Look::Wait(*begin) };
                match decide(series, now, cx) {
                    Decision::Serve { due, missed, next } => {
                        let room = next.map(|next| next.saturating_sub(due));
                        Look::Came(Came { at, late: now.saturating_sub(due), due: None, missed, room })
                    }
                    // Counted from now, so that a time that the clock does not reach never comes.
                    Decision::Wait { until } => Look::Wait(later(at, until.saturating_sub(now))),
                    Decision::End => Look::End,
                }
            }
            Drive::Delay(due) => {
                let Pace::Delay(delay) = &plan.pace else { return Look::End };
                let Some(late) = at.checked_duration_since(*due) else { return Look::Wait(*due) };
                Look::Came(Came { at, late, due: None, missed: 0, room: Some(*delay) })
            }
            Drive::Wall(begin, _) if at < *begin => Look::Wait(*begin),
            Drive::Wall(_, series) => {
                let now = cx.wall_time();
                let series = series.get_or_insert_with(|| start(plan, now));
                match decide(series, now, cx) {
                    Decision::Serve { due, missed, next } => {
                        let room = next.map(|next| between(due, next));
                        Look::Came(Came { at, late: between(due, now), due: Some(due), missed, room })
                    }
                    Decision::Wait { until } => Look::Wait(later(at, between(now, until).clamp(TIMER, LOOK_EVERY))),
                    Decision::End => Look::End,
                }
            }
        }
    }
}

/// The ticks of the wall clock, from when the schedule begins.
fn start(plan: &Plan, now: Timestamp) -> Series<Wall> {
    let (wall, next) = match &plan.pace {
        Pace::Cron { calendar, since } => {
            (Wall::Cron(calendar.clone()), calendar.after(since.map_or(now, |since| since.min(now))))
        }
        Pace::Once(at) => (Wall::Once(*at), Some(*at)),
        Pace::Rate(_) | Pace::Delay(_) => unreachable!("a fixed rate and a fixed delay do not go by the wall clock"),
    };
    Series::new(wall, plan.policy.missed, next, now)
}

/// Asks, and says what was found to be missed.
fn decide<G: Grid>(series: &mut Series<G>, now: G::Time, cx: &SourceContext) -> Decision<G::Time> {
    let (decision, missed) = series.decide(now);
    say_missed(missed, cx);
    decision
}

fn say_missed(count: u64, cx: &SourceContext) {
    if count > 0 {
        cx.emit(&Event::TicksMissed { worker: cx.worker, count });
    }
}

impl Clockwork {
    /// The schedule begins, if it has not.
    pub(super) fn begin(&mut self, plan: &Plan, cx: &SourceContext) {
        self.hands.get_or_insert_with(|| Hands::new(plan, cx));
    }

    /// Waits until a tick is to be served: it has come due, and its jitter is over.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has come due is not lost.
    pub(super) async fn come_due(&mut self, plan: &Plan, cx: &SourceContext, ended_by: EndedBy) -> Waited {
        let Self { hands, number: _, due: waiting } = self;
        let hands = hands.get_or_insert_with(|| Hands::new(plan, cx));
        loop {
            if let Some(stale) = waiting.take_if(|due| is_superseded(due, plan)) {
                // Rule D6: what has ended a cycle is served whatever it waited, or else what came due after it.
                let instead = plan.policy.overlap == Overlap::CancelPrevious;
                hands.give_up(stale.came.missed.saturating_add(1), instead);
                say_missed(1, cx);
            }
            let due = match waiting {
                Some(due) => due,
                None => {
                    let came = match hands.tick(plan, cx, ended_by, None).await {
                        Ok(came) => came,
                        Err(why) => return why,
                    };
                    let jitter = plan.policy.jitter.min(came.room.unwrap_or(Duration::MAX));
                    let by = if jitter.is_zero() {
                        Duration::ZERO
                    } else {
                        jitter.mul_f64(hands.chance.f64()).saturating_sub(came.late)
                    };
                    waiting.insert(Due { came, until: later(came.at, by) })
                }
            };
            // One that has come due already is not served once intake has closed (rules P1 and T1).
            let is_over = || ended_by.is_over(cx);
            let at_once = due.came.at == due.until;
            let ended = if at_once { is_over() } else { cx.wait_until_or(due.until, is_over).await };
            if ended {
                return Waited::Ended;
            }
            // The process may have stood still for longer than the tick was put off.
            let stood_still = !at_once && Instant::now() > later(due.until, WAKES_WITHIN);
            if !stood_still || !is_superseded(due, plan) {
                return Waited::Due;
            }
        }
    }

    /// For how long the tick is not due that comes after the one that has come due; `None` if there is none.
    pub(super) fn room(&self) -> Option<Duration> {
        let due = self.due.as_ref()?;
        due.came.room.map(|room| room.saturating_sub(due.age(Instant::now())))
    }

    /// Waits for the next tick and serves it, and says when that was; or why there is none. `asked_at` is now, if that is known.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Clockwork::come_due`].
    pub(super) async fn next(
        &mut self,
        plan: &Plan,
        cx: &SourceContext,
        ended_by: EndedBy,
        asked_at: Option<Instant>,
    ) -> Result<(Tick, Instant), Waited> {
        if self.due.is_none() && plan.policy.jitter.is_zero() {
            // Nothing comes between: it is served at the very look that found it due.
            let hands = self.hands.get_or_insert_with(|| Hands::new(plan, cx));
            let came = hands.tick(plan, cx, ended_by, asked_at).await?;
            return Ok(self.serve(&came, came.at, came.late, cx));
        }
        let waited = self.come_due(plan, cx, ended_by).await;
        let Some(due) = self.due.take_if(|_| waited == Waited::Due) else { return Err(waited) };
        let now = Instant::now();
        Ok(self.serve(&due.came, now, due.age(now), cx))
    }

    /// Counts a tick, and says that it is served now.
    fn serve(&mut self, came: &Came, now: Instant, late: Duration, cx: &SourceContext) -> (Tick, Instant) {
        let missed = came.missed;
        self.number = self.number.saturating_add(missed).saturating_add(1);
        let number = self.number;
        let due = came.due.unwrap_or_else(|| {
            let wall = cx.wall_time();
            wall.checked_sub(late).unwrap_or(wall)
        });
        let triggered = false;
        cx.emitter.emit(now, &Event::TickDue { worker: cx.worker, number, due, missed, late, triggered });
        (Tick { number, due, triggered, missed }, now)
    }

    /// Serves a tick that was asked for.
    pub(super) fn serve_triggered(&self, cx: &SourceContext) -> (Tick, Instant) {
        let (number, due, triggered, now) = (self.number, cx.wall_time(), true, Instant::now());
        let (missed, late) = (0, Duration::ZERO);
        cx.emitter.emit(now, &Event::TickDue { worker: cx.worker, number, due, missed, late, triggered });
        (Tick { number, due, triggered, missed }, now)
    }

    /// Whether ticks have come due that are to be caught up with, one after the other.
    pub(super) fn is_behind(&self) -> bool {
        self.hands.as_ref().is_some_and(Hands::is_behind)
    }

    /// The cycle at work is over. Rule D6: what has come due meanwhile was to end it, and is served though the cycle blocked its thread
    /// until that was late.
    pub(super) fn insist(&mut self, cx: &SourceContext) {
        let Some(hands) = &mut self.hands else { return };
        match &mut hands.drive {
            Drive::Rate(begin, series) => {
                if let Some(now) = Instant::now().checked_duration_since(*begin) {
                    series.insist(now);
                }
            }
            Drive::Wall(_, Some(series)) => series.insist(cx.wall_time()),
            Drive::Wall(_, None) | Drive::Delay(_) => {}
        }
    }

    /// The tick that was served is done with, for good.
    pub(super) fn settled(&mut self, plan: &Plan, cx: &SourceContext) {
        let skips = plan.policy.overlap == Overlap::Skip;
        let Some(hands) = &mut self.hands else { return };
        let now = Instant::now();
        match (&mut hands.drive, &plan.pace) {
            (Drive::Delay(due), Pace::Delay(delay)) => {
                *due = later(now, *delay);
                // One that has come due beside a tick that was asked for begins anew as well.
                self.due = None;
            }
            (Drive::Rate(begin, series), _) if skips => {
                say_missed(series.pass_over(now.saturating_duration_since(*begin)), cx);
            }
            (Drive::Wall(_, Some(series)), _) if skips => say_missed(series.pass_over(cx.wall_time()), cx),
            (Drive::Delay(_) | Drive::Rate(..) | Drive::Wall(..), _) => {}
        }
    }
}

/// Whether the tick after it has come due as well, and it is not to be caught up with: it was put off and its worker paused
/// meanwhile, the process stood still, or the cycle that it should have ended came to no await point.
fn is_superseded(due: &Due, plan: &Plan) -> bool {
    let merges = match (&plan.pace, plan.policy.missed) {
        // It has no other tick until this one is done with.
        (Pace::Delay(_), _) | (_, Missed::CatchUp { .. }) => false,
        (_, Missed::Merge | Missed::Skip) => true,
    };
    merges && due.came.room.is_some_and(|room| due.age(Instant::now()) >= room)
}
