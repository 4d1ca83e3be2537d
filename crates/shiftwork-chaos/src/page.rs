//! The report for a browser: `--report DIR` writes `DIR/index.html`, one page that needs nothing but itself.
//!
//! Tables are HTML as it stands; the timelines are drawn by `page/script.js` from pictures that are embedded as JSON. Style and script
//! are in files of their own so that an editor knows what they are, and are put into the page as they are.
//!
//! **Invariant.** Whatever a scenario, a plan or a panic says reaches the page through [`Escaped`] or through [`embedded`].

use std::fmt::Write as _;

use shiftwork_sim::rules::{Moment, Transitions};

use crate::{
    CampaignReport, Failure, Verdict,
    exhibit::Exhibit,
    junit::Escaped,
    picture::Picture,
    report::{Ended, FaultCount, ScenarioReport, ToolCrash},
    table::{Span, counted, cut_words, origin_words, rate},
};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The text of the page. `command` is what starts the program.
pub(crate) fn to_html(report: &CampaignReport, exhibits: &[Exhibit], command: &str) -> String {
    let mut body = String::new();
    head(&mut body, report, command);
    scenarios(&mut body, report);
    failures(&mut body, report, exhibits, command);
    coverage(&mut body, report);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>chaos: {}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        verdict(report)
    )
}

fn verdict(report: &CampaignReport) -> String {
    let failures = counted(report.failures.len() as u64, "failure");
    match report.verdict() {
        Verdict::Kept => "all rules were kept".to_owned(),
        Verdict::Interrupted => "all rules were kept until it was interrupted".to_owned(),
        Verdict::PollTooSlow => "all rules were kept, and polls took too long in real time".to_owned(),
        Verdict::RuleBroken => failures,
        Verdict::LivenessLost => format!("liveness lost, {failures}"),
        Verdict::DeterminismLost => "determinism lost".to_owned(),
        Verdict::ToolCrashed => "the tool crashed".to_owned(),
    }
}

fn head(out: &mut String, report: &CampaignReport, command: &str) {
    let good = matches!(report.verdict(), Verdict::Kept);
    let class = if good { "good" } else { "bad" };
    let virtual_time = Span(report.scenarios.iter().map(|row| row.virtual_time).sum());
    let struck: u64 = report.scenarios.iter().map(|row| row.faults.total().struck).sum();
    let mark = if good { "✓" } else { "✗" };
    push(
        out,
        format_args!(
            "<header>\n<h1>Chaos campaign</h1>\n<p class=\"verdict {class}\"><span aria-hidden=\"true\">{mark}</span> {}</p>\n<dl class=\"numbers\">\n",
            verdict(report)
        ),
    );
    let elapsed = format!("{:.1?}", report.elapsed);
    let numbers = [
        ("worlds", report.worlds().to_string()),
        ("worlds per second", rate(report.worlds(), report.elapsed)),
        ("virtual time", virtual_time.to_string()),
        ("faults that struck", struck.to_string()),
        ("took", elapsed),
        ("threads", report.jobs.to_string()),
        ("ended", report.ended.as_str().replace('_', " ")),
    ];
    for (name, value) in numbers {
        push(out, format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    }
    out.push_str("</dl>\n");
    for warning in report.control.warnings() {
        push(out, format_args!("<p class=\"warning\">Not held: {}</p>\n", Escaped(warning)));
    }
    for stale in &report.stale {
        let file = stale.file.to_string_lossy();
        push(
            out,
            format_args!(
                "<p class=\"warning\">Stale plan <code>{}</code>: {}</p>\n",
                Escaped(&file),
                Escaped(&stale.reason)
            ),
        );
    }
    for crash in &report.crashes {
        crashed(out, crash, command);
    }
    for slow in &report.slow {
        for poll in &slow.polls {
            let (scenario, poll) = (Escaped(slow.scenario), poll.to_string());
            push(out, format_args!("<p class=\"warning\">In {scenario}, seed {}, {}</p>\n", slow.seed, Escaped(&poll)));
        }
    }
    if let Some(determinism) = &report.determinism {
        push(
            out,
            format_args!(
                "<p>{} worlds ran twice; {} of them differed.</p>\n",
                determinism.worlds, determinism.differed
            ),
        );
        if let Some(problem) = &determinism.problem {
            push(out, format_args!("<p class=\"warning\">Not all could be compared: {}</p>\n", Escaped(problem)));
        }
    }
    out.push_str("<nav aria-label=\"Sections\"><a href=\"#scenarios\">Scenarios</a> <a href=\"#worlds\">Timelines</a> <a href=\"#coverage\">Coverage</a></nav>\n</header>\n<main>\n");
}

/// A world in which the tool crashed, with the line that runs it again.
fn crashed(out: &mut String, crash: &ToolCrash, command: &str) {
    push(
        out,
        format_args!(
            "<p class=\"warning\">The tool crashed in {}, seed {}, {}: {}",
            Escaped(crash.scenario),
            crash.seed,
            Escaped(&origin_words(&crash.origin)),
            Escaped(&crash.message)
        ),
    );
    if let Some(line) = crash.again_line(command) {
        push(out, format_args!("<br>Again, with the place of the panic: <code>{} -v</code>", Escaped(&line)));
    }
    out.push_str("</p>\n");
}

fn scenarios(out: &mut String, report: &CampaignReport) {
    out.push_str("<section id=\"scenarios\">\n<h2>Scenarios</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Scenarios\"><table>\n<thead><tr><th scope=\"col\">scenario</th><th scope=\"col\">worlds</th><th scope=\"col\">virtual time</th><th scope=\"col\">transitions</th><th scope=\"col\">sometimes</th><th scope=\"col\">failures</th></tr></thead>\n<tbody>\n");
    for row in &report.scenarios {
        push(
            out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{} of {}</td><td>{}</td><td>{}</td></tr>\n",
                Escaped(row.name),
                row.worlds,
                Span(row.virtual_time),
                row.transitions.pairs().len(),
                Transitions::POSSIBLE.len(),
                sights_of(row),
                row.failures
            ),
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
    never_reached(out, report);
    out.push_str("</section>\n");
}

/// How much of what a scenario wants to see sometimes was seen.
fn sights_of(row: &ScenarioReport) -> String {
    match row.sometimes.len() {
        0 => "·".to_owned(),
        wanted => format!("{} of {wanted}", wanted - row.never_reached().count()),
    }
}

/// What a whole campaign never reached was not tested.
fn never_reached(out: &mut String, report: &CampaignReport) {
    if report.scenarios.iter().all(|row| row.never_reached().next().is_none()) {
        return;
    }
    out.push_str("<h3>Never reached</h3>\n<p>What should happen sometimes, and did not happen in any world: nothing was tested there.</p>\n<ul class=\"unreached\">\n");
    for row in &report.scenarios {
        for sight in row.never_reached() {
            push(out, format_args!("<li>{}: {}</li>\n", Escaped(row.name), Escaped(sight)));
        }
    }
    out.push_str("</ul>\n");
}

fn failures(out: &mut String, report: &CampaignReport, exhibits: &[Exhibit], command: &str) {
    out.push_str("<section id=\"worlds\">\n<h2>Timelines</h2>\n");
    if report.failures.is_empty() {
        out.push_str("<p>No rule broke. These are the first worlds of the campaign.</p>\n");
    }
    if exhibits.iter().filter(|it| it.failure.is_some()).count() < report.failures.len() {
        push(out, format_args!("<p>{} of {} failures are shown.</p>\n", exhibits.len(), report.failures.len()));
    }
    out.push_str("<p class=\"keys\">In a timeline: <kbd>+</kbd> <kbd>-</kbd> zoom, <kbd>0</kbd> shows all, <kbd>←</kbd> <kbd>→</kbd> choose the next bar, <kbd>↑</kbd> <kbd>↓</kbd> the lane, <kbd>Shift</kbd> with an arrow moves, <kbd>b</kbd> goes to the broken rule. With a mouse: <kbd>Ctrl</kbd> and the wheel, or drag.</p>\n");
    for (index, exhibit) in exhibits.iter().enumerate() {
        let failure = exhibit.failure.and_then(|failure| report.failures.get(failure));
        push(
            out,
            format_args!(
                "<article id=\"world-{index}\">\n<h3>{}, seed {}</h3>\n",
                Escaped(exhibit.scenario),
                exhibit.seed
            ),
        );
        if let Some(failure) = failure {
            finding(out, failure, report.ended, command);
        }
        if let Some(before) = &exhibit.before {
            timeline(out, before, "as it was found");
        }
        timeline(out, &exhibit.after, exhibit.after_is);
        out.push_str("</article>\n");
    }
    out.push_str("</section>\n");
}

fn finding(out: &mut String, failure: &Failure, ended: Ended, command: &str) {
    let violation = &failure.violation;
    let (rule, expected, happened) = (violation.rule.to_string(), &violation.expected, &violation.happened);
    push(
        out,
        format_args!(
            "<dl class=\"finding\">\n<div><dt>broken rule</dt><dd><strong>{}</strong></dd></div>\n<div><dt>expected</dt><dd>{}</dd></div>\n<div><dt>happened</dt><dd>{}</dd></div>\n",
            Escaped(&rule),
            Escaped(expected),
            Escaped(happened)
        ),
    );
    push(
        out,
        format_args!(
            "<div><dt>found</dt><dd>{}, {}</dd></div>\n",
            Escaped(&origin_words(&failure.origin)),
            counted(failure.found.faults.len() as u64, "fault")
        ),
    );
    if failure.is_shrunk() {
        push(
            out,
            format_args!(
                "<div><dt>shrunk</dt><dd>to {} in {}{}</dd></div>\n",
                counted(failure.outcome.plan.faults.len() as u64, "fault"),
                counted(failure.shrink_worlds.into(), "world"),
                cut_words(failure, ended)
            ),
        );
    }
    for (name, line) in [("replay", failure.replay_line(command)), ("as it was found", failure.again_line(command))] {
        if let Some(line) = line {
            push(out, format_args!("<div><dt>{name}</dt><dd><code>{}</code></dd></div>\n", Escaped(&line)));
        }
    }
    out.push_str("</dl>\n");
    if !failure.reproduced {
        out.push_str("<p class=\"warning\">When the world was run again, this did not happen: the world is not deterministic.</p>\n");
    }
}

fn timeline(out: &mut String, picture: &Picture, which: &str) {
    push(
        out,
        format_args!(
            "<figure class=\"timeline\">\n<figcaption>{}, {}</figcaption>\n<script type=\"application/json\">{}</script>\n<noscript>The timeline is drawn by a script.</noscript>\n",
            Escaped(which),
            counted(picture.bands.len() as u64, "fault"),
            embedded(picture)
        ),
    );
    out.push_str("<details><summary>The plan</summary><ol>\n");
    for band in &picture.bands {
        let struck = if band.struck_ms.is_some() { "" } else { " <em>(had no effect)</em>" };
        push(out, format_args!("<li>{:.3} s: {}{struck}</li>\n", band.from_ms / 1_000.0, Escaped(&band.text)));
    }
    out.push_str("</ol></details>\n</figure>\n");
}

/// A picture as JSON inside of a script element: nothing in it can end the element.
fn embedded(picture: &Picture) -> String {
    serde_json::to_string(picture).unwrap_or_default().replace('<', "\\u003c")
}

fn coverage(out: &mut String, report: &CampaignReport) {
    out.push_str("<section id=\"coverage\">\n<h2>Coverage</h2>\n<p>In how many worlds a fault of this kind first struck while a worker stood there.</p>\n");
    for row in &report.scenarios {
        coverage_of(out, row);
    }
    out.push_str("</section>\n</main>\n");
}

fn coverage_of(out: &mut String, row: &ScenarioReport) {
    let name = Escaped(row.name);
    push(
        out,
        format_args!(
            "<h3>{name}</h3>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Coverage of {name}\"><table class=\"matrix\">\n<thead><tr><th scope=\"col\">moment</th>"
        ),
    );
    // A kind that no plan had is no gap in what was tried, but a column of nothing.
    let planned: Vec<_> = row.faults.by_kind().enumerate().filter(|(_, (_, count))| count.planned > 0).collect();
    for (_, (kind, _)) in &planned {
        push(out, format_args!("<th scope=\"col\">{}</th>", kind.replace('_', " ")));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let most = row.coverage.most().max(1) as f64;
    for moment in Moment::ALL {
        push(out, format_args!("<tr><th scope=\"row\">{}</th>", moment.as_str().replace('_', " ")));
        for (kind, _) in &planned {
            let worlds = row.coverage.of(moment, *kind);
            let heat = ((worlds as f64).ln_1p() / most.ln_1p()).clamp(0.0, 1.0);
            if worlds == 0 {
                out.push_str("<td class=\"none\">·</td>");
            } else {
                push(out, format_args!("<td style=\"--heat:{heat:.2}\">{worlds}</td>"));
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n<tfoot><tr><th scope=\"row\">without effect</th>");
    for (_, (_, FaultCount { planned, struck })) in &planned {
        push(out, format_args!("<td>{}</td>", planned - struck));
    }
    out.push_str("</tr></tfoot>\n</table></div>\n");
    if !row.sometimes.is_empty() {
        out.push_str("<details><summary>What was seen sometimes</summary><ul>\n");
        for (sight, worlds) in &row.sometimes {
            push(out, format_args!("<li>{}: in {}</li>\n", Escaped(sight), counted(*worlds, "world")));
        }
        out.push_str("</ul></details>\n");
    }
    let seen = row.transitions.pairs();
    let missing: Vec<_> = Transitions::POSSIBLE.iter().filter(|pair| !seen.contains(pair)).collect();
    push(
        out,
        format_args!(
            "<details><summary>{} of {} transitions were not seen</summary><ul class=\"columns\">\n",
            missing.len(),
            Transitions::POSSIBLE.len()
        ),
    );
    for (from, to) in missing {
        push(out, format_args!("<li>{from} → {to}</li>\n"));
    }
    out.push_str("</ul></details>\n");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
