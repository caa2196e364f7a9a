//! Proof parameters: the big proving and verifying keys that c2 and `verify_seal` need, and where they came from.
//!
//! ```text
//! fetch ──► NAME.partial ─ digest is the published one ─┐
//!                                                       ├─ sync, rename ─► NAME (+ NAME.local when generated)
//! generate ► temporary folder (a child fills it) ───────┘
//! ```
//!
//! | file beside a key | says |
//! | --- | --- |
//! | `NAME.checked` | the digest of NAME as it is now, so that it is read once, not at every start |
//! | `NAME.local` | the digest of the key that was generated here |
//! | `NAME.partial` | the bytes of a download so far |
//! | `NAME.lock` | one process at a time works on NAME |
//!
//! Always holds: a key's final name is given only to a whole, synced file. The library writes 1.1 GB straight
//! to it and takes whatever is there later, which is why it never writes to the cache folder itself.
//!
//! Locally generated keys prove and verify here and nowhere else: the network knows only the published ones.

pub mod fetch;
pub mod generate;
mod manifest;
mod status;

pub use manifest::{Manifest, ParamFile};
pub use status::{FileStatus, ParamsKind, Report, kind, look, look_now};

use crate::sys::{
    blocks,
    durable::DurableError,
    lock::{Lock, LockError},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The folder of the keys, the library's own setting: `FIL_PROOFS_PARAMETER_CACHE`, else
/// `/var/tmp/filecoin-proof-parameters/`.
pub fn cache_folder() -> PathBuf {
    storage_proofs_core::parameter_cache::parameter_cache_dir()
}

/// Why keys could not be brought or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// A file could not be read or written for good.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// Another process fetches or generates the same key.
    #[error("{}: another process is fetching or generating it; wait for it to end", .0.display())]
    Busy(PathBuf),
    /// There is no room for it.
    #[error("{}: needs {needed}, {free} are free; free space or set FIL_PROOFS_PARAMETER_CACHE to a larger disk", folder.display())]
    NoSpace { folder: PathBuf, needed: String, free: String },
    /// The gateway could not be reached, or broke off.
    #[error("fetching {name} from {url}: {reason}; {hint}")]
    Gateway { name: String, url: String, reason: String, hint: &'static str },
    /// The downloaded bytes are not the published ones.
    #[error(
        "fetching {name} from {url}: its digest is {found}, published is {published}; removed it, try another --gateway"
    )]
    WrongDigest { name: String, url: String, found: String, published: String },
    /// A file is in the way.
    #[error("{}: is there and is not the published file ({kind}); give --replace to fetch over it", path.display())]
    InTheWay { path: PathBuf, kind: ParamsKind },
    /// Only small keys are generated.
    #[error(
        "generating {size} parameters needs hundreds of GB of memory, and no network accepts local ones; run params fetch --sector-size {size}"
    )]
    TooLarge { size: crate::units::SectorSize },
    /// The child that generates did not succeed.
    #[error("generating {size} parameters: the child process {ended}; {hint}")]
    Child { size: crate::units::SectorSize, ended: String, hint: &'static str },
}

impl ParamsError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Durable(DurableError::new(doing, path, source))
    }
}

/// The digest of a key file as the network publishes it: the first 128 bits of BLAKE2b-512, in hexadecimal.
pub fn digest_of(path: &Path) -> io::Result<String> {
    let mut state = blake2b_simd::State::new();
    blocks::each(&mut File::open(path)?, |block| {
        state.update(block);
        Ok(())
    })?;
    Ok(state.finalize().to_hex()[..32].to_owned())
}

/// Free bytes for us in the file system of `folder`, or of its nearest parent that exists.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let found = nix::sys::statvfs::statvfs(there).ok()?;
    Some(found.blocks_available() * found.fragment_size())
}

fn check_space(folder: &Path, needed: u64) -> Result<(), ParamsError> {
    use crate::units::Bytes;
    match free_bytes(folder) {
        Some(free) if free < needed => {
            let (needed, free) = (Bytes(needed).human(), Bytes(free).human());
            Err(ParamsError::NoSpace { folder: folder.to_owned(), needed, free })
        }
        _ => Ok(()),
    }
}

/// Held while one process works on a key.
fn lock(key: &Path) -> Result<Lock, ParamsError> {
    Lock::take(&super::stamp::beside(key, "lock")).map_err(|error| match error {
        LockError::Held(_) => ParamsError::Busy(key.to_owned()),
        LockError::Durable(error) => error.into(),
    })
}

fn make_folder(folder: &Path) -> Result<(), ParamsError> {
    fs::create_dir_all(folder).map_err(|e| ParamsError::io("creating folder", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_first_half_of_a_half_of_blake2b() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        fs::write(&path, b"").unwrap();
        assert_eq!(digest_of(&path).unwrap(), "786a02f742015903c6c6fd852552d272");
    }

    #[test]
    fn a_full_disk_is_told_before_work_starts() {
        assert!(free_bytes(Path::new("/nonexistent/deeper")).unwrap() > 0);
        let error = check_space(Path::new("/"), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("FIL_PROOFS_PARAMETER_CACHE"), "{error}");
    }

    #[test]
    fn a_key_is_worked_on_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("x.params");
        let held = lock(&key).unwrap();
        assert!(matches!(lock(&key), Err(ParamsError::Busy(_))));
        drop(held);
        lock(&key).unwrap();
    }
}
