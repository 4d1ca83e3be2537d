//! An order as data: which polls were cut short.
//!
//! An entry names a poll by its life of a process, its task and its number among the polls of that task. So one that is left out moves the
//! later polls of the same task and, as far as tasks do not meet, of no other: what is left still means what it meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::BUDGET;

/// Some polls of one task, cut short. In files it is written `life/task@poll:units`, or `life/task@poll+more:units` for a
/// row of polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CutShort {
    /// In which life of a process, numbered from 1 in the order in which those of the world began.
    pub life: u32,
    /// Which task of that life, numbered from 1 in the order in which they were spawned.
    pub task: u32,
    /// The first poll of it, from 1.
    pub poll: u32,
    /// How many polls after that one are cut short too.
    pub more: u32,
    /// How many units are left to each: with 0 the task yields at once, with 1 at its second await, and so on.
    pub units: u8,
}

impl CutShort {
    pub(super) fn covers(&self, poll: u32) -> bool {
        self.poll <= poll && poll - self.poll <= self.more
    }
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life, task, poll, more, units } = self;
        write!(f, "{life}/{task}@{poll}")?;
        if *more > 0 {
            write!(f, "+{more}")?;
        }
        write!(f, ":{units}")
    }
}

impl From<CutShort> for String {
    fn from(entry: CutShort) -> Self {
        entry.to_string()
    }
}

impl TryFrom<String> for CutShort {
    type Error = TapeError;

    fn try_from(text: String) -> Result<Self, TapeError> {
        text.parse()
    }
}

impl FromStr for CutShort {
    type Err = TapeError;

    fn from_str(text: &str) -> Result<Self, TapeError> {
        let read = || {
            let (life, rest) = text.split_once('/')?;
            let (task, rest) = rest.split_once('@')?;
            let (polls, units) = rest.split_once(':')?;
            let (poll, more) = polls.split_once('+').unwrap_or((polls, "0"));
            let number = |text: &str| text.parse::<u32>().ok();
            Some(Self {
                life: number(life)?,
                task: number(task)?,
                poll: number(poll)?,
                more: number(more)?,
                units: units.parse().ok().filter(|units| *units < BUDGET)?,
            })
        };
        read().ok_or_else(|| TapeError(text.to_owned()))
    }
}

/// Why a text is not an entry of a tape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapeError(String);

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is not an entry of a tape: life/task@poll:units, such as \"1/4@17:0\", or \"1/4@17+3:0\" for four \
             polls in a row, with less than 128 units"
        )
    }
}

impl std::error::Error for TapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_from_its_text_as_it_was() {
        for (more, text) in [(0, "2/17@300:5"), (4, "2/17@300+4:5")] {
            let entry = CutShort { life: 2, task: 17, poll: 300, more, units: 5 };
            assert_eq!(entry.to_string(), text);
            assert_eq!(text.parse(), Ok(entry));
        }
    }

    #[test]
    fn a_bad_entry_is_refused_with_what_would_do() {
        for text in ["", "1/2@3", "1/2@x:0", "1/2@3:128", "1/2@3+:0", "-1/2@3:0"] {
            let error = text.parse::<CutShort>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("1/4@17:0"), "{error}");
        }
    }

    #[test]
    fn a_row_of_polls_has_a_first_and_a_last() {
        let row = CutShort { life: 1, task: 1, poll: 5, more: 2, units: 0 };
        let covered: Vec<u32> = (0..10).filter(|poll| row.covers(*poll)).collect();
        assert_eq!(covered, [5, 6, 7]);
    }
}
