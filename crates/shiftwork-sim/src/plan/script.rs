//! Plans written by hand, for a test.

use std::time::Duration;

use super::{Fault, FaultKind, Plan, whole_ms};
use crate::{Outcome, World, world};

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
