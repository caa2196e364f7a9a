//! The work folder of a run: made in a sealing location, locked while the run lives, removed at its end or by the next run.
//!
//! ```text
//! LOCATION/damocles-bench-XXXXXX/
//!   lock         held while the run lives; says what the folder is, so that nobody's own folder of that name is removed
//!   sector-N/    sectors that stages are measured on
//! ```
//!
//! A run that goes on after a kill takes its folder over; whatever other runs left is removed.

use super::BenchError;
use crate::sys::{
    durable::{self, DurableError},
    lock::{Lock, LockError},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

const PREFIX: &str = "damocles-bench-";
const MARK: &str = "the work folder of damocles-worker-util bench\n";

/// A folder that goes with this value, unless it is kept.
#[derive(Debug)]
pub struct Work {
    folder: PathBuf,
    keep: bool,
    _lock: Lock,
}

impl Work {
    /// A folder in `location`: the one of the run that is gone on with, or a new one. What dead runs left there is
    /// removed first and told.
    pub fn open(location: &Path, resumed: Option<&Path>, notes: &mut Vec<String>) -> Result<Self, BenchError> {
        durable::make_folder(location)?;
        let location = location.canonicalize().map_err(|e| DurableError::new("looking at", location, e))?;
        let mut taken = None;
        for folder in leftovers(&location)? {
            let Ok(lock) = Lock::take(&folder.join("lock")) else { continue };
            if resumed == Some(folder.as_path()) {
                taken = Some((folder, lock));
            } else {
                fs::remove_dir_all(&folder).map_err(|e| DurableError::new("removing", &folder, e))?;
                notes.push(format!("{}: left over from a run that was killed: removed", folder.display()));
            }
        }
        let (folder, lock) = match taken {
            Some(taken) => taken,
            None => Self::make(&location)?,
        };
        Ok(Self { folder, keep: false, _lock: lock })
    }

    /// It gets its name when its lock is held: an unlocked one of that name is the next run's to remove.
    fn make(location: &Path) -> Result<(PathBuf, Lock), BenchError> {
        let making = tempfile::Builder::new().prefix(".damocles-bench-new-").tempdir_in(location);
        let making = making.map_err(|e| DurableError::new("making a work folder in", location, e))?.keep();
        let locked = Lock::take(&making.join("lock"));
        let mut lock = match locked {
            Ok(lock) => lock,
            Err(LockError::Durable(error)) => return Err(error.into()),
            Err(LockError::Held(path)) => return Err(BenchError::Busy(path)),
        };
        let write = lock.file().write_all(MARK.as_bytes());
        write.map_err(|e| DurableError::new("writing", &making.join("lock"), e))?;
        let mark = making.to_string_lossy().rsplit('-').next().unwrap_or_default().to_owned();
        let folder = location.join(format!("{PREFIX}{mark}"));
        fs::rename(&making, &folder).map_err(|e| DurableError::new("naming", &folder, e))?;
        Ok((folder, lock))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Leaves the folder for a run that goes on.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!("{} stays until the next run: {error}", self.folder.display());
        }
    }
}

fn leftovers(location: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let entries = fs::read_dir(location).map_err(|e| DurableError::new("listing", location, e))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        named && fs::read(path.join("lock")).is_ok_and(|text| text == MARK.as_bytes())
    });
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_run_and_what_a_dead_one_left_with_the_next() {
        let location = tempfile::tempdir().unwrap();
        let open = |resumed: Option<&Path>| {
            let mut notes = Vec::new();
            (Work::open(location.path(), resumed, &mut notes).unwrap(), notes)
        };
        let (mut killed, _) = open(None);
        let path = killed.path().to_owned();
        killed.keep();
        drop(killed);
        let strangers = location.path().join("damocles-bench-of-mine");
        fs::create_dir(&strangers).unwrap();

        let (resumed, notes) = open(Some(&path));
        assert_eq!((resumed.path(), notes.len()), (path.as_path(), 0));
        let (beside, notes) = open(None);
        assert!(beside.path() != path && notes.is_empty(), "a living run's folder stays");
        drop(beside);
        drop(resumed);
        assert!(!path.exists());

        let (mut killed, _) = open(None);
        killed.keep();
        let path = killed.path().to_owned();
        drop(killed);
        let (_next, notes) = open(None);
        assert!(!path.exists() && notes[0].contains("left over"), "{notes:?}");
        assert!(strangers.exists(), "a folder that only bears the name");
    }
}
