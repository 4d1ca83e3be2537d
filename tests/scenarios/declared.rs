//! That a host runs under the policies that were written for it.
//!
//! The built-in rules hold a worker to what its host declares. That it declares what was asked for, in code or in a file, is
//! for whoever wrote it to say: a scenario writes it down once more, as a file would have it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use shiftwork::{
    Signal,
    event::{Declaration, Event, NextSignal, StopReason},
};
use shiftwork_sim::{Record, What, World};

/// What a declaration says of the policies that are asked for, each under its name.
fn policy(declared: &Declaration, name: &str) -> Value {
    match name {
        "batch" => json!(declared.batch),
        "breaker" => json!(declared.breaker),
        "on_fault" => json!(declared.on_fault),
        "rate_limit" => json!(declared.rate_limit),
        "retry" => json!(declared.retry),
        "retry_budget" => json!(declared.retry_budget),
        _ => json!(format!("no policy is called {name}")),
    }
}

/// Demands of every host of the world that its workers are declared so: an object for each worker, with its policies.
pub(crate) fn demand(world: &mut World, expected: Value) {
    world.always("a host runs under the policies that were written for it", move |record: &Record| {
        let What::Host(Event::HostStarting { workers }) = &record.what else { return Ok(()) };
        for (worker, policies) in expected.as_object().into_iter().flatten() {
            let Some(declared) = workers.iter().find(|declared| *declared.name == **worker) else {
                return Err(format!("there is no worker {worker}"));
            };
            for (name, expected) in policies.as_object().into_iter().flatten() {
                let said = policy(declared, name);
                if said != *expected {
                    return Err(format!("{name} of {worker} is {said}, and was set to {expected}"));
                }
            }
        }
        Ok(())
    });
}

/// The times of a stop, as they were written.
#[derive(Clone, Copy)]
pub(crate) struct Stop {
    pub(crate) before_drain: Duration,
    pub(crate) drain: Duration,
    pub(crate) cancel: Duration,
    pub(crate) close: Duration,
}

/// Demands of every host of the world that it takes these times when it is told to stop: with the delay if it runs, and all of
/// the time to cancel unless it is told once more, or has stood still: what was late then is not made up for.
pub(crate) fn demand_stop(world: &mut World, stop: Stop) {
    let (mut running, mut aborting) = (BTreeMap::new(), BTreeMap::new());
    let mut cancelled = BTreeMap::new();
    world.always("a host that is told to stop takes the times that were written for it", move |record: &Record| {
        let (node, at) = (record.node, record.at);
        match &record.what {
            What::Booted { .. } => {
                running.insert(node, false);
                aborting.insert(node, false);
                cancelled.retain(|(of, _), _| *of != node);
            }
            What::Host(Event::HostRunning) => drop(running.insert(node, true)),
            What::Host(Event::SignalReceived { next: NextSignal::Leave, .. }) => drop(aborting.insert(node, true)),
            What::Host(Event::HostStopping { reason: StopReason::Signal(signal), delay, drain, within }) => {
                let waits = running.get(&node) == Some(&true) && *signal != Signal::Quit;
                let before_drain = if waits { stop.before_drain } else { Duration::ZERO };
                let total = before_drain + stop.drain + stop.cancel + stop.close;
                let times = (before_drain, before_drain + stop.drain, total);
                if times != (*delay, *drain, *within) {
                    return Err(format!("it is {delay:?}, {drain:?} and {within:?}, and not {times:?}"));
                }
            }
            What::Resumed => drop(aborting.insert(node, true)),
            What::Host(Event::WorkerCancelled { worker }) => drop(cancelled.insert((node, *worker), at)),
            What::Host(Event::WorkerAborted { worker }) if aborting.get(&node) != Some(&true) => {
                let had = cancelled.get(&(node, *worker)).map(|since| at - *since);
                if had.is_some_and(|had| had < stop.cancel) {
                    return Err(format!("a worker had {had:?} to end when it was asked to"));
                }
            }
            _ => {}
        }
        Ok(())
    });
}
