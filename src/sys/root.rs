//! Files of a host under a root: `/` in production, a fixture in tests, a captured tree of another host.
//!
//! A captured tree is a stranger's: nothing outside it is read, wherever its links lead. What it does not hold says
//! nothing about its host, and a file of no bytes is one that could not be read when it was captured.
//!
//! What changes the host announces each change to the root first ([`Root::effect`]), so that a test can let every single
//! one fail in turn. In production the announcement does nothing.

use super::faults::Faults;
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a host's files begin. Paths inside it are written as on the host.
#[derive(Clone, Debug)]
pub struct Root {
    place: PathBuf,
    /// Of a captured tree its folder.
    captured: Option<Arc<File>>,
    faults: Option<Arc<Faults>>,
}

/// A file of the host that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("read {}: {source}", path.display())]
pub struct ReadError {
    /// In a captured tree as on its host: where the tree happens to lie tells nothing.
    pub path: PathBuf,
    pub source: io::Error,
    pub is_captured: bool,
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
        Self { place: path.into(), captured: None, faults: None }
    }

    /// A captured tree at `path`.
    pub fn captured(path: impl Into<PathBuf>) -> io::Result<Self> {
        let place = path.into().canonicalize()?;
        let folder = File::open(&place)?;
        Ok(Self { place, captured: Some(Arc::new(folder)), faults: None })
    }

    pub fn is_captured(&self) -> bool {
        self.captured.is_some()
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
        self.place.join(host_path.strip_prefix("/").unwrap_or(host_path))
    }

    /// A host path as messages name it.
    pub fn shown(&self, host_path: impl AsRef<Path>) -> PathBuf {
        if self.is_captured() { Path::new("/").join(host_path) } else { self.path(host_path) }
    }

    fn error(&self, host_path: impl AsRef<Path>, source: io::Error) -> ReadError {
        ReadError { path: self.shown(host_path), source, is_captured: self.is_captured() }
    }

    /// That there is nothing at a path.
    pub fn absent(&self, host_path: impl AsRef<Path>) -> ReadError {
        self.error(host_path, io::ErrorKind::NotFound.into())
    }

    /// The real path, and that it is inside of what was captured.
    fn inside(&self, host_path: &Path) -> io::Result<PathBuf> {
        let path = self.path(host_path);
        if self.is_captured() && !path.canonicalize()?.starts_with(&self.place) {
            return Err(leads_out());
        }
        Ok(path)
    }

    /// The kernel itself keeps to the tree, where it is of 5.6 or later and nobody forbids the call: that takes a fifth
    /// of the time that following each link takes.
    fn open_inside(&self, host_path: &Path) -> io::Result<File> {
        let Some(folder) = &self.captured else { return File::open(self.path(host_path)) };
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_BENEATH);
        match openat2(folder, host_path.strip_prefix("/").unwrap_or(host_path), how) {
            Ok(file) => Ok(file.into()),
            Err(Errno::EXDEV) => Err(leads_out()),
            Err(Errno::ENOSYS | Errno::EPERM) => File::open(self.inside(host_path)?),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A folder's entries. One of a captured tree is opened like a file and then listed by its descriptor's name.
    fn folder(&self, host_path: &Path) -> io::Result<fs::ReadDir> {
        if !self.is_captured() {
            return fs::read_dir(self.path(host_path));
        }
        let folder = self.open_inside(host_path)?;
        fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).or_else(|error| match error.kind() {
            // Without /proc, link by link.
            io::ErrorKind::NotFound => fs::read_dir(self.inside(host_path)?),
            _ => Err(error),
        })
    }

    /// A file, opened for reading.
    pub fn open(&self, host_path: impl AsRef<Path>) -> Result<File, ReadError> {
        self.open_inside(host_path.as_ref()).map_err(|source| self.error(host_path, source))
    }

    /// The trimmed text of a file.
    pub fn read(&self, host_path: impl AsRef<Path>) -> Result<String, ReadError> {
        let host_path = host_path.as_ref();
        let mut text = String::new();
        match self.open_inside(host_path).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(0) if self.is_captured() => Err(self.absent(host_path)),
            // hwloc's older tools wrote the end of the kernel's buffer too.
            Ok(_) if self.is_captured() => Ok(text.trim_end_matches('\0').trim().to_owned()),
            Ok(_) => Ok(text.trim().to_owned()),
            Err(source) => Err(self.error(host_path, source)),
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
        let follow = || -> io::Result<PathBuf> {
            let (root, real) = (self.place.canonicalize()?, self.path(&host_path).canonicalize()?);
            let inside = real.strip_prefix(&root).map_err(|_| leads_out())?;
            Ok(Path::new("/").join(inside))
        };
        follow().map_err(|source| self.error(&host_path, source))
    }

    /// The names in a folder, sorted; one that is not UTF-8 cannot be a kernel's and is left out.
    pub fn names(&self, host_path: impl AsRef<Path>) -> Result<Vec<String>, ReadError> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in self.folder(host_path.as_ref())? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|source| self.error(&host_path, source))
    }

    /// The names in a folder of /sys that lists every device of a class. An empty one is a fact, unless something is
    /// mounted over it: containers hide devices so.
    pub fn devices(&self, host_path: &str) -> Result<Vec<String>, ReadError> {
        let names = self.names(host_path)?;
        let file_system = |path: &str| fs::metadata(self.path(path)).map(|found| found.dev());
        let is_covered = || matches!((file_system(host_path), file_system("/sys")), (Ok(own), Ok(sys)) if own != sys);
        if names.is_empty() && !self.is_captured() && is_covered() {
            return Err(self.error(host_path, io::Error::other("something is mounted over it, as containers do")));
        }
        Ok(names)
    }
}

fn leads_out() -> io::Error {
    io::Error::other("the link leads out of the root")
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

    #[test]
    fn nothing_outside_of_a_captured_tree_is_read() {
        let (dir, _) = tree(&[
            ("tree/a", "x\n\0"),
            ("tree/out", "->/etc"),
            ("tree/up", "->../secret"),
            ("secret", "y"),
            ("tree/none", ""),
        ]);
        let root = Root::captured(dir.path().join("tree")).unwrap();
        assert_eq!(root.read("/a").unwrap(), "x");
        assert!(root.read("/up").unwrap_err().to_string().contains("leads out of the root"));
        assert!(root.names("/out").unwrap_err().to_string().contains("leads out of the root"));
        // As on the host, and not where the tree lies.
        assert_eq!(
            root.read("/gone").unwrap_err().to_string(),
            "read /gone: entity not found"
                .replace("entity not found", &std::io::Error::from_raw_os_error(2).to_string())
        );
        assert_eq!(root.read_some("/none").unwrap(), None, "it could not be read when it was captured");
        assert!(Root::captured(dir.path().join("gone")).is_err());
    }
}
