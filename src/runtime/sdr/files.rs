//! Layers on the disk: written under another name, with a checksum that is remembered, and trusted by nothing else.
//!
//! ```text
//! reserve ─► write ─► sync ─► rename to sc-02-data-layer-N.dat ─► the ledger learns its checksum
//!    └ a full disk is found here, before the layer is computed
//! ```
//!
//! The library takes any file of a layer's name and length for that layer, so the name is given to finished, synced
//! bytes only. We trust less: a layer counts as finished when the ledger knows the checksum that its bytes have. What
//! was torn by hand, by a disk or by a copy is made again.

use super::{
    error::SdrError,
    label::{self, LABEL_BYTES, Label},
};
use crate::sys::durable::{self, AtomicFile, DurableError};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes that are turned and written between two looks at what else is to be done: a few milliseconds.
const CHUNK_BYTES: usize = 4 << 20;
/// Written bytes after which the disk is waited for, so that whoever wants to stop never waits for more: less than a second
/// of the slowest disk that seals.
const FLUSH_BYTES: usize = 64 << 20;
/// Layers from this size on do not stay in the page cache: they would drive the parent cache out of it.
const LARGE_BYTES: u64 = 4 << 30;
const LEDGER: &str = ".sdr_layers";

/// The file of a layer.
pub fn layer_path(folder: &Path, layer: u32) -> PathBuf {
    folder.join(format!("sc-02-data-layer-{layer}.dat"))
}

/// Called between chunks; an error ends the reading or writing.
pub type Between<'a> = dyn FnMut() -> Result<(), SdrError> + 'a;

/// A layer's file that has its room on the disk and no name yet.
pub struct LayerFile {
    file: AtomicFile,
    path: PathBuf,
}

impl LayerFile {
    /// Takes room for `nodes` labels.
    pub fn reserve(folder: &Path, layer: u32, nodes: usize) -> Result<Self, SdrError> {
        let path = layer_path(folder, layer);
        durable::remove_leftovers(&path)?;
        let mut file = AtomicFile::create(&path)?;
        let bytes = (nodes * LABEL_BYTES) as nix::libc::off_t;
        match fallocate(&*file.file(), FallocateFlags::empty(), 0, bytes) {
            // File systems that cannot reserve say so, and writing will tell.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(Self { file, path }),
            Err(errno) => Err(DurableError::new("taking room for", &path, io::Error::from(errno)).into()),
        }
    }

    /// Writes the labels, gives the file its name and returns the checksum.
    pub fn write(mut self, labels: &[Label], between: &mut Between) -> Result<u32, SdrError> {
        let is_large = size_of_val(labels) as u64 >= LARGE_BYTES;
        let mut bytes = vec![0; CHUNK_BYTES.min(size_of_val(labels))];
        let (mut checksum, mut flushed, mut written) = (crc32fast::Hasher::new(), 0, 0);
        for chunk in labels.chunks(CHUNK_BYTES / LABEL_BYTES) {
            let bytes = &mut bytes[..chunk.len() * LABEL_BYTES];
            label::to_bytes(chunk, bytes);
            checksum.update(bytes);
            self.file.file().write_all(bytes).map_err(|e| DurableError::new("writing", &self.path, e))?;
            written += bytes.len();
            if written - flushed >= FLUSH_BYTES {
                flush(self.file.file(), &self.path, is_large)?;
                flushed = written;
            }
            between()?;
        }
        self.file.commit()?;
        Ok(checksum.finalize())
    }
}

/// Has what was written go to the disk and, on wish, leave the page cache.
fn flush(file: &File, path: &Path, leave: bool) -> Result<(), DurableError> {
    file.sync_data().map_err(|e| DurableError::new("syncing", path, e))?;
    if leave && let Err(errno) = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        tracing::debug!(%errno, "giving page cache back");
    }
    Ok(())
}

/// Reads a finished layer into `labels` and returns its checksum.
pub fn read(path: &Path, labels: &mut [Label], between: &mut Between) -> Result<u32, SdrError> {
    let mut rest = labels;
    let checksum = each_chunk(path, &mut |bytes| {
        let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len() / LABEL_BYTES);
        label::from_bytes(bytes, now);
        rest = later;
        between()
    })?;
    Ok(checksum)
}

/// The checksum of a file.
fn checksum(path: &Path, between: &mut Between) -> Result<u32, SdrError> {
    each_chunk(path, &mut |_| between())
}

/// Reads a file in whole chunks; its checksum.
fn each_chunk(path: &Path, each: &mut dyn FnMut(&[u8]) -> Result<(), SdrError>) -> Result<u32, SdrError> {
    let failed = |e| DurableError::new("reading", path, e);
    let file = File::open(path).map_err(failed)?;
    let mut left = file.metadata().map_err(failed)?.len() as usize;
    let (mut bytes, mut checksum) = (vec![0; CHUNK_BYTES.min(left)], crc32fast::Hasher::new());
    while left > 0 {
        let bytes = &mut bytes[..CHUNK_BYTES.min(left)];
        (&file).read_exact(bytes).map_err(failed)?;
        checksum.update(bytes);
        each(bytes)?;
        left -= bytes.len();
    }
    Ok(checksum.finalize())
}

/// Which layers of which replica are finished, and their checksums.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entries {
    replica_id: String,
    nodes: usize,
    layers: BTreeMap<u32, u32>,
}

/// The ledger of a folder.
pub struct Ledger {
    folder: PathBuf,
    entries: Entries,
}

impl Ledger {
    /// What the folder says about this replica; nothing, if it speaks of another or cannot be read.
    pub fn open(folder: &Path, replica_id: &[u8; 32], nodes: usize) -> Self {
        let fresh = Entries { replica_id: crate::units::hex(replica_id), nodes, layers: BTreeMap::new() };
        let written: Option<Entries> =
            fs::read(folder.join(LEDGER)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = written.filter(|found| (&found.replica_id, found.nodes) == (&fresh.replica_id, nodes));
        Self { folder: folder.to_owned(), entries: known.unwrap_or(fresh) }
    }

    /// The checksum that the layer had when it was finished.
    pub fn checksum(&self, layer: u32) -> Option<u32> {
        self.entries.layers.get(&layer).copied()
    }

    /// Whether the layer's file is what was once finished. Reads it.
    pub fn holds(&self, layer: u32, between: &mut Between) -> Result<bool, SdrError> {
        let path = layer_path(&self.folder, layer);
        let bytes = (self.entries.nodes * LABEL_BYTES) as u64;
        let Some(known) = self.checksum(layer) else { return Ok(false) };
        if !fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == bytes) {
            return Ok(false);
        }
        let found = checksum(&path, between)?;
        if found != known {
            tracing::warn!(path = %path.display(), "this layer is not what was written; it is computed again");
        }
        Ok(found == known)
    }

    /// Remembers a finished layer, durably.
    pub fn add(&mut self, layer: u32, checksum: u32) -> Result<(), SdrError> {
        self.entries.layers.insert(layer, checksum);
        let text = serde_json::to_vec(&self.entries).expect("numbers and texts always serialise");
        Ok(durable::write_atomic(&self.folder.join(LEDGER), &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(nodes: usize) -> Vec<Label> {
        (0..nodes as u32).map(|i| Label([i.wrapping_mul(2_654_435_761); 8])).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_layer_is_written_as_bytes_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        // More than a chunk, and not a whole number of them.
        for nodes in [64, CHUNK_BYTES / LABEL_BYTES + 64] {
            let labels = labels(nodes);
            let file = LayerFile::reserve(folder.path(), 1, nodes).unwrap();
            let mut calls = 0;
            let written = file
                .write(&labels, &mut || {
                    calls += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(calls, nodes.div_ceil(CHUNK_BYTES / LABEL_BYTES));
            let path = layer_path(folder.path(), 1);
            let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_bytes()).collect();
            assert!(fs::read(&path).unwrap() == bytes);
            let mut back = vec![Label::default(); nodes];
            assert_eq!(read(&path, &mut back, &mut || Ok(())).unwrap(), written);
            assert!(back == labels);
        }
    }

    #[test]
    fn what_is_given_up_while_writing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = LayerFile::reserve(folder.path(), 3, 64).unwrap();
        let error = file.write(&labels(64), &mut || Err(SdrError::Stopped)).unwrap_err();
        assert!(matches!(error, SdrError::Stopped));
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn the_ledger_holds_for_this_replica_and_these_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = layer_path(folder.path(), 1);
        let mut ledger = Ledger::open(folder.path(), &[7; 32], 64);
        let held = |ledger: &Ledger, layer| ledger.holds(layer, &mut || Ok(())).unwrap();
        let file = LayerFile::reserve(folder.path(), 1, 64).unwrap();
        let checksum = file.write(&labels(64), &mut || Ok(())).unwrap();
        assert!(!held(&ledger, 1), "a file of the right length that nobody vouches for");
        ledger.add(1, checksum).unwrap();
        let opened = Ledger::open(folder.path(), &[7; 32], 64);
        assert!(held(&opened, 1));
        assert!(!held(&opened, 2));
        assert!(!held(&Ledger::open(folder.path(), &[8; 32], 64), 1), "another replica's");

        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        altered[1000] ^= 4;
        for other in [&altered[..], &whole[..2000], &[0; 2048]] {
            fs::write(&path, other).unwrap();
            assert!(!held(&opened, 1));
        }
        fs::write(&path, &whole).unwrap();
        assert!(held(&opened, 1));
        fs::write(folder.path().join(LEDGER), b"{torn").unwrap();
        assert!(!held(&Ledger::open(folder.path(), &[7; 32], 64), 1));
    }

    #[test]
    fn a_disk_that_is_too_small_is_found_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let error = LayerFile::reserve(folder.path(), 1, 1 << 50).err().unwrap().to_string();
        assert!(error.starts_with("taking room for ") && error.contains("sc-02-data-layer-1.dat"), "{error}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
