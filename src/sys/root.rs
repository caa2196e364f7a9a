//! Files of a host under a root: `/` in production, a fixture in tests.
//!
//! What changes the host announces each change to the root first ([`Root::effect`]), so that a test can let every single
//! one fail in turn. In production the announcement does nothing.

use super::faults::Faults;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a host's files begin. Paths inside it are written as on the host.
#[derive(Clone, Debug)]
pub struct Root {
    at: PathBuf,
    faults: Option<Arc<Faults>>,
}

/// A file of the host that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("read {}: {source}", path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A file of the kernel that did not take what was written to it.
#[derive(Debug, thiserror::Error)]
#[error("write {text} to {}: {source}", path.display())]
pub struct WriteError {
    pub text: String,
    pub path: PathBuf,
    pub source: io::Error,
}

impl Root {
    /// A root at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { at: path.into(), faults: None }
    }

    /// The same root, whose changes fail as `faults` says. For tests: no program of ours asks for it.
    pub fn with_faults(self, faults: &Arc<Faults>) -> Self {
        Self { faults: Some(faults.clone()), ..self }
    }

    /// Announces a change to the host. Whoever makes one asks first, and goes without it when this fails.
    pub fn effect(&self, doing: &str, path: &Path) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.meet(&format!("{doing} {}", path.display())))
    }

    /// The real path of a host path such as `/sys/devices`.
    pub fn path(&self, host_path: impl AsRef<Path>) -> PathBuf {
        let host_path = host_path.as_ref();
        self.at.join(host_path.strip_prefix("/").unwrap_or(host_path))
    }

    /// The trimmed text of a file.
    pub fn read(&self, host_path: impl AsRef<Path>) -> Result<String, ReadError> {
        let path = self.path(host_path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(ReadError { path, source }),
        }
    }

    /// Writes a text to a file of the kernel, which takes it in one call or not at all.
    pub fn write(&self, doing: &str, host_path: impl AsRef<Path>, text: &str) -> Result<(), WriteError> {
        let path = self.path(host_path);
        let write = || {
            self.effect(doing, &path)?;
            fs::OpenOptions::new().write(true).open(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|source| WriteError { text: text.to_owned(), path: path.clone(), source })
    }

    /// The trimmed text of a file; nothing where there is no such file.
    pub fn read_some(&self, host_path: impl AsRef<Path>) -> Result<Option<String>, ReadError> {
        match self.read(host_path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Where a path leads when every link is followed, as a path of the host.
    pub fn follow(&self, host_path: impl AsRef<Path>) -> Result<PathBuf, ReadError> {
        let path = self.path(host_path);
        let follow = || -> io::Result<PathBuf> {
            let (root, real) = (self.at.canonicalize()?, path.canonicalize()?);
            let inside = real.strip_prefix(&root).map_err(|_| io::Error::other("the link leads out of the root"))?;
            Ok(Path::new("/").join(inside))
        };
        follow().map_err(|source| ReadError { path: path.clone(), source })
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A root with these files, for as long as the folder is kept. What begins with `->` is a link.
    pub fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("->") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        let root = Root::at(dir.path());
        (dir, root)
    }

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let (_dir, root) = tree(&[("a/b/file", "x"), ("c", "->a/b"), ("out", "->/")]);
        assert_eq!(root.follow("/c/file").unwrap(), Path::new("/a/b/file"));
        assert!(root.follow("/out").unwrap_err().to_string().contains("leads out of the root"));
        assert!(root.follow("/gone").is_err());
        assert_eq!(root.read_some("/gone").unwrap(), None);
        assert!(root.read_some("/a").is_err(), "a folder is no file");
    }
}
