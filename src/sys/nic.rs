//! Network interfaces of hardware, as the kernel lists them.

use super::{
    host::HostError,
    misses::Misses,
    pci,
    root::{ReadError, Root},
};
use crate::units::NodeId;
use std::{io, path::PathBuf};

const NET: &str = "/sys/class/net";

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicFound {
    pub name: String,
    pub state: Option<String>,
    pub speed_mbits: Option<u64>,
    pub driver: Option<String>,
    pub pci_address: Option<String>,
    pub ids: Option<pci::Ids>,
    pub node: Option<NodeId>,
}

/// Every interface that a device stands behind: no loopback, bridge or tunnel.
pub fn nics(root: &Root, misses: &mut Misses) -> Result<Vec<NicFound>, ReadError> {
    let mut found = Vec::new();
    for name in root.devices(NET)? {
        let folder = format!("{NET}/{name}");
        let device = format!("{folder}/device");
        if !is_hardware(root, &folder, &device) {
            continue;
        }
        let pci_address = pci::address_of(root, &PathBuf::from(&device));
        let ids = pci_address
            .as_ref()
            .and_then(|address| misses.keep(format!("ids of network interface {name}"), pci::ids(root, address)));
        let state = misses.keep(format!("state of network interface {name}"), root.read(format!("{folder}/operstate")));
        let speed = misses.keep(format!("speed of network interface {name}"), speed(root, &folder)).flatten();
        let node =
            misses.keep(format!("node of network interface {name}"), pci::node_near(root, &PathBuf::from(&device)));
        let driver = pci::driver(root, &device, &format!("network interface {name}"), misses);
        found.push(NicFound { state, speed_mbits: speed, driver, pci_address, ids, node: node.flatten(), name });
    }
    Ok(found)
}

/// Whether a device stands behind an interface. A captured tree may hold the links and not what they lead to.
fn is_hardware(root: &Root, folder: &str, device: &str) -> bool {
    if root.path(device).exists() {
        return true;
    }
    let dangling = std::fs::read_link(root.path(folder)).ok().filter(|_| !root.path(folder).exists());
    root.is_captured() && dangling.is_some_and(|target| !target.to_string_lossy().contains("/virtual/"))
}

/// Megabits per second. A link that is down answers "invalid argument", one without a speed -1 or, in old kernels,
/// the same as an unsigned number.
fn speed(root: &Root, folder: &str) -> Result<Option<u64>, HostError> {
    let path = format!("{folder}/speed");
    let text = match root.read_some(&path) {
        Err(error) if error.source.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        text => text?,
    };
    let Some(text) = text else { return Ok(None) };
    let speed: i64 = text.parse().map_err(|_| HostError::odd(root, &path, format!("{text:?} is not a speed")))?;
    Ok(u64::try_from(speed).ok().filter(|speed| *speed < u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn interfaces_have_speed_state_and_node() {
        let (_dir, root) = tree(&[
            ("sys/class/net/eth0", "->../../devices/pci0000:00/0000:17:00.0/net/eth0"),
            ("sys/devices/pci0000:00/0000:17:00.0/net/eth0/device", "->../.."),
            ("sys/devices/pci0000:00/0000:17:00.0/net/eth0/operstate", "up\n"),
            ("sys/devices/pci0000:00/0000:17:00.0/net/eth0/speed", "100000\n"),
            ("sys/devices/pci0000:00/0000:17:00.0/numa_node", "1\n"),
            ("sys/devices/pci0000:00/0000:17:00.0/driver", "->../../../bus/pci/drivers/mlx5_core"),
            ("sys/bus/pci/devices/0000:17:00.0/vendor", "0x15b3\n"),
            ("sys/bus/pci/devices/0000:17:00.0/device", "0x1017\n"),
            ("sys/class/net/lo/operstate", "unknown\n"),
        ]);
        let mut misses = Misses::default();
        let expected = NicFound {
            name: "eth0".into(),
            state: Some("up".into()),
            speed_mbits: Some(100_000),
            driver: Some("mlx5_core".into()),
            pci_address: Some("0000:17:00.0".into()),
            ids: Some((0x15b3, 0x1017)),
            node: Some(NodeId(1)),
        };
        assert_eq!(nics(&root, &mut misses).unwrap(), [expected]);
        assert!(misses.0.is_empty(), "{misses:?}");
    }

    #[test]
    fn a_link_without_a_speed_has_none_and_an_odd_one_is_missed() {
        for (text, missed) in [("-1\n", 0), ("4294967295\n", 0), ("fast\n", 1)] {
            let (_dir, root) = tree(&[
                ("sys/class/net/eth0/device/x", ""),
                ("sys/class/net/eth0/operstate", "down\n"),
                ("sys/class/net/eth0/speed", text),
            ]);
            let mut misses = Misses::default();
            let found = nics(&root, &mut misses).unwrap();
            assert_eq!((found[0].speed_mbits, misses.0.len()), (None, missed), "{text}");
        }
    }

    #[test]
    fn a_host_whose_network_is_not_shown_is_no_host_without_one() {
        let (_dir, root) = tree(&[("sys/class/net/lo/operstate", "unknown\n")]);
        assert_eq!(nics(&root, &mut Misses::default()).unwrap(), []);
        let (_dir, root) = tree(&[]);
        assert!(nics(&root, &mut Misses::default()).unwrap_err().to_string().contains("/sys/class/net"));
    }

    #[test]
    fn a_captured_interface_is_kept_though_its_device_was_not_captured() {
        let (dir, _) = tree(&[
            ("sys/class/net/eth0", "->../../devices/platform/soc/net/eth0"),
            ("sys/class/net/docker0", "->../../devices/virtual/net/docker0"),
        ]);
        let mut misses = Misses::default();
        let found = nics(&Root::captured(dir.path()).unwrap(), &mut misses).unwrap();
        assert_eq!(found.iter().map(|nic| nic.name.as_str()).collect::<Vec<_>>(), ["eth0"]);
        assert!(!misses.0.is_empty() && misses.0.iter().all(|miss| miss.reason == "not in this source"), "{misses:?}");
    }
}
