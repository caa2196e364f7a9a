//! What a machine is beside its topology: instructions, settings, page pools, disks, GPUs, network, limits.
//!
//! Three things are told apart everywhere. A fact that is *there*; a list that is *empty*, which is a fact too
//! (no GPU); and a field that is *absent*: then `Machine::unreadable` says what was missed, where, and why.

use super::{Core, Machine};
use crate::units::{Bytes, CpuList, NodeId};
use serde::{Deserialize, Serialize};

/// The processors, as the kernel describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// `x86_64`, `aarch64`, as the kernel calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Each model with its CPUs: one entry, except where sockets or core types differ.
    #[serde(default)]
    pub models: Vec<CpuModel>,
    /// The instruction set extensions that every online CPU has, in the kernel's names (`sha_ni`, `avx512f`), sorted.
    /// Empty where the source tells the models only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// A CPU model and the CPUs that are of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuModel {
    pub name: String,
    pub cpus: CpuList,
}

/// CPUs of one kind, on a machine whose cores differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuKind {
    /// `P-core` and `E-core` where the processor says so, `faster core` and `slower core` where only their speed tells
    /// them apart; else `kind 0`, `kind 1`, …
    pub name: String,
    /// The rank by power, 0 the least, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<u32>,
    pub cpus: CpuList,
}

/// The kernel and those of its settings that sealing feels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The release, as `uname -r` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Simultaneous multithreading: `on`, `off`, `forceoff`, `notsupported`, `notimplemented`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smt: Option<String>,
    /// The frequency governors in use with their CPUs. None where the kernel does not set the frequency (in many guests).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governors: Option<Vec<Governor>>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transparent_hugepages: Option<String>,
    /// Automatic NUMA balancing: 0 off, 1 on, 2 for memory tiers, 3 both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_balancing: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
}

/// A frequency governor (`performance`, `schedutil`) and the CPUs that it drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governor {
    pub name: String,
    pub cpus: CpuList,
}

/// All swap areas together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub total_bytes: Bytes,
    pub used_bytes: Bytes,
}

/// The hugepages of one size on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePool {
    pub page_bytes: Bytes,
    /// Pages in the pool.
    pub pages: u64,
    /// Pages of it that nobody uses; absent where the source does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// Pages beyond the pool's own size, given back when they are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus: Option<u64>,
}

/// How far each node is from each: 10 is its own memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distances {
    /// The nodes of the rows and of the columns.
    pub nodes: Vec<NodeId>,
    /// A row for each node: from it, to each.
    pub rows: Vec<Vec<u32>>,
}

/// A mounted hugetlbfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugetlbfsMount {
    pub path: String,
    pub page_bytes: Bytes,
}

/// A disk: a device that holds data itself, no partition and no array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name: `nvme0n1`, `sda`.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<Bytes>,
    pub kind: DiskKind,
    /// The nearest NUMA node, where the machine tells or has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// File systems on the disk, on its partitions, and on the arrays and volumes that it is part of; absent where the
    /// source does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
}

/// What a disk is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    Nvme,
    Ssd,
    Hdd,
    /// The kernel does not know either (a guest's virtual disk), or a later release of this program wrote it.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A file system in the tree of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub path: String,
    /// `ext4`, `xfs`.
    pub filesystem: String,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<Bytes>,
    /// What a user who is not root may still write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Bytes>,
}

/// A display or 3D controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its driver's name for it, else its name in the PCI id list, else the two PCI ids.
    pub name: String,
    /// The vendor's name, where the PCI id list has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The vendor's PCI id: `10de` is NVIDIA, `1002` is AMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    /// The kernel driver that is bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// Memory on the card, where its driver tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

impl Gpu {
    /// Whether this is a GPU that proofs can be computed on, and not a server's console: the proofs' kernels are
    /// CUDA and OpenCL.
    pub fn can_compute(&self) -> bool {
        matches!(self.vendor_id.as_deref(), Some("10de" | "1002"))
    }
}

/// A network interface of hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The kernel's name: `eth0`.
    pub name: String,
    /// The device's name in the PCI id list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `up`, `down`, as the kernel sees the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Megabits per second; a link that is down, and many a virtual one, has no speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbits: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

/// What the process that looked may have (`ulimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory that may be locked.
    pub memlock: Limit,
    /// Open files.
    pub nofile: Limit,
}

/// A limit that a process may raise up to a hard one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub soft: Ceiling,
    pub hard: Ceiling,
}

/// A number, or none at all: in JSON a number or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "WrittenCeiling", into = "WrittenCeiling")]
pub enum Ceiling {
    At(u64),
    Unlimited,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenCeiling {
    Number(u64),
    Word(String),
}

impl TryFrom<WrittenCeiling> for Ceiling {
    type Error = String;

    fn try_from(written: WrittenCeiling) -> Result<Self, String> {
        match written {
            WrittenCeiling::Number(number) => Ok(Self::At(number)),
            WrittenCeiling::Word(word) if word == "unlimited" => Ok(Self::Unlimited),
            WrittenCeiling::Word(word) => Err(format!("{word:?} is not a limit: a number or \"unlimited\"")),
        }
    }
}

impl From<Ceiling> for WrittenCeiling {
    fn from(ceiling: Ceiling) -> Self {
        match ceiling {
            Ceiling::At(number) => Self::Number(number),
            Ceiling::Unlimited => Self::Word("unlimited".to_owned()),
        }
    }
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unreadable {
    /// The fact that is missing, for people: `memory of node 1`.
    pub what: String,
    /// The file, or whatever was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub reason: String,
}

/// Why facts are absent from a description that is not of a live machine.
pub const NOT_IN_SOURCE: &str = "not in this source";

impl Machine {
    /// The groups of facts that are absent as a whole, by their names in the contract.
    pub fn absent(&self) -> Vec<&'static str> {
        [
            ("cpu", self.cpu.is_none()),
            ("kernel", self.kernel.is_none()),
            ("distances", self.distances.is_none()),
            ("page_pools", self.nodes().iter().all(|node| node.page_pools.is_none())),
            ("hugetlbfs", self.hugetlbfs.is_none()),
            ("disks", self.disks.is_none()),
            ("gpus", self.gpus.is_none()),
            ("nics", self.nics.is_none()),
            ("limits", self.limits.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_absent)| is_absent.then_some(name))
        .collect()
    }

    /// Lists every absent group as not in the source that this machine comes from.
    pub fn note_absent(&mut self) {
        for what in self.absent() {
            self.note(what);
        }
    }

    /// Lists a fact as not in the source that this machine comes from.
    pub fn note(&mut self, what: &str) {
        self.unreadable.push(Unreadable { what: what.to_owned(), path: None, reason: NOT_IN_SOURCE.to_owned() });
    }

    /// The kind of a core, where cores differ.
    pub fn kind_of(&self, core: &Core) -> Option<&CpuKind> {
        self.cpu_kinds.iter().find(|kind| !kind.cpus.and(&core.cpus).is_empty())
    }

    /// The CPU model, from the kernel or else from the topology; of several the first.
    pub fn cpu_model(&self) -> Option<&str> {
        let told = self.cpu.as_ref().and_then(|cpu| cpu.models.first()).map(|model| model.name.as_str());
        told.or_else(|| self.parts().into_iter().find_map(|part| part.model.as_deref()))
    }

    /// The GPUs that proofs can be computed on.
    pub fn compute_gpus(&self) -> Vec<&Gpu> {
        self.gpus.iter().flatten().filter(|gpu| gpu.can_compute()).collect()
    }
}

impl Cpu {
    /// Whether every CPU has this extension, by the kernel's name.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|found| found == feature)
    }
}
