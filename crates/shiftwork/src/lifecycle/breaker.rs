//! A dependency that is down: when a worker's intake pauses, probes, and resumes.
//!
//! [`Breaker`] is the policy, [`Machine`] the state of one worker's breaker. Nothing here waits; the lanes ask through
//! `gate.rs`. It counts failures in a row and no rate: a worker of one call a minute trips it as surely as one of a
//! thousand a second, only later.
//!
//! 1. While it is open, no cycle starts but one probe at a time (rule B1).
//! 2. Only what a dependency that is down makes counts: transient failures, timeouts, panics. Bad input says nothing of it.
//! 3. A cycle that was in flight when the breaker opened has no say, not even once it has closed again: it began before the
//!    trouble was known. So each brings along how often the breaker had opened by its beginning ([`Entry`]).
//! 4. A delivery is not blamed for a failed probe, except each fifth in a row: deliveries that fail by themselves, and are
//!    all that is left, could otherwise keep a breaker open for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shiftwork_queue::{DeliveryId, FailureKind};
use tokio::time::Instant;

use crate::{
    Retry,
    config::{
        form::{Count, Time},
        section::section,
    },
    retry::{later, millis},
};

/// When a worker stops asking for work because a dependency seems to be down, and how it finds out that it is back.
///
/// After so many failures in a row, over all lanes of the worker, it takes in nothing more. After `probe_every` one cycle
/// runs as a probe: a success resumes, a failure doubles the pause, up to `probe_max`. [`Default`] is 10 failures, a
/// first probe after 5 s, at most 60 s between probes, ± 20 %. Deliveries that failed while the count went up have spent
/// an attempt as usual; a failed probe spends none.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::Breaker;
///
/// let breaker = Breaker::after(5).probe_every(Duration::from_secs(30)).probe_max(Duration::from_secs(100)).jitter_percent(0);
/// assert_eq!(breaker.delay(1, 0.5), Duration::from_secs(30));
/// assert_eq!(breaker.delay(9, 0.5), Duration::from_secs(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "BreakerConfig", into = "BreakerConfig")]
pub struct Breaker {
    failures: u32,
    probe_every_ms: u64,
    probe_max_ms: u64,
    jitter_percent: u8,
}

section! {
    /// A [`Breaker`] as it is written in a file. What is left out stays as it is.
    pub struct BreakerConfig {
        /// After how many failures in a row it opens.
        pub failures: Option<u32> = Count::from(1),
        /// How long after it opened the first probe follows; each probe that fails doubles it.
        pub probe_every: Option<Duration> = Time::from_millis(1),
        /// The longest pause between two probes, before jitter.
        pub probe_max: Option<Duration> = Time::from_millis(1),
        /// How far a pause is spread to either side, in percent of it.
        pub jitter_percent: Option<u8> = Count::between(0, 100),
    }
}

impl BreakerConfig {
    /// Lays what is written over a policy.
    pub(crate) fn over(&self, base: Breaker) -> Breaker {
        let Self { failures, probe_every, probe_max, jitter_percent } = *self;
        Breaker {
            failures: failures.unwrap_or(base.failures).max(1),
            probe_every_ms: probe_every.map_or(base.probe_every_ms, millis).max(1),
            probe_max_ms: probe_max.map_or(base.probe_max_ms, millis).max(1),
            jitter_percent: jitter_percent.unwrap_or(base.jitter_percent).min(100),
        }
    }
}

impl From<BreakerConfig> for Breaker {
    fn from(config: BreakerConfig) -> Self {
        config.over(Self::default())
    }
}

impl From<Breaker> for BreakerConfig {
    fn from(breaker: Breaker) -> Self {
        let Breaker { failures, probe_every_ms, probe_max_ms, jitter_percent } = breaker;
        Self {
            failures: Some(failures),
            probe_every: Some(Duration::from_millis(probe_every_ms)),
            probe_max: Some(Duration::from_millis(probe_max_ms)),
            jitter_percent: Some(jitter_percent),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 10, probe_every_ms: 5_000, probe_max_ms: 60_000, jitter_percent: 20 }
    }
}

impl Breaker {
    /// Opens after this many failures in a row; at least 1. Below the attempts of the retry policy it opens before any
    /// delivery can be exhausted; but then a single bad delivery in a queue that is otherwise empty opens it too.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        Self { failures: failures.max(1), ..Self::default() }
    }

    /// How long after it opened the first probe follows; each probe that fails doubles it. At least 1 ms.
    #[must_use]
    pub fn probe_every(mut self, pause: Duration) -> Self {
        self.probe_every_ms = millis(pause);
        self
    }

    /// The longest pause between two probes, before jitter. At least 1 ms.
    #[must_use]
    pub fn probe_max(mut self, pause: Duration) -> Self {
        self.probe_max_ms = millis(pause);
        self
    }

    /// How far a pause is spread to either side, in percent of it; at most 100. A fleet that paused together does not
    /// probe together.
    #[must_use]
    pub fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent.min(100);
        self
    }

    /// How many failures in a row open it.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause before the `probe`th probe (from 1). `chance` is a draw from 0 to 1.
    #[must_use]
    pub fn delay(&self, probe: u32, chance: f64) -> Duration {
        self.backoff().delay(probe, chance)
    }

    /// The shortest and the longest pause that jitter allows before the `probe`th probe.
    #[must_use]
    pub fn bounds(&self, probe: u32) -> (Duration, Duration) {
        self.backoff().bounds(probe)
    }

    fn backoff(&self) -> Retry {
        Retry::exponential()
            .initial(Duration::from_millis(self.probe_every_ms))
            .max(Duration::from_millis(self.probe_max_ms))
            .jitter_percent(self.jitter_percent)
    }
}

/// Whether a failure speaks of a dependency that is down.
pub(crate) fn counts(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Transient | FailureKind::Timeout | FailureKind::Panic => true,
        FailureKind::Invalid
        | FailureKind::Fatal
        | FailureKind::Interrupted
        | FailureKind::Snoozed
        | FailureKind::Discarded => false,
    }
}

/// How many failed probes in a row are not counted as attempts at their deliveries.
const PROBES_SPARED: u32 = 4;

/// The state of one worker's breaker.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Breaker,
    state: State,
    /// Failures in a row, those of probes included.
    failures: u32,
    /// Probes that failed since it opened.
    probes: u32,
    /// How often it has opened, probes that failed not counted.
    openings: u64,
    opened_at: Instant,
    /// How many failed probes in a row were not counted as attempts.
    spared: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// No probe before this time.
    Open(Instant),
    /// A lane asks the source for something to probe with.
    Asking,
    /// The probe runs.
    Probing,
}

/// What a lane may do that would ask its source for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Ask.
    Go,
    /// Ask, for the probe: [`Machine::give_up`] if nothing comes of it.
    ForProbe,
    /// Not before this time.
    Until(Instant),
    /// Not before something has changed.
    Wait,
}

/// What becomes of an offer that a lane got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Run it, and bring this along to its end.
    Run(Entry),
    /// Give it back: the breaker opened while the lane waited for it.
    Refused,
}

/// How a cycle came past the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It was closed, and had opened so often.
    Plain { openings: u64 },
    /// As the probe.
    Probe,
}

impl Entry {
    /// That of a worker without a breaker.
    pub(crate) const UNGUARDED: Self = Self::Plain { openings: 0 };
}

/// What changed by the end of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Opened, or opened again after a probe that failed.
    Opened { failures: u32, probe_in: Duration },
    /// The probe has said nothing of the dependency: another one may follow at once.
    Undecided,
    /// Work goes on.
    Closed { after: Duration },
}

/// How a cycle ended, as far as a breaker needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) failure: Option<FailureKind>,
    pub(crate) entry: Entry,
    pub(crate) delivery: Option<DeliveryId>,
}

/// What follows for the breaker, and for the delivery that it probed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consequence {
    pub(crate) change: Option<Change>,
    /// The failed probe does not count as an attempt at its delivery.
    pub(crate) spared: bool,
}

impl Machine {
    /// A closed breaker.
    pub(crate) fn new(policy: Breaker, now: Instant) -> Self {
        Self { policy, state: State::Closed, failures: 0, probes: 0, openings: 0, opened_at: now, spared: 0 }
    }

    /// Closed, and nothing on record: a success changes nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state == State::Closed && self.failures == 0
    }

    /// Open, whether or not a probe is on its way.
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// How often it has opened so far, probes that failed not counted.
    pub(crate) fn openings(&self) -> u64 {
        self.openings
    }

    /// A lane is about to ask its source. If no more than `one_asks` for the probe, the others wait for what comes of that.
    pub(crate) fn ask(&mut self, now: Instant, one_asks: bool) -> Asking {
        match self.state {
            State::Closed => Asking::Go,
            State::Open(until) if now < until => Asking::Until(until),
            State::Open(_) if !one_asks => Asking::Go,
            State::Open(_) => {
                self.state = State::Asking;
                Asking::ForProbe
            }
            State::Asking | State::Probing => Asking::Wait,
        }
    }

    /// The lane that asked for the probe got nothing. Whether somebody else may now ask.
    pub(crate) fn give_up(&mut self, now: Instant) -> bool {
        let asking = self.state == State::Asking;
        if asking {
            self.state = State::Open(now);
        }
        asking
    }

    /// Whoever has an offer first when a probe is due runs it, whether it asked for the probe or has waited since before
    /// the breaker opened.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Run(Entry::Plain { openings: self.openings }),
            State::Open(until) if now < until => Admission::Refused,
            State::Open(_) | State::Asking => {
                self.state = State::Probing;
                Admission::Run(Entry::Probe)
            }
            State::Probing => Admission::Refused,
        }
    }

    pub(crate) fn ended(&mut self, ended: Ended, now: Instant, chance: f64) -> Consequence {
        let Ended { failure, entry, delivery } = ended;
        let probe = entry == Entry::Probe;
        let plain = |change| Consequence { change, spared: false };
        match (self.state, failure) {
            // It was in flight when the breaker opened.
            (State::Closed, _) if entry != (Entry::Plain { openings: self.openings }) => plain(None),
            (State::Closed, None) => {
                self.failures = 0;
                plain(None)
            }
            (State::Closed, Some(kind)) if counts(kind) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.policy.failures {
                    return plain(None);
                }
                (self.probes, self.opened_at) = (0, now);
                self.openings += 1;
                plain(Some(self.open(now, chance)))
            }
            (State::Probing, None) if probe => {
                self.state = State::Closed;
                (self.failures, self.spared) = (0, 0);
                plain(Some(Change::Closed { after: now.saturating_duration_since(self.opened_at) }))
            }
            (State::Probing, Some(kind)) if probe && counts(kind) => {
                self.failures = self.failures.saturating_add(1);
                self.probes = self.probes.saturating_add(1);
                let spared = delivery.is_some() && self.spares();
                Consequence { change: Some(self.open(now, chance)), spared }
            }
            (State::Probing, Some(_)) if probe => {
                self.state = State::Open(now);
                plain(Some(Change::Undecided))
            }
            (State::Closed | State::Open(_) | State::Asking | State::Probing, _) => plain(None),
        }
    }

    fn open(&mut self, now: Instant, chance: f64) -> Change {
        let probe_in = self.policy.delay(self.probes.saturating_add(1), chance);
        self.state = State::Open(later(now, probe_in));
        Change::Opened { failures: self.failures, probe_in }
    }

    fn spares(&mut self) -> bool {
        let spares = self.spared < PROBES_SPARED;
        self.spared = if spares { self.spared + 1 } else { 0 };
        spares
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A success of a cycle that began before the breaker had ever opened.
    const PLAIN: Ended = Ended { failure: None, entry: Entry::UNGUARDED, delivery: None };

    /// That of a probe.
    const PROBE: Ended = Ended { entry: Entry::Probe, ..PLAIN };

    fn failed(kind: FailureKind) -> Ended {
        Ended { failure: Some(kind), ..PLAIN }
    }

    fn five() -> Breaker {
        Breaker::after(5).probe_every(Duration::from_secs(10)).probe_max(Duration::from_secs(30)).jitter_percent(0)
    }

    /// A breaker that has just opened, and when.
    fn opened() -> (Machine, Instant) {
        let now = Instant::now();
        let mut machine = Machine::new(five(), now);
        for _ in 0..5 {
            machine.ended(failed(FailureKind::Transient), now, 0.5);
        }
        (machine, now)
    }

    #[test]
    fn failures_in_a_row_open_it_however_far_apart_and_a_success_begins_anew() {
        let mut now = Instant::now();
        let mut machine = Machine::new(five(), now);
        for kind in [FailureKind::Transient, FailureKind::Timeout, FailureKind::Panic, FailureKind::Transient] {
            assert_eq!(machine.ended(failed(kind), now, 0.5).change, None);
            assert_eq!(machine.ended(failed(FailureKind::Invalid), now, 0.5).change, None);
            now += Duration::from_secs(3_600);
        }
        assert_eq!(machine.ended(PLAIN, now, 0.5).change, None);
        assert!(machine.is_quiet());
        let changes: Vec<_> =
            (0..5).filter_map(|_| machine.ended(failed(FailureKind::Transient), now, 0.5).change).collect();
        assert_eq!(changes, [Change::Opened { failures: 5, probe_in: Duration::from_secs(10) }]);
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_its_cap_and_one_that_succeeds_closes() {
        let (mut machine, mut now) = opened();
        let began = now;
        for (pause, next) in [(10, 20), (20, 30), (30, 30)] {
            assert_eq!(machine.admit(now), Admission::Refused);
            now += Duration::from_secs(pause);
            assert_eq!(machine.ask(now, true), Asking::ForProbe);
            assert_eq!(machine.ask(now, true), Asking::Wait, "one at a time");
            assert_eq!(machine.admit(now), Admission::Run(Entry::Probe));
            assert_eq!(machine.admit(now), Admission::Refused, "one at a time");
            let probe = Ended { entry: Entry::Probe, ..failed(FailureKind::Timeout) };
            let Some(Change::Opened { probe_in, .. }) = machine.ended(probe, now, 0.5).change else { panic!("closed") };
            assert_eq!(probe_in, Duration::from_secs(next));
        }
        now += Duration::from_secs(30);
        assert_eq!(machine.admit(now), Admission::Run(Entry::Probe), "who has waited since before needs not to ask");
        let closed = machine.ended(PROBE, now, 0.5).change;
        assert_eq!(closed, Some(Change::Closed { after: now - began }));
        assert!(machine.is_quiet());
    }

    #[test]
    fn who_was_in_flight_when_it_opened_has_no_say_once_it_has_closed_again() {
        let (mut machine, now) = opened();
        assert_eq!(machine.ended(failed(FailureKind::Timeout), now, 0.5).change, None, "nor while it is open");
        let now = now + Duration::from_secs(10);
        assert_eq!(machine.admit(now), Admission::Run(Entry::Probe));
        assert_eq!(machine.ended(failed(FailureKind::Timeout), now, 0.5).change, None, "nor while its probe runs");
        machine.ended(PROBE, now, 0.5);
        for _ in 0..9 {
            assert_eq!(machine.ended(failed(FailureKind::Timeout), now, 0.5).change, None);
        }
        assert!(machine.is_quiet(), "no failure of theirs is counted");

        // Those that begin now count, and a success of the others does not make up for them.
        let Admission::Run(entry) = machine.admit(now) else { panic!("refused") };
        let changes: Vec<_> = (0..5)
            .filter_map(|_| {
                let change = machine.ended(Ended { entry, ..failed(FailureKind::Timeout) }, now, 0.5).change;
                machine.ended(PLAIN, now, 0.5);
                change
            })
            .collect();
        assert_eq!(changes, [Change::Opened { failures: 5, probe_in: Duration::from_secs(10) }]);
    }

    #[test]
    fn bad_input_says_nothing_of_the_dependency_and_another_probe_follows_at_once() {
        let (mut machine, now) = opened();
        let now = now + Duration::from_secs(10);
        assert_eq!(machine.admit(now), Admission::Run(Entry::Probe));
        let probe = Ended { entry: Entry::Probe, ..failed(FailureKind::Invalid) };
        assert_eq!(machine.ended(probe, now, 0.5).change, Some(Change::Undecided));
        assert_eq!(machine.ask(now, true), Asking::ForProbe);
        assert!(machine.give_up(now));
        assert_eq!(machine.ask(now, true), Asking::ForProbe);
    }

    #[test]
    fn each_fifth_failed_probe_in_a_row_counts() {
        let (mut machine, mut now) = opened();
        let mut probe = |delivery| {
            now += Duration::from_secs(60);
            assert_eq!(machine.admit(now), Admission::Run(Entry::Probe));
            let failure = Some(FailureKind::Transient);
            let ended = Ended { failure, entry: Entry::Probe, delivery: Some(DeliveryId(delivery)) };
            machine.ended(ended, now, 0.5).spared
        };
        assert_eq!([1, 2, 3, 1, 2, 3, 1].map(&mut probe), [true, true, true, true, false, true, true]);
    }

    #[test]
    fn a_written_policy_is_checked_and_its_error_names_the_key() {
        let read = |json: &str| serde_json::from_str::<Breaker>(json).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"failures": 3}"#), Ok(Breaker::after(3)));
        let refusal = read(r#"{"probe_max": 5}"#).unwrap_err();
        assert!(refusal.starts_with("probe_max is 5; accepted is a time of at least 1ms in hours"), "{refusal}");
        assert_eq!(read(&serde_json::to_string(&five()).unwrap()), Ok(five()));
    }

    /// What can happen to a breaker.
    #[derive(Debug, Clone)]
    enum Step {
        Passes(u64),
        Offer,
        Ends(usize, Option<FailureKind>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let kind = prop::option::weighted(0.8, prop::sample::select(FailureKind::ALL.to_vec()));
        let step = prop_oneof![
            (0u64..40_000).prop_map(Step::Passes),
            Just(Step::Offer),
            (0usize..8, kind).prop_map(|(index, kind)| Step::Ends(index, kind)),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn while_open_one_probe_runs_at_a_time_and_none_before_its_time(steps in steps(), chance in 0.0f64..=1.0) {
            let mut now = Instant::now();
            let mut machine = Machine::new(Breaker::after(3), now);
            let mut running: Vec<Entry> = Vec::new();
            let mut open_until: Option<Instant> = None;
            for step in steps {
                match step {
                    Step::Passes(ms) => now += Duration::from_millis(ms),
                    Step::Offer => match machine.admit(now) {
                        Admission::Run(Entry::Probe) => {
                            prop_assert!(open_until.is_some_and(|until| until <= now));
                            prop_assert!(!running.contains(&Entry::Probe), "two probes");
                            running.push(Entry::Probe);
                        }
                        Admission::Run(entry) => {
                            prop_assert!(open_until.is_none());
                            running.push(entry);
                        }
                        Admission::Refused => prop_assert!(open_until.is_some()),
                    },
                    Step::Ends(index, failure) if !running.is_empty() => {
                        let entry = running.swap_remove(index % running.len());
                        let (openings, quiet) = (machine.openings(), machine.is_quiet());
                        let change = machine.ended(Ended { failure, entry, delivery: None }, now, chance).change;
                        if !matches!(entry, Entry::Probe) && entry != (Entry::Plain { openings }) {
                            prop_assert_eq!((change, machine.is_quiet()), (None, quiet), "it was in flight");
                        }
                        match change {
                            None => {}
                            Some(Change::Opened { probe_in, .. }) => {
                                prop_assert!(failure.is_some_and(counts));
                                prop_assert!(probe_in <= Duration::from_secs(72));
                                open_until = Some(now + probe_in);
                            }
                            Some(Change::Undecided) => prop_assert_eq!(entry, Entry::Probe),
                            Some(Change::Closed { .. }) => {
                                prop_assert!(entry == Entry::Probe && failure.is_none());
                                open_until = None;
                            }
                        }
                    }
                    Step::Ends(..) => {}
                }
                prop_assert!(open_until.is_none() || !machine.is_quiet());
            }
        }
    }
}
