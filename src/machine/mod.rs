//! CONTRACT one machine as data: what `hwinfo --json` prints is what `plan` reads.
//!
//! ```text
//! Machine ── topology: Part(machine)
//!              ├─ nodes: memory attached right here        (NUMA nodes, memory-only ones too)
//!              ├─ parts: Package, Die, Group, L5, L4, L3   (each a Part again)
//!              └─ cores: those with no smaller part around them, each with its sibling CPUs
//! ```
//!
//! A tree and not tables of packages and caches, because real machines nest in every order: nodes above
//! packages, nodes below them, caches across nodes, no package at all. The questions in `query` look
//! through the nesting. Every index is the operating system's, the one that `cpuset` and `numa_preferred`
//! take. Beside the tree stand the facts of `facts`: settings, page pools, disks, GPUs. What always holds is written down in `check`, and `parse` lets nothing else in. Pure: no files.
//!
//! The schema is described field by field in docs/machine-schema.md. Readers ignore fields they do not
//! know, so it grows without a new version; a new version means that old readers would misunderstand.

mod check;
mod facts;
mod parse;
mod pc1_capable;
pub mod pc1_units;
mod query;
mod spec;

pub use check::Broken;
pub use facts::{
    Ceiling, Cpu, CpuKind, CpuModel, Disk, DiskKind, Distances, Governor, Gpu, HugetlbfsMount, Kernel, Limit, Limits,
    Mount, NOT_IN_SOURCE, Nic, PagePool, Swap, Unreadable,
};
pub use parse::{MachineError, parse};
pub use pc1_capable::{Answer, Pc1Capable};
pub use spec::{DiskSpec, Fleet, GpuSpec, L3Spec, NodeSpec, Size, Spec};

use crate::units::{Bytes, CpuList, NodeId};
use serde::{Deserialize, Serialize};

/// The version of the contract that this program writes and reads.
pub const VERSION: u32 = 1;

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `VERSION`.
    pub version: u32,
    /// The host's name; a description that is not of a host has a name of its source.
    pub hostname: String,
    /// The online CPUs that the process which looked may run on: a cgroup may forbid others.
    pub allowed_cpus: CpuList,
    /// CPUs that exist and are switched off: they are not in the tree.
    #[serde(default)]
    pub offline_cpus: CpuList,
    /// Whether it is not known which of `offline_cpus` are switched off and which a cgroup forbids: an export leaves out
    /// both.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline_or_forbidden: bool,
    /// The whole tree; its root is a `PartKind::Machine`.
    pub topology: Part,
    /// How many L2 caches there are: fewer than cores where cores share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_caches: Option<u32>,
    /// The kinds of cores, the least powerful first. Empty where all cores are alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_kinds: Vec<CpuKind>,
    /// The CPUs of each L2 cache, in hwloc's order, where there are fewer of them than cores. Beside the tree, because
    /// nothing but the grouping of the stock provers asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_groups: Option<Vec<CpuList>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Distances>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugetlbfs: Option<Vec<HugetlbfsMount>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<Vec<Disk>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<Gpu>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nics: Option<Vec<Nic>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Every fact that is absent above, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// A physical part of a machine and what is inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub kind: PartKind,
    /// The operating system's number, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_index: Option<u32>,
    /// The CPU model, where it is known for this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// All memory attached here and below.
    #[serde(default)]
    pub memory_bytes: Bytes,
    /// The size of a cache; absent for other parts and where the machine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<Bytes>,
    /// Memory attached right here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NumaNode>,
    /// Smaller parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Cores that are in no smaller part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<Core>,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// The root.
    Machine,
    /// A socket.
    Package,
    Die,
    /// Something that hwloc sees between the others: a sub-NUMA cluster, a blade.
    Group,
    L5,
    L4,
    /// The cores of one shared L3 cache: what PC1 is placed by.
    L3,
}

impl PartKind {
    /// What people call it, in trees, pictures and verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "Machine",
            Self::Package => "Package",
            Self::Die => "Die",
            Self::Group => "Group",
            Self::L5 => "L5",
            Self::L4 => "L4",
            Self::L3 => "L3",
        }
    }
}

/// A NUMA node: a memory of its own distance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    pub os_index: NodeId,
    pub memory_bytes: Bytes,
    /// The CPUs whose own node this is; none for memory-only nodes (CXL, HBM, NVM), which are near the part they hang on.
    pub cpus: CpuList,
    /// The memory's tier, as hwloc names it: `DRAM`, `HBM`, `NVM`, `CXL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// Whether a cgroup forbids the process which looked to take memory here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forbidden: bool,
    /// Memory that nobody used when it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Bytes>,
    /// The hugepages, by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_pools: Option<Vec<PagePool>>,
}

/// A core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// The operating system's number, unique only within its package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_index: Option<u32>,
    /// Its CPUs: more than one with SMT.
    pub cpus: CpuList,
}
