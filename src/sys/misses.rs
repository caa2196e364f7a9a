//! What could not be read, kept beside what could: a machine is described as far as it lets itself be read.

use super::{host::HostError, root::ReadError};
use std::io;

/// A fact that is missing, where it should have been, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// For people: `free memory of node 1`.
    pub what: String,
    pub path: Option<String>,
    pub reason: String,
}

/// Every miss so far, in the order in which they happened.
#[derive(Debug, Default)]
pub struct Misses(pub Vec<Miss>);

impl Misses {
    /// The value, or nothing and a miss.
    pub fn keep<T>(&mut self, what: impl Into<String>, result: Result<T, impl Into<HostError>>) -> Option<T> {
        result.map_err(|error| self.add(what, error)).ok()
    }

    /// Notes why `what` is missing.
    pub fn add(&mut self, what: impl Into<String>, error: impl Into<HostError>) {
        let (path, reason) = match error.into() {
            HostError::Read(ReadError { path, source }) => {
                let reason = match source.kind() {
                    io::ErrorKind::NotFound => "no such file: this kernel does not tell it".to_owned(),
                    _ => source.to_string(),
                };
                (path.display().to_string(), reason)
            }
            HostError::Parse { path, source } => (path, source.to_string()),
            HostError::Odd { path, reason } => (path, reason),
        };
        self.0.push(Miss { what: what.into(), path: Some(path), reason });
    }
}
