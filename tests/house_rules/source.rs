//! The repository as text: which files people write in it, and what of a Rust file is code.

use std::{fs, path::Path};

/// One file.
pub(crate) struct Source {
    /// Its path in the repository, with `/` on every system.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl Source {
    /// A file at `path` that says `text`.
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether this is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// What a compiler sees of it: the same lines, with comments and literals blank.
    pub(crate) fn code(&self) -> String {
        code(&self.text)
    }

    /// The numbers of the lines that `breaks` holds for, from 1.
    pub(crate) fn lines(&self, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
        numbers(&self.text, breaks)
    }

    /// As [`lines`](Self::lines), for lines of [`code`](Self::code); none unless this is Rust.
    pub(crate) fn code_lines(&self, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
        if self.is_rust() { numbers(&self.code(), breaks) } else { Vec::new() }
    }
}

/// Splits at `\n` alone, so that a `\r` stays visible.
fn numbers(text: &str, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
    text.split('\n').zip(1..).filter(|(line, _)| breaks(line)).map(|(_, number)| number).collect()
}

/// Every file under `root` that a person writes, in order of paths.
pub(crate) fn walk(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    visit(root, "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Adds the files of `folder`, whose path in the repository is `path`.
fn visit(folder: &Path, path: &str, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("could not list {}: {error}", folder.display()));
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        // A file may go away while we look: tests write reports and snapshots beside us.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let written = !name.starts_with('.') || WRITTEN_DOT_FOLDERS.contains(&name.as_str());
            if written && name != "target" {
                visit(&entry.path(), &path, sources);
            }
        } else if (is_text(&name) || path == ".ci/run")
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            sources.push(Source { path, text });
        }
    }
}

/// Folders with a dot that are not some tool's own.
const WRITTEN_DOT_FOLDERS: [&str; 2] = [".cargo", ".ci"];

fn is_text(name: &str) -> bool {
    [".rs", ".md", ".toml"].iter().any(|ending| name.ends_with(ending))
}

/// `text` with its comments, strings and characters blanked, line by line, so that what is left is what a compiler acts
/// on and line numbers stay.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let blank = blank_length(rest, before);
        let length = if blank == 0 { next.len_utf8() } else { blank };
        let (taken, after) = rest.split_at(length);
        if blank == 0 {
            code.push_str(taken);
        } else {
            code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        before = taken.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    code
}

/// How many bytes of `rest` are one comment or literal; 0 if none begins here. `before` is the character in front.
fn blank_length(rest: &str, before: char) -> usize {
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment_length(rest)
    } else if rest.starts_with('"') {
        quoted_length(rest, '"')
    } else if rest.starts_with('\'') {
        // `'a'` and `'\n'` are characters, `'a` alone is a lifetime.
        let mut chars = rest.chars().skip(1);
        match (chars.next(), chars.next()) {
            (Some('\\'), _) | (_, Some('\'')) => quoted_length(rest, '\''),
            _ => 0,
        }
    } else if !(before.is_alphanumeric() || before == '_') {
        raw_string_length(rest)
    } else {
        0
    }
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// From the opening `quote` to the one that closes it.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` and the `b` and `c` sorts; 0 for a name that only begins so.
fn raw_string_length(rest: &str) -> usize {
    let Some(after_r) = ["r", "br", "cr"].into_iter().find_map(|prefix| rest.strip_prefix(prefix)) else { return 0 };
    let inside = after_r.trim_start_matches('#');
    let hashes = &after_r[..after_r.len() - inside.len()];
    let Some(inside) = inside.strip_prefix('"') else { return 0 };
    let end = format!("\"{hashes}");
    let opening = rest.len() - inside.len();
    inside.find(&end).map_or(rest.len(), |at| opening + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `text`, one space for each run of blanks.
    fn check(text: &str, left: &str) {
        let code = code(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), left, "from: {text}");
        assert_eq!(code.matches('\n').count(), text.matches('\n').count(), "lines moved in: {text}");
    }

    #[test]
    fn comments_are_no_code() {
        check("a(); // b\nc();", "a(); c();");
        check("/// docs\nfn a() {}", "fn a() {}");
        check("a /* b /* c */ d\n */ e", "a e");
        check("a /* never closed", "a");
    }

    #[test]
    fn literals_are_no_code() {
        check(r#"a("b", c)"#, "a( , c)");
        check(r#"a("b \" // c") // d"#, "a( )");
        check("a(\"b\nc\", d)", "a( , d)");
        check(r##"a(r"b\", c, r#"d "e" // f"#, g)"##, "a( , c, , g)");
        check(r##"a(b"b", br#"c"d"#, e)"##, "a(b , , e)");
        check(r"a('b', '\'', '\u{1F980}', '「', c)", "a( , , , , c)");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        check("fn a<'b>(c: &'b str, r#type: r) {}", "fn a<'b>(c: &'b str, r#type: r) {}");
        check("'outer: loop { for\"a\" }", "'outer: loop { for }");
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = Source::new("a.rs", "// x\nx\n\"x\nx\"; x\n");
        assert_eq!(source.lines(|line| line.contains('x')), [1, 2, 3, 4]);
        assert_eq!(source.code_lines(|line| line.contains('x')), [2, 4]);
        assert_eq!(Source::new("a.md", "x").code_lines(|_| true), [0; 0]);
    }
}
