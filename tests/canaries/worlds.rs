//! L: what shows only in whole worlds, because it is about what does not happen, or about polls.

use std::time::Duration;

use shiftwork::{Context, Continuous, Failure, Rule, Schedule, Signal, Tick};
use shiftwork_sim::{Ledger, Script, Violation, millis, secs};

use crate::{Canary, Tell};

pub(crate) const CANARIES: &[Canary] = &[
    Canary { rule: Rule::L1, mistake: "what failed once is never done again", tell: Tell::World(gives_up) },
    Canary { rule: Rule::L2, mistake: "a loop lets no time pass", tell: Tell::World(hot_loop) },
    Canary { rule: Rule::L3, mistake: "a poll blocks its thread", tell: Tell::World(blocks) },
];

fn gives_up(wrong: bool) -> Vec<Violation> {
    let outcome = Script::new().run(move |world| {
        let backend = world.dependency("backend");
        let done: Ledger<bool> = Ledger::default();
        let seen = done.clone();
        world.node("node", move |node| {
            let (backend, done) = (backend.clone(), done.clone());
            let work = move |tick: Tick, _: Context| {
                let (backend, done) = (backend.clone(), done.clone());
                async move {
                    if tick.number > 1 && wrong {
                        return Ok(());
                    }
                    if tick.number == 1 {
                        return Err(Failure::invalid("too early"));
                    }
                    backend.call(async { done.with(|done| *done = true) }).await?;
                    Ok(())
                }
            };
            node.host().worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
        world.done_when(move || seen.with(|done| *done));
    });
    outcome.violations
}

fn hot_loop(wrong: bool) -> Vec<Violation> {
    let outcome = Script::new().at(secs(1), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let eager = move |(): (), _: Context| async move {
                if !wrong {
                    tokio::time::sleep(millis(1)).await;
                }
                Ok::<(), Failure>(())
            };
            node.host().worker("eager", Continuous::new(), eager).run_until_signal()
        });
    });
    outcome.violations
}

fn blocks(wrong: bool) -> Vec<Violation> {
    let takes = if wrong { Duration::from_millis(10) } else { Duration::from_millis(9) };
    let outcome = Script::new().at(secs(5), Signal::Terminate).run_once(move |world| {
        world.node("node", move |node| {
            let work = move |_: Tick, _: Context| async move {
                std::thread::park_timeout(takes);
                Ok::<(), Failure>(())
            };
            node.host().worker("work", Schedule::every(secs(10)), work).run_until_signal()
        });
    });
    outcome.violations
}
