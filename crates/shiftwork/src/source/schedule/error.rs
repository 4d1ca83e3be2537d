//! Why a text is not a schedule.

use std::{error::Error, fmt};

/// Why a schedule cannot be made. It names the expression or the zone, says where it is wrong, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError(Problem);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Expression { expression: String, field: Option<(&'static str, String)>, reason: String },
    Never { expression: String },
    Zone { name: String },
    NoCalendar { name: String },
}

impl ScheduleError {
    pub(super) fn expression(expression: &str, field: Option<(&'static str, &str)>, reason: &str) -> Self {
        let field = field.map(|(name, text)| (name, text.to_owned()));
        Self(Problem::Expression { expression: expression.to_owned(), field, reason: reason.to_owned() })
    }

    pub(super) fn never(expression: &str) -> Self {
        Self(Problem::Never { expression: expression.to_owned() })
    }

    pub(super) fn zone(name: &str) -> Self {
        Self(Problem::Zone { name: name.to_owned() })
    }

    pub(super) fn no_calendar(name: &str) -> Self {
        Self(Problem::NoCalendar { name: name.to_owned() })
    }

    /// Whether the cron expression is at fault.
    #[must_use]
    pub fn is_expression(&self) -> bool {
        matches!(self.0, Problem::Expression { .. } | Problem::Never { .. })
    }

    /// Whether the time zone is at fault.
    #[must_use]
    pub fn is_zone(&self) -> bool {
        matches!(self.0, Problem::Zone { .. } | Problem::NoCalendar { .. })
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Expression { expression, field, reason } => {
                write!(f, "cron expression {expression:?}: ")?;
                if let Some((name, text)) = field {
                    write!(f, "in the {name} {text:?}: ")?;
                }
                write!(
                    f,
                    "{reason}; accepted are five fields (minute, hour, day of month, month, day of week), or six with \
                     seconds first"
                )
            }
            Problem::Never { expression } => {
                write!(f, "cron expression {expression:?} never comes due; no year has a day that it matches")
            }
            Problem::Zone { name } => write!(
                f,
                "unknown time zone {name:?}; accepted are the names of the IANA database, such as \"Europe/Vienna\" or \
                 \"UTC\""
            ),
            Problem::NoCalendar { name } => {
                write!(f, "time zone {name:?} on a schedule without a calendar; only a cron schedule has a zone")
            }
        }
    }
}

impl Error for ScheduleError {}
