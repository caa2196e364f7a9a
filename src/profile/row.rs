//! A row of a profile, as it stands in the file: whom it holds for, and the figures that its source gives.

use crate::units::{Bytes, Prover, SectorSize, Suite};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A stage of the sealing pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    AddPieces,
    TreeD,
    Pc1,
    Pc2,
    C1,
    C2,
}

/// What a row says of the GPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuKey {
    /// `"none"`: the work is done by cores.
    None,
    /// `"any"`: on a GPU, whichever.
    Any,
    /// On this model: `"RTX 3080"`.
    Named(String),
}

/// How much a duration may differ from its figure, as factors: `[0.9, 1.2]` is from 10 % less to 20 % more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Band {
    pub low: f64,
    pub high: f64,
}

/// What is known of a stage under some conditions. Absent conditions hold for all, absent figures are another row's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub stage: Stage,
    pub sector_size: SectorSize,
    /// The provers that it holds for; all of them where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provers: Vec<Prover>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<Suite>,
    /// A processor by its model, as much of it as is meant: `"EPYC 7642"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// With SHA instructions, or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuKey>,

    /// The duration of a task on `cores` cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Or the duration as a model: minutes times the sustained clock in GHz of the core that does it …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes_ghz: Option<f64>,
    /// … and the part of that which is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<f64>,
    /// Or the work of a task, which spreads over at most `cores` cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_seconds: Option<f64>,
    /// With `minutes` and `minutes_ghz` the cores that a task keeps busy, with `core_seconds` the most it can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Of the duration; absent means that nothing is known of its spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,

    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What careful sources book where `memory` is what most report.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub memory_most: Option<Bytes>,
    /// More of it for each of at most `memory_threads` cores.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub memory_per_thread: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_threads: Option<u32>,
    /// Memory on the card.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<Bytes>,

    /// Read from and written to the sealing store by one task.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub reads: Option<Bytes>,
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub writes: Option<Bytes>,
    /// Room that the sector holds in its sealing store when the stage ends, everything before it included.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Bytes>,

    /// Where the figures come from: a name that can be looked up, or how they were measured or estimated.
    pub source: String,
}

/// A pause between stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub name: WaitName,
    pub minutes: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    pub source: String,
}

/// What a disk keeps up for hours, in bytes a second, each when it does nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpeed {
    /// `nvme`, `ssd`, as the machine's description calls it.
    pub kind: String,
    /// A model, as much of it as is meant; all of the kind where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A folder that was measured: the row holds for what lies in it, and for no other disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(with = "size_always")]
    pub reads: Bytes,
    #[serde(with = "size_always")]
    pub writes: Bytes,
    /// The same in random pieces of 4 KiB, where it was measured.
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub reads_random: Option<Bytes>,
    #[serde(default, with = "size", skip_serializing_if = "Option::is_none")]
    pub writes_random: Option<Bytes>,
    pub source: String,
}

/// What a sector waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitName {
    /// For its PreCommit to land, after PC2.
    Precommit,
    /// For its seed, after the PreCommit landed: 150 epochs.
    Seed,
    /// For its ProveCommit to land, after C2.
    Prove,
}

impl Row {
    /// One that holds for all and tells nothing yet.
    pub fn empty(stage: Stage, sector_size: SectorSize, source: String) -> Self {
        Self {
            stage,
            sector_size,
            provers: Vec::new(),
            suite: None,
            cpu: None,
            sha: None,
            gpu: None,
            minutes: None,
            minutes_ghz: None,
            efficiency: None,
            core_seconds: None,
            cores: None,
            band: None,
            memory: None,
            memory_most: None,
            memory_per_thread: None,
            memory_threads: None,
            gpu_memory: None,
            reads: None,
            writes: None,
            scratch: None,
            source,
        }
    }
}

impl Stage {
    /// Every stage, in the order of a sector's life.
    pub const ALL: [Self; 6] = [Self::AddPieces, Self::TreeD, Self::Pc1, Self::Pc2, Self::C1, Self::C2];

    /// The stage's name in worker.toml.
    pub const fn name(self) -> &'static str {
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

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Band {
    /// Nothing is known of the spread.
    pub const EXACT: Self = Self { low: 1.0, high: 1.0 };
}

impl From<[f64; 2]> for Band {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Band> for [f64; 2] {
    fn from(band: Band) -> Self {
        [band.low, band.high]
    }
}

impl Serialize for GpuKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::None => "none",
            Self::Any => "any",
            Self::Named(name) => name,
        })
    }
}

impl<'de> Deserialize<'de> for GpuKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "none" => Self::None,
            "any" => Self::Any,
            _ => Self::Named(text),
        })
    }
}

/// Sizes as people write them: `"64GiB"`.
mod size {
    use crate::units::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(size: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        match size {
            Some(size) => serializer.collect_str(size),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

/// The same for a size that is always there.
mod size_always {
    use crate::units::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(size: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(size)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
