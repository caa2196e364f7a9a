//! The files that are read: everything a person wrote, nothing that was built or captured.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file, by its path from the project's root.
#[derive(Clone, Debug)]
pub struct TextFile {
    pub path: String,
    pub text: String,
}

impl TextFile {
    /// An example inside a test.
    pub fn example(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// `path:line`, for a finding.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// The project's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const FOLDERS: &[&str] = &["src", "tests", "docs", "scripts", "templates", "benches", "fuzz", ".ci"];
const ROOT_FILES: &[&str] = &["README.md", "CHANGELOG.md", "Makefile", "Cargo.toml", "clippy.toml", ".gitignore"];

/// Every text file of ours, sorted by path. Fixtures and snapshots are data: captured as they were found.
pub fn text_files() -> Vec<TextFile> {
    let mut paths: Vec<PathBuf> =
        ROOT_FILES.iter().map(|name| root().join(name)).filter(|path| path.exists()).collect();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().filter(|path| !is_data(path)).filter_map(|path| read(path)).collect()
}

/// Every Rust file of ours.
pub fn rust_files() -> Vec<TextFile> {
    let files: Vec<_> = text_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the walk did not find src/lib.rs");
    files
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, paths);
            }
        } else {
            paths.push(path);
        }
    }
}

fn is_data(path: &Path) -> bool {
    let inside =
        path.components().any(|part| ["fixtures", "snapshots", "corpus"].iter().any(|name| part.as_os_str() == *name));
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    inside || ["snap", "proptest-regressions", "svg", "png"].contains(&extension)
}

// A file that is not text is none of this test's business.
fn read(path: &Path) -> Option<TextFile> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    let relative = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
    Some(TextFile { path: relative, text })
}
