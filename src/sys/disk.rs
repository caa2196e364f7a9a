//! Disks as the kernel lists them: devices that hold data themselves, with every device that is made of them.

use super::{
    host::HostError,
    misses::Misses,
    pci,
    root::{ReadError, Root},
};
use crate::units::{Bytes, NodeId};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const BLOCK: &str = "/sys/block";
/// The same and their partitions: what newer versions of hwloc-gather-topology capture instead.
const CLASS: &str = "/sys/class/block";

/// Block devices that are no disks: made of memory, of files, of other devices, or for media that come and go.
const NO_DISKS: [&str; 10] = ["loop", "ram", "zram", "dm-", "md", "bcache", "drbd", "zd", "sr", "fd"];

/// What the kernel takes a disk for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nvme,
    Ssd,
    Hdd,
    Unknown,
}

/// What a block device of this name is taken for, where nothing else is known of it; None where it is no disk.
pub fn kind_by_name(name: &str) -> Option<Kind> {
    match name {
        name if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) => None,
        name if name.starts_with("nvme") => Some(Kind::Nvme),
        _ => Some(Kind::Unknown),
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFound {
    pub name: String,
    pub model: Option<String>,
    pub size: Option<Bytes>,
    pub kind: Kind,
    pub node: Option<NodeId>,
    /// The disk, its partitions, the arrays and volumes made of them: `major:minor`, and names below /dev.
    pub devices: BTreeSet<String>,
}

/// Every disk, by name.
pub fn disks(root: &Root, misses: &mut Misses) -> Result<Vec<DiskFound>, ReadError> {
    let mut found = Vec::new();
    let base = base(root);
    for name in root.devices(base)? {
        let folder = format!("{base}/{name}");
        let real = root.follow(&folder).unwrap_or_else(|_| PathBuf::from(&folder));
        let is_hidden = root.read_some(format!("{folder}/hidden")).is_ok_and(|text| text.as_deref() == Some("1"));
        let is_partition = root.path(format!("{folder}/partition")).exists();
        if kind_by_name(&name).is_none() || is_hidden || is_partition {
            continue;
        }
        let size = misses.keep(format!("size of disk {name}"), size(root, &folder));
        // A network disk that is not connected has no size; a disk of hardware without one is a fact.
        if real.starts_with("/sys/devices/virtual") && size == Some(Bytes(0)) {
            continue;
        }
        let near = controller(root, &real).unwrap_or(real);
        let node = misses.keep(format!("node of disk {name}"), pci::node_near(root, &near)).flatten();
        let mut devices = BTreeSet::new();
        collect_devices(root, base, &name, &mut devices);
        let model = misses.keep(format!("model of disk {name}"), model(root, &folder)).flatten();
        let kind = misses.keep(format!("kind of disk {name}"), kind(root, base, &name)).unwrap_or(Kind::Unknown);
        found.push(DiskFound { name, model, size, kind, node, devices });
    }
    Ok(found)
}

fn base(root: &Root) -> &'static str {
    let is_captured_so = root.is_captured() && !root.path(BLOCK).exists() && root.path(CLASS).exists();
    if is_captured_so { CLASS } else { BLOCK }
}

/// The kernel counts sectors of 512 bytes, whatever the disk's own are.
fn size(root: &Root, folder: &str) -> Result<Bytes, HostError> {
    let path = format!("{folder}/size");
    let text = root.read(&path)?;
    let sectors = text.parse::<u64>().ok().and_then(|sectors| sectors.checked_mul(512));
    sectors.map(Bytes).ok_or_else(|| HostError::odd(root, &path, format!("{text:?} is not a number of sectors")))
}

/// `device/model` of disks, `device/name` of memory cards, `model` of an NVMe namespace with several paths.
fn model(root: &Root, folder: &str) -> Result<Option<String>, ReadError> {
    for file in ["device/model", "device/name"] {
        if let Some(text) = root.read_some(format!("{folder}/{file}"))?.filter(|text| !text.is_empty()) {
            return Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    Ok(None)
}

/// Only of SCSI and ATA disks is it known that `rotational` is the disk's own word: a guest's virtual disk has the
/// kernel's default there.
fn kind(root: &Root, base: &str, name: &str) -> Result<Kind, ReadError> {
    if kind_by_name(name) == Some(Kind::Nvme) {
        return Ok(Kind::Nvme);
    }
    if !name.starts_with("sd") && !name.starts_with("hd") {
        return Ok(Kind::Unknown);
    }
    Ok(match root.read(format!("{base}/{name}/queue/rotational"))?.as_str() {
        "0" => Kind::Ssd,
        "1" => Kind::Hdd,
        _ => Kind::Unknown,
    })
}

/// An NVMe namespace with several paths hangs on no PCI device; its controllers are links beside it.
fn controller(root: &Root, disk: &Path) -> Option<PathBuf> {
    if !disk.starts_with("/sys/devices/virtual") {
        return None;
    }
    let subsystem = disk.parent()?;
    let names = root.names(subsystem).ok()?;
    let is_controller = |name: &&String| {
        name.strip_prefix("nvme").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names.iter().find(is_controller).map(|name| subsystem.join(name))
}

/// Puts a block device, its partitions and what is made of each into `devices`.
fn collect_devices(root: &Root, base: &str, name: &str, devices: &mut BTreeSet<String>) {
    // Seen before: an array of several partitions of one disk.
    if !devices.insert(name.to_owned()) {
        return;
    }
    let folder = format!("{base}/{name}");
    add_device(root, base, &folder, devices);
    for inner in root.names(&folder).unwrap_or_default() {
        let part = format!("{folder}/{inner}");
        if root.path(format!("{part}/partition")).exists() {
            devices.insert(inner);
            add_device(root, base, &part, devices);
        }
    }
}

/// Puts one device's number and mapper name into `devices`, and its holders with all that is theirs.
fn add_device(root: &Root, base: &str, folder: &str, devices: &mut BTreeSet<String>) {
    devices.extend(root.read(format!("{folder}/dev")));
    devices.extend(root.read(format!("{folder}/dm/name")).map(|name| format!("mapper/{name}")));
    for holder in root.names(format!("{folder}/holders")).unwrap_or_default() {
        collect_devices(root, base, &holder, devices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    fn found(files: &[(&str, &str)]) -> (Vec<DiskFound>, Misses) {
        let (_dir, root) = tree(files);
        let mut misses = Misses::default();
        (disks(&root, &mut misses).unwrap(), misses)
    }

    #[test]
    fn an_nvme_disk_is_near_the_node_of_its_slot() {
        let (disks, misses) = found(&[
            ("sys/block/nvme0n1", "->../devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1"),
            ("sys/devices/pci0000:40/0000:41:00.0/numa_node", "1\n"),
            ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/model", "SAMSUNG  MZQL23T8   \n"),
            ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/device", "->.."),
            ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/size", "7501476528\n"),
            ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/dev", "259:0\n"),
        ]);
        assert!(misses.0.is_empty(), "{misses:?}");
        let disk = &disks[0];
        assert_eq!(
            (disk.kind, disk.node, disk.model.as_deref()),
            (Kind::Nvme, Some(NodeId(1)), Some("SAMSUNG MZQL23T8"))
        );
        assert_eq!(disk.size, Some(Bytes(7_501_476_528 * 512)));
        assert!(disk.devices.contains("259:0"));
    }

    #[test]
    fn an_nvme_disk_with_several_paths_is_near_its_controller() {
        let subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";
        let (disks, _) = found(&[
            ("sys/block/nvme0n1", "->../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"),
            ("sys/block/nvme0c0n1/hidden", "1\n"),
            (&format!("{subsystem}/nvme0n1/size"), "8\n"),
            (&format!("{subsystem}/nvme0"), "->../../../pci0000:00/0000:01:00.0/nvme/nvme0"),
            (&format!("{subsystem}/model"), "PM1733\n"),
            (&format!("{subsystem}/nvme0n1/device"), "->.."),
            ("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/numa_node", "3\n"),
        ]);
        assert_eq!(disks.len(), 1);
        assert_eq!((disks[0].node, disks[0].model.as_deref()), (Some(NodeId(3)), Some("PM1733")));
    }

    #[test]
    fn disks_of_unknown_kind_are_kept_and_what_is_no_disk_is_not() {
        let (disks, _) = found(&[
            ("sys/block/vda/size", "16\n"),
            ("sys/block/vda/queue/rotational", "1\n"),
            ("sys/block/pmem0/size", "16\n"),
            ("sys/block/sda/size", "16\n"),
            ("sys/block/sda/queue/rotational", "1\n"),
            ("sys/block/sdb/size", "16\n"),
            ("sys/block/sdb/queue/rotational", "0\n"),
            ("sys/block/nbd0", "->../devices/virtual/block/nbd0"),
            ("sys/devices/virtual/block/nbd0/size", "0\n"),
            ("sys/block/nbd1", "->../devices/virtual/block/nbd1"),
            ("sys/devices/virtual/block/nbd1/size", "2\n"),
            ("sys/block/loop0/size", "16\n"),
            ("sys/block/dm-0/size", "16\n"),
            ("sys/block/zram0/size", "16\n"),
        ]);
        let kinds: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("nbd1", Kind::Unknown),
                ("pmem0", Kind::Unknown),
                ("sda", Kind::Hdd),
                ("sdb", Kind::Ssd),
                ("vda", Kind::Unknown)
            ]
        );
    }

    #[test]
    fn a_volume_belongs_to_every_disk_below_it() {
        let (disks, _) = found(&[
            ("sys/block/sda/size", "16\n"),
            ("sys/block/sda/dev", "8:0\n"),
            ("sys/block/sda/sda1/partition", "1\n"),
            ("sys/block/sda/sda1/dev", "8:1\n"),
            ("sys/block/sda/sda1/holders/md0/x", ""),
            ("sys/block/md0/dev", "9:0\n"),
            ("sys/block/md0/holders/dm-3/x", ""),
            ("sys/block/dm-3/dev", "253:3\n"),
            ("sys/block/dm-3/dm/name", "vg-seal\n"),
            // A ring, which no kernel makes, is no endless walk.
            ("sys/block/dm-3/holders/sda/x", ""),
        ]);
        for device in ["8:0", "8:1", "9:0", "253:3", "mapper/vg-seal", "sda1"] {
            assert!(disks[0].devices.contains(device), "{device}: {:?}", disks[0].devices);
        }
    }

    #[test]
    fn a_captured_class_of_disks_and_partitions_is_read_as_disks() {
        let (dir, live) = tree(&[
            ("sys/class/block/sda", "->../../devices/pci0000:00/0000:00:1f.2/block/sda"),
            ("sys/class/block/sda1", "->../../devices/pci0000:00/0000:00:1f.2/block/sda/sda1"),
            ("sys/class/block/loop0/size", "8\n"),
            ("sys/devices/pci0000:00/0000:00:1f.2/block/sda/size", "16\n"),
            ("sys/devices/pci0000:00/0000:00:1f.2/block/sda/queue/rotational", "0\n"),
            ("sys/devices/pci0000:00/0000:00:1f.2/block/sda/sda1/partition", "1\n"),
            ("sys/devices/pci0000:00/0000:00:1f.2/block/sda/sda1/size", "8\n"),
        ]);
        let found = disks(&Root::captured(dir.path()).unwrap(), &mut Misses::default()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].name.as_str(), found[0].kind, found[0].size), ("sda", Kind::Ssd, Some(Bytes(8192))));
        assert!(found[0].devices.contains("sda1"), "{found:?}");
        assert!(disks(&live, &mut Misses::default()).is_err(), "a live kernel has /sys/block");
    }

    #[test]
    fn what_a_disk_does_not_tell_is_missed_and_the_disk_kept() {
        let (disks, misses) = found(&[("sys/block/sda/size/x", ""), ("sys/block/sda/device/model/x", "")]);
        assert_eq!((disks[0].size, disks[0].model.as_ref(), disks[0].kind), (None, None, Kind::Unknown));
        let missed: Vec<_> = misses.0.iter().map(|miss| miss.what.as_str()).collect();
        assert_eq!(missed, ["size of disk sda", "model of disk sda", "kind of disk sda"]);
    }
}
