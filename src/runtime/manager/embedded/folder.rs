//! The embedded manager's folder: private, and owned by one process at a time.
//!
//! `manager.lock` is held with `flock` for as long as the manager lives, so the kernel lets go of it when a
//! process is killed. A file `rehearsal` tells a rehearsal's folder from one with real proofs. `manager.db` is made with mode 0600; SQLite gives its `-wal` and `-shm` files the same.

use super::EmbeddedError;
use crate::sys::{
    durable,
    lock::{Lock, LockError},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const DATABASE: &str = "manager.db";
/// Says that the folder is a rehearsal's.
const REHEARSAL: &str = "rehearsal";

/// A locked folder. The lock ends with it.
pub struct Folder {
    path: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Makes the folder where it is missing, and locks it. One that is there keeps its mode: it may be more
    /// than ours. A folder is a rehearsal's from its first day to its last, or never.
    pub fn open(path: &Path, rehearsal: bool) -> Result<Self, EmbeddedError> {
        let failed = |doing| move |source| EmbeddedError::Folder { doing, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create the folder"))?;
        let lock = lock(path)?;
        let (marker, begun) = (path.join(REHEARSAL), path.join(DATABASE).exists());
        if begun && marker.exists() != rehearsal {
            return Err(EmbeddedError::Rehearsal { path: path.to_owned(), rehearsal });
        }
        if rehearsal {
            private_file(&marker).and_then(|file| file.sync_all()).map_err(failed("mark the rehearsal in"))?;
        } else {
            durable::remove_if_there(&marker)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The database's file, made where it is missing.
    pub fn database(&self) -> Result<PathBuf, EmbeddedError> {
        let path = self.path.join(DATABASE);
        private_file(&path).and_then(|file| file.sync_all()).and_then(|()| sync_names(&self.path)).map_err(
            |source| EmbeddedError::Folder { doing: "create the database file", path: path.clone(), source },
        )?;
        Ok(path)
    }
}

fn lock(folder: &Path) -> Result<Lock, EmbeddedError> {
    let path = folder.join("manager.lock");
    let failed = |source| EmbeddedError::Folder { doing: "lock", path: path.clone(), source };
    match Lock::take(&path) {
        Ok(mut lock) => {
            // For the operator who meets the lock; nothing depends on it.
            let file = lock.file();
            file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
            Ok(lock)
        }
        Err(LockError::Held(_)) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "unknown".into() } else { holder };
            Err(EmbeddedError::InUse { path: folder.to_owned(), holder })
        }
        Err(LockError::Durable(error)) => Err(error.into()),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes a folder's names durable, and its own name in its parent.
fn sync_names(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    File::open(&folder)?.sync_all()?;
    match folder.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
