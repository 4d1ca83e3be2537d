//! That a host runs under the policies that were written for it.
//!
//! The built-in rules hold a worker to what its host declares. That it declares what was asked for, in code or in a file, is
//! for whoever wrote it to say: a scenario writes it down once more, as a file would have it.

use serde_json::{Value, json};
use shiftwork::event::{Declaration, Event};
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
