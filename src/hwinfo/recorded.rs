//! The facts of a machine that hwloc's objects hold: of an XML export nothing else is there.
//!
//! ```text
//! Machine     HostName, OSRelease, Architecture ─────────► kernel, cpu
//! Package     CPUModel ──────────────────────────────────► cpu
//! NUMANode    page types, distances ─────────────────────► page_pools, distances
//! PCI device  class, numbers, names ─┐
//! OS device   sda, eth0, nvml0 ──────┴─ nearest node ────► disks, gpus, nics
//! ```
//!
//! An export may have been made without devices, or without some. So a list that would be empty is absent: only where
//! PCI devices were exported and none is a GPU there is none.

use super::{
    collect::{os_index, text},
    facts,
};
use crate::{
    machine::{Cpu, CpuModel, Disk, Distances, Gpu, Kernel, Machine, Nic, NumaNode, PagePool, Part},
    sys::{
        Misses, Root,
        disk::kind_by_name,
        pci::{self, PciDevice},
        topology::{OSDeviceType, ObjectAttributes, ObjectType, PCIDeviceAttributes, Topology, TopologyObject},
    },
    units::{Bytes, CpuList, NodeId},
};

/// Interfaces of no hardware, as far as their names tell.
const VIRTUAL_NICS: [&str; 14] =
    ["lo", "docker", "veth", "virbr", "br-", "bond", "dummy", "tun", "tap", "ifb", "team", "wg", "vlan", "macvtap"];
/// Where hwloc's backends write a GPU's memory, in KiB.
const MEMORY_KIB: [&str; 4] = ["CUDAGlobalMemorySize", "RSMIVRAMSize", "OpenCLGlobalMemorySize", "LevelZeroHBMSize"];

/// Fills in what `topology` tells beside its tree. Devices without a name are called as the PCI id list under `names`
/// calls them.
pub fn fill(machine: &mut Machine, topology: &Topology, names: &Root) {
    let mut misses = Misses::default();
    machine.cpu = cpu(machine, topology);
    machine.kernel = kernel(topology);
    machine.distances = distances(machine, topology);
    fill_pools(&mut machine.topology, topology);
    fill_devices(machine, topology, names, &mut misses);
    facts::settle_nodes(machine);
    machine.note_absent();
    note_parts(machine);
    machine.unreadable.extend(misses.0.into_iter().map(facts::unreadable));
}

/// What the groups that are there lack.
fn note_parts(machine: &mut Machine) {
    let is_some = [
        (machine.cpu.is_some(), "instructions of the processor"),
        (machine.kernel.is_some(), "SMT state, governors, huge page and NUMA settings, swap"),
        (machine.nodes().iter().any(|node| node.page_pools.is_some()), "free memory and free hugepages"),
        (machine.disks.is_some(), "mounts of disks"),
        (machine.gpus.iter().flatten().any(|gpu| gpu.memory_bytes.is_none()), "memory of GPUs"),
        (machine.gpus.iter().flatten().next().is_some(), "drivers of GPUs"),
        (machine.nics.is_some(), "state, speed and driver of network interfaces"),
    ];
    for (_, what) in is_some.iter().filter(|(is_there, _)| *is_there) {
        machine.note(what);
    }
}

/// Models by the parts that have one; of a part in a part that has one the inner counts.
fn cpu(machine: &Machine, topology: &Topology) -> Option<Cpu> {
    let mut models: Vec<CpuModel> = Vec::new();
    let mut told = CpuList::default();
    let parts = machine.parts();
    for part in parts.into_iter().rev() {
        let (Some(name), cpus) = (&part.model, part.cpus().minus(&told)) else { continue };
        told = told.or(&cpus);
        match models.iter_mut().find(|model| model.name == *name) {
            Some(model) => model.cpus = model.cpus.or(&cpus),
            None if cpus.is_empty() => {}
            None => models.push(CpuModel { name: name.clone(), cpus }),
        }
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let architecture = info(topology.root_object(), "Architecture");
    let cpu = Cpu { architecture, models, features: Vec::new() };
    (cpu != Cpu::default()).then_some(cpu)
}

fn kernel(topology: &Topology) -> Option<Kernel> {
    let root = topology.root_object();
    let is_linux = info(root, "OSName").is_none_or(|name| name == "Linux");
    let release = info(root, "OSRelease").filter(|_| is_linux)?;
    Some(Kernel { release: Some(release), ..Kernel::default() })
}

/// The kernel's own matrix, as far as its nodes are in the tree.
fn distances(machine: &Machine, topology: &Topology) -> Option<Distances> {
    let matrices = topology.distances_with_name("NUMALatency").ok()?;
    let matrix = matrices.first()?;
    let size = matrix.num_objects();
    let node = |object: Option<&TopologyObject>| {
        let object = object.filter(|object| object.object_type() == ObjectType::NUMANode)?;
        os_index(object).map(NodeId).filter(|node| machine.node(*node).is_some())
    };
    let kept: Vec<(usize, NodeId)> =
        matrix.objects().enumerate().filter_map(|(index, object)| Some((index, node(object)?))).collect();
    let values = matrix.distances();
    let value = |row: usize, column: usize| u32::try_from(*values.get(row * size + column)?).ok();
    let row = |from: usize| kept.iter().map(|(to, _)| value(from, *to)).collect::<Option<Vec<u32>>>();
    let rows = kept.iter().map(|(from, _)| row(*from)).collect::<Option<Vec<_>>>()?;
    (!kept.is_empty()).then(|| Distances { nodes: kept.iter().map(|(_, node)| *node).collect(), rows })
}

fn fill_pools(part: &mut Part, topology: &Topology) {
    for node in &mut part.nodes {
        node.page_pools = pools(node, topology);
    }
    for inner in &mut part.parts {
        fill_pools(inner, topology);
    }
}

/// hwloc lists the normal pages first, then the hugepages. Where it has no hugepages it may not have looked.
fn pools(node: &NumaNode, topology: &Topology) -> Option<Vec<PagePool>> {
    let object = topology.node_with_os_index(node.os_index.0 as usize)?;
    let Some(ObjectAttributes::NUMANode(attributes)) = object.attributes() else { return None };
    let pools: Vec<PagePool> = attributes
        .page_types()
        .iter()
        .skip(1)
        .map(|pages| PagePool {
            page_bytes: Bytes(pages.size().get()),
            pages: pages.count(),
            free: None,
            surplus: None,
        })
        .collect();
    (!pools.is_empty()).then_some(pools)
}

fn fill_devices(machine: &mut Machine, topology: &Topology, names: &Root, misses: &mut Misses) {
    let of_kind = |wanted: OSDeviceType| {
        let devices = topology.os_devices().filter(move |object| {
            matches!(object.attributes(), Some(ObjectAttributes::OSDevice(device)) if device.device_type() == wanted)
        });
        devices.collect::<Vec<_>>()
    };
    let (storage, network) = (of_kind(OSDeviceType::Storage), of_kind(OSDeviceType::Network));
    let gpus: Vec<_> = topology.pci_devices().filter(|object| pci(object).is_some_and(is_gpu)).collect();
    let network: Vec<_> = network.into_iter().filter(|nic| is_hardware(nic)).collect();
    let wanted: Vec<pci::Ids> = gpus
        .iter()
        .copied()
        .chain(network.iter().filter_map(|nic| pci_of(nic)))
        .filter(|object| info(object, "PCIDevice").is_none() || info(object, "PCIVendor").is_none())
        .filter_map(|object| pci(object).map(ids))
        .collect();
    let names = facts::pci_names(names, &wanted, misses);
    machine.disks =
        (!storage.is_empty()).then(|| storage.iter().filter_map(|disk| self::disk(machine, disk)).collect());
    machine.nics =
        (!network.is_empty()).then(|| network.iter().filter_map(|nic| self::nic(machine, nic, &names)).collect());
    let has_pci = topology.pci_devices().len() > 0;
    machine.gpus = has_pci.then(|| gpus.iter().filter_map(|gpu| self::gpu(machine, gpu, &names)).collect());
}

fn is_gpu(device: &PCIDeviceAttributes) -> bool {
    facts::is_gpu(u32::from(device.class_id()) << 8, device.vendor_id())
}

fn ids(device: &PCIDeviceAttributes) -> pci::Ids {
    (device.vendor_id(), device.device_id())
}

fn pci(object: &TopologyObject) -> Option<&PCIDeviceAttributes> {
    match object.attributes()? {
        ObjectAttributes::PCIDevice(device) => Some(device),
        _ => None,
    }
}

/// The PCI device that an OS device is a face of.
fn pci_of(object: &TopologyObject) -> Option<&TopologyObject> {
    object.ancestors().find(|ancestor| ancestor.object_type() == ObjectType::PCIDevice)
}

/// An export of everything has loopbacks and bridges too, beside the interfaces of boards without PCI.
fn is_hardware(nic: &TopologyObject) -> bool {
    let name = nic.name().and_then(text).unwrap_or_default();
    pci_of(nic).is_some() || !VIRTUAL_NICS.iter().any(|prefix| name.starts_with(prefix))
}

/// The nodes of what a device hangs on: where it is one, or one that has CPUs, it is the nearest.
fn node_near(machine: &Machine, object: &TopologyObject) -> Option<NodeId> {
    let near = object.first_non_io_ancestor()?.nodeset()?;
    let is_near = |node: &&NumaNode| near.is_set(node.os_index.0 as usize);
    let nodes: Vec<&NumaNode> = machine.nodes().into_iter().filter(is_near).collect();
    let with_cpus: Vec<_> = nodes.iter().filter(|node| !node.is_memory_only()).collect();
    match (&nodes[..], &with_cpus[..]) {
        ([node], _) => Some(node.os_index),
        (_, [node]) => Some(node.os_index),
        _ => None,
    }
}

fn disk(machine: &Machine, object: &TopologyObject) -> Option<Disk> {
    let name = object.name().and_then(text)?;
    // Memory that is used as a device is no disk to the kernel.
    let is_memory = name.starts_with("dax") || subtype(object).is_some_and(|subtype| subtype == "CXLMem");
    let kind = kind_by_name(&name).filter(|_| !is_memory)?;
    let kib = info(object, "Size").and_then(|kib| kib.parse::<u64>().ok());
    Some(Disk {
        model: info(object, "Model"),
        size_bytes: kib.and_then(|kib| kib.checked_mul(1024)).map(Bytes),
        kind: facts::disk_kind(kind),
        node: node_near(machine, object),
        mounts: None,
        name,
    })
}

/// A GPU by its PCI device; what the vendor's library told is in its OS devices, and known better.
fn gpu(machine: &Machine, object: &TopologyObject, names: &pci::Names) -> Option<Gpu> {
    let attributes = pci(object)?;
    let node = node_near(machine, object);
    let mut gpu =
        facts::gpu(&PciDevice { address: address(attributes), ids: ids(attributes), driver: None, node }, names);
    let told = |key: &str| object.io_children().find_map(|device| info(device, key));
    if let Some(name) = told("GPUModel").or_else(|| info(object, "PCIDevice")) {
        gpu.name = name;
    }
    if let Some(vendor) = info(object, "PCIVendor").or_else(|| told("GPUVendor")) {
        gpu.vendor = Some(vendor);
    }
    let kib = MEMORY_KIB.iter().find_map(|key| told(key)?.parse::<u64>().ok());
    gpu.memory_bytes = kib.and_then(|kib| kib.checked_mul(1024)).map(Bytes);
    Some(gpu)
}

fn nic(machine: &Machine, object: &TopologyObject, names: &pci::Names) -> Option<Nic> {
    let card = pci_of(object);
    let ids = card.and_then(pci).map(ids);
    let told = |key: &str| card.and_then(|card| info(card, key));
    let vendor = told("PCIVendor").or_else(|| names.vendor(ids?).map(str::to_owned));
    let device = told("PCIDevice").or_else(|| names.device(ids?).map(str::to_owned));
    Some(Nic {
        name: object.name().and_then(text)?,
        model: facts::nic_model(vendor.as_deref(), device.as_deref()),
        state: None,
        speed_mbits: None,
        driver: None,
        pci_address: card.and_then(pci).map(address),
        node: node_near(machine, object),
    })
}

pub(super) fn address(device: &PCIDeviceAttributes) -> String {
    format!("{:04x}:{:02x}:{:02x}.{:x}", device.domain(), device.bus_id(), device.bus_device(), device.function())
}

fn subtype(object: &TopologyObject) -> Option<String> {
    object.subtype().and_then(text)
}

fn info(object: &TopologyObject, key: &str) -> Option<String> {
    object.info(key).and_then(text)
}
