//! A fault of the plan, as the caller of a dependency sees it.

use std::{fmt, sync::Arc, time::Duration};

use shiftwork::Failure;

/// A fault of the plan, as the caller sees it.
///
/// `?` makes a transient failure of it, as of any error. [`DependencyError::into_failure`] makes what a careful client
/// would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyError {
    site: Arc<str>,
    trouble: Trouble,
}

/// What happened to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Out,
    Silent,
    Failed,
    Refused,
    RateLimited(Duration),
    ReplyLost,
    GivenUp,
}

impl DependencyError {
    pub(crate) fn new(site: Arc<str>, trouble: Trouble) -> Self {
        Self { site, trouble }
    }

    /// Whether the other side said that trying again is no use.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.trouble == Trouble::Refused
    }

    /// When to come back, if the other side said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.trouble {
            Trouble::RateLimited(after) => Some(after),
            Trouble::Out
            | Trouble::Silent
            | Trouble::Failed
            | Trouble::Refused
            | Trouble::ReplyLost
            | Trouble::GivenUp => None,
        }
    }

    /// The failure that a careful client makes of it: invalid if trying again is no use, not before the time that the
    /// other side named, transient otherwise.
    ///
    /// ```
    /// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{DependencyError, Script, secs, site};
    ///
    /// let outcome = Script::new()
    ///     .at(secs(0), site("smtp").rate_limit(100, secs(30)).lasting(secs(5)))
    ///     .at(secs(50), Signal::Terminate)
    ///     .run_once(|world| {
    ///         let smtp = world.dependency("smtp");
    ///         world.node("mailer", move |node| {
    ///             let smtp = smtp.clone();
    ///             let send = move |_: Tick, _: Context| {
    ///                 let smtp = smtp.clone();
    ///                 async move { smtp.call(async {}).await.map_err(DependencyError::into_failure) }
    ///             };
    ///             node.host().worker("send", Schedule::every(secs(60)), send).run_until_signal()
    ///         });
    ///     });
    /// outcome.assert_rules_kept();
    /// // It was told to come back after 30 s, and did not try before.
    /// assert_eq!(outcome.report().expect("it ended").worker("send").expect("it is there").cycles.succeeded, 1);
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self.trouble {
            Trouble::Refused => Failure::invalid(self),
            Trouble::RateLimited(after) => Failure::retry_after(after, self),
            Trouble::Out | Trouble::Silent | Trouble::Failed | Trouble::ReplyLost | Trouble::GivenUp => {
                Failure::transient(self)
            }
        }
    }
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = &self.site;
        match self.trouble {
            Trouble::Out => write!(f, "{site} is out (injected)"),
            Trouble::Silent => write!(f, "{site} stopped answering (injected)"),
            Trouble::Failed => write!(f, "{site} failed (injected)"),
            Trouble::Refused => write!(f, "{site} refused for good (injected)"),
            Trouble::RateLimited(after) => {
                write!(f, "{site} is busy and wants to be left alone for {after:?} (injected)")
            }
            Trouble::ReplyLost => write!(f, "{site} did its work, but the reply was lost (injected)"),
            Trouble::GivenUp => write!(f, "the call to {site} was given up on its way (injected)"),
        }
    }
}

impl std::error::Error for DependencyError {}
