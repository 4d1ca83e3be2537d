//! The command line: arguments, and what they ask for once they are checked against the scenarios and files that there are.

use std::{
    fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use shiftwork_sim::{Scenario, control, explore};

use crate::{
    CampaignProfile, Search, Seeds, Shard,
    campaign::{FAILURES_MAX_DEFAULT, SEEDS_DEFAULT},
    corpus::{Corpus, Replay, files_in},
    exit,
    plan_folder::PlanFolder,
    shard,
    table::Detail,
};

/// Scenarios whose names begin so have a planted bug, and run only when they are named.
const CANARY: &str = "canary";

/// Run many simulated worlds with faults, crashes and signals, and check every rule of the lifecycle in each
///
/// Each world is a pure function of scenario, seed and profile. A rule that breaks is shrunk to the few faults that matter,
/// saved as a plan, and printed with the line that replays it.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = exit::HELP)]
pub(crate) struct Cli {
    /// Which scenarios; all of them by default, save those whose names begin with "canary": they have a planted bug
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,

    /// How many seeds of each scenario
    #[arg(long, value_name = "N", default_value_t = SEEDS_DEFAULT)]
    seeds: u64,

    /// From which seed on; the seed of every world of an exhaustive campaign
    #[arg(long, value_name = "S", default_value_t = 0)]
    first_seed: u64,

    /// This one seed of each scenario
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "first_seed", "time"])]
    seed: Option<u64>,

    /// Replay this saved plan; it names its scenario itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenarios", "seeds", "first_seed", "seed", "time", "profile", "corpus"])]
    plan: Option<PathBuf>,

    /// Shrink saved plans again and write them back: a file, a folder of them, or "corpus" for the program's own. A plan
    /// that breaks no rule any more stays as it is
    #[arg(long, value_name = "FILE|corpus", conflicts_with_all = ["scenarios", "seeds", "first_seed", "seed", "time", "profile", "exhaustive", "guided", "list", "plan", "json", "report", "trace", "junit", "shard", "verify_determinism", "jobs", "save", "max_failures", "poll_max_real"])]
    minimize: Option<PathBuf>,

    /// With --minimize: write the plans to standard output, one after the other, and leave the files alone
    #[arg(long)]
    to_stdout: bool,

    /// As many seeds as can begin within so many seconds
    #[arg(long, value_name = "SECS", conflicts_with = "seeds")]
    time: Option<NonZeroU64>,

    /// On how many threads; all cores by default
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// How much goes wrong: gentle (at most two short faults, and no crash), harsh (a handful of any kind), hostile (many, and
    /// long), or a file with a mix of your own (JSON); by default it follows the seed: seed % 3 is 0 for gentle, 1 for harsh,
    /// 2 for hostile
    #[arg(long, value_name = "gentle|harsh|hostile|FILE")]
    profile: Option<PathBuf>,

    /// Try every fault at every point of a base world, where it fits
    #[arg(long, conflicts_with_all = ["seeds", "seed", "time", "profile", "plan"])]
    exhaustive: bool,

    /// Make plans out of those whose worlds were the first to reach something
    #[arg(long, conflicts_with_all = ["exhaustive", "seed", "plan", "verify_determinism"])]
    guided: bool,

    /// How many worlds with one fault an exhaustive campaign runs of each scenario: beyond that, points are left out that differ from
    /// others in nothing but their time
    #[arg(long, value_name = "N", requires = "exhaustive", default_value_t = explore::WORLDS_MAX_DEFAULT)]
    worlds_max: u64,

    /// How many worlds with two faults close to one another an exhaustive campaign adds for each scenario
    #[arg(long, value_name = "N", requires = "exhaustive", default_value_t = 0)]
    pairs: u64,

    /// List the scenarios
    #[arg(long)]
    list: bool,

    /// Write the report as JSON; "-" is standard output, and the tables then go to standard error. It is for workers that print nothing
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write one HTML page with tables and timelines into this folder, as index.html
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Write a trace of the worlds that failed, or of the first ones, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write the report as JUnit XML, for a CI server
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Run part I of N, so that N machines share a campaign; in a Kubernetes Indexed Job it follows from
    /// JOB_COMPLETION_INDEX and JOB_COMPLETIONS
    #[arg(long, value_name = "I/N", conflicts_with_all = ["seed", "plan"])]
    shard: Option<String>,

    /// Run every world again in another process, in reverse order and after others of its scenario, and compare
    #[arg(long)]
    verify_determinism: bool,

    /// Replay the saved plans in this folder (*.json) first; the program may have one of its own
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,

    /// Where the shrunk plans of failures are saved
    #[arg(long, value_name = "DIR", default_value = ".chaos")]
    save: PathBuf,

    /// Stop after so many failures
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(FAILURES_MAX_DEFAULT).unwrap_or(NonZeroUsize::MIN))]
    max_failures: NonZeroUsize,

    /// Tell polls of tasks that take so many milliseconds of real time or more: code that computes, or waits for something that is not of
    /// its world. Which there are depends on the machine, and on what else it does
    #[arg(long, value_name = "MS")]
    poll_max_real: Option<NonZeroU64>,

    /// Print only what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Print every transition and timeline, and the panics of worker code as they happen
    #[arg(short, long)]
    verbose: bool,

    /// No colours, on a terminal too; the environment variable NO_COLOR says the same
    #[arg(long)]
    no_color: bool,

    /// Answer the second run of another process; the worlds are on standard input
    #[arg(long, hide = true)]
    fingerprints: bool,
}

/// What the command line asks for.
pub(crate) enum Request<'a> {
    /// A list of the scenarios.
    List,
    /// Answers for another process.
    Fingerprints { jobs: NonZeroUsize },
    /// Saved plans made smaller.
    Minimize(MinimizeRequest<'a>),
    /// A campaign.
    Campaign(Box<CampaignRequest<'a>>),
}

/// Saved plans, and where the smaller ones go.
pub(crate) struct MinimizeRequest<'a> {
    pub(crate) corpus: Corpus<'a>,
    /// Whether it is one saved plan, which is run whether or not it fits.
    pub(crate) is_one_plan: bool,
    pub(crate) to_stdout: bool,
}

/// A campaign, and what is to be done with its report.
pub(crate) struct CampaignRequest<'a> {
    pub(crate) scenarios: Vec<&'a dyn Scenario>,
    pub(crate) corpus: Corpus<'a>,
    pub(crate) search: Search,
    pub(crate) seeds: Seeds,
    pub(crate) profile: Option<CampaignProfile>,
    pub(crate) jobs: NonZeroUsize,
    pub(crate) failures_max: usize,
    pub(crate) poll_max_real: Option<Duration>,
    pub(crate) verify_determinism: bool,
    pub(crate) save: PathBuf,
    pub(crate) json: Option<JsonTarget>,
    pub(crate) written: Vec<Written>,
    pub(crate) shard: Shard,
    pub(crate) detail: Detail,
    /// Whether it is one saved plan.
    pub(crate) is_replay: bool,
}

/// A file that is written when the campaign is over.
pub(crate) struct Written {
    pub(crate) what: WrittenWhat,
    pub(crate) path: PathBuf,
    /// Opened before the campaign begins.
    pub(crate) file: fs::File,
}

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrittenWhat {
    Page,
    Trace,
    Junit,
}

impl WrittenWhat {
    /// What asks for it.
    fn option(self) -> &'static str {
        match self {
            WrittenWhat::Page => "--report",
            WrittenWhat::Trace => "--trace",
            WrittenWhat::Junit => "--junit",
        }
    }
}

/// Where the report for programs goes.
pub(crate) enum JsonTarget {
    StandardOutput,
    /// Opened before the campaign begins, so that a mistake in the path does not cost a campaign.
    File(PathBuf, fs::File),
}

/// Why a command line cannot be used: one line that names what was wrong and what is accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(pub(crate) String);

impl Cli {
    pub(crate) fn wants_colour(&self) -> bool {
        !self.no_color
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet || self.fingerprints
    }

    pub(crate) fn shows_panics(&self) -> bool {
        self.verbose
    }

    /// Checks it against the scenarios and files that there are.
    pub(crate) fn request<'a>(
        &self,
        scenarios: &'a [Box<dyn Scenario>],
        usual_corpus: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Request<'a>, UsageError> {
        let all_cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let jobs = self.jobs.unwrap_or_else(all_cores);
        // Not left to the parser, which lets it be where something else is said that goes without --minimize.
        if self.to_stdout && self.minimize.is_none() {
            return Err(UsageError(
                "--to-stdout is what --minimize does with its plans: say --minimize, too".to_owned(),
            ));
        }
        if self.poll_max_real.is_some() && !control::in_force().task_order {
            return Err(UsageError(
                "--poll-max-real needs tokio's hooks around polls: build with `--cfg tokio_unstable`".to_owned(),
            ));
        }
        if self.list {
            all_known(&self.scenarios, scenarios)?;
            return Ok(Request::List);
        }
        if self.fingerprints {
            return Ok(Request::Fingerprints { jobs });
        }
        if let Some(path) = &self.minimize {
            let path = to_minimize(path, usual_corpus, self.corpus.as_deref())?;
            let (corpus, is_one_plan) = (plans_of(path, scenarios)?, !path.is_dir());
            return Ok(Request::Minimize(MinimizeRequest { corpus, is_one_plan, to_stdout: self.to_stdout }));
        }
        let mut request = CampaignRequest {
            scenarios: Vec::new(),
            corpus: Corpus::default(),
            search: self.search(),
            seeds: self.seeds(),
            profile: self.profile.as_deref().map(profile).transpose()?,
            jobs,
            failures_max: self.max_failures.get(),
            poll_max_real: self.poll_max_real.map(|ms| Duration::from_millis(ms.get())),
            verify_determinism: self.verify_determinism,
            save: self.save.clone(),
            json: None,
            written: Vec::new(),
            shard: Shard::WHOLE,
            detail: match (self.quiet, self.verbose) {
                (true, _) => Detail::Wrong,
                (false, true) => Detail::All,
                (false, false) => Detail::Usual,
            },
            is_replay: self.plan.is_some(),
        };
        let usual = usual_corpus.filter(|_| self.seed.is_none());
        let folder = self.corpus.as_deref().or(usual).filter(|_| self.plan.is_none());
        if let Some(file) = &self.plan {
            let replay = Replay::read(file, scenarios)
                .map_err(|reason| UsageError(format!("cannot replay {}: {reason}", file.display())))?;
            request.corpus.replays.push(replay);
        } else {
            request.scenarios = chosen(&self.scenarios, scenarios)?;
            request.corpus = corpus(folder, scenarios, &request.scenarios)?;
            let nothing = matches!(request.seeds, Seeds::Counted { count: 0, .. });
            if nothing && request.corpus.replays.is_empty() {
                let message = "--seeds 0 leaves nothing to run: give at least 1, or a --corpus with plans";
                return Err(UsageError(message.to_owned()));
            }
        }
        if self.plan.is_none() && self.seed.is_none() {
            request.shard = shard::asked_for(self.shard.as_deref(), environment)?;
        }
        // A saved plan is not saved again.
        if !request.is_replay {
            PlanFolder::try_out(&self.save)
                .map_err(|error| UsageError(format!("cannot write --save {}: {error}", self.save.display())))?;
        }
        let inputs = self.inputs(request.profile.as_ref(), folder);
        request.json = self.json_target()?;
        request.written = self.files()?;
        one_file_each(&inputs, request.json.as_ref(), &request.written)?;
        Ok(Request::Campaign(Box::new(request)))
    }

    fn search(&self) -> Search {
        if self.exhaustive {
            let Self { first_seed: seed, worlds_max, pairs, .. } = *self;
            Search::Exhaustive(explore::Exhaustive { seed, worlds_max, pairs })
        } else if self.guided {
            Search::Guided
        } else {
            Search::Random
        }
    }

    fn seeds(&self) -> Seeds {
        let first = self.first_seed;
        match (self.plan.is_some(), self.seed, self.time) {
            (true, _, _) => Seeds::Counted { first, count: 0 },
            (false, Some(seed), _) => Seeds::Counted { first: seed, count: 1 },
            (false, None, Some(time)) => Seeds::Timed { first, time: Duration::from_secs(time.get()) },
            (false, None, None) => Seeds::Counted { first, count: self.seeds },
        }
    }

    /// Every file that is read, behind the option that names it. It is asked before there are new files, which have been opened to be written.
    fn inputs(&self, profile: Option<&CampaignProfile>, corpus: Option<&Path>) -> Vec<(&'static str, PathBuf)> {
        let profile = match profile {
            Some(CampaignProfile::Own(own)) => Some(own.file.clone()),
            Some(CampaignProfile::Known(_)) | None => None,
        };
        let named = [("--plan", self.plan.clone()), ("--profile", profile)];
        // Those of scenarios that were not chosen as well.
        let plans = corpus.and_then(|folder| files_in(folder).ok()).unwrap_or_default();
        let plans = plans.into_iter().map(|file| ("--corpus", Some(file)));
        let read = |(option, file): (&'static str, Option<PathBuf>)| {
            let file = file?.canonicalize().ok()?;
            file.is_file().then_some((option, file))
        };
        named.into_iter().chain(plans).filter_map(read).collect()
    }

    /// Every file that is asked for, opened.
    fn files(&self) -> Result<Vec<Written>, UsageError> {
        let page = self.report.as_ref().map(|folder| folder.join("index.html"));
        if let Some(folder) = &self.report {
            fs::create_dir_all(folder).map_err(|error| {
                UsageError(format!("cannot make the folder --report {}: {error}", folder.display()))
            })?;
        }
        let asked = [
            (WrittenWhat::Page, page),
            (WrittenWhat::Trace, self.trace.clone()),
            (WrittenWhat::Junit, self.junit.clone()),
        ];
        let open = |(what, path): (WrittenWhat, Option<PathBuf>)| {
            let path = path?;
            let file = open_for_later(&path)
                .map_err(|error| UsageError(format!("cannot write {} {}: {error}", what.option(), path.display())));
            Some(file.map(|file| Written { what, path, file }))
        };
        asked.into_iter().filter_map(open).collect()
    }

    fn json_target(&self) -> Result<Option<JsonTarget>, UsageError> {
        match &self.json {
            None => Ok(None),
            Some(file) if file.as_os_str() == "-" => Ok(Some(JsonTarget::StandardOutput)),
            Some(file) => match open_for_later(file) {
                Ok(open) => Ok(Some(JsonTarget::File(file.clone(), open))),
                Err(error) => Err(UsageError(format!("cannot write --json {}: {error}", file.display()))),
            },
        }
    }
}

/// Opens a file that is written when the campaign is over, and leaves what is in it: another path of the same command line may be
/// a mistake.
fn open_for_later(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

/// Refuses an output in a file that is read, and two outputs in one file, of which only the one that is written last would be left. A device
/// takes as many as there are.
fn one_file_each(inputs: &[(&str, PathBuf)], json: Option<&JsonTarget>, written: &[Written]) -> Result<(), UsageError> {
    let json = match json {
        Some(JsonTarget::File(path, _)) => Some(("--json", path)),
        Some(JsonTarget::StandardOutput) | None => None,
    };
    let outputs = json.into_iter().chain(written.iter().map(|output| (output.what.option(), &output.path)));
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in outputs {
        // However it was written: it is there, since it was opened.
        let Ok(path) = path.canonicalize() else { continue };
        if let Some((input, _)) = inputs.iter().find(|(_, input)| *input == path) {
            let path = path.display();
            return Err(UsageError(format!(
                "{option} would be written over {path}, which {input} reads: name another file"
            )));
        }
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == path) {
            let path = path.display();
            return Err(UsageError(format!("{other} and {option} are both to be written to {path}: name two files")));
        }
        if path.is_file() {
            taken.push((option, path));
        }
    }
    Ok(())
}

/// Whether a scenario runs only when it is named.
pub(crate) fn is_hidden(scenario: &dyn Scenario) -> bool {
    scenario.name().starts_with(CANARY)
}

/// The profile that is asked for, its file read.
fn profile(word: &Path) -> Result<CampaignProfile, UsageError> {
    let unusable = |reason: String| UsageError(format!("cannot use --profile {}: {reason}", word.display()));
    CampaignProfile::read(word).map_err(unusable)
}

/// Where the plans are that are to be made smaller: in one file, or in a folder.
fn to_minimize<'p>(path: &'p Path, usual: Option<&'p Path>, given: Option<&'p Path>) -> Result<&'p Path, UsageError> {
    let own = path == Path::new("corpus") && !path.is_file();
    match given.or(usual).filter(|_| own) {
        Some(corpus) => Ok(corpus),
        None if own && !path.exists() => {
            let reason = "the program has no corpus of its own: name it with --corpus DIR";
            Err(not_minimized(path, reason))
        }
        None => Ok(path),
    }
}

/// The plan of a file, or those of a folder. A plan that is for no scenario cannot be run.
fn plans_of<'a>(path: &Path, scenarios: &'a [Box<dyn Scenario>]) -> Result<Corpus<'a>, UsageError> {
    if path.is_dir() {
        return Corpus::read(path, scenarios).map_err(|error| not_minimized(path, &error.to_string()));
    }
    let replay = Replay::read(path, scenarios).map_err(|reason| not_minimized(path, &reason))?;
    Ok(Corpus { replays: vec![replay], stale: Vec::new() })
}

fn not_minimized(path: &Path, reason: &str) -> UsageError {
    UsageError(format!("cannot minimize {}: {reason}", path.display()))
}

/// The saved plans of the scenarios that were chosen.
fn corpus<'a>(
    folder: Option<&Path>,
    scenarios: &'a [Box<dyn Scenario>],
    chosen: &[&dyn Scenario],
) -> Result<Corpus<'a>, UsageError> {
    let Some(folder) = folder else { return Ok(Corpus::default()) };
    let mut corpus = Corpus::read(folder, scenarios)
        .map_err(|error| UsageError(format!("cannot read the folder --corpus {}: {error}", folder.display())))?;
    // Plans of other scenarios are not stale, only not asked for.
    corpus.replays.retain(|replay| chosen.iter().any(|scenario| scenario.name() == replay.scenario.name()));
    Ok(corpus)
}

/// The names of all scenarios, if these are among them.
fn all_known(names: &[String], scenarios: &[Box<dyn Scenario>]) -> Result<Vec<&'static str>, UsageError> {
    let known: Vec<_> = scenarios.iter().map(|scenario| scenario.name()).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(UsageError(format!("there is no scenario {unknown:?}; there are {}", known.join(", ")))),
        None => Ok(known),
    }
}

/// The scenarios with these names, in the program's order; all that are not hidden when there are no names.
fn chosen<'a>(names: &[String], scenarios: &'a [Box<dyn Scenario>]) -> Result<Vec<&'a dyn Scenario>, UsageError> {
    let known = all_known(names, scenarios)?;
    let is_chosen = |scenario: &dyn Scenario| {
        if names.is_empty() { !is_hidden(scenario) } else { names.iter().any(|name| name == scenario.name()) }
    };
    let chosen: Vec<_> = scenarios.iter().map(|scenario| &**scenario).filter(|it| is_chosen(*it)).collect();
    if chosen.is_empty() {
        let message = format!("no scenario runs unless it is named; there are {}", known.join(", "));
        return Err(UsageError(message));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
