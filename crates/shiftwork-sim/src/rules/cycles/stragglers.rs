//! What a stop says to be in flight is, and goes unnamed nowhere (T8).

use std::time::Duration;

use shiftwork::{
    Rule,
    event::{CycleId, SourceKind},
};

use super::{Verdicts, Worker};

/// How long a worker may take to its end when nothing of it is in flight, and what other tasks may block its thread meanwhile.
const IDLE: Duration = Duration::from_millis(150);

impl Worker {
    /// Rule T8: what is said to be in flight is.
    pub(super) fn straggler(&mut self, cycle: CycleId, age: Duration, verdicts: &mut Verdicts<'_>) {
        self.unnamed.retain(|unnamed| *unnamed != cycle);
        let at = verdicts.at;
        let began = self.running.iter().find(|running| running.cycle == cycle).map(|running| running.began);
        let settles = self.unsettled.iter().any(|ended| ended.cycle == cycle);
        verdicts.demand(
            Rule::T8,
            settles || began.is_some_and(|began| began + age == at),
            || format!("a straggler of {} is in flight, and as old as is said", self.declared.name),
            || format!("cycle {cycle} is said to be {age:?} old, and began at {began:?}"),
        );
    }

    /// Rule T8: nothing in flight goes unnamed.
    pub(super) fn all_named(&mut self, then: &str, verdicts: &mut Verdicts<'_>) {
        verdicts.demand(
            Rule::T8,
            self.unnamed.is_empty(),
            || format!("every cycle of {} that a step of the stop finds in flight is named", self.declared.name),
            || format!("cycle {} was not when {then}", self.unnamed[0]),
        );
        self.unnamed.clear();
    }

    /// Rule T8: a step of a stop is taken because of something that is in flight, which is named next. A queue may be being
    /// asked, of which no event speaks, and a source of the user's own may do anything.
    pub(super) fn step_of_stop(&mut self, of_cycles: bool, verdicts: &mut Verdicts<'_>) {
        let known = !matches!(self.declared.source, SourceKind::Queue | SourceKind::Other);
        let busy = !(self.running.is_empty() && self.unsettled.is_empty());
        let idle = verdicts.at.saturating_sub(self.idle_since);
        verdicts.demand(
            Rule::T8,
            busy || !(known && of_cycles) || idle <= IDLE + verdicts.held_up_since(self.idle_since),
            || format!("{} is at its end when nothing of it is in flight any more", self.declared.name),
            || format!("nothing was for {idle:?}, and it was waited for"),
        );
        // What an earlier life has left behind was named when it was: it is no longer in flight for anybody.
        let in_flight = self.running.iter().filter(|_| !self.abandoned);
        self.unnamed = in_flight.map(|running| running.cycle).collect();
    }
}
