//! The verdict of a campaign, and its exit code.
//!
//! | code | what it means |
//! | --- | --- |
//! | 0 | all rules were kept |
//! | 1 | a rule broke |
//! | 2 | the command line, or a file that it names, cannot be used |
//! | 3 | work did not go on: every rule that broke is one of liveness (L1, L2) |
//! | 4 | the same world ran twice and differed |
//! | 5 | a world did not go on: a poll of one of its tasks lasted a minute of real time |
//! | 6 | all rules were kept, and a poll took longer in real time than `--poll-max-real` lets it |
//! | 70 | the tool itself crashed: a scenario's `build`, the simulator, or a file that could not be written |
//! | 130 | interrupted, and nothing was found until then |
//!
//! The worst wins: 70 over 4 over 1 over 3 over 6.

use std::process::ExitCode;

/// What `--help` says about exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0    all rules were kept
  1    a rule broke
  2    the command line, or a file that it names, cannot be used
  3    work did not go on: every rule that broke is one of liveness (L1, L2)
  4    determinism lost: the same world ran twice and differed
  5    a world did not go on: a poll of one of its tasks lasted a minute of real time
  6    all rules were kept, and a poll took longer in real time than --poll-max-real lets it
  70   the tool itself crashed
  130  interrupted, and nothing was found until then
The worst wins: 70 over 4 over 1 over 3 over 6.

Reports of shards (--shard, --json) become one by: merge A.json B.json…";

/// The exit code for a command line that cannot be used. It is clap's own.
pub(crate) const USAGE: u8 = 2;

/// The exit code when a world does not go on. It ends the process at once, since nothing can end the poll.
pub(crate) const STUCK: u8 = 5;

/// What a campaign came to, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All rules were kept.
    Kept,
    /// It was interrupted, and nothing was found until then.
    Interrupted,
    /// A poll took too long in real time; no rule broke.
    PollTooSlow,
    /// Work did not go on; nothing else broke.
    LivenessLost,
    /// A rule broke.
    RuleBroken,
    /// The same world ran twice and differed.
    DeterminismLost,
    /// The tool itself crashed.
    ToolCrashed,
}

impl Verdict {
    /// Every verdict, from best to worst.
    pub const ALL: [Verdict; 7] = [
        Verdict::Kept,
        Verdict::Interrupted,
        Verdict::PollTooSlow,
        Verdict::LivenessLost,
        Verdict::RuleBroken,
        Verdict::DeterminismLost,
        Verdict::ToolCrashed,
    ];

    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Verdict::Kept => 0,
            Verdict::RuleBroken => 1,
            Verdict::LivenessLost => 3,
            Verdict::DeterminismLost => 4,
            Verdict::PollTooSlow => 6,
            Verdict::ToolCrashed => 70,
            Verdict::Interrupted => 130,
        }
    }

    /// The word for it in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Interrupted => "interrupted",
            Verdict::PollTooSlow => "poll_too_slow",
            Verdict::LivenessLost => "liveness_lost",
            Verdict::RuleBroken => "rule_broken",
            Verdict::DeterminismLost => "determinism_lost",
            Verdict::ToolCrashed => "tool_crashed",
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        ExitCode::from(verdict.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        for verdict in Verdict::ALL {
            assert!(HELP.contains(&format!("\n  {:<3}", verdict.code())), "{verdict:?}");
        }
        assert!(HELP.contains(&format!("\n  {USAGE} ")));
        assert!(HELP.contains(&format!("\n  {STUCK} ")));
    }

    #[test]
    fn the_worst_wins() {
        let order = [
            Verdict::PollTooSlow,
            Verdict::LivenessLost,
            Verdict::RuleBroken,
            Verdict::DeterminismLost,
            Verdict::ToolCrashed,
        ];
        assert!(order.is_sorted());
        assert_eq!(order.map(Verdict::code), [6, 3, 1, 4, 70]);
    }
}
