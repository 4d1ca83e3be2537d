//! The report for CI servers: `--junit FILE`, in the JUnit XML that they all read.
//!
//! A test suite for each scenario. A world that failed is a test case of its own, and so is each saved plan that was replayed; all the
//! generated worlds that kept every rule are one case together, since thousands of them would bury the rest. A saved plan that is
//! stale is a skipped case in a suite `corpus`.

use std::fmt::Write as _;

use crate::{
    CampaignReport, Failure,
    determinism::{Determinism, Parting},
    report::{Origin, ScenarioReport, SlowWorld, ToolCrash},
};

/// The text of the file. `command` is what starts the program, for the lines that replay a failure.
#[must_use]
pub fn to_xml(report: &CampaignReport, command: &str) -> String {
    let mut suites = String::new();
    for row in &report.scenarios {
        suites.push_str(&suite(report, row, command));
    }
    if !report.stale.is_empty() {
        let count = report.stale.len();
        let mut cases = String::new();
        for stale in &report.stale {
            let (file, reason) = (Escaped(&stale.file.to_string_lossy()).to_string(), Escaped(&stale.reason));
            let _ = write!(
                cases,
                "    <testcase classname=\"corpus\" name=\"{file}\">\n      <skipped message=\"{reason}\"/>\n    </testcase>\n"
            );
        }
        let counts = Counts { tests: count, skipped: count, ..Counts::default() };
        suites.push_str(&suite_of("corpus", counts, None, &cases));
    }
    if let Some(determinism) = &report.determinism {
        suites.push_str(&compared(determinism));
    }
    let seconds = report.elapsed.as_secs_f64();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"chaos\" time=\"{seconds:.3}\">\n{suites}</testsuites>\n"
    )
}

fn suite(report: &CampaignReport, row: &ScenarioReport, command: &str) -> String {
    let failures: Vec<_> = report.failures_of(row.name).collect();
    let crashes: Vec<_> = report.crashes.iter().filter(|crash| crash.scenario == row.name).collect();
    let failed = |seed: u64, origin: &Origin| failures.iter().any(|it| it.seed == seed && it.origin == *origin);
    let mut cases = Vec::new();
    let kept: Vec<_> = row.runs.iter().filter(|(origin, seed, _)| !failed(*seed, origin)).collect();
    for (origin, _, _) in &kept {
        if let Origin::Saved(file) = origin {
            cases.push(case(row.name, &format!("saved plan {}", file.display()), None));
        }
    }
    let generated = kept.iter().filter(|(origin, _, _)| !matches!(origin, Origin::Saved(_))).count();
    if generated > 0 {
        cases.push(case(
            row.name,
            &format!("{generated} generated worlds keep every rule"),
            Some(row.busy.as_secs_f64()),
        ));
    }
    cases.extend(failures.iter().map(|failure| failed_case(failure, command)));
    cases.extend(crashes.iter().map(|crash| crashed_case(crash, command)));
    let slow: Vec<_> = report.slow.iter().filter(|slow| slow.scenario == row.name).collect();
    cases.extend(slow.iter().map(|slow| slow_case(slow)));
    let failed = failures.len() + slow.len();
    let counts = Counts { tests: cases.len(), failures: failed, errors: crashes.len(), skipped: 0 };
    suite_of(row.name, counts, Some(row.busy.as_secs_f64()), &cases.concat())
}

/// How many cases a suite has, and how many of them ended in which way.
#[derive(Clone, Copy, Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

fn suite_of(name: &str, counts: Counts, seconds: Option<f64>, cases: &str) -> String {
    let Counts { tests, failures, errors, skipped } = counts;
    let (name, time) = (Escaped(name), time_of(seconds));
    format!(
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"{time}>\n{cases}  </testsuite>\n"
    )
}

fn time_of(seconds: Option<f64>) -> String {
    seconds.map(|seconds| format!(" time=\"{seconds:.3}\"")).unwrap_or_default()
}

/// What came of the second run of every world: a failure for each that differed and was looked at, an error for what could not be compared.
fn compared(determinism: &Determinism) -> String {
    let Determinism { worlds, differed, partings, problem } = determinism;
    let mut cases = Vec::new();
    let mut differ = |class: &str, name: &str, message: &str| {
        cases.push(told_case(class, name, &format!("failure type=\"determinism\" message=\"{message}\"")));
    };
    for Parting { scenario, origin, seed, first, second, .. } in partings {
        let message = format!("the same world ran twice and differed: {first:016x}, then {second:016x}");
        differ(scenario, &name_of(origin, *seed), &message);
    }
    let untold = differed.saturating_sub(partings.len() as u64);
    if untold > 0 {
        differ("determinism", "others", &format!("{untold} more worlds ran twice and differed"));
    }
    let failures = cases.len();
    if let Some(problem) = problem {
        let told = format!("error type=\"crash\" message=\"{}\"", Escaped(problem));
        cases.push(told_case("determinism", "second run", &told));
    }
    let errors = cases.len() - failures;
    let same = worlds.saturating_sub(*differed);
    if same > 0 {
        cases.push(case("determinism", &format!("{same} worlds are the same when they run again"), None));
    }
    let counts = Counts { tests: cases.len(), failures, errors, skipped: 0 };
    suite_of("determinism", counts, None, &cases.concat())
}

fn told_case(class: &str, name: &str, told: &str) -> String {
    format!(
        "    <testcase classname=\"{}\" name=\"{}\">\n      <{told}/>\n    </testcase>\n",
        Escaped(class),
        Escaped(name)
    )
}

fn name_of(origin: &Origin, seed: u64) -> String {
    match origin {
        Origin::Generated(_) => format!("seed {seed}"),
        Origin::Saved(file) => format!("saved plan {}", file.display()),
        Origin::Injected { number } => format!("injection {number}"),
        Origin::Changed { number } => format!("guided {number}"),
    }
}

fn case(class: &str, name: &str, seconds: Option<f64>) -> String {
    let time = time_of(seconds);
    format!("    <testcase classname=\"{}\" name=\"{}\"{time}/>\n", Escaped(class), Escaped(name))
}

fn failed_case(failure: &Failure, command: &str) -> String {
    let name = name_of(&failure.origin, failure.seed);
    let told = if failure.reproduced {
        failure.outcome.to_string()
    } else {
        format!(
            "{}\nwhen the world was run again, this did not happen: the world is not deterministic",
            failure.violation
        )
    };
    let lines = [failure.replay_line(command), failure.again_line(command)].into_iter().flatten();
    let text = format!("{told}\n{}", lines.collect::<Vec<_>>().join("\n"));
    format!(
        "    <testcase classname=\"{}\" name=\"{}\">\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n    </testcase>\n",
        Escaped(failure.scenario),
        Escaped(&name),
        Escaped(failure.rule().name()),
        Escaped(&failure.violation.happened),
        Escaped(&text)
    )
}

fn slow_case(slow: &SlowWorld) -> String {
    let polls: Vec<_> = slow.polls.iter().map(ToString::to_string).collect();
    let told = format!("failure type=\"slow_poll\" message=\"{}\"", Escaped(&polls.join("; ")));
    told_case(slow.scenario, &format!("polls of {}", name_of(&slow.origin, slow.seed)), &told)
}

fn crashed_case(crash: &ToolCrash, command: &str) -> String {
    let line = crash.again_line(command).unwrap_or_default();
    format!(
        "    <testcase classname=\"{}\" name=\"{}\">\n      <error type=\"crash\" message=\"{}\">{}</error>\n    </testcase>\n",
        Escaped(crash.scenario),
        Escaped(&name_of(&crash.origin, crash.seed)),
        Escaped(&crash.message),
        Escaped(&line)
    )
}

/// Text in XML and HTML, in an attribute as well. What XML cannot have at all becomes a question mark.
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' => f.write_char(c)?,
                '\u{fffe}' | '\u{ffff}' => f.write_char('?')?,
                c if c.is_control() => f.write_char('?')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_have_is_taken_away() {
        assert_eq!(
            Escaped("a<b> & \"c\" 'd'\u{1b}[0m\n").to_string(),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;?[0m\n"
        );
    }
}
