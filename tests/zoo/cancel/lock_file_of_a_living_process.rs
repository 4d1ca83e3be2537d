//! A lock file names its process, so that what a killed one has left behind is taken over. It is removed when the cycle has ended, and every
//! cycle ends when it is asked to. One day one does not: a library swallows the interruption, a clean-up hangs. That cycle is dropped, and
//! the process that its file names is alive and well.
//!
//! Only a cycle that ignores that it is asked to end shows it. What else goes wrong with a call ends as soon as the next tick is due; the
//! client does not panic; and a stop, an abort and a crash take the process with them.

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{flag, never},
};
use shiftwork::{Context, Failure, Overlap, Schedule, Tick, Worker};
use shiftwork_sim::{Dependency, FaultName, Ledger, World, dependency::Latency, millis, secs, stubborn::Stubborn};

const RULE: &str = "no export is locked out by its own process";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "lock-file-of-a-living-process",
    about: "a cycle that is dropped leaves its lock file behind, in the name of a process that lives on",
    area: Area::Cancel,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &["partner"], nodes: &[], stubborn: &["partner"], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 300,
    needs_two_faults: false,
    // After a process has stood still, a cycle may be dropped in the very instant in which it is asked to end.
    leaves_out: &[FaultName::Pause],
    bug: build::<true>,
    twin: build::<false>,
};

struct Export {
    partner: Dependency,
}

impl Worker for Export {
    type Input = Tick;

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        tokio::select! {
            sent = self.partner.call(async {}) => Ok(sent?),
            () = cx.cancelled() => Err(Failure::interrupted("the next export is due")),
        }
    }
}

/// An export that nobody can start by hand meanwhile.
struct Locked<const BUG: bool> {
    export: Stubborn<Export>,
    pid: u32,
    /// The process that the lock file names.
    file: Ledger<Option<u32>>,
    locked_out: Ledger<bool>,
}

/// The lock file, which is gone whichever way its scope is left, and stays when the process is killed.
struct Lock<'a>(&'a Ledger<Option<u32>>);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl<const BUG: bool> Worker for Locked<BUG> {
    type Input = Tick;

    async fn cycle(&self, tick: Tick, cx: &Context) -> Result<(), Failure> {
        // A file of any other process is stale: there is one at a time.
        if *self.file.lock() == Some(self.pid) {
            *self.locked_out.lock() = true;
            return Ok(());
        }
        *self.file.lock() = Some(self.pid);
        if BUG {
            let ended = self.export.cycle(tick, cx).await;
            *self.file.lock() = None;
            ended
        } else {
            let _lock = Lock(&self.file);
            self.export.cycle(tick, cx).await
        }
    }
}

fn build<const BUG: bool>(world: &mut World) {
    // Now and then it takes longer than the time to the next one.
    let partner = world.dependency_with("partner", Latency::uniform(millis(500), secs(3)));
    let (file, started, locked_out) = (Ledger::new(None), Ledger::new(0), flag());
    never(world, RULE, &locked_out);
    world.node("node", move |node| {
        let pid = started.with(|started| {
            *started += 1;
            *started
        });
        let export = partner.stubborn(Export { partner: partner.clone() });
        let locked = Locked::<BUG> { export, pid, file: file.clone(), locked_out: locked_out.clone() };
        let schedule = Schedule::every(secs(2)).overlap(Overlap::CancelPrevious);
        node.host().worker("export", schedule, locked).run_until_signal()
    });
}
