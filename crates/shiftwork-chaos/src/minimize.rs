//! Saved plans made smaller: `--minimize FILE|corpus`.
//!
//! A plan that was saved long ago, or written by hand, is run; if a rule breaks, the plan is shrunk as that of a new failure is,
//! and takes the old one's place. What it comes to is told plan by plan: how much smaller it got, and what happens without
//! each thing that is left. A plan that breaks no rule any more has nothing to shrink towards, and stays as it is. Of one that is interrupted
//! the smallest so far is kept.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shiftwork_sim::{
    Plan, RuleName,
    explore::{self, Progress, Shrunk},
};

use crate::{
    Verdict,
    campaign::{SHRINK_WORLDS_MAX, world},
    corpus::{self, Corpus, Replay},
    interruption,
    progress::Display,
    table::counted,
};

/// Where the smaller plans go.
pub(crate) enum Destination<'a> {
    /// Each into the file that it came from.
    Files,
    /// One after the other.
    Stream(&'a mut dyn Write),
}

/// How often there is a line where there is no bar, in worlds: shrinking one plan takes some hundreds.
const LINE_EVERY: u32 = 500;

/// Makes the plans of `corpus` smaller, and tells `err` what came of each. [`Verdict::Kept`] when all of them were dealt with,
/// whatever they break. One that breaks its rule only once has lost determinism; it is told, as one is whose scenario panics, and the
/// others are dealt with all the same.
pub(crate) fn minimize(
    corpus: &Corpus<'_>,
    mut into: Destination<'_>,
    display: Display,
    stop: &AtomicBool,
    err: &mut dyn Write,
) -> Verdict {
    for stale in &corpus.stale {
        drop(writeln!(err, "{} is stale and stays as it is: {}", stale.file.display(), stale.reason));
    }
    let mut verdict = Verdict::Kept;
    for replay in &corpus.replays {
        if stop.load(Ordering::Relaxed) {
            return verdict.max(Verdict::Interrupted);
        }
        let file = replay.file.display();
        let smallest = match world::guarded(|| smaller(replay, display, stop, err)) {
            Err(panic) => {
                drop(writeln!(err, "{file} stays as it is: the tool crashed in its world: {panic}"));
                verdict = Verdict::ToolCrashed;
                continue;
            }
            Ok(Smaller::Kept) => {
                drop(writeln!(err, "{file} breaks no rule any more, and stays as it is"));
                replay.plan.clone()
            }
            Ok(Smaller::Lost { rule }) => {
                drop(writeln!(err, "{file} stays as it is: it broke {rule} once, and not when it was run again"));
                verdict = verdict.max(Verdict::DeterminismLost);
                replay.plan.clone()
            }
            Ok(Smaller::Shrunk { rule, shrunk }) => {
                let plan = shrunk.outcome.plan.clone();
                let (before, after) = (sizes(&replay.plan), sizes(&plan));
                let worlds = counted(shrunk.worlds.into(), "world");
                drop(writeln!(err, "{file} breaks {rule}: {before}, shrunk to {after} in {worlds}"));
                for without in &shrunk.without {
                    drop(writeln!(err, "  {without}"));
                }
                plan
            }
        };
        let written = match &mut into {
            Destination::Files if smallest == replay.plan => Ok(()),
            Destination::Files => corpus::write(&replay.file, &smallest),
            Destination::Stream(out) => writeln!(out, "{}", smallest.to_json().trim_end()),
        };
        if let Err(error) = written {
            // A reader that has gone away has seen what it wanted.
            if matches!(into, Destination::Stream(_)) && error.kind() == io::ErrorKind::BrokenPipe {
                return verdict;
            }
            drop(writeln!(err, "could not write {file}: {error}"));
            return Verdict::ToolCrashed;
        }
    }
    // The last plan may have been cut short as well.
    if stop.load(Ordering::Relaxed) { verdict.max(Verdict::Interrupted) } else { verdict }
}

/// What became of one plan.
enum Smaller {
    /// It breaks nothing.
    Kept,
    /// It broke this rule once, and then no more: its world is not a function of its seed.
    Lost {
        rule: RuleName,
    },
    Shrunk {
        rule: RuleName,
        shrunk: Box<Shrunk>,
    },
}

fn smaller(replay: &Replay<'_>, display: Display, stop: &AtomicBool, err: &mut dyn Write) -> Smaller {
    let first = explore::run_plan(replay.scenario, &replay.plan, false);
    let Some(violation) = first.violations.into_iter().next() else { return Smaller::Kept };
    let bar = match display {
        Display::Bar => ProgressBar::with_draw_target(Some(SHRINK_WORLDS_MAX.into()), ProgressDrawTarget::stderr()),
        Display::Lines | Display::Nothing => ProgressBar::hidden(),
    };
    // A template that is not one shows the usual bar.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos} of at most {human_len} worlds, {msg} left") {
        bar.set_style(style);
    }
    let mut tell = |progress: Progress<'_>| {
        bar.set_position(progress.worlds.into());
        bar.set_message(sizes(progress.smallest));
        if display == Display::Lines && progress.worlds.is_multiple_of(LINE_EVERY) {
            let (worlds, left) = (counted(progress.worlds.into(), "world"), sizes(progress.smallest));
            drop(writeln!(err, "{}: {worlds}, {left} left", replay.file.display()));
        }
        interruption::goes_on_unless(stop)
    };
    let shrunk = explore::shrink(replay.scenario, &first.plan, &violation.rule, SHRINK_WORLDS_MAX, &mut tell);
    bar.finish_and_clear();
    if !shrunk.outcome.broke_first(&violation.rule) {
        return Smaller::Lost { rule: violation.rule };
    }
    Smaller::Shrunk { rule: violation.rule, shrunk: Box::new(shrunk) }
}

fn sizes(plan: &Plan) -> String {
    let faults = counted(plan.faults.len() as u64, "fault");
    if plan.order.is_plain() { faults } else { format!("{faults} and an order of tasks") }
}
