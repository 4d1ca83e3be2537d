//! What an exhibit is: a planted bug and its corrected twin, with what a campaign must make of them.
//!
//! How it is put to the test is `visit.rs`'s part.

pub use shiftwork_sim::explore::Profile;
use shiftwork_sim::{FaultName, Scenario, Surface, World, explore::FaultMix, secs};

/// One bug of the zoo, beside its corrected twin.
#[derive(Debug, Clone, Copy)]
pub struct Exhibit {
    /// The bug, in a few words joined by hyphens. It is the file's name.
    pub name: &'static str,
    /// What is wrong, in one line.
    pub about: &'static str,
    /// Where in the life of a worker it strikes.
    pub area: Area,
    /// What must catch it: a rule of the lifecycle by its short name, or an invariant of the exhibit by its own.
    pub rule: &'static str,
    /// What faults may strike.
    pub sites: Sites,
    /// How much goes wrong in its worlds.
    pub profile: Profile,
    /// In how many worlds it must be found.
    pub budget: u64,
    /// Whether no single fault shows it.
    pub needs_two_faults: bool,
    /// What its code, bug or not, cannot be blamed for, and what therefore happens to neither of the two.
    pub leaves_out: &'static [FaultName],
    /// The world with the bug.
    pub bug: fn(&mut World),
    /// The same world, put right.
    pub twin: fn(&mut World),
}

/// What faults may strike in the worlds of an exhibit, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Sites {
    /// The names of its dependencies.
    pub dependencies: &'static [&'static str],
    /// The names of its queues, and of dependencies whose client never panics.
    pub queues: &'static [&'static str],
    /// The names of its nodes, if there are several.
    pub nodes: &'static [&'static str],
    /// The names of those that a worker is stubborn by, of which alone a fault has its cycles ignore that they are asked to end.
    pub stubborn: &'static [&'static str],
    /// How long faults may begin, in seconds.
    pub horizon_secs: u64,
}

/// Where in the life of a worker a bug strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Start hooks and their order.
    Start,
    /// What a cycle makes of a failure.
    Failure,
    /// How it tries again.
    Retry,
    /// When it is due.
    Schedule,
    /// Queues and leases.
    Queue,
    /// The end of the host.
    Stop,
    /// The end of the process.
    Crash,
    /// A wall clock that steps.
    Clock,
    /// Cycles beside each other.
    Concurrency,
    /// A future that is dropped at an await point.
    Cancel,
    /// Several nodes, with clocks of their own.
    Fleet,
    /// Workers that do not use the runtime.
    Foreign,
}

impl Area {
    /// The word for it in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Area::Start => "start",
            Area::Failure => "failure",
            Area::Retry => "retry",
            Area::Schedule => "schedule",
            Area::Queue => "queue",
            Area::Stop => "stop",
            Area::Crash => "crash",
            Area::Clock => "clock",
            Area::Concurrency => "concurrency",
            Area::Cancel => "cancel safety",
            Area::Fleet => "fleet",
            Area::Foreign => "foreign",
        }
    }
}

/// One of an exhibit's two worlds, as a scenario. Both have the same name and surface, so that one seed gives both the same
/// plan.
#[derive(Debug, Clone, Copy)]
pub struct Specimen<'e> {
    exhibit: &'e Exhibit,
    build: fn(&mut World),
}

impl Exhibit {
    /// The world with the bug.
    #[must_use]
    pub fn bug(&self) -> Specimen<'_> {
        Specimen { exhibit: self, build: self.bug }
    }

    /// The world without it.
    #[must_use]
    pub fn twin(&self) -> Specimen<'_> {
        Specimen { exhibit: self, build: self.twin }
    }
}

impl Scenario for Specimen<'_> {
    fn name(&self) -> &'static str {
        self.exhibit.name
    }

    fn about(&self) -> &'static str {
        self.exhibit.about
    }

    fn surface(&self) -> Surface {
        let Sites { dependencies, queues, nodes: _, stubborn: _, horizon_secs } = &self.exhibit.sites;
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Surface { dependencies: names(dependencies), queues: names(queues), horizon: secs(*horizon_secs) }
    }

    fn nodes(&self) -> Vec<String> {
        self.exhibit.sites.nodes.iter().map(ToString::to_string).collect()
    }

    fn stubborn(&self) -> Vec<String> {
        self.exhibit.sites.stubborn.iter().map(ToString::to_string).collect()
    }

    fn bend(&self, mix: FaultMix) -> FaultMix {
        self.exhibit.leaves_out.iter().fold(mix, |mix, kind| mix.weight(*kind, 0))
    }

    fn build(&self, world: &mut World) {
        (self.build)(world);
    }
}
