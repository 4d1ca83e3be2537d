//! A scenario for unit tests, made of a name and its nodes.

use shiftwork_sim::{Scenario, Surface, World, secs};

/// It has no dependencies and no queues, and lasts for ten seconds.
pub(crate) struct Small {
    pub(crate) name: &'static str,
    pub(crate) build: fn(&mut World),
}

impl Scenario for Small {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "a scenario of a unit test"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: Vec::new(), queues: Vec::new(), horizon: secs(10) }
    }

    fn build(&self, world: &mut World) {
        (self.build)(world);
    }
}
