//! What can go wrong: the kinds of faults, by name.
//!
//! How each reads is in `plan/display.rs`; how one is written in a test, in `plan/script.rs`. What a fault does is not told
//! here but where it strikes: `world/strikes.rs` for the calls of a site, `world/drive.rs` for the process and its clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shiftwork::Signal;

use super::whole_ms;

/// What can go wrong. A fault without an end lasts until the world heals.
///
/// The real counterpart of each is told on the page of the thing that it strikes: [`crate::dependency`],
/// [`crate::queue`], [`crate::world`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// Calls to the site take longer.
    Slow {
        /// Which site.
        site: String,
        /// How much longer, in milliseconds.
        by_ms: u64,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some calls to the site fail before they have any effect.
    Error {
        /// Which site.
        site: String,
        /// How many of a hundred.
        percent: u8,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Every call to the site fails at once.
    Outage {
        /// Which site.
        site: String,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Calls to the site get no answer until the fault is over; then they fail.
    Hang {
        /// Which site.
        site: String,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some calls to the site have their effect and fail all the same.
    ReplyLost {
        /// Which site.
        site: String,
        /// How many of a hundred.
        percent: u8,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The next call to the site panics, once.
    Panic {
        /// Which site.
        site: String,
    },
    /// The node's process is killed.
    Crash {
        /// Until it is started again, in milliseconds.
        down_ms: u64,
    },
    /// The node's process is killed in the middle of the next call to the site.
    CrashInCall {
        /// Which site.
        site: String,
        /// Whether the call has had its effect by then.
        after_effect: bool,
        /// Until it is started again, in milliseconds.
        down_ms: u64,
    },
    /// The node's process gets a signal.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// The wall clock jumps, and goes on from there.
    ClockStep {
        /// How far, in milliseconds; back if less than nothing.
        by_ms: i64,
    },
}

impl FaultKind {
    /// The word for it in tables and files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Slow { .. } => "slow",
            FaultKind::Error { .. } => "error",
            FaultKind::Outage { .. } => "outage",
            FaultKind::Hang { .. } => "hang",
            FaultKind::ReplyLost { .. } => "reply_lost",
            FaultKind::Panic { .. } => "panic",
            FaultKind::Crash { .. } => "crash",
            FaultKind::CrashInCall { .. } => "crash_in_call",
            FaultKind::Signal { .. } => "signal",
            FaultKind::ClockStep { .. } => "clock_step",
        }
    }

    /// Every name, in the order of the type.
    pub const NAMES: [&'static str; 10] =
        ["slow", "error", "outage", "hang", "reply_lost", "panic", "crash", "crash_in_call", "signal", "clock_step"];

    /// The site that it strikes, if it strikes one.
    #[must_use]
    pub fn site(&self) -> Option<&str> {
        match self {
            FaultKind::Slow { site, .. }
            | FaultKind::Error { site, .. }
            | FaultKind::Outage { site, .. }
            | FaultKind::Hang { site, .. }
            | FaultKind::ReplyLost { site, .. }
            | FaultKind::Panic { site }
            | FaultKind::CrashInCall { site, .. } => Some(site),
            FaultKind::Crash { .. } | FaultKind::Signal { .. } | FaultKind::ClockStep { .. } => None,
        }
    }

    /// How long it lasts. `None`: until the world heals, or not a thing that lasts.
    #[must_use]
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            FaultKind::Slow { for_ms, .. }
            | FaultKind::Error { for_ms, .. }
            | FaultKind::Outage { for_ms, .. }
            | FaultKind::Hang { for_ms, .. }
            | FaultKind::ReplyLost { for_ms, .. } => *for_ms,
            FaultKind::Panic { .. }
            | FaultKind::Crash { .. }
            | FaultKind::CrashInCall { .. }
            | FaultKind::Signal { .. }
            | FaultKind::ClockStep { .. } => None,
        }
    }

    /// The same fault, ending after `duration`.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        match &mut self {
            FaultKind::Slow { for_ms, .. }
            | FaultKind::Error { for_ms, .. }
            | FaultKind::Outage { for_ms, .. }
            | FaultKind::Hang { for_ms, .. }
            | FaultKind::ReplyLost { for_ms, .. } => *for_ms = Some(whole_ms(duration)),
            FaultKind::Crash { down_ms } | FaultKind::CrashInCall { down_ms, .. } => *down_ms = whole_ms(duration),
            FaultKind::Panic { .. } | FaultKind::Signal { .. } | FaultKind::ClockStep { .. } => {}
        }
        self
    }
}

impl From<Signal> for FaultKind {
    fn from(signal: Signal) -> Self {
        FaultKind::Signal { signal }
    }
}

/// What the driver of a world does itself when a fault's time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// Kills the process.
    Crash { down: Duration },
    /// Sends the process a signal.
    Signal(Signal),
    /// Steps the wall clock, whether the process lives or not.
    ClockStep { by_ms: i64 },
}

impl FaultKind {
    /// What of it the driver must do; `None` for what is met by the calls of a site.
    pub(crate) fn driven(&self) -> Option<Driven> {
        match *self {
            FaultKind::Crash { down_ms } => Some(Driven::Crash { down: Duration::from_millis(down_ms) }),
            FaultKind::Signal { signal } => Some(Driven::Signal(signal)),
            FaultKind::ClockStep { by_ms } => Some(Driven::ClockStep { by_ms }),
            FaultKind::Slow { .. }
            | FaultKind::Error { .. }
            | FaultKind::Outage { .. }
            | FaultKind::Hang { .. }
            | FaultKind::ReplyLost { .. }
            | FaultKind::Panic { .. }
            | FaultKind::CrashInCall { .. } => None,
        }
    }
}
