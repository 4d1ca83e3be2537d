//! The names of the kinds of faults, for what is counted and weighed by kind.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($($name:ident = $word:literal,)*) => {
        /// The name of a kind of fault, without its particulars. What each is, [`FaultKind`](super::FaultKind) says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultName {
            $(#[doc = concat!("`", $word, "`")] $name,)*
        }

        impl FaultName {
            /// Every name, in the order of the type.
            pub const ALL: [FaultName; [$($word),*].len()] = [$(FaultName::$name,)*];

            /// Every name as a word, in the same order.
            pub const WORDS: [&'static str; Self::ALL.len()] = [$($word,)*];

            /// The word for it in tables and files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(FaultName::$name => $word,)*
                }
            }
        }
    };
}

names! {
    Slow = "slow",
    Error = "error",
    Outage = "outage",
    Hang = "hang",
    ReplyLost = "reply_lost",
    Panic = "panic",
    Crash = "crash",
    CrashInCall = "crash_in_call",
    Signal = "signal",
    ClockStep = "clock_step",
    Brownout = "brownout",
    Flap = "flap",
    PermanentError = "permanent_error",
    RateLimit = "rate_limit",
    EffectAfterDrop = "effect_after_drop",
    Spin = "spin",
    Duplicate = "duplicate",
    Malformed = "malformed",
    Reorder = "reorder",
    Late = "late",
    LeaseTaken = "lease_taken",
    CrashAtPoll = "crash_at_poll",
    Pause = "pause",
    SlowStart = "slow_start",
    StopAtPoll = "stop_at_poll",
    PanicAtPoll = "panic_at_poll",
    DropAtPoll = "drop_at_poll",
    IgnoreCancel = "ignore_cancel",
    Block = "block",
    PanicInCycle = "panic_in_cycle",
    CancelInCycle = "cancel_in_cycle",
    DstChange = "dst_change",
    Downtime = "downtime",
}

impl FaultName {
    /// Its place in [`FaultName::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it ends or halts the process or moves its clock or its date, rather than getting in the way of what it does.
    #[must_use]
    pub const fn is_drastic(self) -> bool {
        matches!(
            self,
            FaultName::Crash
                | FaultName::CrashInCall
                | FaultName::CrashAtPoll
                | FaultName::Pause
                | FaultName::SlowStart
                | FaultName::ClockStep
                | FaultName::DstChange
                | FaultName::Downtime
        )
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_at_its_index_and_written_as_its_word() {
        for (index, name) in FaultName::ALL.into_iter().enumerate() {
            assert_eq!((name.index(), FaultName::WORDS[index]), (index, name.as_str()));
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
    }
}
