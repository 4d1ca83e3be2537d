//! The program: arguments in, a campaign, a report out.

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, FromArgMatches};
use shiftwork_sim::{Scenario, explore, panics, watchdog};

use crate::{
    Campaign, CampaignReport, Verdict,
    campaign::world,
    cli::{CampaignRequest, Cli, JsonTarget, MinimizeRequest, Request, UsageError, Written, WrittenWhat, is_hidden},
    corpus::Corpus,
    determinism::{ChildProcess, SecondRun, answer_on_stdio},
    exhibit, exit, interruption, json, junit, merge, minimize, page,
    progress::{Display, Progress},
    table::{Detail, Text},
    trace,
};

/// The whole program, for `fn main`: reads the arguments of the process, runs what they ask for, and returns the exit code that
/// [`crate::exit`] documents.
///
/// # Panics
///
/// When two scenarios have the same name.
#[must_use]
pub fn main(scenarios: Vec<Box<dyn Scenario>>) -> ExitCode {
    Tool::new(scenarios).main()
}

/// The program as a value, for those who start it in another way than `cargo xtask chaos`.
pub struct Tool {
    scenarios: Vec<Box<dyn Scenario>>,
    command: String,
    corpus: Option<PathBuf>,
    second_run: Box<dyn SecondRun>,
}

/// How long a poll may last, in real time, before a world is given up and the program with it: far longer than a busy machine
/// takes for one, and shorter than a person waits.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the program is called after `cargo xtask`.
const NAME: &str = "chaos";

/// What of a terminal the program sees.
struct Surroundings {
    display: Display,
    stop: Arc<AtomicBool>,
    environment: fn(&str) -> Option<String>,
}

impl Tool {
    /// A program over these scenarios.
    ///
    /// # Panics
    ///
    /// When two of them have the same name.
    #[must_use]
    pub fn new(scenarios: Vec<Box<dyn Scenario>>) -> Self {
        for (index, scenario) in scenarios.iter().enumerate() {
            let name = scenario.name();
            let twice = scenarios[..index].iter().any(|other| other.name() == name);
            assert!(!twice, "two scenarios are called {name:?}: give one another name");
        }
        let itself = ChildProcess::new(|jobs| {
            let program =
                std::env::current_exe().unwrap_or_else(|_| std::env::args_os().next().unwrap_or_default().into());
            let mut command = Command::new(program);
            command.args(["--fingerprints", "--jobs", &jobs.to_string()]);
            command
        });
        Self { scenarios, command: "cargo xtask chaos".to_owned(), corpus: None, second_run: Box::new(itself) }
    }

    /// What a person types to start the program, for the lines that replay a failure; `cargo xtask chaos` by default.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }

    /// The folder of saved plans that every campaign replays first, unless `--corpus` names another. A single seed or plan
    /// is run alone.
    #[must_use]
    pub fn corpus(mut self, folder: impl Into<PathBuf>) -> Self {
        self.corpus = Some(folder.into());
        self
    }

    /// What runs worlds again for `--verify-determinism`; by default this program in another process, which a test binary cannot
    /// be.
    #[must_use]
    pub fn second_run(mut self, second_run: impl SecondRun + 'static) -> Self {
        self.second_run = Box::new(second_run);
        self
    }

    /// Runs with the arguments and streams of the process.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        let args = self.without_its_own_name(std::env::args_os().skip(1).collect());
        if let Some(files) = merge_files(&args) {
            return ExitCode::from(self.merge(&files, &mut io::stdout(), &mut io::stderr()));
        }
        let cli = match self.parse(args) {
            Ok(cli) => cli,
            Err(error) => error.exit(),
        };
        if !cli.shows_panics() {
            panics::silence();
        }
        let watched = watchdog::arm(STUCK_AFTER, |stuck| {
            eprintln!("a world does not go on: {} is polled for {:?}. Its plan:", stuck.task, stuck.lasted);
            eprintln!("{}", stuck.plan.to_json());
            std::process::exit(exit::STUCK.into());
        });
        if let Err(error) = watched {
            eprintln!("a world that does not go on is not noticed: {error}");
        }
        let stop = Arc::new(AtomicBool::new(false));
        if let Err(error) = interruption::listen(&stop) {
            eprintln!("Ctrl-C and SIGTERM end the campaign without a report: {error}");
        }
        let display = match (cli.is_quiet(), io::stderr().is_terminal()) {
            (true, _) => Display::Nothing,
            (false, true) => Display::Bar,
            (false, false) => Display::Lines,
        };
        let environment = |name: &str| std::env::var(name).ok();
        let colour = if cli.wants_colour() { ColorChoice::Auto } else { ColorChoice::Never };
        // Not locked: worker code may print, and its threads would wait for the end of the campaign.
        let mut out = AutoStream::new(io::stdout(), colour);
        let mut err = AutoStream::new(io::stderr(), colour);
        let code = self.act(&cli, &Surroundings { display, stop, environment }, &mut out, &mut err);
        // A reader that has gone away has seen what it wanted.
        drop((out.flush(), err.flush()));
        ExitCode::from(code)
    }

    /// Runs with these arguments, the program's name not among them, and writes to these streams, without colours and
    /// progress. Returns the exit code.
    pub fn run(
        &self,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> u8 {
        let args = self.without_its_own_name(args.into_iter().map(Into::into).collect());
        if let Some(files) = merge_files(&args) {
            return self.merge(&files, out, err);
        }
        match self.parse(args) {
            Ok(cli) => {
                let surroundings =
                    Surroundings { display: Display::Nothing, stop: Arc::default(), environment: |_| None };
                let mut text = Vec::new();
                let mut errors = Vec::new();
                let code = self.act(&cli, &surroundings, &mut text, &mut errors);
                let plain = |text: Vec<u8>| anstream::adapter::strip_bytes(&text).into_vec();
                drop(err.write_all(&plain(errors)));
                match write_for_programs(out, &plain(text)) {
                    Ok(()) => code,
                    Err(error) => {
                        drop(writeln!(err, "could not write what was found: {error}"));
                        Verdict::ToolCrashed.code()
                    }
                }
            }
            Err(error) => {
                let text = error.render().to_string();
                drop(if error.use_stderr() { err.write_all(text.as_bytes()) } else { out.write_all(text.as_bytes()) });
                u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
            }
        }
    }

    /// The arguments without a `chaos` in front. The printed lines begin with `cargo xtask chaos`, and must work where the whole
    /// of `cargo xtask` is this program as well.
    fn without_its_own_name(&self, mut args: Vec<OsString>) -> Vec<OsString> {
        let named = args.first().is_some_and(|first| first == NAME);
        if named && !self.scenarios.iter().any(|scenario| scenario.name() == NAME) {
            args.remove(0);
        }
        args
    }

    fn parse(&self, args: Vec<OsString>) -> Result<Cli, clap::Error> {
        let args = [OsString::from(NAME)].into_iter().chain(args);
        // Usage and errors name what a person typed.
        let command = Cli::command().bin_name(self.command.clone());
        command.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches))
    }

    /// Merges the reports of shards and writes the whole one to `out`, its verdict to `err`. Returns the exit code of that verdict.
    fn merge(&self, files: &[PathBuf], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        let read = |file: &PathBuf| match fs::read_to_string(file) {
            Ok(text) => Ok((file.to_string_lossy().into_owned(), text)),
            Err(error) => Err(format!("{}: {error}", file.display())),
        };
        let texts: Result<Vec<_>, _> = files.iter().map(read).collect();
        let merged =
            texts.and_then(|texts| merge::merge_texts(texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))));
        match merged {
            Ok(report) => {
                let worlds: u64 = report.scenarios.iter().map(|row| row.worlds).sum();
                drop(writeln!(err, "{}: {worlds} worlds in {} shards", report.verdict, files.len()));
                match write_for_programs(out, report.to_json().as_bytes()) {
                    Ok(()) => report.exit_code,
                    Err(error) => {
                        drop(writeln!(err, "could not write the report to standard output: {error}"));
                        Verdict::ToolCrashed.code()
                    }
                }
            }
            Err(reason) => {
                drop(writeln!(err, "error: cannot merge: {reason}\n\nUsage: {} merge A.json B.json…", self.command));
                exit::USAGE
            }
        }
    }

    fn act(&self, cli: &Cli, surroundings: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        match cli.request(&self.scenarios, self.corpus.as_deref(), &surroundings.environment) {
            Ok(Request::List) => {
                drop(out.write_all(self.list().as_bytes()));
                Verdict::Kept.code()
            }
            Ok(Request::Fingerprints { jobs }) => {
                match answer_on_stdio(&self.scenarios, jobs, &surroundings.stop, io::stdin(), out) {
                    Ok(()) => Verdict::Kept.code(),
                    Err(reason) => {
                        drop(writeln!(err, "{reason}"));
                        Verdict::ToolCrashed.code()
                    }
                }
            }
            Ok(Request::Minimize(MinimizeRequest { corpus, is_one_plan, to_stdout })) => {
                if is_one_plan {
                    tell_misfits(&corpus, err);
                }
                let into = if to_stdout { minimize::Destination::Stream(out) } else { minimize::Destination::Files };
                minimize::minimize(&corpus, into, surroundings.display, &surroundings.stop, err).code()
            }
            Ok(Request::Campaign(request)) => self.campaign(*request, surroundings, out, err),
            Err(UsageError(message)) => {
                let command = &self.command;
                drop(writeln!(err, "error: {message}\n\nFor more information, try '{command} --help'."));
                exit::USAGE
            }
        }
    }

    fn campaign(
        &self,
        request: CampaignRequest<'_>,
        surroundings: &Surroundings,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> u8 {
        let CampaignRequest {
            scenarios,
            corpus,
            search,
            seeds,
            profile,
            jobs,
            failures_max,
            poll_max_real,
            verify_determinism,
            save,
            json,
            written: files,
            shard,
            detail,
            is_replay,
        } = request;
        if is_replay {
            tell_misfits(&corpus, err);
        }
        let mut campaign = Campaign::over(scenarios);
        campaign.corpus = corpus;
        campaign.search = search;
        campaign.seeds = seeds;
        campaign.profile = profile;
        campaign.shard = shard;
        campaign.jobs = jobs;
        campaign.failures_max = failures_max;
        campaign.poll_max_real = poll_max_real;
        campaign.second_run = verify_determinism.then_some(&*self.second_run);
        campaign.stop = surroundings.stop.clone();
        let mut progress = Progress::new(surroundings.display, err, save);
        let report = campaign.run_watched(&mut progress);
        let mut problems = progress.finish();
        if is_replay && detail == Detail::All {
            let text = timeline(&campaign, &report);
            // Where the tables go.
            drop(match json {
                Some(JsonTarget::StandardOutput) => err.write_all(text.as_bytes()),
                Some(JsonTarget::File(..)) | None => out.write_all(text.as_bytes()),
            });
        }
        let text = Text { report: &report, command: &self.command, detail }.to_string();
        drop(match json {
            Some(JsonTarget::StandardOutput) => err.write_all(text.as_bytes()),
            Some(JsonTarget::File(..)) | None => out.write_all(text.as_bytes()),
        });
        if !files.is_empty() {
            problems.extend(self.write_files(&campaign, &report, files));
        }
        // Last, since it tells what the program comes to, and not the campaign alone.
        if let Some(json) = json {
            let mut of_program = json::Report::of(&report);
            let verdict = with_problems(report.verdict(), &problems);
            (of_program.verdict, of_program.exit_code) = (verdict.as_str().to_owned(), verdict.code());
            problems.extend(write_json(json, &of_program.to_json(), out));
        }
        for problem in &problems {
            drop(writeln!(err, "{problem}"));
        }
        with_problems(report.verdict(), &problems).code()
    }

    /// Writes the files that were asked for; returns what could not be written.
    fn write_files(&self, campaign: &Campaign<'_>, report: &CampaignReport, written: Vec<Written>) -> Vec<String> {
        let exhibits = exhibit::choose(campaign, report);
        let write = |Written { what, path, mut file }: Written| {
            let text = match what {
                WrittenWhat::Page => page::to_html(report, &exhibits, &self.command),
                WrittenWhat::Trace => trace::to_json(&exhibits),
                WrittenWhat::Junit => junit::to_xml(report, &self.command),
            };
            write_anew(&mut file, &text).err().map(|error| format!("could not write {}: {error}", path.display()))
        };
        written.into_iter().filter_map(write).collect()
    }

    fn list(&self) -> String {
        let mut text = String::new();
        for scenario in &self.scenarios {
            let surface = scenario.surface();
            let named = if is_hidden(&**scenario) { " (runs only when it is named)" } else { "" };
            let sites = |kind: &str, names: &[String]| {
                if names.is_empty() { String::new() } else { format!("  {kind}: {}\n", names.join(", ")) }
            };
            text.push_str(&format!("{}: {}{named}\n", scenario.name(), scenario.about()));
            text.push_str(&sites("dependencies", &surface.dependencies));
            text.push_str(&sites("queues", &surface.queues));
            text.push_str(&format!("  faults for {:?}, then it must recover\n", surface.horizon));
        }
        text
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.scenarios.iter().map(|scenario| scenario.name()).collect();
        f.debug_struct("Tool").field("scenarios", &names).field("command", &self.command).finish_non_exhaustive()
    }
}

/// Tells of plans that are run although their scenario does not know everything in them: those that were named one by one. Those of a folder
/// have been asked, which may take a world each, and do not come here if they do not fit.
fn tell_misfits(corpus: &Corpus<'_>, err: &mut dyn Write) {
    for replay in &corpus.replays {
        if let Some(reason) = replay.misfit() {
            drop(writeln!(err, "{} may be stale: {reason}", replay.file.display()));
        }
    }
}

/// Everything that happened in the world of a saved plan that broke no rule. One that did has its own report.
fn timeline(campaign: &Campaign<'_>, report: &CampaignReport) -> String {
    let kept = report.failures.is_empty() && report.crashes.is_empty();
    let replays = campaign.corpus.replays.iter().filter(|_| kept);
    // One that panics this time has no timeline.
    let again = replays.filter_map(|it| world::guarded(|| explore::run_plan(it.scenario, &it.plan, true)).ok());
    again.map(|outcome| outcome.timeline.to_string()).collect()
}

/// What the program comes to after a campaign, if there were these problems besides.
fn with_problems(campaign: Verdict, problems: &[String]) -> Verdict {
    if problems.is_empty() { campaign } else { Verdict::ToolCrashed }
}

/// Writes the report for programs; returns what could not be written.
fn write_json(target: JsonTarget, text: &str, out: &mut dyn Write) -> Option<String> {
    match target {
        JsonTarget::StandardOutput => {
            let error = write_for_programs(out, text.as_bytes()).err()?;
            Some(format!("could not write the report to standard output: {error}"))
        }
        JsonTarget::File(path, mut file) => {
            let error = write_anew(&mut file, text).err()?;
            Some(format!("could not write {}: {error}", path.display()))
        }
    }
}

/// Writes what a program reads, to its end: half of it would pass for all. A reader that has gone away has seen what it wanted.
fn write_for_programs(out: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a file that was opened before there was anything to write. What was in it until now goes away only now.
fn write_anew(file: &mut fs::File, text: &str) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

/// The reports to merge, if that is what the arguments ask for.
fn merge_files(args: &[OsString]) -> Option<Vec<PathBuf>> {
    let (first, files) = args.split_first()?;
    (first == "merge").then(|| files.iter().map(PathBuf::from).collect())
}
