//! What user code calls through, and the fault model of such calls.
//!
//! A [`Dependency`] stands for a service on the other side of a network: user code wraps the effect that a call has there, and the
//! plan decides what the caller experiences. The order of a call is: it begins; half of its latency passes; it meets its
//! faults; the effect happens, whole; the reply may get lost; the other half passes; it returns.
//!
//! | fault | what the real one does |
//! | --- | --- |
//! | slow | a loaded server, a long way: the latency grows |
//! | error | a refused request, a brownout: fails before any effect |
//! | outage | nobody listens: every call fails at once |
//! | hang | packets are dropped: no answer; the connection breaks when the fault is over |
//! | reply lost | the connection breaks after the effect: the caller cannot know |
//! | panic | a bug in the client: the calling task panics |
//! | crash in call | the process dies while it waits, before or after the effect |
//!
//! The effect itself takes no time and is not torn apart: it is a future, and a dropped call drops it at an await point of its own.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::sleep_until;

use crate::{
    What,
    record::SiteId,
    world::{Meets, Shared, Visit},
};

/// How long the calls of a dependency take when nothing is wrong, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    low_ms: u64,
    high_ms: u64,
}

impl Latency {
    /// No time at all: something inside the process.
    #[must_use]
    pub fn none() -> Self {
        Self { low_ms: 0, high_ms: 0 }
    }

    /// Always the same.
    #[must_use]
    pub fn constant(latency: Duration) -> Self {
        Self::uniform(latency, latency)
    }

    /// Anything from `low` to `high`, equally likely.
    #[must_use]
    pub fn uniform(low: Duration, high: Duration) -> Self {
        let low_ms = crate::plan::whole_ms(low);
        Self { low_ms, high_ms: crate::plan::whole_ms(high).max(low_ms) }
    }
}

/// A handle that user code calls through. Cheap to clone.
#[derive(Clone)]
pub struct Dependency {
    shared: Arc<Shared>,
    site: SiteId,
    latency: Latency,
}

impl Dependency {
    pub(crate) fn new(shared: Arc<Shared>, site: SiteId, latency: Latency) -> Self {
        Self { shared, site, latency }
    }

    /// Calls the dependency: `effect` is what happens on the other side when the call gets there.
    ///
    /// # Errors
    ///
    /// When a fault of the plan strikes; whether the effect happened is then known only to the world.
    ///
    /// # Panics
    ///
    /// When the plan says so. The message begins with "injected".
    ///
    /// # Cancel safety
    ///
    /// Like a real request: a dropped call may or may not have had its effect.
    pub async fn call<T>(&self, effect: impl Future<Output = T>) -> Result<T, DependencyError> {
        let visit = self.begin().await;
        self.shared.record(What::CallBegan { site: visit.site, call: visit.call });
        let result = self.pass(visit, effect).await;
        self.shared.record(What::CallEnded { site: visit.site, call: visit.call, ok: result.is_ok() });
        result
    }

    /// A call that is recorded by what it does, not as a call: `done` is told of the effect as soon as it has happened, and
    /// whether the caller, who waits no longer than `patience`, will hear of it.
    pub(crate) async fn quietly<T>(
        &self,
        effect: impl Future<Output = T>,
        patience: Duration,
        done: impl FnOnce(&T, bool),
    ) -> Result<T, DependencyError> {
        let visit = self.begin().await;
        let (there, back) = self.travel_times();
        pause(there).await;
        self.before(visit).await?;
        let value = effect.await;
        let meets = self.shared.lock().meets(visit.site, true);
        done(&value, meets == Meets::Nothing && there + back <= patience);
        self.obey(meets).await?;
        pause(back).await;
        Ok(value)
    }

    /// The site's number, for what tells sites apart.
    pub(crate) fn site(&self) -> SiteId {
        self.site
    }

    async fn begin(&self) -> Visit {
        // As a socket does: a task that calls and calls without ever having to wait gives way to the others now and then.
        tokio::task::coop::consume_budget().await;
        self.shared.lock().visit(self.site)
    }

    async fn pass<T>(&self, visit: Visit, effect: impl Future<Output = T>) -> Result<T, DependencyError> {
        let (there, back) = self.travel_times();
        pause(there).await;
        self.before(visit).await?;
        let value = effect.await;
        self.shared.record(What::CallTookEffect { site: visit.site, call: visit.call });
        self.after(visit).await?;
        pause(back).await;
        Ok(value)
    }

    fn travel_times(&self) -> (Duration, Duration) {
        let mut state = self.shared.lock();
        let Latency { low_ms, high_ms } = self.latency;
        let usual = if low_ms == high_ms { low_ms } else { state.chance(self.site).u64(low_ms..=high_ms) };
        let whole = Duration::from_millis(usual) + state.slowness(self.site);
        // Whole milliseconds each, since timers have no finer ones.
        let there = Duration::from_millis(crate::plan::whole_ms(whole) / 2);
        (there, whole - there)
    }

    async fn before(&self, visit: Visit) -> Result<(), DependencyError> {
        self.fenced().await;
        let meets = self.shared.lock().meets(visit.site, false);
        match meets {
            Meets::Silence(until) => {
                let until = self.shared.lock().instant_of(until);
                sleep_until(until).await;
                Err(self.error("stopped answering"))
            }
            Meets::Panic => {
                self.shared.record(What::PanicInjected);
                let name = self.name();
                // Not `panic!`: an injected panic must not look like a found bug in the output of a test.
                std::panic::resume_unwind(Box::new(format!("injected panic in a call to {name}")));
            }
            other @ (Meets::Nothing | Meets::Error(_) | Meets::Crash) => self.obey(other).await,
        }
    }

    async fn after(&self, visit: Visit) -> Result<(), DependencyError> {
        let meets = self.shared.lock().meets(visit.site, true);
        self.obey(meets).await
    }

    async fn obey(&self, meets: Meets) -> Result<(), DependencyError> {
        match meets {
            Meets::Nothing | Meets::Silence(_) | Meets::Panic => Ok(()),
            Meets::Error(what) => Err(self.error(what)),
            Meets::Crash => {
                self.shared.bell.notify_one();
                std::future::pending().await
            }
        }
    }

    /// A killed process does nothing any more.
    async fn fenced(&self) {
        if self.shared.lock().fenced {
            std::future::pending::<()>().await;
        }
    }

    fn name(&self) -> Arc<str> {
        self.shared.lock().site_name(self.site)
    }

    fn error(&self, what: &'static str) -> DependencyError {
        DependencyError { site: self.name(), what }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl fmt::Debug for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependency").field("name", &self.name()).field("latency", &self.latency).finish_non_exhaustive()
    }
}

/// A fault of the plan, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyError {
    site: Arc<str>,
    what: &'static str,
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (injected)", self.site, self.what)
    }
}

impl std::error::Error for DependencyError {}
