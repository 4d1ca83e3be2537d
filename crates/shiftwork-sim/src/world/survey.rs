//! Where something could have gone wrong in a world: every place that a fault can be aimed at, noted as the world comes by.
//!
//! A survey is made once, of a world in which little goes wrong, and read by `explore/points.rs`. It is no part of the world's
//! records: what a world comes to does not depend on whether it is surveyed.

use std::time::Duration;

use shiftwork::event::WorkerId;

use super::shared::State;
use crate::record::{NodeId, SiteId};

/// A place that a world came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) at: Duration,
    /// Whose process was running.
    pub(crate) node: NodeId,
    /// In which task of it.
    pub(crate) task: u32,
    /// How many records there were before.
    pub(crate) records: u64,
    pub(crate) place: Place,
}

/// What can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A call sets out: how long it takes is settled here.
    CallBegins(SiteId),
    /// A call gets there, and has no effect yet.
    CallArrives(SiteId),
    /// A call has had its effect, and its reply sets out.
    CallReturns(SiteId),
    /// A claim looks into the store of a queue.
    Claim(SiteId),
    /// A call is about to be polled.
    CallPolled(SiteId),
    /// A task was polled, and stands at an await point, or has ended.
    Polled,
    /// A cycle has waited, and is about to go on.
    CycleGoesOn(CycleAwait),
}

/// An await point of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CycleAwait {
    pub(crate) worker: WorkerId,
    /// When the cycle began.
    pub(crate) began_ms: u64,
    /// Which of its await points it is, from 1.
    pub(crate) polls: u32,
    /// Whether its time is limited.
    pub(crate) is_limited: bool,
}

impl State {
    /// Notes where the world is, if it is surveyed.
    pub(super) fn note(&mut self, place: Place) {
        if self.survey.is_none() {
            return;
        }
        let Some(node) = self.running() else { return };
        let (at, task, records) = (self.now(), self.task_of_running_node(), self.records());
        if let Some(survey) = &mut self.survey {
            survey.push(Sight { at, node, task, records, place });
        }
    }
}
