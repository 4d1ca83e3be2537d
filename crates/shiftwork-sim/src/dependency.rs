//! What user code calls through, and the fault model of such calls.
//!
//! A [`Dependency`] stands for a service on the other side of a network: user code wraps the effect that a call has there, and the
//! plan decides what the caller experiences. The order of a call is: it begins; half of its latency passes; it meets its
//! faults; the effect happens, whole; the reply may get lost; the other half passes; it returns.
//!
//! | fault | what the real one does |
//! | --- | --- |
//! | slow | a loaded server, a long way: the latency grows, by a time of one shape or another |
//! | brownout | one server of several is loaded: some calls are slow, the others are not |
//! | error | a refused request: fails before any effect, and may succeed when tried again |
//! | permanent error | the same, and the other side says that trying again is no use |
//! | rate limit | the same, and the other side says when to come back |
//! | outage | nobody listens: every call fails at once |
//! | flap | a server that crashes and is started again, over and over: out and well by turns |
//! | hang | packets are dropped: no answer; the connection breaks when the fault is over |
//! | reply lost | the connection breaks after the effect: the caller cannot know |
//! | effect after drop | the caller gives up, and the request that it had sent arrives all the same |
//! | panic, panic at poll | a bug in the client: the calling task panics, before the effect or at any await point of the call |
//! | drop at poll | a `select!` or a timeout in the client gives the call up at any await point of it, and goes on |
//! | spin | a client that polls for an answer instead of waiting for it: the task wakes itself |
//! | block | a client that computes, reads a file or waits for a lock in the middle of its poll: its thread does nothing else meanwhile |
//! | crash in call | the process dies while it waits, before or after the effect |
//!
//! The effect itself takes no time and is not torn apart: it is a future, and a dropped call drops it at an await point of its own.
//! Where a dropped call has its effect all the same, it has as much of it as needs no waiting.
//!
//! Too large a reply, and a reply that is not true, are not here: what a client makes of the bytes is its own affair, and
//! tested where they are read.

mod error;
mod latency;
mod on_its_way;
#[cfg(feature = "tower")]
mod tower;

use std::{fmt, future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

pub use error::DependencyError;
pub(crate) use error::Trouble;
pub use latency::Latency;
use on_its_way::OnItsWay;
use shiftwork::IntoWorker;
use tokio::time::{Instant, sleep_until};
#[cfg(feature = "tower")]
pub use tower::{DependencyLayer, DependencyService};

use crate::{
    What,
    record::{QueueOperation, SiteId},
    stubborn::Stubborn,
    world::{Asks, LetPass, Meets, MeetsAtPoll, Shared, Visit},
};

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
    /// ```
    /// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{Ledger, Script, millis, secs, site};
    ///
    /// let sent: Ledger<u32> = Ledger::default();
    /// let seen = sent.clone();
    /// let script = Script::new().at(millis(0), site("smtp").reply_lost(100).lasting(millis(500)));
    /// let outcome = script.at(secs(5), Signal::Terminate).run_once(move |world| {
    ///     let smtp = world.dependency("smtp");
    ///     world.node("mailer", move |node| {
    ///         let (smtp, sent) = (smtp.clone(), sent.clone());
    ///         let send = move |_: Tick, _: Context| {
    ///             let (smtp, sent) = (smtp.clone(), sent.clone());
    ///             async move { Ok::<(), Failure>(smtp.call(async { sent.with(|sent| *sent += 1) }).await?) }
    ///         };
    ///         node.host().worker("send", Schedule::every(secs(60)), send).run_until_signal()
    ///     });
    /// });
    /// outcome.assert_rules_kept();
    /// // The first reply was lost; the worker was told of an error, and sent the mail once more.
    /// assert_eq!(seen.with(|sent| *sent), 2);
    /// ```
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
        if !self.shared.calls_are_watched {
            return self.go_and_return(effect).await;
        }
        let mut call = pin!(Some(self.go_and_return(effect)));
        std::future::poll_fn(|cx| {
            let meets = self.shared.lock().meets_at_poll(self.site);
            match (meets, call.as_mut().as_pin_mut()) {
                (MeetsAtPoll::Panic, _) => self.panic(Asks::Code),
                (MeetsAtPoll::Nothing, Some(call)) => call.poll(cx),
                (MeetsAtPoll::Drop, _) | (MeetsAtPoll::Nothing, None) => {
                    call.set(None);
                    Poll::Ready(Err(self.error(Trouble::GivenUp)))
                }
            }
        })
        .await
    }

    /// The same worker, which ignores that its cycles are asked to end while the plan says so
    /// ([`FaultKind::IgnoreCancel`](crate::FaultKind::IgnoreCancel) of this site).
    ///
    /// ```
    /// use shiftwork::{Context, ExitStatus, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{Script, secs, site};
    ///
    /// let script = Script::new().at(secs(0), site("report").ignore_cancel()).at(secs(10), Signal::Terminate);
    /// let outcome = script.run_once(|world| {
    ///     let report = world.dependency("report");
    ///     world.node("node", move |node| {
    ///         let write = |_: Tick, cx: Context| async move {
    ///             cx.cancelled().await;
    ///             Err(Failure::interrupted("asked to end"))
    ///         };
    ///         node.host().worker("report", Schedule::every(secs(60)), report.stubborn(write)).run_until_signal()
    ///     });
    /// });
    /// outcome.assert_rules_kept();
    /// // Asked after 20 s, it would have ended. It was dropped 3 s later.
    /// assert_eq!(outcome.ended_at(), secs(33));
    /// assert_eq!(outcome.report().expect("it ended").exit, ExitStatus::DrainTimedOut);
    /// ```
    pub fn stubborn<I, K, W: IntoWorker<I, K>>(&self, worker: W) -> Stubborn<W::Worker> {
        Stubborn::new(self.clone(), worker.into_worker())
    }

    /// A cycle of a stubborn worker was asked to end: whether it ignores that.
    pub(crate) fn ignores_cancel(&self) -> bool {
        let mut state = self.shared.lock();
        !state.is_fenced() && state.ignores_cancel(self.site)
    }

    async fn go_and_return<T>(&self, effect: impl Future<Output = T>) -> Result<T, DependencyError> {
        let visit = self.begin().await;
        let Visit { site, call, asks: _ } = visit;
        self.shared.record(What::CallBegan { site, call });
        let took_effect = |_: &T, _| self.shared.record(What::CallTookEffect { site, call });
        let result = self.pass(visit, effect, Duration::MAX, took_effect).await;
        self.shared.record(What::CallEnded { site, call, ok: result.is_ok() });
        result
    }

    /// A call that is recorded by what it does, not as a call: `done` is told of the effect as soon as it has happened, and
    /// whether the caller, who waits no longer than `patience`, will hear of it.
    pub(crate) async fn quietly<T>(
        &self,
        effect: impl Future<Output = T>,
        asks: Asks,
        patience: Duration,
        done: impl FnOnce(&T, bool),
    ) -> Result<T, DependencyError> {
        let visit = Visit { asks, ..self.begin().await };
        self.pass(visit, effect, patience, done).await
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

    async fn pass<T>(
        &self,
        visit: Visit,
        effect: impl Future<Output = T>,
        patience: Duration,
        done: impl FnOnce(&T, bool),
    ) -> Result<T, DependencyError> {
        let began = Instant::now();
        let effect = pin!(effect);
        let mut on_its_way = OnItsWay::new(self, effect, done);
        let (there, back) = self.travel_times();
        pause(there).await;
        if let Err(error) = self.before(visit).await {
            on_its_way.refuse();
            return Err(error);
        }
        let value = on_its_way.arrive().await;
        let meets = self.shared.lock().meets(visit.site, true, &mut LetPass::default());
        // Its process may have stood still on the way.
        let in_time = began.elapsed().saturating_add(back) <= patience;
        on_its_way.tell(&value, meets == Meets::Nothing && in_time);
        self.obey(meets).await?;
        pause(back).await;
        Ok(value)
    }

    fn travel_times(&self) -> (Duration, Duration) {
        let mut state = self.shared.lock();
        let usual = self.latency.draw(state.chance(self.site));
        let whole = usual + state.slowness(self.site, usual);
        // Whole milliseconds each, since timers have no finer ones.
        let there = Duration::from_millis(crate::plan::whole_ms(whole) / 2);
        (there, whole - there)
    }

    async fn before(&self, visit: Visit) -> Result<(), DependencyError> {
        let mut let_pass = LetPass::default();
        loop {
            // Its process may have ended on the way, and while it spun.
            self.fenced().await;
            let meets = self.shared.lock().meets(visit.site, false, &mut let_pass);
            match meets {
                Meets::Spin(polls) => {
                    for _ in 0..polls {
                        tokio::task::yield_now().await;
                    }
                }
                Meets::Block(by) => self.shared.block(by),
                Meets::Silence(until) => {
                    let until = self.shared.lock().instant_of(until);
                    sleep_until(until).await;
                    return Err(self.error(Trouble::Silent));
                }
                Meets::Panic => self.panic(visit.asks),
                other @ (Meets::Nothing | Meets::Error(_) | Meets::Crash) => return self.obey(other).await,
            }
        }
    }

    fn panic(&self, asks: Asks) -> ! {
        self.shared.record(match asks {
            Asks::Code => What::PanicInjected,
            Asks::Lane => What::Queue(QueueOperation::Panicked),
        });
        let name = self.name();
        // Not `panic!`: an injected panic must not look like a found bug in the output of a test.
        std::panic::resume_unwind(Box::new(format!("injected panic in a call to {name}")));
    }

    async fn obey(&self, meets: Meets) -> Result<(), DependencyError> {
        match meets {
            Meets::Nothing | Meets::Silence(_) | Meets::Panic | Meets::Spin(_) | Meets::Block(_) => Ok(()),
            Meets::Error(trouble) => Err(self.error(trouble)),
            Meets::Crash => {
                self.shared.bell.notify_one();
                std::future::pending().await
            }
        }
    }

    /// Whether a call that is dropped now has its effect all the same.
    fn has_effect_after_drop(&self) -> bool {
        let mut state = self.shared.lock();
        !state.is_fenced() && state.has_effect_after_drop(self.site)
    }

    /// A killed process does nothing any more.
    async fn fenced(&self) {
        if self.shared.lock().is_fenced() {
            std::future::pending::<()>().await;
        }
    }

    fn name(&self) -> Arc<str> {
        self.shared.lock().site_name(self.site)
    }

    fn error(&self, trouble: Trouble) -> DependencyError {
        DependencyError::new(self.name(), trouble)
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
