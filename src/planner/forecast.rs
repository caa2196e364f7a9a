//! What a plan can be expected to make, and what keeps it from making more.

use crate::{profile::Stage, units::Bytes};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// At most so many tasks of each stage at once; a stage that worker.toml cannot limit is not in it.
pub type Limits = BTreeMap<Stage, u32>;

/// What a rate takes, and what can be expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    pub sectors_per_hour_needed: f64,
    /// Of one machine.
    pub sectors_per_hour_expected: f64,
    /// What keeps the expectation from being higher.
    pub bottleneck: Bottleneck,
    pub sealing_threads: u32,
    pub limits: Limits,
    /// From the first byte to the landed proof of one sector.
    pub minutes_per_sector: f64,
    /// The most memory that tasks may hold at once.
    pub tasks_memory_bytes: Bytes,
}

/// What bounds a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    Cores,
    Memory,
    SealingThreads,
    /// Room on the sealing disks.
    DiskRoom,
    /// What the sealing disks read and write in an hour.
    DiskSpeed,
    /// GPUs that do PC2 and C2.
    Gpus,
    /// A stage's limit.
    Stage(Stage),
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores => f.write_str("cores"),
            Self::Memory => f.write_str("memory"),
            Self::SealingThreads => f.write_str("sealing threads"),
            Self::DiskRoom => f.write_str("room on the sealing disks"),
            Self::DiskSpeed => f.write_str("speed of the sealing disks"),
            Self::Gpus => f.write_str("GPUs"),
            Self::Stage(stage) => write!(f, "the limit of {}", stage.name()),
        }
    }
}
