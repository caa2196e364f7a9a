//! A sealing store: one folder, one owner, one sector at a time, and a journal that travels with the disk.
//!
//! ```text
//! LOCATION/
//!   store.lock                       held by the process that owns the store
//!   journal                          one checksummed line per event since the snapshot
//!   snapshot                         one checksummed line: the record as of some event; replaced by rename
//!   staged/ prepared/ sealed/ cache/ the sector's files (runtime::stage::SectorPaths)
//! ```
//!
//! What always holds: an event is on the disk before anyone acts on the record it makes; a line that was
//! torn by a crash is dropped, a line that is damaged anywhere else stops the store with its place.

mod files;
pub mod init;
mod journal;
pub mod scan;
pub mod transfer;

pub use journal::JournalError;

use super::{
    sector::{Event, Impossible, Record},
    stage::SectorPaths,
};
use crate::{
    sys::{
        durable::{self, DurableError},
        lock::{Lock, LockError},
    },
    worker_config::Sealing,
};
use journal::Journal;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folders of a sealing store.
const FOLDERS: [&str; 4] = ["staged", "prepared", "sealed", "cache"];

/// An owned sealing store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    journal: Journal,
    record: Record,
    _lock: Lock,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open sealing store {path}: another process owns it (its lock file is {path}/store.lock)")]
    Owned { path: PathBuf },
    #[error("sealing store: {0}")]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("sealing store {path}: {source}: the journal and this program disagree")]
    Impossible {
        path: PathBuf,
        #[source]
        source: Impossible,
    },
}

impl StoreError {
    /// Whether the same may succeed later: a disk that is full, a mount that is away.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Durable(_) | Self::Journal(JournalError::Durable(_)))
    }
}

impl Store {
    /// Takes the store at `root`, makes its folders, and rebuilds the record from snapshot and journal.
    /// The returned texts tell what a crash left behind and was repaired.
    pub fn open(root: &Path, sealing: &Sealing) -> Result<(Self, Vec<String>), StoreError> {
        let io = |doing| move |source| failed(root, doing, source);
        durable::make_folder(root)?;
        // Absolute: the library writes the cache folder's path into pc1's answer.
        let root = &fs::canonicalize(root).map_err(io("resolving the path"))?;
        let lock = lock(root)?;
        for folder in FOLDERS {
            durable::make_folder(&root.join(folder))?;
        }
        let (journal, record, notes) = Journal::open(root, sealing)?;
        Ok((Self { root: root.clone(), journal, record, _lock: lock }, notes))
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sector's record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Makes `event` happen: to the journal first if it is durable, then to the record.
    pub fn apply(&mut self, event: Event, sealing: &Sealing) -> Result<(), StoreError> {
        let next = super::sector::apply(self.record.clone(), event.clone(), sealing)
            .map_err(|source| StoreError::Impossible { path: self.root.clone(), source })?;
        if event.is_durable() {
            self.journal.append(&event)?;
        }
        self.record = next;
        if matches!(event, Event::Dropped)
            && let Err(error) = self.journal.compact(&self.record)
        {
            // The sector is over and on the disk as such; a journal that is longer than it need be harms nobody.
            tracing::warn!(store = %self.root.display(), "the journal is cut with the next sector: {error}");
        }
        Ok(())
    }

    /// Makes every write of the journal fail, as a full disk does, or lets it succeed again.
    #[cfg(test)]
    pub(crate) fn break_journal(&mut self, broken: bool) {
        self.journal.break_writes(broken);
    }

    /// The sector's paths below `root`, once there is a sector.
    pub fn paths(&self) -> Option<SectorPaths> {
        self.record.id().map(|id| SectorPaths::new(id.miner, id.number))
    }
}

fn lock(root: &Path) -> Result<Lock, StoreError> {
    Lock::take(&root.join("store.lock")).map_err(|error| match error {
        LockError::Held(_) => StoreError::Owned { path: root.to_owned() },
        LockError::Durable(error) => error.into(),
    })
}

/// What could not be done to which file of the store at `root`.
fn failed(root: &Path, doing: &'static str, source: io::Error) -> StoreError {
    DurableError::new(doing, root, source).into()
}

#[cfg(test)]
pub(crate) mod tests;
