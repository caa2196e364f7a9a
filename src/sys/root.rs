//! Files of a host under a root: `/` in production, a fixture in tests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where a host's files begin. Paths inside it are written as on the host.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// A file of the host that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("read {}: {source}", path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl Root {
    /// A root at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The real path of a host path such as `/sys/devices`.
    pub fn path(&self, host_path: impl AsRef<Path>) -> PathBuf {
        let host_path = host_path.as_ref();
        self.0.join(host_path.strip_prefix("/").unwrap_or(host_path))
    }

    /// The trimmed text of a file.
    pub fn read(&self, host_path: impl AsRef<Path>) -> Result<String, ReadError> {
        let path = self.path(host_path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(ReadError { path, source }),
        }
    }

    /// The names in a folder, sorted; one that is not UTF-8 cannot be a kernel's and is left out.
    pub fn names(&self, host_path: impl AsRef<Path>) -> Result<Vec<String>, ReadError> {
        let path = self.path(host_path);
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|source| ReadError { path: path.clone(), source })
    }
}
