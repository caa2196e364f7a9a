//! A failure carries its consequence.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a failure means for the sector and its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Tried again after `recover_interval`, at most `max_retries` times in a row.
    Temporary,
    /// The thread pauses; an operator looks and resumes.
    Permanent,
    /// The environment is broken (disk, store): the thread pauses.
    Critical,
    /// The sector is given up: reported, its files dropped; the thread takes the next.
    Abort,
}

/// What went wrong, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{level} failure: {reason}")]
pub struct Failure {
    pub level: Level,
    pub reason: String,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
            Self::Critical => "critical",
            Self::Abort => "abort",
        })
    }
}

impl Failure {
    /// A failure that is tried again.
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self { level: Level::Temporary, reason: reason.into() }
    }
    /// A failure that waits for an operator.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { level: Level::Permanent, reason: reason.into() }
    }
    /// A failure of the environment.
    pub fn critical(reason: impl Into<String>) -> Self {
        Self { level: Level::Critical, reason: reason.into() }
    }
    /// A failure that ends the sector.
    pub fn abort(reason: impl Into<String>) -> Self {
        Self { level: Level::Abort, reason: reason.into() }
    }
}
