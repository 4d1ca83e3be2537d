//! Plans as a person reads them.

use std::fmt;

use super::{FaultKind, Plan, Spread, Timing};
use crate::Order;

/// A node's process, by the node's name if it is said.
fn process(node: &Option<String>) -> String {
    node.as_ref().map_or_else(|| "the process".to_owned(), |node| format!("the process of {node}"))
}

/// Where a worker is, if it is said.
fn on(node: &Option<String>) -> String {
    node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default()
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = |f: &mut fmt::Formatter<'_>, for_ms: &Option<u64>| match for_ms {
            Some(ms) => write!(f, " for {}", Seconds(*ms)),
            None => Ok(()),
        };
        match self {
            FaultKind::Slow { site, by_ms, spread, for_ms } => {
                let how = match spread {
                    Spread::Constant => "slow by",
                    Spread::Uniform => "slow by up to",
                    Spread::LongTail => "slow with a long tail, by up to",
                };
                write!(f, "{site} {how} {}", Seconds(*by_ms))?;
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
            FaultKind::Crash { node, down_ms } => {
                write!(f, "{} is killed, down for {}", process(node), Seconds(*down_ms))
            }
            FaultKind::Pause { node, for_ms } => write!(f, "{} stands still for {}", process(node), Seconds(*for_ms)),
            FaultKind::SlowStart { node, by_ms, for_ms } => {
                write!(f, "{} starts slower by {}", process(node), Seconds(*by_ms))?;
                lasting(f, for_ms)
            }
            FaultKind::CrashInCall { site, after_effect, down_ms } => {
                let when = if *after_effect { "after" } else { "before" };
                write!(
                    f,
                    "the process is killed in the next call to {site}, {when} its effect, down for {}",
                    Seconds(*down_ms)
                )
            }
            FaultKind::Signal { node: None, signal } => f.write_str(signal.as_str()),
            FaultKind::Signal { node: Some(node), signal } => write!(f, "{} to {node}", signal.as_str()),
            FaultKind::Brownout { site, percent, by_ms, for_ms } => {
                write!(f, "{site} slow by {} in {percent} % of calls", Seconds(*by_ms))?;
                lasting(f, for_ms)
            }
            FaultKind::Flap { site, down_ms, up_ms, for_ms } => {
                write!(f, "{site} is out for {}, up for {}, and so on", Seconds(*down_ms), Seconds(*up_ms))?;
                lasting(f, for_ms)
            }
            FaultKind::PermanentError { site, percent, for_ms } => {
                write!(f, "{site} refuses {percent} % of calls for good")?;
                lasting(f, for_ms)
            }
            FaultKind::RateLimit { site, percent, retry_after_ms, for_ms } => {
                let after = Seconds(*retry_after_ms);
                write!(f, "{site} turns {percent} % of calls away, to come again after {after}")?;
                lasting(f, for_ms)
            }
            FaultKind::EffectAfterDrop { site, for_ms } => {
                write!(f, "dropped calls to {site} have their effect all the same")?;
                lasting(f, for_ms)
            }
            FaultKind::Spin { site, polls } => write!(f, "the next call to {site} wakes itself {polls} times"),
            FaultKind::Duplicate { site } => write!(f, "the next delivery of {site} comes twice"),
            FaultKind::Malformed { site } => write!(f, "{site} has a delivery that cannot be decoded"),
            FaultKind::Reorder { site, by, for_ms } => {
                write!(f, "claims of {site} pass over up to {by} deliveries")?;
                lasting(f, for_ms)
            }
            FaultKind::Late { site, percent, by_ms, for_ms } => {
                write!(f, "{site} puts {percent} % of claims off by {}", Seconds(*by_ms))?;
                lasting(f, for_ms)
            }
            FaultKind::LeaseTaken { site } => write!(f, "{site} forgets a lease"),
            FaultKind::CrashAtPoll { node, polls, down_ms } => {
                let process = process(node);
                write!(f, "{process} is killed after {polls} polls of its tasks, down for {}", Seconds(*down_ms))
            }
            FaultKind::StopAtPoll { node, polls, again } => {
                let times = if *again { "SIGTERM twice" } else { "SIGTERM" };
                write!(f, "{} gets {times} after {polls} polls of its tasks", process(node))
            }
            FaultKind::PanicAtPoll { site, polls } => {
                write!(f, "a call to {site} panics at the poll that is number {polls} of all calls to it")
            }
            FaultKind::DropAtPoll { site, polls } => {
                write!(f, "a call to {site} is dropped at the poll that is number {polls} of all calls to it")
            }
            FaultKind::IgnoreCancel { site, for_ms } => {
                write!(f, "cycles of {site} ignore that they are asked to end")?;
                lasting(f, for_ms)
            }
            FaultKind::Block { site, by_ms } => {
                write!(f, "the next call to {site} blocks its thread for {}", Seconds(*by_ms))
            }
            FaultKind::PanicInCycle { node, worker, polls } => {
                write!(f, "a cycle of {worker}{} panics at its await point {polls}", on(node))
            }
            FaultKind::CancelInCycle { node, worker, polls } => {
                write!(f, "a cycle of {worker}{} is cancelled at its await point {polls}", on(node))
            }
            FaultKind::ClockStep { node, by_ms } => {
                let whose = node.as_ref().map(|node| format!(" of {node}")).unwrap_or_default();
                let way = if *by_ms < 0 { "back" } else { "forward" };
                write!(f, "the wall clock{whose} steps {way} by {}", Seconds(by_ms.unsigned_abs()))
            }
            FaultKind::DstChange { zone, change } => write!(f, "the clocks of {zone} go {change}"),
            FaultKind::Downtime { wall_ms } => {
                write!(f, "every process is killed, and down for {} more by the wall clock", Seconds(*wall_ms))
            }
        }
    }
}

/// How many entries of a tape are shown in a line; a file has them all.
const ENTRIES_SHOWN: usize = 12;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.faults.len() == 1 { "fault" } else { "faults" };
        writeln!(f, "{}, seed {}, {} {faults}", self.scenario, self.seed, self.faults.len())?;
        for fault in &self.faults {
            write!(f, "  {:>12}  {}", Seconds(fault.at_ms).to_string(), fault.kind)?;
            let what = if fault.kind.strikes_cycles() { "cycle" } else { "call" };
            match fault.lets_pass {
                0 => writeln!(f)?,
                1 => writeln!(f, ", but for the first {what}")?,
                count => writeln!(f, ", but for the first {count} {what}s")?,
            }
        }
        match self.timing {
            Timing::AsWritten | Timing::FoundAtDeadlines => {}
            Timing::AtDeadlines => writeln!(f, "  times: not before these, at what is waited for then")?,
        }
        match &self.order {
            Order::Plain => Ok(()),
            Order::Strategy(strategy) => writeln!(f, "  task order: {}", strategy.name()),
            Order::Tape(tape) => {
                let Some((last, others)) = tape.split_last() else { return Ok(()) };
                write!(f, "  task order: {} polls cut short (life/task@poll:units left): ", tape.len())?;
                for entry in others.iter().take(ENTRIES_SHOWN) {
                    write!(f, "{entry}, ")?;
                }
                if others.len() > ENTRIES_SHOWN { writeln!(f, "…") } else { writeln!(f, "{last}") }
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
