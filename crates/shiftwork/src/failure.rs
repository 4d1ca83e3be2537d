//! Why a cycle did not succeed, as user code says it.
//!
//! What follows from a failure (retry, dead letter, a fault of the worker) is not decided here but in
//! [`crate::lifecycle::settle`].

use std::{error::Error, fmt, sync::Arc, time::Duration};

pub use shiftwork_queue::FailureKind;

/// Any error that can be sent between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a cycle did not succeed.
///
/// `?` on any error makes a *transient* failure, which is retried with backoff. The constructors say otherwise:
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
    delay: Option<Duration>,
    error: BoxError,
}

impl Failure {
    /// It may succeed when tried again. The same as `?` on an error.
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Transient, error)
    }

    /// The input is bad and no retry can help: a delivery goes to the dead letters at once, a tick is abandoned.
    pub fn invalid(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Invalid, error)
    }

    /// The worker itself cannot go on (its configuration is wrong, its credentials are refused). The attempt counts,
    /// and the worker's fault stops the host.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Fatal, error)
    }

    /// Transient, and the other side said when to come back: the retry waits at least `delay`, even where the
    /// backoff would be shorter.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self { delay: Some(delay), ..Self::transient(error) }
    }

    /// The cycle was asked to stop, and did: [`crate::Context::cancelled`] or [`crate::Context::stopping`]. The delivery is
    /// returned and the attempt not spent.
    pub fn interrupted(error: impl Into<BoxError>) -> Self {
        Self::new(FailureKind::Interrupted, error)
    }

    /// A cycle that fails after it was asked to stop is most likely failing because of that.
    pub(crate) fn while_cancelled(self) -> Self {
        match self.kind {
            FailureKind::Transient | FailureKind::Timeout => Self { kind: FailureKind::Interrupted, ..self },
            FailureKind::Invalid | FailureKind::Fatal | FailureKind::Panic | FailureKind::Interrupted => self,
        }
    }

    pub(crate) fn new(kind: FailureKind, error: impl Into<BoxError>) -> Self {
        Self { kind, delay: None, error: error.into() }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The least delay before a retry that the other side asked for.
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

    /// Its kind and text with all causes, to be kept after the failure itself is gone.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let mut message = self.error.to_string();
        let mut source = self.error.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        Cause { kind: self.kind, message: message.into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::transient(error)
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
    /// What it said.
    pub message: Arc<str>,
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
}
