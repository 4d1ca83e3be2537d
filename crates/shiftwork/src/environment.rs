//! Where wall time, chance and signals come from: the one door through which the outside world reaches the runtime.
//!
//! All *waiting* is tokio time and does not pass through here. The rest (the wall clock for due times and leases, the seed of
//! every random draw, the process signals) comes from one [`Environment`], so that a test can own all of it. Through it a test, or
//! an operator, also strikes cycles at their await points ([`AwaitPoint`]).
//! [`System`] is the real one.

use std::{
    cell::Cell,
    io,
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use crate::{AtAwait, AwaitPoint};

/// Wall time, chance and signals.
///
/// A program that handles its signals itself hands them on:
///
/// ```
/// use std::{
///     io,
///     sync::{Arc, Mutex},
/// };
///
/// use shiftwork::{
///     Environment, Failure, Host, ServiceContext, Signal, Signals, System, event::StopReason, queue::Timestamp,
/// };
/// use tokio::sync::mpsc;
///
/// /// The machine's clock and chance, and the signals that the program lets through.
/// struct Embedded(Mutex<Option<mpsc::UnboundedReceiver<Signal>>>);
///
/// impl Environment for Embedded {
///     fn now(&self) -> Timestamp {
///         System.now()
///     }
///
///     fn seed(&self) -> u64 {
///         System.seed()
///     }
///
///     fn signals(&self) -> io::Result<Signals> {
///         let signals = self.0.lock().map_or(None, |mut signals| signals.take());
///         signals.map(Signals::injected).ok_or_else(|| io::Error::other("another host has them"))
///     }
/// }
///
/// async fn serve(cx: ServiceContext) -> Result<(), Failure> {
///     cx.stopped().await;
///     Ok(())
/// }
///
/// # tokio_test::block_on(async {
/// let (signals, receiver) = mpsc::unbounded_channel();
/// let environment = Arc::new(Embedded(Mutex::new(Some(receiver))));
/// let host = Host::builder().environment(environment).service("serve", serve);
/// signals.send(Signal::Terminate).expect("the environment has the other end");
/// let report = host.run_until_signal().await;
/// assert_eq!(report.reason, StopReason::Signal(Signal::Terminate));
/// # });
/// ```
pub trait Environment: Send + Sync + 'static {
    /// The wall time. It may step forward or back; nothing in the runtime assumes that it does not.
    fn now(&self) -> Timestamp;

    /// The wall time at `instant`, which was read a moment ago. Where a look at both clocks costs too much for each cycle,
    /// one of them may be derived from the other; [`System`] does so for 1 ms, the resolution of tokio's timers, so that a
    /// step of the wall clock is seen that much later.
    fn now_at(&self, instant: Instant) -> Timestamp {
        let _ = instant;
        self.now()
    }

    /// The seed of all random draws of one host. Two hosts of a fleet should differ.
    fn seed(&self) -> u64;

    /// Takes over the process signals; called once, before any worker starts.
    ///
    /// # Errors
    ///
    /// When the handlers cannot be installed. The host then does not start.
    fn signals(&self) -> io::Result<Signals>;

    /// Whether a thread may watch the host on the machine's own clock ([`crate::Watchdog`]). Not by default: where time is
    /// simulated, that would be another one.
    fn is_watched(&self) -> bool {
        false
    }

    /// Whether it wants to be asked what happens at the await points of cycles ([`Environment::at_await`]). Said once for each life of
    /// a worker, before its first cycle. Not by default: then a cycle pays for nothing but a look at that.
    fn watches_awaits(&self) -> bool {
        false
    }

    /// What happens to a cycle that has waited and is about to go on: fault injection at its await points. Asked only of who says
    /// [`Environment::watches_awaits`], on the cycle's own task and before each poll of it but the first; never of hooks and
    /// services.
    ///
    /// A panic in here is the cycle's own: it is caught, told and tried again as any other (rule C5). One that is no bug is best raised by
    /// [`std::panic::resume_unwind`], which no panic hook hears of.
    fn at_await(&self, at: &AwaitPoint<'_>) -> AtAwait {
        let _ = at;
        AtAwait::GoOn
    }
}

/// How long the wall time is derived from one look at it.
const DERIVED_MAX: Duration = Duration::from_millis(1);

/// The operating system's clock, entropy and signals. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    #[expect(clippy::disallowed_methods, reason = "the one place where the runtime reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn now_at(&self, instant: Instant) -> Timestamp {
        thread_local! {
            static LOOKED: Cell<Option<(Instant, Timestamp)>> = const { Cell::new(None) };
        }
        LOOKED.with(|looked| {
            if let Some((at, time)) = looked.get()
                && let Some(since) = instant.checked_duration_since(at)
                && since < DERIVED_MAX
            {
                return shiftwork_queue::later(time, since);
            }
            let time = self.now();
            looked.set(Some((instant, time)));
            time
        })
    }

    fn seed(&self) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's own entropy: a fresh key for each call.
        RandomState::new().hash_one(std::process::id())
    }

    fn signals(&self) -> io::Result<Signals> {
        Signals::system()
    }

    fn is_watched(&self) -> bool {
        true
    }
}

/// A signal that a host acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGTERM: an orchestrator asks for a graceful stop.
    Terminate,
    /// SIGINT: a person pressed Ctrl-C. A graceful stop.
    Interrupt,
    /// SIGQUIT: stop without a drain. What is in flight is interrupted and returned.
    Quit,
}

impl Signal {
    /// The name that people know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Quit => "SIGQUIT",
        }
    }
}

/// The signals that reach one host.
#[derive(Debug)]
pub struct Signals(Streams);

#[derive(Debug)]
enum Streams {
    #[cfg(unix)]
    System([(tokio::signal::unix::Signal, Signal); 3]),
    Injected(mpsc::UnboundedReceiver<Signal>),
}

impl Signals {
    /// Handlers for SIGTERM, SIGINT and SIGQUIT. Needs a runtime with its I/O driver on.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a handler.
    #[cfg(unix)]
    pub fn system() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(Streams::System([
            (signal(SignalKind::terminate())?, Signal::Terminate),
            (signal(SignalKind::interrupt())?, Signal::Interrupt),
            (signal(SignalKind::quit())?, Signal::Quit),
        ])))
    }

    /// Ctrl-C, where there are no other signals. Needs a runtime with its I/O driver on.
    ///
    /// # Errors
    ///
    /// Never on this platform: a handler that cannot be installed sends nothing.
    #[cfg(not(unix))]
    pub fn system() -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => break,
                    pressed = tokio::signal::ctrl_c() => {
                        if pressed.is_err() || sender.send(Signal::Interrupt).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        Ok(Self(Streams::Injected(receiver)))
    }

    /// Signals that come through a channel: from a test, or from a program that handles its signals itself.
    #[must_use]
    pub fn injected(receiver: mpsc::UnboundedReceiver<Signal>) -> Self {
        Self(Streams::Injected(receiver))
    }

    /// The next signal; pending for ever once no more can come.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no signal.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        match &mut self.0 {
            #[cfg(unix)]
            Streams::System(streams) => {
                for (stream, signal) in streams {
                    if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                        return Poll::Ready(*signal);
                    }
                }
                Poll::Pending
            }
            Streams::Injected(receiver) => match receiver.poll_recv(cx) {
                Poll::Ready(Some(signal)) => Poll::Ready(signal),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_wall_time_goes_on_with_the_instant_and_is_looked_at_anew_after_a_millisecond() {
        let began = Instant::now();
        let first = System.now_at(began);
        let derived = System.now_at(began + DERIVED_MAX / 2);
        assert_eq!(Duration::try_from(derived.duration_since(first)).unwrap(), DERIVED_MAX / 2);
        // As if an hour had passed: what is looked at is the clock, not the sum.
        let looked = System.now_at(began + Duration::from_secs(3600));
        assert!(looked.duration_since(first).as_secs() < 3600);
        // An instant before the last look is not derived from it.
        assert!(System.now_at(began) >= first);
    }
}
