//! How a campaign gets on, on standard error: a bar on a terminal, elsewhere a line now and then.

use std::{fmt, io::Write, path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::{Failure, Watch, stopwatch::Stopwatch};

/// How often there is a line where there is no bar: rare enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    Bar,
    Lines,
    Nothing,
}

/// Shows how a campaign gets on, and saves the plans of its failures as they come: a campaign that is killed has not found
/// them in vain.
pub(crate) struct Progress<'a> {
    display: Display,
    bar: ProgressBar,
    err: &'a mut dyn Write,
    save: PathBuf,
    count: Option<u64>,
    done: u64,
    failures: u64,
    begun: Stopwatch,
    last_line: Duration,
    /// A plan that could not be saved.
    pub(crate) problem: Option<String>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(display: Display, err: &'a mut dyn Write, save: PathBuf) -> Self {
        Self {
            display,
            bar: ProgressBar::hidden(),
            err,
            save,
            count: None,
            done: 0,
            failures: 0,
            begun: Stopwatch::start(),
            last_line: Duration::ZERO,
            problem: None,
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
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
            Some(_) => "{msg} {bar:40} {human_pos}/{human_len} worlds, {rate}/s, {eta} left",
            None => "{msg} {spinner} {human_pos} worlds, {rate}/s, {elapsed} so far",
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
        self.bar.set_message(if again { "again" } else { "chaos" });
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    fn world_done(&mut self) {
        self.done += 1;
        match self.display {
            Display::Bar => self.bar.inc(1),
            Display::Lines => {
                let elapsed = self.begun.elapsed();
                if elapsed - self.last_line >= LINE_EVERY {
                    self.last_line = elapsed;
                    let of = self.count.map(|count| format!(" of {count}")).unwrap_or_default();
                    let line = format!("{:.0?}: {}{of} worlds, {} failures", elapsed, self.done, self.failures);
                    self.say(&line);
                }
            }
            Display::Nothing => {}
        }
    }

    fn failed(&mut self, failure: &mut Failure) {
        self.failures += 1;
        if let Err(error) = failure.save(&self.save) {
            self.problem = Some(format!("could not save a plan in {}: {error}", self.save.display()));
        }
        if self.display != Display::Nothing {
            let line = format!("{} broke in {}, seed {}", failure.rule(), failure.scenario, failure.seed);
            self.say(&line);
        }
    }
}
