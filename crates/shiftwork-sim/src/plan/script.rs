//! Plans written by hand, for a test.

use std::time::Duration;

use shiftwork::Signal;

use super::{Change, Fault, FaultKind, Plan, Spread, Timing, whole_ms};
use crate::{Order, Outcome, World, world};

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
        self.slow_as(by, Spread::Constant)
    }

    /// Calls take up to `by` longer, any time as likely.
    #[must_use]
    pub fn slow_up_to(&self, by: Duration) -> FaultKind {
        self.slow_as(by, Spread::Uniform)
    }

    /// Most calls take a little longer, few of them up to `by`.
    #[must_use]
    pub fn slow_tail(&self, by: Duration) -> FaultKind {
        self.slow_as(by, Spread::LongTail)
    }

    fn slow_as(&self, by: Duration, spread: Spread) -> FaultKind {
        FaultKind::Slow { site: self.0.clone(), by_ms: whole_ms(by), spread, for_ms: None }
    }

    /// `percent` of the calls take `by` longer.
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn brownout(&self, percent: u8, by: Duration) -> FaultKind {
        FaultKind::Brownout { site: self.0.clone(), percent: of_a_hundred(percent), by_ms: whole_ms(by), for_ms: None }
    }

    /// Calls fail at once for `down`, are well for `up`, and so on.
    #[must_use]
    pub fn flap(&self, down: Duration, up: Duration) -> FaultKind {
        FaultKind::Flap { site: self.0.clone(), down_ms: whole_ms(down), up_ms: whole_ms(up), for_ms: None }
    }

    /// `percent` of the calls are refused, and told that trying again is no use.
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn permanent_error(&self, percent: u8) -> FaultKind {
        FaultKind::PermanentError { site: self.0.clone(), percent: of_a_hundred(percent), for_ms: None }
    }

    /// `percent` of the calls are refused, and told to come back after `retry_after`.
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn rate_limit(&self, percent: u8, retry_after: Duration) -> FaultKind {
        let (percent, retry_after_ms) = (of_a_hundred(percent), whole_ms(retry_after));
        FaultKind::RateLimit { site: self.0.clone(), percent, retry_after_ms, for_ms: None }
    }

    /// Calls that are dropped have their effect all the same.
    #[must_use]
    pub fn effect_after_drop(&self) -> FaultKind {
        FaultKind::EffectAfterDrop { site: self.0.clone(), for_ms: None }
    }

    /// The next call wakes itself `polls` times before it goes on.
    #[must_use]
    pub fn spin(&self, polls: u32) -> FaultKind {
        FaultKind::Spin { site: self.0.clone(), polls }
    }

    /// The next call holds its thread for `by` in its poll; from 10 ms on rule L3 is broken.
    #[must_use]
    pub fn block(&self, by: Duration) -> FaultKind {
        FaultKind::Block { site: self.0.clone(), by_ms: whole_ms(by) }
    }

    /// The next delivery that the queue hands out comes twice.
    #[must_use]
    pub fn duplicate(&self) -> FaultKind {
        FaultKind::Duplicate { site: self.0.clone() }
    }

    /// A delivery that cannot be decoded is in the queue by the next claim.
    #[must_use]
    pub fn malformed(&self) -> FaultKind {
        FaultKind::Malformed { site: self.0.clone() }
    }

    /// Each claim passes over up to `by` deliveries that are due.
    #[must_use]
    pub fn reorder(&self, by: u8) -> FaultKind {
        FaultKind::Reorder { site: self.0.clone(), by, for_ms: None }
    }

    /// `percent` of the claims find nothing, and are told to come back after `by`.
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn late(&self, percent: u8, by: Duration) -> FaultKind {
        FaultKind::Late { site: self.0.clone(), percent: of_a_hundred(percent), by_ms: whole_ms(by), for_ms: None }
    }

    /// The queue forgets one lease.
    #[must_use]
    pub fn lease_taken(&self) -> FaultKind {
        FaultKind::LeaseTaken { site: self.0.clone() }
    }

    /// `percent` of the calls fail before they have any effect.
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn error(&self, percent: u8) -> FaultKind {
        FaultKind::Error { site: self.0.clone(), percent: of_a_hundred(percent), for_ms: None }
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
    ///
    /// # Panics
    ///
    /// When `percent` is more than 100.
    #[must_use]
    #[track_caller]
    pub fn reply_lost(&self, percent: u8) -> FaultKind {
        FaultKind::ReplyLost { site: self.0.clone(), percent: of_a_hundred(percent), for_ms: None }
    }

    /// The next call panics.
    #[must_use]
    pub fn panic(&self) -> FaultKind {
        FaultKind::Panic { site: self.0.clone() }
    }

    /// A call panics when calls have been polled `polls` times from then on.
    #[must_use]
    pub fn panic_at_poll(&self, polls: u32) -> FaultKind {
        FaultKind::PanicAtPoll { site: self.0.clone(), polls }
    }

    /// A call is dropped, and its caller goes on, when calls have been polled `polls` times from then on.
    #[must_use]
    pub fn drop_at_poll(&self, polls: u32) -> FaultKind {
        FaultKind::DropAtPoll { site: self.0.clone(), polls }
    }

    /// Cycles of workers that are [`stubborn`](crate::Dependency::stubborn) by this site do not end when they are asked to.
    #[must_use]
    pub fn ignore_cancel(&self) -> FaultKind {
        FaultKind::IgnoreCancel { site: self.0.clone(), for_ms: None }
    }

    /// The process is killed in the next call, before or after its effect, and started again after a second.
    #[must_use]
    pub fn crash(&self, after_effect: bool) -> FaultKind {
        FaultKind::CrashInCall { site: self.0.clone(), after_effect, down_ms: 1_000 }
    }
}

/// A share, as the file of a plan may have it.
#[track_caller]
fn of_a_hundred(percent: u8) -> u8 {
    assert!(percent <= 100, "a share is from 0 to 100 of a hundred, and not {percent}");
    percent
}

/// Names a worker in a script: that of the first node ([`NodeTarget::worker`] says which).
///
/// ```
/// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
/// use shiftwork_sim::{Script, plan, secs};
///
/// // The third cycle, that of 20 s, panics as it goes on from its sleep, and is tried again.
/// let script = Script::new().at(secs(15), plan::worker("report").panic_in_cycle(1)).at(secs(29), Signal::Terminate);
/// let outcome = script.run_once(|world| {
///     world.node("node", |node| {
///         let write = |_: Tick, _: Context| async { Ok::<(), Failure>(tokio::time::sleep(secs(2)).await) };
///         node.host().worker("report", Schedule::every(secs(10)), write).run_until_signal()
///     });
/// });
/// outcome.assert_rules_kept();
/// let cycles = outcome.report().expect("it ended").worker("report").expect("it was added").cycles;
/// assert_eq!((cycles.succeeded, cycles.failed), (3, 1));
/// ```
#[must_use]
pub fn worker(name: &str) -> WorkerTarget {
    WorkerTarget { node: None, name: name.to_owned() }
}

/// A worker, as what faults strike at the await points of its cycles.
#[derive(Debug, Clone)]
pub struct WorkerTarget {
    node: Option<String>,
    name: String,
}

impl WorkerTarget {
    /// A cycle that begins from then on panics when it goes on for the `polls`th time, whatever it has waited for: the first that gets so
    /// far.
    #[must_use]
    pub fn panic_in_cycle(&self, polls: u32) -> FaultKind {
        FaultKind::PanicInCycle { node: self.node.clone(), worker: self.name.clone(), polls }
    }

    /// A cycle that begins from then on is cancelled when it would go on for the `polls`th time, as by its timeout: the first that gets so
    /// far.
    #[must_use]
    pub fn cancel_in_cycle(&self, polls: u32) -> FaultKind {
        FaultKind::CancelInCycle { node: self.node.clone(), worker: self.name.clone(), polls }
    }
}

/// Names a node in a script.
#[must_use]
pub fn node(name: &str) -> NodeTarget {
    NodeTarget(name.to_owned())
}

/// A node, as what faults strike.
#[derive(Debug, Clone)]
pub struct NodeTarget(String);

impl NodeTarget {
    /// Its process is killed and started again after `down`.
    #[must_use]
    pub fn crash(&self, down: Duration) -> FaultKind {
        FaultKind::Crash { node: self.name(), down_ms: whole_ms(down) }
    }

    /// Its process is killed after `polls` more polls of its tasks, and started again after a second.
    #[must_use]
    pub fn crash_at_poll(&self, polls: u64) -> FaultKind {
        FaultKind::CrashAtPoll { node: self.name(), polls, down_ms: 1_000 }
    }

    /// Its process gets SIGTERM after `polls` more polls of its tasks.
    #[must_use]
    pub fn stop_at_poll(&self, polls: u64) -> FaultKind {
        FaultKind::StopAtPoll { node: self.name(), polls, again: false }
    }

    /// The same, with a second SIGTERM right behind it.
    #[must_use]
    pub fn abort_at_poll(&self, polls: u64) -> FaultKind {
        FaultKind::StopAtPoll { node: self.name(), polls, again: true }
    }

    /// Its process stands still for so long.
    #[must_use]
    pub fn pause(&self, lasts: Duration) -> FaultKind {
        FaultKind::Pause { node: self.name(), for_ms: whole_ms(lasts) }
    }

    /// Its process takes `by` longer until it does anything, each time it is started.
    #[must_use]
    pub fn slow_start(&self, by: Duration) -> FaultKind {
        FaultKind::SlowStart { node: self.name(), by_ms: whole_ms(by), for_ms: None }
    }

    /// Its process gets a signal.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> FaultKind {
        FaultKind::Signal { node: self.name(), signal }
    }

    /// Its wall clock goes `by` ahead of where it was, and stays so far ahead of the others.
    #[must_use]
    pub fn clock_forward(&self, by: Duration) -> FaultKind {
        FaultKind::ClockStep { node: self.name(), by_ms: ahead_ms(by) }
    }

    /// Its wall clock goes `by` back behind where it was, and stays so far behind the others.
    #[must_use]
    pub fn clock_back(&self, by: Duration) -> FaultKind {
        FaultKind::ClockStep { node: self.name(), by_ms: -ahead_ms(by) }
    }

    /// Names a worker of it.
    #[must_use]
    pub fn worker(&self, name: &str) -> WorkerTarget {
        WorkerTarget { node: self.name(), name: name.to_owned() }
    }

    fn name(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

fn ahead_ms(by: Duration) -> i64 {
    i64::try_from(by.as_millis()).unwrap_or(i64::MAX)
}

/// The process is killed and started again after `down`.
#[must_use]
pub fn crash(down: Duration) -> FaultKind {
    FaultKind::Crash { node: None, down_ms: whole_ms(down) }
}

/// The process is killed after `polls` more polls of its tasks, and started again after a second.
#[must_use]
pub fn crash_at_poll(polls: u64) -> FaultKind {
    FaultKind::CrashAtPoll { node: None, polls, down_ms: 1_000 }
}

/// The process gets SIGTERM after `polls` more polls of its tasks.
#[must_use]
pub fn stop_at_poll(polls: u64) -> FaultKind {
    FaultKind::StopAtPoll { node: None, polls, again: false }
}

/// The same, with a second SIGTERM right behind it: every cycle is dropped where it stands.
#[must_use]
pub fn abort_at_poll(polls: u64) -> FaultKind {
    FaultKind::StopAtPoll { node: None, polls, again: true }
}

/// The process stands still for so long.
#[must_use]
pub fn pause(lasts: Duration) -> FaultKind {
    FaultKind::Pause { node: None, for_ms: whole_ms(lasts) }
}

/// The process takes `by` longer until it does anything, each time it is started.
#[must_use]
pub fn slow_start(by: Duration) -> FaultKind {
    FaultKind::SlowStart { node: None, by_ms: whole_ms(by), for_ms: None }
}

/// The wall clock steps forward by `by`.
#[must_use]
pub fn clock_forward(by: Duration) -> FaultKind {
    FaultKind::ClockStep { node: None, by_ms: ahead_ms(by) }
}

/// The wall clock steps back by `by`.
#[must_use]
pub fn clock_back(by: Duration) -> FaultKind {
    FaultKind::ClockStep { node: None, by_ms: -ahead_ms(by) }
}

/// The clocks of a zone go forward then: the world begins so long before the zone's next change of that sort. It is named as in
/// the IANA database; a zone that is unknown, or whose clocks do not change, leaves the world as it is, and the fault does not strike.
#[must_use]
pub fn dst_forward(zone: &str) -> FaultKind {
    FaultKind::DstChange { zone: zone.to_owned(), change: Change::Forward }
}

/// The clocks of a zone go back then, and otherwise as [`dst_forward`].
#[must_use]
pub fn dst_back(zone: &str) -> FaultKind {
    FaultKind::DstChange { zone: zone.to_owned(), change: Change::Back }
}

/// Every process is killed, and started again a second later, when `wall` more has passed by the wall clocks of all nodes.
#[must_use]
pub fn downtime(wall: Duration) -> FaultKind {
    FaultKind::Downtime { wall_ms: whole_ms(wall) }
}

/// A plan written by hand, for a test: a line for each thing that goes wrong, at times since the world began.
///
/// The lines may be in any order; what begins at one time begins in the order of the lines. A script is plain data
/// until it runs; a clone of it runs the same world again.
///
/// ```
/// use shiftwork::Signal;
/// use shiftwork_sim::{Script, millis, plan, secs, site};
///
/// let script = Script::new()
///     .at(secs(10), site("smtp").hang().lasting(secs(5)))
///     .at(secs(12), plan::crash(millis(500)))
///     .at(secs(60), Signal::Terminate);
/// assert_eq!(script.plan().to_string(), "\
/// script, seed 0, 3 faults
///       10.000 s  smtp hangs for 5.000 s
///       12.000 s  the process is killed, down for 0.500 s
///       60.000 s  SIGTERM
/// ");
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    plan: Plan,
    horizon: Option<Duration>,
    poll_max_real: Option<Duration>,
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
        Self { plan: Plan::quiet("script", 0), horizon: None, poll_max_real: None }
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
        self.plan.faults.push(Fault::new(whole_ms(time), fault.into()));
        self
    }

    /// In which order tasks go on; by default tokio's own.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.plan.order = order;
        self
    }

    /// When the faults strike; by default at the times that are written.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.plan.timing = timing;
        self
    }

    /// When faults heal: what lasts is over then, and a process that is down is started. By default a minute after the last line
    /// of the script, or after the last thing is over that it says how long it lasts: a fault, a pause, a process that is down.
    #[must_use]
    pub fn heal_at(mut self, time: Duration) -> Self {
        self.horizon = Some(time);
        self
    }

    /// Measures each poll of a task in real time, and has the test fail if one takes so long: for code that computes,
    /// or waits for something that is not of the world. Off by default, since a machine that is busy makes any poll
    /// look long; it is no part of the plan, nor of what the world comes to. Needs `--cfg tokio_unstable`.
    #[must_use]
    pub fn poll_max_real(mut self, poll_max_real: Duration) -> Self {
        self.poll_max_real = Some(poll_max_real);
        self
    }

    /// The plan as data.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the world like a campaign does: a node that exits is started again, at the end faults heal, the world must recover,
    /// and a last SIGTERM must end it cleanly.
    ///
    /// # Panics
    ///
    /// When `build` panics, or makes no node.
    pub fn run(self, build: impl FnOnce(&mut World) + Send) -> Outcome {
        self.start(build, false)
    }

    /// Runs the world until its node, or each of its nodes, has exited for the first time. A crash is not an exit.
    ///
    /// # Panics
    ///
    /// As [`Script::run`].
    pub fn run_once(self, build: impl FnOnce(&mut World) + Send) -> Outcome {
        self.start(build, true)
    }

    fn start(self, build: impl FnOnce(&mut World) + Send, once: bool) -> Outcome {
        let over = |fault: &Fault| {
            let lasts = fault.kind.lasts_ms().unwrap_or(0).max(fault.kind.down_ms());
            fault.at_ms.saturating_add(lasts)
        };
        let last = self.plan.faults.iter().map(over).max().unwrap_or(0);
        let horizon = self.horizon.unwrap_or(Duration::from_millis(last) + Duration::from_secs(60));
        let poll_max_real = self.poll_max_real;
        let options = world::Options { timeline: true, once, horizon: Some(horizon), poll_max_real };
        world::run(&self.plan, options, build)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_share_is_of_a_hundred_and_what_is_more_is_refused() {
        let shares: [fn(u8) -> FaultKind; 6] = [
            |percent| site("smtp").brownout(percent, Duration::ZERO),
            |percent| site("smtp").permanent_error(percent),
            |percent| site("smtp").rate_limit(percent, Duration::ZERO),
            |percent| site("jobs").late(percent, Duration::ZERO),
            |percent| site("smtp").error(percent),
            |percent| site("smtp").reply_lost(percent),
        ];
        for share in shares {
            let script = Script::new().at(Duration::ZERO, share(100));
            assert_eq!(&Plan::from_json(&script.plan().to_json()).unwrap(), script.plan());
            let said = catch_unwind(|| share(101)).unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*said, "a share is from 0 to 100 of a hundred, and not 101");
        }
    }
}
