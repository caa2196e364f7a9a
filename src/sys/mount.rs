//! What is mounted where, and how much space is left there.

use super::{host::HostError, root::Root};
use crate::units::Bytes;
use std::io;

/// A mounted file system, in the view of the process that looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// `major:minor` of its device; empty where only its source is known.
    pub device: String,
    /// What of the file system is mounted: `/` is all, or not known.
    pub subtree: String,
    pub path: String,
    pub filesystem: String,
    /// `/dev/sda1`, `none`.
    pub source: String,
    pub read_only: bool,
    /// Options of the file system, `pagesize=1024M` among them.
    pub options: Vec<String>,
}

impl Mounted {
    /// The page size of a hugetlbfs, where it is told.
    pub fn page_bytes(&self) -> Option<Bytes> {
        self.options.iter().find_map(|option| option.strip_prefix("pagesize=")).and_then(page_size)
    }
}

/// Every mount, in the kernel's order.
pub fn mounts(root: &Root) -> Result<Vec<Mounted>, HostError> {
    const PATH: &str = "/proc/self/mountinfo";
    let text = match root.read(PATH) {
        Err(error) if root.is_captured() && error.source.kind() == io::ErrorKind::NotFound => return short_list(root),
        text => text?,
    };
    text.lines()
        .map(|line| mounted(line).ok_or_else(|| HostError::odd(root, PATH, format!("{line:?} is not a mount"))))
        .collect()
}

/// The older list, which is all that hwloc-gather-topology takes: `source path filesystem options 0 0`.
fn short_list(root: &Root) -> Result<Vec<Mounted>, HostError> {
    const PATH: &str = "/proc/mounts";
    let mounted = |line: &str| {
        let mut words = line.split(' ');
        let (source, path, filesystem) = (words.next()?, words.next()?, words.next()?);
        let options: Vec<String> = words.next()?.split(',').map(str::to_owned).collect();
        Some(Mounted {
            device: String::new(),
            subtree: "/".to_owned(),
            path: unescape(path),
            filesystem: filesystem.to_owned(),
            source: unescape(source),
            read_only: options.iter().any(|option| option == "ro"),
            options,
        })
    };
    let text = root.read(PATH)?;
    text.lines()
        .map(|line| mounted(line).ok_or_else(|| HostError::odd(root, PATH, format!("{line:?} is not a mount"))))
        .collect()
}

/// The size of a file system, and what a user who is not root may still write.
pub fn space(root: &Root, path: &str) -> Result<(Bytes, Bytes), HostError> {
    let stat = nix::sys::statvfs::statvfs(&root.path(path))
        .map_err(|errno| HostError::odd(root, path, format!("its space cannot be asked: {}", errno.desc())))?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.fragment_size()));
    Ok((bytes(stat.blocks()), bytes(stat.blocks_available())))
}

/// `id parent major:minor subtree path options … - filesystem source options`, see proc(5).
fn mounted(line: &str) -> Option<Mounted> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (device, subtree, path, flags) = (before.next()?, before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (filesystem, source) = (after.next()?, after.next()?);
    let options: Vec<String> = after.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Mounted {
        device: device.to_owned(),
        subtree: unescape(subtree),
        path: unescape(path),
        filesystem: filesystem.to_owned(),
        source: unescape(source),
        read_only: flags.split(',').chain(options.iter().map(String::as_str)).any(|option| option == "ro"),
        options,
    })
}

/// The kernel writes blanks and backslashes of paths as octal numbers: `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// hugetlbfs writes `2M`, `1024M`, `64K`.
fn page_size(text: &str) -> Option<Bytes> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn mounts_read_as_the_kernel_writes_them() {
        let (_dir, root) = tree(&[(
            "proc/self/mountinfo",
            "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
             30 22 0:40 / /mnt/huge\\040pages rw - hugetlbfs none rw,pagesize=1024M\n\
             31 22 8:1 /sub /data ro,noatime master:1 propagate_from:2 - xfs /dev/sda1 rw\n",
        )]);
        let mounts = mounts(&root).unwrap();
        assert_eq!((mounts[0].device.as_str(), mounts[0].read_only), ("254:0", false));
        assert_eq!((mounts[1].path.as_str(), mounts[1].page_bytes()), ("/mnt/huge pages", Some(Bytes::gib(1))));
        assert_eq!((mounts[2].subtree.as_str(), mounts[2].read_only), ("/sub", true));
        assert_eq!(mounts[0].page_bytes(), None);
    }

    #[test]
    fn a_captured_tree_has_the_older_list() {
        let list = "/dev/sda1 / ext4 ro,relatime 0 0\nnone /mnt/huge\\040pages hugetlbfs rw,pagesize=2M 0 0\n";
        let (dir, live) = tree(&[("proc/mounts", list)]);
        let root = Root::captured(dir.path()).unwrap();
        let found = mounts(&root).unwrap();
        assert_eq!((found[0].source.as_str(), found[0].read_only), ("/dev/sda1", true));
        assert_eq!((found[1].path.as_str(), found[1].page_bytes()), ("/mnt/huge pages", Some(Bytes::mib(2))));
        assert!(mounts(&live).is_err(), "a live kernel has mountinfo");
        std::fs::write(dir.path().join("proc/mounts"), "one\n").unwrap();
        assert!(mounts(&root).unwrap_err().to_string().contains("/proc/mounts: \"one\" is not a mount"));
    }

    #[test]
    fn what_is_not_a_mount_is_refused() {
        let (_dir, root) = tree(&[("proc/self/mountinfo", "22 1 254:0\n")]);
        let error = mounts(&root).unwrap_err().to_string();
        assert!(error.contains("mountinfo") && error.contains("is not a mount"), "{error}");
        for text in ["", "1", "1T", "xM", "M", "é"] {
            let _ = (page_size(text), unescape(text));
        }
        assert_eq!(unescape("a\\04"), "a\\04");
    }

    #[test]
    fn space_of_a_folder_that_is_not_there_is_an_error() {
        let (_dir, root) = tree(&[]);
        assert!(space(&root, "/").unwrap().0 > Bytes(0));
        assert!(space(&root, "/gone").unwrap_err().to_string().contains("/gone"));
    }
}
