//! A remembered verdict on a big file: hashing it once must be enough.
//!
//! A stamp is a small JSON file beside the file it speaks of. It holds for exactly the file it was made
//! from: same length, same modification time, same inode. A copy, a repair or an overwrite voids it, and
//! the file is judged again. It guards against accidents, not against somebody who forges both files.

use crate::sys::durable::{self, DurableError};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What identifies one state of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub bytes: u64,
    pub modified_ns: i64,
    pub inode: u64,
}

impl Identity {
    /// The identity of the file as it is now, links followed; none when there is no file.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let modified_ns = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
        Some(Self { bytes: meta.len(), modified_ns, inode: meta.ino() })
    }
}

#[derive(Serialize, Deserialize)]
struct Stamp<V> {
    #[serde(flatten)]
    identity: Identity,
    verdict: V,
}

/// `FILE` with `.suffix` appended.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The verdict that was stamped on `path` as it is now, if there is one.
pub fn read<V: for<'de> Deserialize<'de>>(path: &Path, suffix: &str) -> Option<V> {
    let text = fs::read(beside(path, suffix)).ok()?;
    let stamp: Stamp<V> = serde_json::from_slice(&text).ok()?;
    (Some(stamp.identity) == Identity::of(path)).then_some(stamp.verdict)
}

/// Stamps `verdict` on the file that was found to be `identity` before it was judged. If the file was
/// changed meanwhile the stamp is void from the start.
pub fn write<V: Serialize>(path: &Path, suffix: &str, identity: Identity, verdict: V) -> Result<(), DurableError> {
    let stamp = Stamp { identity, verdict };
    let text = serde_json::to_vec(&stamp).expect("numbers and names always serialise");
    durable::write_atomic(&beside(path, suffix), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_for_the_file_it_was_made_from_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        fs::write(&path, b"bytes").unwrap();
        assert_eq!(read::<String>(&path, "checked"), None);
        write(&path, "checked", Identity::of(&path).unwrap(), "good").unwrap();
        assert_eq!(read::<String>(&path, "checked").as_deref(), Some("good"));
        assert!(folder.path().join("big.checked").exists());

        fs::write(folder.path().join("other"), b"bytes").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert_eq!(read::<String>(&path, "checked"), None, "another inode");

        fs::write(folder.path().join("big.checked"), b"{torn").unwrap();
        assert_eq!(read::<String>(&path, "checked"), None);
    }
}
