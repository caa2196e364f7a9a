//! Configurations of the field, in our own words: what operators published as plans and examples.

use damocles_worker::{
    machine::Machine,
    worker_config::{self, WorkerConfig},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/fixtures").join(name)
}

pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn config(name: &str) -> WorkerConfig {
    worker_config::parse(&text(name)).unwrap_or_else(|problems| panic!("{name}: {problems}")).config
}

/// machine.json in a file.
pub fn machine_file(machine: &Machine) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), serde_json::to_string(machine).unwrap()).unwrap();
    file
}
