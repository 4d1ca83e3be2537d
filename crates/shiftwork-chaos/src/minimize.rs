//! Saved plans made smaller: `--minimize FILE|corpus`.
//!
//! A plan that was saved long ago, or written by hand, is run; if a rule breaks, the plan is shrunk as that of a new failure is,
//! and takes the old one's place. What it comes to is told plan by plan: how much smaller it got, and what happens without
//! each thing that is left. One whose scenario panics is shrunk towards the same panic. A plan that breaks no rule any more has nothing to shrink
//! towards, and stays as it is. Of one that is interrupted the smallest so far is kept.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shiftwork_sim::{
    Plan, RuleName, Violation,
    explore::{self, Crash, Progress, Shrunk, ShrunkCrash, Without},
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
/// whatever they break. One that breaks its rule only once has lost determinism; it is told, as one is whose scenario panics, or does as it is
/// shrunk, and the others are dealt with all the same.
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
                let Shrunk { outcome, worlds, without, crash } = *shrunk;
                tell_smaller(&format!("{file} breaks {rule}"), (&replay.plan, &outcome.plan), worlds, &without, err);
                if let Some(crash) = crash {
                    let Crash { plan, said } = crash;
                    drop(writeln!(err, "  the tool crashed in the world of a plan with {}: {said}", sizes(&plan)));
                    verdict = Verdict::ToolCrashed;
                }
                outcome.plan
            }
            Ok(Smaller::Crashed(shrunk)) => {
                let ShrunkCrash { crash: Crash { plan, said }, worlds, without } = *shrunk;
                if plan == replay.plan {
                    drop(writeln!(err, "{file} stays as it is: the tool crashed in its world: {said}"));
                } else {
                    let told = format!("{file} crashes the tool: {said}");
                    tell_smaller(&told, (&replay.plan, &plan), worlds, &without, err);
                }
                verdict = Verdict::ToolCrashed;
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
    /// The tool crashed in its world, and does in that of a smaller one.
    Crashed(Box<ShrunkCrash>),
}

/// Tells how much smaller a plan has got, and what happens without each thing that is left in it.
fn tell_smaller(what: &str, (before, after): (&Plan, &Plan), worlds: u32, without: &[Without], err: &mut dyn Write) {
    let (before, after) = (sizes(before), sizes(after));
    drop(writeln!(err, "{what}: {before}, shrunk to {after} in {}", counted(worlds.into(), "world")));
    for without in without {
        drop(writeln!(err, "  {without}"));
    }
}

fn smaller(replay: &Replay<'_>, display: Display, stop: &AtomicBool, err: &mut dyn Write) -> Smaller {
    let first = world::guarded(|| explore::run_plan(replay.scenario, &replay.plan, false));
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
    let smaller = match first.map(|first| (first.plan, first.violations.into_iter().next())) {
        Ok((_, None)) => Smaller::Kept,
        Ok((plan, Some(Violation { rule, .. }))) => {
            let shrunk = explore::shrink(replay.scenario, &plan, &rule, SHRINK_WORLDS_MAX, &mut tell);
            if shrunk.outcome.broke_first(&rule) {
                Smaller::Shrunk { rule, shrunk: Box::new(shrunk) }
            } else {
                Smaller::Lost { rule }
            }
        }
        Err(said) => {
            let shrunk = explore::shrink_crash(replay.scenario, &replay.plan, SHRINK_WORLDS_MAX, &mut tell);
            // It may have crashed that once.
            let once = || {
                let crash = Crash { plan: replay.plan.clone(), said };
                ShrunkCrash { crash, worlds: 0, without: Vec::new() }
            };
            Smaller::Crashed(Box::new(shrunk.unwrap_or_else(once)))
        }
    };
    bar.finish_and_clear();
    smaller
}

fn sizes(plan: &Plan) -> String {
    let faults = counted(plan.faults.len() as u64, "fault");
    if plan.order.is_plain() { faults } else { format!("{faults} and an order of tasks") }
}
