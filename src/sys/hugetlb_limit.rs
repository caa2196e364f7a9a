//! How many hugepages the cgroup of this process may still have: the hugetlb controller, of either version.
//!
//! Where it stands in the way, the kernel says "no space left" of a pool that has free pages.

use super::{
    host::HostError,
    mount::{self, Mounted},
    root::Root,
};
use crate::units::Bytes;
use std::path::{Path, PathBuf};

/// What a cgroup leaves of hugepages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The file that holds the limit.
    pub path: PathBuf,
    pub limit_bytes: Bytes,
    pub used_bytes: Bytes,
}

impl Limit {
    /// What may still be had.
    pub fn left(&self) -> Bytes {
        Bytes(self.limit_bytes.0.saturating_sub(self.used_bytes.0))
    }
}

/// The narrowest limit of this process's cgroup and those above it; nothing where none is set.
pub fn narrowest(root: &Root, page_bytes: Bytes) -> Result<Option<Limit>, HostError> {
    let Some(groups) = root.read_some("/proc/self/cgroup")? else { return Ok(None) };
    let mounts = mount::mounts(root)?;
    let mut narrowest: Option<Limit> = None;
    for (folder, top, names) in groups.lines().filter_map(|line| controller(line, &mounts)) {
        for group in folder.ancestors().take_while(|group| group.starts_with(&top)) {
            for (limit, used) in names.iter().map(|name| name.files(page_bytes)) {
                let found = read(root, &group.join(limit), &group.join(used))?;
                narrowest = narrowest.into_iter().chain(found).min_by_key(Limit::left);
            }
        }
    }
    Ok(narrowest)
}

/// What the two versions of cgroups call a limit and what is used of it.
#[derive(Clone, Copy)]
struct Names(&'static str, &'static str);

const V2: &[Names] = &[Names("max", "current"), Names("rsvd.max", "rsvd.current")];
const V1: &[Names] = &[Names("limit_in_bytes", "usage_in_bytes"), Names("rsvd.limit_in_bytes", "rsvd.usage_in_bytes")];

impl Names {
    fn files(self, page_bytes: Bytes) -> (String, String) {
        let size = size_name(page_bytes);
        (format!("hugetlb.{size}.{}", self.0), format!("hugetlb.{size}.{}", self.1))
    }
}

/// `2MB`, `1GB`, `64KB`: the kernel's way in these names.
fn size_name(page_bytes: Bytes) -> String {
    match page_bytes.0 {
        bytes if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        bytes => format!("{}KB", bytes >> 10),
    }
}

/// Of a line of /proc/self/cgroup (`0::/a/b`, `7:hugetlb:/a`): the group's folder, the topmost folder, and the names there.
fn controller(line: &str, mounts: &[Mounted]) -> Option<(PathBuf, PathBuf, &'static [Names])> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, group) = (parts.next()?, parts.next()?);
    let (mount, names) = match controllers {
        "" => (mounts.iter().find(|mount| mount.filesystem == "cgroup2")?, V2),
        names if names.split(',').any(|name| name == "hugetlb") => {
            let has_it = |mount: &&Mounted| mount.options.iter().any(|option| option == "hugetlb");
            (mounts.iter().filter(|mount| mount.filesystem == "cgroup").find(has_it)?, V1)
        }
        _ => return None,
    };
    // In a container the mount shows part of the tree only; what lies above it cannot be seen.
    let inside = Path::new(group).strip_prefix(&mount.subtree).unwrap_or(Path::new(""));
    let top = PathBuf::from(&mount.path);
    Some((top.join(inside), top, names))
}

/// A limit that is set; `max` is none.
fn read(root: &Root, limit: &Path, used: &Path) -> Result<Option<Limit>, HostError> {
    let (Some(limit_text), Some(used_text)) = (root.read_some(limit)?, root.read_some(used)?) else { return Ok(None) };
    let number = |text: &str| text.parse().map(Bytes).ok();
    Ok(number(&limit_text).zip(number(&used_text)).map(|(limit_bytes, used_bytes)| Limit {
        path: limit.to_owned(),
        limit_bytes,
        used_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn the_narrowest_of_all_groups_above_counts() {
        let (_dir, root) = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/a/b/hugetlb.2MB.max", "max\n"),
            ("sys/fs/cgroup/a/b/hugetlb.2MB.current", "0\n"),
            ("sys/fs/cgroup/a/hugetlb.2MB.max", "20971520\n"),
            ("sys/fs/cgroup/a/hugetlb.2MB.current", "4194304\n"),
            ("sys/fs/cgroup/a/hugetlb.2MB.rsvd.max", "41943040\n"),
            ("sys/fs/cgroup/a/hugetlb.2MB.rsvd.current", "0\n"),
        ]);
        let limit = narrowest(&root, Bytes::mib(2)).unwrap().unwrap();
        assert_eq!(
            (limit.left(), limit.path.as_path()),
            (Bytes::mib(16), Path::new("/sys/fs/cgroup/a/hugetlb.2MB.max"))
        );
        assert_eq!(narrowest(&root, Bytes::gib(1)).unwrap(), None);
    }

    #[test]
    fn the_first_version_is_read_too_and_a_host_without_cgroups_has_no_limit() {
        let (_dir, root) = tree(&[
            ("proc/self/cgroup", "7:cpu,hugetlb:/docker/x\n0::/\n"),
            ("proc/self/mountinfo", "30 22 0:26 /docker/x /cg rw - cgroup cgroup rw,cpu,hugetlb\n"),
            ("cg/hugetlb.1GB.limit_in_bytes", "2147483648\n"),
            ("cg/hugetlb.1GB.usage_in_bytes", "1073741824\n"),
        ]);
        assert_eq!(narrowest(&root, Bytes::gib(1)).unwrap().unwrap().left(), Bytes::gib(1));
        let (_dir, root) = tree(&[]);
        assert_eq!(narrowest(&root, Bytes::gib(1)).unwrap(), None);
    }
}
