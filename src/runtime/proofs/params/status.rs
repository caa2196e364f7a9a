//! What is in the cache folder: for each key missing, fetched, local or unknown.
//!
//! The digest decides: the published one is `fetched`, the one recorded in `NAME.local` is `local`, any
//! other `unknown`. Reading 1 GB (44 GB at 32 GiB) for it takes time, so the digest is stamped.

use super::{Manifest, ParamFile, cache_folder, digest_of, free_bytes};
use crate::{
    runtime::proofs::stamp::{self, Identity},
    sys::durable::DurableError,
    units::{SealProof, SectorSize},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

pub(super) const CHECKED: &str = "checked";
pub(super) const LOCAL: &str = "local";

/// Where a key, or a set of keys, came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamsKind {
    /// Not there, or not all of the set.
    Missing,
    /// The published key: its proofs are valid on the network.
    Fetched,
    /// Generated here: its proofs are valid here only.
    Local,
    /// There, but neither published nor known to be generated here; or not looked at yet.
    Unknown,
}

impl fmt::Display for ParamsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Fetched => "fetched",
            Self::Local => "local",
            Self::Unknown => "unknown",
        })
    }
}

impl ParamsKind {
    /// The kind of a set: one missing key makes it missing, one local key local.
    fn of_set(kinds: impl IntoIterator<Item = Self> + Clone) -> Self {
        let any = |wanted| kinds.clone().into_iter().any(|kind| kind == wanted);
        [Self::Missing, Self::Local, Self::Unknown].into_iter().find(|kind| any(*kind)).unwrap_or(Self::Fetched)
    }
}

/// One key as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    pub name: String,
    pub kind: ParamsKind,
    /// Whether sealing needs it.
    pub required: bool,
    /// Its length; zero when it is missing.
    pub bytes: u64,
    /// Bytes of an unfinished download that the next fetch goes on from.
    pub partial_bytes: u64,
    /// Where it lies, when the name is a link.
    pub link: Option<PathBuf>,
    pub digest: Option<String>,
}

/// The keys of one sector size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub sector_size: SectorSize,
    pub folder: PathBuf,
    /// The kind of the keys that sealing needs, taken together.
    pub kind: ParamsKind,
    pub total_bytes: u64,
    pub free_bytes: Option<u64>,
    pub files: Vec<FileStatus>,
}

/// The kind of the keys that sealing `proof` needs, in the library's folder. Reads no key: one whose digest
/// was never stamped is `Unknown`, unless a marker says that it was generated here.
pub fn kind(proof: SealProof) -> ParamsKind {
    kind_in(&cache_folder(), &Manifest::published(), proof.sector_size())
}

/// The same for certain: keys that nobody has looked at are read, and the log says so first. What `kind` knows is
/// taken from there, so this is as quick, once somebody has looked. It takes minutes for the 44 GB of 32 GiB sectors,
/// and takes them again where the folder is read-only and the digest cannot be remembered.
///
/// # Errors
/// A key that cannot be read.
pub fn look_now(proof: SealProof) -> Result<ParamsKind, super::ParamsError> {
    look_now_in(&cache_folder(), &Manifest::published(), proof.sector_size())
}

fn look_now_in(folder: &Path, manifest: &Manifest, size: SectorSize) -> Result<ParamsKind, super::ParamsError> {
    match kind_in(folder, manifest, size) {
        ParamsKind::Unknown => {}
        known => return Ok(known),
    }
    let reading = |file: &ParamFile, bytes| {
        tracing::info!(name = file.name, bytes, "reading proof parameters once, to know where they came from");
    };
    Ok(look(folder, manifest, size, false, reading)?.kind)
}

pub(super) fn kind_in(folder: &Path, manifest: &Manifest, size: SectorSize) -> ParamsKind {
    let files = manifest.files(size, false);
    let kinds: Vec<_> = files
        .iter()
        .map(|file| {
            let path = folder.join(&file.name);
            let stamped: Option<String> = stamp::read(&path, CHECKED);
            match (Identity::of(&path), stamped) {
                (None, _) => ParamsKind::Missing,
                (Some(_), Some(digest)) => judge(&path, file, &digest),
                (Some(_), None) if local_digest(&path).is_some() => ParamsKind::Local,
                (Some(_), None) => ParamsKind::Unknown,
            }
        })
        .collect();
    ParamsKind::of_set(kinds)
}

/// Looks at the keys of a sector size, reading those whose digest is not stamped; `reading` is told first.
pub fn look(
    folder: &Path,
    manifest: &Manifest,
    size: SectorSize,
    all: bool,
    mut reading: impl FnMut(&ParamFile, u64),
) -> Result<Report, super::ParamsError> {
    let mut files = Vec::new();
    for file in manifest.files(size, all) {
        files.push(look_at(folder, &file, &mut reading)?);
    }
    let required: Vec<_> = files.iter().filter(|f| f.required).map(|f| f.kind).collect();
    Ok(Report {
        sector_size: size,
        folder: folder.to_owned(),
        kind: ParamsKind::of_set(required),
        total_bytes: files.iter().map(|f| f.bytes).sum(),
        free_bytes: free_bytes(folder),
        files,
    })
}

pub(super) fn look_at(
    folder: &Path,
    file: &ParamFile,
    reading: &mut impl FnMut(&ParamFile, u64),
) -> Result<FileStatus, super::ParamsError> {
    let path = folder.join(&file.name);
    let partial = fs::metadata(stamp::beside(&path, "partial")).map_or(0, |meta| meta.len());
    let mut status = FileStatus {
        name: file.name.clone(),
        kind: ParamsKind::Missing,
        required: file.is_porep(),
        bytes: 0,
        partial_bytes: partial,
        link: fs::read_link(&path).ok(),
        digest: None,
    };
    if let Some(identity) = Identity::of(&path) {
        status.bytes = identity.bytes;
        let digest = digest(&path, file, identity, reading)?;
        status.kind = judge(&path, file, &digest);
        status.digest = Some(digest);
    }
    Ok(status)
}

fn digest(
    path: &Path,
    file: &ParamFile,
    identity: Identity,
    reading: &mut impl FnMut(&ParamFile, u64),
) -> Result<String, super::ParamsError> {
    if let Some(digest) = stamp::read(path, CHECKED) {
        return Ok(digest);
    }
    reading(file, identity.bytes);
    let digest = digest_of(path).map_err(|e| super::ParamsError::io("reading", path, e))?;
    if let Err(error) = stamp::write(path, CHECKED, identity, &digest) {
        // A folder that we may only read is a good folder; the key is read again next time.
        tracing::info!(%error, "the digest is not remembered");
    }
    Ok(digest)
}

fn judge(path: &Path, file: &ParamFile, digest: &str) -> ParamsKind {
    if digest == file.digest {
        ParamsKind::Fetched
    } else if local_digest(path).as_deref() == Some(digest) {
        ParamsKind::Local
    } else {
        ParamsKind::Unknown
    }
}

/// The marker of a key that was generated here.
#[derive(Serialize, Deserialize)]
struct LocalKey {
    digest: String,
    made_by: String,
}

fn local_digest(path: &Path) -> Option<String> {
    let text = fs::read(stamp::beside(path, LOCAL)).ok()?;
    serde_json::from_slice(&text).ok().map(|key: LocalKey| key.digest)
}

/// Marks the key that is about to get the name `path` as generated here.
pub(super) fn mark_local(path: &Path, digest: &str) -> Result<(), DurableError> {
    let made_by = concat!("damocles-worker ", env!("CARGO_PKG_VERSION")).to_owned();
    let key = LocalKey { digest: digest.to_owned(), made_by };
    let text = serde_json::to_vec(&key).expect("strings always serialise");
    crate::sys::durable::write_atomic(&stamp::beside(path, LOCAL), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VK: &str = "v28-stacked-proof-of-replication-x.vk";
    const PARAMS: &str = "v28-stacked-proof-of-replication-x.params";

    /// A list whose vk is an empty file and whose params are the bytes `abc`.
    fn manifest() -> Manifest {
        Manifest::from_json(&format!(
            r#"{{"{VK}": {{"cid": "Qa", "digest": "786a02f742015903c6c6fd852552d272", "sector_size": 2048}},
                "{PARAMS}": {{"cid": "Qb", "digest": "ba80a53f981c4d0d6a2797b69f12f6e9", "sector_size": 2048}},
                "v28-proof-of-spacetime-fallback-x.vk": {{"cid": "Qc", "digest": "00", "sector_size": 2048}}}}"#
        ))
        .unwrap()
    }

    fn report(folder: &Path) -> Report {
        look(folder, &manifest(), SectorSize::KiB2, false, |_, _| ()).unwrap()
    }

    #[test]
    fn a_set_is_missing_until_both_keys_are_there_and_fetched_when_both_are_published() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(report(folder.path()).kind, ParamsKind::Missing);
        fs::write(folder.path().join(PARAMS), b"abc").unwrap();
        assert_eq!(report(folder.path()).kind, ParamsKind::Missing);
        fs::write(folder.path().join(VK), b"").unwrap();
        assert_eq!(kind_in(folder.path(), &manifest(), SectorSize::KiB2), ParamsKind::Unknown, "nothing was read yet");
        let found = report(folder.path());
        assert_eq!((found.kind, found.total_bytes), (ParamsKind::Fetched, 3));
        assert_eq!(kind_in(folder.path(), &manifest(), SectorSize::KiB2), ParamsKind::Fetched);
        let all = look(folder.path(), &manifest(), SectorSize::KiB2, true, |_, _| ()).unwrap();
        assert_eq!((all.files.len(), all.kind), (3, ParamsKind::Fetched), "PoSt keys are not needed to seal");
    }

    #[test]
    fn other_bytes_are_unknown_until_marked_and_local_when_marked() {
        let folder = tempfile::tempdir().unwrap();
        let params = folder.path().join(PARAMS);
        fs::write(&params, b"made here").unwrap();
        fs::write(folder.path().join(VK), b"").unwrap();
        assert_eq!(report(folder.path()).kind, ParamsKind::Unknown);
        mark_local(&params, &digest_of(&params).unwrap()).unwrap();
        assert_eq!(report(folder.path()).kind, ParamsKind::Local, "one local key makes the set local");

        // The marker speaks of its own key only.
        fs::remove_file(&params).unwrap();
        fs::write(&params, b"something else").unwrap();
        assert_eq!(kind_in(folder.path(), &manifest(), SectorSize::KiB2), ParamsKind::Local, "unread: be careful");
        assert_eq!(report(folder.path()).kind, ParamsKind::Unknown);
    }

    #[test]
    fn keys_that_nobody_has_looked_at_are_read_when_somebody_must_know() {
        let now = |folder: &Path| look_now_in(folder, &manifest(), SectorSize::KiB2).unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(now(folder.path()), ParamsKind::Missing);
        fs::write(folder.path().join(PARAMS), b"abc").unwrap();
        fs::write(folder.path().join(VK), b"").unwrap();
        assert_eq!(kind_in(folder.path(), &manifest(), SectorSize::KiB2), ParamsKind::Unknown);
        assert_eq!(now(folder.path()), ParamsKind::Fetched);
        assert_eq!(kind_in(folder.path(), &manifest(), SectorSize::KiB2), ParamsKind::Fetched, "and it is remembered");

        fs::remove_file(folder.path().join(PARAMS)).unwrap();
        fs::write(folder.path().join(PARAMS), b"of somebody else").unwrap();
        assert_eq!(now(folder.path()), ParamsKind::Unknown);
    }

    #[test]
    fn a_digest_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PARAMS), b"abc").unwrap();
        fs::write(folder.path().join("elsewhere"), b"").unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join(VK)).unwrap();
        let count = || {
            let mut read = 0;
            let report = look(folder.path(), &manifest(), SectorSize::KiB2, false, |_, _| read += 1).unwrap();
            assert_eq!(report.kind, ParamsKind::Fetched);
            assert_eq!(report.files[0].link.as_deref(), Some(folder.path().join("elsewhere").as_path()));
            read
        };
        assert_eq!([count(), count()], [2, 0]);
    }
}
