//! The faults and signals of one world, as plain data with times.
//!
//! A plan can be scripted in a test, generated from a seed, saved to a file, replayed and shrunk. It outlives the code that
//! made it: sites are names, times are whole milliseconds since the world began, and a file of another version is refused.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use shiftwork::Signal;

use crate::{Outcome, World, world};

/// The version of the plan format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// The faults and signals of one world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format's version: [`VERSION`].
    pub version: u32,
    /// The scenario that it is for.
    pub scenario: String,
    /// The seed of everything random in the world that is not in the plan: latencies, jitter, task order.
    pub seed: u64,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in milliseconds since the world began.
    pub at_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub kind: FaultKind,
}

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

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = |f: &mut fmt::Formatter<'_>, for_ms: &Option<u64>| match for_ms {
            Some(ms) => write!(f, " for {}", Seconds(*ms)),
            None => Ok(()),
        };
        match self {
            FaultKind::Slow { site, by_ms, for_ms } => {
                write!(f, "{site} slow by {}", Seconds(*by_ms))?;
                lasting(f, for_ms)
            }
            FaultKind::Error { site, percent, for_ms } => {
                write!(f, "{site} fails {percent} % of calls")?;
                lasting(f, for_ms)
            }
            FaultKind::Outage { site, for_ms } => {
                write!(f, "{site} is out")?;
                lasting(f, for_ms)
            }
            FaultKind::Hang { site, for_ms } => {
                write!(f, "{site} hangs")?;
                lasting(f, for_ms)
            }
            FaultKind::ReplyLost { site, percent, for_ms } => {
                write!(f, "{site} loses {percent} % of replies")?;
                lasting(f, for_ms)
            }
            FaultKind::Panic { site } => write!(f, "the next call to {site} panics"),
            FaultKind::Crash { down_ms } => write!(f, "the process is killed, down for {}", Seconds(*down_ms)),
            FaultKind::CrashInCall { site, after_effect, down_ms } => {
                let when = if *after_effect { "after" } else { "before" };
                write!(
                    f,
                    "the process is killed in the next call to {site}, {when} its effect, down for {}",
                    Seconds(*down_ms)
                )
            }
            FaultKind::Signal { signal } => f.write_str(signal.as_str()),
            FaultKind::ClockStep { by_ms } => {
                let way = if *by_ms < 0 { "back" } else { "forward" };
                write!(f, "the wall clock steps {way} by {}", Seconds(by_ms.unsigned_abs()))
            }
        }
    }
}

/// Milliseconds, written as seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Plan {
    /// A plan in which nothing goes wrong.
    pub fn quiet(scenario: impl Into<String>, seed: u64) -> Self {
        Self { version: VERSION, scenario: scenario.into(), seed, faults: Vec::new() }
    }

    /// The plan as it is kept in a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// Reads a plan that [`Plan::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, which is told before anything else, or not a plan at all.
    pub fn from_json(json: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(json).map_err(PlanError::Unreadable)?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        serde_json::from_str(json).map_err(PlanError::Unreadable)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}, {} faults", self.scenario, self.seed, self.faults.len())?;
        for fault in &self.faults {
            writeln!(f, "  {:>12}  {}", Seconds(fault.at_ms).to_string(), fault.kind)?;
        }
        Ok(())
    }
}

/// Why a text is not a plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum PlanError {
    /// It is of another version of the format.
    Version(u32),
    /// It is not JSON, or not a plan.
    Unreadable(serde_json::Error),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Version(version) => {
                write!(f, "the plan has version {version}; this program reads version {VERSION}")
            }
            PlanError::Unreadable(error) => write!(f, "not a plan: {error}"),
        }
    }
}

impl std::error::Error for PlanError {}

/// Names a site in a script.
#[must_use]
pub fn site(name: &str) -> Site {
    Site(name.to_owned())
}

/// A place that faults can strike: a dependency or a queue.
#[derive(Debug, Clone)]
pub struct Site(String);

impl Site {
    /// Calls take `by` longer.
    #[must_use]
    pub fn slow(&self, by: Duration) -> FaultKind {
        FaultKind::Slow { site: self.0.clone(), by_ms: whole_ms(by), for_ms: None }
    }

    /// `percent` of the calls fail before they have any effect.
    #[must_use]
    pub fn error(&self, percent: u8) -> FaultKind {
        FaultKind::Error { site: self.0.clone(), percent, for_ms: None }
    }

    /// Every call fails at once.
    #[must_use]
    pub fn outage(&self) -> FaultKind {
        FaultKind::Outage { site: self.0.clone(), for_ms: None }
    }

    /// Calls get no answer.
    #[must_use]
    pub fn hang(&self) -> FaultKind {
        FaultKind::Hang { site: self.0.clone(), for_ms: None }
    }

    /// `percent` of the calls have their effect and fail all the same.
    #[must_use]
    pub fn reply_lost(&self, percent: u8) -> FaultKind {
        FaultKind::ReplyLost { site: self.0.clone(), percent, for_ms: None }
    }

    /// The next call panics.
    #[must_use]
    pub fn panic(&self) -> FaultKind {
        FaultKind::Panic { site: self.0.clone() }
    }

    /// The process is killed in the next call, before or after its effect, and started again after a second.
    #[must_use]
    pub fn crash(&self, after_effect: bool) -> FaultKind {
        FaultKind::CrashInCall { site: self.0.clone(), after_effect, down_ms: 1_000 }
    }
}

/// The process is killed and started again after `down`.
#[must_use]
pub fn crash(down: Duration) -> FaultKind {
    FaultKind::Crash { down_ms: whole_ms(down) }
}

/// The wall clock steps forward by `by`.
#[must_use]
pub fn clock_forward(by: Duration) -> FaultKind {
    FaultKind::ClockStep { by_ms: i64::try_from(by.as_millis()).unwrap_or(i64::MAX) }
}

/// The wall clock steps back by `by`.
#[must_use]
pub fn clock_back(by: Duration) -> FaultKind {
    FaultKind::ClockStep { by_ms: i64::try_from(by.as_millis()).map_or(i64::MIN, |ms| -ms) }
}

/// A plan written by hand, for a test.
#[derive(Debug, Clone)]
pub struct Script {
    plan: Plan,
    horizon: Option<Duration>,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// A world in which nothing goes wrong yet, with seed 0.
    #[must_use]
    pub fn new() -> Self {
        Self { plan: Plan::quiet("script", 0), horizon: None }
    }

    /// Another seed for latencies, jitter and task order.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// At `time`, this goes wrong. Times are since the world began, in whole milliseconds.
    #[must_use]
    pub fn at(mut self, time: Duration, fault: impl Into<FaultKind>) -> Self {
        self.plan.faults.push(Fault { at_ms: whole_ms(time), kind: fault.into() });
        self
    }

    /// When faults heal. By default a minute after the last line of the script.
    #[must_use]
    pub fn heal_at(mut self, time: Duration) -> Self {
        self.horizon = Some(time);
        self
    }

    /// The plan as data.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the world like a campaign does: a node that exits is started again, at the end faults heal, the world must recover,
    /// and a last SIGTERM must end it cleanly.
    pub fn run(self, build: impl FnOnce(&mut World) + Send) -> Outcome {
        self.start(build, false)
    }

    /// Runs the world until its node has exited for the first time. A crash is not an exit.
    pub fn run_once(self, build: impl FnOnce(&mut World) + Send) -> Outcome {
        self.start(build, true)
    }

    fn start(self, build: impl FnOnce(&mut World) + Send, once: bool) -> Outcome {
        let last = self.plan.faults.iter().map(|fault| fault.at_ms).max().unwrap_or(0);
        let horizon = self.horizon.unwrap_or(Duration::from_millis(last) + Duration::from_secs(60));
        world::run(&self.plan, world::Options { timeline: true, once, horizon: Some(horizon) }, build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_file_as_it_was() {
        let script = Script::new()
            .at(Duration::from_secs(1), site("smtp").hang().lasting(Duration::from_secs(5)))
            .at(Duration::from_secs(2), Signal::Terminate)
            .at(Duration::from_secs(3), crash(Duration::from_secs(1)))
            .at(Duration::from_secs(4), clock_back(Duration::from_secs(1)));
        assert_eq!(&Plan::from_json(&script.plan.to_json()).unwrap(), script.plan());
    }

    #[test]
    fn a_plan_of_another_version_is_refused_with_both_versions_named() {
        let json = Plan::quiet("email", 1).to_json().replace("\"version\": 1", "\"version\": 7");
        let error = Plan::from_json(&json).unwrap_err().to_string();
        assert_eq!(error, "the plan has version 7; this program reads version 1");
    }

    #[test]
    fn an_unknown_fault_is_refused_with_the_known_ones_named() {
        let json = Plan::quiet("email", 1).to_json().replace("[]", r#"[{"at_ms": 1, "fault": "gremlin"}]"#);
        let error = Plan::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("gremlin") && error.contains("reply_lost"), "{error}");
    }
}
