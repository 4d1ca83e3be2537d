//! How a campaign gets on, on standard error: a bar on a terminal, elsewhere a line now and then.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::{
    Failure, Watch,
    failure::{Found, Shrinking},
    plan_folder::PlanFolder,
    report::{Origin, ToolCrash},
    stopwatch::Stopwatch,
    table::{counted, origin_words},
};

/// How often there is a line where there is no bar: rare enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    Bar,
    Lines,
    Nothing,
}

/// Shows how a campaign gets on, and saves the plans of its failures as they come.
pub(crate) struct Progress<'a> {
    display: Display,
    bar: ProgressBar,
    err: &'a mut dyn Write,
    plans: PlanFolder,
    count: Option<u64>,
    done: u64,
    failures: u64,
    begun: Stopwatch,
    last_line: Duration,
    line_every: Duration,
    /// The plans that could not be saved.
    problems: Vec<String>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(display: Display, err: &'a mut dyn Write, save: PathBuf) -> Self {
        Self {
            display,
            bar: ProgressBar::hidden(),
            err,
            plans: PlanFolder::new(save),
            count: None,
            done: 0,
            failures: 0,
            begun: Stopwatch::start(),
            last_line: Duration::ZERO,
            line_every: LINE_EVERY,
            problems: Vec::new(),
        }
    }

    /// Takes the bar away, and the plans of what came to nothing. Returns which plans could not be saved, a line each.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.bar.finish_and_clear();
        self.plans.finish();
        std::mem::take(&mut self.problems)
    }

    /// Says a line if the last one was long enough ago; `line` makes it of the time since this began.
    fn say_now_and_then(&mut self, line: impl FnOnce(&Self, Duration) -> String) {
        let elapsed = self.begun.elapsed();
        if elapsed - self.last_line >= self.line_every {
            self.last_line = elapsed;
            let line = line(self, elapsed);
            self.say(&line);
        }
    }

    /// Takes note of a plan that could not be saved.
    fn note(&mut self, saved: io::Result<()>, world: &str) {
        if let Err(error) = saved {
            let folder = self.plans.path().display();
            self.problems.push(format!("could not save the plan of {world}, in {folder}: {error}"));
        }
    }

    fn say(&mut self, line: &str) {
        let err = &mut self.err;
        // Nobody is left to be told that nobody listens.
        self.bar.suspend(|| drop(writeln!(err, "{line}")));
    }
}

impl Watch for Progress<'_> {
    fn begins(&mut self, count: Option<u64>, again: bool) {
        (self.count, self.done, self.begun, self.last_line) = (count, 0, Stopwatch::start(), Duration::ZERO);
        if self.display != Display::Bar {
            if again && self.display == Display::Lines {
                self.say("running every world again");
            }
            return;
        }
        let style = match count {
            Some(_) => "{prefix} {bar:40} {human_pos}/{human_len} worlds, {rate}/s, {eta} left{msg}",
            None => "{prefix} {spinner} {human_pos} worlds, {rate}/s, {elapsed} so far{msg}",
        };
        self.bar.finish_and_clear();
        self.bar = match count {
            Some(count) => ProgressBar::new(count),
            None => ProgressBar::no_length(),
        };
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(style) {
            let rate = |bar: &ProgressState, text: &mut dyn fmt::Write| {
                // A template has nowhere to report an error to.
                let _ = write!(text, "{:.0}", bar.per_sec());
            };
            self.bar.set_style(style.with_key("rate", rate));
        }
        self.bar.set_prefix(if again { "again" } else { "chaos" });
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    fn world_done(&mut self) {
        self.done += 1;
        match self.display {
            Display::Bar => self.bar.inc(1),
            Display::Lines => self.say_now_and_then(|so_far, elapsed| {
                let of = so_far.count.map(|count| format!(" of {count}")).unwrap_or_default();
                format!("{elapsed:.0?}: {}{of} worlds, {} failures", so_far.done, so_far.failures)
            }),
            Display::Nothing => {}
        }
    }

    fn found(&mut self, found: &Found) {
        // What cannot be saved now is told when it cannot be saved again.
        drop(self.plans.save_as_found(found));
    }

    fn shrinking(&mut self, shrinking: &Shrinking) {
        match self.display {
            Display::Bar => self.bar.set_message(format!("; {}", words(shrinking))),
            Display::Lines => self.say_now_and_then(|_, elapsed| format!("{elapsed:.0?}: {}", words(shrinking))),
            Display::Nothing => {}
        }
    }

    fn failed(&mut self, failure: &mut Failure) {
        self.failures += 1;
        // If another one is still being shrunk, it says so at once.
        self.bar.set_message("");
        let saved = self.plans.save(failure);
        self.note(saved, &world_words(failure.scenario, failure.seed, &failure.origin));
        if self.display != Display::Nothing {
            let line = format!("{} broke in {}, seed {}", failure.rule(), failure.scenario, failure.seed);
            self.say(&line);
        }
    }

    fn crashed(&mut self, crash: &mut ToolCrash) {
        let saved = self.plans.save_crash(crash);
        self.note(saved, &world_words(crash.scenario, crash.seed, &crash.origin));
    }
}

/// Which world it is, as a person reads it.
fn world_words(scenario: &str, seed: u64, origin: &Origin) -> String {
    format!("{scenario}, seed {seed}, {}", origin_words(origin))
}

/// How far the shrinking of a failure has got, as a person reads it.
fn words(shrinking: &Shrinking) -> String {
    let Shrinking { scenario, seed, rule, worlds, worlds_max, faults } = shrinking;
    let left = counted(*faults as u64, "fault");
    format!(
        "shrinking {} of {scenario}, seed {seed}: {worlds} of at most {worlds_max} worlds, {left} left",
        rule.name()
    )
}

#[cfg(test)]
mod tests {
    use shiftwork_sim::{Plan, RuleName};

    use super::*;

    /// What is said where nothing else is, of a failure that is being shrunk and of a world that is done.
    fn said(display: Display, line_every: Duration) -> String {
        let mut err = Vec::new();
        let mut progress = Progress::new(display, &mut err, PathBuf::new());
        progress.line_every = line_every;
        progress.shrinking(&Shrinking {
            scenario: "orders",
            seed: 7,
            rule: RuleName::Scenario("paid once".to_owned()),
            worlds: 412,
            worlds_max: 2_000,
            faults: 3,
        });
        progress.world_done();
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn every_plan_that_cannot_be_saved_is_told() {
        let taken = tempfile::NamedTempFile::new().unwrap();
        let mut err = Vec::new();
        let mut progress = Progress::new(Display::Nothing, &mut err, taken.path().to_owned());
        for number in [3, 9] {
            let (origin, plan) = (Origin::Injected { number }, Some(Plan::quiet("orders", 0)));
            let message = "no world".to_owned();
            progress.crashed(&mut ToolCrash { scenario: "orders", origin, seed: 0, message, plan, plan_file: None });
        }
        let problems = progress.finish();
        let told = problems.iter().map(|problem| problem.split(" in ").next().unwrap()).collect::<Vec<_>>();
        let plan_of = "could not save the plan of orders, seed 0,";
        assert_eq!(told, [format!("{plan_of} injection 3,"), format!("{plan_of} injection 9,")]);
    }

    #[test]
    fn shrinking_is_told_in_lines_as_worlds_are() {
        let said = said(Display::Lines, Duration::ZERO);
        // Without the time that each of them begins with.
        let lines: Vec<_> = said.lines().filter_map(|line| line.split_once(": ")).map(|(_, rest)| rest).collect();
        let shrinking = "shrinking paid once of orders, seed 7: 412 of at most 2000 worlds, 3 faults left";
        assert_eq!(lines, [shrinking, "1 worlds, 0 failures"]);
    }

    #[test]
    fn shrinking_is_told_no_more_often_than_worlds_are_and_nobody_who_wants_nothing() {
        assert_eq!(said(Display::Lines, Duration::MAX), "");
        assert_eq!(said(Display::Nothing, Duration::ZERO), "");
    }
}
