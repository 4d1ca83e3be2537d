//! Sources that start cycles by time: a fixed rate, a fixed delay, the calendar, or once.
//!
//! 1. Which tick is served next is a synchronous decision (`schedule/series.rs`); this file waits, asks and serves.
//! 2. Retries of a tick wait for the retry policy, not for the schedule.
//! 3. A fixed rate and a fixed delay go by tokio time, which never steps; when a tick was due by the calendar is told in
//!    wall time. Cron and one-off schedules go by the wall clock, which steps: the wait for a tick is cut into pieces
//!    of at most a minute, and what time it is is asked anew after each.
//! 4. Lanes share one clockwork (`schedule/clockwork.rs`). The one that finds it free waits for the next tick in it, the others
//!    wait for their turn. Where a tick that comes due ends the cycle at work, whoever sees to that waits in it meanwhile
//!    (`schedule/supersede.rs`).

mod clockwork;
mod config;
mod cron;
mod error;
mod policy;
mod series;
mod supersede;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use config::{MissedWord, ScheduleConfig};
pub use error::ScheduleError;
pub use policy::{Missed, Overlap, TickPolicy};
use shiftwork_queue::Timestamp;
use tokio::time::Instant;

use self::{
    clockwork::{EndedBy, Life, Waited},
    cron::Calendar,
    series::{Grid, Wall},
};
use super::{Claimed, Lane, LaneContext, Offer, Source, SourceContext, TIMER, later};
use crate::{
    BoxError, Failure,
    config::{ConfigError, WorkerConfig},
    event::{Settle, SourceKind},
};

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
///
/// # In a fleet
///
/// A schedule comes due in each process that runs it, and knows nothing of the others. Where work must be done once for all of them,
/// let the tick of a cron schedule push it into a queue that they share, with a
/// [`unique_key`](crate::queue::Message::unique_key) that names [`Tick::due`] and a
/// [`not_before`](crate::queue::Message::not_before) a minute after that: who comes second within the minute adds nothing. Who comes later
/// than that, because it was down, busy, or has a clock that is behind, pushes the work again. The ticks of a fixed rate are due at other
/// times in each process.
pub struct Schedule {
    plan: Plan,
    /// What the lanes of this life of the worker share.
    life: Mutex<Arc<Life>>,
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

impl Plan {
    /// Whether it matters to the ticks that follow when one was done with.
    fn minds_the_end(&self) -> bool {
        self.policy.overlap == Overlap::Skip || matches!(self.pace, Pace::Delay(_))
    }

    /// Whether a tick that comes due while a cycle is at work is to be served, and would be missed once it is late.
    fn insists(&self) -> bool {
        self.policy.overlap == Overlap::CancelPrevious && self.policy.missed == Missed::Skip
    }
}

impl Schedule {
    fn new(pace: Pace) -> Self {
        let plan = Plan { pace, first_after: Duration::ZERO, policy: TickPolicy::default() };
        Self { plan, life: Mutex::default() }
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
    /// is served at once, or, with [`Missed::Skip`], not at all. A worker that is restarted before it has ended, with its group
    /// while the tick is at work, say, begins anew and is served it again.
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
    /// one-off have no such ticks: with [`Overlap::CancelPrevious`] their host is not built, and the others make no difference.
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

    fn life(&self) -> Arc<Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        Self { plan: self.plan.clone(), life: Mutex::default() }
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
    /// been; but a fixed delay begins anew after it, and [`Overlap::Skip`] passes over what comes due while it is at work.
    pub triggered: bool,
    /// How many ticks before it were missed since the last one. Of a backlog of more than 10,000 cron ticks, not all are
    /// counted.
    pub missed: u64,
}

impl Source for Schedule {
    type Input = Tick;
    type Lane = ScheduleLane;

    fn kind(&self) -> SourceKind {
        let Plan { ref pace, first_after, policy } = self.plan;
        match *pace {
            Pace::Rate(period) => SourceKind::FixedRate { period, first_after, policy },
            Pace::Delay(delay) => SourceKind::FixedDelay { delay, first_after, jitter: policy.jitter },
            Pace::Cron { .. } => SourceKind::Cron { policy },
            Pace::Once(at) => SourceKind::Once { at, first_after, policy },
        }
    }

    fn lanes_max(&self) -> usize {
        match (&self.plan.pace, self.plan.policy.overlap) {
            (Pace::Rate(_) | Pace::Cron { .. }, Overlap::Allow) => usize::MAX,
            (Pace::Rate(_) | Pace::Cron { .. }, Overlap::Wait | Overlap::Skip | Overlap::CancelPrevious)
            | (Pace::Delay(_) | Pace::Once(_), _) => 1,
        }
    }

    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        ConfigError::all([config.refuse_what_is_of_deliveries(), self.configured(&config.schedule)])
    }

    fn describe(&self, config: &mut WorkerConfig) {
        config.schedule = self.as_config();
        config.crashes_max = None;
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.checked()
    }

    /// The ticks of a new life begin with it.
    fn begin(&self) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn lane(&self, cx: &LaneContext) -> ScheduleLane {
        let life = self.life();
        // Nobody has it yet. From here on ticks come due, whether or not the worker is paused.
        if let Ok(mut clockwork) = life.clockwork.try_lock() {
            clockwork.begin(&self.plan, &cx.source);
        }
        ScheduleLane { plan: self.plan.clone(), life, current: None, attempt: 1 }
    }

    async fn maintain(&self, cx: &SourceContext) {
        match self.plan.policy.overlap {
            Overlap::CancelPrevious => self.life().supersede_for_ever(&self.plan, cx).await,
            Overlap::Wait | Overlap::Skip | Overlap::Allow => std::future::pending().await,
        }
    }
}

/// One lane of a [`Schedule`].
#[derive(Debug)]
pub struct ScheduleLane {
    plan: Plan,
    life: Arc<Life>,
    /// The tick that was offered and is not done with, and when it is to be offered again.
    current: Option<(Tick, Instant)>,
    attempt: u32,
}

impl ScheduleLane {
    /// Waits for the clockwork, and in it for the next tick, or for a trigger.
    async fn tick(&self, cx: &LaneContext) -> Option<(Tick, Instant)> {
        // Most schedules have one lane, which finds it free.
        let (mut clockwork, mut asked_at) = match self.life.clockwork.try_lock() {
            Ok(clockwork) => (clockwork, cx.asked_at),
            Err(_) => (self.life.clockwork.lock().await, None),
        };
        loop {
            // It is not served while somebody asks for one, who goes first.
            match clockwork.next(&self.plan, &cx.source, EndedBy::IntakeOrTrigger, asked_at.take()).await {
                Ok(tick) => return Some(tick),
                Err(Waited::Ended) if !cx.is_closed() => {}
                Err(_) => return None,
            }
            if cx.take_trigger() {
                return Some(clockwork.serve_triggered(&cx.source));
            }
            // Another lane has taken it, for its retry.
        }
    }

    /// Waits for the next tick, where one that comes due ends the wait for a retry.
    async fn next_instead_of_retry(&self, cx: &LaneContext) -> Option<(Tick, Instant)> {
        if self.plan.policy.overlap != Overlap::CancelPrevious {
            return std::future::pending().await;
        }
        let mut clockwork = self.life.clockwork.lock().await;
        let ended_by = EndedBy::Intake;
        if clockwork.is_behind() || clockwork.come_due(&self.plan, &cx.source, ended_by).await == Waited::End {
            drop(clockwork);
            return std::future::pending().await;
        }
        clockwork.next(&self.plan, &cx.source, ended_by, None).await.ok()
    }

    /// The first attempt at a tick; `None` when there is none, for now or for good.
    fn begin(&mut self, tick: Option<(Tick, Instant)>, cx: &LaneContext) -> Option<Offer<Tick>> {
        let (tick, now) = tick?;
        self.attempt = 1;
        self.current = Some((tick, now));
        Some(self.offer(tick, cx))
    }

    fn offer(&self, tick: Tick, cx: &LaneContext) -> Offer<Tick> {
        self.at_work(cx.attempt().number());
        Offer::of(tick, self.attempt)
    }

    /// Tells who may have to end it which attempt is at work, where somebody may.
    fn at_work(&self, attempt: u64) {
        if self.plan.policy.overlap == Overlap::CancelPrevious {
            self.life.at_work(attempt);
        }
    }
}

impl Lane for ScheduleLane {
    type Input = Tick;

    async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<Tick>>, Failure> {
        if let Some((tick, time)) = self.current {
            tokio::select! {
                biased;
                next = self.next_instead_of_retry(cx) => return Ok(self.begin(next, cx)),
                closed = cx.wait_until(time) => if closed {
                    return Ok(None);
                },
                // Whoever asks for a tick now has one at work: its next attempt.
                () = cx.has_trigger() => drop(cx.take_trigger()),
            }
            return Ok(Some(self.offer(tick, cx)));
        }
        let tick = self.tick(cx).await;
        Ok(self.begin(tick, cx))
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, settle: Settle, _: Option<&Failure>, cx: &LaneContext) -> Result<(), BoxError> {
        self.at_work(0);
        // Nothing is to be ended while intake is closed.
        if self.plan.insists() && !cx.is_closed() {
            self.life.clockwork.lock().await.insist(&cx.source);
        }
        if let Settle::Retry { delay } | Settle::Snooze { delay } = settle {
            self.attempt += u32::from(matches!(settle, Settle::Retry { .. }));
            if let Some((_, time)) = &mut self.current {
                *time = later(Instant::now(), delay);
            }
            return Ok(());
        }
        self.attempt = 1;
        self.current = None;
        if self.plan.minds_the_end() {
            self.life.clockwork.lock().await.settled(&self.plan, &cx.source);
        }
        Ok(())
    }

    /// It is due at once, unless a tick after it is served instead.
    async fn take_back(&mut self, _: &LaneContext) -> Result<(), BoxError> {
        self.at_work(0);
        Ok(())
    }
}
