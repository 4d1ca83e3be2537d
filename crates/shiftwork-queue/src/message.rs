//! What a producer hands to a queue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::DeliveryId;

/// Which of the due deliveries goes first: the higher number. The default is 0.
///
/// A priority is a promise to the urgent, not a share for the others: as long as there is always something due of a higher
/// priority, nothing of a lower one is claimed, however long it has waited. The same holds for the retries of a low priority,
/// whose time comes and who wait on. Where the others must get on, too, give them a queue and a worker of their own: then the
/// workers' concurrency says who gets how much. A line of one ordering key goes by the priority of its first: an urgent message
/// does not overtake those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(pub i16);

/// One message to push: a payload, and when, how urgently and how uniquely it is to be delivered.
///
/// ```
/// use shiftwork_queue::{Message, Priority};
///
/// let message = Message::new("charge order 17").unique_key("order-17").priority(Priority(5));
/// assert_eq!(message.payload, "charge order 17");
/// ```
#[derive(Debug, Clone)]
pub struct Message<T> {
    /// What the cycle will get.
    pub payload: T,
    /// Not there where all are as usual, which is nearly always: a message is moved from hand to hand.
    options: Option<Box<MessageOptions>>,
}

/// How a message is to be delivered, for the queue that stores it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageOptions {
    /// Not delivered before this time; `None` is at once.
    pub not_before: Option<Timestamp>,
    /// Goes before deliveries of a lower priority.
    pub priority: Priority,
    /// While a delivery with this key is waiting or leased, another push of the same key adds nothing.
    pub unique_key: Option<String>,
    /// Deliveries with the same key are worked on one at a time, in the order of their pushes.
    pub ordering_key: Option<String>,
}

impl MessageOptions {
    /// As usual: due at once, of priority 0, with no keys.
    const USUAL: Self = Self { not_before: None, priority: Priority(0), unique_key: None, ordering_key: None };
}

impl<T> Message<T> {
    /// A message that is due at once, of priority 0, with no keys.
    pub fn new(payload: T) -> Self {
        Self { payload, options: None }
    }

    /// Holds the message back until `time`.
    #[must_use]
    pub fn not_before(self, time: Timestamp) -> Self {
        self.with(|options| options.not_before = Some(time))
    }

    /// Sets how urgent it is.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|options| options.priority = priority)
    }

    /// Refuses a second delivery of the same key while one is waiting or leased.
    #[must_use]
    pub fn unique_key(self, key: impl Into<String>) -> Self {
        self.with(|options| options.unique_key = Some(key.into()))
    }

    /// Puts the message in line behind all unsettled ones of the same key: it is not delivered before each of them is
    /// acknowledged or moved aside. While the first of a line waits for a retry, or for its time, those behind it wait with
    /// it; its priority and time are those of the line.
    ///
    /// One account, one document, one device: whatever must see its changes in order. Different keys know nothing of each
    /// other, so that a bad delivery holds up its own line and no other.
    #[must_use]
    pub fn ordering_key(self, key: impl Into<String>) -> Self {
        self.with(|options| options.ordering_key = Some(key.into()))
    }

    /// How it is to be delivered.
    #[must_use]
    pub fn options(&self) -> &MessageOptions {
        const USUAL: &MessageOptions = &MessageOptions::USUAL;
        self.options.as_deref().unwrap_or(USUAL)
    }

    /// What it consists of, for the queue that stores it.
    #[must_use]
    pub fn into_parts(self) -> (T, MessageOptions) {
        (self.payload, self.options.map_or(MessageOptions::USUAL, |options| *options))
    }

    /// The options, where there are any but the usual ones.
    pub(crate) fn into_options(self) -> (T, Option<Box<MessageOptions>>) {
        (self.payload, self.options)
    }

    fn with(mut self, change: impl FnOnce(&mut MessageOptions)) -> Self {
        change(self.options.get_or_insert_default());
        self
    }
}

impl<T: PartialEq> PartialEq for Message<T> {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload && self.options() == other.options()
    }
}

impl<T: Eq> Eq for Message<T> {}

/// What became of one pushed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pushed {
    /// It was added.
    Added(DeliveryId),
    /// It was not added: this delivery has the same unique key and is not settled yet.
    Duplicate(DeliveryId),
}

impl Pushed {
    /// The delivery that carries the message: the new one, or the one that was there.
    #[must_use]
    pub fn id(self) -> DeliveryId {
        match self {
            Pushed::Added(id) | Pushed::Duplicate(id) => id,
        }
    }
}
