//! What is wrong or worth knowing about a configuration: key path, line, what was found, what to do.

use serde::Serialize;
use std::fmt;

/// One finding, a problem or a warning. Displays on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The key path, such as `processors.pc1[0].cgroup.cpuset`; empty when the text is not TOML.
    pub path: String,
    /// The line of the file, from 1; absent for what is not in the file.
    pub line: Option<usize>,
    /// What was found there.
    pub found: String,
    /// What is accepted, or what to do.
    pub accepted: String,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.found, self.accepted)?;
        match self.line {
            // Without a path the finding is about the text, and names its line and column itself.
            Some(line) if !self.path.is_empty() => write!(f, " (line {line})"),
            _ => Ok(()),
        }
    }
}

/// A configuration that cannot be used: every problem, and the warnings found on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// Never empty.
    pub problems: Vec<Diagnosis>,
    pub warnings: Vec<Diagnosis>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

/// Where a key stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub path: String,
    pub line: Option<usize>,
}

impl Place {
    fn diagnosis(&self, found: impl Into<String>, accepted: impl Into<String>) -> Diagnosis {
        Diagnosis { path: self.path.clone(), line: self.line, found: found.into(), accepted: accepted.into() }
    }

    /// The key `name` below this one, on this line until a value says otherwise.
    pub fn key(&self, name: &str) -> Self {
        let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if bare { name.to_owned() } else { format!("{name:?}") };
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{name}", self.path), line: self.line }
    }

    /// The `i`th element of the array at this key.
    pub fn index(&self, i: usize) -> Self {
        Self { path: format!("{}[{i}]", self.path), line: self.line }
    }

    /// The same key, on this line.
    pub fn on_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Collects findings while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Log {
    problems: Vec<Diagnosis>,
    warnings: Vec<Diagnosis>,
}

impl Log {
    /// The configuration cannot be used.
    pub fn problem(&mut self, place: &Place, found: impl Into<String>, accepted: impl Into<String>) {
        self.problems.push(place.diagnosis(found, accepted));
    }

    /// The configuration can be used, and its writer should know this.
    pub fn warning(&mut self, place: &Place, found: impl Into<String>, accepted: impl Into<String>) {
        self.warnings.push(place.diagnosis(found, accepted));
    }

    /// Problems and warnings in the order of the file.
    pub fn into_sorted(mut self) -> (Vec<Diagnosis>, Vec<Diagnosis>) {
        self.problems.sort_by_key(|d| d.line);
        self.warnings.sort_by_key(|d| d.line);
        (self.problems, self.warnings)
    }
}
