//! The page of `--report`, opened in a real browser: what is drawn, the keyboard, the console.
//!
//! It needs Chromium. Where there is none the tests say so and pass, except under `CI=true`, where its absence is a failure:
//! `.ci/run` installs it. `CHROMIUM` names another program. `SCREENSHOTS=DIR` keeps a picture of each page that is opened.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod chromium;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use chromium::{Browser, Page};
use serde_json::Value;
use shiftwork::{Context, Failure, Schedule, Signal, Tick};
use shiftwork_chaos::Tool;
use shiftwork_sim::{Fault, Plan, Scenario, Surface, World, dependency::Latency, millis, secs, site};

/// Two workers; one of them sends a mail again when the reply was lost, and has a name that no page may take for markup.
struct Mailer;

/// The name of a worker as a joker would choose it.
const MARKUP: &str = "<script>alert(1)</script>&";

impl Scenario for Mailer {
    fn name(&self) -> &'static str {
        "mailer"
    }

    fn about(&self) -> &'static str {
        "sends a mail again when it does not know that it was sent"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["smtp".to_owned()], queues: Vec::new(), horizon: secs(60) }
    }

    fn build(&self, world: &mut World) {
        let smtp = world.dependency_with("smtp", Latency::constant(millis(400)));
        let sent = Arc::new(Mutex::new((None, false)));
        let twice = sent.clone();
        world.node("mailer", move |node| {
            let (smtp, sent) = (smtp.clone(), sent.clone());
            let send = move |tick: Tick, _: Context| {
                let (smtp, sent) = (smtp.clone(), sent.clone());
                async move {
                    let send = async {
                        let (last, twice) = &mut *sent.lock().unwrap();
                        *twice |= *last == Some(tick.number);
                        *last = Some(tick.number);
                    };
                    Ok::<(), Failure>(smtp.call(send).await?)
                }
            };
            let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            node.host()
                .worker("send", Schedule::every(secs(10)), send)
                .worker(MARKUP, Schedule::every(secs(15)), idle)
                .run_until_signal()
        });
        world.always(
            "no mail is sent twice",
            move |_| {
                if twice.lock().unwrap().1 { Err("one was".to_owned()) } else { Ok(()) }
            },
        );
    }
}

/// The page of a replay of these faults, and how the tool ended.
fn report(folder: &Path, faults: Vec<Fault>) -> u8 {
    let mut plan = Plan::quiet("mailer", 1);
    plan.faults = faults;
    let file = folder.join("plan.json");
    fs::write(&file, plan.to_json()).unwrap();
    let page = folder.join("page");
    let args = ["--plan", file.to_str().unwrap(), "--report", page.to_str().unwrap(), "-q"];
    Tool::new(vec![Box::new(Mailer)]).run(args, &mut Vec::new(), &mut Vec::new())
}

/// A world in which the rule breaks in the second attempt at the tick of 20 s.
fn broken() -> Vec<Fault> {
    vec![
        Fault::new(5_000, site("smtp").slow(millis(300)).lasting(secs(8))),
        Fault::new(15_000, site("smtp").reply_lost(100).lasting(secs(10))),
        Fault::new(23_000, Signal::Terminate.into()),
        Fault::new(55_000, site("smtp").outage()),
    ]
}

/// Opens the page, or says why there is nothing to open it with.
fn opened(folder: &tempfile::TempDir, faults: Vec<Fault>, scheme: &str) -> Option<Page> {
    let browser = Browser::start(&folder.path().join("profile"))?;
    report(folder.path(), faults);
    let mut page = browser.open(&folder.path().join("page/index.html"), scheme);
    page.screenshot(scheme);
    Some(page)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn a_failure_has_a_lane_for_each_node_and_worker_and_a_bar_for_each_life_and_cycle() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut page) = opened(&folder, broken(), "light") else { return };
    let names = page.evaluate(
        "[...document.querySelectorAll('.lane')].map(it => it.dataset.kind + ' ' + it.dataset.name).join('|')",
    );
    assert_eq!(names, Value::from(format!("node mailer|worker send|worker {MARKUP}")));
    // A life; cycles at 0 and 10 s, at 20 s and once more; the other worker's at 0 and 15 s.
    let bars = page
        .evaluate("[...document.querySelectorAll('.lane')].map(it => it.querySelectorAll('.bar').length).join(' ')");
    assert_eq!(bars, Value::from("1 4 2"));
    let looks = page.evaluate("[...document.querySelectorAll('.bar')].map(it => it.classList[1]).join(' ')");
    assert_eq!(looks, Value::from("life succeeded succeeded failed failed succeeded succeeded"));
    let faults = page
        .evaluate("document.querySelectorAll('.fault').length + ' ' + document.querySelectorAll('.fault.idle').length");
    assert_eq!(faults, Value::from("4 2"), "what comes after the broken rule has no effect");
    let broken = page.evaluate(
        "document.querySelectorAll('line.broken').length + ' ' + document.querySelector('output').textContent",
    );
    assert!(broken.as_str().unwrap().starts_with("1 no mail is sent twice broke at "), "{broken}");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_words_of_faults_do_not_lie_upon_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let together = |index: u64| Fault::new(2_000 + 4_000 * index, site("smtp").slow(millis(300)).lasting(secs(1)));
    let Some(mut page) = opened(&folder, (0..12).map(together).collect(), "light") else { return };
    let overlaps = "(boxes => boxes.filter((one, index) => boxes.slice(index + 1).some(other => one.left < other.right && \
                    other.left < one.right && one.top < other.bottom && other.top < one.bottom)).length + ' of ' + boxes.length)\
                    ([...document.querySelectorAll('.fault-text')].filter(it => it.style.display !== 'none').map(it => it.getBoundingClientRect()))";
    assert_eq!(page.evaluate(overlaps), Value::from("0 of 12"));
    let shortened =
        page.evaluate("[...document.querySelectorAll('.fault-text')].some(it => it.textContent.endsWith('…'))");
    assert_eq!(shortened, Value::from(true), "there is not room for all of them");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_keyboard_zooms_and_walks_through_a_timeline() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut page) = opened(&folder, broken(), "dark") else { return };
    let range = |page: &mut Page| {
        let data = page.evaluate("(it => [+it.from, +it.to])(document.querySelector('figure.timeline').dataset)");
        (number(&data[0]), number(&data[1]))
    };
    let whole = range(&mut page);
    page.evaluate("document.querySelector('svg.plot').focus()");
    page.press("+");
    let half = range(&mut page);
    assert!(((half.1 - half.0) - (whole.1 - whole.0) / 2.0).abs() < 1.0, "{half:?} of {whole:?}");
    page.press("b");
    let (from, to) = range(&mut page);
    assert!(from < 22_000.0 && to - from < whole.1 / 4.0, "{from} to {to}: near the broken rule");
    page.press("0");
    assert_eq!(range(&mut page), whole);
    // The first key chooses the first bar of the last lane; up and along from there.
    page.press("ArrowDown");
    page.press("ArrowUp");
    page.press("ArrowRight");
    let said = page.evaluate("document.querySelector('output').textContent");
    assert!(said.as_str().unwrap().starts_with("send: cycle 2, attempt 1: succeeded"), "{said}");
    assert_eq!(page.evaluate("document.querySelectorAll('.chosen').length"), Value::from(1));
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn a_page_fits_its_window_and_reaches_for_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut page) = opened(&folder, vec![Fault::new(15_000, site("smtp").outage().lasting(secs(3)))], "light")
    else {
        return;
    };
    let overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert!(number(&overflow) <= 0.0, "the page is {overflow} px wider than its window");
    assert_eq!(
        page.evaluate("performance.getEntriesByType('resource').filter(it => !it.name.startsWith('data:')).length"),
        Value::from(0)
    );
    let rows = page.evaluate("document.querySelectorAll('table.matrix tbody tr').length");
    assert_eq!(number(&rows), shiftwork_sim::rules::Moment::ALL.len() as f64);
    let text = page.evaluate("document.querySelector('.verdict').textContent");
    assert!(text.as_str().unwrap().contains("all rules were kept"), "{text}");
    assert_eq!(page.complaints(), [""; 0]);
}
