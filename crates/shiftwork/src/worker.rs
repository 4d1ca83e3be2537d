//! What a user writes: a type with a cycle, or an async function.

use std::{future::Future, marker::PhantomData};

use crate::{Context, Failure};

/// A unit of background work: one cycle, run again and again on what its source offers.
///
/// The cycle is one focused step: it takes one input, does its work and returns. It must not loop by itself; the source
/// does. Waiting inside it is fine, and is where it can be interrupted.
///
/// ```
/// use shiftwork::{Context, Failure, Worker};
///
/// struct Greeter;
///
/// impl Worker for Greeter {
///     type Input = String;
///
///     async fn cycle(&self, name: String, cx: &Context) -> Result<(), Failure> {
///         if name.is_empty() {
///             return Err(Failure::invalid("a greeting needs a name"));
///         }
///         println!("hello, {name} (attempt {})", cx.attempt());
///         Ok(())
///     }
/// }
/// ```
pub trait Worker: Send + Sync + 'static {
    /// What a cycle works on: `()` for a continuous source, [`crate::Tick`] for a schedule, a payload for a queue.
    type Input: Send + 'static;

    /// Gets ready: opens connections, checks what must be there. Returning `Ok` is the readiness handshake: until every
    /// worker has returned, no cycle of any starts.
    ///
    /// # Errors
    ///
    /// A failure while the host starts stops it, and is reported as the root cause. In a later life, after a restart, it is
    /// another fault, and the affair of [`OnFault`](crate::OnFault).
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when its time limit ends or the host is asked to stop.
    fn start(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// One cycle.
    ///
    /// # Errors
    ///
    /// See [`Failure`]: what kind it is decides what happens to the input. A panic is a failure too.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at an await point when the cycle's timeout ends, its lease is lost, or a stop runs out of
    /// patience. What it has done by then must be harmless to do again.
    fn cycle(&self, input: Self::Input, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Cleans up after the last cycle of a life. Called once for each time that [`Worker::start`] returned `Ok`, even if no cycle
    /// ran. It is not called for a worker that was abandoned, at the end of the stop's budget, nor after a panic of its source.
    ///
    /// # Errors
    ///
    /// A failure is reported and changes nothing else.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the time for it is over ([`StopBudget`](crate::StopBudget)).
    fn stop(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }
}

/// What can be added to a host: a [`Worker`], or an async function of an input and a [`Context`].
///
/// The second parameter only tells the two apart and is always inferred.
pub trait IntoWorker<Input, Kind> {
    /// The worker that it becomes.
    type Worker: Worker<Input = Input>;

    /// Makes it a worker.
    fn into_worker(self) -> Self::Worker;
}

/// Tells a [`Worker`] from a function, in [`IntoWorker`].
#[derive(Debug)]
pub struct IsWorker(());

/// Tells a function from a [`Worker`], in [`IntoWorker`].
#[derive(Debug)]
pub struct IsFunction(());

impl<W: Worker> IntoWorker<W::Input, IsWorker> for W {
    type Worker = W;

    fn into_worker(self) -> W {
        self
    }
}

impl<Input, F, Fut> IntoWorker<Input, IsFunction> for F
where
    Input: Send + 'static,
    F: Fn(Input, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    type Worker = FunctionWorker<F, Input>;

    fn into_worker(self) -> Self::Worker {
        FunctionWorker { function: self, input: PhantomData }
    }
}

/// A worker whose cycle is a function.
pub struct FunctionWorker<F, Input> {
    function: F,
    input: PhantomData<fn(Input)>,
}

impl<F, Input> std::fmt::Debug for FunctionWorker<F, Input> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionWorker").finish_non_exhaustive()
    }
}

impl<Input, F, Fut> Worker for FunctionWorker<F, Input>
where
    Input: Send + 'static,
    F: Fn(Input, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    type Input = Input;

    fn cycle(&self, input: Input, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        (self.function)(input, cx.clone())
    }
}
