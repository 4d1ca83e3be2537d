//! What is wrong with a configuration that could be read.

use std::{error::Error, fmt};

use super::section::Place;

/// What is wrong with a configuration: each problem with the key that it is about, by its path. All problems of a host are
/// found in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    path: String,
    reason: String,
}

impl ConfigError {
    /// One problem with one key, for a [`Source`](crate::Source) of your own. The path begins within the worker's
    /// section, as in `schedule.cron`; the reason says what is wrong and what is accepted.
    #[must_use]
    pub fn new(path: &str, reason: impl fmt::Display) -> Self {
        Self { problems: vec![Problem { path: path.to_owned(), reason: reason.to_string() }] }
    }

    /// The paths of the keys that something is wrong with, as in `worker.charge.schedule.cron`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| &*problem.path)
    }

    /// The same, one section further out.
    pub(crate) fn of_worker(self, name: &str) -> Self {
        self.of("worker", name)
    }

    /// The same for a group.
    pub(crate) fn of_group(self, name: &str) -> Self {
        self.of("group", name)
    }

    fn of(mut self, section: &str, name: &str) -> Self {
        let place = Place::ROOT;
        let place = place.key(section);
        let place = place.key(name);
        for problem in &mut self.problems {
            problem.path = match &*problem.path {
                "" => place.to_string(),
                path => format!("{place}.{path}"),
            };
        }
        self
    }

    /// Fails if any of these did, with the problems of all.
    pub(crate) fn all(results: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let problems: Vec<Problem> =
            results.into_iter().filter_map(Result::err).flat_map(|error| error.problems).collect();
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Problem { path, reason }] = &*self.problems {
            return write!(f, "{path}: {reason}");
        }
        write!(f, "{} problems with the configuration:", self.problems.len())?;
        for (Problem { path, reason }, number) in self.problems.iter().zip(1..) {
            write!(f, " ({number}) {path}: {reason}")?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}
