//! A page of documentation as its tests see it: headings, tables and links outside of snippets.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One page.
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    /// Its lines, with those of snippets blank.
    lines: Vec<String>,
}

impl Page {
    /// The page at `path`.
    pub(crate) fn read(path: &str) -> Self {
        let text =
            fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("could not read {path}: {error}"));
        let mut in_snippet = false;
        let lines = text.lines().map(|line| {
            let fence = line.trim_start().starts_with("```");
            in_snippet ^= fence;
            if in_snippet || fence { String::new() } else { line.to_owned() }
        });
        Self { path: path.to_owned(), lines: lines.collect() }
    }

    /// The readme, and every page under `docs/`.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = vec!["README.md".to_owned()];
        let mut folders = vec!["docs".to_owned()];
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("could not list {folder}: {error}"));
            for entry in entries.map_while(Result::ok) {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() {
                    folders.push(path);
                } else if path.ends_with(".md") {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The texts of its headings of this level.
    pub(crate) fn headings(&self, level: usize) -> impl Iterator<Item = &str> {
        let mark = format!("{} ", "#".repeat(level));
        self.lines.iter().filter_map(move |line| line.strip_prefix(&mark))
    }

    /// The rows of the table whose first column is called `first`, without their heads.
    pub(crate) fn table(&self, first: &str) -> Vec<Vec<String>> {
        let head = format!("| {first} |");
        let start = self.lines.iter().position(|line| line.starts_with(&head)).unwrap_or(self.lines.len());
        let rows = Self::rows(&self.lines[start..]);
        assert!(!rows.is_empty(), "{} has no table that begins with {first:?}", self.path);
        rows
    }

    /// The rows of every table whose first column is called `first`, without their heads.
    pub(crate) fn tables(&self, first: &str) -> Vec<Vec<String>> {
        let head = format!("| {first} |");
        let starts = self.lines.iter().enumerate().filter(|(_, line)| line.starts_with(&head)).map(|(index, _)| index);
        starts.flat_map(|start| Self::rows(&self.lines[start..])).collect()
    }

    /// The rows of the table that begins with these lines.
    fn rows(lines: &[String]) -> Vec<Vec<String>> {
        let rows = lines.iter().take_while(|line| line.starts_with('|')).skip(2);
        let cells = |line: &String| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        rows.map(cells).collect()
    }

    /// The ids of rules in its parentheses, as in "(T1)" and "(S3, S4)".
    pub(crate) fn cited_rules(&self) -> Vec<&str> {
        let is_id = |word: &&str| {
            let mut chars = word.chars();
            chars.next().is_some_and(|letter| "SCFQDBPTVL".contains(letter))
                && chars.next().is_some_and(|digit| digit.is_ascii_digit())
                && chars.next().is_none()
        };
        let words = self.lines.iter().flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
        words.filter(is_id).collect()
    }

    /// The targets of its links, with their line numbers.
    pub(crate) fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().zip(1..).flat_map(|(line, number)| {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            targets.map(move |target| (number, target))
        })
    }

    /// The folder that it is in, and that its links start from.
    pub(crate) fn folder(&self) -> PathBuf {
        root().join(&self.path).parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// A cell without the marks of code.
pub(crate) fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the workspace").to_owned()
}
