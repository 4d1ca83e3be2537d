//! What is wrong with a host that cannot be built.

use std::{error::Error, fmt, sync::Arc};

use crate::ConfigError;

/// Why a host cannot be built.
#[derive(Debug)]
pub struct BuildError(pub(super) Problem);

#[derive(Debug)]
pub(super) enum Problem {
    Duplicate(Arc<str>),
    DuplicateGroup(Arc<str>),
    UnknownGroup { worker: Arc<str>, group: String, known: Vec<Arc<str>> },
    Unknown { worker: Arc<str>, after: String, known: Vec<Arc<str>> },
    Circle(Vec<Arc<str>>),
    Config(ConfigError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Duplicate(name) => write!(f, "two workers are called {name:?}: give one another name"),
            Problem::DuplicateGroup(name) => write!(f, "two groups are called {name:?}: give one another name"),
            Problem::UnknownGroup { worker, group, known } => {
                write!(f, "worker {worker:?} is in group {group:?}, which does not exist: there are {known:?}")
            }
            Problem::Unknown { worker, after, known } => {
                write!(f, "worker {worker:?} comes after {after:?}, which does not exist: there are {known:?}")
            }
            Problem::Config(error) => write!(f, "could not apply the configuration: {error}"),
            Problem::Circle(path) => {
                f.write_str("workers come after each other in a circle: ")?;
                for (index, name) in path.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" after ")?;
                    }
                    write!(f, "{name:?}")?;
                }
                Ok(())
            }
        }
    }
}

impl Error for BuildError {}
