//! The queue contract of shiftwork, and the in-memory queue that is its model.
//!
//! A queue keeps *messages* until their work is done. It hands each one out as a *delivery* under a *lease*: a
//! time-limited, fenced right to process one attempt. The lease ends when the delivery is *settled* (ack, retry,
//! dead-letter, return) or when its time is over, and then somebody else may claim the delivery again.
//!
//! The crate has no I/O and no runtime, and reads no clock: every operation is told what time it is, so that a test owns
//! time and a database never asks its own server for it.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`contract`] | [`Queue`], the operations that every backend provides, and their rules |
//! | [`message`] | what goes in: [`Message`], [`MessageOptions`], [`Priority`] |
//! | [`delivery`] | what comes out: [`Delivery`], [`Lease`], [`FencingToken`] |
//! | [`settlement`] | how an attempt ends: [`Settlement`], [`FailureKind`], [`FailureRecord`] |
//! | [`dead_letter`] | what was moved aside: [`DeadLetter`], [`DeadLetterCause`] |
//! | [`error`] | why an operation did not happen: [`QueueError`] |
//! | [`memory`] | [`MemoryQueue`]: the model, and a real queue for work that may be lost with its process |

// A closed enum must be thought about again when it grows.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod contract;
pub mod dead_letter;
pub mod delivery;
pub mod error;
pub mod memory;
pub mod message;
pub mod settlement;
mod time;

pub use contract::{Claim, Depth, Queue};
pub use dead_letter::{DeadLetter, DeadLetterCause};
pub use delivery::{Delivery, DeliveryId, FencingToken, Lease, Undecodable};
pub use error::QueueError;
pub use jiff::Timestamp;
pub use memory::{Full, MemoryQueue};
pub use message::{Message, MessageOptions, Priority, Pushed};
pub use settlement::{FailureKind, FailureRecord, Settlement};
pub use time::{between, later};
