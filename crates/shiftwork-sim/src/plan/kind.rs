//! What can go wrong: the kinds of faults, by name.
//!
//! How each reads is in `plan/display.rs`; how one is written in a test, in `plan/script.rs`. What a fault does is not told
//! here: who carries it out, in `plan/striking.rs`, and how, where it strikes.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};
use shiftwork::Signal;

use super::{Change, FaultName, whole_ms};
use crate::world::RESTART_AFTER;

/// What can go wrong. A fault without an end lasts until the world heals.
///
/// The real counterpart of each is told on the page of the thing that it strikes: [`crate::dependency`],
/// [`crate::queue`], [`crate::world`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Calls to the site take longer.
    Slow {
        /// Which site.
        site: String,
        /// How much longer, in milliseconds.
        by_ms: u64,
        /// How this differs from call to call.
        #[serde(default, skip_serializing_if = "Spread::is_constant")]
        spread: Spread,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some calls to the site fail before they have any effect.
    Error {
        /// Which site.
        site: String,
        /// How many of a hundred.
        #[serde(deserialize_with = "percent")]
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
        #[serde(deserialize_with = "percent")]
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
    /// A node's process is killed.
    Crash {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// Until it is started again, in milliseconds.
        down_ms: u64,
    },
    /// The process that makes the next call to the site is killed in the middle of it.
    CrashInCall {
        /// Which site.
        site: String,
        /// Whether the call has had its effect by then.
        after_effect: bool,
        /// Until it is started again, in milliseconds.
        down_ms: u64,
    },
    /// A node's process gets a signal.
    Signal {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// Which.
        signal: Signal,
    },
    /// The wall clock jumps, and goes on from there.
    ClockStep {
        /// Which node's; that of every node, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// How far, in milliseconds; back if less than nothing.
        by_ms: i64,
    },
    /// Some calls to the site take longer.
    Brownout {
        /// Which site.
        site: String,
        /// How many of a hundred.
        #[serde(deserialize_with = "percent")]
        percent: u8,
        /// How much longer, in milliseconds.
        by_ms: u64,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The site goes down and comes up again by turns, down first: calls fail at once while it is down.
    Flap {
        /// Which site.
        site: String,
        /// How long it is down each time, in milliseconds.
        down_ms: u64,
        /// How long it is up in between, in milliseconds.
        up_ms: u64,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some calls to the site are refused before they have any effect, and told that trying again is no use.
    PermanentError {
        /// Which site.
        site: String,
        /// How many of a hundred.
        #[serde(deserialize_with = "percent")]
        percent: u8,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some calls to the site are refused before they have any effect, and told when to come back.
    RateLimit {
        /// Which site.
        site: String,
        /// How many of a hundred.
        #[serde(deserialize_with = "percent")]
        percent: u8,
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// A call to the site that its caller drops has its effect all the same.
    EffectAfterDrop {
        /// Which site.
        site: String,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The next call to the site is polled again and again before it goes on, once: it wakes itself, and no time passes.
    Spin {
        /// Which site.
        site: String,
        /// How many times. From 100,000 on it is a hot loop to rule L2.
        polls: u32,
    },
    /// The next delivery that the queue hands out was stored twice: it comes once more, under an id of its own.
    Duplicate {
        /// Which queue.
        site: String,
    },
    /// A delivery whose payload cannot be decoded is in the queue by the next claim.
    Malformed {
        /// Which queue.
        site: String,
    },
    /// Claims pass over some deliveries that are due, and get younger ones.
    Reorder {
        /// Which queue.
        site: String,
        /// How many deliveries each claim passes over at most.
        by: u8,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Some claims find nothing, though something is due, and are told when to come back.
    Late {
        /// Which queue.
        site: String,
        /// How many of a hundred.
        #[serde(deserialize_with = "percent")]
        percent: u8,
        /// When to come back, in milliseconds.
        by_ms: u64,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The store forgets a lease, once: at the next operation for which one is held, the delivery waits again.
    LeaseTaken {
        /// Which queue.
        site: String,
    },
    /// A node's process is killed at an await point: right after one of its tasks was polled for the last of so many
    /// times, counted over all of its tasks. Needs `--cfg tokio_unstable`, and never strikes without.
    CrashAtPoll {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// How many polls, from 1.
        polls: u64,
        /// Until it is started again, in milliseconds.
        down_ms: u64,
    },
    /// A node's process gets SIGTERM at an await point, counted as in `CrashAtPoll`; it kills a process that does not
    /// listen. Needs `--cfg tokio_unstable`, and never strikes without.
    StopAtPoll {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// How many polls, from 1.
        polls: u64,
        /// Whether a second one comes right behind it, so that every cycle is dropped where it stands.
        again: bool,
    },
    /// A call to the site panics at an await point of its own: when calls have been polled for so many times, counted over
    /// all calls to the site.
    PanicAtPoll {
        /// Which site.
        site: String,
        /// How many polls, from 1.
        polls: u32,
    },
    /// A call to the site is dropped at an await point of its own, as by a `select!` or a timeout around it, when calls have been
    /// polled for so many times, counted over all calls to the site. Its caller goes on, and is told that it was given up.
    DropAtPoll {
        /// Which site.
        site: String,
        /// How many polls, from 1.
        polls: u32,
    },
    /// A cycle that is asked to end does not, until it is dropped: of workers that are
    /// [`stubborn`](crate::Dependency::stubborn) by this site.
    IgnoreCancel {
        /// Which site.
        site: String,
        /// For how long, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// A node's process stands still, and so does nothing; then it goes on, and finds that the time has passed.
    Pause {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A node's process takes longer until it does anything, each time it is started.
    SlowStart {
        /// Which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// How much longer, in milliseconds.
        by_ms: u64,
        /// For how long this is so, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The next call to the site holds its thread for a while in the poll in which it gets there, once: everything else
    /// on the thread waits. No two faults hold up one poll; the other one waits for the next call. Needs a world that
    /// holds the time, and `--cfg tokio_unstable`, and never strikes without.
    Block {
        /// Which site.
        site: String,
        /// For how long, in milliseconds. From 10 on it breaks rule L3, or from what the scenario allows
        /// ([`World::poll_max`](crate::World::poll_max)).
        by_ms: u64,
    },
    /// A cycle panics at an await point of its own, whatever it waits for there: of the cycles that begin from then on, the first that
    /// comes to so many. It is a cycle of a worker on the runtime, in whatever task its lane is. A service or a job has no cycles, and is
    /// never struck: a panic of its body is a fault, and no failure that is tried again.
    PanicInCycle {
        /// On which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// Of which worker.
        worker: String,
        /// At which of its await points, from 1: how many times it has been polled.
        polls: u32,
    },
    /// A cycle is cancelled at an await point of its own, counted as in `PanicInCycle`: its time is up there, as if what it waits for took
    /// until its timeout. A cycle without a limit to its time is never struck, nor is a service or a job.
    CancelInCycle {
        /// On which node; the first, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// Of which worker.
        worker: String,
        /// At which of its await points, from 1: how many times it has been polled.
        polls: u32,
    },
    /// The clocks of a zone change, for a season. No clock steps: the world begins at such a wall time that the zone's next change this way
    /// after 2026-01-01 falls on this fault's time. A world has one date: the first fault of the kind in the plan says it, and no other
    /// strikes. Where the zone is unknown, or has no such change, it says nothing and does not strike. It strikes when
    /// its time comes before the world heals, while a process lives whose clock is at the change then; the date is what
    /// it says in any case.
    DstChange {
        /// Which zone, by its name in the IANA database.
        zone: String,
        /// Which way.
        change: Change,
    },
    /// Every process of the world is killed, and started again after a second. By the wall clocks of all nodes it was so much longer.
    Downtime {
        /// How much longer, in milliseconds.
        wall_ms: u64,
    },
}

impl FaultKind {
    /// Its name, without its particulars.
    #[must_use]
    pub fn kind(&self) -> FaultName {
        match self {
            FaultKind::Slow { .. } => FaultName::Slow,
            FaultKind::Error { .. } => FaultName::Error,
            FaultKind::Outage { .. } => FaultName::Outage,
            FaultKind::Hang { .. } => FaultName::Hang,
            FaultKind::ReplyLost { .. } => FaultName::ReplyLost,
            FaultKind::Panic { .. } => FaultName::Panic,
            FaultKind::Crash { .. } => FaultName::Crash,
            FaultKind::CrashInCall { .. } => FaultName::CrashInCall,
            FaultKind::Signal { .. } => FaultName::Signal,
            FaultKind::ClockStep { .. } => FaultName::ClockStep,
            FaultKind::Brownout { .. } => FaultName::Brownout,
            FaultKind::Flap { .. } => FaultName::Flap,
            FaultKind::PermanentError { .. } => FaultName::PermanentError,
            FaultKind::RateLimit { .. } => FaultName::RateLimit,
            FaultKind::EffectAfterDrop { .. } => FaultName::EffectAfterDrop,
            FaultKind::Spin { .. } => FaultName::Spin,
            FaultKind::Duplicate { .. } => FaultName::Duplicate,
            FaultKind::Malformed { .. } => FaultName::Malformed,
            FaultKind::Reorder { .. } => FaultName::Reorder,
            FaultKind::Late { .. } => FaultName::Late,
            FaultKind::LeaseTaken { .. } => FaultName::LeaseTaken,
            FaultKind::CrashAtPoll { .. } => FaultName::CrashAtPoll,
            FaultKind::StopAtPoll { .. } => FaultName::StopAtPoll,
            FaultKind::PanicAtPoll { .. } => FaultName::PanicAtPoll,
            FaultKind::DropAtPoll { .. } => FaultName::DropAtPoll,
            FaultKind::IgnoreCancel { .. } => FaultName::IgnoreCancel,
            FaultKind::Block { .. } => FaultName::Block,
            FaultKind::Pause { .. } => FaultName::Pause,
            FaultKind::SlowStart { .. } => FaultName::SlowStart,
            FaultKind::PanicInCycle { .. } => FaultName::PanicInCycle,
            FaultKind::CancelInCycle { .. } => FaultName::CancelInCycle,
            FaultKind::DstChange { .. } => FaultName::DstChange,
            FaultKind::Downtime { .. } => FaultName::Downtime,
        }
    }

    /// The word for it in tables and files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Every name, in the order of the type.
    pub const NAMES: [&'static str; FaultName::ALL.len()] = FaultName::WORDS;

    /// The site that it strikes, if it strikes one.
    #[must_use]
    pub fn site(&self) -> Option<&str> {
        match self {
            FaultKind::Slow { site, .. }
            | FaultKind::Error { site, .. }
            | FaultKind::Outage { site, .. }
            | FaultKind::Hang { site, .. }
            | FaultKind::ReplyLost { site, .. }
            | FaultKind::Brownout { site, .. }
            | FaultKind::Flap { site, .. }
            | FaultKind::PermanentError { site, .. }
            | FaultKind::RateLimit { site, .. }
            | FaultKind::EffectAfterDrop { site, .. }
            | FaultKind::Reorder { site, .. }
            | FaultKind::Late { site, .. }
            | FaultKind::Panic { site, .. }
            | FaultKind::PanicAtPoll { site, .. }
            | FaultKind::DropAtPoll { site, .. }
            | FaultKind::IgnoreCancel { site, .. }
            | FaultKind::Block { site, .. }
            | FaultKind::CrashInCall { site, .. }
            | FaultKind::Spin { site, .. }
            | FaultKind::Duplicate { site, .. }
            | FaultKind::Malformed { site, .. }
            | FaultKind::LeaseTaken { site, .. } => Some(site),
            FaultKind::Crash { .. }
            | FaultKind::Signal { .. }
            | FaultKind::ClockStep { .. }
            | FaultKind::CrashAtPoll { .. }
            | FaultKind::StopAtPoll { .. }
            | FaultKind::Pause { .. }
            | FaultKind::SlowStart { .. }
            | FaultKind::PanicInCycle { .. }
            | FaultKind::CancelInCycle { .. }
            | FaultKind::DstChange { .. }
            | FaultKind::Downtime { .. } => None,
        }
    }

    /// The node that it names, if it names one.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others strike a site")]
    pub fn node(&self) -> Option<&str> {
        match self {
            FaultKind::Crash { node, .. }
            | FaultKind::Signal { node, .. }
            | FaultKind::ClockStep { node, .. }
            | FaultKind::CrashAtPoll { node, .. }
            | FaultKind::StopAtPoll { node, .. }
            | FaultKind::Pause { node, .. }
            | FaultKind::SlowStart { node, .. }
            | FaultKind::PanicInCycle { node, .. }
            | FaultKind::CancelInCycle { node, .. } => node.as_deref(),
            _ => None,
        }
    }

    /// The worker whose cycles it strikes, if it strikes any.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        if let FaultKind::PanicInCycle { worker, .. } | FaultKind::CancelInCycle { worker, .. } = self {
            Some(worker)
        } else {
            None
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
            | FaultKind::ReplyLost { for_ms, .. }
            | FaultKind::Brownout { for_ms, .. }
            | FaultKind::Flap { for_ms, .. }
            | FaultKind::PermanentError { for_ms, .. }
            | FaultKind::RateLimit { for_ms, .. }
            | FaultKind::EffectAfterDrop { for_ms, .. }
            | FaultKind::Reorder { for_ms, .. }
            | FaultKind::Late { for_ms, .. }
            | FaultKind::IgnoreCancel { for_ms, .. }
            | FaultKind::SlowStart { for_ms, .. } => *for_ms,
            FaultKind::Pause { for_ms, .. } => Some(*for_ms),
            FaultKind::Panic { .. }
            | FaultKind::CrashInCall { .. }
            | FaultKind::Spin { .. }
            | FaultKind::Block { .. }
            | FaultKind::Duplicate { .. }
            | FaultKind::Malformed { .. }
            | FaultKind::LeaseTaken { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Signal { .. }
            | FaultKind::ClockStep { .. }
            | FaultKind::CrashAtPoll { .. }
            | FaultKind::StopAtPoll { .. }
            | FaultKind::DropAtPoll { .. }
            | FaultKind::PanicAtPoll { .. }
            | FaultKind::PanicInCycle { .. }
            | FaultKind::CancelInCycle { .. }
            | FaultKind::DstChange { .. }
            | FaultKind::Downtime { .. } => None,
        }
    }

    /// How long the process that it kills is down.
    pub(crate) fn down_ms(&self) -> u64 {
        if let FaultKind::Crash { down_ms, .. }
        | FaultKind::CrashInCall { down_ms, .. }
        | FaultKind::CrashAtPoll { down_ms, .. } = self
        {
            *down_ms
        } else if matches!(self, FaultKind::Downtime { .. }) {
            // In the world's own time.
            whole_ms(RESTART_AFTER)
        } else {
            0
        }
    }

    /// The same fault, ending after `duration`. A crash is then down for so long; what happens once stays as it is.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        match &mut self {
            FaultKind::Slow { for_ms, .. }
            | FaultKind::Error { for_ms, .. }
            | FaultKind::Outage { for_ms, .. }
            | FaultKind::Hang { for_ms, .. }
            | FaultKind::ReplyLost { for_ms, .. }
            | FaultKind::Brownout { for_ms, .. }
            | FaultKind::Flap { for_ms, .. }
            | FaultKind::PermanentError { for_ms, .. }
            | FaultKind::RateLimit { for_ms, .. }
            | FaultKind::EffectAfterDrop { for_ms, .. }
            | FaultKind::Reorder { for_ms, .. }
            | FaultKind::Late { for_ms, .. }
            | FaultKind::IgnoreCancel { for_ms, .. }
            | FaultKind::SlowStart { for_ms, .. } => *for_ms = Some(whole_ms(duration)),
            FaultKind::Pause { for_ms, .. } => *for_ms = whole_ms(duration),
            FaultKind::Crash { down_ms, .. }
            | FaultKind::CrashInCall { down_ms, .. }
            | FaultKind::CrashAtPoll { down_ms, .. } => *down_ms = whole_ms(duration),
            FaultKind::Panic { .. }
            | FaultKind::PanicAtPoll { .. }
            | FaultKind::DropAtPoll { .. }
            | FaultKind::Spin { .. }
            | FaultKind::Block { .. }
            | FaultKind::Duplicate { .. }
            | FaultKind::Malformed { .. }
            | FaultKind::LeaseTaken { .. }
            | FaultKind::Signal { .. }
            | FaultKind::StopAtPoll { .. }
            | FaultKind::PanicInCycle { .. }
            | FaultKind::CancelInCycle { .. }
            | FaultKind::ClockStep { .. }
            | FaultKind::DstChange { .. }
            | FaultKind::Downtime { .. } => {}
        }
        self
    }
}

impl From<Signal> for FaultKind {
    fn from(signal: Signal) -> Self {
        FaultKind::Signal { node: None, signal }
    }
}

/// How much longer each call takes while a site is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// The whole time, each.
    #[default]
    Constant,
    /// Anything up to the whole time, equally likely.
    Uniform,
    /// A sixteenth of it as a rule, twice as long four times as rarely, up to the whole time: see
    /// [`Latency::long_tail`](crate::dependency::Latency::long_tail).
    LongTail,
}

impl Spread {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_constant(&self) -> bool {
        *self == Spread::Constant
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    let expected = "at most 100 of a hundred";
    if percent <= 100 {
        Ok(percent)
    } else {
        Err(de::Error::invalid_value(de::Unexpected::Unsigned(percent.into()), &expected))
    }
}
