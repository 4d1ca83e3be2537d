//! Lifecycle tests: startup, failure and shutdown of real worker code, each as a scripted world that reads as an incident
//! report.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `startup.rs` | order, readiness, failed and interrupted starts |
//! | `failure.rs` | retries, bad input, panics, timeouts, faults |
//! | `dropping.rs` | payloads that panic as they are dropped without a cycle |
//! | `foreign.rs` | workers that do not use the runtime, and the messages that they lose |
//! | `faults.rs` | what each kind of injected fault looks like to the worker that meets it |
//! | `await_points.rs` | what strikes schedules, services and jobs at their await points |
//! | `deliveries.rs` | leases, renewals, crashes, fencing |
//! | `waits.rs` | how long deliveries wait for their worker |
//! | `own_stores.rs` | workers with a store that is not the world's |
//! | `shutdown.rs` | drain, cancel, abort, signals, stop hooks |
//! | `schedules.rs` | ticks: drift, overlap, missed |
//! | `dates.rs` | nights on which the clocks change, and a month of downtime |
//! | `batches.rs` | batch workers: verdicts one by one, bad company |
//! | `limits.rs` | how often cycles may begin, and how many run at once |
//! | `siblings.rs` | what shares a thread with a poll that blocks it for a moment |
//! | `promises.rs` | mocks, captured logs and futures polled by hand |
//! | `spans.rs` | in which span user code speaks |
//! | `process.rs` | a real process that does not end by itself; the last words of one |
//! | `twins.rs` | a real process with real signals, beside its simulated twin |
//! | `control.rs` | a host's handle: stop, status, what is in flight, subscriptions |
//! | `services.rs` | services and jobs: long-running futures beside the workers |
//! | `steering.rs` | a host's handle: pause, resume, trigger, health |
//! | `hosts.rs` | programs that are more than one host |
//! | `supersede.rs` | ticks that end the cycle before them |
//! | `supervision.rs` | faults: restarts, their intensity, degraded hosts |
//! | `groups.rs` | workers that are restarted together |
//! | `harness.rs` | the simulator itself: what must be found is found |
//! | `layers.rs` | tower services and layers |
//! | `worlds.rs` | the small worlds that the others are set in |

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod await_points;
mod batches;
mod control;
mod dates;
mod deliveries;
mod determinism;
mod dropping;
mod failure;
mod faults;
mod foreign;
mod gauges;
mod groups;
mod harness;
mod hosts;
mod layers;
mod limits;
mod nodes;
mod own_stores;
mod process;
mod promises;
mod refusing;
mod schedules;
mod services;
mod shutdown;
mod siblings;
mod spans;
mod startup;
mod steering;
mod supersede;
mod supervision;
mod twins;
mod waits;
mod worlds;
