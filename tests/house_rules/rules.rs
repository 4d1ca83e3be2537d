//! What a file of this repository may not contain.
//!
//! One row a rule. A row carries its own samples, so that no rule can exist that nobody has seen fail. Rules about code
//! read [`Source::code`], where comments and literals are blank; rules about what people read go by the text.

use crate::source::Source;

/// One house rule.
pub(crate) struct Rule {
    /// The rule in a few words.
    pub(crate) name: &'static str,
    /// What to write instead.
    pub(crate) instead: &'static str,
    /// The numbers of the lines that break it, from 1.
    pub(crate) lines: fn(&Source) -> Vec<usize>,
    /// Where it does not hold.
    pub(crate) exceptions: &'static [Exception],
    /// Samples (path, text) that it must stop.
    pub(crate) broken: &'static [(&'static str, &'static str)],
    /// Samples (path, text) that it must let pass.
    pub(crate) kept: &'static [(&'static str, &'static str)],
}

/// A place where a rule does not hold.
pub(crate) struct Exception {
    /// A file or a folder.
    pub(crate) under: &'static str,
    /// Why.
    pub(crate) because: &'static str,
}

/// The house rules.
pub(crate) static RULES: [Rule; 8] = [
    Rule {
        name: "every file has its header",
        instead: "begin with `//!`: what the file is for, and what it leaves to others",
        lines: |source| {
            let headless = source.is_rust() && !source.text.starts_with("//! ");
            if headless { vec![1] } else { vec![] }
        },
        exceptions: &[],
        broken: &[("a.rs", "use std::fmt;\n"), ("a.rs", "// Not a header.\n"), ("a.rs", "\n//! Late.\n"), ("a.rs", "")],
        kept: &[("a.rs", "//! Formats.\n\nuse std::fmt;\n"), ("a.toml", "[package]\n")],
    },
    Rule {
        name: "no blocking sleep",
        instead: "`tokio::time::sleep`, which leaves the thread to others and jumps under a paused clock",
        lines: |source| source.code_lines(|line| occurrences(line, "thread::sleep").next().is_some()),
        exceptions: &[
            Exception {
                under: "crates/shiftwork-sim/src/interpose/tests.rs",
                because: "what such a sleep does in a world is what is tested",
            },
            Exception {
                under: "crates/shiftwork-sim/src/world/real_time.rs",
                because: "what such a sleep costs a poll in real time is what is tested",
            },
            Exception {
                under: "tests/lifecycle/determinism.rs",
                because: "what such a sleep does in a world is what is tested",
            },
            Exception {
                under: "tests/lifecycle/siblings.rs",
                because: "what such a sleep does to others in a world is what is tested",
            },
        ],
        broken: &[
            ("a.rs", "fn f() { std::thread::sleep(D) }"),
            ("a.rs", "fn f() { thread::sleep(D) }"),
            ("a.rs", "use std::thread::sleep;"),
        ],
        kept: &[
            ("a.rs", "tokio::time::sleep(d).await;"),
            ("a.rs", "// std::thread::sleep would block\nlet s = \"thread::sleep\";"),
            ("a.rs", "other_thread::sleep();\nthread::sleepy();"),
        ],
    },
    Rule {
        name: "only the environment names a clock",
        instead: "ask the environment for wall time; for elapsed time import `tokio::time::Instant` or spell it out",
        lines: |source| {
            let tokios_instant = imports_tokios_instant(&source.code());
            source.code_lines(|line| names_a_clock(line, tokios_instant))
        },
        exceptions: &[
            Exception {
                under: "crates/shiftwork/src/environment.rs",
                because: "the one place where the program meets the machine's clocks",
            },
            Exception {
                under: "crates/shiftwork-chaos",
                because: "a campaign is measured and bounded in the time of the person who waits for it",
            },
            Exception {
                under: "crates/shiftwork-sim/src/interpose/absent.rs",
                because: "polls are measured in real time, where nothing holds it",
            },
            Exception {
                under: "crates/shiftwork-sim/src/interpose/tests.rs",
                because: "whose time the machine's clocks show is what is tested",
            },
            Exception {
                under: "tests/lifecycle/determinism.rs",
                because: "that a world holds the machine's clocks is what is tested",
            },
            Exception { under: "benches", because: "a benchmark measures real time" },
            Exception { under: "xtask", because: "a person waits for its steps, on a real clock" },
        ],
        broken: &[
            ("a.rs", "let begin = Instant::now();"),
            ("a.rs", "let begin = std::time::Instant::now();"),
            ("a.rs", "let at = SystemTime::now();"),
            ("a.rs", "source.map(jiff::Timestamp::now)"),
            ("a.rs", "let at = Zoned::now();"),
            ("a.rs", "let (a, b) = (tokio::time::Instant::now(), Instant::now());"),
            ("a.rs", "use tokio::time::Instant;\nlet begin = std::time::Instant::now();"),
            ("a.rs", "use tokio::time::Instant;\nlet at = SystemTime::now();"),
            ("a.rs", "use tokio::time::sleep;\nuse std::time::Instant;\nlet begin = Instant::now();"),
            ("benches_of_mine/a.rs", "let begin = Instant::now();"),
        ],
        kept: &[
            ("a.rs", "let begin = tokio::time::Instant::now();"),
            ("a.rs", "use tokio::time::Instant;\nlet begin = Instant::now();"),
            ("a.rs", "use tokio::{\n    sync::Notify,\n    time::{Instant, sleep},\n};\ntimes.map(Instant::now);"),
            ("a.rs", "// Instant::now would be real time\nlet at = environment.now();"),
            ("a.rs", "LogicalInstant::now();\nInstant::now_or_never();"),
            ("benches/a.rs", "let begin = Instant::now();"),
            ("crates/shiftwork/src/environment.rs", "Timestamp::now()"),
        ],
    },
    Rule {
        name: "a future says what dropping it does",
        instead: "a section `# Cancel safety` in the documentation of the function",
        lines: futures_without_cancel_safety,
        exceptions: &[],
        broken: &[
            ("crates/a/src/a.rs", "/// Runs.\npub async fn run() {}"),
            (
                "crates/a/src/a.rs",
                "pub trait Runs {\n    /// Runs.\n    fn run(&self) -> impl Future<Output = ()>;\n}\n",
            ),
            (
                "crates/a/src/a.rs",
                "pub trait Runs {\n    /// Runs.\n    fn run(\n        &self,\n    ) -> impl Future<Output = ()> {\n    }\n}\n",
            ),
        ],
        kept: &[
            (
                "crates/a/src/a.rs",
                "/// Runs.\n///\n/// # Cancel safety\n///\n/// Safe.\n#[inline]\npub async fn run() {}",
            ),
            ("crates/a/src/a.rs", "/// Runs.\npub(crate) async fn run() {}\nasync fn walk() {}"),
            ("crates/a/src/a.rs", "impl Runs for A {\n    fn run(&self) -> impl Future<Output = ()> {}\n}\n"),
            (
                "crates/a/src/a.rs",
                "pub trait Runs {\n    fn run(&self);\n}\nfn walk() -> impl Future<Output = ()> {}\n",
            ),
            ("tests/a.rs", "pub async fn run() {}"),
        ],
    },
    Rule {
        name: "every snippet is compiled",
        instead: "make it run, or mark it `no_run` or `compile_fail`; mark what is not Rust with its language",
        lines: |source| source.lines(|line| documentation(source, line).is_some_and(opens_an_ignored_snippet)),
        exceptions: &[],
        broken: &[
            ("a.rs", "//! ```ignore\n//! no().one().checks()\n//! ```\n"),
            ("a.rs", "    /// ```rust,ignore\n"),
            ("a.rs", "/// ```{ignore}\n"),
            ("a.md", "```rust, ignore\n"),
            ("a.md", "  > ~~~ignore-windows\n"),
        ],
        kept: &[
            ("a.rs", "/// ```\n/// assert!(true);\n/// ```\n/// ```no_run\n/// ```\n"),
            ("a.rs", "let text = \"```ignore\";\n// ```ignore\n"),
            ("a.md", "```sh\nignore\n```\nUse of `ignore` is banned.\n"),
        ],
    },
    Rule {
        name: "a name says what is inside",
        instead: "name the file after the one idea it holds; code that has no idea of its own belongs to its caller",
        lines: |source| {
            let mut words = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
            let vague = source.is_rust() && words.any(|word| VAGUE_NAMES.contains(&word));
            if vague { vec![1] } else { vec![] }
        },
        exceptions: &[],
        broken: &[
            ("crates/shiftwork/src/util.rs", ""),
            ("tests/tests/common/mod.rs", ""),
            ("xtask/src/test_helpers.rs", ""),
            ("crates/shiftwork/src/manager.rs", ""),
        ],
        kept: &[("crates/shiftwork/src/backoff.rs", ""), ("tests/tests/uncommon.rs", ""), ("docs/common.md", "")],
    },
    Rule {
        name: "no `allow`",
        instead: "`#[expect(lint, reason = \"…\")]`, which goes away together with its cause",
        lines: |source| source.code_lines(allows_a_lint),
        exceptions: &[],
        broken: &[
            ("a.rs", "#[allow(dead_code)]"),
            ("a.rs", "#![allow(dead_code, reason = \"later\")]"),
            ("a.rs", "#[cfg_attr(test, allow(dead_code))]"),
            ("a.rs", "    # [ allow (dead_code)]"),
        ],
        kept: &[
            ("a.rs", "#[expect(dead_code, reason = \"the next commit calls it\")]"),
            ("a.rs", "policy.allow(overlap);\n// #[allow(dead_code)]\n"),
            ("a.rs", "const TEXT: &str = \"#[allow(dead_code)]\";"),
        ],
    },
    Rule {
        name: "no tab, no space at a line's end",
        instead: "spaces to indent, nothing after the last character, `\\t` in a literal",
        lines: |source| source.lines(|line| line.contains('\t') || line.trim_end() != line),
        exceptions: &[],
        broken: &[("a.rs", "\tlet x;\n"), ("a.md", "a hard break  \n"), ("a.toml", "a = 1\r\n"), ("a.rs", "last ")],
        kept: &[("a.rs", "    let x;\n\n    let y;\n"), ("a.rs", "let tab = '\\t';")],
    },
];

/// Public functions that return a future, and methods of public traits that do, whose documentation says nothing of what
/// dropping it does.
fn futures_without_cancel_safety(source: &Source) -> Vec<usize> {
    if !(source.path.starts_with("crates/") && source.path.contains("/src/")) {
        return Vec::new();
    }
    let (code, text) = (source.code(), source.text.split('\n').collect::<Vec<_>>());
    let code: Vec<&str> = code.split('\n').collect();
    let mut in_trait = false;
    let mut found = Vec::new();
    for (index, line) in code.iter().enumerate() {
        if !line.is_empty() && !line.starts_with([' ', '}']) {
            in_trait = line.starts_with("pub trait ");
        }
        let is_future = if in_trait && line.starts_with("    fn ") {
            let signature = code[index..].iter().take_while(|line| !line.trim().is_empty());
            let end = signature.clone().position(|line| line.ends_with([';', '{', '}'])).map_or(1, |end| end + 1);
            signature.take(end).any(|line| line.contains("-> impl Future"))
        } else {
            line.trim_start().starts_with("pub async fn ") || in_trait && line.starts_with("    async fn ")
        };
        let documentation = text[..index].iter().rev().map(|line| line.trim_start());
        let mut documentation = documentation.take_while(|line| line.starts_with("///") || line.starts_with("#["));
        if is_future && !documentation.any(|line| line == "/// # Cancel safety") {
            found.push(index + 1);
        }
    }
    found
}

/// Words that fit every file and therefore tell nothing about one.
const VAGUE_NAMES: [&str; 7] = ["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/// The calls that read a machine's clock, whichever crate they come from.
const CLOCKS: [&str; 3] = ["SystemTime::now", "Timestamp::now", "Zoned::now"];

/// The call that reads the machine's clock or, if it is tokio's, one that a world can pause.
const INSTANT: &str = "Instant::now";

impl Rule {
    /// Every place in `source` that breaks this rule, as `path:line: rule: text`, with the replacement below.
    pub(crate) fn findings(&self, source: &Source) -> Vec<String> {
        if self.exceptions.iter().any(|exception| is_under(&source.path, exception.under)) {
            return Vec::new();
        }
        let finding = |line: usize| {
            let text = source.text.lines().nth(line - 1).unwrap_or_default().trim();
            format!("{}:{line}: {}: `{text}`\n    instead: {}", source.path, self.name, self.instead)
        };
        (self.lines)(source).into_iter().map(finding).collect()
    }
}

/// Whether `path` is `place`, or a file in it.
fn is_under(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where `name` stands in `line` as a name of its own, not as a part of a longer one.
fn occurrences<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name)
        .map(|(begin, _)| begin)
        .filter(move |&begin| !line[..begin].ends_with(of_a_name) && !line[begin + name.len()..].starts_with(of_a_name))
}

/// Whether a line of code reads a real clock. `tokios_instant` says whose an `Instant` without a path is.
fn names_a_clock(line: &str, tokios_instant: bool) -> bool {
    let pausable = |before: &str| before.ends_with("tokio::time::") || (tokios_instant && !before.ends_with("::"));
    CLOCKS.iter().any(|clock| occurrences(line, clock).next().is_some())
        || occurrences(line, INSTANT).any(|begin| !pausable(&line[..begin]))
}

/// Whether one of the imports of `code` brings tokio's `Instant`.
fn imports_tokios_instant(code: &str) -> bool {
    let mut imports = code.split(';').filter_map(|statement| statement.split_once("use tokio::"));
    imports.any(|(_, names)| occurrences(names, "Instant").next().is_some())
}

fn allows_a_lint(line: &str) -> bool {
    occurrences(line, "allow").any(|begin| {
        let before = line[..begin].trim_end();
        let opens_an_attribute = before.strip_suffix('[').map(str::trim_end).is_some_and(|b| b.ends_with(['#', '!']));
        line[begin..].trim_start_matches("allow").trim_start().starts_with('(')
            && (opens_an_attribute || before.contains("cfg_attr("))
    })
}

/// The documentation on `line`: all of it in Markdown, what follows `///` or `//!` in Rust.
fn documentation<'a>(source: &Source, line: &'a str) -> Option<&'a str> {
    if source.is_rust() {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
    } else {
        source.path.ends_with(".md").then_some(line)
    }
}

fn opens_an_ignored_snippet(line: &str) -> bool {
    let line = line.trim_start_matches(['>', ' ']);
    let fence = ["```", "~~~"].into_iter().find_map(|fence| line.strip_prefix(fence));
    let mut attributes = fence.unwrap_or_default().split([',', ' ', '{', '}', '.']);
    attributes.any(|attribute| attribute == "ignore" || attribute.starts_with("ignore-"))
}
