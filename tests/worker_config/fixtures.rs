//! Fixture files and the expectations written in their comments.

use std::path::{Path, PathBuf};

/// The folder of this test's fixtures.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker_config/fixtures").join(name)
}

/// One file of a fixture folder.
pub struct Fixture {
    pub path: PathBuf,
    pub text: String,
}

impl Fixture {
    /// Every file of the folder, by name.
    pub fn all(name: &str) -> Vec<Self> {
        let entries = std::fs::read_dir(folder(name)).expect("the fixture folder is there");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
        paths.sort();
        paths
            .into_iter()
            .map(|path| Self { text: std::fs::read_to_string(&path).expect("a readable fixture"), path })
            .collect()
    }

    /// What follows `# MARK: ` at the start of the file's lines.
    pub fn marked(&self, mark: &str) -> Vec<&str> {
        let prefix = format!("# {mark}: ");
        self.text.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
    }

    /// For messages.
    pub fn name(&self) -> String {
        self.path.file_name().expect("a file has a name").to_string_lossy().into_owned()
    }
}
