//! The report for people: tables, then each failure, then the verdict.
//!
//! The text carries its colours; the stream that it is written to takes them away where they do not belong.

use std::{collections::BTreeSet, fmt, time::Duration};

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use shiftwork_sim::{
    FaultKind,
    control::Control,
    rules::{Moment, Transitions},
};

use crate::{
    CampaignReport, Failure, Verdict,
    determinism::{Determinism, Parting, Place},
    report::{CoverageCounts, Ended, FaultCount, FaultCounts, InjectionCounts, Origin, SlowWorld, ToolCrash},
};

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HEADING: Style = Style::new().bold();

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only what is wrong.
    Wrong,
    /// Tables too.
    Usual,
    /// Every transition, and the timeline of every failure too.
    All,
}

/// A report as text.
pub(crate) struct Text<'r> {
    pub(crate) report: &'r CampaignReport,
    /// What starts the program, for the lines that replay a failure.
    pub(crate) command: &'r str,
    pub(crate) detail: Detail,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail != Detail::Wrong {
            self.tables(f)?;
        }
        if self.detail == Detail::All {
            self.transitions(f)?;
        }
        self.failures(f)?;
        for slow in &self.report.slow {
            let SlowWorld { scenario, origin, seed, polls } = slow;
            writeln!(f, "\n{BAD}slow polls{BAD:#} in {scenario}, seed {seed}, {}:", origin_words(origin))?;
            for poll in polls {
                writeln!(f, "  {poll}")?;
            }
        }
        for crash in &self.report.crashes {
            self.crash(f, crash)?;
        }
        if let Some(determinism) = &self.report.determinism {
            self.determinism(f, determinism)?;
        }
        self.warnings(f)?;
        if self.detail != Detail::Wrong {
            self.verdict(f)?;
        }
        Ok(())
    }
}

impl Text<'_> {
    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = &self.report.scenarios;
        let mut worlds = table(["scenario", "worlds", "worlds/s", "virtual time", "transitions", "cells", "failures"]);
        let mut columns: Vec<(&str, FaultCounts)> = rows.iter().map(|row| (row.name, row.faults)).collect();
        for row in rows {
            add(
                &mut worlds,
                row.name,
                [
                    row.worlds.to_string(),
                    rate(row.worlds, row.busy / u32::try_from(self.report.jobs.get()).unwrap_or(u32::MAX)),
                    Span(row.virtual_time).to_string(),
                    coverage(row.transitions),
                    row.coverage.reached().to_string(),
                    row.failures.to_string(),
                ],
            );
        }
        if rows.len() > 1 {
            let mut all_faults = FaultCounts::default();
            let mut all_transitions = Transitions::default();
            let mut all_cells = CoverageCounts::default();
            for row in rows {
                all_faults.merge(&row.faults);
                all_transitions.merge(row.transitions);
                all_cells.merge(&row.coverage);
            }
            add(
                &mut worlds,
                "all",
                [
                    self.report.worlds().to_string(),
                    rate(self.report.worlds(), self.report.elapsed),
                    Span(rows.iter().map(|row| row.virtual_time).sum()).to_string(),
                    coverage(all_transitions),
                    all_cells.reached().to_string(),
                    rows.iter().map(|row| row.failures).sum::<u64>().to_string(),
                ],
            );
            columns.push(("all", all_faults));
        }
        write!(f, "{}", worlds.trim_fmt())?;
        if let Some(injections) = self.injections() {
            write!(f, "\n\n{}", injections.trim_fmt())?;
        }
        for columns in beside_each_other(&columns) {
            write!(f, "\n\n{}", fault_table(columns).trim_fmt())?;
        }
        writeln!(f)?;
        self.never_reached(f)
    }

    /// What should happen sometimes, and did not: nothing was tested there.
    fn never_reached(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One world shows what it shows.
        for row in self.report.scenarios.iter().filter(|row| row.worlds > 1) {
            for sight in row.never_reached() {
                let (name, worlds) = (row.name, row.worlds);
                writeln!(f, "\n{WARNING}never reached{WARNING:#} in {worlds} worlds of {name}: {sight}")?;
            }
        }
        Ok(())
    }

    /// What an exhaustive campaign tries.
    fn injections(&self) -> Option<Table> {
        let rows: Vec<_> = self.report.scenarios.iter().filter_map(|row| Some((row.name, row.injections?))).collect();
        let mut injections = table(["scenario", "injection points", "left out", "worlds", "pairs"]);
        for (name, counts) in &rows {
            let InjectionCounts { points, points_left_out, worlds, pairs } = counts;
            add(&mut injections, name, [points, points_left_out, worlds, pairs].map(u64::to_string));
        }
        (!rows.is_empty()).then_some(injections)
    }

    fn transitions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.report.scenarios {
            let seen = row.transitions.pairs();
            let possible = BTreeSet::from(Transitions::POSSIBLE);
            let list = |pairs: &mut dyn Iterator<Item = &(_, _)>| {
                let names: Vec<_> = pairs.map(|(from, to)| format!("{from}->{to}")).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            };
            writeln!(f, "\n{HEADING}{}{HEADING:#}, fingerprint {:016x}", row.name, row.fingerprint())?;
            writeln!(f, "  transitions seen:     {}", list(&mut seen.iter()))?;
            writeln!(f, "  transitions not seen: {}", list(&mut possible.difference(&seen)))?;
            for (sight, worlds) in &row.sometimes {
                writeln!(f, "  sometimes, in {}: {sight}", counted(*worlds, "world"))?;
            }
            for moment in Moment::ALL {
                let kinds =
                    FaultKind::NAMES.iter().enumerate().map(|(kind, name)| (name, row.coverage.of(moment, kind)));
                let struck: Vec<_> =
                    kinds.filter(|(_, worlds)| *worlds > 0).map(|(name, worlds)| format!("{name} {worlds}")).collect();
                let struck = if struck.is_empty() { "nothing".to_owned() } else { struck.join(", ") };
                writeln!(f, "  struck while {moment}: {struck}")?;
            }
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = BTreeSet::new();
        let count = self.report.failures.len();
        for (index, failure) in self.report.failures.iter().enumerate() {
            let first = told.insert((failure.scenario, failure.rule().clone()));
            writeln!(
                f,
                "\n{BAD}failure {} of {count}{BAD:#}: {}, seed {}, {}",
                index + 1,
                failure.scenario,
                failure.seed,
                origin_words(&failure.origin)
            )?;
            self.failure(f, failure, first || self.detail == Detail::All)?;
        }
        Ok(())
    }

    fn failure(&self, f: &mut fmt::Formatter<'_>, failure: &Failure, whole: bool) -> fmt::Result {
        if !failure.reproduced {
            writeln!(f, "{}", failure.violation)?;
            writeln!(f, "when the world was run again, this did not happen: the world is not deterministic")?;
        } else if whole {
            write!(f, "{}", failure.outcome)?;
        } else {
            // The first failure of this rule has told what a timeline looks like.
            writeln!(f, "broken rule: {}, again", failure.rule())?;
            write!(f, "plan: {}", failure.outcome.plan)?;
        }
        if failure.is_shrunk() {
            let (from, to) = (counted(failure.found.faults.len() as u64, "fault"), failure.outcome.plan.faults.len());
            let cut = cut_words(failure, self.report.ended);
            writeln!(f, "shrunk from {from} to {to} in {}{cut}", counted(failure.shrink_worlds.into(), "world"))?;
            for without in &failure.without {
                writeln!(f, "{without}")?;
            }
        }
        if let Some(line) = failure.replay_line(self.command) {
            writeln!(f, "replay:        {HEADING}{line}{HEADING:#}")?;
        }
        if let Some(line) = failure.again_line(self.command) {
            writeln!(f, "as it was found: {line}")?;
        }
        Ok(())
    }

    fn crash(&self, f: &mut fmt::Formatter<'_>, crash: &ToolCrash) -> fmt::Result {
        let ToolCrash { scenario, origin: from, seed, message, plan: _, plan_file: _ } = crash;
        writeln!(f, "\n{BAD}the tool crashed{BAD:#} in {scenario}, seed {seed}, {}: {message}", origin_words(from))?;
        match crash.again_line(self.command) {
            Some(line) => writeln!(f, "again, with the place of the panic: {HEADING}{line} -v{HEADING:#}"),
            None => Ok(()),
        }
    }

    fn determinism(&self, f: &mut fmt::Formatter<'_>, determinism: &Determinism) -> fmt::Result {
        let Determinism { worlds, differed, partings, problem } = determinism;
        if *differed > 0 {
            writeln!(f, "\n{BAD}determinism lost{BAD:#}: {differed} of {worlds} worlds differed when they ran again")?;
        }
        for parting in partings {
            self.parting(f, parting)?;
        }
        if let Some(problem) = problem {
            writeln!(f, "\n{BAD}not every world could be run again{BAD:#}: {problem}")?;
        }
        if *differed == 0 && self.detail != Detail::Wrong {
            writeln!(f, "\n{worlds} worlds ran twice and were the same both times")?;
        }
        Ok(())
    }

    fn parting(&self, f: &mut fmt::Formatter<'_>, parting: &Parting) -> fmt::Result {
        let Parting { scenario, origin: from, seed, first, second, place } = parting;
        writeln!(f, "  {scenario}, seed {seed}, {}: fingerprints {first:016x} and {second:016x}", origin_words(from))?;
        match place {
            Place::Record { number, first, second } => {
                writeln!(f, "    the runs part at record {number}:")?;
                both(f, first.as_deref(), second.as_deref())
            }
            Place::Poll { number, first, second } => {
                writeln!(f, "    all records are the same; the runs part at poll {number}:")?;
                both(f, first.as_deref(), second.as_deref())
            }
            Place::NotAgain => {
                writeln!(f, "    run twice more it was the same both times, so that the place could not be found")
            }
            Place::Unknown(reason) => writeln!(f, "    the place could not be found: {reason}"),
        }
    }

    fn warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stale in &self.report.stale {
            writeln!(f, "\n{WARNING}stale plan{WARNING:#} {}: {}", stale.file.display(), stale.reason)?;
        }
        for warning in Control::warnings(self.report.control) {
            writeln!(f, "\n{WARNING}warning{WARNING:#}: {warning}")?;
        }
        Ok(())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CampaignReport { failures, crashes, ended, elapsed, jobs, .. } = self.report;
        let verdict = self.report.verdict();
        let (style, text) = match verdict {
            Verdict::Kept => (GOOD, "all rules were kept".to_owned()),
            Verdict::Interrupted => (WARNING, "all rules were kept until it was interrupted".to_owned()),
            Verdict::PollTooSlow => {
                let worlds = counted(self.report.slow.len() as u64, "world");
                (BAD, format!("all rules were kept, and polls took too long in real time, in {worlds}"))
            }
            Verdict::LivenessLost => (BAD, format!("liveness lost, {}", rules(failures))),
            Verdict::RuleBroken => (BAD, rules(failures)),
            Verdict::DeterminismLost => (BAD, "determinism lost".to_owned()),
            Verdict::ToolCrashed if crashes.is_empty() => (BAD, "the second run failed".to_owned()),
            Verdict::ToolCrashed => (BAD, format!("the tool crashed, in {}", counted(crashes.len() as u64, "world"))),
        };
        let cut = match ended {
            Ended::Complete | Ended::TimeOver => "",
            Ended::FailuresMax => " (stopped at the last failure that was asked for: --max-failures)",
            Ended::Interrupted => " (interrupted)",
        };
        let (worlds, threads) = (counted(self.report.worlds(), "world"), counted(jobs.get() as u64, "thread"));
        writeln!(f, "\n{style}{text}{style:#}. {worlds} in {elapsed:.1?} on {threads}{cut}")?;
        match self.report.stale.len() {
            0 => Ok(()),
            1 => writeln!(f, "1 stale plan was not replayed"),
            count => writeln!(f, "{count} stale plans were not replayed"),
        }
    }
}

/// How many failures, and of which rules.
fn rules(failures: &[Failure]) -> String {
    let names: BTreeSet<_> = failures.iter().map(|failure| failure.rule().name()).collect();
    let names: Vec<_> = names.into_iter().collect();
    format!("{}: {}", counted(failures.len() as u64, "failure"), names.join(", "))
}

/// That a failure is larger than it need be, if it is because its campaign was interrupted.
pub(crate) fn cut_words(failure: &Failure, ended: Ended) -> &'static str {
    if ended == Ended::Interrupted && failure.is_cut_short() {
        " (shrinking was interrupted; `--minimize` goes on with it)"
    } else {
        ""
    }
}

/// "1 world", "2 worlds".
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Generated(profile) => profile.word(),
        Origin::Saved(file) => format!("from {}", file.display()),
        Origin::Injected { number } => format!("injection {number}"),
        Origin::Changed { number } => format!("guided {number}"),
    }
}

fn table<'h>(header: impl IntoIterator<Item = &'h str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn add(table: &mut Table, name: &str, cells: impl IntoIterator<Item = String>) {
    table.add_row([Cell::new(name)].into_iter().chain(cells.into_iter().map(Cell::new)));
}

/// The head of the first column of faults.
const FAULTS: &str = "faults, struck/planned";

/// How wide a terminal is that nobody has made wider.
const WIDTH: usize = 80;

/// A name and what is counted under it.
type Column<'n> = (&'n str, FaultCounts);

/// The columns in groups that fit side by side into a terminal.
fn beside_each_other<'c, 'n>(columns: &'c [Column<'n>]) -> Vec<&'c [Column<'n>]> {
    // A cell has a blank to either side.
    let width = |(name, counts): &Column<'_>| {
        let cells = counts.by_kind().map(|(_, count)| fault_cell(count).len());
        cells.max().unwrap_or(0).max(name.len()) + 2
    };
    let (mut groups, mut begin, mut used) = (Vec::new(), 0, FAULTS.len() + 2);
    for (index, column) in columns.iter().enumerate() {
        if used + width(column) > WIDTH && index > begin {
            groups.push(&columns[begin..index]);
            (begin, used) = (index, FAULTS.len() + 2);
        }
        used += width(column);
    }
    groups.push(&columns[begin..]);
    groups
}

fn fault_table(columns: &[Column<'_>]) -> Table {
    let mut faults = table([FAULTS].into_iter().chain(columns.iter().map(|(name, _)| *name)));
    for (index, kind) in FaultKind::NAMES.into_iter().enumerate() {
        // There are more kinds than fit side by side, and a mix may leave most of them out.
        let counts = columns.iter().filter_map(|(_, counts)| counts.by_kind().nth(index)).map(|(_, count)| count);
        if counts.clone().any(|count| count.planned > 0) {
            add(&mut faults, kind, counts.map(fault_cell));
        }
    }
    faults
}

fn fault_cell(FaultCount { planned, struck }: FaultCount) -> String {
    if planned == 0 { "-".to_owned() } else { format!("{}/{}", Short(struck), Short(planned)) }
}

fn coverage(transitions: Transitions) -> String {
    format!("{}/{}", transitions.pairs().len(), Transitions::POSSIBLE.len())
}

/// `worlds` in `time`, by the second.
pub(crate) fn rate(worlds: u64, time: Duration) -> String {
    let ms = time.as_millis().max(1);
    (u128::from(worlds) * 1_000 / ms).to_string()
}

/// A count that fits into a narrow column.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..10_000 => write!(f, "{}", self.0),
            10_000..10_000_000 => write!(f, "{}k", self.0 / 1_000),
            _ => write!(f, "{}M", self.0 / 1_000_000),
        }
    }
}

/// A long time in the unit that a person would use.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match self.0.as_secs() {
            0..120 => write!(f, "{seconds:.1} s"),
            120..7_200 => write!(f, "{:.1} min", seconds / 60.0),
            7_200..172_800 => write!(f, "{:.1} h", seconds / 3_600.0),
            _ => write!(f, "{:.1} d", seconds / 86_400.0),
        }
    }
}

/// What each of two runs had at the place where they part.
fn both(f: &mut fmt::Formatter<'_>, first: Option<&str>, second: Option<&str>) -> fmt::Result {
    let over = "nothing more";
    writeln!(f, "      one:   {}", first.unwrap_or(over))?;
    writeln!(f, "      other: {}", second.unwrap_or(over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_fit_into_a_column() {
        assert_eq!(
            [0, 9_999, 10_000, 9_999_999, 10_000_000].map(|count| Short(count).to_string()),
            ["0", "9999", "10k", "9999k", "10M"]
        );
        let times = [1, 119, 600, 7_200, 172_800].map(|seconds| Span(Duration::from_secs(seconds)).to_string());
        assert_eq!(times, ["1.0 s", "119.0 s", "10.0 min", "2.0 h", "2.0 d"]);
    }

    #[test]
    fn what_a_build_does_not_hold_is_said_even_when_nothing_else_is() {
        let mut report = crate::Campaign::over([]).run();
        let text = |report: &CampaignReport| Text { report, command: "chaos", detail: Detail::Wrong }.to_string();
        report.control.task_order = false;
        let said = text(&report);
        assert!(said.contains("`select!` order is not held"), "{said}");
        assert!(said.contains("build with `--cfg tokio_unstable`"), "{said}");
    }

    #[test]
    fn tables_of_many_scenarios_are_no_wider_than_a_terminal() {
        let names = [
            "email",
            "orders",
            "clean-up",
            "sync",
            "cache-refresh",
            "fleet",
            "deploy",
            "a-long-name-of-somebody",
            "all",
        ];
        let mut counts = FaultCounts::default();
        for _ in 0..4_321 {
            counts.count(&shiftwork_sim::site("smtp").outage(), true);
        }
        let columns = names.map(|name| (name, counts));
        let groups = beside_each_other(&columns);
        assert_eq!(groups.concat(), columns, "every column once, in order");
        assert!(groups.len() > 1);
        for group in groups {
            let text = fault_table(group).trim_fmt();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(WIDTH), "{widest:?}:\n{text}");
        }
    }

    #[test]
    fn a_rate_needs_no_time_to_be_told() {
        assert_eq!(rate(10, Duration::ZERO), "10000");
        assert_eq!(rate(10, Duration::from_secs(2)), "5");
    }
}
