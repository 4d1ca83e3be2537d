//! Who carries a fault out: the calls of a site that meet it, the cycles of a worker, or the driver of the world.
//!
//! What it does to them is told where it strikes: `world/strikes.rs` for calls and cycles, `world/drive.rs` for the process and its
//! clock.

use std::time::Duration;

use shiftwork::Signal;

use super::FaultKind;

/// A step of a call, at which faults strike it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It sets out.
    Begins,
    /// It gets there, and has no effect yet.
    Arrives,
    /// It has had its effect.
    Returns,
    /// It is a claim, and looks into its store.
    Claims,
}

/// What the driver of a world does itself when a fault's time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// Kills the process.
    Crash { down: Duration },
    /// Does this to the process after so many polls of its tasks.
    AtPoll { polls: u64, deed: Deed },
    /// Lets the process stand still.
    Pause { lasts: Duration },
    /// Sends the process a signal.
    Signal(Signal),
    /// Steps the wall clock, whether the process lives or not.
    ClockStep { by_ms: i64 },
    /// Sees that the clocks of a zone change, as the world's date has it.
    DstChange,
    /// Kills every process, and has so much more time pass by the wall clocks.
    Downtime { wall_ms: u64 },
}

/// What is done to a process at an await point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is killed.
    Crash { down: Duration },
    /// It gets SIGTERM, twice if `again`.
    Stop { again: bool },
}

impl FaultKind {
    /// At which step of a call it strikes, if it is one that strikes calls.
    pub(crate) fn strikes_at(&self) -> Option<Step> {
        match self {
            FaultKind::Slow { .. } | FaultKind::Brownout { .. } => Some(Step::Begins),
            FaultKind::Error { .. }
            | FaultKind::Outage { .. }
            | FaultKind::Hang { .. }
            | FaultKind::Flap { .. }
            | FaultKind::PermanentError { .. }
            | FaultKind::RateLimit { .. }
            | FaultKind::Panic { .. }
            | FaultKind::CrashInCall { after_effect: false, .. }
            | FaultKind::Spin { .. }
            | FaultKind::Block { .. }
            | FaultKind::LeaseTaken { .. } => Some(Step::Arrives),
            FaultKind::ReplyLost { .. } | FaultKind::CrashInCall { after_effect: true, .. } => Some(Step::Returns),
            FaultKind::Reorder { .. }
            | FaultKind::Late { .. }
            | FaultKind::Duplicate { .. }
            | FaultKind::Malformed { .. } => Some(Step::Claims),
            FaultKind::EffectAfterDrop { .. }
            | FaultKind::PanicAtPoll { .. }
            | FaultKind::DropAtPoll { .. }
            | FaultKind::IgnoreCancel { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Signal { .. }
            | FaultKind::ClockStep { .. }
            | FaultKind::CrashAtPoll { .. }
            | FaultKind::StopAtPoll { .. }
            | FaultKind::Pause { .. }
            | FaultKind::SlowStart { .. }
            | FaultKind::PanicInCycle { .. }
            | FaultKind::CancelInCycle { .. }
            | FaultKind::DstChange { .. }
            | FaultKind::Downtime { .. } => None,
        }
    }

    /// Whether it may let some pass of what it strikes: calls, or cycles.
    pub(crate) fn may_let_pass(&self) -> bool {
        self.strikes_at().is_some() || self.strikes_cycles()
    }

    /// Whether it strikes cycles at their await points.
    pub(crate) fn strikes_cycles(&self) -> bool {
        self.worker().is_some()
    }

    /// What of it the driver must do; `None` for what is met by the calls of a site, or by cycles.
    pub(crate) fn driven(&self) -> Option<Driven> {
        match *self {
            FaultKind::Crash { down_ms, .. } => Some(Driven::Crash { down: Duration::from_millis(down_ms) }),
            FaultKind::CrashAtPoll { polls, down_ms, .. } => {
                let deed = Deed::Crash { down: Duration::from_millis(down_ms) };
                Some(Driven::AtPoll { polls, deed })
            }
            FaultKind::StopAtPoll { polls, again, .. } => Some(Driven::AtPoll { polls, deed: Deed::Stop { again } }),
            FaultKind::Pause { for_ms, .. } => Some(Driven::Pause { lasts: Duration::from_millis(for_ms) }),
            FaultKind::Signal { signal, .. } => Some(Driven::Signal(signal)),
            FaultKind::ClockStep { by_ms, .. } => Some(Driven::ClockStep { by_ms }),
            FaultKind::DstChange { .. } => Some(Driven::DstChange),
            FaultKind::Downtime { wall_ms } => Some(Driven::Downtime { wall_ms }),
            FaultKind::Slow { .. }
            | FaultKind::Error { .. }
            | FaultKind::Outage { .. }
            | FaultKind::Hang { .. }
            | FaultKind::ReplyLost { .. }
            | FaultKind::Brownout { .. }
            | FaultKind::Flap { .. }
            | FaultKind::PermanentError { .. }
            | FaultKind::RateLimit { .. }
            | FaultKind::EffectAfterDrop { .. }
            | FaultKind::Reorder { .. }
            | FaultKind::Late { .. }
            | FaultKind::Panic { .. }
            | FaultKind::PanicAtPoll { .. }
            | FaultKind::DropAtPoll { .. }
            | FaultKind::IgnoreCancel { .. }
            | FaultKind::CrashInCall { .. }
            | FaultKind::Spin { .. }
            | FaultKind::Block { .. }
            | FaultKind::Duplicate { .. }
            | FaultKind::Malformed { .. }
            | FaultKind::LeaseTaken { .. }
            | FaultKind::PanicInCycle { .. }
            | FaultKind::CancelInCycle { .. }
            | FaultKind::SlowStart { .. } => None,
        }
    }
}
