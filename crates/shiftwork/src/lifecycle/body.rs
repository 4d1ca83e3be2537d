//! A service or a job: what its return means. A pure function of how it ended and what it was asked.

use shiftwork_queue::FailureKind;

use crate::Failure;

/// What the body was asked when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// Nothing: it was to go on.
    Nothing,
    /// To stop.
    Stop,
    /// To end now; what it fails with may well be because of that.
    End,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it failed with.
    pub(crate) failure: Option<Failure>,
    /// Whether that is a fault of the worker.
    pub(crate) fault: bool,
}

/// Rule F3 of `docs/lifecycle.md`. Whether it was asked to stop is what the host knows, not what the error looks like.
pub(crate) fn ended(result: Result<(), Failure>, asked: Asked, completes: bool) -> Ended {
    match result {
        Ok(()) if completes || asked >= Asked::Stop => Ended { failure: None, fault: false },
        Ok(()) => {
            let failure = Failure::fatal("it returned, and nobody had asked it to stop");
            Ended { failure: Some(failure), fault: true }
        }
        Err(failure) => {
            let failure = if asked == Asked::End { failure.while_cancelled() } else { failure };
            let interrupted = failure.kind() == FailureKind::Interrupted && asked >= Asked::Stop;
            Ended { fault: !interrupted, failure: Some(failure) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Asked; 3] = [Asked::Nothing, Asked::Stop, Asked::End];

    #[test]
    fn f3_a_return_that_nobody_asked_for_is_a_fault_unless_it_was_declared() {
        assert!(ended(Ok(()), Asked::Nothing, false).fault);
        assert!(!ended(Ok(()), Asked::Nothing, true).fault);
        for asked in [Asked::Stop, Asked::End] {
            let ended = ended(Ok(()), asked, false);
            assert!(!ended.fault && ended.failure.is_none());
        }
    }

    #[test]
    fn f3_an_error_is_a_fault_whatever_it_looks_like() {
        for completes in [false, true] {
            for asked in [Asked::Nothing, Asked::Stop] {
                assert!(ended(Err(Failure::transient("deadline exceeded")), asked, completes).fault);
                assert!(ended(Err(Failure::new(FailureKind::Panic, "oh")), asked, completes).fault);
            }
            assert!(ended(Err(Failure::interrupted("cancelled")), Asked::Nothing, completes).fault);
        }
    }

    #[test]
    fn t4_what_it_fails_with_because_it_was_asked_to_end_is_no_fault_but_a_panic_is() {
        let ended_so = ended(Err(Failure::transient("connection closed")), Asked::End, false);
        assert!(!ended_so.fault);
        assert_eq!(ended_so.failure.map(|failure| failure.kind()), Some(FailureKind::Interrupted));
        for asked in ALL {
            assert!(ended(Err(Failure::new(FailureKind::Panic, "oh")), asked, false).fault);
        }
    }
}
