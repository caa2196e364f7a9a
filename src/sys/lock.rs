//! Lock files: one process at a time, held with `flock`, so that the kernel lets go when a process is killed.
//!
//! The file stays when the lock ends: removing it would let two processes hold locks on two files of one name.

use super::durable::DurableError;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A held lock. It ends with this value.
#[derive(Debug)]
pub struct Lock(Flock<File>);

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Whoever meets it says what to do: only he knows what the lock stands for.
    #[error("{}: another process holds this lock", .0.display())]
    Held(PathBuf),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl Lock {
    /// Takes the lock, or says at once that another holds it. The file is made where it is missing.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        Self::try_lock(open(path)?, path)
    }

    /// The same on a file that is somebody else's: it must be there, and is opened for reading alone.
    pub fn take_existing(path: &Path) -> Result<Self, LockError> {
        let file = File::open(path).map_err(|source| DurableError::new("opening to lock it", path, source))?;
        Self::try_lock(file, path)
    }

    /// The same on a file that is open already, for what its lock stands for to be done with that very file.
    pub fn take_file(file: File, path: &Path) -> Result<Self, LockError> {
        Self::try_lock(file, path)
    }

    fn try_lock(file: File, path: &Path) -> Result<Self, LockError> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self(held)),
            Err((_, Errno::EWOULDBLOCK)) => Err(LockError::Held(path.to_owned())),
            Err((_, errno)) => Err(failed(path, errno).into()),
        }
    }

    /// Takes the lock as soon as nobody else holds it.
    pub fn wait(path: &Path) -> Result<Self, DurableError> {
        let mut file = open(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(held) => return Ok(Self(held)),
                // A signal that the program survives is no reason to go without the lock.
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(failed(path, errno)),
            }
        }
    }

    /// The file: for a word to whoever meets the lock, on which nothing may depend, or for what the lock stands for.
    pub fn file(&mut self) -> &mut File {
        &mut self.0
    }
}

fn open(path: &Path) -> Result<File, DurableError> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    open.map_err(|source| DurableError::new("opening the lock", path, source))
}

fn failed(path: &Path, errno: Errno) -> DurableError {
    DurableError::new("locking", path, io::Error::from(errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, thread, time::Duration};

    #[test]
    fn a_lock_is_held_once_and_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut held = Lock::take(&path).unwrap();
        held.file().write_all(b"1").unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: another process holds this lock", path.display()));
        assert!(matches!(Lock::take_existing(&path), Err(LockError::Held(_))));
        drop(held);
        Lock::take(&path).unwrap();
        Lock::take_existing(&path).unwrap();
        assert!(Lock::take_existing(&folder.path().join("gone")).is_err(), "nothing is made");
        assert_eq!(std::fs::read(&path).unwrap(), b"1", "the file stays, and what it says");
    }

    #[test]
    fn whoever_waits_gets_it_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::wait(&path).map(drop));
            thread::sleep(Duration::from_millis(50));
            assert!(!waiter.is_finished());
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_lock_without_a_folder_names_its_path() {
        let error = Lock::take(Path::new("/nonexistent-folder/lock")).unwrap_err().to_string();
        assert!(error.starts_with("opening the lock /nonexistent-folder/lock: "), "{error}");
    }
}
