//! Whether a host is well, in one word: a pure function of where it and its workers stand.

use std::fmt;

use super::WorkerStatus;
use crate::event::WorkerPhase;

/// Where the host itself stands, as far as its health needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostStanding {
    Starting,
    Running,
    Stopping,
}

/// Whether a host is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not every worker is ready yet.
    Starting,
    /// Every worker does its work, or has come to its end well.
    Ready,
    /// Work goes on, but a worker has failed, is on its way down or up again after a fault, has an open breaker or a source that
    /// cannot be read ([`WorkerStatus::source_failing`]), or its last cycle failed.
    Degraded,
    /// None of the workers that should be at work is. One that was asked to end by itself
    /// ([`HostHandle::stop_worker`](super::HostHandle::stop_worker)) should not.
    Failing,
    /// A stop has begun, or is over: from its first moment, the delay before the drain included.
    Stopping,
}

impl Health {
    /// Whether the host should be sent work: ready or degraded. What a readiness endpoint answers.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Health::Ready | Health::Degraded)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Ready => "ready",
            Health::Degraded => "degraded",
            Health::Failing => "failing",
            Health::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn judge(host: HostStanding, workers: &[WorkerStatus]) -> Health {
    match host {
        HostStanding::Starting => return Health::Starting,
        HostStanding::Stopping => return Health::Stopping,
        HostStanding::Running => {}
    }
    let out = |status: &WorkerStatus| {
        let down = match status.phase {
            WorkerPhase::Failed | WorkerPhase::Aborted | WorkerPhase::NeverStarted => true,
            // In a host that runs, these are the way down after a fault, and up again.
            WorkerPhase::Draining
            | WorkerPhase::Cancelling
            | WorkerPhase::Aborting
            | WorkerPhase::Restarting
            | WorkerPhase::Starting => true,
            // A worker that has come to its end closes too, and those that are ready are about to run.
            WorkerPhase::Closing
            | WorkerPhase::Pending
            | WorkerPhase::Ready
            | WorkerPhase::Running
            | WorkerPhase::Stopped => false,
        };
        down || status.breaker_open || status.source_failing
    };
    let expected = || workers.iter().filter(|status| status.phase != WorkerPhase::Stopped && !status.stop_asked);
    if expected().next().is_some() && expected().all(out) {
        Health::Failing
    } else if expected().any(|status| out(status) || status.failing) {
        Health::Degraded
    } else {
        Health::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: WorkerPhase) -> WorkerStatus {
        WorkerStatus {
            name: "it".into(),
            phase,
            paused: false,
            breaker_open: false,
            source_failing: false,
            rate_limited: false,
            failing: false,
            last_success: None,
            restarts: 0,
            stop_asked: false,
        }
    }

    #[test]
    fn a_host_is_as_well_as_its_workers() {
        let (well, failed) = (status(WorkerPhase::Running), status(WorkerPhase::Failed));
        let cut_off = WorkerStatus { breaker_open: true, ..well.clone() };
        let unread = WorkerStatus { source_failing: true, ..well.clone() };
        let failing = WorkerStatus { failing: true, ..well.clone() };
        let done = status(WorkerPhase::Stopped);
        let of = |workers: &[&WorkerStatus]| {
            let workers: Vec<WorkerStatus> = workers.iter().copied().cloned().collect();
            judge(HostStanding::Running, &workers)
        };
        assert_eq!(of(&[&well, &done]), Health::Ready);
        assert_eq!(
            of(&[&well, &WorkerStatus { failing: true, ..done.clone() }]),
            Health::Ready,
            "it is missed by nobody"
        );
        assert_eq!(of(&[&well, &failing]), Health::Degraded);
        assert_eq!(of(&[&well, &failed]), Health::Degraded);
        assert_eq!(of(&[&well, &cut_off]), Health::Degraded);
        assert_eq!(of(&[&well, &unread]), Health::Degraded);
        assert_eq!(of(&[&failed, &cut_off, &unread, &done]), Health::Failing);
        assert_eq!(of(&[]), Health::Ready);
    }

    #[test]
    fn a_worker_that_comes_up_again_is_not_at_work_yet() {
        let judge_of = |worker: WorkerStatus| judge(HostStanding::Running, &[worker]);
        for phase in [WorkerPhase::Draining, WorkerPhase::Aborting, WorkerPhase::Restarting, WorkerPhase::Starting] {
            assert_eq!(judge_of(status(phase)), Health::Failing, "{phase}");
        }
        assert_eq!(judge_of(status(WorkerPhase::Ready)), Health::Ready, "it is about to run");
        let sent_home = WorkerStatus { stop_asked: true, ..status(WorkerPhase::Aborted) };
        assert_eq!(judge_of(sent_home), Health::Ready, "it is missed by nobody");
    }

    #[test]
    fn a_host_that_starts_or_stops_is_not_ready_however_well_its_workers_are() {
        for standing in [HostStanding::Starting, HostStanding::Stopping] {
            assert!(!judge(standing, &[status(WorkerPhase::Running)]).is_ready());
        }
    }
}
