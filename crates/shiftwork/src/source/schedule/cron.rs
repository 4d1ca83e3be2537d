//! Cron expressions in a time zone: which instants they name. What to do about ticks that were missed is the series'
//! affair.
//!
//! The walk through the calendar is croner's, over jiff's zones:
//!
//! 1. An expression with one value each for second, minute and hour is *fixed*. Where the clocks go forward over it, it
//!    comes due once, right after the gap; where they go back over it, it comes due once, the first time.
//! 2. Any other expression comes due whenever the local clock shows a time that it matches: not at all in a gap, and both
//!    times where the clocks go back.

use std::{cmp::Ordering, fmt, sync::Arc};

use croner::{
    CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday,
    errors::CronError,
    parser::{CronParser, Year},
};
use jiff::{SignedDuration, Timestamp, ZonedDateTime, civil::DateTime, tz::AmbiguousOffset, tz::TimeZone};

use super::error::ScheduleError;

/// A cron expression in a time zone.
#[derive(Clone)]
pub(super) struct Calendar {
    cron: Arc<Cron>,
    /// As it was written; croner's own is another way to say it.
    expression: Arc<str>,
    zone: TimeZone,
}

/// What the fields are called, in the order in which they are written, seconds included.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];

/// croner gives up at a fixed time in a gap of more than two hours, such as the day that Samoa left out in 2011; it is asked
/// again from the other side.
const MISSING_HOURS_MAX: i64 = 25;

impl Calendar {
    pub(super) fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let parse = |text: &str| CronParser::builder().year(Year::Disallowed).build().parse(text);
        let cron = parse(expression).map_err(|error| {
            let reason = reason(&error);
            ScheduleError::expression(expression, wrong_field(expression, parse), &reason)
        })?;
        let calendar = Self { cron: Arc::new(cron), expression: expression.into(), zone: TimeZone::UTC };
        // The thirtieth of February: it would wait for ever, and nobody would know.
        if calendar.search(Timestamp::UNIX_EPOCH).is_err() {
            return Err(ScheduleError::never(expression));
        }
        Ok(calendar)
    }

    pub(super) fn zone(mut self, name: &str) -> Result<Self, ScheduleError> {
        // One that is known as unknown has no local time either.
        let known = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
        self.zone = known.ok_or_else(|| ScheduleError::zone(name))?;
        Ok(self)
    }

    /// This expression in the other's zone.
    pub(super) fn in_zone_of(mut self, other: &Self) -> Self {
        self.zone = other.zone.clone();
        self
    }

    pub(super) fn expression(&self) -> &str {
        &self.expression
    }

    pub(super) fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first tick after `time`; `None` where the calendar ends.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let hours = (0..=MISSING_HOURS_MAX).map_while(|hours| time.checked_add(SignedDuration::from_hours(hours)).ok());
        hours.map(|from| self.search(from)).find_map(Result::ok).filter(|next| *next > time)
    }

    fn search(&self, time: Timestamp) -> Result<Timestamp, CronError> {
        let start = Local(time.to_zoned_datetime(self.zone.clone()));
        Ok(self.cron.find_next_occurrence(&start, false)?.0.timestamp())
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.expression(), self.zone_name())
    }
}

/// The field that is wrong by itself, and its name.
fn wrong_field(expression: &str, parse: impl Fn(&str) -> Result<Cron, CronError>) -> Option<(&'static str, &str)> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let names = FIELDS.get(FIELDS.len().checked_sub(fields.len())?..)?;
    if names.len() < 5 {
        return None;
    }
    let wrong = |index: usize| {
        let mut alone = ["*"; FIELDS.len()];
        alone[FIELDS.len() - names.len() + index] = fields[index];
        parse(&alone.join(" ")).is_err()
    };
    (0..names.len()).find(|index| wrong(*index)).map(|index| (names[index], fields[index]))
}

/// What croner says, as a fragment of a sentence.
fn reason(error: &CronError) -> String {
    match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(_) => "it has not the right number of fields".to_owned(),
        CronError::IllegalCharacters(reason) | CronError::ComponentError(reason) => {
            let reason = reason.trim_start_matches("CronPattern ").trim_end_matches('.');
            let mut letters = reason.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => {
            "it names no time".to_owned()
        }
    }
}

/// A local time, as croner wants to see it.
#[derive(Clone)]
struct Local(ZonedDateTime);

fn parts(time: DateTime) -> CivilDateTime {
    let unsigned = |part: i8| u32::from(part.unsigned_abs());
    CivilDateTime::new(
        CivilDate::from_parts_unchecked(i32::from(time.year()), unsigned(time.month()), unsigned(time.day())),
        CivilTime::from_parts_unchecked(unsigned(time.hour()), unsigned(time.minute()), unsigned(time.second())),
    )
}

fn whole(time: CivilDateTime) -> Option<DateTime> {
    let small = |part: u32| i8::try_from(part).ok();
    DateTime::new(
        i16::try_from(time.year()).ok()?,
        small(time.month())?,
        small(time.day())?,
        small(time.hour())?,
        small(time.minute())?,
        small(time.second())?,
        0,
    )
    .ok()
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        parts(self.0.datetime())
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(u32::from(self.0.weekday().to_sunday_zero_offset().unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let local = self.0.time_zone().to_ambiguous_zoned_datetime(whole(civil).ok_or(CronError::InvalidDate)?);
        let outside = |_| CronError::InvalidTime;
        Ok(match local.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(Local(local.unambiguous().map_err(outside)?)),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
            AmbiguousOffset::Fold { .. } => {
                let earlier = local.clone().earlier().map_err(outside)?;
                Resolution::Ambiguous(Local(earlier), Local(local.later().map_err(outside)?))
            }
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Local)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}
