//! A process that was told to end and does not: by when it must, and with which code. A pure function of what was heard.
//!
//! It is kept apart from the host's own state machine because it must hold where that one cannot run any more: on a thread
//! that a cycle blocks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ExitStatus, Signal,
    config::{
        form::{Time, Words},
        section::section,
    },
    event::StopReason,
};

/// The shortest poll that can be said to block.
const BLOCKED_MIN: Duration = Duration::from_millis(10);

/// What a host does about cycles that block their thread, and about a process that does not end.
///
/// [`Default`] says so after 1 s, and ends a process 2 s after the budget of its stop: 27 s after a SIGTERM, and before
/// the 30 s after which Kubernetes kills. A blocked thread runs no timer and hears no signal, so this is done by a thread
/// of its own, on the machine's clock. In a world there is none.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Host, Watchdog};
///
/// // `main` uploads its metrics when the host has stopped; the orchestrator waits for a minute.
/// let watchdog = Watchdog::default().blocked_after(Duration::from_millis(200)).grace(Duration::from_secs(30));
/// let host = Host::builder().watchdog(watchdog);
/// # let _ = host;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "WatchdogConfig", into = "WatchdogConfig")]
pub struct Watchdog {
    blocked_after: Duration,
    grace: Duration,
    exits: bool,
}

section! {
    /// A [`Watchdog`] as it is written in a file. What is left out stays as it is.
    pub struct WatchdogConfig {
        /// How long one poll of a cycle may take before it is said that it blocks its thread.
        pub blocked_after: Option<Duration> = Time::from_millis(10),
        /// How long after the budget of its stop a process may still be there.
        pub grace: Option<Duration> = Time::from_millis(0),
        /// What is done about one that is there for longer.
        pub process: Option<ProcessWord> = Words(&ProcessWord::ALL),
    }
}

/// What a [`Watchdog`] does about a process that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessWord {
    /// It is ended.
    End,
    /// It is left alone; see [`Watchdog::keep_process`].
    Keep,
}

impl ProcessWord {
    const ALL: [(&str, ProcessWord); 2] = [("end", ProcessWord::End), ("keep", ProcessWord::Keep)];
}

impl WatchdogConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: Watchdog) -> Watchdog {
        let Self { blocked_after, grace, process } = *self;
        Watchdog {
            blocked_after: blocked_after.unwrap_or(base.blocked_after).max(BLOCKED_MIN),
            grace: grace.unwrap_or(base.grace),
            exits: process.map_or(base.exits, |process| process == ProcessWord::End),
        }
    }
}

impl From<WatchdogConfig> for Watchdog {
    fn from(config: WatchdogConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<Watchdog> for WatchdogConfig {
    fn from(watchdog: Watchdog) -> Self {
        let Watchdog { blocked_after, grace, exits } = watchdog;
        let process = if exits { ProcessWord::End } else { ProcessWord::Keep };
        Self { blocked_after: Some(blocked_after), grace: Some(grace), process: Some(process) }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { blocked_after: Duration::from_secs(1), grace: Duration::from_secs(2), exits: true }
    }
}

impl Watchdog {
    /// How long one poll of a cycle may take before it is said that it blocks its thread; at least 10 ms. Work that takes
    /// longer without an await point belongs on `tokio::task::spawn_blocking`.
    #[must_use]
    pub fn blocked_after(mut self, time: Duration) -> Self {
        self.blocked_after = time.max(BLOCKED_MIN);
        self
    }

    /// How long after the budget of its stop a process may still be there: to return from `main`, to drop its runtime.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Leaves the process alone: it ends when `main` returns, whenever that is. By default the process of a host that runs
    /// until a signal is ended with the host's exit code if it has not ended by itself in time, whatever its host stopped for:
    /// because a cycle blocks the only thread of its runtime, or because the runtime waits for work on `spawn_blocking` when
    /// it is dropped. A program that has more to do when its host has stopped keeps its process, or runs its host with
    /// `run_until`; one that runs another host by then is left alone. Signals do not end a process that was kept: tokio's
    /// handlers stay when a host has stopped, so such a program handles its signals itself from there
    /// ([`Signals::system`](crate::Signals::system)).
    #[must_use]
    pub fn keep_process(mut self) -> Self {
        self.exits = false;
        self
    }

    pub(crate) fn blocked_time(&self) -> Duration {
        self.blocked_after
    }

    pub(crate) fn exits(&self) -> bool {
        self.exits
    }
}

/// What was heard so far. Times are since any fixed moment.
#[derive(Debug)]
pub(crate) struct Overdue {
    grace: Duration,
    /// The budget of a stop.
    total: Duration,
    deadline: Option<Duration>,
    /// The rungs of the ladder of signals: 1 drains, 2 aborts, 3 leaves.
    rungs: u32,
    worst: ExitStatus,
    verdict: Option<ExitStatus>,
}

impl Overdue {
    pub(crate) fn new(watchdog: Watchdog, total: Duration) -> Self {
        let worst = ExitStatus::DrainTimedOut;
        Self { grace: watchdog.grace, total, deadline: None, rungs: 0, worst, verdict: None }
    }

    /// The process got a signal, whether or not its host has heard of it.
    pub(crate) fn signal(&mut self, signal: Signal, now: Duration) {
        self.rungs += if self.rungs == 0 && signal == Signal::Quit { 2 } else { 1 };
        let by = if self.rungs >= 3 { Duration::ZERO } else { self.total };
        self.must_end_by(now.saturating_add(by).saturating_add(self.grace));
    }

    /// The host has begun to stop.
    pub(crate) fn stops(&mut self, reason: StopReason, within: Duration, now: Duration) {
        match reason {
            StopReason::Unable => return,
            StopReason::Signal(_) => {}
            // The next signal aborts.
            StopReason::Completed | StopReason::Asked => self.rungs += 1,
            StopReason::StartFailure(_) => {
                self.rungs += 1;
                self.worst = ExitStatus::StartFailure;
            }
            StopReason::WorkerFault(_) => {
                self.rungs += 1;
                self.worst = ExitStatus::WorkerFault;
            }
        }
        self.must_end_by(now.saturating_add(within).saturating_add(self.grace));
    }

    /// The process runs another host: this one's time begins anew when it does not any more.
    pub(crate) fn is_put_off(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = Some(now.saturating_add(self.grace));
        }
    }

    /// The host has stopped. Its process has what is left of the time.
    pub(crate) fn stopped(&mut self, exit: ExitStatus) {
        self.verdict = Some(exit);
    }

    fn must_end_by(&mut self, time: Duration) {
        self.deadline = Some(self.deadline.map_or(time, |deadline| deadline.min(time)));
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether the host itself has come to its end.
    pub(crate) fn is_host_done(&self) -> bool {
        self.verdict.is_some()
    }

    /// The exit code of a process that must be ended now, where a worker has `faulted` and does not work again, or none.
    pub(crate) fn exit(&self, faulted: bool) -> ExitStatus {
        let forced = if self.rungs >= 2 { ExitStatus::Forced } else { ExitStatus::DrainTimedOut };
        let faulted = if faulted { ExitStatus::WorkerFault } else { forced };
        self.verdict.unwrap_or_else(|| self.worst.max(forced).max(faulted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WorkerId;

    const SECOND: Duration = Duration::from_secs(1);

    fn overdue() -> Overdue {
        Overdue::new(Watchdog::default(), 25 * SECOND)
    }

    #[test]
    fn t9_a_host_that_hears_nothing_ends_after_its_budget_and_the_grace() {
        let mut overdue = overdue();
        assert_eq!(overdue.deadline(), None);
        overdue.signal(Signal::Terminate, 100 * SECOND);
        assert_eq!(overdue.deadline(), Some(127 * SECOND));
        assert_eq!(overdue.exit(false), ExitStatus::DrainTimedOut);
        overdue.signal(Signal::Terminate, 110 * SECOND);
        assert_eq!((overdue.deadline(), overdue.exit(false)), (Some(127 * SECOND), ExitStatus::Forced));
        overdue.signal(Signal::Interrupt, 112 * SECOND);
        assert_eq!(overdue.deadline(), Some(114 * SECOND), "the third leaves");
    }

    #[test]
    fn t9_a_signal_that_is_heard_twice_is_one_rung() {
        let mut overdue = overdue();
        overdue.stops(StopReason::Signal(Signal::Terminate), 25 * SECOND, SECOND);
        overdue.signal(Signal::Terminate, SECOND);
        assert_eq!((overdue.deadline(), overdue.exit(false)), (Some(28 * SECOND), ExitStatus::DrainTimedOut));
        overdue.signal(Signal::Quit, 2 * SECOND);
        assert_eq!(overdue.exit(false), ExitStatus::Forced);
    }

    #[test]
    fn t9_a_quit_is_two_rungs_at_once() {
        let mut overdue = overdue();
        overdue.signal(Signal::Quit, SECOND);
        assert_eq!(overdue.exit(false), ExitStatus::Forced);
        overdue.signal(Signal::Quit, 2 * SECOND);
        assert_eq!(overdue.deadline(), Some(4 * SECOND));
    }

    #[test]
    fn t9_a_fault_never_exits_zero_and_a_verdict_stands() {
        let mut overdue = overdue();
        overdue.stops(StopReason::WorkerFault(WorkerId(0)), 25 * SECOND, SECOND);
        assert_eq!(overdue.exit(false), ExitStatus::WorkerFault);
        let mut overdue = self::overdue();
        overdue.signal(Signal::Terminate, SECOND);
        assert_eq!(overdue.exit(true), ExitStatus::WorkerFault, "of a worker that its host went on without");
        let mut overdue = self::overdue();
        overdue.signal(Signal::Terminate, SECOND);
        overdue.stopped(ExitStatus::Clean);
        assert_eq!((overdue.exit(false), overdue.deadline()), (ExitStatus::Clean, Some(28 * SECOND)));
    }

    #[test]
    fn t9_a_deadline_that_passed_beside_another_host_begins_anew_with_the_grace() {
        let mut overdue = overdue();
        overdue.signal(Signal::Terminate, SECOND);
        overdue.is_put_off(27 * SECOND);
        assert_eq!(overdue.deadline(), Some(28 * SECOND), "it has not passed");
        overdue.is_put_off(28 * SECOND);
        assert_eq!(overdue.deadline(), Some(30 * SECOND));
    }

    #[test]
    fn t9_a_process_ends_in_time_whatever_its_host_stopped_for() {
        for reason in [StopReason::Completed, StopReason::Asked] {
            let mut overdue = overdue();
            overdue.stops(reason, 25 * SECOND, SECOND);
            assert_eq!((overdue.deadline(), overdue.exit(false)), (Some(28 * SECOND), ExitStatus::DrainTimedOut));
            overdue.signal(Signal::Terminate, 2 * SECOND);
            assert_eq!(overdue.exit(false), ExitStatus::Forced, "the stop was the first rung");
            overdue.stopped(ExitStatus::Clean);
            assert_eq!((overdue.deadline(), overdue.exit(false)), (Some(28 * SECOND), ExitStatus::Clean));
        }
    }
}
