//! What could not be read, kept beside what could: a machine is described as far as it lets itself be read.

use super::{host::HostError, root::ReadError};
use crate::units::CpuList;
use std::io;

/// Why a fact of a captured machine is missing: its tree does not hold it.
pub const NOT_CAPTURED: &str = "not in this source";

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
            HostError::Read(ReadError { path, source, is_captured }) => {
                let reason = match source.kind() {
                    io::ErrorKind::NotFound if is_captured => NOT_CAPTURED.to_owned(),
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

    /// What a folder of /sys told of all devices of a class, or nothing and a miss: a folder that is not there says
    /// nothing about devices.
    pub fn keep_devices<T>(&mut self, what: &str, result: Result<T, ReadError>) -> Option<T> {
        match result {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                let reason = if error.is_captured {
                    format!("{NOT_CAPTURED}; hwloc-gather-topology takes devices with --io")
                } else {
                    "no such folder: the kernel has none, or it is hidden, as in containers".to_owned()
                };
                self.0.push(Miss { what: what.to_owned(), path: Some(error.path.display().to_string()), reason });
                None
            }
            result => self.keep(what, result),
        }
    }

    /// Of a captured machine: what is missing of each node (`free memory of node 3`) in one entry for all of them.
    pub fn join_numbered(&mut self) {
        let mut joined: Vec<(Miss, Vec<u32>)> = Vec::new();
        for miss in self.0.drain(..) {
            let number = miss.what.rsplit_once(' ').and_then(|(_, last)| last.parse().ok());
            let prefix = |what: &str| what.rsplit_once(' ').map(|(prefix, _)| prefix.to_owned());
            let before = joined.iter_mut().find(|(known, numbers)| {
                !numbers.is_empty() && known.reason == miss.reason && prefix(&known.what) == prefix(&miss.what)
            });
            match (number, before) {
                (Some(number), Some((_, numbers))) if miss.reason == NOT_CAPTURED => numbers.push(number),
                (Some(number), None) if miss.reason == NOT_CAPTURED => joined.push((miss, vec![number])),
                _ => joined.push((miss, Vec::new())),
            }
        }
        self.0 = joined.into_iter().map(|(miss, numbers)| with_numbers(miss, numbers)).collect();
    }
}

fn with_numbers(miss: Miss, numbers: Vec<u32>) -> Miss {
    match miss.what.rsplit_once(' ') {
        Some((prefix, _)) if !numbers.is_empty() => {
            // Node numbers have the form of CPU lists.
            Miss { what: format!("{prefix} {}", CpuList::from_iter(numbers)), ..miss }
        }
        _ => miss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Root, root::tests::tree};

    #[test]
    fn what_every_node_of_a_capture_lacks_is_said_once() {
        let (dir, live) = tree(&[("sys/x", "")]);
        let captured = Root::captured(dir.path()).unwrap();
        let mut misses = Misses::default();
        for node in [0, 1, 3] {
            misses.add(format!("hugepages of node {node}"), captured.absent("/sys/y"));
            misses.add(format!("free memory of node {node}"), live.absent("/sys/y"));
        }
        misses.join_numbered();
        let told: Vec<_> = misses.0.iter().map(|miss| (miss.what.as_str(), miss.reason == NOT_CAPTURED)).collect();
        let live = |what| (what, false);
        let expected = [
            ("hugepages of node 0-1,3", true),
            live("free memory of node 0"),
            live("free memory of node 1"),
            live("free memory of node 3"),
        ];
        assert_eq!(told, expected);
        assert_eq!(misses.0[0].path.as_deref(), Some("/sys/y"));
    }
}
