//! B: a dependency that is down.
//!
//! The failures in a row are counted here once more, from the ends of cycles alone.

use std::time::Duration;

use shiftwork::{
    Breaker, FailureKind, Rule,
    event::{CycleId, Event, WorkerId},
};

use super::Verdicts;

#[derive(Default)]
pub(super) struct BreakerRules {
    workers: Vec<Worker>,
}

struct Worker {
    name: std::sync::Arc<str>,
    breaker: Option<Breaker>,
    state: State,
    /// In a row, as the breaker should count them.
    failures: u32,
    /// Probes that failed since it opened.
    probes: u32,
    /// Cycles that run and have a say: neither probes, nor begun before the breaker last opened.
    counted: Vec<CycleId>,
    /// What the end of the last cycle demands to be said next.
    due: Option<Due>,
    /// The batch whose cycles end.
    batch: Option<Batch>,
}

/// A batch counts as one cycle: its first, with the best that can be said of all.
#[derive(Clone, Copy)]
struct Batch {
    first: CycleId,
    left: u32,
    /// None of it has succeeded so far, and this is what speaks of the dependency, or the first failure.
    failure: Option<FailureKind>,
    succeeded: bool,
    /// It has a say.
    counted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// No probe before this time.
    Open(Duration),
    Probing(CycleId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Opening,
    Closing,
}

/// Whether a failure speaks of a dependency that is down.
fn counts(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Transient | FailureKind::Timeout | FailureKind::Panic => true,
        FailureKind::Invalid
        | FailureKind::Fatal
        | FailureKind::Interrupted
        | FailureKind::Snoozed
        | FailureKind::Discarded => false,
    }
}

impl BreakerRules {
    pub(super) fn boot(&mut self) {
        self.workers.clear();
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only cycles and breakers matter here")]
    pub(super) fn on(&mut self, event: &Event, verdicts: &mut Verdicts<'_>) {
        match event {
            Event::HostStarting { workers } => {
                let new = |declared: &shiftwork::event::Declaration| Worker {
                    name: declared.name.clone(),
                    breaker: declared.breaker,
                    state: State::Closed,
                    failures: 0,
                    probes: 0,
                    counted: Vec::new(),
                    due: None,
                    batch: None,
                };
                self.workers = workers.iter().map(new).collect();
            }
            Event::IntakeOpened { worker } => self.worker(*worker).begin_life(),
            Event::CycleStarted { worker, cycle, .. } => self.worker(*worker).started(*cycle, verdicts),
            Event::BatchEnded { worker, first, cycles, .. } => {
                let worker = self.worker(*worker);
                let counted = worker.counted.contains(first);
                worker.batch = Some(Batch { first: *first, left: *cycles, failure: None, succeeded: false, counted });
            }
            Event::CycleEnded { worker, cycle, failure, .. } => {
                let kind = failure.as_ref().map(|cause| cause.kind);
                let worker = self.worker(*worker);
                match worker.batch.take() {
                    Some(batch) => worker.ended_in_batch(batch, *cycle, kind, verdicts.at),
                    None => {
                        let counted = worker.leaves(*cycle);
                        worker.ended(*cycle, kind, counted, verdicts.at);
                    }
                }
            }
            Event::BreakerOpened { worker, failures, probe_in } => {
                self.worker(*worker).opened(*failures, *probe_in, verdicts);
            }
            Event::BreakerProbing { worker, cycle } => self.worker(*worker).probing(*cycle, verdicts),
            Event::BreakerClosed { worker, .. } => {
                let worker = self.worker(*worker);
                let due = worker.due.take();
                verdicts.demand(
                    Rule::B1,
                    due == Some(Due::Closing),
                    || format!("the breaker of {} closes after a probe that succeeded", worker.name),
                    || "there was none".to_owned(),
                );
                worker.state = State::Closed;
                worker.failures = 0;
            }
            _ => {}
        }
    }

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.workers[id.0 as usize]
    }
}

impl Worker {
    /// Each life of a worker begins with a closed breaker.
    fn begin_life(&mut self) {
        (self.state, self.failures, self.probes) = (State::Closed, 0, 0);
        (self.due, self.batch) = (None, None);
        self.counted.clear();
    }

    fn started(&mut self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        let Some(breaker) = self.breaker else { return };
        let name = &self.name;
        let failures = self.failures;
        verdicts.demand(
            Rule::B1,
            self.due != Some(Due::Opening),
            || format!("the breaker of {name} opens after {} failures in a row", breaker.failures()),
            || format!("cycle {cycle} started after {failures}, and it had not"),
        );
        let admitted = match self.state {
            State::Closed => true,
            State::Open(_) => false,
            State::Probing(probe) => probe == cycle,
        };
        verdicts.demand(
            Rule::B1,
            admitted,
            || format!("no cycle of {name} but a probe starts while its breaker is open"),
            || format!("cycle {cycle} did"),
        );
        if self.state == State::Closed {
            self.counted.push(cycle);
        }
    }

    /// A cycle is over. Whether it had a say.
    fn leaves(&mut self, cycle: CycleId) -> bool {
        let index = self.counted.iter().position(|running| *running == cycle);
        index.map(|index| self.counted.swap_remove(index)).is_some()
    }

    fn ended_in_batch(&mut self, mut batch: Batch, cycle: CycleId, failure: Option<FailureKind>, at: Duration) {
        self.leaves(cycle);
        batch.left = batch.left.saturating_sub(1);
        match failure {
            None => batch.succeeded = true,
            Some(kind) if batch.failure.is_none_or(|said| !counts(said) && counts(kind)) => batch.failure = Some(kind),
            Some(_) => {}
        }
        if batch.left == 0 {
            self.ended(batch.first, batch.failure.filter(|_| !batch.succeeded), batch.counted, at);
        } else {
            self.batch = Some(batch);
        }
    }

    fn ended(&mut self, cycle: CycleId, failure: Option<FailureKind>, counted: bool, at: Duration) {
        let Some(breaker) = self.breaker else { return };
        match (self.state, failure) {
            // It was in flight when the breaker opened.
            (State::Closed, _) if !counted => {}
            (State::Closed, None) => self.failures = 0,
            (State::Closed, Some(kind)) if counts(kind) => {
                self.failures += 1;
                if self.failures >= breaker.failures() {
                    self.due = Some(Due::Opening);
                    self.probes = 0;
                }
            }
            (State::Probing(probe), None) if probe == cycle => self.due = Some(Due::Closing),
            (State::Probing(probe), Some(kind)) if probe == cycle && counts(kind) => {
                self.failures += 1;
                self.probes += 1;
                self.due = Some(Due::Opening);
            }
            // It says nothing of the dependency: another probe may follow at once.
            (State::Probing(probe), Some(_)) if probe == cycle => self.state = State::Open(at),
            (State::Closed | State::Open(_) | State::Probing(_), _) => {}
        }
    }

    fn opened(&mut self, failures: u32, probe_in: Duration, verdicts: &mut Verdicts<'_>) {
        let (name, counted) = (&self.name, self.failures);
        let due = self.due.take();
        verdicts.demand(
            Rule::B1,
            due == Some(Due::Opening) && failures == counted,
            || format!("the breaker of {name} opens when so many failures in a row have come, or a probe has failed"),
            || format!("it opened after {failures}; there were {counted}"),
        );
        let bounds = self.breaker.map(|breaker| breaker.bounds(self.probes + 1));
        verdicts.demand(
            Rule::B1,
            bounds.is_some_and(|(low, high)| low <= probe_in && probe_in <= high),
            || format!("probe {} of {name} comes after a pause of {bounds:?}", self.probes + 1),
            || format!("it comes after {probe_in:?}"),
        );
        self.counted.clear();
        self.state = State::Open(verdicts.at.saturating_add(probe_in));
    }

    fn probing(&mut self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        let (name, at) = (&self.name, verdicts.at);
        verdicts.demand(
            Rule::B1,
            matches!(self.state, State::Open(until) if until <= at),
            || format!("{name} probes one at a time, while its breaker is open, and not before its time"),
            || match self.state {
                State::Closed => format!("cycle {cycle} was a probe of a closed breaker"),
                State::Open(until) => format!("cycle {cycle} was a probe {:?} before it", until.saturating_sub(at)),
                State::Probing(other) => format!("cycle {cycle} was a probe beside cycle {other}"),
            },
        );
        self.state = State::Probing(cycle);
    }
}
