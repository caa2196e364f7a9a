//! What each stage takes, for the sector sizes that this version plans: a table, every row with its source.
//!
//! A stage's work is given in core-seconds and spreads over `cores_max` cores at most. Every figure here is
//! an estimate until it is measured on the machine that is planned; plans say so.

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

/// More cores than this bring nothing that the estimate could promise.
const MANY: u32 = 64;

const IO: &str = "estimate: writing and hashing the sector once";
const SDR: &str = "estimate: 2 layers x 37 parents of 32 bytes, 4 us a label on one core without SHA extensions";
const POSEIDON: &str = "estimate: Poseidon on the CPU, 25 us a column and 60 us a node of tree-c and tree-r-last";
const VANILLA: &str = "estimate: 2 challenges, inclusion proofs read back from the trees";
const GROTH: &str = "estimate: one partition proved on the CPU, memory for its proof parameters and assignments";

const KIB2: [StageCost; 6] = [
    row(Stage::AddPieces, 0.1, 1, Bytes::mib(16), IO),
    row(Stage::TreeD, 0.1, 1, Bytes::mib(16), IO),
    row(Stage::Pc1, 0.2, 1, Bytes::mib(64), SDR),
    row(Stage::Pc2, 1.0, 1, Bytes::mib(64), POSEIDON),
    row(Stage::C1, 0.5, 1, Bytes::mib(64), VANILLA),
    row(Stage::C2, 60.0, MANY, Bytes::gib(3), GROTH),
];

const MIB8: [StageCost; 6] = [
    row(Stage::AddPieces, 0.3, 1, Bytes::mib(32), IO),
    row(Stage::TreeD, 0.5, 4, Bytes::mib(32), IO),
    row(Stage::Pc1, 3.0, 1, Bytes::mib(128), SDR),
    row(Stage::Pc2, 15.0, 16, Bytes::mib(256), POSEIDON),
    row(Stage::C1, 0.5, 1, Bytes::mib(64), VANILLA),
    row(Stage::C2, 75.0, MANY, Bytes::gib(4), GROTH),
];

const MIB512: [StageCost; 6] = [
    row(Stage::AddPieces, 5.0, 1, Bytes::mib(64), IO),
    row(Stage::TreeD, 10.0, 16, Bytes::gib(1), IO),
    row(Stage::Pc1, 160.0, 1, Bytes::gib(3), SDR),
    row(Stage::Pc2, 800.0, MANY, Bytes::gib(4), POSEIDON),
    row(Stage::C1, 2.0, 1, Bytes::mib(256), VANILLA),
    row(Stage::C2, 110.0, MANY, Bytes::gib(6), GROTH),
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
