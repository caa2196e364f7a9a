//! The facts beside the topology: read by `sys`, put into the contract, each miss listed with its reason.
//!
//! ```text
//! Root ─► sys::{cpu, settings, memory, mount, disk, pci, nic, nvml} ─► Machine { cpu, kernel, disks, … }
//!                                                          └─ misses ─► Machine { unreadable }
//! ```
//!
//! A captured tree is read in the same way, without what is of the running host alone: its processes' limits, the space
//! that is left, what a driver's library tells.

use crate::{
    machine::{
        Ceiling, Cpu, CpuModel, Disk, DiskKind, Distances, Governor, Gpu, HugetlbfsMount, Kernel, Limit, Limits,
        Machine, Mount, NOT_IN_SOURCE, Nic, PagePool, Part, Swap, Unreadable,
    },
    sys::{
        Miss, Misses, Root, cpu, disk, memory,
        misses::NOT_CAPTURED,
        mount::{self, Mounted},
        nic,
        nvml::{self, NvmlFailed, Told},
        pci::{self, PciDevice},
        settings::{self, SoftHard},
    },
    units::{Bytes, NodeId},
};
use std::collections::{BTreeMap, BTreeSet};

/// PCI's vendor numbers.
const NVIDIA: u16 = 0x10de;
const AMD: u16 = 0x1002;

/// Fills in everything that the files under `root` tell. `ask_nvml` is called where NVIDIA's driver runs.
pub fn fill(machine: &mut Machine, root: &Root, ask_nvml: impl FnOnce() -> Result<Told, NvmlFailed>) {
    fill_from(machine, root, root, ask_nvml);
}

/// Fills in what a captured tree holds of a machine. Devices are called as the PCI id list under `names` calls them.
pub fn fill_captured(machine: &mut Machine, root: &Root, names: &Root) {
    fill_from(machine, root, names, || Ok(Told::default()));
}

fn fill_from(machine: &mut Machine, root: &Root, names: &Root, ask_nvml: impl FnOnce() -> Result<Told, NvmlFailed>) {
    machine.unreadable.retain(|missed| missed.reason != NOT_IN_SOURCE);
    let mut misses = Misses::default();
    machine.cpu = misses.keep("processors and their instructions", cpu::info(root)).map(processors);
    machine.kernel = Some(kernel(root, &mut misses));
    fill_nodes(&mut machine.topology, root, &mut misses);
    machine.distances = misses.keep("distances of nodes", memory::distances(root)).map(|told| known(machine, told));
    let mounts = misses.keep("mounts (hugetlbfs, file systems of disks)", mount::mounts(root));
    machine.hugetlbfs = mounts.as_deref().map(|mounts| hugetlbfs(mounts, root, &mut misses));
    let disks = disk::disks(root, &mut misses);
    machine.disks = misses.keep_devices("disks", disks).map(|disks| {
        disks.into_iter().map(|disk| disk_with_mounts(disk, mounts.as_deref(), root, &mut misses)).collect()
    });
    fill_pci(machine, root, names, ask_nvml, &mut misses);
    if root.is_captured() {
        note_not_captured(machine, &mut misses);
    } else {
        machine.limits = misses.keep("limits of this process", settings::limits(root)).map(limits);
    }
    settle_nodes(machine);
    machine.unreadable.extend(misses.0.into_iter().map(unreadable));
}

pub(super) fn unreadable(miss: Miss) -> Unreadable {
    Unreadable { what: miss.what, path: miss.path, reason: miss.reason }
}

/// What no captured tree holds, and what this one lacks of every node, each in one entry.
fn note_not_captured(machine: &Machine, misses: &mut Misses) {
    let not_captured = |what: &str| Miss { what: what.to_owned(), path: None, reason: NOT_CAPTURED.to_owned() };
    if machine.disks.iter().flatten().any(|disk| disk.mounts.as_ref().is_some_and(|mounts| !mounts.is_empty())) {
        misses.0.push(not_captured("free space of file systems"));
    }
    misses.0.push(not_captured("limits of a process"));
    misses.join_numbered();
}

fn processors(info: cpu::CpuInfo) -> Cpu {
    let models = info.models.into_iter().map(|(name, cpus)| CpuModel { name, cpus }).collect();
    Cpu { architecture: info.architecture, models, features: info.features }
}

fn kernel(root: &Root, misses: &mut Misses) -> Kernel {
    let governors = cpu::governors(root, misses);
    Kernel {
        release: misses.keep("kernel release", settings::release(root)),
        smt: misses.keep("SMT state", cpu::smt(root)),
        governors: misses
            .keep("frequency governors", governors)
            .map(|found| found.into_iter().map(|(name, cpus)| Governor { name, cpus }).collect()),
        transparent_hugepages: misses.keep("transparent huge pages", settings::transparent_hugepages(root)),
        numa_balancing: misses.keep("NUMA balancing", settings::numa_balancing(root)),
        swap: misses
            .keep("swap", settings::swap(root))
            .map(|(total_bytes, used_bytes)| Swap { total_bytes, used_bytes }),
    }
}

fn fill_nodes(part: &mut Part, root: &Root, misses: &mut Misses) {
    for node in &mut part.nodes {
        let id = node.os_index;
        node.free_bytes = misses.keep(format!("free memory of node {id}"), memory::free(root, id));
        node.page_pools = misses.keep(format!("hugepages of node {id}"), memory::pools(root, id)).map(|pools| {
            let pool = |pool: memory::Pool| PagePool {
                page_bytes: pool.page_bytes,
                pages: pool.pages,
                free: Some(pool.free),
                surplus: Some(pool.surplus),
            };
            pools.into_iter().map(pool).collect()
        });
    }
    for inner in &mut part.parts {
        fill_nodes(inner, root, misses);
    }
}

/// The rows and columns of nodes that are in the topology. The kernel also numbers nodes that have nothing yet.
fn known(machine: &Machine, (nodes, rows): (Vec<NodeId>, Vec<Vec<u32>>)) -> Distances {
    let kept: Vec<usize> = (0..nodes.len()).filter(|index| machine.node(nodes[*index]).is_some()).collect();
    let rows = kept.iter().map(|row| kept.iter().map(|column| rows[*row][*column]).collect()).collect();
    Distances { nodes: kept.iter().map(|index| nodes[*index]).collect(), rows }
}

fn hugetlbfs(mounts: &[Mounted], root: &Root, misses: &mut Misses) -> Vec<HugetlbfsMount> {
    let mut found = Vec::new();
    for mounted in mounts.iter().filter(|mounted| mounted.filesystem == "hugetlbfs") {
        let path = mounted.path.clone();
        // Kernels before 4.13 do not name the size where it is the default one.
        let told = mounted.page_bytes().map_or_else(|| settings::meminfo(root, "Hugepagesize"), Ok);
        if let Some(page_bytes) = misses.keep(format!("page size of hugetlbfs {path}"), told) {
            found.push(HugetlbfsMount { path, page_bytes });
        }
    }
    found
}

fn disk_with_mounts(found: disk::DiskFound, mounts: Option<&[Mounted]>, root: &Root, misses: &mut Misses) -> Disk {
    let mounts = mounts.map(|mounts| mounts_on(&found.devices, mounts, root).into_iter());
    let mounts = mounts.map(|mounts| mounts.map(|mounted| mount_of(mounted, root, misses)).collect());
    let kind = disk_kind(found.kind);
    Disk { name: found.name, model: found.model, size_bytes: found.size, kind, node: found.node, mounts }
}

pub(super) fn disk_kind(kind: disk::Kind) -> DiskKind {
    match kind {
        disk::Kind::Nvme => DiskKind::Nvme,
        disk::Kind::Ssd => DiskKind::Ssd,
        disk::Kind::Hdd => DiskKind::Hdd,
        disk::Kind::Unknown => DiskKind::Unknown,
    }
}

/// The space of a captured file system is that of whatever is mounted there on this host.
fn mount_of(mounted: &Mounted, root: &Root, misses: &mut Misses) -> Mount {
    let space = match root.is_captured() {
        true => None,
        false => misses.keep(format!("free space of {}", mounted.path), mount::space(root, &mounted.path)),
    };
    Mount {
        path: mounted.path.clone(),
        filesystem: mounted.filesystem.clone(),
        read_only: mounted.read_only,
        total_bytes: space.map(|(total, _)| total),
        free_bytes: space.map(|(_, free)| free),
    }
}

/// The folders that are mounted from these devices. btrfs has a number of its own, so a device's name counts too.
/// Single files, as containers have them bound in, are no place for anything.
fn mounts_on<'a>(devices: &BTreeSet<String>, mounts: &'a [Mounted], root: &Root) -> Vec<&'a Mounted> {
    let is_from = |mounted: &Mounted| {
        devices.contains(&mounted.device)
            || mounted.source.strip_prefix("/dev/").is_some_and(|name| devices.contains(name))
    };
    let is_place = |mounted: &Mounted| mounted.subtree == "/" || root.path(&mounted.path).is_dir();
    // A later mount on the same path hides the earlier one.
    let by_path: BTreeMap<_, _> = mounts.iter().map(|mounted| (mounted.path.as_str(), mounted)).collect();
    by_path.into_values().filter(|mounted| is_from(mounted) && is_place(mounted)).collect()
}

/// GPUs and network interfaces: both have their names from the PCI id list, which is read once, and only for them.
fn fill_pci(
    machine: &mut Machine,
    root: &Root,
    names: &Root,
    ask_nvml: impl FnOnce() -> Result<Told, NvmlFailed>,
    misses: &mut Misses,
) {
    let before = misses.0.len();
    let devices = pci::devices(root, is_gpu, misses);
    let all_told = misses.0.len() == before;
    // Whoever could not see every device cannot say that there is no GPU.
    let devices = misses.keep_devices("GPUs", devices).filter(|found| all_told || !found.is_empty());
    let nics = nic::nics(root, misses);
    let nics = misses.keep_devices("network interfaces", nics);
    let mut wanted: Vec<pci::Ids> = devices.iter().flatten().map(|device| device.ids).collect();
    wanted.extend(nics.iter().flatten().filter_map(|nic| nic.ids));
    let names = pci_names(names, &wanted, misses);
    let gpus = gpus(devices.as_deref().unwrap_or_default(), &names, root, ask_nvml, misses);
    machine.gpus = (devices.is_some() || !gpus.is_empty()).then_some(gpus);
    machine.nics = nics.map(|nics| nics.into_iter().map(|found| nic_of(found, &names)).collect());
}

/// The names of these devices, where the id list of this host has them.
pub(super) fn pci_names(root: &Root, wanted: &[pci::Ids], misses: &mut Misses) -> pci::Names {
    match wanted.is_empty() {
        true => pci::Names::default(),
        false => misses.keep("names of PCI devices", pci::names(root, wanted)).unwrap_or_default(),
    }
}

/// Display controllers, and what GPU vendors sell as processing accelerators.
pub(super) fn is_gpu(class: u32, vendor: u16) -> bool {
    match class >> 16 {
        0x03 => true,
        0x12 => [NVIDIA, AMD].contains(&vendor),
        _ => false,
    }
}

fn gpus(
    devices: &[PciDevice],
    names: &pci::Names,
    root: &Root,
    ask_nvml: impl FnOnce() -> Result<Told, NvmlFailed>,
    misses: &mut Misses,
) -> Vec<Gpu> {
    let is_bound = devices.iter().any(|device| device.driver.as_deref() == Some("nvidia"));
    let has_driver = !root.is_captured() && (is_bound || root.path("/proc/driver/nvidia/version").exists());
    let mut gpus: Vec<Gpu> = devices.iter().map(|device| gpu(device, names)).collect();
    let told = match has_driver.then(ask_nvml) {
        Some(Ok(told)) => told,
        Some(Err(failed)) => {
            misses.0.push(nvml_miss("names and memory of NVIDIA GPUs", failed.0));
            Told::default()
        }
        None => Told::default(),
    };
    for reason in &told.failed {
        misses.0.push(nvml_miss("facts of an NVIDIA GPU", reason.clone()));
    }
    add_told(&mut gpus, told);
    for gpu in gpus.iter_mut().filter(|gpu| gpu.can_compute() && gpu.memory_bytes.is_none()) {
        add_amd_memory(gpu, root, misses);
    }
    gpus
}

pub(super) fn gpu(device: &PciDevice, names: &pci::Names) -> Gpu {
    let (vendor, number) = device.ids;
    Gpu {
        name: names.device(device.ids).map_or_else(|| format!("PCI device {vendor:04x}:{number:04x}"), str::to_owned),
        vendor: names.vendor(device.ids).map(str::to_owned),
        vendor_id: Some(format!("{vendor:04x}")),
        pci_address: Some(device.address.clone()),
        driver: device.driver.clone(),
        driver_version: None,
        memory_bytes: None,
        node: device.node,
    }
}

/// What the driver's library knows better. In a container it may know GPUs that /sys does not show.
fn add_told(gpus: &mut Vec<Gpu>, told: Told) {
    for found in told.gpus {
        let known = gpus.iter().position(|gpu| gpu.pci_address.as_deref() == Some(&found.pci_address));
        let index = known.unwrap_or_else(|| {
            gpus.push(Gpu {
                name: String::new(),
                vendor: Some("NVIDIA Corporation".to_owned()),
                vendor_id: Some(format!("{NVIDIA:04x}")),
                pci_address: Some(found.pci_address.clone()),
                driver: Some("nvidia".to_owned()),
                driver_version: None,
                memory_bytes: None,
                node: None,
            });
            gpus.len() - 1
        });
        gpus[index].name = found.name;
        gpus[index].memory_bytes = found.memory;
        gpus[index].driver_version = Some(told.driver_version.clone());
    }
}

fn nvml_miss(what: &str, reason: String) -> Miss {
    Miss { what: what.to_owned(), path: Some(nvml::LIBRARY.to_owned()), reason }
}

/// AMD's driver tells the memory in /sys; others do not.
fn add_amd_memory(gpu: &mut Gpu, root: &Root, misses: &mut Misses) {
    let address = gpu.pci_address.clone().unwrap_or_default();
    let path = format!("/sys/bus/pci/devices/{address}/mem_info_vram_total");
    match root.read_some(&path).map(|text| text.and_then(|text| text.parse().ok())) {
        Ok(Some(bytes)) => gpu.memory_bytes = Some(Bytes(bytes)),
        Ok(None) => misses.0.push(Miss {
            what: format!("memory of GPU {address}"),
            path: None,
            reason: match &gpu.driver {
                _ if root.is_captured() => NOT_CAPTURED.to_owned(),
                Some(driver) => format!("its driver {driver} does not tell it"),
                None => "no driver is bound to it".to_owned(),
            },
        }),
        Err(error) => misses.add(format!("memory of GPU {address}"), error),
    }
}

fn nic_of(found: nic::NicFound, names: &pci::Names) -> Nic {
    let model = found.ids.and_then(|ids| nic_model(names.vendor(ids), names.device(ids)));
    Nic {
        name: found.name,
        model,
        state: found.state,
        speed_mbits: found.speed_mbits,
        driver: found.driver,
        pci_address: found.pci_address,
        node: found.node,
    }
}

pub(super) fn nic_model(vendor: Option<&str>, device: Option<&str>) -> Option<String> {
    match (vendor, device) {
        (Some(vendor), Some(device)) => Some(format!("{vendor} {device}")),
        (vendor, device) => vendor.or(device).map(str::to_owned),
    }
}

fn limits((memlock, nofile): (SoftHard, SoftHard)) -> Limits {
    let ceiling = |limit: Option<u64>| limit.map_or(Ceiling::Unlimited, Ceiling::At);
    let limit = |(soft, hard): SoftHard| Limit { soft: ceiling(soft), hard: ceiling(hard) };
    Limits { memlock: limit(memlock), nofile: limit(nofile) }
}

/// Where firmware names no node and there is only one, that one is the nearest.
pub(super) fn settle_nodes(machine: &mut Machine) {
    let only = match machine.nodes()[..] {
        [node] => Some(node.os_index),
        _ => None,
    };
    let disks = machine.disks.iter_mut().flatten().map(|disk| &mut disk.node);
    let gpus = machine.gpus.iter_mut().flatten().map(|gpu| &mut gpu.node);
    let nics = machine.nics.iter_mut().flatten().map(|nic| &mut nic.node);
    for node in disks.chain(gpus).chain(nics) {
        *node = node.or(only);
    }
}
