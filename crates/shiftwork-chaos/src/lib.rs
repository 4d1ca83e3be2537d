//! Campaigns: many simulated worlds over many scenarios and seeds, on all cores, with a table at the end.
//!
//! This is the library behind `cargo xtask chaos`. A program of one's own is a list of scenarios and one call:
//!
//! ```no_run
//! use std::{process::ExitCode, time::Duration};
//! use shiftwork::{Context, Schedule, Tick};
//! use shiftwork_sim::{Scenario, Surface, World, secs};
//!
//! struct Mailer;
//!
//! impl Scenario for Mailer {
//!     fn name(&self) -> &'static str {
//!         "mailer"
//!     }
//!
//!     fn about(&self) -> &'static str {
//!         "sends a mail every ten seconds"
//!     }
//!
//!     fn surface(&self) -> Surface {
//!         Surface { dependencies: vec!["smtp".to_owned()], queues: Vec::new(), horizon: secs(120) }
//!     }
//!
//!     fn build(&self, world: &mut World) {
//!         let smtp = world.dependency("smtp");
//!         world.node("mailer", move |node| {
//!             let smtp = smtp.clone();
//!             let send = move |_: Tick, _: Context| {
//!                 let smtp = smtp.clone();
//!                 async move { Ok(smtp.call(async { /* the mail is sent */ }).await?) }
//!             };
//!             node.host().worker("send", Schedule::every(Duration::from_secs(10)), send).run_until_signal()
//!         });
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     shiftwork_chaos::main(vec![Box::new(Mailer)])
//! }
//! ```
//!
//! A test needs no command line: a [`Campaign`] is plain data, and its [`CampaignReport`] too.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tool.rs`, `cli.rs`, `shard.rs` | the program: arguments, what they ask for, what is printed where |
//! | [`exit`] | the verdict of a campaign, and its exit code |
//! | [`campaign`] | what to run, in which order, on how many threads |
//! | [`failure`] | a rule that broke: shrunk, saved, with the line that replays it |
//! | [`determinism`] | the same worlds again, at another place, compared |
//! | [`corpus`] | saved plans that are replayed first |
//! | `plan_folder.rs` | where a campaign saves plans, as they are found and when they are smaller |
//! | [`profile`] | how much goes wrong: a profile that there is, or one's own |
//! | `minimize.rs` | saved plans made smaller |
//! | [`report`] | what became of a campaign, as plain data |
//! | `table.rs`, [`json`], [`junit`] | the report for people, for programs and for CI servers |
//! | [`merge`] | the reports of all shards as one |
//! | `exhibit.rs`, `picture.rs` | which worlds are worth a picture, and what is in it |
//! | `page.rs`, `trace.rs` | the pictures for a browser and for Perfetto |
//! | `progress.rs`, `stopwatch.rs`, `interruption.rs` | what happens between a campaign and the person who waits for it |
//!
//! **Invariant.** What a campaign finds depends on scenarios, seeds and profiles alone: neither on the number of threads
//! nor on how fast they are. Worlds have an order, and whatever is found is taken in that order (`campaign/threads.rs`).
//! Only `--time` and an interruption cut it short at a place that the clock chooses.

pub mod campaign;
mod cli;
pub mod corpus;
pub mod determinism;
mod exhibit;
pub mod exit;
pub mod failure;
mod interruption;
pub mod json;
pub mod junit;
pub mod merge;
mod minimize;
mod page;
mod picture;
mod plan_folder;
pub mod profile;
mod progress;
pub mod report;
mod shard;
#[cfg(test)]
mod small;
mod stopwatch;
mod table;
mod tool;
mod trace;

pub use campaign::{Campaign, Search, Seeds, Shard, Watch};
pub use exit::Verdict;
pub use failure::Failure;
pub use profile::CampaignProfile;
pub use report::CampaignReport;
pub use tool::{Tool, main};
