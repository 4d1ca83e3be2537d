//! How much of what repeats is written: an outage of hours must not be a line for each cycle, nor silent.
//!
//! 1. The first line of a sort is written at once.
//! 2. For a minute from there, the same text is not written twice in a row, and other texts are up to [`LINES_MAX`] lines in all.
//! 3. What is left out is counted, and the count is handed to the next line that is written.
//! 4. A line that takes another one back is written if that one was, and only then: the last word is not of a trouble that
//!    is over.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One sort of line of one worker.
#[derive(Default)]
pub(super) struct Quota(Mutex<Written>);

#[derive(Default)]
struct Written {
    /// When this minute's first line was written.
    since: Option<Instant>,
    lines: u32,
    /// The last line's text, as a hash.
    text: u64,
    unlogged: u64,
}

/// For how long a text is not repeated.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// How many lines of different texts there may be in that time.
const LINES_MAX: u32 = 10;

impl Quota {
    /// Whether a line may be written, and then how many were left out since the last one; `None` when there were none,
    /// so that the field is left out too.
    pub(super) fn admit(&self, at: Instant, text: impl Hash) -> Option<Option<u64>> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let text = hasher.finish();
        let mut written = self.written();
        let open = written.since.is_some_and(|since| at.saturating_duration_since(since) < WINDOW);
        if open && (written.text == text || written.lines >= LINES_MAX) {
            written.unlogged += 1;
            return None;
        }
        if !open {
            written.since = Some(at);
            written.lines = 0;
        }
        written.lines += 1;
        written.text = text;
        Some(written.take_unlogged())
    }

    /// As [`admit`](Self::admit), for a line that takes another one back, which was written or not.
    pub(super) fn admit_answer(&self, was_written: bool) -> Option<Option<u64>> {
        let mut written = self.written();
        if !was_written {
            written.unlogged += 1;
            return None;
        }
        Some(written.take_unlogged())
    }

    /// Begins anew; how many were left out.
    pub(super) fn reset(&self) -> u64 {
        std::mem::take(&mut *self.written()).unlogged
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn take_unlogged(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.unlogged)).filter(|unlogged| *unlogged > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_said_once_a_minute_with_the_count_of_the_others() {
        let (quota, began) = (Quota::default(), Instant::now());
        let admit = |second| quota.admit(began + Duration::from_secs(second), "disk is full");
        assert_eq!(admit(0), Some(None));
        assert!((1..60).all(|second| admit(second).is_none()));
        assert_eq!(admit(60), Some(Some(59)));
        assert_eq!(admit(61), None);
        assert_eq!(admit(3600), Some(Some(1)));
        assert_eq!(quota.reset(), 0);
        assert_eq!(admit(3601), Some(None), "after a reset it is news");
    }

    #[test]
    fn different_texts_are_all_said_up_to_a_number() {
        let (quota, now) = (Quota::default(), Instant::now());
        let said = (0..100).filter(|number| quota.admit(now, number).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(quota.reset(), 90);
    }

    #[test]
    fn what_takes_a_line_back_is_said_if_that_was_whatever_the_time() {
        let quota = Quota::default();
        let answers = [false, false, true, true, false];
        assert_eq!(
            answers.map(|was_written| quota.admit_answer(was_written)),
            [None, None, Some(Some(2)), Some(None), None]
        );
        assert_eq!(quota.reset(), 1);
    }
}
