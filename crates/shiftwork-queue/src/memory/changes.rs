//! Who waits for the queue to change. Telling them costs one load where nobody waits, which is nearly always: a worker that
//! has work does not listen.
//!
//! The count is relaxed, since the queue's lock orders it. Whoever listens does so before it takes the lock to look, whoever
//! tells has had the lock to change something: a look that came before the change had the lock before it, and its listener
//! is counted.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use event_listener::{Event, EventListener};

/// Something that changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    event: Event,
    /// How many listeners there are.
    listening: AtomicUsize,
}

/// Completes when it has changed since the listener was made.
pub(super) struct Changed {
    listener: EventListener,
    shared: Arc<Shared>,
}

impl Changes {
    /// Listens, from now on.
    pub(super) fn listen(&self) -> Changed {
        self.shared.listening.fetch_add(1, Ordering::Relaxed);
        Changed { listener: self.shared.event.listen(), shared: self.shared.clone() }
    }

    /// Tells everybody who listens.
    pub(super) fn tell(&self) {
        if self.shared.listening.load(Ordering::Relaxed) > 0 {
            self.shared.event.notify_relaxed(usize::MAX);
        }
    }
}

impl Future for Changed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.listener).poll(cx)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.shared.listening.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_told_and_no_longer_counted_afterwards() {
        let changes = Changes::default();
        let early = changes.listen();
        changes.tell();
        let late = changes.listen();
        let (mut early, mut late) = (tokio_test::task::spawn(early), tokio_test::task::spawn(late));
        assert!(early.poll().is_ready());
        assert!(late.poll().is_pending(), "it was told before this one listened");
        changes.tell();
        assert!(late.is_woken());
        drop((early, late));
        assert_eq!(changes.shared.listening.load(Ordering::Relaxed), 0);
    }
}
