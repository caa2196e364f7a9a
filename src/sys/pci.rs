//! PCI devices as the kernel lists them, what is nearest to them, and their names from the PCI id list.

use super::{
    host::HostError,
    misses::Misses,
    root::{ReadError, Root},
};
use crate::units::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

const DEVICES: &str = "/sys/bus/pci/devices";

/// Where distributions keep the list: Debian's package is `pci.ids`.
const ID_LISTS: [&str; 3] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/var/lib/pciutils/pci.ids"];

/// A vendor's and a device's number.
pub type Ids = (u16, u16);

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciDevice {
    /// `0000:65:00.0`.
    pub address: String,
    pub ids: Ids,
    /// The kernel driver that is bound to it.
    pub driver: Option<String>,
    pub node: Option<NodeId>,
}

/// The devices whose class (`0x030000`: base, sub, interface) and vendor are wanted.
pub fn devices(
    root: &Root,
    wanted: impl Fn(u32, u16) -> bool,
    misses: &mut Misses,
) -> Result<Vec<PciDevice>, ReadError> {
    let mut found = Vec::new();
    for address in root.devices(DEVICES)? {
        let Some(class) = misses.keep(format!("class of PCI device {address}"), number(root, &address, "class")) else {
            continue;
        };
        let Some(ids) = misses.keep(format!("ids of PCI device {address}"), ids(root, &address)) else { continue };
        if wanted(class, ids.0) {
            let folder = format!("{DEVICES}/{address}");
            let node = misses.keep(format!("node of PCI device {address}"), node_near(root, Path::new(&folder)));
            let driver = driver(root, &folder, &format!("PCI device {address}"), misses);
            found.push(PciDevice { driver, node: node.flatten(), ids, address });
        }
    }
    Ok(found)
}

/// The numbers of the device at an address.
pub fn ids(root: &Root, address: &str) -> Result<Ids, HostError> {
    Ok((number(root, address, "vendor")? as u16, number(root, address, "device")? as u16))
}

/// The driver that is bound to the device in a folder. A kernel shows none where there is none; a capture may lack it.
pub fn driver(root: &Root, folder: &str, device: &str, misses: &mut Misses) -> Option<String> {
    let path = format!("{folder}/driver");
    match std::fs::read_link(root.path(&path)) {
        Ok(target) => Some(target.file_name()?.to_str()?.to_owned()),
        Err(_) => {
            if root.is_captured() {
                misses.add(format!("driver of {device}"), root.absent(&path));
            }
            None
        }
    }
}

/// The NUMA node that a device in /sys is nearest to: its own or that of what it is plugged into. None where the
/// firmware does not tell (-1).
pub fn node_near(root: &Root, device: &Path) -> Result<Option<NodeId>, HostError> {
    for folder in root.follow(device)?.ancestors().take_while(|folder| folder.starts_with("/sys/")) {
        let path = folder.join("numa_node");
        let Some(text) = root.read_some(&path)? else { continue };
        let node: i64 = text
            .parse()
            .map_err(|_| HostError::odd(root, &path.display().to_string(), format!("{text:?} is not a node")))?;
        return Ok(u32::try_from(node).ok().map(NodeId));
    }
    Ok(None)
}

/// The address of the PCI device that a device in /sys is, or is behind.
pub fn address_of(root: &Root, device: &Path) -> Option<String> {
    let real = root.follow(device).ok()?;
    let names = real.iter().rev().filter_map(|name| name.to_str());
    names.into_iter().find(|name| is_address(name)).map(str::to_owned)
}

/// `domain:bus:device.function`, all in hexadecimal.
fn is_address(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    parts.len() == 4
        && name.matches(':').count() == 2
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn number(root: &Root, address: &str, file: &str) -> Result<u32, HostError> {
    let path = format!("{DEVICES}/{address}/{file}");
    let text = root.read(&path)?;
    text.strip_prefix("0x")
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| HostError::odd(root, &path, format!("{text:?} is not a number like 0x10de")))
}

/// Names of vendors and devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<Ids, String>,
}

impl Names {
    pub fn vendor(&self, ids: Ids) -> Option<&str> {
        self.vendors.get(&ids.0).map(String::as_str)
    }

    pub fn device(&self, ids: Ids) -> Option<&str> {
        self.devices.get(&ids).map(String::as_str)
    }
}

/// The names of these devices, from the PCI id list of this host.
pub fn names(root: &Root, wanted: &[Ids]) -> Result<Names, HostError> {
    for path in ID_LISTS {
        let file = match root.open(path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        return named(file, wanted).map_err(|source| HostError::odd(root, path, source.to_string()));
    }
    Err(HostError::odd(root, ID_LISTS[0], "there is no PCI id list; install the Debian package pci.ids"))
}

/// `10de  NVIDIA Corporation`, below it, after a tab, `2204  GA102 [GeForce RTX 3090]`; then classes (`C 00 …`).
/// The list has a million bytes and is sorted by vendor: reading all of it takes longer than all else that is done for
/// a small machine.
fn named(list: File, wanted: &[Ids]) -> io::Result<Names> {
    let length = list.metadata()?.len();
    let mut list = Lines { file: BufReader::new(list), at: 0, line: Vec::new() };
    let mut names = Names::default();
    for vendor in wanted.iter().map(|ids| ids.0).collect::<BTreeSet<_>>() {
        let mut devices: BTreeSet<u16> = wanted.iter().filter(|ids| ids.0 == vendor).map(|ids| ids.1).collect();
        list.go_near(vendor, length)?;
        let mut current = None;
        // Devices are sorted too, but a few are not where they should be.
        while current <= Some(vendor) && !(current == Some(vendor) && devices.is_empty()) && list.next()? {
            match list.vendor() {
                Some(found) => current = Some(found),
                None if list.is_at_classes() => break,
                // Of another vendor, or a board with the device on it, as most lines are.
                None if current != Some(vendor) || list.line.starts_with(b"\t\t") => continue,
                None => {}
            }
            let text = String::from_utf8_lossy(&list.line);
            if let Some((device, name)) = text.strip_prefix('\t').and_then(entry) {
                if devices.remove(&device) {
                    names.devices.insert((vendor, device), name.to_owned());
                }
            } else if let Some((_, name)) = entry(&text).filter(|(id, _)| *id == vendor) {
                names.vendors.insert(vendor, name.to_owned());
            }
        }
    }
    Ok(names)
}

/// The lines of the list, from any place in it.
struct Lines {
    file: BufReader<File>,
    /// Where `line` begins.
    at: u64,
    /// With its end.
    line: Vec<u8>,
}

impl Lines {
    /// The first whole line at a place or behind it is next.
    fn go(&mut self, place: u64) -> io::Result<()> {
        self.line.clear();
        self.at = place.saturating_sub(1);
        self.file.seek(SeekFrom::Start(self.at))?;
        if place > 0 {
            self.at += self.file.skip_until(b'\n')? as u64;
        }
        Ok(())
    }

    /// Whether there was one more line.
    fn next(&mut self) -> io::Result<bool> {
        self.at += self.line.len() as u64;
        self.line.clear();
        Ok(self.file.read_until(b'\n', &mut self.line)? > 0)
    }

    /// The vendor whose line this is.
    fn vendor(&self) -> Option<u16> {
        let digits = self.line.first_chunk::<4>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Behind the last vendor.
    fn is_at_classes(&self) -> bool {
        self.line.starts_with(b"C ")
    }

    /// The vendor's line is next, or is a little further on.
    fn go_near(&mut self, vendor: u16, length: u64) -> io::Result<()> {
        const NEAR_BYTES: u64 = 4096;
        let (mut low, mut high) = (0, length);
        while high - low > NEAR_BYTES {
            let middle = low + (high - low) / 2;
            match self.next_vendor(middle, high)? {
                Some(found) if found <= vendor => low = self.at,
                _ => high = middle,
            }
        }
        self.go(low)
    }

    /// The first vendor whose line begins at a place or behind it, and before `end`.
    fn next_vendor(&mut self, place: u64, end: u64) -> io::Result<Option<u16>> {
        self.go(place)?;
        while self.next()? && self.at < end && !self.is_at_classes() {
            if let Some(vendor) = self.vendor() {
                return Ok(Some(vendor));
            }
        }
        Ok(None)
    }
}

fn entry(line: &str) -> Option<(u16, &str)> {
    let (id, name) = line.split_once("  ")?;
    (id.len() == 4).then_some(())?;
    Some((u16::from_str_radix(id, 16).ok()?, name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const LIST: &str = "# comment\n10de  NVIDIA Corporation\n\t2204  GA102 [GeForce RTX 3090]\n\t\t1043 87d1  Board\n\
                        \t2206  GA102 [GeForce RTX 3080]\n1a03  ASPEED Technology, Inc.\n\t2000  ASPEED Graphics Family\n\
                        C 03  Display controller\n\t00  VGA\n";

    #[test]
    fn only_wanted_classes_are_found_each_with_driver_and_node() {
        let device = |file: &str| format!("sys/devices/pci0000:00/0000:00:01.0/0000:65:00.0/{file}");
        let (dir, root) = tree(&[
            (&device("class"), "0x030200\n"),
            (&device("vendor"), "0x10de\n"),
            (&device("device"), "0x2204\n"),
            (&device("numa_node"), "1\n"),
            (&device("driver"), "->../../../../bus/pci/drivers/nvidia"),
            ("sys/bus/pci/devices/0000:65:00.0", "->../../../devices/pci0000:00/0000:00:01.0/0000:65:00.0"),
            ("sys/bus/pci/devices/0000:66:00.0/class", "0x010802\n"),
            ("sys/bus/pci/devices/0000:66:00.0/vendor", "0x144d\n"),
            ("sys/bus/pci/devices/0000:66:00.0/device", "0xa808\n"),
            ("sys/bus/pci/devices/0000:67:00.0/class", "none\n"),
        ]);
        let mut misses = Misses::default();
        let found = devices(&root, |class, _| class >> 16 == 3, &mut misses).unwrap();
        let expected = PciDevice {
            address: "0000:65:00.0".into(),
            ids: (0x10de, 0x2204),
            driver: Some("nvidia".into()),
            node: Some(NodeId(1)),
        };
        assert_eq!(found, [expected]);
        assert_eq!(misses.0[0].what, "class of PCI device 0000:67:00.0");
        assert!(misses.0[0].reason.contains("\"none\" is not a number"));
        std::fs::remove_dir_all(dir.path().join("sys/bus")).unwrap();
        assert!(devices(&root, |_, _| true, &mut misses).is_err(), "a bus that is not shown is no empty bus");
    }

    #[test]
    fn a_device_is_near_what_it_is_plugged_into() {
        let (dir, root) = tree(&[
            ("sys/devices/pci0000:00/0000:00:03.0/numa_node", "-1\n"),
            ("sys/devices/pci0000:00/0000:00:03.0/virtio2/net/eth0/speed", "-1\n"),
            ("sys/devices/pci0000:80/0000:80:03.0/numa_node", "2\n"),
            ("sys/devices/pci0000:80/0000:80:03.0/nvme/nvme0/nvme0n1/size", "1\n"),
            ("sys/devices/platform/x/size", "1\n"),
        ]);
        let near = |path: &str| node_near(&root, Path::new(path));
        assert_eq!(near("/sys/devices/pci0000:00/0000:00:03.0/virtio2/net/eth0").unwrap(), None);
        assert_eq!(near("/sys/devices/pci0000:80/0000:80:03.0/nvme/nvme0/nvme0n1").unwrap(), Some(NodeId(2)));
        assert_eq!(near("/sys/devices/platform/x").unwrap(), None);
        let address = |path: &str| address_of(&root, Path::new(path));
        assert_eq!(address("/sys/devices/pci0000:00/0000:00:03.0/virtio2/net/eth0").as_deref(), Some("0000:00:03.0"));
        assert_eq!(address("/sys/devices/platform/x"), None);
        std::fs::write(dir.path().join("sys/devices/pci0000:80/0000:80:03.0/numa_node"), "x").unwrap();
        assert!(near("/sys/devices/pci0000:80/0000:80:03.0").unwrap_err().to_string().contains("\"x\" is not a node"));
    }

    #[test]
    fn names_come_from_the_list() {
        let (_dir, root) = tree(&[("usr/share/hwdata/pci.ids", LIST)]);
        let found = names(&root, &[(0x10de, 0x2204), (0x1a03, 0xffff)]).unwrap();
        assert_eq!(found.vendor((0x10de, 1)), Some("NVIDIA Corporation"));
        assert_eq!(found.device((0x10de, 0x2204)), Some("GA102 [GeForce RTX 3090]"));
        assert_eq!(found.device((0x10de, 0x2206)), None);
        assert_eq!((found.vendor((0x1a03, 0xffff)).is_some(), found.device((0x1a03, 0xffff))), (true, None));
    }

    /// Every vendor of a long list, and vendors that it has not: the search lands before, in and behind each.
    #[test]
    fn every_vendor_of_a_long_list_is_found() {
        let mut list = String::from("# a comment\n\n");
        let devices = |vendor: u16| if vendor == 0x8086 { 3000 } else { vendor % 7 };
        for vendor in (0x0010..0xff00u16).step_by(0x17).chain([0x8086, 0xfff0]).collect::<BTreeSet<_>>() {
            list += &format!("{vendor:04x}  Vendor {vendor}\n");
            for device in 0..devices(vendor) {
                list += &format!("\t{device:04x}  Device {device} of {vendor}\n\t\t1043 87d1  Board\n");
            }
        }
        list += "C 03  Display controller\n\t00  VGA\n";
        let (_dir, root) = tree(&[("usr/share/misc/pci.ids", &list)]);
        let known = |ids: Ids| {
            let found = names(&root, &[ids]).unwrap();
            (found.vendor(ids).map(str::to_owned), found.device(ids).map(str::to_owned))
        };
        for vendor in (0x0010..0xff00u16).step_by(0x17 * 31).chain([0x0010, 0x8086, 0xfff0]) {
            let last = devices(vendor).checked_sub(1);
            let device = last.map(|device| format!("Device {device} of {vendor}"));
            assert_eq!(known((vendor, last.unwrap_or(9))), (Some(format!("Vendor {vendor}")), device), "{vendor:04x}");
            assert_eq!(known((vendor + 1, 0)), (None, None));
        }
        assert_eq!(known((0xffff, 0)), (None, None));
        assert_eq!(known((0x0000, 0)), (None, None));
    }

    #[test]
    fn a_host_without_the_list_is_told_which_package_has_it() {
        let (_dir, root) = tree(&[]);
        assert!(names(&root, &[(1, 1)]).unwrap_err().to_string().contains("Debian package pci.ids"));
    }
}
