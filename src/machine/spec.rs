//! A machine as an entry of a fleet file: what a plan for many machines needs, short enough to be written by hand.
//!
//! ```toml
//! [[machine]]
//! name = "sealer-1"
//! count = 1
//! cpu = "AMD EPYC 7542 32-Core Processor"
//! packages = 2
//! cores = 64
//! ```
//!
//! Sizes are text (`"16MiB"`) and exact: they parse back to the byte. What the machine does not tell is absent.

use super::{Answer, DiskKind, Machine};
use crate::units::{Bytes, NodeId, ParseError};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A fleet file: its `[[machine]]` entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    pub machine: Vec<Spec>,
}

/// Machines of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    /// How many there are of it.
    #[serde(default = "one")]
    pub count: u32,
    /// The CPU model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Whether its processors are made for PC1; absent where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc1_capable: Option<bool>,
    pub packages: u32,
    pub cores: u32,
    /// CPUs: more than cores with SMT.
    pub cpus: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub l3: Vec<L3Spec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpec>,
}

/// L3 groups of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L3Spec {
    #[serde(default = "one")]
    pub count: u32,
    /// Cores in each.
    pub cores: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub index: NodeId,
    /// Cores that call it their own; 0 for memory-only nodes.
    pub cores: u32,
    pub memory: Size,
}

/// GPUs of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSpec {
    #[serde(default = "one")]
    pub count: u32,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

/// Disks of one model and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    #[serde(default = "one")]
    pub count: u32,
    pub kind: DiskKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

fn one() -> u32 {
    1
}

/// A size as people write it: `"16MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub Bytes);

crate::units::serde_as_string!(Size);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Size {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self)
    }
}

impl Spec {
    /// One machine like this.
    pub fn of(machine: &Machine) -> Self {
        Self {
            name: machine.hostname.clone(),
            count: 1,
            cpu: machine.cpu_model().map(str::to_owned),
            pc1_capable: match machine.pc1_capable().answer {
                Answer::Yes => Some(true),
                Answer::No => Some(false),
                Answer::Unknown => None,
            },
            packages: count(machine.parts_of(super::PartKind::Package).len()),
            cores: count(machine.cores().len()),
            cpus: count(machine.cpus().len()),
            l3: l3(machine),
            nodes: nodes(machine),
            gpus: gpus(machine),
            disks: disks(machine),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How often each value occurs, in the order of the values.
fn counted<T: Ord>(values: impl IntoIterator<Item = T>) -> impl Iterator<Item = (T, u32)> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts.into_iter()
}

fn l3(machine: &Machine) -> Vec<L3Spec> {
    let cores_in = |part: &super::Part| part.walk().into_iter().map(|part| part.cores.len()).sum();
    let groups = machine.l3_groups().into_iter().map(|group| (count(cores_in(group)), group.size_bytes.map(Size)));
    counted(groups).map(|((cores, size), count)| L3Spec { count, cores, size }).collect()
}

fn nodes(machine: &Machine) -> Vec<NodeSpec> {
    let cores = machine.cores();
    let mut nodes: Vec<_> = machine
        .nodes()
        .into_iter()
        .map(|node| NodeSpec {
            index: node.os_index,
            cores: count(cores.iter().filter(|core| !core.cpus.and(&node.cpus).is_empty()).count()),
            memory: Size(node.memory_bytes),
        })
        .collect();
    nodes.sort_by_key(|node| node.index);
    nodes
}

fn gpus(machine: &Machine) -> Vec<GpuSpec> {
    let gpus = machine.compute_gpus().into_iter().map(|gpu| (gpu.name.clone(), gpu.memory_bytes.map(Size)));
    counted(gpus).map(|((name, memory), count)| GpuSpec { count, name, memory }).collect()
}

fn disks(machine: &Machine) -> Vec<DiskSpec> {
    let disks = machine.disks.iter().flatten();
    let disks = disks.map(|disk| (disk.kind, disk.model.clone(), disk.size_bytes.map(Size)));
    counted(disks).map(|((kind, model, size), count)| DiskSpec { count, kind, model, size }).collect()
}
