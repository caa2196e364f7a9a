//! The folder whose files the embedded manager offers as deals.
//!
//! A file counts as it is: same name, length, time and inode. Hidden names are passed over, so that a file may be copied
//! under one and renamed when it is whole.

use crate::{
    runtime::{
        proofs::{self, FileIdentity},
        stage::layout::{smallest_piece, unpadded},
    },
    units::{PieceCid, SealProof},
};
use std::{fs, io, path::Path};

/// A file that may be a deal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    pub identity: FileIdentity,
}

/// The files of `folder`, by name.
pub fn look(folder: &Path) -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!(path = %entry.path().display(), "not offered as a deal: its name is not UTF-8");
            continue;
        };
        match FileIdentity::of(&entry.path()) {
            Some(identity) if identity.bytes > 0 && !name.starts_with('.') => seen.push(Seen { name, identity }),
            _ => {}
        }
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(seen)
}

/// The piece that a file is: its CID and its padded size. None for one that was changed meanwhile.
pub fn measure(folder: &Path, seen: &Seen, proof: SealProof) -> Result<Option<(PieceCid, u64)>, String> {
    let path = folder.join(&seen.name);
    let size =
        smallest_piece(seen.identity.bytes).ok_or_else(|| format!("{}: no piece is as large", path.display()))?;
    let commitment = proofs::piece_commitment(proof, &path, seen.identity.bytes, unpadded(size))
        .map_err(|error| error.to_string())?;
    let is_same = FileIdentity::of(&path).as_ref() == Some(&seen.identity);
    Ok(is_same.then_some((PieceCid(commitment), size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::stage::layout::zero_commitment, units::SectorSize};

    #[test]
    fn visible_files_with_bytes_are_seen_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("b", &[0; 300]);
        write("a", &[1; 127]);
        write(".half", b"x");
        write("empty", b"");
        fs::create_dir(folder.path().join("folder")).unwrap();
        let seen = look(folder.path()).unwrap();
        assert_eq!(seen.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let proof = SealProof::v1_1(SectorSize::KiB2);
        let measured = |at: usize| measure(folder.path(), &seen[at], proof).unwrap();
        assert_eq!(measured(1), Some((PieceCid(zero_commitment(512)), 512)), "300 bytes of zeros are a piece of zeros");
        assert_eq!(measured(0).unwrap().1, 128);
        write("a", &[2; 128]);
        assert_eq!(measured(0), None, "changed since it was seen");
        assert!(look(&folder.path().join("gone")).is_err());
    }
}
