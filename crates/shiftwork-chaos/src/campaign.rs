//! Many worlds over many scenarios and seeds.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `campaign.rs` | what to run |
//! | `campaign/search.rs` | how it comes by the plans of its worlds |
//! | `campaign/guided.rs` | worlds in rounds, each proposed from what those before have reached |
//! | `campaign/order.rs` | which world is which: plans to replay first, then seeds, round robin over the scenarios |
//! | `campaign/threads.rs` | the work on all cores, and its results in the order of the worlds |
//! | `campaign/world.rs` | one world: run, counted, its failure shrunk, crashes of the tool caught |

mod guided;
pub(crate) mod order;
mod search;
pub(crate) mod threads;
pub(crate) mod world;

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shiftwork_sim::{Scenario, control, explore::Profile};

pub use self::search::Search;
use self::{
    order::Order,
    threads::Told,
    world::{How, Ran, WorldDone},
};
use crate::{
    CampaignProfile, Failure,
    corpus::Corpus,
    determinism::{self, SecondRun},
    failure::{Found, Meanwhile, Shrinking},
    report::{CampaignReport, Ended, ScenarioReport, SlowWorld, ToolCrash},
    stopwatch::Stopwatch,
};

/// How many seeds of each scenario run when nobody says.
pub const SEEDS_DEFAULT: u64 = 1_000;

/// After how many failures a campaign stops when nobody says: more of them rarely tell more.
pub const FAILURES_MAX_DEFAULT: usize = 10;

/// How many worlds the shrinking of one failure may take: about a second's worth.
pub const SHRINK_WORLDS_MAX: u32 = 2_000;

/// What to run.
///
/// ```
/// # use shiftwork_sim::Scenario;
/// use shiftwork_chaos::{Campaign, Seeds, Verdict};
///
/// # fn scenarios() -> Vec<Box<dyn Scenario>> { Vec::new() }
/// let scenarios = scenarios();
/// let mut campaign = Campaign::over(scenarios.iter().map(|scenario| &**scenario));
/// campaign.seeds = Seeds::Counted { first: 0, count: 50 };
/// let report = campaign.run();
/// assert_eq!(report.verdict(), Verdict::Kept);
/// ```
pub struct Campaign<'a> {
    /// Whose worlds.
    pub scenarios: Vec<&'a dyn Scenario>,
    /// Saved plans, which run first.
    pub corpus: Corpus<'a>,
    /// How it comes by the plans of its worlds; from seeds by default.
    pub search: Search,
    /// Which seeds of each scenario.
    pub seeds: Seeds,
    /// How much goes wrong; `None`: by the seed, each profile in its turn ([`profile_of`]).
    pub profile: Option<CampaignProfile>,
    /// Which part of it is run here; all of it by default.
    pub shard: Shard,
    /// On how many threads; all cores by default.
    pub jobs: NonZeroUsize,
    /// After how many failures it stops; [`FAILURES_MAX_DEFAULT`] by default.
    pub failures_max: usize,
    /// How many worlds the shrinking of one failure may take; [`SHRINK_WORLDS_MAX`] by default.
    pub shrink_worlds_max: u32,
    /// From how long on, in real time, a poll of a task is told as too slow ([`CampaignReport::slow`]); not at all by default. A world with such
    /// polls counts towards [`Campaign::failures_max`]. Which there are is the machine's affair, too, and with it where such a campaign ends: not
    /// measured are worlds that run again, for shrinking or to be compared.
    pub poll_max_real: Option<Duration>,
    /// What runs every world a second time, if that is to be done; not in a guided campaign, whose plans do not follow from their
    /// seeds alone.
    pub second_run: Option<&'a dyn SecondRun>,
    /// Once this is true, no further world begins, and no failure is made any smaller.
    pub stop: Arc<AtomicBool>,
}

/// Which seeds of each scenario run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    /// So many.
    Counted {
        /// From this one on.
        first: u64,
        /// How many.
        count: u64,
    },
    /// As many as there is time for.
    Timed {
        /// From this one on.
        first: u64,
        /// How long worlds may begin, in real time. What breaks in those is shrunk, however long that takes.
        time: Duration,
    },
}

/// One of several parts of a campaign, each of which another machine may run. Their sum is the whole campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    number: u64,
    /// Of how many.
    of: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { number: 1, of: 1 };

    /// Part `number` of `of`; `None` unless 1 ≤ `number` ≤ `of`.
    #[must_use]
    pub fn new(number: u64, of: u64) -> Option<Self> {
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// Which part it is, from 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// How many parts there are.
    #[must_use]
    pub fn of(self) -> u64 {
        self.of
    }

    /// The `index`th of its own among all, which take turns.
    pub(crate) fn place(self, index: u64) -> u64 {
        index.saturating_mul(self.of).saturating_add(self.number - 1)
    }

    /// How many of `count` are its own.
    pub(crate) fn share(self, count: u64) -> u64 {
        count.saturating_sub(self.number - 1).div_ceil(self.of)
    }
}

/// The profile of a seed when nobody names one: gentle, harsh and hostile in turn.
#[must_use]
pub fn profile_of(seed: u64) -> Profile {
    match seed % 3 {
        0 => Profile::Gentle,
        1 => Profile::Harsh,
        _ => Profile::Hostile,
    }
}

/// What wants to know how a campaign gets on. Everything is told by the thread that called [`Campaign::run_watched`], and in the order of
/// the worlds, save that a failure is found and how its shrinking gets on, which is told as it happens.
pub trait Watch {
    /// The worlds begin. `count` is how many they will be at most, if that is known; `again` says that they run for the second time.
    fn begins(&mut self, count: Option<u64>, again: bool) {
        let _ = (count, again);
    }

    /// One more world is done.
    fn world_done(&mut self) {}

    /// A rule broke in a world that is not done: its plan is still to be made smaller, which that of a saved one is not. Unless the campaign
    /// has had enough until then, [`Watch::failed`] tells what became of it.
    fn found(&mut self, found: &Found) {
        let _ = found;
    }

    /// The plan of what was found is being made smaller; told after each world that this takes, of several failures by turns.
    fn shrinking(&mut self, shrinking: &Shrinking) {
        let _ = shrinking;
    }

    /// A rule broke. What is changed here, such as where the plan was saved, is in the report.
    fn failed(&mut self, failure: &mut Failure) {
        let _ = failure;
    }

    /// The tool crashed in a world. What is changed here is in the report.
    fn crashed(&mut self, crash: &mut ToolCrash) {
        let _ = crash;
    }
}

/// Nobody watches.
impl Watch for () {}

impl<'a> Campaign<'a> {
    /// A campaign over `scenarios`, with the defaults that its fields name.
    pub fn over(scenarios: impl IntoIterator<Item = &'a dyn Scenario>) -> Self {
        Self {
            scenarios: scenarios.into_iter().collect(),
            corpus: Corpus::default(),
            search: Search::default(),
            seeds: Seeds::Counted { first: 0, count: SEEDS_DEFAULT },
            profile: None,
            shard: Shard::WHOLE,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            failures_max: FAILURES_MAX_DEFAULT,
            shrink_worlds_max: SHRINK_WORLDS_MAX,
            poll_max_real: None,
            second_run: None,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    fn how(&self) -> How<'_> {
        How { shrink_worlds_max: self.shrink_worlds_max, poll_max_real: self.poll_max_real, stop: &self.stop }
    }

    /// Runs it.
    ///
    /// # Panics
    ///
    /// When not even one thread can be started.
    pub fn run(&self) -> CampaignReport {
        self.run_watched(&mut ())
    }

    /// Runs it, and tells `watch` how it gets on.
    ///
    /// # Panics
    ///
    /// When not even one thread can be started.
    pub fn run_watched(&self, watch: &mut dyn Watch) -> CampaignReport {
        let watch_of_all = Stopwatch::start();
        let order = Order::of(self);
        let mut tally = Tally::new(&order);
        let time_is_over = || match self.seeds {
            Seeds::Counted { .. } => false,
            Seeds::Timed { time, .. } => watch_of_all.elapsed() >= time,
        };
        let stop = || self.stop.load(Ordering::Relaxed) || time_is_over();
        watch.begins(order.count(), false);
        let mut take = |told: Told<WorldDone, Meanwhile>| {
            match told {
                Told::Done(number, done) => tally.take(number, done, watch),
                Told::Meanwhile(Meanwhile::Found(found)) => watch.found(&found),
                Told::Meanwhile(Meanwhile::Shrinking(shrinking)) => watch.shrinking(&shrinking),
            }
            if tally.found() >= self.failures_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self.search {
            Search::Random | Search::Exhaustive(_) => threads::run_and_tell_in_order(
                self.jobs,
                order.count(),
                &stop,
                &|number, tell: &dyn Fn(Meanwhile) -> ControlFlow<()>| {
                    world::run(&order.world(number), self.how(), tell)
                },
                &mut take,
            ),
            Search::Guided => guided::run(self, &order, &stop, &mut take),
        }
        let second_run = self.second_run.filter(|_| self.search != Search::Guided);
        let determinism = second_run.map(|second_run| {
            determinism::verify(&order, &tally.fingerprints, second_run, self.jobs, &self.stop, watch)
        });
        let ended = if self.stop.load(Ordering::Relaxed) {
            Ended::Interrupted
        } else if tally.found() >= self.failures_max {
            Ended::FailuresMax
        } else if order.count().is_none() {
            Ended::TimeOver
        } else {
            Ended::Complete
        };
        CampaignReport {
            scenarios: tally.rows,
            failures: tally.failures,
            crashes: tally.crashes,
            slow: tally.slow,
            stale: self.corpus.stale.clone(),
            determinism,
            search: self.search,
            seeds: self.seeds,
            profile: self.profile.clone(),
            shard: self.shard,
            ended,
            control: control::in_force(),
            jobs: self.jobs,
            elapsed: watch_of_all.elapsed(),
        }
    }
}

impl std::fmt::Debug for Campaign<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.scenarios.iter().map(|scenario| scenario.name()).collect();
        f.debug_struct("Campaign").field("scenarios", &names).field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

/// What has been found so far.
struct Tally {
    rows: Vec<ScenarioReport>,
    failures: Vec<Failure>,
    crashes: Vec<ToolCrash>,
    slow: Vec<SlowWorld>,
    /// Of every world that ran to its end: its number and its fingerprint.
    fingerprints: Vec<(u64, u64)>,
}

impl Tally {
    fn new(order: &Order<'_>) -> Self {
        Self {
            rows: order
                .scenarios()
                .map(|scenario| ScenarioReport::of(scenario, order.injection_counts(scenario)))
                .collect(),
            failures: Vec::new(),
            crashes: Vec::new(),
            slow: Vec::new(),
            fingerprints: Vec::new(),
        }
    }

    fn found(&self) -> usize {
        self.failures.len() + self.crashes.len() + self.slow.len()
    }

    fn take(&mut self, number: u64, done: WorldDone, watch: &mut dyn Watch) {
        watch.world_done();
        let WorldDone { row, origin, seed, took, made, ran } = done;
        let row = &mut self.rows[row];
        row.busy += took;
        let crash = match ran {
            Ok(Ran {
                fingerprint,
                virtual_time,
                transitions,
                coverage,
                faults,
                sometimes,
                slow_polls,
                failure,
                crash,
                plan: _,
                reached: _,
            }) => {
                row.worlds += 1;
                row.virtual_time += virtual_time;
                row.transitions.merge(transitions);
                row.coverage.count(coverage);
                row.faults.merge(&faults);
                row.count_sometimes(sometimes);
                row.runs.push((origin.clone(), seed, fingerprint));
                self.fingerprints.push((number, fingerprint));
                if !slow_polls.is_empty() {
                    let (scenario, origin) = (row.name, origin.clone());
                    self.slow.push(SlowWorld { scenario, origin, seed, polls: slow_polls });
                }
                if let Some(mut failure) = failure {
                    row.failures += 1;
                    watch.failed(&mut failure);
                    self.failures.push(*failure);
                }
                crash
            }
            Err(message) => Some(message),
        };
        if let Some(message) = crash {
            let plan_file = origin.file().map(Path::to_path_buf);
            let mut crash = ToolCrash { scenario: row.name, origin, seed, message, plan: made, plan_file };
            watch.crashed(&mut crash);
            self.crashes.push(crash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_one_shard() {
        for (count, of) in [(0, 3), (2, 3), (10, 3), (9, 3), (7, 1)] {
            let shards = (1..=of).map(|number| Shard::new(number, of).unwrap());
            let mut places: Vec<_> =
                shards.flat_map(|shard| (0..shard.share(count)).map(move |index| shard.place(index))).collect();
            places.sort_unstable();
            assert_eq!(places, Vec::from_iter(0..count), "{count} in {of}");
        }
        assert_eq!([Shard::new(0, 3), Shard::new(4, 3), Shard::new(1, 0)], [None; 3]);
    }

    #[test]
    fn an_unnamed_profile_follows_the_seed() {
        assert_eq!([0, 1, 2, 3].map(profile_of), [Profile::Gentle, Profile::Harsh, Profile::Hostile, Profile::Gentle]);
    }
}
