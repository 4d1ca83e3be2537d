//! A way to build a world, with its own invariants, and what of it faults may strike.

use std::time::Duration;

use crate::{World, explore::FaultMix};

/// What faults may strike in the worlds of a scenario.
#[derive(Debug, Clone)]
pub struct Surface {
    /// The names of its dependencies.
    pub dependencies: Vec<String>,
    /// The names of its queues. Their operations meet the faults of a dependency, but do not panic.
    pub queues: Vec<String>,
    /// How long faults may begin; then everything heals and the world must recover.
    pub horizon: Duration,
}

/// A way to build a world.
///
/// `build` is called anew for each world, on the world's own thread, and must not depend on anything but the world: what
/// differs between worlds is the plan and the seed.
pub trait Scenario: Send + Sync {
    /// Its name at the command line and in files: lower case, without blanks.
    fn name(&self) -> &'static str;

    /// What it is, in one line.
    fn about(&self) -> &'static str;

    /// What faults may strike.
    fn surface(&self) -> Surface;

    /// Bends a mix of faults to what the scenario's code can be blamed for: a queue whose producers use unique keys, say,
    /// can refuse duplicates by giving them no weight. By default the mix stays as it is.
    fn bend(&self, mix: FaultMix) -> FaultMix {
        mix
    }

    /// The names of its nodes, if there are several, so that faults strike each of them. A node that is not named here is
    /// struck only if it is the first.
    fn nodes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The dependencies that a worker is [stubborn](crate::Dependency::stubborn) by, so that faults have its cycles ignore that
    /// they are asked to end. A site that is not named here never does.
    fn stubborn(&self) -> Vec<String> {
        Vec::new()
    }

    /// The workers whose cycles generated faults may end at any of their await points, by a panic or by their timeout.
    /// One that is not named here is so struck in exhaustive campaigns alone.
    fn workers(&self) -> Vec<String> {
        Vec::new()
    }

    /// The time zones that something in it goes by, so that their clocks change in some of its worlds. They are called as in the IANA
    /// database. By default there is none, and generated plans have no such change.
    fn zones(&self) -> Vec<String> {
        Vec::new()
    }

    /// Fills a world: dependencies, durable state, the node's program, invariants.
    fn build(&self, world: &mut World);
}
