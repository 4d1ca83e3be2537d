//! B and P: breakers, budgets, pauses and triggers.

use shiftwork::{
    Breaker, FailureKind, RetryBudget, Rule, TickPolicy,
    event::{CycleId, Declaration, Event, Settle, SourceKind},
    queue::Timestamp,
};
use shiftwork_sim::{QueueOperation, millis, record::Settled, secs};

use crate::{
    Canary,
    story::{A, PARCEL, Story, of_queue, worker},
};

pub(crate) const CANARIES: &[Canary] = &[
    Canary::new(Rule::B1, "a cycle that is no probe starts while the breaker is open", starts_while_open),
    Canary::new(Rule::B1, "a breaker opens after too few failures", opens_too_soon),
    Canary::new(Rule::B1, "a probe comes before its time", probes_too_soon),
    Canary::new(Rule::B1, "a failed probe spends an attempt of its delivery", probe_spends),
    Canary::new(Rule::B1, "a cycle from before the breaker opened has a say once it has closed", speaks_too_late),
    Canary::new(Rule::B2, "there are more retries than the budget has", over_budget),
    Canary::new(Rule::P1, "a cycle starts while its worker is paused", starts_while_paused),
    Canary::new(Rule::P1, "a pause is said that is none", paused_twice),
    Canary::new(Rule::P3, "a worker is triggered while it is paused", triggered_in_a_pause),
    Canary::new(Rule::P3, "a tick that was asked for is counted", trigger_counts),
    Canary::new(Rule::P3, "a tick that was asked for is late", trigger_waits),
];

const TRANSIENT: Option<FailureKind> = Some(FailureKind::Transient);

/// A worker whose breaker opens after so many failures, and two of them.
fn fails_twice(story: &mut Story, failures: u32) {
    story.runs(&[Declaration { breaker: Some(Breaker::after(failures)), ..worker("a") }]);
    story.cycle(A, (1, 1), TRANSIENT, Settle::Retry { delay: secs(1) });
    story.at(secs(1)).cycle_starts(A, 2, 2).cycle_ends(A, 2, TRANSIENT, secs(0));
    story.tells(Event::BreakerOpened { worker: A, failures: 2, probe_in: secs(5) });
    story.settles(A, 2, Settle::Retry { delay: secs(2) });
}

/// The third cycle succeeds, as a probe.
fn probes(story: &mut Story) {
    story.tells(Event::BreakerProbing { worker: A, cycle: CycleId(3) });
    story.cycle_starts(A, 3, 3).cycle_ends(A, 3, None, secs(0));
    story.tells(Event::BreakerClosed { worker: A, after: secs(5) }).settles(A, 3, Settle::Ack);
}

fn starts_while_open(story: &mut Story, wrong: bool) {
    fails_twice(story, 2);
    story.at(secs(6));
    if wrong {
        story.cycle(A, (3, 3), None, Settle::Ack);
    } else {
        probes(story);
    }
    story.stops();
}

fn opens_too_soon(story: &mut Story, wrong: bool) {
    fails_twice(story, if wrong { 3 } else { 2 });
    story.stops();
}

fn probes_too_soon(story: &mut Story, wrong: bool) {
    fails_twice(story, 2);
    story.at(millis(if wrong { 5_999 } else { 6_000 }));
    probes(story);
    story.stops();
}

/// The second attempt at the parcel is a probe, which fails.
fn probe_spends(story: &mut Story, wrong: bool) {
    let breaker = Some(Breaker::after(1));
    story.runs(&[Declaration { breaker, ..of_queue("a") }]).claimed().packing_starts(1);
    story.cycle_ends(A, 1, TRANSIENT, secs(0)).tells(Event::BreakerOpened {
        worker: A,
        failures: 1,
        probe_in: secs(5),
    });
    story.stored(1, Settled::Retried).packing_settles(1, Settle::Retry { delay: secs(1) });
    let claim = QueueOperation::Claimed { delivery: PARCEL, token: 2, attempt: 2, crashes: 0, told: true };
    story.at(secs(5)).queue(claim).tells(Event::BreakerProbing { worker: A, cycle: CycleId(2) });
    story.tells(Event::CycleStarted { worker: A, cycle: CycleId(2), attempt: 2, delivery: Some(PARCEL) });
    story.cycle_ends(A, 2, TRANSIENT, secs(0));
    story.tells(Event::BreakerOpened { worker: A, failures: 2, probe_in: secs(10) });
    let settle = if wrong { Settle::Retry { delay: secs(10) } } else { Settle::Snooze { delay: secs(10) } };
    let stored = if wrong { Settled::Retried } else { Settled::Returned };
    story.stored(2, stored).packing_settles(2, settle).holds_the_parcel().stops();
}

/// The first cycle is in flight when the second one opens the breaker, and still when the third, a probe, closes it.
fn speaks_too_late(story: &mut Story, wrong: bool) {
    story.runs(&[Declaration { breaker: Some(Breaker::after(1)), concurrency: 2, ..worker("a") }]);
    let opened = Event::BreakerOpened { worker: A, failures: 1, probe_in: secs(5) };
    story.cycle_starts(A, 1, 1).cycle_starts(A, 2, 1).cycle_ends(A, 2, TRANSIENT, secs(0));
    story.tells(opened.clone()).settles(A, 2, Settle::Retry { delay: secs(1) });
    story.at(secs(5)).tells(Event::BreakerProbing { worker: A, cycle: CycleId(3) });
    story.cycle_starts(A, 3, 2).cycle_ends(A, 3, None, secs(0));
    story.tells(Event::BreakerClosed { worker: A, after: secs(5) }).settles(A, 3, Settle::Ack);
    story.at(secs(6)).cycle_ends(A, 1, TRANSIENT, secs(6));
    if wrong {
        story.tells(opened);
    }
    story.settles(A, 1, Settle::Retry { delay: secs(1) }).stops();
}

fn paused_twice(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).tells(Event::WorkerPaused { worker: A });
    if wrong {
        story.tells(Event::WorkerPaused { worker: A });
    }
    story.tells(Event::WorkerResumed { worker: A }).stops();
}

fn triggered_in_a_pause(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).tells(Event::WorkerPaused { worker: A });
    if !wrong {
        story.tells(Event::WorkerResumed { worker: A });
    }
    story.tells(Event::WorkerTriggered { worker: A });
    if wrong {
        story.tells(Event::WorkerResumed { worker: A });
    }
    story.stops();
}

fn over_budget(story: &mut Story, wrong: bool) {
    // One at once, one in the second until they are due, and one for what is rounded.
    let budget = Some(RetryBudget::per_second(1).burst(1));
    let retries = if wrong { 4 } else { 3 };
    story.runs(&[Declaration { retry_budget: budget, concurrency: 4, ..worker("a") }]);
    for cycle in 1..=4 {
        story.cycle_starts(A, cycle, 1);
    }
    for cycle in 1..=4 {
        let delay = secs(if cycle <= retries { 1 } else { 2 });
        story.cycle_ends(A, cycle, TRANSIENT, secs(0)).settles(A, cycle, Settle::Retry { delay });
    }
    story.stops();
}

fn starts_while_paused(story: &mut Story, wrong: bool) {
    story.runs(&[worker("a")]).tells(Event::WorkerPaused { worker: A });
    if !wrong {
        story.tells(Event::WorkerResumed { worker: A });
    }
    story.cycle(A, (1, 1), None, Settle::Ack);
    if wrong {
        story.tells(Event::WorkerResumed { worker: A });
    }
    story.stops();
}

/// A schedule, its first tick, and one that was asked for at three seconds.
fn triggered(story: &mut Story, number: u64, served_at: std::time::Duration) {
    let source = SourceKind::FixedRate { period: secs(10), first_after: secs(0), policy: TickPolicy::default() };
    story.runs(&[Declaration { source, ..worker("a") }]);
    let due: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let tick = |number, triggered| Event::TickDue { worker: A, number, due, missed: 0, late: secs(0), triggered };
    story.tells(tick(1, false)).cycle(A, (1, 1), None, Settle::Ack);
    story.at(secs(3)).tells(Event::WorkerTriggered { worker: A });
    story.at(served_at).tells(tick(number, true)).cycle(A, (2, 1), None, Settle::Ack).stops();
}

fn trigger_counts(story: &mut Story, wrong: bool) {
    triggered(story, if wrong { 2 } else { 1 }, secs(3));
}

fn trigger_waits(story: &mut Story, wrong: bool) {
    triggered(story, 1, if wrong { secs(4) } else { secs(3) });
}
