//! T3 and T6 for a worker that does not use the runtime: it has no events, and its process is judged from outside.

use std::time::Duration;

use shiftwork::Rule;

use super::Verdicts;

/// What timers of whole milliseconds may add to the time of a stop.
const TIMERS: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct ForeignRules {
    /// What the process declared; nothing for one that runs a host.
    within: Option<Duration>,
    asked_at: Option<Duration>,
}

impl ForeignRules {
    pub(super) fn boot(&mut self) {
        *self = Self::default();
    }

    pub(super) fn began(&mut self, within: Duration) {
        self.within = Some(within);
    }

    pub(super) fn signalled(&mut self, at: Duration) {
        self.asked_at.get_or_insert(at);
    }

    /// The process has ended by itself.
    pub(super) fn exited(&self, tasks_left: usize, verdicts: &mut Verdicts<'_>) {
        let Some(within) = self.within else { return };
        let took = self.asked_at.map_or(Duration::ZERO, |asked| verdicts.at.saturating_sub(asked));
        let stood_still = self.asked_at.map_or(Duration::ZERO, |asked| verdicts.held_up_since(asked));
        verdicts.demand(
            Rule::T3,
            took <= within.saturating_add(stood_still).saturating_add(TIMERS),
            || format!("the process ends within {within:?} after its first signal"),
            || match stood_still {
                Duration::ZERO => format!("it took {took:?}"),
                _ => format!("it took {took:?}, of which it stood still for {stood_still:?}"),
            },
        );
        verdicts.demand(
            Rule::T6,
            tasks_left == 0,
            || "no task is left when the process has ended".to_owned(),
            || format!("{tasks_left} were: they were dropped where they stood"),
        );
    }
}
