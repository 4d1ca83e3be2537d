//! What starts cycles: the contract of a source, and what it is given.
//!
//! A worker runs `concurrency` *lanes*, each a task that asks its source for an offer, runs a cycle on it and settles it.
//! The source makes one [`Lane`] for each of them. Whether lanes are independent (continuous) or share a claimer (queue)
//! is the source's own affair.

mod continuous;
mod queue;
mod schedule;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use continuous::Continuous;
pub use queue::{QueueConfig, QueueSource, QueueSourceExt};
pub use schedule::{Missed, MissedWord, Overlap, Schedule, ScheduleConfig, ScheduleError, Tick, TickPolicy};
use shiftwork_queue::{DeliveryId, Lease, Timestamp, Undecodable, between};
use tokio::time::Instant;

use crate::{
    BoxError, Failure,
    alarm::Alarm,
    config::{ConfigError, WorkerConfig},
    context::LaneShared,
    control::{Control, Level},
    emitter::Emitter,
    event::{CycleId, Event, Settle, SourceKind, WorkerId},
    retry::later,
    tally::Tally,
};

/// What tokio's timers resolve.
pub(crate) const TIMER: Duration = Duration::from_millis(1);

/// How many times in a row a source cannot be read before its worker counts as not at work. A store that is restarted is mostly
/// back by then: a queue's fourth failure is 0.7 s after its first. A power of two, since only those are said.
pub(crate) const UNREADABLE_FROM: u32 = 4;

/// What starts cycles.
///
/// A source of one's own makes lanes that offer inputs. What a lane has offered stays with it until it is settled for good:
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use shiftwork::{
///     BoxError, Context, Failure, Host, Source,
///     event::Settle,
///     source::{Claimed, Lane, LaneContext, Offer},
/// };
/// use tokio::{
///     sync::{Mutex, mpsc},
///     time::Instant,
/// };
///
/// type Texts = Arc<Mutex<mpsc::UnboundedReceiver<String>>>;
///
/// /// A cycle for each text that comes through a channel.
/// struct Channel(Texts);
///
/// /// A delay may be as long as somebody likes, and the clock has an end.
/// const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
///
/// struct ChannelLane {
///     texts: Texts,
///     /// What is worked on, which attempt at it is next, and not before when.
///     text: Option<String>,
///     attempt: u32,
///     not_before: Option<Instant>,
/// }
///
/// impl Source for Channel {
///     type Input = String;
///     type Lane = ChannelLane;
///
///     fn lane(&self, _: &LaneContext) -> ChannelLane {
///         ChannelLane { texts: self.0.clone(), text: None, attempt: 1, not_before: None }
///     }
/// }
///
/// impl Lane for ChannelLane {
///     type Input = String;
///
///     async fn next(&mut self, cx: &LaneContext) -> Result<Option<Offer<String>>, Failure> {
///         if let Some(time) = self.not_before {
///             cx.wait_until(time).await;
///         }
///         if cx.is_closed() {
///             return Ok(None); // only a pause, perhaps: what the lane has, it keeps
///         }
///         if self.text.is_none() {
///             let mut texts = self.texts.lock().await;
///             tokio::select! {
///                 biased;
///                 () = cx.closed() => return Ok(None),
///                 text = texts.recv() => self.text = text,
///             }
///         }
///         // Without a text the channel is at its end, and so is the worker.
///         Ok(self.text.clone().map(|text| Offer::of(text, self.attempt)))
///     }
///
///     fn claimed(&self) -> Option<&Claimed> {
///         None // nobody but the lane knows of it
///     }
///
///     async fn settle(&mut self, settle: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
///         match settle {
///             Settle::Retry { delay } => {
///                 self.attempt += 1;
///                 self.not_before = Some(Instant::now() + delay.min(YEAR));
///             }
///             Settle::Snooze { delay } => self.not_before = Some(Instant::now() + delay.min(YEAR)),
///             Settle::Return => {}
///             // A store of one's own would keep a dead letter, with what the cycle failed with.
///             Settle::Ack | Settle::Discard | Settle::DeadLetter { .. } => {
///                 (self.text, self.attempt, self.not_before) = (None, 1, None);
///             }
///         }
///         Ok(())
///     }
/// }
///
/// async fn print(text: String, cx: Context) -> Result<(), Failure> {
///     println!("{text}, at attempt {}", cx.attempt());
///     Ok(())
/// }
///
/// # tokio_test::block_on(async {
/// let (sender, texts) = mpsc::unbounded_channel();
/// for text in ["one", "two", "three"] {
///     sender.send(text.to_owned())?;
/// }
/// drop(sender);
/// let channel = Channel(Arc::new(Mutex::new(texts)));
/// let host = Host::builder().worker("print", channel, print).concurrency(2);
/// let report = host.run_until(std::future::pending()).await;
/// assert!(report.is_clean());
/// assert_eq!(report.worker("print").map(|worker| worker.cycles.succeeded), Some(3));
/// # Ok::<(), mpsc::error::SendError<String>>(())
/// # }).unwrap();
/// ```
pub trait Source: Send + Sync + 'static {
    /// What a cycle gets.
    type Input: Send + 'static;

    /// One of the worker's lanes.
    type Lane: Lane<Input = Self::Input>;

    /// What can be checked of it from outside.
    fn kind(&self) -> SourceKind {
        SourceKind::Other
    }

    /// How many lanes it can serve, whatever concurrency was asked for. A schedule serves one, unless its ticks may
    /// overlap. Each input of a batch has a lane: so many batches run side by side as fit, and a host whose batches may be larger
    /// than this is not built.
    fn lanes_max(&self) -> usize {
        usize::MAX
    }

    /// Takes over what a file says of it, before the host is built. A source that has nothing to set refuses what is said.
    ///
    /// # Errors
    ///
    /// When something of it does not fit the source, with the key that does not and what is accepted. The host is then
    /// not built.
    fn configure(&mut self, config: &WorkerConfig) -> Result<(), ConfigError> {
        ConfigError::all([config.refuse_schedule(), config.refuse_queue()])
    }

    /// Whether what it is set to fits together, asked once everything is set, by the code or a file.
    ///
    /// # Errors
    ///
    /// When it does not, with the key that is wrong and what is accepted. The host is then not built.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Adds what it is set to, so that [`Host::config`](crate::Host::config) can show it.
    fn describe(&self, config: &mut WorkerConfig) {
        let _ = config;
    }

    /// A life of the worker begins: what the lanes of an earlier one shared is to be forgotten. Called before the lanes are
    /// made, and again each time the worker is restarted.
    fn begin(&self) {}

    /// Makes one lane. Called once for each, before intake opens.
    fn lane(&self, cx: &LaneContext) -> Self::Lane;

    /// Runs beside the lanes from before the first cycle until the last settlement; lease renewal lives here.
    ///
    /// Its panic is a fault of the worker, and what drains then is kept up all the same: it is called again in the same life, unless it has
    /// panicked within a millisecond.
    ///
    /// # Cancel safety
    ///
    /// Dropped when the last lane has ended.
    fn maintain(&self, cx: &SourceContext) -> impl Future<Output = ()> + Send {
        let _ = cx;
        std::future::pending()
    }
}

/// One of the parallel strands of a worker: offers, one after the other, each settled before the next. [`Source`] has an
/// example.
pub trait Lane: Send + 'static {
    /// What a cycle gets.
    type Input: Send + 'static;

    /// Waits for the next offer. `None` when there will be none: the source is at its end, or intake is closed. If that was
    /// only a pause, it is asked again when that is over, and must not have lost anything meanwhile. It must return soon
    /// after [`LaneContext::closed`] completes, and must not be in the possession of anything then.
    ///
    /// # Errors
    ///
    /// A failure is a fault of the worker. A source that can recover does so itself, and says so through
    /// [`LaneContext::source_failed`]. A panic is a fault, too: once intake is closed it is asked once more, so that it gives back what it
    /// had claimed before.
    ///
    /// # Cancel safety
    ///
    /// Not dropped while the host stops within its budgets.
    fn next(&mut self, cx: &LaneContext) -> impl Future<Output = Result<Option<Offer<Self::Input>>, Failure>> + Send;

    /// The offer that came with the settlement of the last one, if one did that can begin as it is: asked where the lane goes on
    /// ([`LaneContext::goes_on`]), and [`Lane::next`] only if there is none. It waits for nothing and decides nothing: what may not begin, or
    /// is not known to, is left for [`Lane::next`]. By default there is none.
    fn at_hand(&mut self, cx: &LaneContext) -> Option<Offer<Self::Input>> {
        let _ = cx;
        None
    }

    /// The delivery that the last offer came as, for a queue: from the offer on until the next one, also when it is settled. Where there
    /// is none, all attempts at an input are offered by the same lane, and [`crate::Retry::total_max`] counts from the first of them. A
    /// lane around another one says what that says.
    fn claimed(&self) -> Option<&Claimed>;

    /// Does what was decided about the last offer. `failure` is what its cycle failed with, if it did.
    ///
    /// # Errors
    ///
    /// When the settlement could not be stored. The lane goes on.
    ///
    /// # Cancel safety
    ///
    /// Not dropped while the host stops within its budgets. Dropped after that, it may have stored the settlement; what it has
    /// not stored lapses with its lease, and so does what it has claimed with it ([`LaneContext::goes_on`]).
    fn settle(
        &mut self,
        settle: Settle,
        failure: Option<&Failure>,
        cx: &LaneContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Does what is decided about the last offer where its cycle has succeeded. By default it is settled with [`Settle::Ack`].
    ///
    /// # Errors
    ///
    /// As [`Lane::settle`].
    ///
    /// # Cancel safety
    ///
    /// As [`Lane::settle`].
    fn acknowledge(&mut self, cx: &LaneContext) -> impl Future<Output = Result<(), BoxError>> + Send {
        self.settle(Settle::Ack, None, cx)
    }

    /// Takes back the last offer, that of an input that is nobody's delivery: the worker was paused, or its breaker opened,
    /// before a cycle could begin. It has cost no attempt, and [`Lane::next`] is to offer it again. By default it is settled
    /// with [`Settle::Return`].
    ///
    /// # Errors
    ///
    /// As [`Lane::settle`]; [`Event::SettleFailed`] says so, without a cycle and a delivery.
    ///
    /// # Cancel safety
    ///
    /// As [`Lane::settle`].
    fn take_back(&mut self, cx: &LaneContext) -> impl Future<Output = Result<(), BoxError>> + Send {
        self.settle(Settle::Return, None, cx)
    }
}

/// A lane that can take many inputs at once, for a [batch worker](crate::BatchWorker): one lane of a batch takes them, and each
/// of them is then accepted by a lane of its own, which settles it like any other.
pub trait BatchLane: Lane {
    /// What was taken and is nobody's offer yet.
    type Taken: Send;

    /// Waits for a first input, and then for no longer than `linger` for more; adds `max` at most to `taken`. It adds none
    /// where [`Lane::next`] would say `None`, and then the same holds. What it has taken when intake closes it adds all the
    /// same: the batch returns it.
    ///
    /// An input that has failed or crashed before runs alone: what is taken beside it is returned.
    ///
    /// # Errors
    ///
    /// As [`Lane::next`]. What it has added by then, before a panic as well, is accepted and given back.
    ///
    /// # Cancel safety
    ///
    /// Not dropped while the host stops within its budgets.
    fn take(
        &mut self,
        max: usize,
        linger: Duration,
        taken: &mut Vec<Self::Taken>,
        cx: &LaneContext,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes one of them this lane's offer.
    ///
    /// Its panic is a fault of the worker. What else was taken is given back, and the lane is to take back what it has of this one
    /// ([`Lane::take_back`]).
    fn accept(&mut self, taken: Self::Taken, cx: &LaneContext) -> Offer<Self::Input>;

    /// Does what was decided about the last offers of many lanes, in one go where the source can. What it leaves undecided, in
    /// [`Settling::settled`], each lane settles for itself ([`Lane::settle`]): a store that did not answer is tried again for as
    /// long as each lease lasts.
    ///
    /// # Cancel safety
    ///
    /// Not dropped while the host stops within its budgets.
    fn settle_together(settling: &mut [Settling<'_, Self>]) -> impl Future<Output = ()> + Send
    where
        Self: Sized;
}

/// One lane's part in [`BatchLane::settle_together`].
pub struct Settling<'a, L> {
    /// The lane.
    pub lane: &'a mut L,
    /// Its surroundings.
    pub cx: &'a LaneContext,
    /// What was decided about its last offer.
    pub settle: Settle,
    /// What its cycle failed with, if it did.
    pub failure: Option<&'a Failure>,
    /// What became of it: stored, or refused for good. `None`, as it begins, is neither.
    pub settled: Option<Result<(), BoxError>>,
}

/// One input for one cycle.
#[derive(Debug)]
pub struct Offer<Input> {
    /// What the cycle gets, or why it cannot be read: then no cycle runs, and the delivery is moved aside.
    pub input: Result<Input, Undecodable>,
    /// Which attempt at it this is, from 1.
    pub attempt: u32,
}

/// A delivery that a source has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// The right to process it.
    pub lease: Lease,
    /// How many of its leases have lapsed.
    pub crashes: u32,
    /// From when [`crate::Retry::total_max`] counts. Wall time.
    pub first_claimed_at: Timestamp,
}

impl<Input> Offer<Input> {
    /// An input that is nobody's delivery.
    #[must_use]
    pub fn of(input: Input, attempt: u32) -> Self {
        Self { input: Ok(input), attempt }
    }
}

/// What the whole of a source knows of its worker.
pub struct SourceContext {
    pub(crate) worker: WorkerId,
    /// The seed of the source's own draws.
    pub(crate) seed: u64,
    pub(crate) lanes: Box<[Arc<LaneShared>]>,
    pub(crate) emitter: Arc<Emitter>,
    /// How long a cycle may run, and how long without a sign of progress.
    pub(crate) cycle_timeout: Option<Duration>,
    pub(crate) progress_timeout: Option<Duration>,
}

impl SourceContext {
    pub(crate) fn emit(&self, event: &Event) {
        self.emitter.emit(Instant::now(), event);
    }

    pub(crate) fn wall_time(&self) -> Timestamp {
        self.lanes[0].environment.now()
    }

    /// What the worker's tasks may do. Each lane has it.
    pub(crate) fn control(&self) -> &Control {
        &self.lanes[0].control.worker
    }

    /// Whether no work may be taken in.
    fn is_closed(&self) -> bool {
        self.control().is_closed()
    }

    /// Waits until `time`, or until intake closes; whether it closed. Cancel safe.
    async fn wait_until(&self, time: Instant) -> bool {
        self.wait_until_or(time, || self.is_closed()).await
    }

    /// An alarm for waits that end when the worker's control changes.
    fn alarm(&self) -> Alarm {
        Alarm::of(self.control())
    }

    /// Waits until `time`, or until something that rings the worker's bell makes `is_over` true; whether that was it. Cancel
    /// safe.
    async fn wait_until_or(&self, time: Instant, is_over: impl Fn() -> bool) -> bool {
        tokio::select! {
            biased;
            () = self.control().until(is_over) => true,
            () = tokio::time::sleep_until(time) => false,
        }
    }
}

/// What one lane of a source knows of its worker.
pub struct LaneContext {
    pub(crate) source: Arc<SourceContext>,
    pub(crate) index: usize,
    /// What the lane shares with its cycles: that of `source` with its index.
    pub(crate) shared: Arc<LaneShared>,
    /// When the lane asked its source, if it has just read the clock.
    pub(crate) asked_at: Option<Instant>,
    /// Whether it asks for its next offer once the present settlement is stored.
    pub(crate) goes_on: bool,
}

impl LaneContext {
    pub(crate) fn new(source: Arc<SourceContext>, index: usize) -> Self {
        let shared = source.lanes[index].clone();
        Self { source, index, shared, asked_at: None, goes_on: false }
    }

    fn shared(&self) -> &LaneShared {
        &self.shared
    }

    /// Which of the worker's lanes this is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// At a settlement: whether the lane asks for its next offer once that is stored, whatever comes in between. A source that can have it
    /// in the same operation may get it now. If no work may be taken in by then, it is given back at [`Lane::next`] as usual.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether no work may be taken in: intake is closed, or the worker is paused. After a pause the lane is asked for its
    /// next offer again.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().control.worker.is_closed()
    }

    /// Completes when no work may be taken in, as [`LaneContext::is_closed`] says.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) {
        self.shared().control.worker.closed().await;
    }

    /// How often the worker was triggered so far: asked before a look at what there is, so that no trigger is missed that comes
    /// between the look and the wait.
    pub(crate) fn triggers(&self) -> u64 {
        self.shared().control.worker.triggers()
    }

    /// Waits until `time`, until there were more triggers than `before`, or until intake closes; whether it closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn wait_until_or_triggered(&self, time: Instant, before: u64) -> bool {
        let control = &self.shared().control.worker;
        tokio::select! {
            biased;
            () = self.closed() => true,
            () = control.triggered(before) => false,
            () = tokio::time::sleep_until(time) => false,
        }
    }

    /// Completes when there is a trigger that nobody has taken.
    pub(crate) async fn has_trigger(&self) {
        self.shared().control.worker.has_trigger().await;
    }

    /// Takes the trigger, for a source that serves each of them once.
    pub(crate) fn take_trigger(&self) -> bool {
        self.shared().control.worker.take_trigger()
    }

    /// Waits until `time`, or until intake closes; whether it closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_until(&self, time: Instant) -> bool {
        self.source.wait_until(time).await
    }

    /// Waits for `delay`, or until what is in flight is to be dropped.
    async fn wait_or_abort(&self, delay: Duration) {
        tokio::select! {
            biased;
            () = self.shared().control.worker.reached(Level::Abort) => {}
            () = tokio::time::sleep(delay) => {}
        }
    }

    /// The wall time, from the host's environment.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.source.wall_time()
    }

    /// The wall time at the call of [`Lane::next`] or [`Lane::settle`]: for who has not waited since.
    pub(crate) fn wall_time_when_asked(&self) -> Timestamp {
        match self.asked_at {
            Some(instant) => self.shared().environment.now_at(instant),
            None => self.wall_time(),
        }
    }

    /// The seed of the source's random draws, from the host's environment: one for each worker, the same in all of its
    /// lanes.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.source.seed
    }

    /// Says that the source could not be read, for the `consecutive`th time in a row, and will be tried again after
    /// `delay`. The count is the whole worker's: lanes that read by themselves share one, or metrics count wrong. Metrics count
    /// each; the first and then every power of two is said, so that an outage of hours is a few lines. From the fourth on the
    /// worker counts as not at work ([`crate::WorkerStatus::source_failing`]), until [`LaneContext::source_recovered`].
    pub fn source_failed(&self, consecutive: u32, delay: Duration, error: BoxError) {
        // What a life finds that was left behind is not about the worker any more.
        if self.shared().seat.is_left() {
            return;
        }
        let worker = self.source.worker;
        if consecutive.is_power_of_two() {
            let cause = Failure::transient(error).cause();
            self.source.emit(&Event::SourceFailed { worker, consecutive, delay, cause });
        } else {
            self.source.emitter.source_failed_unsaid(worker, consecutive);
        }
    }

    /// Says that the source can be read again.
    pub fn source_recovered(&self, failures: u32) {
        if !self.shared().seat.is_left() {
            self.source.emit(&Event::SourceRecovered { worker: self.source.worker, failures });
        }
    }

    /// Says something of this lane, and counts it.
    #[inline]
    pub(crate) fn emit_at(&self, at: Instant, event: &Event) {
        self.shared.tally.count(event);
        if self.shared.seat.is_left() {
            self.source.emitter.emit_late(event);
        }
        self.source.emitter.emit(at, event);
    }

    /// Says what every cycle that succeeds says: an event that has a count of its own, or none. Mostly nobody hears it.
    #[inline]
    pub(crate) fn emit_success(&self, at: Instant, count: impl FnOnce(&Tally), event: impl FnOnce() -> Event) {
        if self.source.emitter.hears_success(self.source.worker) {
            self.emit_at(at, &event());
        } else {
            count(&self.shared.tally);
        }
    }

    fn emit(&self, event: &Event) {
        self.emit_at(Instant::now(), event);
    }

    fn worker(&self) -> WorkerId {
        self.source.worker
    }

    /// Says what became of a delivery that got no cycle.
    pub(crate) fn settled_unrun(&self, delivery: DeliveryId, settle: Settle, stored: Result<(), Failure>) {
        let worker = self.worker();
        self.emit(&match stored {
            Ok(()) => Event::SettledUnrun { worker, delivery, settle },
            Err(failure) => {
                Event::SettleFailed { worker, cycle: None, delivery: Some(delivery), settle, cause: failure.cause() }
            }
        });
    }

    /// Tells whoever keeps metrics for how long a delivery has been due that is taken in hand.
    #[inline]
    pub(crate) fn delivery_waited(&self, due_at: Timestamp) {
        if self.source.emitter.keeps_metrics() {
            // What was known when the lane asked may be from before the wait for it.
            self.source.emitter.delivery_waited(self.worker(), between(due_at, self.wall_time()));
        }
    }

    /// What can interrupt the attempt that the lane is at, and whether that has lost its lease.
    pub(crate) fn attempt(&self) -> &crate::control::AttemptControl {
        &self.shared().control
    }

    fn is_aborting(&self) -> bool {
        self.shared().control.worker.is_at_least(Level::Abort)
    }
}

/// Cycle numbers of one life of a worker.
#[derive(Debug)]
pub(crate) struct CycleCounter {
    last: AtomicU64,
    /// Only one lane counts: a load and a store, not an atomic addition.
    alone: bool,
}

impl CycleCounter {
    /// A counter for so many lanes, of which each has a handle.
    pub(crate) fn new(lanes: usize) -> Self {
        Self { last: AtomicU64::new(0), alone: lanes == 1 }
    }

    pub(crate) fn next(&self) -> CycleId {
        self.next_of(1)
    }

    /// The first of so many in a row.
    pub(crate) fn next_of(&self, cycles: u64) -> CycleId {
        let before = if self.alone {
            let last = self.last.load(Ordering::Relaxed);
            self.last.store(last + cycles, Ordering::Relaxed);
            last
        } else {
            self.last.fetch_add(cycles, Ordering::Relaxed)
        };
        CycleId(before + 1)
    }
}
