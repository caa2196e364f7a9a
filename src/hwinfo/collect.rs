//! An hwloc topology into a `Machine`.
//!
//! hwloc's tree is walked once. Objects that the contract knows become parts; the others (L1, L2, memory-side
//! caches) are looked through, so nothing that hangs below them is lost.

use crate::{
    machine::{Broken, Core, CpuKind, Machine, NumaNode, Part, PartKind, VERSION},
    sys::{
        Root,
        host::HostError,
        topology::{
            self, CpuSet, Detail, ObjectAttributes, ObjectType, Source, Topology, TopologyError, TopologyObject,
        },
    },
    units::{Bytes, CpuList, NodeId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CStr,
};

/// What hwloc does not tell about a host.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub hostname: String,
    /// Each node's own CPUs as the kernel lists them. Absent: worked out from the topology.
    pub node_cpus: Option<BTreeMap<NodeId, CpuList>>,
    /// The CPUs that the kernel calls online. Absent: what hwloc shows is all that is known.
    pub online_cpus: Option<CpuList>,
}

impl Facts {
    /// Of a machine of which hwloc alone tells.
    pub fn named(hostname: impl Into<String>) -> Self {
        Self { hostname: hostname.into(), ..Self::default() }
    }
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("look at a machine through hwloc: what it says makes no sense: {}", .0.iter().map(Broken::to_string).collect::<Vec<_>>().join("; "))]
    Broken(Vec<Broken>),
}

/// The machine that an XML export or a synthetic line describes.
pub fn describe(source: &Source, name: &str) -> Result<Machine, CollectError> {
    let topology = topology::load(source, Detail::Structure)?;
    let mut machine = collect(&topology, &Facts::named(name))?;
    super::recorded::fill(&mut machine, &topology, &Root::at("/"));
    Ok(machine)
}

/// The CPUs of each L2 cache, in hwloc's order; none where the source tells of no L2.
fn l2_caches(topology: &Topology) -> Vec<CpuList> {
    topology.objects_with_type(ObjectType::L2Cache).map(object_cpus).filter(|cpus| !cpus.is_empty()).collect()
}

/// The machine that `topology` and `facts` describe.
pub fn collect(topology: &Topology, facts: &Facts) -> Result<Machine, CollectError> {
    let online = cpus(&topology.cpuset());
    let mut root = part(topology.root_object(), PartKind::Machine);
    let allowed = topology.allowed_nodeset();
    // An endless set allows whatever there is.
    if allowed.weight().is_some() {
        forbid(&mut root, &allowed.iter_set().map(|node| NodeId(usize::from(node) as u32)).collect());
    }
    let own = match &facts.node_cpus {
        Some(own) => own.clone(),
        None => own_cpus(&nodes_near(&root)),
    };
    settle(&mut root, &own, &online);
    let allowed = cpus(&topology.allowed_cpuset()).and(&online);
    // What hwloc leaves out is offline, unless the kernel says otherwise.
    let left_out = cpus(&topology.complete_cpuset()).minus(&online);
    let l2 = l2_caches(topology);
    let cores = root.walk().iter().map(|part| part.cores.len()).sum();
    let machine = Machine {
        version: VERSION,
        hostname: facts.hostname.clone(),
        // An export without forbidden CPUs allows all that it has. One that has some was asked for all CPUs.
        offline_or_forbidden: facts.online_cpus.is_none() && !left_out.is_empty() && allowed == online,
        allowed_cpus: allowed,
        offline_cpus: facts.online_cpus.as_ref().map_or_else(|| left_out.clone(), |kernel| left_out.minus(kernel)),
        topology: root,
        l2_caches: u32::try_from(l2.len()).ok().filter(|count| *count > 0),
        // Where each core has an L2 of its own, whatever the cpuset, the list says nothing.
        l2_groups: Some(l2).filter(|l2| (1..cores).contains(&l2.len())),
        cpu_kinds: kinds(topology, &online),
        cpu: None,
        kernel: None,
        distances: None,
        hugetlbfs: None,
        disks: None,
        gpus: None,
        nics: None,
        limits: None,
        unreadable: Vec::new(),
    };
    match strange_cpu(&online, &machine.offline_cpus).into_iter().chain(machine.check()).collect::<Vec<_>>() {
        broken if broken.is_empty() => Ok(machine),
        broken => Err(CollectError::Broken(broken)),
    }
}

/// The kinds of cores, where they differ. Kernels tell kinds of machines whose cores are all alike too.
fn kinds(topology: &Topology, online: &CpuList) -> Vec<CpuKind> {
    let Ok(told) = topology.cpu_kinds() else { return Vec::new() };
    let count = told.len();
    let mut kinds: Vec<CpuKind> = told
        .enumerate()
        .map(|(i, kind)| CpuKind {
            name: kind_name(&kind, count).map_or_else(|| format!("kind {i}"), str::to_owned),
            efficiency: kind.efficiency.and_then(|rank| u32::try_from(rank).ok()),
            cpus: cpus(&kind.cpuset).and(online),
        })
        .collect();
    kinds.retain(|kind| !kind.cpus.is_empty());
    if kinds.iter().any(|kind| kind.cpus == *online) { Vec::new() } else { kinds }
}

/// What people call Intel's kinds. Of two kinds that are told apart by their speed alone, one is the faster.
fn kind_name(kind: &topology::CpuKind, count: usize) -> Option<&'static str> {
    let core_type = kind.infos.iter().find(|info| info.name().to_bytes() == b"CoreType");
    match (core_type.map(|info| info.value().to_bytes()), kind.efficiency) {
        (Some(b"IntelCore"), _) => Some("P-core"),
        (Some(b"IntelAtom"), _) => Some("E-core"),
        (None, Some(0)) if count == 2 => Some("slower core"),
        (None, Some(1)) if count == 2 => Some("faster core"),
        _ => None,
    }
}

/// A number that no cpu list may hold: what was collected must read back.
fn strange_cpu(online: &CpuList, offline: &CpuList) -> Option<Broken> {
    let highest = online.iter().last().max(offline.iter().last())?;
    let reason = highest.to_string().parse::<CpuList>().err()?.to_string();
    Some(Broken { path: "topology".to_owned(), reason })
}

/// The name of the host that a topology was recorded on, as far as the recording has it.
pub(super) fn recorded_hostname(topology: &Topology) -> Option<String> {
    topology.root_object().info("HostName").and_then(text)
}

/// An object as a part, with everything inside it. Nodes still carry the CPUs that hwloc gives them.
fn part(object: &TopologyObject, kind: PartKind) -> Part {
    let size_bytes = match object.attributes() {
        Some(ObjectAttributes::Cache(cache)) => cache.size().map(|size| Bytes(size.get())),
        _ => None,
    };
    let mut part = Part {
        kind,
        os_index: if kind == PartKind::Machine { None } else { os_index(object) },
        model: object.info("CPUModel").and_then(text),
        memory_bytes: Bytes(0),
        size_bytes,
        nodes: Vec::new(),
        parts: Vec::new(),
        cores: Vec::new(),
    };
    fill(&mut part, object);
    part
}

/// Puts what is inside `object` into `part`.
fn fill(part: &mut Part, object: &TopologyObject) {
    for child in object.memory_children() {
        memory(part, child);
    }
    for child in object.normal_children() {
        match kind_of(child.object_type()) {
            Some(kind) => part.parts.push(self::part(child, kind)),
            None => match child.object_type() {
                // A PU outside any core is a core of its own: hwloc knows no more about it.
                ObjectType::Core | ObjectType::PU => part.cores.push(Core {
                    os_index: if child.object_type() == ObjectType::Core { os_index(child) } else { None },
                    cpus: object_cpus(child),
                }),
                _ => fill(part, child),
            },
        }
        // A node can hang on a single core; the core stays whole and the node moves to the part around it.
        if child.object_type() == ObjectType::Core {
            for node in child.memory_children() {
                memory(part, node);
            }
        }
    }
}

/// Puts a memory object's nodes into `part`: behind a memory-side cache there is another memory object.
fn memory(part: &mut Part, object: &TopologyObject) {
    if let (Some(ObjectAttributes::NUMANode(node)), Some(id)) = (object.attributes(), os_index(object)) {
        part.nodes.push(NumaNode {
            os_index: NodeId(id),
            memory_bytes: Bytes(node.local_memory().map_or(0, |bytes| bytes.get())),
            cpus: object_cpus(object),
            subtype: object.subtype().and_then(text),
            forbidden: false,
            free_bytes: None,
            page_pools: None,
        });
    }
    for child in object.memory_children() {
        memory(part, child);
    }
}

fn kind_of(object_type: ObjectType) -> Option<PartKind> {
    Some(match object_type {
        ObjectType::Package => PartKind::Package,
        ObjectType::Die => PartKind::Die,
        ObjectType::Group => PartKind::Group,
        ObjectType::L5Cache => PartKind::L5,
        ObjectType::L4Cache => PartKind::L4,
        ObjectType::L3Cache => PartKind::L3,
        _ => return None,
    })
}

/// Every node with the CPUs that hwloc gives it.
fn nodes_near(root: &Part) -> Vec<(NodeId, CpuList)> {
    root.walk().into_iter().flat_map(|part| &part.nodes).map(|node| (node.os_index, node.cpus.clone())).collect()
}

/// Which node each CPU calls its own. hwloc gives a memory-only node the CPUs it is near to, so several nodes
/// may claim a CPU: the narrowest claim is the CPU's own node, and of equal ones the lowest number, because
/// kernels number the nodes with CPUs first.
fn own_cpus(near: &[(NodeId, CpuList)]) -> BTreeMap<NodeId, CpuList> {
    let mut owner: BTreeMap<u32, (usize, NodeId)> = BTreeMap::new();
    for (id, cpus) in near {
        let claim = (cpus.len(), *id);
        for cpu in cpus.iter() {
            owner.entry(cpu).and_modify(|best| *best = claim.min(*best)).or_insert(claim);
        }
    }
    let mut own: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
    for (cpu, (_, id)) in owner {
        own.entry(id).or_default().push(cpu);
    }
    own.into_iter().map(|(id, cpus)| (id, cpus.into_iter().collect())).collect()
}

/// Marks the nodes that are not among the allowed ones.
fn forbid(part: &mut Part, allowed: &BTreeSet<NodeId>) {
    for node in &mut part.nodes {
        node.forbidden = !allowed.contains(&node.os_index);
    }
    part.parts.iter_mut().for_each(|part| forbid(part, allowed));
}

/// Gives each node its own CPUs and each part the memory in it.
fn settle(part: &mut Part, own: &BTreeMap<NodeId, CpuList>, online: &CpuList) -> Bytes {
    for node in &mut part.nodes {
        node.cpus = own.get(&node.os_index).map(|cpus| cpus.and(online)).unwrap_or_default();
    }
    let nodes = part.nodes.iter().map(|node| node.memory_bytes.0).fold(0, u64::saturating_add);
    // A sum beyond 2^64 is refused where the machine is checked.
    let parts = part.parts.iter_mut().map(|part| settle(part, own, online).0).fold(0, u64::saturating_add);
    part.memory_bytes = Bytes(nodes.saturating_add(parts));
    part.memory_bytes
}

pub(super) fn os_index(object: &TopologyObject) -> Option<u32> {
    object.os_index().and_then(|index| u32::try_from(index).ok())
}

pub(super) fn object_cpus(object: &TopologyObject) -> CpuList {
    object.cpuset().map(|set| cpus(&set)).unwrap_or_default()
}

/// hwloc's CPU sets are OS indices. An infinite set cannot be listed and does not name real CPUs.
pub(super) fn cpus(set: &CpuSet) -> CpuList {
    if set.weight().is_none() {
        return CpuList::default();
    }
    set.iter_set().map(|cpu| usize::from(cpu) as u32).collect()
}

/// Text as hwloc has it, without the padding that firmware adds; nothing where nothing is left.
pub(super) fn text(raw: &CStr) -> Option<String> {
    let words: Vec<_> = raw.to_string_lossy().split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
