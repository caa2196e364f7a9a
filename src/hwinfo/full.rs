//! Everything that hwloc knows of a machine: every object down to L1 caches, CPUs and PCI devices.
//!
//! ```text
//! Machine (94.13 GiB) (Backend: Linux; HostName: node7)
//! └── Package #0 (CPUVendor: GenuineIntel)
//!     ├── NUMANode #0 (47.1 GiB)
//!     ├── L3 L#0 (30 MiB, 12-way, 64 B lines, cpus 0-11)
//!     │   └── …
//!     └── HostBridge L#0 (buses 0000:[00-05])
//!         └── PCI 0000:03:00.0 (SATA controller 0106, 8086:1d02)
//! ```
//!
//! The walk follows hwloc's four kinds of children in its order: memory, CPUs and caches, devices, the rest. Nothing
//! is left out and nothing is interpreted: this is the view for what the short tree does not tell.

use super::{recorded, relations::Relations};
use crate::{
    sys::topology::{
        BridgeType, CacheType, DownstreamAttributes, ObjectAttributes, ObjectType, PCIDeviceAttributes, Topology,
        TopologyObject,
    },
    units::{Bytes, CpuList},
};
use serde::{Deserialize, Serialize};

/// An object of hwloc's tree and what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullObject {
    /// hwloc's type: `Package`, `L1d`, `PCI`, `OSDevice`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The operating system's name of a device, or a PCI address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_index: Option<u64>,
    /// hwloc's number among the objects of its type.
    pub logical_index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// Online CPUs; none for devices.
    #[serde(default, skip_serializing_if = "CpuList::is_empty")]
    pub cpus: CpuList,
    /// What else the type has: ways, lines, page pools, PCI numbers, link speed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// What the backend wrote down about it, as name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub infos: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FullObject>,
    /// What is known of several objects together; of the outermost object only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Box<Relations>>,
}

/// The whole tree of a topology that was loaded with its devices. `export` is the text that it was loaded from, where
/// that is one.
pub fn full(topology: &Topology, export: Option<&str>) -> FullObject {
    let relations = Some(Relations::of(topology, export)).filter(|found| !found.is_empty()).map(Box::new);
    FullObject { relations, ..object(topology.root_object()) }
}

/// An object's type and number, as its line begins: `NUMANode #0`.
pub(super) fn title(from: &TopologyObject) -> String {
    titled(&kind(from), name(from).as_deref(), os_index(from), from.logical_index() as u64)
}

fn titled(kind: &str, name: Option<&str>, os_index: Option<u64>, logical_index: u64) -> String {
    match (name, os_index) {
        _ if kind == "Machine" => kind.to_owned(),
        (Some(name), _) => format!("{kind} {name}"),
        (None, Some(index)) => format!("{kind} #{index}"),
        (None, None) => format!("{kind} L#{logical_index}"),
    }
}

/// Devices and caches have numbers too, but they mean nothing to the operating system.
fn os_index(object: &TopologyObject) -> Option<u64> {
    let is_cpu_or_memory = !object.object_type().is_io() && object.object_type() != ObjectType::Misc;
    object.os_index().filter(|_| is_cpu_or_memory).map(|index| index as u64)
}

fn object(from: &TopologyObject) -> FullObject {
    FullObject {
        kind: kind(from),
        name: name(from),
        os_index: os_index(from),
        logical_index: from.logical_index() as u64,
        bytes: bytes(from),
        cpus: super::collect::object_cpus(from),
        attributes: attributes(from),
        infos: from.infos().iter().map(|info| (words(info.name()), words(info.value()))).collect(),
        children: from
            .memory_children()
            .chain(from.normal_children())
            .chain(from.io_children())
            .chain(from.misc_children())
            .map(object)
            .collect(),
        relations: None,
    }
}

/// hwloc's short type names, as `lstopo` prints them.
fn kind(object: &TopologyObject) -> String {
    let subtype = object.subtype().map(words).filter(|text| !text.is_empty());
    let name = match (object.object_type(), object.attributes()) {
        (ObjectType::L1ICache | ObjectType::L2ICache | ObjectType::L3ICache, Some(ObjectAttributes::Cache(cache))) => {
            format!("L{}i", cache.depth())
        }
        (_, Some(ObjectAttributes::Cache(cache))) if object.object_type() != ObjectType::MemCache => {
            let data = if cache.cache_type() == CacheType::Data { "d" } else { "" };
            format!("L{}{data}", cache.depth())
        }
        (ObjectType::PCIDevice, _) => "PCI".to_owned(),
        (ObjectType::Bridge, Some(ObjectAttributes::Bridge(bridge))) => {
            if bridge.upstream_attributes().is_none() { "HostBridge" } else { "PCIBridge" }.to_owned()
        }
        (ObjectType::OSDevice, Some(ObjectAttributes::OSDevice(device))) => {
            format!("{} device", device.device_type())
        }
        (other, _) => other.to_string(),
    };
    match subtype {
        Some(subtype) => format!("{name}({subtype})"),
        None => name,
    }
}

fn name(object: &TopologyObject) -> Option<String> {
    let address = match object.attributes() {
        Some(ObjectAttributes::PCIDevice(device)) => Some(recorded::address(device)),
        _ => None,
    };
    let name = object.name().map(words).filter(|text| !text.is_empty());
    match (address, name) {
        (Some(address), Some(name)) => Some(format!("{address} {name}")),
        (address, name) => address.or(name),
    }
}

fn bytes(object: &TopologyObject) -> Option<Bytes> {
    match object.attributes() {
        Some(ObjectAttributes::Cache(cache)) => cache.size().map(|size| Bytes(size.get())),
        Some(ObjectAttributes::NUMANode(node)) => node.local_memory().map(|size| Bytes(size.get())),
        _ => Some(Bytes(object.total_memory())).filter(|bytes| bytes.0 > 0),
    }
}

fn attributes(object: &TopologyObject) -> Vec<String> {
    let mut found = Vec::new();
    match object.attributes() {
        Some(ObjectAttributes::Cache(cache)) => {
            use hwlocality::object::attributes::CacheAssociativity::{Full, Unknown, Ways};
            match cache.associativity() {
                Ways(ways) => found.push(format!("{ways}-way")),
                Full => found.push("fully associative".to_owned()),
                Unknown => {}
            }
            found.extend(cache.line_size().map(|line| format!("{line} B lines")));
        }
        Some(ObjectAttributes::NUMANode(node)) => {
            for pages in node.page_types().iter().filter(|pages| pages.count() > 0) {
                found.push(format!("{} pages of {}", pages.count(), Bytes(pages.size().get()).human()));
            }
        }
        Some(ObjectAttributes::PCIDevice(device)) => found.extend(pci(device)),
        // hwlocality ends the process where an export says that a bridge leads to a host.
        Some(ObjectAttributes::Bridge(bridge)) if bridge.downstream_type() == BridgeType::PCI => {
            if let Some(DownstreamAttributes::PCI(pci)) = bridge.downstream_attributes() {
                let (domain, first, last) = (pci.domain(), pci.secondary_bus(), pci.subordinate_bus());
                found.push(format!("buses {domain:04x}:[{first:02x}-{last:02x}]"));
            }
        }
        _ => {}
    }
    found
}

fn pci(device: &PCIDeviceAttributes) -> Vec<String> {
    let mut found = vec![
        class(device.class_id()),
        format!("{:04x}:{:04x}", device.vendor_id(), device.device_id()),
        format!("subsystem {:04x}:{:04x}", device.subvendor_id(), device.subdevice_id()),
        format!("revision {:02x}", device.revision()),
    ];
    let speed = device.link_speed();
    if speed > 0.0 {
        found.push(format!("link {speed:.2} GB/s"));
    }
    found
}

/// The PCI class by name where sealing cares for it; hwloc keeps only the number.
fn class(id: u16) -> String {
    let name = match (id >> 8, id & 0xff) {
        (0x01, 0x06) => "SATA controller",
        (0x01, 0x08) => "NVMe controller",
        (0x01, _) => "storage controller",
        (0x02, 0x07) => "InfiniBand controller",
        (0x02, _) => "network controller",
        (0x03, 0x00) => "VGA controller",
        (0x03, 0x02) => "3D controller",
        (0x03, _) => "display controller",
        (0x06, _) => "bridge",
        (0x0b, _) => "processor",
        (0x0c, 0x03) => "USB controller",
        (0x12, _) => "accelerator",
        _ => return format!("class {id:04x}"),
    };
    format!("{name} {id:04x}")
}

/// Text of firmware and kernels on one line, its padding removed.
pub(super) fn words(raw: &std::ffi::CStr) -> String {
    raw.to_string_lossy().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl FullObject {
    /// The object's line: type and number, what it is in round brackets, what was written down about it in a second pair.
    pub(super) fn text(&self) -> String {
        let title = titled(&self.kind, self.name.as_deref(), self.os_index, self.logical_index);
        let mut facts: Vec<String> = self.bytes.iter().map(|bytes| bytes.human()).collect();
        facts.extend(self.attributes.iter().cloned());
        if !self.cpus.is_empty() && !["Machine", "PU"].contains(&self.kind.as_str()) {
            facts.push(format!("cpus {}", self.cpus));
        }
        let infos: Vec<_> = self.infos.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        [facts.join(", "), infos.join("; ")]
            .iter()
            .filter(|note| !note.is_empty())
            .fold(title, |text, note| format!("{text} ({note})"))
    }

    /// This object and all below it.
    pub fn walk(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.children.iter().flat_map(Self::walk)).collect()
    }
}
