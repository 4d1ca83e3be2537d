//! *Canary*: a planted bug. A campaign that does not find it is broken itself.
//!
//! The worker strikes a note off before it has delivered it, the way an acknowledgement before the work does: a crash, a panic or an
//! error in between loses it.

use std::collections::BTreeSet;

use shiftwork::{Context, Failure, Schedule, Tick};
use shiftwork_sim::{Ledger, Scenario, Surface, World, secs};

/// The scenario.
#[derive(Debug)]
pub struct Canary;

const NOTES: u32 = 30;

impl Scenario for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn about(&self) -> &'static str {
        "a worker that acknowledges before it works: must fail"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["courier".into()], queues: Vec::new(), horizon: secs(40) }
    }

    fn build(&self, world: &mut World) {
        let courier = world.dependency("courier");
        let waiting: Ledger<BTreeSet<u32>> = Ledger::new((1..=NOTES).collect());
        let delivered: Ledger<BTreeSet<u32>> = Ledger::default();
        let (notes, arrived) = (waiting.clone(), delivered.clone());
        world.node("canary", move |node| {
            let (courier, notes, arrived) = (courier.clone(), notes.clone(), arrived.clone());
            let deliver = move |_: Tick, _: Context| {
                let (courier, notes, arrived) = (courier.clone(), notes.clone(), arrived.clone());
                async move {
                    // The bug: taken out before it is delivered.
                    let note = notes.lock().pop_first();
                    let Some(note) = note else { return Ok::<(), Failure>(()) };
                    courier.call(async { arrived.lock().insert(note) }).await?;
                    Ok(())
                }
            };
            node.host().worker("deliver", Schedule::every(secs(1)), deliver).run_until_signal()
        });
        world.done_when(move || waiting.lock().is_empty());
        world.at_end("every note is delivered", move || {
            let delivered = delivered.lock();
            match (1..=NOTES).find(|note| !delivered.contains(note)) {
                Some(note) => Err(format!("note {note} was struck off and never delivered")),
                None => Ok(()),
            }
        });
    }
}
