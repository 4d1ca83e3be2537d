//! Saved plans that are replayed first: every failure that was ever found, kept so that it stays away.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use shiftwork::event::Event;
use shiftwork_sim::{Plan, Scenario, explore};

use crate::campaign::world;

/// A saved plan with the scenario that it is for.
pub struct Replay<'a> {
    /// Where it came from.
    pub file: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// Its scenario.
    pub scenario: &'a dyn Scenario,
}

/// What a folder of plans holds.
#[derive(Debug, Default)]
pub struct Corpus<'a> {
    /// The plans, in the order of their files' names.
    pub replays: Vec<Replay<'a>>,
    /// The files that are no plan of any scenario here.
    pub stale: Vec<Stale>,
}

/// A file that cannot be replayed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Which.
    pub file: PathBuf,
    /// Why, and what would be accepted.
    pub reason: String,
}

impl<'a> Corpus<'a> {
    /// Reads every `*.json` in `folder`. What is no plan of one of the `scenarios` is stale.
    ///
    /// # Errors
    ///
    /// When the folder itself cannot be read.
    pub fn read(folder: &Path, scenarios: &'a [Box<dyn Scenario>]) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                files.push(file);
            }
        }
        files.sort();
        let mut corpus = Self::default();
        for file in files {
            match Replay::read(&file, scenarios) {
                Ok(replay) => match replay.misfit() {
                    None => corpus.replays.push(replay),
                    Some(reason) => corpus.stale.push(Stale { file, reason }),
                },
                Err(reason) => corpus.stale.push(Stale { file, reason }),
            }
        }
        Ok(corpus)
    }
}

impl<'a> Replay<'a> {
    /// Reads one plan for one of the `scenarios`.
    ///
    /// # Errors
    ///
    /// With one line that says what is wrong with the file and what would be accepted.
    pub fn read(file: &Path, scenarios: &'a [Box<dyn Scenario>]) -> Result<Self, String> {
        let json = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let plan = Plan::from_json(&json).map_err(|error| error.to_string())?;
        let scenario = scenarios.iter().find(|scenario| scenario.name() == plan.scenario);
        let scenario = scenario.ok_or_else(|| {
            let known: Vec<_> = scenarios.iter().map(|scenario| scenario.name()).collect();
            format!("the plan is for the scenario {:?}; there are {}", plan.scenario, known.join(", "))
        })?;
        Ok(Self { file: file.to_owned(), plan, scenario: &**scenario })
    }

    /// What of the plan the scenario does not know any more, in one line with what it does know.
    #[must_use]
    pub fn misfit(&self) -> Option<String> {
        let name = self.scenario.name();
        let surface = self.scenario.surface();
        let sites = (self.unknown_sites(), surface.dependencies.into_iter().chain(surface.queues).collect());
        let nodes = || (self.unknown_nodes(), self.scenario.nodes());
        let (unknown, known) = Some(sites)
            .filter(|(unknown, _)| !unknown.is_empty())
            .or_else(|| Some(nodes()).filter(|(unknown, _)| !unknown.is_empty()))
            .unwrap_or_else(|| self.unknown_workers());
        let (unknown, known) = ((!unknown.is_empty()).then(|| unknown.join(", "))?, known.join(", "));
        Some(format!("it strikes {unknown}, which {name} does not have; it has {known}"))
    }

    /// Workers whose cycles the plan strikes and that no host of the scenario declares, and those that are declared. A world without faults tells.
    fn unknown_workers(&self) -> (Vec<&str>, Vec<String>) {
        let mut workers: Vec<_> = self.plan.faults.iter().filter_map(|fault| fault.kind.worker()).collect();
        workers.sort_unstable();
        workers.dedup();
        if workers.is_empty() {
            return (workers, Vec::new());
        }
        let quiet = Plan::quiet(self.scenario.name(), self.plan.seed);
        // One that cannot be built tells why when the plan is replayed.
        let Ok(outcome) = world::guarded(|| explore::run_plan(self.scenario, &quiet, true)) else {
            return (Vec::new(), Vec::new());
        };
        let declared = outcome.events().filter_map(|(_, event)| match event {
            Event::HostStarting { workers } => Some(workers.iter().map(|worker| worker.name.to_string())),
            _ => None,
        });
        let known: BTreeSet<String> = declared.flatten().collect();
        workers.retain(|worker| !known.contains(*worker));
        (workers, known.into_iter().collect())
    }

    /// Nodes that the plan strikes and the scenario does not name. One that names none has only one.
    fn unknown_nodes(&self) -> Vec<&str> {
        let known = self.scenario.nodes();
        let mut nodes: Vec<_> = self.plan.faults.iter().filter_map(|fault| fault.kind.node()).collect();
        nodes.retain(|node| !known.is_empty() && !known.iter().any(|name| name == node));
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Sites that the plan strikes and the scenario does not name: such faults strike nothing, and the plan may be out of date.
    #[must_use]
    pub fn unknown_sites(&self) -> Vec<&str> {
        let surface = self.scenario.surface();
        let known = |site: &str| surface.dependencies.iter().chain(&surface.queues).any(|name| name == site);
        let mut sites: Vec<_> = self.plan.faults.iter().filter_map(|fault| fault.kind.site()).collect();
        sites.retain(|site| !known(site));
        sites.sort_unstable();
        sites.dedup();
        sites
    }
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("file", &self.file).field("plan", &self.plan).finish_non_exhaustive()
    }
}
