//! What a run has measured so far, in a file beside its output: a kill loses the measurement that was running, no other.
//!
//! The file goes when the output is written. It says with what it was begun: figures of another machine, or of other
//! arguments, are never mixed in.

use super::{BenchError, disk::DiskSample, layout::Layout, order::Order, sample::Sample};
use crate::{profile::Stage, sys::durable};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// So far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The host and its processor.
    pub machine: String,
    pub order: Order,
    /// The work folder of each location.
    pub folders: Vec<PathBuf>,
    pub samples: Vec<Sample>,
    pub disks: Vec<DiskSample>,
}

/// The file of a run that writes `out`.
pub fn path_for(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".bench-state");
    out.with_file_name(name)
}

impl State {
    /// A run at its beginning, or with `resume` where the file says it stands.
    ///
    /// # Errors
    /// A file that nobody asked to go on with, or of another run.
    pub fn open(path: &Path, machine: &str, order: &Order, resume: bool) -> Result<Self, BenchError> {
        durable::remove_leftovers(path)?;
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(machine, order)),
            Err(error) => return Err(durable::DurableError::new("reading", path, error).into()),
        };
        if !resume {
            return Err(BenchError::Unfinished(path.to_owned()));
        }
        let other = |why: String| BenchError::OtherRun { path: path.to_owned(), why };
        let state: Self = serde_json::from_slice(&bytes).map_err(|error| other(error.to_string()))?;
        if state.machine != machine {
            return Err(other(format!("on {}", state.machine)));
        }
        if state.order != *order {
            return Err(other("other stages, cores, layouts, rounds or another sector size".to_owned()));
        }
        Ok(state)
    }

    fn new(machine: &str, order: &Order) -> Self {
        Self {
            machine: machine.to_owned(),
            order: order.clone(),
            folders: Vec::new(),
            samples: Vec::new(),
            disks: Vec::new(),
        }
    }

    /// Whether this was measured.
    pub fn has(&self, stage: Stage, layout: &Layout) -> bool {
        self.samples.iter().any(|sample| sample.stage == stage && sample.layout == *layout)
    }

    /// Whether this location's disk was measured.
    pub fn has_disk(&self, location: &Path) -> bool {
        self.disks.iter().any(|disk| disk.location == location)
    }

    /// Writes it, whole.
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        let json = serde_json::to_vec_pretty(self).expect("measurements are plain data");
        Ok(durable::write_atomic(path, &json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{layout::Kind, sample::tests::sample},
        units::SectorSize,
    };

    fn order(rounds: u32) -> Order {
        let kinds = vec![Kind::Shared];
        Order { sector_size: SectorSize::KiB2, stages: vec![Stage::C2], cores: vec![], kinds, rounds }
    }

    #[test]
    fn a_run_goes_on_where_it_stood_and_only_if_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_for(&dir.path().join("profile.toml"));
        assert!(path.ends_with("profile.toml.bench-state"));
        let mut state = State::open(&path, "rig", &order(3), false).unwrap();
        let seen = sample(Stage::C2, Kind::Shared, 1, &[90.0]);
        state.samples.push(seen.clone());
        state.save(&path).unwrap();
        let refused = |machine: &str, rounds, resume| {
            State::open(&path, machine, &order(rounds), resume).unwrap_err().to_string()
        };
        assert!(refused("rig", 3, false).contains("--resume goes on"));
        assert!(refused("other", 3, true).contains("on rig"));
        assert!(refused("rig", 2, true).contains("other stages"));
        let again = State::open(&path, "rig", &order(3), true).unwrap();
        assert_eq!(again, state);
        assert!(again.has(Stage::C2, &seen.layout) && !again.has(Stage::Pc1, &seen.layout));
        fs::write(&path, "torn").unwrap();
        assert!(refused("rig", 3, true).contains("remove the file"));
    }
}
