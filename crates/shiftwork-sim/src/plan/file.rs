//! Plans as they are kept in files.

use std::fmt;

use serde::Deserialize;

use super::{FaultKind, Plan, VERSION};

impl Plan {
    /// The plan as it is kept in a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// Reads a plan that [`Plan::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, which is told before anything else, or not a plan at all.
    pub fn from_json(json: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(json).map_err(PlanError::Unreadable)?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        let plan: Self = serde_json::from_str(json).map_err(PlanError::Unreadable)?;
        for fault in &plan.faults {
            if fault.lets_pass > 0 && !fault.kind.may_let_pass() {
                return Err(PlanError::LetsPass(fault.kind.name()));
            }
            if let FaultKind::DstChange { zone, change } = &fault.kind {
                change.next_in(zone).map_err(PlanError::Zone)?;
            }
        }
        Ok(plan)
    }
}

/// Why a text is not a plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum PlanError {
    /// It is of another version of the format.
    Version(u32),
    /// A fault of this kind strikes no calls or cycles of which it could let some pass.
    LetsPass(&'static str),
    /// There is no such time zone, or its clocks do not change as a fault says: why.
    Zone(String),
    /// It is not JSON, or not a plan.
    Unreadable(serde_json::Error),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Version(version) => {
                write!(f, "the plan has version {version}; this program reads version {VERSION}")
            }
            PlanError::LetsPass(kind) => {
                write!(
                    f,
                    "not a plan: the fault {kind} cannot have lets_pass, which is for those that strike calls or cycles"
                )
            }
            PlanError::Zone(reason) => write!(f, "not a plan: {reason}"),
            PlanError::Unreadable(error) => write!(f, "not a plan: {error}"),
        }
    }
}

impl std::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shiftwork::Signal;

    use super::*;
    use crate::plan::{Fault, Script, clock_back, crash, downtime, dst_back, dst_forward, site, worker};

    #[test]
    fn a_plan_comes_back_from_its_file_as_it_was() {
        let script = Script::new()
            .at(Duration::from_secs(1), site("smtp").hang().lasting(Duration::from_secs(5)))
            .at(Duration::from_secs(2), Signal::Terminate)
            .at(Duration::from_secs(3), crash(Duration::from_secs(1)))
            .at(Duration::from_secs(4), clock_back(Duration::from_secs(1)))
            .at(Duration::from_secs(5), dst_back("Europe/Vienna"))
            .at(Duration::from_secs(6), downtime(Duration::from_hours(24)));
        assert_eq!(&Plan::from_json(&script.plan().to_json()).unwrap(), script.plan());
    }

    #[test]
    fn a_plan_of_another_version_is_refused_with_both_versions_named() {
        let json = Plan::quiet("email", 1).to_json().replace("\"version\": 1", "\"version\": 7");
        let error = Plan::from_json(&json).unwrap_err().to_string();
        assert_eq!(error, "the plan has version 7; this program reads version 1");
    }

    #[test]
    fn a_fault_with_something_that_it_does_not_have_is_refused() {
        let refused = |fault: &str| {
            let json = Plan::quiet("email", 1).to_json().replace("[]", &format!("[{fault}]"));
            Plan::from_json(&json).unwrap_err().to_string()
        };
        let misspelt = refused(r#"{"at_ms": 1, "fault": "hang", "site": "smtp", "for": 5000}"#);
        assert!(misspelt.contains("unknown field `for`") && misspelt.contains("for_ms"), "{misspelt}");
        let too_many = refused(r#"{"at_ms": 1, "fault": "error", "site": "smtp", "percent": 101}"#);
        assert!(too_many.contains("101") && too_many.contains("at most 100 of a hundred"), "{too_many}");
    }

    #[test]
    fn only_what_strikes_calls_or_cycles_lets_some_of_them_pass() {
        let plan =
            |kind| Plan { faults: vec![Fault { lets_pass: 2, ..Fault::new(1, kind) }], ..Plan::quiet("email", 1) };
        for kind in [site("smtp").hang(), worker("mailer").panic_in_cycle(1)] {
            let plan = plan(kind);
            assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
        }
        let error = Plan::from_json(&plan(Signal::Terminate.into()).to_json()).unwrap_err().to_string();
        assert!(error.contains("the fault signal cannot have lets_pass"), "{error}");
    }

    #[test]
    fn a_zone_that_is_unknown_or_whose_clocks_do_not_change_is_refused() {
        let refused = |zone| {
            let script = Script::new().at(Duration::from_secs(1), dst_forward(zone));
            Plan::from_json(&script.plan().to_json()).unwrap_err().to_string()
        };
        let unknown = refused("Europe/Wien");
        assert!(unknown.contains("\"Europe/Wien\"") && unknown.contains("\"Europe/Vienna\""), "{unknown}");
        assert_eq!(refused("Asia/Tokyo"), "not a plan: the clocks of Asia/Tokyo never go forward after 2026-01-01");
        let json = Script::new().at(Duration::from_secs(1), dst_back("Europe/Vienna")).plan().to_json();
        let sideways = Plan::from_json(&json.replace("\"back\"", "\"sideways\"")).unwrap_err().to_string();
        assert!(sideways.contains("sideways") && sideways.contains("forward"), "{sideways}");
    }

    #[test]
    fn an_unknown_fault_is_refused_with_the_known_ones_named() {
        let json = Plan::quiet("email", 1).to_json().replace("[]", r#"[{"at_ms": 1, "fault": "gremlin"}]"#);
        let error = Plan::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("gremlin") && error.contains("reply_lost"), "{error}");
    }
}
