//! D: when ticks are due, and which are served.

use std::time::Duration;

use shiftwork::{
    FailureKind, Overlap, Rule, TickPolicy,
    event::{CycleId, Declaration, Event, Settle, SourceKind},
    queue::Timestamp,
};
use shiftwork_sim::{millis, secs};

use crate::{
    Canary,
    story::{A, Story, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::D1, "a fixed rate has drifted", drifts),
    Canary::new(Rule::D1, "a tick is served late by itself", late),
    Canary::new(Rule::D1, "a fixed rate falls silent", rate_falls_silent),
    Canary::new(Rule::D1, "a fixed rate never begins", rate_never_begins),
    Canary::new(Rule::D2, "a tick is served beside the one before", overlaps),
    Canary::new(Rule::D3, "a missed tick is not said", missed_unsaid),
    Canary::new(Rule::D3, "a cycle has no tick", cycle_without_a_tick),
    Canary::new(Rule::D3, "a tick that was served has no cycle", tick_without_a_cycle),
    Canary::new(Rule::D4, "the delay is too short", delay_too_short),
    Canary::new(Rule::D4, "a fixed delay falls silent", delay_falls_silent),
    Canary::new(Rule::D4, "a fixed delay never begins", delay_never_begins),
    Canary::new(Rule::D5, "a tick is served twice", served_twice),
    Canary::new(Rule::D5, "a one-off is served before its time", one_off_too_soon),
    Canary::new(Rule::D5, "a one-off falls silent", one_off_falls_silent),
    Canary::new(Rule::D5, "a one-off whose time has passed falls silent", one_off_of_the_past_falls_silent),
    Canary::new(Rule::D5, "a one-off falls silent, and no clock has stepped", one_off_falls_silent_without_a_step),
    Canary::new(Rule::D6, "a cycle outlasts what it has once the next tick is due", goes_on),
    Canary::new(Rule::D6, "a cycle outlasts the next tick of a calendar by more", calendar_waits),
    Canary::new(Rule::D6, "a cycle is asked to end before the next tick is due", asked_too_soon),
    Canary::new(Rule::D6, "a cycle is asked to end for a tick that is held back", asked_in_a_pause),
    Canary::new(Rule::D6, "a tick waits for the retry of the one before", retried_instead),
    Canary::new(Rule::T4, "a cycle that a tick has ended is said to have failed by itself", failed_for_the_next),
];

fn scheduled(source: SourceKind) -> Declaration {
    Declaration { source, ..worker("a") }
}

fn every_ten_seconds() -> Declaration {
    scheduled(SourceKind::FixedRate { period: secs(10), first_after: secs(0), policy: TickPolicy::default() })
}

/// The wall time, so long after the beginning.
fn wall(at: Duration) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin.checked_add(at).unwrap()
}

/// Tick `number` is served now, as due at `due`.
fn tick(story: &mut Story, number: u64, missed: u64, (due, late): (Duration, Duration)) {
    let due = wall(due);
    story.tells(Event::TickDue { worker: A, number, due, missed, late, triggered: false });
}

/// The tick `number`, in time, and its cycle, which takes as long.
fn served(story: &mut Story, number: u64, at: Duration, took: Duration) {
    tick(story.at(at), number, 0, (at, secs(0)));
    story.cycle_starts(A, number, 1).at(at + took).cycle_ends(A, number, None, took).settles(A, number, Settle::Ack);
}

fn drifts(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    served(story, 1, secs(0), secs(1));
    served(story, 2, if wrong { millis(10_001) } else { secs(10) }, secs(1));
    story.stops();
}

fn late(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    served(story, 1, secs(0), secs(1));
    let late = millis(if wrong { 3 } else { 2 });
    tick(story.at(secs(10) + late), 2, 0, (secs(10), late));
    story.cycle(A, (2, 1), None, Settle::Ack).stops();
}

fn rate_falls_silent(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    served(story, 1, secs(0), secs(1));
    served(story, 2, secs(10), secs(1));
    story.at(millis(if wrong { 20_003 } else { 20_002 })).stops();
}

fn overlaps(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    tick(story, 1, 0, (secs(0), secs(0)));
    story.cycle_starts(A, 1, 1);
    if !wrong {
        story.cycle_ends(A, 1, None, secs(0)).settles(A, 1, Settle::Ack);
    }
    tick(story.at(secs(10)), 2, 0, (secs(10), secs(0)));
    story.cycle_starts(A, 2, 1);
    if wrong {
        story.cycle_ends(A, 1, None, secs(10)).settles(A, 1, Settle::Ack);
    }
    story.cycle_ends(A, 2, None, secs(0)).settles(A, 2, Settle::Ack).stops();
}

fn missed_unsaid(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    served(story, 1, secs(0), secs(20));
    if !wrong {
        story.tells(Event::TicksMissed { worker: A, count: 1 });
    }
    tick(story, 3, 1, (secs(20), secs(0)));
    story.cycle(A, (2, 1), None, Settle::Ack).stops();
}

fn tick_without_a_cycle(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    if wrong {
        tick(story, 1, 0, (secs(0), secs(0)));
    } else {
        served(story, 1, secs(0), secs(0));
    }
    served(story, 2, secs(10), secs(0));
    story.stops();
}

fn cycle_without_a_tick(story: &mut Story, wrong: bool) {
    story.runs(&[every_ten_seconds()]);
    if !wrong {
        tick(story, 1, 0, (secs(0), secs(0)));
    }
    story.cycle(A, (1, 1), None, Settle::Ack).stops();
}

fn delay_too_short(story: &mut Story, wrong: bool) {
    story.runs(&[scheduled(SourceKind::FixedDelay { delay: secs(10), first_after: secs(0), jitter: secs(0) })]);
    served(story, 1, secs(0), secs(1));
    served(story, 2, millis(if wrong { 10_999 } else { 11_000 }), secs(1));
    story.stops();
}

fn delay_falls_silent(story: &mut Story, wrong: bool) {
    story.runs(&[scheduled(SourceKind::FixedDelay { delay: secs(10), first_after: secs(0), jitter: secs(3) })]);
    served(story, 1, secs(0), secs(1));
    story.at(millis(if wrong { 14_003 } else { 14_002 })).stops();
}

fn served_twice(story: &mut Story, wrong: bool) {
    story.runs(&[scheduled(SourceKind::Cron { policy: TickPolicy::default() })]);
    served(story, 1, secs(0), secs(1));
    let due = if wrong { secs(0) } else { secs(60) };
    tick(story.at(secs(60)), 2, 0, (due, secs(0)));
    story.cycle(A, (2, 1), None, Settle::Ack).stops();
}

/// One tick, at that time, and not before so long after its intake has opened.
fn one_off(at: Duration, first_after: Duration) -> Declaration {
    scheduled(SourceKind::Once { at: wall(at), first_after, policy: TickPolicy::default() })
}

fn one_off_falls_silent(story: &mut Story, wrong: bool) {
    story.runs(&[one_off(secs(60), secs(0))]);
    story.at(millis(if wrong { 60_003 } else { 60_002 })).stops();
}

/// It was due long before the host ran.
fn one_off_of_the_past_falls_silent(story: &mut Story, wrong: bool) {
    story.at(secs(90)).runs(&[one_off(secs(60), secs(5))]);
    story.at(millis(if wrong { 95_003 } else { 95_002 })).stops();
}

/// The wall clock steps over its time, which is noticed within a minute.
fn one_off_falls_silent_without_a_step(story: &mut Story, wrong: bool) {
    story.runs(&[one_off(secs(60), secs(0))]).at(secs(20));
    if !wrong {
        story.clock_steps(60_000);
    }
    story.at(secs(70)).stops();
}

fn rate_never_begins(story: &mut Story, wrong: bool) {
    let (period, first_after, policy) = (secs(10), secs(4), TickPolicy::default());
    story.runs(&[scheduled(SourceKind::FixedRate { period, first_after, policy })]);
    story.at(millis(if wrong { 4_003 } else { 4_002 })).stops();
}

fn delay_never_begins(story: &mut Story, wrong: bool) {
    story.runs(&[scheduled(SourceKind::FixedDelay { delay: secs(10), first_after: secs(4), jitter: secs(3) })]);
    story.at(millis(if wrong { 7_003 } else { 7_002 })).stops();
}

fn one_off_too_soon(story: &mut Story, wrong: bool) {
    story.runs(&[one_off(secs(60), secs(0))]);
    tick(story.at(secs(if wrong { 59 } else { 60 })), 1, 0, (secs(60), secs(0)));
    story.cycle(A, (1, 1), None, Settle::Ack).stops();
}

/// A tick every ten seconds that does not wait, the first of them served.
fn impatient(story: &mut Story) {
    let policy = TickPolicy { overlap: Overlap::CancelPrevious, ..TickPolicy::default() };
    story.runs(&[scheduled(SourceKind::FixedRate { period: secs(10), first_after: secs(0), policy })]);
    tick(story, 1, 0, (secs(0), secs(0)));
    story.cycle_starts(A, 1, 1);
}

fn asks_to_end(story: &mut Story) {
    story.tells(Event::CycleSuperseded { worker: A, cycle: CycleId(1), grace: secs(3) });
}

/// The second tick is served, this late.
fn takes_over(story: &mut Story, cycle: u64, late: Duration) {
    tick(story, 2, 0, (secs(10), late));
    story.cycle(A, (cycle, 1), None, Settle::Ack).stops();
}

fn goes_on(story: &mut Story, wrong: bool) {
    impatient(story);
    asks_to_end(story.at(secs(10)));
    let took = millis(if wrong { 13_003 } else { 13_002 });
    story.at(took).cycle_ends(A, 1, Some(FailureKind::Interrupted), took).settles(A, 1, Settle::Return);
    takes_over(story, 2, took - secs(10));
}

fn failed_for_the_next(story: &mut Story, wrong: bool) {
    impatient(story);
    asks_to_end(story.at(secs(10)));
    let (kind, settle) = if wrong {
        (FailureKind::Transient, Settle::Retry { delay: secs(1) })
    } else {
        (FailureKind::Interrupted, Settle::Return)
    };
    story.at(secs(11)).cycle_ends(A, 1, Some(kind), secs(11)).settles(A, 1, settle);
    takes_over(story, 2, secs(1));
}

fn calendar_waits(story: &mut Story, wrong: bool) {
    let policy = TickPolicy { overlap: Overlap::CancelPrevious, ..TickPolicy::default() };
    story.runs(&[scheduled(SourceKind::Cron { policy })]).at(secs(60));
    tick(story, 1, 0, (secs(60), secs(0)));
    story.cycle_starts(A, 1, 1);
    let took = millis(if wrong { 63_003 } else { 63_002 });
    story.at(secs(60) + took).cycle_ends(A, 1, Some(FailureKind::Interrupted), took).settles(A, 1, Settle::Return);
    tick(story, 2, 0, (secs(120), took - secs(60)));
    story.cycle(A, (2, 1), None, Settle::Ack).stops();
}

fn asked_too_soon(story: &mut Story, wrong: bool) {
    impatient(story);
    let took = millis(if wrong { 9_999 } else { 10_000 });
    asks_to_end(story.at(took));
    story.cycle_ends(A, 1, None, took).settles(A, 1, Settle::Ack).at(secs(10));
    takes_over(story, 2, secs(0));
}

fn asked_in_a_pause(story: &mut Story, wrong: bool) {
    impatient(story);
    story.at(secs(5)).tells(Event::WorkerPaused { worker: A }).at(secs(12));
    if wrong {
        asks_to_end(story);
        story.tells(Event::WorkerResumed { worker: A });
    } else {
        story.tells(Event::WorkerResumed { worker: A });
        asks_to_end(story);
    }
    story.cycle_ends(A, 1, None, secs(12)).settles(A, 1, Settle::Ack);
    takes_over(story, 2, secs(2));
}

fn retried_instead(story: &mut Story, wrong: bool) {
    impatient(story);
    story.at(secs(1)).cycle_ends(A, 1, Some(FailureKind::Transient), secs(1));
    story.settles(A, 1, Settle::Retry { delay: secs(11) });
    if wrong {
        story.at(secs(12)).cycle(A, (2, 2), None, Settle::Ack);
        takes_over(story, 3, secs(2));
    } else {
        takes_over(story.at(secs(10)), 2, secs(0));
    }
}
