//! What runs worlds again: this process, or another one.
//!
//! The other process gets its worlds on standard input, a JSON line each: `{"world": …, "records": false}`. It answers on standard
//! output, in an order of its own: `{"index": 7, "fingerprint": "00c3…", "records": [], "polls": []}`, where the index is the line of the
//! question.
//! Other lines of its output are what worker code printed, and are skipped.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::BTreeSet,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    num::NonZeroUsize,
    ops::ControlFlow,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use shiftwork_sim::{
    Outcome, Plan, Record, Scenario, Timeline,
    explore::{self, Profile},
};

use crate::{
    CampaignProfile,
    campaign::{
        order::{Source, WorldToRun},
        threads,
        world::{guarded, run_again},
    },
    profile::OwnProfile,
    report::Origin,
};

/// Names one world, so that any process that has its scenario can run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldSpec {
    /// The plan follows from the seed.
    Generated {
        /// Whose world.
        scenario: String,
        /// Its seed.
        seed: u64,
        /// How much goes wrong in it.
        profile: Profile,
    },
    /// The plan follows from the seed, under a profile of one's own.
    GeneratedByOwn {
        /// Whose world.
        scenario: String,
        /// Its seed.
        seed: u64,
        /// How much goes wrong in it.
        profile: OwnProfile,
    },
    /// The plan itself.
    Saved(Plan),
}

/// A world that is to be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Which.
    pub world: WorldSpec,
    /// Whether every record and every poll is asked for, or the fingerprint alone.
    pub records: bool,
}

/// What a world came to when it was run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its fingerprint.
    pub fingerprint: u64,
    /// Every record as text, if that was asked for.
    pub records: Vec<String>,
    /// Every poll as text, if that was asked for.
    pub polls: Vec<String>,
}

impl Answer {
    pub(crate) fn of(outcome: &Outcome, records: bool) -> Self {
        let fingerprint = outcome.fingerprint;
        if !records {
            return Self { fingerprint, records: Vec::new(), polls: Vec::new() };
        }
        let timeline = &outcome.timeline;
        let records = timeline.records().iter().map(|record| words(record, timeline));
        let polls = timeline.polls().iter().map(ToString::to_string);
        Self { fingerprint, records: records.collect(), polls: polls.collect() }
    }
}

/// All that there is to a record: what is not in these words would not be seen to differ.
fn words(record: &Record, timeline: &Timeline) -> String {
    let Record { at, node, task, what } = record;
    match node {
        Some(node) => format!("{at:?}, task {task} of {}: {what:?}", timeline.node(*node)),
        None => format!("{at:?}, around the nodes: {what:?}"),
    }
}

/// Runs worlds a second time.
pub trait SecondRun: Sync {
    /// Runs every world, in an order of its own, and tells what it came to under its place in `questions`. Once `stop` is set, it may leave
    /// out the rest.
    ///
    /// # Errors
    ///
    /// With one line, when not all of them could be run.
    fn run(
        &self,
        questions: &[Question],
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Answer),
    ) -> Result<(), String>;
}

/// Runs them in this process, the last one first, and each behind a few others of its scenario that nobody asked for. It finds less than another process would: addresses, the environment and
/// static variables are the same.
pub struct InProcess<'a> {
    scenarios: &'a [Box<dyn Scenario>],
}

impl<'a> InProcess<'a> {
    /// For worlds of these scenarios.
    #[must_use]
    pub fn new(scenarios: &'a [Box<dyn Scenario>]) -> Self {
        Self { scenarios }
    }
}

impl std::fmt::Debug for InProcess<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl SecondRun for InProcess<'_> {
    fn run(
        &self,
        questions: &[Question],
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Answer),
    ) -> Result<(), String> {
        self.run_until_told_enough(questions, jobs, stop, &mut |index, answer| {
            told(index, answer);
            ControlFlow::Continue(())
        })
    }
}

impl InProcess<'_> {
    /// As [`SecondRun::run`], until `told` has had enough.
    fn run_until_told_enough(
        &self,
        questions: &[Question],
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Answer) -> ControlFlow<()>,
    ) -> Result<(), String> {
        let reversed = |number: u64| usize::try_from(number).ok().map_or(0, |number| questions.len() - 1 - number);
        let mut problem = Ok(());
        threads::run_in_order(
            jobs,
            Some(questions.len() as u64),
            &|| stop.load(Ordering::Relaxed),
            &|number| self.answer(&questions[reversed(number)]),
            &mut |number, answer| match answer {
                Ok(answer) => told(reversed(number), answer),
                Err(error) => {
                    problem = Err(error);
                    ControlFlow::Break(())
                }
            },
        );
        problem
    }

    fn answer(&self, question: &Question) -> Result<Answer, String> {
        let (name, source) = match &question.world {
            WorldSpec::Generated { scenario, seed, profile } => {
                (scenario, Source::Generated { seed: *seed, profile: (*profile).into() })
            }
            WorldSpec::GeneratedByOwn { scenario, seed, profile } => {
                let profile = CampaignProfile::Own(Arc::new(profile.clone()));
                (scenario, Source::Generated { seed: *seed, profile })
            }
            WorldSpec::Saved(plan) => (&plan.scenario, Source::Saved(Cow::Borrowed(plan))),
        };
        let scenario = self.scenarios.iter().find(|scenario| scenario.name() == name);
        let scenario = &**scenario.ok_or_else(|| format!("there is no scenario {name:?} in the second run"))?;
        warm_up(scenario);
        let origin = Origin::Generated(Profile::Gentle.into());
        let world = WorldToRun { row: 0, scenario, scenario_index: None, origin, source };
        let outcome = run_again(&world, question.records)
            .map_err(|panic| format!("{name}, seed {} crashed in the second run: {panic}", world.seed()))?;
        Ok(Answer::of(&outcome, question.records))
    }
}

/// How many worlds of a scenario a thread runs before the first that is asked for.
const WARM_UP_WORLDS: u64 = 3;

thread_local! {
    /// Of which scenarios this thread has run a world.
    static WARMED_UP: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs a few worlds of a scenario, if this thread has run none: the first world of a process finds everything that worlds share as
/// the first world of the first run did, and a single one is always the first.
fn warm_up(scenario: &dyn Scenario) {
    if !WARMED_UP.with_borrow_mut(|scenarios| scenarios.insert(scenario.name())) {
        return;
    }
    for seed in 0..WARM_UP_WORLDS {
        // One that panics tells nothing of those that are asked for.
        drop(guarded(|| {
            explore::run_plan(scenario, &explore::generate(scenario, Profile::Gentle, seed).plan(), false)
        }));
    }
}

/// One line of the other process's output.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    index: usize,
    fingerprint: String,
    records: Vec<String>,
    polls: Vec<String>,
}

/// Runs them in another process, which answers with [`answer_on_stdio`].
pub struct ChildProcess {
    command: Box<dyn Fn(NonZeroUsize) -> Command + Sync>,
}

impl ChildProcess {
    /// A process that `command` starts; it is told on how many threads the process is to run.
    pub fn new(command: impl Fn(NonZeroUsize) -> Command + Sync + 'static) -> Self {
        Self { command: Box::new(command) }
    }

    fn talk(
        &self,
        questions: &[Question],
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Answer),
    ) -> std::io::Result<std::process::ExitStatus> {
        let mut child = (self.command)(jobs).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        std::thread::scope(|scope| {
            // Beside reading, or both sides could wait for each other with full pipes.
            scope.spawn(move || {
                let mut writer = BufWriter::new(stdin?);
                for question in questions {
                    // A child that has gone away is noticed by how it exits.
                    serde_json::to_writer(&mut writer, question).ok()?;
                    writer.write_all(b"\n").ok()?;
                }
                writer.flush().ok()
            });
            let Some(stdout) = stdout else { return };
            let mut lines = BufReader::new(stdout);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                if let Ok(AnswerLine { index, fingerprint, records, polls }) = serde_json::from_slice(&line)
                    && let Ok(fingerprint) = u64::from_str_radix(&fingerprint, 16)
                {
                    told(index, Answer { fingerprint, records, polls });
                }
                line.clear();
                if stop.load(Ordering::Relaxed) {
                    // The signal may have reached this process alone. It fails if the child has ended, which is as good.
                    drop(child.kill());
                    return;
                }
            }
        });
        child.wait()
    }
}

impl std::fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildProcess").finish_non_exhaustive()
    }
}

impl SecondRun for ChildProcess {
    fn run(
        &self,
        questions: &[Question],
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Answer),
    ) -> Result<(), String> {
        match self.talk(questions, jobs, stop, told) {
            Ok(status) if status.success() || stop.load(Ordering::Relaxed) => Ok(()),
            Ok(status) => Err(format!("the process of the second run failed: {status}")),
            Err(error) => Err(format!("the process of the second run could not be started: {error}")),
        }
    }
}

/// The other side of [`ChildProcess`]: reads all questions, runs their worlds, the last one first, and writes the answers,
/// until `stop` is set or nobody reads them any more.
///
/// # Errors
///
/// With one line, when a question cannot be read, a world not be run, or an answer not be written.
///
/// # Panics
///
/// When not even one thread can be started.
pub fn answer_on_stdio(
    scenarios: &[Box<dyn Scenario>],
    jobs: NonZeroUsize,
    stop: &AtomicBool,
    mut input: impl Read,
    output: &mut (impl Write + ?Sized),
) -> Result<(), String> {
    let mut text = String::new();
    input.read_to_string(&mut text).map_err(|error| format!("the worlds could not be read: {error}"))?;
    let questions: Result<Vec<Question>, _> = text.lines().map(serde_json::from_str).collect();
    let questions = questions.map_err(|error| format!("not a list of worlds: {error}"))?;
    let mut written = Ok(());
    let run = InProcess::new(scenarios).run_until_told_enough(&questions, jobs, stop, &mut |index, answer| {
        let Answer { fingerprint, records, polls } = answer;
        let line = AnswerLine { index, fingerprint: format!("{fingerprint:016x}"), records, polls };
        let line = serde_json::to_string(&line).unwrap_or_default();
        // A line break first: worker code may have printed half a line.
        match output.write_all(format!("\n{line}\n").as_bytes()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                written = Err(format!("an answer could not be written: {error}"));
                ControlFlow::Break(())
            }
        }
    });
    run.and(written)
}
