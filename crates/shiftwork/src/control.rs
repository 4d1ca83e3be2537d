//! How the host's decisions reach the tasks of a worker: one word with a level that only rises, and a bell.
//!
//! 1. A level never falls. A task that saw `Drain` never sees `Open` again.
//! 2. A pause is counted, not only noted: who asks [`Control::pauses`] before it waits can tell afterwards that there was one,
//!    even if it is over.
//! 3. Whoever waits registers with the bell before it looks, so that no change is missed.
//!
//! Level, pauses and all are one atomic load: the cycle path looks at it before each cycle.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::bell::Bell;

/// What a worker's tasks may do. The order is that of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// Not yet: the host is starting.
    Hold,
    /// Take in work.
    Open,
    /// Take in no more.
    Drain,
    /// Ask what is in flight to stop.
    Cancel,
    /// Drop what is in flight.
    Abort,
    /// Do nothing more: nobody waits for it, and another life may have begun.
    Leave,
}

/// The bits of the word that hold the level.
const LEVEL: u32 = 0x0f;

/// Set when intake was opened, whatever came after.
const OPENED: u32 = 0x10;

/// From this bit up, the word counts how often the worker was paused or resumed: it is paused while that is odd.
const TURN: u32 = 0x100;

/// The control of one life of one worker.
#[derive(Debug)]
pub(crate) struct Control {
    word: AtomicU32,
    /// How often it was asked not to wait. Wide enough never to begin anew, since they are compared.
    triggers: AtomicU64,
    /// How many of these were taken by whoever serves each of them once. It only grows.
    taken: AtomicU64,
    bell: Arc<Bell>,
}

impl Control {
    pub(crate) fn new() -> Self {
        let count = || AtomicU64::new(0);
        Self { word: AtomicU32::new(Level::Hold as u32), triggers: count(), taken: count(), bell: Arc::default() }
    }

    /// Raises the level and wakes whoever waits. Lowering it is impossible.
    pub(crate) fn raise(&self, level: Level) {
        let opened = if level == Level::Open { OPENED } else { 0 };
        self.change(|word| (word & !LEVEL) | (word & LEVEL).max(level as u32) | opened);
    }

    /// Closes intake until [`Control::resume`]. What is in flight goes on.
    pub(crate) fn pause(&self) {
        self.change(|word| if is_paused(word) { word } else { word.wrapping_add(TURN) });
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        self.change(|word| if is_paused(word) { word.wrapping_add(TURN) } else { word });
    }

    /// Ends whatever the worker's source waits for.
    pub(crate) fn trigger(&self) {
        self.triggers.fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        // It is never refused: the closure always returns a word.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(change(word)));
        self.ring();
    }

    /// Wakes whoever waits, to look again.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    fn word(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    pub(crate) fn is_at_least(&self, level: Level) -> bool {
        self.word() & LEVEL >= level as u32
    }

    /// Whether intake was ever opened in this life.
    pub(crate) fn was_opened(&self) -> bool {
        self.word() & OPENED != 0
    }

    /// Whether no cycle may begin now.
    pub(crate) fn is_closed(&self) -> bool {
        let word = self.word();
        word & LEVEL >= Level::Drain as u32 || is_paused(word)
    }

    /// How many pauses began and ended so far.
    pub(crate) fn pauses(&self) -> u32 {
        self.word() / TURN
    }

    /// How often the worker was triggered in this life.
    pub(crate) fn triggers(&self) -> u64 {
        self.triggers.load(Ordering::Acquire)
    }

    /// What rings whenever something of it has changed.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Completes when the level is at least `level`.
    pub(crate) async fn reached(&self, level: Level) {
        self.until(|| self.is_at_least(level)).await;
    }

    /// Completes when no cycle may begin.
    pub(crate) async fn closed(&self) {
        self.until(|| self.is_closed()).await;
    }

    /// Completes when the pause is over, or intake closes for good.
    pub(crate) async fn resumed(&self) {
        self.until(|| {
            let word = self.word();
            !is_paused(word) || word & LEVEL >= Level::Drain as u32
        })
        .await;
    }

    /// Takes the triggers that nobody has taken; whether there were any.
    pub(crate) fn take_trigger(&self) -> bool {
        self.take_up_to(self.triggers())
    }

    /// The same for those that have been counted. Who is late with its count takes nothing back that another one has taken.
    fn take_up_to(&self, triggers: u64) -> bool {
        self.taken.fetch_max(triggers, Ordering::AcqRel) < triggers
    }

    /// Whether there is a trigger that nobody has taken.
    pub(crate) fn is_triggered(&self) -> bool {
        self.triggers() > self.taken.load(Ordering::Acquire)
    }

    /// Completes when there is a trigger that nobody has taken.
    pub(crate) async fn has_trigger(&self) {
        self.until(|| self.is_triggered()).await;
    }

    /// Completes when the worker was triggered more often than `before`.
    pub(crate) async fn triggered(&self, before: u64) {
        self.until(|| self.triggers() != before).await;
    }

    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let bell = self.bell.listen();
            if condition() {
                return;
            }
            bell.await;
        }
    }
}

fn is_paused(word: u32) -> bool {
    word & TURN != 0
}

/// What can interrupt a cycle, and tell of its progress: one attempt's control, or those of a whole batch.
pub(crate) trait Interrupts {
    /// Whether the cycle is to be dropped where it stands.
    fn is_interrupted(&self) -> bool;

    /// What for, in a few words.
    fn why(&self) -> &'static str;

    /// A number that is another one whenever the cycle has got on.
    fn progress_count(&self) -> u64;
}

impl Interrupts for AttemptControl {
    fn is_interrupted(&self) -> bool {
        AttemptControl::is_interrupted(self)
    }

    fn why(&self) -> &'static str {
        if self.has_lost_lease() {
            "its lease is lost"
        } else if self.is_dropped() {
            "the next tick is due"
        } else {
            "the worker is stopping"
        }
    }

    fn progress_count(&self) -> u64 {
        AttemptControl::progress_count(self)
    }
}

/// What can interrupt the one attempt that a lane runs: the worker's level, the loss of its lease, or a tick that does not
/// want to wait for it.
///
/// A lane numbers its attempts, and a lease is lost by the number of its attempt, so that what is said late of one never
/// strikes the next. The lane's task alone begins attempts; whoever renews leases says which are lost, and so does a lane that claims
/// what another one still works on.
#[derive(Debug)]
pub(crate) struct AttemptControl {
    pub(crate) worker: Arc<Control>,
    /// The present attempt, from 1.
    number: AtomicU64,
    /// The last attempt whose loss of its lease somebody has begun to say.
    saying_lost: AtomicU64,
    /// The last attempt whose lease was lost.
    lost: AtomicU64,
    /// The last attempt that was asked to end by itself.
    asked: AtomicU64,
    /// The last attempt that is to be dropped, whatever its worker does.
    dropped: AtomicU64,
    /// Counts the signs of life of the lane's cycles.
    progress: AtomicU64,
}

impl AttemptControl {
    pub(crate) fn new(worker: Arc<Control>) -> Self {
        let none = || AtomicU64::new(0);
        Self {
            worker,
            number: none(),
            saying_lost: none(),
            lost: none(),
            asked: none(),
            dropped: none(),
            progress: none(),
        }
    }

    /// The next attempt: nothing that was said of another one holds for it.
    pub(crate) fn begin(&self) {
        self.number.store(self.number() + 1, Ordering::Relaxed);
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// The cycle has got on.
    pub(crate) fn progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that is another one whenever a cycle has got on.
    pub(crate) fn progress_count(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// The lease of the attempt of this number is lost. Who learns of it first says so, and the attempt is interrupted only then: on
    /// another thread it may end at once, and that is to be heard after what it ended for.
    pub(crate) fn lose_lease(&self, number: u64, say: impl FnOnce()) {
        if self.saying_lost.fetch_max(number, Ordering::AcqRel) >= number {
            return;
        }
        // On another thread the lane may have begun to settle since it was looked at: what is said then is true, but late.
        say();
        self.lost.fetch_max(number, Ordering::AcqRel);
        self.worker.ring();
    }

    pub(crate) fn has_lost_lease(&self) -> bool {
        self.is_said(&self.lost)
    }

    /// The attempt of this number is to end, though its worker goes on.
    pub(crate) fn ask_to_end(&self, number: u64) {
        self.asked.fetch_max(number, Ordering::AcqRel);
        self.worker.ring();
    }

    /// It has had its time.
    pub(crate) fn drop_attempt(&self, number: u64) {
        self.dropped.fetch_max(number, Ordering::AcqRel);
        self.worker.ring();
    }

    /// Whether the attempt is to be dropped because the next one is due.
    pub(crate) fn is_dropped(&self) -> bool {
        self.is_said(&self.dropped)
    }

    /// Whether it was said of the present attempt.
    fn is_said(&self, of: &AtomicU64) -> bool {
        let number = of.load(Ordering::Acquire);
        number != 0 && number == self.number()
    }

    /// Whether the attempt is to be dropped where it stands.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.worker.is_at_least(Level::Abort) || self.has_lost_lease() || self.is_dropped()
    }

    /// Whether the attempt is asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.worker.is_at_least(Level::Cancel) || self.has_lost_lease() || self.is_said(&self.asked)
    }

    /// Completes when the attempt of this number is asked to stop, or is over when somebody is.
    pub(crate) async fn cancelled(&self, number: u64) {
        self.worker.until(|| self.is_cancelled() || self.number() != number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_never_falls_and_leaves_the_pauses_alone() {
        let control = Control::new();
        control.pause();
        control.raise(Level::Open);
        control.raise(Level::Drain);
        control.raise(Level::Open);
        assert!(control.is_at_least(Level::Drain) && !control.is_at_least(Level::Cancel));
        assert_eq!(control.pauses(), 1);
        assert!(control.was_opened());
    }

    #[test]
    fn an_intake_that_closed_before_it_was_opened_was_never_opened() {
        let control = Control::new();
        control.raise(Level::Drain);
        assert!(!control.was_opened());
    }

    #[test]
    fn a_pause_closes_and_a_resume_opens_and_both_are_counted_once() {
        let control = Control::new();
        control.raise(Level::Open);
        assert!(!control.is_closed());
        control.pause();
        control.pause();
        assert!(control.is_closed());
        control.resume();
        control.resume();
        assert!(!control.is_closed());
        assert_eq!(control.pauses(), 2);
    }

    #[test]
    fn a_trigger_is_taken_once_and_several_at_once_are_one() {
        let control = Control::new();
        assert!(!control.take_trigger());
        control.trigger();
        control.trigger();
        assert!(control.take_trigger());
        assert!(!control.take_trigger());
    }

    #[test]
    fn p3_a_lane_that_is_late_with_its_count_brings_no_trigger_back() {
        let control = Control::new();
        control.trigger();
        let counted = control.triggers();
        control.trigger();
        assert!(control.take_trigger(), "another lane, which has heard of both");
        assert!(!control.take_up_to(counted));
        assert!(!control.is_triggered());
    }

    #[test]
    fn what_is_said_late_of_one_attempt_does_not_strike_the_next() {
        let control = AttemptControl::new(Control::new().into());
        assert!(!control.has_lost_lease(), "nothing has begun");
        control.begin();
        let first = control.number();
        control.begin();
        control.lose_lease(first, || {});
        assert!(!control.is_interrupted());
        control.lose_lease(control.number(), || {});
        assert!(control.is_interrupted());
        control.begin();
        assert!(!control.is_interrupted());
    }

    #[test]
    fn q6_the_loss_of_a_lease_is_said_once_and_before_its_attempt_is_interrupted() {
        let control = AttemptControl::new(Control::new().into());
        control.begin();
        let (number, said) = (control.number(), AtomicU32::new(0));
        let say = || {
            assert!(!control.is_interrupted());
            said.fetch_add(1, Ordering::Relaxed);
        };
        control.lose_lease(number, || {
            say();
            // Another thread learns of it at this moment.
            control.lose_lease(number, say);
        });
        assert!(control.is_interrupted());
        control.lose_lease(number, say);
        assert_eq!(said.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_attempt_that_is_asked_to_end_is_dropped_only_later() {
        let control = AttemptControl::new(Control::new().into());
        control.begin();
        control.ask_to_end(control.number());
        assert!(control.is_cancelled() && !control.is_interrupted());
        control.drop_attempt(control.number());
        assert!(control.is_interrupted() && !control.has_lost_lease());
        control.begin();
        assert!(!control.is_cancelled() && !control.is_interrupted());
    }
}
