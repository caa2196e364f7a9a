//! Where a sector's files lie inside a store, relative to its root.
//!
//! ```text
//! staged/s-t0<miner>-<number>      the unsealed bytes
//! prepared/s-t0<miner>-<number>/   tree-d, kept until the sector is finished
//! sealed/s-t0<miner>-<number>      the replica
//! cache/s-t0<miner>-<number>/      layers, trees, p_aux, t_aux
//! ```

use crate::units::SectorSize;
use std::path::{Path, PathBuf};

/// The marker in the cache folder while pc2 runs: pc2 changes the sealed file in place.
pub const PC2_RUNNING: &str = ".pc2_running";
/// tree-d's file name.
pub const TREE_D: &str = "sc-02-data-tree-d.dat";

/// The relative paths of one sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectorPaths {
    name: String,
}

impl SectorPaths {
    /// The paths of sector `number` of `miner`.
    pub fn new(miner: u64, number: u64) -> Self {
        Self { name: format!("s-t0{miner}-{number}") }
    }

    /// `s-t0<miner>-<number>`
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The unsealed bytes.
    pub fn staged(&self) -> PathBuf {
        Path::new("staged").join(&self.name)
    }
    /// The folder that holds tree-d.
    pub fn prepared(&self) -> PathBuf {
        Path::new("prepared").join(&self.name)
    }
    /// The replica.
    pub fn sealed(&self) -> PathBuf {
        Path::new("sealed").join(&self.name)
    }
    /// The folder of layers, trees and auxiliary data.
    pub fn cache(&self) -> PathBuf {
        Path::new("cache").join(&self.name)
    }

    /// The tree-r-last files of a sector of this size: one per subtree, unnumbered when there is one.
    pub fn tree_r_last_names(size: SectorSize) -> Vec<String> {
        let numbered = |count: u32| (0..count).map(|i| format!("sc-02-data-tree-r-last-{i}.dat")).collect();
        match size {
            SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => vec!["sc-02-data-tree-r-last.dat".into()],
            SectorSize::GiB32 => numbered(8),
            SectorSize::GiB64 => numbered(16),
        }
    }

    /// Every file that a persistent store keeps, with its length where the size alone decides it.
    /// `t_aux` is a serialised structure whose length depends on path lengths.
    pub fn persisted(&self, size: SectorSize) -> Vec<(PathBuf, Option<u64>)> {
        let tree_r_last = match size {
            SectorSize::KiB2 => Some(32),
            SectorSize::MiB8 => Some(18_720),
            SectorSize::MiB512 => Some(1_198_368),
            SectorSize::GiB32 | SectorSize::GiB64 => Some(9_586_976),
        };
        let cache = self.cache();
        let mut files =
            vec![(self.sealed(), Some(size.bytes().0)), (cache.join("p_aux"), Some(64)), (cache.join("t_aux"), None)];
        files.extend(Self::tree_r_last_names(size).into_iter().map(|name| (cache.join(name), tree_r_last)));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_fields_layout() {
        let paths = SectorPaths::new(1000, 7);
        assert_eq!(paths.sealed(), Path::new("sealed/s-t01000-7"));
        assert_eq!(paths.cache(), Path::new("cache/s-t01000-7"));
        assert_eq!(paths.persisted(SectorSize::GiB32).len(), 11);
        assert_eq!(SectorPaths::tree_r_last_names(SectorSize::KiB2), ["sc-02-data-tree-r-last.dat"]);
    }
}
