//! The published keys: names, content ids and digests.
//!
//! The list is `parameters.json` of the crate storage-proofs-core 19.1.0, read through its public
//! `parameter_cache::PARAMETERS_DATA`, so it can never differ from what the linked library expects.

use crate::units::{Bytes, SectorSize};
use serde::Deserialize;
use std::collections::BTreeMap;
use storage_proofs_core::parameter_cache::PARAMETERS_DATA;

/// The names of the keys that sealing needs begin so, after the version: PoRep, for c2 and `verify_seal`.
const POREP: &str = "-stacked-proof-of-replication-";

/// One published key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamFile {
    pub name: String,
    /// What the gateway calls it.
    pub cid: String,
    /// The first 32 hexadecimal digits of its BLAKE2b-512.
    pub digest: String,
    pub sector_size: Bytes,
}

impl ParamFile {
    /// Whether sealing needs it; the others are for PoSt and sector updates.
    pub fn is_porep(&self) -> bool {
        self.name.contains(POREP)
    }

    /// Whether it is a verifying key (a few KB) rather than parameters (GB).
    pub fn is_verifying_key(&self) -> bool {
        self.name.ends_with(".vk")
    }

    /// The name without its ending: what parameters and their verifying key have in common.
    pub fn stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(stem, _)| stem)
    }
}

/// The list of published keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    files: Vec<ParamFile>,
}

#[derive(Deserialize)]
struct Entry {
    cid: String,
    digest: String,
    sector_size: u64,
}

impl Manifest {
    /// What the linked library expects.
    pub fn published() -> Self {
        Self::from_json(PARAMETERS_DATA).expect("the crate's own list was parsed by the crate's own tests")
    }

    /// A list in the format of `parameters.json`.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        let entries: BTreeMap<String, Entry> = serde_json::from_str(text)?;
        let file = |(name, entry): (String, Entry)| ParamFile {
            name,
            cid: entry.cid,
            digest: entry.digest,
            sector_size: Bytes(entry.sector_size),
        };
        Ok(Self { files: entries.into_iter().map(file).collect() })
    }

    /// The keys of a sector size, verifying keys first; only those that sealing needs, or all.
    pub fn files(&self, size: SectorSize, all: bool) -> Vec<ParamFile> {
        let wanted = |file: &&ParamFile| file.sector_size == size.bytes() && (all || file.is_porep());
        let mut files: Vec<_> = self.files.iter().filter(wanted).cloned().collect();
        files.sort_by_key(|file| (!file.is_porep(), !file.is_verifying_key(), file.name.clone()));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_needs_a_verifying_key_and_parameters_to_seal() {
        let manifest = Manifest::published();
        for size in SectorSize::ALL {
            let needed = manifest.files(size, false);
            assert_eq!(needed.len(), 2, "{size}");
            assert!(needed[0].is_verifying_key() && !needed[1].is_verifying_key());
            let all = manifest.files(size, true);
            assert!(all.len() >= 8 && all[..2] == needed, "{size}");
        }
        let names = manifest.files(SectorSize::KiB2, false);
        assert_eq!(names[0].digest, "dc1ade9929ade1708238f155343044ac");
        assert_eq!(names[1].cid, "QmWceMgnWYLopMuM4AoGMvGEau7tNe5UK83XFjH5V9B17h");
    }

    #[test]
    fn the_names_are_the_ones_the_library_asks_for() {
        use crate::{runtime::proofs::convert::registered, units::SealProof};
        for size in SectorSize::ALL {
            let kind = registered(SealProof::v1_1(size));
            let asked = [kind.cache_verifying_key_path().unwrap(), kind.cache_params_path().unwrap()];
            let asked = asked.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
            let listed = Manifest::published().files(size, false).into_iter().map(|file| file.name);
            assert_eq!(listed.collect::<Vec<_>>(), asked);
        }
    }
}
