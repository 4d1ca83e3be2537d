//! Why a cycle did not succeed, as user code says it.
//!
//! What follows from a failure (retry, dead letter, a fault of the worker) is not decided here but in
//! `lifecycle/settle.rs`.

use std::{
    error::Error,
    fmt::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use shiftwork_queue::DeliveryId;
pub use shiftwork_queue::FailureKind;

use crate::{cycle::panicked, lifecycle::batch};

/// Any error that can be sent between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Whether a failure of this kind says that its worker fails: bad input does not, nor what a cycle puts off, drops or is interrupted in.
pub(crate) fn is_failing(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout => true,
        FailureKind::Invalid | FailureKind::Interrupted | FailureKind::Snoozed | FailureKind::Discarded => false,
    }
}

/// Why a cycle did not succeed.
///
/// `?` on anything that is an [`Error`] makes a *transient* failure, which is retried with backoff. The constructors say otherwise:
///
/// ```
/// use std::time::Duration;
/// use shiftwork::Failure;
///
/// fn read_amount(text: &str) -> Result<u64, Failure> {
///     text.parse().map_err(|error| Failure::invalid(format!("amount {text:?} is not a whole number: {error}")))
/// }
///
/// assert!(read_amount("12x").unwrap_err().is_invalid());
/// assert_eq!(Failure::retry_after(Duration::from_secs(30), "rate limited").delay(), Some(Duration::from_secs(30)));
/// ```
pub struct Failure {
    kind: FailureKind,
    /// It came through `?`: the cycle has not said what kind it is.
    unsaid: bool,
    delay: Option<Duration>,
    error: BoxError,
}

/// What a worker's classification makes of an error that came through `?`; see [`crate::WorkerBuilder::classify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// As [`Failure::transient`], which is what it is without classification.
    Transient,
    /// As [`Failure::retry_after`].
    RetryAfter(Duration),
    /// As [`Failure::invalid`].
    Invalid,
    /// As [`Failure::fatal`].
    Fatal,
    /// As [`Failure::snooze`].
    Snooze(Duration),
    /// As [`Failure::discard`].
    Discard,
}

impl Failure {
    /// It may succeed when tried again. The same as `?` on an error, except that a classification leaves it alone.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Transient, error)
    }

    /// The input is bad and no retry can help: a delivery goes to the dead letters at once, a tick is abandoned.
    pub fn invalid(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Invalid, error)
    }

    /// The worker itself cannot go on (its configuration is wrong, its credentials are refused). The attempt counts,
    /// and the worker has faulted: unless its [`OnFault`](crate::OnFault) says otherwise, the host stops.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Fatal, error)
    }

    /// Transient, and the other side said when to come back: the retry waits at least `delay`, even where the
    /// backoff would be shorter. It is believed beyond [`Retry::max`](crate::Retry::max), and up to
    /// [`Retry::asked_max`](crate::Retry::asked_max): 1 hour by default. A retry that would begin after
    /// [`Retry::total_max`](crate::Retry::total_max) is not made.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self { delay: Some(delay), ..Self::transient(error) }
    }

    /// The cycle was asked to stop, and did: [`crate::Context::cancelled`] or [`crate::Context::stopping`]. The delivery is
    /// returned and the attempt not spent. Where nobody has asked, the input comes again after the first delay of the worker's
    /// [`Retry`](crate::Retry), unspent as well: at once, and again and again, it would be a hot loop.
    pub fn interrupted(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Interrupted, error)
    }

    /// It is too early for this input: it comes again after `delay` (at least 1 ms), the attempt not spent, as often as the
    /// cycle says so.
    pub fn snooze(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self { delay: Some(delay), ..Self::new(FailureKind::Snoozed, error) }
    }

    /// The input need not be done any more (the order was cancelled, the user is gone): it is dropped, without a dead
    /// letter. What a person should see is [`Failure::invalid`].
    pub fn discard(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Discarded, error)
    }

    /// A cycle that fails after it was asked to stop is most likely failing because of that.
    pub(crate) fn while_cancelled(self) -> Self {
        match self.kind {
            FailureKind::Transient | FailureKind::Timeout => Self { kind: FailureKind::Interrupted, ..self },
            FailureKind::Invalid
            | FailureKind::Fatal
            | FailureKind::Panic
            | FailureKind::Interrupted
            | FailureKind::Snoozed
            | FailureKind::Discarded => self,
        }
    }

    /// As the failure of a batch of this many, for those of its inputs that have no verdict of their own.
    pub(crate) fn shared_by(self, inputs: usize) -> Self {
        Self { kind: batch::shared(self.kind, inputs), ..self }
    }

    pub(crate) fn new(kind: FailureKind, error: impl Into<BoxError>) -> Self {
        Self { kind, unsaid: false, delay: None, error: error.into() }
    }

    /// A failure as `?` makes it: transient, unless the worker's [`classify`](crate::WorkerBuilder::classify) says otherwise. For errors that
    /// `?` does not take, because they are not [`Error`] themselves: a boxed one, or that of a crate which erases types.
    ///
    /// ```
    /// use shiftwork::{BoxError, Failure};
    ///
    /// fn fetch() -> Result<(), BoxError> {
    ///     Err("the other side hung up".into())
    /// }
    ///
    /// assert!(fetch().map_err(Failure::unclassified).unwrap_err().is_transient());
    /// ```
    pub fn unclassified(error: impl Into<BoxError>) -> Self {
        Self { unsaid: true, ..Self::transient(error) }
    }

    /// What was said of it, for what somebody else made of its error.
    #[cfg(feature = "tower")]
    pub(crate) fn said_of(&self) -> impl FnOnce(BoxError) -> Self + use<> {
        let Self { kind, unsaid, delay, .. } = *self;
        move |error| Self { kind, unsaid, delay, error }
    }

    /// Lets `classify` say what kind it is, unless the cycle did: by its error, or else by the one below what a layer made of
    /// it. A classification that panics has said nothing, and its panic is told.
    pub(crate) fn classified(
        self,
        classify: impl Fn(&(dyn Error + 'static)) -> Option<FailureClass>,
        tell: impl FnOnce(&Cause),
    ) -> Self {
        if !self.unsaid {
            return self;
        }
        let error: &(dyn Error + 'static) = &*self.error;
        #[cfg(feature = "tower")]
        let below = crate::tower::below_layers(error).map(|failure| -> &(dyn Error + 'static) { failure.error() });
        #[cfg(not(feature = "tower"))]
        let below: Option<&(dyn Error + 'static)> = None;
        let class = match catch_unwind(AssertUnwindSafe(|| classify(error).or_else(|| below.and_then(&classify)))) {
            Ok(class) => class,
            Err(panic) => {
                tell(&panicked(panic).cause());
                None
            }
        };
        match class {
            None => self,
            Some(FailureClass::Transient) => Self::transient(self.error),
            Some(FailureClass::RetryAfter(delay)) => Self::retry_after(delay, self.error),
            Some(FailureClass::Invalid) => Self::invalid(self.error),
            Some(FailureClass::Fatal) => Self::fatal(self.error),
            Some(FailureClass::Snooze(delay)) => Self::snooze(delay, self.error),
            Some(FailureClass::Discard) => Self::discard(self.error),
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The delay before the input comes again, as [`Failure::retry_after`] or [`Failure::snooze`] asked for it. Of the former's,
    /// the worker grants as much as [`Retry::asked_max`](crate::Retry::asked_max).
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Whether a retry may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == FailureKind::Transient
    }

    /// Whether the input is bad.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == FailureKind::Invalid
    }

    /// Whether the worker cannot go on.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.kind == FailureKind::Fatal
    }

    /// The error that caused it.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// Its kind and text with all causes, to be kept after the failure itself is gone. Of a text longer than
    /// [`Cause::MESSAGE_MAX`] the beginning is kept.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let mut text = Text::default();
        // What user code says of its own errors may fail too, and must not take the worker along.
        let said = catch_unwind(AssertUnwindSafe(|| {
            write!(text, "{}", self.error)?;
            let mut source = self.error.source();
            while let Some(error) = source {
                write!(text, ": {error}")?;
                source = error.source();
            }
            fmt::Result::Ok(())
        }));
        let mut message = text.0;
        match said {
            Ok(Ok(())) => {}
            Ok(Err(fmt::Error)) => message.push('…'),
            Err(panic) => message.push_str(&format!("… (its text panicked: {})", panicked(panic).error())),
        }
        Cause { kind: self.kind, message: message.into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { unsaid: true, ..Self::transient(error) }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("delay", &self.delay)
            .field("error", &self.error)
            .finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.error)
    }
}

/// A failure as events and reports carry it: its kind, and its text with all causes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cause {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What it said: no more than [`MESSAGE_MAX`](Self::MESSAGE_MAX) bytes of it, and `…` where something is left out.
    pub message: Arc<str>,
}

impl Cause {
    /// How many bytes of what a failure says are kept: 4 KiB. A message goes into logs, reports and the history of its
    /// delivery, and an error may quote the page that a server answered with.
    pub const MESSAGE_MAX: usize = 4 * 1024;
}

/// The beginning of what is written to it. It says when there was more.
#[derive(Default)]
struct Text(String);

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = Cause::MESSAGE_MAX - self.0.len();
        let fits = more.floor_char_boundary(room);
        self.0.push_str(&more[..fits]);
        if fits == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// An input that is given up, because its attempts are exhausted or it has ended its process again and again, as
/// [`crate::WorkerBuilder::on_escalation`] tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Escalation {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The delivery, for a queue worker. It is in the dead letters, unless the store did not take that: then it is claimed and
    /// moved aside again once its lease has lapsed.
    pub delivery: Option<DeliveryId>,
    /// How many attempts have failed: none, maybe, where each ended with its process.
    pub attempts: u32,
    /// What the last one failed with; for a crash loop, how many leases have lapsed.
    pub cause: Cause,
}

impl Escalation {
    /// One of no delivery, for the unit test of what is called for it. The delivery can be set.
    ///
    /// ```
    /// use shiftwork::{Escalation, Failure};
    ///
    /// fn subject(escalation: &Escalation) -> String {
    ///     format!("{} has failed {} times: {}", escalation.worker, escalation.attempts, escalation.cause.message)
    /// }
    ///
    /// let escalation = Escalation::new("charge", 5, Failure::transient("the bank does not answer").cause());
    /// assert_eq!(subject(&escalation), "charge has failed 5 times: the bank does not answer");
    /// ```
    #[must_use]
    pub fn new(worker: impl Into<Arc<str>>, attempts: u32, cause: Cause) -> Self {
        Self { worker: worker.into(), delivery: None, attempts, cause }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_makes_a_transient_failure_that_names_every_cause() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("could not read the amount")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        fn read() -> Result<u8, Failure> {
            Ok("x".parse().map_err(Outer)?)
        }
        let cause = read().unwrap_err().cause();
        assert_eq!(cause.to_string(), "transient: could not read the amount: invalid digit found in string");
    }

    #[test]
    fn of_a_long_text_the_beginning_is_kept() {
        let of = |text: String| Failure::transient(text).cause().message;
        let fits = "é".repeat(Cause::MESSAGE_MAX / 2);
        assert_eq!(*of(fits.clone()), fits);
        assert_eq!(*of(format!("a{fits}")), format!("a{}…", "é".repeat(Cause::MESSAGE_MAX / 2 - 1)));
    }

    #[test]
    fn an_error_that_cannot_say_what_it_is_has_a_cause_all_the_same() {
        #[derive(Debug)]
        struct Speechless(bool);
        impl fmt::Display for Speechless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the disk")?;
                assert!(self.0, "no words");
                Err(fmt::Error)
            }
        }
        impl Error for Speechless {}
        assert_eq!(&*Failure::transient(Speechless(true)).cause().message, "the disk…");
        let panicked = Failure::transient(Speechless(false)).cause().message;
        assert!(panicked.starts_with("the disk… (its text panicked: no words"), "{panicked}");
    }

    #[test]
    fn a_classification_looks_at_what_came_through_a_question_mark_and_at_nothing_else() {
        fn no_panic(cause: &Cause) {
            panic!("{cause}");
        }
        let bad_number = |error: &(dyn Error + 'static)| {
            error.downcast_ref::<std::num::ParseIntError>().map(|_| FailureClass::Invalid)
        };
        fn read(text: &str) -> Result<u8, Failure> {
            Ok(text.parse::<u8>()?)
        }
        assert!(read("x").unwrap_err().classified(bad_number, no_panic).is_invalid());
        let other: Failure = fmt::Error.into();
        assert!(other.classified(bad_number, no_panic).is_transient());
        let said = Failure::transient("x".parse::<u8>().unwrap_err());
        assert!(said.classified(bad_number, no_panic).is_transient(), "the cycle has said so");
        let limited = |_: &(dyn Error + 'static)| Some(FailureClass::RetryAfter(Duration::from_secs(9)));
        assert_eq!(read("x").unwrap_err().classified(limited, no_panic).delay(), Some(Duration::from_secs(9)));
        let mut told = None;
        let unsaid = read("x").unwrap_err().classified(|_| panic!("no"), |cause| told = Some(cause.clone()));
        assert!(unsaid.is_transient(), "it has said nothing");
        assert!(told.is_some_and(|cause| cause.kind == FailureKind::Panic && cause.message.starts_with("no")));
    }
}
