//! A schedule as it is written in a file.

use std::time::Duration;

use shiftwork_queue::Timestamp;

use super::{Calendar, Missed, Overlap, Pace, Plan, Schedule, TIMER, TickPolicy, series::BACKLOG_MAX};
use crate::config::{
    ConfigError,
    form::{Count, Moment, Text, Time, Words},
    section::section,
};

section! {
    /// A [`Schedule`] as it is written in a file. What is left out stays as it is. One of `every`, `delay`, `cron` and `at`
    /// makes it another schedule, with what the code says of missed ticks, overlap and jitter.
    pub struct ScheduleConfig {
        /// A tick at this rate; see [`Schedule::every`].
        pub every: Option<Duration> = Time::from_millis(1),
        /// A tick this long after the last cycle ended; see [`Schedule::with_delay`].
        pub delay: Option<Duration> = Time::from_millis(1),
        /// A tick whenever the local clock shows such a time; see [`Schedule::cron`].
        pub cron: Option<String> = Text("a cron expression, such as \"0 3 * * *\""),
        /// In which time zone the cron expression is meant.
        pub zone: Option<String> = Text("a name of the IANA time zone database, such as \"Europe/Vienna\""),
        /// One tick, at that time; see [`Schedule::once_at`].
        pub at: Option<Timestamp> = Moment,
        /// When the schedule begins, after the host runs.
        pub first_after: Option<Duration> = Time::from_millis(0),
        /// What becomes of ticks that could not be served when they were due.
        pub missed: Option<MissedWord> = Words(&MissedWord::ALL),
        /// How many ticks are caught up with at most, where `missed` is `catch_up`.
        pub catch_up_max: Option<u32> = Count::between(1, BACKLOG_MAX as u64),
        /// What becomes of a tick that comes due while a cycle is at work.
        pub overlap: Option<Overlap> = Words(&Overlap::WORDS),
        /// By how much each tick may be put off, at random.
        pub jitter: Option<Duration> = Time::from_millis(0),
    }
}

/// [`Missed`], without how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissedWord {
    /// [`Missed::Merge`].
    Merge,
    /// [`Missed::Skip`].
    Skip,
    /// [`Missed::CatchUp`].
    CatchUp,
}

impl MissedWord {
    const ALL: [(&str, MissedWord); 3] =
        [("merge", MissedWord::Merge), ("skip", MissedWord::Skip), ("catch_up", MissedWord::CatchUp)];
}

impl Overlap {
    const WORDS: [(&str, Overlap); 4] = [
        ("wait", Overlap::Wait),
        ("skip", Overlap::Skip),
        ("allow", Overlap::Allow),
        ("cancel_previous", Overlap::CancelPrevious),
    ];
}

fn wrong(key: &str, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError::new(&format!("schedule.{key}"), reason)
}

impl Schedule {
    pub(crate) fn configured(&mut self, config: &ScheduleConfig) -> Result<(), ConfigError> {
        let ScheduleConfig { every, delay, cron, zone, at, first_after, missed, catch_up_max, overlap, jitter } =
            config;
        let Plan { pace, first_after: begins, policy } = &mut self.plan;
        let paced = set_pace(pace, (*every, *delay, cron.as_deref(), *at), zone.as_deref());
        let idle = no_effect(pace, (*overlap, *missed, *catch_up_max));
        let missed = set_missed(&mut policy.missed, *missed, *catch_up_max);
        *begins = first_after.unwrap_or(*begins);
        policy.overlap = overlap.unwrap_or(policy.overlap);
        policy.jitter = jitter.unwrap_or(policy.jitter);
        ConfigError::all([paced, missed, idle])
    }

    /// What fits together only once everything is set.
    pub(super) fn checked(&self) -> Result<(), ConfigError> {
        let of = match (&self.plan.pace, self.plan.policy.overlap) {
            (Pace::Delay(_), Overlap::CancelPrevious) => "with a delay",
            (Pace::Once(_), Overlap::CancelPrevious) => "with one tick",
            (Pace::Delay(_) | Pace::Once(_), Overlap::Wait | Overlap::Skip | Overlap::Allow)
            | (Pace::Rate(_) | Pace::Cron { .. }, _) => return Ok(()),
        };
        Err(wrong(
            "overlap",
            format!(
                "it is \"cancel_previous\", but no tick of a schedule {of} comes due while a cycle is at work; accepted \
                 here is \"wait\""
            ),
        ))
    }

    pub(crate) fn as_config(&self) -> ScheduleConfig {
        let Plan { pace, first_after, policy } = &self.plan;
        let TickPolicy { missed, overlap, jitter } = *policy;
        let mut config = ScheduleConfig {
            first_after: Some(*first_after),
            overlap: Some(overlap),
            jitter: Some(jitter),
            ..ScheduleConfig::default()
        };
        match pace {
            Pace::Rate(period) => config.every = Some(*period),
            Pace::Delay(delay) => config.delay = Some(*delay),
            // Since when ticks are owed is for the program to know.
            Pace::Cron { calendar, since: _ } => {
                config.cron = Some(calendar.expression().to_owned());
                config.zone = Some(calendar.zone_name().to_owned());
            }
            Pace::Once(at) => config.at = Some(*at),
        }
        // What has no effect is not said.
        match pace {
            Pace::Rate(_) | Pace::Cron { .. } => {}
            Pace::Once(_) => config.overlap = None,
            Pace::Delay(_) => {
                config.overlap = None;
                return config;
            }
        }
        match missed {
            Missed::Merge => config.missed = Some(MissedWord::Merge),
            Missed::Skip => config.missed = Some(MissedWord::Skip),
            Missed::CatchUp { max } => {
                config.missed = Some(MissedWord::CatchUp);
                // Code may say any number; this is what is in force, and what can be read again.
                config.catch_up_max = Some(max.clamp(1, u32::try_from(BACKLOG_MAX).unwrap_or(u32::MAX)));
            }
        }
        config
    }
}

/// A word that means nothing for such a schedule.
fn no_effect(pace: &Pace, said: (Option<Overlap>, Option<MissedWord>, Option<u32>)) -> Result<(), ConfigError> {
    let of = match pace {
        Pace::Rate(_) | Pace::Cron { .. } => return Ok(()),
        Pace::Delay(_) => "with a delay",
        Pace::Once(_) => "with one tick",
    };
    let (overlap, missed, catch_up_max) = said;
    let overlap = match overlap {
        // The last one is refused wherever it was said.
        None | Some(Overlap::Wait | Overlap::CancelPrevious) => Ok(()),
        Some(Overlap::Skip | Overlap::Allow) => Err(wrong(
            "overlap",
            format!("no tick of a schedule {of} comes due while a cycle is at work; accepted here is \"wait\""),
        )),
    };
    let missed = match (pace, missed, catch_up_max) {
        (Pace::Delay(_), Some(MissedWord::Skip | MissedWord::CatchUp), _) | (Pace::Delay(_), _, Some(_)) => {
            Err(wrong("missed", format!("no tick of a schedule {of} is missed; accepted here is \"merge\"")))
        }
        _ => Ok(()),
    };
    ConfigError::all([overlap, missed])
}

type Paces<'a> = (Option<Duration>, Option<Duration>, Option<&'a str>, Option<Timestamp>);

fn set_pace(pace: &mut Pace, written: Paces<'_>, zone: Option<&str>) -> Result<(), ConfigError> {
    let mut next = match written {
        (None, None, None, None) => pace.clone(),
        (Some(period), None, None, None) => Pace::Rate(period.max(TIMER)),
        (None, Some(delay), None, None) => Pace::Delay(delay.max(TIMER)),
        (None, None, Some(expression), None) => {
            let calendar = Calendar::parse(expression).map_err(|error| wrong("cron", error))?;
            match &*pace {
                Pace::Cron { calendar: old, since } => Pace::Cron { calendar: calendar.in_zone_of(old), since: *since },
                Pace::Rate(_) | Pace::Delay(_) | Pace::Once(_) => Pace::Cron { calendar, since: None },
            }
        }
        (None, None, None, Some(at)) => Pace::Once(at),
        (every, delay, cron, at) => {
            let set = [
                ("every", every.is_some()),
                ("delay", delay.is_some()),
                ("cron", cron.is_some()),
                ("at", at.is_some()),
            ];
            let set: Vec<&str> = set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
            return Err(ConfigError::new(
                "schedule",
                format!("it has {}; accepted is one of every, delay, cron and at", set.join(" and ")),
            ));
        }
    };
    if let Some(name) = zone {
        let Pace::Cron { calendar, .. } = &mut next else {
            return Err(wrong("zone", format!("it is {name:?}, but only a cron schedule has a zone")));
        };
        *calendar = calendar.clone().zone(name).map_err(|error| wrong("zone", error))?;
    }
    *pace = next;
    Ok(())
}

fn set_missed(policy: &mut Missed, word: Option<MissedWord>, max: Option<u32>) -> Result<(), ConfigError> {
    let word = word.unwrap_or(match policy {
        Missed::Merge => MissedWord::Merge,
        Missed::Skip => MissedWord::Skip,
        Missed::CatchUp { .. } => MissedWord::CatchUp,
    });
    *policy = match (word, max, *policy) {
        (MissedWord::Merge, None, _) => Missed::Merge,
        (MissedWord::Skip, None, _) => Missed::Skip,
        (MissedWord::CatchUp, Some(max), _) | (MissedWord::CatchUp, None, Missed::CatchUp { max }) => {
            Missed::CatchUp { max }
        }
        (MissedWord::CatchUp, None, Missed::Merge | Missed::Skip) => {
            return Err(wrong("missed", "\"catch_up\" needs catch_up_max: with how many ticks at most"));
        }
        (MissedWord::Merge | MissedWord::Skip, Some(max), _) => {
            return Err(wrong("catch_up_max", format!("it is {max}, but missed is not \"catch_up\"")));
        }
    };
    Ok(())
}
