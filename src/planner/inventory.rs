//! What a machine has to give to stages: nodes with their L3 groups of whole cores, GPUs in the order of their bus,
//! and the file systems on its fast disks. A view; the facts stay the machine's.

use crate::{
    machine::{Answer, Disk, DiskKind, Machine},
    units::{Bytes, CpuList, NodeId},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The view.
#[derive(Clone, Debug)]
pub(crate) struct Inventory<'m> {
    pub machine: &'m Machine,
    /// The nodes with usable cores, in the order of their numbers.
    pub nodes: Vec<Node>,
    /// Usable cores, whatever node they are in.
    pub cores: u32,
    pub memory: Bytes,
    pub cpu: Option<String>,
    pub sha: Option<bool>,
    /// NVIDIA's; their place here is their number with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
    pub gpus: Vec<GpuAt>,
    /// File systems on fast disks, ordered by node.
    pub stores: Vec<Store>,
    /// What could be used and is not, and why.
    pub unused: Vec<String>,
}

/// A NUMA node with cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub id: NodeId,
    pub memory: Bytes,
    /// Memory that hugepages hold already.
    pub pooled: Bytes,
    /// The usable cores of each L3 group, each core with all its CPUs, in the order of their first CPU.
    pub groups: Vec<Vec<Core>>,
}

/// A usable core: its CPUs, and the lowest of them, which it goes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Core {
    pub first: u32,
    pub cpus: CpuList,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuAt {
    pub name: String,
    pub memory: Option<Bytes>,
    /// Its place in `Inventory::nodes`.
    pub node: Option<usize>,
}

/// A file system that sealing stores can lie on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub path: PathBuf,
    /// Kind and model of each disk below it.
    pub disks: Vec<(&'static str, Option<String>)>,
    pub node: Option<NodeId>,
    /// None where the machine does not tell.
    pub total: Option<Bytes>,
}

impl<'m> Inventory<'m> {
    pub fn of(machine: &'m Machine) -> Self {
        let nodes = nodes(machine);
        let mut unused = Vec::new();
        let gpus = gpus(machine, &nodes, &mut unused);
        let stores = stores(machine, &mut unused);
        Self {
            cores: machine.usable_cores().len() as u32,
            memory: machine.memory_bytes(),
            cpu: machine.cpu_model().map(str::to_owned),
            sha: match machine.pc1_capable().answer {
                Answer::Yes => Some(true),
                Answer::No => Some(false),
                Answer::Unknown => None,
            },
            machine,
            nodes,
            gpus,
            stores,
            unused,
        }
    }

    /// All CPUs of the cores that go by these numbers.
    pub fn cpus_of(&self, cores: &[u32]) -> CpuList {
        let wanted: std::collections::BTreeSet<u32> = cores.iter().copied().collect();
        let all = self.nodes.iter().flat_map(|node| node.groups.iter().flatten());
        all.filter(|core| wanted.contains(&core.first)).flat_map(|core| core.cpus.iter()).collect()
    }

    /// The file system that a folder lies on, as far as the machine tells.
    pub fn store_of(&self, dir: &Path) -> Option<&Store> {
        let holders = self.stores.iter().filter(|store| dir.starts_with(&store.path));
        holders.max_by_key(|store| store.path.components().count())
    }
}

impl Node {
    /// Its usable cores.
    pub fn cores(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }
}

fn nodes(machine: &Machine) -> Vec<Node> {
    let mut nodes: Vec<Node> = machine
        .nodes()
        .into_iter()
        .filter(|node| !node.cpus.is_empty())
        .map(|node| Node {
            id: node.os_index,
            memory: node.memory_bytes,
            pooled: Bytes(
                node.page_pools.iter().flatten().map(|pool| pool.page_bytes.0.saturating_mul(pool.pages)).sum(),
            ),
            groups: Vec::new(),
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    for group in machine.l3_groups() {
        let mut by_node: BTreeMap<NodeId, Vec<Core>> = BTreeMap::new();
        for core in group.walk().into_iter().flat_map(|part| &part.cores) {
            let cpus = core.cpus.and(&machine.allowed_cpus);
            let Some(first) = cpus.iter().next() else { continue };
            if let Some(node) = machine.node_of(first) {
                by_node.entry(node.os_index).or_default().push(Core { first, cpus });
            }
        }
        for (id, mut cores) in by_node {
            cores.sort();
            let node = nodes.iter_mut().find(|node| node.id == id).expect("a node with CPUs is in the list");
            node.groups.push(cores);
        }
    }
    nodes.iter_mut().for_each(|node| node.groups.sort());
    nodes.retain(|node| !node.groups.is_empty());
    nodes
}

fn gpus(machine: &Machine, nodes: &[Node], unused: &mut Vec<String>) -> Vec<GpuAt> {
    let mut gpus = machine.compute_gpus();
    // Without a bus address the order of the description is all there is.
    gpus.sort_by(|a, b| a.pci_address.cmp(&b.pci_address));
    for gpu in gpus.iter().filter(|gpu| gpu.vendor_id.as_deref() != Some("10de")) {
        unused
            .push(format!("{} is not used: only NVIDIA's GPUs can be given to a processor by their number", gpu.name));
    }
    gpus.retain(|gpu| gpu.vendor_id.as_deref() == Some("10de"));
    gpus.into_iter()
        .map(|gpu| GpuAt {
            name: gpu.name.clone(),
            memory: gpu.memory_bytes,
            node: gpu.node.and_then(|id| nodes.iter().position(|node| node.id == id)),
        })
        .collect()
}

/// Folders that a system lives in: no place for sealing stores.
const SYSTEM: [&str; 7] = ["/boot", "/efi", "/usr", "/var", "/home", "/nix", "/snap"];

fn stores(machine: &Machine, unused: &mut Vec<String>) -> Vec<Store> {
    let mut stores: BTreeMap<PathBuf, Store> = BTreeMap::new();
    for disk in machine.disks.iter().flatten().filter(|disk| matches!(disk.kind, DiskKind::Nvme | DiskKind::Ssd)) {
        match &disk.mounts {
            None => unused.push(format!("{} is not used: where it is mounted is not known", disk.name)),
            Some(mounts) if mounts.is_empty() => {
                unused.push(format!("{} is not used: no file system of it is mounted", disk.name));
            }
            Some(_) => {}
        }
        for mount in disk.mounts.iter().flatten().filter(|mount| !mount.read_only && !is_system(&mount.path)) {
            let store = stores.entry(PathBuf::from(&mount.path)).or_insert_with(|| Store {
                path: PathBuf::from(&mount.path),
                disks: Vec::new(),
                node: disk.node,
                total: mount.total_bytes,
            });
            let kind = if disk.kind == DiskKind::Nvme { "nvme" } else { "ssd" };
            store.disks.push((kind, disk.model.clone()));
            store.total = store.total.or_else(|| size_of(disk));
        }
    }
    let mut stores: Vec<_> = stores.into_values().collect();
    stores.sort_by_key(|store| (store.node, natural(&store.path)));
    stores
}

/// `nvme2` before `nvme10`.
fn natural(path: &Path) -> (usize, PathBuf) {
    (path.as_os_str().len(), path.to_owned())
}

fn is_system(path: &str) -> bool {
    path == "/" || SYSTEM.iter().any(|system| Path::new(path).starts_with(system))
}

/// A disk with several file systems gives none of them its whole size.
fn size_of(disk: &Disk) -> Option<Bytes> {
    disk.size_bytes.filter(|_| disk.mounts.as_ref().is_some_and(|mounts| mounts.len() == 1))
}
