//! What each stage takes, for the sector sizes that this version plans: a table, every row with its source.
//!
//! A stage's work is given in core-seconds and spreads over `cores_max` cores at most. What was measured was
//! measured on another machine than the one that is planned, and the rest is estimated; plans say so.

use crate::units::{Bytes, SectorSize};
use serde::Serialize;

/// A stage of the sealing pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    AddPieces,
    TreeD,
    Pc1,
    Pc2,
    C1,
    C2,
}

/// What one task of a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageCost {
    pub stage: Stage,
    /// Work, in seconds of one core.
    pub core_seconds: f64,
    /// How many cores the work spreads over at most.
    pub cores_max: u32,
    pub memory_bytes: Bytes,
    /// Where the figures come from.
    pub source: &'static str,
}

/// What a sector of one size takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    pub sector_size: SectorSize,
    pub stages: &'static [StageCost],
}

impl Stage {
    /// The stage's name in worker.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddPieces => "add_pieces",
            Self::TreeD => "tree_d",
            Self::Pc1 => "pc1",
            Self::Pc2 => "pc2",
            Self::C1 => "c1",
            Self::C2 => "c2",
        }
    }

    /// Whether `processors.limitation.concurrent` knows it. c1 runs in the sealing thread, unlimited.
    pub fn can_be_limited(self) -> bool {
        self != Self::C1
    }
}

/// The built-in profile of a size; none for sizes that this version does not plan.
pub fn profile(sector_size: SectorSize) -> Option<Profile> {
    let stages: &[StageCost] = match sector_size {
        SectorSize::KiB2 => &KIB2,
        SectorSize::MiB8 => &MIB8,
        SectorSize::MiB512 => &MIB512,
        SectorSize::GiB32 | SectorSize::GiB64 => return None,
    };
    Some(Profile { sector_size, stages })
}

impl Profile {
    /// Work of a whole sector, in seconds of one core.
    pub fn core_seconds(&self) -> f64 {
        self.stages.iter().map(|cost| cost.core_seconds).sum()
    }

    /// The most disk that one sector in flight holds: the end of PC2, when everything is there.
    pub fn scratch_bytes(&self) -> Bytes {
        let sector = self.sector_size.bytes().0;
        let (staged, sealed, layers) = (sector, sector, sector * u64::from(self.sector_size.layers()));
        // A binary tree over the sector's nodes; tree-c and tree-r-last together stay below 1.25 sectors.
        let (tree_d, tree_c) = (2 * sector, sector + sector / 4);
        Bytes(staged + sealed + layers + tree_d + tree_c)
    }
}

const fn row(stage: Stage, core_seconds: f64, cores_max: u32, memory_bytes: Bytes, source: &'static str) -> StageCost {
    StageCost { stage, core_seconds, cores_max, memory_bytes, source }
}

/// More cores than this bring nothing that the figures could promise.
const MANY: u32 = 64;

// Measured as CPU time and peak memory of filecoin-proofs-api 19.1 without GPU, built with opt-level 3 and debug
// assertions, on two cores of an AMD EPYC with SHA extensions. c2: parameters read from disk each time.
const MEASURED: &str = "measured: 2 cores of an AMD EPYC with SHA extensions";
const HASHED: &str = "estimate: one pass of SHA-256 over twice the sector";
const SHARED: &str = "estimate: 8.7 core-seconds measured on 2 cores, more cores not tried";
const SCALED: &str = "estimate: 64 times the measured 8MiB figure";
const GROTH: &str = "estimate: the measured 2KiB figure times the ratio of the parameter files";

const KIB2: [StageCost; 6] = [
    row(Stage::AddPieces, 0.1, 1, Bytes::mib(16), MEASURED),
    row(Stage::TreeD, 0.1, 1, Bytes::mib(16), HASHED),
    row(Stage::Pc1, 0.1, 1, Bytes::mib(16), MEASURED),
    row(Stage::Pc2, 0.1, 1, Bytes::mib(16), MEASURED),
    row(Stage::C1, 0.1, 1, Bytes::mib(16), MEASURED),
    row(Stage::C2, 99.0, MANY, Bytes::mib(2816), MEASURED),
];

const MIB8: [StageCost; 6] = [
    row(Stage::AddPieces, 0.1, 1, Bytes::mib(32), MEASURED),
    row(Stage::TreeD, 0.5, 1, Bytes::mib(32), HASHED),
    row(Stage::Pc1, 5.7, 1, Bytes::mib(64), MEASURED),
    row(Stage::Pc2, 8.7, 16, Bytes::mib(64), SHARED),
    row(Stage::C1, 0.1, 1, Bytes::mib(64), MEASURED),
    row(Stage::C2, 116.0, MANY, Bytes::mib(3328), GROTH),
];

const MIB512: [StageCost; 6] = [
    row(Stage::AddPieces, 6.0, 1, Bytes::mib(64), SCALED),
    row(Stage::TreeD, 32.0, 16, Bytes::gib(1), HASHED),
    row(Stage::Pc1, 365.0, 1, Bytes::gib(3), SCALED),
    row(Stage::Pc2, 557.0, MANY, Bytes::gib(4), SCALED),
    row(Stage::C1, 2.0, 1, Bytes::mib(256), SCALED),
    row(Stage::C2, 170.0, MANY, Bytes::mib(4928), GROTH),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_networks_sizes_have_no_built_in_profile() {
        let sizes: Vec<_> = SectorSize::ALL.into_iter().filter(|size| profile(*size).is_some()).collect();
        assert_eq!(sizes, [SectorSize::KiB2, SectorSize::MiB8, SectorSize::MiB512]);
    }

    #[test]
    fn every_row_is_positive_and_has_a_source() {
        for profile in SectorSize::ALL.into_iter().filter_map(profile) {
            assert_eq!(profile.stages.len(), 6);
            for cost in profile.stages {
                assert!(cost.core_seconds > 0.0 && cost.cores_max > 0 && cost.memory_bytes.0 > 0, "{cost:?}");
                assert!(cost.source.starts_with("estimate: ") || cost.source.starts_with("measured: "), "{cost:?}");
            }
        }
    }

    #[test]
    fn scratch_covers_the_files_at_the_end_of_pc2() {
        // 8 MiB: staged, sealed, 2 layers, tree-d, tree-c, tree-r-last, by their real lengths.
        let files = (8 << 20) * 4 + 16_777_184 + 9_586_976 + 18_720;
        let scratch = profile(SectorSize::MiB8).unwrap().scratch_bytes().0;
        assert!(scratch >= files && scratch < files * 11 / 10, "{scratch} {files}");
    }
}
