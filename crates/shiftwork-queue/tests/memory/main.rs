//! The in-memory queue, driven through its public operations.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `rules` | each rule of the contract, and each choice of this backend, as an incident |
//! | `changed` | who is woken by what |
//! | `payloads` | payloads that panic, use the queue, or must not be shown |
//! | `random` | random operations against `model`, which is deliberately naive |
//! | `driver` | the one place through which the queue is driven |

mod changed;
mod driver;
mod model;
mod payloads;
mod random;
mod rules;
