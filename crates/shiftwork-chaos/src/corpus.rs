//! Saved plans that are replayed first: every failure that was ever found, kept so that it stays away.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use shiftwork::event::{Event, SourceKind};
use shiftwork_sim::{FaultKind, Outcome, Plan, Scenario, explore};

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
        let mut corpus = Self::default();
        for file in files_in(folder)? {
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

    /// What of the plan the scenario does not have any more, or has never had, in one line with what it does have.
    #[must_use]
    pub fn misfit(&self) -> Option<String> {
        let surface = self.scenario.surface();
        let sites: Vec<_> = surface.dependencies.into_iter().chain(surface.queues).collect();
        self.missing(&self.unknown_sites(), &sites).or_else(|| self.misfit_of_processes())
    }

    /// Says that what the plan strikes is unknown, if anything of it is.
    fn missing(&self, unknown: &[&str], known: &[String]) -> Option<String> {
        let (unknown, known) = ((!unknown.is_empty()).then(|| unknown.join(", "))?, known.join(", "));
        Some(format!("it strikes {unknown}, which {} does not have; it has {known}", self.scenario.name()))
    }

    /// The same of nodes and workers. A world without faults tells which there are, and is not asked if the plan names none. A worker that it
    /// does not have may be one of a process that is started after a fault: the plan's own world is asked about it before it is missing.
    fn misfit_of_processes(&self) -> Option<String> {
        let (nodes, workers) = (self.struck(FaultKind::node), self.struck(FaultKind::worker));
        if nodes.is_empty() && workers.is_empty() {
            return None;
        }
        let quiet = Plan::quiet(self.scenario.name(), self.plan.seed);
        // One that cannot be built tells why when the plan is replayed.
        let outcome = world::guarded(|| explore::run_plan(self.scenario, &quiet, true)).ok()?;
        let known: Vec<String> = outcome.timeline.node_names().map(str::to_owned).collect();
        let unknown: Vec<&str> = nodes.into_iter().filter(|node| !known.iter().any(|name| name == node)).collect();
        self.missing(&unknown, &known).or_else(|| {
            self.misfit_of_workers(&workers, &declared_workers([&outcome]))?;
            let own = world::guarded(|| explore::run_plan(self.scenario, &self.plan, true)).ok();
            self.misfit_of_workers(&workers, &declared_workers([&outcome].into_iter().chain(&own)))
        })
    }

    /// The same of workers: who has no cycles is missing too.
    fn misfit_of_workers(&self, struck: &[&str], declared: &BTreeMap<String, bool>) -> Option<String> {
        let those = |which: Option<&bool>| {
            let struck = struck.iter().copied();
            struck.filter(|worker| declared.get(*worker) == which).collect::<Vec<_>>()
        };
        let known: Vec<_> = declared.keys().cloned().collect();
        self.missing(&those(None), &known).or_else(|| {
            let without = those(Some(&false));
            let without = (!without.is_empty()).then(|| without.join(", "))?;
            Some(format!("it strikes cycles of {without} at their await points, and a service or a job has none"))
        })
    }

    /// What the plan strikes by a name of this sort.
    fn struck(&self, name_of: impl Fn(&FaultKind) -> Option<&str>) -> Vec<&str> {
        let mut names: Vec<_> = self.plan.faults.iter().filter_map(|fault| name_of(&fault.kind)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Sites that the plan strikes and the scenario does not name: such faults strike nothing, and the plan may be out of date.
    #[must_use]
    pub fn unknown_sites(&self) -> Vec<&str> {
        let surface = self.scenario.surface();
        let known = |site: &str| surface.dependencies.iter().chain(&surface.queues).any(|name| name == site);
        let mut sites = self.struck(FaultKind::site);
        sites.retain(|site| !known(site));
        sites
    }
}

/// Every `*.json` in a folder, in the order of their names.
pub(crate) fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The workers that the hosts of these worlds declare, and whether there are cycles that a plan may strike.
fn declared_workers<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> BTreeMap<String, bool> {
    let mut declared: BTreeMap<String, bool> = BTreeMap::new();
    for (_, event) in outcomes.into_iter().flat_map(Outcome::events) {
        let Event::HostStarting { workers } = event else { continue };
        for worker in workers.iter() {
            let has_cycles = !matches!(worker.source, SourceKind::Service { .. });
            *declared.entry(worker.name.to_string()).or_default() |= has_cycles;
        }
    }
    declared
}

/// Writes a plan so that at no time there is half of one: beside its file, and then into its place.
pub(crate) fn write(file: &Path, plan: &Plan) -> io::Result<()> {
    let beside = file.with_extension("json.new");
    fs::write(&beside, plan.to_json())?;
    fs::rename(&beside, file)
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("file", &self.file).field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use shiftwork::{Context, Failure, Schedule, ServiceContext, Tick};
    use shiftwork_sim::{
        Fault,
        plan::{node, worker},
        secs,
    };

    use super::*;
    use crate::small::Small;

    /// A service, and a worker beside it.
    const SERVED: Small = Small {
        name: "served",
        build: |world| {
            world.node("node", |node| {
                let serve = |cx: ServiceContext| async move {
                    cx.stopped().await;
                    Ok::<(), Failure>(())
                };
                let tidy = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host().service("http", serve).worker("tidy", Schedule::every(secs(5)), tidy).run_until_signal()
            });
        },
    };

    /// Has one worker when it is started, and another one in its place when it is started again.
    const STANDBY: Small = Small {
        name: "standby",
        build: |world| {
            world.node("node", |node| {
                let name = if node.boot() == 1 { "work" } else { "tidy" };
                let cycle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
                node.host().worker(name, Schedule::every(secs(1)), cycle).run_until_signal()
            });
        },
    };

    #[test]
    fn a_worker_that_only_a_later_process_has_is_not_gone() {
        let misfit = |struck: &str, before: Option<Fault>| {
            let at_last = Fault::new(6_000, worker(struck).panic_in_cycle(1));
            let faults = before.into_iter().chain([at_last]).collect();
            let plan = Plan { faults, ..Plan::quiet("standby", 1) };
            Replay { file: PathBuf::new(), plan, scenario: &STANDBY }.misfit()
        };
        let crash = || Some(Fault::new(2_000, node("node").crash(secs(1))));
        assert_eq!(misfit("work", None), None);
        assert_eq!(misfit("tidy", crash()), None);
        let unknown = misfit("sweep", crash()).unwrap();
        assert_eq!(unknown, "it strikes sweep, which standby does not have; it has tidy, work");
        let unknown = misfit("tidy", None).unwrap();
        assert_eq!(unknown, "it strikes tidy, which standby does not have; it has work");
    }

    fn misfit_with(kind: FaultKind) -> Option<String> {
        let plan = Plan { faults: vec![Fault::new(1, kind)], ..Plan::quiet("served", 1) };
        Replay { file: PathBuf::new(), plan, scenario: &SERVED }.misfit()
    }

    #[test]
    fn a_plan_that_strikes_a_node_that_is_gone_does_not_fit_though_the_scenario_names_none() {
        assert_eq!(misfit_with(node("node").crash(secs(1))), None);
        let gone = misfit_with(node("b").crash(secs(1))).unwrap();
        assert_eq!(gone, "it strikes b, which served does not have; it has node");
    }

    #[test]
    fn a_plan_that_strikes_cycles_of_a_service_does_not_fit_and_says_why() {
        let misfit = |name: &str| misfit_with(worker(name).panic_in_cycle(1));
        assert_eq!(misfit("tidy"), None);
        let service = misfit("http").unwrap();
        assert_eq!(service, "it strikes cycles of http at their await points, and a service or a job has none");
        let unknown = misfit("https").unwrap();
        assert_eq!(unknown, "it strikes https, which served does not have; it has http, tidy");
    }
}
