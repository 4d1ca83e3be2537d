//! The date of a world: where the clocks of a zone change at a fault's time, it plays on the day on which they do.
//!
//! Nobody's clock steps when they change; the local time alone does, and that is the calendar's affair. So such a fault moves the world's
//! beginning, and what waits for a time of that zone meets its change. Zones are looked up where schedules look theirs up: in the
//! database of the system, or in the bundled one where the system has none.

use std::{fmt, time::Duration};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use shiftwork::queue::Timestamp;

use super::{FaultKind, Plan};
use crate::world::wall_at;

/// How many changes of a zone are looked through. One that has a rule for them has a change each way in every year.
const CHANGES_MAX: usize = 16;

/// Which way the clocks of a zone change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Forward, as in spring: local times are left out.
    Forward,
    /// Back, as in autumn: local times come twice.
    Back,
}

impl Change {
    /// Both ways.
    pub const ALL: [Change; 2] = [Change::Forward, Change::Back];

    /// The word for it in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Forward => "forward",
            Change::Back => "back",
        }
    }

    /// Those of these zones that there are.
    pub(crate) fn of_zones(zones: &[String]) -> Vec<(String, Change)> {
        let ways = |zone: &String| Change::ALL.map(|change| (zone.clone(), change));
        zones.iter().flat_map(ways).filter(|(zone, change)| change.next_in(zone).is_ok()).collect()
    }

    /// When the clocks of a zone next change this way after the time at which worlds usually begin; or why they do not.
    pub(crate) fn next_in(self, zone: &str) -> Result<Timestamp, String> {
        // One that is known as unknown has no local time either.
        let known = TimeZone::get(zone).ok().filter(|zone| !zone.is_unknown());
        let known = known.ok_or_else(|| {
            format!("no time zone is called {zone:?}; names are those of the IANA database, such as \"Europe/Vienna\"")
        })?;
        let usual = usual_beginning();
        let mut before = known.to_offset(usual);
        for change in known.following(usual).take(CHANGES_MAX) {
            let after = change.offset();
            let is_it = match self {
                Change::Forward => before < after,
                Change::Back => after < before,
            };
            if is_it {
                return Ok(change.timestamp());
            }
            before = after;
        }
        Err(format!("the clocks of {zone} never go {self} after 2026-01-01"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a world begins whose plan and scenario do not say it.
fn usual_beginning() -> Timestamp {
    wall_at(Duration::ZERO, 0)
}

/// The date of a plan's world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    /// The fault that says it.
    pub(crate) fault: usize,
    /// How far the wall clocks of the world's beginning are from the usual ones.
    pub(crate) offset_ms: i64,
}

impl Plan {
    /// The date that its first fault of the kind says; `None` if it has none, or only of zones without such a change.
    pub(crate) fn date(&self) -> Option<Date> {
        self.faults.iter().enumerate().find_map(|(fault, it)| {
            let FaultKind::DstChange { zone, change } = &it.kind else { return None };
            let from_usual = change.next_in(zone).ok()?.as_millisecond() - usual_beginning().as_millisecond();
            let at_ms = i64::try_from(it.at_ms).unwrap_or(i64::MAX);
            Some(Date { fault, offset_ms: from_usual.saturating_sub(at_ms) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, secs};

    fn next(zone: &str, change: Change) -> String {
        change.next_in(zone).map_or_else(|why| why, |at| at.to_string())
    }

    #[test]
    fn the_next_change_of_a_zone_is_found_whatever_comes_first_in_its_year() {
        let of = |zone| Change::ALL.map(|change| next(zone, change));
        assert_eq!(of("Europe/Vienna"), ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]);
        assert_eq!(of("America/New_York"), ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"]);
        // The year begins in summer.
        assert_eq!(of("Australia/Sydney"), ["2026-10-03T16:00:00Z", "2026-04-04T16:00:00Z"]);
    }

    #[test]
    fn a_zone_without_a_change_has_none() {
        assert_eq!(next("Asia/Tokyo", Change::Back), "the clocks of Asia/Tokyo never go back after 2026-01-01");
        assert_eq!(next("UTC", Change::Forward), "the clocks of UTC never go forward after 2026-01-01");
        assert!(next("Mars/Olympus", Change::Back).starts_with("no time zone is called \"Mars/Olympus\""));
    }

    #[test]
    fn the_first_change_that_there_is_says_the_date() {
        let plan = |zones: &[(u64, &str)]| Plan {
            faults: zones
                .iter()
                .map(|(at_ms, zone)| {
                    Fault::new(*at_ms, FaultKind::DstChange { zone: (*zone).to_owned(), change: Change::Forward })
                })
                .collect(),
            ..Plan::quiet("script", 0)
        };
        let begins = |plan: &Plan| plan.date().map(|date| (date.fault, wall_at(secs(0), date.offset_ms).to_string()));
        assert_eq!(begins(&plan(&[])), None);
        assert_eq!(begins(&plan(&[(5, "Asia/Tokyo")])), None);
        let several = plan(&[(5, "Asia/Tokyo"), (90_000, "Europe/Vienna"), (7, "America/New_York")]);
        assert_eq!(begins(&several), Some((1, "2026-03-29T00:58:30Z".to_owned())));
    }
}
