//! What follows from the end of one cycle: a pure function of the policy, the attempt and the outcome.

use std::time::Duration;

use shiftwork_queue::{DeadLetterCause, FailureKind};

use crate::{Retry, event::Settle};

/// How a cycle ended, as far as the decision needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Which attempt it was, from 1.
    pub(crate) attempt: u32,
    /// `None` is success.
    pub(crate) failure: Option<FailureKind>,
    /// The least delay that the other side asked for.
    pub(crate) asked_delay: Option<Duration>,
    /// Somebody had asked it to end: a stop, a pause, the loss of its lease, or the next tick.
    pub(crate) asked_to_end: bool,
    /// How long the total time of the policy has counted.
    pub(crate) elapsed: Duration,
    /// It was a delivery that a breaker probed with: the attempt was the breaker's, not its own. Until the next probe.
    pub(crate) spared: Option<Duration>,
}

/// What is to be done about a cycle that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What happens to the input.
    pub(crate) settle: Settle,
    /// Whether a person should be told.
    pub(crate) escalate: bool,
    /// Whether the worker itself cannot go on.
    pub(crate) fault: bool,
}

impl Decision {
    /// What follows from a success.
    pub(crate) const SUCCESS: Decision = Decision { settle: Settle::Ack, escalate: false, fault: false };
}

/// What is known of a delivery when it was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Which attempt it would be, from 1.
    pub(crate) attempt: u32,
    /// How many of its leases have lapsed.
    pub(crate) crashes: u32,
    /// Whether its payload can be read.
    pub(crate) readable: bool,
}

/// Rules C4, C7 and Q5: why a delivery is moved aside before a cycle of it begins; `None` lets it run.
pub(crate) fn aside(retry: &Retry, crashes_max: u32, arrived: Arrived) -> Option<DeadLetterCause> {
    let Arrived { attempt, crashes, readable } = arrived;
    if !readable {
        Some(DeadLetterCause::Undecodable)
    } else if crashes >= crashes_max {
        Some(DeadLetterCause::CrashLoop)
    } else {
        // The policy allowed more when it was tried last.
        (attempt > retry.attempts()).then_some(DeadLetterCause::Exhausted)
    }
}

/// Rules C2 to C7, C10 and T4 of `docs/lifecycle.md`. `chance` is a draw from 0 to 1 for the jitter.
pub(crate) fn decide(retry: &Retry, ended: Ended, chance: f64) -> Decision {
    let plain = |settle| Decision { settle, escalate: false, fault: false };
    // Worked out only when it is needed: a success pays for no powers and no floats.
    let backoff = || retry.delay(ended.attempt, chance);
    let granted = || retry.grants(ended.asked_delay.unwrap_or_default());
    let delay = || backoff().max(granted());
    let aside = |cause| Settle::DeadLetter { cause, pause: delay() };
    match ended.failure {
        None => Decision::SUCCESS,
        Some(FailureKind::Interrupted) => plain(match ended.asked_delay {
            // Who said when to come back is believed as far as ever, whatever interrupted it afterwards.
            Some(_) => Settle::Snooze { delay: granted().max(SNOOZE_MIN) },
            None if ended.asked_to_end => Settle::Return,
            // What interrupts itself would do so again at once.
            None => Settle::Snooze { delay: retry.delay(1, chance) },
        }),
        Some(FailureKind::Snoozed) => {
            plain(Settle::Snooze { delay: ended.asked_delay.unwrap_or_default().max(SNOOZE_MIN) })
        }
        Some(FailureKind::Discarded) => plain(Settle::Discard),
        Some(FailureKind::Invalid) => plain(aside(DeadLetterCause::Invalid)),
        Some(FailureKind::Transient | FailureKind::Panic | FailureKind::Timeout) if ended.spared.is_some() => {
            plain(Settle::Snooze { delay: ended.spared.unwrap_or_default().max(granted()) })
        }
        // The fault is the worker's, but the input may be what sets it off: the attempt counts.
        Some(kind @ (FailureKind::Transient | FailureKind::Fatal | FailureKind::Panic | FailureKind::Timeout)) => {
            let delay = delay();
            let in_time = retry.allows_after(ended.elapsed.saturating_add(delay));
            let exhausted = !retry.allows(ended.attempt) || !in_time;
            Decision {
                settle: if exhausted { aside(DeadLetterCause::Exhausted) } else { Settle::Retry { delay } },
                escalate: exhausted,
                fault: kind == FailureKind::Fatal,
            }
        }
    }
}

/// What comes again at once, again and again, would be a hot loop.
const SNOOZE_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(attempt: u32, failure: Option<FailureKind>) -> Ended {
        Ended { attempt, failure, asked_delay: None, asked_to_end: true, elapsed: Duration::ZERO, spared: None }
    }

    #[test]
    fn bad_input_is_moved_aside_at_its_first_attempt() {
        let decision = decide(&Retry::default(), ended(1, Some(FailureKind::Invalid)), 0.5);
        assert!(matches!(decision.settle, Settle::DeadLetter { cause: DeadLetterCause::Invalid, .. }));
        assert!(!decision.fault && !decision.escalate);
    }

    #[test]
    fn an_interrupted_attempt_is_returned_even_when_it_was_the_last() {
        let decision = decide(&Retry::never(), ended(1, Some(FailureKind::Interrupted)), 0.5);
        assert_eq!(decision.settle, Settle::Return);
    }

    #[test]
    fn t4_what_interrupts_itself_comes_again_after_the_first_delay_and_costs_no_attempt() {
        let unasked = |attempt| Ended { asked_to_end: false, ..ended(attempt, Some(FailureKind::Interrupted)) };
        let retry = Retry::default().initial(Duration::from_secs(4));
        for attempt in [1, 5] {
            let delay = Duration::from_secs(4);
            assert_eq!(decide(&retry, unasked(attempt), 0.5).settle, Settle::Snooze { delay });
        }
        assert!(matches!(decide(&Retry::never(), unasked(1), 0.5).settle, Settle::Snooze { .. }));
    }

    #[test]
    fn what_the_cycle_puts_off_or_drops_costs_no_attempt_even_at_the_last() {
        let snoozed =
            |seconds| Ended { asked_delay: Some(Duration::from_secs(seconds)), ..ended(9, Some(FailureKind::Snoozed)) };
        let decided = |ended| decide(&Retry::never(), ended, 0.5).settle;
        assert_eq!(decided(snoozed(90)), Settle::Snooze { delay: Duration::from_secs(90) });
        assert_eq!(decided(snoozed(0)), Settle::Snooze { delay: SNOOZE_MIN }, "no hot loop");
        assert_eq!(decided(ended(9, Some(FailureKind::Discarded))), Settle::Discard);
        // Rate limited, and then the stop came: coming back at once would only be refused again.
        let limited = Ended { asked_delay: Some(Duration::from_secs(30)), ..ended(1, Some(FailureKind::Interrupted)) };
        assert_eq!(decided(limited), Settle::Snooze { delay: Duration::from_secs(30) });
    }

    #[test]
    fn what_cannot_be_read_has_killed_its_process_or_used_up_its_attempts_gets_no_cycle() {
        let look = |attempt, crashes, readable| aside(&Retry::default(), 3, Arrived { attempt, crashes, readable });
        assert_eq!(look(5, 2, true), None);
        assert_eq!(look(6, 2, true), Some(DeadLetterCause::Exhausted));
        assert_eq!(look(6, 3, true), Some(DeadLetterCause::CrashLoop));
        assert_eq!(look(1, 0, false), Some(DeadLetterCause::Undecodable));
    }

    #[test]
    fn a_delay_that_the_other_side_asked_for_is_a_lower_bound() {
        let asked = Ended { asked_delay: Some(Duration::from_secs(90)), ..ended(1, Some(FailureKind::Transient)) };
        assert_eq!(decide(&Retry::default(), asked, 0.5).settle, Settle::Retry { delay: Duration::from_secs(90) });
        let shorter = Ended { asked_delay: Some(Duration::from_millis(1)), ..asked };
        assert_eq!(decide(&Retry::default(), shorter, 0.5).settle, Settle::Retry { delay: Duration::from_secs(1) });
    }

    #[test]
    fn a_delay_that_the_other_side_asked_for_is_cut_and_what_was_not_asked_for_is_not() {
        let asks = |retry: Retry, kind| {
            let asked_delay = Some(Duration::from_secs(90));
            decide(&retry, Ended { asked_delay, ..ended(3, Some(kind)) }, 0.5).settle
        };
        let cut = |seconds| Retry::default().asked_max(Duration::from_secs(seconds));
        assert_eq!(asks(cut(60), FailureKind::Transient), Settle::Retry { delay: Duration::from_secs(60) });
        // The backoff after the third attempt is 4 s.
        assert_eq!(asks(cut(2), FailureKind::Transient), Settle::Retry { delay: Duration::from_secs(4) });
        assert_eq!(asks(cut(60), FailureKind::Interrupted), Settle::Snooze { delay: Duration::from_secs(60) });
        assert_eq!(asks(cut(60), FailureKind::Snoozed), Settle::Snooze { delay: Duration::from_secs(90) });
        let for_ever = Ended { asked_delay: Some(Duration::MAX), ..ended(1, Some(FailureKind::Transient)) };
        let decided = |retry: Retry| decide(&retry, for_ever, 0.5).settle;
        assert_eq!(decided(Retry::default()), Settle::Retry { delay: Duration::from_secs(3_600) });
        assert_eq!(decided(Retry::default().no_asked_max()), Settle::Retry { delay: Duration::MAX });
        let probe = Ended { spared: Some(Duration::from_secs(5)), ..for_ever };
        assert_eq!(decide(&cut(60), probe, 0.5).settle, Settle::Snooze { delay: Duration::from_secs(60) });
    }

    #[test]
    fn no_attempt_begins_after_the_total_time() {
        let retry = Retry::exponential().total_max(Duration::from_secs(10));
        let after = |elapsed| Ended { elapsed: Duration::from_secs(elapsed), ..ended(2, Some(FailureKind::Transient)) };
        // The delay after the second attempt is 2 s.
        let last = decide(&retry, after(8), 0.5);
        assert_eq!(last.settle, Settle::Retry { delay: Duration::from_secs(2) });
        let over = decide(&retry, after(9), 0.5);
        assert!(matches!(over.settle, Settle::DeadLetter { cause: DeadLetterCause::Exhausted, .. }));
        assert!(over.escalate);
    }

    #[test]
    fn a_probe_that_fails_is_put_off_to_the_next_even_at_the_last_attempt_unless_the_input_is_bad() {
        let next = Duration::from_secs(5);
        let spared = |kind| Ended { spared: Some(next), ..ended(1, Some(kind)) };
        for kind in [FailureKind::Transient, FailureKind::Panic, FailureKind::Timeout] {
            let decision = decide(&Retry::never(), spared(kind), 0.5);
            assert_eq!((decision.settle, decision.escalate), (Settle::Snooze { delay: next }, false));
        }
        let bad = decide(&Retry::never(), spared(FailureKind::Invalid), 0.5);
        assert!(matches!(bad.settle, Settle::DeadLetter { cause: DeadLetterCause::Invalid, .. }));
        assert!(decide(&Retry::never(), spared(FailureKind::Fatal), 0.5).fault);
    }

    proptest! {
        #[test]
        fn a_total_time_is_kept_whatever_the_attempts(
            attempt in 1u32..20, total_ms in 1u64..1_000_000, elapsed_ms in 0u64..1_000_000,
            asked_ms in prop::option::of(0u64..100_000), chance in 0.0f64..=1.0,
        ) {
            let total = Duration::from_millis(total_ms);
            let retry = Retry::exponential().attempts_max(20).total_max(total);
            let elapsed = Duration::from_millis(elapsed_ms);
            let asked_delay = asked_ms.map(Duration::from_millis);
            let failure = Some(FailureKind::Transient);
            let decision = decide(&retry, Ended { elapsed, asked_delay, ..ended(attempt, failure) }, chance);
            match decision.settle {
                Settle::Retry { delay } => prop_assert!(elapsed + delay <= total),
                Settle::DeadLetter { pause, .. } => prop_assert!(elapsed + pause > total && decision.escalate),
                Settle::Ack | Settle::Return | Settle::Snooze { .. } | Settle::Discard => {
                    prop_assert!(false, "it failed");
                }
            }
        }

        #[test]
        fn a_retry_waits_no_less_than_its_backoff_and_no_longer_than_it_may(
            attempt in 1u32..20, asked_ms in prop::option::of(0u64..10_000_000),
            asked_max_ms in prop::option::of(1u64..10_000_000), chance in 0.0f64..=1.0,
        ) {
            let retry = Retry::exponential().attempts_max(20);
            let longest = asked_max_ms.map(Duration::from_millis);
            let retry = longest.map_or(retry.no_asked_max(), |longest| retry.asked_max(longest));
            let asked_delay = asked_ms.map(Duration::from_millis);
            let asked = Ended { asked_delay, ..ended(attempt, Some(FailureKind::Transient)) };
            let Settle::Retry { delay } = decide(&retry, asked, chance).settle else {
                return Err(TestCaseError::fail("there are attempts left"));
            };
            let (low, high) = retry.bounds(attempt);
            prop_assert!(low <= delay);
            prop_assert!(delay <= high || Some(delay) == asked_delay || Some(delay) == longest);
            prop_assert!(longest.is_none_or(|longest| delay <= longest.max(high)));
        }

        #[test]
        fn every_failure_that_counts_is_tried_again_until_the_last_attempt_and_then_escalated(
            kind in prop::sample::select(vec![
                FailureKind::Transient, FailureKind::Panic, FailureKind::Timeout, FailureKind::Fatal,
            ]),
            attempt in 1u32..20, attempts_max in 1u32..20, chance in 0.0f64..=1.0,
        ) {
            let retry = Retry::exponential().attempts_max(attempts_max);
            let decision = decide(&retry, ended(attempt, Some(kind)), chance);
            let again = matches!(decision.settle, Settle::Retry { .. });
            prop_assert_eq!(again, attempt < attempts_max);
            prop_assert_eq!(decision.escalate, !again);
            prop_assert_eq!(decision.fault, kind == FailureKind::Fatal);
        }
    }
}
