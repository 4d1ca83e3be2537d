//! A node as the driver sees it: a machine on which a process runs, stands still, or will be started.

use std::{sync::Arc, time::Duration};

use super::{Program, deadlines::NextTimer, life::Life};
use crate::record::NodeId;

/// A node as the driver sees it.
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) name: Arc<str>,
    pub(super) program: Program,
    pub(super) state: Machinery,
    /// How many times its process was started.
    pub(super) boots: u32,
    /// Until when it stands still, if it was paused.
    pub(super) paused_until: Option<Duration>,
    /// It got a signal while it stood still for which it has no handler, and dies of it when it goes on.
    pub(super) killed_when_resumed: bool,
    /// What makes its start slow has been waited for.
    pub(super) delayed: bool,
    /// The last SIGTERM was sent to it: its next exit is its end.
    pub(super) told_last: bool,
}

/// What becomes of its process.
pub(super) enum Machinery {
    /// It runs, or stands still.
    Up(Life),
    /// It will be started at this time.
    Down { until: Duration },
    /// It has ended and is not started again.
    Gone,
}

impl Machine {
    pub(super) fn new(id: NodeId, name: &str, program: Program) -> Self {
        Self {
            id,
            name: name.into(),
            program,
            state: Machinery::Down { until: Duration::ZERO },
            boots: 0,
            paused_until: None,
            killed_when_resumed: false,
            delayed: false,
            told_last: false,
        }
    }

    /// Whether its process is to be started at `now`.
    pub(super) fn must_boot(&self, now: Duration) -> bool {
        matches!(self.state, Machinery::Down { until } if until <= now)
    }

    /// Whether its process has something to do at `now`.
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        match &self.state {
            Machinery::Up(life) => self.paused_until.is_none() && life.is_ready(now),
            Machinery::Down { .. } | Machinery::Gone => false,
        }
    }

    /// Whether its process does things when their time comes.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, Machinery::Up(_)) && self.paused_until.is_none()
    }

    /// When it next does something by itself.
    pub(super) fn next_at(&self) -> Option<Duration> {
        match &self.state {
            // What ends a pause is on the agenda.
            Machinery::Up(life) => self.paused_until.is_none().then(|| life.due()),
            Machinery::Down { until } => Some(*until),
            Machinery::Gone => None,
        }
    }

    /// The same, as far as it is known to the millisecond.
    pub(super) fn next_timer(&self) -> Option<NextTimer> {
        match &self.state {
            Machinery::Up(life) => self.paused_until.is_none().then(|| life.next_timer()),
            Machinery::Down { until } => Some(NextTimer::At(*until)),
            Machinery::Gone => None,
        }
    }
}
