//! Workers that are restarted together: the policy. How it is carried out is `decide/groups.rs`.

use serde::{Deserialize, Serialize};

use super::{Restart, RestartConfig};
use crate::config::{
    form::{Table, Words},
    section::section,
};

/// Workers that stand or fall together: what a fault of one of them means for the others.
///
/// The members that are affected are drained and stopped, dependents first, and once the last of them is down and the delay
/// of the policy is over, they are started again in order. A worker outside of the group is left alone, even if it comes
/// after a member. Restarts are counted for the group as a whole: a member that faults while the group is restarted for
/// another is part of that restart.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Context, Failure, Group, Host, Restart, Schedule, Tick};
///
/// async fn pull(_: Tick, _: Context) -> Result<(), Failure> { Ok(()) }
/// async fn push(_: Tick, _: Context) -> Result<(), Failure> { Ok(()) }
///
/// # fn main() -> Result<(), shiftwork::BuildError> {
/// let second = Duration::from_secs(1);
/// let host = Host::builder()
///     .group("sync", Group::one_for_all().restart(Restart::default().intensity(3, 60 * second)))
///     .worker("pull", Schedule::every(second), pull).in_group("sync")
///     .worker("push", Schedule::every(second), push).in_group("sync").after("pull")
///     .build()?;
/// # let _ = host;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    strategy: RestartStrategy,
    #[serde(default)]
    restart: Restart,
}

/// Who is restarted when a member of a group faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartStrategy {
    /// The member alone.
    OneForOne,
    /// The member, and those of the group that come after it, directly or not. The order in which workers were added means
    /// nothing here either.
    RestForOne,
    /// Every member.
    OneForAll,
}

impl RestartStrategy {
    const WORDS: [(&str, RestartStrategy); 3] = [
        ("one_for_one", RestartStrategy::OneForOne),
        ("rest_for_one", RestartStrategy::RestForOne),
        ("one_for_all", RestartStrategy::OneForAll),
    ];
}

section! {
    /// A [`Group`] as it is written in a file. What is left out stays as it is. Who its members are is for the code to say.
    pub struct GroupConfig {
        /// Who is restarted when a member faults.
        pub strategy: Option<RestartStrategy> = Words(&RestartStrategy::WORDS),
        /// After what delay, and how often at most.
        pub restart: RestartConfig = Table::NEW,
    }
}

impl GroupConfig {
    /// Lays what is written over a group.
    pub(crate) fn over(&self, base: Group) -> Group {
        let Self { strategy, restart } = self;
        Group { strategy: strategy.unwrap_or(base.strategy), restart: restart.over(base.restart) }
    }
}

impl From<Group> for GroupConfig {
    fn from(group: Group) -> Self {
        let Group { strategy, restart } = group;
        Self { strategy: Some(strategy), restart: restart.into() }
    }
}

impl Group {
    fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, restart: Restart::default() }
    }

    /// Each member is restarted alone; the group only counts the restarts together.
    #[must_use]
    pub fn one_for_one() -> Self {
        Self::new(RestartStrategy::OneForOne)
    }

    /// A fault restarts the member and those of the group that come after it.
    #[must_use]
    pub fn rest_for_one() -> Self {
        Self::new(RestartStrategy::RestForOne)
    }

    /// A fault restarts the whole group.
    #[must_use]
    pub fn one_for_all() -> Self {
        Self::new(RestartStrategy::OneForAll)
    }

    /// After what delay, and how often at most; see [`Restart`] for the default. When there were too many, and
    /// [`Restart::then`] says to degrade, the affected members are stopped for good.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Who is restarted.
    #[must_use]
    pub fn strategy(&self) -> RestartStrategy {
        self.strategy
    }

    /// How often, and after what delay.
    #[must_use]
    pub fn restarts(&self) -> Restart {
        self.restart
    }
}
