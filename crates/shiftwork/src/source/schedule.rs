//! Sources that start cycles by time: a fixed rate, a fixed delay, the calendar, or once.
//!
//! 1. Which tick is served next is a synchronous decision (`schedule/series.rs`); this file waits, asks and serves.
//! 2. Retries of a tick wait for the retry policy, not for the schedule.
//! 3. A fixed rate and a fixed delay go by tokio time, which never steps; when a tick was due by the calendar is told in
//!    wall time. Cron and one-off schedules go by the wall clock, which steps: the wait for a tick is cut into pieces
//!    of at most a minute, and what time it is is asked anew after each.
//! 4. Lanes share one clockwork. The one that finds it free waits for the next tick in it, the others wait for their turn.

mod config;
mod cron;
mod error;
mod policy;
mod series;

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

pub use config::{MissedWord, ScheduleConfig};
pub use error::ScheduleError;
pub use policy::{Missed, Overlap, TickPolicy};
use shiftwork_queue::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use self::{
    cron::Calendar,
    series::{Decision, Grid, Rate, Series, Wall},
};
use super::{Lane, LaneContext, Offer, Source, later};
use crate::{
    BoxError, Failure,
    config::{ConfigError, WorkerConfig},
    event::{Event, Settle, SourceKind},
};

/// The longest wait without a look at the wall clock: how late a tick can be after the clock stepped forward.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What tokio's timers resolve.
const TIMER: Duration = Duration::from_millis(1);

/// Starts cycles by time.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Missed, Overlap, Schedule};
///
/// # fn main() -> Result<(), shiftwork::ScheduleError> {
/// let every_minute = Schedule::every(Duration::from_secs(60)).first_after(Duration::from_secs(10));
/// let with_a_pause = Schedule::with_delay(Duration::from_secs(5));
/// let at_night = Schedule::cron("0 3 * * *")?.zone("Europe/Vienna")?.jitter(Duration::from_secs(300));
/// let each_hour = Schedule::cron("@hourly")?.missed(Missed::CatchUp { max: 24 }).overlap(Overlap::Skip);
/// # let _ = (every_minute, with_a_pause, at_night, each_hour);
/// # Ok(())
/// # }
/// ```
///
/// # Time zones and daylight saving time
///
/// A cron expression means local time in its zone; UTC by default. An expression with one value each for second, minute
/// and hour comes due once on every day that it matches. Where the clocks go forward over its time, that is right after
/// the gap: `30 2 * * *` at 03:00. Where they go back over it, it is the first time. Any other expression, such as
/// `*/15 * * * *` or `30 1,2 * * *`, comes due whenever the local clock shows a time that it matches: not at all in
/// the gap, and both times where the clocks go back. Zones are read from the system's database; there is a bundled one
/// for machines without.
///
/// # When the wall clock steps
///
/// A fixed rate and a fixed delay do not notice. For a cron schedule a step forward makes ticks come due, and what
/// becomes of them is the missed policy's affair; it is noticed within a minute. After a step back, up to three hours,
/// no tick is served a second time: the schedule waits until the clock is where it was. A longer step back is believed,
/// and the ticks of that time come due again.
pub struct Schedule {
    plan: Plan,
    /// What the lanes of this life of the worker share.
    clockwork: std::sync::Mutex<Arc<Mutex<Clockwork>>>,
}

#[derive(Debug, Clone)]
struct Plan {
    pace: Pace,
    first_after: Duration,
    policy: TickPolicy,
}

#[derive(Debug, Clone)]
enum Pace {
    Rate(Duration),
    Delay(Duration),
    Cron { calendar: Calendar, since: Option<Timestamp> },
    Once(Timestamp),
}

impl Schedule {
    fn new(pace: Pace) -> Self {
        let plan = Plan { pace, first_after: Duration::ZERO, policy: TickPolicy::default() };
        Self { plan, clockwork: std::sync::Mutex::default() }
    }

    /// A tick every `period`, aligned to the first one. The shortest period is 1 ms, which is what tokio's timers resolve;
    /// there is no longest.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self::new(Pace::Rate(period.max(TIMER)))
    }

    /// A tick `delay` after the last cycle ended; at least 1 ms.
    #[must_use]
    pub fn with_delay(delay: Duration) -> Self {
        Self::new(Pace::Delay(delay.max(TIMER)))
    }

    /// A tick whenever the local clock shows a time that `expression` matches: minute, hour, day of month, month and day
    /// of week, or six fields with seconds first. Lists, ranges, steps, names, `L`, `W`, `#` and `@daily` and its like are
    /// understood. The first tick is after the host runs, not at the instant at which it begins to.
    ///
    /// # Errors
    ///
    /// When it is not a cron expression, or no day matches it. The message says which field is wrong.
    pub fn cron(expression: &str) -> Result<Self, ScheduleError> {
        Ok(Self::new(Pace::Cron { calendar: Calendar::parse(expression)?, since: None }))
    }

    /// One tick, at `time`; then the worker has run to its end. If that time has passed when the host runs, the tick
    /// is served at once, or, with [`Missed::Skip`], not at all.
    #[must_use]
    pub fn once_at(time: Timestamp) -> Self {
        Self::new(Pace::Once(time))
    }

    /// In which time zone a cron expression is meant, by its IANA name. UTC by default.
    ///
    /// # Errors
    ///
    /// When there is no zone of that name, or the schedule is not a cron schedule.
    pub fn zone(mut self, name: &str) -> Result<Self, ScheduleError> {
        let Pace::Cron { calendar, since } = self.plan.pace else { return Err(ScheduleError::no_calendar(name)) };
        self.plan.pace = Pace::Cron { calendar: calendar.zone(name)?, since };
        Ok(self)
    }

    /// The cron ticks after `time` are owed, even those from before the host ran: what was missed while the process was
    /// down is then missed like anything else. `time` is when the last run began, from wherever that is kept. Without it,
    /// ticks from before the host runs do not exist. Other schedules have no calendar and ignore it.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        if let Pace::Cron { since, .. } = &mut self.plan.pace {
            *since = Some(time);
        }
        self
    }

    /// When the schedule begins, after the host runs: the first tick of a fixed rate or delay is due then, and no other
    /// schedule has one before. At once by default.
    #[must_use]
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.plan.first_after = delay;
        self
    }

    /// What becomes of ticks that could not be served when they were due. [`Missed::Merge`] by default.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.plan.policy.missed = missed;
        self
    }

    /// What becomes of a tick that comes due while a cycle is at work. [`Overlap::Wait`] by default. A fixed delay and a
    /// one-off have no such ticks.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.plan.policy.overlap = overlap;
        self
    }

    /// Puts off each tick by a random time below `jitter`, so that a fleet does not act in the same second. It is drawn for
    /// each tick from the environment's seed, never reaches the next tick, and moves neither the grid nor [`Tick::due`]. A
    /// tick that is late already is put off only as far as it would have been in time. None by default.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.plan.policy.jitter = jitter;
        self
    }

    /// When a cron or one-off schedule is next due after `time`; `None` if it never is, and for the others, whose ticks
    /// begin with the host.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let at_night = shiftwork::Schedule::cron("0 3 * * *")?.zone("Europe/Vienna")?;
    /// // The clocks went forward at 02:00 that night.
    /// let due = at_night.next_after("2026-03-28T12:00:00Z".parse()?);
    /// assert_eq!(due, Some("2026-03-29T01:00:00Z".parse()?));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.plan.pace {
            Pace::Rate(_) | Pace::Delay(_) => None,
            Pace::Cron { calendar, .. } => calendar.after(time),
            Pace::Once(at) => Wall::Once(*at).after(time),
        }
    }
}

impl Clone for Schedule {
    /// The same schedule for another worker: it has ticks of its own.
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone(), clockwork: std::sync::Mutex::default() }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { pace, first_after, policy } = &self.plan;
        f.debug_struct("Schedule")
            .field("pace", pace)
            .field("first_after", first_after)
            .field("policy", policy)
            .finish()
    }
}

/// One tick of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Counts the ticks that were due, missed ones included, from 1.
    pub number: u64,
    /// When it was due. Wall time.
    pub due: Timestamp,
    /// It is served because somebody asked for it ([`crate::HostHandle::trigger`]), not because it was due: `due` is when
    /// it was served, `number` that of the last tick that was due, and the ticks of the schedule come as if it had not
    /// been.
    pub triggered: bool,
    /// How many ticks before it were missed since the last one. Of a backlog of more than 10,000 cron ticks, not all are
    /// counted.
    pub missed: u64,
}

impl Source for Schedule {
    type Input = Tick;
    type Lane = ScheduleLane;

    fn kind(&self) -> SourceKind {
        let Plan { ref pace, policy, .. } = self.plan;
        match *pace {
            Pace::Rate(period) => SourceKind::FixedRate { period, policy },
            Pace::Delay(delay) => SourceKind::FixedDelay { delay, jitter: policy.jitter },
            Pace::Cron { .. } => SourceKind::Cron { policy },
            Pace::Once(at) => SourceKind::Once { at, policy },
        }
    }

    fn lanes_max(&self) -> usize {
        match (&self.plan.pace, self.plan.policy.overlap) {
            (Pace::Rate(_) | Pace::Cron { .. }, Overlap::Allow) => usize::MAX,
            (Pace::Rate(_) | Pace::Cron { .. }, Overlap::Wait | Overlap::Skip)
            | (Pace::Delay(_) | Pace::Once(_), _) => 1,
        }
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        ConfigError::all([config.refuse_queue(), self.configured(&config.schedule)])
    }

    fn describe(&self, config: &mut WorkerConfig) {
        config.schedule = self.as_config();
    }

    /// The ticks of a new life begin with it.
    fn begin(&self) {
        *self.clockwork.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn lane(&self, _: &LaneContext) -> ScheduleLane {
        let clockwork = self.clockwork.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ScheduleLane { plan: self.plan.clone(), clockwork, current: None, attempt: 1 }
    }
}

/// One lane of a [`Schedule`].
#[derive(Debug)]
pub struct ScheduleLane {
    plan: Plan,
    clockwork: Arc<Mutex<Clockwork>>,
    /// The tick that is to be tried again, and when.
    current: Option<(Tick, Instant)>,
    attempt: u32,
}

/// Where the ticks of one worker have come to.
#[derive(Debug, Default)]
struct Clockwork {
    /// `None` until the first lane asks.
    hands: Option<Hands>,
    /// How many ticks were due.
    number: u64,
    /// A tick that has come due and is put off by its jitter.
    put_off: Option<PutOff>,
}

/// A tick that waits for its jitter to pass.
#[derive(Debug)]
struct PutOff {
    served: Served,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Hands {
    drive: Drive,
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

/// A tick that has come due.
#[derive(Debug, Clone, Copy)]
struct Served {
    /// Due so long ago, on the schedule's own clock.
    late: Duration,
    /// When, if that is a wall time.
    due: Option<Timestamp>,
    missed: u64,
    /// Until the tick after it was due.
    room: Option<Duration>,
}

impl Hands {
    fn new(plan: &Plan, cx: &LaneContext) -> Self {
        let begin = later(Instant::now(), plan.first_after);
        let drive = match &plan.pace {
            Pace::Rate(period) => {
                let zero = Duration::ZERO;
                Drive::Rate(begin, Series::new(Rate(*period), plan.policy.missed, Some(zero), zero))
            }
            Pace::Delay(_) => Drive::Delay(begin),
            Pace::Cron { .. } | Pace::Once(_) => Drive::Wall(begin, None),
        };
        Self { drive, chance: fastrand::Rng::with_seed(cx.seed()) }
    }

    /// Waits for the next tick; `None` when there will be none, or intake closed.
    async fn tick(&mut self, plan: &Plan, cx: &LaneContext) -> Option<Served> {
        match &mut self.drive {
            Drive::Rate(begin, series) => {
                if cx.wait_until(*begin).await {
                    return None;
                }
                loop {
                    let now = Instant::now().saturating_duration_since(*begin);
                    match decide(series, now, cx) {
                        Decision::Serve { due, missed, next } => {
                            let room = next.map(|next| next.saturating_sub(due));
                            return Some(Served { late: now.saturating_sub(due), due: None, missed, room });
                        }
                        Decision::Wait { until } => {
                            if cx.wait_until(later(*begin, until)).await {
                                return None;
                            }
                        }
                        Decision::End => return None,
                    }
                }
            }
            Drive::Delay(due) => {
                if cx.wait_until(*due).await {
                    return None;
                }
                let late = Instant::now().saturating_duration_since(*due);
                let Pace::Delay(delay) = plan.pace else { return None };
                Some(Served { late, due: None, missed: 0, room: Some(delay) })
            }
            Drive::Wall(begin, series) => {
                if cx.wait_until(*begin).await {
                    return None;
                }
                let series = series.get_or_insert_with(|| start(plan, cx.wall_time()));
                loop {
                    let now = cx.wall_time();
                    let between = |from: Timestamp, to: Timestamp| {
                        Duration::try_from(to.duration_since(from)).unwrap_or_default()
                    };
                    match decide(series, now, cx) {
                        Decision::Serve { due, missed, next } => {
                            let room = next.map(|next| between(due, next));
                            return Some(Served { late: between(due, now), due: Some(due), missed, room });
                        }
                        Decision::Wait { until } => {
                            let pause = between(now, until).clamp(TIMER, LOOK_EVERY);
                            if cx.wait_until(later(Instant::now(), pause)).await {
                                return None;
                            }
                        }
                        Decision::End => return None,
                    }
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
fn decide<G: Grid>(series: &mut Series<G>, now: G::Time, cx: &LaneContext) -> Decision<G::Time> {
    let (decision, missed) = series.decide(now);
    say_missed(missed, cx);
    decision
}

fn say_missed(count: u64, cx: &LaneContext) {
    if count > 0 {
        cx.emit(&Event::TicksMissed { worker: cx.worker(), count });
    }
}

impl ScheduleLane {
    /// Waits for the clockwork, and in it for the next tick, or for a trigger.
    async fn tick(&self, cx: &LaneContext) -> Option<Tick> {
        let mut clockwork = self.clockwork.lock().await;
        let triggered = tokio::select! {
            biased;
            () = cx.has_trigger() => true,
            tick = self.due_tick(&mut clockwork, cx) => return tick,
        };
        if !triggered || cx.is_closed() || !cx.take_trigger() {
            return None;
        }
        let (number, due) = (clockwork.number, cx.wall_time());
        let (missed, late) = (0, Duration::ZERO);
        cx.emit(&Event::TickDue { worker: cx.worker(), number, due, missed, late, triggered });
        Some(Tick { number, due, triggered, missed })
    }

    /// Waits for the next tick that is due. Cancel safe: what has come due is not lost.
    async fn due_tick(&self, clockwork: &mut Clockwork, cx: &LaneContext) -> Option<Tick> {
        let Clockwork { hands, number, put_off } = clockwork;
        let hands = hands.get_or_insert_with(|| Hands::new(&self.plan, cx));
        if put_off.is_none() {
            let served = hands.tick(&self.plan, cx).await?;
            let jitter = self.plan.policy.jitter.min(served.room.unwrap_or(Duration::MAX));
            let by = if jitter.is_zero() {
                Duration::ZERO
            } else {
                jitter.mul_f64(hands.chance.f64()).saturating_sub(served.late)
            };
            let since = Instant::now();
            *put_off = Some(PutOff { served, since, until: later(since, by) });
        }
        let PutOff { served, since, until } = put_off.as_ref()?;
        let Served { mut late, due, missed, room: _ } = *served;
        if since != until {
            if cx.wait_until(*until).await {
                return None;
            }
            late += since.elapsed();
        }
        *put_off = None;
        *number = number.saturating_add(missed).saturating_add(1);
        let due = due.unwrap_or_else(|| {
            let wall = cx.wall_time();
            wall.checked_sub(late).unwrap_or(wall)
        });
        let triggered = false;
        cx.emit(&Event::TickDue { worker: cx.worker(), number: *number, due, missed, late, triggered });
        Some(Tick { number: *number, due, triggered, missed })
    }

    /// The tick is done with, for good.
    async fn done(&self, cx: &LaneContext) {
        let skips = self.plan.policy.overlap == Overlap::Skip;
        if !skips && !matches!(self.plan.pace, Pace::Delay(_)) {
            return;
        }
        let mut clockwork = self.clockwork.lock().await;
        let Some(hands) = &mut clockwork.hands else { return };
        let now = Instant::now();
        match (&mut hands.drive, &self.plan.pace) {
            (Drive::Delay(due), Pace::Delay(delay)) => *due = later(now, *delay),
            (Drive::Rate(begin, series), _) if skips => {
                say_missed(series.pass_over(now.saturating_duration_since(*begin)), cx);
            }
            (Drive::Wall(_, Some(series)), _) if skips => say_missed(series.pass_over(cx.wall_time()), cx),
            (Drive::Delay(_) | Drive::Rate(..) | Drive::Wall(..), _) => {}
        }
    }
}

impl Lane for ScheduleLane {
    type Input = Tick;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<Tick>>, Failure> {
        if let Some((tick, time)) = self.current {
            tokio::select! {
                biased;
                closed = cx.wait_until(time) => if closed {
                    return Ok(None);
                },
                // Whoever asks for a tick now has one at work: its next attempt.
                () = cx.has_trigger() => drop(cx.take_trigger()),
            }
            return Ok(Some(Offer::of(tick, self.attempt)));
        }
        let Some(tick) = self.tick(cx).await else { return Ok(None) };
        self.current = Some((tick, Instant::now()));
        Ok(Some(Offer::of(tick, self.attempt)))
    }

    async fn settle(&mut self, settle: Settle, _: Option<&Failure>, cx: &LaneContext) -> Result<(), BoxError> {
        if let Settle::Retry { delay } | Settle::Snooze { delay } = settle {
            self.attempt += u32::from(matches!(settle, Settle::Retry { .. }));
            if let Some((_, time)) = &mut self.current {
                *time = later(Instant::now(), delay);
            }
            return Ok(());
        }
        self.attempt = 1;
        self.current = None;
        self.done(cx).await;
        Ok(())
    }
}
