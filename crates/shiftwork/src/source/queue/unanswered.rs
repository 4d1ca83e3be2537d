//! What is said of a settlement that is not tried again, when tries before the last one were not answered.
//!
//! A store that does not answer may have stored it. When the lease is lost then, while it should last, it was most likely ended by
//! the worker itself: to say that the delivery comes again would send a person after work that is done.

use std::{error::Error, fmt};

use shiftwork_queue::QueueError;

use crate::BoxError;

/// The last word on a settlement of which so many tries before this answer had none.
pub(super) fn in_the_end(answer: QueueError, unanswered: u32) -> BoxError {
    if unanswered > 0 && answer.is_lease_lost() { MostLikelyStored(answer).into() } else { answer.into() }
}

#[derive(Debug)]
struct MostLikelyStored(QueueError);

impl fmt::Display for MostLikelyStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("most likely stored by an earlier try, which was not answered")
    }
}

impl Error for MostLikelyStored {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use shiftwork_queue::{DeliveryId, FencingToken, Lease, Timestamp};

    use super::*;
    use crate::Failure;

    #[test]
    fn only_a_lost_lease_after_a_try_without_an_answer_is_most_likely_its_own_doing() {
        let lease =
            Lease { delivery: DeliveryId(7), token: FencingToken(2), expires_at: Timestamp::from_second(30).unwrap() };
        let said = |answer, unanswered| Failure::transient(in_the_end(answer, unanswered)).cause().message;
        let lost = "the lease of delivery 7 (token 2) is lost: it was settled, or claimed by somebody else";
        assert_eq!(*said(QueueError::lease_lost(lease), 0), *lost);
        assert_eq!(
            *said(QueueError::lease_lost(lease), 2),
            format!("most likely stored by an earlier try, which was not answered: {lost}")
        );
        assert_eq!(*said(QueueError::unavailable("refused"), 2), *"the store is unavailable: refused");
    }
}
