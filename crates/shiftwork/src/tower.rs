//! [tower](https://docs.rs/tower) services as workers, and tower layers around a cycle.
//!
//! Limits, timeouts and retries that a program has as tower layers already work here unchanged. The core has its own of
//! most of them, which know deliveries and leases; where both have a timeout, the shorter one strikes first.
//!
//! A cycle that goes through here costs one allocation; workers that do not pay nothing for it. What a failure means
//! survives the layers: [`Failure::invalid`] in a cycle is bad input outside of them too. What a layer itself fails with
//! (a timeout, a full buffer) is transient, or what the worker's classification says, as if it had come through `?`. So is
//! what a service fails with as it is asked whether it is ready. One that can never be ready again, such as a buffer whose task
//! has died, fails each cycle: have the classification call that error fatal.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{BoxError, Context, Failure, IntoWorker, Worker};

/// A service as a worker: each cycle is one call, on a clone of the service that is asked whether it is ready first.
///
/// What it answers is dropped; its error is a failure as `?` would make it.
///
/// ```
/// use shiftwork::{Host, QueueSourceExt, queue::MemoryQueue, tower};
///
/// # fn with<S>(client: S) where
/// #     S: tower_service::Service<String, Response = u16, Error = std::io::Error> + Clone + Send + 'static,
/// #     S::Future: Send,
/// # {
/// let urls = MemoryQueue::<String>::new();
/// let host = Host::builder().worker("fetch", urls.source(), tower::service(client));
/// # }
/// ```
pub fn service<S, Input>(service: S) -> ServiceWorker<S, Input>
where
    S: Service<Input> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Input: Send + 'static,
{
    ServiceWorker { service: Mutex::new(service), input: PhantomData }
}

/// A worker with tower layers around its cycles. Its start and stop hooks are outside of them.
///
/// ```
/// use std::time::Duration;
/// use shiftwork::{Context, Continuous, Failure, Host, tower};
/// # use tower_layer::Identity;
///
/// async fn sync(_: (), cx: Context) -> Result<(), Failure> {
///     println!("cycle {}", cx.cycle());
///     Ok(())
/// }
///
/// # let (concurrency, timeout) = (Identity::new(), Identity::new());
/// let layers = tower_layer::Stack::new(timeout, concurrency); // or a `tower::ServiceBuilder`
/// let host = Host::builder().worker("sync", Continuous::new(), tower::layered(sync, layers));
/// ```
pub fn layered<Input, Kind, W, L>(worker: W, layer: L) -> LayeredWorker<W::Worker, L::Service>
where
    W: IntoWorker<Input, Kind>,
    L: Layer<CycleService<W::Worker>>,
{
    let worker = Arc::new(worker.into_worker());
    let service = layer.layer(CycleService { worker: worker.clone() });
    LayeredWorker { worker, service: Mutex::new(service) }
}

/// What [`service`] makes.
pub struct ServiceWorker<S, Input> {
    /// Locked for a clone, so that a service need not be shared between threads.
    service: Mutex<S>,
    input: PhantomData<fn(Input)>,
}

impl<S, Input> Worker for ServiceWorker<S, Input>
where
    S: Service<Input> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Input: Send + 'static,
{
    type Input = Input;

    async fn cycle(&self, input: Input, _: &Context) -> Result<(), Failure> {
        call(&self.service, input).await
    }
}

/// What [`layered`] makes.
pub struct LayeredWorker<W, S> {
    worker: Arc<W>,
    service: Mutex<S>,
}

impl<W, S> Worker for LayeredWorker<W, S>
where
    W: Worker,
    S: Service<Cycle<W::Input>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Input = W::Input;

    async fn start(&self) -> Result<(), Failure> {
        self.worker.start().await
    }

    async fn cycle(&self, input: W::Input, context: &Context) -> Result<(), Failure> {
        call(&self.service, Cycle { input, context: context.clone() }).await
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.worker.stop().await
    }
}

/// One cycle, as the request that goes through the layers. A retry layer needs an input that can be cloned.
#[derive(Debug, Clone)]
pub struct Cycle<Input> {
    /// What the cycle works on.
    pub input: Input,
    /// What it knows of itself and its surroundings.
    pub context: Context,
}

/// The innermost service: it runs the worker's cycle.
pub struct CycleService<W> {
    worker: Arc<W>,
}

impl<W> Clone for CycleService<W> {
    fn clone(&self) -> Self {
        Self { worker: self.worker.clone() }
    }
}

impl<W: Worker> Service<Cycle<W::Input>> for CycleService<W> {
    type Response = ();
    type Error = CycleError;
    type Future = Pin<Box<dyn Future<Output = Result<(), CycleError>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), CycleError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, cycle: Cycle<W::Input>) -> Self::Future {
        let worker = self.worker.clone();
        Box::pin(async move { worker.cycle(cycle.input, &cycle.context).await.map_err(CycleError) })
    }
}

/// A [`Failure`] as an error, which layers ask for.
pub struct CycleError(Failure);

impl CycleError {
    /// What the cycle said.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl fmt::Debug for CycleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CycleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.error())
    }
}

impl Error for CycleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.error().source()
    }
}

async fn call<S, Request>(service: &Mutex<S>, request: Request) -> Result<(), Failure>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
{
    // What is ready is this clone, so it is this one that is called.
    let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let called = async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await.map(drop)
    };
    called.await.map_err(|error| failure_of(error.into()))
}

/// The cycle's own failure, if that is what the layers let through; otherwise as through `?`.
fn failure_of(error: BoxError) -> Failure {
    match error.downcast::<CycleError>() {
        Ok(cycle) => cycle.0,
        Err(error) => match below_layers(&*error).map(Failure::said_of) {
            Some(said_of) => said_of(error),
            None => Failure::unclassified(error),
        },
    }
}

/// What the cycle failed with, where a layer can only refer to it: one that shares an error between callers.
pub(crate) fn below_layers<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Failure> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(CycleError(failure)) = error.downcast_ref() {
            return Some(failure);
        }
        source = error.source();
    }
    None
}

impl<S, Input> fmt::Debug for ServiceWorker<S, Input> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWorker").finish_non_exhaustive()
    }
}

impl<W, S> fmt::Debug for LayeredWorker<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayeredWorker").finish_non_exhaustive()
    }
}

impl<W> fmt::Debug for CycleService<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleService").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::FailureKind;

    /// What a layer makes of an error that several callers wait for.
    #[derive(Debug)]
    struct Shared(CycleError);

    impl fmt::Display for Shared {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a buffered call failed")
        }
    }

    impl Error for Shared {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn what_a_failure_means_survives_the_layers() {
        let limited = || CycleError(Failure::retry_after(Duration::from_secs(9), "429"));
        let passed = failure_of(limited().into());
        assert_eq!((passed.kind(), passed.delay()), (FailureKind::Transient, Some(Duration::from_secs(9))));
        let shared = failure_of(Shared(limited()).into());
        assert_eq!((shared.kind(), shared.delay()), (FailureKind::Transient, Some(Duration::from_secs(9))));
        assert_eq!(&*shared.cause().message, "a buffered call failed: 429");
        assert!(failure_of(CycleError(Failure::invalid("no")).into()).is_invalid());
    }

    #[test]
    fn the_classification_finds_what_the_cycle_failed_with_below_what_a_layer_made_of_it() {
        let discards = |error: &(dyn Error + 'static)| error.is::<fmt::Error>().then_some(crate::FailureClass::Discard);
        let unsaid = failure_of(Shared(CycleError(fmt::Error.into())).into());
        let said = failure_of(Shared(CycleError(Failure::transient(fmt::Error))).into());
        assert!(said.classified(discards, |_| {}).is_transient());
        let discarded = unsaid.classified(discards, |_| {});
        assert_eq!(discarded.kind(), FailureKind::Discarded);
        assert_eq!(discarded.error().to_string(), "a buffered call failed");
    }

    #[test]
    fn what_a_layer_fails_with_is_for_the_classification_to_say() {
        let failure = failure_of(fmt::Error.into());
        assert!(failure.is_transient());
        let discards = |error: &(dyn Error + 'static)| error.is::<fmt::Error>().then_some(crate::FailureClass::Discard);
        let said = failure.classified(discards, |_| {});
        assert_eq!(said.kind(), FailureKind::Discarded);
    }
}
