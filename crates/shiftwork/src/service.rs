//! What a service or a job knows about its surroundings.
//!
//! How it is added is [`crate::HostBuilder::service`]'s and [`crate::HostBuilder::job`]'s; what its return means is decided
//! in `lifecycle/body.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use shiftwork_queue::Timestamp;
use tokio::sync::Notify;

use crate::{
    Environment, HostHandle,
    control::{Control, Level},
};

/// A service's view of its surroundings. Cheap to clone: one reference count.
#[derive(Clone)]
pub struct ServiceContext {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    control: Arc<Control>,
    environment: Arc<dyn Environment>,
    host: Option<HostHandle>,
    ready: AtomicBool,
    bell: Notify,
}

impl ServiceContext {
    pub(crate) fn new(
        name: Arc<str>,
        control: Arc<Control>,
        environment: Arc<dyn Environment>,
        host: Option<HostHandle>,
    ) -> Self {
        let (ready, bell) = (AtomicBool::new(false), Notify::new());
        let shared = Shared { name, control, environment, host, ready, bell };
        Self { shared: Arc::new(shared) }
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Says that the service is ready. It matters to one that was added with [`crate::ServiceBuilder::handshake`]: workers
    /// that come after it start now, and the host runs once every worker is ready. Saying it again changes nothing.
    ///
    /// ```
    /// use shiftwork::{Failure, Host, ServiceContext};
    ///
    /// async fn serve(cx: ServiceContext) -> Result<(), Failure> {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?; // a port that is taken is a failed start
    ///     cx.ready();
    ///     cx.opened().await; // nothing is served before the whole host is ready
    ///     # let _ = listener;
    ///     cx.stopped().await;
    ///     Ok(())
    /// }
    ///
    /// let host = Host::builder().service("http", serve).handshake();
    /// # let _ = host;
    /// ```
    pub fn ready(&self) {
        self.shared.ready.store(true, Ordering::Release);
        self.shared.bell.notify_waiters();
    }

    /// Completes when the whole host is ready, or will not be any more because it stops.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be dropped and asked again.
    pub async fn opened(&self) {
        self.shared.control.reached(Level::Open).await;
    }

    /// Whether the service was asked to stop.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.shared.control.is_at_least(Level::Drain)
    }

    /// Completes when the service is asked to stop: it should take in nothing new, finish what it has begun, and return
    /// `Ok`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be dropped and asked again.
    pub async fn stopped(&self) {
        self.shared.control.reached(Level::Drain).await;
    }

    /// Completes when the service should end *now*: the time to drain is over. Shortly after, its future is dropped where
    /// it stands. What it fails with from here on is no fault.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it may be dropped and asked again.
    pub async fn cancelled(&self) {
        self.shared.control.reached(Level::Cancel).await;
    }

    /// A handle to the host that the service belongs to: for a health endpoint, or to pause and trigger workers from it.
    ///
    /// # Panics
    ///
    /// Never: a host with a service has a handle.
    #[must_use]
    pub fn host(&self) -> HostHandle {
        let Some(host) = &self.shared.host else { unreachable!("a host with a service has a handle") };
        host.clone()
    }

    /// The wall time, from the host's environment.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.shared.environment.now()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// Completes when the service has said that it is ready.
    pub(crate) async fn said_ready(&self) {
        loop {
            let bell = self.shared.bell.notified();
            if self.is_ready() {
                return;
            }
            bell.await;
        }
    }
}

impl std::fmt::Debug for ServiceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceContext").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
