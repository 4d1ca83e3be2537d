//! What the calls of a site meet: where faults strike them, and when.

use std::time::Duration;

use super::shared::State;
use crate::{Fault, FaultKind, What, record::SiteId};

/// What becomes of one call to a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) site: SiteId,
    pub(crate) call: u64,
}

/// What a call meets on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    /// Nothing.
    Nothing,
    /// An error, before the effect or after it.
    Error(&'static str),
    /// No answer until this time.
    Silence(Duration),
    /// A panic.
    Panic,
    /// The end of the process.
    Crash,
}

/// A fault of the plan, and whether it had an effect yet.
pub(super) struct PlannedFault {
    pub(super) at: Duration,
    /// `None`: until the world heals.
    pub(super) until: Option<Duration>,
    pub(super) site: Option<SiteId>,
    pub(super) kind: FaultKind,
    pub(super) struck: bool,
}

impl PlannedFault {
    pub(super) fn new(fault: &Fault) -> Self {
        let Fault { at_ms, kind } = fault;
        let at = Duration::from_millis(*at_ms);
        let until = kind.lasts_ms().map(|lasts| at.saturating_add(Duration::from_millis(lasts)));
        Self { at, until, site: None, kind: kind.clone(), struck: false }
    }
}

impl State {
    /// Whether a site's fault is in force at `now`.
    fn in_force(fault: &PlannedFault, heal_at: Duration, now: Duration) -> bool {
        fault.at <= now && now < fault.until.unwrap_or(heal_at).min(heal_at)
    }

    pub(super) fn strike(&mut self, fault: usize) {
        if let Some(planned) = self.faults.get_mut(fault)
            && !planned.struck
        {
            planned.struck = true;
            let at = self.now();
            self.record(at, What::Struck { fault });
        }
    }

    /// How much longer a call takes that begins now.
    pub(crate) fn slowness(&mut self, site: SiteId) -> Duration {
        let (now, heal_at) = (self.now(), self.heal_at());
        let mut slower = Duration::ZERO;
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            if fault.site == Some(site)
                && let FaultKind::Slow { by_ms, .. } = fault.kind
                && Self::in_force(fault, heal_at, now)
            {
                slower += Duration::from_millis(by_ms);
                self.strike(index);
            }
        }
        slower
    }

    /// What a call meets before (or, with `after`, just after) its effect.
    pub(crate) fn meets(&mut self, site: SiteId, after: bool) -> Meets {
        let (now, heal_at) = (self.now(), self.heal_at());
        for index in 0..self.faults.len() {
            let fault = &self.faults[index];
            if fault.site != Some(site) || !Self::in_force(fault, heal_at, now) {
                continue;
            }
            let until = fault.until.unwrap_or(heal_at).min(heal_at);
            let (kind, struck) = (&fault.kind, fault.struck);
            let chance = &mut self.sites[usize::from(site.0)].chance;
            let mut one_in_hundred = |percent: u8| chance.u8(0..100) < percent;
            let meets = match *kind {
                FaultKind::Outage { .. } if !after => Meets::Error("is out"),
                FaultKind::Hang { .. } if !after => Meets::Silence(until),
                FaultKind::Error { percent, .. } if !after && one_in_hundred(percent) => Meets::Error("failed"),
                FaultKind::ReplyLost { percent, .. } if after && one_in_hundred(percent) => {
                    Meets::Error("did its work, but the reply was lost")
                }
                FaultKind::Panic { .. } if !after && !struck => Meets::Panic,
                FaultKind::CrashInCall { after_effect, down_ms, .. } if after == after_effect && !struck => {
                    self.crash = Some(Duration::from_millis(down_ms));
                    Meets::Crash
                }
                FaultKind::Slow { .. }
                | FaultKind::Error { .. }
                | FaultKind::Outage { .. }
                | FaultKind::Hang { .. }
                | FaultKind::ReplyLost { .. }
                | FaultKind::Panic { .. }
                | FaultKind::Crash { .. }
                | FaultKind::CrashInCall { .. }
                | FaultKind::Signal { .. }
                | FaultKind::ClockStep { .. } => continue,
            };
            self.strike(index);
            return meets;
        }
        Meets::Nothing
    }
}
