//! A tower layer around a client: each of its calls goes through a dependency.
//!
//! It is for programs whose client is a [`tower_service::Service`] already, below the layers for timeouts, limits and retries that
//! they ship with: a plan strikes between those layers and the client, where the network is.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
};

use shiftwork::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::Dependency;

impl Dependency {
    /// A layer that lets each call of a service pass through this dependency. What the service does happens when the call gets
    /// to the other side; what it answers, an error of its own included, is the reply.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use shiftwork::{Context, Failure, Schedule, Signal, Tick};
    /// use shiftwork_sim::{Script, secs, site};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let outcome = Script::new()
    ///     .at(secs(5), site("rates").hang())
    ///     .at(secs(60), Signal::Terminate)
    ///     .run_once(|world| {
    ///         let rates = world.dependency("rates");
    ///         world.node("node", move |node| {
    ///             // As it ships, with one layer more at the bottom.
    ///             let client = ServiceBuilder::new()
    ///                 .timeout(secs(2))
    ///                 .layer(rates.layer())
    ///                 .service(service_fn(|currency: &'static str| async move { Ok::<_, Infallible>(currency.len()) }));
    ///             let look = move |_: Tick, _: Context| {
    ///                 let mut client = client.clone();
    ///                 async move {
    ///                     let ready = client.ready().await.map_err(Failure::transient)?;
    ///                     ready.call("EUR").await.map_err(Failure::transient)?;
    ///                     Ok::<(), Failure>(())
    ///                 }
    ///             };
    ///             node.host().worker("look", Schedule::every(secs(10)), look).run_until_signal()
    ///         });
    ///     });
    /// outcome.assert_rules_kept();
    /// let look = &outcome.report().expect("it has a verdict").workers[0];
    /// assert_eq!(look.cycles.succeeded, 1);
    /// assert!(look.cycles.failed > 1);
    /// ```
    #[must_use]
    pub fn layer(&self) -> DependencyLayer {
        DependencyLayer { dependency: self.clone() }
    }
}

/// What [`Dependency::layer`] makes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DependencyLayer {
    dependency: Dependency,
}

impl<S> Layer<S> for DependencyLayer {
    type Service = DependencyService<S>;

    fn layer(&self, inner: S) -> DependencyService<S> {
        DependencyService { dependency: self.dependency.clone(), inner }
    }
}

/// A service behind a dependency. Its error is the service's own, or a [`DependencyError`](super::DependencyError).
#[derive(Debug, Clone)]
pub struct DependencyService<S> {
    dependency: Dependency,
    inner: S,
}

impl<S, Request> Service<Request> for DependencyService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that said it is ready goes along; a clone of it need not be.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let dependency = self.dependency.clone();
        // Not before the call gets there: a service may begin its work in `call`.
        let effect = async move { ready.call(request).await };
        Box::pin(async move { dependency.call(effect).await?.map_err(Into::into) })
    }
}
