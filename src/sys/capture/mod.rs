//! Captured machines: a tree of /sys and /proc as `hwloc-gather-topology` makes it, as a folder or packed.
//!
//! ```text
//! cap.tar.bz2 ─ unpack (limits) ─► temporary folder ─ look (limits) ─► Capture ─ Reader: a child of our own ─► answer
//! cap/        ───────────────────────────────────────────┘                        HWLOC_FSROOT=cap
//! ```
//!
//! hwloc takes the place of a captured tree from the environment alone, and a process must not change its own
//! environment while other threads read it: so the one that looks at a capture is a child.

mod child;
mod unpack;

pub use child::{ChildError, Reader};
pub use unpack::{Limits, UnpackError};

use super::topology::limits::CPUS_MAX;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const CPUS: &str = "sys/devices/system/cpu";

/// A captured tree on disk. What was unpacked for it goes with it.
#[derive(Debug)]
pub struct Capture {
    root: PathBuf,
    _unpacked: Option<TempDir>,
}

/// Why there is no captured tree.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("read captured machine {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("unpack captured machine {}: {source}", path.display())]
    Unpack { path: PathBuf, source: UnpackError },
    #[error(
        "read captured machine {}: there is no {CPUS} in it; capture a machine with `hwloc-gather-topology NAME`",
        path.display()
    )]
    NoTree { path: PathBuf },
    #[error("read captured machine {}: it has {cpus} CPUs, at most {CPUS_MAX} are read: hwloc would take minutes", path.display())]
    TooManyCpus { path: PathBuf, cpus: u64 },
}

impl Capture {
    /// Takes a folder that is the tree, or that holds it as its only one.
    pub fn folder(path: &Path) -> Result<Self, CaptureError> {
        Self::find(path, path, None)
    }

    /// Unpacks a tar, packed with bzip2 or gzip or not at all. `tar` is its bytes, `name` what messages call it.
    pub fn packed(name: &Path, tar: impl Read, limits: &Limits) -> Result<Self, CaptureError> {
        let folder = temporary().map_err(|source| CaptureError::Read { path: std::env::temp_dir(), source })?;
        unpack::unpack(tar, folder.path(), limits)
            .map_err(|source| CaptureError::Unpack { path: name.to_owned(), source })?;
        let place = folder.path().to_owned();
        Self::find(name, &place, Some(folder))
    }

    /// Where the tree's `sys` and `proc` are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn find(name: &Path, place: &Path, unpacked: Option<TempDir>) -> Result<Self, CaptureError> {
        let read = |source| CaptureError::Read { path: name.to_owned(), source };
        let root = tree_in(place).map_err(read)?.ok_or_else(|| CaptureError::NoTree { path: name.to_owned() })?;
        match cpus(&root).map_err(read)? {
            0 => Err(CaptureError::NoTree { path: name.to_owned() }),
            cpus if cpus > CPUS_MAX => Err(CaptureError::TooManyCpus { path: name.to_owned(), cpus }),
            _ => Ok(Self { root, _unpacked: unpacked }),
        }
    }
}

/// Thousands of files of a few bytes: memory takes them in a fifth of a second, disks were seen to need twenty. Where
/// somebody chose a place (TMPDIR), or memory is short, the usual one.
fn temporary() -> io::Result<TempDir> {
    const MEMORY: &str = "/dev/shm";
    const FREE_BYTES_MIN: u64 = 1 << 30;
    let is_roomy = nix::sys::statvfs::statvfs(MEMORY)
        .is_ok_and(|found| found.blocks_available().saturating_mul(found.fragment_size()) >= FREE_BYTES_MIN);
    if is_roomy && std::env::var_os("TMPDIR").is_none() {
        // A folder that may not be written to is no reason to give up.
        if let Ok(folder) = TempDir::new_in(MEMORY) {
            return Ok(folder);
        }
    }
    TempDir::new()
}

/// The folder itself, or the one folder in it: archives are packed with the capture's name around them.
fn tree_in(place: &Path) -> io::Result<Option<PathBuf>> {
    if place.join(CPUS).is_dir() {
        return Ok(Some(place.to_owned()));
    }
    let mut trees = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.join(CPUS).is_dir() {
            trees.push(path);
        }
    }
    Ok(if trees.len() == 1 { trees.pop() } else { None })
}

/// How many CPUs the tree has: hwloc looks into every one of these folders.
fn cpus(root: &Path) -> io::Result<u64> {
    let mut cpus = 0;
    for entry in fs::read_dir(root.join(CPUS))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        cpus += u64::from(number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())));
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path, cpus: u64) {
        for cpu in 0..cpus {
            fs::create_dir_all(root.join(format!("{CPUS}/cpu{cpu}"))).unwrap();
        }
        fs::create_dir_all(root.join(CPUS).join("cpufreq")).unwrap();
    }

    #[test]
    fn a_tree_is_found_in_its_folder_and_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("name");
        tree(&inner, 2);
        assert_eq!(Capture::folder(&inner).unwrap().root(), inner);
        assert_eq!(Capture::folder(dir.path()).unwrap().root(), inner);
    }

    #[test]
    fn a_folder_without_a_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Capture::folder(path).unwrap_err().to_string();
        assert!(refused(dir.path()).contains("no sys/devices/system/cpu in it"));
        tree(dir.path(), 0);
        assert!(refused(dir.path()).contains("hwloc-gather-topology"), "a tree without CPUs");
        let nowhere = dir.path().join("nowhere");
        assert!(refused(&nowhere).contains("nowhere"));
    }

    #[test]
    fn a_tree_of_too_many_cpus_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path(), CPUS_MAX + 1);
        let error = Capture::folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("8193 CPUs, at most 8192"), "{error}");
    }
}
