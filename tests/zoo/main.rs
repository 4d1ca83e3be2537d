//! The bug zoo: realistic lifecycle bugs, each beside its corrected twin, which keep the simulator honest.
//!
//! A campaign must find every bug by the right rule within a budget of worlds, and must pass every twin. `cargo xtask zoo`
//! runs this program. An exhibit is one file, in the folder of the part of a worker's life where it strikes; what differs
//! between bug and twin is what stands under `if BUG`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `exhibit.rs` | what an exhibit is |
//! | `visit.rs` | the hunt for one bug, and the trial of its twin |
//! | `tour.rs` | all exhibits, on all cores |
//! | `table.rs`, `json.rs` | the result, for people and for programs |
//! | `props.rs` | what exhibits are furnished with |
//! | `start` … `foreign` | the exhibits |
//!
//! | exit code | what it means |
//! | --- | --- |
//! | 0 | every bug was found by its rule, and every twin passed |
//! | 1 | a bug was missed, another rule broke, one fault was enough where two are said to be needed, or a twin failed |
//! | 2 | the command line cannot be used, or names no exhibit |
//! | 101 | the program itself crashed, or its result could not be written |

#![expect(
    unreachable_pub,
    reason = "a program's items are seen by nobody else; `pub` says what a file offers to the others"
)]

mod cancel;
mod clock;
mod concurrency;
mod crash;
mod exhibit;
mod failure;
mod fleet;
mod foreign;
mod json;
mod props;
mod queue;
mod retry;
mod schedule;
mod start;
mod stop;
mod table;
mod tour;
mod visit;

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    process::ExitCode,
};

use clap::Parser;
use shiftwork_sim::panics;

use crate::{exhibit::Exhibit, visit::Rigour};

/// The exit code of a panic, and of what is no better.
const CRASHED: u8 = 101;

/// Every exhibit, by the part of a worker's life where it strikes.
fn all() -> Vec<&'static Exhibit> {
    let areas: [&[&Exhibit]; 12] = [
        start::EXHIBITS,
        failure::EXHIBITS,
        retry::EXHIBITS,
        schedule::EXHIBITS,
        queue::EXHIBITS,
        stop::EXHIBITS,
        crash::EXHIBITS,
        clock::EXHIBITS,
        concurrency::EXHIBITS,
        cancel::EXHIBITS,
        fleet::EXHIBITS,
        foreign::EXHIBITS,
    ];
    areas.into_iter().flatten().copied().collect()
}

/// Hunt every bug of the zoo and try every twin.
#[derive(Parser)]
#[command(
    name = "zoo",
    bin_name = "cargo xtask zoo",
    after_help = "Exit codes:\n  0  every bug was found by its rule, and every twin passed\n  1  one was not\n  2  the command line cannot be used, or names no exhibit"
)]
struct Cli {
    /// Only the exhibits whose name or area contains one of these
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// In how many worlds each twin must hold, at the least
    #[arg(long, value_name = "N", default_value_t = Rigour::FULL.twin_worlds)]
    twin_worlds: u64,
    /// On how many threads; all cores by default
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Show the smallest world of every bug below the table: the rule, the plan and the last events
    #[arg(long, conflicts_with = "json")]
    worlds: bool,
    /// Name the exhibits and run none
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen: Vec<&Exhibit> = all().into_iter().filter(|exhibit| is_meant(exhibit, &cli.words)).collect();
    if chosen.is_empty() {
        eprintln!("zoo: no exhibit's name or area contains {:?}; `--list` names them", cli.words);
        return ExitCode::from(2);
    }
    if cli.list {
        let line =
            |exhibit: &&Exhibit| format!("{:<13}  {:<36}  {}\n", exhibit.area.as_str(), exhibit.name, exhibit.about);
        return write(&chosen.iter().map(line).collect::<String>(), ExitCode::SUCCESS);
    }
    panics::silence();
    let jobs = cli.jobs.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let rigour = Rigour { twin_worlds: cli.twin_worlds, ..Rigour::FULL };
    let visits = tour::tour(&chosen, rigour, jobs);
    let text = if cli.json {
        format!("{}\n", json::of(&visits))
    } else {
        table::Text { visits: &visits, worlds: cli.worlds }.to_string()
    };
    write(&text, if visits.iter().all(visit::Visit::is_good) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Writes the result, and returns the code that it has. A reader that has gone away has seen what it wanted.
fn write(text: &str, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("zoo: could not write to standard output: {error}");
            ExitCode::from(CRASHED)
        }
        Ok(()) | Err(_) => code,
    }
}

fn is_meant(exhibit: &Exhibit, words: &[String]) -> bool {
    words.is_empty()
        || words.iter().any(|word| exhibit.name.contains(&**word) || exhibit.area.as_str().contains(&**word))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use shiftwork_sim::FaultName;

    use super::*;

    /// A first look at everything; `cargo xtask zoo` looks closely.
    const QUICK: Rigour = Rigour { twin_worlds: 30, single_fault_plans: 10, shrink_worlds: 500 };

    #[test]
    fn every_bug_is_found_by_its_rule_and_every_twin_passes() {
        panics::silence();
        let visits = tour::tour(&all(), QUICK, std::thread::available_parallelism().unwrap());
        assert!(visits.iter().all(visit::Visit::is_good), "{}", table::Text { visits: &visits, worlds: false });
    }

    #[test]
    fn a_bug_that_is_none_is_reported_as_missed() {
        let first = all()[0];
        let harmless = Exhibit { bug: first.twin, budget: 5, ..*first };
        let visit = visit::visit(&harmless, QUICK);
        assert!(matches!(visit.complaints[..], [visit::Complaint::Missed]), "{:?}", visit.complaints);
    }

    #[test]
    fn a_twin_with_the_bug_and_a_bug_with_another_rule_are_told() {
        let first = all()[0];
        let wrong = Exhibit { twin: first.bug, rule: "T1", ..*first };
        let visit = visit::visit(&wrong, QUICK);
        let told: Vec<String> = visit.complaints.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["another rule broke", "the twin fails"]);
    }

    #[test]
    fn a_bug_that_one_fault_shows_does_not_need_two() {
        let single = all().into_iter().find(|exhibit| exhibit.name == "swallowed-error").unwrap();
        let wrong = Exhibit { needs_two_faults: true, ..*single };
        let visit = visit::visit(&wrong, QUICK);
        assert!(matches!(visit.complaints[..], [visit::Complaint::OneFaultIsEnough(_)]), "{:?}", visit.complaints);
    }

    #[test]
    fn a_bug_that_needs_a_kind_of_fault_is_missed_without_it() {
        panics::silence();
        let needs: [(&str, &'static [FaultName]); 2] = [
            ("lock-file-of-a-living-process", &[FaultName::Pause, FaultName::IgnoreCancel]),
            ("reply-left-on-the-connection", &[FaultName::DropAtPoll]),
        ];
        for (name, leaves_out) in needs {
            let exhibit = all().into_iter().find(|exhibit| exhibit.name == name).unwrap();
            let without = Exhibit { leaves_out, ..*exhibit };
            let visit = visit::visit(&without, QUICK);
            assert!(matches!(visit.complaints[..], [visit::Complaint::Missed]), "{name}: {:?}", visit.complaints);
        }
    }

    #[test]
    fn there_are_enough_of_each_sort() {
        assert!(all().len() >= 40);
        assert!(all().iter().filter(|exhibit| exhibit.needs_two_faults).count() >= 9);
        let names: BTreeSet<&str> = all().iter().map(|exhibit| exhibit.name).collect();
        assert_eq!(names.len(), all().len(), "names are unique");
    }

    #[test]
    fn every_exhibit_has_a_file_of_its_name_and_a_row_in_its_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("../docs/zoo.md")).unwrap();
        for exhibit in all() {
            let folder = exhibit.area.as_str().split(' ').next().unwrap();
            let file = root.join("zoo").join(folder).join(format!("{}.rs", exhibit.name.replace('-', "_")));
            assert!(file.exists(), "{}", file.display());
            let row = page.lines().find(|line| line.contains(&format!("`{}`", exhibit.name)));
            assert!(row.is_some_and(|row| row.contains(exhibit.rule)), "{} in docs/zoo.md", exhibit.name);
        }
    }
}
